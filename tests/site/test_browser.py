"""The site as a reader sees it: in a real browser, on a phone and a desk, by day and by night."""

import gzip
import io
import re
import zipfile
from pathlib import Path
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.site.conftest import REPOSITORY
from tools import post_data, vector

SCREENSHOTS = REPOSITORY / "build/screenshots"
POSTS = post_data.posts()
DRAWN = f"posts/{POSTS[0].slug}.html"  # its plots are drawn
LAST = f"posts/{POSTS[-1].slug}.html"
PAGES = ["index.html", *(f"posts/{post.slug}.html" for post in POSTS), "blog.html", "blog/tag.html"]
DOCS = ("results", "speed", "reliability", "troubleshooting", "glossary")
PAGES += [f"docs/{name}.html" for name in DOCS]
WIDTHS = [360, 1280]

# Sums up what moves without having been asked to.
WATCH = """
window.shift = 0;
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""

in_two_ways = pytest.mark.parametrize(("width", "mode"), [(360, "dark"), (1280, "light")])


def load_pictures(page) -> None:
    """Scrolls to the end, so that pictures which wait for that are loaded."""
    page.evaluate("for (const i of document.images) i.loading = 'eager'")
    page.evaluate("Promise.allSettled([...document.images].map(i => i.decode()))")


@pytest.mark.parametrize("width", [360, 768, 1440])
@pytest.mark.parametrize("path", [*PAGES, "search.html"])
def test_a_page_loads_whole_holds_still_and_does_not_scroll_sideways(open_page, path, width):
    page = open_page("about:blank", width)
    page.add_init_script(WATCH)
    page.goto(page.address + path, wait_until="networkidle")
    for _ in range(6):  # a reader scrolls; pictures arrive
        page.mouse.wheel(0, 1500)
        page.wait_for_timeout(50)
    for mode in ("light", "dark"):
        page.emulate_media(color_scheme=mode)
        load_pictures(page)
        assert page.evaluate("window.shift") < 0.05
        broken = "[...document.images].filter(i => !i.naturalWidth || !i.hasAttribute('alt'))"
        assert page.evaluate(f"{broken}.map(i => i.src)") == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    for size in page.evaluate(
        "[...document.querySelectorAll('article p, article li, .home p')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    ):
        assert size >= 12


# Large pages take axe ten seconds each: every page once, in turns by day and night, narrow and wide.
@pytest.mark.parametrize(("number", "path"), [*enumerate([*PAGES, "search.html?q=loss"])])
def test_accessibility(open_page, axe, number, path):
    page = open_page(path, (360, 1280)[number % 2], ("dark", "light")[number // 2 % 2])
    if page.locator("script[src*=explain]").count():
        page.wait_for_selector(".play")
    load_pictures(page)
    page.add_script_tag(path=axe)
    found = page.evaluate(
        "axe.run({preload: false, runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'],"
        " rules: {'label-content-name-mismatch': {enabled: true}}}).then(r => r.violations.map("
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
    seen += ["#recommendations .card >> nth=9"] if width > 600 else ["#ten-title"]
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
    page.add_init_script(WATCH)
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
    assert {"index.html", "main.js", "model.js", "site.css"} <= {file.name for file in files}
    assert 100_000 < sum(sizes) < 500_000  # 179 KB at 360, where the thumbnails wait below
    waited_for = "head script[src]:not([defer]):not([type=module])"
    assert page.locator(waited_for).count() == 0, "nothing is painted before these have come"
    assert page.evaluate("window.shift") < 0.05


def test_the_front_page_recommends(open_page, axe):
    """As the page of its own does, whose tests say more: a pick, Back, and links to other parts."""
    page = open_page("index.html")
    page.locator(".chip").nth(1).click()
    films = page.locator(".chip").nth(1).get_attribute("data-films")
    page.wait_for_selector(f'#ten[data-ready="{films}"]', state="attached")
    assert page.locator("#recommendations .card").count() == 10
    page.locator("#picks .film").last.click()
    assert page.locator(".leaves").count(), "one would leave the ten without the last film"
    page.add_script_tag(path=axe)
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
def test_search_finds_a_section(open_page, width):
    page = open_page(LAST, width)
    page.locator(".search-button__button:visible").first.click()
    page.locator("#pst-search-dialog input").fill("positional encoding")
    page.keyboard.press("Enter")
    first = page.locator("#search-results li").first
    first.wait_for()
    assert "04 · Model" in first.inner_text()
    assert first.locator("mark").all_inner_texts()[:2] == ["positional", "encoding."]
    first.locator("a").click()
    assert page.locator("section:target > h2").inner_text().startswith("10. Tokens become vectors")


@pytest.mark.parametrize(
    ("question", "title", "post"),
    [
        ("causal mask", "3. The future is masked", "04"),
        ("NDCG", "", "08"),
        ("leave one out", "", "03"),
        ("windows", "", "03"),
    ],
)
def test_search_puts_where_it_is_taught_among_the_first(open_page, question, title, post):
    page = open_page(f"search.html?q={question}")
    page.locator("#search-results li").first.wait_for()
    texts = page.locator("#search-results li").all_inner_texts()[:5]
    assert any(title in text and f"{post} · " in text for text in texts), texts


@pytest.mark.parametrize("question", ["xyzzy", "<img src=x onerror=alert(1)>", ""])
def test_search_says_when_there_is_nothing(open_page, question):
    page = open_page(f"search.html?q={quote(question)}")
    if question:
        page.wait_for_function("document.querySelector('#search-status').textContent")
        assert question in page.locator("#search-status").inner_text()
    assert page.locator("#search-results li").count() == 0


def corner(locator) -> tuple[int, int, int]:
    """The colour near the corner of what is shown there."""
    picture = Image.open(io.BytesIO(locator.screenshot())).convert("RGB")
    return picture.getpixel((3, 3))


def test_dark_mode_is_chosen_and_kept(open_page):
    page = open_page(DRAWN)
    body, plot = page.locator("body"), page.locator(".drawing img").first

    def lightness(locator) -> float:
        color = locator.evaluate("e => getComputedStyle(e).backgroundColor")
        return sum(map(int, re.findall(r"\d+", color)[:3])) / 3

    assert lightness(body) > 240
    assert min(corner(plot)) > 240
    page.locator(".theme-switch-button").first.click()
    page.locator("[data-mode=dark].theme-change-button").first.click()
    for _ in range(2):
        assert lightness(body) < 40
        assert max(corner(plot)) < 60  # the colours of a plot follow the reader's choice
        page.reload()


def test_posters_are_as_bright_by_night_on_a_dark_ground(open_page, built):
    shown = {}
    for mode in ("light", "dark"):
        image = open_page(DRAWN, 1280, mode).locator(".rows img").nth(2)
        image.evaluate("async e => { e.scrollIntoView({block: 'center'}); await e.decode() }")
        shown[mode] = np.asarray(Image.open(io.BytesIO(image.screenshot())).convert("RGB"), int)
        name = image.get_attribute("src").rpartition("/")[2]
    svg = (built[0] / "_static/figures" / name).read_text(encoding="utf-8")
    scale = shown["dark"].shape[1] / int(re.search(r'viewBox="0 0 (\d+)', svg)[1])
    places = np.array(re.findall(r"M(\d+) (\d+)h(\d+)v(\d+)", svg), int) * scale
    assert len(places) == 16
    outside = np.ones(shown["dark"].shape[:2], bool)
    for x, y, width, height in places.round().astype(int):
        one, other = (
            picture[y + 2 : y + height - 2, x + 2 : x + width - 2] for picture in shown.values()
        )
        assert abs(one - other).max() < 12
        outside[y - 2 : y + height + 2, x - 2 : x + width + 2] = False
    assert shown["light"][outside].mean() > 240
    assert shown["dark"][outside].mean() < 40
    assert shown["dark"][outside].max() > 130, "titles and captions are light"


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_thumbnails_have_the_ground_of_their_card(open_page, mode):
    page = open_page("index.html", 1280, mode)
    images = page.locator(".post-card-picture img")
    assert images.count() == len(POSTS)
    for image in images.all():
        image.evaluate("async e => { e.scrollIntoView({block: 'center'}); await e.decode() }")
        picture = Image.open(io.BytesIO(image.screenshot())).convert("RGB")
        ground = picture.getpixel((picture.width // 2, 4))
        assert min(ground) == 255 if mode == "light" else max(ground) < 60


@pytest.mark.parametrize("post", [POSTS[0], POSTS[3]], ids=["plots", "schematics"])
def test_no_text_in_a_drawing_is_smaller_than_twelve_pixels(open_page, built, post):
    schematics = sum(cell.source.count("](figures/") for cell in post.notebook.cells)
    assert schematics == (3 if post is POSTS[3] else 0)
    page = open_page(f"posts/{post.slug}.html")
    for width in (360, 414, 767, 768, 959, 960, 1024, 1200, 1280, 1399, 1400, 1920):
        page.set_viewport_size({"width": width, "height": 800})
        load_pictures(page)
        shown = page.evaluate(
            "[...document.querySelectorAll('.drawing img')].map(i => [i.currentSrc, i.clientWidth])"
        )
        assert len(shown) == len(vector.plots(post.notebook)) + schematics
        for source, pixels in shown:
            name = source.rpartition("/")[2]
            svg = (built[0] / "_static/figures" / name).read_text(encoding="utf-8")
            scale = pixels / float(re.search(r'viewBox="0 0 ([\d.]+)', svg)[1])
            sizes = re.findall(r"(?:font-size: |font: [^;]*?)([\d.]+)px", svg)
            assert min(map(float, sizes)) * scale >= 12, (source, width)


def test_captions_of_posters_can_be_read_on_a_phone(open_page):
    page = open_page(DRAWN, 360)
    load_pictures(page)
    rows = page.locator(".rows img").evaluate_all(
        "all => all.map(i => [i.currentSrc, i.clientWidth])"
    )
    assert len(rows) == len(POSTS[0].pictures()) - len(vector.plots(POSTS[0].notebook))
    for source, pixels in rows:
        svg = page.request.get(source).text()
        assert 15 * pixels / int(re.search(r'viewBox="0 0 (\d+)', svg)[1]) > 11.9


def test_wide_things_scroll_in_their_own_box(open_page):
    page = open_page(LAST, 360)
    load_pictures(page)
    wide = "[...document.querySelectorAll('.figure-box, .text_html')]"
    scrolling = f"{wide}.filter(e => e.scrollWidth > e.clientWidth)"
    assert page.evaluate(f"{scrolling}.length") > 0
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


def test_formulas_are_set_without_a_script(open_page):
    for path in ("posts/05-overfit-one-batch.html", f"posts/{POSTS[7].slug}.html"):
        page = open_page(path, 360, "dark")
        assert page.locator(".formula math").count() > 0
        assert "$$" not in page.locator("article").inner_text()
    page = open_page("posts/04-model.html")
    formula = page.locator(".formula math", has_text="attention")
    fraction = formula.locator("mfrac").bounding_box()
    above, below = (formula.locator(f"mfrac > :nth-child({n})").bounding_box() for n in (1, 2))
    assert above["y"] + above["height"] <= below["y"] + 2  # set as a fraction, not in a row
    assert fraction["height"] > 1.5 * above["height"]
    code = page.locator(".cell_input", has_text="def attention(q, k, v)").first.bounding_box()
    assert 0 < code["y"] - fraction["y"] < 400  # beside the code that it is


def test_code_can_be_copied(open_page):
    page = open_page("posts/04-model.html")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    block = page.locator(".cell_input .highlight", has_text="def attention(q, k, v)").first
    block.hover()
    block.get_by_role("button", name="Copy").click()
    block.get_by_role("button", name="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied.rstrip() in POSTS[3].code
    assert page.locator(".cell_input pre").count() == page.locator("button.copy").count()


def test_the_list_of_sections_follows(open_page):
    page = open_page("posts/10-state-of-the-art.html", 1440)
    for number in ("10.", "2.", "9.", "3."):  # the last two are short
        heading = page.locator("h2", has_text=re.compile(rf"^{number} "))
        heading.evaluate("e => window.scrollTo(0, e.getBoundingClientRect().top + scrollY - 120)")
        active = page.locator("#pst-page-toc-nav a.active", has_text=re.compile(rf"^{number} "))
        active.wait_for()
        assert page.locator(".bd-sidebar-secondary .active").count() == 1
        box = active.bounding_box()
        assert 0 <= box["y"] <= page.viewport_size["height"]


def test_printed_sentences_wrap_and_columns_do_not(open_page):
    page = open_page("posts/10-state-of-the-art.html", 360)
    printed = page.locator(".cell_output pre")
    sentence = printed.filter(has_text="numbers for each movie:").first
    assert sentence.evaluate("e => e.scrollWidth <= e.clientWidth && e.clientHeight > 60")
    columns = printed.filter(has_text="train_loss").first
    assert columns.evaluate("e => getComputedStyle(e).whiteSpace === 'pre'")


def test_terms_lead_to_the_glossary(open_page):
    page = open_page("posts/04-model.html")
    links = page.locator("article a.term")
    names = [name.lower() for name in links.all_inner_texts()]
    assert len(names) == len(set(names)) > 12
    assert "softmax" in names
    links.filter(has_text="softmax").first.click()
    target = page.locator("p:target")
    assert target.inner_text().lower().startswith("softmax")


def test_the_book_is_offered_and_whole(open_page, built):
    page = open_page("index.html")
    assert page.locator("a[href='recformer.epub']").count() == 1
    with zipfile.ZipFile(built[0] / "recformer.epub") as book:
        assert book.testzip() is None
        names = book.namelist()
        assert names[0] == "mimetype"
        for post in POSTS:
            chapter = ElementTree.fromstring(book.read(f"posts/{post.slug}.xhtml"))
            text = " ".join(" ".join(chapter.itertext()).split())
            assert post.title in text
            pictures = [e for e in chapter.iter() if e.tag.endswith("}img") and e.get("alt")]
            assert len(pictures) >= len(post.pictures())
            assert not [e for e in chapter.iter() if e.tag.endswith("}script")]
            for picture in pictures:
                assert (Path("posts") / picture.get("src")).as_posix().replace(
                    "posts/../", ""
                ) in names
        spine = book.read("content.opf").decode()
        places = [spine.index(f'href="posts/{post.slug}.xhtml"') for post in POSTS]
        assert places == sorted(places)
        assert 'href="blog' not in spine
