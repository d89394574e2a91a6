"""Without a mouse: whatever can be used is come to, is seen to be, and does what it does."""

import pytest

from tests.site.test_browser import POSTS, load_pictures

PLAYED = [f"posts/{post.slug}.html" for post in POSTS if post.number in (4, 7, 8, 10, 12)]
PAGES = ["index.html", "demo/index.html", *PLAYED, "search.html?q=causal+mask"]

# What can be used, as it is now; and, of what has the focus, its place among that and how it looks.
CONTROLS = """() => {
    const all = "a[href], button, input, select, textarea, summary, [tabindex]";
    window.controls = [...document.querySelectorAll(all)].filter((one) =>
        one.tabIndex >= 0 && !one.disabled && one.getClientRects().length &&
        one.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true }));
    return controls.map((one) => one.outerHTML.slice(0, 100));
}"""
FOCUSED = """async () => {
    // What watches the scrolling has seen it when two frames are over.
    for (const _ of [1, 2]) await new Promise(requestAnimationFrame);
    for (const moving of document.getAnimations()) moving.finish(); // as the link to the main part
    const one = document.activeElement;
    if (one === document.body) return null;
    const ringed = one.closest("label.file") ?? one; // a file is asked for by the label around it
    const ring = getComputedStyle(ringed);
    const box = ringed.getBoundingClientRect();
    const [left, top] = [Math.max(box.left, 0), Math.max(box.top, 0)];
    const x = (left + Math.min(box.right, innerWidth)) / 2;
    const y = (top + Math.min(box.bottom, innerHeight)) / 2;
    const there = document.elementFromPoint(x, y);
    return {
        place: controls.indexOf(one),
        name: one.outerHTML.slice(0, 100),
        ring: ring.outlineStyle === "none" ? 0 : parseFloat(ring.outlineWidth),
        there: there?.outerHTML.slice(0, 100),
        inSight: there !== null && (ringed.contains(there) || there.contains(ringed)),
    };
}"""


@pytest.mark.parametrize(
    ("path", "width"),
    [*((path, (360, 1280)[n % 2]) for n, path in enumerate(PAGES)), (PAGES[0], 1280)],
)
def test_the_tab_key_comes_to_everything_and_leaves_it_again(open_page, path, width):
    page = open_page(path, width)
    if page.locator("#demo").count():
        page.wait_for_selector("#ten[data-ready]", state="attached")
        page.locator("#demo").hover()  # its other films come
        page.wait_for_selector("#films .film")
    elif path.startswith("search"):
        page.wait_for_selector("#search-results li")
    elif path in PLAYED:
        page.wait_for_selector(".play")
    page.mouse.move(2, 2)
    load_pictures(page)
    controls = page.evaluate(CONTROLS)
    assert len(controls) > 10
    come_to = []
    for _ in range(len(controls) + 200):  # boxes that scroll have the focus, too
        page.keyboard.press("Tab")
        focused = page.evaluate(FOCUSED)
        if focused is None or focused["place"] in come_to[:1]:
            break
        assert focused["ring"] >= 2, focused
        assert focused["inSight"], focused
        come_to.append(focused["place"])
    else:
        raise AssertionError(f"the focus does not leave {focused['name']}")
    missed = set(range(len(controls))) - set(come_to)
    assert [controls[place] for place in missed] == []


KEYS = {"range": "ArrowLeft", "checkbox": "Space", "select-one": "ArrowDown", "button": "Enter"}


@pytest.mark.parametrize("path", PLAYED)
def test_what_can_be_played_with_obeys_the_keys(open_page, path):
    page = open_page(path)
    page.wait_for_selector(".play")
    used = set()
    for box in page.locator(".play").all():
        for control in range(box.locator("input, select, button").count()):
            one = box.locator("input, select, button").nth(control)
            kind = one.evaluate("e => e.type")
            if one.get_attribute("aria-pressed") == "true":
                continue
            before = box.inner_text()
            one.focus()
            if kind == "search":
                page.keyboard.type("Major Meteor")
            else:
                page.keyboard.press(KEYS[kind])
            assert box.inner_text() != before, one.evaluate("e => e.outerHTML")
            assert box.evaluate("e => e.contains(document.activeElement)"), "the focus stays"
            used.add(kind)
    assert used


def test_a_search_needs_no_mouse(open_page):
    page = open_page(PLAYED[0])
    page.keyboard.press("Control+K")
    page.wait_for_selector("#pst-search-dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("#pst-search-dialog", state="hidden")
    page.keyboard.press("Control+K")
    page.keyboard.type("causal mask")
    page.keyboard.press("Enter")
    page.wait_for_selector("#search-results li")
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('#search-results a')"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/*.html*#*")


def test_day_and_night_need_no_mouse(open_page):
    page = open_page("index.html")
    page.locator(".theme-switch-button:visible").first.focus()
    page.keyboard.press("Enter")
    page.locator(".theme-change-button[data-mode=dark]:visible").wait_for()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
        if page.evaluate("document.activeElement.dataset.mode === 'dark'"):
            break
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.documentElement.dataset.theme === 'dark'")
