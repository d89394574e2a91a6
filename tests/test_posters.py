"""Posters and title cards: the same every time, readable, and never an exception."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from recformer_utils import posters
from recformer_utils.posters import (
    UnusablePosterError,
    find_poster,
    poster,
    poster_rows,
    show_posters,
    unusable_posters,
)
from recformer_utils.title_cards import PALETTES, _contrast, fit_text, split_title, title_card

LONGEST = "Those Who Love Me Can Take the Train and Never Come Back to the Old Country Again (1998)"
MOVIES = pd.DataFrame(
    [
        (1, "Lamp, The (1990)", "Drama"),
        (2, "Second One (1991)", "Comedy|Romance"),
        (5, LONGEST, "War"),
    ],
    columns=["movie_id", "title", "genres"],
)
RED = (228, 0, 43)


@pytest.mark.parametrize(
    ("title", "shown", "year"),
    [
        ("Matrix, The (1999)", "The Matrix", 1999),
        ("Misérables, Les (1995)", "Les Misérables", 1995),
        ("Seven (Se7en) (1995)", "Seven", 1995),
        ("City of Lost Children, The (Cité, La) (1995)", "The City of Lost Children", 1995),
        ("Eau, L' (1950)", "L'Eau", 1950),
        ("(Untitled)", "(Untitled)", None),
        ("1984", "1984", None),
    ],
)
def test_split_title(title, shown, year):
    assert split_title(title) == (shown, year)


def test_the_same_card_in_another_process():
    code = (
        "import hashlib; from recformer_utils.title_cards import title_card; "
        "print(hashlib.sha256(title_card(7, 'A (1999)', 'Drama|War').tobytes()).hexdigest())"
    )
    hashes = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(hashes) == 1


def test_titles_are_readable_on_every_ground():
    for palette in PALETTES.values():
        for ground in palette.grounds.split():
            assert _contrast(palette.ink, ground) >= 4.5


def test_genres_and_movies_look_different():
    cards = {title_card(1, "A (1999)", genre).tobytes() for genre in PALETTES}
    assert len(cards) == len(PALETTES)
    assert (
        title_card(1, "A (1999)", "Drama").tobytes() != title_card(2, "A (1999)", "Drama").tobytes()
    )
    assert title_card(1, "A", "No such genre").shape == (360, 240, 3)


@pytest.mark.parametrize(
    "title", [LONGEST, "Donaudampfschifffahrtsgesellschaftskapitaen", "X", "é" * 300]
)
def test_every_title_fits(title):
    font, lines = fit_text(title, 400, 200, 480)
    assert all(font.getlength(line) <= 400 for line in lines)
    assert len(lines) * font.size * 1.12 <= 200 + font.size
    assert "".join("".join(lines).split())[:1] == title[:1]


def test_the_readers_own_poster_is_used(tmp_path):
    Image.new("RGB", (300, 450), (10, 200, 30)).save(tmp_path / "1.png")
    picture = poster(1, "Lamp, The (1990)", "Drama", tmp_path, (60, 90))
    assert picture.shape == (90, 60, 3)
    assert (picture == (10, 200, 30)).all()
    assert find_poster(2, tmp_path) is None


@pytest.mark.parametrize("kind", ["truncated", "text", "empty", "huge", "folder"])
def test_an_unusable_file_becomes_a_title_card_and_is_named(tmp_path, kind, monkeypatch, capsys):
    path = tmp_path / "1.jpg"
    Image.effect_noise((200, 300), 90).convert("RGB").save(path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "text":
        path.write_text("not a picture")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "huge":
        monkeypatch.setattr(posters, "LARGEST_PIXELS", 50_000)
    else:
        path.unlink()
        path.mkdir()
    with pytest.raises(UnusablePosterError, match=r"1\.jpg"):
        find_poster(1, tmp_path)
    card = title_card(1, "Lamp, The (1990)", "Drama", (60, 90))
    assert np.array_equal(poster(1, "Lamp, The (1990)", "Drama", tmp_path, (60, 90)), card)
    assert len(unusable_posters({1, 2}, tmp_path)) == 1


def red_pixels(picture):
    return int((np.asarray(picture) == RED).all(axis=2).sum())


def test_only_the_highlighted_place_is_red():
    rows = [[1, 2, 5], [2, None], []]
    assert red_pixels(poster_rows(rows, MOVIES, folder=None)) == 0
    last = np.asarray(poster_rows(rows, MOVIES, highlight=-1, folder=None))
    columns = (last == RED).all(axis=2).any(axis=0)
    assert columns[230:].any()
    assert not columns[: posters.GAP].any()
    picked = poster_rows(
        rows, MOVIES, highlight=lambda row, column: (row, column) == (0, 0), folder=None
    )
    assert 0 < red_pixels(picked) < red_pixels(poster_rows(rows, MOVIES, highlight=0, folder=None))


def test_what_is_shown_has_an_alternative_text_and_stays_small(monkeypatch):
    shown = []
    monkeypatch.setattr(
        posters, "display", lambda data, raw, metadata: shown.append((data, metadata))
    )
    rows = [[1, 2, 5, 999, None, 1]] * 4
    show_posters(rows, MOVIES, highlight=5, row_titles=["Ann", "Bea", "Cle", "Dan"], folder=None)
    ((data, metadata),) = shown
    alt = metadata["image/png"]["alt"]
    assert alt.startswith("Movie posters. Ann: The Lamp, Second One, Those Who")
    assert "empty place" in alt
    assert "The Lamp (framed in red)." in alt
    assert len(data["image/png"]) * 4 / 3 < 190 * 1024


def test_photographs_are_stored_as_jpeg_and_stay_small(tmp_path, monkeypatch):
    for movie in (1, 2, 5):
        noise = Image.effect_noise((24, 36), 90).convert("RGB")
        noise.resize((240, 360), Image.Resampling.BICUBIC).save(tmp_path / f"{movie}.jpg")
    mime, data = posters._encode(poster_rows([[1, 2, 5] * 2] * 4, MOVIES, folder=tmp_path))
    assert mime == "image/jpeg"
    assert len(data) * 4 / 3 < 190 * 1024
