"""Builds the site: python -m tools.site (make site).

Notebooks are copied to site/_build/source with the parts that a page does not need left out, Sphinx
turns them into site/_build/html with warnings as errors, and tools/site_check.py looks at every page.
"""

import argparse
import base64
import json
import re
import shutil
import sys
import time
import zipfile
from pathlib import Path

import nbformat

from recformer_utils.movielens import load_movielens
from recformer_utils.runs.files import InUseError, NotWrittenError, exclusive
from tools import demo, explain, post_data, vector
from tools import figures as schematics
from tools.common import REPOSITORY
from tools.site_cards import rows_of_posters, social_card
from tools.site_check import check

SITE = REPOSITORY / "site"
BUILD = SITE / "_build"
NEW, OLD = BUILD / "new", BUILD / "old"  # NEW becomes HTML when it is whole, HTML becomes OLD
SOURCE = BUILD / "source"
STATIC = BUILD / "static"
HTML = BUILD / "html"
DEMO = BUILD / "demo"
DOCS = [
    f"docs/{name}.md" for name in ("results", "speed", "reliability", "troubleshooting", "glossary")
]
FIGURES = REPOSITORY / "notebooks/figures"


def write(path: Path, content: str | bytes) -> None:
    """Writes a file of the build folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def page(post: post_data.Post, settings: dict) -> nbformat.NotebookNode:
    """The notebook that Sphinx reads; its metadata becomes the front matter."""
    blob = f"https://github.com/{settings['repository']}/blob/{settings['branch']}/"
    notebook = post_data.prepared(
        post,
        lambda other: f"{other.slug}.ipynb",
        lambda path: f"../{path}" if path in DOCS else blob + path,
    )
    notebook.cells[0].source = f"# {post.title}\n\n{{.lead}}\n{notebook.cells[0].source}"
    for cell in notebook.cells:
        if cell.source.startswith("> **You will build**"):
            cell.source = "{.goal}\n" + cell.source
        if {"setup", "check"} & set(cell.metadata.get("tags", [])):
            cell.metadata["tags"] = [*cell.metadata["tags"], "hide-input"]
    data = post.data
    notebook.metadata = {
        "kernelspec": notebook.metadata["kernelspec"],
        "language_info": notebook.metadata["language_info"],
        "blogpost": "true",
        "title": post.title,
        "description": post.description,
        # One date for several posts: the minute keeps them in the order of the series.
        "date": f"{data['date']} 00:{post.number:02d}",
        "tags": ", ".join(data["tags"]),
        "category": ", ".join(data["categories"]),
        "author": data["author"],
    }
    return notebook


def document(path: str, settings: dict) -> str:
    """A page of docs/ as Sphinx reads it; links that leave docs/ lead to the repository."""
    blob = f"https://github.com/{settings['repository']}/blob/{settings['branch']}/"
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    text = re.sub(r"<!-- /?\w+ -->\n?", "", text)
    if path.endswith("glossary.md"):  # each entry can be linked to
        text = post_data.TERM.sub(lambda m: f"{{#{post_data.term_anchor(m[1])}}}\n{m[0]}", text)
    return "---\norphan: true\n---\n\n" + re.sub(r"\]\(\.\./", f"]({blob}", text)


def stage() -> None:
    """Puts everything that Sphinx reads into the build folder."""
    settings = post_data.settings()
    posts = post_data.posts()
    shutil.rmtree(SOURCE, ignore_errors=True)
    shutil.rmtree(STATIC, ignore_errors=True)
    figures = STATIC / "figures"
    shutil.copytree(vector.FOLDER, figures)
    for name, svg in schematics.drawings().items():
        write(figures / name, svg)
    for post in posts:
        for _, data, _ in post.pictures():
            if not vector.find(data):
                rows = rows_of_posters(base64.b64decode(data))
                write(figures / f"{vector.name_of(data)}-rows.svg", rows)
        picture, _ = post.thumbnail
        drawing = next(iter(vector.find(base64.b64encode(picture).decode(), figures).values()))
        # As small as that its words could not be read.
        small = drawing.read_text(encoding="utf-8").replace("<style>", "<style>text{opacity:0}", 1)
        write(STATIC / f"thumbnails/{post.slug}.svg", small)
        card = social_card(post.title, post.description, settings["title"], picture)
        write(STATIC / f"cards/{post.slug}.png", card)
        write(SOURCE / f"posts/{post.slug}.ipynb", nbformat.writes(page(post, settings)))
    for path in DOCS:
        write(SOURCE / path, document(path, settings))
    if FIGURES.exists():
        shutil.copytree(FIGURES, SOURCE / "posts/figures")
    row = json.loads((SITE / "static/posters/row.json").read_text(encoding="utf-8"))
    explain.write(STATIC / "explain")
    card = social_card(settings["series"], settings["tagline"], settings["title"], None)
    write(STATIC / "cards/index.png", card)
    toctree = "\n".join(f"posts/{post.slug}" for post in posts)
    index = (SITE / "index.md").read_text(encoding="utf-8").replace("{posts}", toctree)
    write(SOURCE / "index.md", index)
    built = {
        "static": [str(STATIC)],
        "row": row,
    }
    write(BUILD / "built.json", json.dumps(built))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--links", action="store_true", help="ask every address that is linked")
    arguments = parser.parse_args()
    try:
        with exclusive(BUILD, "a build of the site"):
            return check_links() if arguments.links else build()
    except (InUseError, NotWrittenError, post_data.PostDataError) as error:
        print(error)
        return 1


def sphinx(builder: str, target: Path, *options: str) -> int:
    """Sphinx on what was staged, within this process: one of its own would outlive a kill."""
    from sphinx.cmd.build import main

    folders = ["-c", str(SITE), "-d", str(BUILD / "doctrees"), str(SOURCE), str(target)]
    return main(["-q", "-b", builder, *options, *folders])


def check_links() -> int:
    """Asks every address that the series links to; 1 when one does not answer."""
    stage()
    return sphinx("linkcheck", BUILD / "links", "-E")


def settle(book: Path, folder: Path) -> None:
    """Copies the book with the times in it taken out: the same pages make the same file."""
    last = f"{max(post.data['date'] for post in post_data.posts())}T00:00:00Z".encode()
    with zipfile.ZipFile(book) as made, zipfile.ZipFile(folder / book.name, "w") as settled:
        for info in made.infolist():
            content = made.read(info)
            if info.filename == "content.opf":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", last, content)
            info.date_time = (1980, 1, 1, 0, 0, 0)
            settled.writestr(info, content)


def build() -> int:
    """Builds beside what is there, which gives way to what is new only when that is whole."""
    started = time.perf_counter()
    stage()
    # The recommender, on invented films: the licence of MovieLens forbids its own on a public page.
    print(f"The recommender: {demo.build(DEMO, load_movielens('sample'))['data_set']['title']}")
    # From nothing: every page lists the others, so a page left over from before may be wrong.
    shutil.rmtree(NEW, ignore_errors=True)
    if code := sphinx("html", NEW, "-E", "-W", "--keep-going"):
        return code
    # A third of the theme's style names icons that no page shows (site.css draws those it does).
    style = NEW / "_static/styles/pydata-sphinx-theme.css"
    icons = r"(?<=\})(\.fa-[\w-]+(:{1,2}before)?,?)+\{--fa:[^}]*\}"
    style.write_text(re.sub(icons, "", style.read_text(encoding="utf-8")), encoding="utf-8")
    book = BUILD / "book"
    shutil.rmtree(book, ignore_errors=True)  # pictures of before would come along
    if code := sphinx("epub", book, "-W", "--keep-going", "-D", "html_static_path=static"):
        return code
    settle(next(book.glob("*.epub")), NEW)
    shutil.copytree(DEMO, NEW / "demo", ignore=shutil.ignore_patterns("app.html"))
    shutil.rmtree(OLD, ignore_errors=True)
    if HTML.exists():
        HTML.rename(OLD)
    NEW.rename(HTML)
    shutil.rmtree(OLD, ignore_errors=True)
    problems = check(HTML, post_data.settings()["url"])
    print("\n".join(problems))
    pages = len(list(HTML.rglob("*.html")))
    print(
        f"{pages} pages in {time.perf_counter() - started:.0f} s, {len(problems)} problems: "
        f"open site/_build/html/index.html"
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
