"""The demo as a reader uses it, in a browser, against what PyTorch says."""

import itertools
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
    for length in (1, 2, 3, 4, 5, 6, 9, 12, 30):
        history = [film["id"] for film in rng.sample(films, length)]
        page.evaluate(f"location.hash = 'sample={','.join(map(str, history))}'")
        shown = reader.wait_for_ten(history)
        same_ten(shown, pytorch_ten(history))
        assert not {movie for movie, _ in shown} & set(history), "a picked film is recommended"


def test_search_pick_and_order_with_the_mouse(visit, pytorch_ten, films):
    reader = visit()
    page = reader.open("#sample=")
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
    assert shown == [film["id"] for film in films if "Horror" in film["genres"]][:20]
    page.locator("#films button").first.click()
    history.append(shown[0])
    # By button: the last film one place earlier.
    page.locator("#picks .film").last.click()
    page.locator("#why").get_by_role("button", name="Earlier").click()
    history = [*history[:2], history[3], history[2]]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    # By dragging: the first film onto the place of the last.
    page.locator("#picks .film .card").first.scroll_into_view_if_needed()
    reader.settle()
    boxes = [page.locator("#picks .film .card").nth(place).bounding_box() for place in (0, 3)]
    (x0, y0), (x1, y1) = [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes]
    page.mouse.move(x0, y0)
    page.mouse.down()
    page.mouse.move((x0 + x1) / 2, (y0 + y1) / 2, steps=4)
    page.mouse.move(x1, y1, steps=4)
    page.mouse.up()
    history = [*history[1:], history[0]]
    assert reader.picks() == history
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    # A recommendation is picked with its button, or dragged onto a place of the list.
    taken = reader.ten()[2][0]
    page.locator("#recommendations .add").nth(2).click()
    history.append(taken)
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    reader.settle()
    taken = reader.ten()[0][0]
    page.locator("#recommendations .card").first.drag_to(page.locator("#picks .card").nth(1))
    history.insert(1, taken)
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    page.get_by_role("button", name="Start over").click()
    page.wait_for_selector('#ten[data-ready=""]', state="attached")
    assert reader.picks() == reader.ten() == []


def test_order_with_a_finger(visit, pytorch_ten, films):
    reader = visit(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    history = [film["id"] for film in films[:5]]
    page = reader.open(f"#sample={','.join(map(str, history))}")
    reader.wait_for_ten(history)
    page.locator("#picks .pick").first.scroll_into_view_if_needed()
    reader.settle()
    boxes = [page.locator("#picks .film .card").nth(place).bounding_box() for place in (0, 2)]
    (x0, y0), (x1, y1) = [(b["x"] + b["width"] / 2, b["y"] + b["height"] / 2) for b in boxes]
    finger = reader.context.new_cdp_session(page)
    for kind, points in (("touchStart", [(x0, y0)]), ("touchMove", [((x0 + x1) / 2, y0)]),
                         ("touchMove", [(x1, y1)]), ("touchEnd", [])):  # fmt: skip
        touches = [{"x": x, "y": y} for x, y in points]
        finger.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    history = [*history[1:3], history[0], *history[3:]]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    reader.settle()
    for _ in range(5):  # Chromium takes a tap that follows soon for a part of the gesture before
        page.locator("#picks .film").first.tap()
        page.wait_for_timeout(500)
        if page.locator("#why.open").count():
            break
    page.locator("#why").get_by_role("button", name="Remove").tap()
    same_ten(reader.wait_for_ten(history[1:]), pytorch_ten(history[1:]))


def test_what_changed_is_what_changed(visit, pytorch_ten, films):
    """Entered, up, down and left, computed here from two lists of PyTorch's."""
    rng = random.Random(11)
    reader = visit()
    page = reader.open()
    names = {film["id"]: film["name"] for film in films}
    assert not any(text.strip() for text in page.locator(".badge").all_inner_texts())
    history = [film["id"] for film in rng.sample(films[:60], 4)]
    page.evaluate(f"location.hash = 'sample={','.join(map(str, history))}'")
    reader.wait_for_ten(history)
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
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        assert page.locator("#left").inner_text() == (
            f"Left the ten: {', '.join(left[:3])}{more}." if left else ""
        )
    assert kinds == {"n", "▲", "▼", ""}, "the test has seen every kind of change"


def test_link_reproduces_the_selection(visit, films):
    history = [film["id"] for film in films[10:16]]
    first = visit()
    page = first.open("#sample=")
    for movie in history:
        page.locator(f'#films button[data-id="{movie}"]').click()
    ten = first.wait_for_ten(history)
    page.wait_for_function("films => location.hash === '#sample=' + films", arg=history)
    link = page.evaluate("location.hash")
    second = visit()
    page = second.open(link)
    assert second.picks() == history
    assert second.wait_for_ten(history) == ten
    page.reload()
    assert second.wait_for_ten(history) == ten
    assert second.picks() == history
    assert not any("6," in url or "sample=" in url for url in second.requests), "it was sent"


def test_back_undoes_and_forward_does_it_again(visit, sample_demo):
    first, second = json.loads((sample_demo / "catalogue.json").read_text())["presets"][:2]
    reader = visit()
    page = reader.open()
    assert reader.picks() == first["films"]
    page.locator(".chip").nth(1).click()
    page.locator("#picks .remove").nth(2).click()
    changed = [movie for place, movie in enumerate(second["films"]) if place != 2]
    page.get_by_role("button", name="Start over").click()
    page.wait_for_function("() => location.hash === '#sample='")
    for go, films in (
        (page.go_back, changed),
        (page.go_back, second["films"]),
        (page.go_back, first["films"]),
        (page.go_forward, second["films"]),
    ):
        go()
        reader.wait_for_ten(films)
        assert reader.picks() == films


@pytest.mark.parametrize(
    ("link", "sentence", "picked"),
    [
        ("#other=1,2,3", "another catalogue (other)", 5),
        ("#sample=8,999999,17,17", "1 of the link's 3 films", 2),
        ("#sample=8,x", "holds no selection", 5),
        ("#=%E0%A4%A", "holds no selection", 5),
    ],
)
def test_link_that_does_not_fit_says_so(visit, link, sentence, picked):
    reader = visit()
    page = reader.open(link)
    assert sentence in page.locator("#notice").inner_text()
    assert len(reader.picks()) == picked
    reader.choose(1)
    assert page.locator("#notice").is_hidden()


def test_nothing_large_is_loaded_before_the_reader_picks(visit, pytorch_ten):
    """What the page opens with is there without the model; the first change loads it."""
    reader = visit()
    page = reader.open()
    same_ten(reader.ten(), pytorch_ten(reader.picks()))
    page.get_by_label("Search by title").fill("the")
    page.locator("#recommendations .film").nth(3).hover()
    page.wait_for_timeout(300)
    assert not [url for url in reader.requests if ".bin" in url]
    shares = []
    page.expose_function("noted", lambda share: shares.append(share))
    page.evaluate(
        """() => new MutationObserver(() => noted(document.getElementById("progress").value))
        .observe(document.getElementById("progress"), {attributes: true})"""
    )
    reader.choose(1)
    assert [
        url.rpartition("/")[2].partition("?")[0] for url in reader.requests if ".bin" in url
    ] == ["model.bin"]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1)


# From the press itself, waiting included, until the frame that shows what followed is out; and what the
# machine needs to draw the cards of both lists anew, without anything else.
TIMED = """() => {
    window.presses = [];
    const shown = () => new Promise((done) => requestAnimationFrame(() => {
        const out = new MessageChannel();
        out.port1.onmessage = done;
        out.port2.postMessage(0);
    }));
    addEventListener("click", ({ timeStamp }) => shown().then(() => presses.push({
        took: performance.now() - timeStamp,
        of: document.getElementById("ten").dataset.ready,
        cards: document.querySelectorAll("#recommendations .card").length,
    })), true);
    window.drawAnew = async () => {
        const lists = [...document.querySelectorAll("#picks, #recommendations")];
        const own = lists.map(({ children }) => [...children]);
        const start = performance.now();
        lists.forEach((list, i) => list.replaceChildren(...own[i].map((child) => child.cloneNode(true))));
        await shown();
        const took = performance.now() - start;
        lists.forEach((list, i) => list.replaceChildren(...own[i]));
        return took;
    };
}"""


def press(reader, buttons):
    """40 presses with the mouse, each after all has come to rest: their times in ms, sorted, and those of
    drawing alone, taken in turn with them."""
    page, drawn = reader.page, []
    page.evaluate("presses.length = 0")
    for i in range(40):
        button = buttons[i % len(buttons)]
        button.scroll_into_view_if_needed()
        reader.settle()
        drawn.append(page.evaluate("drawAnew()"))
        reader.settle()
        box = button.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.wait_for_function("n => presses.length === n", arg=i + 1)
    presses = page.evaluate("presses")
    assert {one["cards"] for one in presses} == {10}
    for before, after in itertools.pairwise(presses):
        assert before["of"] != after["of"], "what was painted is what the press asked for"
    return sorted(one["took"] for one in presses), sorted(drawn)


@pytest.mark.parametrize("number", [5, 30])
def test_ten_cards_are_out_within_50_ms(visit, pytorch_ten, films, number):
    """A ready-made history; and as many films as a selection holds, while the page says why.

    The median of 40 presses, and twice that for the 95th percentile: on two cores a press may have
    to wait for one. Where drawing the cards alone takes long, by the machine or by what else runs
    there, two and a half times that is allowed; and the best of three rounds counts.
    """
    reader = visit()
    page = reader.open()
    reader.choose(1)
    buttons = page.locator(".chip").all()
    if number == 30:
        history = [film["id"] for film in films[39:9:-1]]
        page.evaluate(f"location.hash = 'sample={','.join(map(str, history))}'")
        reader.wait_for_ten(history)
        with_last, without = (dict(pytorch_ten(ids)) for ids in (history, history[:-1]))
        stays = next(movie for movie in with_last if movie in without)
        page.locator(f'#recommendations .film[data-id="{stays}"]').click()
        buttons = [page.locator(f'#films [data-id="{history[-1]}"]')]
    page.evaluate(TIMED)
    rounds, good = [], False
    while not good and len(rounds) < 3:
        times, drawn = press(reader, buttons)
        told = "median {:.0f} ms, 95th percentile {:.0f} ms; drawing alone {:.0f} and {:.0f} ms"
        rounds.append(told.format(times[20], times[38], drawn[20], drawn[38]))
        good = times[20] < max(50, 2.5 * drawn[20]) and times[38] < max(100, 2.5 * drawn[38])
    print(f"{number} films:", "; ".join(rounds))
    assert good, rounds
    if number == 30:  # what it says of the film that was pressed has kept up
        place = [movie for movie, _ in reader.ten()].index(stays)
        odds = page.locator("#recommendations .percent").nth(place).inner_text()
        page.wait_for_selector(f"#why:has-text('? {odds}, place {place + 1}')")


def test_why_shows_attention_and_what_each_film_is_worth(visit, pretrained, films):
    """By hover, by focus and by a press, against what PyTorch says."""
    reader = visit()
    page = reader.open()
    why, names = page.locator("#why"), {film["token"]: film["name"] for film in films}
    picked = reader.choose(2)
    tokens = pretrained.metadata.tokenize_movies(picked).tolist()
    answer = pretrained.answer(tokens)

    def share(value):
        return f"{100 * value:.{1 if value < 0.1 else 0}f}\u00a0%"

    assert page.locator("#picks .share").all_inner_texts() == [
        share(a) for a in answer["attention"]
    ]
    for bars in (page.locator("#picks .bar"), page.locator("#recommendations .bar")):
        widths = bars.evaluate_all(
            "all => all.map(e => Number(e.style.getPropertyValue('--share')))"
        )
        assert max(widths) == 1 > min(widths) > 0, "the largest share is a full bar, in both lists"
    page.locator("#recommendations .film").nth(3).hover()
    assert f"Why {names[answer['ten'][3][0]]}?" in why.inner_text()
    rows = why.locator("tbody tr").all()
    assert [row.locator("th").inner_text() for row in rows] == [names[token] for token in tokens]
    for row, weight, without in zip(rows, answer["attention"], answer["without"], strict=True):
        assert row.locator(".spoken").inner_text() == share(weight)
        probability, place = without["of"][3]
        assert row.locator("td").last.inner_text() == f"{share(probability)}, place {place}"
    page.mouse.move(5, 5)
    assert "Point at a film" in why.inner_text()

    now = [token for token, _ in answer["ten"]]
    page.locator("#picks .film").nth(1).focus()
    page.keyboard.press("Tab")  # the button beside it
    page.keyboard.press("Tab")
    without = answer["without"][2]["ten"]
    assert names[tokens[2]] in why.inner_text()
    assert f"Without it, first: {names[without[0]]}." in why.inner_text()
    leaving = page.locator("#recommendations li").evaluate_all(
        "all => all.flatMap((li, i) => li.matches('.leaves') ? [i] : [])"
    )
    assert leaving == [place for place, token in enumerate(now) if token not in without]
    assert leaving, "the test has seen one leave"
    page.keyboard.press("Enter")
    page.mouse.move(5, 5)
    assert names[tokens[2]] in why.inner_text(), "pressed, it stays"
    # What it announced is what happens.
    why.get_by_role("button", name="Remove").click()
    shown = reader.wait_for_ten([movie for place, movie in enumerate(picked) if place != 2])
    tokens_shown = pretrained.metadata.tokenize_movies([movie for movie, _ in shown]).tolist()
    assert [token for token in tokens_shown if token != tokens[2]][:9] == without[:9]


def test_typing_a_real_title_explains_that_films_are_invented(visit):
    reader = visit()
    page = reader.open()
    assert "395 films that do not exist" in page.locator("#about").inner_text()
    page.get_by_label("Search by title").fill("Toy Story")
    page.wait_for_selector("#found:has-text('are invented')")
    told = page.locator("#found").inner_text()
    assert "Open MovieLens-1M" in told
    assert page.get_by_text("Open MovieLens-1M", exact=True).is_visible()


def test_a_selection_holds_no_more_than_the_model_reads(visit, sample_demo, films):
    """Also where another model has taken the place of the sample's."""
    manifest = json.loads((sample_demo / "manifest.json").read_text())
    manifest["model"]["window"] = most = 8
    reader = visit()
    reader.page.route("**/manifest.json", lambda route: route.fulfill(json=manifest))
    page = reader.open("#sample=")
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

    tab_to('.chip[aria-pressed="false"]')
    history = page.evaluate("document.activeElement.dataset.films.split(',').map(Number)")
    page.keyboard.press("Enter")
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    tab_to("#picks .film")
    page.keyboard.press("ArrowRight")
    history[0], history[1] = history[1], history[0]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    # The focus went with the film: the same key moves it on.
    page.keyboard.press("ArrowRight")
    history[1], history[2] = history[2], history[1]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    page.keyboard.press("Delete")
    del history[2]
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    assert page.evaluate("Number(document.activeElement.dataset.id)") == history[2]
    tab_to("#recommendations .add")
    page.keyboard.press("Enter")
    history.append(reader.picks()[-1])
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    tab_to("#search")
    page.keyboard.type("tuba")
    tab_to("#films button")
    page.keyboard.press("Enter")
    history.append(reader.picks()[-1])
    same_ten(reader.wait_for_ten(history), pytorch_ten(history))
    assert page.evaluate("document.activeElement.matches('#films button[aria-pressed=true]')")
