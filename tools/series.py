"""The series as a whole: execute it, publish its outputs, keep its generated parts fresh.

python -m tools.series run      executes copies into build/ and writes HTML pages there
python -m tools.series publish  executes what is stale on MovieLens-1M, stores outputs in notebooks/
python -m tools.series compare  executes everything on MovieLens-1M and compares every finding
python -m tools.series draw     executes copies on MovieLens-1M and stores their plots for the site
python -m tools.series refresh  regenerates navigation, contents, times, and the tables in README and docs
"""

import argparse
import datetime
import html
import json
import os
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import nbformat
import yaml
from latex2mathml.converter import convert as to_mathml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbclient.util import run_sync
from nbconvert import HTMLExporter
from nbconvert.filters import markdown2html
from tqdm import tqdm

from benchmarks.table import conditions, table
from recformer_utils.movielens import (
    MovieLensFormatError,
    MovieLensNotFoundError,
    load_movielens,
)
from recformer_utils.runs.files import InUseError, NotWrittenError, exclusive
from tools import vector
from tools.common import REPOSITORY, machine
from tools.freshness import code_hash
from tools.notebooks import (
    NOTEBOOKS,
    active_outputs,
    drifted,
    duration,
    findings,
    markdown,
    read,
    result_tables,
    series,
    tagged,
    tidy,
    title_and_promise,
    write_notebook,
    write_text,
)

BUILD = REPOSITORY / "build"
DOCUMENTS = [REPOSITORY / "README.md", REPOSITORY / "docs/results.md", REPOSITORY / "docs/speed.md"]
GLOSSARY = REPOSITORY / "docs/glossary.md"
SITE_STYLE = REPOSITORY / "site/static/site.css"
PAGE_STYLE = (
    REPOSITORY / "tools/page.css"
)  # what the site has from its theme, for nbconvert's pages
# Windows has no module of this name: there the peak is not known.
MEASURE_PEAK = (
    "__import__('resource').getrusage(__import__('resource').RUSAGE_SELF).ru_maxrss "
    "if __import__('importlib.util').util.find_spec('resource') else 0"
)
SETTINGS = Path(__file__).resolve().parents[1] / "site/settings.yml"
GITHUB = yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["repository"]  # owner/name
COLAB = f"https://colab.research.google.com/github/{GITHUB}/blob/main/notebooks/"
COLAB_CELL = f"""\
# For Colab only: fetches the series and what Colab lacks. Elsewhere this cell does nothing.
import sys

if "google.colab" in sys.modules:
    !git clone -q --depth 1 https://github.com/{GITHUB} /content/recformer
    %cd -q /content/recformer/notebooks
    %pip install -q dacite faiss-cpu pooch tbparse
    %pip install -q --no-deps .."""
Books = dict[Path, nbformat.NotebookNode]  # the notebooks in reading order

# ---------------------------------------------------------------- generated parts


def fill(source: str, marker: str, text: str) -> str:
    """Puts text between <!-- marker --> and <!-- /marker -->, replacing what stood there."""
    pattern = rf"(<!-- {marker} -->).*?(<!-- /{marker} -->)"
    return re.sub(pattern, lambda match: match[1] + text + match[2], source, flags=re.DOTALL)


def navigation(path: Path, books: Books) -> str:
    """Links to the neighbours, the table of contents and the glossary, as Markdown."""
    links = ["[Contents](../README.md#the-series)", "[Glossary](../docs/glossary.md)"]
    paths = list(books)
    i = paths.index(path)
    if i > 0:
        links.insert(0, f"← [{title_and_promise(books[paths[i - 1]])[0]}]({paths[i - 1].name})")
    if i + 1 < len(paths):
        links.append(f"[{title_and_promise(books[paths[i + 1]])[0]}]({paths[i + 1].name}) →")
    links.append(f"[Open in Colab]({COLAB}{path.name})")
    return f"\n{' | '.join(links)}\n"


def contents(notebook: nbformat.NotebookNode) -> str:
    """The notebook's second-level headings as a list of links."""
    headings = re.findall(r"^## (.+)$", markdown(notebook), flags=re.MULTILINE)
    links = [
        f"- [{heading}](#{quote(heading.replace('`', '').replace(' ', '-'), safe=':,?+')})"
        for heading in headings
        if heading not in ("Contents", "Setup")
    ]
    return "\n" + "\n".join(links) + "\n"


def times(notebook: nbformat.NotebookNode) -> str:
    """What the last publication took, in words."""
    published = notebook.metadata.get("recformer")
    if not published:
        return "not measured yet"
    return (
        f"{duration(published['wall_seconds'])} and {published['peak_mib'] / 1024:.1f} GiB "
        f"on {published['data']} ({published['machine']}; {published['date']})"
    )


def put_colab_cell(notebook: nbformat.NotebookNode) -> None:
    """In front of the setup cell: on Colab the repository and some packages are not there."""
    cells, setup = notebook.cells, tagged(notebook, "setup")
    if setup and not tagged(notebook, "colab"):
        new = nbformat.v4.new_code_cell(metadata={"tags": ["colab", "hide-input"]})
        cells.insert(cells.index(setup[0]), new)
    for cell in tagged(notebook, "colab"):
        cell.source = COLAB_CELL


def cell_parts(path: Path, books: Books) -> dict[str, str]:
    """What stands between the markers of a notebook's cells."""
    notebook = books[path]
    return {
        "navigation": navigation(path, books),
        "contents": contents(notebook),
        "times": times(notebook),
    }


def filled(text: str, books: Books) -> str:
    """A document with the tables between its markers made again."""
    tables = {
        "series": series_table,
        "results": results,
        "findings": findings_table,
        "speed": lambda _: speed(),
    }
    for marker, make in tables.items():
        if f"<!-- {marker} -->" in text:
            text = fill(text, marker, f"\n{make(books)}\n")
    return text


def speed() -> str:
    """What `make bench` measured last, and on which machine."""
    rows = json.loads((REPOSITORY / "benchmarks/results.json").read_text(encoding="utf-8"))
    return f"{table(rows)}\n\n{conditions(rows)}"


def results(books: Books) -> str:
    """The tables that the notebooks displayed in cells tagged 'results'."""
    return "\n\n".join(each for book in books.values() for each in result_tables(book))


def series_table(books: Books) -> str:
    """The table of the series in the README."""
    rows = ["| notebook | what you take away | time, memory |", "| --- | --- | --- |"]
    for path, notebook in books.items():
        title, promise = title_and_promise(notebook)
        published, cost = notebook.metadata.get("recformer"), "not measured yet"
        if published:
            cost = f"{duration(published['wall_seconds'])}, {published['peak_mib'] / 1024:.1f} GiB"
        rows.append(f"| [{title}](notebooks/{path.name}) | {promise} | {cost} |")
    return "\n".join(rows)


def findings_table(books: Books) -> str:
    """What each notebook found, in the words that it printed."""
    rows = ["| notebook | what it printed |", "| --- | --- |"]
    for notebook in books.values():
        found = "<br>".join(f"`{' '.join(line.split())}`" for line in findings(notebook))
        rows.append(f"| {title_and_promise(notebook)[0]} | {found} |")
    return "\n".join(rows)


def refresh() -> list[Path]:
    """Regenerates every generated part; returns the files that changed."""
    books, changed = {path: read(path) for path in series()}, []
    for path, notebook in books.items():
        before = [cell.source for cell in notebook.cells]
        put_colab_cell(notebook)
        for marker, text in cell_parts(path, books).items():
            for cell in notebook.cells:
                if cell.cell_type == "markdown":
                    cell.source = fill(cell.source, marker, text)
        if before != [cell.source for cell in notebook.cells]:
            write_notebook(notebook, path)
            changed.append(path)
    for path in filter(Path.exists, DOCUMENTS):
        text = path.read_text(encoding="utf-8")
        if (new := filled(text, books)) != text:
            write_text(path, new)
            changed.append(path)
    return changed


# ---------------------------------------------------------------- execution


def execute(path: Path, data: str, title: str, draw: bool = False) -> nbformat.NotebookNode:
    """Runs a notebook from top to bottom in a fresh kernel and measures it.

    With ``draw`` its plots hold their drawings for the site, for `tools.vector` to take.

    Raises:
        CellExecutionError: a cell failed; the notebook holds what ran, as ``error.notebook``.
    """
    notebook = read(path)
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
    if draw:
        environment["PYTHONPATH"] = str(REPOSITORY)
    bar = tqdm(total=len(notebook.cells), desc=path.stem, unit="cell", file=sys.stdout)
    count = 0
    with client.setup_kernel(env=environment, cwd=str(path.parent)), bar:
        if draw:
            _in_kernel(client, "__import__('tools.vector').vector.install()")
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
    value = int(_in_kernel(client, MEASURE_PEAK)["data"]["text/plain"])
    return value // (1024 * 1024 if sys.platform == "darwin" else 1024)


def _in_kernel(client: NotebookClient, expression: str) -> dict:
    """What an expression is in the kernel of a notebook, which does not see it."""
    reply = run_sync(client.kc.execute_interactive)(
        "", silent=True, store_history=False, user_expressions={"it": expression}, timeout=60
    )
    value = reply["content"]["user_expressions"]["it"]
    if value["status"] != "ok":
        raise RuntimeError(f"{expression}: {value['evalue']}")
    return value


# ---------------------------------------------------------------- pages in build/


def write_page(notebook: nbformat.NotebookNode, path: Path) -> None:
    """An HTML page beside the executed copy; links to other notebooks become links to pages."""
    exporter = HTMLExporter(template_name="basic", embed_images=True)
    page, _ = exporter.from_notebook_node(
        notebook, resources={"metadata": {"name": path.stem, "path": str(NOTEBOOKS)}}
    )
    page = re.sub(r"(<pre.*?</pre>)|\$\$(.+?)\$\$", _formula, page, flags=re.DOTALL)
    page = re.sub(r'href="([0-9]{2}_[a-z_]+)\.ipynb"', r'href="\1.html"', page)
    page = page.replace('href="../README.md#the-series"', 'href="index.html"')
    page = re.sub(r'href="\.\./docs/glossary\.md', 'href="glossary.html', page)
    write_text(path, framed(title_and_promise(notebook)[0], page))


def _formula(match: re.Match) -> str:
    """A formula as MathML, which browsers set without a script; code stays."""
    return (
        match[1]
        or f'<span class="formula">{to_mathml(html.unescape(match[2]), display="block")}</span>'
    )


def framed(title: str, body: str) -> str:
    """A page in the style of the site, which it holds; dark where the reader's system is."""
    dark = r"@media (prefers-color-scheme: dark) { html:root \1 }"
    style = SITE_STYLE.read_text(encoding="utf-8")
    style = re.sub(
        r'^html\[data-theme="dark"\] (\{.*?^\})', dark, style, count=1, flags=re.M | re.S
    )
    return (
        '<!doctype html>\n<html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)} · recformer</title>"
        f"<style>{style}{PAGE_STYLE.read_text(encoding='utf-8')}</style>"
        f'<main class="bd-article">{body}</main></html>\n'
    )


def write_index(paths: list[Path]) -> None:
    """The page that lists the pages, and the glossary that they link to."""
    rows = []
    for path in paths:
        title, promise = title_and_promise(read(path))
        link = f'<a href="{path.stem}.html">{html.escape(title)}</a>'
        rows.append(f"<li>{link}<br>{html.escape(promise)}</li>")
    lists = {"index": f"<h1>recformer</h1><ul>{''.join(rows)}</ul>"}
    if GLOSSARY.exists():
        lists["glossary"] = markdown2html(GLOSSARY.read_text(encoding="utf-8"))
    for name, body in lists.items():
        write_text(BUILD / f"{name}.html", framed(name.capitalize(), body))


# ---------------------------------------------------------------- commands


def run(paths: list[Path], data: str, jobs: int) -> int:
    """Executes copies into build/, writes pages, prints what was found; 1 when a cell failed.

    So many ``jobs`` at a time, each in a kernel of its own; here threads only wait for them.
    """
    found = load_movielens(data)
    title = str(found).split(":")[0]
    print(f"Running {len(paths)} notebooks on {found}")
    results, pool = [], ThreadPoolExecutor(jobs)
    tasks = {path: pool.submit(execute, path, data, title) for path in paths}
    try:
        for path, task in tasks.items():
            notebook = task.result()
            write_notebook(notebook, BUILD / path.name)
            write_page(notebook, BUILD / f"{path.stem}.html")
            results.append((path, notebook))
    except CellExecutionError as error:
        write_notebook(tidy(error.notebook), BUILD / path.name)
        print(f"\n{path.name} stopped at an error; what ran is in build/{path.name}:\n{error}")
        return 1
    except KeyboardInterrupt:
        os._exit(130)  # else it would wait for the running notebooks; their kernels see it end
    finally:
        pool.shutdown(cancel_futures=True)
    write_index(paths)
    print(f"\nWhat they found on {title}:")
    for path, notebook in results:
        seconds = notebook.metadata["recformer"]["wall_seconds"]
        print(f"  {path.stem} ({duration(seconds)})")
        for line in findings(notebook):
            print(f"      {line}")
    print("\nExecuted notebooks and pages are in build/. Start with build/index.html")
    return 0


def is_fresh(notebook: nbformat.NotebookNode, title: str) -> bool:
    """Whether the stored outputs were made on this data set by what is there now."""
    published = notebook.metadata.get("recformer", {})
    return published.get("data") == title and published.get("code_hash") == code_hash(notebook)


def publish(paths: list[Path], data: str, everything: bool = False) -> int:
    """Executes what is stale on the full data set and stores the outputs in the notebooks."""
    title = str(load_movielens(data)).split(":")[0]
    both = [each for path in paths for each in (path, NOTEBOOKS / "solutions" / path.name)]
    for path in filter(Path.exists, both):
        if not everything and is_fresh(read(path), title):
            continue
        try:
            notebook = execute(path, data, title, True)
        except CellExecutionError as error:
            print(f"\n{path.name} stopped at an error, nothing was stored:\n{error}")
            return 1
        drawn = vector.taken(notebook)
        if active := active_outputs(notebook):
            print(f"\n{path.name}: nothing was stored, {'; '.join(active)}")
            return 1
        if path.parent == NOTEBOOKS:  # before the notebook, which is stale until it is stored
            vector.store(notebook, drawn)
        write_notebook(notebook, path)
    vector.clear(map(read, series()))
    return report_refresh()


def draw(paths: list[Path], data: str) -> int:
    """The drawings of plots as they are stored, without touching the notebooks."""
    title = str(load_movielens(data)).split(":")[0]
    for path in paths:
        stored = read(path)
        if not is_fresh(stored, title):
            print(f"{path.name} is stale: publish it, that draws its plots, too")
            return 1
        vector.store(stored, vector.taken(execute(path, data, title, True)))
    vector.clear(map(read, series()))
    return 0


def compare(paths: list[Path], data: str) -> int:
    """Executes copies and compares what they found with what is stored; 1 when something drifted."""
    title, failed = str(load_movielens(data)).split(":")[0], 0
    for path in paths:
        stored = read(path)
        if stored.metadata.get("recformer", {}).get("data") != title:
            print(f"{path.name}: nothing is stored for {title}")
            failed += 1
            continue
        notebook = execute(path, data, title)
        pairs = [(findings(each), "\n".join(result_tables(each))) for each in (stored, notebook)]
        (lines, tables), (new_lines, new_tables) = pairs
        report = drifted([*lines, *tables.splitlines()], [*new_lines, *new_tables.splitlines()])
        print(f"{path.name}: {f'{len(report)} findings drifted' if report else 'as stored'}")
        print(*report, sep="\n", end="\n" * bool(report))
        failed += bool(report)
    return int(failed > 0)


def report_refresh() -> int:
    for path in refresh():
        print(f"regenerated parts of {path.relative_to(REPOSITORY)}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=["run", "publish", "compare", "draw", "refresh"])
    parser.add_argument("--only", nargs="*", default=[], help="numbers of notebooks, such as 03")
    parser.add_argument("--data", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--all", action="store_true", help="publish also what is not stale")
    parser.add_argument("--jobs", type=int, default=1, help="of run: notebooks at a time")
    arguments = parser.parse_args()
    paths = [p for p in series() if not arguments.only or p.name[:2] in arguments.only]
    if not paths:
        parser.error(f"no notebook has a number in {arguments.only}")
    stored = (NOTEBOOKS, NOTEBOOKS / "solutions", REPOSITORY)
    try:
        with exclusive(BUILD, f"make {arguments.command} or another command on notebooks", *stored):
            if arguments.command == "run":
                return run(paths, arguments.data or "auto", arguments.jobs)
            if arguments.command == "publish":
                everything = arguments.all or bool(arguments.only)
                return publish(paths, arguments.data or "ml-1m", everything)
            if arguments.command == "compare":
                return compare(paths, arguments.data or "ml-1m")
            if arguments.command == "draw":
                return draw(paths, arguments.data or "ml-1m")
            return report_refresh()
    except (InUseError, NotWrittenError, MovieLensFormatError, MovieLensNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
