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

from recformer_utils.evaluation import ScoreFunction, evaluate_ranking, metrics_from_ranks
from recformer_utils.loop import Task, TrainingResult, epoch_seed, fit
from recformer_utils.losses import Loss, full_cross_entropy, sampled_loss
from recformer_utils.optimization import gradient_step
from recformer_utils.runs.checkpoints import (
    CheckpointError,
    load_checkpoint,
    put_weights,
    save_atomically,
)
from recformer_utils.runs.config import TrainerConfig
from recformer_utils.sequences import Questions, Sequences, require_lengths
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import Transformer, TransformerConfig

NO_TARGET = -100  # what PyTorch's cross-entropy leaves out
GAP_BUCKETS = 40  # floor(2 ln(1 + seconds)): the last one holds all gaps of nine years and more
# Between the movies of somebody who names no times. Measured on 2026-11-24 (2 CPU cores, x86_64, no
# GPU) on the validation users of leave-one-out, their last 5 | 10 films with this in place of their
# own gaps, NDCG@10. MovieLens-1M: own gaps 0.180 | 0.199, same second 0.056 | 0.056, 10 s
# 0.154 | 0.168, a minute 0.164 | 0.174, an hour 0.153 | 0.161 (all these with no gap before the
# first). The sample's 600 users tell them hardly apart, 0.260 to 0.265 | 0.263 to 0.273.
# No gap before the first film means to the model "in the same second": a minute there too gives
# 0.161 | 0.171, but to those who name one, two or three films 0.089, 0.129, 0.145, not 0.035,
# 0.107, 0.123.
SECONDS_APART = 60


@dataclass(frozen=True)
class SequenceModelConfig:
    """Shape of the sequence model, and what it is trained on."""

    transformer: TransformerConfig  # context_window_size: the longest history that is read
    previous_gap: bool = False  # the time since the movie before is an input
    next_gap: bool = False  # so is the time until the movie asked for: it must be known
    pair_gaps: bool = False  # attention sees how long ago a movie was, from the movie asked for
    # if next_gap, else from the one that looks
    ratings: bool = False  # what the user gave each movie of the history is an input
    item_features: int = 0  # columns known of each movie, see `movie_features`; 0: none
    tied_output: bool = True  # the output weights are the movies' embeddings
    output_bias: bool = False  # a score of its own for each movie, whatever the history
    temperature: float | None = None  # scores are cosines divided by it; None: dot products
    loss: Loss = "full"  # "full", "sampled", "bce" or "gbce"
    negatives: int = 1  # movies drawn per step ("sampled", "gbce"); "bce" draws one a position
    label_smoothing: float = 0.0  # share of the target's probability spread over all movies


class SequenceBatch(NamedTuple):
    """Histories of unlike length, padded behind their last movie; see also `named_in_a_row`.

    Attributes:
        movie_tokens: int64 (batch, time).
        ratings: int64 (batch, time), 1 to 5.
        lengths: int64 (batch,), movies in each history.
        timestamps: int64 (batch, time), seconds since the first movie of each history.
        next_timestamps: int64 (batch, time), those of the movies after them.
        gaps: int64 (batch, time), bucket of the time between a movie and the one before it.
        targets: int64 (batch, time), the movie after each; NO_TARGET where there is none to learn.
    """

    movie_tokens: torch.Tensor
    ratings: torch.Tensor | None
    lengths: torch.Tensor
    timestamps: torch.Tensor | None
    next_timestamps: torch.Tensor | None
    gaps: torch.Tensor
    targets: torch.Tensor | None

    def to(self, device: torch.device) -> "SequenceBatch":
        """The same batch on a device."""
        there = (x if x is None else x.to(device, non_blocking=True) for x in self)
        return SequenceBatch(*there)


class SequenceModel(nn.Module):
    """Reads a history and scores every movie as the next one, after each of its positions.

    Padding stands behind the last movie, where causal attention never looks, so no padding mask
    is needed; positions are counted from the newest movie, so the last one is always position 0.
    Sources: Kang and McAuley, Self-Attentive Sequential Recommendation, 2018; tied output: Press
    and Wolf, Using the Output Embedding to Improve Language Models, 2017; gaps between pairs as
    a bias of attention: Zhai et al., Actions Speak Louder than Words (HSTU), 2024.
    """

    def __init__(self, config: SequenceModelConfig):
        super().__init__()
        self.config = config
        width, vocab_size = config.transformer.embedding_dimension, config.transformer.vocab_size
        self.transformer = Transformer(config.transformer)
        self.gap_embedding = nn.Embedding(GAP_BUCKETS, width) if config.previous_gap else None
        self.next_gap_embedding = nn.Embedding(GAP_BUCKETS, width) if config.next_gap else None
        self.rating_embedding = nn.Embedding(6, width) if config.ratings else None
        self.output = None if config.tied_output else nn.Embedding(vocab_size, width)
        self.bias = nn.Parameter(torch.zeros(vocab_size)) if config.output_bias else None
        for module in self.modules():
            if isinstance(module, nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)
        self.pair_bias = None
        if config.pair_gaps:  # starts at zero: at first every gap counts the same
            self.pair_bias = nn.Embedding(GAP_BUCKETS, config.transformer.num_heads)
            nn.init.zeros_(self.pair_bias.weight)
        self.feature_embedding = None
        if config.item_features:
            self.feature_embedding = nn.Linear(config.item_features, width, bias=False)
            nn.init.normal_(self.feature_embedding.weight, std=0.02)
            # Not stored with the weights: they come from the catalogue (`movie_features`).
            self.register_buffer(
                "item_features", torch.zeros(vocab_size, config.item_features), persistent=False
            )

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        """What the model knows after each movie, float (batch, time, embedding).

        Raises:
            ValueError: the model reads ratings or times, and the batch has none.
        """
        self._refuse_what_is_missing(batch)
        time = batch.movie_tokens.shape[1]
        ages = batch.lengths[:, None] - 1 - torch.arange(time, device=batch.lengths.device)
        features = torch.zeros((), device=batch.lengths.device)
        if self.feature_embedding is not None:
            features = features + F.embedding(batch.movie_tokens, self._feature_vectors())
        if self.rating_embedding is not None:
            features = features + self.rating_embedding(batch.ratings)
        if self.gap_embedding is not None:
            features = features + self.gap_embedding(batch.gaps)
        if self.next_gap_embedding is not None:
            waiting = gap_buckets(batch.next_timestamps - batch.timestamps)
            features = features + self.next_gap_embedding(waiting)
        bias = None
        if self.pair_bias is not None:
            asked = batch.next_timestamps if self.config.next_gap else batch.timestamps
            passed = gap_buckets(asked[:, :, None] - batch.timestamps[:, None])
            bias = self.pair_bias(passed).permute(0, 3, 1, 2)  # (batch, heads, time, time)
        return self.transformer(batch.movie_tokens, ages.clamp(min=0), features, bias)

    def _refuse_what_is_missing(self, batch: SequenceBatch) -> None:
        """Says which input of the model the batch lacks, before something breaks over it."""
        read = {
            "ratings": (self.rating_embedding, batch.ratings),
            "times between pairs of movies": (self.pair_bias, batch.timestamps),
            "the time of the next movie": (self.next_gap_embedding, batch.next_timestamps),
        }
        for what, (part, given) in read.items():
            if part is not None and given is None:
                raise ValueError(
                    f"this model reads {what}, which the histories do not have (named_in_a_row "
                    "knows movies only): take a model without, or make_batch"
                )

    def _feature_vectors(self) -> torch.Tensor:
        """What is known of each movie as a vector, float (vocab_size, embedding)."""
        return self.feature_embedding(self.item_features)

    def output_weight(self) -> torch.Tensor:
        """One vector per movie, what goes in when tied: float (vocab_size, embedding)."""
        if self.output is not None:
            weight = self.output.weight
        else:
            weight = self.transformer.token_embedding.weight
            if self.feature_embedding is not None:
                weight = weight + self._feature_vectors()
        return weight if self.config.temperature is None else F.normalize(weight, dim=-1)

    def _scaled(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden vectors whose products with `output_weight` are the scores."""
        temperature = self.config.temperature
        return hidden if temperature is None else F.normalize(hidden, dim=-1) / temperature

    def scores(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits over the vocabulary, float (..., vocab_size), from hidden (..., embedding)."""
        return F.linear(self._scaled(hidden), self.output_weight(), self.bias)

    def loss(self, batch: SequenceBatch) -> torch.Tensor:
        """Mean loss over all positions with a target, float ()."""
        learned = batch.targets != NO_TARGET  # (batch, time)
        hidden, targets = self._scaled(self(batch)[learned]), batch.targets[learned]
        weight, config = self.output_weight(), self.config
        if config.loss != "full":
            return sampled_loss(hidden, weight, targets, config.loss, config.negatives, self.bias)
        loss = full_cross_entropy(hidden, weight, targets, self.bias)
        if config.label_smoothing:
            # Cross-entropy with the target's share spread evenly, without a second softmax.
            own = (hidden * weight[targets]).sum(dim=-1).mean()
            mean = (hidden @ weight.mean(dim=0)).mean()
            if self.bias is not None:
                own, mean = own + self.bias[targets].mean(), mean + self.bias.mean()
            loss = loss + config.label_smoothing * (own - mean)
        return loss


# ---------------------------------------------------------------- from sequences to batches


def gap_buckets(seconds: torch.Tensor) -> torch.Tensor:
    """Logarithmic buckets of times, int64, each half as wide again as the one before."""
    return (2 * seconds.clamp(min=0).float().log1p()).long().clamp(max=GAP_BUCKETS - 1)


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
    tokens, start = sequences.movie_tokens, stamps[first][:, None]
    gaps = torch.from_numpy(stamps[index] - stamps[before])
    return SequenceBatch(
        movie_tokens=torch.from_numpy(tokens[index].astype(np.int64)),
        ratings=torch.from_numpy(sequences.ratings[index].astype(np.int64)),
        lengths=torch.from_numpy(np.asarray(lengths, dtype=np.int64)),
        timestamps=torch.from_numpy(stamps[index] - start),
        next_timestamps=torch.from_numpy(stamps[following] - start),
        gaps=gap_buckets(gaps),
        targets=torch.from_numpy(targets),
    )


def named_in_a_row(movie_tokens: torch.Tensor, seconds_apart: int = SECONDS_APART) -> SequenceBatch:
    """Histories of somebody who names movies, but no times and no ratings; nothing to learn.

    Args:
        movie_tokens: int (batch, time), the oldest movie first, nothing padded.
        seconds_apart: taken for the time before each movie.
    """
    return SequenceBatch(
        movie_tokens=movie_tokens,
        ratings=None,
        lengths=torch.full_like(movie_tokens[:, 0], movie_tokens.shape[1]),
        timestamps=None,
        next_timestamps=None,
        gaps=gap_buckets(torch.full_like(movie_tokens, seconds_apart)),
        targets=None,
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
    train_lengths = require_lengths(sequences, train_lengths)
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
            return model.scores(hidden).float().cpu()

    return score


# ---------------------------------------------------------------- training


def train_sequence_model(
    model: SequenceModel,
    sequences: Sequences,
    train_lengths: np.ndarray,
    validation: Questions,
    trainer: TrainerConfig,
    overlap: int = 0,
    settings: dict[str, Any] | None = None,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> TrainingResult[SequenceModel]:
    """Trains on the first movies of every user, asks for one more after each epoch.

    Args:
        model: on the device where it is trained.
        sequences: the users' interactions.
        train_lengths: int (num_users,), how many movies of each user are training.
        validation: what is asked after each epoch.
        trainer: how to train; ``model_dir`` receives model.pth and a checkpoint to resume from.
        overlap: see `training_batches`.
        settings: what else decides the numbers, so that a checkpoint of another run is refused.
        on_epoch: called after each epoch with its number and the model.
    """
    task = sequence_task(model, sequences, train_lengths, validation, trainer, overlap, settings)
    return fit(task, trainer, next(model.parameters()).device, on_epoch)


def sequence_task(
    model: SequenceModel,
    sequences: Sequences,
    train_lengths: np.ndarray,
    validation: Questions,
    trainer: TrainerConfig,
    overlap: int = 0,
    settings: dict[str, Any] | None = None,
) -> Task[SequenceModel]:
    """What the training loop needs of a sequence model; arguments as in `train_sequence_model`."""
    device = next(model.parameters()).device
    length = model.config.transformer.context_window_size

    def batches(epoch: int) -> list[SequenceBatch]:
        seed = epoch_seed(trainer, epoch)
        return training_batches(sequences, train_lengths, length, trainer.batch_size, seed, overlap)

    def step(model: nn.Module, batch: SequenceBatch, optimizer: torch.optim.Optimizer):
        batch = batch.to(device)
        return gradient_step(
            lambda: model.loss(batch), model, optimizer, device,
            trainer.mixed_precision, trainer.max_gradient_norm,
        )  # fmt: skip

    def validate(model: nn.Module) -> dict[str, float]:
        score, losses = history_scores(model, device), []

        def watched(sequences: Sequences, questions: Questions) -> torch.Tensor:
            logits, targets = score(sequences, questions), torch.as_tensor(questions.targets).long()
            losses.append(F.cross_entropy(logits, targets, reduction="sum").item())
            return logits

        metrics = metrics_from_ranks(evaluate_ranking(watched, sequences, validation))
        return {
            "validation_loss": sum(losses) / len(validation.targets),
            "HR@10": metrics.hit_rate,
            "NDCG@10": metrics.ndcg,
        }

    shape = {"model": repr(model.config), "overlap": overlap, **(settings or {})}
    return Task(model, batches, len(batches(1)), step, validate, shape)


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
    return put_weights(model, weights, path), about
