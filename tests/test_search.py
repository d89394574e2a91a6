"""The search over size and regularisation: ties at random, equal steps, halving, and nothing twice."""

import json

import numpy as np
import pytest

from benchmarks import search
from benchmarks.quality import read
from benchmarks.variants import shuffled_ties
from recformer_utils.movielens import load_movielens

POINT = {
    "width": 32, "layers": 1, "length": 25, "dropout": 0.1, "learning_rate": 0.004,
    "schedule": "cosine",
}  # fmt: skip


@pytest.fixture(scope="module")
def data():
    return read(load_movielens("sample"), "B", "leave-one-out", ties=0)


def test_a_draw_of_ties_changes_places_inside_a_second_only(data):
    ratings = load_movielens("sample").ratings
    of_file = read(load_movielens("sample"), "B", "leave-one-out").sequences
    drawn = data.sequences
    assert (drawn.movie_tokens != of_file.movie_tokens).any()
    assert (drawn.timestamps == of_file.timestamps).all()
    moved = drawn.movie_tokens != of_file.movie_tokens
    ids = dict(enumerate(data.metadata.movie_ids_of(range(len(data.movies)))))
    seconds = ratings.set_index(["user_id", "movie_id"])["unix_timestamp"]
    for place in np.flatnonzero(moved)[:200]:
        user = np.searchsorted(drawn.offsets, place, side="right") - 1
        user_id = data.metadata.user_ids[user]
        assert seconds[user_id, ids[drawn.movie_tokens[place]]] == drawn.timestamps[place]
    again = read(load_movielens("sample"), "B", "leave-one-out", ties=0).sequences
    other = read(load_movielens("sample"), "B", "leave-one-out", ties=1).sequences
    assert (again.movie_tokens == drawn.movie_tokens).all()
    assert (other.movie_tokens != drawn.movie_tokens).any()


def test_every_epoch_draws_the_ties_of_training_anew_and_holds_out_the_same(data):
    sequences, known = data.sequences, data.split.train_lengths
    epochs = [
        shuffled_ties(lambda mixed, *_: mixed)(sequences, known, 50, 16, seed) for seed in (1, 1, 2)
    ]
    owner = np.repeat(np.arange(sequences.num_users), sequences.lengths)
    held_out = np.arange(len(owner)) - sequences.offsets[owner] >= known[owner]
    order = np.lexsort((sequences.movie_tokens, sequences.timestamps, owner))
    for mixed in epochs:
        assert (mixed.movie_tokens[held_out] == sequences.movie_tokens[held_out]).all()
        assert (mixed.timestamps == sequences.timestamps).all()
        back = np.lexsort((mixed.movie_tokens, mixed.timestamps, owner))
        assert (mixed.movie_tokens[back] == sequences.movie_tokens[order]).all()
        assert (mixed.ratings[back] == sequences.ratings[order]).all(), (
            "a rating goes with its movie"
        )
    assert (epochs[0].movie_tokens == epochs[1].movie_tokens).all()
    assert (epochs[0].movie_tokens != epochs[2].movie_tokens).any()


def test_a_trial_has_its_steps_and_its_schedule(data, monkeypatch):
    rates, targets = [], []
    step = search.gradient_step

    def counted(value, model, optimizer, *rest):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(value, model, optimizer, *rest)

    def learned(model, batch):
        targets.append(int((batch.targets >= 0).sum()))
        return loss(model, batch)

    loss = search.next_movie_loss
    monkeypatch.setattr(search, "gradient_step", counted)
    monkeypatch.setattr(search, "next_movie_loss", learned)
    line = search.trial(POINT, data, 40, seed=0)  # more than one epoch of the sample
    assert len(rates) == 40
    assert max(rates) == pytest.approx(POINT["learning_rate"], rel=0.1)
    assert rates[-1] < 0.02 * max(rates), "the schedule is stretched over the steps"
    assert np.mean(targets) == pytest.approx(search.TARGETS, rel=0.1)
    assert line["steps"] == 40
    assert 0.02 < line["val_ndcg10"] < 0.5
    targets.clear()
    search.train(POINT | {"length": 200}, data, 20, seed=0)  # nearly all pieces are shorter
    assert np.mean(targets) == pytest.approx(search.TARGETS, rel=0.1)
    fewer = search.trial(POINT, data, 2, seed=0)
    assert fewer["val_ndcg10"] < line["val_ndcg10"]


def test_the_best_third_goes_on_and_nothing_is_tried_twice(tmp_path, monkeypatch):
    tried = []

    def trial(point, data, steps, seed):
        tried.append((steps, *point.values()))
        return point | {"steps": steps, "seed": seed, "val_ndcg10": hash_of(point) / steps}

    def hash_of(point):
        return sum(len(str(value)) * (i + 1) for i, value in enumerate(point.values()))

    monkeypatch.setattr(search, "trial", trial)
    file, rounds = tmp_path / "search.jsonl", ((2, 9), (6, 3), (18, 1))
    best = search.search(None, rounds, file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["steps"] for line in lines] == [2] * 9 + [6] * 3 + [18]
    first = sorted(hash_of({name: line[name] for name in search.SPACE}) for line in lines[:9])
    second = [hash_of({name: line[name] for name in search.SPACE}) for line in lines[9:12]]
    assert sorted(second) == first[-3:], "the best third"
    assert hash_of({name: best[name] for name in search.SPACE}) == first[-1]
    assert len(tried) == len(set(tried)) == 13

    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines[:10]))  # killed
    tried.clear()
    assert search.search(None, rounds, file) == best
    assert len(tried) == 3
