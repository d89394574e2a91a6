"""The demo as a reader uses it, in a browser, against what PyTorch says."""

import json
import random

import pytest


def same_ten(shown, expected):
    """The same films in the same order, probabilities to 1e-4 (in fact to 1e-5)."""
    assert [movie for movie, _ in shown] == [movie for movie, _ in expected]
    for (_, found), (_, wanted) in zip(shown, expected, strict=True):
        assert found == pytest.approx(wanted, abs=1e-5)


def test_every_ready_made_history_works_with_one_click(visit, pytorch_ten, sample_demo):
    presets = json.loads((sample_demo / "catalogue.json").read_text())["presets"]
    reader = visit()
    page = reader.open()
    assert page.locator(".chip").count() == len(presets) >= 3
    for preset in presets:
        page.get_by_role("button", name=preset["name"]).click()
        same_ten(reader.wait_for_ten(preset["films"]), pytorch_ten(preset["films"]))
        assert reader.picks() == preset["films"]


def test_histories_of_any_length_give_what_pytorch_gives(visit, pytorch_ten, films):
    """From one film to as many as a selection holds, well-known and unknown ones."""
    rng = random.Random(5)
    reader = visit()
    page = reader.open()
    page.get_by_role("button", name="Start the recommender").click()
    page.wait_for_selector("#start-button", state="hidden")
    for length in (1, 2, 3, 4, 5, 6, 9, 12, 30):
        history = [film["id"] for film in rng.sample(films, length)]
        page.evaluate(f"location.hash = 'sample={','.join(map(str, history))}'")
        shown = reader.wait_for_ten(history)
        same_ten(shown, pytorch_ten(history))
        assert not {movie for movie, _ in shown} & set(history), "a picked film is recommended"


def test_search_pick_and_order_with_the_mouse(visit, pytorch_ten, films):
    reader = visit()
    page = reader.open()
    history = []
    for typed, name in (("TUBA", "Grand Theft Tuba"), ("saltt desert", "Beyond the Salt Desert"),
                        ("ete a saint", "L'Été à Saint-Malo")):  # fmt: skip
        page.get_by_label("Search by title").fill(typed)
        button = page.locator("#films button").filter(has_text=name).first
        button.click()
        movie = int(button.get_attribute("data-id"))
        history.append(movie)
        assert button.get_attribute("aria-pressed") == "true"
        same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    page.get_by_label("Search by title").fill("")
    page.get_by_label("Genre").select_option("Horror")
    shown = page.locator("#films button").evaluate_all("all => all.map(b => Number(b.dataset.id))")
    assert shown == [film["id"] for film in films if "Horror" in film["genres"]][:48]
    page.locator("#films button").first.click()
    history.append(shown[0])
    # By button: the last film one place earlier.
    page.locator("#picks .pick").last.get_by_role("button", name="Earlier").click()
    history = [*history[:2], history[3], history[2]]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    # By dragging: the first film onto the place of the last.
    page.locator("#picks .pick .grip").first.scroll_into_view_if_needed()
    reader.settle()
    boxes = [page.locator("#picks .pick .grip").nth(place).bounding_box() for place in (0, 3)]
    (x0, y0), (x1, y1) = [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes]
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=4)
    page.mouse.move(x1, y1, steps=4)
    page.mouse.up()
    history = [*history[1:], history[0]]
    assert reader.picks() == history
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    # A recommendation is picked by clicking it, and a picked film unpicked in the catalogue.
    taken = reader.ten()[2][0]
    page.locator("#recommendations li").nth(2).get_by_role("button").click()
    history.append(taken)
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    page.get_by_role("button", name="Start over").click()
    page.wait_for_selector('#ten[data-ready=""]', state="attached")
    assert reader.picks() == reader.ten() == []


def test_order_with_a_finger(visit, pytorch_ten, films):
    reader = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    history = [film["id"] for film in films[:5]]
    page = reader.open(f"#sample={','.join(map(str, history))}")
    page.get_by_role("button", name="Start the recommender").tap()
    reader.wait_for_ten(history)
    page.locator("#picks .pick").first.scroll_into_view_if_needed()
    reader.settle()
    boxes = [page.locator("#picks .pick .grip").nth(place).bounding_box() for place in (0, 2)]
    (x0, y0), (x1, y1) = [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes]
    finger = reader.context.new_cdp_session(page)
    for kind, points in (("touchStart", [(x0, y0)]), ("touchMove", [(x0, (y0 + y1) / 2)]),
                         ("touchMove", [(x1, y1)]), ("touchEnd", [])):  # fmt: skip
        touches = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    history = [*history[1:3], history[0], *history[3:]]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    reader.settle()
    page.locator("#picks .pick").first.get_by_role("button", name="Remove").click()
    same_ten(reader.wait_for_ten(history[1:]), pytorch_ten(history[1:]))


def test_what_changed_is_what_changed(visit, pytorch_ten, films):
    """Entered, up, down and left, computed here from two lists of PyTorch's."""
    rng = random.Random(11)
    reader = visit()
    page = reader.open()
    names = {film["id"]: film["name"] for film in films}
    history = [film["id"] for film in rng.sample(films[:60], 4)]
    page.evaluate(f"location.hash = 'sample={','.join(map(str, history))}'")
    page.get_by_role("button", name="Start the recommender").click()
    reader.wait_for_ten(history)
    assert page.locator(".badge").all_inner_texts() == [""] * 10 or not any(
        text.strip() for text in page.locator(".badge").all_inner_texts()
    )
    kinds = set()
    for film in rng.sample(films[:80], 12):
        if film["id"] in history:
            continue
        before = [movie for movie, _ in pytorch_ten(history)]
        history.append(film["id"])
        now = [movie for movie, _ in pytorch_ten(history)]
        page.evaluate(f"location.hash = 'sample={','.join(map(str, history))}'")
        reader.wait_for_ten(history)
        for movie, badge in zip(now, page.locator(".badge").all(), strict=True):
            won = before.index(movie) - now.index(movie) if movie in before else None
            text = "new" if won is None else f"▲ {won}" if won > 0 else f"▼ {-won}" if won else ""
            assert badge.locator("[aria-hidden]").inner_text() == text
            kinds.add(text[:1])
        left = [
            f"{names[movie]} (was {place})"
            for place, movie in enumerate(before, 1)
            if movie not in now and movie not in history
        ]
        assert page.locator("#left").inner_text() == (
            f"Left the ten: {', '.join(left)}." if left else ""
        )
    assert kinds == {"n", "▲", "▼", ""}, "the test has seen every kind of change"


def test_link_reproduces_the_selection(visit, films):
    history = [film["id"] for film in films[10:16]]
    first = visit()
    page = first.open()
    for movie in history:
        page.locator(f'#films button[data-id="{movie}"]').click()
    ten = first.wait_for_ten(history)
    link = page.evaluate("location.hash")
    second = visit()
    page = second.open(link)
    assert second.picks() == history
    page.get_by_role("button", name="Start the recommender").click()
    assert second.wait_for_ten(history) == ten
    page.reload()
    page.wait_for_selector("#boot", state="hidden")
    assert second.picks() == history
    assert not any("6," in url or "sample=" in url for url in second.requests), "it was sent"


@pytest.mark.parametrize(
    ("link", "sentence", "picked"),
    [
        ("#ml-1m=1,2,3", "another catalogue (ml-1m)", 0),
        ("#sample=8,999999,17,17", "1 of the link's 3 films", 2),
        ("#sample=8,x", "holds no selection", 0),
        ("#%E0%A4%A", "holds no selection", 0),
    ],
)
def test_link_that_does_not_fit_says_so(visit, link, sentence, picked):
    reader = visit()
    page = reader.open(link)
    assert sentence in page.locator("#notice").inner_text()
    assert len(reader.picks()) == picked
    page.locator(".chip").first.click()
    reader.page.wait_for_selector("#recommendations li")
    assert page.locator("#notice").is_hidden()


def test_nothing_large_is_loaded_before_the_reader_starts(visit, films):
    reader = visit()
    page = reader.open(f"#sample={films[0]['id']}")
    page.get_by_label("Search by title").fill("the")
    page.wait_for_timeout(300)
    assert not [url for url in reader.requests if "onnx" in url or "runtime" in url]
    shares = []
    page.expose_function("noted", lambda share: shares.append(share))
    page.evaluate(
        """() => new MutationObserver(() => noted(document.getElementById("progress").value))
        .observe(document.getElementById("progress"), {attributes: true})"""
    )
    page.get_by_role("button", name="Start the recommender").click()
    reader.wait_for_ten([films[0]["id"]])
    assert [url for url in reader.requests if "onnx" in url]
    assert len(shares) >= 3, "the bar moved while the files came"
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


def test_too_few_films_say_so_and_offer_a_way_on(visit, pytorch_ten, films):
    reader = visit()
    page = reader.open()
    history = [films[3]["id"]]
    page.locator(f'#films button[data-id="{history[0]}"]').click()
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    hint = page.locator("#short")
    assert "One film says little" in hint.inner_text()
    assert "up to 200, and 5 tell it more" in hint.inner_text()
    reader.photograph("too-few")
    hint.get_by_role("button").click()
    while len(history) < 5:
        history.append(pytorch_ten(history)[0][0])
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    assert hint.is_hidden()


def test_a_selection_holds_no_more_than_the_model_reads(visit, sample_demo, films):
    """Also where another model has taken the place of the sample's."""
    manifest = json.loads((sample_demo / "manifest.json").read_text())
    manifest["model"]["window"] = most = 8
    reader = visit()
    reader.page.route("**/manifest.json", lambda route: route.fulfill(json=manifest))
    page = reader.open()
    page.evaluate(
        "document.querySelectorAll('#films button').forEach((b, i) => i < 31 && b.click())"
    )
    history = [film["id"] for film in films[:most]]
    reader.wait_for_ten(history)
    assert reader.picks() == history
    assert f"holds {most} films at most" in page.locator("#notice").inner_text()


def test_keyboard_alone_is_enough(visit, pytorch_ten):
    reader = visit()
    page = reader.open()

    def tab_to(selector, limit=90):
        for _ in range(limit):
            page.keyboard.press("Tab")
            if page.evaluate("s => document.activeElement.matches(s)", selector):
                outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
                assert outline == "solid", f"no focus to be seen on {selector}"
                return
        raise AssertionError(f"the tab key never came to {selector}")

    tab_to(".chip")
    page.keyboard.press("Enter")
    page.wait_for_selector("#recommendations li")
    history = reader.picks()
    tab_to('.pick [data-do="later"]')
    page.keyboard.press("Space")
    history[0], history[1] = history[1], history[0]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    # The focus went with the film: the same key moves it on.
    page.keyboard.press("Space")
    history[1], history[2] = history[2], history[1]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    tab_to('.pick [data-do="remove"]')
    gone = page.evaluate("Number(document.activeElement.closest('li').dataset.id)")
    page.keyboard.press("Enter")
    history.remove(gone)
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    assert page.evaluate("document.activeElement.matches('.pick [data-do=remove]')")
    tab_to("#search")
    page.keyboard.type("tuba")
    tab_to("#films button")
    page.keyboard.press("Enter")
    history.append(reader.picks()[-1])
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    assert page.evaluate("document.activeElement.matches('#films button[aria-pressed=true]')")
