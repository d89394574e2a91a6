"""The pieces of benchmarks.scaling: the law of many users, straight-line laws, resuming."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import scaling, scaling_points
from benchmarks.many_users import ManyUsers
from recformer_utils.movielens import load_movielens

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def many() -> ManyUsers:
    return ManyUsers()


def test_weights_are_the_probabilities_of_the_samples_law(many):
    law, generator = many.law, np.random.default_rng(0)
    users = np.arange(40)
    histories = [generator.permutation(len(law.movie_ids))[:size] for size in users % 9]
    recent = np.full((len(users), 5), -1)
    seen = np.zeros((len(users), len(law.movie_ids)), dtype=bool)
    for user, history in enumerate(histories):
        recent[user, : min(5, len(history))] = history[::-1][:5]
        seen[user, history] = True
    expected = law.probabilities(users, recent, seen)
    own = many.own(law.tastes[users])
    own[torch.from_numpy(seen)] = 0
    nobody = np.where(recent < 0, len(law.movie_ids), recent)
    found = many.weights(own, torch.from_numpy(nobody.T.copy())).double()
    found = (found / found.sum(dim=1, keepdim=True)).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-7)


def test_drawn_users_see_no_movie_twice_and_love_what_the_sample_loves(many):
    movies, lengths = many.draw(3_000, seed=1)
    assert len(movies) == lengths.sum()
    assert lengths.min() >= 5
    assert lengths.max() <= 100
    assert len(np.unique(lengths[:250])) > 10  # users of like length do not stand together
    users = np.repeat(np.arange(len(lengths)), lengths)
    assert len(np.unique(users * 1_000 + movies)) == len(movies)
    drawn = np.bincount(movies, minlength=len(many.law.movie_ids))
    sample = load_movielens("sample").ratings["movie_id"].to_numpy()
    rated = np.bincount(many.law._indices(sample), minlength=len(drawn))
    assert np.corrcoef(drawn, rated)[0, 1] > 0.9
    again, _ = many.draw(3_000, seed=1)
    assert (again == movies).all()
    sequels = [
        (many.law._indices([a])[0], many.law._indices([b])[0])
        for a, b in many.law.sequel_of.items()
    ]
    follows = np.isin(movies[:-1] * 1_000 + movies[1:], [a * 1_000 + b for a, b in sequels])
    by_chance = len(movies) * sum(drawn[a] * drawn[b] for a, b in sequels) / len(movies) ** 2
    assert follows.sum() > 5 * by_chance


def test_a_law_is_found_again():
    sizes = [1e3, 1e4, 1e5]
    factor, exponent = scaling.law(sizes, [3e-4 * size**1.5 for size in sizes])
    assert factor == pytest.approx(3e-4)
    assert exponent == pytest.approx(1.5)


def test_queries_and_items_are_unit_vectors_and_recall_is_that_of_the_exact_search():
    vectors, queries = scaling_points.item_vectors(500, 20)
    assert vectors.dtype == queries.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    faiss = pytest.importorskip("faiss")
    rows = scaling_points.measure_serving({"index": "IVF", "items": 500}, repetitions=3)
    recalls = [row["recall"] for row in rows]
    assert recalls == sorted(recalls)
    assert recalls[0] < 0.9
    assert recalls[-1] > 0.95  # nearly all lists are looked at
    assert faiss.__version__


def test_a_run_goes_on_where_it_stopped_and_refuses_other_conditions(tmp_path, monkeypatch):
    path = tmp_path / "scaling.json"
    points = {
        "catalogue": [{"loss": "sampled", "movies": movies} for movies in (1_000, 2_000)],
        "reading": [], "history": [], "users": [], "serving": [],
    }  # fmt: skip
    monkeypatch.setattr(scaling, "POINTS", points)
    asked = []

    def measured(curve: str, point: dict, repetitions: int) -> list[dict]:
        asked.append(point["movies"])
        if asked == [1_000, 2_000]:
            raise KeyboardInterrupt
        return [{**point, "seconds": 1.0, "mib": 2.0}]

    monkeypatch.setattr(scaling, "in_a_process", measured)
    with pytest.raises(KeyboardInterrupt):
        scaling.measure_all(path, quick=False, anew=False, only="", repetitions=1)
    results = scaling.measure_all(path, quick=False, anew=False, only="", repetitions=1)
    assert asked == [1_000, 2_000, 2_000]
    assert [row["movies"] for row in results["catalogue"]] == [1_000, 2_000]
    stored = json.loads(path.read_text())
    assert stored == results
    path.write_text(json.dumps(stored | {"machine": "another"}))
    with pytest.raises(SystemExit, match="was measured on another machine"):
        scaling.measure_all(path, quick=False, anew=False, only="", repetitions=1)
    scaling.measure_all(path, quick=False, anew=True, only="", repetitions=1)
    assert asked[3:] == [1_000, 2_000]


@pytest.mark.parametrize(
    ("curve", "point"),
    [
        ("catalogue", {"loss": "chunked", "movies": 1_000}),
        ("history", {"attention": "with gaps of pairs", "length": 50}),
        ("serving", {"index": "exact", "items": 1_000}),
    ],
)
def test_a_point_is_measured_in_a_process_of_its_own(curve, point):
    for row in scaling.in_a_process(curve, point, 3):
        assert point.items() <= row.items()
        if curve == "serving":
            assert row["fastest_us"] <= row["microseconds"] <= row["slowest_us"]
        else:
            assert 0 < row["fastest"] <= row["seconds"] <= row["slowest"]
            assert row["mib"] > 0


def test_the_stored_run_has_every_point():
    stored = json.loads((ROOT / "benchmarks/scaling.json").read_text(encoding="utf-8"))
    for curve, points in scaling.POINTS.items():
        for point in points:
            assert any(point.items() <= row.items() for row in stored[curve]), (curve, point)


def test_the_stored_run_shows_what_the_notebook_says():
    stored = json.loads((ROOT / "benchmarks/scaling.json").read_text(encoding="utf-8"))
    losses = {(row["loss"], row["movies"]): row for row in stored["catalogue"]}
    assert losses["chunked", 100_000]["mib"] < losses["full", 100_000]["mib"] / 3
    for sizes, costs, _ in (
        series for name, series in scaling.series_of(stored).items() if name.startswith("users")
    ):
        assert 0.8 < scaling.law(sizes, costs)[1] < 1.3
    assert max(row["peak_mib"] for row in stored["reading"]) < 4 * 1024
    for items in {row["items"] for row in stored["serving"]}:
        rows = [row for row in stored["serving"] if row["items"] == items]
        assert max(row["recall"] for row in rows if row["index"] != "exact") >= 0.95


def test_help_names_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.scaling", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "python -m benchmarks.scaling" in done.stdout
