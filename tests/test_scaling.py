"""The pieces of benchmarks.scaling: the law of many users, straight-line laws, resuming."""

import json

import numpy as np
import pytest

from benchmarks import made_up, measure, rowwise, scaling
from tools.common import REPOSITORY


def test_made_up_histories_have_no_movie_twice_and_are_the_same_again():
    movies, lengths = made_up.random_histories(3_000)
    assert len(movies) == lengths.sum()
    assert lengths.min() >= 5
    assert lengths.max() <= 100
    assert 15 < lengths.mean() < 25
    users = np.repeat(np.arange(len(lengths)), lengths)
    assert len(np.unique(users * 1_000 + movies)) == len(movies)
    assert (made_up.random_histories(3_000)[0] == movies).all()


def test_queries_and_items_are_unit_vectors_and_recall_is_that_of_the_exact_search():
    vectors, queries = made_up.item_vectors(500, 20, 64)
    assert vectors.dtype == queries.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    faiss = pytest.importorskip("faiss")
    rows = scaling.measure_serving({"index": "IVF", "items": 500}, repetitions=3)
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

    def measured(module: str, *arguments: object) -> list[dict]:
        _, point = json.loads(arguments[1])
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
    for row in measure.in_a_process("benchmarks.scaling", "--point", json.dumps([curve, point])):
        assert point.items() <= row.items()
        if curve == "serving":
            assert row["fastest_us"] <= row["microseconds"] <= row["slowest_us"]
        else:
            assert 0 < row["fastest"] <= row["seconds"] <= row["slowest"]
            assert row["mib"] > 0


def test_processes_are_timed_from_what_they_say(monkeypatch):
    monkeypatch.setattr(scaling, "PARALLEL_USERS", 200)
    (row,) = scaling.measure_processes({"processes": 2}, repetitions=1)
    assert row["processor_seconds"] > 0
    assert 0 < row["fastest"] == row["seconds"] == row["slowest"]
    assert 200 * 15 < row["interactions"] < 200 * 25


def test_the_row_wise_optimizer_was_compared_at_rates_that_others_chose():
    stored = json.loads((REPOSITORY / "benchmarks/rowwise.json").read_text(encoding="utf-8"))
    for optimizer, rates in rowwise.RATES.items():
        runs = [row for row in stored["runs"] if row["optimizer"] == optimizer]
        tried = [row for row in runs if row["seed"] == rowwise.CHOOSING]
        assert {row["rate"] for row in tried} == set(rates)
        best = min(tried, key=lambda row: row["loss_0"])["rate"]
        assert min(rates) < best < max(rates)  # not at an end of what was tried
        compared = [row for row in runs if row["seed"] != rowwise.CHOOSING]
        assert {row["seed"] for row in compared} == set(rowwise.SEEDS)
        assert {row["rate"] for row in compared} == {best}


def test_a_trial_of_the_row_wise_optimizer_learns():
    trial = rowwise.Trial("sample")
    for optimizer in rowwise.RATES:
        none, some = (trial.train(optimizer, 0.03, seed=0, steps=steps) for steps in (0, 15))
        assert some["loss_0"] < none["loss_0"] - 0.1
        assert some["loss_1"] < none["loss_1"] - 0.1


def test_the_stored_run_has_every_point():
    stored = json.loads((REPOSITORY / "benchmarks/scaling.json").read_text(encoding="utf-8"))
    for curve, points in scaling.POINTS.items():
        for point in points:
            assert any(point.items() <= row.items() for row in stored[curve]), (curve, point)


def test_the_stored_run_shows_what_the_notebook_says():
    stored = json.loads((REPOSITORY / "benchmarks/scaling.json").read_text(encoding="utf-8"))
    losses = {(row["loss"], row["movies"]): row for row in stored["catalogue"]}
    assert losses["chunked", 100_000]["mib"] < losses["full", 100_000]["mib"] / 3
    assert max(row["peak_mib"] for row in stored["reading"]) < 4 * 1024
    for items in {row["items"] for row in stored["serving"]}:
        rows = [row for row in stored["serving"] if row["items"] == items]
        assert max(row["recall"] for row in rows if row["index"] != "exact") >= 0.95
