"""Sphinx configuration. Its input is what tools/site.py puts into site/_build/source."""

import base64
import io
import json
import re
from html import escape
from pathlib import Path

import ablog.blog
from bs4 import BeautifulSoup
from docutils import nodes
from latex2mathml.converter import convert as latex_to_mathml
from PIL import Image

from tools import post_data, vector

SITE = Path(__file__).resolve().parent
DEMO = SITE / "_build/demo"  # as tools/demo.py built it
DRAWINGS = SITE / "_build/static/figures"

SETTINGS = post_data.settings()
POSTS = {f"posts/{post.slug}": post for post in post_data.posts()}
BUILT = json.loads((SITE / "_build/built.json").read_text(encoding="utf-8"))
# Terms that are as often meant as the words of every day; those get no link.
EVERYDAY = set(
    [
        "compile",
        "gap",
        "global",
        "head",
        "history",
        "key",
        "map",
        "position",
        "query",
        "question",
        "rival",
        "step",
    ]
)
EVERYDAY |= {"every movie", "feature", "tied", "train", "value", "weight", "width"}
GLOSSARY = {k: v for k, v in post_data.glossary().items() if k not in EVERYDAY}
TERM = rf"\b({'|'.join(map(re.escape, sorted(GLOSSARY, key=len, reverse=True)))})s?\b"
TERM = re.compile(TERM, re.IGNORECASE)
SECTIONS = []
BLOB = f"https://github.com/{SETTINGS['repository']}/blob/{SETTINGS['branch']}/"

project = SETTINGS["title"]
author = SETTINGS["author_name"]
copyright = f"2026, {author}. MIT license"
language = "en"
html_title = f"{SETTINGS['title']} · {SETTINGS['series']}"
extensions = ["myst_nb", "ablog"]
templates_path = ["templates"]
exclude_patterns = []
html_static_path = ["static", *BUILT["static"]]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_show_sourcelink = False
html_copy_source = False
html_use_index = False
html_baseurl = SETTINGS["url"]
html_additional_pages = {"search": "search.html", "404": "404.html"}
html_favicon = "static/favicon.svg"

nb_execution_mode = "off"
nb_merge_streams = True
nb_render_markdown_format = "gfm"  # tables in outputs
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["attrs_block", "dollarmath", "amsmath"]
myst_heading_anchors = 3

html_math_renderer = "mathml"

epub_basename = SETTINGS["title"]
epub_title = SETTINGS["series"]
epub_description = SETTINGS["tagline"]
epub_show_urls = "no"
epub_tocscope = "includehidden"
epub_tocdup = False
epub_css_files = ["book.css"]
suppress_warnings = ["epub.unknown_project_files"]  # site files that a book leaves out
version = "1"  # which EPUB 3 asks for

blog_title = SETTINGS["title"]
blog_baseurl = SETTINGS["url"]
blog_feed_subtitle = SETTINGS["tagline"]
# A summary with the post's picture: a feed reader shows no plot of a whole post as the site draws it.
PICTURES = {name: escape(post.thumbnail[1]) for name, post in POSTS.items()}
blog_feed_templates = {
    "atom": {
        "content": "<p>{{ summary|e }}</p>"
        '<p><a href="{{ post_url }}"><img src="{{ base_url }}_static/thumbnails/'
        '{{ post.docname.partition("/")[2] }}.svg" alt="{{ '
        f"{PICTURES!r}"
        '[post.docname] }}"/></a></p>'
    }
}
blog_authors = {SETTINGS["author"]: (SETTINGS["author_name"], None)}
blog_archive_titles = False
post_auto_orphan = False  # the posts are in the front page's toctree
post_show_prev_next = False  # the theme's own follow the order of the series
post_date_format = "%d %B %Y"
fontawesome_included = True

html_context = {"default_mode": "auto"}
# What is in the repository is published: no clock of a building machine makes a draft of it.
ablog.blog.TOMORROW = ablog.blog.FUTURE

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "logo": {"text": SETTINGS["title"]},
    "navbar_start": ["navbar-logo"],
    "navbar_center": ["site-nav.html"],
    "navbar_end": ["theme-switcher"],
    "navbar_persistent": ["search-button"],
    "article_header_start": [],
    "secondary_sidebar_items": {"**": ["page-toc"]},
    "footer_start": ["copyright"],
    "footer_end": ["footer-links.html"],
    "show_prev_next": True,
    "search_bar_text": "Search the series",
    "show_toc_level": 2,
    "back_to_top_button": True,
}
ONE_COLUMN = ["index", "search", "blog", "blog/**"]
html_sidebars = {
    "posts/**": ["series-nav.html"],
    "docs/**": ["series-nav.html"],
    **{name: [] for name in ONE_COLUMN},
}


def label_pictures(app, doctree):
    """Stored pictures get their alternative text, their size, and a box that scrolls where narrow."""
    post = POSTS.get(app.env.docname)
    if post is None:
        return
    outputs = [n for n in doctree.findall(nodes.container) if "cell_output" in n["classes"]]
    images = [image for output in outputs for image in output.findall(nodes.image)]
    pictures = post.pictures()
    if len(images) != len(pictures):
        raise ValueError(f"{post.path.name}: {len(images)} pictures shown, {len(pictures)} stored")
    for image in doctree.findall(nodes.image):
        if (name := Path(image["uri"])).parent.name == "figures":  # a schematic picture
            image["drawings"] = {kind: f"{name.stem}-{kind}.svg" for kind in ("wide", "narrow")}
            image.parent["classes"] += ["figure-box", "drawing"]
    for image, (_, data, alt) in zip(images, pictures, strict=True):
        width, height = Image.open(io.BytesIO(base64.b64decode(data))).size
        image.attributes |= {
            "alt": alt,
            "loading": "lazy",
            "width": str(width),
            "height": str(height),
        }
        drawings = vector.find(data, DRAWINGS)
        image["drawings"] = {kind: path.name for kind, path in drawings.items()}
        kinds = ["rows" if "rows" in drawings else "drawing"]
        kinds += ["scrolls"] if "narrow" not in drawings and width > 400 else []
        box = nodes.container(classes=["figure-box", *kinds])
        image.replace_self(box)
        box += image


def wrap_sentences(app, doctree):
    """Printed sentences break into lines where it is narrow; columns keep theirs, and scroll."""
    for output in doctree.findall(nodes.container):
        if "cell_output" not in output["classes"]:
            continue
        for block in output.findall(nodes.literal_block):
            columns = [
                len(re.findall(r"\S {2,}(?=\S)", line)) for line in block.astext().splitlines()
            ]
            if max(columns, default=0) < 2 and sum(map(bool, columns)) < 2:
                block["classes"].append("wraps")


DRAWN = """<picture>{narrow}
<img alt="{alt}" src="{src}" width="{width:.0f}" height="{height:.0f}" loading="lazy"></picture>"""


def show_drawings(app, doctree, docname):
    """On the site pictures are SVG, narrow where that is all the room. A book has the PNG."""
    if docname not in POSTS or app.builder.name != "html":
        return
    for image in list(doctree.findall(nodes.image)):
        files, size, root = image.get("drawings", {}), {}, "../_static/figures/"
        if files:
            for kind, name in files.items():
                svg = (DRAWINGS / name).read_text(encoding="utf-8")
                size[kind] = dict(zip(("width", "height"), vector.pixels(svg), strict=True))
            narrow = '<source media="(max-width: 767px)" srcset="{}" width="{width:.0f}" height="{height:.0f}">'
            narrow = (
                narrow.format(root + files["narrow"], **size["narrow"]) if "narrow" in files else ""
            )
            kind = next(iter(files))
            html = DRAWN.format(
                narrow=narrow, alt=escape(image["alt"]), src=root + files[kind], **size[kind]
            )
            image.replace_self(nodes.raw("", html, format="html"))


def link_terms(app, doctree, docname):
    """The first time that a post uses a term of the glossary, it leads there."""
    if docname not in POSTS:
        return
    wanted = dict(GLOSSARY)
    words = [text for part in doctree.findall(nodes.paragraph) for text in part.findall(nodes.Text)]
    for text in words:
        above = text.parent
        while isinstance(above, nodes.emphasis | nodes.strong):
            above = above.parent
        if not isinstance(above, nodes.paragraph):
            continue  # a link or code
        parts, end = [], 0
        for match in re.finditer(TERM, text):
            anchor = wanted.get(match[1].lower())
            if anchor is None:
                continue
            wanted = {term: other for term, other in wanted.items() if other != anchor}
            link = app.builder.get_relative_uri(docname, "docs/glossary") + "#" + anchor
            link = nodes.reference("", match[0], refuri=link, internal=True, classes=["term"])
            parts += [nodes.Text(text[end : match.start()]), link]
            end = match.end()
        if parts:
            text.parent.replace(text, [*parts, nodes.Text(text[end:])])


def collect_sections(app, doctree, docname):
    """What the search looks through: each section's title and words, without those below it."""
    if docname not in POSTS and not docname.startswith("docs/"):
        return
    doctree = doctree.deepcopy()
    for part in list(doctree.findall(nodes.container)):
        if "cell_output" in part["classes"]:
            part.parent.remove(part)
    page = doctree.next_node(nodes.title).astext()
    for section in doctree.findall(nodes.section):
        parts = [n for n in section.children if not isinstance(n, nodes.section | nodes.title)]
        anchor = "" if section.parent is doctree else "#" + section["ids"][0]
        SECTIONS.append({
            "page": page,
            "title": section.next_node(nodes.title).astext(),
            "link": app.builder.get_target_uri(docname) + anchor,
            "text": " ".join(" ".join(part.astext() for part in parts).split()),
        })  # fmt: skip


def as_xml(app, doctree, docname):
    """A book is XML: HTML that the notebooks stored, such as tables, has to be well-formed."""
    for raw in list(doctree.findall(nodes.raw)) if app.builder.name == "epub" else []:
        if re.fullmatch(r"</?(?!br|hr|img)\w+>", raw.astext().strip()):
            continue  # one tag of a pair
        if raw["format"] == "html" and (body := BeautifulSoup(raw.astext(), "lxml").body):
            for style in body("style"):
                style.decompose()
            raw.replace_self(nodes.raw("", body.decode_contents(), format="html"))


def without_what_is_not_read(app):
    app.builder.search = False
    if app.builder.name == "epub":  # a book has no lists of its chapters by tag, author and year
        app.events.listeners["html-collect-pages"] = []


def write_sections(app, exception):
    if exception is None and app.builder.name == "html":
        SECTIONS.sort(key=lambda section: section["link"].partition("#")[0])  # stable
        text = json.dumps(SECTIONS, ensure_ascii=False, separators=(",", ":"))
        (Path(app.outdir) / "sections.json").write_text(text, encoding="utf-8")


def page_context(app, pagename, templatename, context, doctree):
    """What the templates need to know about the series, and which of them the front page uses."""
    post = POSTS.get(pagename)
    by_number = {one.number: one for one in POSTS.values()}
    context |= {
        "site": SETTINGS,
        "blob": BLOB,
        "posts": POSTS,
        "post": post,
        "demo": (DEMO / "app.html").read_text(encoding="utf-8") if pagename == "index" else None,
        "demo_scripts": sorted(path.name for path in DEMO.glob("*.js") if path.name != "theme.js"),
        "row": BUILT["row"],
        "headline": by_number[SETTINGS["headline"]],
        "summit": by_number[SETTINGS["summit"]],
        "social_card": f"{SETTINGS['url']}_static/cards/{post.slug if post else 'index'}.png",
        "page_description": post.description if post else SETTINGS["tagline"],
    }
    html = app.builder.name == "html"
    if html and post and (Path(BUILT["static"][0]) / f"explain/{post.number:02d}.json").exists():
        app.add_css_file("explain.css")
        app.add_js_file("explain.js", type="module")
    if html and post:
        meta = app.builder.templates.render("post-meta.html", context)
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{meta}", 1)
        # What such a summary says is its name: "Show the code".
        context["body"] = context["body"].replace(' aria-label="Toggle hidden content"', "")
    # What Sphinx's own search would need on every page, before anything is painted.
    unused = ("doctools.js", "sphinx_highlight.js")
    context["script_files"] = [
        file for file in context["script_files"] if not str(file.filename).endswith(unused)
    ]
    return "home.html" if pagename == "index" and app.builder.name == "html" else None


def show_formula(translator, node):
    """A formula as MathML, which browsers and readers of books set without a script."""
    block = isinstance(node, nodes.math_block)
    formula = latex_to_mathml(node.astext(), display="block" if block else "inline")
    translator.body.append(f'<div class="formula">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (show_formula, None), (show_formula, None))
    # The theme would search whole posts; static/search.js searches their sections.
    app.connect("builder-inited", without_what_is_not_read)
    app.connect("doctree-read", label_pictures)
    app.connect("doctree-read", wrap_sentences)
    app.connect("doctree-resolved", collect_sections)
    app.connect("doctree-resolved", link_terms)
    app.connect("doctree-resolved", show_drawings)
    app.connect("doctree-resolved", as_xml)
    app.connect("build-finished", write_sections)
    app.connect("html-page-context", page_context)
