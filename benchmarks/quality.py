"""Trains and measures one row of notebook 10's ladder: python -m benchmarks.quality --rung 3 --seed 0

Rows: `--list`. Groups: A is the 5-core catalogue, B all rated movies; splits: leave-one-out, or
temporal (the clock, q = 0.9). Each run appends one line to data/pretrained/results.jsonl. A killed
run goes on when it is called again; a run that has its line is not repeated. Everything is chosen on
validation; test figures are null until a row is scored with `--test`, once. `--table` prints all.
"""

import argparse
import dataclasses
import datetime
import hashlib
import itertools
import json
import resource
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from recformer_utils.baselines import distance_counts, score_function
from recformer_utils.evaluation import ScoreFunction, evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens import MovieLens, load_movielens
from recformer_utils.movielens_transformer import MovieLensTransformer
from recformer_utils.runs.checkpoints import load_weights
from recformer_utils.runs.config import TrainerConfig, choose_device
from recformer_utils.runs.files import replacing
from recformer_utils.runs.record import machine
from recformer_utils.sequence_model import (
    Questions,
    SequenceModel,
    SequenceModelConfig,
    history_scores,
    movie_features,
    save_sequence_model,
    train_sequence_model,
)
from recformer_utils.sequences import (
    Sequences,
    last_windows,
    leave_one_out,
    order_by_time,
    temporal_split,
)
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.training import TrainingResult, get_dataset, get_model_config, load_config
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY

RESULTS = REPOSITORY / "data/pretrained/results.jsonl"
FAR_WEIGHTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0)  # of counts up to twenty movies apart
NEAR_WEIGHTS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.4)  # of direct followers


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
    rotary: bool = False  # positions by turning, not by an embedding
    overlap: int = 0  # movies that a training piece reads again from the one before it
    model: dict[str, Any] = field(default_factory=dict)  # of SequenceModelConfig
    trainer: dict[str, Any] = field(default_factory=dict)  # of TrainerConfig
    features: bool = False  # genres, year and place of each movie are known
    counts: bool = False  # counts of followers are added to the logits, weighed on validation
    seeds: int = 1  # networks whose probabilities are averaged


TRAINER = {
    "batch_size": 16, "starting_learning_rate": 0.002, "num_epochs": 12, "schedule": "cosine",
    "warmup_fraction": 0.05, "adam_beta2": 0.98, "mixed_precision": True, "keep_best": "NDCG@10",
    "progress": False,
}  # fmt: skip
GAPS = {"previous_gap": True}
ROTARY = {"rotary": True, "features": True}
BOTH = {**ROTARY, "counts": True}
BEST = {"width": 128, "heads": 4, "dropout": 0.3, **BOTH}
LONG = {"num_epochs": 20}
ROWS = {
    "window": Row(1, "the model of the post: one target per window of five"),
    "positions": Row(2, "a target at every position", model={"tied_output": False}),
    "large-batch": Row(
        2, "the same, 128 histories a step", model={"tied_output": False},
        trainer={"batch_size": 128},
    ),
    "tied": Row(3, "output tied to the embeddings"),
    "bce": Row(4, "yes or no, one negative", model={"loss": "bce"}),
    "sampled": Row(
        4, "softmax over 256 negatives", model={"loss": "sampled", "negatives": 256}
    ),
    "gbce": Row(4, "gBCE, 256 negatives", model={"loss": "gbce", "negatives": 256}),
    "gbce-slow": Row(
        4, "gBCE, 256 negatives, a quarter of the learning rate",
        model={"loss": "gbce", "negatives": 256}, trainer={"starting_learning_rate": 0.0005},
    ),
    "cosine": Row(4, "cosine scores, temperature 0.05", model={"temperature": 0.05}),
    "width-32": Row(5, "32 wide", width=32),
    "width-128": Row(5, "128 wide", width=128, heads=4),
    "blocks-1": Row(5, "one block", layers=1),
    "blocks-4": Row(5, "four blocks", layers=4),
    "dropout-0": Row(5, "no dropout", dropout=0.0),
    "dropout-4": Row(5, "dropout 0.4", dropout=0.4),
    "length-50": Row(5, "histories of 50", length=50),
    "average": Row(6, "moving average of the weights", trainer={"average_decay": 0.995}),
    "smoothing": Row(6, "label smoothing 0.1", model={"label_smoothing": 0.1}),
    "overlap": Row(6, "pieces overlap by 50 movies", overlap=50),
    "ratings": Row(6, "ratings as input", model={"ratings": True}),
    "features": Row(6, "genres, year, place of the title", features=True),
    "rotary": Row(6, "rotary positions", rotary=True),
    "both": Row(6, "features and rotary positions", **ROTARY),
    "counts": Row(7, "features, rotary positions, counts on the logits", **BOTH),
    "gaps": Row(8, "and gaps as input", model=GAPS, **BOTH),
    "gaps-dropout-0": Row(8, "gaps, no dropout", dropout=0.0, model=GAPS, **BOTH),
    "pair-gaps": Row(
        8, "and gaps of all pairs in attention", model={**GAPS, "pair_gaps": True}, **BOTH
    ),
    "target-time": Row(
        8, "and the time of the target", model={**GAPS, "next_gap": True}, **BOTH
    ),
    "target-pair-gaps": Row(
        8, "the time of the target, for all pairs",
        model={**GAPS, "next_gap": True, "pair_gaps": True}, **BOTH,
    ),
    "best": Row(8, "all of it, 128 wide, longer", model=GAPS, trainer=LONG, **BEST),
    "best-dropout-1": Row(
        8, "all of it, dropout 0.1", model=GAPS, trainer=LONG, **{**BEST, "dropout": 0.1}
    ),
    "best-target-time": Row(
        8, "all of it, the time of the target known",
        model={**GAPS, "next_gap": True, "pair_gaps": True}, trainer=LONG, **BEST,
    ),
    "ensemble": Row(9, "three of the best together", model=GAPS, trainer=LONG, seeds=3, **BEST),
}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """Sequences, what of them is training, and the questions of validation and test.

    Counts are taken anew for the test, of the first ``known_lengths`` movies of each user.
    """

    movies: pd.DataFrame
    metadata: MovieLensMetadata
    sequences: Sequences
    train_lengths: np.ndarray
    known_lengths: np.ndarray
    validation: Questions
    test: Questions


def read(movielens: MovieLens, group: str, split: str, unrated: bool = False) -> Data:
    """The data of a column of the table; with unrated, movies that nobody rated have tokens too."""
    ratings, movies = movielens.ratings, movielens.movies
    if group == "A":  # movies, then users, with fewer than five interactions are dropped
        while True:
            size = len(ratings)
            for column in ("movie_id", "user_id"):
                counts = ratings[column].map(ratings[column].value_counts())
                ratings = ratings[counts >= 5]
            if len(ratings) == size:
                break
    if not unrated:
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
        known = lengths + (lengths > 0)
        return Data(movies, metadata, sequences, lengths, known, validation, test)
    # Test, as published (Gusak et al., Time to Split, 2025): the last movie of everybody who comes
    # after the cut; what the user watched before it is history, and nothing of it is learned from.
    later = temporal_split(sequences)
    users = np.flatnonzero((later.train_lengths < sequences.lengths) & (sequences.lengths > 1))
    ends = sequences.lengths[users] - 1
    test = Questions(users, ends, sequences.movie_tokens[sequences.offsets[users] + ends])
    # Validation: the last movie before the cut, for everybody who has three there.
    asked = np.flatnonzero(later.train_lengths >= 3)
    ends = later.train_lengths[asked] - 1
    targets = sequences.movie_tokens[sequences.offsets[asked] + ends]
    lengths = later.train_lengths.copy()
    lengths[asked] -= 1
    validation = Questions(asked, ends, targets)
    return Data(movies, metadata, sequences, lengths, later.train_lengths, validation, test)


def train(row: Row, data: Data, seed: int, folder: Path, device: torch.device) -> TrainingResult:
    """Trains a row, or goes on with it, and keeps the best epoch by NDCG@10 on validation."""
    shape = TransformerConfig(
        data.metadata.vocab_size, row.length, row.width, row.layers, row.heads,
        dropout_embeddings=row.dropout, dropout_attention=0.0, dropout_residual=row.dropout,
        rotary=row.rotary,
    )  # fmt: skip
    trainer = TrainerConfig(
        data_dir="", model_dir=str(folder), tensorboard_dir=str(folder / "tensorboard"),
        seed=seed, **{**TRAINER, **row.trainer},
    )  # fmt: skip
    torch.manual_seed(seed)
    features = movie_features(data.movies, data.metadata) if row.features else torch.zeros(0, 0)
    config = SequenceModelConfig(shape, item_features=features.shape[1], **row.model)
    model = SequenceModel(config)
    if row.features:
        model.item_features.copy_(features)
    return train_sequence_model(
        model.to(device), data.sequences, data.train_lengths, data.validation, trainer,
        row.overlap, {"row": row_hash(row)}, lambda epoch, _: print(f"epoch {epoch}", flush=True),
    )  # fmt: skip


def ask(score: ScoreFunction, data: Data, questions: Questions) -> torch.Tensor:
    """Ranks of the targets, float (users,)."""
    return evaluate_ranking(score, data.sequences, *questions)


def all_scores(score: ScoreFunction, questions: Questions) -> torch.Tensor:
    """Scores of all questions, float (users, vocab_size): 94 MB on MovieLens-1M."""
    return torch.cat([score(rows) for rows in torch.arange(len(questions.users)).split(512)])


def count_scores(
    data: Data, questions: Questions, ends: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """What counts of the first ``ends`` movies of each user say, asked about the histories.

    Returns:
        The distance counts (PCTM), and the same for direct followers only with popularity left
        out; both float (users, vocab_size).
    """
    settings = {}, {"window": 1, "smoothing": 600.0, "popularity_power": 0.0}
    far, near = (
        all_scores(
            score_function(
                distance_counts(data.sequences, ends, data.metadata.vocab_size, **options),
                data.sequences, questions.users, questions.ends,
            ),
            questions,
        )
        for options in settings
    )  # fmt: skip
    return far, near


Weights = tuple[float, float]


def with_counts(
    network: torch.Tensor, counts: tuple[torch.Tensor, torch.Tensor], weights: Weights
) -> ScoreFunction:
    """log-softmax of the network + the weighed counts, all float (users, vocab_size)."""
    (far, near), (w_far, w_near) = counts, weights
    return lambda rows: network[rows].log_softmax(dim=-1) + w_far * far[rows] + w_near * near[rows]


@dataclass(frozen=True)
class Scorer:
    """What a row scores with.

    Attributes:
        logits: takes questions; float (users, vocab_size).
        best_epoch: of the (first) network.
        seconds: its training, all seeds together.
        parameters: of one network.
    """

    logits: Callable[[Questions], torch.Tensor]
    best_epoch: int
    seconds: float
    parameters: int


def window_scorer(data: Data, movielens: MovieLens, device: torch.device) -> Scorer:
    """The stored model of the post, as tools/pretrain.py trained it."""
    folder = REPOSITORY / "data/pretrained" / movielens.name
    config = load_config(folder / "config.yaml")
    config["trainer_config"]["data_dir"] = str(movielens.folder)
    shape = get_model_config(config, get_dataset(config))
    model = load_weights(MovieLensTransformer(shape), folder / "model.pth").to(device)
    length = shape.movie_transformer_config.context_window_size

    def logits(questions: Questions) -> torch.Tensor:
        def score(rows: torch.Tensor) -> torch.Tensor:
            users = questions.users[rows]
            windows = last_windows(
                data.sequences, users, questions.ends[rows], length, data.metadata.start_token
            )
            with torch.no_grad():
                return model(windows.to(device), torch.as_tensor(users).to(device)).cpu()

        return all_scores(score, questions)

    run = json.loads((folder / "run.json").read_text())
    size = sum(p.numel() for p in model.parameters())
    return Scorer(logits, run["best_epoch"], run["train_seconds"], size)


def sequence_scorer(
    row: Row, data: Data, folder: Path, seeds: range, device: torch.device
) -> Scorer:
    """Trains the row's networks; several are averaged as probabilities."""
    results = [train(row, data, seed, folder / f"seed-{seed}", device) for seed in seeds]
    models = [load_weights(result.model, result.model_file) for result in results]

    def logits(questions: Questions) -> torch.Tensor:
        found = [
            all_scores(
                history_scores(model, data.sequences, questions.users, questions.ends, device),
                questions,
            )
            for model in models
        ]
        if len(found) == 1:
            return found[0]
        return torch.stack([one.log_softmax(dim=-1) for one in found]).logsumexp(dim=0)

    seconds = sum(result.history["seconds"].sum() for result in results)
    size = sum(p.numel() for p in models[0].parameters())
    return Scorer(logits, results[0].best_epoch, seconds, size)


def interval(ranks: torch.Tensor) -> list[float]:
    """Bootstrap 95 % interval of NDCG@10 over users."""
    gains = torch.where(ranks < 10, 1 / torch.log2(ranks + 2), 0.0).numpy()
    found = stats.bootstrap(
        (gains,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(0)
    )  # fmt: skip
    return [round(float(end), 5) for end in found.confidence_interval]


def measure(row: Row, key: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains and measures; the line for results.jsonl."""
    movielens = load_movielens(arguments.data)
    data = read(movielens, arguments.group, arguments.split, unrated=key == "window")
    device = choose_device(arguments.device)
    if key == "window":
        scorer = window_scorer(data, movielens, device)
    else:
        folder = network_folder(row, movielens, arguments)
        seeds = range(arguments.seed, arguments.seed + row.seeds)
        scorer = sequence_scorer(row, data, folder, seeds, device)
    weights, logits = (0.0, 0.0), scorer.logits(data.validation)
    alone = ranks = ask(logits.__getitem__, data, data.validation)
    if row.counts:
        counts = count_scores(data, data.validation, data.train_lengths)
        tried = {
            pair: ask(with_counts(logits, counts, pair), data, data.validation)
            for pair in itertools.product(FAR_WEIGHTS, NEAR_WEIGHTS)
        }
        weights = max(tried, key=lambda pair: metrics_from_ranks(tried[pair]).ndcg)
        ranks = tried[weights]
    metrics, test, test_ranks, test_alone = metrics_from_ranks(ranks), None, None, None
    if arguments.test:
        logits = scorer.logits(data.test)
        score = logits.__getitem__
        test_ranks = ask(score, data, data.test)
        test_alone = round(metrics_from_ranks(test_ranks).ndcg, 5)
        if any(weights):
            counts = count_scores(data, data.test, data.known_lengths)
            test_ranks = ask(with_counts(logits, counts, weights), data, data.test)
        test = metrics_from_ranks(test_ranks)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    )  # fmt: skip
    return {
        "rung": row.rung, "name": row.name, "key": key, "data": movielens.name,
        "group": arguments.group, "split": arguments.split,
        "target_time": bool(row.model.get("next_gap", False)), "seed": arguments.seed,
        "val_hr10": round(metrics.hit_rate, 5), "val_ndcg10": round(metrics.ndcg, 5),
        "val_ndcg10_interval": interval(ranks),
        "val_ndcg10_network": round(metrics_from_ranks(alone).ndcg, 5), "count_weights": weights,
        "test_hr10": round(test.hit_rate, 5) if test else None,
        "test_ndcg10": round(test.ndcg, 5) if test else None,
        "test_ndcg10_interval": interval(test_ranks) if test else None,
        "test_ndcg10_network": test_alone,
        "best_epoch": scorer.best_epoch, "parameters": scorer.parameters,
        "train_seconds": round(scorer.seconds), "peak_mib": round(peak),
        "machine": machine(), "torch": str(torch.__version__),
        "date": datetime.date.today().isoformat(), "config": dataclasses.asdict(row),
    }  # fmt: skip


def row_hash(row: Row) -> str:
    """Names the folder of a network: rows that differ only in what is added later share it."""
    trained = dataclasses.asdict(row) | {"rung": 0, "name": "", "counts": False, "seeds": 1}
    return hashlib.sha256(json.dumps(trained, sort_keys=True).encode()).hexdigest()[:12]


def results_file(data: str) -> Path:
    """Where lines go: only those of MovieLens-1M are part of the repository."""
    return RESULTS if data == "ml-1m" else REPOSITORY / "runs/quality" / data / RESULTS.name


def stored(file: Path = RESULTS) -> list[dict[str, Any]]:
    """All lines of a file of results."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


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
    parser.add_argument(
        "--publish", action="store_true", help="put the network into data/pretrained as well"
    )
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    if arguments.list:
        for key, row in ROWS.items():
            print(f"rung {row.rung}  {key:16} {row.name}")
        return
    if arguments.table:
        table = pd.DataFrame(stored()).drop(columns=["config", "machine", "torch", "data", "name"])
        print(table.to_string(index=False))
        return
    for key, row in ROWS.items():
        if arguments.row == key or arguments.rung == row.rung:
            run_once(key, row, arguments)
            if arguments.publish:
                publish(key, row, arguments)


def publish(key: str, row: Row, arguments: argparse.Namespace) -> None:
    """Stores the trained network as data/pretrained/DATA/sequence_model.pth."""
    movielens = load_movielens(arguments.data)
    data = read(movielens, arguments.group, arguments.split)
    folder = network_folder(row, movielens, arguments) / f"seed-{arguments.seed}"
    result = train(row, data, arguments.seed, folder, choose_device(arguments.device))
    best = result.history.set_index("epoch").loc[result.best_epoch]
    about = {
        "row": key, "group": arguments.group, "split": arguments.split, "seed": arguments.seed,
        "best_epoch": int(result.best_epoch), "validation": {
            name: round(float(best[name]), 5) for name in ("HR@10", "NDCG@10")
        },
        "train_seconds": round(float(result.history["seconds"].sum())),
        "machine": machine(), "torch": str(torch.__version__),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    model = load_weights(result.model, result.model_file)
    file = REPOSITORY / "data/pretrained" / movielens.name / "sequence_model.pth"
    save_sequence_model(model, file, about)
    print(f"{file.relative_to(REPOSITORY)}: {file.stat().st_size / 2**20:.2f} MiB")


def network_folder(row: Row, movielens: MovieLens, arguments: argparse.Namespace) -> Path:
    """Where the networks of a row are kept while they are trained, one folder a seed."""
    name = f"{arguments.group}-{arguments.split}-{row_hash(row)}"
    return REPOSITORY / "runs/quality" / movielens.name / name


def run_once(key: str, row: Row, arguments: argparse.Namespace) -> None:
    """Writes the row's line unless it is there, with test figures if they are asked for."""
    name = load_movielens(arguments.data).name
    file = results_file(name)
    mine = {
        "key": key, "data": name, "group": arguments.group, "split": arguments.split,
        "seed": arguments.seed, "config": dataclasses.asdict(row),
    }  # fmt: skip
    if found := find(file, mine, scored=arguments.test):
        print("already measured:", json.dumps(found))
        return
    line = measure(row, key, arguments)
    store(file, mine, line)
    print(json.dumps(line))


def find(file: Path, mine: dict[str, Any], scored: bool = False) -> dict[str, Any] | None:
    """The line of a run in a file of results; scored: only if it has test figures."""
    mine = json.loads(json.dumps(mine))  # as it looks in the file: lists for tuples
    for line in stored(file):
        if mine.items() <= line.items() and (line["test_ndcg10"] is not None or not scored):
            return line
    return None


def store(file: Path, mine: dict[str, Any], line: dict[str, Any]) -> None:
    """Writes the line of a run, in place of an earlier one without test figures."""
    file.parent.mkdir(parents=True, exist_ok=True)
    mine = json.loads(json.dumps(mine))
    # Read again: another row may have been written meanwhile.
    others = [old for old in stored(file) if not mine.items() <= old.items()]
    with replacing(file, mode=0o644) as stream:
        stream.write("".join(f"{json.dumps(each)}\n" for each in [*others, line]).encode())


if __name__ == "__main__":
    main()
