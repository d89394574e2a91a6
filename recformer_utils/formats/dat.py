"""Read `users.dat`, `movies.dat` and `ratings.dat` of MovieLens-1M, every line checked.

A line's fields are joined by "::", the text is ISO-8859-1, a quote is a character like any other.
"""

import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

FILES = ("users.dat", "movies.dat", "ratings.dat")
CSV_FILES = ("movies.csv", "ratings.csv")  # the form of MovieLens-20M, 25M and 32M
BY_HAND = (
    "By hand: open https://grouplens.org/datasets/movielens/1m/, download ml-1m.zip and unpack it "
    "to data/ml-1m, or set RECFORMER_DATA to a folder with users.dat, movies.dat and ratings.dat."
)

# Column name -> (dtype, allowed values or, for any text that is not blank, None; a dict where texts
# have values of their own). The codes are those of MovieLens-1M's README.
INT32 = range(2**31)
AGES = (1, 18, 25, 35, 45, 50, 56)
USER_COLUMNS = {
    "user_id": (np.int32, INT32),
    "sex": ("category", ("F", "M")),
    "age_group": ("category", AGES),
    "occupation": ("category", range(21)),
    "zip_code": (str, None),
}
MOVIE_COLUMNS = {"movie_id": (np.int32, INT32), "title": (str, None), "genres": (str, None)}
RATING_COLUMNS = {
    "user_id": (np.int32, INT32),
    "movie_id": (np.int32, INT32),
    "rating": (np.int8, range(1, 6)),
    "unix_timestamp": (np.int32, INT32),
}
# Half stars of the CSV form, rounded up: "0.5" -> 1, "1.0" -> 1, ..., and "4" -> 4.
HALF_STARS = {f"{half / 2:.1f}": -(-half // 2) for half in range(1, 11)}
HALF_STARS |= {str(stars): stars for stars in range(1, 6)}
Allowed = range | tuple | dict | None
Columns = dict[str, tuple[object, Allowed]]

WHOLE_NUMBER = re.compile(r"0*([0-9]{1,10})")
CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
BYTE_ORDER_MARKS = {b"\xef\xbb\xbf": "UTF-8", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


class MovieLensNotFoundError(FileNotFoundError):
    """A file or folder of MovieLens is not where it was looked for."""


class MovieLensFormatError(ValueError):
    """A line of a MovieLens file is not as it must be: see `file`, `line`, `found`, `expected`."""

    def __init__(self, file: str | Path, line: int, found: str, expected: str):
        super().__init__(file, line, found, expected)  # all four, so that the error can be pickled
        self.file, self.line, self.found, self.expected = Path(file), line, found, expected

    def __str__(self) -> str:
        is_csv = self.file.suffix == ".csv"
        source = "unpack its archive again" if is_csv else "`make data` fetches MovieLens-1M anew"
        return (
            f"{self.file}, line {self.line}: found {self.found}; expected {self.expected}. "
            f"Mend the line or restore the file ({source})."
        )


def read_movielens_files(
    users_file: str | Path, movies_file: str | Path, ratings_file: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the three files as frames (users, movies, ratings).

    Columns, dtypes: USER_COLUMNS, MOVIE_COLUMNS, RATING_COLUMNS. Rows keep the order of the files.
    Where ratings.dat is not there but ratings.csv is (MovieLens-20M, 25M, 32M), that form is read:
    see `movielens_csv.read_movielens_csv`.
    Raises MovieLensNotFoundError (no such file) and MovieLensFormatError (a bad line or id).
    """
    if has_csv_form(Path(ratings_file).parent) and not Path(ratings_file).is_file():
        from recformer_utils.formats.csv import read_movielens_csv  # it imports this file

        movies_file, ratings_file = (
            Path(f).with_suffix(".csv") for f in (movies_file, ratings_file)
        )
        return read_movielens_csv(movies_file, ratings_file)
    users, movies = read_users(users_file), read_movies(movies_file)
    return users, movies, read_ratings(ratings_file, users["user_id"], movies["movie_id"])


def has_csv_form(folder: str | Path) -> bool:
    """Whether a folder holds ratings.csv and movies.csv but none of the `.dat` files."""
    folder = Path(folder)
    return all((folder / file).is_file() for file in CSV_FILES) and not any(
        (folder / file).exists() for file in FILES
    )


def read_users(path: str | Path) -> pd.DataFrame:
    """Read `users.dat`; a bad line or a repeated user raises MovieLensFormatError."""
    users = _parse_lines(path, _read_bytes(path), USER_COLUMNS)
    _refuse_repeats(path, users, ["user_id"])
    return users


def read_movies(path: str | Path) -> pd.DataFrame:
    """Read `movies.dat`; a bad line or a repeated movie raises MovieLensFormatError."""
    movies = _parse_lines(path, _read_bytes(path), MOVIE_COLUMNS)
    _refuse_repeats(path, movies, ["movie_id"])
    return movies


def read_ratings(
    path: str | Path, user_ids: pd.Series | None = None, movie_ids: pd.Series | None = None
) -> pd.DataFrame:
    """Read `ratings.dat`; a bad line, an unknown id or a repetition raises MovieLensFormatError.

    user_ids, movie_ids: the known ids; None: any id is accepted.
    """
    raw = _read_bytes(path)
    ratings = _parse_ratings_fast(raw)
    if ratings is None:  # something is wrong: the slow parser finds out in which line
        ratings = _parse_lines(path, raw, RATING_COLUMNS)
    for column, known, file in (("user_id", user_ids, FILES[0]), ("movie_id", movie_ids, FILES[1])):
        unknown = np.zeros(0, bool) if known is None else ~np.isin(ratings[column], known)
        if unknown.any():
            row = int(unknown.argmax())
            found = f"{column} {ratings[column][row]}"
            raise MovieLensFormatError(path, row + 1, found, f"a {column} that {file} lists")
    _refuse_repeats(path, ratings, ["user_id", "movie_id"])
    return ratings


def _read_bytes(path: str | Path) -> bytes:
    """Return the file's bytes with "\\n" as the end of every line."""
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise MovieLensNotFoundError(
            f"{path}: found {found}; expected a file of MovieLens-1M. "
            f"`make data` fetches it. {BY_HAND}"
        )
    raw = path.read_bytes()
    if not raw:
        raise MovieLensFormatError(path, 1, "an empty file", "at least one line")
    for mark, encoding in BYTE_ORDER_MARKS.items():
        if raw.startswith(mark):
            found = f"{encoding} text (a byte order mark)"
            raise MovieLensFormatError(path, 1, found, "ISO-8859-1 text")
    if b"\r" in raw:
        raw = raw.replace(b"\r\n", b"\n")
    return raw if raw.endswith(b"\n") else raw + b"\n"


def _parse_ratings_fast(raw: bytes) -> pd.DataFrame | None:
    """Parse all ratings at once; None if a line is not four whole numbers in their ranges."""
    lines = raw.count(b"\n")
    # Without its digits, every line is six colons; three pairs a line leave no single colon.
    if raw.translate(None, b"0123456789") != b"::::::\n" * lines or raw.count(b"::") != 3 * lines:
        return None
    try:
        # A pair of colons is an empty column between two: 0, 2, 4 and 6 hold the numbers.
        table = pd.read_csv(
            io.BytesIO(raw),
            sep=":",
            names=list(RATING_COLUMNS),
            usecols=[0, 2, 4, 6],
            dtype=np.int64,  # int32 would wrap around without a word
            na_filter=False,
        )
    except (ValueError, OverflowError):  # an empty field, or a number beyond int64
        return None
    for column, (_, allowed) in RATING_COLUMNS.items():
        if table[column].min() < allowed[0] or table[column].max() > allowed[-1]:
            return None
    return table.astype({column: dtype for column, (dtype, _) in RATING_COLUMNS.items()})


def _parse_lines(path: str | Path, raw: bytes, columns: Columns) -> pd.DataFrame:
    """Parse line by line; the first line not as `columns` say raises MovieLensFormatError."""
    values = list(zip(*_rows(path, raw, columns), strict=True))
    return pd.DataFrame(
        {
            name: pd.Series(column, dtype=dtype)
            for (name, (dtype, _)), column in zip(columns.items(), values, strict=True)
        }
    )


def _rows(path: str | Path, raw: bytes, columns: Columns) -> Iterator[list[int | str]]:
    for number, line in enumerate(io.BytesIO(raw), start=1):
        text = _decode(path, number, line[:-1])
        fields = _split(path, number, text, "::", list(columns))
        yield _values(path, number, fields, columns)


def _split(path: str | Path, number: int, text: str, separator: str, names: list[str]) -> list[str]:
    """The fields of a line; another number of them raises MovieLensFormatError."""
    fields = text.split(separator)
    if len(fields) != len(names):
        found = f"{len(fields)} fields in {_quoted(text)}" if text.strip() else "a blank line"
        raise MovieLensFormatError(path, number, found, f"the fields {separator.join(names)}")
    return fields


def _values(path: str | Path, number: int, fields: list[str], columns: Columns) -> list[int | str]:
    """What a line's fields say; one that is not allowed raises MovieLensFormatError."""
    values = []
    for field, (name, (_, allowed)) in zip(fields, columns.items(), strict=True):
        value = _value(field, allowed)
        if value is None:
            found = f"{name} {_quoted(field)}"
            raise MovieLensFormatError(path, number, found, _in_words(allowed))
        values.append(value)
    return values


def _decode(path: str | Path, number: int, line: bytes) -> str:
    text = line.decode("iso-8859-1")
    if not text.isascii() and _is_utf8(line):
        found = f"UTF-8 text, {_quoted(line.decode())}"
        raise MovieLensFormatError(path, number, found, "ISO-8859-1 text (é is the one byte e9)")
    if control := CONTROL_CHARACTER.search(text):
        found = f"the control character 0x{ord(control[0]):02x} at column {control.start() + 1}"
        expected = "ISO-8859-1 text in lines that end with \\n or \\r\\n"
        raise MovieLensFormatError(path, number, found, expected)
    return text


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _value(text: str, allowed: Allowed) -> int | str | None:
    """Return the field's value, None if it is not allowed."""
    if allowed is None:
        return text if text.strip() else None
    if isinstance(allowed, dict):
        return allowed.get(text)
    whole = WHOLE_NUMBER.fullmatch(text)
    value = int(whole[1]) if whole else text
    # A text is never in a range, but Python would look through all of it to find out.
    return value if type(value) is type(allowed[0]) and value in allowed else None


def _in_words(allowed: Allowed) -> str:
    if allowed is None:
        return "some text"
    if isinstance(allowed, range):
        return f"a whole number from {allowed[0]} to {allowed[-1]}"
    if allowed is HALF_STARS:
        return "half stars from 0.5 to 5.0"
    return f"one of {', '.join(map(str, allowed))}"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _refuse_repeats(
    path: str | Path, frame: pd.DataFrame, columns: list[str], header: int = 0
) -> None:
    """Raise MovieLensFormatError, naming both lines, where a line repeats the ids of another."""
    keys = frame[columns[0]].to_numpy(np.int64, copy=True)
    for column in columns[1:]:
        keys <<= 32
        keys |= frame[column].to_numpy()
    ordered = np.sort(keys)
    if not (ordered[1:] == ordered[:-1]).any():
        return
    again = int(pd.Series(keys).duplicated().to_numpy().argmax())
    first = int((keys == keys[again]).argmax())
    ids = ", ".join(f"{column} {frame[column][again]}" for column in columns)
    found = f"{ids} again, as in line {first + header + 1}"
    raise MovieLensFormatError(
        path, again + header + 1, found, f"each {' and '.join(columns)} only once"
    )
