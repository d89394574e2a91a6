"""The columns of the three tables, and the one check that every line of a file goes through."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd

# Column name -> (dtype, allowed values or, for any text that is not blank, None; a dict where texts
# have values of their own). The codes are those of MovieLens-1M's README.
INT32 = range(2**31)
USER_COLUMNS = {
    "user_id": (np.int32, INT32),
    "sex": ("category", ("F", "M")),
    "age_group": ("category", (1, 18, 25, 35, 45, 50, 56)),
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


class MovieLensNotFoundError(FileNotFoundError):
    """A file or folder of MovieLens is not where it was looked for."""


class MovieLensFormatError(ValueError):
    """A line of a MovieLens file is malformed: see `file`, `line`, `found`, `expected`."""

    def __init__(self, file: str | Path, line: int, found: str, expected: str):
        super().__init__(file, line, found, expected)  # all four, so that the error can be pickled
        self.file, self.line, self.found, self.expected = Path(file), line, found, expected

    def __str__(self) -> str:
        is_csv = self.file.suffix == ".csv"
        source = "unpack its archive again" if is_csv else "for MovieLens-1M: `make data`"
        return (
            f"{self.file}, line {self.line}: found {self.found}; expected {self.expected}. "
            f"Correct the line or restore the file ({source})."
        )


def require_file(path: str | Path, expected: str) -> Path:
    """The path, if it is that of a file."""
    path = Path(path)
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no file" if path.exists() else "nothing"
        raise MovieLensNotFoundError(f"{path}: found {found}; expected {expected}")
    return path


def read_whole_numbers(raw: bytes, line: bytes, names: list[str]) -> pd.DataFrame | None:
    """Parse all lines at once, int64; None where one is not ``line`` without its digits (,,,)."""
    if raw.translate(None, b"0123456789") != line * raw.count(b"\n"):
        return None
    raw = raw.replace(b".", b",")
    try:  # int64 first: int32 would wrap around silently
        return pd.read_csv(io.BytesIO(raw), names=names, dtype=np.int64, na_filter=False)
    except (ValueError, OverflowError):  # an empty field, or a number beyond int64
        return None


def fits(table: pd.DataFrame, columns: Columns) -> bool:
    """Whether all values of whole numbers are in the ranges of their columns."""
    return all(
        allowed[0] <= table[name].min() and table[name].max() <= allowed[-1]
        for name, (_, allowed) in columns.items()
    )


def read_lines(
    path: str | Path,
    lines: Iterable[tuple[int, list[str]]],
    columns: Columns,
    separator: str,
    header: Iterable[str] | None = None,
) -> pd.DataFrame:
    """Check numbered lines of fields and make a frame; the first malformed one raises an error."""
    rows = []
    for number, fields in lines:
        if len(fields) != len(columns):
            text = separator.join(fields)
            found = f"{len(fields)} fields in {quoted(text)}" if text.strip() else "a blank line"
            expected = f"the fields {separator.join(header or columns)}"
            raise MovieLensFormatError(path, number, found, expected)
        row = []
        for field, (name, (_, allowed)) in zip(fields, columns.items(), strict=True):
            row.append(_value(field, allowed))
            if row[-1] is None:
                found = f"{name} {quoted(field)}"
                raise MovieLensFormatError(path, number, found, _in_words(allowed))
        rows.append(row)
    return typed(pd.DataFrame(rows, columns=list(columns)), columns)


def typed(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The frame with the dtype of each column."""
    return frame.astype({name: dtype for name, (dtype, _) in columns.items()})


def _value(text: str, allowed: Allowed) -> int | str | None:
    """The field's value, None if it is not allowed."""
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


def quoted(text: str, longest: int = 60) -> str:
    """The text in quotes, shortened to so many characters."""
    return repr(text if len(text) <= longest else f"{text[: longest - 3]}...")


def csv_rows(
    path: str | Path, malformed: Callable[[int, str, str], Exception]
) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file in UTF-8, each with the number of the line in which it begins.

    Raises MovieLensNotFoundError, and what `malformed` makes of (line, found, expected).
    """
    raw, line = require_file(path, "a CSV file with a header").read_bytes(), 1
    try:
        rows = csv.reader(io.StringIO(raw.decode("utf-8-sig"), newline=""), strict=True)
        for row in rows:
            yield line, row
            line = rows.line_num + 1
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        found = f"the byte {raw[error.start]:02x}"
        raise malformed(line, found, "UTF-8 text, not packed") from error
    except csv.Error as error:
        raise malformed(line, f"invalid CSV ({error})", "quotes in pairs") from error


def require_known(
    path: str | Path, ids: pd.Series, known: pd.Series | None, file: str, first_line: int
) -> None:
    """Raise MovieLensFormatError at the first id that `file` does not list; None: any id will do."""
    unknown = np.zeros(0, bool) if known is None else ~np.isin(ids, known)
    if unknown.any():
        row = int(unknown.argmax())
        found, expected = f"{ids.name} {ids.iloc[row]}", f"a {ids.name} that {file} lists"
        raise MovieLensFormatError(path, first_line + row, found, expected)


def require_unique(
    path: str | Path, frame: pd.DataFrame, columns: list[str], first_line: int
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
    found = f"{ids} again, as in line {first + first_line}"
    expected = f"each {' and '.join(columns)} only once"
    raise MovieLensFormatError(path, again + first_line, found, expected)


def unknown_users(user_ids: np.ndarray) -> pd.DataFrame:
    """A frame of users of whom nothing but the id is known, in order of the ids."""
    users = pd.DataFrame({"user_id": np.sort(np.asarray(user_ids, dtype=np.int32))})
    for name, (_, allowed) in list(USER_COLUMNS.items())[1:]:
        nothing = [None] * len(users)
        users[name] = "" if allowed is None else pd.Categorical(nothing, categories=list(allowed))
    return users
