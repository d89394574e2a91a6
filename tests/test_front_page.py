"""The front pages show what the stored model recommends, in the words that it has for it."""

import json
import re

import pytest

from tools import front_page
from tools.common import REPOSITORY

FILES = [front_page.PICTURE, front_page.README, front_page.SITE / "row.json"]


def test_the_front_pages_belong_to_the_stored_model():
    row = json.loads((REPOSITORY / front_page.SITE / "row.json").read_text(encoding="utf-8"))
    remedy = "the stored model has changed: python -m tools.front_page"
    assert row["model"] == front_page.fingerprint(), remedy
    readme = (REPOSITORY / front_page.README).read_text(encoding="utf-8")
    (alt,) = re.findall(r"!\[(.*?)\]\(docs/result\.png\)", readme)
    assert alt == row["alt"]
    captions = {card["caption"]: card["title"] for card in row["cards"]}
    assert f"recommends {captions['recommended']}, framed in red" in alt
    assert f"watched {captions['watched next']} next" in alt


@pytest.mark.parametrize(
    ("place", "words"), [(1, "watched it next: a green tick."), (2, "G next.")]
)
def test_the_alternative_text_says_whether_it_was_a_hit(place, words):
    text = front_page.described([list("ABCDEFG")], [place])
    assert text.startswith(
        "Two rows of movie posters. After A, B, C, D and E the model recommends F"
    )
    assert text.endswith(words)


@pytest.mark.realdata
def test_the_command_writes_what_is_stored(tmp_path):
    for path in FILES:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    text = re.sub(r"!\[.*?\]", "![]", (REPOSITORY / front_page.README).read_text(encoding="utf-8"))
    (tmp_path / front_page.README).write_text(text, encoding="utf-8")
    front_page.write(tmp_path)
    for path in [*FILES, *sorted((REPOSITORY / front_page.SITE).glob("*.png"))]:
        path = path.relative_to(REPOSITORY) if path.is_absolute() else path
        assert (tmp_path / path).read_bytes() == (REPOSITORY / path).read_bytes(), path
