"""Hygiene of the notebooks: nothing stale, nothing missing, nothing that gives a machine away."""

import base64
import json
import re
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from nbclient import NotebookClient

from tools import series

REPOSITORY = Path(__file__).resolve().parents[1]
PATHS = series.series()
SOLUTIONS = [path.parent / "solutions" / path.name for path in PATHS]
ALL = PATHS + SOLUTIONS
MIB = 1 << 20


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


def tagged(notebook: nbformat.NotebookNode, tag: str) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if tag in cell.metadata.get("tags", [])]


def markdown(notebook: nbformat.NotebookNode) -> str:
    return "\n\n".join(c.source for c in notebook.cells if c.cell_type == "markdown")


def by_name(path: Path) -> str:
    return str(path.relative_to(REPOSITORY / "notebooks"))


every = pytest.mark.parametrize("path", ALL, ids=by_name)
main = pytest.mark.parametrize("path", PATHS, ids=by_name)


def test_the_series_is_numbered_without_a_gap():
    assert [int(path.name[:2]) for path in PATHS] == list(range(1, len(PATHS) + 1))
    assert len(PATHS) >= 7


@every
def test_cells_are_executed_in_order(path):
    counts = [cell.execution_count for cell in code_cells(read(path))]
    assert counts == list(range(1, len(counts) + 1))


@every
def test_no_error_is_stored(path):
    for cell in code_cells(read(path)):
        assert all(output.output_type != "error" for output in cell.outputs)


@every
def test_outputs_belong_to_the_code(path):
    notebook = read(path)
    published = notebook.metadata["recformer"]
    assert published["code_hash"] == series.code_hash(notebook), "run make publish"
    assert published["data"] == "MovieLens-1M"
    assert published["wall_seconds"] > 0
    assert published["peak_mib"] < 2.5 * 1024


@every
def test_sizes(path):
    assert path.stat().st_size < MIB
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            assert len(json.dumps(output)) < 200 * 1024


@every
def test_nothing_of_a_machine_is_stored(path):
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            text = json.dumps({k: v for k, v in output.items() if k != "data"})
            shown = output.get("data", {})
            text += json.dumps({k: v for k, v in shown.items() if not k.startswith("image/")})
            assert not re.search(r"/(home|root|work|Users|tmp)/", text)
            assert "Warning" not in text, "mend the cause of the warning"


@every
def test_no_output_is_a_script(path):
    assert series.active_outputs(read(path)) == []


@pytest.mark.parametrize(
    ("mime", "content"),
    [
        ("text/html", "<table></table><ScRiPt>alert(1)</script>"),
        ("text/html", "<img src=x onerror = alert(1)>"),
        ("text/html", "<a href='JavaScript:alert(1)'>here</a>"),
        ("text/html", "< iframe src=page>"),
        ("text/markdown", "| a |\n<script src=x>"),
        ("application/javascript", "alert(1)"),
        ("image/svg+xml", "<svg/>"),
        ("application/vnd.jupyter.widget-view+json", {"model_id": "1"}),
    ],
)
def test_an_output_that_is_a_script_is_not_published(mime, content, monkeypatch, tmp_path, capsys):
    new = nbformat.v4
    output = new.new_output("display_data", {mime: content})
    cell = new.new_code_cell("1", outputs=[output], execution_count=1)
    notebook = new.new_notebook(cells=[new.new_markdown_cell("# 01 · A\n\nB."), cell])
    path = tmp_path / "01_a.ipynb"
    path.write_text("before")
    monkeypatch.setattr(series, "execute", lambda *arguments: notebook)
    monkeypatch.setattr(series, "NOTEBOOKS", tmp_path)
    assert series.publish([path], "sample") == 1
    assert "01_a.ipynb: nothing was stored, cell 1 holds" in capsys.readouterr().out
    assert path.read_text() == "before"


@every
def test_pictures_have_an_alternative_text(path):
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            for mime in series.IMAGE_TYPES:
                if mime in output.get("data", {}):
                    assert len(output.metadata[mime]["alt"]) > 30
                    base64.b64decode(output.data[mime], validate=False)


@every
def test_kernel_is_the_plain_one(path):
    assert read(path).metadata["kernelspec"]["name"] == "python3"


@main
def test_skeleton(path):
    notebook = read(path)
    first, box, contents, setup = notebook.cells[:4]
    title, promise = series.title_and_promise(notebook)
    assert re.fullmatch(rf"{path.name[:2]} · .+", title)
    assert promise.endswith(".")
    assert "<!-- navigation -->" in first.source
    for line in ("> **You will build**", "> **You need**", "> **Time and memory**"):
        assert line in box.source
    assert contents.source.startswith("## Contents")
    assert setup.source.startswith("## Setup")
    assert len(tagged(notebook, "setup")) == 1
    text = markdown(notebook)
    for heading in ("What can go wrong", "Summary", "Exercises", "References"):
        assert re.search(rf"^## {heading}$", text, re.MULTILINE), heading
    assert len(re.findall(r"^## \d+\. ", text, re.MULTILINE)) >= 3
    assert "<!-- navigation -->" in notebook.cells[-1].source


@main
def test_the_environment_is_read_in_the_setup_cell_only(path):
    for cell in code_cells(read(path)):
        if "setup" not in cell.metadata.get("tags", []):
            assert "os.environ" not in cell.source


@main
def test_each_notebook_says_what_it_found(path):
    assert series.findings(read(path)), "tag a cell that prints the main result with 'finding'"


@main
def test_generated_parts_are_fresh(path):
    notebook = read(path)
    parts = {
        "navigation": series.navigation(path),
        "contents": series.contents(notebook),
        "times": series.times(notebook),
    }
    for marker, text in parts.items():
        found = re.findall(rf"<!-- {marker} -->(.*?)<!-- /{marker} -->", markdown(notebook), re.S)
        assert found, marker
        assert set(found) == {text}, "run make refresh"


def test_the_readme_has_the_series():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert series.series_table() in text
    assert series.results() in text


def test_the_readme_shows_each_model_beside_its_rivals_with_intervals():
    """The table of notebook 08, between the README's own marks."""
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    block = readme.split("<!-- results -->")[1].split("<!-- /results -->")[0]
    rows = {
        cells[1].strip(): cells
        for cells in (line.split("|") for line in block.splitlines())
        if len(cells) == 8
    }
    for model in ("popularity", "Markov chain", "distance counts (PCTM)", "the network"):
        for value in rows[model][2:4]:  # HR@10 and NDCG@10
            mean, low, high = map(
                float, re.fullmatch(r" ([\d.]+) \[([\d.]+), ([\d.]+)\] ", value).groups()
            )
            assert low < mean < high < 1
    assert float(rows["the network"][3].split()[0]) > float(rows["popularity"][3].split()[0])


def test_result_tables_are_the_markdown_that_tagged_cells_displayed():
    new = nbformat.v4
    table = new.new_output("display_data", {"text/markdown": "| a |\n", "text/plain": "no"})
    other = new.new_output("stream", text="printed")
    cells = [
        new.new_markdown_cell("# 09 · Title\n\nPromise."),
        new.new_code_cell(
            "1", metadata={"tags": ["results"]}, outputs=[other, table], execution_count=1
        ),
        new.new_code_cell("2", outputs=[table], execution_count=2),
    ]
    assert series.result_tables(new.new_notebook(cells=cells)) == ["| a |"]
    cells[1].outputs = [other]
    with pytest.raises(ValueError, match="09 · Title: the cell tagged 'results' displays no"):
        series.result_tables(new.new_notebook(cells=cells))
    cells[1].execution_count = None  # a notebook that was never executed has nothing to show
    assert series.result_tables(new.new_notebook(cells=cells)) == []


LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("path", [*ALL, REPOSITORY / "README.md"], ids=lambda p: p.stem)
def test_links_resolve(path):
    text = markdown(read(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    anchors = {heading.replace("`", "").replace(" ", "-") for heading in headings}
    anchors |= {anchor.lower() for anchor in anchors}
    for link in LINK.findall(text):
        if re.match(r"https?://|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        if target:
            assert (path.parent / unquote(target)).exists(), link
        elif anchor:
            assert unquote(anchor) in anchors, link


@pytest.mark.parametrize("path", PATHS, ids=by_name)
def test_exercises_have_checked_solutions(path):
    notebook, solution = read(path), read(path.parent / "solutions" / path.name)
    checks = tagged(notebook, "check")
    assert 3 <= len(checks) == len(tagged(notebook, "exercise")) <= 5
    assert [c.source for c in checks] == [c.source for c in tagged(solution, "check")]
    assert [c.metadata["wrong"] for c in checks] == [
        c.metadata["wrong"] for c in tagged(solution, "check")
    ]
    assert len(tagged(solution, "solution")) >= len(checks)


@pytest.mark.parametrize("path", PATHS, ids=by_name)
def test_checks_refuse_wrong_answers_and_accept_right_ones(path):
    """Runs the solutions; before each check, first the wrong answer has to be refused."""
    notebook = read(path.parent / "solutions" / path.name)
    cells = []
    answer = []
    for cell in code_cells(notebook):
        tags = cell.metadata.get("tags", [])
        if "check" in tags:
            body = "\n".join(f"    {line}" for line in cell.source.splitlines())
            cells.append(cell.metadata["wrong"])
            cells.append(
                f"try:\n{body}\nexcept AssertionError:\n    pass\n"
                f"else:\n    raise RuntimeError('a wrong answer was accepted')"
            )
            cells += answer
            cells.append(cell.source)
            answer = []
        else:
            cells.append(cell.source)
            answer.append(cell.source) if "solution" in tags else None
    notebook.cells = [nbformat.v4.new_code_cell(source) for source in cells]
    client = NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(path.parent / "solutions")}}
    )
    client.execute()
    printed = "".join(o.get("text", "") for c in notebook.cells for o in c.get("outputs", []))
    assert printed.count(": correct") == len(tagged(read(path), "check"))


@main
def test_pages_carry_the_alternative_texts(path, tmp_path):
    notebook = read(path)
    series.write_page(notebook, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert series.NO_ALT not in page
    for text in series.alternative_texts(notebook):
        assert f'alt="{text}"' in page
