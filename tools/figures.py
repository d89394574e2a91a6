"""Draws the schematic pictures of the notebooks, notebooks/figures/*.png: python -m tools.figures

They show ideas on toys; nothing in them comes from MovieLens.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib import patches

from tools.common import REPOSITORY

FIGURES = REPOSITORY / "notebooks/figures"
BLUE, GREEN, GREY, LIGHT = "#2B4C7E", "#157A6E", "#6B7280", "#C4C9D1"
AMBER, VIOLET, INK = "#E8A33D", "#7B5EA7", "#111827"


def ids_and_tokens() -> plt.Figure:
    """02: ids have gaps, tokens have none."""
    ids = (2, 3, 5, 6, 9, 11, 12)
    figure, axis = plt.subplots(figsize=(9, 2.7))
    for place in range(2, 13):
        style = (
            {"fc": BLUE, "ec": BLUE} if place in ids else {"fc": "white", "ec": LIGHT, "ls": ":"}
        )
        axis.add_patch(plt.Rectangle((place, 2), 0.9, 0.8, **style))
        color = "white" if place in ids else GREY
        axis.text(place + 0.45, 2.4, place, ha="center", va="center", color=color, fontsize=12)
    for token, movie_id in enumerate(ids):
        axis.plot([movie_id + 0.45, token + 4.45], [2, 0.8], color="#9CA3AF", zorder=0)
        axis.add_patch(plt.Rectangle((token + 4, 0), 0.9, 0.8, color=GREEN))
        axis.text(token + 4.45, 0.4, token, ha="center", va="center", color="white", fontsize=12)
    for y, name, color in ((2.4, "movie id", BLUE), (0.4, "token", GREEN)):
        axis.text(1.8, y, name, ha="right", va="center", color=color, weight="bold", fontsize=12)
    axis.set(xlim=(0.2, 13), ylim=(-0.1, 3))
    axis.axis("off")
    return figure


def windows() -> plt.Figure:
    """03: windows of three overlap; one token is a target once and part of three windows."""
    names = ["start", "Alien", "Fargo", "Dumbo", "Babe", "Clue", "Evita", "Gigi", "end"]
    marked = 4  # Babe
    figure, axis = plt.subplots(figsize=(9, 3.9))
    axis.axvspan(marked - 0.04, marked + 0.96, color="#FBF0DC", zorder=0)
    for place, name in enumerate(names):
        weight = "bold" if place == marked else "normal"
        axis.text(place + 0.46, 6.5, name, ha="center", va="center", fontsize=12, weight=weight)
    for row in range(6):
        for place in range(row, row + 4):
            target = place == row + 3
            color = AMBER if target else BLUE
            axis.add_patch(plt.Rectangle((place, 5 - row), 0.92, 0.8, color=color))
            axis.text(
                place + 0.46, 5.4 - row, "target" if target else names[place], ha="center",
                va="center", color="black" if target else "white", fontsize=11,
            )  # fmt: skip
        axis.text(-0.15, 5.4 - row, f"window {row + 1}", ha="right", va="center", color=GREY)
    axis.set(xlim=(-1.2, 9.1), ylim=(-0.2, 7))
    axis.axis("off")
    return figure


def box(axis: plt.Axes, x: float, y: float, width: float, height: float, text: str, **style):
    """A rounded box around (x, y) with a text in its middle; style: color, fill, size."""
    color, fill = style.get("color", GREY), style.get("fill", "white")
    corner = {"boxstyle": f"round,pad=0,rounding_size={min(width, height) / 6}"}
    left, bottom = x - width / 2, y - height / 2
    patch = patches.FancyBboxPatch((left, bottom), width, height, **corner, fc=fill, ec=color)
    axis.add_patch(patch)
    axis.text(x, y, text, ha="center", va="center", fontsize=style.get("size", 10), color=INK)


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


def model_overview() -> plt.Figure:
    """04: one window's way through the model."""
    titles = ["Star Wars", "Casablanca", "Empire", "Spaceballs", "Alien"]
    figure, axis = plt.subplots(figsize=(9, 4.1))
    for row, title in enumerate(titles):
        y = 32 - 5.4 * row
        box(axis, 8, y, 16, 3.8, title, color=BLUE)
        for x, seed in ((20, row), (46, row + 10)):
            cells(axis, x, y + 1.3, (1, 8), tall=2.6, seed=seed)
        cells(axis, 54, y + 1.3, (1, 8), tall=2.6, seed=99, color=GREEN)
        for start, end in ((16.3, 19.7), (28.3, 31.2), (42.8, 45.7)):
            arrow(axis, (start, y), (end, y))
    box(
        axis,
        37,
        21.2,
        11.2,
        26,
        "transformer\n\neach movie\ntakes up\nsomething of\nthose before",
        color=BLUE,
    )
    box(axis, 8, 3.2, 16, 3.8, "user", color=GREEN)
    cells(axis, 20, 4.5, (1, 8), tall=2.6, seed=99, color=GREEN)
    arrow(axis, (16.3, 3.2), (19.7, 3.2))
    arrow(axis, (28.3, 3.2), (58, 8.9), connectionstyle="angle,angleA=0,angleB=90")
    axis.text(43, 1.2, "the same user beside each movie", fontsize=9.5, color=GREEN, ha="center")
    box(axis, 71, 21.2, 9.6, 26, "MLP\n\nmovies\nmeet\nthe user", color=VIOLET)
    arrow(axis, (62.4, 21.2), (65.9, 21.2))
    arrow(axis, (76.1, 21.2), (79.6, 21.2))
    scores = np.random.default_rng(3).uniform(1, 7, 17)
    scores[11] = 11
    colors = ["#E4002B" if score == 11 else "#C9BCDC" for score in scores]
    axis.barh(np.linspace(9, 33.4, 17), scores, 1.1, left=80, color=colors)
    axis.text(
        80, 4.4, "highest score:\nthe recommendation", fontsize=9.5, color="#E4002B", va="center"
    )
    headings = {8: "5 movies", 24: "5 × 32", 54: "5 × 64", 71: "320 → scores", 86: "every movie"}
    for x, text in headings.items():
        axis.text(x, 37, text, ha="center", fontsize=10.5, color=GREY)
    axis.set(xlim=(-0.5, 96), ylim=(0, 39))
    axis.axis("off")
    return figure


def attention() -> plt.Figure:
    """04: attention with mask and heads."""
    figure, axis = plt.subplots(figsize=(9, 4.3))
    side = 0.5
    steps = (
        (9.6, "q kᵀ / √8", "scores", {"seed": 5}),
        (14.0, "mask", "no future", {"seed": 5, "mask": True}),
        (18.4, "softmax", "weights", {"seed": 8, "mask": True}),
    )
    cells(axis, -2.6, 6.25, (5, 4), side=side, color=GREY, seed=1)
    axis.text(-1.6, 6.6, "x: 5 × 32", ha="center", fontsize=10, color=INK)
    box(axis, 2.1, 5, 1.9, 2.6, "linear\nqkv", color=AMBER)
    arrow(axis, (-0.5, 5), (1.1, 5))
    for head in range(3, -1, -1):  # the first head lies on top
        dx, dy = 0.28 * head, 0.28 * head
        frame = plt.Rectangle((4.3 + dx, 1.1 + dy), 22.0, 7.9, fc="white", ec=LIGHT, lw=1.2)
        axis.add_patch(frame)
    for y, name, color in ((8.5, "q", BLUE), (6.0, "k", BLUE), (3.5, "v", VIOLET)):
        cells(axis, 5.7, y - 0.2, (5, 4), side=0.4, color=color, seed=ord(name))
        axis.text(5.3, y - 1.2, name, ha="right", va="center", fontsize=11, color=INK)
        axis.plot([3.1, 4.7], [5, y - 1.2], color=GREY, lw=1)
    axis.plot([7.4, 8.3, 8.3, 7.4], [7.3, 7.3, 4.8, 4.8], color=GREY, lw=1)
    arrow(axis, (8.3, 6), (9.4, 6))
    for x, label, below, style in steps:
        cells(axis, x, 7.25, (5, 5), side=side, **style)
        axis.text(x + 1.25, 7.6, label, ha="center", fontsize=10.5, color=INK)
        axis.text(x + 1.25, 4.2, below, ha="center", fontsize=10, color=GREY)
        arrow(axis, (x + 2.7, 6), (x + (4.2 if x < 18 else 4.0), 6))
    axis.plot([7.4, 19.65], [2.3, 2.3], color=GREY, lw=1)
    arrow(axis, (19.65, 2.3), (22.4, 5.1), connectionstyle="angle,angleA=0,angleB=90")
    cells(axis, 22.6, 7.0, (5, 4), side=side, color=VIOLET, seed=21)
    axis.text(23.6, 7.6, "average of v", ha="center", fontsize=10.5, color=INK)
    axis.text(24.2, 3.9, "5 × 8", ha="center", fontsize=10, color=GREY)
    axis.text(4.6, 0.6, "4 heads, each of width 8", fontsize=10.5, color=GREY, va="center")
    box(axis, 30.4, 5, 1.9, 2.6, "linear\nout", color=AMBER)
    arrow(axis, (27.2, 5), (29.4, 5))
    axis.text(28.3, 5.4, "joined", ha="center", fontsize=10, color=GREY)
    cells(axis, 32.8, 6.25, (5, 4), side=side, color=GREY, seed=2)
    axis.text(33.8, 6.6, "5 × 32", ha="center", fontsize=10, color=INK)
    arrow(axis, (31.4, 5), (32.7, 5))
    axis.set(xlim=(-2.8, 35.0), ylim=(0, 10.2), aspect="equal")
    axis.axis("off")
    return figure


def model_graph() -> plt.Figure:
    """04: the graph of the whole model, from the tokens to the logits."""
    figure, axis = plt.subplots(figsize=(9, 10.6))
    block = plt.Rectangle((-6.1, 7.35), 12.2, 14.05, fc="#F6F7F9", ec=LIGHT, lw=1.2)
    axis.add_patch(block)
    axis.text(-6.4, 14, "4 blocks", ha="right", va="center", color=GREY, weight="bold")
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
        corners = [(-before, y + 0.42), (before, y + 0.42), (after, y - 0.42), (-after, y - 0.42)]
        axis.add_patch(plt.Polygon(corners, fc=color, alpha=0.28))
        axis.add_patch(plt.Polygon(corners, fc="none", ec=color, lw=1.3))
        axis.text(0, y, name, ha="center", va="center", fontsize=10, color=INK)
        axis.text(8.6, y, shape, ha="right", va="center", fontsize=10, color=GREY)
    axis.text(0, 25.0, "5 movie tokens", ha="center", va="center", fontsize=10.5, color=INK)
    for y in (22.1, 13.4, 8.3):  # additions
        axis.add_patch(plt.Circle((0, y), 0.36, fc="white", ec=GREEN, lw=1.6, zorder=3))
        axis.text(0, y, "+", ha="center", va="center", fontsize=13, color=GREEN, zorder=4)
    for head in range(4):
        x = -4.7 + 2.05 * head
        cells(axis, x, 17.3, (5, 5), side=0.32, color=BLUE, seed=head, mask=True)
    axis.text(
        3.6, 16.5, "4 heads:\nmask,\nsoftmax", va="center", ha="left", fontsize=9.5, color=INK
    )
    axis.text(8.6, 16.5, "4 × (5 × 5)", ha="right", va="center", fontsize=10, color=GREY)
    spine = (
        (24.7, 23.82),
        (22.98, 22.46),
        (21.74, 20.32),
        (19.48, 19.02),
        (18.18, 17.4),
        (15.6, 15.02),
    )
    spine += (14.18, 13.76), (13.04, 12.62), (11.78, 11.32), (10.48, 10.02), (9.18, 8.66)
    spine += (7.94, 6.82), (5.98, 5.22), (4.38, 3.92), (3.08, 2.62), (1.78, 1.3)
    for start, end in spine:
        arrow(axis, (0, start), (0, end), mutation_scale=9)
    for start, end in ((21.1, 13.4), (12.95, 8.3)):  # residual connections
        axis.plot([0, -5.5, -5.5], [start, start, end], color=GREEN, lw=2)
        arrow(axis, (-5.5, end), (-0.36, end), color=GREEN, linewidth=2)
    for y, name in ((22.1, "positional_embedding"), (4.8, "user_embedding")):
        axis.add_patch(plt.Rectangle((-9.7, y - 0.42), 4.6, 0.84, fc=BLUE, alpha=0.28))
        axis.add_patch(plt.Rectangle((-9.7, y - 0.42), 4.6, 0.84, fc="none", ec=BLUE, lw=1.3))
        axis.text(-7.4, y, name, ha="center", va="center", fontsize=10, color=INK)
    arrow(axis, (-5.1, 22.1), (-0.36, 22.1))
    arrow(axis, (-5.1, 4.8), (-3.6, 4.8))
    box(axis, 0, 4.8, 7.2, 0.84, "the user beside each movie", color=GREEN)
    axis.text(8.6, 4.8, "5 × 64 = 320", ha="right", va="center", fontsize=10, color=GREY)
    axis.text(-7.4, 25.0, "places 0 to 4", ha="center", va="center", fontsize=10.5, color=INK)
    axis.text(-7.4, 6.6, "user token", ha="center", va="center", fontsize=10.5, color=INK)
    arrow(axis, (-7.4, 24.7), (-7.4, 22.55), mutation_scale=9)
    arrow(axis, (-7.4, 6.3), (-7.4, 5.25), mutation_scale=9)
    axis.set(xlim=(-9.9, 8.9), ylim=(1.1, 25.4))
    axis.axis("off")
    return figure


DRAWINGS = (ids_and_tokens, windows, model_overview, attention, model_graph)


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
            drawing().savefig(path, dpi=160, bbox_inches="tight", metadata={"Software": None})
            print(path.name)


if __name__ == "__main__":
    main()
