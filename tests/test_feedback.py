"""The estimators that notebook 12 prints, against closed forms on problems small enough to list."""

import ast
from itertools import product

import numpy as np
import pytest

from tools import notebooks
from tools.freshness import plain

NAMES = {"ips", "self_normalised", "clipped", "doubly_robust", "beliefs", "gini"}
LOGGED, WANTED, RATES = (
    np.array([0.7, 0.2, 0.1]),
    np.array([0.1, 0.3, 0.6]),
    np.array([0.5, 0.2, 0.9]),
)
VALUE = WANTED @ RATES
VISITS = 3


@pytest.fixture(scope="module")
def page():
    """The functions of the page, by name."""
    found = {"np": np}
    for cell in notebooks.read(notebooks.NOTEBOOKS / "12_feedback.ipynb").cells:
        if cell.cell_type == "code":
            for node in ast.parse(plain(cell.source)).body:
                if isinstance(node, ast.FunctionDef) and node.name in NAMES:
                    exec(compile(ast.Module([node], []), "12_feedback", "exec"), found)
    assert found.keys() >= NAMES
    return found


def every_log(logged=LOGGED, rates=RATES):
    """All logs of three visits: films shown, picks, and the probability of the log."""
    for shown in product(range(3), repeat=VISITS):
        for picked in product((0, 1), repeat=VISITS):
            shown, picked = np.array(shown), np.array(picked)
            chance = logged[shown] * np.where(picked, rates[shown], 1 - rates[shown])
            yield shown, picked, chance.prod()


def mean_and_variance(estimate, logged=LOGGED):
    """Of an estimator over all logs, exactly."""
    found = np.array([(p, estimate(shown, picked)) for shown, picked, p in every_log(logged)])
    assert np.isclose(found[:, 0].sum(), 1)
    mean = found[:, 0] @ found[:, 1]
    return mean, found[:, 0] @ (found[:, 1] - mean) ** 2


def test_ips_is_unbiased_and_has_the_variance_of_its_formula(page):
    weights = WANTED / LOGGED
    mean, variance = mean_and_variance(lambda shown, picked: page["ips"](weights[shown], picked))
    assert np.isclose(mean, VALUE)
    assert np.isclose(variance, (LOGGED @ (weights**2 * RATES) - VALUE**2) / VISITS)


def test_clipping_takes_exactly_what_is_above_the_limit(page):
    weights = WANTED / LOGGED
    mean, variance = mean_and_variance(
        lambda shown, picked: page["clipped"](weights[shown], picked, limit=2.0)
    )
    assert np.isclose(mean, LOGGED @ (np.minimum(weights, 2) * RATES))
    assert mean < VALUE
    _, unclipped = mean_and_variance(lambda shown, picked: page["ips"](weights[shown], picked))
    assert variance < unclipped


def robust(page, model, noted):
    weights = WANTED / noted
    return lambda shown, picked: page["doubly_robust"](
        weights[shown], picked, model[shown], np.full(VISITS, WANTED @ model)
    )


def test_doubly_robust_is_unbiased_with_right_probabilities_or_a_right_model(page):
    wrong, noted = np.array([0.1, 0.8, 0.3]), np.array([0.3, 0.3, 0.4])
    assert np.isclose(mean_and_variance(robust(page, wrong, LOGGED))[0], VALUE)
    assert np.isclose(mean_and_variance(robust(page, RATES, noted))[0], VALUE)
    assert not np.isclose(mean_and_variance(robust(page, wrong, noted))[0], VALUE)


def test_doubly_robust_has_the_variance_of_its_formula(page):
    weights, model = WANTED / LOGGED, np.array([0.4, 0.3, 0.7])
    _, variance = mean_and_variance(robust(page, model, LOGGED))
    if_picked = WANTED @ model + weights * (1 - model)
    if_not = WANTED @ model - weights * model
    square = LOGGED @ (RATES * if_picked**2 + (1 - RATES) * if_not**2)
    assert np.isclose(variance, (square - VALUE**2) / VISITS)


def test_self_normalised_ignores_the_scale_of_the_weights_and_keeps_to_the_range(page):
    weights = WANTED / LOGGED
    for shown, picked, _ in every_log():
        found = page["self_normalised"](weights[shown], picked)
        assert np.isclose(found, page["self_normalised"](7 * weights[shown], picked))
        assert 0 <= found <= 1
    assert page["self_normalised"](np.ones(4), np.array([1, 0, 0, 1])) == 0.5


def test_gini_is_that_of_all_pairs(page):
    amounts = np.random.default_rng(0).exponential(size=50)
    pairs = np.abs(amounts[:, None] - amounts).mean() / (2 * amounts.mean())
    assert np.isclose(page["gini"](amounts), pairs)
    assert np.isclose(page["gini"](np.array([0.0, 0.0, 0.0, 1.0])), 3 / 4)


def test_beliefs_follow_the_counts_where_there_are_many_and_the_film_where_there_are_none(page):
    picks, looks = np.zeros((2, 2, 3))
    a, b = page["beliefs"](picks, looks)
    assert np.allclose(a / (a + b), 0.05)
    assert np.allclose(a + b, 10)
    picks[0, 0], looks[0, 0] = 3e6, 1e7
    a, b = page["beliefs"](picks, looks)
    assert np.allclose((a / (a + b))[:, 0], 0.3, atol=1e-4)
