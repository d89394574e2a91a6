"""Trains and measures rows of notebooks 10 and 14: python -m benchmarks.quality --row gaps

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
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from benchmarks.measure import peak_mib
from benchmarks.variants import VARIANTS, shuffled_ties
from recformer_utils.baselines import distance_counts
from recformer_utils.evaluation import ScoreFunction, evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens import MovieLens, load_movielens
from recformer_utils.movielens_transformer import MovieLensTransformer
from recformer_utils.runs import save_atomically
from recformer_utils.runs.files import replacing
from recformer_utils.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    history_scores,
    train_sequence_model,
)
from recformer_utils.sequences import (
    Questions,
    Sequences,
    Split,
    last_windows,
    leave_one_out,
    order_by_time,
    temporal_split,
)
from recformer_utils.tokens import MovieLensMetadata, movie_features
from recformer_utils.training import (
    TrainerConfig,
    TrainingResult,
    choose_device,
    get_dataset,
    get_model_config,
    load_config,
    load_weights,
)
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY, machine

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
    variant: str = ""  # of benchmarks.variants; "" is the model of recformer_utils
    model: dict[str, Any] = field(default_factory=dict)  # of SequenceModelConfig
    trainer: dict[str, Any] = field(default_factory=dict)  # of TrainerConfig
    features: bool | str = False  # genres, year and places of each movie are known
    counts: bool = False  # counts of followers are added to the logits, weighted on validation
    seeds: int = 1  # networks whose probabilities are averaged


TRAINER = {
    "batch_size": 16, "starting_learning_rate": 0.002, "num_epochs": 12, "schedule": "cosine",
    "warmup_fraction": 0.05, "adam_beta2": 0.98, "mixed_precision": True, "keep_best": "NDCG@10",
    "progress": False,
}  # fmt: skip
GAPS = {"previous_gap": True}
TARGET_TIME = {**GAPS, "next_gap": True}
PLACES = {"variant": "places"}
BOTH = {"features": True, "counts": True}
BEST = {"width": 128, "heads": 4, "dropout": 0.3, **BOTH}
LONG = {"num_epochs": 20}
# What the search found, for rows that take four epochs; nothing that smells of the file's order.
PEAK = {"starting_learning_rate": 0.004, "schedule": "one-cycle"}
SHORT = {"length": 100, "dropout": 0.0, "trainer": {**PEAK, "num_epochs": 4}}
KNOWN = {"features": "no catalogue"}  # genres, year, and the place in the alphabet only
WIDE = {
    "width": 128, "heads": 4, "length": 100, "dropout": 0.1, "counts": True,
    "trainer": {**PEAK, "num_epochs": 6},
}  # fmt: skip
WIDE_12 = WIDE | {"trainer": {**PEAK, "num_epochs": 12}}
TIMES = {"pair_gaps": True}
ROWS = {
    "pctm": Row(0, "distance counts (PCTM) alone"),
    "window": Row(1, "the model of the post: one target per window of five"),
    "positions": Row(2, "a target at every position", variant="untied"),
    "large-batch": Row(
        2, "the same, 128 histories a step", variant="untied", trainer={"batch_size": 128}
    ),
    "tied": Row(3, "output tied to the embeddings", **PLACES),
    "bce": Row(4, "binary cross-entropy, one negative", variant="bce"),
    "sampled": Row(4, "softmax over 256 negatives", variant="sampled"),
    "gbce": Row(4, "gBCE, 256 negatives", variant="gbce"),
    "cosine": Row(4, "cosine scores, temperature 0.05", variant="cosine"),
    "width-32": Row(5, "32 wide", width=32, **PLACES),
    "width-128": Row(5, "128 wide", width=128, heads=4, **PLACES),
    "blocks-1": Row(5, "one block", layers=1, **PLACES),
    "blocks-4": Row(5, "four blocks", layers=4, **PLACES),
    "dropout-0": Row(5, "no dropout", dropout=0.0, **PLACES),
    "length-50": Row(5, "histories of 50", length=50, **PLACES),
    "average": Row(6, "moving average of the weights", variant="average"),
    "smoothing": Row(6, "label smoothing 0.1", variant="smoothing"),
    "overlap": Row(6, "pieces overlap by 50 movies", variant="overlap"),
    "features": Row(6, "genres, year, place of the title", features=True, **PLACES),
    "rotary": Row(6, "rotary positions"),
    "both": Row(6, "features and rotary positions", features=True),
    "counts": Row(7, "features, rotary positions, counts on the logits", **BOTH),
    "gaps": Row(8, "and gaps as input", model=GAPS, **BOTH),
    "gaps-dropout-0": Row(8, "gaps, no dropout", dropout=0.0, model=GAPS, **BOTH),
    "target-time": Row(8, "and the time of the target", model=TARGET_TIME, **BOTH),
    "target-pair-gaps": Row(
        8, "the time of the target, for all pairs",
        model={**TARGET_TIME, "pair_gaps": True}, **BOTH,
    ),
    "best": Row(8, "all of it, 128 wide, longer", model=GAPS, trainer=LONG, **BEST),
    "best-ids": Row(
        8, "ids only, in the shape of the best", width=128, heads=4, dropout=0.3, counts=True,
        trainer=LONG,
    ),
    "best-target-time": Row(
        8, "all of it, the time of the target known",
        model={**TARGET_TIME, "pair_gaps": True}, trainer=LONG, **BEST,
    ),
    "ensemble": Row(9, "three of the best together", model=GAPS, trainer=LONG, seeds=3, **BEST),
    "short-untied": Row(10, "a target at every position", variant="untied", **SHORT),
    "short-tied": Row(10, "output tied to the embeddings", **PLACES, **SHORT),
    "short-rotary": Row(10, "rotary positions", **SHORT),
    **{  # what other budgets bring
        f"short-rotary-{epochs}": Row(
            10, f"rotary positions, epochs: {epochs}",
            **SHORT | {"trainer": {**PEAK, "num_epochs": epochs}},
        )
        for epochs in (1, 2, 8)
    },
    "short-features": Row(10, "and genres, year, alphabet", **KNOWN, **SHORT),
    "short-gaps": Row(10, "features and gaps", model=GAPS, counts=True, **KNOWN, **SHORT),
    "short-gaps-12": Row(
        10, "the same, twelve epochs", model=GAPS, counts=True,
        **KNOWN, **SHORT | {"trainer": {**PEAK, "num_epochs": 12}},
    ),
    "wide": Row(11, "128 wide, dropout 0.1, six epochs", model=GAPS, **KNOWN, **WIDE),
    "wide-12": Row(11, "the same, twelve epochs", model=GAPS, **KNOWN, **WIDE_12),
    "wide-ensemble": Row(
        11, "three of these together", model=GAPS, seeds=3, **KNOWN, **WIDE_12
    ),
    "wide-ids": Row(11, "ids only, in the shape of wide", **WIDE),
    "wide-target-time": Row(
        11, "wide, the time of the target known", model=TARGET_TIME, **KNOWN, **WIDE
    ),
    "rotary-times": Row(12, "rotary positions and a bias of time", model=TIMES, **SHORT),
    "hstu-plain": Row(12, "HSTU, an embedding for each place", variant="hstu-places", **SHORT),
    "hstu-places": Row(12, "HSTU, a bias of place", variant="hstu", **SHORT),
    "hstu-times": Row(12, "HSTU, biases of place and time", variant="hstu", model=TIMES, **SHORT),
    "hstu-large-n": Row(
        12, "the same, divided by N = 2,000", variant="hstu-large-n", model=TIMES, **SHORT
    ),
    "hstu-softmax": Row(
        12, "the same with softmax", variant="hstu-softmax", model=TIMES, **SHORT
    ),
    "hstu-no-gate": Row(
        12, "the same without the gate", variant="hstu-no-gate", model=TIMES, **SHORT
    ),
    "hstu-target-time": Row(
        12, "HSTU, the bias of time counts to the target", variant="hstu",
        model={"pair_gaps": True, "next_gap": True}, **SHORT,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Data:
    """A column of the table: its catalogue, its sequences, what is learned and what is asked.

    ties: None, or the draw of the order inside a second; training then draws it anew each epoch.
    """

    movies: pd.DataFrame
    metadata: MovieLensMetadata
    sequences: Sequences
    split: Split
    ties: int | None = None


def read(
    movielens: MovieLens, group: str, split: str, unrated: bool = False, ties: int | None = None
) -> Data:
    """The data of a column of the table.

    Args:
        unrated: movies that nobody rated have tokens, too.
        ties: None keeps ratings of one second in the order of the file; a number draws a random one.
    """
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
    if ties is not None:
        ratings = ratings.sample(frac=1, random_state=ties)
    sequences = order_by_time(ratings, metadata)
    if split == "leave-one-out":
        return Data(movies, metadata, sequences, leave_one_out(sequences), ties)
    cut = int(np.ceil(np.quantile(sequences.timestamps, 0.9)))
    return Data(movies, metadata, sequences, temporal_split(sequences, cut), ties)


def build(row: Row, data: Data, seed: int) -> SequenceModel:
    """The untrained network of a row."""
    shape = TransformerConfig(
        vocab_size=data.metadata.vocab_size, context_window_size=row.length,
        embedding_dimension=row.width, num_layers=row.layers, num_heads=row.heads,
        dropout_embeddings=row.dropout, dropout_attention=0.0, dropout_residual=row.dropout,
    )  # fmt: skip
    torch.manual_seed(seed)
    features = movie_features(data.movies, data.metadata) if row.features else torch.zeros(0, 0)
    if row.features == "no catalogue":
        features = features[:, :-20]  # the last columns are the waves of that place
    config = SequenceModelConfig(transformer=shape, item_features=features.shape[1], **row.model)
    model = VARIANTS[row.variant].model(config)
    if row.features:
        model.item_features.copy_(features)
    return model


def train(row: Row, data: Data, seed: int, folder: Path, device: torch.device) -> TrainingResult:
    """Trains a row, or goes on with it, and keeps the best epoch by NDCG@10 on validation."""
    trainer = TrainerConfig(
        model_dir=str(folder), tensorboard_dir=str(folder / "tensorboard"), seed=seed,
        **{**TRAINER, **row.trainer},
    )  # fmt: skip
    variant = VARIANTS[row.variant]
    model = build(row, data, seed)
    return train_sequence_model(
        model.to(device), data.sequences, data.split, trainer,
        on_epoch=lambda epoch, _: print(f"epoch {epoch}", flush=True),
        loss=variant.loss, settings={"row": row_hash(row)},
        cut=variant.cut if data.ties is None else shuffled_ties(variant.cut),
    )  # fmt: skip


def all_scores(score: ScoreFunction, sequences: Sequences, questions: Questions) -> torch.Tensor:
    """Scores of all questions, float (questions, vocab_size): 94 MB on MovieLens-1M."""
    starts = range(0, len(questions.users), 512)
    return torch.cat([score(sequences, questions.take(slice(i, i + 512))) for i in starts])


def ranks_of(scores: torch.Tensor, sequences: Sequences, questions: Questions) -> torch.Tensor:
    """Ranks of the targets from scores of all questions, float (questions,)."""
    parts = iter(scores.split(512))
    return evaluate_ranking(lambda *_: next(parts), sequences, questions, batch_size=512)


def count_scores(
    data: Data, questions: Questions, lengths: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """What counts of the first ``lengths`` movies of each user say, asked about the histories.

    Returns:
        The distance counts (PCTM), and the same for direct followers only with popularity left
        out; both float (questions, vocab_size).
    """
    settings = {}, {"window": 1, "smoothing": 600.0, "popularity_power": 0.0}
    far, near = (
        all_scores(
            distance_counts(data.sequences, lengths, data.metadata.vocab_size, **options).score,
            data.sequences, questions,
        )
        for options in settings
    )  # fmt: skip
    return far, near


Weights = tuple[float, float]


def with_counts(
    network: torch.Tensor, counts: tuple[torch.Tensor, torch.Tensor], weights: Weights
) -> torch.Tensor:
    """log-softmax of the network + the weighted counts, all float (questions, vocab_size)."""
    (far, near), (w_far, w_near) = counts, weights
    return network.log_softmax(dim=-1) + w_far * far + w_near * near


@dataclass(frozen=True)
class Scorer:
    """What a row scores with.

    Attributes:
        logits: takes questions; float (questions, vocab_size).
        best_epoch: of the (first) network.
        seconds: its training, all seeds together.
        parameters: of one network.
        curve: seconds of training after each epoch of the (first) network, and its NDCG@10.
    """

    logits: Callable[[Questions], torch.Tensor]
    best_epoch: int
    seconds: float
    parameters: int
    curve: list[tuple[float, float]] = field(default_factory=list)


def window_scorer(data: Data, movielens: MovieLens, device: torch.device) -> Scorer:
    """The stored model of the post, as `python -m tools.pretrain` trained it."""
    folder = REPOSITORY / "data/pretrained" / movielens.name
    config = load_config(folder / "config.yaml")
    config["trainer_config"]["data_dir"] = str(movielens.folder)
    shape = get_model_config(config, get_dataset(config))
    model = load_weights(MovieLensTransformer(shape), folder / "model.pth").to(device)
    length = shape.movie_transformer_config.context_window_size

    def score(sequences: Sequences, questions: Questions) -> torch.Tensor:
        windows = last_windows(sequences, questions, length, data.metadata.start_token)
        with torch.no_grad():
            return model(windows.to(device), torch.as_tensor(questions.users).to(device)).cpu()

    run = json.loads((folder / "run.json").read_text())
    size = sum(p.numel() for p in model.parameters())
    logits = lambda questions: all_scores(score, data.sequences, questions)  # noqa: E731
    return Scorer(logits, run["best_epoch"], run["train_seconds"], size)


def counting_scorer(data: Data) -> Scorer:
    """The distance counts alone; for the test they include the movies of validation."""

    def logits(questions: Questions) -> torch.Tensor:
        tested = questions is data.split.test
        lengths = data.split.known_lengths if tested else data.split.train_lengths
        counts = distance_counts(data.sequences, lengths, data.metadata.vocab_size)
        return all_scores(counts.score, data.sequences, questions)

    return Scorer(logits, best_epoch=0, seconds=0.0, parameters=0)


def sequence_scorer(
    row: Row, data: Data, folder: Path, seeds: range, device: torch.device
) -> Scorer:
    """Trains the row's networks; several are averaged as probabilities."""
    results = [train(row, data, seed, folder / f"seed-{seed}", device) for seed in seeds]
    models = [load_weights(result.model, result.model_file) for result in results]

    def logits(questions: Questions) -> torch.Tensor:
        scores = (history_scores(model, device) for model in models)
        found = [all_scores(score, data.sequences, questions) for score in scores]
        if len(found) == 1:
            return found[0]
        return torch.stack([one.log_softmax(dim=-1) for one in found]).logsumexp(dim=0)

    seconds = sum(result.history["seconds"].sum() for result in results)
    size = sum(p.numel() for p in models[0].parameters())
    first = results[0].history
    curve = zip(first["seconds"].cumsum().round(1), first["NDCG@10"].round(5), strict=True)
    return Scorer(logits, results[0].best_epoch, seconds, size, list(curve))


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
    ties = arguments.seed if arguments.ties == "random" else None
    data = read(movielens, arguments.group, arguments.split, key == "window", ties)
    device = choose_device(arguments.device)
    if key == "window":
        scorer = window_scorer(data, movielens, device)
    elif key == "pctm":
        scorer = counting_scorer(data)
    else:
        folder = network_folder(row, movielens, arguments)
        seeds = range(arguments.seed, arguments.seed + row.seeds)
        scorer = sequence_scorer(row, data, folder, seeds, device)
    validation, test = data.split.validation, data.split.test
    weights, logits = (0.0, 0.0), scorer.logits(validation)
    alone = ranks = ranks_of(logits, data.sequences, validation)
    if row.counts:
        counts = count_scores(data, validation, data.split.train_lengths)
        tried = {
            pair: ranks_of(with_counts(logits, counts, pair), data.sequences, validation)
            for pair in itertools.product(FAR_WEIGHTS, NEAR_WEIGHTS)
        }
        weights = max(tried, key=lambda pair: metrics_from_ranks(tried[pair]).ndcg)
        ranks = tried[weights]
    line = {
        "rung": row.rung, "name": row.name, "key": key, "data": movielens.name,
        "group": arguments.group, "split": arguments.split, "ties": arguments.ties,
        "ids_only": not row.features and not row.model,
        "target_time": bool(row.model.get("next_gap", False)), "seed": arguments.seed,
        **measured("val", ranks, alone), "count_weights": weights, **measured("test"),
        "best_epoch": scorer.best_epoch, "parameters": scorer.parameters,
        "train_seconds": round(scorer.seconds), "curve": scorer.curve, "peak_mib": round(peak_mib()),
        "machine": machine(), "torch": str(torch.__version__),
        "date": datetime.date.today().isoformat(), "config": dataclasses.asdict(row),
    }  # fmt: skip
    if arguments.test:
        logits = scorer.logits(test)
        alone = ranks = ranks_of(logits, data.sequences, test)
        if any(weights):
            counts = count_scores(data, test, data.split.known_lengths)
            ranks = ranks_of(with_counts(logits, counts, weights), data.sequences, test)
        line |= measured("test", ranks, alone)
    return line


def measured(
    part: str, ranks: torch.Tensor | None = None, alone: torch.Tensor | None = None
) -> dict[str, Any]:
    """The figures of "val" or "test" for a line, from ranks with counts and without; or None."""
    asked = ranks is not None
    metrics = metrics_from_ranks(ranks) if asked else None
    return {
        f"{part}_hr10": round(metrics.hit_rate, 5) if asked else None,
        f"{part}_ndcg10": round(metrics.ndcg, 5) if asked else None,
        f"{part}_ndcg10_interval": interval(ranks) if asked else None,
        f"{part}_ndcg10_network": round(metrics_from_ranks(alone).ndcg, 5) if asked else None,
    }


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
    parser.add_argument(
        "--ties",
        choices=("file", "random"),
        default="file",
        help="order inside a second; the seed draws it",
    )
    parser.add_argument("--test", action="store_true", help="score the test as well: once a row")
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, help="CPU threads for PyTorch")
    parser.add_argument(
        "--publish", action="store_true", help="put the network into data/pretrained as well"
    )
    arguments = parser.parse_args()
    window = arguments.row == "window" or arguments.rung == ROWS["window"].rung
    if arguments.ties == "random" and (window or arguments.publish):
        parser.error("the stored networks learned with ties in the order of the file")
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


def save_sequence_model(model: SequenceModel, path: Path, about: dict[str, Any]) -> None:
    """One file that `tools.stored` reads: weights, shape, and what is said about them."""
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    save_atomically(
        {"config": dataclasses.asdict(model.config), "weights": weights, "about": about}, path
    )


def network_folder(row: Row, movielens: MovieLens, arguments: argparse.Namespace) -> Path:
    """Where the networks of a row are kept while they are trained, one folder a seed."""
    name = f"{arguments.group}-{arguments.split}-{row_hash(row)}"
    name += f"-random-{arguments.seed}" * (arguments.ties == "random")  # the draw of the order
    return REPOSITORY / "runs/quality" / movielens.name / name


def run_once(key: str, row: Row, arguments: argparse.Namespace) -> None:
    """Writes the row's line unless it is there, with test figures if they are asked for."""
    name = load_movielens(arguments.data).name
    file = results_file(name)
    mine = {
        "key": key, "data": name, "group": arguments.group, "split": arguments.split,
        "ties": arguments.ties, "seed": arguments.seed, "config": dataclasses.asdict(row),
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
        if mine.items() <= line.items() and (not scored or line["test_ndcg10"] is not None):
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
