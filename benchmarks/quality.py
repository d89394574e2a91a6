"""Trains and measures one row of notebook 10's ladder: python benchmarks/quality.py --rung 3 --seed 0

Rows: `--list`. Groups: A is the 5-core catalogue, B all rated movies; splits: leave-one-out, or
temporal (the clock, q = 0.9). Each run appends one line to data/pretrained/results.jsonl. A killed
run goes on when it is called again; a run that has its line is not repeated. Everything is chosen on
validation; test figures are null until a row is scored with `--test`, once. `--table` prints all.
"""

import argparse
import dataclasses
import datetime
import json
import resource
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from pretrain import REPOSITORY, machine

from recformer_utils.baselines import distance_counts, score_function
from recformer_utils.checkpoints import load_weights
from recformer_utils.configuration import TrainerConfig, choose_device
from recformer_utils.evaluation import ScoreFunction, evaluate_ranking, metrics_from_ranks
from recformer_utils.loop import Task, TrainingResult, epoch_seed, fit
from recformer_utils.movielens import MovieLens, load_movielens
from recformer_utils.optimization import gradient_step
from recformer_utils.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    history_scores,
    training_batches,
)
from recformer_utils.sequences import Sequences, leave_one_out, order_by_time, temporal_split
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import TransformerConfig

RESULTS = REPOSITORY / "data/pretrained/results.jsonl"
COUNT_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)


@dataclass(frozen=True)
class Row:
    """One row of the ladder: what is trained, and how."""

    rung: int
    name: str
    width: int = 64
    layers: int = 2
    heads: int = 2
    length: int = 200
    dropout: float = 0.2
    overlap: int = 0  # movies that a training piece reads again from the one before
    model: dict[str, Any] = field(default_factory=dict)  # of SequenceModelConfig
    trainer: dict[str, Any] = field(default_factory=dict)  # of TrainerConfig
    counts: bool = False  # the distance counts are added to the logits, weighed on validation


TRAINER = {
    "batch_size": 128, "starting_learning_rate": 0.002, "num_epochs": 40, "schedule": "cosine",
    "warmup_fraction": 0.05, "adam_beta2": 0.98, "keep_best": "NDCG@10", "progress": False,
}  # fmt: skip
ROWS = {
    "positions": Row(2, "a target at every position", model={"tied_output": False}),
    "tied": Row(3, "output tied to the embeddings"),
    "counts": Row(7, "with counts", counts=True),
    "gaps": Row(8, "gaps between ratings as input", model={"previous_gap": True}),
    "gaps-counts": Row(8, "gaps and counts", model={"previous_gap": True}, counts=True),
    "wide": Row(
        5, "128 wide, dropout 0.3", width=128, heads=4, dropout=0.3,
        model={"previous_gap": True}, counts=True,
        trainer={"starting_learning_rate": 0.0015, "num_epochs": 50},
    ),
    "target-time": Row(
        8, "the time of the target is known", model={"previous_gap": True, "next_gap": True},
        counts=True,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Questions:
    """Who is asked for which movie: user tokens, histories' ends and targets, (users,) each."""

    users: np.ndarray
    ends: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Data:
    """Sequences, what of them is training, and the questions of validation and test."""

    metadata: MovieLensMetadata
    sequences: Sequences
    train_lengths: np.ndarray
    validation: Questions
    test: Questions


def read(movielens: MovieLens, group: str, split: str) -> Data:
    """The data of a column of the table."""
    ratings, movies = movielens.ratings, movielens.movies
    if group == "A":  # movies, then users, with fewer than five interactions are dropped
        while True:
            size = len(ratings)
            for column in ("movie_id", "user_id"):
                counts = ratings[column].map(ratings[column].value_counts())
                ratings = ratings[counts >= 5]
            if len(ratings) == size:
                break
    movies = movies[movies["movie_id"].isin(ratings["movie_id"])]
    users = movielens.users[movielens.users["user_id"].isin(ratings["user_id"])]
    metadata = MovieLensMetadata.from_frames(users, movies)
    sequences = order_by_time(ratings, metadata)
    if split == "leave-one-out":
        loo = leave_one_out(sequences)
        lengths = np.zeros(sequences.num_users, dtype=np.int64)
        lengths[loo.user_tokens] = loo.train_lengths
        validation = Questions(loo.user_tokens, loo.train_lengths, loo.validation_targets)
        test = Questions(loo.user_tokens, loo.train_lengths + 1, loo.test_targets)
        return Data(metadata, sequences, lengths, validation, test)
    later = temporal_split(sequences)
    test = Questions(later.user_tokens, later.train_lengths[later.user_tokens], later.targets)
    # Validation: the last movie before the cut, for everybody who has three there.
    asked = np.flatnonzero(later.train_lengths >= 3)
    ends = later.train_lengths[asked] - 1
    targets = sequences.movie_tokens[sequences.offsets[asked] + ends]
    lengths = later.train_lengths.copy()
    lengths[asked] -= 1
    return Data(metadata, sequences, lengths, Questions(asked, ends, targets), test)


def train(row: Row, data: Data, seed: int, folder: Path, device: torch.device) -> TrainingResult:
    """Trains a row, or goes on with it, and keeps the best epoch by NDCG@10 on validation."""
    shape = TransformerConfig(
        data.metadata.vocab_size, row.length, row.width, row.layers, row.heads,
        dropout_embeddings=row.dropout, dropout_attention=0.0, dropout_residual=row.dropout,
    )  # fmt: skip
    trainer = TrainerConfig(
        data_dir="", model_dir=str(folder), tensorboard_dir=str(folder / "tensorboard"),
        seed=seed, **{**TRAINER, **row.trainer},
    )  # fmt: skip
    torch.manual_seed(seed)
    model = SequenceModel(SequenceModelConfig(shape, **row.model)).to(device)

    def batches(epoch: int):
        return training_batches(
            data.sequences, data.train_lengths, row.length, trainer.batch_size,
            epoch_seed(trainer, epoch), row.overlap,
        )  # fmt: skip

    def step(model, batch, optimizer):
        batch = batch.to(device)
        return gradient_step(
            lambda: model.loss(batch), model, optimizer, device,
            trainer.mixed_precision, trainer.max_gradient_norm,
        )  # fmt: skip

    def validate(model):
        score = history_scores(
            model, data.sequences, data.validation.users, data.validation.ends, device
        )
        logits = all_scores(score, data.validation)
        targets = torch.from_numpy(data.validation.targets).long()
        metrics = metrics_from_ranks(ask(logits.__getitem__, data, data.validation))
        return {
            "validation_loss": torch.nn.functional.cross_entropy(logits, targets).item(),
            "HR@10": metrics.hit_rate,
            "NDCG@10": metrics.ndcg,
        }

    steps = len(batches(1))
    settings = {"row": json.dumps(dataclasses.asdict(row) | {"counts": None}, sort_keys=True)}
    task = Task(model, batches, steps, step, validate, settings)
    return fit(task, trainer, device, lambda epoch, model: print(f"epoch {epoch}", flush=True))


def ask(score: ScoreFunction, data: Data, questions: Questions) -> torch.Tensor:
    """Ranks of the targets, float (users,)."""
    return evaluate_ranking(
        score, data.sequences, questions.users, questions.ends, questions.targets
    )


def all_scores(score: ScoreFunction, questions: Questions) -> torch.Tensor:
    """Scores of all questions, float (users, vocab_size): 94 MB on MovieLens-1M."""
    return torch.cat([score(rows) for rows in torch.arange(len(questions.users)).split(512)])


def count_scores(data: Data, questions: Questions, ends: np.ndarray) -> ScoreFunction:
    """The distance counts of the first ``ends`` movies of each user, asked about the histories."""
    counts = distance_counts(data.sequences, ends, data.metadata.vocab_size)
    return score_function(counts, data.sequences, questions.users, questions.ends)


def with_counts(network: torch.Tensor, counts: torch.Tensor, weight: float) -> ScoreFunction:
    """log-softmax of the network + weight x the counts, both float (users, vocab_size)."""
    return lambda batch: network[batch].log_softmax(dim=-1) + weight * counts[batch]


def measure(row: Row, key: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and measures; the line for results.jsonl."""
    movielens = load_movielens(arguments.data)
    data = read(movielens, arguments.group, arguments.split)
    device = choose_device(arguments.device)
    name = f"{key}-{arguments.group}-{arguments.split}-{arguments.seed}"
    folder = REPOSITORY / "runs/quality" / movielens.name / name
    result = train(row, data, arguments.seed, folder, device)
    model = load_weights(result.model, result.model_file)
    best = result.history.set_index("epoch").loc[result.best_epoch]

    def network(questions: Questions) -> torch.Tensor:
        score = history_scores(model, data.sequences, questions.users, questions.ends, device)
        return all_scores(score, questions)

    weight, logits = 0.0, network(data.validation)
    metrics = metrics_from_ranks(ask(logits.__getitem__, data, data.validation))
    if row.counts:
        counts = count_scores(data, data.validation, data.train_lengths)
        counts = all_scores(counts, data.validation)
        tried = {
            w: metrics_from_ranks(ask(with_counts(logits, counts, w), data, data.validation))
            for w in COUNT_WEIGHTS
        }
        weight = max(tried, key=lambda w: tried[w].ndcg)
        metrics = tried[weight]
    test = None
    if arguments.test:
        logits = network(data.test)
        score = logits.__getitem__
        if weight:  # counted anew, with the validation movies
            ends = np.zeros_like(data.train_lengths)
            ends[data.test.users] = data.test.ends
            counts = count_scores(data, data.test, np.maximum(ends, data.train_lengths))
            score = with_counts(logits, all_scores(counts, data.test), weight)
        test = metrics_from_ranks(ask(score, data, data.test))
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )  # fmt: skip
    return {
        "rung": row.rung, "name": row.name, "key": key, "data": movielens.name,
        "group": arguments.group, "split": arguments.split,
        "target_time": bool(row.model.get("next_gap", False)), "seed": arguments.seed,
        "val_hr10": round(metrics.hit_rate, 5), "val_ndcg10": round(metrics.ndcg, 5),
        "val_ndcg10_network": round(best["NDCG@10"], 5), "count_weight": weight,
        "test_hr10": round(test.hit_rate, 5) if test else None,
        "test_ndcg10": round(test.ndcg, 5) if test else None,
        "best_epoch": result.best_epoch, "parameters": sum(p.numel() for p in model.parameters()),
        "train_seconds": round(result.history["seconds"].sum()), "peak_mib": round(peak),
        "machine": machine(), "torch": torch.__version__,
        "date": datetime.date.today().isoformat(), "config": dataclasses.asdict(row),
    }  # fmt: skip


def stored() -> list[dict[str, Any]]:
    """All lines of results.jsonl."""
    return (
        [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--row", choices=ROWS, help="one row by its name")
    which.add_argument("--rung", type=int, help="all rows of a rung")
    which.add_argument("--list", action="store_true", help="what there is")
    which.add_argument("--table", action="store_true", help="what is measured")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--group", choices=("A", "B"), default="B")
    parser.add_argument("--split", choices=("leave-one-out", "temporal"), default="leave-one-out")
    parser.add_argument("--test", action="store_true", help="score the test as well: once a row")
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads for PyTorch")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.list:
        for key, row in ROWS.items():
            print(f"rung {row.rung}  {key:12} {row.name}")
        return
    if arguments.table:
        table = pd.DataFrame(stored()).drop(columns=["config", "machine", "torch", "data"])
        print(table.to_string(index=False))
        return
    for key, row in ROWS.items():
        if arguments.row == key or arguments.rung == row.rung:
            run_once(key, row, arguments)


def run_once(key: str, row: Row, arguments: argparse.Namespace) -> None:
    """Appends the row's line unless it is there, with test figures if they are asked for."""
    mine = {
        "key": key, "data": load_movielens(arguments.data).name, "group": arguments.group,
        "split": arguments.split, "seed": arguments.seed, "config": dataclasses.asdict(row),
    }  # fmt: skip
    mine = json.loads(json.dumps(mine))
    for line in stored():
        if mine.items() <= line.items() and (line["test_ndcg10"] is not None or not arguments.test):
            print("already measured:", json.dumps(line))
            return
    line = json.dumps(measure(row, key, arguments))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a") as file:
        file.write(line + "\n")
    print(line)


if __name__ == "__main__":
    main()
