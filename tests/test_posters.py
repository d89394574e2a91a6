"""Posters: the reader's own pictures, the title cards that stand in for them, rows of both."""

import base64
import io
import os
import struct
import zlib
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbconvert import HTMLExporter
from nbformat import v4
from PIL import Image

from recformer_utils import posters
from recformer_utils.posters import (
    UnusablePosterError,
    arrange,
    compose,
    find_poster,
    picture_of,
    show_posters,
)
from recformer_utils.posters.cards import (
    INK,
    STYLES,
    contrast,
    fit_text,
    load_font,
    split_title,
    title_card,
)

GENRES = [name for name in STYLES if name != "Other"]
SAMPLE = Path(__file__).resolve().parents[1] / "data" / "sample" / "movies.dat"
NASTY = [
    "Adventures of Buckaroo Bonzai Across the 8th Dimension, The (1984)",
    "Don't Be a Menace to South Central While Drinking Your Juice in the Hood (1996)",
    "Llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch (1999)",
    "Donaudampfschifffahrtsgesellschaftskapitän Rindfleischetikettierung, Der (1970)",
    "W (2008)",
    "Å Ö É gjpqy (1950)",
    " ".join(["interminable"] * 40) + " (2001)",
]


@pytest.fixture
def movies() -> pd.DataFrame:
    table = [
        (1, "Toy Story (1995)", "Animation|Children's|Comedy"),
        (2, "Matrix, The (1999)", "Action|Sci-Fi|Thriller"),
        (3, "Jaws (1975)", "Action|Horror"),
        (4, 'Tom & "Huck" <1> (1995)', "Adventure|Children's"),
    ]
    return pd.DataFrame(table, columns=["movie_id", "title", "genres"])


@pytest.fixture
def shown(monkeypatch) -> list[dict]:
    """What show_posters hands to the notebook: a list of (bundle, metadata)."""
    calls = []
    monkeypatch.setattr(
        posters, "display", lambda data, raw, metadata: calls.append((data, metadata))
    )
    return calls


def poster(movie_id, title, genres, folder, size=(240, 360)) -> np.ndarray:
    return picture_of(movie_id, title, genres, folder).pixels(size)


def drawn(*arguments, **options) -> Image.Image:
    return compose(*arrange(*arguments, **options))


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def noise(width: int = 300, height: int = 450) -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


def empty_png(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims to have width x height pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Matrix, The (1999)", ("The Matrix", 1999)),
        ("Seven (Se7en) (1995)", ("Seven", 1995)),
        ("Postino, Il (The Postman) (1994)", ("Il Postino", 1994)),
        ("Heure d'été, L' (2008)", ("L'Heure d'été", 2008)),
        ("Tin Drum, The (Blechtrommel, Die) (1979)", ("The Tin Drum", 1979)),
        ("Cry, the Beloved Country (1995)", ("Cry, the Beloved Country", 1995)),
        ("(500) Days of Summer (2009)", ("(500) Days of Summer", 2009)),
        ("Untitled", ("Untitled", None)),
        ("", ("", None)),
        ("City of Lost Children, The (Cité, La) (1995)", ("The City of Lost Children", 1995)),
        ("1984", ("1984", None)),
    ],
)
def test_split_title(title, expected):
    assert split_title(title) == expected


@pytest.mark.parametrize("genre", STYLES)
def test_the_drawn_title_has_thatcontrast(genre):
    """Measured on the pixels below the motif: many are ink, and they stand out from the ground."""
    for movie_id in range(6):
        lower = title_card(movie_id, "MMMM WWWW (1999)", genre)[245:].astype(int)
        ground = lower[-1, 0]
        ink = np.array(list(bytes.fromhex(STYLES[genre]["colors"].get("ink", INK)[1:])))
        inked = (np.abs(lower - ink).max(axis=2) <= 8).sum()
        assert inked >= 300, (genre, movie_id, inked)
        to_hex = [f"#{bytes(color.tolist()).hex()}" for color in (ground, ink)]
        assert contrast(*to_hex) >= 4.5, (genre, movie_id, to_hex)


def nastiest_titles() -> list[str]:
    titles = list(NASTY)
    listed = [line.split("::")[1] for line in SAMPLE.read_text("latin-1").splitlines()]
    titles += sorted(listed, key=len)[-15:]
    return titles + sorted(listed, key=lambda title: max(map(len, title.split())))[-15:]


@pytest.mark.parametrize("size", [(240, 360), (186, 279), (110, 165)])
def test_no_title_is_clipped(size):
    """The margins left, right, and between title and year stay clear of ink."""
    for title in nastiest_titles():
        card = title_card(1, title, "Film-Noir", size).astype(int)
        lower = card[int(size[1] * 0.61) :]
        ground = lower[0, 0]
        margin = int(size[0] * 0.06)
        for strip in (lower[:, :margin], lower[:, -margin:], lower[-margin:]):
            assert np.abs(strip - ground).max() <= 8, (title, size)
        label_top = int(size[1] - size[0] * (0.075 + 0.058))
        between = card[label_top - int(size[0] * 0.012) : label_top, :]
        assert np.abs(between - ground).max() <= 8, (title, size)


def test_a_fitted_title_loses_no_letter():
    for title in nastiest_titles()[:-1]:
        name = split_title(title)[0]
        size, lines = fit_text(name, 400, 150)
        font = load_font(size)
        assert all(font.getlength(line) <= 400 for line in lines)
        kept = "".join(lines).replace("-", "").replace(" ", "")
        if "…" not in kept:
            assert kept == name.replace("-", "").replace(" ", "")


def test_only_a_title_beyond_all_measure_ends_in_an_ellipsis():
    assert fit_text(split_title(NASTY[1])[0], 408, 170)[1][-1].endswith("Hood")
    assert fit_text(split_title(NASTY[-1])[0], 408, 170)[1][-1].endswith("…")


def test_all_genres_look_different():
    assert len(GENRES) == 18
    cards = [title_card(5, "A (1999)", genre)[:200] for genre in [*GENRES, "Opera"]]
    for i, one in enumerate(cards):
        for other in cards[:i]:
            differs = np.abs(one.astype(int) - other.astype(int)).max(axis=2) > 40
            assert differs.mean() > 0.1


def test_a_genre_of_somebody_elses_has_a_palette_of_its_own_and_its_name():
    def ground(genres):
        return tuple(title_card(5, "A", genres)[-1, 0])

    shelves = ["Coffee", "Cycling", "Camping", "Garden", "Baking", "Painting", "Music", "Writing"]
    assert len({ground(shelf) for shelf in shelves}) >= 6
    assert ground("Coffee|Tea") == ground("Coffee")
    assert ground("(no genres listed)") == ground("") == ground("Other")
    assert ground("Opera|Drama") == ground("Drama"), "a known genre decides"
    below = [
        title_card(5, "A", genres)[-40:] for genres in ("Coffee", "Coffee, tea and cocoa " * 3)
    ]
    margin = [np.abs(card[:, -15:].astype(int) - card[-1, -1]).max() for card in below]
    assert margin == [0, 0], "a long name ends before the edge"
    assert not np.array_equal(title_card(5, "A", "")[-40:], title_card(5, "A", "Coffee")[-40:])


def test_six_films_of_one_genre_are_six_pictures():
    for genre in GENRES:
        assert len({title_card(i, "A (1999)", genre).tobytes() for i in range(6)}) == 6, genre


def test_the_readers_own_poster_is_used(tmp_path):
    red = Image.new("RGB", (400, 600), (200, 10, 10))
    red.save(tmp_path / "5.png")
    card = poster(5, "Jaws (1975)", "Horror", tmp_path)
    assert card.shape == (360, 240, 3)
    assert card.dtype == np.uint8
    assert (card == [200, 10, 10]).all()
    assert find_poster(6, tmp_path) is None


def test_an_own_poster_is_cropped_not_squeezed(tmp_path):
    wide = Image.new("RGB", (600, 300), "white")
    wide.paste("blue", (0, 0, 150, 300))
    wide.paste("blue", (450, 0, 600, 300))  # of 600 x 300, the middle 200 x 300 is white
    wide.save(tmp_path / "5.png")
    assert (poster(5, "Jaws (1975)", "Horror", tmp_path) == 255).all()


def test_clear_parts_of_a_png_are_white(tmp_path):
    Image.new("RGBA", (40, 60), (0, 0, 0, 0)).save(tmp_path / "5.png")
    assert (poster(5, "Jaws (1975)", "Horror", tmp_path) == 255).all()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("5.jpg", encoded(noise(), "JPEG")[:20_000], "truncated"),
        ("5.png", encoded(noise(), "PNG")[:20_000], "truncated"),
        ("5.jpg", b"<html>404 Not Found</html>", "no usable JPEG picture"),
        ("5.jpg", b"", "no usable JPEG picture"),
        ("5.jpg", encoded(noise(), "PNG"), "no usable JPEG picture"),
        ("5.png", encoded(noise(), "JPEG"), "no usable PNG picture"),
        ("5.jpg", encoded(noise(), "GIF"), "no usable JPEG picture"),
        ("5.png", empty_png(12_000, 12_000), "144000000 pixels"),  # here Pillow only warns
        ("5.png", encoded(noise(1, 1), "PNG"), "1 x 1 pixels"),
    ],
    ids=range(9),
)
@pytest.mark.filterwarnings("error")
def test_an_unusable_file_becomes_a_card_and_is_counted(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    card = poster(5, "Jaws (1975)", "Horror", tmp_path)
    assert np.array_equal(card, title_card(5, "Jaws (1975)", "Horror"))
    with pytest.raises(UnusablePosterError, match=reason):
        find_poster(5, tmp_path)


@pytest.mark.parametrize("kind", ["directory", "broken link"])
def test_what_is_no_file_becomes_a_card(tmp_path, kind):
    if kind == "directory":
        (tmp_path / "5.jpg").mkdir()
    else:
        (tmp_path / "5.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert np.array_equal(
        poster(5, "Jaws (1975)", "Horror", tmp_path), title_card(5, "Jaws (1975)", "Horror")
    )
    reason = picture_of(5, "Jaws (1975)", "Horror", tmp_path).problem
    assert reason.startswith("5.jpg: no usable JPEG picture: ")
    assert str(tmp_path) not in reason  # it is printed into a stored output


@pytest.mark.parametrize("value", [6000, 30_000, 65_535])
def test_a_grey_poster_of_16_bits_keeps_its_brightness(tmp_path, value):
    Image.fromarray(np.full((60, 40), value, np.uint16)).save(tmp_path / "7.png")
    pixels = np.asarray(find_poster(7, tmp_path))
    assert set(np.unique(pixels)) == {value // 256}


def test_the_case_of_a_suffix_and_a_phone_s_jpeg_do_not_matter(tmp_path):
    picture = Image.new("RGB", (40, 60), (10, 20, 200))
    picture.save(tmp_path / "7.JPG", "JPEG")
    picture.save(tmp_path / "8.jpg", "MPO", save_all=True, append_images=[picture])
    for movie_id in (7, 8):
        assert find_poster(movie_id, tmp_path).size == (40, 60)


def test_a_pipe_is_refused_without_opening_it(tmp_path):
    os.mkfifo(tmp_path / "7.png")
    with pytest.raises(UnusablePosterError, match="not a file"):
        find_poster(7, tmp_path)


@pytest.mark.parametrize(
    "text", ["a\nb", "a\rb", "\x00\x1b[31m", "\u2028", "x" * 20_000, "w " * 9_000]
)
def test_any_text_is_drawn_on_its_line_or_cut(movies, shown, text):
    movies.loc[0, ["title", "genres"]] = [f"{text} (1999)", text]
    show_posters([[1, 2]], movies, captions=[[text, ""]], row_titles=[text])
    assert title_card(1, text, text, (1, 1)).shape == (1, 1, 3)


def test_too_many_rows_are_several_pictures(movies, shown):
    show_posters([[1, 2]] * (posters.MOST_ROWS + 1), movies)
    assert sum(len(v) > 0 for v in shown) == 2


def test_a_missing_folder_is_no_error(tmp_path):
    assert find_poster(5, tmp_path / "none") is None
    assert find_poster(5, None) is None


def red_mask(picture: Image.Image) -> np.ndarray:
    return (np.asarray(picture) == tuple(bytes.fromhex(posters.RED[1:]))).all(axis=2)


def test_the_red_frame_is_around_the_recommendation_and_nowhere_else(movies):
    plain = red_mask(drawn([[1, 2, 3]], movies))
    framed = red_mask(drawn([[1, 2, 3]], movies, highlight=-1))
    assert not plain.any()
    width, height, gap, frame = 186, 279, posters.GAP, posters.FRAME
    left, top = gap + 2 * (width + gap), gap
    expected = np.zeros_like(framed)
    expected[top - frame : top + height + frame, left - frame : left + width + frame] = True
    expected[top : top + height, left : left + width] = False
    assert np.array_equal(framed, expected)


@pytest.mark.parametrize(
    ("highlight", "columns"),
    [(0, {0}), (np.int64(1), {1}), ([0, -1], {0, 2}), (lambda row, column: column > 0, {1, 2})],
)
def test_ways_to_highlight(movies, highlight, columns):
    red = red_mask(drawn([[1, 2, 3]], movies, highlight=highlight))
    pitch = 186 + posters.GAP
    found = {c for c in range(3) if red[100, posters.GAP + c * pitch - 1]}
    assert found == columns


def test_the_last_column_of_ragged_rows(movies, shown):
    show_posters([[1, 2], [3], []], movies, highlight=-1)
    alt = shown[0][0]["text/plain"]
    assert "Row 1: Toy Story, The Matrix (framed in red)." in alt
    assert "Row 2: Jaws (framed in red)." in alt
    assert "Row 3: no movies." in alt


@pytest.mark.parametrize("unknown", [None, 99, float("nan"), "<start>", -1])
def test_an_unknown_id_is_an_empty_place(movies, shown, unknown):
    picture = np.asarray(drawn([[unknown, 1]], movies))
    place = picture[posters.GAP : posters.GAP + 279, posters.GAP : posters.GAP + 186]
    assert (place == [0xE5, 0xE7, 0xEB]).all()
    show_posters([[unknown, 1]], movies)
    assert "Row 1: empty place, Toy Story." in shown[0][0]["text/plain"]


def test_arrays_and_tensors_are_rows_too(movies):
    torch = pytest.importorskip("torch")
    wanted = drawn([[1, 2], [3, 1]], movies).tobytes()
    ids = np.array([[1, 2], [3, 1]], dtype=np.int32)
    assert drawn(ids, movies).tobytes() == wanted
    assert drawn(torch.tensor([[1, 2], [3, 1]]), movies).tobytes() == wanted
    assert np.array_equal(poster(np.int32(2), "A", "War", None), poster(2, "A", "War", None))


def test_fewer_captions_and_titles_than_posters_are_fine(movies):
    full = drawn([[1, 2], [3]], movies, captions=[["a", ""], [""]], row_titles=["x", ""])
    short = drawn([[1, 2], [3]], movies, captions=[["a"]], row_titles=["x"])
    assert short.tobytes() == full.tobytes()


def test_nothing_to_show_and_far_too_much(movies):
    assert drawn([], movies).size[0] > 0
    assert drawn([[]], movies).size[0] > 0
    assert drawn([[1] * 120], movies).size[0] > 120


def test_the_alternative_text_names_the_movies_and_stays_short(movies, shown):
    assert show_posters([[1, 2], [3]], movies, highlight=-1, row_titles=["User 42", "b"]) is None
    (data, metadata) = shown[0]
    assert metadata == {"image/png": {"alt": data["text/plain"]}}
    assert metadata["image/png"]["alt"] == (
        "Movie posters. User 42: Toy Story, The Matrix (framed in red). b: Jaws (framed in red)."
    )
    show_posters([[1, 2, 3]] * 20, movies)
    assert len(shown[1][0]["text/plain"]) <= 900


def test_nbconvert_writes_the_alternative_text_into_the_page(movies, shown):
    """Its HTML reads the alt text from the output's metadata; quotes and brackets must survive."""
    show_posters([[4]], movies)
    (data, metadata) = shown[0]
    data = {**data, "image/png": base64.b64encode(data["image/png"]).decode()}
    output = v4.new_output("display_data", data=data, metadata=metadata)
    cell = v4.new_code_cell("show_posters([[4]], movies)", outputs=[output], execution_count=1)
    notebook = v4.new_notebook(cells=[cell])
    nbformat.validate(notebook)
    page = HTMLExporter(template_name="classic").from_notebook_node(notebook)[0]
    assert "alt='Movie posters. Row 1: Tom &amp; \"Huck\" &lt;1&gt;.'" in page


def stored_kib(data: bytes) -> float:
    return len(base64.b64encode(data)) / 1024


def test_four_rows_of_six_cards_stay_below_200_kib(shown):
    table = [(i, f"Film number {i}, The (1999)", GENRES[i % 18]) for i in range(24)]
    movies = pd.DataFrame(table, columns=["movie_id", "title", "genres"])
    rows = [list(range(k, k + 6)) for k in range(0, 24, 6)]
    show_posters(rows, movies, highlight=-1, captions=[["12.3 %"] * 6] * 4, row_titles="abcd")
    data = shown[0][0]["image/png"]
    assert stored_kib(data) < 200
    picture = Image.open(io.BytesIO(data))
    assert 1100 <= picture.width <= 1400
    # The palette keeps the flat colours; only the soft edges of the letters may move a little.
    exact = drawn(rows, movies, -1, [["12.3 %"] * 6] * 4, "abcd")
    moved = np.abs(np.asarray(picture.convert("RGB")).astype(int) - np.asarray(exact)).max(axis=2)
    assert np.mean(moved > 24) < 0.01


def test_photographs_are_jpeg_below_200_kib_full_size_with_their_titles(tmp_path, shown):
    """A palette would spoil them. Noise is the worst case for the size: it takes several pictures."""
    table = [(i, f"Film number {i} (1999)", "Drama") for i in range(24)]
    movies = pd.DataFrame(table, columns=["movie_id", "title", "genres"])
    for i in range(24):
        noise(100, 150).resize((400, 600)).save(tmp_path / f"{i}.jpg", quality=90)
    rows = [list(range(24))[k : k + 6] for k in range(0, 24, 6)]
    show_posters(rows, movies, folder=tmp_path, highlight=lambda row, column: row == column == 3)
    pictures = [Image.open(io.BytesIO(data["image/jpeg"])) for data, _ in shown]
    assert all(stored_kib(data["image/jpeg"]) < 200 for data, _ in shown)
    assert len(shown) > 1
    assert min(picture.width for picture in pictures) > 1_000
    assert "Film number 21 (framed in red)" in shown[-1][0]["text/plain"]
    assert "Row 4:" in shown[-1][0]["text/plain"]
    with_titles, cards = (
        drawn(rows[:1], movies, folder=tmp_path),
        drawn(rows[:1], movies, folder=None),
    )
    assert with_titles.height > cards.height, "a line for the titles, which no photograph shows"


def test_a_hit_has_a_tick_and_is_told(movies, shown):
    show_posters([[1, 2, 3]], movies, highlight=[1, 2], hits=2)
    assert "The Matrix (framed in red), Jaws (framed in red, a hit)." in shown[0][0]["text/plain"]
    plain, ticked = (np.asarray(drawn([[1]], movies, hits=hits)) for hits in (None, 0))
    green = np.array(list(bytes.fromhex(posters.GREEN[1:])))
    assert [int((picture == green).all(axis=2).sum() > 100) for picture in (plain, ticked)] == [
        0,
        1,
    ]


def test_unusable_files_are_told_after_the_picture(tmp_path, movies, shown, capsys):
    show_posters([[1, 2, 3]], movies, folder=tmp_path)
    assert capsys.readouterr().out == ""
    (tmp_path / "2.jpg").write_bytes(b"<html>")
    (tmp_path / "3.jpg").write_bytes(b"")
    (tmp_path / "77.jpg").write_bytes(b"")  # not shown, so not counted
    show_posters([[1, 2, 3, None, "<end>"]], movies, folder=tmp_path)
    told = capsys.readouterr().out
    assert told.startswith("2 poster files could not be used and became title cards: 2.jpg: ")
    assert "77" not in told
    assert str(tmp_path) not in told
    assert len(shown) == 2
    assert "image/png" in shown[1][0]  # no photograph is in it
