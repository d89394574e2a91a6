"""Baselines, against counts by hand, plain loops, and other libraries' answers."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import cosine_similarity

from recformer_utils import baselines
from recformer_utils.evaluation import evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens import load_movielens
from recformer_utils.sequences import Sequences, ask, leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata

MODELS = [
    baselines.popularity,
    baselines.markov_chain,
    baselines.item_knn,
    baselines.ease,
    baselines.distance_counts,
]
every = pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
START = 5  # movies 0 to 4, then start and end
VOCAB = 7


def sequences_of(*users: list[int]) -> Sequences:
    """Users with these movies, one second apart, the first user's all before the second's."""
    tokens = np.array([token for user in users for token in user], dtype=np.int32)
    return Sequences(
        movie_tokens=tokens,
        ratings=np.ones(len(tokens), dtype=np.int8),
        timestamps=np.arange(len(tokens), dtype=np.int64),
        offsets=np.cumsum([0, *map(len, users)]),
    )


TOY = sequences_of([0, 1, 2, 3], [1, 2, 0, 4], [1, 0, 2, 4])
ENDS = np.array([3, 3, 3])  # the last movie of each is held out


@pytest.fixture(scope="module")
def random_users():
    """Sixty users with 4 to 19 of twenty movies each, and where their training ends."""
    rng = np.random.default_rng(3)
    users = [rng.permutation(20)[: rng.integers(4, 20)].tolist() for _ in range(60)]
    sequences = sequences_of(*users)
    return sequences, sequences.lengths - 1


def test_popularity_counts_training_movies():
    model = baselines.popularity(TOY, ENDS, VOCAB)
    scores = model(torch.tensor([[0, 1], [START, 4]]))
    assert scores.tolist() == [[3, 3, 3, 0, 0, 0, 0]] * 2


def test_markov_chain_by_hand():
    # 0 was followed by 1 and 2, 1 by 2, 2 and 0, 2 by 0; nothing follows 3.
    model = baselines.markov_chain(TOY, ENDS, VOCAB)
    scores = model(torch.tensor([[2, 0], [0, 1], [1, 2], [0, 3], [START, START]]))
    expected = torch.zeros(5, VOCAB)
    expected[0, [1, 2]] = 0.5
    expected[1, [2, 0]] = torch.tensor([2 / 3, 1 / 3])
    expected[2, 0] = 1
    torch.testing.assert_close(scores, expected)


def test_followers_at_a_distance_count_less_and_never_cross_users():
    counts = baselines.count_followers(TOY, ENDS, VOCAB, window=9)
    expected = torch.zeros(VOCAB, VOCAB)
    for user in ([0, 1, 2], [1, 2, 0], [1, 0, 2]):
        for i, earlier in enumerate(user):
            for j in range(i + 1, len(user)):
                expected[earlier, user[j]] += 1 / (j - i)
    torch.testing.assert_close(counts, expected)


def test_item_knn_agrees_with_scikit_learn(random_users):
    sequences, ends = random_users
    watched = np.zeros((sequences.num_users, 20))
    for user, end in enumerate(ends):
        watched[user, sequences.of_user(user)[:end]] = 1
    cosine = cosine_similarity(watched.T)
    np.fill_diagonal(cosine, 0)
    histories = torch.tensor([[3, 7, 11], [20, 2, 9]])  # 20: the start token
    everyone = baselines.item_knn(sequences, ends, 22, neighbors=22)(histories)
    expected = [cosine[[3, 7, 11]].sum(axis=0), cosine[[2, 9]].sum(axis=0)]
    np.testing.assert_allclose(everyone[:, :20], expected, rtol=1e-5)
    nearest = baselines.item_knn(sequences, ends, 22, neighbors=1)(torch.tensor([[7]]))
    assert nearest.nonzero().tolist() == [[0, int(cosine[7].argmax())]]
    last_two = baselines.item_knn(sequences, ends, 22, neighbors=22, length=2)(histories[:1])
    np.testing.assert_allclose(last_two[0, :20], cosine[[7, 11]].sum(axis=0), rtol=1e-5)


def test_ease_is_the_best_linear_model_of_each_movie_without_itself(random_users):
    sequences, ends = random_users
    watched = np.zeros((sequences.num_users, 20))
    for user, end in enumerate(ends):
        watched[user, sequences.of_user(user)[:end]] = 1
    table = baselines.ease(sequences, ends, 22, penalty=10.0).table[:20, :20].numpy()
    for movie in range(20):
        others = np.delete(np.arange(20), movie)
        x = watched[:, others]  # ridge regression, solved for this one movie
        weights = np.linalg.solve(x.T @ x + 10 * np.eye(19), x.T @ watched[:, movie])
        np.testing.assert_allclose(table[others, movie], weights, atol=1e-5)
        assert table[movie, movie] == 0


@pytest.mark.parametrize(("length", "movies"), [(12, 12), (12, 5), (12, 7), (12, 8), (3, 3)])
def test_kernel_agrees_with_a_loop(length, movies):
    ages = torch.arange(length - 1, -1, -1)[None]
    weights = baselines.recent_and_rest(ages, torch.tensor([[movies]]))[0].flip(0)[:movies]
    recent = [0.6**age for age in range(min(7, movies))]
    mass = 0.8 if movies > 7 else 1.0
    expected = [mass * each / sum(recent) for each in recent]
    if movies > 7:
        expected += [0.2 / (movies - 7)] * (movies - 7)
    assert weights.tolist() == pytest.approx(expected, abs=1e-6)
    assert weights.sum().item() == pytest.approx(1, abs=1e-6)


def test_distance_counts_agree_with_the_published_formula(random_users):
    """S(a | h) = sum of w log P(a | h_j) + power log p(a), up to a constant of the user."""
    sequences, ends = random_users
    window, smoothing, power = 4, 3.0, -0.4
    counts, watched = np.zeros((20, 20)), np.zeros(20)
    for user, end in enumerate(ends):
        movies = sequences.of_user(user)[:end]
        watched[movies] += 1
        for i, earlier in enumerate(movies):
            for d, later in enumerate(movies[i + 1 : i + 1 + window], start=1):
                counts[earlier, later] += 1 / d
    shares = (counts + smoothing / 20) / (counts.sum(axis=1, keepdims=True) + smoothing)
    history = [4, 9, 1, 0, 13, 17, 2, 8, 5]
    recent = [0.6**age for age in range(7)]
    weights = [0.8 * each / sum(recent) for each in recent] + [0.1, 0.1]
    expected = power * np.log((watched + 1) / (watched.sum() + 20))
    for weight, movie in zip(weights, reversed(history), strict=True):
        expected = expected + weight * np.log(shares[movie])
    model = baselines.distance_counts(sequences, ends, 22, window, smoothing, power)
    scores = model(torch.tensor([history]))[0, :20].double().numpy()
    difference = scores - expected
    np.testing.assert_allclose(difference, difference[0], atol=1e-4)
    # A power of 0 and a history of one movie leave the Markov chain's order.
    plain = baselines.distance_counts(sequences, ends, 22, 1, smoothing, 0.0)
    chain = baselines.markov_chain(sequences, ends, 22)
    for movie in range(20):
        last = torch.tensor([[movie]])
        followed = chain(last)[0] > 0
        order = plain(last)[0][followed].argsort(stable=True)
        assert order.tolist() == chain(last)[0][followed].argsort(stable=True).tolist()


@every
def test_held_out_movies_do_not_count(build):
    changed = sequences_of([0, 1, 2, 4], [1, 2, 0, 3], [1, 0, 2, 3])
    histories = torch.tensor([[0, 1, 2], [START, 2, 1]])
    known, other = (build(users, ENDS, VOCAB)(histories) for users in (TOY, changed))
    assert torch.equal(known, other)


@every
def test_scores_are_finite_and_do_not_depend_on_start_tokens(build, random_users):
    model = build(*random_users, 22)
    bare = model(torch.tensor([[4, 9, 1]]))
    padded = model(torch.tensor([[20, 20, 20, 20, 4, 9, 1]], dtype=torch.int32))
    assert bare.shape == (1, 22)
    assert bare.dtype == torch.float32
    assert torch.isfinite(bare).all()
    torch.testing.assert_close(bare, padded)
    assert torch.isfinite(model(torch.full((1, 4), 20))).all()  # a user without a history


def test_questions_are_scored_by_their_histories():
    model = baselines.markov_chain(TOY, ENDS, VOCAB)
    asked = ask(TOY, np.array([1, 0]), np.array([1, 2]))
    expected = model(torch.tensor([[1], [1]]))
    assert torch.equal(model.score(TOY, asked), expected)


@every
def test_wrong_ends_are_refused(build):
    with pytest.raises(ValueError, match=r"one length per user is needed, \(3,\)"):
        build(TOY, np.array([3, 3]), VOCAB)
    with pytest.raises(ValueError, match="user token 1 has 4 movies"):
        build(TOY, np.array([3, 5, 3]), VOCAB)


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("build", "published"), [(baselines.markov_chain, 0.1240), (baselines.distance_counts, 0.1815)]
)
def test_the_published_figures_are_reached(build, published):
    """NDCG@10 on the test movies of MovieLens-1M (spotify-research/sequential-capacity-probes)."""
    data = load_movielens("ml-1m")
    metadata = MovieLensMetadata.from_frames(data.users, data.movies)
    sequences = order_by_time(data.ratings, metadata)
    split = leave_one_out(sequences)
    model = build(sequences, split.known_lengths, metadata.vocab_size)
    ranks = evaluate_ranking(model.score, sequences, split.test)
    assert math.isclose(metrics_from_ranks(ranks).ndcg, published, abs_tol=0.001)
