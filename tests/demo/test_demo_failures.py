"""What goes wrong on readers' machines: each time a sentence, a way on, and no broken page."""

import json

import pytest


def failing(visit, pattern, handler, link=""):
    """A visit on which requests for a file are answered by the handler; asks for the model."""
    reader = visit()
    reader.page.route(pattern, handler)
    page = reader.open(link)
    page.locator(".chip").nth(1).click()
    page.wait_for_selector("#failure:not([hidden])")
    return reader, page


def recovers(reader, page, pattern, pytorch_ten):
    """With the obstacle gone, "Try again" leads to the right recommendations."""
    page.unroute(pattern)
    page.get_by_role("button", name="Try again").click()
    ten = reader.wait_for_ten(reader.picks())
    assert [movie for movie, _ in ten] == [movie for movie, _ in pytorch_ten(reader.picks())]
    assert page.locator("#failure").is_hidden()
    reader.complaints.clear()  # the browser's own words about the file that did not come


def still_usable(page):
    """The catalogue can be searched, and films picked and put in order."""
    page.get_by_label("Search by title").fill("tuba")
    before = page.locator("#picks .pick").count()
    page.locator("#films button").first.click()
    assert page.locator("#picks .pick").count() == before + 1
    page.locator("#picks .film").last.focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#recommendations li").count() == 0


def half(sample_demo, name):
    content = (sample_demo / name).read_bytes()
    return lambda route: route.fulfill(body=content[: len(content) // 2])


def spoiled(sample_demo, name):
    content = bytearray((sample_demo / name).read_bytes())
    content[len(content) // 2] ^= 1
    return lambda route: route.fulfill(body=bytes(content))


def blocked(sample_demo, name):
    return lambda route: route.abort("blockedbyclient")


def refused(sample_demo, name):
    return lambda route: route.fulfill(status=404)


@pytest.mark.parametrize(
    ("name", "obstacle", "sentence"),
    [
        ("model.bin", blocked, "blocked it"),
        ("model.bin", refused, "the server answered 404"),
        ("model.bin", half, "arrived incomplete"),
        ("model.bin", spoiled, "its checksum is wrong"),
    ],
)
def test_file_that_does_not_arrive(visit, sample_demo, pytorch_ten, name, obstacle, sentence):
    pattern = f"**/{name}*"
    reader, page = failing(visit, pattern, obstacle(sample_demo, name))
    told = page.locator("#failure").inner_text()
    assert sentence in told
    assert told.startswith("The model")
    if obstacle is half:
        size = len((sample_demo / name).read_bytes())
        assert f"{size // 2:,} of {size:,} bytes" in told
        reader.photograph("failure")
    still_usable(page)
    recovers(reader, page, pattern, pytorch_ten)


def test_connection_that_breaks_in_the_middle(visit, sample_demo, pytorch_ten):
    """The network goes away; what was picked meanwhile is recommended for once it is back."""
    reader = visit()
    page = reader.open()
    page.locator("#demo").hover()
    page.wait_for_selector("#films li")
    reader.context.set_offline(True)
    page.locator(".chip").nth(1).click()
    page.wait_for_selector("#failure:not([hidden])")
    assert "could not be loaded" in page.locator("#failure").inner_text()
    still_usable(page)
    reader.context.set_offline(False)
    recovers(reader, page, "**/nothing", pytorch_ten)


def test_model_that_is_none(visit, sample_demo):
    """A whole file, as announced, that holds other numbers."""
    import hashlib

    content = b"this is no model" * 100
    manifest = json.loads((sample_demo / "manifest.json").read_text())
    manifest["model"] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    reader = visit()
    reader.page.route("**/manifest.json", lambda route: route.fulfill(json=manifest))
    reader.page.route("**/model.bin*", lambda route: route.fulfill(body=content))
    page = reader.open()
    page.locator(".chip").nth(1).click()
    page.wait_for_selector("#failure:not([hidden])")
    assert "The model could not be started" in page.locator("#failure").inner_text()
    still_usable(page)
    reader.complaints.clear()


def test_page_without_one_of_its_lists(visit, sample_demo):
    reader, name = visit(), "catalogue.json"
    reader.page.route(f"**/{name}", half(sample_demo, name))
    page = reader.open()
    told = page.locator("#notice").inner_text()
    assert f"{name} arrived damaged" in told
    assert "Reload the page" in told
    assert page.locator("#films li").count() == 0
    page.unroute(f"**/{name}")
    page.reload()
    page.locator("#demo").hover()
    page.wait_for_selector("#films li")
    assert page.locator("#notice").is_hidden()


def test_browser_itself_keeps_the_page_from_other_machines(visit):
    """Not only does no script ask another machine: none could."""
    reader = visit()
    page = reader.open()
    asked = "fetch('http://localhost:9/').then(() => 'answered', (error) => error.message)"
    assert "Failed to fetch" in page.evaluate(asked)
    assert any("Content Security Policy" in complaint for complaint in reader.complaints)
    reader.complaints.clear()
    reader.requests.clear()


def test_without_scripts_the_page_shows_an_answer_and_says_what_to_do(
    chromium, address, sample_demo
):
    """Scripts are off, or the page was opened as a file; the cards are those that the scripts draw."""
    start = json.loads((sample_demo / "catalogue.json").read_text())["start"]
    for scripts, where in ((False, address), (True, (sample_demo / "index.html").as_uri())):
        with chromium.new_context(java_script_enabled=scripts) as context:
            page = context.new_page()
            page.goto(where)
            assert "python -m http.server" in page.locator("body").inner_text()
            assert page.locator("#picks .card").count() == len(start["films"]) == 5
            assert page.locator("#recommendations .card").count() == 10
            assert page.locator("#catalogue").is_visible() == scripts


def test_what_is_drawn_beforehand_is_what_the_scripts_draw(chromium, address, visit):
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address)
        shown = page.locator("#demo .card").evaluate_all("all => all.map(one => one.outerHTML)")
        odds = page.locator("#demo .odds").all_inner_texts()
    page = visit().open()
    assert page.locator(":is(#picks, #recommendations) .card").evaluate_all(
        "all => all.map(one => one.outerHTML)") == shown  # fmt: skip
    drawn = page.locator(":is(#picks, #recommendations) .odds").all_inner_texts()
    assert [text.replace("Attention:", "").strip() for text in drawn] == odds
