"""How the demo looks: title cards as Python draws them, sizes, both modes, contrast, motion."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from recformer_utils.movielens import load_movielens
from recformer_utils.posters.cards import STYLES, title_card

DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {
    "viewport": {"width": 360, "height": 740},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
MODES = ("light", "dark")


def test_cards_are_those_of_the_notebooks(visit, sample_demo):
    """Each genre's motif and lettering, pixel by pixel against title_card."""
    movies = load_movielens("sample").movies
    reader = visit(device_scale_factor=2)
    page = reader.open()
    view = json.loads((sample_demo / "cards.json").read_text())["view"]
    chosen = []
    for genre in STYLES:  # two films whose card shows this genre, if there are so many
        label = "" if genre == "Other" else genre.upper()
        cards = json.loads((sample_demo / "cards.json").read_text())["cards"]
        shown = [
            movie for movie, card in cards.items() if card["text"][-1][-1].endswith(f"· {label}")
        ]
        chosen += [int(movie) for movie in shown[:4]]
    assert len(chosen) > 2 * (len(STYLES) - 1)
    page.evaluate(
        """async ([chosen, view]) => {
            const { drawCard } = await import("./cards.js");
            const { cards } = await (await fetch("cards.json")).json();
            await document.fonts.load("bold 20px Cards");
            const place = document.createElement("div");
            place.id = "gallery";
            place.className = "demo";
            place.style.display = "block";
            document.body.replaceChildren(place);
            for (const movie of chosen) {
                const card = drawCard(cards[movie], view);
                card.style.width = "240px";
                card.style.borderRadius = 0;
                card.dataset.movie = movie;
                place.append(card);
            }
        }""",
        [chosen, view],
    )
    worst = {}
    for movie in chosen:
        picture = page.locator(f'#gallery [data-movie="{movie}"]').screenshot()
        found = Image.open(io.BytesIO(picture)).convert("RGB").resize((240, 360), Image.BOX)
        row = movies[movies["movie_id"] == movie].iloc[0]
        wanted = title_card(movie, row["title"], row["genres"])
        difference = np.abs(np.asarray(found).astype(int) - wanted)
        worst[movie] = difference.mean()
        # Edges are smoothed differently; a shape or a word elsewhere would be far beyond this.
        assert difference.mean() < 3.5, (movie, row["title"])
        assert (difference.max(axis=2) > 90).mean() < 0.02, (movie, row["title"])
    other = title_card(chosen[1], "Another Title (1950)", "War")
    assert np.abs(np.asarray(found).astype(int) - other).mean() > 10, "the measure can tell"


CONTRAST = """() => {
    const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const rgba = (color) => {
        canvas.clearRect(0, 0, 1, 1);
        canvas.fillStyle = color;
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r, g, b]) => [r, g, b]
        .map((c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const groundOf = (node) => {
        for (; node; node = node.parentElement) {
            const color = rgba(getComputedStyle(node).backgroundColor);
            if (color[3] === 255) return color;
        }
        throw new Error("no ground");
    };
    const found = [];
    for (const node of document.querySelectorAll("body *")) {
        const text = [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
        if (!text && !node.matches("input")) continue;
        if (node.closest("svg, [hidden], [aria-disabled], .spoken, option")) continue;
        const [light, dark] = [rgba(getComputedStyle(node).color), groundOf(node)]
            .map(luminance).sort((a, b) => b - a);
        found.push([(light + 0.05) / (dark + 0.05), node.tagName + "." + node.className, node.textContent.slice(0, 30)]);
    }
    return found;
}"""


def fill(reader):
    """A page on which everything is to be seen: picks, a hint, changes, an old film, a search."""
    page = reader.page
    reader.choose(1)
    page.locator("#films button").nth(4).click()
    page.wait_for_selector("#left:not(:empty)")
    return page


@pytest.mark.parametrize(("mode", "by"), [("light", "system"), ("dark", "site")])
def test_both_modes_can_be_read(visit, mode, by):
    other = MODES[1 - MODES.index(mode)]
    reader = visit(color_scheme=mode if by == "system" else other, **DESKTOP)
    if by == "site":  # what the reader chose on the site's other pages
        reader.page.add_init_script(f"localStorage.setItem('mode', '{mode}')")
    page = reader.open()
    if by == "site":
        assert page.evaluate("document.documentElement.dataset.theme") == mode
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(17, 21, 29)") == (mode == "dark")
    fill(reader)
    page.mouse.move(640, 5)
    reader.photograph(f"desktop-{mode}-by-{by}")
    measured = page.evaluate(CONTRAST)
    assert len(measured) > 100
    assert [one for one in measured if one[0] < 4.5] == []


def test_red_is_for_recommendations_only(visit):
    reader = visit(**DESKTOP)
    page = reader.open()
    fill(reader)
    red = page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter((node) => {
            const style = getComputedStyle(node);
            const after = getComputedStyle(node, "::after");
            return [style.color, style.backgroundColor, style.outlineStyle !== "none" && style.outlineColor,
                    style.borderLeftWidth !== "0px" && style.borderLeftColor, after.backgroundColor]
                .includes("rgb(228, 0, 43)");
        }).map((node) => Boolean(node.closest("#recommendations, #peek")))"""
    )
    assert len(red) >= 20
    assert all(red)


@pytest.mark.parametrize(
    ("screen", "mode"), [("phone", "dark"), ("desktop", "light"), ("wide", "light")]
)
def test_nothing_scrolls_sideways_at_any_size(visit, screen, mode):
    wide = {"viewport": {"width": 1920, "height": 1080}}
    reader = visit(color_scheme=mode, **{"phone": PHONE, "desktop": DESKTOP, "wide": wide}[screen])
    page = reader.open()
    assert reader.sideways() == 0
    reader.photograph(f"{screen}-{mode}-1-empty")
    # The longest titles.
    longest = page.evaluate(
        """async () => (await (await fetch("catalogue.json")).json()).films
        .sort((a, b) => b.name.length - a.name.length).slice(0, 8).map((film) => film.id)"""
    )
    page.evaluate(f"location.hash = 'sample={','.join(map(str, longest))}'")
    reader.wait_for_ten(longest)
    assert reader.sideways() == 0
    page.evaluate("scrollTo(0, 0)")
    reader.photograph(f"{screen}-{mode}-2-long")
    page.get_by_role("button", name="Start over").click()
    fill(reader)
    assert reader.sideways() == 0
    page.wait_for_timeout(200)
    reader.photograph(f"{screen}-{mode}-3-shelf")
    page.evaluate("document.getElementById('yours').scrollIntoView({behavior: 'instant'})")
    page.wait_for_timeout(200)
    reader.photograph(f"{screen}-{mode}-4-picks")
    page.evaluate("document.getElementById('ten').scrollIntoView({behavior: 'instant'})")
    page.wait_for_timeout(200)
    reader.photograph(f"{screen}-{mode}-5-ten")


def test_on_a_phone_the_first_recommendation_stays_in_sight(visit):
    reader = visit(**PHONE)
    page = reader.open()
    fill(reader)
    page.locator("#films button").nth(7).scroll_into_view_if_needed()
    page.wait_for_selector("#peek:visible")
    first = page.locator("#recommendations li").first.locator(".name").inner_text()
    assert first in page.locator("#peek").inner_text()
    page.locator("#films button").nth(7).tap()
    page.wait_for_function(
        "document.getElementById('peek').textContent.includes("
        "document.querySelector('#recommendations .name').textContent)"
    )
    page.locator("#peek").tap()
    page.wait_for_selector("#peek", state="hidden")
    assert page.locator("#ten-title").bounding_box()["y"] < 200


def test_buttons_are_large_enough_for_a_thumb(visit):
    reader = visit(**PHONE)
    page = reader.open()
    fill(reader)
    page.locator("#picks .film").nth(1).tap()
    page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
    sizes = page.evaluate(
        """() => [...document.querySelectorAll("button, label.plain, input:not([type=file]), select")]
        .filter((one) => !one.matches(".add, .remove"))  // on a phone for screen readers only
        .map((one) => [one.getBoundingClientRect(), one.textContent.trim() || one.id])
        .filter(([box]) => box.width).map(([box, name]) => [box.width, box.height, name])"""
    )
    assert len(sizes) > 30
    assert [one for one in sizes if one[0] < 44 or one[1] < 44] == []


def test_reduced_motion_is_respected(visit):
    moving = {}
    for motion in ("reduce", "no-preference"):
        reader = visit(reduced_motion=motion)
        page = reader.open()
        reader.choose(1)
        page.evaluate("document.getAnimations().forEach((animation) => animation.finish())")
        moving[motion] = page.evaluate(
            """async () => {
                let most = 0;
                document.querySelector("#picks .remove").click();
                for (let i = 0; i < 10; i++) {
                    most = Math.max(most, document.getAnimations().length);
                    await new Promise((go) => setTimeout(go, 10));
                }
                return most;
            }"""
        )
    assert moving["reduce"] == 0
    assert moving["no-preference"] > 0, "the test would see motion"
