"""Draws the schematic pictures of the notebooks, notebooks/figures/*.png: python -m tools.figures

They show ideas on toys; nothing in them comes from MovieLens.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt

from tools.common import REPOSITORY

FIGURES = REPOSITORY / "notebooks/figures"
BLUE, GREEN, GREY, LIGHT = "#2B4C7E", "#157A6E", "#6B7280", "#C4C9D1"
AMBER = "#E8A33D"


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


DRAWINGS = (ids_and_tokens, windows)


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
