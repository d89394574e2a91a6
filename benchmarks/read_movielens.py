"""Time our reading of MovieLens' files against pandas' Python engine, which takes "::" as it is.

    python benchmarks/read_movielens.py --data data/ml-1m --repetitions 7

Ours also checks every line, id and repetition; the other only parses. Both read the same files in
the same process, in turn, and each figure is a median.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from recformer_utils.movielens import load_movielens, read_movielens_files, read_ratings

# Columns and dtypes of each file, as a call of pandas.read_csv takes them.
FILES: dict[str, dict[str, object]] = {
    "users.dat": {
        "user_id": np.int32,
        "sex": "category",
        "age_group": "category",
        "occupation": "category",
        "zip_code": str,
    },
    "movies.dat": {"movie_id": np.int32, "title": str, "genres": str},
    "ratings.dat": {
        "user_id": np.int32,
        "movie_id": np.int32,
        "rating": np.int8,
        "unix_timestamp": np.int32,
    },
}


def read_plainly(folder: Path, file: str) -> pd.DataFrame:
    """Read one file with pandas' Python engine, without any check of its content."""
    columns = FILES[file]
    return pd.read_csv(
        folder / file,
        sep="::",
        names=list(columns),
        dtype=columns,
        encoding="ISO-8859-1",
        engine="python",
    )


def seconds(read: Callable[[], object]) -> float:
    """Return how long one call takes."""
    start = time.perf_counter()
    read()
    return time.perf_counter() - start


def measure(folder: Path, repetitions: int) -> dict[str, tuple[float, float]]:
    """Return the median seconds (ours, pandas' Python engine) for ratings.dat and for all files."""
    paths = [folder / file for file in FILES]
    pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "ratings.dat": (
            lambda: read_ratings(paths[-1]),
            lambda: read_plainly(folder, "ratings.dat"),
        ),
        "all three files": (
            lambda: read_movielens_files(*paths),
            lambda: [read_plainly(folder, file) for file in FILES],
        ),
    }
    medians = {}
    for what, (ours, plain) in pairs.items():
        times = [(seconds(ours), seconds(plain)) for _ in range(repetitions)]
        medians[what] = tuple(statistics.median(column) for column in zip(*times, strict=True))
    return medians


def main() -> None:
    """Measure and print one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="auto", help='a folder, "ml-1m", "sample" or "auto"')
    parser.add_argument("--repetitions", type=int, default=5)
    arguments = parser.parse_args()
    data = load_movielens(arguments.data)  # also warms the file cache
    print(f"{data}; medians of {arguments.repetitions} repetitions")
    for what, (ours, plain) in measure(data.folder, arguments.repetitions).items():
        print(
            f"{what:<16} ours {ours:.3f} s, pandas' Python engine {plain:.3f} s: "
            f"{plain / ours:.1f} times faster"
        )


if __name__ == "__main__":
    main()
