"""Title cards: a small abstract film poster drawn from a movie's title, year and genres."""

import math
import random
import re
from dataclasses import dataclass
from functools import lru_cache
from zlib import crc32

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SUPERSAMPLING = 2  # drawn larger and scaled down: Pillow's shapes have hard edges
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
    names = [name for name in PALETTES if name in genres.split("|")] or ["Other"]
    palette, rng = PALETTES[names[0]], random.Random(movie_id * 7919 + 17)
    label = names[0]
    if label == "Other" and genres not in NO_GENRE:  # a shop's shelf: colours of its own
        label = genres.split("|")[0]
        palette = list(PALETTES.values())[crc32(label.encode()) % len(PALETTES)]
    ground = rng.choice(palette.grounds.split())
    accent = PALETTES[names[1]].main if len(names) > 1 else palette.accent
    if _contrast(accent, ground) < 1.5:  # the second genre's colour would not be seen
        accent = palette.accent
    width, height = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    image = Image.new("RGB", (width, height), ground)
    art = Image.new("RGB", (width, int(height * 0.6)), ground)
    MOTIFS[names[0]](Painter(art, rng, ground, palette.main, accent, palette.ink))
    image.paste(art, (0, 0))
    _letter(image, title, label, palette, accent)
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    pixels.flags.writeable = False
    return pixels


class Painter:
    """Draws in units of the card's width (1.0) on the upper part of the card."""

    def __init__(
        self,
        image: Image.Image,
        rng: random.Random,
        ground: str,
        main: str,
        accent: str,
        ink: str,
    ):
        self.image, self.draw, self.unit = image, ImageDraw.Draw(image), image.width
        self.rng, self.ground, self.main, self.accent, self.ink = rng, ground, main, accent, ink

    def disc(self, x: float, y: float, r: float, color: str) -> None:
        self.draw.ellipse([v * self.unit for v in (x - r, y - r, x + r, y + r)], fill=color)

    def ring(self, x: float, y: float, r: float, color: str, width: float = 0.012) -> None:
        box = [v * self.unit for v in (x - r, y - r, x + r, y + r)]
        self.draw.ellipse(box, outline=color, width=max(1, round(width * self.unit)))

    def shape(self, points: list[tuple[float, float]], color: str) -> None:
        self.draw.polygon([(x * self.unit, y * self.unit) for x, y in points], fill=color)

    def box(self, x: float, y: float, width: float, height: float, color: str) -> None:
        self.shape([(x, y), (x + width, y), (x + width, y + height), (x, y + height)], color)

    def vary(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)


def action(p: Painter) -> None:
    x, lean = p.vary(-0.25, 0.1), p.vary(0.45, 0.75)
    for i in range(6):
        left, wide = x + i * 0.21, p.vary(0.05, 0.16)
        color = (p.main, p.accent)[i % 3 == 1]
        p.shape([(left + lean, 0), (left + lean + wide, 0), (left + wide, 0.9), (left, 0.9)], color)


def adventure(p: Painter) -> None:
    p.disc(p.vary(0.25, 0.75), p.vary(0.2, 0.3), p.vary(0.1, 0.15), p.main)
    for share, color in ((0.0, p.accent), (1.0, _mix(p.ground, "#000000", 0.35))):
        x, y = p.vary(0.15, 0.45) + 0.4 * share, p.vary(0.3, 0.38) + 0.16 * share
        p.shape([(x - 0.75, y + 0.8), (x, y), (x + 0.75, y + 0.8)], color)
        cap = [(x - 0.09, y + 0.096), (x, y), (x + 0.09, y + 0.096), (x + 0.03, y + 0.065)]
        p.shape([*cap, (x - 0.02, y + 0.11)], "#FBF5E6")


def animation(p: Painter) -> None:
    bounces, phase = p.vary(1.5, 2.4), p.vary(0, 0.5)
    for i in range(12):
        t = i / 11
        height = abs(math.cos((t * bounces + phase) * math.pi)) * (0.6 - 0.15 * t)
        color = p.main if i % 3 else p.accent
        p.disc(0.08 + t * 0.82, 0.76 - height, 0.035 + 0.065 * t, color)


def childrens(p: Painter) -> None:
    x, y = p.vary(0.3, 0.7), 0.9
    colors = (p.main, p.accent)
    for i in range(6):
        p.disc(x, y, 0.62 - i * 0.1, colors[i % 2] if i < 5 else p.ground)
    p.disc((x + 0.5) % 1, p.vary(0.1, 0.18), 0.07, p.accent)


def comedy(p: Painter) -> None:
    if p.rng.random() < 0.4:
        return _tiles(p)
    for _ in range(26):
        x, y, r = p.vary(0.02, 0.98), p.vary(0.02, 0.84), p.vary(0.015, 0.045)
        p.disc(x, y, r, p.main if p.rng.random() < 0.5 else p.accent)
    x, y, r = p.vary(0.4, 0.6), p.vary(0.38, 0.46), p.vary(0.24, 0.3)
    p.disc(x, y, r + 0.05, p.ground)
    p.disc(x, y, r, p.main)
    mouth = [v * p.unit for v in (x - r * 0.6, y - r * 0.5, x + r * 0.6, y + r * 0.65)]
    p.draw.pieslice(mouth, 0, 180, fill=p.ground)
    for side in (-1, 1):
        p.disc(x + side * r * 0.36, y - r * 0.28, r * 0.1, p.ground)


def _tiles(p: Painter) -> None:
    """Quarter circles in a grid, each turned at random."""
    side = 1 / 4
    for row in range(3):
        for column in range(4):
            x, y, turn = column * side, 0.06 + row * side, p.rng.randrange(4)
            color = p.rng.choice((p.main, p.accent, _mix(p.main, p.ground, 0.55)))
            corner = (x - side * (turn in (1, 2)), y - side * (turn in (2, 3)))
            quarter = Image.new("L", (round(side * p.unit),) * 2)
            box = [(v - o) * p.unit for v, o in zip((*corner, *corner), (x, y, x, y), strict=True)]
            box[2:] = [box[0] + 2 * side * p.unit, box[1] + 2 * side * p.unit]
            ImageDraw.Draw(quarter).ellipse(box, fill=255)
            p.image.paste(color, (round(x * p.unit), round(y * p.unit)), quarter)


def crime(p: Painter) -> None:
    x, y = p.vary(0.35, 0.65), p.vary(0.36, 0.5)
    for i in range(7):
        p.ring(x, y, 0.06 + i * 0.075, p.main if i % 2 == 0 else p.accent, 0.022)
    angle = p.vary(0, math.pi)
    dx, dy = math.cos(angle), math.sin(angle)
    side = (-dy * 0.02, dx * 0.02)
    p.shape([(x - dx * 2 + side[0], y - dy * 2 + side[1]), (x + dx * 2 + side[0], y + dy * 2 + side[1]),
             (x + dx * 2 - side[0], y + dy * 2 - side[1]), (x - dx * 2 - side[0], y - dy * 2 - side[1])],
            p.ground)  # fmt: skip


def documentary(p: Painter) -> None:
    top, count = p.vary(0.06, 0.12), 3
    for i in range(count):
        p.box(0.14, top + i * 0.25, 0.72, 0.215, p.main)
        picture = p.accent if i == p.rng.randrange(count) else p.ground
        p.box(0.25, top + 0.02 + i * 0.25, 0.5, 0.175, picture)
        for hole in range(3):
            for x in (0.175, 0.795):
                p.box(x, top + 0.025 + i * 0.25 + hole * 0.065, 0.03, 0.035, p.ground)


def drama(p: Painter) -> None:
    kind = p.rng.randrange(4)
    if kind == 0:
        return _curtain(p)
    if kind == 1:
        return _door(p)
    x, y, r = p.vary(0.34, 0.66), p.vary(0.4, 0.48), p.vary(0.27, 0.34)
    p.disc(x, y, r, p.main)
    shift = p.vary(0.16, 0.26) * p.rng.choice((-1, 1))
    p.disc(x + shift, y + p.vary(0.02, 0.14), r * p.vary(0.75, 0.95), p.accent)
    p.box(0, y + r * p.vary(0.5, 0.75), 1, 0.6, p.ground)
    if kind == 3:
        for i in range(3):
            p.box(x - r + 0.05 * i, y + r + 0.02 + i * 0.045, 2 * r - 0.1 * i, 0.012, p.main)


def _curtain(p: Painter) -> None:
    folds, opening = p.rng.randrange(7, 10), p.vary(0.3, 0.45)
    p.disc(0.5, 0.95, opening, p.accent)
    for i in range(folds):
        x, wide = i / folds, 1 / folds
        drop = 0.82 - 0.62 * math.exp(-(((x + wide / 2 - 0.5) / 0.26) ** 2)) + p.vary(-0.03, 0.03)
        color = p.main if i % 2 == 0 else _mix(p.main, p.ground, 0.3)
        p.box(x, 0, wide + 0.004, drop, color)
        p.disc(x + wide / 2, drop, wide / 2, color)


def _door(p: Painter) -> None:
    x, top, wide, floor = p.vary(0.3, 0.55), p.vary(0.1, 0.18), p.vary(0.16, 0.22), 0.66
    spread = p.vary(0.1, 0.35) * p.rng.choice((-1, 1))
    p.box(0, floor, 1, 0.4, _mix(p.ground, "#000000", 0.25))
    p.box(x, top, wide, floor - top, p.main)
    p.shape([(x, floor), (x + wide, floor), (x + wide + spread + 0.12, 0.92), (x + spread - 0.12, 0.92)],
            _mix(p.main, p.ground, 0.35))  # fmt: skip
    figure, foot = x + wide * p.vary(0.35, 0.65), floor + 0.03
    p.disc(figure, foot - 0.25, 0.028, p.ground)
    p.shape([(figure - 0.035, foot - 0.215), (figure + 0.035, foot - 0.215), (figure + 0.022, foot),
             (figure - 0.022, foot)], p.ground)  # fmt: skip


def fantasy(p: Painter) -> None:
    for _ in range(16):
        _star(p, p.vary(0.04, 0.96), p.vary(0.04, 0.84), p.vary(0.008, 0.03), p.accent)
    x, y, r = p.vary(0.4, 0.6), p.vary(0.36, 0.46), p.vary(0.22, 0.28)
    p.disc(x, y, r, p.main)
    p.disc(x + r * 0.45 * p.rng.choice((-1, 1)), y - r * 0.2, r * 0.85, p.ground)


def _star(p: Painter, x: float, y: float, r: float, color: str) -> None:
    points = []
    for i in range(8):
        reach = r if i % 2 == 0 else r * 0.3
        angle = i * math.pi / 4
        points.append((x + reach * math.cos(angle), y + reach * math.sin(angle)))
    p.shape(points, color)


def film_noir(p: Painter) -> None:
    x, y, r = p.vary(0.35, 0.65), p.vary(0.34, 0.46), p.vary(0.24, 0.32)
    p.disc(x, y, r, p.main)
    step, slant = p.vary(0.075, 0.1), p.vary(-0.12, 0.12)
    for i in range(14):
        top = -0.1 + i * step
        p.shape([(0, top), (1, top + slant), (1, top + slant + step * 0.45), (0, top + step * 0.45)],
                p.ground)  # fmt: skip
    p.shape([(0.0, 0.9), (0.0, 0.6), (p.vary(0.2, 0.4), 0.9)], p.accent)


def horror(p: Painter) -> None:
    middle, teeth = p.vary(0.36, 0.46), p.rng.randrange(5, 9)
    wide, gap = 1 / teeth, p.vary(0.02, 0.06)
    p.box(0, 0, 1, 0.9, p.main)
    for i in range(teeth + 1):
        left = i * wide - wide / 2
        p.shape([(left, -0.01), (left + wide, -0.01), (left + wide / 2, middle - gap)], p.ground)
        p.shape([(left + wide / 2, 0.91), (left + wide * 1.5, 0.91), (left + wide, middle + gap)],
                p.ground)  # fmt: skip
    x = p.vary(0.3, 0.7)
    for side in (-1, 1):
        p.disc(x + side * 0.07, middle, 0.022, p.accent)


def musical(p: Painter) -> None:
    bars, phase = 11, p.vary(0, math.pi)
    for i in range(bars):
        tall = 0.12 + 0.26 * (1 + math.sin(phase + i * p.vary(0.7, 0.9)))
        x = 0.09 + i * 0.082 - 0.02
        color = p.accent if i % 4 == 1 else p.main
        p.box(x, 0.44 - tall / 2, 0.042, tall, color)
        for y in (0.44 - tall / 2, 0.44 + tall / 2):
            p.disc(x + 0.021, y, 0.021, color)


def mystery(p: Painter) -> None:
    x, y, r = p.vary(0.42, 0.58), p.vary(0.32, 0.38), p.vary(0.11, 0.14)
    for i in range(4, 0, -1):
        p.disc(x, y + 0.06, r + 0.09 * i, p.main if i % 2 == 0 else p.ground)
    p.disc(x, y, r, p.accent)
    p.shape([(x - r * 0.4, y), (x + r * 0.4, y), (x + r * 0.85, y + r * 2.7),
             (x - r * 0.85, y + r * 2.7)], p.accent)  # fmt: skip


def romance(p: Painter) -> None:
    y, r, apart = p.vary(0.38, 0.46), p.vary(0.21, 0.27), p.vary(0.12, 0.17)
    x, lift = p.vary(0.46, 0.54), p.vary(-0.07, 0.07)
    one, other = (x - apart, y - lift), (x + apart, y + lift)
    p.disc(*one, r, p.main)
    p.disc(*other, r, p.accent)
    half = math.hypot(apart, lift)  # from the middle to each centre
    turn, open_ = math.atan2(lift, apart), math.acos(half / r)
    lens = [(one[0] + r * math.cos(turn + a), one[1] + r * math.sin(turn + a))
            for a in np.linspace(-open_, open_, 40)]  # fmt: skip
    lens += [(other[0] - r * math.cos(turn + a), other[1] - r * math.sin(turn + a))
             for a in np.linspace(-open_, open_, 40)]  # fmt: skip
    p.shape(lens, _mix(p.main, p.ink, 0.45))


def sci_fi(p: Painter) -> None:
    for _ in range(34):
        p.disc(p.vary(0, 1), p.vary(0, 0.88), p.vary(0.002, 0.007), p.accent)
    x, y = p.vary(0.3, 0.7), p.vary(0.36, 0.5)
    for i in range(4):
        r = 0.17 + i * 0.11
        p.ring(x, y, r, p.accent, 0.008)
        angle = p.vary(0, 2 * math.pi)
        p.disc(x + r * math.cos(angle), y + r * math.sin(angle), p.vary(0.014, 0.036), p.accent)
    p.disc(x, y, p.vary(0.09, 0.13), p.main)


def thriller(p: Painter) -> None:
    x, y, angle = p.vary(0.4, 0.6), p.vary(0.36, 0.48), p.vary(0.08, 0.2)
    for i in range(9):
        r, turn = 0.66 * 0.78**i, i * angle
        corners = [turn + math.pi / 4 + k * math.pi / 2 for k in range(4)]
        color = (p.main, p.ground)[i % 2] if i < 8 else p.accent
        p.shape([(x + r * math.cos(a), y + r * math.sin(a)) for a in corners], color)


def war(p: Painter) -> None:
    x, start = p.vary(0.42, 0.58), p.vary(-0.06, 0.05)
    for i in range(5):
        y, color = start + i * 0.19, p.main if i % 2 == 0 else p.accent
        p.shape([(x - 0.75, y + 0.42), (x, y), (x + 0.75, y + 0.42), (x + 0.75, y + 0.52), (x, y + 0.1),
                 (x - 0.75, y + 0.52)], color)  # fmt: skip


def western(p: Painter) -> None:
    p.disc(p.vary(0.3, 0.7), p.vary(0.42, 0.52), p.vary(0.24, 0.32), p.main)
    ground = p.vary(0.68, 0.74)
    for _ in range(3):
        x, wide, tall = p.vary(0, 0.9), p.vary(0.12, 0.3), p.vary(0.1, 0.3)
        p.shape([(x - wide / 2 - 0.05, ground), (x - wide / 2, ground - tall),
                 (x + wide / 2, ground - tall), (x + wide / 2 + 0.05, ground)], p.accent)  # fmt: skip
    p.box(0, ground, 1, 0.06, p.accent)


def other(p: Painter) -> None:
    for i in range(5):
        r = p.vary(0.08, 0.2)
        p.disc(p.vary(0.15, 0.85), p.vary(0.15, 0.7), r, p.main if i % 2 else p.accent)


MOTIFS = {
    "Action": action, "Adventure": adventure, "Animation": animation, "Children's": childrens,
    "Comedy": comedy, "Crime": crime, "Documentary": documentary, "Drama": drama,
    "Fantasy": fantasy, "Film-Noir": film_noir, "Horror": horror, "Musical": musical,
    "Mystery": mystery, "Romance": romance, "Sci-Fi": sci_fi, "Thriller": thriller, "War": war,
    "Western": western, "Other": other,
}  # fmt: skip


def _letter(image: Image.Image, title: str, genre: str, palette: Palette, accent: str) -> None:
    """Sets title, year and genre below the picture."""
    draw, unit = ImageDraw.Draw(image), image.width
    name, year = split_title(title)
    margin, top, bottom = 0.075 * unit, image.height * 0.635, image.height - 0.075 * unit
    small = load_font("DejaVuSans-Bold", 0.058 * unit)
    draw.rectangle([margin, top, margin + 0.16 * unit, top + 0.016 * unit], fill=accent)
    label = " · ".join(
        part for part in (str(year or ""), genre.upper()) if part and part != "OTHER"
    )
    while small.getlength(label) > unit - 2 * margin:
        label = label.rstrip("…")[:-1] + "…"
    draw.text((margin, bottom), label, font=small, fill=palette.ink, anchor="ls")
    font, lines = fit_text(name, unit - 2 * margin, bottom - 0.09 * unit - top - 0.035 * unit, unit)
    y = top + 0.045 * unit
    for line in lines:
        draw.text((margin, y), line, font=font, fill=palette.ink, anchor="lt")
        y += font.size * 1.12


def fit_text(
    text: str, width: float, height: float, unit: float
) -> tuple[ImageFont.FreeTypeFont, list[str]]:
    """The largest font, and the lines, with which a text fits into a box.

    Words that are too long even in the smallest font are cut in two with a hyphen; a text that
    is too long at all ends in an ellipsis.
    """
    for share in (0.125, 0.115, 0.105, 0.095, 0.086, 0.078, 0.071, 0.064, 0.058):
        font = load_font("DejaVuSans-Bold", share * unit)
        lines = wrap(text, font, width)
        fits = all(font.getlength(line) <= width for line in lines)
        if fits and len(lines) * font.size * 1.12 <= height:
            return font, lines
    words = " ".join(_hyphenate(word, font, width) for word in text.split())
    lines = wrap(words, font, width)
    room = max(1, int(height / (font.size * 1.12)))
    if len(lines) > room:
        lines = lines[:room]
        while lines[-1] and font.getlength(lines[-1] + "…") > width:
            lines[-1] = lines[-1][:-1]
        lines[-1] = lines[-1].rstrip() + "…"
    return font, lines


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


def _hyphenate(word: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    parts = [""]
    for letter in word:
        if parts[-1] and font.getlength(parts[-1] + letter + "-") > width:
            parts[-1] += "-"
            parts.append("")
        parts[-1] += letter
    return " ".join(parts)


@lru_cache(maxsize=64)
def load_font(name: str, size: float) -> ImageFont.FreeTypeFont:
    """A font that comes with matplotlib, so that a card looks the same on every machine."""
    folder = matplotlib.get_data_path() + "/fonts/ttf"
    return ImageFont.truetype(f"{folder}/{name}.ttf", max(6, round(size)))


def _mix(one: str, other: str, share: float) -> str:
    """A colour between two: 0 is the first, 1 the second."""
    pairs = [(int(one[i : i + 2], 16), int(other[i : i + 2], 16)) for i in (1, 3, 5)]
    return "#" + "".join(f"{round(a + (b - a) * share):02X}" for a, b in pairs)


def _contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.1)."""
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
