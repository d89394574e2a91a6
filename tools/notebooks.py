"""The notebooks of the series as files: in order, what they promise and found, what they show."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import numpy as np
from nbconvert.filters import markdown2html
from PIL import Image, ImageChops

from recformer_utils.runs.files import replacing
from tools.common import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"
# What a stored notebook says of its kernel: the same on every machine.
STORED = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
NO_ALT = "No description has been provided for this image"  # nbconvert's words
# What a table needs. Everything else could act in a reader's browser, in ways too many to list.
TAGS = {"div", "style", "table", "thead", "tbody", "tr", "th", "td", "p", "em", "strong", "code"}
ATTRIBUTES = {
    "class", "border", "scoped", "style", "rowspan", "colspan", "scope", "align", "valign",
}  # fmt: skip
STYLE = re.compile(r"[-\w\s.:;,#%(){}>]*")  # of a frame's table: no address, no escape, no import
IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif")
PLAIN_TYPES = ("text/plain", "text/markdown", "text/html", "text/latex", *IMAGE_TYPES)


def series() -> list[Path]:
    """The notebooks in reading order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def title_and_promise(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """The heading of the first cell and the sentence below it."""
    lines = [line for line in notebook.cells[0].source.splitlines() if line.strip()]
    return lines[0].removeprefix("# ").strip(), lines[1].strip()


def markdown(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def findings(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells tagged 'finding' printed: the notebook's results in a line or two."""
    return [
        line
        for cell in tagged(notebook, "finding")
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stdout"
        for line in output.text.strip().splitlines()
    ]


NUMBER = re.compile(r"-?\d[\d,]*\.?\d*")
MEASURED = re.compile(r"\d[\d,.]* ?(?:ms|s|min|minutes|hours|MiB|GiB)\b")  # by clock or memory
BAND = {"rtol": 0.02, "atol": 0.004}  # what another processor may change after some training


def drifted(stored: list[str], found: list[str]) -> list[str]:
    """Which printed lines differ: other words, or a number beyond `BAND`; times do not count."""
    if len(stored) != len(found):
        return [f"{len(stored)} lines stored, {len(found)} found"]
    report = []
    for old, new in zip(stored, found, strict=True):
        lines = [MEASURED.sub("(measured)", line) for line in (old, new)]
        words = [NUMBER.sub("#", line).split() for line in lines]
        numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(line)] for line in lines]
        if words[0] != words[1] or not np.allclose(*numbers, **BAND):
            report.append(f"stored  {old}\n  found   {new}")
    return report


def result_tables(notebook: nbformat.NotebookNode) -> list[str]:
    """The Markdown that the cells tagged 'results' displayed, for docs/results.md.

    Raises:
        ValueError: such a cell has been executed and displayed no Markdown.
    """
    tables = []
    for cell in tagged(notebook, "results"):
        shown = [output.get("data", {}).get("text/markdown", "") for output in cell.outputs]
        if cell.execution_count and not any(shown):
            raise ValueError(
                f"{title_and_promise(notebook)[0]}: the cell tagged 'results' displays no "
                f"Markdown; end it with display(Markdown(...))"
            )
        tables += [table.strip() for table in shown if table]
    return tables


def pictures(notebook: nbformat.NotebookNode) -> list[tuple[str, str, str]]:
    """Each stored picture in order: (media type, base64, alternative text)."""
    return [
        (mime, output.data[mime], output.metadata.get(mime, {}).get("alt", NO_ALT))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for mime in IMAGE_TYPES
        if mime in output.get("data", {})
    ]


class Allowed(HTMLParser):
    """Notes the first thing in a piece of HTML that is not on the lists."""

    found, in_style = "", False

    def handle_starttag(self, tag, attributes):
        self.in_style = tag == "style"
        for name, value in attributes:
            if name not in ATTRIBUTES or not STYLE.fullmatch(value or "") or "(" in (value or ""):
                self.found = self.found or f"<{tag} {name}>"
        if tag not in TAGS:
            self.found = self.found or f"<{tag}>"

    def handle_endtag(self, tag):
        self.in_style = False

    def handle_data(self, data):
        if self.in_style and not STYLE.fullmatch(data):
            self.found = self.found or f"<style> {data.strip()[:40]}"

    def unknown(self, text):
        self.found = self.found or f"<!{text[:40]}>"

    handle_comment = handle_decl = handle_pi = unknown_decl = unknown


def not_allowed(content: str) -> str:
    """What a piece of HTML holds beyond a table and emphasis; or nothing."""
    parser = Allowed(convert_charrefs=True)
    parser.feed(content)
    parser.close()
    # What the parser keeps for text a browser may not.
    return parser.found or ("<" if re.search(r"<(?![/a-zA-Z])", content) else "")


def active_outputs(notebook: nbformat.NotebookNode) -> list[str]:
    """Outputs that a published notebook may not carry, in words: what acts, and types unknown here."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            for mime, content in output.get("data", {}).items():
                if mime not in PLAIN_TYPES:
                    found.append(f"cell {number} holds {mime}")
                    continue
                page = {"text/html": str, "text/markdown": markdown2html}.get(mime)
                if page and (what := not_allowed(page(content))):
                    found.append(f"cell {number} holds {what!r} in {mime}")
    return found


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Alt texts into the image outputs; nothing that differs from machine to machine."""
    notebook.metadata |= STORED
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = with_palette(output.data["image/png"])
            for mime in IMAGE_TYPES:
                if mime in output.get("data", {}) and "alt" in cell.metadata:
                    output.metadata.setdefault(mime, {}).setdefault("alt", cell.metadata["alt"])
    return notebook


def with_palette(png: str, tolerance: int = 8) -> str:
    """The same PNG (base64) with a palette of 256 colors, a third of the size for most figures.

    Left alone: animations, pictures with transparency, and those of which some pixel would change
    by more than ``tolerance`` of 255.
    """
    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if getattr(image, "n_frames", 1) > 1 or image.convert("RGBA").getextrema()[3][0] < 255:
        return png
    picture = image.convert("RGB")
    small = picture.quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    change = ImageChops.difference(picture, small.convert("RGB")).getextrema()
    if max(high for _, high in change) > tolerance:
        return png
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return min(base64.b64encode(buffer.getvalue()).decode(), png, key=len)


def write_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Validates a notebook and moves it into place in one step."""
    nbformat.validate(notebook)
    write_text(path, nbformat.writes(notebook) + "\n")


def write_text(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=0o644) as file:
        file.write(text.encode())
