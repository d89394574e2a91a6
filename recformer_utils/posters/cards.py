"""Title cards: a small abstract film poster drawn from a movie's title, year and genres."""

import random
import re
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import matplotlib
import numpy as np
import yaml
from matplotlib.colors import to_hex, to_rgb
from PIL import Image, ImageDraw, ImageFont

from recformer_utils.posters.motifs import Sketch

FONT = "DejaVuSans"  # it comes with matplotlib, so a card looks the same on every machine
SUPERSAMPLING = 2  # drawn larger and scaled down: Pillow's shapes have hard edges
UNIT = 480  # the width, in pixels, at which lines are broken
ART = 0.6  # the part of the height that the picture takes
MARGIN, LEADING = 0.075, 1.12
SIZES = (0.125, 0.115, 0.105, 0.095, 0.086, 0.078, 0.071, 0.064, 0.058)  # of a title's letters
ARTICLES = "The|A|An|Les|La|Le|L'|Der|Die|Das|Il|El|Los|Las|Det|Den|De|Het|Un|Une|Una|Lo|O"
NO_GENRE = ("", "Other", "(no genres listed)")
# Colours and layers of each genre, the most telling genre first.
STYLES = yaml.safe_load(Path(__file__).with_name("cards.yaml").read_text("utf-8"))["genres"]
INK = "#FBF5E6"


class Card(NamedTuple):
    """What is on a card, in units of its width."""

    ground: str
    art: list[tuple]  # the shapes of the picture, cut off at `ART` of the height
    marks: list[tuple]  # those below it
    lines: list[tuple[float, float, float, str, str]]  # x, baseline, font size, colour, words


def split_title(title: str) -> tuple[str, int | None]:
    """Turns "Matrix, The (Die Matrix) (1999)" into ("The Matrix", 1999); a missing year is None."""
    text, year = title.strip(), None
    if match := re.search(r"\s*\((\d{4})\)$", text):
        text, year = text[: match.start()], int(match[1])
    while (short := re.sub(r"\s*\([^()]*\)$", "", text)) not in ("", text):
        text = short
    if match := re.fullmatch(rf"(.+), ({ARTICLES})", text):
        text = f"{match[2]}{'' if match[2].endswith(chr(39)) else ' '}{match[1]}"
    return text, year


def design(movie_id: int, title: str, genres: str, height: float = 1.5) -> Card:
    """The card of a movie, to be drawn in pixels or as SVG; arguments as for `title_card`."""
    names = [name for name in STYLES if name in genres.split("|")] or ["Other"]
    label, style, rng = names[0], STYLES[names[0]]["colors"], random.Random(movie_id * 7919 + 17)
    if label == "Other" and genres not in NO_GENRE:  # a shop's shelf: colours of its own
        label = genres.split("|")[0]
        style = list(STYLES.values())[crc32(label.encode()) % len(STYLES)]["colors"]
    ground, main, ink = rng.choice(style["grounds"].split()), style["main"], style.get("ink", INK)
    accent = STYLES[names[1]]["colors"]["main"] if len(names) > 1 else style["accent"]
    if contrast(accent, ground) < 1.5:  # the second genre's colour would not be seen
        accent = style["accent"]
    colors = {"ground": ground, "main": main, "accent": accent, "snow": INK}
    colors |= {"soft": _mix(main, ground, 0.35), "pale": _mix(main, ground, 0.55)}
    colors |= {"light": _mix(main, ink, 0.45), "shade": _mix(ground, "black", 0.3)}
    picture, below = Sketch(rng, colors), Sketch(rng, colors)
    picture.draw(STYLES[names[0]]["layers"])
    below.box(MARGIN, height - 0.5475, 0.16, 0.016, "accent")
    return Card(ground, picture.shapes, below.shapes, _lettering(title, label, ink, height))


def _lettering(title: str, label: str, ink: str, height: float) -> list[tuple]:
    name, year = split_title(title)
    top, bottom, wide = height - 0.5125, height - MARGIN, 1 - 2 * MARGIN
    size, lines = fit_text(name, wide * UNIT, (bottom - top - 0.09) * UNIT)
    size /= UNIT
    below = " · ".join(str(part) for part in (year, label.upper()) if part and part != "OTHER")
    below = cut(below, load_font(0.058 * UNIT), wide * UNIT)
    rows = [(MARGIN, top + (0.86 + i * LEADING) * size, size, ink, t) for i, t in enumerate(lines)]
    return [*rows, (MARGIN, bottom, 0.058, ink, below)]


@lru_cache(maxsize=4096)
def title_card(
    movie_id: int, title: str, genres: str, size: tuple[int, int] = (240, 360)
) -> np.ndarray:
    """The card of a movie, uint8 (height, width, 3), not writable since it is cached.

    The most telling genre decides motif and colours, the next one lends its main colour as the
    accent, the movie id varies the motif; the same arguments give the same picture.
    """
    card = design(movie_id, title, genres, size[1] / size[0])
    width, height = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    image = Image.new("RGB", (width, height), card.ground)
    art = Image.new("RGB", (width, int(height * ART)), card.ground)
    _paint(art, card.art)
    image.paste(art, (0, 0))
    _paint(image, card.marks)
    draw = ImageDraw.Draw(image)
    for x, y, letters, color, words in card.lines:
        font = load_font(letters * width)
        draw.text((x * width, y * width), words, font=font, fill=color, anchor="ls")
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    pixels.flags.writeable = False
    return pixels


def _paint(image: Image.Image, shapes: list[tuple]) -> None:
    draw, unit = ImageDraw.Draw(image), image.width
    for kind, color, numbers in shapes:
        if kind == "polygon":
            draw.polygon([(x * unit, y * unit) for x, y in numbers], fill=color)
            continue
        x, y, r = (value * unit for value in numbers[:3])
        box = [x - r, y - r, x + r, y + r]
        if kind == "slice":
            draw.pieslice(box, *numbers[3:], fill=color)
        elif numbers[3]:
            draw.ellipse(box, outline=color, width=max(1, round(numbers[3] * unit)))
        else:
            draw.ellipse(box, fill=color)


def fit_text(text: str, width: float, height: float) -> tuple[float, list[str]]:
    """The largest font size, and the lines, with which a text fits into a box (pixels), or is cut."""
    text = one_line(text)
    for font in (load_font(share * UNIT) for share in SIZES):
        lines, room = wrap(text, font, width), int(height / (font.size * LEADING))
        if len(lines) <= room and all(font.getlength(line) <= width for line in lines):
            return font.size, lines
    if len(lines) > room:
        lines[room - 1 :] = [f"{lines[room - 1]}…"]
    return font.size, [cut(line, font, width) for line in lines]


def wrap(text: str, font: ImageFont.FreeTypeFont, width: float) -> list[str]:
    """Fills line after line, as many words as fit on each."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and font.getlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def one_line(text: str) -> str:
    """The text without line ends and other control characters, and no longer than any place."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+", " ", text[:500])


def cut(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text on one line, or as much of it as fits with an ellipsis."""
    text = one_line(text)
    while text and font.getlength(text) > width:
        text = text.rstrip("…")[:-1].rstrip()
        text = f"{text}…" if text else ""
    return text


def font_file(bold: bool = True) -> Path:
    """Where the font of all cards and captions is."""
    return Path(matplotlib.get_data_path(), "fonts/ttf", f"{FONT}{'-Bold' if bold else ''}.ttf")


@lru_cache(maxsize=64)
def load_font(size: float, bold: bool = True) -> ImageFont.FreeTypeFont:
    """The font of all cards and captions, in a size in pixels."""
    return ImageFont.truetype(str(font_file(bold)), max(6, round(size)))


def _mix(one: str, other: str, share: float) -> str:
    return to_hex(np.array(to_rgb(one)) * (1 - share) + np.array(to_rgb(other)) * share)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.1)."""
    rgb = np.array([to_rgb(one), to_rgb(other)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    dark, light = sorted(linear @ [0.2126, 0.7152, 0.0722] + 0.05)
    return float(light / dark)
