"""Readers of files and tables, and the download; `recformer_utils.movielens` is their door."""

from pathlib import Path

import pandas as pd

from recformer_utils.formats.csv import CSV_FILES, read_movielens_csv
from recformer_utils.formats.dat import FILES, read_movies, read_ratings, read_users


def read_movielens_files(
    users_file: str | Path, movies_file: str | Path, ratings_file: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the three files as frames (users, movies, ratings).

    Columns, dtypes: see `formats.columns`. Rows keep the order of the files. If there is no
    such ratings_file in a folder of the CSV form (`has_csv_form`), that form is read.
    Raises MovieLensNotFoundError (no such file) and MovieLensFormatError (a malformed line or id).
    """
    folder = Path(ratings_file).parent
    if has_csv_form(folder) and not Path(ratings_file).is_file():
        return read_movielens_csv(*(folder / file for file in CSV_FILES))
    users, movies = read_users(users_file), read_movies(movies_file)
    return users, movies, read_ratings(ratings_file, users["user_id"], movies["movie_id"])


def has_csv_form(folder: str | Path) -> bool:
    """Whether a folder holds ratings.csv and movies.csv but none of the `.dat` files."""
    folder = Path(folder)
    return all((folder / file).is_file() for file in CSV_FILES) and not any(
        (folder / file).exists() for file in FILES
    )
