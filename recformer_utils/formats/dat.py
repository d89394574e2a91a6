"""Read `users.dat`, `movies.dat` and `ratings.dat` of MovieLens-1M, every line checked.

A line's fields are joined by "::", the text is ISO-8859-1, a quote is a character like any other.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from recformer_utils.formats.columns import (
    MOVIE_COLUMNS,
    RATING_COLUMNS,
    USER_COLUMNS,
    Columns,
    MovieLensFormatError,
    fits,
    quoted,
    read_lines,
    read_whole_numbers,
    require_file,
    require_known,
    require_unique,
)

FILES = ("users.dat", "movies.dat", "ratings.dat")
BY_HAND = (
    "By hand: open https://grouplens.org/datasets/movielens/1m/, download ml-1m.zip and unpack it "
    "to data/ml-1m, or set RECFORMER_DATA to a folder with users.dat, movies.dat and ratings.dat."
)
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_users(path: str | Path) -> pd.DataFrame:
    """Read `users.dat`; a malformed line or a repeated user raises MovieLensFormatError."""
    users = _read_lines(path, _read_bytes(path), USER_COLUMNS)
    require_unique(path, users, ["user_id"], 1)
    return users


def read_movies(path: str | Path) -> pd.DataFrame:
    """Read `movies.dat`; a malformed line or a repeated movie raises MovieLensFormatError."""
    movies = _read_lines(path, _read_bytes(path), MOVIE_COLUMNS)
    require_unique(path, movies, ["movie_id"], 1)
    return movies


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
    ratings = ratings.astype({name: dtype for name, (dtype, _) in RATING_COLUMNS.items()})
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
