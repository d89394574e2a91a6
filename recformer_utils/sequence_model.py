"""The sequence model: a target at every position, long histories, output tied to the embeddings."""

import hashlib
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from recformer_utils.evaluation import ScoreFunction
from recformer_utils.losses import full_cross_entropy
from recformer_utils.runs import TrainerConfig
from recformer_utils.sequences import Questions, Sequences, Split, require_lengths
from recformer_utils.training import Task, epoch_seed, fit, gradient_step, validation_metrics
from recformer_utils.transformer import MLP, CausalMultiHeadAttention, TransformerConfig

NO_TARGET = -100  # what PyTorch's cross-entropy leaves out
GAP_BUCKETS = 40  # floor(2 ln(1 + seconds)): the last one holds all gaps of nine years and more
SLOWEST_TURN = 1e-3  # radians per place; the slowest pairs of rotary positions come near this


@dataclass(frozen=True, kw_only=True)
class SequenceModelConfig:
    """Shape of the sequence model."""

    transformer: TransformerConfig  # context_window_size: the longest history that is read
    item_features: int = 0  # columns known of each movie, see `movie_features`; 0: none
    previous_gap: bool = False  # the time since the movie before is an input
    next_gap: bool = False  # so is the time until the movie asked for: it must be known
    pair_gaps: bool = False  # attention sees the time between two movies (next_gap: to the target)


class SequenceBatch(NamedTuple):
    """Histories of different length, padded behind their last movie; int64 (batch, time)."""

    movie_tokens: torch.Tensor
    lengths: torch.Tensor  # (batch,), movies in each history
    timestamps: torch.Tensor  # seconds since the first movie of each history
    next_timestamps: torch.Tensor  # those of the movies after them
    gaps: torch.Tensor  # bucket of the time between a movie and the one before it
    targets: torch.Tensor  # the movie after each; NO_TARGET where there is none to learn

    def to(self, device: torch.device) -> "SequenceBatch":
        """The same batch on a device."""
        return SequenceBatch(*(column.to(device, non_blocking=True) for column in self))


def gap_buckets(seconds: torch.Tensor) -> torch.Tensor:
    """Logarithmic buckets of times, int64, each about 1.65 times the width of the last."""
    return (2 * seconds.clamp(min=0).float().log1p()).long().clamp(max=GAP_BUCKETS - 1)


def make_batch(
    sequences: Sequences, starts: np.ndarray, lengths: np.ndarray, users: np.ndarray,
    learn: bool = False,
) -> SequenceBatch:  # fmt: skip
    """Cuts a piece of ``lengths`` movies from ``starts`` on out of each user's sequence.

    ``learn`` gives each movie the one after it as its target, the last one that behind the piece.
    """
    tokens, stamps, offsets = sequences.movie_tokens, sequences.timestamps, sequences.offsets
    first, place = (offsets[users] + starts)[:, None], np.arange(lengths.max())
    inside = place < lengths[:, None]  # (batch, time)
    index = np.where(inside, first + place, first)
    following = np.minimum(index + 1, offsets[users + 1][:, None] - 1)
    before = np.maximum(index - 1, offsets[users][:, None])
    return SequenceBatch(
        movie_tokens=torch.from_numpy(tokens[index]).long(),
        lengths=torch.from_numpy(lengths).long(),
        timestamps=torch.from_numpy(stamps[index] - stamps[first]),
        next_timestamps=torch.from_numpy(stamps[following] - stamps[first]),
        gaps=gap_buckets(torch.from_numpy(stamps[index] - stamps[before])),
        targets=torch.from_numpy(np.where(inside & learn, tokens[following], NO_TARGET)).long(),
    )


def training_batches(
    sequences: Sequences, train_lengths: np.ndarray, max_length: int, batch_size: int, seed: int
) -> list[SequenceBatch]:
    """One epoch: every movie of training but each user's first is a target exactly once.

    Long histories are cut into pieces of at most max_length movies, at other places in each epoch
    (seed). Pieces of similar length share a batch of batch_size, so little is padded.
    """
    generator = np.random.default_rng(seed)
    pieces = []
    for user in np.flatnonzero(require_lengths(sequences, train_lengths) >= 2):
        end = int(train_lengths[user]) - 1  # the last movie of training is only a target
        take = 1 + int(generator.integers(max_length))  # movies of the newest piece
        while end > max_length:
            pieces.append((user, end - take, take))
            end, take = end - take, max_length
        pieces.append((user, 0, end))
    users, starts, lengths = np.array(pieces, dtype=np.int64).T
    order = generator.permutation(len(users))
    order = order[np.argsort(lengths[order], kind="stable")]
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [
        make_batch(sequences, starts[rows], lengths[rows], users[rows], learn=True)
        for rows in (batches[i] for i in generator.permutation(len(batches)))
    ]


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Turns pairs of numbers by an angle that grows with time, (batch, heads, time, even width).

    The product of a query and a key that are both turned depends on how far apart they are, and no
    longer on where they stand (Su et al., RoFormer, 2021).
    """
    half = x.shape[-1] // 2
    speeds = SLOWEST_TURN ** (torch.arange(half, device=x.device) / half)  # radians per place
    angles = torch.outer(torch.arange(x.shape[-2], device=x.device), speeds)  # (time, half)
    cos, sin = angles.cos(), angles.sin()
    first, second = x.float().split(half, dim=-1)
    turned = torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
    return turned.to(x.dtype)


class RotaryAttention(CausalMultiHeadAttention):
    """Attention by how far apart two movies are, with PyTorch's kernel for long histories."""

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """float (batch, time, embedding) -> the same; bias as in `RotaryLayer`."""
        batch, time, width = x.shape
        q, k, v = (
            part.view(batch, time, self.num_heads, self.head_dimension).transpose(1, 2)
            for part in self.qkv(x).split(width, dim=-1)
        )  # each (batch, heads, time, head_dimension)
        if bias is not None:
            future = torch.ones(time, time, dtype=torch.bool, device=x.device).triu(1)
            bias = bias.masked_fill(future, float("-inf"))
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(rotate(q), rotate(k), v, bias, dropout, bias is None)
        y = y.transpose(1, 2).reshape(batch, time, width)  # heads side by side again
        return self.residual_dropout(self.out(y))


class RotaryLayer(nn.Module):
    """A block as in notebook 04, with rotary attention."""

    def __init__(self, config: TransformerConfig):
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.embedding_dimension, eps=config.layer_norm_epsilon)
        self.attention = RotaryAttention(config)
        self.layer_norm2 = nn.LayerNorm(config.embedding_dimension, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """float (batch, time, embedding) -> the same; bias is added to the scores, (.., time, time)."""
        x = x + self.attention(self.layer_norm1(x), bias)
        return x + self.mlp(self.layer_norm2(x))


class SequenceModel(nn.Module):
    """Reads a history and scores every movie as the next one, after each of its positions.

    Padding stands behind the last movie, where causal attention never looks, so no padding mask is
    needed. Sources: Kang and McAuley, SASRec, 2018; tied output: Press and Wolf, 2017; gaps between
    pairs as a bias of attention: Zhai et al., Actions Speak Louder than Words, 2024.
    """

    def __init__(self, config: SequenceModelConfig):
        super().__init__()
        self.config, shape = config, config.transformer
        width, vocab_size = shape.embedding_dimension, shape.vocab_size
        self.movie_embedding = nn.Embedding(vocab_size, width)
        self.embedding_dropout = nn.Dropout(shape.dropout_embeddings)
        self.layers = nn.ModuleList(RotaryLayer(shape) for _ in range(shape.num_layers))
        self.layer_norm = nn.LayerNorm(width, eps=shape.layer_norm_epsilon)
        self.gap_embedding = nn.Embedding(GAP_BUCKETS, width) if config.previous_gap else None
        self.next_gap_embedding = nn.Embedding(GAP_BUCKETS, width) if config.next_gap else None
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        self.pair_bias = None
        if config.pair_gaps:  # starts at zero: at first every gap counts the same
            self.pair_bias = nn.Embedding(GAP_BUCKETS, shape.num_heads)
            nn.init.zeros_(self.pair_bias.weight)
        self.feature_embedding = None
        if config.item_features:
            self.feature_embedding = nn.Linear(config.item_features, width, bias=False)
            nn.init.normal_(self.feature_embedding.weight, std=0.02)
        self.register_buffer("item_features", torch.zeros(vocab_size, config.item_features), False)

    def movie_vectors(self) -> torch.Tensor:
        """One vector per movie, for input and output alike: float (vocab_size, embedding)."""
        if self.feature_embedding is None:
            return self.movie_embedding.weight
        return self.movie_embedding.weight + self.feature_embedding(self.item_features)

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        """What the model knows after each movie, float (batch, time, embedding)."""
        x = F.embedding(batch.movie_tokens, self.movie_vectors())
        if self.gap_embedding is not None:
            x = x + self.gap_embedding(batch.gaps)
        if self.next_gap_embedding is not None:
            x = x + self.next_gap_embedding(gap_buckets(batch.next_timestamps - batch.timestamps))
        bias = None
        if self.pair_bias is not None:
            asked = batch.next_timestamps if self.config.next_gap else batch.timestamps
            passed = gap_buckets(asked[:, :, None] - batch.timestamps[:, None])
            bias = self.pair_bias(passed).permute(0, 3, 1, 2)  # (batch, heads, time, time)
        x = self.embedding_dropout(x)
        for layer in self.layers:
            x = layer(x, bias)
        return self.layer_norm(x)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Scores of all movies, float (..., vocab_size), from hidden (..., embedding)."""
        return F.linear(hidden, self.movie_vectors())


def next_movie_loss(model: nn.Module, batch: SequenceBatch) -> torch.Tensor:
    """Mean cross-entropy over all positions with a target, float ()."""
    learned = batch.targets != NO_TARGET  # (batch, time)
    return full_cross_entropy(model(batch)[learned], model.movie_vectors(), batch.targets[learned])


def history_scores(model: SequenceModel, device: torch.device) -> ScoreFunction:
    """What `evaluate_ranking` asks for: the model's logits after the last movies of histories."""

    def score(sequences: Sequences, questions: Questions) -> torch.Tensor:
        lengths = np.minimum(questions.ends, model.config.transformer.context_window_size)
        batch = make_batch(sequences, questions.ends - lengths, lengths, questions.users)
        model.eval()
        with torch.no_grad():
            hidden = model(batch.to(device))[torch.arange(len(lengths)), batch.lengths - 1]
            return model.logits(hidden).float().cpu()

    return score


def sequence_task(
    model: SequenceModel, sequences: Sequences, split: Split, trainer: TrainerConfig,
    loss=next_movie_loss, cut=training_batches, settings: dict[str, Any] | None = None,
) -> Task:  # fmt: skip
    """What the training loop needs; the test is not read, other data or ``settings`` are refused."""
    device = next(model.parameters()).device
    length = model.config.transformer.context_window_size

    def batches(epoch):
        size, seed = trainer.batch_size, epoch_seed(trainer, epoch)
        return cut(sequences, split.train_lengths, length, size, seed)

    def step(model, batch, optimizer, mixed):
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            value = loss(model, batch.to(device))
        return gradient_step(value, model, optimizer, trainer.max_gradient_norm)

    def ask(sequences, questions):
        logits = history_scores(model, device)(sequences, questions)
        return F.cross_entropy(logits, torch.from_numpy(questions.targets).long()), logits

    def validate(model):
        return validation_metrics(ask, sequences, split.validation)

    data = np.concatenate([sequences.movie_tokens, sequences.timestamps, split.train_lengths])
    shape = {"model": repr(model.config), "data": hashlib.sha256(data).hexdigest()}
    return Task(
        model=model, batches=batches, steps_per_epoch=len(batches(1)), step=step,
        validate=validate, shape=shape | (settings or {}),
    )  # fmt: skip


def train_sequence_model(model, sequences, split, trainer, on_epoch=None, **options):
    """Trains on the first movies of every user; arguments and options as in `sequence_task`."""
    task = sequence_task(model, sequences, split, trainer, **options)
    return fit(task, trainer, next(model.parameters()).device, on_epoch)
