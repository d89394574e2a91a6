"""Looks at every built page: links, anchors, pictures, weight, and that nothing comes from outside."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lxml import etree, html

HEAVIEST = 1_500_000  # bytes of a page with its own pictures, without what all pages share
LOADED = {"img": "src", "script": "src", "iframe": "src", "source": "src", "video": "src"}
LOADED_LINKS = {"stylesheet", "preload", "modulepreload", "icon", "prefetch", "preconnect"}


RAW_TABLE = re.compile(r"^ *\||\| *:?-{3,}", re.MULTILINE)


def raw_tables(page: html.HtmlElement) -> list[str]:
    """Markdown's tables, outside of code, that a reader would see as bars and dashes: their begin."""
    texts = page.xpath(
        "//text()[not(ancestor::pre or ancestor::code or ancestor::script or ancestor::style)]"
    )
    return [text[row.start() :].split("\n")[0] for text in texts if (row := RAW_TABLE.search(text))]


def check(root: Path, url: str) -> list[str]:
    """What is wrong with the pages below ``root``, one line a problem; ``url`` is their address."""
    files = [path for path in sorted(root.rglob("*.html")) if "_static" not in path.parts]
    pages = {path: html.document_fromstring(path.read_bytes()) for path in files}
    anchors = {path: set(page.xpath("//@id | //a/@name")) for path, page in pages.items()}
    problems = []
    for path, page in pages.items():
        name = path.relative_to(root).as_posix()
        problems += [f"{name}: a table as raw text: {row[:40]}" for row in raw_tables(page)]
        own = {path}
        for tag in page.iter(etree.Element):
            link = tag.get(LOADED.get(tag.tag, "href"))
            loaded = tag.tag in LOADED or LOADED_LINKS & set(tag.get("rel", "").split())
            if tag.tag == "img" and tag.get("alt") is None:
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
            elif tag.tag == "img" and "_static" not in file.parts:
                own.add(file)
        if (weight := sum(file.stat().st_size for file in own)) > HEAVIEST:
            problems.append(f"{name}: {weight:,} bytes, more than {HEAVIEST:,}")
    for path in sorted(root.rglob("*.css")):
        for link in re.findall(r"url\(['\"]?(https?:)?//[^)]*", path.read_text(encoding="utf-8")):
            problems.append(f"{path.relative_to(root)}: loads {link} from another host")
    return problems
