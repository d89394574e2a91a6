"""What a page weighs and how soon it shows something, on a phone's slow line."""

import pytest

from tools import post_data

POSTS = post_data.posts()
SLOW_4G = {"latency": 150, "downloadThroughput": 1638.4e3 / 8, "uploadThroughput": 768e3 / 8}
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0].startTime"


def loaded(chromium, url: str, width: int) -> dict:
    """Opens a page with an empty cache by slow 4G; its first paint in ms, KB over the line."""
    context = chromium.new_context(viewport={"width": width, "height": 740 if width < 600 else 900})
    page = context.new_page()
    session, sizes = context.new_cdp_session(page), {}
    session.send("Network.enable")
    session.send("Network.emulateNetworkConditions", {"offline": False, **SLOW_4G})
    names = {}
    session.on(
        "Network.requestWillBeSent", lambda e: names.update({e["requestId"]: e["request"]["url"]})
    )
    session.on(
        "Network.loadingFinished",
        lambda e: sizes.update({names.get(e["requestId"]): e["encodedDataLength"]}),
    )
    page.goto(url, wait_until="networkidle")
    found = {"paint": page.evaluate(PAINTED), "KB": sum(sizes.values()) / 1000, "sizes": sizes}
    context.close()
    return found


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("path", ["index.html", f"posts/{POSTS[0].slug}.html"])
def test_the_first_paint_is_soon_and_light(chromium, address, path, width):
    """By slow 4G as Lighthouse defines it; the best of three, as other things run here too."""
    tries = [loaded(chromium, address + path, width) for _ in range(3)]
    assert min(each["paint"] for each in tries) < 1500
    assert tries[0]["KB"] < 500, tries[0]["sizes"]


@pytest.mark.parametrize(("height", "seen"), [(740, False), (2000, True)])
def test_the_other_films_come_after_the_page(chromium, address, height, seen):
    """Where they are in sight at once they wait until the rest is loaded; else until one comes near."""
    with chromium.new_context(viewport={"width": 1440, "height": height}) as context:
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        session.send("Network.emulateNetworkConditions", {"offline": False, **SLOW_4G})
        page.goto(address, wait_until="networkidle")
        asked = (
            "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/cards.json'))"
        )
        loaded = "performance.getEntriesByType('navigation')[0].loadEventStart"
        starts = page.evaluate(f"{asked}.map(e => e.startTime)")
        assert len(starts) == seen
        for start in starts:
            assert start > max(page.evaluate(loaded), page.evaluate(PAINTED))
        page.locator("#films").scroll_into_view_if_needed()
        page.wait_for_selector("#films .card")
        assert page.evaluate(f"{asked}.length") == 1
