"""The explanations to play with: below the pictures of their posts, with the numbers of the posts."""

import json
import re

import pytest
from numpy.random import default_rng
from scipy import stats

from recformer_utils.evaluation import metrics_from_ranks
from tests.site.test_browser import POSTS, SCREENSHOTS
from tools import explain
from tools.explain import (
    EXPLORING,
    PRETRAINED,
    cells,
    exploring,
    feedback,
    notebook,
    toy,
    window,
)
from tools.notebooks import findings

PATHS = {post.number: f"posts/{post.slug}.html" for post in POSTS}
WIDGETS = {4: 2, 7: 2, 8: 1, 10: 1, 12: 1, 13: 1}


@pytest.fixture
def play(open_page):
    """play(number, nth) opens the post and gives its page and the box."""

    def opened(number, nth=0, width=1280, mode="light"):
        page = open_page(PATHS[number], width, mode)
        page.wait_for_selector(".play")
        return page, page.locator(".play").nth(nth)

    return opened


def move(slider, value):
    slider.evaluate("(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value)


@pytest.mark.parametrize("number", WIDGETS)
@pytest.mark.parametrize(("width", "mode"), [(360, "dark"), (1280, "light")])
def test_each_stands_below_its_picture(play, number, width, mode):
    page, _ = play(number, 0, width, mode)
    boxes = page.locator(".play")
    assert boxes.count() == WIDGETS[number]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for place, box in enumerate(boxes.all()):
        box.screenshot(path=SCREENSHOTS / f"play-{number:02d}-{place}-{width}-{mode}.png")
        if not (number == 7 and place == 0):  # the one without a picture
            above = "e => Boolean(e.previousElementSibling.querySelector('img, svg'))"
            assert box.evaluate(above)


def test_without_scripts_the_post_is_as_it_was(chromium, address):
    with chromium.new_context(java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(address + PATHS[4])
        assert page.locator(".play").count() == 0
        assert page.locator("img[alt^='Five small heat maps in a row']").count() == 1


def test_posts_with_nothing_to_play_with_load_nothing(open_page):
    page = open_page(PATHS[1])
    assert page.locator("script[src*=explain]").count() == 0


def weights(box):
    return [
        [cell.inner_text() for cell in row.locator("td").all()]
        for row in box.locator("tbody tr").all()
    ]


def test_the_mask_and_the_softmax_are_those_of_the_post(play):
    _, box = play(4)
    printed = next(
        output["text"]
        for cell in cells(4)
        for output in cell.get("outputs", [])
        if "attention weights:" in output.get("text", "")
    )
    wanted = re.search(r"attention weights: +(.*)", printed)[1].split()
    assert weights(box)[2] == wanted
    assert weights(box)[0] == ["1.00", "–", "–"]
    box.get_by_label("mask the future").click()
    first = [float(weight) for weight in weights(box)[0]]
    assert sum(first) == pytest.approx(1, abs=0.02)
    box.get_by_role("button", name="Star Wars").click()
    assert "films that come later" in box.get_by_role("status").inner_text()
    move(box.locator("input[type=range]"), 8)  # soft: all three count nearly the same
    assert max(map(float, weights(box)[0])) < 0.5
    assert toy()["scores"][0][0][2] == [6, 3, 5], "halved, as the post does by hand: 3, 1.5, 2.5"


def test_a_block_and_a_head_can_be_chosen(play, built):
    _, box = play(4, 1)
    stored = json.loads((built[0] / "_static/explain/04.json").read_text())["window"]["scores"]
    assert (len(stored), len(stored[0]), len(stored[0][0])) == (4, 4, 5)
    before = weights(box)
    box.get_by_label("block").select_option(label="4")
    box.get_by_label("head").select_option(label="2")
    after = weights(box)
    assert after != before
    powers = [2.718281828**score for score in stored[3][1][4]]
    assert after[4] == [f"{power / sum(powers):.2f}" for power in powers]


def test_the_stored_window_is_what_the_model_itself_attends_to():
    """The hook reads queries and keys; the class of notebook 04 returns its weights itself."""
    import torch

    from recformer_utils.movielens import load_movielens
    from recformer_utils.movielens_transformer import MovieLensTransformer
    from recformer_utils.training import get_dataset, get_model_config, load_config, load_weights
    from tools.demo import presets

    data = load_movielens("sample")
    folder = PRETRAINED / "sample"
    config = load_config(folder / "config.yaml")
    config["trainer_config"]["data_dir"] = str(data.folder)
    dataset = get_dataset(config, is_validation=True)
    model = MovieLensTransformer(get_model_config(config, dataset))
    transformer = load_weights(model, folder / "model.pth").eval().movie_transformer
    tokens = torch.from_numpy(dataset.metadata.tokenize_movies(presets(data)[1]["films"]))[None]
    found = torch.tensor(window(data)["scores"])
    future = torch.ones(5, 5, dtype=torch.bool).triu(1)
    with torch.no_grad():
        x = transformer.token_embedding(tokens)
        x = x + transformer.positional_embedding(transformer.positional_ids)
        for layer, scores in zip(transformer.layers, found, strict=True):
            _, expected = layer.attention(layer.layer_norm1(x), return_weights=True)
            masked = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
            torch.testing.assert_close(masked, expected[0], atol=1e-3, rtol=0)
            x = layer(x)


def test_the_temperature_leaves_the_order_and_moves_the_shares(play, built):
    _, box = play(7)
    start = json.loads((built[0] / "demo/catalogue.json").read_text())["start"]["answer"]
    shares = box.locator(".number").all_inner_texts()
    assert shares[0] == f"{100 * start['ten'][0][1]:.1f}\u00a0%", (
        "at 1 it says what the front page says"
    )
    first = {}
    for power in (-1, 0, 1):
        move(box.locator("input[type=range]"), power)
        values = [
            float(text.split("\u00a0")[0]) for text in box.locator(".number").all_inner_texts()
        ]
        assert values == sorted(values, reverse=True)
        first[power] = values[0]
    assert first[-1] > 60 > first[0] > first[1]
    assert first[1] < 1


def test_the_map_can_be_wandered_with_the_keyboard(play):
    page, box = play(7, 1)
    box.get_by_label("film").fill("Major Meteor")
    said = box.get_by_role("status")
    assert said.inner_text().startswith("Major Meteor (")
    button = box.locator("button").nth(2)
    name = button.inner_text()
    button.focus()
    page.keyboard.press("Enter")
    assert said.inner_text().startswith(name)
    assert box.locator("circle.here").count() == 1
    assert box.locator("circle.near").count() == 5
    assert page.evaluate("document.activeElement.closest('.play') !== null"), "the focus stays"
    circle = box.locator("circle").nth(100)
    circle.scroll_into_view_if_needed()
    circle.hover()
    assert box.locator("circle.here").count() == 1


def test_fewer_negatives_give_the_rates_of_the_post_s_formula(play, built):
    _, box = play(8)
    stored = json.loads((built[0] / "_static/explain/08.json").read_text())
    films = stored["films"]

    def shown(drawn):
        move(box.locator("input[type=range]"), films - drawn)
        rows = box.locator("tbody tr").all()
        return {
            row.locator("th").inner_text(): float(row.locator(".number").inner_text().split()[0])
            for row in rows
        }

    import torch

    full, hundred = shown(films - 1), shown(100)
    for name, counts in stored["places"].items():
        places = torch.repeat_interleave(torch.arange(films), torch.tensor(counts)).float()
        assert full[name] == pytest.approx(metrics_from_ranks(places).hit_rate, abs=6e-4)
        wanted = stats.hypergeom.cdf(9, films - 1, places.numpy(), 100).mean()
        assert hundred[name] == pytest.approx(wanted, abs=6e-4)
    assert max(full, key=full.get) != max(hundred, key=hundred.get), "the order changes"
    assert "are not where they stand" in box.get_by_role("status").inner_text()


def test_the_staircase_has_the_figures_of_the_post(play):
    _, box = play(10)
    printed = "".join(
        "".join(output.get("text", "")) for cell in cells(10) for output in cell.get("outputs", [])
    )
    rows = box.locator("tbody tr").all()
    assert len(rows) == 7
    for row in rows:
        row.locator("button").click()
        value = row.locator(".number").inner_text()
        assert value.startswith("0.")
        assert value in printed
    box.locator("button").first.click()
    gains = box.locator(".number").all_inner_texts()
    assert all(gain.startswith("+") for gain in gains[1:])
    assert "clear of it: " in box.get_by_role("status").inner_text()
    assert box.locator(".interval").count() >= 5


def test_the_slider_for_exploration_obeys_the_rules_of_the_post():
    page = feedback()
    genres, counts = page["genre"][:50], default_rng(1).integers(0, 9, (2, 18, page["FILMS"]))
    for share, name in ((0, "greedy"), (0.1, "epsilon_greedy"), (1, "at_random")):
        first, second = (
            rule(counts[0], counts.sum(axis=0), genres, default_rng(7))
            for rule in (exploring(page, share), page[name])
        )
        assert (first == second).all(), name


def test_the_stored_exploration_is_that_of_the_page():
    stored = json.loads(explain.EXPLORATION.read_text(encoding="utf-8"))
    assert stored["made_from"] == explain.made_from(), "run python -m tools.explain"
    page = feedback()
    assert stored["runs"][-1] == explain.told(page, exploring(page, 1))
    assert stored["table"] == round(page["BY_GENRE"], 4)


def test_without_random_pages_the_catalogue_goes_dark(play, built):
    _, box = play(12)
    path = built[0] / "_static/explain/12.json"
    assert path.stat().st_size < 60_000
    stored = json.loads(path.read_text())["exploration"]
    printed = "".join(
        "".join(output.get("data", {}).get("text/plain", ""))
        for cell in cells(12)
        for output in cell.get("outputs", [])
    )
    slider, said = box.locator("input[type=range]"), box.get_by_role("status")
    assert said.inner_text().startswith("10\u00a0% random pages: "), "it begins as the post"
    rivals = box.locator(".play-pair > div").last
    names = {0: "greedy", 3: "epsilon-greedy", 6: "random", None: "Thompson"}
    for place in (None, *range(len(EXPLORING) - 1, -1, -1)):
        run = stored["thompson"] if place is None else stored["runs"][place]
        if place is not None:
            move(slider, place)
            assert slider.get_attribute("aria-valuetext") == f"{100 * EXPLORING[place]:.0f}\u00a0%"
        words = (rivals if place is None else said).inner_text()
        value, shown, dark = re.search(
            r": ([\d.]+) picks.*; (\d+) of.*; (\d+)\u00a0%", words
        ).groups()
        assert float(value) == pytest.approx(sum(run["values"][-10:]) / 10, abs=0.006)
        assert (int(shown), int(dark)) == (run["shown"], round(100 * run["dark"]))
        films = (rivals if place is None else box).locator(".play-films").first.locator("span")
        black = films.evaluate_all(
            "all => all.map(e => e.style.getPropertyValue('--share') === '0')"
        )
        assert black == [looks == 0 for looks in run["looks"]]
        if name := names.get(place):  # three of the ten seeds whose mean and interval it prints
            mean, half = re.search(rf"^{name} +([\d.]+) ± ([\d.]+)", printed, re.MULTILINE).groups()
            assert abs(float(value) - float(mean)) < 2 * float(half) + 0.006
    assert sum(black) > 200, "at last, without any random page"
    assert int(dark) > 50
    assert int(shown) < 100


def test_a_film_whose_ratings_are_hidden_is_known_by_its_features(play):
    _, box = play(13)
    printed = "\n".join(findings(notebook(13)))
    slider, said = box.locator("input[type=range]"), box.get_by_role("status")
    for place, (left, verdict) in enumerate({
        "30 ratings left": "the number is ahead", "10 ratings left": "no difference",
        "3 ratings left": "the features are ahead", "One rating left": "the features are ahead",
        "No ratings left": "the features are ahead",
    }.items()):  # fmt: skip
        move(slider, place)
        assert slider.get_attribute("aria-valuetext") == left
        assert said.inner_text().startswith(left)
        assert verdict in said.inner_text()
    values = box.locator(".number").all_inner_texts()
    for row, kind in ((0, "number only"), (2, "number and features"), (3, "genres, year")):
        beaten, draws = re.search(
            rf"{kind}, no rating: beats ([\d.]+) .*one by one (.*)", printed
        ).groups()
        shown, each = re.fullmatch(r"([\d.]+) \((.*)\)", values[row]).groups()
        assert shown == beaten
        for one, other in zip(each.split(", "), draws.split(", "), strict=True):
            assert float(one) == pytest.approx(float(other), abs=0.006)
