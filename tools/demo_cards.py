"""Title cards as drawing instructions: what recformer_utils draws in pixels, for a page to draw.

No rule of the cards is written a second time. `title_card` itself runs, and what it asks Pillow to
draw is noted down as SVG paths and lines of text.
"""

import math
from pathlib import Path
from unittest.mock import patch

import matplotlib
from fontTools import subset
from PIL import Image, ImageDraw

from recformer_utils.posters import cards

SIZE = (240, 360)  # as the notebooks draw it; instructions are in twice as many units
VIEW = tuple(side * cards.SUPERSAMPLING for side in SIZE)
FONT_FILE = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf"
FONT_LICENCE = FONT_FILE.with_name("LICENSE_DEJAVU")


def record_card(movie_id: int, title: str, genres: str) -> dict:
    """The card of a movie as instructions, in units of `VIEW`.

    Returns:
        ``ground``: the color behind everything; ``art``: [color, SVG path] in order, to be clipped
        to ``art_height``; ``marks``: the same for what lies below the picture; ``text``:
        [x, baseline, font size, color, words].
    """
    pens: dict[int, Pen] = {}

    def draw(image: Image.Image) -> "Pen":
        return pens.setdefault(id(image), Pen(image))

    def paste(image: Image.Image, source, box=None, mask=None) -> None:
        if isinstance(source, str):  # a color through a mask: a tile of a pattern
            pens[id(image)].stamp(source, box, pens[id(mask)])

    with patch.object(ImageDraw, "Draw", draw), patch.object(Image.Image, "paste", paste):
        # Past the cache: a picture drawn earlier would leave nothing to note down.
        cards.title_card.__wrapped__(movie_id, title, genres, SIZE)
    # Two canvases are as wide as the card, the picture and the whole; what is smaller is a mask.
    art, whole = (pen for pen in pens.values() if pen.size[0] == VIEW[0])
    return {
        "ground": whole.background,
        "art_height": art.size[1],
        "art": art.paths,
        "marks": whole.paths,
        "text": whole.lines,
    }


def write_font(characters: set[str], path: Path) -> None:
    """The cards' font with these characters only, so that lines break where Pillow broke them."""
    options = subset.Options(
        flavor="woff", layout_features=["kern"], notdef_outline=True, drop_tables=["FFTM", "DSIG"]
    )
    font = subset.load_font(str(FONT_FILE), options)
    cutter = subset.Subsetter(options)
    cutter.populate(text="".join(sorted(characters)))
    cutter.subset(font)
    subset.save_font(font, str(path), options)


class Pen:
    """Takes the calls that title cards make to ImageDraw, and notes them as SVG.

    Whatever else ImageDraw can do is missing on purpose: a card that starts to use it stops the
    build with an AttributeError instead of losing a part of its picture.
    """

    def __init__(self, image: Image.Image):
        self.image = image  # held, so that its id stays its own
        self.size = image.size
        self.background = _hex(image.getpixel((0, 0))) if image.mode == "RGB" else ""
        self.paths: list[list[str]] = []
        self.lines: list[list] = []
        self.ellipses: list[list[float]] = []

    def _add(self, color: str | int, path: str) -> None:
        color = color if isinstance(color, str) else ""
        if self.paths and self.paths[-1][0] == color:
            self.paths[-1][1] += path
        else:
            self.paths.append([color, path])

    def ellipse(self, box, fill=None, outline=None, width=1) -> None:
        self.ellipses.append(list(box))
        x0, y0, x1, y1 = box
        # Pillow fills every pixel that the edge touches: half a pixel more, on average.
        x, y, radius = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0 + 1) / 2
        if fill is not None:
            self._add(fill, _circle(x, y, radius))
        else:
            self._add(outline, _circle(x, y, radius) + _circle(x, y, radius - width, hole=True))

    def polygon(self, points, fill=None) -> None:
        points = [tuple(point) for point in points]
        turns = sum(
            a[0] * b[1] - b[0] * a[1] for a, b in zip(points, points[1:] + points[:1], strict=True)
        )
        # All shapes turn the same way, so that two of a color which overlap leave no hole.
        points = points if turns >= 0 else points[::-1]
        self._add(fill, "M" + "L".join(f"{_n(x)} {_n(y)}" for x, y in points) + "Z")

    def rectangle(self, box, fill=None) -> None:
        x0, y0, x1, y1 = box
        self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill)

    def pieslice(self, box, start, end, fill=None) -> None:
        x0, y0, x1, y1 = box
        rx, ry, x, y = (x1 - x0) / 2, (y1 - y0) / 2, (x0 + x1) / 2, (y0 + y1) / 2
        a, b = math.radians(start), math.radians(end)
        self._add(fill, f"M{_n(x)} {_n(y)}L{_n(x + rx * math.cos(a))} {_n(y + ry * math.sin(a))}"
                  f"A{_n(rx)} {_n(ry)} 0 {int(end - start > 180)} 1 "
                  f"{_n(x + rx * math.cos(b))} {_n(y + ry * math.sin(b))}Z")  # fmt: skip

    def stamp(self, color: str, place: tuple[int, int], mask: "Pen") -> None:
        """The quarter of a disc that a square mask shows."""
        (x0, y0, x1, _), side = mask.ellipses[0], mask.size[0]
        radius = (x1 - x0) / 2
        # The disc's center lies in one corner of the mask.
        cx, cy = (round((v + radius) / side) for v in (x0, y0))
        x, y = place[0] + cx * side, place[1] + cy * side
        ends = [(x, y + side * (1 - 2 * cy)), (x + side * (1 - 2 * cx), y)]
        if (1 - 2 * cx) * (1 - 2 * cy) > 0:
            ends.reverse()  # the arc runs clockwise, as all shapes do
        (ax, ay), (bx, by) = ends
        self._add(color, f"M{_n(x)} {_n(y)}L{_n(ax)} {_n(ay)}"
                  f"A{_n(radius)} {_n(radius)} 0 0 1 {_n(bx)} {_n(by)}Z")  # fmt: skip

    def text(self, place, text, font, fill, anchor) -> None:
        x, y = place
        if anchor == "lt":  # Pillow hangs it from the top of its ink, SVG stands it on a line
            y -= font.getbbox(text, anchor="ls")[1]
        elif anchor != "ls":
            raise ValueError(f"a title card uses the anchor {anchor!r}, known are 'lt' and 'ls'")
        self.lines.append([round(x, 1), round(y, 1), round(font.size, 1), fill, text])


def _circle(x: float, y: float, r: float, hole: bool = False) -> str:
    r = round(r, 1)  # first: two half circles whose ends are not 2 r apart are drawn off center
    sweep, radius, d = int(not hole), _n(r), _n(2 * r)
    return (f"M{_n(x - r)} {_n(y)}a{radius} {radius} 0 1 {sweep} {d} 0"
            f"a{radius} {radius} 0 1 {sweep} -{d} 0Z")  # fmt: skip


def _n(value: float) -> str:
    """A number with one decimal, as short as it can be written."""
    return f"{round(value, 1):g}"


def _hex(pixel: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{channel:02X}" for channel in pixel)
