"""What draws the pictures on title cards: families of layers, whose settings are in cards.yaml."""

import math
import random


class Sketch:
    """Collects shapes in units of the card's width, around a centre; a back end draws them.

    ``shapes``: ("disc", colour, [x, y, radius, width of the line or 0 where it is filled]),
    ("slice", colour, [x, y, radius, first degree, last degree]), ("polygon", colour, points).
    """

    def __init__(self, rng: random.Random, colors: dict[str, str]):
        self.rng, self.colors, self.shapes, self.x, self.y = rng, colors, [], 0.5, 0.4

    def draw(self, layers: list[dict]) -> None:
        """Draws layers, each a family with its settings; of two numbers it takes one between."""
        for family, settings in (pair for layer in layers for pair in layer.items()):
            if family == "either":
                self.draw(self.rng.choice(settings))
            else:
                FAMILIES[family](self, **{k: self._chosen(v) for k, v in settings.items()})

    def _chosen(self, value: object) -> object:
        is_range = isinstance(value, list) and len(value) == 2
        return self.rng.uniform(*value) if is_range else value

    def add(self, kind: str, color: str, numbers: list) -> None:
        self.shapes.append((kind, self.colors[color], numbers))

    def box(self, x: float, y: float, wide: float, tall: float, color: str) -> None:
        self.add("polygon", color, [(x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall)])


def centre(s, x, y):
    s.x, s.y = x, y


def disc(s, r, colors="main", away=0, angle=0, copies=1, step=0, width=0, half=False):
    """A disc near the centre, or several, each wider by a step; colours from the inside out."""
    turn, names = math.radians(angle), colors.split()
    x, y = s.x + away * math.cos(turn), s.y + away * math.sin(turn)
    for i in reversed(range(copies)):
        kind, rest = ("slice", [0, 180]) if half else ("disc", [width])
        s.add(kind, names[i % len(names)], [x, y, r + i * step, *rest])


def area(s, points, colors="main", copies=1, right=0, down=0, size=1, shrink=1, turn=0, spin=0):
    """A polygon around the centre, or several, each moved, smaller or turned (radians)."""
    names = colors.split()
    for i in range(copies):
        scale, angle = size * shrink**i, turn + i * spin
        c, d, x0, y0 = math.cos(angle), math.sin(angle), s.x + i * right, s.y + i * down
        moved = [(x0 + scale * (c * x - d * y), y0 + scale * (d * x + c * y)) for x, y in points]
        s.add("polygon", names[i % len(names)], moved)


def sprinkle(s, count, small, large, colors, star=False):
    """Discs, or stars, anywhere; from the smallest to the largest radius."""
    for _ in range(count):
        size, color = s.rng.uniform(small, large), s.rng.choice(colors.split())
        x, y = s.rng.uniform(0, 1), s.rng.uniform(size, 0.88 - size)
        corners = [(size * (0.3 if k % 2 else 1), k * math.pi / 4) for k in range(8)]
        points = [(x + reach * math.cos(a), y + reach * math.sin(a)) for reach, a in corners]
        s.add("polygon", color, points) if star else s.add("disc", color, [x, y, size, 0])


def bounce(s, steps, bounces, phase):
    for i in range(steps):
        t = i / (steps - 1)
        height = abs(math.cos((t * bounces + phase) * math.pi)) * (0.6 - 0.15 * t)
        place = [0.08 + t * 0.82, 0.76 - height, 0.035 + 0.065 * t, 0]
        s.add("disc", "main" if i % 3 else "accent", place)


def tiles(s, side, colors):
    """Quarter circles in a grid, each turned at random."""
    for place in range(12):
        x, y, turn = place % 4 * side, 0.06 + place // 4 * side, s.rng.randrange(4)
        corner = (x + side * (turn in (1, 2)), y + side * (turn in (2, 3)))
        s.add("slice", s.rng.choice(colors.split()), [*corner, side, turn * 90, turn * 90 + 90])


def curtain(s, folds):
    wide = 1 / int(folds)
    for i in range(int(folds)):
        x, color, sag = (i + 0.5) * wide, "soft" if i % 2 else "main", s.rng.uniform(-0.03, 0.03)
        drop = 0.82 - 0.62 * math.exp(-(((x - 0.5) / 0.26) ** 2)) + sag
        s.box(x - wide / 2, 0, wide + 0.004, drop, color)
        s.add("disc", color, [x, drop, wide / 2, 0])


def equaliser(s, bars, phase, beat):
    for i in range(bars):
        x, half = 0.091 + i * 0.082, 0.06 + 0.13 * (1 + math.sin(phase + i * beat))
        color = "accent" if i % 4 == 1 else "main"
        s.box(x - 0.021, s.y - half, 0.042, 2 * half, color)
        for y in (s.y - half, s.y + half):
            s.add("disc", color, [x, y, 0.021, 0])


def pair(s, r, apart, lift):
    """Two discs, and what they have in common."""
    turn, opening = math.atan2(lift, apart), math.acos(math.hypot(apart, lift) / r)
    angles = [turn + opening * (k / 20 - 1) for k in range(41)]
    arc = [(r * math.cos(a) - apart, r * math.sin(a) - lift) for a in angles]
    s.add("disc", "main", [s.x - apart, s.y - lift, r, 0])
    s.add("disc", "accent", [s.x + apart, s.y + lift, r, 0])
    s.add("polygon", "light", [(s.x + k * x, s.y + k * y) for k in (1, -1) for x, y in arc])


DRAW = (centre, disc, area, sprinkle, bounce, tiles, curtain, equaliser, pair)
FAMILIES = {draw.__name__: draw for draw in DRAW}
