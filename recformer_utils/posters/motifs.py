"""The pictures on title cards: for each genre a list of layers, in the table at the end."""

import math
import random
from collections.abc import Callable

Point = tuple[float, float]
Shape = tuple[str, str, list]  # kind, colour, numbers: see Sketch


class Sketch:
    """Collects shapes in units of the card's width; a back end draws them, in pixels or as SVG.

    ``shapes``: ("disc", colour, [x, y, radius, width of the line or 0 where it is filled]),
    ("slice", colour, [x, y, radius, first degree, last degree]), ("polygon", colour, points).
    """

    def __init__(self, rng: random.Random, colors: dict[str, str]):
        self.rng, self.colors, self.shapes = rng, colors, []
        self.x, self.y = 0.5, 0.4  # the centre of the motif

    def vary(self, low: float, high: float) -> float:
        return self.rng.uniform(low, high)

    def add(self, kind: str, color: str, numbers: list) -> None:
        self.shapes.append((kind, self.colors[color], numbers))

    def box(self, x: float, y: float, wide: float, tall: float, color: str) -> None:
        self.add("polygon", color, [(x, y), (x + wide, y), (x + wide, y + tall), (x, y + tall)])


Layer = Callable[[Sketch], None]


def family(draw: Callable[..., None]) -> Callable[..., Layer]:
    """Layers that one function draws, by their settings; a pair is a range to choose from."""

    def with_settings(**settings: object) -> Layer:
        def layer(s: Sketch) -> None:
            draw(s, **{k: s.vary(*v) if isinstance(v, tuple) else v for k, v in settings.items()})

        return layer

    return with_settings


def either(*motifs: list[Layer]) -> Layer:
    """One of several motifs, by chance."""

    def layer(s: Sketch) -> None:
        for each in s.rng.choice(motifs):
            each(s)

    return layer


@family
def centre(s: Sketch, x: float, y: float) -> None:
    s.x, s.y = x, y


@family
def disc(s: Sketch, r: float, colors: str = "main", x: float = 0, y: float = 0, copies: int = 1,
         step: float = 0, width: float = 0, arc: list[float] | None = None) -> None:  # fmt: skip
    """A disc at the centre, or several, each wider by a step; colours from the inside out."""
    names = colors.split()
    for i in reversed(range(copies)):
        kind, rest = ("slice", arc) if arc else ("disc", [width])
        s.add(kind, names[i % len(names)], [s.x + x, s.y + y, r + i * step, *rest])


@family
def area(s: Sketch, points: list[Point], colors: str = "main", copies: int = 1, down: float = 0,
         shrink: float = 1, turn: float = 0, spin: float = 0) -> None:  # fmt: skip
    """A polygon around the centre, or several, each further down, smaller or turned."""
    names = colors.split()
    for i in range(copies):
        scale, angle = shrink**i, turn + i * spin
        c, d = scale * math.cos(angle), scale * math.sin(angle)
        moved = [(s.x + c * x - d * y, s.y + i * down + d * x + c * y) for x, y in points]
        s.add("polygon", names[i % len(names)], moved)


@family
def bars(s: Sketch, count: int, start: float, step: float, share: list[float], lean: float,
         colors: str, lying: bool = False) -> None:  # fmt: skip
    """Slanted bars from edge to edge; each takes a share of its step."""
    names, (near, far) = colors.split(), (0, 1) if lying else (0.9, 0)
    for i in range(count):
        a, wide = start + i * step, step * s.vary(*share)
        points = [(a, near), (a + wide, near), (a + wide + lean, far), (a + lean, far)]
        points = [(y, x) for x, y in points] if lying else points
        s.add("polygon", names[i % len(names)], points)


@family
def sprinkle(s: Sketch, count: int, r: list[float], colors: str, star: bool = False) -> None:
    for _ in range(count):
        size, color = s.vary(*r), s.rng.choice(colors.split())
        x, y = s.vary(0, 1), s.vary(size, 0.88 - size)
        corners = [(size * (0.3 if k % 2 else 1), k * math.pi / 4) for k in range(8)]
        points = [(x + reach * math.cos(a), y + reach * math.sin(a)) for reach, a in corners]
        s.add("polygon", color, points) if star else s.add("disc", color, [x, y, size, 0])


@family
def planets(s: Sketch, count: int, r: float, step: float) -> None:
    for i in range(count):
        angle, reach = s.vary(0, 2 * math.pi), r + i * step
        x, y = s.x + reach * math.cos(angle), s.y + reach * math.sin(angle)
        s.add("disc", "accent", [x, y, s.vary(0.014, 0.036), 0])


@family
def bounce(s: Sketch, steps: int, bounces: float, phase: float) -> None:
    for i in range(steps):
        t = i / (steps - 1)
        height = abs(math.cos((t * bounces + phase) * math.pi)) * (0.6 - 0.15 * t)
        place = [0.08 + t * 0.82, 0.76 - height, 0.035 + 0.065 * t, 0]
        s.add("disc", "main" if i % 3 else "accent", place)


@family
def tiles(s: Sketch, side: float, colors: str) -> None:
    """Quarter circles in a grid, each turned at random."""
    for place in range(12):
        x, y, turn = place % 4 * side, 0.06 + place // 4 * side, s.rng.randrange(4)
        corner = (x + side * (turn in (1, 2)), y + side * (turn in (2, 3)))
        color = s.rng.choice(colors.split())
        s.add("slice", color, [*corner, side, turn * 90, turn * 90 + 90])


@family
def film(s: Sketch, frames: int, lit: float) -> None:
    for i in range(frames):
        top = s.y + i * 0.25
        s.box(0.14, top, 0.72, 0.215, "main")
        s.box(0.25, top + 0.02, 0.5, 0.175, "accent" if i == int(lit) else "ground")
        for hole in range(6):
            x = 0.175 if hole < 3 else 0.795
            s.box(x, top + 0.025 + hole % 3 * 0.065, 0.03, 0.035, "ground")


@family
def curtain(s: Sketch, folds: float) -> None:
    wide = 1 / int(folds)
    for i in range(int(folds)):
        x, color = (i + 0.5) * wide, "soft" if i % 2 else "main"
        drop = 0.82 - 0.62 * math.exp(-(((x - 0.5) / 0.26) ** 2)) + s.vary(-0.03, 0.03)
        s.box(x - wide / 2, 0, wide + 0.004, drop, color)
        s.add("disc", color, [x, drop, wide / 2, 0])


@family
def teeth(s: Sketch, count: float, gap: float) -> None:
    wide = 1 / int(count)
    for x in (i * wide for i in range(int(count) + 1)):
        for root, tip, at in ((-0.6, -gap, x), (0.6, gap, x + wide / 2)):
            s.add("polygon", "ground", [(at - wide / 2, s.y + root), (at + wide / 2, s.y + root),
                                        (at, s.y + tip)])  # fmt: skip


@family
def mesas(s: Sketch, count: int) -> None:
    for _ in range(count):
        x, half, tall = s.vary(0, 0.9), s.vary(0.06, 0.15), s.vary(0.1, 0.3)
        s.add("polygon", "accent", [(x - half - 0.05, s.y), (x - half, s.y - tall),
                                    (x + half, s.y - tall), (x + half + 0.05, s.y)])  # fmt: skip


@family
def equaliser(s: Sketch, bars: int, phase: float, beat: float) -> None:
    for i in range(bars):
        x, half = 0.091 + i * 0.082, 0.06 + 0.13 * (1 + math.sin(phase + i * beat))
        color = "accent" if i % 4 == 1 else "main"
        s.box(x - 0.021, s.y - half, 0.042, 2 * half, color)
        for y in (s.y - half, s.y + half):
            s.add("disc", color, [x, y, 0.021, 0])


@family
def pair(s: Sketch, r: float, apart: float, lift: float) -> None:
    """Two discs, and what they have in common."""
    turn, opening = math.atan2(lift, apart), math.acos(math.hypot(apart, lift) / r)
    angles = [turn + opening * (k / 20 - 1) for k in range(41)]
    arc = [(r * math.cos(a) - apart, r * math.sin(a) - lift) for a in angles]
    lens = [(s.x + x, s.y + y) for x, y in [*arc, *((-x, -y) for x, y in arc)]]
    s.add("disc", "main", [s.x - apart, s.y - lift, r, 0])
    s.add("disc", "accent", [s.x + apart, s.y + lift, r, 0])
    s.add("polygon", "light", lens)


def rectangle(left: float, top: float, right: float, bottom: float) -> list[Point]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


BELOW = rectangle(-1, 0, 1, 0.9)
MOUNTAIN = [(-0.75, 0.8), (0, 0), (0.75, 0.8)]
SNOW = [(-0.09, 0.096), (0, 0), (0.09, 0.096), (0.03, 0.065), (-0.02, 0.11)]
ARROW = [(-0.75, 0.42), (0, 0), (0.75, 0.42), (0.75, 0.52), (0, 0.1), (-0.75, 0.52)]
FIGURE = [(-0.035, -0.185), (0.035, -0.185), (0.022, 0.03), (-0.022, 0.03)]

MOTIFS: dict[str, list[Layer]] = {
    "Action": [bars(count=6, start=(-0.25, 0.1), step=0.21, share=[0.24, 0.76],
                    lean=(0.45, 0.75), colors="main accent main")],
    "Adventure": [centre(x=(0.25, 0.75), y=(0.2, 0.3)), disc(r=(0.1, 0.15)),
                  centre(x=(0.15, 0.45), y=(0.3, 0.38)), area(points=MOUNTAIN, colors="accent"),
                  area(points=SNOW, colors="snow"),
                  centre(x=(0.55, 0.85), y=(0.46, 0.54)), area(points=MOUNTAIN, colors="shade"),
                  area(points=SNOW, colors="snow")],
    "Animation": [bounce(steps=12, bounces=(1.5, 2.4), phase=(0.0, 0.5))],
    "Children's": [centre(x=0.5, y=(0.1, 0.18)),
                   either([disc(r=0.07, colors="accent", x=(-0.4, -0.2))],
                          [disc(r=0.07, colors="accent", x=(0.2, 0.4))]),
                   centre(x=(0.3, 0.7), y=0.9),
                   disc(r=0.12, copies=6, step=0.1, colors="ground main accent main accent main")],
    "Comedy": [either([sprinkle(count=26, r=[0.015, 0.045], colors="main accent"),
                       centre(x=(0.35, 0.65), y=(0.36, 0.48)), disc(r=(0.3, 0.33), colors="ground"),
                       disc(r=0.27), disc(r=0.16, y=0.02, arc=[0, 180], colors="ground"),
                       disc(r=0.027, x=-0.1, y=-0.08, colors="ground"),
                       disc(r=0.027, x=0.1, y=-0.08, colors="ground")],
                      [tiles(side=0.25, colors="main accent pale")])],
    "Crime": [centre(x=(0.35, 0.65), y=(0.36, 0.5)),
              disc(r=0.06, copies=7, step=0.075, width=0.022, colors="main accent"),
              area(points=rectangle(-2, -0.02, 2, 0.02), turn=(0.0, 3.1), colors="ground")],
    "Documentary": [centre(x=0.5, y=(0.06, 0.12)), film(frames=3, lit=(0.0, 3.0))],
    "Drama": [either([centre(x=0.5, y=0.95), disc(r=(0.3, 0.45), colors="accent"),
                      curtain(folds=(7.0, 10.0))],
                     [centre(x=(0.35, 0.65), y=0.66), area(points=BELOW, colors="shade"),
                      area(points=rectangle(-0.1, -0.53, 0.1, 0)),
                      either([area(points=[(-0.1, 0), (0.1, 0), (0.5, 0.26), (0.1, 0.26)], colors="soft")],
                             [area(points=[(-0.1, 0), (0.1, 0), (-0.1, 0.26), (-0.5, 0.26)], colors="soft")]),
                      disc(r=0.028, y=-0.22, colors="ground"), area(points=FIGURE, colors="ground")],
                     [centre(x=(0.34, 0.66), y=(0.4, 0.48)), disc(r=(0.27, 0.34)),
                      either([disc(r=(0.22, 0.3), colors="accent", x=(0.16, 0.26), y=(0.02, 0.14))],
                             [disc(r=(0.22, 0.3), colors="accent", x=(-0.26, -0.16), y=(0.02, 0.14))]),
                      centre(x=0.5, y=(0.58, 0.7)), area(points=BELOW, colors="ground"),
                      area(points=rectangle(-0.4, 0.06, 0.4, 0.072), copies=3, down=0.045)])],
    "Fantasy": [sprinkle(count=16, r=[0.008, 0.03], colors="accent", star=True),
                centre(x=(0.4, 0.6), y=(0.36, 0.46)), disc(r=(0.22, 0.27)),
                either([disc(r=(0.18, 0.22), colors="ground", x=(0.1, 0.13), y=-0.05)],
                       [disc(r=(0.18, 0.22), colors="ground", x=(-0.13, -0.1), y=-0.05)])],
    "Film-Noir": [centre(x=(0.35, 0.65), y=(0.34, 0.46)), disc(r=(0.24, 0.32)),
                  bars(count=14, start=-0.1, step=(0.075, 0.1), share=[0.45, 0.45],
                       lean=(-0.12, 0.12), colors="ground", lying=True),
                  centre(x=(-0.3, -0.1), y=0.6),
                  area(points=[(0, 0), (0.5, 0.3), (0, 0.3)], colors="accent")],
    "Horror": [centre(x=(0.3, 0.7), y=(0.36, 0.46)), area(points=rectangle(-1, -0.6, 1, 0.6)),
               teeth(count=(5.0, 9.0), gap=(0.02, 0.06)),
               disc(r=0.022, x=-0.07, colors="accent"), disc(r=0.022, x=0.07, colors="accent")],
    "Musical": [centre(x=0.5, y=0.44), equaliser(bars=11, phase=(0.0, 3.1), beat=(0.7, 0.9))],
    "Mystery": [centre(x=(0.42, 0.58), y=(0.38, 0.44)),
                disc(r=(0.2, 0.23), copies=4, step=0.09, colors="ground main"),
                disc(r=(0.11, 0.14), colors="accent", y=-0.06),
                area(points=[(-0.05, -0.06), (0.05, -0.06), (0.11, 0.27), (-0.11, 0.27)], colors="accent")],
    "Romance": [centre(x=(0.46, 0.54), y=(0.38, 0.46)),
                pair(r=(0.21, 0.27), apart=(0.12, 0.17), lift=(-0.07, 0.07))],
    "Sci-Fi": [sprinkle(count=34, r=[0.002, 0.007], colors="accent"),
               centre(x=(0.3, 0.7), y=(0.36, 0.5)),
               disc(r=0.17, copies=4, step=0.11, width=0.008, colors="accent"),
               planets(count=4, r=0.17, step=0.11), disc(r=(0.09, 0.13))],
    "Thriller": [centre(x=(0.4, 0.6), y=(0.36, 0.48)),
                 area(points=rectangle(-0.467, -0.467, 0.467, 0.467), copies=9, shrink=0.78,
                      spin=(0.08, 0.2), colors="main ground main ground main ground main ground accent")],
    "War": [centre(x=(0.42, 0.58), y=(-0.06, 0.05)),
            area(points=ARROW, copies=5, down=0.19, colors="main accent")],
    "Western": [centre(x=(0.3, 0.7), y=(0.42, 0.52)), disc(r=(0.24, 0.32)),
                centre(x=0.5, y=(0.68, 0.74)), mesas(count=3),
                area(points=rectangle(-0.5, 0, 0.5, 0.06), colors="accent")],
    "Other": [sprinkle(count=5, r=[0.08, 0.2], colors="main accent")],
}  # fmt: skip
