"""A notebook as a post: what its metadata and first cells say, and its cells made ready to be shown.

The hand-written part is the key "blog" of a notebook's metadata, which publishing keeps:

    date        the day of the first publication, YYYY-MM-DD
    tags        a list of words
    thumbnail   how the alternative text of the picture for lists and social cards begins

Title and description are the notebook's title and promise. "categories", "author" and "pin" may be
given too; otherwise they are those of site/settings.yml.

    python -m tools.post_data 08 --date 2026-11-24 --tags "Evaluation, RecSys" --thumbnail "Two curves"
"""

import argparse
import base64
import copy
import datetime
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import nbformat
import yaml

from tools.common import REPOSITORY
from tools.notebooks import (
    duration,
    findings,
    pictures,
    read,
    series,
    title_and_promise,
    write_notebook,
)
from tools.series import fill

SETTINGS = REPOSITORY / "site/settings.yml"
KEYS = {"date": str, "tags": list, "thumbnail": str, "categories": list, "author": str, "pin": bool}
REQUIRED = ("date", "tags", "thumbnail")
# Formulas as Jupyter finds them: $$…$$, or $…$ without blanks at its edges (so not $5 or $6).
MATH = r"(?<![\\$])(?:\$\$(?P<block>[^$]+)\$\$|\$(?!\s)(?P<inline>[^$\n]+?)(?<!\s)\$(?![\d$]))"
WORDS_A_MINUTE = 220  # reading speed; a name or number in code counts as a word


class PostDataError(ValueError):
    """The blog metadata of a notebook is missing or wrong."""


def settings() -> dict:
    """What site/settings.yml says."""
    return yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Post:
    """A notebook of the series with its metadata checked."""

    path: Path

    @cached_property
    def notebook(self) -> nbformat.NotebookNode:
        return read(self.path)

    @cached_property
    def data(self) -> dict:
        """The blog metadata, completed with the settings' defaults; raises PostDataError."""
        data = {key: settings()[key] for key in ("categories", "author")} | {"pin": False}
        return data | check(self.notebook.metadata.get("blog", {}), self.path.name)

    @property
    def number(self) -> int:
        return int(self.path.name[:2])

    @property
    def slug(self) -> str:
        """The post's name in addresses: 05-overfit-one-batch."""
        return self.path.stem.replace("_", "-")

    @property
    def title(self) -> str:
        return title_and_promise(self.notebook)[0]

    @property
    def description(self) -> str:
        return title_and_promise(self.notebook)[1]

    @property
    def findings(self) -> list[str]:
        return [" ".join(line.split()) for line in findings(self.notebook)]

    @property
    def duration(self) -> str:
        """How long the published run took."""
        published = self.notebook.metadata.get("recformer")
        return duration(published["wall_seconds"]) if published else "not measured yet"

    @property
    def minutes(self) -> int:
        """Reading time in minutes."""
        words = sum(len(re.findall(r"\w+", cell.source)) for cell in self.notebook.cells)
        return max(1, round(words / WORDS_A_MINUTE))

    @property
    def has_math(self) -> bool:
        return any(
            re.search(MATH, without_code(cell.source))
            for cell in self.notebook.cells
            if cell.cell_type == "markdown"
        )

    @property
    def code(self) -> list[str]:
        """What the code cells of the post show, in order; the cell for Colab is not one of them."""
        cells = [cell for cell in self.notebook.cells if cell.cell_type == "code" and cell.source]
        return [shown_code(c.source) for c in cells if "colab" not in c.metadata.get("tags", [])]

    def pictures(self) -> list[tuple[str, str, str]]:
        """Each stored picture in order: (media type, base64, alternative text)."""
        return pictures(self.notebook)

    @cached_property
    def thumbnail(self) -> tuple[bytes, str]:
        """The file of the chosen picture and its alternative text; raises PostDataError."""
        begin = self.data["thumbnail"]
        for _, data, alt in self.pictures():
            if alt.startswith(begin):
                return base64.b64decode(data), alt
        known = "\n  ".join(alt[:60] for _, _, alt in self.pictures())
        raise PostDataError(
            f'{self.path.name}: metadata["blog"]["thumbnail"] is {begin!r}, but no stored picture '
            f"has an alternative text that begins like this. There are:\n  {known}"
        )


def check(data: dict, name: str) -> dict:
    """The blog metadata of the notebook called ``name``, if it is complete and well typed.

    Raises:
        PostDataError: names the notebook, the key, what was found and the command that sets it.
    """
    where = f'{name}: metadata["blog"]'
    remedy = f"set it with: python -m tools.post_data {name[:2]} --date … --tags … --thumbnail …"
    for key in REQUIRED:
        if not data.get(key):
            raise PostDataError(f'{where}["{key}"] is missing; {remedy}')
    for key, value in data.items():
        if key not in KEYS:
            raise PostDataError(f'{where}["{key}"] is not known; expected {", ".join(KEYS)}')
        if not isinstance(value, KEYS[key]):
            found = type(value).__name__
            raise PostDataError(f'{where}["{key}"] is a {found}, not a {KEYS[key].__name__}')
    try:
        datetime.date.fromisoformat(data["date"])
    except ValueError:
        raise PostDataError(f'{where}["date"] is {data["date"]!r}, not YYYY-MM-DD') from None
    return dict(data)


def posts() -> list[Post]:
    """All notebooks of the series in reading order."""
    return [Post(path) for path in series()]


TERM = re.compile(r"^\*\*(.+?)\*\* \(\d\d\)", re.MULTILINE)  # how the glossary begins an entry


def term_anchor(terms: str) -> str:
    """The anchor of an entry of the glossary: of "rating, interaction", term-rating."""
    return "term-" + re.sub(r"\W+", "-", terms.split(",")[0].lower()).strip("-")


def glossary() -> dict[str, str]:
    """Each term of docs/glossary.md, in small letters, with the anchor of its entry."""
    text = (REPOSITORY / "docs/glossary.md").read_text(encoding="utf-8")
    entries = re.findall(TERM, text)
    return {term.lower(): term_anchor(entry) for entry in entries for term in entry.split(", ")}


def without_code(source: str) -> str:
    """Markdown without its fenced blocks and code spans."""
    source = re.sub(r"^(```+|~~~+).*?^\1", "", source, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"(`+).+?\1", "", source, flags=re.DOTALL)


def outside_code(pattern: str, replacement, source: str) -> str:
    """``re.sub`` on Markdown that leaves fenced blocks and code spans alone."""
    code = r"^(?P<fence>```+|~~~+).*?^(?P=fence)[^\n]*$|(?P<tick>`+)(?!`).+?(?<!`)(?P=tick)(?!`)"
    parts, end = [], 0
    for match in re.finditer(code, source, flags=re.MULTILINE | re.DOTALL):
        parts += [re.sub(pattern, replacement, source[end : match.start()]), match[0]]
        end = match.end()
    return "".join([*parts, re.sub(pattern, replacement, source[end:])])


def shown_code(source: str) -> str:
    """A code cell without the line that only tells the tests to compare its output."""
    return re.sub(r"^# NBVAL_CHECK_OUTPUT\n", "", source)


def prepared(post: Post, notebook_link, file_link, picture_link=str) -> nbformat.NotebookNode:
    """A copy of the notebook for the web: no title, navigation and contents, links that lead on.

    Args:
        post: the notebook; it is not changed.
        notebook_link: turns another ``Post`` of the series into an address.
        file_link: turns a path inside the repository into an address.
        picture_link: turns the name of a drawing, figures/NAME.png, into an address.
    """
    notebook = copy.deepcopy(post.notebook)
    by_name = {other.path.name: other for other in posts()}

    def link(match: re.Match) -> str:
        if re.match(r"[a-z]+:", match[1]):
            return match[0]
        target, hash_, anchor = match[1].partition("#")
        # Jupyter's anchors keep capitals and dots; MyST and kramdown make them as GitHub does.
        anchor = re.sub(r"[^\w\- ]", "", unquote(anchor).lower())
        if not target:
            return f"](#{anchor})"
        if target.startswith("figures/"):
            return f"]({picture_link(target)})"
        if target in by_name:
            return f"]({notebook_link(by_name[target])}{hash_}{anchor})"
        path = (post.path.parent / target).resolve().relative_to(REPOSITORY)
        return f"]({file_link(path.as_posix())}{hash_}{anchor})"

    cells = []
    for cell in notebook.cells:
        if "colab" in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            for marker in ("navigation", "contents"):
                cell.source = fill(cell.source, marker, "")
            if cell.source.startswith("## Contents"):
                continue
            cell.source = re.sub(r"<!--.*?-->", "", cell.source, flags=re.DOTALL).strip()
            cell.source = outside_code(r"\]\(([^)\s]+)\)", link, cell.source)
        else:
            cell.source = shown_code(cell.source)
        if cell.source:
            cells.append(cell)
    first = cells[0].source.split("\n", 1)
    cells[0].source = first[1].strip()
    notebook.cells = cells
    return notebook


def main() -> int:
    parser = argparse.ArgumentParser(description="Sets the blog metadata of one notebook.")
    parser.add_argument("number", help="which notebook, such as 08")
    parser.add_argument("--date", help="day of first publication, YYYY-MM-DD")
    parser.add_argument("--tags", help="words, separated by commas")
    parser.add_argument("--thumbnail", help="how the alternative text of the picture begins")
    args = parser.parse_args()
    found = [post for post in posts() if post.path.name.startswith(args.number)]
    if len(found) != 1:
        parser.error(f"no notebook {args.number}")
    post = found[0]
    data = dict(post.notebook.metadata.get("blog", {}))
    if args.tags:
        data["tags"] = [tag.strip() for tag in args.tags.split(",")]
    data |= {key: value for key in ("date", "thumbnail") if (value := getattr(args, key))}
    post.notebook.metadata["blog"] = data
    try:
        check(data, post.path.name)
        _ = post.thumbnail
    except PostDataError as error:
        print(error)
        return 1
    write_notebook(post.notebook, post.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
