"""Looks at every built page: links, anchors, pictures, weight, and that nothing comes from outside."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

HEAVIEST = 1_500_000  # bytes of a page with its own pictures, without what all pages share
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src"}
LOADED_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "prefetch", "preconnect"}


RAW_TABLE = re.compile(r"^ *\||\| *:?-{3,}", re.MULTILINE)


def raw_tables(soup: BeautifulSoup) -> list[str]:
    """Markdown's tables, outside of code, that a reader would see as bars and dashes: their begin."""
    return [
        text[RAW_TABLE.search(text).start() :].split("\n")[0]
        for text in soup.find_all(string=RAW_TABLE)
        if not text.find_parent(["pre", "code", "script", "style"])
    ]


def check(root: Path, url: str) -> list[str]:
    """What is wrong with the pages below ``root``, one line a problem; ``url`` is their address."""
    files = [path for path in sorted(root.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: BeautifulSoup(path.read_bytes(), "lxml") for path in files}
    anchors = {
        path: {tag.get("id") for tag in soup.find_all(id=True)}
        | {tag.get("name") for tag in soup.find_all("a", attrs={"name": True})}
        for path, soup in pages.items()
    }
    problems = []
    for path, soup in pages.items():
        name = path.relative_to(root).as_posix()
        problems += [f"{name}: a table as raw text: {row[:40]}" for row in raw_tables(soup)]
        own = {path}
        for tag in soup.find_all(True):
            attribute = LOADED.get(tag.name, "href")
            link = tag.get(attribute)
            loaded = tag.name in LOADED or LOADED_LINKS & set(tag.get("rel") or [])
            if tag.name == "img" and not tag.has_attr("alt"):
                problems.append(f"{name}: a picture without an alternative text: {link}")
            if link is None or link.startswith(("data:", "mailto:", "javascript:")):
                continue
            if urlsplit(link).netloc:
                if loaded:
                    problems.append(f"{name}: loads {link} from another host")
                if not link.startswith(url):
                    continue
                link = "/" + link[len(url) :]
            target, _, anchor = link.partition("#")
            target = unquote(target.partition("?")[0])
            base = root if target.startswith("/") else path.parent
            file = (base / target.lstrip("/")).resolve() if target else path
            file = file / "index.html" if file.is_dir() else file
            if not file.is_file():
                problems.append(f"{name}: {link} leads nowhere")
            elif anchor and file in anchors and unquote(anchor) not in anchors[file] | {"top"}:
                problems.append(f"{name}: {link}: no such anchor")
            elif tag.name == "img" and "_static" not in file.parts:
                own.add(file)
        if (weight := sum(file.stat().st_size for file in own)) > HEAVIEST:
            problems.append(f"{name}: {weight:,} bytes, more than {HEAVIEST:,}")
    for path in sorted(root.rglob("*.css")):
        for link in re.findall(r"url\(['\"]?(https?:)?//[^)]*", path.read_text(encoding="utf-8")):
            problems.append(f"{path.relative_to(root)}: loads {link} from another host")
    return problems
