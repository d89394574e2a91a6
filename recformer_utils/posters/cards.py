"""Title cards: a small abstract film poster drawn from a movie's title, year and genres."""

import random
import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from recformer_utils.posters.motifs import MOTIFS, Shape, Sketch

FONT = "DejaVuSans"  # it comes with matplotlib, so a card looks the same on every machine
SUPERSAMPLING = 2  # drawn larger and scaled down: Pillow's shapes have hard edges
UNIT = 480  # the width, in pixels, at which lines are broken
ART = 0.6  # the part of the height that the picture takes
MARGIN, LEADING = 0.075, 1.12
ARTICLES = "The|A|An|Les|La|Le|L'|Der|Die|Das|Il|El|Los|Las|Det|Den|De|Het|Un|Une|Una|Lo|O"


@dataclass(frozen=True)
class Palette:
    """Colours of a genre; ink is what the title is set in, readable on each of the grounds."""

    grounds: str  # one or more, separated by blanks; the movie id chooses
    main: str
    accent: str
    ink: str = "#FBF5E6"


# The most telling genre first: it decides the card of a movie that has several. (MovieLens lists
# genres by the alphabet; by that rule half of all films would be action or comedy.)
PALETTES = {
    "Film-Noir": Palette("#141414", "#E9E4D8", "#6F6F6F"),
    "Western": Palette("#9E3F26", "#F6C667", "#4F2216"),
    "Documentary": Palette("#E5DFD0", "#6B705C", "#C98B6B", "#2E2E29"),
    "Musical": Palette("#6B1C4F", "#FF9AA2", "#FFD166"),
    "Sci-Fi": Palette("#0C1C3F", "#F2A93B", "#62B5DB"),
    "Horror": Palette("#170F15", "#A3203A", "#E2D3BD"),
    "Animation": Palette("#F7C548", "#2D7DD2", "#EE5D57", "#1F2036"),
    "Fantasy": Palette("#3A2060", "#F4D56B", "#A98BD0"),
    "Mystery": Palette("#12313D", "#74B3A3", "#F0DFB4"),
    "Children's": Palette("#86D3C9", "#F0596A", "#FFF1C9", "#12343B"),
    "Romance": Palette("#F4DAD5", "#D5546A", "#F1A08B", "#4B1A2B"),
    "War": Palette("#464D35", "#D9CCA5", "#22261B"),
    "Crime": Palette("#2B2D42", "#D9A441", "#8D99AE"),
    "Adventure": Palette("#0F4C4A", "#E9B44C", "#7FB069"),
    "Thriller": Palette("#16262C", "#3AAFA9", "#D8EFEC"),
    "Action": Palette("#1E1B26", "#F2681F", "#F7B733"),
    "Comedy": Palette("#F3EADA #F8D7C3 #D3E6DE", "#F28F3B", "#3A6EA5", "#23272F"),
    "Drama": Palette("#24395C #4A2A42 #23484B", "#E6B54A", "#7C93B8"),
    "Other": Palette("#33424F", "#9FB8AD", "#E7C8A0"),
}
NO_GENRE = ("", "Other", "(no genres listed)")


def split_title(title: str) -> tuple[str, int | None]:
    """Turns "Matrix, The (1999)" into ("The Matrix", 1999).

    A title in another language in parentheses is left out; a missing year is None.
    """
    text, year = title.strip(), None
    if match := re.search(r"\s*\((\d{4})\)$", text):
        text, year = text[: match.start()], int(match[1])
    while (short := re.sub(r"\s*\([^()]*\)$", "", text)) not in ("", text):
        text = short
    if match := re.fullmatch(rf"(.+), ({ARTICLES})", text):
        text = f"{match[2]}{'' if match[2].endswith(chr(39)) else ' '}{match[1]}"
    return text, year


class Card(NamedTuple):
    """What is on a card, in units of its width; heights are those of a card of 2 : 3."""

    ground: str
    art: list[Shape]  # the picture, cut off at `ART` of the height
    marks: list[Shape]  # below it
    lines: list[tuple[float, float, float, str, str]]  # x, baseline, font size, colour, words


def design(movie_id: int, title: str, genres: str, height: float = 1.5) -> Card:
    """The card of a movie, to be drawn in pixels or as SVG; arguments as for `title_card`."""
    names = [name for name in PALETTES if name in genres.split("|")] or ["Other"]
    palette, rng = PALETTES[names[0]], random.Random(movie_id * 7919 + 17)
    label = names[0]
    if label == "Other" and genres not in NO_GENRE:  # a shop's shelf: colours of its own
        label = genres.split("|")[0]
        palette = list(PALETTES.values())[crc32(label.encode()) % len(PALETTES)]
    ground, main, ink = rng.choice(palette.grounds.split()), palette.main, palette.ink
    accent = PALETTES[names[1]].main if len(names) > 1 else palette.accent
    if contrast(accent, ground) < 1.5:  # the second genre's colour would not be seen
        accent = palette.accent
    colors = {"ground": ground, "main": main, "accent": accent, "snow": "#FBF5E6"}
    colors |= {"soft": _mix(main, ground, 0.35), "pale": _mix(main, ground, 0.55)}
    colors |= {"light": _mix(main, ink, 0.45), "shade": _mix(ground, "#000000", 0.3)}
    picture, below = Sketch(rng, colors), Sketch(rng, colors)
    for layer in MOTIFS[names[0]]:
        layer(picture)
    below.box(MARGIN, height - 0.5475, 0.16, 0.016, "accent")
    return Card(ground, picture.shapes, below.shapes, _lettering(title, label, ink, height))


def _lettering(title: str, label: str, ink: str, height: float) -> list[tuple]:
    """Title, year and genre, to be set below the picture."""
    name, year = split_title(title)
    top, bottom, wide = height - 0.5125, height - MARGIN, 1 - 2 * MARGIN
    size, lines = fit_text(name, wide * UNIT, (bottom - top - 0.09) * UNIT)
    size /= UNIT
    baselines = [top + (0.86 + i * LEADING) * size for i in range(len(lines))]
    label = " · ".join(
        part for part in (str(year or ""), label.upper()) if part not in ("", "OTHER")
    )
    label = cut(label, load_font(0.058 * UNIT), wide * UNIT)
    set_lines = [*zip(lines, baselines, [size] * len(lines), strict=True), (label, bottom, 0.058)]
    return [(MARGIN, baseline, size, ink, words) for words, baseline, size in set_lines]


@lru_cache(maxsize=4096)
def title_card(
    movie_id: int, title: str, genres: str, size: tuple[int, int] = (240, 360)
) -> np.ndarray:
    """Draws the card of a movie; the same arguments give the same picture.

    Args:
        movie_id: varies the motif within a genre.
        title: as in movies.dat, with the year in parentheses.
        genres: names joined by "|"; the most telling one decides motif and colours, the next one
            lends its main colour as the accent; the first of unknown ones lends a palette.
        size: width and height in pixels.

    Returns:
        uint8 (height, width, 3), not writable since it is cached.
    """
    card = design(movie_id, title, genres, size[1] / size[0])
    width, height = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    image = Image.new("RGB", (width, height), card.ground)
    art = Image.new("RGB", (width, int(height * ART)), card.ground)
    _paint(art, card.art)
    image.paste(art, (0, 0))
    _paint(image, card.marks)
    draw = ImageDraw.Draw(image)
    for x, baseline, letters, color, words in card.lines:
        place = (x * width, baseline * width)
        draw.text(place, words, font=load_font(letters * width), fill=color, anchor="ls")
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    pixels.flags.writeable = False
    return pixels


def _paint(image: Image.Image, shapes: list[Shape]) -> None:
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
    """The largest font size, and the lines, with which a text fits into a box (pixels).

    Words that are too long even in the smallest font are cut in two with a hyphen; a text that
    is too long at all ends in an ellipsis.
    """
    for share in (0.125, 0.115, 0.105, 0.095, 0.086, 0.078, 0.071, 0.064, 0.058):
        font = load_font(share * UNIT)
        lines = wrap(text, font, width)
        fits = all(font.getlength(line) <= width for line in lines)
        if fits and len(lines) * font.size * LEADING <= height:
            return font.size, lines
    lines = wrap(" ".join(_hyphenate(word, font, width) for word in text.split()), font, width)
    room = max(1, int(height / (font.size * LEADING)))
    if len(lines) > room:
        lines[room - 1 :] = [cut(f"{lines[room - 1]}…", font, width)]
    return font.size, lines


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


def cut(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, or as much of it as fits with an ellipsis."""
    while text and font.getlength(text) > width:
        text = text.rstrip("…")[:-1].rstrip() + "…"
    return text


def _hyphenate(word: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    parts = [""]
    for letter in word:
        if parts[-1] and font.getlength(parts[-1] + letter + "-") > width:
            parts[-1] += "-"
            parts.append("")
        parts[-1] += letter
    return " ".join(parts)


def font_file(bold: bool = True) -> Path:
    """Where the font of all cards and captions is."""
    return Path(matplotlib.get_data_path(), "fonts/ttf", f"{FONT}{'-Bold' if bold else ''}.ttf")


@lru_cache(maxsize=64)
def load_font(size: float, bold: bool = True) -> ImageFont.FreeTypeFont:
    """The font of all cards and captions, in a size in pixels."""
    return ImageFont.truetype(str(font_file(bold)), max(6, round(size)))


def _mix(one: str, other: str, share: float) -> str:
    """A colour between two: 0 is the first, 1 the second."""
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.1)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
