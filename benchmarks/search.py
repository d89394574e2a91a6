"""Searches size, regularisation and learning rate together: python -m benchmarks.search

Random search with successive halving (Jamieson and Talwalkar, 2016): every round trains what is left
anew, three times as long, and keeps the best third. The budget is counted in steps of 1,600 targets
on average, so that no trial gets more of them for cutting its histories into shorter pieces. Ties
are in random order. Everything is judged by NDCG@10 on validation. Each trial is one line of
data/pretrained/search.jsonl; a trial that has its line is not repeated, so a killed search goes on
when it is called again.
"""

import argparse
import datetime
import itertools
import json
import time
from typing import Any

import numpy as np
import torch

from benchmarks.quality import TRAINER, Data, Row, all_scores, build, find, ranks_of, read, store
from benchmarks.variants import shuffled_ties
from recformer_utils.evaluation import metrics_from_ranks
from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import (
    NO_TARGET,
    history_scores,
    next_movie_loss,
    training_batches,
)
from recformer_utils.training import TrainerConfig, gradient_step, make_optimizer
from tools.common import REPOSITORY, machine

RESULTS = REPOSITORY / "data/pretrained/search.jsonl"
TARGETS = 1600  # of one step, on average
ROUNDS = ((400, 27), (1200, 9), (3600, 3))  # steps of each trial, trials; an epoch has 614 steps
SPACE = {
    "width": (32, 64, 96, 128),  # heads are 32 wide
    "layers": (1, 2, 3, 4),
    "length": (25, 50, 100, 200),  # movies of a piece
    "dropout": (0.0, 0.05, 0.1, 0.2, 0.3),
    "learning_rate": (0.0005, 0.001, 0.002, 0.004, 0.008),  # the peak
    "schedule": ("cosine", "one-cycle", "exponential"),  # the last one is constant here
}


def candidates(number: int, seed: int = 0) -> list[dict[str, Any]]:
    """Different points of the space, drawn evenly."""
    points = list(itertools.product(*SPACE.values()))
    chosen = np.random.default_rng(seed).choice(len(points), number, replace=False)
    return [dict(zip(SPACE, points[place], strict=True)) for place in chosen]


def train(point: dict[str, Any], data: Data, steps: int, seed: int) -> tuple[Any, float]:
    """A model after a number of steps, and the seconds that they took."""
    row = Row(
        5, "search", width=point["width"], heads=point["width"] // 32, layers=point["layers"],
        length=point["length"], dropout=point["dropout"], features=True,
        model={"previous_gap": True},
    )  # fmt: skip
    model = build(row, data, seed)
    plan = TRAINER | {"mixed_precision": False, "num_epochs": 1, "learning_rate_decay": 1.0}
    plan |= {"starting_learning_rate": point["learning_rate"], "schedule": point["schedule"]}
    optimizer, scheduler = make_optimizer(
        model, TrainerConfig(model_dir="unused", tensorboard_dir="unused", **plan), steps
    )
    done, epoch, seconds, cut = 0, 0, 0.0, shuffled_ties(training_batches)
    known = data.split.train_lengths
    # As many pieces a step as have TARGETS targets on average: many are shorter than the longest.
    once = cut(data.sequences, known, point["length"], 64, 0)
    targets = sum(int((batch.targets != NO_TARGET).sum()) for batch in once)
    pieces = round(TARGETS * sum(len(batch.lengths) for batch in once) / targets)
    while done < steps:
        epoch += 1
        batches = cut(data.sequences, known, point["length"], pieces, 1000 * seed + epoch)
        start = time.perf_counter()
        model.train()
        for batch in batches[: steps - done]:
            gradient_step(next_movie_loss(model, batch), model, optimizer)
            scheduler.step()
            done += 1
        seconds += time.perf_counter() - start
    return model, seconds


def trial(point: dict[str, Any], data: Data, steps: int, seed: int) -> dict[str, Any]:
    """Trains and judges one point; its line."""
    model, seconds = train(point, data, steps, seed)
    scores = all_scores(
        history_scores(model, torch.device("cpu")), data.sequences, data.split.validation
    )
    found = metrics_from_ranks(ranks_of(scores, data.sequences, data.split.validation))
    return {
        **point, "steps": steps, "seed": seed, "val_ndcg10": round(found.ndcg, 5),
        "val_hr10": round(found.hit_rate, 5), "train_seconds": round(seconds),
        "parameters": sum(p.numel() for p in model.parameters()), "machine": machine(),
        "torch": str(torch.__version__), "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def search(data: Data, rounds: tuple[tuple[int, int], ...], file, seed: int = 0) -> dict[str, Any]:
    """All rounds; what has its line in the file is read there. Returns the winner's line."""
    points, lines = candidates(rounds[0][1], seed), []
    for steps, number in rounds:
        lines = []
        for point in points[:number]:
            mine = point | {"steps": steps, "seed": seed}
            if (line := find(file, mine)) is None:
                line = trial(point, data, steps, seed)
                store(file, mine, line)
            lines.append(line)
            print(json.dumps({name: line[name] for name in (*SPACE, "steps", "val_ndcg10")}))
        lines.sort(key=lambda line: -line["val_ndcg10"])
        points = [{name: line[name] for name in SPACE} for line in lines]
    return lines[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for PyTorch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    movielens = load_movielens(arguments.data)
    file = RESULTS
    if movielens.name != "ml-1m":
        file = REPOSITORY / "runs/quality" / movielens.name / RESULTS.name
    data = read(movielens, "B", "leave-one-out", ties=0)
    print("best:", json.dumps(search(data, ROUNDS, file)))


if __name__ == "__main__":
    main()
