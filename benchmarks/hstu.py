"""HSTU, as notebook 14 builds it: the same statements, and the rows that measure its parts.

Source: Zhai et al., Actions Speak Louder than Words, 2024.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn

from recformer_utils.sequence_model import (
    GAP_BUCKETS,
    SequenceBatch,
    SequenceModel,
    SequenceModelConfig,
    gap_buckets,
)
from recformer_utils.transformer import TransformerConfig


def pointwise_weights(scores: torch.Tensor, length: int) -> torch.Tensor:
    """Each score decides alone what its movie weighs, float (.., time, time); none sees the future.

    length: of the longest history, so that a sum over one stays small.
    """
    return (F.silu(scores) / length).tril()


def softmax_weights(scores: torch.Tensor) -> torch.Tensor:
    """Weights that share a whole of one between the past movies, float (.., time, time)."""
    future = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, float("-inf")).softmax(dim=-1)


class HSTULayer(nn.Module):
    """A block: pointwise attention, its result multiplied by a gate, added to what came in."""

    def __init__(self, config: TransformerConfig, pointwise: bool = True, gate: bool = True):
        super().__init__()
        width, eps = config.embedding_dimension, config.layer_norm_epsilon
        self.num_heads, self.length = config.num_heads, config.context_window_size
        self.pointwise, self.gate = pointwise, gate
        self.layer_norm1 = nn.LayerNorm(width, eps=eps)
        self.vqku = nn.Linear(width, (4 if gate else 3) * width)
        self.layer_norm2 = nn.LayerNorm(width, eps=eps)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(config.dropout_residual)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | float = 0.0) -> torch.Tensor:
        """float (batch, time, embedding) -> the same; bias is added to the scores."""
        batch, time, width = x.shape
        parts = F.silu(self.vqku(self.layer_norm1(x))).split(width, dim=-1)
        v, q, k = (
            part.view(batch, time, self.num_heads, -1).transpose(1, 2) for part in parts[:3]
        )  # each (batch, heads, time, head_dimension)
        scores = q @ k.transpose(-2, -1) + bias  # (batch, heads, time, time)
        weights = (
            pointwise_weights(scores, self.length) if self.pointwise else softmax_weights(scores)
        )
        y = (weights @ v).transpose(1, 2).reshape(batch, time, width)  # heads side by side again
        y = self.layer_norm2(y)
        if self.gate:
            y = y * parts[3]
        return x + self.out(self.dropout(y))


class RelativeBias(nn.Module):
    """What a score gains or loses by how far apart two movies are, in places and in time.

    All numbers start at zero: at first every distance counts the same.
    """

    def __init__(self, length: int, places: bool, times: bool):
        super().__init__()
        self.places = nn.Parameter(torch.zeros(length)) if places else None
        self.times = nn.Parameter(torch.zeros(GAP_BUCKETS)) if times else None

    def forward(self, apart: torch.Tensor, passed: torch.Tensor | None) -> torch.Tensor:
        """Places apart, int64 (time, time), buckets passed of each pair, or None -> float."""
        bias = torch.zeros(1, 1, 1, device=apart.device)
        if self.places is not None:
            bias = bias + self.places[apart]
        if self.times is not None:
            bias = bias + self.times[passed]
        return bias.unsqueeze(1)  # (batch or 1, 1, time, time): the same for all heads


class HSTUModel(SequenceModel):
    """The sequence model of notebook 10 with blocks of HSTU in place of its own."""

    pointwise, gate, relative_places = True, True, True

    def __init__(self, config: SequenceModelConfig):
        super().__init__(replace(config, pair_gaps=False, next_gap=False))
        self.config, shape = config, config.transformer
        length, width = shape.context_window_size, shape.embedding_dimension
        self.layers = nn.ModuleList(
            HSTULayer(shape, self.pointwise, self.gate) for _ in range(shape.num_layers)
        )
        self.biases = nn.ModuleList(
            RelativeBias(length, self.relative_places, config.pair_gaps) for _ in self.layers
        )
        self.places = None if self.relative_places else nn.Embedding(length, width)
        if self.places is not None:
            nn.init.normal_(self.places.weight, std=0.02)

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        """What the model knows after each movie, float (batch, time, embedding)."""
        place = torch.arange(batch.movie_tokens.shape[1], device=batch.lengths.device)
        x = F.embedding(batch.movie_tokens, self.movie_vectors())
        if self.places is not None:  # counted from the newest movie
            x = x + self.places((batch.lengths[:, None] - 1 - place).clamp(min=0))
        x = self.embedding_dropout(x)
        apart, passed = (place[:, None] - place).clamp(min=0), None  # (time, time)
        if self.config.pair_gaps:
            asked = batch.next_timestamps if self.config.next_gap else batch.timestamps
            passed = gap_buckets(asked[:, :, None] - batch.timestamps[:, None])  # of each pair
        for layer, bias in zip(self.layers, self.biases, strict=True):
            x = layer(x, bias(apart, passed))
        return self.layer_norm(x)


class HSTUPlaces(HSTUModel):
    """An embedding for each place, counted from the newest movie, and no relative bias of place."""

    relative_places = False


class HSTUSoftmax(HSTUModel):
    """Softmax in place of pointwise weights."""

    pointwise = False


class HSTUNoGate(HSTUModel):
    """The result of attention is not multiplied by anything."""

    gate = False
