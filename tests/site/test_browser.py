"""The site as a reader sees it: in a real browser, on a phone and a desk, by day and by night."""

import gzip
import json
import re
import subprocess
import sys
from urllib.parse import urlsplit

import pytest

from tests.site.conftest import REPOSITORY, SITE
from tools import post_data

SCREENSHOTS = REPOSITORY / "build/screenshots"
AXE = SITE / "node_modules/axe-core/axe.min.js"
POSTS = post_data.posts()
LAST = f"posts/{POSTS[-1].slug}.html"
PAGES = ["index.html", *(f"posts/{post.slug}.html" for post in POSTS), "blog.html", "blog/tag.html"]
PAGES += [f"docs/{name}.html" for name in ("results", "speed", "troubleshooting", "glossary")]
WIDTHS = [360, 1280]

in_two_ways = pytest.mark.parametrize(("width", "mode"), [(360, "dark"), (1280, "light")])


def load_pictures(page) -> None:
    """Scrolls to the end, so that pictures which wait for that are loaded."""
    page.evaluate("for (const i of document.images) i.loading = 'eager'")
    page.evaluate("Promise.allSettled([...document.images].map(i => i.decode()))")


@in_two_ways
@pytest.mark.parametrize("path", ["index.html", LAST, "search.html?q=attention", "blog/tag.html"])
def test_screenshots(open_page, path, width, mode):
    page = open_page(path, width, mode)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", path.replace(".html", ""))
    load_pictures(page)
    if path.startswith("search"):
        page.wait_for_selector("#search-results li a")
    page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{mode}.png")
    if path == LAST:  # further down, where the pictures are
        page.locator(".figure-box").nth(2).scroll_into_view_if_needed()
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{mode}-figure.png")
    else:
        page.screenshot(path=SCREENSHOTS / f"{name}-{width}-{mode}-full.png", full_page=True)
    assert page.title()


@pytest.mark.parametrize(
    ("path", "width"), [*((path, 360) for path in [*PAGES, "search.html"]), ("index.html", 1280)]
)
def test_no_page_scrolls_sideways_and_every_picture_is_there(open_page, path, width):
    page = open_page(path, width)
    load_pictures(page)
    broken = "[...document.images].filter(i => !i.naturalWidth || !i.hasAttribute('alt'))"
    assert page.evaluate(f"{broken}.map(i => i.src)") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for size in page.evaluate(
        "[...document.querySelectorAll('article p, article li, .home p')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    ):
        assert size >= 12


# Large pages take axe ten seconds each, so a short post stands for all, once a mode.
@pytest.mark.parametrize(
    ("path", "width", "mode"),
    [
        ("index.html", 360, "dark"),
        ("index.html", 1280, "light"),
        (f"posts/{POSTS[1].slug}.html", 360, "dark"),
        ("docs/glossary.html", 1280, "light"),
        ("blog.html", 360, "light"),
        ("search.html", 1280, "dark"),
    ],
)
def test_accessibility(open_page, path, width, mode):
    page = open_page(path, width, mode)
    if not AXE.exists():  # the build fetches it
        pytest.skip("needs axe-core, which npm could not install")
    load_pictures(page)
    page.add_script_tag(path=AXE)
    found = page.evaluate(
        "axe.run({preload: false, runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa']}).then(r => r.violations.map("
        "v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 120) + ' ' +"
        " n.any.map(a => a.message).join()).slice(0, 4).join('\\n')))"
    )
    assert found == []


@pytest.mark.parametrize(("width", "height"), [(360, 740), (1280, 800)])
def test_the_recommender_is_the_first_screen(open_page, width, height):
    """Five films, their attention, and the best of the ten; the series is offered above them."""
    page = open_page("index.html", width)
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_selector("#ten[data-ready]", state="attached")
    seen = [".home h1", ".actions .primary", "#about", "#picks .card >> nth=4"]
    seen += ["#recommendations .card >> nth=9"] if width > 600 else []
    for selector in seen:
        box = page.locator(selector).bounding_box()
        assert 0 <= box["x"] <= box["x"] + box["width"] <= width
        assert box["y"] + box["height"] <= height, selector
    assert page.locator("#recommendations .card").count() == 10
    assert page.locator("#posts .post-card").count() == len(POSTS)
    for post in POSTS:
        row = page.locator("#results tr", has_text=post.title).inner_text()
        for line in post.findings:
            assert line in row
    page.locator(".actions .primary").click()
    assert page.locator("h1").inner_text().startswith(POSTS[0].title)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_front_page_is_light_and_holds_still(open_page, built, width):
    """Bytes as a host compresses them, before the reader asks for anything; shifts while it loads."""
    page = open_page("about:blank", width)
    loaded = []
    page.on("response", lambda response: loaded.append(response.url))
    page.goto(page.address + "index.html")
    page.wait_for_selector("#ten[data-ready]", state="attached")
    page.wait_for_load_state("networkidle")
    files = [
        built[0] / urlsplit(url).path.lstrip("/") for url in set(loaded) if url.startswith("http")
    ]
    assert not [file for file in files if file.suffix == ".bin"], "the model was not asked for"
    packed = {".png", ".woff", ".woff2"}
    sizes = [
        file.stat().st_size if file.suffix in packed else len(gzip.compress(file.read_bytes()))
        for file in files
    ]
    assert 200_000 < sum(sizes) < 500_000
    waited_for = "head script[src]:not([defer]):not([type=module])"
    assert page.locator(waited_for).count() == 0, "nothing is painted before these have come"
    shifts = page.evaluate(
        "new Promise((done) => { let sum = 0; new PerformanceObserver((list) => list.getEntries()"
        ".forEach((entry) => (sum += entry.value))).observe({type: 'layout-shift', buffered: true});"
        " setTimeout(() => done(sum), 200) })"
    )
    assert shifts < 0.05


def test_the_front_page_recommends(open_page):
    """As the page of its own does, whose tests say more: a pick, Back, and links to other parts."""
    page = open_page("index.html")
    page.locator(".chip").nth(1).click()
    films = page.locator(".chip").nth(1).get_attribute("data-films")
    page.wait_for_selector(f'#ten[data-ready="{films}"]', state="attached")
    assert page.locator("#recommendations .card").count() == 10
    page.locator("#picks .film").last.click()
    assert page.locator(".leaves").count(), "one would leave the ten without the last film"
    if AXE.exists():
        page.add_script_tag(path=AXE)
        found = page.evaluate(
            "axe.run('#demo', {preload: false}).then(r => r.violations.map(v => v.id))"
        )
        assert found == []
    page.locator(".site-nav a", has_text="Posts").first.click()
    assert page.locator("#ten").get_attribute("data-ready") == films, "an anchor is no selection"
    page.go_back()
    page.go_back()
    first = page.locator(".chip").first.get_attribute("data-films")
    page.wait_for_selector(f'#ten[data-ready="{first}"]', state="attached")


def test_an_address_that_leads_nowhere_has_a_page(open_page):
    page = open_page("404.html", 360, "dark")
    assert page.locator("h1").inner_text() == "No such page"
    assert page.locator("li a").count() == 1 + len(POSTS)
    assert page.evaluate("performance.getEntriesByType('resource').length") == 0


def test_previous_and_next_follow_the_series(open_page):
    page = open_page(f"posts/{POSTS[0].slug}.html")
    for post in POSTS[1:]:
        page.locator(".right-next").click()
        assert page.locator("h1").inner_text().startswith(post.title)
    assert page.locator(".right-next").count() == 0
    page.locator(".left-prev").click()
    assert page.locator("h1").inner_text().startswith(POSTS[-2].title)


@pytest.mark.parametrize("width", WIDTHS)
def test_search_finds_a_post(open_page, width):
    page = open_page(LAST, width)
    page.locator(".search-button__button:visible").first.click()
    page.locator("#pst-search-dialog input").fill("causality mask attention")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li a")
    texts = page.locator("#search-results li a").all_inner_texts()
    assert any("04 · Model" in text for text in texts)
    page.locator("#search-results li a", has_text="04 · Model").first.click()
    assert page.locator("h1").inner_text().startswith("04 · Model")


def test_dark_mode_is_chosen_and_kept(open_page):
    page = open_page(LAST)

    def lightness(selector: str) -> float:
        color = page.locator(selector).first.evaluate("e => getComputedStyle(e).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)[:3])) / 3

    assert lightness("body") > 240
    page.locator(".theme-switch-button").first.click()
    page.locator("[data-mode=dark].theme-change-button").first.click()
    assert lightness("body") < 40
    assert 180 < lightness(".figure-box") < 235  # a soft card, no glare
    page.reload()
    assert lightness("body") < 40


def test_wide_things_scroll_in_their_own_box(open_page):
    page = open_page(LAST, 360)
    load_pictures(page)
    wide = "[...document.querySelectorAll('.figure-box, .text_html')]"
    scrolling = f"{wide}.filter(e => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{scrolling}.length") > 3
    assert page.evaluate(f"{scrolling}.every(e => e.tabIndex === 0)")


@in_two_ways
def test_the_keyboard_shows_where_it_is(open_page, width, mode):
    page = open_page("index.html", width, mode)
    seen = set()
    for _ in range(12):
        page.keyboard.press("Tab")
        style, thickness, name = page.evaluate(
            "(() => { const e = document.activeElement, s = getComputedStyle(e);"
            " return [s.outlineStyle, parseFloat(s.outlineWidth), e.outerHTML.slice(0, 80)] })()"
        )
        assert style != "none", name
        assert thickness >= 2, name
        seen.add(name)
    assert len(seen) > 8


@pytest.mark.parametrize("npm", [True, False], ids=["with npm", "without npm"])
def test_formulas_are_set_without_another_host(chromium, built, tmp_path, npm):
    """A page with a formula, by the site's own configuration; without npm its source is shown."""
    state = json.loads((built[0].parent / "built.json").read_text(encoding="utf-8"))
    if npm and not state["mathjax"]:
        pytest.skip("the site was built without npm, so without MathJax")
    (tmp_path / "source").mkdir()
    text = "# recformer\n\n```{toctree}\nformula\n```\n"
    (tmp_path / "source/index.md").write_text(text, encoding="utf-8")
    text = "# Formula\n\nA square is $x^2$.\n"
    (tmp_path / "source/formula.md").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-q", "-c", SITE, "-d", tmp_path / "doctrees"]
    command += [] if npm else ["-D", "html_math_renderer=source"]
    subprocess.run([*command, tmp_path / "source", tmp_path / "html"], check=True)
    page = chromium.new_page()
    requests = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto((tmp_path / "html/formula.html").as_uri())
    if npm:
        page.wait_for_selector("mjx-container svg")
    else:
        assert page.locator("code.math").inner_text() == "x^2"
    page.wait_for_load_state("networkidle")
    assert all(url.startswith(("file:", "data:")) for url in requests)
    page.close()
