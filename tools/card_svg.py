"""Title cards as drawing instructions, for a page that draws them as SVG: the second back end."""

import math

from recformer_utils.posters.cards import ART, design

WIDTH, HEIGHT = 480, 720  # units of the instructions


def instructions(movie_id: int, title: str, genres: str) -> dict:
    """The card of a movie, in units of a view that is `WIDTH` x `HEIGHT` large.

    Returns:
        ``ground``: the colour behind everything; ``art``: [colour, SVG path] in order, to be cut
        off at ``art_height``; ``marks``: the same for what lies below the picture; ``text``:
        [x, baseline, font size, colour, words].
    """
    card = design(movie_id, title, genres)
    return {
        "ground": card.ground,
        "art_height": round(ART * HEIGHT),
        "art": _paths(card.art),
        "marks": _paths(card.marks),
        "text": [
            [round(x * WIDTH, 1), round(y * WIDTH, 1), round(size * WIDTH, 1), color, words]
            for x, y, size, color, words in card.lines
        ],
    }


def _paths(shapes: list[tuple]) -> list[list[str]]:
    """Neighbours of one colour share a path; all turn the same way, so that none cuts a hole."""
    paths: list[list[str]] = []
    for kind, color, numbers in shapes:
        path = {"disc": _disc, "slice": _slice, "polygon": _polygon}[kind](numbers)
        if paths and paths[-1][0] == color:
            paths[-1][1] += path
        else:
            paths.append([color, path])
    return paths


def _disc(numbers: list[float]) -> str:
    x, y, r, width = (value * WIDTH for value in numbers)
    r += 0.5  # Pillow fills every pixel that the edge touches: half a pixel more, on average
    return _circle(x, y, r, 1) + (_circle(x, y, r - max(1, round(width)), 0) if width else "")


def _circle(x: float, y: float, r: float, sweep: int) -> str:
    r = round(r, 1)  # first: half circles whose ends are not 2 r apart are drawn off centre
    half = f"a{_n(r)} {_n(r)} 0 1 {sweep}"
    return f"M{_n(x - r)} {_n(y)}{half} {_n(2 * r)} 0{half} {_n(-2 * r)} 0Z"


def _slice(numbers: list[float]) -> str:
    (x, y, r), angles = (value * WIDTH for value in numbers[:3]), map(math.radians, numbers[3:])
    start, end = (f"{_n(x + r * math.cos(a))} {_n(y + r * math.sin(a))}" for a in angles)
    return f"M{_n(x)} {_n(y)}L{start}A{_n(r)} {_n(r)} 0 0 1 {end}Z"


def _polygon(points: list[tuple[float, float]]) -> str:
    pairs = zip(points, [*points[1:], points[0]], strict=True)
    if sum(a[0] * b[1] - b[0] * a[1] for a, b in pairs) < 0:
        points = points[::-1]
    return "M" + "L".join(f"{_n(x * WIDTH)} {_n(y * WIDTH)}" for x, y in points) + "Z"


def _n(value: float) -> str:
    """A number with one decimal, as short as it can be written."""
    return f"{round(value, 1) + 0:g}"
