"""The log as Parquet files, cut by user: a process reads its own users and nothing else.

    python -m tools.log_files --data auto --to build/log --files 8

A user's ratings stand in one file, in order of time. movies.parquet, beside the folder of the
ratings, lists the catalogue: every process needs the same vocabulary.
"""

import argparse
from pathlib import Path

import pandas as pd
import polars as pl

from recformer_utils.movielens import MovieLens, load_movielens


def write_log(data: MovieLens, folder: Path, files: int) -> None:
    """ratings/00.parquet, ...: file f has the users whose id leaves f when divided by `files`."""
    (folder / "ratings").mkdir(parents=True, exist_ok=True)
    for earlier in (folder / "ratings").glob("*.parquet"):
        earlier.unlink()
    log = pl.DataFrame({name: data.ratings[name].to_numpy() for name in data.ratings})
    for file in range(files):
        mine = log.filter(pl.col("user_id") % files == file)
        mine = mine.sort("user_id", "unix_timestamp", maintain_order=True)  # ties as they came
        mine.write_parquet(folder / f"ratings/{file:02}.parquet")
    movies = pl.DataFrame({"movie_id": data.movies["movie_id"].to_numpy()})
    movies.write_parquet(folder / "movies.parquet")


def read_log(folder: Path, rank: int = 0, processes: int = 1) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The ratings in every `processes`-th file, beginning with `rank`, and the movies."""
    mine = sorted((folder / "ratings").glob("*.parquet"))[rank::processes]
    if not mine:
        raise ValueError(f"{folder}: no file is left for process {rank} of {processes}")
    frames = pl.read_parquet(mine), pl.read_parquet(folder / "movies.parquet")
    return tuple(
        pd.DataFrame({name: each[name].to_numpy() for name in each.columns}) for each in frames
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="auto", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--to", type=Path, default=Path("build/log"), help="where it is written")
    parser.add_argument("--files", type=int, default=8, help="at least one for each process")
    arguments = parser.parse_args()
    data = load_movielens(arguments.data)
    write_log(data, arguments.to, arguments.files)
    print(f"{data}, in {arguments.files} files in {arguments.to}")


if __name__ == "__main__":
    main()
