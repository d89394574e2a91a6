"""The notebooks' plots as SVG for the site: one for a desk, one for a phone, in colours that follow the theme.

Notebooks store PNG, which every reader of notebooks shows. While a notebook is executed for
publication, `install` in its kernel lets each plot leave its drawings beside the PNG; `store` moves
them to site/figures, named after the PNG that they belong to, so none can outlive it.
"""

import base64
import hashlib
import io
import itertools
import re
import textwrap
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.legend import Legend
from matplotlib.text import Annotation
from matplotlib.transforms import ScaledTranslation

from tools.common import REPOSITORY
from tools.notebooks import write_text

FOLDER = REPOSITORY / "site/figures"
WIDE, NARROW = 8.0, 3.3  # inches; shown at no less than 686 and 316 px (site.css, test_figures.py)
LOW = 1.4  # inches: a panel on a phone is no lower
SMALLEST = {WIDE: 10.2, NARROW: 9.6}  # points: 12 px where the drawing is shown smallest
SLACK = {WIDE: 0.01, NARROW: 0.06}  # by which share they may be wider, with text of 12 px still
GROUND = {"light": "#ffffff", "dark": "#171c26"}
TEXT, MARK = 4.5, 3.0  # contrast with the ground, as WCAG asks for
# Colours with a meaning: by day, where the notebook's own is too pale, and by night.
PALETTE = {
    "#2b4c7e": ("#2b4c7e", "#9cc3f7"),  # blue: ours
    "#e4002b": ("#e4002b", "#ff8095"),  # as on the posters: what is recommended
    "#d1495b": ("#d1495b", "#e8697a"),  # red: what misleads
    "#c05a2b": ("#d1495b", "#e8697a"),
    "#1b998b": ("#17877a", "#3cc2b1"),  # green: what is reached
    "#157a6e": ("#157a6e", "#3cc2b1"),
    "#0f766e": ("#0f766e", "#3cc2b1"),
    "#e8a33d": ("#c27a0e", "#f0b75e"),  # amber: what is pointed at
    "#8a5a0f": ("#8a5a0f", "#f0b75e"),
    "#7b5ea7": ("#7b5ea7", "#a98be0"),  # purple
    "#6b7280": ("#6b7280", "#a3adbd"),  # grey: the others
    "#9ca3af": ("#868e9c", "#7f899a"),
    "#b8bec7": ("#868e9c", "#7f899a"),
    "#cbd0d8": ("#868e9c", "#7f899a"),
    "#d1d5db": ("#868e9c", "#7f899a"),
    "#56b4e9": ("#2f93cc", "#56b4e9"),
    "#d16ba5": ("#d16ba5", "#e08fc0"),
    "#111827": ("#111827", "#dfe4ee"),  # text and what is as dark
}


# ---------------------------------------------------------------- colours


def luminance(color: str) -> float:
    """As WCAG defines it: 0 for black, 1 for white."""
    linear = _linear(color)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """Of two colours: 1 for equal ones, 21 for black and white."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


LMS = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
LAB = np.array(
    [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.8086757660]]
)  # fmt: skip


def oklab(color: str) -> np.ndarray:
    """Lightness, and two axes of hue, in which distances are as large as they look (Ottosson, 2020)."""
    return LAB @ np.cbrt(LMS @ _linear(color))


def from_oklab(lab: Sequence[float]) -> str:
    linear = np.clip(np.linalg.solve(LMS, np.linalg.solve(LAB, lab) ** 3), 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return to_hex(np.clip(rgb, 0, 1))


def by_night(color: str) -> str:
    """The colour for a dark ground: the lightness turned round, white becomes the ground."""
    if color in PALETTE:
        return PALETTE[color][1]
    lab, (low, *tint) = oklab(color), oklab(GROUND["dark"])
    light = min(lab[0], 1)
    return from_oklab(
        [low + (0.95 - low) * (1 - light) ** 0.8, *(lab[1:] + light * np.array(tint))]
    )


def by_day(color: str) -> str:
    return PALETTE.get(color, (color,))[0]


def readable(color: str, ground: str) -> str:
    """The colour, farther from the ground where text in it would be too pale.

    What is nearly the ground's own colour stays: that text stands on a mark.
    """
    step = 0.01 if luminance(ground) < 0.2 else -0.01
    lab, found = oklab(color), color
    while 1.3 < contrast(found, ground) < TEXT:
        lab[0] += step
        found = from_oklab(lab)
    return found


# ---------------------------------------------------------------- in the kernel


def install() -> None:
    """In a notebook's kernel: every plot leaves its drawings in the metadata of its PNG."""
    import matplotlib.pyplot as plt
    from IPython import get_ipython
    from matplotlib.figure import Figure
    from matplotlib_inline.backend_inline import configure_inline_support

    shell = get_ipython()
    plt.switch_backend("module://matplotlib_inline.backend_inline")
    configure_inline_support(shell, "module://matplotlib_inline.backend_inline")
    from IPython.core.pylabtools import retina_figure

    def png_and_drawings(figure: Figure):
        png, size = retina_figure(figure, base64=True)
        return png, size | {"drawings": drawings(figure)}

    shell.display_formatter.formatters["image/png"].for_type(Figure, png_and_drawings)


def drawings(figure) -> dict[str, str]:
    """The figure as SVG, wide and, where it can be laid out so, narrow. Changes the figure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a layout that does not succeed
        return _drawings(figure)


def _drawings(figure) -> dict[str, str]:
    for artist in figure.findobj(lambda artist: many(artist) or in_a_scale(artist)):
        artist.set_rasterized(True)
    made = {"wide": laid_out(figure, WIDE)[0]}
    stack(figure)
    panels = [panel for panel in figure.axes if panel.get_subplotspec()]
    for panel in panels:
        names_above(panel, len(panels))
    svg, fits = laid_out(figure, NARROW)
    room = [panel.get_position().width * panel.get_gridspec().ncols for panel in panels]
    # Where that fails, or texts would lie on each other, a phone scrolls the wide drawing.
    if fits and min(room) > 0.25 and not overlapping(figure):
        made["narrow"] = svg
    return made


def laid_out(figure, wanted: float) -> tuple[str, bool]:
    """The figure as SVG of that width, inches, and whether it has kept to it."""
    width, smallest = wanted, SMALLEST[wanted]
    for _ in range(4):  # what hangs over at the right has to find room
        fit(figure, width, smallest)
        svg = as_svg(figure)
        figure.canvas.draw()  # as SVG texts have other extents
        beyond = pixels(svg)[0] / 96 - wanted
        if beyond < SLACK[wanted] * wanted:
            break
        width = max(width - beyond, 0.8 * wanted)
        smallest = SMALLEST[wanted] * (1 + beyond / wanted)  # it will be shown smaller
    return svg, beyond < SLACK[wanted] * wanted


def many(artist) -> bool:
    """Whether it draws so many points that a picture of them is smaller than their list."""
    if hasattr(artist, "get_marker"):
        return artist.get_marker() not in ("None", "", None) and len(artist.get_xydata()) > 1000
    corners = sum(len(path.vertices) for path in getattr(artist, "get_paths", list)())
    return hasattr(artist, "get_offsets") and max(corners, len(artist.get_offsets())) > 1000


def in_a_scale(artist) -> bool:
    """Whether it is what a colour bar consists of: it has to look like the picture beside it."""
    return hasattr(getattr(artist, "axes", None), "_colorbar") and hasattr(artist, "cmap")


def glowing(figure) -> bool:
    """Whether a picture in it is dark where there is little; then it is the same by night."""
    from matplotlib.image import AxesImage

    return any(luminance(to_hex(image.cmap(0.0))) < 0.1 for image in figure.findobj(AxesImage))


def texts(figure) -> list:
    from matplotlib.text import Text

    axes = [axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)]
    beyond = {
        tick.label1
        for axis in axes
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]
        if not min(axis.get_view_interval()) <= tick.get_loc() <= max(axis.get_view_interval())
    }  # which are not drawn
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [text for text in found if text not in beyond]


def stack(figure) -> None:
    """Panels that stand side by side come below each other, small ones two in a row."""
    panels = [panel for panel in figure.axes if panel.get_subplotspec()]
    height = figure.get_figheight()
    if len({panel.get_gridspec() for panel in panels}) == 1 and len(panels) > 1:
        columns = 2 if panels[0].get_gridspec().ncols > 3 and not panels[0].images else 1
        rows = -(-len(panels) // columns)
        grid = figure.add_gridspec(rows, columns)
        for place, panel in enumerate(panels):
            panel.set_subplotspec(grid[place // columns, place % columns])
            panel.tick_params(labelleft=place % columns == 0, labelbottom=True)
            if panel.images and not len(panel.get_yticks()):  # what the rows of all are called
                first = panels[0]
                panel.set_yticks(
                    first.get_yticks(), [t.get_text() for t in first.get_yticklabels()]
                )
        labels = sum(len(panel.get_yticklabels()) for panel in panels[::columns])
        height = max(height, 2.2) * rows * (0.85 if columns == 1 else 0.65)
    else:
        labels = sum(len(panel.get_yticklabels()) for panel in panels)
    if not any(panel.axison for panel in panels):  # a map keeps its proportions, nearly
        height *= 0.8
    figure.set_figheight(max(height * 0.95, 2.8, 0.2 * labels + 0.5 * len(panels)))


def names_above(panel, panels: int) -> None:
    """Long names of bars move from the left of a panel to above them, and the bars move apart."""
    figure, labels = panel.get_figure(), [t for t in panel.get_yticklabels() if t.get_text()]
    alone = len(panel.get_shared_y_axes().get_siblings(panel)) == 1
    if not alone or panel.collections or len(panel.patches) != len(labels):  # more than its bars
        return
    figure.canvas.draw()
    inches = [label.get_window_extent().width / figure.dpi for label in labels]
    named = sum(bool(re.search("[A-Za-z]{3}", label.get_text())) for label in labels)
    if named < len(labels) or max(inches, default=0) < 0.32 * NARROW:
        return
    tall, up = 0.36, np.sign(np.diff(panel.get_ylim())[0])
    for bar in panel.patches:
        bar.set(y=bar.get_y() + (bar.get_height() - tall) / 2, height=tall)
    for label in labels:
        place = label.get_position()[1] + up * (tall / 2 + 0.04)
        text = panel.text(
            0, place, label.get_text(), va="bottom", transform=panel.get_yaxis_transform(),
            color=label.get_color(), gid="name",
        )  # fmt: skip
        text.set_fontsize(SMALLEST[NARROW])
    panel.set_yticks(panel.get_yticks(), labels=[])
    panel.tick_params(left=False)
    rows = 0.25 / (1 - tall) * len(labels) + 1
    figure.set_figheight(panels * rows)


def fit(figure, width: float, smallest: float) -> None:
    """Sets the width; no text is too small for it or too pale, titles wrap, ticks do not touch."""
    figure.set_figwidth(width)
    for text in texts(figure):
        text.set_fontsize(np.clip(text.get_fontsize(), smallest, smallest + 2.2))
    for legend in figure.findobj(Legend):
        fewer_columns(legend, width, smallest)
    for panel in figure.axes if width < WIDE / 2 else []:
        notes = [text for text in panel.texts if text.get_gid() != "name"]
        for text in notes if len(notes) < 8 else []:
            wrap(text, 1.3)
    if figure._suptitle:
        wrap(figure._suptitle, width)
    thin_ticks(figure)
    for _ in range(2):  # the first time changes the height of panels
        set_titles(figure)
        figure.canvas.draw()
    panels = [panel for panel in figure.axes if panel.get_aspect() == "auto"]
    heights = [panel.get_position().height * figure.get_figheight() for panel in panels]
    if width < WIDE / 2 and min(heights, default=LOW) < LOW:
        rows = panels[0].get_gridspec().nrows
        figure.set_figheight(figure.get_figheight() + rows * (LOW - min(heights)))
        figure.canvas.draw()
    for panel in figure.axes if width < WIDE / 2 else []:
        leave_out(panel)


def leave_out(panel) -> None:
    """Of many names beside points those go that would lie on an earlier one, with their rings."""
    kept, rings = [], {line.get_label(): line for line in panel.lines}
    for name in (text for text in panel.texts if isinstance(text, Annotation)):
        if not re.search("[A-Za-z]{3}", name.get_text()):
            continue  # a number
        name.set_visible(True)
        box = name.get_window_extent().padded(2)
        name.set_visible(not box.count_overlaps(kept))
        kept += [box] if name.get_visible() else []
        if name.get_text() in rings:
            rings[name.get_text()].set_visible(name.get_visible())


def fewer_columns(legend, width: float, smallest: float) -> None:
    """Sets a legend that is wider than the figure in fewer columns."""
    share = width * legend.get_figure().dpi / legend.get_window_extent().width
    if share < 1 and legend._ncols > 1:
        labels, place = [text.get_text() for text in legend.texts], legend._loc
        rows = np.ceil(len(labels) / int(share * legend._ncols))
        legend._ncols = int(np.ceil(len(labels) / rows))
        legend._init_legend_box(legend.legend_handles, labels)
        legend._loc = place
        for text in legend.texts:
            text.set_fontsize(smallest)


def set_titles(figure) -> None:
    """Titles and names of axes keep to their panel; a title that is wider, or on a phone, may begin
    where the figure does.
    """
    for panel in figure.axes:
        place, spec, top = panel.get_position(), panel.get_subplotspec(), panel.bbox.y1
        boxes = [each.get_window_extent() for each in (*panel.texts, panel.get_legend()) if each]
        if above := [box.y1 for box in boxes if box.y1 > top + 2]:  # titles stand above it
            panel._set_title_offset_trans((max(above) - top) * 72 / figure.dpi + 6)
        for title in (panel.title, panel._left_title):
            width = figure.get_figwidth()
            over = title.get_window_extent().width > place.width * figure.bbox.width
            moved = title is panel._left_title and spec and spec.is_first_col()
            moved = moved and (over or width < WIDE / 2)
            wrap(title, width * (place.x1 if moved else place.width))
            if moved:
                title.set_x(-place.x0 / place.width)
        middle = (place.x0 + place.x1) / 2
        alone = spec and spec.get_gridspec().ncols == 1
        wrap(panel.xaxis.label, width * (2 * min(middle, 1 - middle) if alone else place.width))
        wrap(panel.yaxis.label, figure.get_figheight() * place.height + 0.2)
        if width < WIDE / 2 and panel.get_legend():
            put_below(panel.get_legend(), panel)


def put_below(legend, panel) -> None:
    """Moves a legend that would cover what is in a narrow panel below it."""
    box, points = legend.get_window_extent(), panel.get_figure().dpi_scale_trans
    under = panel.xaxis.label.get_window_extent().y0
    if box.width > 0.6 * panel.bbox.width and under < box.y1 < panel.bbox.y1:
        down = (under - panel.bbox.y0) / panel.get_figure().dpi
        legend.set_loc("upper center")
        legend.set_bbox_to_anchor((0.5, 0), panel.transAxes + ScaledTranslation(0, down, points))


def wrap(text, width: float) -> None:
    """Breaks a text that is wider, inches, into lines."""
    if (dpi := text.get_figure().dpi) * width < max(text.get_window_extent().size):
        text.set_text(" ".join(text.get_text().split()))
        letters = int(
            0.95 * len(text.get_text()) * width * dpi / max(text.get_window_extent().size)
        )
        text.set_text("\n".join(textwrap.wrap(text.get_text(), letters, break_long_words=False)))


def thin_ticks(figure) -> None:
    """Fewer numbers on an axis; names that would touch are set aslant."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, LogFormatter, MaxNLocator

    for axis in (axis for panel in figure.axes for axis in (panel.xaxis, panel.yaxis)):
        if isinstance(axis.get_major_locator(), AutoLocator | MaxNLocator):
            axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
        if isinstance(axis.get_major_formatter(), LogFormatter):  # exponents would be too small
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    figure.canvas.draw()
    for panel in figure.axes:
        labels = [t for t in panel.get_xticklabels() if t.get_text().strip()]
        boxes = [t.get_window_extent() for t in labels]
        if any(a.x1 > b.x0 and a.x0 < b.x1 for a, b in itertools.pairwise(boxes)):
            several = all(
                re.search(r"\n\d", t.get_text()) for t in labels
            )  # a month above its year
            for place, label in enumerate(labels):
                if several:
                    label.set_visible(place % 4 == 0)
                else:
                    side = "left" if panel.xaxis.get_ticks_position() == "top" else "right"
                    label.set(rotation=45, ha=side, rotation_mode="anchor")


def overlapping(figure) -> bool:
    """Whether texts lie on each other; of those that are set aslant, whether the lines touch."""
    aslant = [text for text in texts(figure) if text.get_rotation() % 90]
    for panel in figure.axes:
        end = "x0" if panel.xaxis.get_ticks_position() == "top" else "x1"
        labels = (t for t in panel.get_xticklabels() if t in aslant)
        places = [getattr(t.get_window_extent(), end) for t in labels]
        if any(b - a < 14 * figure.dpi / 100 for a, b in itertools.pairwise(places)):
            return True
    boxes = [t.get_window_extent() for t in texts(figure) if t not in aslant]
    return any(
        min(a.x1, b.x1) - max(a.x0, b.x0) > 1
        and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.25 * min(a.height, b.height)
        for a, b in itertools.combinations(boxes, 2)
    )


# ---------------------------------------------------------------- SVG


def as_svg(figure) -> str:
    """The figure as SVG with real text, whose colours are those of the reader's theme."""
    import matplotlib as mpl

    buffer = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "recformer"}):
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(
            buffer, format="svg", bbox_inches="tight", pad_inches=0.05, metadata=metadata, dpi=200
        )
    return themed(buffer.getvalue(), not glowing(figure))


def themed(svg: str, turned: bool = True) -> str:
    """Colours become variables with a value for the day and one for the night; pictures are turned."""
    svg = re.sub(
        r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", "", svg, flags=re.S
    )
    number = r"-?\d+\.\d{3,}(?![\d%])"
    short = partial(re.sub, number, lambda m: f"{float(m[0]):.2f}".rstrip("0").rstrip("."))
    svg = re.sub(r"<[^>]+>", lambda tag: short(tag[0]), svg)  # what is written stays as it is
    svg = svg.replace("'DejaVu Sans'", "'DejaVu Sans', Verdana, system-ui")
    svg = re.sub(r'(<text style="(?![^"]*fill:)[^"]*)"', r'\1; fill: #111827"', svg)  # black
    svg = re.sub(r'(<text style="[^"]*fill: )#([0-9a-f]{6})', r"\1var(--t\2)", svg)
    svg = re.sub(r"(?<=: )#([0-9a-f]{6})\b", r"var(--c\1)", svg)
    names = sorted(set(re.findall(r"var\(--([ct][0-9a-f]{6})\)", svg)))
    values = {"light": "", "dark": ""}
    for name in names:
        for theme, change in (("light", by_day), ("dark", by_night)):
            color = change("#" + name[1:])
            color = readable(color, GROUND[theme]) if name[0] == "t" else color
            values[theme] += f"--{name}:{color};"
    style = (
        f":root{{color-scheme:light dark;{values['light']}}}@media (prefers-color-scheme:dark){{"
    )
    style += f":root{{{values['dark']}}}"
    style += "image{filter:invert(.91) hue-rotate(180deg)}}" if turned else "}"
    svg = svg.replace("<defs>", f"<style>{style}</style><defs>", 1)
    return re.sub(r"\s*\n\s*", "\n", svg).strip() + "\n"


def pixels(svg: str) -> tuple[float, float]:
    """Width and height in CSS pixels."""
    width, height = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg).groups()
    return float(width) * 4 / 3, float(height) * 4 / 3


# ---------------------------------------------------------------- in the repository


def name_of(png: str) -> str:
    """What the drawings of a PNG (base64) are called."""
    return hashlib.sha256(base64.b64decode(png)).hexdigest()[:16]


def plots(notebook) -> list:
    """The outputs that are plots; rows of posters are none."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return [
        o for o in outputs if str(o.get("data", {}).get("text/plain", "")).startswith("<Figure")
    ]


def taken(notebook) -> list[dict[str, str]]:
    """The drawings of each plot of an executed notebook, which are taken out of it."""
    return [o.metadata.get("image/png", {}).pop("drawings", {}) for o in plots(notebook)]


def store(stored, drawings_of: list[dict[str, str]]) -> None:
    """Writes the drawings beside the site, named after the stored notebook's PNG."""
    for output, drawn in zip(plots(stored), drawings_of, strict=True):
        for path in find(output.data["image/png"]).values():
            path.unlink()
        for kind, svg in drawn.items():
            path = FOLDER / f"{name_of(output.data['image/png'])}-{kind}.svg"
            write_text(path, svg)


def clear(notebooks) -> None:
    """Deletes the drawings whose PNG no notebook holds any more."""
    names = {name_of(o.data["image/png"]) for notebook in notebooks for o in plots(notebook)}
    for path in FOLDER.glob("*.svg"):
        if path.stem.rpartition("-")[0] not in names:
            path.unlink()


def find(png: str, folder: Path | None = None) -> dict[str, Path]:
    """The drawings of a stored picture that there are, by kind, the narrow one last."""
    folder = folder or FOLDER
    found = {kind: folder / f"{name_of(png)}-{kind}.svg" for kind in ("wide", "rows", "narrow")}
    return {kind: path for kind, path in found.items() if path.exists()}
