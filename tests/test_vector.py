"""Plots as SVG: text large enough, colours that everybody can tell apart, by day and by night."""

import base64
import io
import itertools
import re
from xml.etree import ElementTree

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from recformer_utils import posters
from tools import figures, notebooks, site_cards, vector
from tools.common import REPOSITORY

THEMES = {"light": 0, "dark": 1}
# What the eye without one kind of cone sees of linear RGB (Machado, Oliveira and Fernandes, 2009).
EYES = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
# The grid, bands and tints, behind marks and words; so are plain greys, the shades of a table's cells.
BEHIND = {"e5e7eb", "eef1f5", "bfe0da", "f6f7f9", "fbf0dc"}
MEANINGS = ["#2b4c7e", "#d1495b", "#1b998b", "#e8a33d", "#7b5ea7"]  # of one cycle; grey is "other"


@pytest.fixture
def figure():
    plt.style.use("recformer_utils.recformer")
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
    left.plot([1, 2, 3], label="a line")
    left.set_title("A title that is long enough to need more than one line on a phone")
    left.text(1, 1, "pale", color="#E8A33D", fontsize=7)
    right.bar(["one", "two", "three"], [1, 2, 3], color="#E8A33D")
    right.text(1, 0.5, "white on a mark", color="white")
    yield figure
    plt.close(figure)


def seen(color: str, eye: str) -> np.ndarray:
    linear = np.clip(np.array(EYES[eye]) @ vector._linear(color), 0, 1)
    return vector.LAB @ np.cbrt(vector.LMS @ linear)


@pytest.mark.parametrize("theme", THEMES)
def test_marks_stand_out_from_the_ground(theme):
    for color, both in vector.PALETTE.items():
        assert vector.contrast(both[THEMES[theme]], vector.GROUND[theme]) >= vector.MARK, color


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("eye", EYES)
def test_colours_can_be_told_apart_by_every_eye(theme, eye):
    colors = [vector.PALETTE[color][THEMES[theme]] for color in MEANINGS]
    for one, other in itertools.combinations(colors, 2):
        assert np.linalg.norm(seen(one, eye) - seen(other, eye)) > 0.07, (one, other)


def test_numbers_on_shaded_cells_can_be_read():
    for change, ground in ((vector.by_day, "light"), (vector.by_night, "dark")):
        for shade in ("#9f9f9f", "#bfe0da", "#fbf0dc"):
            text = vector.readable(change("#111827"), vector.GROUND[ground])
            assert vector.contrast(text, change(shade)) >= vector.TEXT, (shade, ground)


def test_the_measure_finds_colours_that_cannot():
    assert np.linalg.norm(seen("#b00020", "deutan") - seen("#5a5a00", "deutan")) < 0.07
    assert vector.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert vector.contrast("#1b998b", "#ffffff") == pytest.approx(3.51, abs=0.01)


def check(svg: str, shown: float) -> None:
    """Sizes and contrasts of a drawing that is shown ``shown`` pixels wide at the least."""
    ElementTree.fromstring(svg)
    scale = shown / vector.pixels(svg)[0] * 4 / 3
    sizes = [float(s) for s in re.findall(r"(?:font-size: |font: [^;]*?)([\d.]+)px", svg)]
    assert sizes
    assert min(sizes) * scale >= 12
    day, night = re.search(
        r":root\{color-scheme:light dark;(.*?)\}@media.*?\{:root\{(.*?)\}", svg
    ).groups()
    for values, ground in ((day, "light"), (night, "dark")):
        for name, color in re.findall(r"--(t\w+):(#\w+);", values):
            found = vector.contrast(color, vector.GROUND[ground])
            assert found >= vector.TEXT or found < 1.3, (name, color, ground)
        for name, color in re.findall(r"--c(\w+):(#\w+);", values):
            grey = name[:2] == name[2:4] == name[4:]
            if name not in BEHIND and not grey:
                assert vector.contrast(color, vector.GROUND[ground]) >= vector.MARK, (name, ground)
    assert not re.search(r"(fill|stroke): #", svg.partition("</style>")[2])
    assert "http" not in re.sub(r'xmlns[:\w]*="[^"]*"', "", svg)


def test_a_plot_is_drawn_for_a_desk_and_for_a_phone(figure):
    drawn = vector.drawings(figure)
    assert set(drawn) == {"wide", "narrow"}
    check(drawn["wide"], 686)
    check(drawn["narrow"], 316)
    (_, wide), (_, narrow) = vector.pixels(drawn["wide"]), vector.pixels(drawn["narrow"])
    assert narrow > 1.3 * wide  # the panels stand below each other


def test_what_is_written_in_a_plot_is_not_rounded(figure):
    figure.axes[0].text(1, 1.5, "0.1642 or 0.005")
    for svg in vector.drawings(figure).values():
        assert "0.1642 or 0.005" in svg


@pytest.mark.parametrize(("colors", "turned"), [("inferno", False), ("Blues", True)])
def test_by_night_a_picture_that_glows_stays_and_so_does_its_scale(colors, turned):
    figure, axis = plt.subplots()
    picture = axis.imshow(np.eye(3), cmap=colors)
    figure.colorbar(picture)
    svg = vector.drawings(figure)["wide"]
    plt.close(figure)
    assert svg.count("<image") == 2
    assert ("filter:invert" in svg) == turned


def test_long_names_titles_and_legends_leave_room_for_the_marks():
    plt.style.use("recformer_utils.recformer")
    figure, axis = plt.subplots(figsize=(9, 4))
    for place in range(9):
        axis.scatter([place], [1], label=f"a long name {place}")
    axis.barh(["a name that takes up a third of it", "another"], [1, 2])
    axis.set_title(
        "A title that is nearly as long as the whole figure is wide, or longer", loc="left"
    )
    axis.legend(ncols=9, loc="lower left", bbox_to_anchor=(0, 1))
    fits = vector.laid_out(figure, vector.WIDE)[1]
    assert fits
    assert axis.get_position().width * figure.get_figwidth() > 0.4 * vector.WIDE
    title, legend = axis._left_title.get_window_extent(), axis.get_legend().get_window_extent()
    assert title.y0 >= legend.y1, "the title stands above the legend"
    plt.close(figure)


@pytest.mark.parametrize("turned", [True, False])
def test_on_a_phone_long_names_of_bars_stand_above_them(turned):
    plt.style.use("recformer_utils.recformer")
    figure, axis = plt.subplots(figsize=(9, 3))
    names = [f"the long name of bar {number}, all of it" for number in range(5)]
    axis.bar_label(axis.barh(names, [5, 4, 3, 2, 1]), padding=4)
    if turned:
        axis.invert_yaxis()
    drawn = vector.drawings(figure)
    assert set(drawn) == {"wide", "narrow"}
    check(drawn["narrow"], 316)
    assert axis.get_position().width > 0.6
    for bar, text in zip(axis.patches, axis.texts[-5:], strict=True):
        bar, text = bar.get_window_extent(), text.get_window_extent()
        assert bar.y1 <= text.y0 < text.y1 < bar.y1 + 2.5 * bar.height
    assert [text.get_text() for text in axis.texts[-5:]] == names
    plt.close(figure)


def test_names_stay_where_a_panel_holds_more_than_its_bars():
    names = [f"the long name of row {number}" for number in range(5)]
    figure, axis = plt.subplots(figsize=(9, 3))
    band = axis.axvspan(1, 2)
    axis.plot(range(5), range(5), "o")
    axis.set_yticks(range(5), names)
    vector.drawings(figure)
    assert (band.get_y(), band.get_height()) == (0, 1)
    assert [label.get_text() for label in axis.get_yticklabels()] == names
    plt.close(figure)
    figure, panels = plt.subplots(1, 2, sharey=True)
    for panel in panels:
        panel.barh(names, range(5))
    vector.drawings(figure)
    assert [label.get_text() for label in panels[1].get_yticklabels()] == names
    plt.close(figure)


def test_where_texts_would_overlap_there_is_no_narrow_drawing(figure):
    for y in range(3):
        figure.axes[1].text(0, 1 + y / 50, "a note that lies on others")
    assert set(vector.drawings(figure)) == {"wide"}


def test_on_a_phone_names_of_points_that_would_lie_on_earlier_ones_go():
    figure, axis = plt.subplots(figsize=(9, 4))
    for x in range(9):
        axis.plot(x, x % 2 / 50, "o")
        axis.annotate(f"the name of point {x}", (x, x % 2 / 50))
    axis.set(xlim=(0, 14), ylim=(0, 1))
    drawn = vector.drawings(figure)
    plt.close(figure)
    count = {kind: len(re.findall("the name of point", svg)) for kind, svg in drawn.items()}
    assert count["wide"] >= 9 > count["narrow"] >= 1
    assert ">the name of point 0<" in drawn["narrow"]


def test_names_above_a_panel_are_set_aslant_away_from_it():
    plt.style.use("recformer_utils.recformer")
    figure, axis = plt.subplots(figsize=(9, 4))
    axis.set_xticks(range(6), [f"column {x}" for x in range(6)])
    axis.xaxis.tick_top()
    assert set(vector.drawings(figure)) == {"wide", "narrow"}
    for label in axis.get_xticklabels():
        assert label.get_rotation() == 45
        assert label.get_window_extent().y0 > axis.bbox.y1
    plt.close(figure)


@pytest.mark.parametrize(("name", "svg"), figures.drawings().items())
def test_a_schematic_is_drawn_for_a_desk_and_for_a_phone(name, svg):
    wide = "wide" in name
    width = vector.WIDE if wide else vector.NARROW
    assert vector.pixels(svg)[0] / 96 < width * (1 + vector.SLACK[width])
    check(svg, 686 if wide else 316)
    assert (REPOSITORY / f"notebooks/figures/{name.rpartition('-')[0]}.png").exists()


def test_a_narrow_drawing_that_is_no_longer_made_does_not_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(vector, "FOLDER", tmp_path)
    book = notebooks.read(notebooks.series()[0])
    made = [{"wide": "<svg/>", "narrow": "<svg/>"} for _ in vector.plots(book)]
    vector.store(book, made)
    vector.store(book, [{"wide": "<svg/>"} for _ in made])
    assert len(list(tmp_path.glob("*-wide.svg"))) == len(made)
    assert not list(tmp_path.glob("*-narrow.svg"))


@pytest.fixture
def row_of_posters() -> bytes:
    movies = pd.DataFrame({
        "movie_id": [1, 2], "title": ["A Pale Day (1994)", "Night Train (1996)"], "genres": ["Comedy", "Horror"],
    })  # fmt: skip
    words = {"captions": [["seen", "recommended", "which one?"]], "row_titles": ["a row"]}
    rows = posters.arrange([[1, 2, None]], movies, highlight=1, folder=None, **words)
    return posters.encode(posters.compose(*rows))[1]


def test_by_night_the_ground_and_the_words_of_a_row_of_posters_change(row_of_posters):
    svg = site_cards.rows_of_posters(row_of_posters)
    root = ElementTree.fromstring(svg)
    night, day = (
        base64.b64decode(image.get("href").partition(",")[2])
        for image in root.iter("{http://www.w3.org/2000/svg}image")
    )
    assert day == row_of_posters
    assert len(re.findall(r"M\d+ \d+h", svg)) == 2, "the empty place is no poster"
    words = Image.open(io.BytesIO(night)).convert("RGB")
    assert words.getpixel((0, 0)) == tuple(bytes.fromhex(vector.GROUND["dark"][1:]))
    colors = {"#" + bytes(color).hex() for _, color in words.getcolors()}
    for color in (posters.TEXT, posters.QUIET, posters.RED):
        shown = vector.by_night(color.lower())
        assert shown in colors
        assert vector.contrast(shown, vector.GROUND["dark"]) >= vector.TEXT


@pytest.mark.parametrize("path", sorted(vector.FOLDER.glob("*.svg")), ids=lambda path: path.stem)
def test_a_stored_drawing_belongs_to_a_plot_and_can_be_read(path):
    stored = [notebooks.read(each) for each in notebooks.series()]
    names = {vector.name_of(o.data["image/png"]) for book in stored for o in vector.plots(book)}
    name, _, kind = path.stem.rpartition("-")
    assert name in names, "python -m tools.series draw"
    check(path.read_text(encoding="utf-8"), {"wide": 686, "narrow": 316}[kind])
    assert path.stat().st_size < 150_000


def test_every_plot_of_a_notebook_is_drawn_for_a_desk_and_for_a_phone():
    for path in notebooks.series():
        for output in vector.plots(notebooks.read(path)):
            kinds = set(vector.find(output.data["image/png"]))
            assert kinds == {"wide", "narrow"}, (
                f"{path.name}: python -m tools.series draw --only {path.name[:2]}"
            )
    assert sum(f.stat().st_size for f in (REPOSITORY / "site/figures").glob("*")) < 3_000_000
