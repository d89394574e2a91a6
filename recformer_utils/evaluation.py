"""Evaluation: top-n predictions, the rank of what came next, ranking metrics, coverage, popularity."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import nn

from recformer_utils.sequences import Questions, Sequences, place_in_group

# Scores of all movies after histories, float (questions, vocab_size).
ScoreFunction = Callable[[Sequences, Questions], torch.Tensor]


@dataclass(frozen=True)
class ModelOutput:
    """The n best movies for each user of a batch, best first."""

    predictions: torch.Tensor  # movie tokens, int64 (batch, n), distinct within a row
    scores: torch.Tensor  # float (batch, n), falling; probabilities, or counts for popularity


def require_numbers(scores: torch.Tensor) -> None:
    """Raises ValueError if a score is nan."""
    # The maximum is nan if any score is, and takes a fraction of the time of isnan.
    if scores.numel() and scores.amax().isnan():
        raise ValueError("some scores are not a number (nan): has the training diverged?")


def top_n(scores: torch.Tensor, n: int) -> ModelOutput:
    """The n highest scores of each row, float (batch, tokens); -inf never appears.

    Raises ValueError: some row has fewer than n movies left, or a score is not a number.
    """
    require_numbers(scores)
    left = int(torch.isfinite(scores).sum(dim=-1).min()) if len(scores) else n
    if left < n:
        raise ValueError(
            f"{n} recommendations were asked for, but a user has only {left} movies left "
            f"that are not in the history: ask for at most {left}"
        )
    best = scores.topk(n, dim=-1)
    return ModelOutput(predictions=best.indices, scores=best.values)


def history_index(sequences: Sequences, questions: Questions) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and movie tokens, int64 (pairs,): ``scores[rows, tokens]`` are the histories' movies."""
    rows = np.repeat(np.arange(len(questions.ends)), questions.ends)  # (pairs,)
    index = sequences.offsets[questions.users][rows] + place_in_group(questions.ends)
    tokens = sequences.movie_tokens[index].astype(np.int64)
    return torch.from_numpy(rows), torch.from_numpy(tokens)


def mask_history(
    scores: torch.Tensor, seen: tuple[torch.Tensor, torch.Tensor] | None = None
) -> torch.Tensor:
    """Sets the scores of seen movies (rows and tokens), start and end token to -inf, in place."""
    scores[:, -2:] = float("-inf")
    if seen is not None:
        scores[seen] = float("-inf")
    return scores


def get_model_predictions(
    model: nn.Module,
    movie_id_tokens: torch.Tensor,
    user_id_tokens: torch.Tensor,
    n: int,
    seen: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> ModelOutput:
    """The n most probable next movies that are not in the history, and their probabilities.

    Never a movie of the windows, int (batch, window), or of ``seen`` (rows and tokens, as
    `history_index` returns them), never the start or the end token. The model, a
    MovieLensTransformer, is put into evaluation mode. Raises ValueError: fewer than n are left.
    """
    model.eval()
    with torch.no_grad():
        probabilities = model(movie_id_tokens, user_id_tokens).softmax(dim=-1)
    probabilities.scatter_(1, movie_id_tokens.long(), float("-inf"))
    return top_n(mask_history(probabilities, seen), n)


def get_popular_movies(movie_tokens: np.ndarray, n: int | None = None) -> pd.DataFrame:
    """The (at most n) most watched movies: movie_token, count; equal counts by token.

    ``movie_tokens`` are tokens (not ids) of the training interactions, int (interactions,).
    """
    counts = np.bincount(movie_tokens)
    tokens = np.argsort(-counts, kind="stable")[:n]
    frame = pd.DataFrame({"movie_token": tokens, "count": counts[tokens]})
    return frame[frame["count"] > 0]


def get_popular_movie_predictions(
    popular_movies: pd.DataFrame,
    movie_id_tokens: torch.Tensor,
    n: int,
    seen: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> ModelOutput:
    """The n most watched movies (of `get_popular_movies`) that are not in the history, and counts.

    Other arguments, result and errors: those of `get_model_predictions`.
    """
    tokens = torch.tensor(popular_movies["movie_token"].to_numpy())
    named = torch.cat([tokens, movie_id_tokens.flatten(), *([] if seen is None else seen[1:])])
    scores = torch.full((len(movie_id_tokens), int(named.max()) + 1), float("-inf"))
    scores[:, tokens] = torch.tensor(popular_movies["count"].to_numpy(dtype=np.float32))
    scores.scatter_(1, movie_id_tokens.long(), float("-inf"))
    if seen is not None:
        scores[seen] = float("-inf")
    return top_n(scores, n)


def target_ranks(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Rank of each target, int (batch,), among the scores of its row, float (batch, tokens).

    float32 (batch,), 0 is best: movies with a strictly higher score, plus half of those with the
    same one, so that a model that gives all movies the same score does not win.
    """
    require_numbers(scores)
    own = scores.gather(1, targets.long()[:, None])  # (batch, 1)
    higher = (scores > own).float().sum(dim=1)
    same = (scores == own).float().sum(dim=1) - 1  # without the target itself
    return higher + same / 2


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """Ranking metrics with one relevant movie per user, averaged over users, each in [0, 1].

    Source of NDCG: Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, 2002.
    """

    hit_rate: float  # share of users whose target is among the first k
    mrr: float  # mean of 1 / place, 0 beyond k; with one relevant movie this is also MAP
    ndcg: float  # mean of 1 / log2(place + 1), 0 beyond k
    k: int  # length of the list
    users: int

    def __str__(self) -> str:
        return (
            f"HR@{self.k} {self.hit_rate:.4f}   NDCG@{self.k} {self.ndcg:.4f}   "
            f"MRR@{self.k} {self.mrr:.4f}   ({self.users:,} users)"
        )


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
    """1 where a prediction, int (batch, n), is the target, int (batch,), else 0; float32."""
    return (predictions == targets[:, None]).float()


def calculate_metrics(relevance: torch.Tensor, scores: torch.Tensor) -> Metrics:
    """Metrics of lists with at most one relevant movie a row, float (batch, n); ties share places."""
    if relevance.shape != scores.shape or (relevance.sum(dim=1) > 1).any():
        found = f"{tuple(relevance.shape)} and {tuple(scores.shape)}"
        raise ValueError(f"one shape, and at most one relevant movie a row; found {found}")
    ranks = target_ranks(scores, relevance.argmax(dim=1))
    ranks = torch.where(relevance.any(dim=1), ranks, torch.inf)
    return metrics_from_ranks(ranks, k=relevance.shape[1])


def unseen_scores(
    score: ScoreFunction, sequences: Sequences, questions: Questions, batch_size: int = 512
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batch after batch of scores with the history at -inf, and the targets, int (batch,).

    ``score`` takes sequences and questions, and returns float (questions, vocab_size).
    """
    for start in range(0, len(questions.users), batch_size):
        asked = questions.take(slice(start, start + batch_size))
        scores = score(sequences, asked).clone()
        mask_history(scores, history_index(sequences, asked))
        yield scores, torch.as_tensor(asked.targets).long()


def evaluate_ranking(
    score: ScoreFunction, sequences: Sequences, questions: Questions, batch_size: int = 512
) -> torch.Tensor:
    """Ranks of the targets among all unseen movies, float32 (questions,); 0 is best."""
    batches = unseen_scores(score, sequences, questions, batch_size)
    return torch.cat([target_ranks(scores, targets) for scores, targets in batches])


class Ranking(NamedTuple):
    """Ranks, float32 (questions,), and the best movies, int64 (questions, n), best first."""

    ranks: torch.Tensor
    predictions: torch.Tensor


def rank_and_recommend(
    score: ScoreFunction, sequences: Sequences, questions: Questions, n: int = 10
) -> Ranking:
    """As `evaluate_ranking`, and the n best movies for each question from the same scores."""
    ranks, predictions = [], []
    for scores, targets in unseen_scores(score, sequences, questions):
        ranks.append(target_ranks(scores, targets))
        predictions.append(top_n(scores, n).predictions)
    return Ranking(torch.cat(ranks), torch.cat(predictions))


def catalogue_coverage(predictions: torch.Tensor, num_movies: int) -> float:
    """Share of the catalogue that is in at least one of the lists, int (users, k); in [0, 1]."""
    return len(predictions.unique()) / num_movies
