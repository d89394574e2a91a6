"""Sphinx configuration. Its input is what tools/site.py puts into site/_build/source."""

import json
from pathlib import Path

import ablog.blog
from docutils import nodes

from tools import post_data

SITE = Path(__file__).resolve().parent
DEMO = SITE / "_build/demo"  # as tools/demo.py built it

SETTINGS = post_data.settings()
POSTS = {f"posts/{post.slug}": post for post in post_data.posts()}
BUILT = json.loads((SITE / "_build/built.json").read_text(encoding="utf-8"))
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
html_additional_pages = {"404": "404.html"}
html_favicon = "static/favicon.svg"

nb_execution_mode = "off"
nb_merge_streams = True
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
myst_enable_extensions = ["attrs_block", "dollarmath", "amsmath"]
myst_heading_anchors = 3

mathjax_path = "mathjax/tex-svg.js"
html_math_renderer = "mathjax" if BUILT["mathjax"] else "source"

blog_title = SETTINGS["title"]
blog_baseurl = SETTINGS["url"]
blog_feed_subtitle = SETTINGS["tagline"]
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
    """Stored pictures get their alternative text, and a box that scrolls on small screens."""
    post = POSTS.get(app.env.docname)
    if post is None:
        return
    outputs = [n for n in doctree.findall(nodes.container) if "cell_output" in n["classes"]]
    images = [image for output in outputs for image in output.findall(nodes.image)]
    pictures = post.pictures()
    if len(images) != len(pictures):
        raise ValueError(f"{post.path.name}: {len(images)} pictures shown, {len(pictures)} stored")
    for image, (_, _, alt) in zip(images, pictures, strict=True):
        image["alt"] = alt
        box = nodes.container(classes=["figure-box"])
        image.replace_self(box)
        box += image


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
    if post and (Path(BUILT["static"][0]) / f"explain/{post.number:02d}.json").exists():
        app.add_css_file("explain.css")
        app.add_js_file("explain.js", type="module")
    if post:
        meta = app.builder.templates.render("post-meta.html", context)
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{meta}", 1)
    return "home.html" if pagename == "index" else None


def show_source(self, node):
    self.body.append(f'<code class="math">{self.encode(node.astext())}</code>')
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer("source", (show_source, None), (show_source, None))
    app.connect("doctree-read", label_pictures)
    app.connect("html-page-context", page_context)
