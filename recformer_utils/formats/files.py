"""Read the files of MovieLens, every line checked: `.dat` of 1M, and CSV of 20M, 25M and 32M.

A line of a `.dat` file has its fields joined by "::", in ISO-8859-1; a quote is a character like any
other. CSV is UTF-8 with a header, has no file of users, and rates in half stars, which are rounded
up; it is read a block at a time: 32 million lines take 13 bytes each once read.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from recformer_utils.formats.columns import (
    HALF_STARS,
    MOVIE_COLUMNS,
    RATING_COLUMNS,
    USER_COLUMNS,
    Columns,
    MovieLensFormatError,
    csv_rows,
    fits,
    quoted,
    read_lines,
    read_whole_numbers,
    require_file,
    require_known,
    require_unique,
    typed,
    unknown_users,
)

FILES = ("users.dat", "movies.dat", "ratings.dat")
BY_HAND = (
    "By hand: open https://grouplens.org/datasets/movielens/1m/, download ml-1m.zip and unpack it "
    "to data/ml-1m, or set RECFORMER_DATA to a folder with users.dat, movies.dat and ratings.dat."
)
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
BYTE_ORDER_MARKS = {
    b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe\0\0": "UTF-32", b"\0\0\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
}  # fmt: skip
CSV_FILES = ("movies.csv", "ratings.csv")
MOVIE_HEADER = ["movieId", "title", "genres"]
RATING_HEADER = ["userId", "movieId", "rating", "timestamp"]
BLOCK_BYTES = 16 << 20  # of ratings.csv at a time, about half a million lines


def read_movielens_files(
    users_file: str | Path, movies_file: str | Path, ratings_file: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the three files as frames (users, movies, ratings).

    Rows keep the order of the files. In a folder of the CSV form (`has_csv_form`) that is read.
    Raises MovieLensNotFoundError (no such file) and MovieLensFormatError (a malformed line or id).
    """
    folder = Path(ratings_file).parent
    if has_csv_form(folder) and not Path(ratings_file).is_file():
        return read_movielens_csv(*(folder / file for file in CSV_FILES))
    users = read_listing(users_file, USER_COLUMNS)
    movies = read_listing(movies_file, MOVIE_COLUMNS)
    return users, movies, read_ratings(ratings_file, users["user_id"], movies["movie_id"])


def has_csv_form(folder: str | Path) -> bool:
    """Whether a folder holds ratings.csv and movies.csv but none of the `.dat` files."""
    there = {path.name for path in Path(folder).glob("*")}
    return there.issuperset(CSV_FILES) and there.isdisjoint(FILES)


def read_listing(path: str | Path, columns: Columns) -> pd.DataFrame:
    """Read `users.dat` or `movies.dat`; a malformed line or repeated id: MovieLensFormatError."""
    listing = _read_lines(path, _read_bytes(path), columns)
    require_unique(path, listing, list(columns)[:1], 1)
    return listing


def read_ratings(
    path: str | Path, user_ids: pd.Series | None = None, movie_ids: pd.Series | None = None
) -> pd.DataFrame:
    """Read `ratings.dat`; a malformed line, unknown id or repetition raises MovieLensFormatError."""
    raw = _read_bytes(path)
    # A comma in the file would be taken for a pair of colons.
    plain = b"" if b"," in raw else raw.replace(b"::", b",")
    ratings = read_whole_numbers(plain, b",,,\n", list(RATING_COLUMNS)) if plain else None
    if ratings is None or not fits(ratings, RATING_COLUMNS):  # line by line tells what, and where
        ratings = _read_lines(path, raw, RATING_COLUMNS)
    ratings = typed(ratings, RATING_COLUMNS)
    require_known(path, ratings["user_id"], user_ids, FILES[0], 1)
    require_known(path, ratings["movie_id"], movie_ids, FILES[1], 1)
    require_unique(path, ratings, ["user_id", "movie_id"], 1)
    return ratings


def _read_bytes(path: str | Path) -> bytes:
    """The file's bytes with "\\n" as the end of every line."""
    expected = f"a file of MovieLens-1M. `make data` downloads it. {BY_HAND}"
    raw = require_file(path, expected).read_bytes()
    if not raw:
        raise MovieLensFormatError(path, 1, "an empty file", "at least one line")
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            found = f"{encoding} text (a byte order mark)"
            raise MovieLensFormatError(path, 1, found, "ISO-8859-1 text")
    return _lines_end_alike(raw)


def _lines_end_alike(raw: bytes) -> bytes:
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _read_lines(path: str | Path, raw: bytes, columns: Columns) -> pd.DataFrame:
    def fields() -> Iterator[tuple[int, list[str]]]:
        for number, line in enumerate(io.BytesIO(raw), start=1):
            yield number, _decode(path, number, line[:-1]).split("::")

    return read_lines(path, fields(), columns, "::")


def _decode(path: str | Path, number: int, line: bytes) -> str:
    text = line.decode("iso-8859-1")
    with contextlib.suppress(UnicodeDecodeError):  # which says that it is not UTF-8
        if not text.isascii():
            found, expected = f"UTF-8 text, {quoted(line.decode())}", "ISO-8859-1 text"
            raise MovieLensFormatError(path, number, found, f"{expected} (é is the one byte e9)")
    if control := CONTROL_CHARACTER.search(text):
        found = f"the control character 0x{ord(control[0]):02x} at column {control.start() + 1}"
        expected = "ISO-8859-1 text in lines that end with \\n or \\r\\n"
        raise MovieLensFormatError(path, number, found, expected)
    return text


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
    rows = csv_rows(path, partial(MovieLensFormatError, path))
    _check_header(path, next(rows, (1, MOVIE_HEADER))[1], MOVIE_HEADER)
    movies = read_lines(path, rows, MOVIE_COLUMNS, ",", MOVIE_HEADER)
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
        while raw := file.read(BLOCK_BYTES) + file.readline():
            raw = _lines_end_alike(raw)
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
