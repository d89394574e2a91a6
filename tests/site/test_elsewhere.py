"""Everywhere else that the series is read: JupyterLab, a code host, nbviewer, an editor, a feed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from html import escape
from pathlib import Path
from urllib.parse import unquote

import bleach  # with markdown_it, nbconvert and myst-nb bring it
import pytest
from bs4 import BeautifulSoup
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from nbconvert import HTMLExporter

from tests.conftest import copy_checkout
from tests.site.test_browser import POSTS, SCREENSHOTS
from tools import notebooks, series

PATHS = notebooks.series()
ALL = PATHS + [path.parent / "solutions" / path.name for path in PATHS]
# What GitHub lets through of a page's HTML: no script, style or class. An editor's preview allows more.
KEPT = re.findall(
    r"\w+",
    "a b blockquote br code del details dd div dl dt em h1 h2 h3 h4 h5 h6 hr i img ins kbd li ol p pre q "
    "s samp strike strong sub summary sup table tbody td tfoot th thead tr tt ul var",
)
ATTRIBUTES = {
    "a": ["href"], "img": ["src", "alt", "width", "height"], "ol": ["start"],
    "td": ["align", "colspan", "rowspan"], "th": ["align", "colspan", "rowspan", "scope"],
}  # fmt: skip
RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
RENDERER.use(
    dollarmath_plugin, allow_space=False, allow_digits=False, renderer=lambda text, _: text
)


@pytest.fixture
def lab(tmp_path):
    """`make lab` in a fresh copy: the copy, and the address that it opens in the reader's browser."""
    copy, home = tmp_path / "copy", tmp_path / "home"
    copy_checkout(copy)
    (home / ".jupyter").mkdir(parents=True)
    (home / ".jupyter/jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
    browser = home / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {home}/asked\nmv {home}/asked {home}/opened\n')
    browser.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if "JUPYTER" not in name}
    environment |= {"HOME": str(home), "BROWSER": f"{browser} %s"}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            ["make", "-o", "setup", "lab", f"BIN={Path(sys.executable).parent}"],
            cwd=copy, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (home / "opened").exists():
            assert server.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        page = Path((home / "opened").read_text().strip().removeprefix("file://")).read_text()
        yield copy, re.search(r'url=([^"]+)"', page)[1].replace("&amp;", "&")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_lab_opens_the_first_notebook_and_leaves_it_as_it_is(chromium, lab):
    copy, address = lab
    before = {path: path.read_bytes() for path in (copy / "notebooks").glob("*.ipynb")}
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.goto(address)
        tabs = page.locator("#jp-main-dock-panel .lm-TabBar-tab")
        page.get_by_role("heading", name="01 · Exploration").first.wait_for(timeout=60_000)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
        page.wait_for_timeout(5000)
        assert [tab.inner_text() for tab in tabs.all()] == ["01_exploration.ipynb"]
        assert page.locator(".jp-mod-dirty").count() == 0, "opened, and marked as changed"
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "lab-01.png")
        links = page.locator(".jp-RenderedMarkdown a")
        links.filter(has_text="Contents").first.click()
        page.locator(".jp-MarkdownViewer h1").first.wait_for()
        assert "README.md" in tabs.last.inner_text()
        page.screenshot(path=SCREENSHOTS / "lab-contents.png")
        tabs.first.click()
        links.filter(has_text="02 · ").first.click()
        page.get_by_role("heading", name="02 · ").first.wait_for()
        assert {path: path.read_bytes() for path in before} == before
        tabs.first.click()
        with page.expect_response(lambda response: response.request.method == "PUT"):
            page.keyboard.press("Control+s")
    for path, content in before.items():  # but for how a browser writes 12.0
        assert json.loads(path.read_bytes()) == json.loads(content)


def raw_tables(page: BeautifulSoup) -> list[str]:
    """Markdown's tables that a reader would see as bars and dashes."""
    texts = page.find_all(string=re.compile(r"\|[ :]*-{3,}"))
    return [text for text in texts if not text.find_parent(["pre", "code", "style", "script"])]


def sanitized(html: str) -> str:
    return bleach.clean(html, tags=KEPT, attributes=ATTRIBUTES, strip=True)


def rendered(markdown: str) -> str:
    """Markdown as a code host renders it, before it takes out what it does not trust."""
    html = RENDERER.render(markdown)
    html = re.sub(r'<(t[hd]) style="text-align:(\w+)">', r'<\1 align="\2">', html)
    return re.sub(r'<code class="language-\w+">', "<code>", html)


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_nothing_that_is_read_is_lost_on_a_code_host(path):
    for cell in notebooks.read(path).cells:
        if cell.cell_type == "markdown":
            page = BeautifulSoup(f"<body>{rendered(cell.source)}", "lxml").body
            math = [one.extract().get_text() for one in page.select(".math")]
            lost = {tag.name for tag in page.find_all(True)} - set(KEPT)
            lost |= {
                f"{tag.name} {name}"
                for tag in page.find_all(True)
                for name in set(tag.attrs) - set(ATTRIBUTES.get(tag.name, []))
            }
            assert lost == set(), cell.source
            assert raw_tables(page) == []
            assert all(formula.strip() for formula in math)
            for image in page("img"):
                assert image["alt"]
                assert (path.parent / image["src"]).is_file()
            for link in page("a"):
                target, _, anchor = link["href"].partition("#")
                assert anchor or target
                if target and not target.startswith("https://"):
                    assert (path.parent / target).is_file(), target
            for code in page("code"):
                code.decompose()
            text = page.get_text()
            assert not re.search(r"\\[a-z]{2,}|\$\$|\*\*|\]\(", text), text
        for output in cell.get("outputs", []):
            for mime, shown in (("text/html", "{}"), ("text/markdown", None)):
                if source := output.get("data", {}).get(mime):
                    page = BeautifulSoup(
                        shown.format(source) if shown else rendered(source), "lxml"
                    )
                    for style in page("style"):
                        style.decompose()
                    left = BeautifulSoup(sanitized(str(page)), "lxml")
                    assert len(left("table")) == len(page("table")) == 1
                    assert [cell.get_text() for cell in left(["th", "td"])] == [
                        cell.get_text() for cell in page(["th", "td"])
                    ]
                    assert raw_tables(left) == []


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_nbviewer_shows_what_is_stored(path):
    """Its template is nbconvert's basic one."""
    notebook = notebooks.read(path)
    html, _ = HTMLExporter(template_name="basic").from_notebook_node(notebook)
    page = BeautifulSoup(html, "lxml")
    assert raw_tables(page) == []
    pictures = sum(
        "image/png" in o.get("data", {}) for c in notebook.cells for o in c.get("outputs", [])
    )
    assert len([one for one in page("img") if one["src"].startswith("data:")]) == pictures
    anchors = {tag["id"] for tag in page.find_all(id=True)}
    links = [link["href"][1:] for link in page("a", href=re.compile("^#")) if "¶" not in link.text]
    assert links
    assert [link for link in links if unquote(link) not in anchors] == []


def test_screenshots_of_a_code_host_and_nbviewer(chromium):
    path = PATHS[0]
    notebook = notebooks.read(path)
    cells = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cells.append(sanitized(rendered(cell.source)))
        else:
            cells.append(f"<pre>{escape(cell.source)}</pre>")
            for output in cell.outputs:
                data = output.get("data", {"text/plain": output.get("text", "")})
                if "image/png" in data:
                    cells.append(f'<img src="data:image/png;base64,{data["image/png"]}" alt="">')
                else:
                    html = re.sub(
                        r"<style.*?</style>", "", data.get("text/html", ""), flags=re.DOTALL
                    )
                    html = (
                        html or rendered(data["text/markdown"]) if "text/markdown" in data else html
                    )
                    cells.append(sanitized(html) or f"<pre>{escape(data['text/plain'])}</pre>")
    shown = {
        "code-host": "".join(cells),
        "nbviewer": HTMLExporter(template_name="basic").from_notebook_node(notebook)[0],
    }
    style = "body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto}img{max-width:100%}pre{overflow:auto}"
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    for place, html in shown.items():
        with chromium.new_context(java_script_enabled=False, offline=True) as context:
            page = context.new_page()
            base = f'<base href="{path.parent.as_uri()}/"><style>{style}</style>'
            page.set_content(base + html)
            assert page.locator("h2").count() > 5
            page.screenshot(path=SCREENSHOTS / f"{place}-{path.stem}.png", full_page=True)


LOOKS = """(selector) => {
    const style = (one, ...names) => names.map((name) => getComputedStyle(one)[name]);
    const first = (name) => document.querySelector(`${selector} ${name}`);
    const tokens = ["c1", "k", "kn", "mi", "mf", "s2", "nb", "nf", "o"];
    return {
        page: style(document.body, "backgroundColor", "color", "fontFamily", "lineHeight"),
        title: style(first("h1"), "color", "fontSize", "fontWeight"),
        section: style(first("h2"), "color", "fontSize", "fontWeight"),
        text: style(first("p:not([class])"), "fontSize", "fontFamily"),
        link: style(first('a[href^="https"]'), "color"),
        code: style(first(".highlight pre"), "fontSize", "lineHeight", "fontFamily", "borderRadius"),
        cell: style(first("td"), "fontSize", "color", "padding", "borderBottom", "textAlign"),
        tokens: tokens.map((name) => [name, ...style(first(`.highlight .${name}`), "color")]),
    };
}"""


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_pages_of_make_run_look_like_the_posts(open_page, tmp_path, mode):
    path = PATHS[0]
    series.write_page(notebooks.read(path), tmp_path / "page.html")
    site = open_page(f"posts/{POSTS[0].slug}.html", 1280, mode)
    wanted = site.evaluate(LOOKS, "article")
    page = open_page("about:blank", 1280, mode)
    page.set_content((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert page.evaluate(LOOKS, "main") == wanted
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.screenshot(path=SCREENSHOTS / f"run-{path.stem}-{width}-{mode}.png")
    page.locator(".output_png").first.scroll_into_view_if_needed()
    page.screenshot(path=SCREENSHOTS / f"run-{path.stem}-1440-{mode}-figure.png")
