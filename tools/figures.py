"""Draws the schematic pictures of the notebooks, notebooks/figures/*.png: python -m tools.figures

The site has them as SVG, for a desk and for a phone. They show ideas on toys; nothing in them
comes from MovieLens.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patches

from tools.common import REPOSITORY
from tools.vector import NARROW, WIDE, as_svg

FIGURES = REPOSITORY / "notebooks/figures"
BLUE, GREEN, GREY, INK = "#2B4C7E", "#157A6E", "#6B7280", "#111827"
AMBER, VIOLET, RED = "#E8A33D", "#7B5EA7", "#E4002B"


def ids_and_tokens(narrow: bool = False) -> plt.Figure:
    """02: ids have gaps, tokens have none."""
    ids = (2, 3, 5, 6, 9, 11, 12)
    figure, axis = plt.subplots(figsize=(NARROW, 2.2) if narrow else (WIDE, 2.4))
    size = 10 if narrow else 12
    for place in range(2, 13):
        style = {"fc": BLUE, "ec": BLUE} if place in ids else {"fc": "white", "ec": GREY, "ls": ":"}
        axis.add_patch(plt.Rectangle((place, 2), 0.9, 0.8, **style))
        color = "white" if place in ids else GREY
        axis.text(place + 0.45, 2.4, place, ha="center", va="center", color=color, fontsize=size)
    for token, movie_id in enumerate(ids):
        axis.plot([movie_id + 0.45, token + 4.45], [2, 0.8], color=GREY, lw=1.5, zorder=0)
        axis.add_patch(plt.Rectangle((token + 4, 0), 0.9, 0.8, color=GREEN))
        axis.text(token + 4.45, 0.4, token, ha="center", va="center", color="white", fontsize=size)
    for y, above, name, color in ((2.4, 3.1, "movie id", BLUE), (0.4, -0.35, "token", GREEN)):
        at, side = ((2, above), "left") if narrow else ((1.8, y), "right")
        axis.text(*at, name, ha=side, va="center", color=color, weight="bold", fontsize=size)
    axis.set(xlim=(1.9, 13) if narrow else (0.2, 13), ylim=(-0.6, 3.3) if narrow else (-0.1, 2.9))
    axis.axis("off")
    return figure


def windows(narrow: bool = False) -> plt.Figure:
    """03: windows of three overlap; one token is a target once and part of three windows."""
    names = ["start", "Alien", "Fargo", "Dumbo", "Babe", "Clue", "Evita", "Gigi", "end"]
    marked = 4  # Babe
    figure, axis = plt.subplots(figsize=(NARROW, 3.4) if narrow else (WIDE, 3.6))
    size = 9.6 if narrow else 11
    # Tokens side by side and windows below each other; on a phone the other way round.
    turn = (
        (lambda token, row: (row, 8 - token)) if narrow else (lambda token, row: (token, 5 - row))
    )
    wide, tall = (7.3, 0.96) if narrow else (0.96, 7.4)
    x, y = turn(marked, -1.35) if narrow else turn(marked, 5.3)
    axis.add_patch(plt.Rectangle((x - 0.04, y - 0.08), wide, tall, color="#FBF0DC", zorder=0))
    for place, name in enumerate(names):
        weight, (x, y) = "bold" if place == marked else "normal", turn(place, -1.1)
        axis.text(x + 0.46, y + 0.4, name, ha="center", va="center", fontsize=size, weight=weight)
    for row in range(6):
        for place in range(row, row + 4):
            target, (x, y) = place == row + 3, turn(place, row)
            color = AMBER if target else BLUE
            style = {"fc": "white" if target else BLUE, "ec": color, "lw": 2.5 if target else 0}
            axis.add_patch(plt.Rectangle((x, y), 0.92, 0.8, **style))
            text = "" if narrow else "target" if target else names[place]
            axis.text(
                x + 0.46, y + 0.4, text, ha="center", va="center", fontsize=size,
                color=INK if target else "white",
            )  # fmt: skip
        x, y = (row + 0.46, 9.2) if narrow else (-0.15, 5.4 - row)
        text, side = (row + 1, "center") if narrow else (f"window {row + 1}", "right")
        axis.text(x, y, text, ha=side, va="center", color=GREY, fontsize=size)
    if narrow:
        axis.text(2.96, 9.85, "window", ha="center", va="center", color=GREY, fontsize=size)
        axis.text(4.4, 7.4, "framed:\nthe target", va="center", color=INK, fontsize=size)
    axis.set(xlim=(-1.4, 6) if narrow else (-1.3, 9.1), ylim=(-0.2, 10.2) if narrow else (-0.2, 7))
    axis.axis("off")
    return figure


def box(axis: plt.Axes, x: float, y: float, width: float, height: float, text: str, **style):
    """A rounded box around (x, y) with a text in its middle; style: color, fill, size."""
    color, fill = style.get("color", GREY), style.get("fill", "white")
    corner = {"boxstyle": f"round,pad=0,rounding_size={min(width, height) / 6}"}
    left, bottom = x - width / 2, y - height / 2
    patch = patches.FancyBboxPatch((left, bottom), width, height, **corner, fc=fill, ec=color)
    axis.add_patch(patch)
    axis.text(x, y, text, ha="center", va="center", fontsize=style.get("size", 10.2), color=INK)


def arrow(axis: plt.Axes, start: tuple, end: tuple, **style):
    """An arrow from one point to another."""
    style = {"arrowstyle": "-|>", "color": GREY, "shrinkA": 0, "shrinkB": 0, **style}
    axis.annotate("", xy=end, xytext=start, arrowprops=style)


def cells(axis: plt.Axes, x: float, y: float, shape: tuple, **style):
    """A matrix of shaded cells, its upper left corner at (x, y); hidden cells stay white."""
    side, color = style.get("side", 1.0), style.get("color", BLUE)
    tall = style.get("tall", side)
    height, width = shape[0] * tall, shape[1] * side
    shades = np.random.default_rng(style.get("seed", 0)).uniform(0.15, 0.75, shape)
    if style.get("mask"):
        shades = np.where(np.tri(*shape, dtype=bool), shades, 0)
    for (i, j), shade in np.ndenumerate(shades):
        corner = (x + j * side, y - (i + 1) * tall)
        axis.add_patch(plt.Rectangle(corner, side, tall, fc=color, alpha=shade, ec="none"))
    frame = plt.Rectangle((x, y - height), width, height, fc="none", ec=color, lw=1)
    axis.add_patch(frame)


TITLES = ["Star Wars", "Casablanca", "Empire", "Spaceballs", "Alien"]


def model_overview(narrow: bool = False) -> plt.Figure:
    """04: one window's way through the model."""
    if narrow:
        return model_overview_narrow()
    figure, axis = plt.subplots(figsize=(WIDE, 3.8))
    for row, title in enumerate(TITLES):
        y = 32 - 5.4 * row
        box(axis, 8, y, 16, 3.8, title, color=BLUE)
        for x, seed in ((20, row), (46, row + 10)):
            cells(axis, x, y + 1.3, (1, 8), tall=2.6, seed=seed)
        cells(axis, 54, y + 1.3, (1, 8), tall=2.6, seed=99, color=GREEN)
        for start, end in ((16.3, 19.7), (28.3, 30.7), (43.3, 45.7)):
            arrow(axis, (start, y), (end, y))
    box(
        axis,
        37,
        21.2,
        12.2,
        26,
        "transformer\n\neach\nmovie\ntakes up\nsomething\nof those\nbefore",
        color=BLUE,
    )
    box(axis, 8, 3.2, 16, 3.8, "user", color=GREEN)
    cells(axis, 20, 4.5, (1, 8), tall=2.6, seed=99, color=GREEN)
    arrow(axis, (16.3, 3.2), (19.7, 3.2))
    arrow(axis, (28.3, 3.2), (58, 8.9), connectionstyle="angle,angleA=0,angleB=90")
    axis.text(44, 0.9, "the same user beside each movie", fontsize=10.2, color=GREEN, ha="center")
    box(axis, 71, 21.2, 9.6, 26, "MLP\n\nmovies\nmeet\nthe user", color=VIOLET)
    arrow(axis, (62.4, 21.2), (65.9, 21.2))
    arrow(axis, (76.1, 21.2), (79.6, 21.2))
    scores, colors = scores_of_a_catalogue()
    axis.barh(np.linspace(9, 33.4, 17), scores, 1.1, left=80, color=colors)
    axis.text(80, 4.4, "highest score:\nthe recommendation", fontsize=10.2, color=RED, va="center")
    headings = {8: "5 movies", 24: "5 × 32", 54: "5 × 64", 71: "320 → scores", 86: "every movie"}
    for x, text in headings.items():
        axis.text(x, 37, text, ha="center", fontsize=10.5, color=GREY)
    axis.set(xlim=(-0.5, 96), ylim=(0, 39))
    axis.axis("off")
    return figure


def scores_of_a_catalogue() -> tuple[np.ndarray, list[str]]:
    """A bar for every movie, with its colour; one is the recommendation."""
    scores = np.random.default_rng(3).uniform(1, 7, 17)
    scores[11] = 11
    return scores, [RED if score == 11 else VIOLET for score in scores]


def model_overview_narrow() -> plt.Figure:
    """The same from top to bottom; a unit is a tenth of an inch."""
    figure, axis = plt.subplots(figsize=(NARROW, 6.6))
    small = {"size": 9.6}
    for row, title in enumerate(TITLES):
        y = 61.5 - 3 * row
        box(axis, 6.5, y, 12.5, 2.4, title, color=BLUE, **small)
        arrow(axis, (13, y), (16.6, y), mutation_scale=8)
        cells(axis, 17, y + 0.9, (1, 8), side=1.2, tall=1.8, seed=row)
        y = 36.5 - 2.6 * row
        cells(axis, 12.5, y + 0.9, (1, 8), side=0.9, tall=1.8, seed=row + 10)
        cells(axis, 19.7, y + 0.9, (1, 8), side=0.9, tall=1.8, seed=99, color=GREEN)
    text = "transformer: each movie takes up\nsomething of those before"
    box(axis, 16.5, 42.9, 32, 5, text, color=BLUE, **small)
    box(axis, 4.5, 31.3, 8, 2.4, "user", color=GREEN, **small)
    box(axis, 16.5, 17.6, 32, 5, "MLP: movies meet the user", color=VIOLET, **small)
    arrow(axis, (8.7, 31.3), (12.2, 31.3), mutation_scale=8)
    for x, y in ((21.8, 47.7), (19.7, 40.2), (19.7, 22.4), (16.5, 14.9)):
        arrow(axis, (x, y), (x, y - 2), mutation_scale=8)
    scores, colors = scores_of_a_catalogue()
    axis.bar(np.linspace(1.5, 31.5, 17), scores * 0.7, 1.3, bottom=4.6, color=colors)
    for x, y, text, color in (
        (6.5, 64.6, "5 movies", GREY), (21.8, 64.6, "5 × 32", GREY), (30.2, 31.3, "5 × 64", GREY),
        (16.5, 23.7, "the same user beside each movie", GREEN), (27, 13.9, "320 → scores", GREY),
        (22.2, 3, "the recommendation", RED), (4.8, 3, "every movie", GREY),
    ):  # fmt: skip
        axis.text(x, y, text, ha="center", va="center", fontsize=9.6, color=color)
    axis.set(xlim=(0, 33), ylim=(1.5, 66))
    axis.axis("off")
    return figure


def attention(narrow: bool = False) -> plt.Figure:
    """04: attention with mask and heads."""
    if narrow:
        return attention_narrow()
    figure, axis = plt.subplots(figsize=(WIDE, 3.9))
    side = 0.5
    steps = (
        (9.6, "q kᵀ / √8", "scores", {"seed": 5}),
        (14.0, "mask", "no future", {"seed": 5, "mask": True}),
        (18.4, "softmax", "weights", {"seed": 8, "mask": True}),
    )
    cells(axis, -2.6, 6.25, (5, 4), side=side, color=GREY, seed=1)
    axis.text(-1.6, 6.6, "x: 5 × 32", ha="center", fontsize=10.2, color=INK)
    box(axis, 2.1, 5, 2.5, 2.6, "linear\nqkv", color=AMBER)
    arrow(axis, (-0.5, 5), (0.8, 5))
    for head in range(3, -1, -1):  # the first head lies on top
        dx, dy = 0.28 * head, 0.28 * head
        frame = plt.Rectangle((4.3 + dx, 1.1 + dy), 22.4, 7.9, fc="white", ec=GREY, lw=1)
        axis.add_patch(frame)
    for y, name, color in ((8.5, "q", BLUE), (6.0, "k", BLUE), (3.5, "v", VIOLET)):
        cells(axis, 5.7, y - 0.2, (5, 4), side=0.4, color=color, seed=ord(name))
        axis.text(5.3, y - 1.2, name, ha="right", va="center", fontsize=11, color=INK)
        axis.plot([3.4, 4.7], [5, y - 1.2], color=GREY, lw=1)
    axis.plot([7.4, 8.3, 8.3, 7.4], [7.3, 7.3, 4.8, 4.8], color=GREY, lw=1)
    arrow(axis, (8.3, 6), (9.4, 6))
    for x, label, below, style in steps:
        cells(axis, x, 7.25, (5, 5), side=side, **style)
        axis.text(x + 1.25, 7.6, label, ha="center", fontsize=10.5, color=INK)
        axis.text(x + 1.25, 3.9, below, ha="center", fontsize=10.2, color=GREY)
        arrow(axis, (x + 2.7, 6), (x + (4.2 if x < 18 else 4.0), 6))
    axis.plot([7.4, 19.65], [2.3, 2.3], color=GREY, lw=1)
    arrow(axis, (19.65, 2.3), (22.4, 5.1), connectionstyle="angle,angleA=0,angleB=90")
    cells(axis, 22.6, 7.0, (5, 4), side=side, color=VIOLET, seed=21)
    axis.text(23.9, 7.6, "average of v", ha="center", fontsize=10.5, color=INK)
    axis.text(24.2, 3.7, "5 × 8", ha="center", fontsize=10.2, color=GREY)
    axis.text(4.6, 0.6, "4 heads, each of width 8", fontsize=10.5, color=GREY, va="center")
    box(axis, 31.9, 5, 2.5, 2.6, "linear\nout", color=AMBER)
    arrow(axis, (27.6, 5), (30.6, 5))
    axis.text(29, 5.4, "joined", ha="center", fontsize=10.2, color=GREY)
    cells(axis, 34.3, 6.25, (5, 4), side=side, color=GREY, seed=2)
    axis.text(35.3, 6.6, "5 × 32", ha="center", fontsize=10.2, color=INK)
    arrow(axis, (33.2, 5), (34.2, 5))
    axis.set(xlim=(-2.8, 36.5), ylim=(0, 10.2), aspect="equal")
    axis.axis("off")
    return figure


def attention_narrow() -> plt.Figure:
    """The same from top to bottom; a unit is a tenth of an inch."""
    figure, axis = plt.subplots(figsize=(NARROW, 5.9))
    cells(axis, 5, 61.8, (5, 4), color=GREY, seed=1)
    cells(axis, 5, 13.5, (5, 4), color=GREY, seed=2)
    box(axis, 20, 59.3, 9, 4.4, "linear\nqkv", color=AMBER, size=9.6)
    box(axis, 20, 11, 9, 4.4, "linear\nout", color=AMBER, size=9.6)
    for head in range(3, -1, -1):  # the first head lies on top
        corner = (0.5 + 0.55 * head, 17 + 0.55 * head)
        axis.add_patch(plt.Rectangle(corner, 30.5, 36.5, fc="white", ec=GREY, lw=1))
    for x, name, color in ((4.2, "q", BLUE), (13.2, "k", BLUE), (22.2, "v", VIOLET)):
        cells(axis, x, 51.5, (5, 4), side=0.9, color=color, seed=ord(name))
    steps = (
        (3.5, {"seed": 5}),
        (12.5, {"seed": 5, "mask": True}),
        (21.5, {"seed": 8, "mask": True}),
    )
    for x, style in steps:
        cells(axis, x, 40, (5, 5), **style)
    cells(axis, 22, 27, (5, 4), color=VIOLET, seed=21)
    for line in (
        [(9.4, 59.3), (15.3, 59.3)], [(20, 57), (20, 54.4)], [(6, 44.9), (6, 42.8)], [(8.8, 37.5), (12.2, 37.5)],
        [(17.8, 37.5), (21.2, 37.5)], [(24, 32.3), (24, 27.3)], [(29, 24.5), (26.3, 24.5)],
        [(20, 16.8), (20, 13.4)], [(15.3, 11), (9.4, 11)],
    ):  # fmt: skip
        arrow(axis, *line, mutation_scale=8)
    axis.plot([6, 6, 15, 15], [46.7, 44.9, 44.9, 46.7], color=GREY, lw=1)
    axis.plot([26.1, 29, 29], [49.2, 49.2, 24.5], color=GREY, lw=1)
    for x, y, text, color in (
        (7, 63.1, "x: 5 × 32", INK), (3.2, 49.2, "q", INK), (12.2, 49.2, "k", INK), (21.2, 49.2, "v", INK),
        (6, 41.5, "q kᵀ / √8", INK), (15, 41.5, "mask", INK), (24, 41.5, "softmax", INK),
        (6, 33.5, "scores", GREY), (15, 33.5, "no future", GREY), (24, 33.5, "weights", GREY),
        (16, 24.5, "average of v", INK), (24, 20.7, "5 × 8", GREY), (23.2, 15, "joined", GREY),
        (11.5, 18.6, "4 heads, each of width 8", GREY), (7, 7.3, "5 × 32", INK),
    ):  # fmt: skip
        axis.text(x, y, text, ha="center", va="center", fontsize=9.6, color=color)
    axis.set(xlim=(0, 33), ylim=(6.3, 64.3))
    axis.axis("off")
    return figure


def model_graph(narrow: bool = False) -> plt.Figure:
    """04: the graph of the whole model, from the tokens to the logits."""
    figure, axis = plt.subplots(figsize=(NARROW, 8.2) if narrow else (WIDE, 9.4))
    size, wider, spine, edge = (9.6, 2, -6.2, 10.6) if narrow else (10.2, 1, -5.5, 8.6)
    block = plt.Rectangle((spine - 0.6, 7.35), -2 * spine + 0.6, 14.05, fc="#F6F7F9", ec=GREY, lw=1)
    axis.add_patch(block)
    axis.text(
        spine - 0.9, 16 if narrow else 14, "4 blocks", ha="right", va="center", color=GREY,
        weight="bold", rotation=90 * narrow, fontsize=size,
    )  # fmt: skip
    rows = (  # height, name, color, width in, width out, shape after it
        (23.4, "token_embedding", BLUE, 2, 2, "5 × 32"),
        (19.9, "layer_norm1", VIOLET, 2, 2, "5 × 32"),
        (18.6, "attention.qkv", AMBER, 2, 4, "5 × 96"),
        (14.6, "attention.out", AMBER, 2, 2, "5 × 32"),
        (12.2, "layer_norm2", VIOLET, 2, 2, "5 × 32"),
        (10.9, "mlp.fc1, GELU", AMBER, 2, 5, "5 × 128"),
        (9.6, "mlp.fc2", AMBER, 5, 2, "5 × 32"),
        (6.4, "layer_norm", VIOLET, 2, 2, "5 × 32"),
        (3.5, "fc_layers.0, ReLU", AMBER, 6, 1.6, "16"),
        (2.2, "fc_layers.2", AMBER, 1.6, 6.4, "V logits"),
    )
    for y, name, color, before, after, shape in rows:
        before, after = (
            min(wider * half, 5.2 + half / 10) if narrow else half for half in (before, after)
        )
        corners = [(-before, y + 0.42), (before, y + 0.42), (after, y - 0.42), (-after, y - 0.42)]
        axis.add_patch(plt.Polygon(corners, fc=color, alpha=0.28))
        axis.add_patch(plt.Polygon(corners, fc="none", ec=color, lw=1.3))
        axis.text(0, y, name, ha="center", va="center", fontsize=size, color=INK)
        axis.text(edge, y, shape, ha="right", va="center", fontsize=size, color=GREY)
    for y in (22.1, 13.4, 8.3):  # additions
        axis.plot(0, y, "o", ms=15 if narrow else 21, mfc="white", mec=GREEN, mew=1.6, zorder=3)
        axis.text(0, y, "+", ha="center", va="center", fontsize=13, color=GREEN, zorder=4)
    for head in range(4):
        x = (-5.6 if narrow else -4.7) + 2.05 * head
        cells(axis, x, 17.3, (5, 5), side=0.32, color=BLUE, seed=head, mask=True)
    axis.text(
        2.7 if narrow else 3.6,
        16.5,
        "4 heads:\nmask,\nsoftmax",
        va="center",
        fontsize=size,
        color=INK,
    )
    text = "4 ×\n(5 × 5)" if narrow else "4 × (5 × 5)"
    axis.text(edge, 16.5, text, ha="right", va="center", fontsize=size, color=GREY)
    flow = (
        (24.7, 23.82),
        (22.98, 22.46),
        (21.74, 20.32),
        (19.48, 19.02),
        (18.18, 17.4),
        (15.6, 15.02),
    )
    flow += (14.18, 13.76), (13.04, 12.62), (11.78, 11.32), (10.48, 10.02), (9.18, 8.66)
    flow += (
        (7.94, 6.82),
        (5.98, 5.22 + 0.26 * narrow),
        (4.38 - 0.26 * narrow, 3.92),
        (3.08, 2.62),
        (1.78, 1.3),
    )
    for start, end in flow:
        arrow(axis, (0, start), (0, end), mutation_scale=9)
    for start, end in ((21.1, 13.4), (12.95, 8.3)):  # residual connections
        axis.plot([0, spine, spine], [start, start, end], color=GREEN, lw=2)
        arrow(axis, (spine, end), (-0.36, end), color=GREEN, linewidth=2)
    x, width = (2.2, 9.2) if narrow else (0, 7.2)  # of the box "the user beside each movie"
    tall, left, right = (0.68, -8.4, -3.3) if narrow else (0.42, -9.7, -5.1)
    for y, name in ((22.1, "positional_embedding"), (4.8, "user_embedding")):
        name = name.replace("_", "_\n") if narrow else name
        style = {"xy": (left, y - tall), "width": right - left, "height": 2 * tall}
        axis.add_patch(plt.Rectangle(**style, fc=BLUE, alpha=0.28))
        axis.add_patch(plt.Rectangle(**style, fc="none", ec=BLUE, lw=1.3))
        axis.text((left + right) / 2, y, name, ha="center", va="center", fontsize=size, color=INK)
        arrow(axis, (right, y), (-0.36 if y > 9 else x - width / 2, y))
    text = "the user beside\neach movie" if narrow else "the user beside each movie"
    box(axis, x, 4.8, width, 2 * tall, text, color=GREEN, size=size)
    text = "5 × 64\n= 320" if narrow else "5 × 64 = 320"
    axis.text(edge, 4.8, text, ha="right", va="center", fontsize=size, color=GREY)
    for x, y, text in (
        (0, 25, "5 movie\ntokens" if narrow else "5 movie tokens"),
        ((left + right) / 2, 25, "places\n0 to 4" if narrow else "places 0 to 4"),
        ((left + right) / 2 - 0.25 * narrow, 6.9 if narrow else 6.6, "user token"),
    ):
        axis.text(
            x, y, text, ha="center", va="bottom" if y > 9 else "center", fontsize=size, color=INK
        )
    arrow(axis, ((left + right) / 2, 24.7), ((left + right) / 2, 22.1 + tall), mutation_scale=9)
    arrow(axis, ((left + right) / 2, 6.3), ((left + right) / 2, 4.8 + tall), mutation_scale=9)
    axis.set(xlim=(left - 0.2, edge + 0.3), ylim=(1.1, 26.4 if narrow else 25.6))
    axis.axis("off")
    return figure


DRAWINGS = (ids_and_tokens, windows, model_overview, attention, model_graph)


def drawings() -> dict[str, str]:
    """The pictures as SVG for the site, by the names of the files."""
    with plt.style.context("recformer_utils.recformer"):
        return {
            f"{drawing.__name__}-{kind}.svg": as_svg(drawing(kind == "narrow"))
            for drawing in DRAWINGS
            for kind in ("wide", "narrow")
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="names of pictures")
    parser.add_argument("--folder", type=Path, default=FIGURES)
    arguments = parser.parse_args()
    plt.style.use("recformer_utils.recformer")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for drawing in DRAWINGS:
        if not arguments.only or drawing.__name__ in arguments.only:
            path = arguments.folder / f"{drawing.__name__}.png"
            drawing().savefig(path, dpi=180, bbox_inches="tight", metadata={"Software": None})
            print(path.name)


if __name__ == "__main__":
    main()
