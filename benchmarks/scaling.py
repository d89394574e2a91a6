"""How cost grows with the catalogue, the histories, the users; and what a search costs.

    python -m benchmarks.scaling              (twenty minutes on a machine that does nothing else)
    python -m benchmarks.scaling --quick --output build/scaling_quick.json      (a minute, a test)
    python -m benchmarks.scaling --only serving --anew    (one of the curves; the others stay)

Each point is measured in a process of its own, with one thread, and stored in scaling.json beside
this file at once: a run that was killed goes on where it stopped. --anew measures everything again.
Times are medians of processor seconds, which other programs do not change much, with the smallest
and the largest; memory is what the point added to the process at its peak, in MiB. Notebook 11 shows
all of it. Two of the four jobs for users are extrapolated in every point: a training epoch from 30 of
its batches, the ranking from about 5,000 users. Their time is proportional to the users by
construction. A search is timed with one query in each call, the exact one and the indices alike, and
with a batch of queries in each call (exact, and the smallest setting with a recall of ENOUGH). What
several processes take is the time that passes, so other programs do change it: the fastest, the
median and the slowest run are stored, beside the processor time of the process that worked most.
"""

import argparse
import bisect
import datetime
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from benchmarks.made_up import CATALOGUE, item_vectors, random_histories, write_csv
from benchmarks.measure import in_a_process, peak_mib, size_now_mib, timed, versions
from recformer_utils.evaluation import evaluate_ranking
from recformer_utils.losses import full_cross_entropy, sampled_loss
from recformer_utils.movielens import MovieLens, load_movielens
from recformer_utils.runs import fast_matrix_products
from recformer_utils.sequence_model import (
    SequenceBatch,
    SequenceModel,
    SequenceModelConfig,
    history_scores,
    make_batch,
    next_movie_loss,
    training_batches,
)
from recformer_utils.sequences import Sequences, leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY, machine, write_json
from tools.log_files import write_log

BUILD = REPOSITORY / "build"
POSITIONS, WIDTH, NEGATIVES = 1_024, 64, 256  # of one step of a loss
LARGEST_FULL = 300_000  # a million would need 12 GB for three matrices of that many columns
STEP_POSITIONS = 8_000  # of a training step, whatever the length of its histories
QUERIES, TOP, BATCH = 1_000, 10, 50  # of the search
ENOUGH = 0.95  # the recall at which indices are compared
PARALLEL_USERS, PARALLEL_EPOCHS = 5_000, 1
PARALLEL = ["--epochs", str(PARALLEL_EPOCHS), "--width", "64", "--batch-size", "128"]
POINTS = {
    "catalogue": [
        {"loss": loss, "movies": movies}
        for loss, movies in itertools.product(
            ("full", "chunked", "sampled"),
            (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000),
        )
        if loss != "full" or movies <= LARGEST_FULL
    ],
    "history": [
        {"attention": attention, "length": length}
        for attention, length in itertools.product(
            ("plain", "with gaps of pairs"), (50, 100, 200, 500, 1_000, 2_000)
        )
    ],
    "users": [{"users": users} for users in (10_000, 30_000, 100_000, 300_000, 1_000_000)],
    "reading": [{"ratings": ratings} for ratings in (1_000_000, 3_000_000, 10_000_000, 32_000_204)],
    "serving": [
        {"index": index, "items": items}
        for items, index in itertools.product(
            (1_000, 10_000, 100_000, 1_000_000), ("exact", "IVF", "HNSW")
        )
    ],
    "processes": [{"processes": processes} for processes in (1, 2)],
}
# --quick
SMALL = dict(movies=3_000, length=100, users=10_000, ratings=1_000_000, items=10_000, processes=0)


# ---------------------------------------------------------------- what a point measures


def loss_step(kind: str, movies: int) -> Callable[[], None]:
    """One step of a loss with its gradients: full, chunked or sampled."""
    losses = {
        "full": lambda hidden, weight, targets: F.cross_entropy(hidden @ weight.T, targets),
        "chunked": full_cross_entropy,
        "sampled": lambda *tensors: sampled_loss(*tensors, "sampled", NEGATIVES),
    }
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = (0.02 * torch.randn(movies, WIDTH)).requires_grad_()
    targets = torch.randint(movies - 2, (POSITIONS,))

    def step() -> None:
        hidden.grad = weight.grad = None
        losses[kind](hidden, weight, targets).backward()

    losses[kind](hidden[:2], weight[:300], targets[:2] % 298).backward()  # libraries are loaded
    hidden.grad = weight.grad = None
    return step


def measure_catalogue(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """A loss and its gradients: what it adds to the memory, and its time."""
    step = loss_step(point["loss"], point["movies"])
    before = size_now_mib()
    step()
    added = peak_mib() - before
    return [{**point, "mib": round(added, 1), **timed(step, repetitions)}]


def measure_history(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """A training step of the sequence model on as many positions, in ever longer histories."""
    model = _sequence_model(point["length"], pair_gaps=point["attention"] != "plain")
    rows = STEP_POSITIONS // point["length"]
    batch = _batch(rows, point["length"])
    next_movie_loss(model, _batch(1, 2)).backward()
    model.zero_grad()
    before = size_now_mib()

    def step() -> None:
        model.zero_grad()
        next_movie_loss(model, batch).backward()

    step()
    added = peak_mib() - before
    return [{**point, "histories": rows, "mib": round(added, 1), **timed(step, repetitions)}]


def _sequence_model(length: int, **options: bool) -> SequenceModel:
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=CATALOGUE + 2, context_window_size=length, embedding_dimension=WIDTH, num_layers=2,
        num_heads=2, dropout_embeddings=0.0, dropout_attention=0.0, dropout_residual=0.0,
    )  # fmt: skip
    return SequenceModel(SequenceModelConfig(transformer=shape, **options))


def _batch(rows: int, length: int) -> SequenceBatch:
    size = rows * (length + 1)
    sequences = Sequences(
        movie_tokens=np.random.default_rng(0).integers(CATALOGUE, size=size).astype(np.int32),
        ratings=np.full(size, 5, np.int8),
        timestamps=np.arange(size, dtype=np.int64) * 60,
        offsets=np.arange(rows + 1) * (length + 1),
    )
    lengths = np.full(rows, length)
    return make_batch(sequences, np.zeros(rows, int), lengths, np.arange(rows), learn=True)


def measure_users(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """Made-up users: put in order, cut into an epoch's batches, trained, evaluated."""
    frame, metadata = _shuffled_log(point["users"])
    before = size_now_mib()
    sequences = order_by_time(frame, metadata)
    row = {**point, "interactions": len(frame), "ordering_mib": round(peak_mib() - before, 1)}
    row["ordering"] = timed(lambda: order_by_time(frame, metadata), repetitions, budget=10)
    split = leave_one_out(sequences)
    before, started = size_now_mib(), time.process_time()
    batches = training_batches(sequences, split.train_lengths, 100, 128, seed=0)
    row["cutting"] = {"seconds": time.process_time() - started}
    row["cutting_mib"] = round(peak_mib() - before, 1)
    model = _sequence_model(100)
    some = [batches[i] for i in np.linspace(0, len(batches) - 1, 30).astype(int)]

    def train() -> None:
        with fast_matrix_products():
            for batch in some:
                model.zero_grad()
                next_movie_loss(model, batch).backward()

    positions = sum(int(batch.lengths.sum()) for batch in some)
    row["positions_per_second"] = positions / timed(train, repetitions, budget=10)["seconds"]
    learned = int((split.train_lengths - 1).clip(min=0).sum())
    row["epoch"] = {"seconds": learned / row["positions_per_second"]}  # extrapolated
    users = len(split.test.users)
    asked = split.test.take(slice(None, None, max(1, users // 5_000)))
    score = history_scores(model, torch.device("cpu"))
    ranking = timed(lambda: evaluate_ranking(score, sequences, asked), 3, budget=10)
    row["evaluation"] = {"seconds": ranking["seconds"] * users / len(asked.users)}  # extrapolated
    return [row]


def _shuffled_log(users: int) -> tuple[pd.DataFrame, MovieLensMetadata]:
    """Made-up users' ratings in a random order, and the vocabulary."""
    movies, lengths = random_histories(users)
    frame = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(users, dtype=np.int32), lengths),
            "movie_id": movies,
            "rating": np.full(len(movies), 5, np.int8),
            "unix_timestamp": np.arange(len(movies), dtype=np.int32),
        }
    )
    everybody = pd.DataFrame({"user_id": np.arange(users)})
    catalogue = pd.DataFrame({"movie_id": np.arange(CATALOGUE)})
    shuffled = frame.take(np.random.default_rng(0).permutation(len(frame)))
    return shuffled, MovieLensMetadata.from_frames(everybody, catalogue)


def measure_serving(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """An index: seconds to build, bytes an item, and recall@10 against microseconds a query."""
    vectors, queries = item_vectors(point["items"], QUERIES, WIDTH)
    whole, asked = torch.from_numpy(vectors), torch.from_numpy(queries)
    truth = torch.cat([(part @ whole.T).topk(TOP).indices for part in asked.split(BATCH)]).numpy()
    if point["index"] == "exact":

        def exact(part: np.ndarray) -> None:
            (torch.from_numpy(part) @ whole.T).topk(TOP)

        row = {**point, "setting": "every item", "recall": 1.0}
        row |= {"build_seconds": 0.0, "bytes_per_item": 4 * WIDTH}
        some = queries[:BATCH]
        took = _a_query(exact, some, 1, repetitions)
        return [{**row, **took, "in_batches": _a_query(exact, some, BATCH, repetitions)}]
    import faiss

    faiss.omp_set_num_threads(1)
    started = time.process_time()
    index, dial, settings = _index(faiss, point, vectors)
    row = {**point, "build_seconds": time.process_time() - started}
    row["bytes_per_item"] = len(faiss.serialize_index(index)) / point["items"]

    def recall(setting: int) -> float:
        setattr(*dial, setting)
        found = index.search(queries, TOP)[1]
        shared = [len(set(f) & set(t)) for f, t in zip(found, truth, strict=True)]
        return float(np.mean(shared)) / TOP

    def search(part: np.ndarray) -> None:
        index.search(part, TOP)

    least = bisect.bisect_left(range(settings[-1]), ENOUGH, lo=1, key=recall)
    rows = []
    for setting in sorted({*settings, least}):
        reached = recall(setting)
        rows.append({**row, "setting": setting, "recall": reached})
        rows[-1] |= _a_query(search, queries, 1, repetitions)
        if setting == least:
            rows[-1]["in_batches"] = _a_query(search, queries, BATCH, repetitions)
    return rows


def _index(faiss: Any, point: dict[str, Any], vectors: np.ndarray) -> tuple[Any, tuple, list[int]]:
    """An index with the vectors, its dial (an object and an attribute's name), the dial's settings."""
    if point["index"] == "IVF":
        lists = round(4 * point["items"] ** 0.5)
        index = faiss.index_factory(WIDTH, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 5, 64
        index.train(vectors)
        dial = index, "nprobe"
        settings = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if n <= lists]
    else:
        index = faiss.index_factory(WIDTH, "HNSW16,Flat", faiss.METRIC_INNER_PRODUCT)
        dial = index.hnsw, "efSearch"
        settings = [10, 20, 40, 80, 160, 320, 640, 1280]
    index.add(vectors)
    return index, dial, settings


def _a_query(
    search: Callable[[np.ndarray], None], queries: np.ndarray, at_once: int, repetitions: int
) -> dict[str, float]:
    """Microseconds a query, with so many queries in each call."""

    def all_of_them() -> None:
        for start in range(0, len(queries), at_once):
            search(queries[start : start + at_once])

    took = timed(all_of_them, repetitions, budget=5)
    names = {"seconds": "microseconds", "fastest": "fastest_us", "slowest": "slowest_us"}
    microseconds = {name: 1e6 * took[key] / len(queries) for key, name in names.items()}
    return microseconds | {"repetitions": took["repetitions"]}


def measure_reading(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """A folder in the form of MovieLens-32M with so many ratings, written, read and removed."""
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        write_csv(Path(folder), point["ratings"])
        size = (Path(folder) / "ratings.csv").stat().st_size
        before, started = size_now_mib(), time.process_time()
        data = load_movielens(folder)
        seconds = time.process_time() - started
    assert len(data.ratings) == point["ratings"]
    kept = sum(data.ratings[column].dtype.itemsize for column in data.ratings)
    return [
        {
            **point, "seconds": seconds, "mib": round(peak_mib() - before, 1),
            "peak_mib": round(peak_mib(), 1), "file_mib": round(size / 2**20, 1),
            "bytes_kept_per_rating": kept,
        }
    ]  # fmt: skip


def measure_processes(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """Epochs of tools.train_distributed on made-up users: from the first step to the last."""
    frame, _ = _shuffled_log(PARALLEL_USERS)
    movies = pd.DataFrame({"movie_id": np.arange(CATALOGUE)})
    data = MovieLens(
        name="made up", title="made up", folder=None, users=frame, movies=movies, ratings=frame
    )
    passed, worked = [], []
    BUILD.mkdir(exist_ok=True)
    for _ in range(repetitions):
        with tempfile.TemporaryDirectory(dir=BUILD) as folder:
            write_log(data, Path(folder), files=8)
            torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
            training = ["-m", "tools.train_distributed", "--data", folder, "--model-dir", folder]
            said = subprocess.run(
                [*torchrun, f"--nproc-per-node={point['processes']}", *training, *PARALLEL],
                cwd=REPOSITORY, stdout=subprocess.PIPE, text=True, check=True,
            ).stdout  # fmt: skip
        times = re.findall(r"took ([\d.]+) s, .* worked ([\d.]+) s", said)
        passed.append(max(float(wall) for wall, _ in times) / PARALLEL_EPOCHS)
        worked.append(max(float(work) for _, work in times) / PARALLEL_EPOCHS)
    row = {**point, "interactions": len(frame), "seconds": float(np.median(passed))}
    row |= {"fastest": min(passed), "slowest": max(passed), "repetitions": repetitions}
    return [{**row, "processor_seconds": float(np.median(worked))}]


MEASURES = {
    "catalogue": measure_catalogue,
    "history": measure_history,
    "users": measure_users,
    "reading": measure_reading,
    "serving": measure_serving,
    "processes": measure_processes,
}


# ---------------------------------------------------------------- the parent


def measure_all(path: Path, quick: bool, anew: bool, only: str, repetitions: int) -> dict[str, Any]:
    """Measures what the file does not have yet, stores it after each point and returns all."""
    conditions = {"machine": machine(), "versions": versions(), "threads": 1}
    conditions["instructions"] = torch.backends.cpu.get_cpu_capability()
    results: dict[str, Any] = {curve: [] for curve in POINTS}
    if path.exists() and (only or not anew):
        results |= json.loads(path.read_text(encoding="utf-8"))
    if only and anew:  # a curve that is measured later than the others, with its own conditions
        results[only] = []
        results["measured_apart"] = {**results.get("measured_apart", {}), only: conditions}
    for curve in [only] if only else POINTS:
        stored = results | results.get("measured_apart", {}).get(curve, {})
        if "machine" in stored and any(stored[key] != value for key, value in conditions.items()):
            raise SystemExit(
                f"{path}, {curve}: was measured on another machine or with other versions "
                f"({stored['machine']}, {stored['versions']}). Add --anew to measure all again"
            )
    if "machine" not in results:
        results |= conditions
    results |= {"positions": POSITIONS, "width": WIDTH, "negatives": NEGATIVES}
    results |= {"step_positions": STEP_POSITIONS, "queries": QUERIES, "top": TOP, "batch": BATCH}
    for curve, point in _points(quick):
        if only and only != curve:
            continue
        if any(point.items() <= row.items() for row in results[curve]):
            continue
        print(f"{curve}: {point} …", file=sys.stderr, flush=True)
        started = time.perf_counter()
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        wanted = ("--point", json.dumps([curve, point]), "--repetitions", repetitions)
        rows = in_a_process("benchmarks.scaling", *wanted)
        took = round(time.perf_counter() - started, 1)
        results[curve] += [{**row, "load_before": load, "took": took} for row in rows]
        dated = results.get("measured_apart", {}).get(curve, results)
        dated["date"] = datetime.date.today().isoformat()
        write_json(path, results)
    return results


def _points(quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for curve, points in POINTS.items():
        for point in points:
            if not quick or all(point.get(key, 0) <= size for key, size in SMALL.items()):
                yield curve, point


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks/scaling.json")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes only")
    parser.add_argument("--anew", action="store_true", help="forget what the file has")
    parser.add_argument("--only", choices=MEASURES, default="", help="one of the curves")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        curve, point = arguments.point
        print(json.dumps(MEASURES[curve](point, arguments.repetitions)))
        return
    started = time.perf_counter()
    results = measure_all(
        arguments.output, arguments.quick, arguments.anew, arguments.only, arguments.repetitions
    )
    points = sum(len(results[curve]) for curve in POINTS)
    print(f"{points} measurements in {arguments.output}, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
