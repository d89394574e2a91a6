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

from recformer_utils.formats.dat import (
    CSV_FILES,
    HALF_STARS,
    INT32,
    MOVIE_COLUMNS,
    RATING_COLUMNS,
    USER_COLUMNS,
    MovieLensFormatError,
    MovieLensNotFoundError,
    _quoted,
    _refuse_repeats,
    _split,
    _values,
)

MOVIE_HEADER = ["movieId", "title", "genres"]
RATING_HEADER = ["userId", "movieId", "rating", "timestamp"]
BLOCK_BYTES = 16 << 20  # of ratings.csv at a time, about half a million lines


def read_movielens_csv(
    movies_file: str | Path, ratings_file: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the two files as frames (users, movies, ratings), with the columns of the `.dat` form.

    users: those who rated, by id; sex, age_group and occupation are missing, zip_code is "".
    ratings: in the order of the file, half stars rounded up.
    Raises MovieLensNotFoundError (no such file) and MovieLensFormatError (a bad line or id).
    """
    movies = read_movies_csv(movies_file)
    ratings = read_ratings_csv(ratings_file, movies["movie_id"])
    users = unknown_users(pd.unique(ratings["user_id"]))
    return users, movies, ratings


def unknown_users(user_ids: np.ndarray) -> pd.DataFrame:
    """A frame of users of whom nothing but the id is known, in order of the ids."""
    users = pd.DataFrame({"user_id": np.sort(np.asarray(user_ids, dtype=np.int32))})
    for name, (_, allowed) in list(USER_COLUMNS.items())[1:]:
        if allowed is None:
            users[name] = pd.Series("", index=users.index, dtype=str)
        else:
            nothing = np.full(len(users), -1)
            users[name] = pd.Categorical.from_codes(nothing, categories=list(allowed))
    return users


def read_movies_csv(path: str | Path) -> pd.DataFrame:
    """Read `movies.csv`; a bad line or a repeated movie raises MovieLensFormatError."""
    rows = []
    with _open(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        lines = csv.reader(text, strict=True)
        try:
            for row in lines:
                if lines.line_num == 1:
                    _check_header(path, row, MOVIE_HEADER)
                    continue
                if len(row) != 3:
                    found = f"{len(row)} fields in {_quoted(','.join(row))}"
                    raise MovieLensFormatError(path, lines.line_num, found, "three fields")
                rows.append(_values(path, lines.line_num, row, MOVIE_COLUMNS))
        except UnicodeDecodeError as error:
            found = f"the byte {error.object[error.start]:02x}"
            raise MovieLensFormatError(path, lines.line_num + 1, found, "UTF-8 text") from error
        except csv.Error as error:
            found = f"what is no CSV ({error})"
            raise MovieLensFormatError(path, lines.line_num, found, "quotes in pairs") from error
    if not rows:
        raise MovieLensFormatError(path, 1, "no movie", f"{','.join(MOVIE_HEADER)}, then movies")
    movies = pd.DataFrame(rows, columns=list(MOVIE_COLUMNS))
    movies = movies.astype({name: dtype for name, (dtype, _) in MOVIE_COLUMNS.items()})
    _refuse_repeats(path, movies, ["movie_id"], header=1)
    return movies


def read_ratings_csv(path: str | Path, movie_ids: pd.Series | None = None) -> pd.DataFrame:
    """Read `ratings.csv`; a bad line, an unknown movie or a repetition is a MovieLensFormatError.

    movie_ids: the known ids; None: any id is accepted.
    """
    blocks: dict[str, list[np.ndarray]] = {name: [] for name in RATING_COLUMNS}
    line = 2  # of the block's first rating, below the header
    with _open(path) as file:
        header = file.readline().decode("utf-8", "replace").lstrip("\ufeff")
        _check_header(path, header.rstrip("\r\n").split(","), RATING_HEADER)
        for raw in _whole_lines(file):
            columns = _parse_block(raw)
            if columns is None:  # something is unusual: line by line tells what, and where
                columns = _parse_block_slowly(path, line, raw)
            if movie_ids is not None:
                unknown = ~np.isin(columns["movie_id"], movie_ids)
                if unknown.any():
                    row = int(unknown.argmax())
                    found, file_name = f"movie_id {columns['movie_id'][row]}", CSV_FILES[0]
                    expected = f"a movie_id that {file_name} lists"
                    raise MovieLensFormatError(path, line + row, found, expected)
            for name, values in columns.items():
                blocks[name].append(values)
            line += len(columns["rating"])
    if line == 2:
        raise MovieLensFormatError(path, 2, "no rating", "at least one line below the header")
    # One column after the other, so that only one of them is there twice.
    whole = {name: np.concatenate(blocks.pop(name)) for name in RATING_COLUMNS}
    ratings = pd.DataFrame(whole, copy=False)
    _refuse_repeats(path, ratings, ["user_id", "movie_id"], header=1)
    return ratings


def _open(path: str | Path) -> IO[bytes]:
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise MovieLensNotFoundError(f"{path}: found {found}; expected a CSV file of MovieLens")
    return path.open("rb")


def _check_header(path: str | Path, found: list[str], expected: list[str]) -> None:
    if found != expected:
        raise MovieLensFormatError(
            path, 1, _quoted(",".join(found)), f"the header {','.join(expected)}"
        )


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


def _parse_block(raw: bytes) -> dict[str, np.ndarray] | None:
    """Parse a block at once; None if a line is not id,id,half stars,seconds as MovieLens has them."""
    # Without its digits, every line is its commas and the point of its rating.
    if raw.translate(None, b"0123456789") != b",,.,\n" * raw.count(b"\n"):
        return None
    try:
        # The point as another comma: whole and half stars are columns of their own.
        table = pd.read_csv(
            io.BytesIO(raw.replace(b".", b",")),
            header=None,
            names=["user_id", "movie_id", "whole", "tenths", "unix_timestamp"],
            dtype=np.int64,
            na_filter=False,
        )
    except (ValueError, OverflowError):  # an empty field, or a number beyond int64
        return None
    whole, tenths = table.pop("whole").to_numpy(), table.pop("tenths").to_numpy()
    half = (tenths != 0).astype(np.int64)
    stars = whole + half
    if (
        not np.isin(tenths, (0, 5)).all()
        or raw.count(b".0,") + raw.count(b".5,") != len(table)  # not .00 or .05
        or stars.min() < 1
        or stars.max() > 5
        or table.to_numpy().max() > INT32[-1]
    ):
        return None
    table.insert(2, "rating", stars)
    return {name: table[name].to_numpy(dtype) for name, (dtype, _) in RATING_COLUMNS.items()}


def _parse_block_slowly(path: str | Path, first: int, raw: bytes) -> dict[str, np.ndarray]:
    """Parse line by line; the first line not as it must be raises MovieLensFormatError."""
    columns = RATING_COLUMNS | {"rating": (RATING_COLUMNS["rating"][0], HALF_STARS)}
    rows = []
    for number, line in enumerate(raw[:-1].split(b"\n"), start=first):
        fields = _split(path, number, line.decode("utf-8", "replace"), ",", RATING_HEADER)
        rows.append(_values(path, number, fields, columns))
    return {
        name: np.array(column, dtype=dtype)
        for (name, (dtype, _)), column in zip(
            RATING_COLUMNS.items(), zip(*rows, strict=True), strict=True
        )
    }
