"""Evaluation: top-n predictions, the rank of what came next, ranking metrics, coverage, popularity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import nn

from recformer_utils.sequences import Questions, Sequences

# Scores of all movies after histories, float (questions, vocab_size).
ScoreFunction = Callable[[Sequences, Questions], torch.Tensor]


@dataclass(frozen=True)
class ModelOutput:
    """The n best movies for each user of a batch, best first.

    Attributes:
        predictions: movie tokens, int64 (batch, n), distinct within a row.
        scores: float (batch, n), falling; probabilities for a model, counts for popularity.
    """

    predictions: torch.Tensor
    scores: torch.Tensor


@dataclass(frozen=True)
class Metrics:
    """Ranking metrics with one relevant movie per user, averaged over users, each in [0, 1].

    Attributes:
        hit_rate: share of users whose target is among the first k.
        mrr: mean of 1 / position of the target, 0 beyond k. With one relevant movie this is also
            the mean average precision (MAP).
        ndcg: mean of 1 / log2(position + 1), 0 beyond k (Järvelin and Kekäläinen, Cumulated
            gain-based evaluation of IR techniques, 2002).
        k: length of the list.
        users: number of users.
    """

    hit_rate: float
    mrr: float
    ndcg: float
    k: int
    users: int

    def __str__(self) -> str:
        return (
            f"HR@{self.k} {self.hit_rate:.4f}   NDCG@{self.k} {self.ndcg:.4f}   "
            f"MRR@{self.k} {self.mrr:.4f}   ({self.users:,} users)"
        )


def top_n(scores: torch.Tensor, n: int) -> ModelOutput:
    """The n highest scores of each row; what is masked with -inf never appears.

    Args:
        scores: float (batch, tokens).
        n: length of the list.

    Raises:
        ValueError: some row has fewer than n movies left, or a score is not a number.
    """
    _refuse_nan(scores)
    left = torch.isfinite(scores).sum(dim=-1).min().item() if len(scores) else n
    if left < n:
        raise ValueError(
            f"{n} recommendations were asked for, but a user has only {left} movies left "
            f"that are not in the history: ask for at most {left}"
        )
    best = scores.topk(n, dim=-1)
    return ModelOutput(predictions=best.indices, scores=best.values)


def get_model_predictions(
    model: nn.Module,
    movie_id_tokens: torch.Tensor,
    user_id_tokens: torch.Tensor,
    n: int,
    seen: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> ModelOutput:
    """The n most probable next movies that are not in the history.

    Args:
        model: a MovieLensTransformer; it is put into evaluation mode.
        movie_id_tokens: windows of movie tokens, int (batch, window).
        user_id_tokens: int (batch,).
        n: movies to recommend.
        seen: rows and tokens to leave out besides the window, as `history_index` returns them.

    Returns:
        Tokens and probabilities (softmax over the whole vocabulary, before the history is left
        out), never a movie of the window or of ``seen``, never the start or the end token.

    Raises:
        ValueError: fewer than n movies are left for a user.
    """
    model.eval()
    with torch.no_grad():
        logits = model(movie_id_tokens, user_id_tokens)
        probabilities = logits.softmax(dim=-1)
    mask_history(probabilities, movie_id_tokens, seen)
    return top_n(probabilities, n)


def mask_history(
    scores: torch.Tensor,
    movie_id_tokens: torch.Tensor,
    seen: tuple[torch.Tensor, torch.Tensor] | None = None,
    num_special: int = 2,
) -> torch.Tensor:
    """Sets the scores of special tokens, the window and other seen movies to -inf, in place.

    Args:
        scores: float (batch, vocab_size); the last ``num_special`` columns are no movies.
        movie_id_tokens: int (batch, window).
        seen: rows and tokens, int64 (pairs,) each.
        num_special: 2 for the start and the end token.
    """
    scores.scatter_(1, movie_id_tokens.long(), float("-inf"))
    if num_special:
        scores[:, -num_special:] = float("-inf")
    if seen is not None:
        scores[seen] = float("-inf")
    return scores


def history_index(sequences: Sequences, questions: Questions) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the histories of a batch of questions stand in its matrix of scores.

    Returns:
        Rows and movie tokens, int64 (pairs,) each: ``scores[rows, tokens]`` are the seen movies.
    """
    ends = questions.ends
    rows = np.repeat(np.arange(len(ends)), ends)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(ends) - ends, ends)
    index = sequences.offsets[questions.users][rows] + within
    tokens = sequences.movie_tokens[index].astype(np.int64)
    return torch.from_numpy(rows), torch.from_numpy(tokens)


def target_ranks(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Rank of each target among all scores of its row; 0 is best.

    A tie counts half: movies with a strictly higher score, plus half of those with the same one,
    so that a model that gives every movie the same score does not win.

    Args:
        scores: float (batch, tokens), masked movies at -inf.
        targets: int (batch,).

    Returns:
        float32 (batch,).

    Raises:
        ValueError: a score is not a number.
    """
    _refuse_nan(scores)
    scores = scores.detach()
    own = scores.gather(1, targets.long()[:, None])
    flags = torch.empty_like(scores)  # numbers, since to add up booleans takes five times as long
    higher = torch.gt(scores, own, out=flags).sum(dim=1, dtype=torch.float32)
    same = torch.eq(scores, own, out=flags).sum(dim=1, dtype=torch.float32) - 1  # the target itself
    return higher + same / 2


def _refuse_nan(scores: torch.Tensor) -> None:
    """Looks at the maximum, which is nan if anything is, in a tenth of the time of isnan."""
    if scores.numel() and scores.amax().isnan():
        raise ValueError("some scores are not a number (nan): has the training diverged?")


def metrics_from_ranks(ranks: torch.Tensor, k: int = 10) -> Metrics:
    """Hit rate, MRR and NDCG at k from ranks that start at 0, float (users,)."""
    hits = (ranks < k).double()
    ranks = ranks.double()
    return Metrics(
        hit_rate=hits.mean().item(),
        mrr=(hits / (ranks + 1)).mean().item(),
        ndcg=(hits / torch.log2(ranks + 2)).mean().item(),
        k=k,
        users=len(ranks),
    )


def calculate_relevance(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """1 where a prediction is the target, else 0.

    Args:
        predictions: movie tokens, int (batch, n).
        targets: movie tokens, int (batch,).

    Returns:
        float32 (batch, n).
    """
    return (predictions == targets[:, None]).float()


def calculate_metrics(relevance: torch.Tensor, scores: torch.Tensor) -> Metrics:
    """Metrics of lists of n predictions; equal scores within a list share their positions.

    Args:
        relevance: float (batch, n) with at most one 1 a row, from `calculate_relevance`.
        scores: float (batch, n), the scores of the predictions.

    Raises:
        ValueError: the shapes differ, or a row has more than one relevant movie.
    """
    if relevance.shape != scores.shape:
        raise ValueError(
            f"relevance {tuple(relevance.shape)} and scores {tuple(scores.shape)} must have "
            f"the same shape (batch, n)"
        )
    if (relevance.sum(dim=1) > 1).any():
        raise ValueError("a row has more than one relevant movie; these metrics expect one target")
    hit = relevance.any(dim=1)
    ranks = target_ranks(scores, relevance.argmax(dim=1))
    ranks = torch.where(hit, ranks, torch.inf)
    return metrics_from_ranks(ranks, k=relevance.shape[1])


@dataclass(frozen=True)
class Ranking:
    """What a model did for each user: where the target stood, and which movies stood first.

    Attributes:
        ranks: float32 (users,), 0 is best; ties count half.
        predictions: movie tokens, int64 (users, n), best first, without the history.
    """

    ranks: torch.Tensor
    predictions: torch.Tensor


def evaluate_ranking(
    score: ScoreFunction, sequences: Sequences, questions: Questions, batch_size: int = 512
) -> torch.Tensor:
    """Ranks of the targets among all movies, those in the history left out.

    Args:
        score: takes the sequences and some of the questions, and returns float scores
            (questions, vocab_size).
        sequences: the users' interactions.
        questions: who is asked for what.
        batch_size: questions scored at once; it bounds the memory, not the result.

    Returns:
        float32 (questions,), 0 is best.
    """
    return torch.cat(
        [
            target_ranks(scores, torch.as_tensor(asked.targets))
            for asked, scores in _unseen_scores(score, sequences, questions, batch_size)
        ]
    )


def rank_and_recommend(
    score: ScoreFunction,
    sequences: Sequences,
    questions: Questions,
    n: int = 10,
    batch_size: int = 512,
) -> Ranking:
    """As `evaluate_ranking`, and the n best movies for each question from the same scores.

    Raises:
        ValueError: some user has fewer than n movies left.
    """
    ranks, predictions = [], []
    for asked, scores in _unseen_scores(score, sequences, questions, batch_size):
        ranks.append(target_ranks(scores, torch.as_tensor(asked.targets)))
        predictions.append(top_n(scores, n).predictions)
    return Ranking(torch.cat(ranks), torch.cat(predictions))


def _unseen_scores(
    score: ScoreFunction, sequences: Sequences, questions: Questions, batch_size: int
) -> Iterator[tuple[Questions, torch.Tensor]]:
    """Batch after batch of questions, with its scores, the history at -inf."""
    for start in range(0, len(questions.users), batch_size):
        asked = questions.take(slice(start, start + batch_size))
        scores = score(sequences, asked).clone()
        no_window = torch.empty(len(asked.users), 0, dtype=torch.int64)
        yield asked, mask_history(scores, no_window, history_index(sequences, asked))


def catalogue_coverage(predictions: torch.Tensor, num_movies: int) -> float:
    """Share of the catalogue that is recommended to at least one user, in [0, 1].

    Args:
        predictions: movie tokens, int (users, k).
        num_movies: movies in the catalogue.
    """
    return len(predictions.unique()) / num_movies


def get_popular_movies(movie_tokens: np.ndarray, n: int | None = None) -> pd.DataFrame:
    """The most watched movies, counted in training interactions, most watched first.

    Args:
        movie_tokens: tokens (not ids) of the interactions, int (interactions,).
        n: at most this many rows; all when None.

    Returns:
        Frame with columns movie_token int64 and count int64; equal counts by token.
    """
    counts = np.bincount(np.asarray(movie_tokens))
    tokens = np.lexsort((np.arange(len(counts)), -counts))
    frame = pd.DataFrame({"movie_token": tokens, "count": counts[tokens]})
    return frame[frame["count"] > 0].head(n if n is not None else len(frame))


def get_popular_movie_predictions(
    popular_movies: pd.DataFrame,
    movie_id_tokens: torch.Tensor,
    n: int,
    seen: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> ModelOutput:
    """The n most watched movies that are not in the history, for each user.

    Args:
        popular_movies: from `get_popular_movies`.
        movie_id_tokens: windows of movie tokens, int (batch, window); they are left out.
        n: movies to recommend.
        seen: rows and tokens to leave out besides the window, as `history_index` returns them.

    Raises:
        ValueError: fewer than n movies are left for a user.
    """
    tokens = torch.tensor(popular_movies["movie_token"].to_numpy())
    size = int(max(tokens.max(), movie_id_tokens.max() if movie_id_tokens.numel() else 0)) + 1
    if seen is not None and len(seen[1]):
        size = max(size, int(seen[1].max()) + 1)
    scores = torch.full((size,), float("-inf"), dtype=torch.float64)
    scores[tokens] = torch.tensor(popular_movies["count"].to_numpy(), dtype=torch.float64)
    scores = scores.repeat(len(movie_id_tokens), 1)
    return top_n(mask_history(scores, movie_id_tokens, seen, num_special=0), n)
