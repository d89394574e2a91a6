"""Posts for Jekyll: what a notebook holds arrives on the page, built by Jekyll itself."""

import base64
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup

from tests.conftest import left_out
from tools import post_data
from tools import posts as posts_tool
from tools.notebooks import markdown


@pytest.fixture(scope="session")
def jekyll():
    if shutil.which("jekyll") is None:
        left_out("no Jekyll here (apt install jekyll)")


SPITEFUL = "{{ page.title }} {% raw %} {% endraw %} {{{ x | upcase }}} {: .class} {::nomarkdown}"
BARS = "Either this | or that, and `a | b` too."
DOT = base64.b64encode(
    base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    )
).decode()
FRAME = """<div><table><thead><tr><th></th><th>user_id</th><th>genres</th></tr>
<tr><th>token</th><th></th><th></th></tr></thead><tbody>
<tr><th>0</th><td>1</td><td>Action|Comedy</td></tr>
<tr><th>1</th><td>02460</td><td>{{ liquid }} *x* _y_ &lt;b&gt; `c` $1</td></tr></tbody></table></div>"""


def front_matter(path: Path) -> tuple[dict, str]:
    _, front, body = path.read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def build(folder: Path) -> Path:
    """Runs Jekyll as a blog does; returns the folder of the pages."""
    (folder / "_config.yml").write_text(
        "permalink: /posts/:title/\nfuture: true\n", encoding="utf-8"
    )
    command = ["jekyll", "build", "--quiet", "--strict_front_matter", "-s", folder, "-d"]
    done = subprocess.run([*command, folder / "_site"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "_site"


def pages_of(site: Path) -> dict[str, BeautifulSoup]:
    return {
        path.parent.name: BeautifulSoup(path.read_bytes(), "lxml")
        for path in sorted((site / "posts").glob("*/index.html"))
    }


def shown(page: BeautifulSoup) -> str:
    """The text of a page without its code."""
    copy = BeautifulSoup(str(page), "lxml")
    for tag in copy(["pre", "code"]):
        tag.decompose()
    return copy.get_text()


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("blog")
    posts_tool.write_all(folder)
    return folder


@pytest.fixture(scope="module")
def built(jekyll, written) -> dict[str, BeautifulSoup]:
    return pages_of(build(written))


@pytest.fixture
def spiteful(tmp_path) -> post_data.Post:
    """A notebook that holds everything that Liquid or kramdown could trip over."""
    real = post_data.posts()[0]
    v4 = nbformat.v4
    first = v4.new_markdown_cell(
        "# 01 · Spite\n\nA promise.\n\n<!-- navigation --><!-- /navigation -->"
    )
    table = "| a | b |\n| --- | --- |\n| 1 | `x` |"
    prose = f"{SPITEFUL}\n\n{BARS}\n\n{table}\n\nMath $P(a|b)=\\frac{{{{a}}}}{{b}}$ costs $5 or $6.\n\n$$x|y$$"
    code = f"text = '''{SPITEFUL}\n```\nstill code | here\n'''"
    picture = {"image/png": DOT, "text/plain": "x"}
    outputs = [
        v4.new_output("stream", name="stdout", text=f"{SPITEFUL}\n\x1b[31mred\x1b[0m | bar\n"),
        v4.new_output("display_data", data={"text/html": FRAME, "text/plain": "frame"}),
        v4.new_output(
            "display_data",
            data=picture,
            metadata={"image/png": {"alt": "A [dot] | {{ of }} one pixel, a long text"}},
        ),
    ]
    notebook = v4.new_notebook(
        cells=[first, v4.new_markdown_cell(prose), v4.new_code_cell(code, outputs=outputs)],
        metadata={"blog": {"date": "2026-11-24", "tags": ["A: b", "C"], "thumbnail": "A [dot]"}},
    )
    post = post_data.Post(real.path)
    vars(post)["notebook"] = notebook
    return post


def test_front_matter_has_the_form_of_the_blog(written):
    paths = sorted((written / "_posts").glob("*.md"))
    assert len(paths) == len(post_data.posts())
    for path, post in zip(paths, post_data.posts(), strict=True):
        front, _ = front_matter(path)
        assert list(front) == [
            *("layout", "title", "description", "date", "categories"),
            *("tags", "pin", "math", "author"),
        ]
        assert post.title in front["title"]
        assert front["description"].strip() == post.description
        assert path.name.startswith(f"{front['date']}-{post.path.name[:2]}-")
        assert front["tags"] == post.data["tags"]


def test_pictures_are_files_of_the_notebook(written):
    for post in post_data.posts():
        files = sorted((written / f"assets/recformer/{post.path.name[:2]}").iterdir())
        assert [f.read_bytes() for f in files] == [base64.b64decode(p[1]) for p in post.pictures()]


@pytest.mark.usefixtures("jekyll")
def test_no_liquid_is_left_and_none_was_lost(built):
    assert len(built) == len(post_data.posts())
    for page in built.values():
        text = shown(page)
        assert "{{" not in text
        assert "{%" not in text
        assert "POST-URL" not in str(page)


@pytest.mark.usefixtures("jekyll")
def test_code_arrives_letter_by_letter(built):
    for post, page in zip(post_data.posts(), built.values(), strict=True):
        blocks = [
            tag.get_text().rstrip("\n") for tag in page.select(".language-python pre.highlight")
        ]
        assert [block for block in blocks if block in post.code] == post.code


@pytest.mark.usefixtures("jekyll")
def test_pictures_and_links_lead_somewhere(built, written):
    for name, page in built.items():
        for image in page("img"):
            assert (written / "_site" / image["src"].lstrip("/")).is_file(), (name, image["src"])
            assert len(image["alt"]) > 30
        for link in page("a", href=True):
            if link["href"].startswith("/"):
                assert (written / "_site" / link["href"].strip("/") / "index.html").is_file()
    stored = sum(len(post.pictures()) for post in post_data.posts())
    drawn = sum(markdown(post.notebook).count("](figures/") for post in post_data.posts())
    assert sum(len(page("img")) for page in built.values()) == stored + drawn


@pytest.mark.usefixtures("jekyll")
def test_tables_are_tables(built):
    for post, page in zip(post_data.posts(), built.values(), strict=True):
        stored = sum(
            output.get("data", {}).get("text/html", "").count("<table")
            for cell in post.notebook.cells
            for output in cell.get("outputs", [])
        )
        stored += sum(  # tables that a cell shows as Markdown
            "".join(output.get("data", {}).get("text/markdown", "")).count("\n| --- |")
            for cell in post.notebook.cells
            for output in cell.get("outputs", [])
        )
        written_by_hand = sum(
            cell.source.count("\n| --- |")
            for cell in post.notebook.cells
            if cell.cell_type == "markdown"
        )
        # Rouge may lay out code as a table; those do not count.
        assert (
            len([t for t in page("table") if not t.find_parent("pre")]) == stored + written_by_hand
        )
        assert "| --" not in shown(page)
        for paragraph in page("p"):
            assert not paragraph.get_text().lstrip().startswith("|")
        for table in page("table"):
            assert table.find_parent("pre") or "overflow-x: auto" in table["style"]


@pytest.mark.usefixtures("jekyll")
def test_spiteful_content_arrives_as_it_was_written(spiteful, tmp_path):
    posts_tool.write(spiteful, tmp_path, [])
    site = build(tmp_path)
    (page,) = pages_of(site).values()
    code = spiteful.notebook.cells[-1]
    blocks = [tag.get_text().rstrip("\n") for tag in page.select("pre.highlight")]
    assert blocks == [code.source, f"{SPITEFUL}\nred | bar"]
    paragraphs = [p.get_text() for p in page("p")]
    assert SPITEFUL in paragraphs
    assert "Either this | or that, and a | b too." in paragraphs
    assert len(page("table")) == 2
    frame = page("table")[1]
    assert [th.get_text() for th in frame.select("thead th")] == ["token", "user_id", "genres"]
    rows = [[td.get_text() for td in row("td")] for row in frame.select("tbody tr")]
    assert rows == [
        ["0", "1", "Action|Comedy"],
        ["1", "02460", "{{ liquid }} *x* _y_ <b> `c` $1"],
    ]
    assert page.img["alt"] == "A [dot] | {{ of }} one pixel, a long text"
    assert (site / page.img["src"].lstrip("/")).is_file()
    assert "costs $5 or $6." in page.get_text()
    formula = page.select_one("p math")
    assert formula.get_text() == "P(a|b)=ab"
    assert formula.mfrac
    assert page.select_one("math[display=block]").get_text() == "x|y"
    front, _ = front_matter(next((tmp_path / "_posts").iterdir()))
    assert front["math"] is True
    assert front["tags"] == ["A: b", "C"]
