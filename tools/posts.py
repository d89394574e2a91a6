"""Writes one post a notebook for a Jekyll blog: python -m tools.posts (make posts).

Into build/posts go ``_posts/<date>-<slug>.md`` and ``assets/recformer/NN/`` with the pictures; both
folders are copied into the blog as they are. Nothing is executed: the stored outputs are shown.
"""

import argparse
import base64
import io
import json
import re
import shutil
from pathlib import Path

import pandas as pd
import yaml
from nbconvert import MarkdownExporter
from nbconvert.filters import strip_ansi
from nbconvert.preprocessors import Preprocessor

from tools.notebooks import IMAGE_TYPES, NOTEBOOKS
from tools.post_data import MATH, Post, outside_code, posts, prepared, settings
from tools.series import BUILD

OUTPUT = BUILD / "posts"
FIGURES = NOTEBOOKS / "figures"
NUMBER = r"[-+]?[\d.,]+(e[-+]?\d+)?%?|NaN|nan|-?inf|"
UNNAMED = re.compile(r"Unnamed: |\d+$")
TEMPLATE = """
{%- extends 'markdown/index.md.j2' -%}
{% block input %}{{ cell.source | fenced("python") }}{% endblock %}
{% block stream %}{{ output.text | fenced("text") }}{% endblock %}
{% block data_text %}{{ output.data["text/plain"] | fenced("text") }}{% endblock %}
{% block data_markdown %}
{{ output.data["text/markdown"] }}
{% endblock %}
"""
# Wide tables scroll by themselves, whatever the theme of the blog does with them.
SCROLLS = '{: style="display: block; overflow-x: auto"}'
FRONT_MATTER = """---
layout: post
title: {title}
description: >-
  {description}
date: {date}
categories: {categories}
tags: {tags}
pin: {pin}
math: {math}
author: {author}
---
"""


def fenced(text: str, language: str) -> str:
    """A fenced block, its fence longer than any in the text."""
    text = strip_ansi(text).rstrip("\n")
    fence = max(["``", *re.findall(r"`{3,}", text)], key=len) + "`"
    return f"\n{fence}{language}\n{text}\n{fence}\n"


def escaped(text: str) -> str:
    """Plain text that kramdown shows as it is, within one cell of a table."""
    return re.sub(r"([\\`*{}\[\]<>|#$]|\b_|_\b)", r"\\\1", " ".join(text.split()))


def markdown_tables(page: str) -> str:
    """The tables of an output, such as DataFrames, in Markdown; "" where there are none."""
    tables = []
    for source in re.findall(r"<table.*?</table>", page, re.DOTALL):
        (table,) = pd.read_html(io.StringIO(source))
        as_text = dict.fromkeys(range(table.shape[1]), str)  # 0.10 stays 0.10
        (table,) = pd.read_html(io.StringIO(source), converters=as_text, keep_default_na=False)
        align = ["right" if table[c].str.fullmatch(NUMBER).all() else "left" for c in table]
        # pandas names the columns without a title, and splits the index's names from the others'.
        titles = [[column] if isinstance(column, str | int) else column for column in table.columns]
        names = [[str(part) for part in parts if not UNNAMED.match(str(part))] for parts in titles]
        table.columns = [escaped(" ".join(parts)) for parts in names]
        table = table.map(escaped)
        tables.append(table.to_markdown(index=False, disable_numparse=True, colalign=align))
    return "\n\n".join(tables)


def safe_prose(source: str) -> str:
    """Markdown of a cell in which kramdown finds nothing that Jupyter would not have shown."""

    # One of the site's packages, which `python -m tools.posts --help` does without.
    from latex2mathml.converter import convert as latex_to_mathml

    def math(match: re.Match) -> str:
        # MathML, which needs no script of the blog's theme; kramdown leaves HTML alone.
        display = "block" if match["block"] else "inline"
        return latex_to_mathml((match["block"] or match["inline"]).strip(), display=display)

    source = outside_code(MATH, math, source)
    source = outside_code(r"\{(?=:)", r"\{", source)
    # A bar makes a table of a paragraph, except in the lines that are meant as one.
    return outside_code(
        r"(?m)^(?!\s*\|).*$", lambda line: re.sub(r"(?<!\\)\|", r"\|", line[0]), source
    )


def scrolling(text: str) -> str:
    """Markdown whose tables scroll by themselves where they are wider than the page."""
    block = r"^(?P<fence>```+).*?^(?P=fence)[^\n]*$|(?P<table>(?:^\|[^\n]*\n)+)"
    return re.sub(
        block,
        lambda match: match[0] + (f"{SCROLLS}\n" if match["table"] else ""),
        text + "\n",
        flags=re.MULTILINE | re.DOTALL,
    )


def safe_from_liquid(text: str) -> str:
    """Text in which Liquid finds no tag, and which it turns back into what it was."""
    return re.sub(r"\{[{%]", lambda match: f'{{{{ "{match[0]}" }}}}', text)


class ForJekyll(Preprocessor):
    """Pictures become files, tables become Markdown, prose becomes safe for kramdown."""

    def preprocess_cell(self, cell, resources, index):
        if cell.cell_type == "markdown":
            cell.source = safe_prose(cell.source)
        for number, output in enumerate(cell.get("outputs", [])):
            data = output.get("data", {})
            for mime in IMAGE_TYPES:
                if mime in data:
                    alt = escaped(output.metadata[mime]["alt"])
                    name = f"{index:03d}-{number}.{mime.removeprefix('image/')}"
                    resources["outputs"][name] = base64.b64decode(data[mime])
                    picture = f"![{alt}](/{resources['assets']}/{name})"
                    output.data = {"text/markdown": picture}
            if table := markdown_tables(data.get("text/html", "")):
                output.data = {"text/markdown": table}
            else:
                data.pop("text/html", None)
        return cell, resources


def link_to(post: Post) -> str:
    """The name of a post's file without its ending, which post_url asks for."""
    return f"{post.data['date']}-{post.slug}"


def write(post: Post, folder: Path, neighbors: list[Post]) -> Path:
    """Writes the post and its pictures below ``folder``; returns the Markdown file."""
    # Liquid tags that are meant: put in after everything else has been made safe from Liquid.
    mark = "POST-URL-{}-LRU-TSOP"
    about = settings()
    blob = f"https://github.com/{about['repository']}/blob/{about['branch']}/"
    notebook = prepared(
        post,
        lambda other: mark.format(link_to(other)),
        lambda path: blob + path,
        lambda name: f"/assets/recformer/{name}",
    )
    exporter = MarkdownExporter(
        raw_template=TEMPLATE, filters={"fenced": fenced}, default_preprocessors=[]
    )
    exporter.register_preprocessor(ForJekyll, enabled=True)
    assets = f"assets/recformer/{post.number:02d}"
    resources = {"outputs": {}, "assets": assets}
    body, resources = exporter.from_notebook_node(notebook, resources)
    code = f"[notebook {post.number:02d}]({blob}notebooks/{post.path.name})"
    links = [f"[{other.title}]({mark.format(link_to(other))})" for other in neighbors]
    body += f"\n---\n\nThis post is {code} of *{about['series']}*."
    body += f" Go on with {' or '.join(links)}." if links else ""
    body = scrolling(body)
    body = safe_from_liquid(outside_code(r"\n{3,}", "\n\n", body))
    body = re.sub(mark.format("(.+?)"), r"{% post_url \1 %}", body)
    data = post.data
    front = FRONT_MATTER.format(
        title=json.dumps(f"{about['series']}, {post.title}", ensure_ascii=False),
        description=post.description,
        date=data["date"],
        categories=_flow(data["categories"]),
        tags=_flow(data["tags"]),
        pin=json.dumps(data["pin"]),
        math=json.dumps(post.has_math),
        author=data["author"],
    )
    path = folder / "_posts" / f"{link_to(post)}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(front + "\n" + body.strip() + "\n", encoding="utf-8")
    (folder / assets).mkdir(parents=True, exist_ok=True)
    for name, picture in resources["outputs"].items():
        (folder / assets / name).write_bytes(picture)
    return path


def write_all(folder: Path) -> list[Path]:
    """Writes the posts of all notebooks, each with links to the next and the previous one."""
    series = posts()
    if FIGURES.exists():
        shutil.copytree(FIGURES, folder / "assets/recformer/figures", dirs_exist_ok=True)
    return [
        write(post, folder, [*series[i + 1 : i + 2], *series[max(i - 1, 0) : i]])
        for i, post in enumerate(series)
    ]


def _flow(values: list[str]) -> str:
    return yaml.safe_dump(values, default_flow_style=True, allow_unicode=True, width=1000).strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--to", type=Path, default=OUTPUT, help="a folder; what is in it is replaced"
    )
    folder = parser.parse_args().to
    if folder == OUTPUT:
        shutil.rmtree(folder, ignore_errors=True)
    for path in write_all(folder):
        print(f"{path} ({path.stat().st_size / 1024:.0f} KiB)")


if __name__ == "__main__":
    main()
