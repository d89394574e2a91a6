"""Reading the three files and building all windows: the post's way against the module's.

python benchmarks/read_and_window.py [--data ml-1m] [--repetitions 5]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from recformer_utils.movielens import load_movielens
from recformer_utils.sequences import MovieLensSequenceDataset

LENGTH = 5


def plain(folder: str) -> torch.Tensor:
    """pandas' Python engine, groupby and a loop over users; windows (n, LENGTH)."""
    columns = {
        "users": ["user_id", "sex", "age_group", "occupation", "zip_code"],
        "movies": ["movie_id", "title", "genres"],
        "ratings": ["user_id", "movie_id", "rating", "unix_timestamp"],
    }
    _, movies, ratings = (
        pd.read_csv(
            f"{folder}/{name}.dat", sep="::", names=names, encoding="latin-1", engine="python"
        )
        for name, names in columns.items()
    )
    tokens = {movie: token for token, movie in enumerate(sorted(movies["movie_id"]))}
    start, end = len(tokens), len(tokens) + 1
    ratings["token"] = ratings["movie_id"].map(tokens)
    ordered = (
        ratings.sort_values("unix_timestamp", kind="stable")
        .groupby("user_id")[["token", "rating"]]
        .agg(list)
        .reset_index()
    )
    windows, scores, owners, targets = [], [], [], []
    for _, row in ordered.iterrows():
        sequence = torch.tensor([start, *row.token, end], dtype=torch.int32)
        rated = torch.tensor([0, *row.rating, 0], dtype=torch.int8)
        windows.append(sequence.unfold(0, LENGTH, 1)[:-1])
        scores.append(rated.unfold(0, LENGTH, 1)[:-1])
        targets.append(sequence[LENGTH:])
        owners.extend([row.user_id] * len(windows[-1]))
    torch.cat(scores), torch.cat(targets), torch.tensor(owners)
    return torch.cat(windows)


def ours(folder: str) -> torch.Tensor:
    """The module's data set without a split; windows (n, LENGTH)."""
    files = {f"{name}_file": f"{folder}/{name}.dat" for name in ("movies", "users", "ratings")}
    dataset = MovieLensSequenceDataset(**files, sequence_length=LENGTH, validation_fraction=0.0)
    return dataset.windows.movie_tokens


def seconds(function: Callable[[str], torch.Tensor], folder: str, repetitions: int) -> list[float]:
    """Wall time of each repetition."""
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        function(folder)
        times.append(time.perf_counter() - started)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="auto", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    data = load_movielens(arguments.data)
    print(data)
    folder = str(data.folder)
    one, other = plain(folder), ours(folder)
    if not np.array_equal(one.numpy(), other.numpy()):
        raise SystemExit("the two ways do not give the same windows")
    print(f"the same {len(one):,} windows")
    slow = seconds(plain, folder, arguments.repetitions)
    fast = seconds(ours, folder, arguments.repetitions)
    for name, times in (("plain", slow), ("module", fast)):
        print(
            f"{name:7} median {statistics.median(times):.3f} s ({min(times):.3f}-{max(times):.3f})"
        )
    print(f"ratio   {statistics.median(slow) / statistics.median(fast):.1f}")


if __name__ == "__main__":
    main()
