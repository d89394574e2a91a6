"""Hygiene of the notebooks: nothing stale, nothing missing, nothing that gives a machine away."""

import base64
import html
import json
import re
import shutil
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

from tools import freshness, notebooks, series
from tools.common import REPOSITORY
from tools.notebooks import markdown, tagged

PATHS = notebooks.series()
SOLUTIONS = [path.parent / "solutions" / path.name for path in PATHS]
ALL = PATHS + SOLUTIONS
MIB = 1 << 20


@cache
def read(path: Path) -> nbformat.NotebookNode:
    """A stored notebook; not to be changed."""
    return notebooks.read(path)


def code_cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [c for c in notebook.cells if c.cell_type == "code" and c.source.strip()]


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
    assert series.is_fresh(notebook, "MovieLens-1M"), "run make publish"
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
            assert "Warning" not in text, "fix what causes the warning"


@every
def test_no_output_is_a_script(path):
    assert notebooks.active_outputs(read(path)) == []


@pytest.mark.parametrize(
    ("mime", "content"),
    [
        ("text/html", "<table></table><ScRiPt>alert(1)</script>"),
        ("text/html", "<img src=x onerror = alert(1)>"),
        ("text/html", "<a href='JavaScript:alert(1)'>here</a>"),
        ("text/html", "< iframe src=page>"),
        ("text/html", "<svg/onload=alert(1)>"),
        ("text/html", "<img/src=x/onerror=alert(1)>"),
        ("text/html", "<a href='java&#115;cript:alert(1)'>here</a>"),
        ("text/html", "<style>@import 'page';</style>"),
        ("text/html", "<td style='background:url(page)'>1</td>"),
        ("text/html", "<!--[if IE]><table><![endif]-->"),
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
    assert series.publish([path], "sample", everything=True) == 1
    assert "01_a.ipynb: nothing was stored, cell 1 holds" in capsys.readouterr().out
    assert path.read_text() == "before"


HOSTILE = [
    f"{before}<{tag}{gap}{attribute}>{after}"
    for tag in ("script", "svg", "img", "iframe", "math", "details", "body", "marquee", "x-y", "a")
    for gap in (" ", "/", "\t", "\n", "\x0c")
    for attribute in ("onload=a()", "src=//h/x", "href=javascript:a()", "style=x:e(1)", "autofocus")
    for before, after in (("", ""), ("Heat", "</td>"))
]


def test_hostile_titles_are_shown_by_a_frame_and_found_without_it():
    assert len(HOSTILE) >= 300
    frame = pd.DataFrame({"title": HOSTILE})
    with pd.option_context("display.max_rows", None, "display.max_colwidth", None):
        assert notebooks.not_allowed(frame.to_html()) == ""
        assert notebooks.not_allowed(frame._repr_html_()) == ""
    missed = [title for title in HOSTILE if not notebooks.not_allowed(f"<td>{title}")]
    assert missed == []


@every
def test_pictures_have_an_alternative_text(path):
    for cell in code_cells(read(path)):
        for output in cell.outputs:
            for mime in notebooks.IMAGE_TYPES:
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
    title, promise = notebooks.title_and_promise(notebook)
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
    assert notebooks.findings(read(path)), "tag a cell that prints the main result with 'finding'"


@main
def test_the_cell_for_colab_stands_before_the_setup(path):
    cells = code_cells(read(path))
    assert cells[0].metadata.tags == ["colab", "hide-input"]
    assert cells[0].source == series.COLAB_CELL
    assert "setup" in cells[1].metadata.tags
    assert f"{series.COLAB}{path.name}" in markdown(read(path))


def test_a_finding_drifts_when_its_words_or_numbers_do_not_its_times():
    stored = ["network 0.1648, loss 5.981", "24 epochs, 26 minutes", "6,040 users [0.173, 0.189]"]
    same = ["network 0.1660, loss 5.99", "24 epochs, 31 minutes", "6,040  users [0.174, 0.190]"]
    assert notebooks.drifted(stored, same) == []
    assert len(notebooks.drifted(stored, ["network 0.1748, loss 5.981", *stored[1:]])) == 1
    assert len(notebooks.drifted(stored, ["counts 0.1648, loss 5.981", *stored[1:]])) == 1
    assert len(notebooks.drifted(stored, [*stored[:2], "6,240 users [0.173, 0.189]"])) == 1
    assert notebooks.drifted(stored, stored[:2]) == ["3 lines stored, 2 found"]


BOOKS = {path: read(path) for path in PATHS}


@main
def test_generated_parts_are_fresh(path):
    for marker, text in series.cell_parts(path, BOOKS).items():
        found = re.findall(rf"<!-- {marker} -->(.*?)<!-- /{marker} -->", markdown(read(path)), re.S)
        assert found, marker
        assert set(found) == {text}, "run make refresh"


@main
def test_navigation_leads_to_the_glossary(path):
    for cell in (read(path).cells[0], read(path).cells[-1]):
        assert "](../docs/glossary.md)" in cell.source


@pytest.mark.parametrize("path", series.DOCUMENTS, ids=lambda path: path.name)
def test_generated_tables_are_fresh(path):
    text = path.read_text(encoding="utf-8")
    assert series.filled(text, BOOKS) == text, "run make refresh"


def test_the_readme_is_short_and_its_headline_is_a_result():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) <= 7 * 1024
    lines = (REPOSITORY / "data/pretrained/results.jsonl").read_text(encoding="utf-8").splitlines()
    wanted = {"key": "wide-12", "group": "B", "split": "leave-one-out", "ties": "random"}
    runs = [run for run in map(json.loads, lines) if wanted.items() <= run.items()]
    assert len(runs) == 5, "seeds, each with its draw of the ties"
    ours = sum(run["test_ndcg10"] for run in runs) / 5
    assert f"test NDCG@10 of **{ours:.4f}** (mean of five runs" in " ".join(text.split())


def test_results_show_each_model_beside_its_rivals_with_intervals():
    """The table of notebook 08."""
    text = (REPOSITORY / "docs/results.md").read_text(encoding="utf-8")
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    for model in ("popularity", "Markov chain", "distance counts (PCTM)", "the network"):
        intervals = re.findall(r"([\d.]+) \[([\d.]+), ([\d.]+)\]", rows[model])
        assert len(intervals) >= 2, model  # HR@10 and NDCG@10
        assert all(float(low) < float(mean) < float(high) < 1 for mean, low, high in intervals)


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
    assert notebooks.result_tables(new.new_notebook(cells=cells)) == ["| a |"]
    cells[1].outputs = [other]
    with pytest.raises(ValueError, match="09 · Title: the cell tagged 'results' displays no"):
        notebooks.result_tables(new.new_notebook(cells=cells))
    cells[1].execution_count = None  # a notebook that was never executed has nothing to show
    assert notebooks.result_tables(new.new_notebook(cells=cells)) == []


LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]


def anchors_of(text: str) -> set[str]:
    """Of its headings: as Jupyter makes them, and as GitHub and the site do."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    dashed = {heading.replace("`", "").replace(" ", "-") for heading in headings}
    return dashed | {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", [*ALL, *PAGES], ids=lambda p: p.stem)
def test_links_resolve(path):
    text = markdown(read(path)) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
    for link in LINK.findall(text):
        if re.match(r"https?://|mailto:", link):
            continue
        target, _, anchor = link.partition("#")
        file = (path.parent / unquote(target)).resolve() if target else path
        assert file.exists(), link
        if anchor and (not target or file.suffix == ".md"):
            there = text if not target else file.read_text(encoding="utf-8")
            assert unquote(anchor) in anchors_of(there), link


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
    notebook = notebooks.read(path.parent / "solutions" / path.name)
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


@every
def test_pages_carry_the_alternative_texts_and_formulas_and_load_nothing(path, tmp_path):
    notebook = read(path)
    series.write_page(notebook, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script" not in page.lower()
    assert not re.findall(r"""(?:src|@import|url\()\s*=?["'\s]*(?:https?:)?//""", page)
    assert notebooks.NO_ALT not in page
    shown = [html.unescape(alt) for alt in re.findall(r'alt="([^"]*)"', page)]
    for _, _, text in notebooks.pictures(notebook):
        assert text in shown
    assert "$$" not in re.sub(r"<pre.*?</pre>", "", page, flags=re.DOTALL)
    assert page.count("<math") == page.count("</math>") >= markdown(notebook).count("$$") // 2


def new_notebook(source: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])


@pytest.fixture
def copy_of_the_module(tmp_path, monkeypatch):
    """A repository of our own with the module and stored results, to be changed."""
    for folder in ("recformer_utils", "data/pretrained", "notebooks/configs"):
        shutil.copytree(REPOSITORY / folder, tmp_path / folder)
    monkeypatch.setattr(freshness, "REPOSITORY", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        ("recformer_utils/evaluation.py", 'kind="stable"', 'kind="heapsort"'),
        ("recformer_utils/transformer.py", "triu", "tril"),
        ("notebooks/configs/pretrained.yaml", "seed: 0", "seed: 1"),
        ("data/pretrained/results.jsonl", '"seed": 0', '"seed": 9'),
    ],
)
def test_a_change_of_what_outputs_are_made_of_makes_them_stale(
    copy_of_the_module, file, before, after
):
    notebook = new_notebook(
        "from recformer_utils.training import load_config\n"
        "load_config('configs/pretrained.yaml'), open('../data/pretrained/results.jsonl')"
    )
    fresh = freshness.code_hash(notebook)
    path = copy_of_the_module / file
    text = path.read_text(encoding="utf-8")
    path.write_text(text + "\n# a comment\n" if file.endswith(".py") else text)
    assert freshness.code_hash(notebook) == fresh, "a comment changes no output"
    assert before in text
    path.write_text(text.replace(before, after))
    assert freshness.code_hash(notebook) != fresh


def test_what_a_notebook_does_not_use_does_not_make_it_stale(copy_of_the_module):
    notebook = new_notebook("from recformer_utils.movielens import load_movielens")
    fresh = freshness.code_hash(notebook)
    (copy_of_the_module / "recformer_utils/baselines.py").write_text("")
    assert freshness.code_hash(notebook) == fresh


def test_the_glossary_names_where_each_term_is_explained():
    text = (REPOSITORY / "docs/glossary.md").read_text(encoding="utf-8")
    entries = re.findall(r"^\*\*(.+?)\*\* \((\d\d)\): .+\.$", text, re.MULTILINE)
    assert len(entries) == text.count("\n**") > 60, "**term** (NN): a sentence."
    pages = {p.name[:2]: "\n".join(c.source for c in read(p).cells) for p in PATHS}
    pages = {number: page.lower().replace("-", " ") for number, page in pages.items()}
    for terms, number in entries:
        names = re.split(r", | \(|\)| at k", terms.lower().replace("-", " "))
        assert any(name and name in pages[number] for name in names), (terms, number)
