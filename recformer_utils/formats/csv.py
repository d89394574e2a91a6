"""Read `movies.csv` and `ratings.csv`, the form of MovieLens-20M, 25M and 32M, a block at a time.

Text is UTF-8 with a header; there is no file of users; ratings are half stars, 0.5 to 5.0, which are
rounded up, so that they are 1 to 5 as everywhere else. 32 million lines take 13 bytes each once read.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

from recformer_utils.formats.columns import (
    HALF_STARS,
    MOVIE_COLUMNS,
    RATING_COLUMNS,
    MovieLensFormatError,
    fits,
    quoted,
    read_lines,
    read_whole_numbers,
    require_file,
    require_known,
    require_unique,
    unknown_users,
)

CSV_FILES = ("movies.csv", "ratings.csv")
MOVIE_HEADER = ["movieId", "title", "genres"]
RATING_HEADER = ["userId", "movieId", "rating", "timestamp"]
BLOCK_BYTES = 16 << 20  # of ratings.csv at a time, about half a million lines


def read_movielens_csv(
    movies_file: str | Path, ratings_file: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the two files as frames (users, movies, ratings), with the columns of the `.dat` form.

    Of the users nothing but the id is known.
    """
    movies = read_movies_csv(movies_file)
    ratings = read_ratings_csv(ratings_file, movies["movie_id"])
    return unknown_users(pd.unique(ratings["user_id"])), movies, ratings


def read_movies_csv(path: str | Path) -> pd.DataFrame:
    """Read `movies.csv`; a malformed line or a repeated movie raises MovieLensFormatError."""
    with require_file(path, "a CSV file of MovieLens").open("rb") as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        lines = csv.reader(text, strict=True)
        try:
            _check_header(path, next(lines, MOVIE_HEADER), MOVIE_HEADER)
            numbered = ((lines.line_num, row) for row in lines)
            movies = read_lines(path, numbered, MOVIE_COLUMNS, ",", MOVIE_HEADER)
        except UnicodeDecodeError as error:
            found = f"the byte {error.object[error.start]:02x}"
            raise MovieLensFormatError(path, lines.line_num + 1, found, "UTF-8 text") from error
        except csv.Error as error:
            found = f"invalid CSV ({error})"
            raise MovieLensFormatError(path, lines.line_num, found, "quotes in pairs") from error
    if movies.empty:
        raise MovieLensFormatError(path, 1, "no movie", f"{','.join(MOVIE_HEADER)}, then movies")
    require_unique(path, movies, ["movie_id"], 2)
    return movies


def read_ratings_csv(path: str | Path, movie_ids: pd.Series | None = None) -> pd.DataFrame:
    """Read `ratings.csv`; a malformed line, unknown movie or repetition: MovieLensFormatError."""
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in RATING_COLUMNS}
    line = 2  # of the block's first rating, below the header
    with require_file(path, "a CSV file of MovieLens").open("rb") as file:
        header = file.readline().decode("utf-8", "replace").lstrip("\ufeff")
        _check_header(path, header.rstrip("\r\n").split(","), RATING_HEADER)
        for raw in _whole_lines(file):
            block = _read_block(raw)
            if block is None:  # something is unusual: line by line tells what, and where
                block = _read_block_by_lines(path, line, raw)
            require_known(path, block["movie_id"], movie_ids, CSV_FILES[0], line)
            for name, (dtype, _) in RATING_COLUMNS.items():
                blocks[name].append(block[name].to_numpy(dtype))
            line += len(block)
    if line == 2:
        raise MovieLensFormatError(path, 2, "no rating", "at least one line below the header")
    # One column after the other, so that only one of them is there twice.
    whole = {name: np.concatenate(blocks.pop(name)) for name in RATING_COLUMNS}
    ratings = pd.DataFrame(whole, copy=False)
    require_unique(path, ratings, ["user_id", "movie_id"], 2)
    return ratings


def _check_header(path: str | Path, found: list[str], expected: list[str]) -> None:
    if found != expected:
        header = f"the header {','.join(expected)}"
        raise MovieLensFormatError(path, 1, quoted(",".join(found)), header)


def _whole_lines(file: IO[bytes]) -> Iterator[bytes]:
    """Blocks that end with the end of a line, "\\n"."""
    rest = b""
    while chunk := file.read(BLOCK_BYTES):
        chunk = rest + chunk
        end = chunk.rfind(b"\n") + 1
        rest = chunk[end:]
        if end:
            yield chunk[:end].replace(b"\r\n", b"\n")
    if rest:
        yield rest + b"\n"


def _read_block(raw: bytes) -> pd.DataFrame | None:
    """A block at once; None if a line is not id,id,half stars,seconds as MovieLens writes them."""
    names = ["user_id", "movie_id", "rating", "tenths", "unix_timestamp"]
    table = read_whole_numbers(raw, b",,.,\n", names)  # whole and half stars are columns
    if table is None:
        return None
    tenths = table.pop("tenths")
    table["rating"] += tenths > 0
    written_as_halves = raw.count(b".0,") + raw.count(b".5,") == len(table)  # not .00 or .05
    return table if written_as_halves and fits(table, RATING_COLUMNS) else None


def _read_block_by_lines(path: str | Path, first: int, raw: bytes) -> pd.DataFrame:
    columns = RATING_COLUMNS | {"rating": (RATING_COLUMNS["rating"][0], HALF_STARS)}
    lines = raw[:-1].decode("utf-8", "replace").split("\n")
    fields = ((number, line.split(",")) for number, line in enumerate(lines, start=first))
    return read_lines(path, fields, columns, ",", RATING_HEADER)
