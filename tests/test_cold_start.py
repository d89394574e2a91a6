"""What notebook 13 builds: new films, the loss without them, the model, codes, and its stored rows."""

import json

import numpy as np
import pytest
import torch

from benchmarks import cold_start
from tools.common import REPOSITORY

STORED = REPOSITORY / "data/pretrained"


@pytest.fixture(scope="module")
def page():
    """The names of the page's program, with the sample loaded."""
    return cold_start.program("sample")


@pytest.fixture(scope="module")
def short(page):
    """One epoch instead of three, for the functions of the page."""
    epochs, page["train_kind"].__globals__["EPOCHS"] = page["EPOCHS"], 1
    yield page
    page["train_kind"].__globals__["EPOCHS"] = epochs


@pytest.mark.parametrize("draw", range(3))
def test_exactly_as_many_ratings_are_left_as_the_budget_says(page, draw):
    budget = page["draw_budgets"](page["counts"], draw)
    train = page["within_budget"](page["sequences"], budget, page["training"])
    left = np.bincount(train.movie_tokens, minlength=len(budget))
    assert (left == np.minimum(budget, page["counts"])).all()
    assert [(budget == each).sum() for each in page["BUDGETS"]] == [
        39 // 5 + (i < 4) for i in range(5)
    ]


def test_the_earliest_ratings_stay_and_nobody_who_is_asked_is_trained_on(page):
    sequences, training = page["sequences"], page["training"]
    budget = page["draw_budgets"](page["counts"], 0)
    train = page["within_budget"](sequences, budget, training)
    assert (train.lengths[page["held_out"]] == 0).all()
    assert not training[page["held_out"]].any()
    film = int(np.flatnonzero(budget == 3)[0])
    owner = np.repeat(training, sequences.lengths)
    times = np.sort(sequences.timestamps[(sequences.movie_tokens == film) & owner])
    assert np.sort(train.timestamps[train.movie_tokens == film]).tolist() == times[:3].tolist()
    for user in range(train.num_users):
        own = train.timestamps[train.offsets[user] : train.offsets[user + 1]]
        assert (np.diff(own) >= 0).all()
        assert set(train.of_user(user)) <= set(sequences.of_user(user))


def test_the_newest_films_are_no_older_than_any_other_that_is_asked_often(page):
    budget = page["newest_budgets"](page["counts"], page["films"])
    year = page["films"]["title"].str.extract(r"\((\d{4})\)$")[0].astype(int).to_numpy()
    often = page["counts"] >= 40
    assert year[budget == 0].min() >= year[often & (budget != 0)].max()
    assert (budget == 0).sum() == len(budget) // 10


@pytest.mark.parametrize("kind", ["number only", "number and features", "number dropped"])
def test_a_film_that_does_not_exist_gets_no_gradient_of_its_own(page, kind):
    budget = page["draw_budgets"](page["counts"], 0)
    train = page["within_budget"](page["sequences"], budget, page["training"])
    existing = torch.from_numpy(np.unique(train.movie_tokens)).long()
    assert not np.isin(np.flatnonzero(budget == 0), existing).any()
    torch.manual_seed(0)
    model = page["film_model"](page["films"], existing, **page["KINDS"][kind])
    batch = page["training_batches"](train, train.lengths, 100, 16, 0)[0]
    page["existing_loss"](existing, len(budget) + 2)(model.train(), batch).backward()
    gradient = model.movie_embedding.weight.grad
    assert (gradient[:-2][budget == 0] == 0).all()
    if kind == "number only":
        assert (gradient[existing] != 0).any(dim=1).all()


def test_a_number_is_dropped_whole_in_training_and_never_at_use(page):
    model = page["film_model"](page["films"], torch.arange(10), **page["KINDS"]["number dropped"])
    number, known = model.movie_embedding.weight, model.known()
    rest = (model.train().movie_vectors() - known) / number
    assert torch.allclose(rest, rest[:, :1].expand_as(rest), atol=1e-3)
    assert (rest[10:].abs() < 1e-3).all(), "no number before there are ratings"
    assert torch.allclose(model.eval().movie_vectors()[:10], (number + known)[:10])
    assert torch.allclose(model.movie_vectors()[10:], known[10:])


def test_a_bag_is_the_mean_of_its_pieces(page):
    flat, starts = page["bag"](page["subwords"], ["Alien (1979)", "Clue (1985)"])
    weight = torch.randn(page["BUCKETS"], 3)
    found = torch.nn.functional.embedding_bag(flat, weight, starts)
    pieces = page["ngrams"]("alien")
    assert len(pieces) == 1 + 5 + 4 + 3
    assert torch.allclose(found[0], weight[flat[: len(pieces)]].mean(dim=0), atol=1e-6)
    assert len(found) == 4, "the start and the end token have an empty one"


def test_a_guess_beats_half_of_its_group_and_the_best_score_all_of_it(page):
    budget = torch.from_numpy(page["draw_budgets"](page["counts"], 0))
    rows = np.flatnonzero(budget.numpy()[page["places"].targets] == 0)
    asked, films = page["places"].take(rows), len(budget)
    targets = torch.from_numpy(asked.targets).long()
    states = torch.nn.functional.one_hot(targets, films).float()
    ranks, beaten = page["ask_films"](lambda some: some, states, page["sequences"], asked, budget)
    assert (ranks == 0).all()
    assert (beaten == 1).all()
    ranks, beaten = page["ask_films"](
        lambda some: torch.zeros(len(some), films), states, page["sequences"], asked, budget
    )
    assert torch.allclose(beaten, torch.full_like(beaten, 0.5))
    assert torch.allclose(ranks, (films - torch.from_numpy(asked.ends) - 1) / 2)


def test_the_states_of_all_places_are_those_of_each_place_alone(page):
    torch.manual_seed(0)
    model = page["film_model"](page["films"], torch.arange(100), **page["KINDS"]["number only"])
    states = page["hidden_states"](model.eval(), page["sequences"], page["held_out"])
    places = page["places"]
    assert len(states) == len(places.users)
    for row in (0, 1, 70, 500, len(states) - 1):
        user, end = places.users[[row]], places.ends[[row]]
        batch = page["make_batch"](page["sequences"], np.zeros_like(end), end, user)
        with torch.no_grad():
            assert torch.allclose(model(batch)[0, -1], states[row], atol=1e-5)


def test_the_product_of_the_three_conditionals_is_a_probability(page):
    k = 3
    every = np.stack(np.meshgrid(*[np.arange(k)] * 3, indexing="ij"), -1).reshape(-1, 3)
    codes = np.concatenate([every, every[:5], every[:1]])  # two films share, and three
    torch.manual_seed(1)
    model = page["code_model"](codes, k)
    with torch.no_grad():
        chances = page["code_scores"](model, torch.randn(7, 64)).exp()
    assert torch.allclose(chances.sum(dim=1), torch.ones(7), atol=1e-5)
    assert torch.allclose(chances[:, 1], chances[:, k**3 + 1])
    assert torch.allclose(chances[:, 0], chances[:, -1])


def test_the_loss_of_codes_is_that_of_the_scores(page):
    codes = page["residual_codes"](np.random.default_rng(0).normal(size=(400, 6)), 4)
    train = page["sequences"]
    lengths = np.minimum(train.lengths, 20)
    batch = page["training_batches"](train, lengths, 20, 4, 0)[0]
    torch.manual_seed(2)
    model = page["code_model"](codes[: len(page["films"])], 4)
    learned = batch.targets != page["NO_TARGET"]
    with torch.no_grad():
        loss = page["codes_loss"](model, batch)
        scores = page["code_scores"](model, model(batch)[learned])
    _, same, sharing = np.unique(model.codes, axis=0, return_inverse=True, return_counts=True)
    of_code = scores + torch.from_numpy(np.log(sharing[same.ravel()])).float()
    own = of_code.gather(1, batch.targets[learned][:, None])
    assert torch.allclose(loss, -own.mean(), atol=1e-4)


def test_residual_codes_leave_less_at_every_level(page):
    points = np.random.default_rng(3).normal(size=(300, 4))
    codes = page["residual_codes"](points, 8)
    assert codes.shape == (300, 3)
    spread = [points.var()]
    rest = points.copy()
    for level in range(3):
        for code in np.unique(codes[:, level]):
            rest[codes[:, level] == code] -= rest[codes[:, level] == code].mean(axis=0)
        spread.append(rest.var())
    assert spread[0] > 1.5 * spread[1] > 1.5 * spread[2] > 1.5 * spread[3]


def test_a_training_gives_the_same_sums_again(short):
    def sums():
        model = cold_start.trained(short, "0", "genres, year")
        return cold_start.measured(short, model, "0", "genres, year")["0", "genres, year"]

    for one, other in zip(sums(), sums(), strict=True):
        assert np.allclose(one, other, atol=1e-4)


def test_stored_rows_are_those_that_the_command_makes_and_their_figures_those_of_the_sums():
    lines, sums = cold_start.stored(STORED)
    trainings = {f"{draw} {kind}" for draw, kind in cold_start.TRAININGS}
    assert {line["training"] for line in lines} == trainings
    assert {
        f"{line['draw']} {line['kind']} {part}" for line in lines for part in ("films", "users")
    } == set(sums)
    for line in lines:
        films = sums[f"{line['draw']} {line['kind']} films"]
        users = sums[f"{line['draw']} {line['kind']} users"]
        questions = sum(v["questions"] for k, v in line["figures"].items() if k != "others")
        assert films[:, 0].sum() == questions
        assert users[:, 0].sum() == line["figures"]["others"]["questions"]
        assert np.isclose(
            users[:, 1].sum() / users[:, 0].sum(), line["figures"]["others"]["hr10"], atol=1e-5
        )
        assert line["train_seconds"] > 0
    assert (STORED / "cold_start.npz").stat().st_size < 300 * 1024


def test_a_killed_command_goes_on_and_a_line_is_not_made_twice(tmp_path):
    line = {"training": "0 genres, year", "draw": "0", "kind": "genres, year"}
    cold_start.write(tmp_path, [line], {"0 genres, year films": np.ones((2, 4))})
    lines, sums = cold_start.stored(tmp_path)
    assert lines == [line]
    assert sums["0 genres, year films"].shape == (2, 4)
    assert json.loads((tmp_path / "cold_start.jsonl").read_text()) == line
