"""What lost on the ladder of notebook 10: models, losses and batches beside the sequence model.

Each stands for the rows of `benchmarks.quality` that name it. They count places by an embedding
instead of turning queries and keys, as the model did when they were measured.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.hstu import HSTUModel, HSTUNoGate, HSTUPlaces, HSTUSoftmax
from recformer_utils.losses import full_cross_entropy, sampled_loss
from recformer_utils.sequence_model import (
    NO_TARGET,
    RotaryAttention,
    RotaryLayer,
    SequenceBatch,
    SequenceModel,
    SequenceModelConfig,
    make_batch,
    next_movie_loss,
    training_batches,
)
from recformer_utils.sequences import Sequences

TEMPERATURE = 0.05  # of the cosine scores
AVERAGE_DECAY = 0.995  # of the weights' moving average, a step
SMOOTHING = 0.1  # share of the target's probability spread over all movies
OVERLAP = 50  # movies that a piece reads again from the one before it


class PlainAttention(RotaryAttention):
    """The same kernel without turning queries and keys."""

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        batch, time, width = x.shape
        q, k, v = (
            part.view(batch, time, self.num_heads, self.head_dimension).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=-1)
        )  # each (batch, heads, time, head_dimension)
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, None, dropout, True)
        return self.residual_dropout(self.out(y.transpose(1, 2).reshape(batch, time, width)))


class PositionalModel(SequenceModel):
    """Places by an embedding, counted from the newest movie: the last one is always place 0."""

    tied = True

    def __init__(self, config: SequenceModelConfig):
        # Parameters are drawn in the order of the measured rows: a seed means the same network.
        nn.Module.__init__(self)
        self.config, shape = config, config.transformer
        width, vocab_size = shape.embedding_dimension, shape.vocab_size
        self.movie_embedding = nn.Embedding(vocab_size, width)
        self.places = nn.Embedding(shape.context_window_size, width)
        self.embedding_dropout = nn.Dropout(shape.dropout_embeddings)
        self.layers = nn.ModuleList(RotaryLayer(shape) for _ in range(shape.num_layers))
        self.layer_norm = nn.LayerNorm(width, eps=shape.layer_norm_epsilon)
        self.output = None if self.tied else nn.Embedding(vocab_size, width)
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        self.feature_embedding, self.pair_bias = None, None
        if config.item_features:
            self.feature_embedding = nn.Linear(config.item_features, width, bias=False)
            nn.init.normal_(self.feature_embedding.weight, std=0.02)
        self.register_buffer("item_features", torch.zeros(vocab_size, config.item_features), False)
        for layer in self.layers:
            with torch.random.fork_rng(devices=[]):  # its numbers are those of the rotary one
                plain = PlainAttention(shape)
            plain.load_state_dict(layer.attention.state_dict())
            layer.attention = plain

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        time = batch.movie_tokens.shape[1]
        ages = batch.lengths[:, None] - 1 - torch.arange(time, device=batch.lengths.device)
        x = F.embedding(batch.movie_tokens, self.movie_vectors())
        x = self.embedding_dropout(x + self.places(ages.clamp(min=0)))
        for layer in self.layers:
            x = layer(x)
        return self.layer_norm(x)


class UntiedModel(PositionalModel):
    """A second table of movies for the output."""

    tied = False

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden, self.output.weight)


class CosineModel(PositionalModel):
    """Scores are cosines, divided by a temperature."""

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        return F.normalize(super().forward(batch), dim=-1) / TEMPERATURE

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return F.linear(hidden, F.normalize(self.movie_vectors(), dim=-1))


class AverageModel(PositionalModel):
    """Validates and is kept as a moving average of its weights over the steps."""

    def __init__(self, config: SequenceModelConfig):
        super().__init__(config)
        with torch.random.fork_rng(devices=[]):
            self.average = PositionalModel(config).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.stepped = False  # whether a step has moved the weights since the average saw them

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        if self.stepped:
            with torch.no_grad():
                decay = AVERAGE_DECAY if self.steps else 0.0
                own = dict(self.named_parameters())
                for name, parameter in self.average.named_parameters():
                    parameter.lerp_(own[name], 1 - decay)
                self.steps += 1
        self.stepped = self.training
        return super().forward(batch) if self.training else self.average(batch)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        return super().logits(hidden) if self.training else self.average.logits(hidden)


class HSTULargeN(HSTUModel):
    """Pointwise weights are divided by 2,000, and not by the length of the pieces."""

    def __init__(self, config: SequenceModelConfig):
        super().__init__(config)
        for layer in self.layers:
            layer.length = 2_000


def learned(model: SequenceModel, batch: SequenceBatch) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden vectors, float (positions, embedding), and targets, int64, where there is one."""
    here = batch.targets != NO_TARGET  # (batch, time)
    return model(batch)[here], batch.targets[here]


def untied_loss(model: UntiedModel, batch: SequenceBatch) -> torch.Tensor:
    """Cross-entropy with the output's own table."""
    hidden, targets = learned(model, batch)
    return full_cross_entropy(hidden, model.output.weight, targets)


def cosine_loss(model: CosineModel, batch: SequenceBatch) -> torch.Tensor:
    """Cross-entropy of cosines."""
    hidden, targets = learned(model, batch)
    return full_cross_entropy(hidden, F.normalize(model.movie_vectors(), dim=-1), targets)


def few_movies_loss(
    model: SequenceModel, batch: SequenceBatch, loss: str, negatives: int
) -> torch.Tensor:
    """`sampled_loss` of the model."""
    hidden, targets = learned(model, batch)
    return sampled_loss(hidden, model.movie_vectors(), targets, loss, negatives)


def smoothed_loss(model: SequenceModel, batch: SequenceBatch) -> torch.Tensor:
    """Cross-entropy with a share of the target spread evenly over all movies."""
    hidden, targets = learned(model, batch)
    weight = model.movie_vectors()
    own = (hidden * weight[targets]).sum(dim=-1).mean()
    mean = (hidden @ weight.mean(dim=0)).mean()
    return full_cross_entropy(hidden, weight, targets) + SMOOTHING * (own - mean)


def overlapping_batches(
    sequences: Sequences, train_lengths: np.ndarray, max_length: int, batch_size: int, seed: int
) -> list[SequenceBatch]:
    """As `training_batches`, but a piece reads the last movies of the one before it again.

    So its first targets have a history to look at, which costs as many positions more; what was a
    target in the earlier piece is none here.
    """
    generator = np.random.default_rng(seed)
    pieces = []
    for user in np.flatnonzero(train_lengths >= 2):
        end = int(train_lengths[user]) - 1
        take = 1 + int(generator.integers(max_length - OVERLAP))
        while end > max_length:
            again = min(OVERLAP, end - take)
            pieces.append((user, end - take - again, take + again, again))
            end, take = end - take, max_length - OVERLAP
        pieces.append((user, 0, end, 0))
    users, starts, lengths, repeated = np.array(pieces, dtype=np.int64).T
    order = generator.permutation(len(users))
    order = order[np.argsort(lengths[order], kind="stable")]
    batches = []
    for rows in np.array_split(order, range(batch_size, len(order), batch_size)):
        batch = make_batch(sequences, starts[rows], lengths[rows], users[rows], learn=True)
        place = torch.arange(batch.targets.shape[1])
        again = place < torch.from_numpy(repeated[rows])[:, None]  # (batch, time)
        batches.append(batch._replace(targets=batch.targets.masked_fill(again, NO_TARGET)))
    return [batches[i] for i in generator.permutation(len(batches))]


def shuffled_ties(cut: Callable[..., list[SequenceBatch]]) -> Callable[..., list[SequenceBatch]]:
    """A cut of sequences whose ties are in another random order in each epoch (seed).

    Only training movies change places; what is held out of a second stays behind them.
    """

    def shuffled(
        sequences: Sequences, train_lengths: np.ndarray, max_length: int, batch_size: int, seed: int
    ) -> list[SequenceBatch]:
        owner = np.repeat(np.arange(sequences.num_users), sequences.lengths)
        place = np.arange(len(owner)) - sequences.offsets[owner]
        chance = np.random.default_rng(seed).random(len(owner))
        key = np.where(place < train_lengths[owner], chance, 1.0 + place)
        order = np.lexsort((key, sequences.timestamps, owner))
        mixed = replace(
            sequences, movie_tokens=sequences.movie_tokens[order], ratings=sequences.ratings[order]
        )
        return cut(mixed, train_lengths, max_length, batch_size, seed)

    return shuffled


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What `recformer_utils.sequence_model.sequence_task` is given in place of the winner's."""

    model: type[SequenceModel] = PositionalModel
    loss: Callable[[SequenceModel, SequenceBatch], torch.Tensor] = next_movie_loss
    cut: Callable[..., list[SequenceBatch]] = training_batches


VARIANTS = {
    "": Variant(model=SequenceModel),
    "places": Variant(),
    "untied": Variant(model=UntiedModel, loss=untied_loss),
    "cosine": Variant(model=CosineModel, loss=cosine_loss),
    "average": Variant(model=AverageModel),
    "bce": Variant(loss=partial(few_movies_loss, loss="bce", negatives=1)),
    "sampled": Variant(loss=partial(few_movies_loss, loss="sampled", negatives=256)),
    "gbce": Variant(loss=partial(few_movies_loss, loss="gbce", negatives=256)),
    "smoothing": Variant(loss=smoothed_loss),
    "overlap": Variant(cut=overlapping_batches),
    "hstu": Variant(model=HSTUModel),
    "hstu-large-n": Variant(model=HSTULargeN),
    "hstu-places": Variant(model=HSTUPlaces),
    "hstu-softmax": Variant(model=HSTUSoftmax),
    "hstu-no-gate": Variant(model=HSTUNoGate),
}
