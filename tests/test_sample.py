"""The embedded sample: its bytes, its format, and that its sequences follow the stated law."""

import importlib.util
import re
import runpy
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from recformer_utils.movielens import MovieLensNotFoundError, load_movielens

DATA = Path(__file__).resolve().parents[1] / "data"
SAMPLE = DATA / "sample"
FILES = ("users.dat", "movies.dat", "ratings.dat", "README.md")
FIRST_SECOND_OF_2000, FIRST_SECOND_OF_2004 = 946_684_800, 1_072_915_200


def read_fields(name: str) -> list[list[str]]:
    return [line.split("::") for line in (SAMPLE / name).read_text(encoding="latin-1").splitlines()]


@pytest.fixture(scope="module")
def make_sample() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_sample", DATA / "make_sample.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_sample"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_sample"]


@pytest.fixture(scope="module")
def law(make_sample):
    return make_sample.build_law(seed=1)


@pytest.fixture(scope="module")
def ratings() -> np.ndarray:
    """The rows of ratings.dat as they stand: user id, movie id, rating, timestamp."""
    return np.array(read_fields("ratings.dat"), dtype=np.int64)


@pytest.fixture(scope="module")
def histories(law, ratings) -> list[np.ndarray]:
    """The rows of each user, without the user id, sorted by time with ties in file order."""
    rows = [ratings[ratings[:, 0] == user_id, 1:] for user_id in law.user_ids]
    return [r[np.argsort(r[:, 2], kind="stable")] for r in rows]


def steps(make_sample, law, history: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every step of one user as the law takes them: movies (n,), recent (n, 5), seen (n, M)."""
    movies = np.searchsorted(law.movie_ids, history[:, 0])
    n, width = len(movies), make_sample.NUM_RECENT
    padded = np.concatenate([np.full(width, -1), movies])
    recent = np.stack([padded[i : i + width][::-1] for i in range(n)])
    seen = np.zeros((n, len(law.movie_ids)), dtype=bool)
    for i, movie in enumerate(movies):
        seen[i + 1 :, movie] = True
    return movies, recent, seen


@pytest.fixture(scope="module")
def walk(make_sample, law, histories) -> dict[str, np.ndarray]:
    """What the law says at every step of every user, and what was watched next."""
    edges = np.concatenate([[0.0], np.logspace(-4, -0.5, 10), [1.0]])
    total = {name: np.zeros(len(edges) - 1) for name in ("expected", "observed", "variance")}
    log_p, log_p_other, entropy, sequels, sequels_p, sequels_var = [], [], [], 0, 0.0, 0.0
    for user, history in enumerate(histories):
        movies, recent, seen = steps(make_sample, law, history)
        rows = np.arange(len(movies))
        p = law.probabilities(np.full(len(movies), user), recent, seen)
        other = (user + 1) % len(histories)
        q = law.probabilities(np.full(len(movies), other), recent, seen)
        log_p.append(np.log(p[rows, movies]))
        log_p_other.append(np.log(q[rows, movies]))
        entropy.append(-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=1))
        bins = np.digitize(p, edges) - 1
        hit = np.zeros_like(p)
        hit[rows, movies] = 1.0
        for name, weight in (("expected", p), ("observed", hit), ("variance", p * (1 - p))):
            total[name] += np.bincount(bins.ravel(), weight.ravel(), len(edges) - 1)
        for row in rows:
            candidates = [
                law.sequel_of.get(int(law.movie_ids[m])) for m in recent[row, :3] if m >= 0
            ]
            columns = np.searchsorted(law.movie_ids, [c for c in candidates if c is not None])
            mass = p[row, columns].sum()
            sequels += movies[row] in columns
            sequels_p, sequels_var = sequels_p + mass, sequels_var + mass * (1 - mass)
    return total | {
        "log_p": np.concatenate(log_p),
        "log_p_other": np.concatenate(log_p_other),
        "entropy": np.concatenate(entropy),
        "sequels": np.array([sequels, sequels_p, sequels_var]),
    }


def hit_rate(scores: np.ndarray, targets: np.ndarray, seen: np.ndarray, k: int = 10) -> float:
    scores = np.where(seen, -np.inf, scores)
    own = scores[np.arange(len(targets)), targets][:, None]
    rank = (scores > own).sum(axis=1) + 0.5 * ((scores == own).sum(axis=1) - 1)
    return float((rank < k).mean())


def test_two_runs_write_the_committed_bytes(tmp_path):
    for run in ("first", "second"):
        command = [sys.executable, str(DATA / "make_sample.py"), "--output", str(tmp_path / run)]
        subprocess.run(command, check=True, capture_output=True)
        assert sorted(f.name for f in (tmp_path / run).iterdir()) == sorted(FILES)
        for name in FILES:
            assert (tmp_path / run / name).read_bytes() == (SAMPLE / name).read_bytes(), name


def test_another_seed_gives_another_sample(make_sample, tmp_path):
    make_sample.write_sample(tmp_path, seed=2)
    assert (tmp_path / "ratings.dat").read_bytes() != (SAMPLE / "ratings.dat").read_bytes()
    assert (tmp_path / "movies.dat").read_bytes() != (SAMPLE / "movies.dat").read_bytes()


def test_files_are_small():
    assert sum((SAMPLE / name).stat().st_size for name in FILES) < 950_000


def test_users_have_the_codes_of_movielens(law):
    users = read_fields("users.dat")
    assert [int(user[0]) for user in users] == list(range(1, 601)) == law.user_ids.tolist()
    assert {user[1] for user in users} == {"F", "M"}
    assert {int(user[2]) for user in users} == {1, 18, 25, 35, 45, 50, 56}
    assert {int(user[3]) for user in users} <= set(range(21))
    assert all(len(user[4]) == 5 and user[4].isdigit() for user in users)


def test_movies_have_the_format_of_movielens(make_sample, law):
    movies = read_fields("movies.dat")
    ids = [int(movie[0]) for movie in movies]
    assert len(ids) == 400
    assert ids == sorted(set(ids)) == law.movie_ids.tolist()
    assert ids[0] >= 1
    assert 2 * 400 < ids[-1] < 4000  # with gaps
    titles = [movie[1] for movie in movies]
    assert titles == law.titles
    assert len({title[:-7].lower() for title in titles}) == 400
    years = [int(title[-5:-1]) for title in titles]
    assert all(title[-7:-5] == " (" and title[-1] == ")" for title in titles)
    assert years == law.years.tolist()
    assert min(years) >= 1931
    assert max(years) == 2000
    assert 0.45 < np.mean([1990 <= year < 2000 for year in years]) < 0.70
    genres = [movie[2].split("|") for movie in movies]
    assert {g for row in genres for g in row} == set(make_sample.GENRES)
    assert all(1 <= len(row) <= 3 and row == sorted(row) for row in genres)


def test_titles_have_letters_beyond_ascii_in_latin_1_only():
    raw = (SAMPLE / "movies.dat").read_bytes()
    assert "Smörgåsbord".encode("latin-1") in raw
    assert sum(any(byte > 127 for byte in line) for line in raw.splitlines()) >= 10
    with pytest.raises(UnicodeDecodeError):
        raw.decode("utf-8")


@pytest.mark.parametrize(
    ("title", "written"),
    [
        ("The Last Lighthouse", "Last Lighthouse, The (1987)"),
        ("L'Été à Saint-Malo", "Été à Saint-Malo, L' (1987)"),
        ("Another Season in Tromsø", "Another Season in Tromsø (1987)"),
        ("The Bridge (Le Pont)", "Bridge, The (Pont, Le) (1987)"),
    ],
)
def test_articles_stand_behind_the_title(make_sample, title, written):
    assert make_sample.catalog_title(title, 1987) == written


def test_sequels_follow_in_years_and_name(law):
    assert 30 <= len(law.sequel_of) <= 45
    year = dict(zip(law.movie_ids.tolist(), law.years.tolist(), strict=True))
    title = dict(zip(law.movie_ids.tolist(), law.titles, strict=True))
    assert all(2 <= year[b] - year[a] <= 3 for a, b in law.sequel_of.items())
    chain = [next(i for i, t in title.items() if t.startswith("Major Meteor ("))]
    while chain[-1] in law.sequel_of:
        chain.append(law.sequel_of[chain[-1]])
    names = [title[i][:-7] for i in chain]
    assert names[1:3] == ["Major Meteor II: The Moth King", "Major Meteor III: Saturn Burning"]
    assert len(names) == 4


def test_ratings_are_well_formed(law, ratings):
    user_ids, movie_ids, stars, timestamps = ratings.T
    assert 36_000 < len(ratings) < 42_000
    assert (np.diff(user_ids) >= 0).all()  # grouped by user
    assert set(user_ids.tolist()) == set(law.user_ids.tolist())
    assert set(movie_ids.tolist()) < set(law.movie_ids.tolist())  # some were never rated
    assert len(np.unique(ratings[:, :2], axis=0)) == len(ratings)
    assert set(stars.tolist()) == {1, 2, 3, 4, 5}
    assert 3.5 < stars.mean() < 3.7
    assert timestamps.min() >= FIRST_SECOND_OF_2000
    assert timestamps.max() < FIRST_SECOND_OF_2004


def test_history_lengths_have_a_long_tail(histories):
    lengths = np.array([len(history) for history in histories])
    assert lengths.min() >= 20
    assert 40 <= np.median(lengths) <= 60
    assert lengths.max() >= 200
    assert lengths.mean() > 1.15 * np.median(lengths)


def test_ratings_come_in_sessions_with_ties(ratings, histories):
    tied = 0
    for history in histories:
        counts = np.unique(history[:, 2], return_counts=True)[1]
        tied += counts[counts > 1].sum()
    assert 0.6 < tied / len(ratings) < 0.85
    gaps = np.concatenate([np.diff(history[:, 2]) for history in histories])
    assert not ((gaps > 3_600) & (gaps < 6 * 86_400)).any()  # minutes, or at least a week
    returning = np.mean([(np.diff(history[:, 2]) > 3_600).any() for history in histories])
    assert 0.2 < returning < 0.6


def test_stable_order_of_the_file_is_the_true_sequence(make_sample, law, ratings, histories):
    truth = make_sample.simulate(law, seed=1)
    assert all(np.array_equal(a, b) for a, b in zip(truth, histories, strict=True))
    # The rows themselves are out of order, so a reader has to sort.
    in_order = [
        np.array_equal(ratings[ratings[:, 0] == u, 1:], truth[u - 1]) for u in range(1, 601)
    ]
    assert not any(in_order)


def test_law_loads_in_a_notebook_and_fast(law, histories):
    start = time.perf_counter()
    loaded = runpy.run_path(str(DATA / "make_sample.py"))["build_law"](seed=1)
    built = time.perf_counter()
    p = loaded.batch_probabilities(loaded.user_ids, [history[:-1, 0] for history in histories])
    scored = time.perf_counter()
    assert p.shape == (600, 400)
    assert np.array_equal(loaded.tastes, law.tastes)
    assert built - start < 2.0  # about 0.05 s and 0.03 s where this was written
    assert scored - built < 1.0


def test_formula_by_hand(make_sample):
    """Three films and one user: the numbers of the docstring, written out."""
    law = make_sample.SampleLaw(
        user_ids=np.array([7]),
        movie_ids=np.array([10, 20, 30, 40]),
        titles=["a", "b", "c", "d"],
        genre_names=["Action", "Action", "Drama", "Action|Drama"],
        genres=np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.5**0.5, 0.5**0.5]]),
        years=np.array([1990, 1996, 1990, 1990]),
        popularity=np.array([0.1, 0.2, 0.3, 0.4]),
        tastes=np.array([[0.5, -1.0]]),
        sequel_of={10: 20},
    )
    root, near = 0.5**0.5, np.exp(-6 / 6.0)
    w = 1 / (1 + 0.6 + 0.36 + 0.216 + 0.1296)
    scores = {  # after film 10, which was the only one
        20: 0.2 * np.exp(1.5 * 0.5 + w * (4.0 + 2.5 * near) + 4.5),
        30: 0.3 * np.exp(1.5 * -1.0 + w * 2.5),
        40: 0.4 * np.exp(1.5 * -0.5 * root + w * (4.0 * root + 2.5)),
    }
    expected = np.array([0.0, *scores.values()]) / sum(scores.values())
    np.testing.assert_allclose(law.next_movie_probabilities(7, [10]), expected, rtol=1e-12)
    nothing_seen = np.exp(1.5 * np.array([0.5, 0.5, -1.0, -0.5 * root])) * [0.1, 0.2, 0.3, 0.4]
    np.testing.assert_allclose(
        law.next_movie_probabilities(7, []), nothing_seen / nothing_seen.sum(), rtol=1e-12
    )


def test_probabilities_sum_to_one_and_exclude_the_seen(law, histories):
    for user_id in (1, 77, 600):
        history = histories[user_id - 1][:-1, 0]
        p = law.next_movie_probabilities(user_id, history)
        assert p.sum() == pytest.approx(1.0, abs=1e-12)
        seen = np.isin(law.movie_ids, history)
        assert (p[seen] == 0.0).all()
        assert (p[~seen] > 0.0).all()


def test_batched_equals_single_equals_simulated(make_sample, law, histories):
    user_ids = [3, 3, 250, 599]
    past = [[], histories[2][:2, 0], histories[249][:20, 0], histories[598][:-1, 0].tolist()]
    batch = law.batch_probabilities(user_ids, past)
    for row, (user_id, history) in enumerate(zip(user_ids, past, strict=True)):
        np.testing.assert_array_equal(batch[row], law.next_movie_probabilities(user_id, history))
    movies, recent, seen = steps(make_sample, law, histories[249])
    p = law.probabilities(np.full(len(movies), 249), recent, seen)
    np.testing.assert_array_equal(p[20], batch[2])


def test_unknown_ids_are_named(law):
    missing = next(i for i in range(1, 4000) if i not in law.movie_ids)
    with pytest.raises(KeyError, match=f"movie id {missing} "):
        law.next_movie_probabilities(1, [int(law.movie_ids[0]), missing])
    with pytest.raises(KeyError, match="movie id 9999 "):
        law.next_movie_probabilities(1, [9999])
    with pytest.raises(KeyError, match="user id 601 "):
        law.next_movie_probabilities(601, [])


def test_sequel_is_boosted_for_three_movies_and_no_longer(law):
    first, second = next(iter(law.sequel_of.items()))
    column = np.searchsorted(law.movie_ids, second)
    franchise = set(law.sequel_of) | set(law.sequel_of.values())
    fillers = [int(i) for i in law.movie_ids if i not in franchise][:3]
    just, third, fourth = (
        law.next_movie_probabilities(5, history)[column]
        for history in ([first], [first, *fillers[:2]], [first, *fillers])
    )
    plain = law.next_movie_probabilities(5, fillers)[column]
    assert just > 20 * plain
    assert third > 10 * fourth


def test_data_follow_the_law_step_by_step(walk):
    """If the law is the truth, -log p of what happened is its entropy, up to chance."""
    surprise = -walk["log_p"]
    error = surprise.std() / np.sqrt(len(surprise))
    assert abs(surprise.mean() - walk["entropy"].mean()) < 3.5 * error
    # The tastes belong to their users: with a neighbor's tastes the data are far less likely.
    assert walk["log_p"].mean() > walk["log_p_other"].mean() + 0.3


def test_probabilities_are_calibrated(walk):
    """Of all movies given about p, about p are watched, over four orders of magnitude."""
    expected, observed = walk["expected"], walk["observed"]
    assert (expected > 50).sum() >= 9
    z = (observed - expected) / np.sqrt(walk["variance"])
    assert np.abs(z[expected > 50]).max() < 4.0
    assert observed.sum() == pytest.approx(expected.sum())


def test_sequels_are_watched_as_often_as_the_law_says(walk, ratings):
    watched, expected, variance = walk["sequels"]
    assert abs(watched - expected) < 4.0 * np.sqrt(variance)
    assert watched > 0.04 * len(ratings)


def test_a_wrong_law_would_be_noticed(make_sample, law, histories):
    """Dropping any one term of the formula lowers the likelihood of the data."""

    def mean_log_p(altered) -> float:
        values = []
        for user in range(0, 600, 6):
            movies, recent, seen = steps(make_sample, altered, histories[user])
            p = altered.probabilities(np.full(len(movies), user), recent, seen)
            values.append(np.log(p[np.arange(len(movies)), movies]))
        return float(np.concatenate(values).mean())

    truth = mean_log_p(law)
    for constant in ("TASTE_WEIGHT", "GENRE_WEIGHT", "ERA_WEIGHT", "SEQUEL_WEIGHT"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(make_sample, constant, 0.0)
            assert mean_log_p(make_sample.build_law(seed=1)) < truth - 0.05, constant
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(make_sample, "RECENCY_DECAY", 0.3)
        assert mean_log_p(make_sample.build_law(seed=1)) < truth - 0.005


def test_law_beats_counts_beat_chance_by_a_wide_margin(law, histories):
    sequences = [np.searchsorted(law.movie_ids, history[:, 0]) for history in histories]
    targets = np.array([s[-1] for s in sequences])
    seen = np.zeros((600, 400), dtype=bool)
    popularity, follows = np.zeros(400), np.zeros((400, 400))
    for user, s in enumerate(sequences):
        seen[user, s[:-1]] = True
        popularity[s[:-1]] += 1
        np.add.at(follows, (s[:-2], s[1:-1]), 1)
    last = np.array([s[-2] for s in sequences])
    probabilities = law.batch_probabilities(law.user_ids, [h[:-1, 0] for h in histories])
    chance = float((10 / (~seen).sum(axis=1)).mean())
    popular = hit_rate(np.tile(popularity, (600, 1)), targets, seen)
    markov = hit_rate(follows[last] + 1e-6 * popularity, targets, seen)
    best = hit_rate(probabilities, targets, seen)
    assert chance < 0.04
    assert 0.10 < popular < 0.16
    assert markov > 2 * popular
    assert best > markov + 0.10
    assert 0.40 < best < 0.55


@pytest.mark.realdata
def test_no_title_is_taken_from_movielens(law):
    try:
        movies = load_movielens("ml-1m").movies
    except MovieLensNotFoundError as error:
        if "not set" in str(error):
            pytest.skip("MovieLens-1M is neither in data/ml-1m nor named by RECFORMER_DATA")
        raise

    def bare(title: str) -> str:
        words = re.sub(r"\(\d{4}\)$", "", title).lower().replace("'", "")
        return " ".join(w for w in re.findall(r"\w+", words) if w not in {"the", "a", "an"})

    assert not {bare(title) for title in law.titles} & {bare(title) for title in movies["title"]}
