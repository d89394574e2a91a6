"""Three doors to one object: MovieLens-1M, the embedded sample, and a table of your own.

`python -m recformer_utils.movielens` downloads MovieLens-1M to data/ml-1m. Source of the data:
F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015,
doi:10.1145/2827872. The readers and the download stand behind this file, in `formats/`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pandas as pd

from recformer_utils import SAMPLE_FOLDER
from recformer_utils.formats.columns import MovieLensFormatError, MovieLensNotFoundError
from recformer_utils.formats.download import (
    ML_1M_COUNTS,
    ML_1M_FOLDER,
    DownloadError,
    download_movielens,
)
from recformer_utils.formats.files import BY_HAND, FILES, has_csv_form, read_movielens_files
from recformer_utils.formats.own import InteractionsError, read_interactions
from recformer_utils.runs.files import InUseError, NotWrittenError

# fmt: off
__all__ = [
    "ML_1M_COUNTS", "SAMPLE_FOLDER", "DownloadError", "InteractionsError", "MovieLens",
    "MovieLensFormatError", "MovieLensNotFoundError", "download_movielens", "from_interactions",
    "load_movielens", "read_interactions", "read_movielens_files",
]
# fmt: on


@dataclass(frozen=True, eq=False, kw_only=True)
class MovieLens:
    """The three frames of a data set in MovieLens-1M's format; `print` gives its size in one line.

    users: user_id int32; sex, age_group, occupation category; zip_code str
    movies: movie_id int32; title, genres str
    ratings: user_id, movie_id int32; rating int8 (1 to 5); unix_timestamp int32 (seconds)
    """

    name: str  # "sample", "ml-1m" or the folder's name
    title: str = field(repr=False)  # the name in words
    folder: Path | None = field(repr=False)  # where the files are; None: there are none
    users: pd.DataFrame = field(repr=False)
    movies: pd.DataFrame = field(repr=False)
    ratings: pd.DataFrame = field(repr=False)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of users, movies and ratings."""
        return len(self.users), len(self.movies), len(self.ratings)

    def __str__(self) -> str:
        users, movies, ratings = self.counts
        rated = self.ratings["movie_id"].nunique()
        size = f"{users:,} users, {movies:,} movies ({rated:,} rated), {ratings:,} ratings"
        return f"{self.title}: {size}"


def load_movielens(name: str | Path = "auto") -> MovieLens:
    """Read a data set in MovieLens-1M's format, checked line by line.

    name: "sample" (data/sample), "ml-1m" (data/ml-1m, else the folder that RECFORMER_DATA names),
        "auto" ("ml-1m" where it is there, else "sample") or the path of a folder, which may also
        be in the CSV form of MovieLens-20M, 25M and 32M (movies.csv, ratings.csv).
    Raises MovieLensNotFoundError (a missing file or folder) and MovieLensFormatError (a bad line).
    """
    if name in ("auto", "ml-1m") and (folder := _find_ml_1m()):
        label, title = "ml-1m", f"folder {folder.name!r} (not the whole of MovieLens-1M)"
    elif name == "ml-1m":
        raise MovieLensNotFoundError(
            "MovieLens-1M is neither in data/ml-1m nor in a folder named by RECFORMER_DATA (not "
            f"set). `make data` downloads it to data/ml-1m. {BY_HAND}"
        )
    elif name in ("auto", "sample"):
        label, title, folder = "sample", "the embedded sample (invented)", SAMPLE_FOLDER
        _require_files(folder, "`python data/make_sample.py` writes the sample")
    else:
        folder = Path(name).expanduser().resolve()
        label, title = folder.name, f"folder {folder.name!r}"
        advice = 'Give "auto", "sample", "ml-1m" or a folder with the three files'
        _require_files(folder, f"{advice}, or with movies.csv and ratings.csv")
    users, movies, ratings = read_movielens_files(*(folder / file for file in FILES))
    if (len(users), len(movies), len(ratings)) == ML_1M_COUNTS:
        title = "MovieLens-1M"
    return MovieLens(
        name=label, title=title, folder=folder, users=users, movies=movies, ratings=ratings
    )


def _find_ml_1m() -> Path | None:
    if any((ML_1M_FOLDER / file).exists() for file in FILES):
        _require_files(ML_1M_FOLDER, "`make data` completes data/ml-1m")
        return ML_1M_FOLDER
    if os.environ.get("RECFORMER_DATA"):
        folder = Path(os.environ["RECFORMER_DATA"]).expanduser().resolve()
        _require_files(folder, "RECFORMER_DATA names this folder: correct or unset the variable")
        return folder
    return None


def _require_files(folder: Path, advice: str) -> None:
    if has_csv_form(folder):
        return
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        found = f"no {', no '.join(missing)}" if folder.is_dir() else "no such folder"
        raise MovieLensNotFoundError(
            f"{folder}: found {found}; expected {', '.join(FILES)}. {advice}."
        )


def from_interactions(
    table: str | Path | pd.DataFrame,
    user: str = "user", item: str = "item", timestamp: str = "timestamp", rating: str | None = None,
    titles: str | Mapping[object, str] | None = None,
    genres: str | Mapping[object, str] | None = None,
    repeats: Literal["first", "last", "refuse"] = "first", name: str = "own data",
) -> MovieLens:  # fmt: skip
    """Turn a table of who took what and when into the object that everything else works on.

    table: a CSV file with a header (UTF-8, ids read as text) or a frame; a row an interaction.
    user, item: columns of ids of any type. timestamp: column of whole seconds since 1970, or dates
        (ISO 8601 text, datetimes; UTC where they name no zone).
    rating: column of numbers from 0.5 to 5, fractions rounded up; None: all count as 5.
    titles, genres: column of the item's title or genres joined by "|", or a mapping from ids;
        None: the id is the title, and no genres are listed.
    repeats: of several interactions of a user with an item the "first" or "last" in time remains;
        "refuse" raises. The evaluation leaves out what a user has had.
    Ids are numbered from 1 in sorted order; the original ones are in the column ``original_id``.
    Raises FileNotFoundError and InteractionsError, which names column and row.
    """
    frames = read_interactions(table, user, item, timestamp, rating, titles, genres, repeats)
    users, movies, ratings = frames
    return MovieLens(
        name=name, title=name, folder=None, users=users, movies=movies, ratings=ratings
    )


def _main() -> None:
    """Download MovieLens-1M to data/ml-1m and print its size; `make data` calls this."""
    try:
        print(load_movielens(download_movielens()))
    except (DownloadError, InUseError, NotWrittenError) as error:
        raise SystemExit(str(error)) from None  # the message says it all, a traceback would bury it


if __name__ == "__main__":
    _main()
