"""A table of the reader's own, user, item and time, as the frames of a MovieLens data set."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from recformer_utils.formats.columns import (
    RATING_COLUMNS,
    csv_rows,
    quoted,
    typed,
    unknown_users,
)

NO_GENRES = "(no genres listed)"  # what MovieLens writes where a movie has none
LIKED = 5  # the rating of an interaction that has none: to have bought it is to have liked it
MICROSECONDS = 1_000_000
SECONDS = r"-?\d+(\.\d*)?"
DATE = r"\d{4}-\d\d-\d\d([T ]\d\d(:?\d\d){0,2}([.,]\d+)?)?( ?(Z|[+-]\d\d(:?\d\d)?))?"
SINCE = "seconds since 1970, or a date like 2026-11-24T18:30Z"
Texts = str | Mapping[object, str] | None  # a column's name, or texts by id
Where = Callable[[int], str]  # a row's number, from 0 -> the words for its place


class InteractionsError(ValueError):
    """A table of interactions is malformed; the message names source, row and column."""


def read_interactions(
    table: str | Path | pd.DataFrame, user: str, item: str, timestamp: str, rating: str | None,
    titles: Texts, genres: Texts, repeats: str,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """The frames (users, movies, ratings); for the arguments see `movielens.from_interactions`."""
    if repeats not in ("first", "last", "refuse"):
        raise ValueError(f"repeats must be 'first', 'last' or 'refuse', not {repeats!r}")
    frame, source, where = _read(table)
    if frame.columns.nlevels > 1 or frame.columns.duplicated().any():
        again = frame.columns[frame.columns.duplicated()].tolist()
        found = f"{again[0]!r} twice" if again else "names of several levels"
        raise _malformed(source, found, "a name of its own each column")
    columns = [c for c in (user, item, timestamp, rating, titles, genres) if isinstance(c, str)]
    if missing := [column for column in columns if column not in frame]:
        there = quoted(", ".join(map(repr, frame)), 200)
        raise InteractionsError(
            f"{source}: found no column {missing[0]!r}; it has {there[1:-1]}. "
            f"Name the columns: from_interactions(..., user='...', item='...', timestamp='...')"
        )
    if frame.empty:
        raise _malformed(source, "no row", "at least one interaction")
    times = _microseconds(frame[timestamp], where)
    user_numbers, user_ids = _numbered(frame[user], where)
    item_numbers, item_ids = _numbered(frame[item], where)
    stars = _stars(frame[rating], where) if rating else np.full(len(frame), LIKED)
    order = np.argsort(times, kind="stable")
    columns = (user_numbers, item_numbers, stars, times // MICROSECONDS)
    ratings = pd.DataFrame(dict(zip(RATING_COLUMNS, columns, strict=True))).iloc[order]
    ratings = typed(ratings, RATING_COLUMNS)
    keep = "last" if repeats == "last" else "first"
    again = ratings.duplicated(["user_id", "movie_id"], keep=keep)
    if repeats == "refuse":
        first = ~again.to_numpy()[np.argsort(order)]  # in the order of the table
        _require(first, frame[item], where, "an item that the user had before", "each only once")
    users = unknown_users(np.arange(1, len(user_ids) + 1)).assign(original_id=user_ids)
    movies = pd.DataFrame({"movie_id": np.arange(1, len(item_ids) + 1, dtype=np.int32)})
    movies["title"] = _texts(titles, frame, item, item_ids, item_ids)
    movies["genres"] = _texts(genres, frame, item, item_ids, [NO_GENRES] * len(item_ids))
    return users, movies.assign(original_id=item_ids), ratings[~again].reset_index(drop=True)


def _read(table: str | Path | pd.DataFrame) -> tuple[pd.DataFrame, str, Where]:
    """The table, its name, and words for the place of a row; of a file, every field is a text."""
    if isinstance(table, pd.DataFrame):
        return table, "the frame", lambda row: f"the frame, row {row}"

    def malformed(line: int, found: str, expected: str) -> InteractionsError:
        return _malformed(f"{table}, line {line}", found, expected)

    lines, rows = [], []
    for line, row in csv_rows(table, malformed):
        if rows and len(row) != len(rows[0]):
            raise malformed(line, f"{len(row)} fields", f"{len(rows[0])}, as in the first line")
        rows.append([field or None for field in row])  # only an empty one is missing
        lines.append(line)
    if not rows:
        raise malformed(1, "nothing", "the names of the columns")
    frame = pd.DataFrame(rows[1:], columns=rows[0], dtype=object)
    return frame, str(table), lambda row: f"{table}, line {lines[row + 1]}"


def _malformed(place: str, found: str, expected: str) -> InteractionsError:
    return InteractionsError(f"{place}: found {found}; expected {expected}")


def _require(good: ArrayLike, column: pd.Series, where: Where, found: str, expected: str) -> None:
    """Raise InteractionsError at the first row that is not good; False: none is."""
    good = np.broadcast_to(good, len(column))
    if not good.all():
        row = int(good.argmin())
        value = column.tolist()[row]  # as Python has it, without numpy's name around it
        found = "nothing" if pd.isna(value) else f"{found} ({quoted(str(value))})"
        expected += ". Correct the row or leave it out."
        raise _malformed(f"{where(row)}, column {column.name!r}", found, expected)


def _numbered(ids: pd.Series, where: Where) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from 1 for each row, and the ids in their order; of mixed types, by their text."""
    _require(ids.notna().to_numpy(), ids, where, "", "an id")
    try:
        codes, found = pd.factorize(ids)
    except TypeError as error:
        raise InteractionsError(f"column {ids.name!r}: found values that are no ids") from error
    try:
        order = np.argsort(np.asarray(found), kind="stable")
    except TypeError:  # a text and a number have no order
        order = np.argsort([f"{type(value).__name__} {value}" for value in found], kind="stable")
    return np.argsort(order)[codes] + 1, np.asarray(found)[order]


def _microseconds(times: pd.Series, where: Where) -> np.ndarray:
    """Microseconds since 1970, UTC, int64 (rows,), refused beyond what int32 seconds can hold."""
    text = times.astype(object).map(str).str.strip()
    are_seconds = text.str.fullmatch(SECONDS).to_numpy()
    dates = text.where(text.str.fullmatch(DATE) & ~are_seconds)
    dates = pd.to_datetime(dates, utc=True, errors="coerce", format="ISO8601")
    good = are_seconds | dates.notna().to_numpy()
    _require(good & times.notna().to_numpy(), times, where, "no time", SINCE)
    as_first = are_seconds == are_seconds[0]
    _require(as_first, times, where, "a date among numbers, or the reverse", "one form of time")
    hint = ""
    if are_seconds[0]:
        seconds = text.astype(np.float64).to_numpy()
        _require_seconds(seconds, times, where)
        # Floats hold microseconds of today exactly to a quarter of one.
        stamps = np.rint(seconds * MICROSECONDS)
        hint = " (milliseconds? Divide them by 1000)" if seconds.max() > 1e11 else ""
    else:
        stamps = dates.dt.as_unit("us").astype(np.int64).to_numpy()
    good = (stamps >= 0) & (stamps < 2**31 * MICROSECONDS)
    expected = f"a time from 1970 to 2038, in seconds{hint}"
    _require(good, times, where, "a time out of range", expected)
    return stamps.astype(np.int64)


def _require_seconds(seconds: np.ndarray, times: pd.Series, where: Where) -> None:
    """Refuses numbers that look like times of another kind. Small ones (1, 2, 3) are an order."""
    days = pd.to_datetime(pd.Series(seconds).astype(str).str.removesuffix(".0"), "coerce",
                          format="%Y%m%d")  # fmt: skip
    are_days = days.dt.year.between(1900, 2100).all()
    _require(not are_days, times, where, "a date without its dashes", "2024-01-05 for 20240105")
    may_be_days = len(seconds) > 1 and ((seconds > 30_000) & (seconds < 60_000)).all()
    _require(not may_be_days, times, where, "what may be days since 1900", SINCE)
    if seconds.min() < 1e8 and 5e8 < seconds.max() < 1e11:
        _require(seconds > 1e8, times, where, "another unit than in other rows", SINCE)


def _stars(ratings: pd.Series, where: Where) -> np.ndarray:
    numbers = pd.to_numeric(ratings, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    good = (numbers >= 0.5) & (numbers <= 5)
    _require(good, ratings, where, "no rating from 0.5 to 5", "a rating, scaled to 1 to 5")
    return np.ceil(numbers)


def _texts(
    given: Texts, frame: pd.DataFrame, item: str, ids: np.ndarray, otherwise: np.ndarray | list[str]
) -> pd.Series:
    """One text an item, in the order of the ids; of a column, the last that is there."""
    if isinstance(given, str):
        known = frame[[item, given]].dropna()
        given = dict(zip(known[item], known[given], strict=True))
    given = {} if given is None else dict(given)  # a Series, too
    kept = []
    for text, other in zip(map(given.get, ids.tolist()), otherwise, strict=True):
        kept.append(str(other if pd.isna(text) or not str(text).strip() else text))
    return pd.Series(kept, dtype=str)
