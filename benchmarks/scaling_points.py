"""What each point of `scaling.py` measures: it calls these in a process of their own."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import WIDTH, loss_step, peak_mib, size_now_mib
from tools.common import REPOSITORY

BUILD = REPOSITORY / "build"
STEP_POSITIONS = 8_000  # of a training step, whatever the length of its histories
QUERIES, TOP = 1_000, 10  # of the search


def median_of(function: Callable[[], object], repetitions: int, budget: float = 20) -> dict:
    """Median, smallest and largest processor time, s, after a first call that does not count.

    With one thread that is the time on the clock, without what other programs take of it. Fewer
    repetitions where they would take longer than the budget, s, but never less than three.
    """
    values: list[float] = []
    function()
    while len(values) < repetitions and (len(values) < 3 or sum(values) < budget):
        started = time.process_time()
        function()
        values.append(time.process_time() - started)
    return {
        "seconds": statistics.median(values), "fastest": min(values), "slowest": max(values),
        "repetitions": len(values),
    }  # fmt: skip


def measure_catalogue(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """A loss and its gradients: what it adds to the memory, and its time."""
    step = loss_step(point["loss"], point["movies"])
    before = size_now_mib()
    step()
    added = peak_mib() - before
    return [{**point, "mib": round(added, 1), **median_of(step, repetitions)}]


def measure_history(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """A training step of the sequence model on as many positions, in ever longer histories."""
    import torch

    model = _sequence_model(point["length"], pair_gaps=point["attention"] != "plain")
    rows = STEP_POSITIONS // point["length"]
    batch = _batch(rows, point["length"])
    model.loss(_batch(1, 2)).backward()
    model.zero_grad()
    before = size_now_mib()

    def step() -> None:
        model.zero_grad()
        model.loss(batch).backward()

    step()
    added = peak_mib() - before
    assert torch.isfinite(model.loss(batch))
    return [{**point, "histories": rows, "mib": round(added, 1), **median_of(step, repetitions)}]


def _sequence_model(length: int, movies: int = 600, **options: Any) -> Any:
    import torch

    from recformer_utils.sequence_model import SequenceModel, SequenceModelConfig
    from recformer_utils.transformer import TransformerConfig

    torch.manual_seed(0)
    shape = TransformerConfig(movies + 2, length, WIDTH, 2, 2, 0.0, 0.0, 0.0)
    return SequenceModel(SequenceModelConfig(shape, **options))


def _batch(rows: int, length: int) -> Any:
    from recformer_utils.sequence_model import make_batch
    from recformer_utils.sequences import Sequences

    generator = np.random.default_rng(0)
    size = rows * (length + 1)
    sequences = Sequences(
        movie_tokens=generator.integers(600, size=size).astype(np.int32),
        ratings=np.full(size, 5, np.int8),
        timestamps=np.arange(size, dtype=np.int64) * 60,
        offsets=np.arange(rows + 1) * (length + 1),
    )
    lengths = np.full(rows, length)
    return make_batch(sequences, np.zeros(rows, int), lengths, np.arange(rows), lengths)


def measure_users(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """Users by the sample's law: put in order, cut into an epoch's batches, trained, evaluated."""
    import pandas as pd
    import torch

    from recformer_utils.evaluation import evaluate_ranking
    from recformer_utils.sequence_model import history_scores, training_batches
    from recformer_utils.sequences import leave_one_out, order_by_time
    from recformer_utils.tokens import MovieLensMetadata
    from recformer_utils.training import fast_matrix_products

    movies, lengths = _many_users(point["users"])
    count = int(lengths.sum())
    frame = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(len(lengths), dtype=np.int32), lengths),
            "movie_id": movies.astype(np.int32),
            "rating": np.full(count, 5, np.int8),
            "unix_timestamp": np.arange(count, dtype=np.int32),
        }
    )
    frame = frame.take(np.random.default_rng(0).permutation(count))
    known = pd.DataFrame({"user_id": np.arange(len(lengths))})
    metadata = MovieLensMetadata.from_frames(known, pd.DataFrame({"movie_id": np.arange(600)}))
    before = size_now_mib()
    sequences = order_by_time(frame, metadata)
    row = {**point, "interactions": count, "ordering_mib": round(peak_mib() - before, 1)}
    row["ordering"] = median_of(lambda: order_by_time(frame, metadata), repetitions, budget=10)
    split = leave_one_out(sequences)
    train_lengths = np.maximum(sequences.lengths - 2, 0)
    before, started = size_now_mib(), time.process_time()
    batches = training_batches(sequences, train_lengths, 100, 128, seed=0)
    row["cutting"] = {"seconds": time.process_time() - started}
    row["cutting_mib"] = round(peak_mib() - before, 1)
    model = _sequence_model(100)
    some = [batches[i] for i in np.linspace(0, len(batches) - 1, 30).astype(int)]
    positions = sum(int(batch.lengths.sum()) for batch in some)

    def train() -> None:
        with fast_matrix_products():
            for batch in some:
                model.zero_grad()
                model.loss(batch).backward()

    step = median_of(train, repetitions, budget=10)
    row["positions_per_second"] = positions / step["seconds"]
    row["epoch"] = {
        "seconds": int((train_lengths - 1).clip(min=0).sum()) / row["positions_per_second"]
    }
    asked = split.user_tokens[:: max(1, len(split.user_tokens) // 5_000)]
    ends = sequences.lengths[asked] - 1
    score = history_scores(model, sequences, asked, ends, torch.device("cpu"))
    last = sequences.movie_tokens[sequences.offsets[asked + 1] - 1]
    ranking = median_of(lambda: evaluate_ranking(score, sequences, asked, ends, last), 3, budget=10)
    row["evaluation"] = {"seconds": ranking["seconds"] * len(split.user_tokens) / len(asked)}
    return [row]


def _many_users(users: int) -> tuple[np.ndarray, np.ndarray]:
    """The first so many of the users drawn, kept in build/ from one point to the next."""
    from benchmarks.many_users import ManyUsers
    from recformer_utils.runs.files import replacing

    BUILD.mkdir(exist_ok=True)
    path = BUILD / "many_users.npz"
    drawn = 0
    if path.exists():
        with np.load(path) as stored:
            movies, lengths = stored["movies"], stored["lengths"]
        drawn = len(lengths)
    if drawn < users:
        movies, lengths = ManyUsers().draw(users)
        with replacing(path) as file:
            np.savez(file, movies=movies, lengths=lengths)
    return movies[: lengths[:users].sum()], lengths[:users]


def item_vectors(items: int, queries: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in clusters of a hundred, and queries between two of them each.

    The directions differ in strength, from 1 to 0.2, as those of the series' trained embeddings do.

    Returns:
        float32 (items, WIDTH) and float32 (queries, WIDTH).
    """
    generator = np.random.default_rng(seed)
    strength = np.linspace(1, 0.2, WIDTH, dtype=np.float32)

    def draw(count: int) -> np.ndarray:
        return strength * generator.standard_normal((count, WIDTH), dtype=np.float32)

    centres = draw(max(10, items // 100))
    vectors = centres[generator.integers(len(centres), size=items)] + 0.7 * draw(items)
    pairs = generator.integers(items, size=(queries, 2))
    between = vectors[pairs].sum(axis=1) + draw(queries)
    return tuple(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, between))


def measure_serving(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """An index: seconds to build, bytes an item, and recall@10 against microseconds a query."""
    import torch

    vectors, queries = item_vectors(point["items"], QUERIES)
    whole, asked = torch.from_numpy(vectors), torch.from_numpy(queries)
    rows = []
    truth = torch.cat([(part @ whole.T).topk(TOP).indices for part in asked.split(50)]).numpy()
    if point["index"] == "exact":
        some = asked[:50]
        for name, batch in (("one query at a time", 1), ("50 queries at once", 50)):

            def search(batch: int = batch) -> None:
                for part in some.split(batch):
                    (part @ whole.T).topk(TOP)

            timed = median_of(search, repetitions, budget=5)
            rows.append({**point, "setting": name, "recall": 1.0, **_a_query(timed, len(some))})
        return [{**row, "build_seconds": 0.0, "bytes_per_item": 4 * WIDTH} for row in rows]
    import faiss

    faiss.omp_set_num_threads(os.cpu_count())
    started = time.process_time()
    if point["index"] == "IVF":
        lists = round(4 * point["items"] ** 0.5)
        index = faiss.index_factory(WIDTH, f"IVF{lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.cp.min_points_per_centroid, index.cp.max_points_per_centroid = 5, 64
        index.train(vectors)
        settings = [n for n in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if n <= lists]
    else:
        index = faiss.index_factory(WIDTH, "HNSW16,Flat", faiss.METRIC_INNER_PRODUCT)
        settings = [10, 20, 40, 80, 160, 320, 640, 1280]
    index.add(vectors)
    built = time.process_time() - started
    size = len(faiss.serialize_index(index)) / point["items"]
    faiss.omp_set_num_threads(1)
    for setting in settings:
        if point["index"] == "IVF":
            index.nprobe = setting
        else:
            index.hnsw.efSearch = setting
        found = index.search(queries, TOP)[1]
        recall = np.mean([len(set(f) & set(t)) for f, t in zip(found, truth, strict=True)]) / TOP
        timed = median_of(lambda: index.search(queries, TOP), repetitions, budget=5)
        rows.append(
            {
                **point, "setting": setting, "recall": float(recall), "build_seconds": built,
                "bytes_per_item": size, **_a_query(timed, QUERIES),
            }
        )  # fmt: skip
    return rows


def _a_query(timed: dict[str, float], queries: int) -> dict[str, float]:
    microseconds = {key: 1e6 * timed[key] / queries for key in ("seconds", "fastest", "slowest")}
    return {
        "microseconds": microseconds["seconds"], "fastest_us": microseconds["fastest"],
        "slowest_us": microseconds["slowest"], "repetitions": timed["repetitions"],
    }  # fmt: skip


def measure_reading(point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """A folder in the form of MovieLens-32M with so many ratings, written, read and removed."""
    from benchmarks.big_csv import write_csv
    from recformer_utils.movielens import load_movielens

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


MEASURES = {
    "catalogue": measure_catalogue,
    "history": measure_history,
    "users": measure_users,
    "reading": measure_reading,
    "serving": measure_serving,
}
