"""Ranks, metrics and predictions, against hand-computed cases and scikit-learn."""

import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from sklearn.metrics import ndcg_score
from torch import nn

from recformer_utils.evaluation import (
    calculate_metrics,
    calculate_relevance,
    catalogue_coverage,
    evaluate_ranking,
    get_model_predictions,
    get_popular_movie_predictions,
    get_popular_movies,
    history_index,
    mask_history,
    metrics_from_ranks,
    rank_and_recommend,
    target_ranks,
    top_n,
)
from recformer_utils.movielens import load_movielens
from recformer_utils.sequences import Questions, Sequences, ask, leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata

SEQUENCES = Sequences(  # user 0: 2 0 1; user 1: nothing; user 2: 3 1
    movie_tokens=np.array([2, 0, 1, 3, 1], dtype=np.int32),
    ratings=np.ones(5, dtype=np.int8),
    timestamps=np.arange(5),
    offsets=np.array([0, 3, 3, 5]),
)


@pytest.mark.parametrize(
    ("scores", "target", "rank"),
    [
        ([9.0, 1, 2, 3], 0, 0),  # first
        ([9.0, 1, 2, 3], 1, 3),  # last
        ([5.0, 5, 5, 5], 2, 1.5),  # all equal: the middle
        ([7.0, 5, 5, 1], 2, 1.5),  # one above, tied with one
        ([7.0, 5, -math.inf, -math.inf], 1, 1),  # masked movies stand behind
        ([7.0, 5, 2, -math.inf], 3, 3),  # a masked target is behind all others
    ],
)
def test_rank_of_the_target(scores, target, rank):
    assert target_ranks(torch.tensor([scores]), torch.tensor([target])).item() == rank


def test_metrics_by_hand():
    metrics = metrics_from_ranks(torch.tensor([0.0, 2.0, 10.0, 1.5]), k=3)
    assert metrics.hit_rate == 0.75
    assert metrics.mrr == pytest.approx((1 + 1 / 3 + 0 + 1 / 2.5) / 4)
    assert metrics.ndcg == pytest.approx((1 + 0.5 + 0 + 1 / math.log2(3.5)) / 4)
    assert metrics.users == 4


def test_ndcg_agrees_with_scikit_learn():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(50, 30, generator=generator)
    targets = torch.randint(30, (50,), generator=generator)
    truth = nn.functional.one_hot(targets, 30).numpy()
    ours = metrics_from_ranks(target_ranks(scores, targets), k=10).ndcg
    assert ours == pytest.approx(ndcg_score(truth, scores.numpy(), k=10), abs=1e-6)


def test_expected_ndcg_under_ties_is_between_the_extremes():
    """scikit-learn averages over the orders of a tie; ours takes the middle place."""
    scores, truth = np.array([[3.0, 2, 2, 2, 1]]), np.array([[0, 0, 1, 0, 0]])
    ours = metrics_from_ranks(target_ranks(torch.tensor(scores), torch.tensor([2])), k=5).ndcg
    assert ours == pytest.approx(1 / math.log2(4))  # places 2, 3, 4: the third
    best, worst = 1 / math.log2(3), 1 / math.log2(5)
    assert worst < ours < best
    averaged = ndcg_score(truth, scores, k=5)
    assert averaged == pytest.approx((best + 1 / math.log2(4) + worst) / 3)
    assert abs(ours - averaged) < 0.03


def test_a_constant_model_gains_nothing():
    """All scores equal: the target stands in the middle, whatever the order of the tokens."""
    ranks = target_ranks(torch.zeros(40, 101), torch.arange(40))
    assert ranks.tolist() == [50.0] * 40
    metrics = metrics_from_ranks(ranks)
    assert (metrics.hit_rate, metrics.mrr, metrics.ndcg) == (0, 0, 0)


def test_absent_targets_count_as_misses():
    relevance = calculate_relevance(torch.tensor([[1, 2], [1, 2]]), torch.tensor([3, 4]))
    metrics = calculate_metrics(relevance, torch.tensor([[0.9, 0.1], [0.9, 0.1]]))
    assert (metrics.hit_rate, metrics.mrr, metrics.ndcg) == (0, 0, 0)


def test_relevance_and_metrics_of_lists():
    relevance = calculate_relevance(torch.tensor([[4, 2, 7], [1, 2, 3]]), torch.tensor([2, 9]))
    assert relevance.tolist() == [[0, 1, 0], [0, 0, 0]]
    metrics = calculate_metrics(relevance, torch.tensor([[0.9, 0.5, 0.1], [0.9, 0.5, 0.1]]))
    assert (metrics.hit_rate, metrics.mrr) == (0.5, 0.25)
    assert metrics.ndcg == pytest.approx(0.5 / math.log2(3))
    with pytest.raises(ValueError, match="one shape"):
        calculate_metrics(relevance, torch.zeros(2, 4))
    with pytest.raises(ValueError, match="at most one relevant"):
        calculate_metrics(torch.ones(1, 3), torch.zeros(1, 3))


def test_history_stands_where_it_was_watched():
    nobody_asks = Questions(np.array([0, 1, 2]), np.array([2, 0, 2]), np.zeros(3, dtype=np.int32))
    rows, tokens = history_index(SEQUENCES, nobody_asks)
    assert list(zip(rows.tolist(), tokens.tolist(), strict=True)) == [
        (0, 2),
        (0, 0),
        (2, 3),
        (2, 1),
    ]


def test_masking_leaves_out_the_history_and_the_special_tokens():
    scores = mask_history(torch.zeros(2, 7), (torch.tensor([0, 0]), torch.tensor([1, 3])))
    assert torch.isfinite(scores).nonzero().tolist() == [
        [0, 0], [0, 2], [0, 4], [1, 0], [1, 1], [1, 2], [1, 3], [1, 4],
    ]  # fmt: skip
    assert torch.isfinite(mask_history(torch.zeros(1, 7))).sum() == 5


class Fixed(nn.Module):
    """Gives every user the same scores, the highest to the special tokens."""

    def forward(self, movie_ids, user_ids):
        return torch.arange(8.0).repeat(len(movie_ids), 1)


def test_predictions_are_distinct_unseen_movies_best_first():
    windows = torch.tensor([[6, 5], [6, 0]])
    seen = (torch.tensor([0, 0]), torch.tensor([1, 4]))
    output = get_model_predictions(Fixed(), windows, torch.tensor([0, 1]), 3, seen)
    assert output.predictions.tolist() == [[3, 2, 0], [5, 4, 3]]
    assert (output.scores[:, :-1] >= output.scores[:, 1:]).all()
    everything = torch.arange(8.0).softmax(0)
    assert output.scores[1, 0].item() == pytest.approx(everything[5].item())
    with pytest.raises(ValueError, match="only 3 movies left"):
        get_model_predictions(Fixed(), windows, torch.tensor([0, 1]), 4, seen)


class Fickle(nn.Module):
    """Random scores with many ties."""

    def forward(self, movie_ids, user_ids):
        generator = torch.Generator().manual_seed(len(movie_ids))
        return torch.randint(4, (len(movie_ids), 22), generator=generator).float()


@pytest.mark.parametrize("n", [1, 5, 12])
def test_predictions_are_never_seen_and_never_double_whatever_the_ties(n):
    rng = np.random.default_rng(n)
    users = [rng.permutation(20)[: rng.integers(1, 9)] for _ in range(200)]
    sequences = Sequences(
        movie_tokens=np.concatenate(users).astype(np.int32),
        ratings=np.ones(sum(map(len, users)), dtype=np.int8),
        timestamps=np.zeros(sum(map(len, users)), dtype=np.int64),
        offsets=np.cumsum([0, *map(len, users)]),
    )
    everyone, windows = np.arange(200), torch.full((200, 5), 20)
    targets = np.zeros(200, dtype=np.int32)
    seen = history_index(sequences, Questions(everyone, sequences.lengths, targets))
    output = get_model_predictions(Fickle(), windows, torch.from_numpy(everyone), n, seen)
    for row, user in zip(output.predictions.tolist(), users, strict=True):
        assert len(set(row)) == n
        assert not set(row) & {*user.tolist(), 20, 21}


def test_scores_that_are_no_numbers_are_refused():
    broken = torch.tensor([[1.0, math.nan]])
    with pytest.raises(ValueError, match="not a number"):
        top_n(broken, 1)
    with pytest.raises(ValueError, match="not a number"):
        target_ranks(broken, torch.tensor([0]))


QUESTIONS = ask(SEQUENCES, np.array([0, 2]), np.array([2, 1]))  # both are asked for movie 1
TABLE = torch.tensor([[9.0, 1, 8, 3, 7, 7], [0.0] * 6, [9.0, 1, 8, 10, 7, 7]])


def from_table(sequences: Sequences, questions: Questions) -> torch.Tensor:
    return TABLE[questions.users]


def test_ranking_of_all_users_does_not_depend_on_the_batch():
    ranks = [evaluate_ranking(from_table, SEQUENCES, QUESTIONS, size).tolist() for size in (1, 2)]
    assert ranks[0] == ranks[1] == [1, 2]  # user 0: 0 and 2 seen, 3 is above; user 2: 0 and 2 above


def test_lists_and_ranks_come_from_the_same_scores():
    ranking = rank_and_recommend(from_table, SEQUENCES, QUESTIONS, n=2)
    assert torch.equal(ranking.ranks, evaluate_ranking(from_table, SEQUENCES, QUESTIONS))
    assert ranking.predictions.tolist() == [[3, 1], [0, 2]]  # never what was seen: 2 0, and 3
    with pytest.raises(ValueError, match="only 2 movies left"):
        rank_and_recommend(from_table, SEQUENCES, QUESTIONS, n=3)


def test_the_given_scores_are_not_written_to():
    given = TABLE[QUESTIONS.users]
    before = given.clone()
    evaluate_ranking(lambda sequences, questions: given, SEQUENCES, QUESTIONS)
    assert torch.equal(given, before)


def test_coverage_counts_each_movie_once():
    lists = torch.tensor([[0, 1], [1, 2], [0, 1]])
    assert catalogue_coverage(lists, 6) == 0.5
    assert catalogue_coverage(lists[:1].repeat(9, 1), 6) == pytest.approx(1 / 3)


@pytest.mark.realdata
def test_all_users_are_ranked_within_a_second_in_bounded_memory():
    """All of ML-1M's users against all movies: one second is asked of two cores, so of one too."""
    data = load_movielens("ml-1m")
    metadata = MovieLensMetadata.from_frames(data.users, data.movies)
    sequences = order_by_time(data.ratings, metadata)
    split = leave_one_out(sequences)
    scores = torch.rand(6040, 3885, generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(3):  # the best of three: other work on the machine is not ours
        started = time.process_time()
        ranks = evaluate_ranking(lambda _, asked: scores[asked.users], sequences, split.validation)
        seconds.append(time.process_time() - started)
    assert len(ranks) == 6040
    assert 0.002 < metrics_from_ranks(ranks).hit_rate < 0.005  # 10 of 3,700
    assert min(seconds) < 1, f"ranking 6,040 users took {min(seconds):.2f} s of one core"


MEASURE = """
import resource, numpy as np, torch
from recformer_utils.evaluation import evaluate_ranking
from recformer_utils.sequences import Questions, Sequences
users, movies = 40_000, 4_000
none = Sequences(movie_tokens=np.zeros(0, np.int32), ratings=np.zeros(0, np.int8),
                 timestamps=np.zeros(0, np.int64), offsets=np.zeros(users + 1, np.int64))
row = torch.rand(movies)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
def rank(count):
    everyone = np.arange(count)
    questions = Questions(everyone, np.zeros(count, np.int64), everyone % 3_000)
    evaluate_ranking(lambda _, asked: row.expand(len(asked.users), -1), none, questions)
rank(1_000)
before = peak()
rank(users)
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_users():
    """Forty thousand users x 4,000 movies would be 640 MB of scores."""
    pytest.importorskip("resource", reason="Windows does not tell the peak of a process")
    result = subprocess.run(
        [sys.executable, "-c", MEASURE],
        # glibc then hands freed blocks back, and the peak is ours and not its reserve
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    unit = 1024 if sys.platform != "darwin" else 1
    assert int(result.stdout) * unit < 100e6


def test_popularity_counts_tokens():
    popular = get_popular_movies(np.array([3, 1, 3, 0, 1, 3]))
    assert popular.to_numpy().tolist() == [[3, 3], [1, 2], [0, 1]]
    assert get_popular_movies(np.array([2, 0])).iloc[0]["movie_token"] == 0  # ties by token
    output = get_popular_movie_predictions(popular, torch.tensor([[3, 5], [5, 5]]), 2)
    assert output.predictions.tolist() == [[1, 0], [3, 1]]
    with pytest.raises(ValueError, match="only 2 movies left"):
        get_popular_movie_predictions(popular, torch.tensor([[3, 5]]), 3)
    seen = (torch.tensor([0]), torch.tensor([9]))  # a movie that nobody watched in training
    output = get_popular_movie_predictions(popular, torch.tensor([[3, 5]]), 2, seen)
    assert output.predictions.tolist() == [[1, 0]]
    assert get_popular_movies(np.array([3, 1, 3]), 1).to_numpy().tolist() == [[3, 2]]
