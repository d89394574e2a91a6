"""Baselines that count instead of training: popularity, Markov chain, item-kNN, EASE, PCTM.

All of them are one formula: a history becomes a row of weights over the movies, the row is
multiplied by a table (movie x movie), and a bias is added. What differs is what is counted.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from recformer_utils.sequences import (
    Questions,
    Sequences,
    last_windows,
    place_in_group,
    require_lengths,
)

Kernel = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class CountModel:
    """scores = weights(history) @ table + bias.

    The kernel gives the weight of each movie that is read, float32 (batch, length), from its age,
    int (batch, length), 0 for the last one, and how many are read, int (batch, 1).
    """

    bias: torch.Tensor  # float32 (vocab_size,), what every history gets
    table: torch.Tensor | None = None  # (vocab_size, vocab_size), from a movie to a candidate
    length: int = 1  # how many of the last movies of a history are read
    kernel: Kernel | None = None  # all weights are one when None

    def __call__(self, histories: torch.Tensor) -> torch.Tensor:
        """Scores of all movies, float32 (batch, vocab_size), after histories, int (batch, any).

        In front of a short history stand start tokens. Seen movies are not left out.
        """
        if self.table is None:
            return self.bias.repeat(len(histories), 1)
        histories = histories[:, -self.length :]  # (batch, length)
        is_movie = histories < len(self.bias) - 2  # the last two tokens are start and end
        weights = is_movie.float()
        if self.kernel is not None:
            ages = torch.arange(histories.shape[1]).flip(0).expand_as(histories)
            weights = weights * self.kernel(ages, is_movie.sum(dim=1, keepdim=True))
        # The weighted sum of the histories' rows, without a (batch, vocab_size) matrix of weights.
        scores = F.embedding_bag(histories, self.table, per_sample_weights=weights, mode="sum")
        return scores + self.bias

    def score(self, sequences: Sequences, questions: Questions) -> torch.Tensor:
        """What `evaluate_ranking` asks for, float32 (questions, vocab_size)."""
        start_token = len(self.bias) - 2
        return self(last_windows(sequences, questions, self.length, start_token))


# ---------------------------------------------------------------- what is counted


def truncate(sequences: Sequences, lengths: np.ndarray) -> Sequences:
    """The same users with only the first movies of each, int (num_users,) of them."""
    lengths = require_lengths(sequences, lengths)
    kept = place_in_group(sequences.lengths) < np.repeat(lengths, sequences.lengths)
    return Sequences(
        movie_tokens=sequences.movie_tokens[kept],
        ratings=sequences.ratings[kept],
        timestamps=sequences.timestamps[kept],
        offsets=np.concatenate([[0], lengths.cumsum()]),
    )


def count_movies(movie_tokens: np.ndarray, vocab_size: int) -> torch.Tensor:
    """How often each movie was watched, float32 (vocab_size,)."""
    return torch.from_numpy(np.bincount(movie_tokens, minlength=vocab_size)).float()


def count_followers(
    sequences: Sequences, ends: np.ndarray, vocab_size: int, window: int = 1
) -> torch.Tensor:
    """How often one movie (row) followed another (column), 1/d at distance d up to ``window``.

    Of the first ``ends`` movies, int (num_users,), of each user; float32 (vocab_size, vocab_size).
    """
    training = truncate(sequences, ends)
    tokens = torch.from_numpy(training.movie_tokens.astype(np.int64))
    users = np.repeat(np.arange(training.num_users), training.lengths)
    table = torch.zeros(vocab_size * vocab_size)
    for distance in range(1, window + 1):
        same_user = torch.from_numpy(users[:-distance] == users[distance:])
        pairs = (tokens[:-distance] * vocab_size + tokens[distance:])[same_user]
        table.scatter_add_(0, pairs, torch.full((len(pairs),), 1.0 / distance))
    return table.view(vocab_size, vocab_size)


def count_together(sequences: Sequences, ends: np.ndarray, vocab_size: int) -> torch.Tensor:
    """How many users watched both movies, float32 (vocab_size, vocab_size); arguments as above."""
    training = truncate(sequences, ends)
    ones = np.ones(len(training.movie_tokens), dtype=np.float32)
    shape = training.num_users, vocab_size
    watched = csr_array((ones, training.movie_tokens, training.offsets), shape).sign()
    return torch.from_numpy((watched.T @ watched).toarray())


# ---------------------------------------------------------------- how a history is weighted


def recent_and_rest(
    ages: torch.Tensor, lengths: torch.Tensor, head: int = 7, mass: float = 0.8, decay: float = 0.6
) -> torch.Tensor:
    """Most of the weight falls geometrically over the last few movies, the older ones share.

    ages: int (batch, length), 0 is the last movie; lengths: int (batch, 1). The ``head`` recent
    ones get ``mass`` together, ``decay`` from one to the one before; float32, a sum of 1 a row.
    """
    recent = torch.where(ages < head, decay ** ages.float(), 0.0)
    recent = torch.where(ages < lengths, recent, 0.0)
    recent = recent / recent.sum(dim=1, keepdim=True).clamp(min=1e-30)
    rest = (ages >= head) / (lengths - head).clamp(min=1)
    return torch.where(lengths > head, mass * recent + (1 - mass) * rest, recent)


# ---------------------------------------------------------------- the models


def popularity(sequences: Sequences, ends: np.ndarray, vocab_size: int) -> CountModel:
    """The same list for everybody: how often each movie was watched in training."""
    return CountModel(count_movies(truncate(sequences, ends).movie_tokens, vocab_size))


def markov_chain(sequences: Sequences, ends: np.ndarray, vocab_size: int) -> CountModel:
    """How often a movie followed the user's last one, as a share of all that followed it."""
    counts = count_followers(sequences, ends, vocab_size)
    table = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    return CountModel(torch.zeros(vocab_size), table)


def item_knn(
    sequences: Sequences, ends: np.ndarray, vocab_size: int, neighbors: int = 500, length: int = 5
) -> CountModel:
    """Each of the last ``length`` movies votes for the movies with the most similar audience.

    Similar is the cosine of two columns of the user x movie matrix; a movie keeps its nearest
    ``neighbors``. Source: Sarwar et al., Item-based Collaborative Filtering, 2001.
    """
    together = count_together(sequences, ends, vocab_size)
    norms = together.diagonal().sqrt().clamp(min=1)
    cosine = together / norms[:, None] / norms
    cosine.fill_diagonal_(0)
    nearest = cosine.topk(min(neighbors, vocab_size), dim=1)
    table = torch.zeros_like(cosine).scatter_(1, nearest.indices, nearest.values)
    return CountModel(torch.zeros(vocab_size), table, length)


def ease(
    sequences: Sequences,
    ends: np.ndarray,
    vocab_size: int,
    penalty: float = 1000.0,
    length: int = 5,
) -> CountModel:
    """The linear model that predicts each movie of a history from the others best, in closed form.

    It is asked about the last ``length`` movies only, as `item_knn` is.

    Source: Steck, Embarrassingly Shallow Autoencoders for Sparse Data, 2019.
    """
    together = count_together(sequences, ends, vocab_size)
    together.diagonal().add_(penalty)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(together))
    table = -inverse / inverse.diagonal()
    table.fill_diagonal_(0)
    return CountModel(torch.zeros(vocab_size), table, length)


def distance_counts(
    sequences: Sequences,
    ends: np.ndarray,
    vocab_size: int,
    window: int = 20,
    smoothing: float = 150.0,
    popularity_power: float = -0.4,
    length: int = 200,
) -> CountModel:
    """What followed each movie of the history, near followers counted more (PCTM).

    The log of the smoothed share with which the candidate followed each movie, weighted by
    `recent_and_rest`, plus a power of its popularity that holds bestsellers back. What is the same
    for all candidates is left out. Source: PCTM with its settings for MovieLens-1M, of
    github.com/spotify-research/sequential-capacity-probes.
    """
    counts = count_followers(sequences, ends, vocab_size, window)
    watched = count_movies(truncate(sequences, ends).movie_tokens, vocab_size)
    num_movies = int((watched > 0).sum())  # a movie that nobody watched is in no catalogue
    table = counts.mul_(num_movies / smoothing).log1p_()
    share = (watched + 1) / (watched.sum() + num_movies)
    return CountModel(popularity_power * share.log(), table, length, recent_and_rest)
