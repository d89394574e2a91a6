"""The sequence model: a target at every position, long histories, output tied to the embeddings."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from recformer_utils.cross_entropy import full_cross_entropy
from recformer_utils.evaluation import ScoreFunction
from recformer_utils.sequences import Sequences
from recformer_utils.transformer import Transformer, TransformerConfig

NO_TARGET = -100  # what PyTorch's cross-entropy leaves out
GAP_BUCKETS = 40  # floor(2 ln(1 + seconds)): the last one holds all gaps of nine years and more


@dataclass(frozen=True)
class SequenceModelConfig:
    """Shape of the sequence model."""

    transformer: TransformerConfig  # context_window_size: the longest history that is read
    previous_gap: bool = False  # the time since the movie before is an input
    next_gap: bool = False  # so is the time until the movie asked for: it must be known
    tied_output: bool = True  # the output weights are the movies' embeddings
    output_bias: bool = False  # a score of its own for each movie, whatever the history


class SequenceBatch(NamedTuple):
    """Histories of unlike length, padded behind their last movie.

    Attributes:
        movie_tokens: int64 (batch, time).
        lengths: int64 (batch,), movies in each history.
        gaps: int64 (batch, time), bucket of the time between a movie and the one before it.
        next_gaps: int64 (batch, time), bucket of the time between a movie and the one after it.
        targets: int64 (batch, time), the movie after each; NO_TARGET where there is none to learn.
    """

    movie_tokens: torch.Tensor
    lengths: torch.Tensor
    gaps: torch.Tensor
    next_gaps: torch.Tensor
    targets: torch.Tensor

    def to(self, device: torch.device) -> "SequenceBatch":
        """The same batch on a device."""
        return SequenceBatch(*(tensor.to(device, non_blocking=True) for tensor in self))


class SequenceModel(nn.Module):
    """Reads a history and scores every movie as the next one, after each of its positions.

    Padding stands behind the last movie, where causal attention never looks, so no padding mask
    is needed; positions are counted from the newest movie, so the last one is always position 0.
    Sources: Kang and McAuley, Self-Attentive Sequential Recommendation, 2018; tied output: Press
    and Wolf, Using the Output Embedding to Improve Language Models, 2017.
    """

    def __init__(self, config: SequenceModelConfig):
        super().__init__()
        self.config = config
        width = config.transformer.embedding_dimension
        self.transformer = Transformer(config.transformer)
        self.gap_embedding = nn.Embedding(GAP_BUCKETS, width) if config.previous_gap else None
        self.next_gap_embedding = nn.Embedding(GAP_BUCKETS, width) if config.next_gap else None
        vocab_size = config.transformer.vocab_size
        self.output = None if config.tied_output else nn.Embedding(vocab_size, width)
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if config.output_bias else None
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        """What the model knows after each movie, float (batch, time, embedding)."""
        time = batch.movie_tokens.shape[1]
        ages = batch.lengths[:, None] - 1 - torch.arange(time, device=batch.lengths.device)
        features = None
        if self.gap_embedding is not None:
            features = self.gap_embedding(batch.gaps)
        if self.next_gap_embedding is not None:
            next_gaps = self.next_gap_embedding(batch.next_gaps)
            features = next_gaps if features is None else features + next_gaps
        return self.transformer(batch.movie_tokens, ages.clamp(min=0), features)

    @property
    def output_weight(self) -> torch.Tensor:
        """One vector per movie, their own embeddings when tied: float (vocab_size, embedding)."""
        table = self.transformer.token_embedding if self.output is None else self.output
        return table.weight

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary, float (..., vocab_size), from hidden (..., embedding)."""
        return F.linear(hidden, self.output_weight, self.bias)

    def loss(self, batch: SequenceBatch) -> torch.Tensor:
        """Mean cross-entropy over all positions with a target, the softmax over all movies."""
        learned = batch.targets != NO_TARGET  # (batch, time)
        hidden = self(batch)[learned]  # (positions, embedding)
        return full_cross_entropy(hidden, self.output_weight, batch.targets[learned], self.bias)


# ---------------------------------------------------------------- from sequences to batches


def gap_buckets(seconds: np.ndarray) -> np.ndarray:
    """Logarithmic buckets of times, int64, each half as wide again as the one before."""
    return np.minimum(2 * np.log1p(np.maximum(seconds, 0)), GAP_BUCKETS - 1).astype(np.int64)


def make_batch(
    sequences: Sequences,
    starts: np.ndarray,
    lengths: np.ndarray,
    users: np.ndarray,
    num_targets: np.ndarray | None = None,
) -> SequenceBatch:
    """Cuts pieces out of sequences.

    Args:
        sequences: the users' interactions.
        starts: int (batch,), position of the first movie of each piece within its user.
        lengths: int (batch,), movies in each piece, at least 1.
        users: user tokens, int (batch,).
        num_targets: int (batch,), how many of the movies at the end of each piece have a target
            to be learned; none when None. The movie after the piece is then the last target.
    """
    time = int(lengths.max())
    place = np.arange(time)
    first = sequences.offsets[users] + starts  # (batch,)
    inside = place < lengths[:, None]  # (batch, time)
    index = np.where(inside, first[:, None] + place, first[:, None])
    last = sequences.offsets[np.asarray(users) + 1] - 1
    following = np.minimum(index + 1, last[:, None])
    before = np.maximum(index - 1, sequences.offsets[users][:, None])
    stamps = sequences.timestamps
    targets = np.full(index.shape, NO_TARGET, dtype=np.int64)
    if num_targets is not None:
        learned = inside & (place >= (lengths - num_targets)[:, None])
        targets[learned] = sequences.movie_tokens[following][learned]
    return SequenceBatch(
        movie_tokens=torch.from_numpy(sequences.movie_tokens[index].astype(np.int64)),
        lengths=torch.from_numpy(np.asarray(lengths, dtype=np.int64)),
        gaps=torch.from_numpy(gap_buckets(stamps[index] - stamps[before])),
        next_gaps=torch.from_numpy(gap_buckets(stamps[following] - stamps[index])),
        targets=torch.from_numpy(targets),
    )


def training_batches(
    sequences: Sequences,
    train_lengths: np.ndarray,
    max_length: int,
    batch_size: int,
    seed: int,
    overlap: int = 0,
) -> list[SequenceBatch]:
    """One epoch: every movie of training but each user's first is a target exactly once.

    Long histories are cut into pieces, at other places in each epoch. Pieces of like length share
    a batch, so little is padded.

    Args:
        sequences: the users' interactions.
        train_lengths: int (num_users,), how many movies of each user are training.
        max_length: movies in a piece.
        batch_size: pieces in a batch.
        seed: of the cuts and of the order of the batches.
        overlap: movies that a piece reads again from the one before it, so that its first targets
            have a history to look at; costs as many positions more.
    """
    generator = np.random.default_rng(seed)
    users, starts, lengths, num_targets = _cut(train_lengths, max_length, overlap, generator)
    order = generator.permutation(len(users))
    order = order[np.argsort(lengths[order], kind="stable")]
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [
        make_batch(sequences, starts[rows], lengths[rows], users[rows], num_targets[rows])
        for rows in (batches[i] for i in generator.permutation(len(batches)))
    ]


def _cut(
    train_lengths: np.ndarray, max_length: int, overlap: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Pieces as users, starts, lengths and number of targets, int64 (pieces,) each."""
    if not 0 <= overlap < max_length:
        raise ValueError(f"overlap must be in [0, {max_length}), found {overlap}")
    rows = []
    for user in np.flatnonzero(train_lengths >= 2):
        end = int(train_lengths[user]) - 1  # the last movie of training is only a target
        take = 1 + int(generator.integers(max_length - overlap))  # targets of the newest piece
        while end > max_length:
            start = end - take - min(overlap, end - take)
            rows.append((user, start, end - start, take))
            end, take = end - take, max_length - overlap
        rows.append((user, 0, end, end))
    users, starts, lengths, num_targets = np.array(rows, dtype=np.int64).T
    return users, starts, lengths, num_targets


def history_scores(
    model: SequenceModel,
    sequences: Sequences,
    user_tokens: np.ndarray,
    ends: np.ndarray,
    device: torch.device,
) -> ScoreFunction:
    """What `evaluate_ranking` asks for: the model's logits after the last movies of histories.

    Args:
        model: put into evaluation mode.
        sequences: the users' interactions; with next_gap, the movie after the history must be in
            them, since the time until it is an input.
        user_tokens: int (users,).
        ends: int (users,), how many of each user's movies are history.
        device: where the model is.
    """
    max_length = model.config.transformer.context_window_size

    def score(batch: torch.Tensor) -> torch.Tensor:
        rows = batch.numpy()
        lengths = np.minimum(ends[rows], max_length)
        pieces = make_batch(sequences, ends[rows] - lengths, lengths, user_tokens[rows]).to(device)
        model.eval()
        with torch.no_grad():
            hidden = model(pieces)[torch.arange(len(rows)), pieces.lengths - 1]
            return model.scores(hidden).float().cpu()

    return score
