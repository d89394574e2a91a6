"""A table of the reader's own, user, item and time, as the frames of a MovieLens data set."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from recformer_utils.formats.columns import RATING_COLUMNS, unknown_users

NO_GENRES = "(no genres listed)"  # what MovieLens writes where a movie has none
LIKED = 5  # the rating of an interaction that has none: to have bought it is to have liked it
MICROSECONDS = 1_000_000
Where = Callable[[int], str]  # a row's number, from 0 -> the words for its place


class InteractionsError(ValueError):
    """A table of interactions is malformed; the message names source, row and column."""


def read_interactions(
    table: str | Path | pd.DataFrame,
    user: str,
    item: str,
    timestamp: str,
    rating: str | None,
    titles: str | Mapping[object, str] | None,
    genres: str | Mapping[object, str] | None,
    repeats: str,
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The frames (users, movies, ratings); for the arguments see `movielens.from_interactions`."""
    frame, source, where = _read(table, [user, item])
    columns = [c for c in (user, item, timestamp, rating, titles, genres) if isinstance(c, str)]
    if missing := [column for column in columns if column not in frame]:
        raise InteractionsError(
            f"{source}: found no column {missing[0]!r}; it has {', '.join(map(repr, frame))}. "
            f"Name the columns: from_interactions(..., user='...', item='...', timestamp='...')"
        )
    if frame.empty:
        raise InteractionsError(f"{source}: found no row; expected at least one interaction")
    times = _microseconds(frame[timestamp], where)
    user_numbers, user_ids = _numbered(frame[user], where)
    item_numbers, item_ids = _numbered(frame[item], where)
    stars = _stars(frame[rating], where) if rating else np.full(len(frame), LIKED)
    order = np.argsort(times, kind="stable")
    columns = (user_numbers, item_numbers, stars, times // MICROSECONDS)
    ratings = pd.DataFrame(dict(zip(RATING_COLUMNS, columns, strict=True))).iloc[order]
    ratings = ratings.astype({name: dtype for name, (dtype, _) in RATING_COLUMNS.items()})
    again = ratings.duplicated(
        ["user_id", "movie_id"], keep="last" if repeats == "last" else "first"
    )
    if repeats == "refuse":
        first = ~again.to_numpy()[np.argsort(order)]  # in the order of the table
        _require(first, frame[item], where, "an item that the user had before", "each only once")
    users = unknown_users(np.arange(1, len(user_ids) + 1)).assign(original_id=user_ids)
    movies = pd.DataFrame({"movie_id": np.arange(1, len(item_ids) + 1, dtype=np.int32)})
    movies["title"] = _texts(titles, frame, item, item_ids, item_ids)
    movies["genres"] = _texts(genres, frame, item, item_ids, [NO_GENRES] * len(item_ids))
    return users, movies.assign(original_id=item_ids), ratings[~again].reset_index(drop=True)


def _read(table: str | Path | pd.DataFrame, ids: list[str]) -> tuple[pd.DataFrame, str, Where]:
    if isinstance(table, pd.DataFrame):
        return table, "the frame", lambda row: f"the frame, row {row}"
    try:
        # skip_blank_lines: otherwise the number of a line would not be that of the row.
        # Only an empty field is missing: there are people called NA.
        frame = pd.read_csv(
            table, dtype=dict.fromkeys(ids, str), skip_blank_lines=False,
            keep_default_na=False, na_values=[""],
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InteractionsError(f"{table}: not readable as CSV in UTF-8: {error}") from error
    return frame, str(table), lambda row: f"{table}, line {row + 2}"


def _require(good: np.ndarray, column: pd.Series, where: Where, found: str, expected: str) -> None:
    """Raise InteractionsError at the first row that is not good."""
    if not good.all():
        row = int(good.argmin())
        value = column.tolist()[row]  # as Python has it, without numpy's name around it
        found = "nothing" if pd.isna(value) else f"{found} ({value!r})"
        raise InteractionsError(
            f"{where(row)}, column {column.name!r}: found {found}; expected {expected}. "
            f"Correct the row or leave it out."
        )


def _numbered(ids: pd.Series, where: Where) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from 1 for each row, and the ids in their order; of mixed types, by their text."""
    _require(ids.notna().to_numpy(), ids, where, "", "an id")
    codes, found = pd.factorize(ids)
    try:
        order = np.argsort(np.asarray(found), kind="stable")
    except TypeError:  # a text and a number have no order
        order = np.argsort([f"{type(value).__name__} {value}" for value in found], kind="stable")
    return np.argsort(order)[codes] + 1, np.asarray(found)[order]


def _microseconds(times: pd.Series, where: Where) -> np.ndarray:
    """Microseconds since 1970, UTC, int64 (rows,), refused beyond what int32 seconds can hold."""
    hint = ""
    if pd.api.types.is_numeric_dtype(times):
        # Floats hold microseconds of today exactly to a quarter of one.
        stamps = np.rint(times.to_numpy(np.float64, na_value=np.nan) * MICROSECONDS)
        hint = " (milliseconds? Divide them by 1000)" if times.max() > 1e11 else ""
    else:
        parsed = pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601")
        expected = "seconds since 1970, or a date like 2026-11-24T18:30Z"
        _require(parsed.notna().to_numpy(), times, where, "no time", expected)
        stamps = parsed.dt.as_unit("us").astype(np.int64).to_numpy()
    good = (stamps >= 0) & (stamps < 2**31 * MICROSECONDS)
    expected = f"a time from 1970 to 2038, in seconds{hint}"
    _require(good, times, where, "a time out of range", expected)
    return stamps.astype(np.int64)


def _stars(ratings: pd.Series, where: Where) -> np.ndarray:
    numbers = pd.to_numeric(ratings, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    good = (numbers >= 0.5) & (numbers <= 5)
    _require(good, ratings, where, "no rating from 0.5 to 5", "a rating, scaled to 1 to 5")
    return np.ceil(numbers)


def _texts(
    given: str | Mapping[object, str] | None,
    frame: pd.DataFrame,
    item: str,
    item_ids: np.ndarray,
    otherwise: np.ndarray | list[str],
) -> pd.Series:
    """One text an item, in the order of the ids; of a column, the last that is there."""
    if isinstance(given, str):
        known = frame[[item, given]].dropna()
        given = dict(zip(known[item], known[given], strict=True))
    texts = [(given or {}).get(item_id) for item_id in item_ids.tolist()]
    kept = [
        str(other if text is None or pd.isna(text) or not str(text).strip() else text)
        for text, other in zip(texts, otherwise, strict=True)
    ]
    return pd.Series(kept, dtype=str)
