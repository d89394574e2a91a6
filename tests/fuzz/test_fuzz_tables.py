"""Tables of one's own: what was written comes back, and a fault is refused with its line."""

import csv
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from recformer_utils.movielens import InteractionsError, from_interactions
from tests.fuzz.bounds import bounded

# Everything that a CSV file in UTF-8 can hold, line ends inside quotes too.
texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\x00", exclude_categories=["Cs"]), max_size=8
)
ids = st.one_of(
    st.sampled_from(["1", "01", "1.0", "1e5", "NA", "nan", "None", "True", " 1", "-"]),
    texts.filter(lambda text: text != ""),
)
times = st.integers(631_152_000, 2**31 - 1)
rows = st.lists(st.tuples(ids, ids, times, texts), min_size=1, max_size=12)
TWICE = settings(max_examples=2 * settings().max_examples)  # they are short
NO_TIMES = ["", "now", "today", "soon", "True", "NaT", "1e9", "2024-13-01", "2024-01-05", "0x10"]


def written(folder: str, table: list, header=("user", "item", "timestamp", "name")) -> Path:
    path = Path(folder) / "log.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *table])
    return path


def expected(table: list) -> list[tuple]:
    """(user, item, time) by time, each pair once: what has to come back, by plain Python."""
    seen, found = set(), []
    for user, item, time, _ in sorted(table, key=lambda row: row[2]):
        if (user, item) not in seen:
            seen.add((user, item))
            found.append((user, item, time))
    return found


@TWICE
@given(rows)
def test_what_was_written_comes_back(table):
    with bounded("table"), tempfile.TemporaryDirectory() as folder:
        check(from_interactions(written(folder, table), titles="name"), table)


def check(data, table: list) -> None:
    """The data set holds what the table does, each interaction once."""
    users = data.users.set_index("user_id")["original_id"]
    items = data.movies.set_index("movie_id")["original_id"]
    ratings = data.ratings
    columns = users.loc[ratings["user_id"]], items.loc[ratings["movie_id"]]
    assert list(zip(*columns, ratings["unix_timestamp"].tolist(), strict=True)) == expected(table)
    titles = dict(zip(data.movies["original_id"], data.movies["title"], strict=True))
    for item in titles:
        given_titles = [name for _, i, _, name in table if i == item and name]
        last = given_titles[-1] if given_titles else item
        assert titles[item] == (last if last.strip() else item)


@TWICE
@given(rows, st.data())
def test_a_fault_is_refused_with_its_line(table, draw):
    place = draw.draw(st.integers(0, len(table) - 1))
    kind = draw.draw(st.sampled_from(["more", "fewer", "no user", "no item", "time"]))
    row = list(table[place])
    if kind == "more":
        row.append("7")
    elif kind == "fewer":
        row.pop()
    elif kind == "time":
        row[2] = draw.draw(st.sampled_from(NO_TIMES))
    else:
        row[0 if kind == "no user" else 1] = ""
    if kind == "time" and len(table) == 1 and row[2] == "2024-01-05":
        return  # alone it is a time
    table = [*table[:place], tuple(row), *table[place + 1 :]]
    before = table[:place]
    # Line ends that stand inside fields move the line on.
    line = 2 + sum(1 + sum(ends(field) for field in fields) for fields in before)
    with bounded("faulty table") as tried, tempfile.TemporaryDirectory() as folder:
        path = written(folder, table)
        try:
            from_interactions(path, titles="name")
        except InteractionsError as error:
            tried.refused = True
            first = place == 0 and row[2] == "2024-01-05"  # then the numbers are the odd ones out
            assert first or f"{path}, line {line}" in str(error), str(error)
        else:
            raise AssertionError(f"accepted {row}")


def ends(field: object) -> int:
    text = str(field).replace("\r\n", "\n").replace("\r", "\n")
    return text.count("\n")
