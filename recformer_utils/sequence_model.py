"""The sequence model: a target at every position, long histories, output tied to the embeddings."""

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from dacite import Config as DaciteConfig
from dacite import DaciteError, from_dict
from torch import nn

from recformer_utils.evaluation import ScoreFunction
from recformer_utils.losses import full_cross_entropy
from recformer_utils.runs import (
    CheckpointError,
    TrainerConfig,
    load_checkpoint,
    load_state,
    save_atomically,
)
from recformer_utils.sequences import Questions, Sequences, Split, require_lengths
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.training import (
    Task,
    TrainingResult,
    epoch_seed,
    fit,
    gradient_step,
    validation_metrics,
)
from recformer_utils.transformer import MLP, CausalMultiHeadAttention, TransformerConfig

NO_TARGET = -100  # what PyTorch's cross-entropy leaves out
GAP_BUCKETS = 40  # floor(2 ln(1 + seconds)): the last one holds all gaps of nine years and more
SLOWEST_TURN = 1e-3  # radians per place of the slowest pair in rotary positions
SECONDS_APART = 60  # taken between movies that are named without times (docs/results.md)


@dataclass(frozen=True, kw_only=True)
class SequenceModelConfig:
    """Shape of the sequence model."""

    transformer: TransformerConfig  # context_window_size: the longest history that is read
    item_features: int = 0  # columns known of each movie, see `movie_features`; 0: none
    previous_gap: bool = False  # the time since the movie before is an input
    next_gap: bool = False  # so is the time until the movie asked for: it must be known
    pair_gaps: bool = False  # attention sees how long ago a movie was, from the movie asked for
    # if next_gap, else from the one that looks


class SequenceBatch(NamedTuple):
    """Histories of different length, padded behind their last movie.

    Attributes:
        movie_tokens: int64 (batch, time).
        lengths: int64 (batch,), movies in each history.
        timestamps: int64 (batch, time), seconds since the first movie of each history.
        next_timestamps: int64 (batch, time), those of the movies after them.
        gaps: int64 (batch, time), bucket of the time between a movie and the one before it.
        targets: int64 (batch, time), the movie after each; NO_TARGET where there is none to learn.
    """

    movie_tokens: torch.Tensor
    lengths: torch.Tensor
    timestamps: torch.Tensor | None
    next_timestamps: torch.Tensor | None
    gaps: torch.Tensor
    targets: torch.Tensor | None

    def to(self, device: torch.device) -> "SequenceBatch":
        """The same batch on a device."""
        there = (x if x is None else x.to(device, non_blocking=True) for x in self)
        return SequenceBatch(*there)


def gap_buckets(seconds: torch.Tensor) -> torch.Tensor:
    """Logarithmic buckets of times, int64, each half as wide again as the one before."""
    return (2 * seconds.clamp(min=0).float().log1p()).long().clamp(max=GAP_BUCKETS - 1)


def rotate(x: torch.Tensor) -> torch.Tensor:
    """Turns each pair of numbers by an angle that grows with the place in time.

    The product of a query and a key that are both turned depends on how far apart they are, and no
    longer on where they stand: "the movie before" is the same angle everywhere. Fast pairs tell
    neighbours apart, slow ones this month from last year. Source: Su et al., RoFormer: Enhanced
    Transformer with Rotary Position Embedding, 2021.

    Args:
        x: float (batch, heads, time, head_dimension), head_dimension even.
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
        y = F.scaled_dot_product_attention(
            rotate(q), rotate(k), v, attn_mask=bias, is_causal=bias is None,
            dropout_p=self.dropout if self.training else 0.0,
        )  # fmt: skip
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
        """Runs the block.

        Args:
            x: float (batch, time, embedding).
            bias: added to the scores before the softmax, float (batch, heads, time, time).
        """
        x = x + self.attention(self.layer_norm1(x), bias)
        return x + self.mlp(self.layer_norm2(x))


class SequenceModel(nn.Module):
    """Reads a history and scores every movie as the next one, after each of its positions.

    Padding stands behind the last movie, where causal attention never looks, so no padding mask
    is needed. Sources: Kang and McAuley, Self-Attentive Sequential Recommendation, 2018; tied
    output: Press and Wolf, Using the Output Embedding to Improve Language Models, 2017; gaps
    between pairs as a bias of attention: Zhai et al., Actions Speak Louder than Words, 2024.
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
        # Not stored with the weights: it comes from the catalogue (`movie_features`).
        known = torch.zeros(vocab_size, config.item_features)
        self.register_buffer("item_features", known, persistent=False)

    def movie_vectors(self) -> torch.Tensor:
        """One vector per movie, for input and output alike: float (vocab_size, embedding)."""
        vectors = self.movie_embedding.weight
        if self.feature_embedding is not None:
            vectors = vectors + self.feature_embedding(self.item_features)
        return vectors

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        """What the model knows after each movie, float (batch, time, embedding).

        Raises:
            ValueError: the model reads times, and the batch has none.
        """
        if batch.timestamps is None and (self.config.next_gap or self.config.pair_gaps):
            raise ValueError(
                "this model reads the time of each movie, which these histories do not have: "
                "use a model without that input, or build the batch with make_batch"
            )
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


def make_batch(
    sequences: Sequences,
    starts: np.ndarray,
    lengths: np.ndarray,
    users: np.ndarray,
    learn: bool = False,
) -> SequenceBatch:
    """Cuts pieces out of sequences.

    Args:
        sequences: the users' interactions.
        starts: int (batch,), position of the first movie of each piece within its user.
        lengths: int (batch,), movies in each piece, at least 1.
        users: user tokens, int (batch,).
        learn: give each movie the one after it as its target; the last one's stands behind the
            piece.
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
    if learn:
        targets[inside] = sequences.movie_tokens[following][inside]
    tokens, start = sequences.movie_tokens, stamps[first][:, None]
    gaps = torch.from_numpy(stamps[index] - stamps[before])
    return SequenceBatch(
        movie_tokens=torch.from_numpy(tokens[index].astype(np.int64)),
        lengths=torch.from_numpy(np.asarray(lengths, dtype=np.int64)),
        timestamps=torch.from_numpy(stamps[index] - start),
        next_timestamps=torch.from_numpy(stamps[following] - start),
        gaps=gap_buckets(gaps),
        targets=torch.from_numpy(targets),
    )


def batch_without_times(
    movie_tokens: torch.Tensor, seconds_apart: int = SECONDS_APART
) -> SequenceBatch:
    """Histories of somebody who names movies, but no times; nothing to learn.

    Args:
        movie_tokens: int (batch, time), the oldest movie first, nothing padded.
        seconds_apart: taken for the time before each movie.
    """
    return SequenceBatch(
        movie_tokens=movie_tokens,
        lengths=torch.full_like(movie_tokens[:, 0], movie_tokens.shape[1]),
        timestamps=None,
        next_timestamps=None,
        gaps=gap_buckets(torch.full_like(movie_tokens, seconds_apart)),
        targets=None,
    )


def training_batches(
    sequences: Sequences, train_lengths: np.ndarray, max_length: int, batch_size: int, seed: int
) -> list[SequenceBatch]:
    """One epoch: every movie of training but each user's first is a target exactly once.

    Long histories are cut into pieces, at other places in each epoch. Pieces of similar length
    share a batch, so little is padded.

    Args:
        sequences: the users' interactions.
        train_lengths: int (num_users,), how many movies of each user are training.
        max_length: movies in a piece.
        batch_size: pieces in a batch.
        seed: of the cuts and of the order of the batches.

    Raises:
        ValueError: train_lengths is not one number per user.
    """
    generator = np.random.default_rng(seed)
    rows = []
    for user, length in enumerate(require_lengths(sequences, train_lengths)):
        if length < 2:
            continue
        end = int(length) - 1  # the last movie of training is only a target
        take = 1 + int(generator.integers(max_length))  # movies of the newest piece
        while end > max_length:
            rows.append((user, end - take, take))
            end, take = end - take, max_length
        rows.append((user, 0, end))
    users, starts, lengths = np.array(rows, dtype=np.int64).T
    order = generator.permutation(len(users))
    order = order[np.argsort(lengths[order], kind="stable")]
    batches = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    return [
        make_batch(sequences, starts[rows], lengths[rows], users[rows], learn=True)
        for rows in (batches[i] for i in generator.permutation(len(batches)))
    ]


def history_scores(model: SequenceModel, device: torch.device) -> ScoreFunction:
    """What `evaluate_ranking` asks for: the model's logits after the last movies of histories.

    Args:
        model: put into evaluation mode; with next_gap, the movie after a history must be in the
            sequences, since the time until it is an input.
        device: where the model is.
    """
    max_length = model.config.transformer.context_window_size

    def score(sequences: Sequences, questions: Questions) -> torch.Tensor:
        lengths = np.minimum(questions.ends, max_length)
        pieces = make_batch(sequences, questions.ends - lengths, lengths, questions.users)
        pieces = pieces.to(device)
        model.eval()
        with torch.no_grad():
            hidden = model(pieces)[torch.arange(len(lengths)), pieces.lengths - 1]
            return model.logits(hidden).float().cpu()

    return score


def train_sequence_model(
    model: SequenceModel,
    sequences: Sequences,
    split: Split,
    trainer: TrainerConfig,
    settings: dict[str, Any] | None = None,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> TrainingResult:
    """Trains on the first movies of every user, asks for one more after each epoch.

    Args:
        model: on the device where it is trained.
        sequences: the users' interactions.
        split: what is learned from, and what is asked after each epoch (its test is not read).
        trainer: how to train; ``model_dir`` receives model.pth and a checkpoint to resume from.
        settings: what else decides the numbers, so that a checkpoint of another run is refused.
        on_epoch: called after each epoch with its number and the model.
    """
    task = sequence_task(model, sequences, split, trainer, settings)
    return fit(task, trainer, next(model.parameters()).device, on_epoch)


def sequence_task(
    model: SequenceModel,
    sequences: Sequences,
    split: Split,
    trainer: TrainerConfig,
    settings: dict[str, Any] | None = None,
    loss: Callable[[nn.Module, SequenceBatch], torch.Tensor] = next_movie_loss,
) -> Task:
    """What the training loop needs of a sequence model; arguments as in `train_sequence_model`."""
    device = next(model.parameters()).device
    length = model.config.transformer.context_window_size

    def batches(epoch: int) -> list[SequenceBatch]:
        seed = epoch_seed(trainer, epoch)
        return training_batches(sequences, split.train_lengths, length, trainer.batch_size, seed)

    def step(model: nn.Module, batch: SequenceBatch, optimizer, mixed: bool) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            value = loss(model, batch.to(device))
        return gradient_step(value, model, optimizer, trainer.max_gradient_norm)

    def validate(model: nn.Module) -> dict[str, float]:
        score = history_scores(model, device)

        def ask(sequences: Sequences, questions: Questions) -> tuple[torch.Tensor, torch.Tensor]:
            logits = score(sequences, questions)
            return F.cross_entropy(logits, torch.from_numpy(questions.targets).long()), logits

        return validation_metrics(ask, sequences, split.validation)

    return Task(
        model=model, batches=batches, steps_per_epoch=len(batches(1)), step=step,
        validate=validate, shape={"model": repr(model.config), **(settings or {})},
    )  # fmt: skip


def movie_features(movies: pd.DataFrame, metadata: MovieLensMetadata) -> torch.Tensor:
    """What is known of each movie before anybody watched it.

    Genres (one column each), the year (16 bumps from 1920 to 2000), and the places of the title
    in the alphabet and of the id in the catalogue, as waves of growing frequency, so that
    neighbours are alike: sequels stand together in the one, and in the other the movie rated next
    in the same second stands a few places further on.

    Args:
        movies: frame with columns movie_id, title, genres, as `load_movielens` reads it.
        metadata: the vocabulary.

    Returns:
        float32 (vocab_size, columns); zeros for the start and the end token.
    """
    movies = movies.set_index("movie_id").loc[list(metadata.movie_id_tokens)[:-2]]
    genres = movies["genres"].str.get_dummies("|").to_numpy(np.float32)
    year = movies["title"].str.extract(r"\((\d{4})\)\s*$")[0].astype(float)
    year = year.fillna(year.median()).to_numpy()[:, None]
    bumps = np.exp(-(((year - np.linspace(1920, 2000, 16)) / 2.4) ** 2) / 2)
    bumps = np.nan_to_num(bumps)  # of a catalogue in which no title has a year
    columns = [genres, bumps]
    for place in (
        movies["title"].str.lower().rank(method="first").to_numpy() - 1,
        np.arange(len(movies)),
    ):
        angle = 2 * math.pi * np.outer(place / len(movies), 2.0 ** np.arange(10))
        columns += [np.sin(angle), np.cos(angle)]
    known = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))
    return F.pad(known, (0, 0, 0, metadata.vocab_size - len(known)))


# ---------------------------------------------------------------- a trained model as one file


def save_sequence_model(model: SequenceModel, path: str | Path, about: dict[str, Any]) -> None:
    """Writes weights, shape, and what is to be said about them (plain values) to one file."""
    weights = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    stored = {"config": dataclasses.asdict(model.config), "weights": weights, "about": about}
    save_atomically(stored, path)


def load_sequence_model(
    path: str | Path, movies: pd.DataFrame, metadata: MovieLensMetadata
) -> tuple[SequenceModel, dict[str, Any]]:
    """Reads a file of `save_sequence_model`.

    Args:
        path: the file.
        movies: the catalogue that the model was trained on, as `load_movielens` reads it.
        metadata: its vocabulary.

    Returns:
        The model in evaluation mode, and what is said about it.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: unreadable, with code in it, of another kind or for another catalogue.
    """
    stored = load_checkpoint(path)
    try:
        config = from_dict(SequenceModelConfig, stored["config"], DaciteConfig(strict=True))
        weights, about = stored["weights"], stored["about"]
    except (DaciteError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{path}: not a file of save_sequence_model ({type(error).__name__}: {error})"
        ) from error
    if config.transformer.vocab_size != metadata.vocab_size:
        raise CheckpointError(
            f"{path}: made for {config.transformer.vocab_size - 2:,} movies, this catalogue has "
            f"{metadata.num_movies:,}: use the data set that it was trained on"
        )
    model = SequenceModel(config)
    if config.item_features:
        model.item_features.copy_(movie_features(movies, metadata))
    return load_state(model, weights, path), about
