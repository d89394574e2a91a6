"""What training tricks gain, and what torch.compile gains: the measurements of notebook 09.

    python -m benchmarks.tricks [--data ml-1m] [--only "one-cycle"]      (an hour and a half)
    python -m benchmarks.tricks --recipes                                (an hour)
    python -m benchmarks.tricks --compile                                (ten minutes, a quiet machine)
    python -m benchmarks.tricks --data sample --quick                    (seconds, nothing stored)

Tricks: each run trains the post's model on the last ratings of every user, a small budget that is
the same for all (but one, which has twice the epochs), and writes one line to
data/pretrained/training_tricks.jsonl. Everything is measured on the validation movies; the test
movies are not touched. A run that has its line is skipped, so a killed call goes on when it is
called again. Recipes: two ways to spend 24 epochs, three seeds each, and which epoch to keep. The
epoch is chosen on one half of the validation users and asked about the other half, and the other
way round: data/pretrained/recipes.jsonl, and in recipes.npz the ranks of the epochs kept. Compile: one step of models of several sizes, each in a process of its own with an
empty cache, so that the first step pays for the whole translation: data/pretrained/compile_step.json.
"""

import argparse
import copy
import datetime
import itertools
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.measure import in_a_process, timed
from recformer_utils.evaluation import history_index, mask_history, metrics_from_ranks, target_ranks
from recformer_utils.losses import repetition_mass
from recformer_utils.movielens import MovieLens, load_movielens
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.runs.files import replacing
from recformer_utils.sequences import MovieLensSequenceDataset
from recformer_utils.training import get_dataset, load_config, run_model_training, train_step
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY, machine, write_json

RESULTS = REPOSITORY / "data/pretrained/training_tricks.jsonl"
RECIPE_RUNS = REPOSITORY / "data/pretrained/recipes.jsonl"
COMPILED = REPOSITORY / "data/pretrained/compile_step.json"
RATINGS_PER_USER = 26  # the last ones; two of them are the targets of validation and test
BASE = {"num_epochs": 4, "batch_size": 256, "starting_learning_rate": 0.004}
SEEDS = (0, 1, 2)

# Schedules are compared at the peak rate that is best for each, found with seed 0.
RATES = {
    "constant": (0.001, 0.002, 0.004, 0.008),
    "cosine": (0.002, 0.004, 0.008, 0.016),
    "warm-up + cosine": (0.002, 0.004, 0.008, 0.016),
    "one-cycle": (0.002, 0.004, 0.008, 0.016),
}
SCHEDULES = {
    "constant": {},
    "cosine": {"schedule": "cosine"},
    "warm-up + cosine": {"schedule": "cosine", "warmup_fraction": 0.1},
    "one-cycle": {"schedule": "one-cycle"},
}
# One change each to "constant" at its best rate.
TRICKS = {
    "gradient clipping at 1": {"max_gradient_norm": 1.0},
    "weight decay 0.1": {"weight_decay": 0.1},
    "no dropout": {"dropout": 0.0},
    "dropout 0.3": {"dropout": 0.3},
    "bfloat16": {"mixed_precision": True},
    "twice the epochs": {"num_epochs": 8},
    "penalty from argmax": {"penalty": "share"},
    "penalty from probability": {"penalty": "mass"},
    "penalty from probability x 10": {"penalty": "ten times mass"},
}
# Two ways to spend 24 epochs on the last sixty ratings of every user.
RECIPES = {
    "falling from epoch to epoch": {"starting_learning_rate": 0.002, "learning_rate_decay": 0.94},
    "one-cycle": {"starting_learning_rate": 0.005, "schedule": "one-cycle"},
}
RECIPE_BUDGET = {"num_epochs": 24, "batch_size": 512}
RECIPE_RATINGS = 60
# torch.compile: layers, width, batch.
SIZES = [(1, 32, 32), (4, 32, 32), (4, 32, 512), (4, 32, 2048), (4, 128, 512)]
MOVIES, USERS, WINDOW = 3_885, 6_040, 5  # of MovieLens-1M


def repetition_share(logits: torch.Tensor, movie_tokens: torch.Tensor) -> torch.Tensor:
    """The dead penalty of notebook 09: built from argmax, it has no gradient."""
    best = logits.argmax(dim=-1, keepdim=True)  # (batch, 1)
    return (movie_tokens == best).any(dim=1).to(logits.dtype).mean()


PENALTIES = {
    "share": repetition_share,
    "mass": repetition_mass,
    "ten times mass": lambda *arguments: 10 * repetition_mass(*arguments),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for PyTorch")
    parser.add_argument("--only", help="one trick or schedule by its name")
    parser.add_argument("--compile", action="store_true", help="torch.compile instead of tricks")
    parser.add_argument("--recipes", action="store_true", help="two recipes, which epoch to keep")
    parser.add_argument("--quick", action="store_true", help="one run of one epoch, not stored")
    parser.add_argument("--size", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.size:
        print(json.dumps(compiled_step(*arguments.size)))
    elif arguments.recipes:
        measure_recipes(arguments)
    elif arguments.compile:
        write_json(COMPILED, [measure_compiled(size, arguments.threads) for size in SIZES])
    else:
        measure_tricks(arguments)


def measure_tricks(arguments: argparse.Namespace) -> None:
    """Every run that has no line yet, or the one asked for."""
    data = load_movielens(arguments.data)
    folder = REPOSITORY / "build/training_tricks" / data.name
    small = write_last_ratings(data, folder, RATINGS_PER_USER)
    if arguments.quick:
        change = {"num_epochs": 1, "starting_learning_rate": 0.004}
        print(json.dumps(train({"name": "constant", "seed": 0}, change, 0, small)))
        return

    def wanted(name: str) -> bool:
        return arguments.only in (None, name)

    for name, rates in RATES.items():
        for rate in filter(lambda rate: wanted(name), rates):
            measure(name, {**SCHEDULES[name], "starting_learning_rate": rate}, 0, small, data.name)
    best = {name: best_rate(name, data.name) for name in RATES}
    for seed in SEEDS:
        for name, rate in best.items():
            if wanted(name):
                change = {**SCHEDULES[name], "starting_learning_rate": rate}
                measure(name, change, seed, small, data.name)
        for name, change in TRICKS.items():
            if wanted(name):
                change = {"starting_learning_rate": best["constant"], **change}
                measure(name, change, seed, small, data.name)
    print(table(data.name))


def measure_recipes(arguments: argparse.Namespace) -> None:
    """Every recipe and seed that has no line yet; of the sample nothing is stored."""
    data = load_movielens(arguments.data)
    folder = REPOSITORY / "build/recipes" / data.name
    small = write_last_ratings(data, folder, RECIPE_RATINGS)
    keep = data.name == "ml-1m" and not arguments.quick
    there = RECIPE_RUNS.read_text().splitlines() if keep and RECIPE_RUNS.exists() else []
    done = {(row["recipe"], row["seed"]) for row in map(json.loads, there)}
    file = RECIPE_RUNS.with_suffix(".npz")
    kept = dict(np.load(file)) if keep and file.exists() else {}
    for seed, (name, change) in itertools.product(SEEDS, RECIPES.items()):
        if (name, seed) in done:
            continue
        line, ranks = train_recipe(name, change, seed, small, quick=arguments.quick)
        kept |= {f"{name}, seed {seed}, {by}": one for by, one in ranks.items()}
        print(json.dumps(line), flush=True)
        if arguments.quick:
            return
        if keep:
            with replacing(file, mode=0o644) as whole:
                np.savez_compressed(whole, **kept)
            with RECIPE_RUNS.open("a") as lines:
                lines.write(json.dumps(line) + "\n")


def train_recipe(
    name: str, change: dict, seed: int, folder: Path, quick: bool
) -> tuple[dict, dict[str, np.ndarray]]:
    """Trains once; its line, and by what kept each user's rank (0 is the best), float32 (users,).

    Half of the users choose the epoch for the other half, so that nobody is judge and chooser.
    """
    budget = RECIPE_BUDGET | ({"num_epochs": 2} if quick else {})
    config, _ = configuration({**budget, **change}, seed, folder)
    shutil.rmtree(config["trainer_config"]["model_dir"], ignore_errors=True)
    training = get_dataset(config)
    validation = training.part(is_validation=True)
    history = history_index(validation.sequences, validation.questions)
    windows, targets = validation.windows, validation.windows.next_movie_tokens
    chooses = np.random.default_rng(0).random(len(validation)) < 0.5  # the same in every run
    losses, ranks = [], []  # one row an epoch

    def ask(_: int, model: torch.nn.Module) -> None:
        with torch.no_grad():
            logits = model(windows.movie_tokens, windows.user_tokens)
        loss = torch.nn.functional.cross_entropy(logits, targets.long(), reduction="none")
        logits[:, validation.metadata.num_movies :] = float("-inf")
        losses.append(loss.numpy())
        ranks.append(target_ranks(mask_history(logits, history), targets).numpy())

    result = run_model_training(config, on_epoch=ask)
    losses, ranks = np.stack(losses), np.stack(ranks)  # (epochs, users)
    gains = np.where(ranks < 10, 1 / np.log2(ranks + 2), 0.0)
    kept, epochs = {}, {}
    for by, values in {"loss": -losses, "NDCG@10": gains}.items():
        best = [int(values[:, half].mean(axis=1).argmax()) for half in (chooses, ~chooses)]
        kept[by] = np.where(chooses, ranks[best[1]], ranks[best[0]]).astype(np.float32)
        epochs[by] = [epoch + 1 for epoch in best]
    line = {
        "recipe": name, "seed": seed, "epochs_kept": epochs,
        "ndcg10": {by: round(metrics_from_ranks(torch.from_numpy(one)).ndcg, 5)
                   for by, one in kept.items()},
        "windows": len(training), "users": len(validation),
        "train_seconds": round(result.history["seconds"].sum(), 1), "machine": machine(),
        "torch": torch.__version__, "date": datetime.date.today().isoformat(),
        "change": {**budget, **change},
        "validation_loss": losses.mean(axis=1).round(5).tolist(),  # by epoch, all users
        "ndcg10_by_epoch": gains.mean(axis=1).round(5).tolist(),
    }  # fmt: skip
    return line, kept


def write_last_ratings(data: MovieLens, folder: Path, count: int) -> Path:
    """Writes the last ``count`` ratings of every user as a data set of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    ordered = data.ratings.sort_values(["user_id", "unix_timestamp"], kind="stable")
    ratings = ordered.groupby("user_id").tail(count)
    for name, frame in {"users": data.users, "movies": data.movies, "ratings": ratings}.items():
        lines = frame.astype(str).agg("::".join, axis=1)
        (folder / f"{name}.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder


def stored(data: str) -> list[dict]:
    """The lines of one data set."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [row for row in map(json.loads, lines) if row["data"] == data]


def best_rate(name: str, data: str) -> float:
    """The peak learning rate of a schedule with the highest NDCG@10 on validation, seed 0."""
    rows = [row for row in stored(data) if row["name"] == name and row["seed"] == 0]
    return max(rows, key=lambda row: row["val_ndcg10"])["learning_rate"]


def measure(name: str, change: dict, seed: int, folder: Path, data: str) -> None:
    """Trains once and appends a line, unless it is there already."""
    key = {"data": data, "name": name, "learning_rate": change["starting_learning_rate"]}
    key["seed"] = seed
    if any(key.items() <= row.items() for row in stored(data)):
        return
    line = train(key, change, seed, folder)
    with RESULTS.open("a") as file:
        file.write(json.dumps(line) + "\n")
    print(json.dumps(line), flush=True)


def train(key: dict, change: dict, seed: int, folder: Path) -> dict:
    """Trains once; the line of a run."""
    config, penalty = configuration(change, seed, folder)
    shutil.rmtree(config["trainer_config"]["model_dir"], ignore_errors=True)
    started = time.perf_counter()
    result = run_model_training(config, penalty=PENALTIES.get(penalty))
    seconds = time.perf_counter() - started
    row = result.history.iloc[-1]
    return {
        **key,
        "epochs": len(result.history),
        "val_loss": round(row["validation_loss"], 5),
        "val_hr10": round(row["HR@10"], 5),
        "val_ndcg10": round(row["NDCG@10"], 5),
        **repetition(result.model, get_dataset(config, is_validation=True)),
        "train_seconds": round(result.history["seconds"].sum(), 1),
        "wall_seconds": round(seconds, 1),
        "machine": machine(),
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        "change": change,
        "validation_loss": result.history["validation_loss"].round(5).tolist(),  # by epoch
        "ndcg10": result.history["NDCG@10"].round(5).tolist(),
    }


def configuration(change: dict, seed: int, folder: Path) -> tuple[dict, str | None]:
    """The post's configuration with one change, and the name of the penalty, if any."""
    config = copy.deepcopy(load_config(REPOSITORY / "notebooks/configs/post.yaml"))
    change = dict(change)
    penalty, dropout = change.pop("penalty", None), change.pop("dropout", None)
    if dropout is not None:
        for place in ("embeddings", "attention", "residual"):
            config["movie_transformer_config"][f"dropout_{place}"] = dropout
    config["trainer_config"] |= {
        **BASE, "patience": None, **change, "seed": seed, "data_dir": str(folder),
        "model_dir": str(folder / "run"), "tensorboard_dir": str(folder / "run/tensorboard"),
        "progress": False, "device": "cpu",
    }  # fmt: skip
    return config, penalty


def repetition(model: torch.nn.Module, validation: MovieLensSequenceDataset) -> dict[str, float]:
    """How often the ten best movies were seen before, and NDCG@10 with nothing masked.

    repetition10 counts all movies of the user's history, window_repetition10 those of the window.
    """
    windows, questions = validation.windows, validation.questions
    history = history_index(validation.sequences, questions)
    with torch.no_grad():
        logits = model.eval()(windows.movie_tokens, windows.user_tokens)
    logits[:, validation.metadata.num_movies :] = float("-inf")
    ranks = target_ranks(logits, windows.next_movie_tokens)
    best = logits.topk(10).indices  # (users, 10)
    seen = torch.zeros_like(logits, dtype=torch.bool)
    seen[history] = True
    in_window = torch.zeros_like(seen).scatter_(1, windows.movie_tokens.long(), True)
    masked = target_ranks(mask_history(logits, history), windows.next_movie_tokens)
    return {
        "repetition10": round(seen.gather(1, best).double().mean().item(), 5),
        "window_repetition10": round(in_window.gather(1, best).double().mean().item(), 5),
        "unmasked_ndcg10": round(metrics_from_ranks(ranks).ndcg, 5),
        "last_masked_ndcg10": round(metrics_from_ranks(masked).ndcg, 5),
    }


def table(data: str) -> pd.DataFrame:
    """Mean and spread over the seeds, at the best rate of each schedule."""
    rows = pd.DataFrame(stored(data))
    counts = rows.groupby(["name", "learning_rate"])["seed"].transform("nunique")
    return rows[counts == len(SEEDS)].groupby("name", sort=False)["val_ndcg10"].agg(["mean", "std"])


def compiled_step(layers: int, width: int, batch: int) -> dict:
    """Seconds of the first compiled step, median milliseconds of the later ones and of eager ones."""
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=MOVIES, context_window_size=WINDOW, embedding_dimension=width,
        num_layers=layers, num_heads=4,
    )  # fmt: skip
    model = MovieLensTransformer(
        MovieLensTransformerConfig(
            movie_transformer_config=shape, user_embedding_dimension=width, num_users=USERS,
            interaction_mlp_hidden_sizes=[16],
        )
    )  # fmt: skip
    init_weights(model)
    optimizer = torch.optim.Adam(model.parameters())
    criterion = torch.nn.CrossEntropyLoss()
    windows = torch.randint(MOVIES - 2, (batch, WINDOW), dtype=torch.int32)
    users = torch.randint(USERS, (batch,), dtype=torch.int32)
    targets = torch.randint(MOVIES - 2, (batch,))

    def median_ms(module: torch.nn.Module) -> float:
        def step() -> None:
            train_step(windows, users, targets, module, optimizer, criterion, torch.device("cpu"))

        return round(1000 * timed(step, 30, 120, time.perf_counter)["seconds"], 2)

    eager, compiled, started = median_ms(model), torch.compile(model), time.perf_counter()
    train_step(windows, users, targets, compiled, optimizer, criterion, torch.device("cpu"))
    first = time.perf_counter() - started
    return {
        "layers": layers, "width": width, "batch": batch, "first_step_s": round(first, 1),
        "eager_ms": eager, "compiled_ms": median_ms(compiled), "machine": machine(),
        "torch": torch.__version__, "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def measure_compiled(size: tuple[int, int, int], threads: int) -> dict:
    """One size in a process of its own, with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        row = in_a_process(
            "benchmarks.tricks", "--threads", threads, "--size", *size,
            TORCHINDUCTOR_CACHE_DIR=cache, OMP_NUM_THREADS=str(threads),
        )  # fmt: skip
    print(json.dumps(row), flush=True)
    return row


if __name__ == "__main__":
    main()
