"""Your own data: a table of user, item and time becomes what `load_movielens` gives."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from recformer_utils.formats.csv import unknown_users
from recformer_utils.formats.dat import RATING_COLUMNS
from recformer_utils.movielens import MovieLens

NO_GENRES = "(no genres listed)"  # what MovieLens writes where a movie has none
LIKED = 5  # the rating of an interaction that has none: to have bought it is to have liked it
MICROSECONDS = 1_000_000
Repeats = Literal["first", "last", "refuse"]


class InteractionsError(ValueError):
    """A table of interactions is not as it must be; the message names source, row and column."""


def from_interactions(
    table: str | Path | pd.DataFrame,
    user: str = "user",
    item: str = "item",
    timestamp: str = "timestamp",
    rating: str | None = None,
    titles: str | Mapping[object, str] | None = None,
    genres: str | Mapping[object, str] | None = None,
    repeats: Repeats = "first",
    name: str = "own data",
) -> MovieLens:
    """Turn a table of who took what and when into the frames that everything else works on.

    Args:
        table: a CSV file with a header (UTF-8; ids are read as text, so "007" stays "007") or a
            frame; one row an interaction, in any order.
        user, item: columns of ids of any type (text, UUIDs, numbers).
        timestamp: column of times: whole seconds since 1970, or dates (ISO 8601 text, datetimes).
            With a time zone they become UTC; those without one are taken as UTC.
        rating: column of numbers from 0.5 to 5, fractions rounded up; None: all count as 5.
        titles, genres: column of the item's title or genres, joined by "|" (its last row counts),
            or a mapping from ids; None: the id is the title, and no genres are listed.
        repeats: what remains of several interactions of a user with an item: the "first" or
            "last" in time; "refuse" raises. The evaluation leaves out what a user has had, so an
            item that comes again could never be hit.
        name: what the data set is called.

    Returns:
        The object of `load_movielens`, ids numbered from 1 in sorted order; the original ids stand
        in the column ``original_id`` of users and movies. Ratings are in order of time, exact to
        the microsecond before the second is cut; equal times keep the table's order.

    Raises:
        FileNotFoundError: there is no such file.
        InteractionsError: a column is missing, or a value is; it says in which row.
    """
    frame, source, first_row = _read(table, [user, item])
    columns = [user, item, timestamp, *(c for c in (rating, titles, genres) if isinstance(c, str))]
    missing = [column for column in columns if column not in frame]
    if missing:
        raise InteractionsError(
            f"{source}: found no column {missing[0]!r}; it has {', '.join(map(repr, frame))}. "
            f"Name the columns: from_interactions(..., user='...', item='...', timestamp='...')"
        )
    if frame.empty:
        raise InteractionsError(f"{source}: found no row; expected at least one interaction")
    place = _Place(source, first_row)
    times = _microseconds(frame[timestamp], place)
    order = np.argsort(times, kind="stable")
    user_codes, user_ids = _numbered(frame[user], place)
    item_codes, item_ids = _numbered(frame[item], place)
    stars = _stars(frame[rating], place) if rating else np.full(len(frame), LIKED, np.int8)
    ratings = pd.DataFrame(
        {
            "user_id": user_codes[order],
            "movie_id": item_codes[order],
            "rating": stars[order],
            "unix_timestamp": times[order] // MICROSECONDS,
        }
    ).astype({column: dtype for column, (dtype, _) in RATING_COLUMNS.items()})
    again = ratings.duplicated(
        ["user_id", "movie_id"], keep="last" if repeats == "last" else "first"
    )
    if repeats == "refuse" and again.any():
        row = int(order[int(again.to_numpy().argmax())])
        place.refuse(row, frame[item], "an item that the user has had before", "each item once")
    users = unknown_users(np.arange(1, len(user_ids) + 1))
    movies = pd.DataFrame({"movie_id": np.arange(1, len(item_ids) + 1, dtype=np.int32)})
    movies["title"] = _texts(titles, frame, item_codes, item_ids, default=None)
    movies["genres"] = _texts(genres, frame, item_codes, item_ids, default=NO_GENRES)
    return MovieLens(
        name,
        Path(),  # there are no files in MovieLens' form
        users.assign(original_id=user_ids),
        movies.assign(original_id=item_ids),
        ratings[~again].reset_index(drop=True),
    )


class _Place:
    """Words for a row: a file's line, or a frame's row by its number from 0."""

    def __init__(self, source: str, first_row: int | None):
        self.source, self.first_row = source, first_row

    def refuse(self, row: int, column: pd.Series, found: str, expected: str) -> None:
        where = f"row {row}" if self.first_row is None else f"line {row + self.first_row}"
        given = column.tolist()[row]  # as Python has it, without numpy's name around it
        value = "" if pd.isna(given) else f" ({given!r})"
        raise InteractionsError(
            f"{self.source}, {where}, column {column.name!r}: found {found}{value}; "
            f"expected {expected}. Mend the row or leave it out"
        )


def _read(table: str | Path | pd.DataFrame, ids: list[str]) -> tuple[pd.DataFrame, str, int | None]:
    if isinstance(table, pd.DataFrame):
        return table, "the frame", None
    try:
        # skip_blank_lines: otherwise the number of a line would not be that of the row.
        # Only an empty field is missing: there are people called NA.
        frame = pd.read_csv(
            table, dtype=dict.fromkeys(ids, str), skip_blank_lines=False,
            keep_default_na=False, na_values=[""],
        )  # fmt: skip
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InteractionsError(f"{table}: not readable as CSV in UTF-8: {error}") from error
    return frame, str(table), 2


def _numbered(ids: pd.Series, place: _Place) -> tuple[np.ndarray, np.ndarray]:
    """Numbers from 1 for each row, and the ids in their order; of unlike types, by their text."""
    if ids.isna().any():
        place.refuse(int(ids.isna().to_numpy().argmax()), ids, "nothing", "an id")
    codes, found = pd.factorize(ids)
    try:
        order = np.argsort(np.asarray(found), kind="stable")
    except TypeError:  # a text and a number have no order
        order = np.argsort([f"{type(value).__name__} {value}" for value in found], kind="stable")
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(1, len(order) + 1)
    return rank[codes], np.asarray(found)[order]


def _microseconds(times: pd.Series, place: _Place) -> np.ndarray:
    """Microseconds since 1970, UTC, int64 (rows,), refused beyond what int32 seconds can hold."""
    numeric = pd.api.types.is_numeric_dtype(times)
    if numeric:
        # Floats hold microseconds of today exactly to a quarter of one.
        stamps = np.rint(times.to_numpy(np.float64, na_value=np.nan) * MICROSECONDS)
        good = (stamps >= 0) & (stamps < 2**31 * MICROSECONDS)
    else:
        parsed = pd.to_datetime(times, utc=True, errors="coerce", format="ISO8601")
        if parsed.isna().any():
            row = int(parsed.isna().to_numpy().argmax())
            found = "nothing" if pd.isna(times.iloc[row]) else "no time"
            place.refuse(row, times, found, "seconds since 1970, or a date like 2026-11-24T18:30Z")
        stamps = parsed.dt.as_unit("us").astype(np.int64).to_numpy()
        good = (stamps >= 0) & (stamps < 2**31 * MICROSECONDS)
    if not good.all():
        row = int((~good).argmax())
        found = "nothing" if pd.isna(times.iloc[row]) else "a time out of range"
        milliseconds = numeric and times.iloc[row] > 1e11
        hint = " (milliseconds? Divide them by 1000)" if milliseconds else ""
        place.refuse(row, times, found, f"a time from 1970 to 2038, in seconds{hint}")
    return stamps.astype(np.int64)


def _stars(ratings: pd.Series, place: _Place) -> np.ndarray:
    numbers = pd.to_numeric(ratings, errors="coerce")
    bad = ~numbers.between(0.5, 5).to_numpy()
    if bad.any():
        row = int(bad.argmax())
        place.refuse(row, ratings, "no rating from 0.5 to 5", "ratings scaled to 1 to 5")
    return np.ceil(numbers).to_numpy().astype(np.int8)


def _texts(
    given: str | Mapping[object, str] | None,
    frame: pd.DataFrame,
    item_codes: np.ndarray,
    item_ids: np.ndarray,
    default: str | None,
) -> pd.Series:
    """One text an item, in the order of the ids; the default, or the id, where there is none."""
    if isinstance(given, str):
        texts = (
            pd.Series(frame[given].to_numpy()).groupby(item_codes).last()
        )  # of those not missing
        texts = texts.reindex(range(1, len(item_ids) + 1)).tolist()
    else:
        texts = [(given or {}).get(item_id) for item_id in item_ids.tolist()]
    fallback = item_ids if default is None else [default] * len(item_ids)
    kept = [
        str(other) if text is None or pd.isna(text) or not str(text).strip() else str(text)
        for text, other in zip(texts, fallback, strict=True)
    ]
    return pd.Series(kept, dtype=str)
