"""The series as a whole: execute it, publish its outputs, keep its generated parts fresh.

python -m tools.series run      executes copies into build/ and writes HTML pages there
python -m tools.series publish  executes on MovieLens-1M and stores the outputs in notebooks/
python -m tools.series refresh  regenerates navigation, contents, times and the README's table
"""

import argparse
import base64
import datetime
import hashlib
import html
import io
import json
import os
import re
import sys
import time
from pathlib import Path
from urllib.parse import quote

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbclient.util import run_sync
from nbconvert import HTMLExporter
from PIL import Image, ImageChops
from tqdm import tqdm

from benchmarks.table import conditions, table
from recformer_utils.movielens import (
    MovieLensFormatError,
    MovieLensNotFoundError,
    load_movielens,
)
from recformer_utils.runs.files import InUseError, NotWrittenError, exclusive, replacing
from tools.common import REPOSITORY, machine

NOTEBOOKS = REPOSITORY / "notebooks"
BUILD = REPOSITORY / "build"
README = REPOSITORY / "README.md"
MEASURE_PEAK = "__import__('resource').getrusage(__import__('resource').RUSAGE_SELF).ru_maxrss"
NO_ALT = "No description has been provided for this image"  # nbconvert's words
# What could act in a reader's browser; tables and text need none of it.
ACTIVE = re.compile(
    r"<\s*(script|iframe|object|embed|form|link|meta|base)\b|javascript:|<[^>]*\son\w+\s*=", re.I
)
PLAIN_TYPES = (
    "text/plain",
    "text/markdown",
    "text/html",
    "text/latex",
    "image/png",
    "image/jpeg",
    "image/gif",
)
IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif")


def series() -> list[Path]:
    """The notebooks in reading order."""
    return sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """A hash of all code cells; outputs made by other code have another one."""
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256("\0".join(sources).encode()).hexdigest()[:16]


def title_and_promise(notebook: nbformat.NotebookNode) -> tuple[str, str]:
    """The heading of the first cell and the sentence below it."""
    lines = [line for line in notebook.cells[0].source.splitlines() if line.strip()]
    return lines[0].removeprefix("# ").strip(), lines[1].strip()


# ---------------------------------------------------------------- generated parts


def fill(source: str, marker: str, text: str) -> str:
    """Puts text between <!-- marker --> and <!-- /marker -->, replacing what stood there."""
    pattern = rf"(<!-- {marker} -->).*?(<!-- /{marker} -->)"
    return re.sub(pattern, lambda match: match[1] + text + match[2], source, flags=re.DOTALL)


def navigation(path: Path) -> str:
    """Links to the neighbours and the table of contents, as Markdown."""
    paths = series()
    i = paths.index(path)
    links = ["[Contents](../README.md#the-series)"]
    if i > 0:
        links.insert(0, f"← [{_title(paths[i - 1])}]({paths[i - 1].name})")
    if i + 1 < len(paths):
        links.append(f"[{_title(paths[i + 1])}]({paths[i + 1].name}) →")
    return f"\n{' | '.join(links)}\n"


def _title(path: Path) -> str:
    return title_and_promise(nbformat.read(path, as_version=4))[0]


def contents(notebook: nbformat.NotebookNode) -> str:
    """The notebook's second-level headings as a list of links."""
    headings = re.findall(r"^## (.+)$", _markdown(notebook), flags=re.MULTILINE)
    skip = {"Contents", "Setup"}
    links = [
        f"- [{heading}](#{quote(heading.replace('`', '').replace(' ', '-'), safe=':,?+')})"
        for heading in headings
        if heading not in skip
    ]
    return "\n" + "\n".join(links) + "\n"


def _markdown(notebook: nbformat.NotebookNode) -> str:
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def times(notebook: nbformat.NotebookNode) -> str:
    """What the last publication took, in words."""
    published = notebook.metadata.get("recformer")
    if not published:
        return "not measured yet"
    return (
        f"{duration(published['wall_seconds'])} and {published['peak_mib'] / 1024:.1f} GiB "
        f"on {published['data']} ({published['machine']}; {published['date']})"
    )


def duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def refresh() -> list[Path]:
    """Regenerates every generated part; returns the files that changed."""
    changed = []
    for path in series():
        notebook = nbformat.read(path, as_version=4)
        before = [cell.source for cell in notebook.cells]
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                cell.source = fill(cell.source, "navigation", navigation(path))
                cell.source = fill(cell.source, "contents", contents(notebook))
                cell.source = fill(cell.source, "times", times(notebook))
        if before != [cell.source for cell in notebook.cells]:
            write_notebook(notebook, path)
            changed.append(path)
    if README.exists():
        text = README.read_text(encoding="utf-8")
        new = fill(text, "series", f"\n{series_table()}\n")
        new = fill(new, "results", f"\n{results()}\n")
        if "<!-- speed -->" in new:
            new = fill(new, "speed", f"\n{speed()}\n")
        if new != text:
            _write(README, new)
            changed.append(README)
    return changed


def series_table() -> str:
    """The table of the series in the README."""
    rows = ["| notebook | what you take away | time, memory |", "| --- | --- | --- |"]
    for path in series():
        notebook = nbformat.read(path, as_version=4)
        title, promise = title_and_promise(notebook)
        published = notebook.metadata.get("recformer")
        cost = "not measured yet"
        if published:
            cost = f"{duration(published['wall_seconds'])}, {published['peak_mib'] / 1024:.1f} GiB"
        rows.append(f"| [{title}](notebooks/{path.name}) | {promise} | {cost} |")
    return "\n".join(rows)


def results() -> str:
    """For the README: tables of the published notebooks, then what each found in a row."""
    rows, tables = ["| notebook | what it printed |", "| --- | --- |"], []
    for path in series():
        notebook = nbformat.read(path, as_version=4)
        title = title_and_promise(notebook)[0]
        found = "<br>".join(f"`{' '.join(line.split())}`" for line in findings(notebook))
        rows.append(f"| {title} | {found} |")
        tables += result_tables(notebook)
    return "\n\n".join([*tables, "\n".join(rows)])


def speed() -> str:
    """For the README: what `make bench` measured last, and on which machine."""
    rows = json.loads((REPOSITORY / "benchmarks/results.json").read_text(encoding="utf-8"))
    return f"{table(rows)}\n\n{conditions(rows)}"


# ---------------------------------------------------------------- execution


def execute(path: Path, data: str, title: str) -> nbformat.NotebookNode:
    """Runs a notebook from top to bottom in a fresh kernel and measures it.

    Raises:
        CellExecutionError: a cell failed; the notebook holds what ran, as ``error.notebook``.
    """
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=None,
        kernel_name="python3",
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        coalesce_streams=True,
        resources={"metadata": {"path": str(path.parent)}},
    )
    started = time.perf_counter()
    environment = {**os.environ, "RECFORMER_DATASET": data, "COLUMNS": "100"}
    bar = tqdm(total=len(notebook.cells), desc=path.stem, unit="cell", file=sys.stdout)
    count = 0
    with client.setup_kernel(env=environment, cwd=str(path.parent)), bar:
        for index, cell in enumerate(notebook.cells):
            if cell.cell_type == "code" and cell.source.strip():
                count += 1
                try:
                    client.execute_cell(cell, index, execution_count=count)
                except CellExecutionError as error:
                    error.notebook = notebook
                    raise
            bar.update()
        peak = _peak_mib(client)
    notebook.metadata["recformer"] = {
        "data": title,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "wall_seconds": round(time.perf_counter() - started, 1),
        "peak_mib": peak,
        "code_hash": code_hash(notebook),
    }
    return tidy(notebook)


def _peak_mib(client: NotebookClient) -> int:
    """Peak resident memory of the kernel so far."""
    reply = run_sync(client.kc.execute_interactive)(
        "", silent=True, store_history=False, user_expressions={"peak": MEASURE_PEAK}, timeout=60
    )
    value = int(reply["content"]["user_expressions"]["peak"]["data"]["text/plain"])
    return value // (1024 * 1024 if sys.platform == "darwin" else 1024)


def tidy(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Alt texts into the image outputs; nothing that differs from machine to machine."""
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}
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
    encoded = base64.b64encode(buffer.getvalue()).decode()
    return min(encoded, png, key=len)


def findings(notebook: nbformat.NotebookNode) -> list[str]:
    """What the cells tagged 'finding' printed: the notebook's results in a line or two."""
    lines = []
    for cell in notebook.cells:
        if "finding" in cell.metadata.get("tags", []):
            for output in cell.outputs:
                if output.output_type == "stream" and output.name == "stdout":
                    lines += output.text.strip().splitlines()
    return lines


def result_tables(notebook: nbformat.NotebookNode) -> list[str]:
    """The Markdown that the cells tagged 'results' displayed, for the README to show as it is.

    Raises:
        ValueError: such a cell has been executed and displayed no Markdown.
    """
    tables = []
    for cell in notebook.cells:
        if "results" in cell.metadata.get("tags", []) and cell.execution_count:
            shown = [
                o.data["text/markdown"]
                for o in cell.outputs
                if "text/markdown" in o.get("data", {})
            ]
            if not shown:
                raise ValueError(
                    f"{title_and_promise(notebook)[0]}: the cell tagged 'results' displays no "
                    f"Markdown; end it with display(Markdown(...))"
                )
            tables += [table.strip() for table in shown]
    return tables


# ---------------------------------------------------------------- files


def active_outputs(notebook: nbformat.NotebookNode) -> list[str]:
    """Outputs that a published notebook may not carry, in words: scripts, and types unknown here."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            for mime, content in output.get("data", {}).items():
                if mime not in PLAIN_TYPES:
                    found.append(f"cell {number} holds {mime}")
                elif mime in ("text/html", "text/markdown") and ACTIVE.search(content):
                    found.append(f"cell {number} holds {ACTIVE.search(content)[0]!r} in {mime}")
    return found


def write_notebook(notebook: nbformat.NotebookNode, path: Path) -> None:
    """Validates a notebook and moves it into place in one step."""
    nbformat.validate(notebook)
    _write(path, nbformat.writes(notebook) + "\n")


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, mode=0o644) as file:
        file.write(text.encode())


def write_page(notebook: nbformat.NotebookNode, path: Path) -> None:
    """An HTML page beside the executed copy; links to other notebooks become links to pages."""
    page, _ = HTMLExporter(template_name="lab").from_notebook_node(
        notebook, resources={"metadata": {"name": path.stem}}
    )
    # nbconvert's lab template leaves out the alternative texts that the outputs carry.
    alts = iter(alternative_texts(notebook))
    page = re.sub(f'alt="{NO_ALT}"', lambda match: f'alt="{next(alts, NO_ALT)}"', page)
    page = re.sub(r'href="([0-9]{2}_[a-z_]+)\.ipynb"', r'href="\1.html"', page)
    page = page.replace('href="../README.md#the-series"', 'href="index.html"')
    _write(path, page)


def alternative_texts(notebook: nbformat.NotebookNode) -> list[str]:
    """The alternative text of each picture, in the order in which they are shown."""
    return [
        html.escape(output.metadata.get(mime, {}).get("alt", NO_ALT))
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        for mime in IMAGE_TYPES
        if mime in output.get("data", {})
    ]


def write_index(paths: list[Path]) -> None:
    """The page that lists the pages."""
    rows = []
    for path in paths:
        title, promise = title_and_promise(nbformat.read(path, as_version=4))
        link = f'<a href="{path.stem}.html">{html.escape(title)}</a>'
        rows.append(f"<li>{link}<br>{html.escape(promise)}</li>")
    style = "body{font:18px/1.6 sans-serif;max-width:42em;margin:3em auto;padding:0 1em}"
    _write(
        BUILD / "index.html",
        f"<!doctype html><html lang=en><meta charset=utf-8><title>recformer</title>"
        f"<meta name=viewport content='width=device-width'><style>{style} li{{margin:1em 0}}"
        f"</style><h1>recformer</h1><ul>{''.join(rows)}</ul></html>\n",
    )


# ---------------------------------------------------------------- commands


def run(paths: list[Path], data: str) -> int:
    """Executes copies into build/, writes pages, prints what was found; 1 when a cell failed."""
    found = load_movielens(data)
    title = str(found).split(":")[0]
    print(f"Running {len(paths)} notebooks on {found}")
    results = []
    for path in paths:
        try:
            notebook = execute(path, data, title)
        except CellExecutionError as error:
            write_notebook(tidy(error.notebook), BUILD / path.name)
            print(f"\n{path.name} stopped at an error; what ran is in build/{path.name}:\n{error}")
            return 1
        write_notebook(notebook, BUILD / path.name)
        write_page(notebook, BUILD / f"{path.stem}.html")
        results.append((path, notebook))
    write_index(paths)
    print(f"\nWhat they found on {title}:")
    for path, notebook in results:
        seconds = notebook.metadata["recformer"]["wall_seconds"]
        print(f"  {path.stem} ({duration(seconds)})")
        for line in findings(notebook):
            print(f"      {line}")
    print("\nExecuted notebooks and pages are in build/. Start with build/index.html")
    return 0


def publish(paths: list[Path], data: str) -> int:
    """Executes on the full data set and stores the outputs in the notebooks themselves."""
    title = str(load_movielens(data)).split(":")[0]
    for path in paths:
        for each in (path, NOTEBOOKS / "solutions" / path.name):
            if each.exists():
                try:
                    notebook = execute(each, data, title)
                except CellExecutionError as error:
                    print(f"\n{each.name} stopped at an error, nothing was stored:\n{error}")
                    return 1
                if active := active_outputs(notebook):
                    print(f"\n{each.name}: nothing was stored, {'; '.join(active)}")
                    return 1
                write_notebook(notebook, each)
    for path in refresh():
        print(f"regenerated parts of {path.relative_to(REPOSITORY)}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "publish", "refresh"])
    parser.add_argument("--only", nargs="*", default=[], help="numbers of notebooks, such as 03")
    parser.add_argument("--data", help="auto, sample, ml-1m or a folder")
    arguments = parser.parse_args()
    paths = [p for p in series() if not arguments.only or p.name[:2] in arguments.only]
    if not paths:
        parser.error(f"no notebook has a number in {arguments.only}")
    stored = (NOTEBOOKS, NOTEBOOKS / "solutions", REPOSITORY)
    try:
        with exclusive(BUILD, f"make {arguments.command}, or its like,", *stored):
            if arguments.command == "run":
                return run(paths, arguments.data or "auto")
            if arguments.command == "publish":
                return publish(paths, arguments.data or "ml-1m")
            for path in refresh():
                print(f"regenerated parts of {path.relative_to(REPOSITORY)}")
            return 0
    except (InUseError, NotWrittenError, MovieLensFormatError, MovieLensNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
