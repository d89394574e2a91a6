"""Sequences: order by time, windows, questions and splits, and the PyTorch Dataset of windows."""

import copy
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch.utils.data import Dataset

from recformer_utils.movielens import read_movielens_files
from recformer_utils.tokens import MovieLensMetadata

SplitName = Literal["time", "leave-one-out", "random"]
NO_RATING = 0  # of the start and the end token


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """The interactions of all users, one user after the other, each in order of time."""

    movie_tokens: np.ndarray  # int32 (interactions,)
    ratings: np.ndarray  # int8 (interactions,), 1 to 5
    timestamps: np.ndarray  # int64 (interactions,), seconds since 1970
    offsets: np.ndarray  # int64 (num_users + 1,); user token u owns offsets[u]:offsets[u + 1]

    @property
    def num_users(self) -> int:
        """Number of users, those without interactions included."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of interactions of each user, int64 (num_users,)."""
        return np.diff(self.offsets)

    def of_user(self, user_token: int) -> np.ndarray:
        """Movie tokens of one user in order of time, int32 (length,)."""
        return self.movie_tokens[self.offsets[user_token] : self.offsets[user_token + 1]]


def order_by_time(ratings: pd.DataFrame, metadata: MovieLensMetadata) -> Sequences:
    """Orders each user's ratings by time; ties keep the order of the file."""
    user_tokens = metadata.tokenize_users(ratings["user_id"].to_numpy())
    movie_tokens = metadata.tokenize_movies(ratings["movie_id"].to_numpy())
    timestamps = ratings["unix_timestamp"].to_numpy(dtype=np.int64)
    order = np.lexsort((timestamps, user_tokens))  # by user, then by time; lexsort is stable
    counts = np.bincount(user_tokens, minlength=metadata.num_users)
    return Sequences(
        movie_tokens=movie_tokens[order],
        ratings=ratings["rating"].to_numpy(dtype=np.int8)[order],
        timestamps=timestamps[order],
        offsets=np.concatenate([[0], counts.cumsum()]),
    )


def place_in_group(counts: np.ndarray) -> np.ndarray:
    """0, 1, 2, ... within each of several groups: counts [2, 3] give [0, 1, 0, 1, 2]."""
    return np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)


def require_lengths(sequences: Sequences, lengths: np.ndarray) -> np.ndarray:
    """Returns lengths if they are one number per user, none beyond the user's last movie.

    Raises:
        ValueError: they are not; an array of one number per *question* is refused here.
    """
    there = sequences.lengths
    if np.shape(lengths) != there.shape:
        raise ValueError(f"one length per user is needed, {there.shape}, not {np.shape(lengths)}")
    for user in np.flatnonzero((lengths < 0) | (lengths > there)):
        raise ValueError(f"user token {user} has {there[user]} movies, not {lengths[user]}")
    return lengths


class Batch(NamedTuple):
    """Windows and what follows them; also the type of the whole data set and of one item."""

    movie_tokens: torch.Tensor  # int32 (batch, window)
    ratings: torch.Tensor  # int8 (batch, window), the user's ratings of those movies
    user_tokens: torch.Tensor  # int32 (batch,)
    next_movie_tokens: torch.Tensor  # int32 (batch,), the targets
    next_ratings: torch.Tensor  # int8 (batch,), the user's ratings of the targets


def sliding_windows(
    sequences: Sequences, sequence_length: int, start_token: int, end_token: int,
    window_size: int = 1,
) -> tuple[Batch, np.ndarray]:  # fmt: skip
    """Cuts every user's sequence, start and end token added, into windows and next movies.

    The same as ``torch.Tensor.unfold`` for each user in turn, but for all users at once.
    ``sequence_length`` movies are a window; ``window_size`` is the step to the next one.

    Returns:
        The windows as one Batch, users in order, and the position of each target within its
        user's interactions, int64 (windows,): 0 is the first movie, ``length`` the end token.
    """
    if sequence_length < 1 or window_size < 1:
        raise ValueError(f"lengths must be at least 1, not {sequence_length} and {window_size}")
    num_users, size = sequences.num_users, sequence_length + 1  # a window and its target
    edges = np.stack([sequences.offsets[:-1], sequences.offsets[1:]], axis=1).ravel()
    tokens = np.insert(sequences.movie_tokens, edges, np.tile([start_token, end_token], num_users))
    ratings = np.insert(sequences.ratings, edges, NO_RATING)

    counts = np.maximum(0, (sequences.lengths + 2 - size) // window_size + 1)  # windows a user
    counts[sequences.lengths == 0] = 0  # no interactions, no windows
    user_tokens = np.repeat(np.arange(num_users, dtype=np.int32), counts)
    place = place_in_group(counts) * window_size  # of a window's first token within its user
    starts = sequences.offsets[:-1] + 2 * np.arange(num_users)  # of each user's start token
    first = torch.from_numpy(starts[user_tokens] + place)
    tokens, ratings = (  # unfold copies nothing: of all its windows those within a user are taken
        F.pad(torch.from_numpy(column), (0, size)).unfold(0, size, 1)[first]
        for column in (tokens, ratings)
    )  # (windows, size) each
    users = torch.from_numpy(user_tokens)
    batch = Batch(tokens[:, :-1], ratings[:, :-1], users, tokens[:, -1], ratings[:, -1])
    return batch, place + sequence_length - 1


class Questions(NamedTuple):
    """Who is asked for which movie after which history; every evaluation takes it."""

    users: np.ndarray  # user tokens, int64 (questions,)
    ends: np.ndarray  # how many of each user's movies are history, int64 (questions,)
    targets: np.ndarray  # movie tokens, int32 (questions,)

    def take(self, rows: np.ndarray | slice) -> "Questions":
        """Some of the questions."""
        return Questions(*(column[rows] for column in self))


def ask(sequences: Sequences, users: np.ndarray, ends: np.ndarray) -> Questions:
    """Asks users for the movie that comes after their first ``ends`` movies."""
    targets = sequences.movie_tokens[sequences.offsets[users] + ends]
    return Questions(users=users, ends=ends, targets=targets)


def last_windows(
    sequences: Sequences, questions: Questions, length: int, start_token: int
) -> torch.Tensor:
    """The last movies of each history, int32 (questions, length); start tokens fill the front."""
    position = questions.ends[:, None] + np.arange(-length, 0)  # (questions, length)
    index = sequences.offsets[questions.users][:, None] + position.clip(min=0)
    tokens = sequences.movie_tokens[index.clip(max=len(sequences.movie_tokens) - 1)]
    return torch.from_numpy(np.where(position >= 0, tokens, np.int32(start_token)))


@dataclass(frozen=True, kw_only=True)
class Split:
    """What is learned from, and what is asked; every split returns it."""

    train_lengths: np.ndarray  # int64 (num_users,), how many movies of each user are training
    validation: Questions  # what choices are made on
    test: Questions  # what is asked once

    @property
    def known_lengths(self) -> np.ndarray:
        """Movies of each user that are training or validation, int64 (num_users,)."""
        known = self.train_lengths.copy()
        known[self.validation.users] += 1
        return known


def leave_one_out(sequences: Sequences) -> Split:
    """Last movie: test; the one before: validation; the rest: training (He et al., 2017).

    Users with fewer than three movies are in no part.
    """
    train_lengths = np.maximum(sequences.lengths - 2, 0)
    users = np.flatnonzero(train_lengths)
    return Split(
        train_lengths=train_lengths,
        validation=ask(sequences, users, train_lengths[users]),
        test=ask(sequences, users, train_lengths[users] + 1),
    )


def temporal_split(
    sequences: Sequences, cut: int, target: Literal["first", "last"] = "last"
) -> Split:
    """Splits by the clock: one moment for everybody, nothing is learned from after it.

    Validation asks for the last movie before the cut of everybody who has three there; the test
    asks everybody who comes after it for the "first" movie there or, as published, the "last".
    ``cut`` is in seconds since 1970; an interaction of this very second is asked, not learned.

    Sources: Meng et al., Exploring Data Splitting Strategies for the Evaluation of Recommendation
    Models, 2020; the last movie: Gusak et al., Time to Split, 2025.
    """
    earlier = np.concatenate([[0], np.cumsum(sequences.timestamps < cut)])
    before = np.diff(earlier[sequences.offsets])  # (num_users,)
    history = before if target == "first" else sequences.lengths - 1
    tested = np.flatnonzero((before < sequences.lengths) & (history > 0))
    validated = np.flatnonzero(before >= 3)
    train_lengths = before.copy()
    train_lengths[validated] -= 1
    return Split(
        train_lengths=train_lengths,
        validation=ask(sequences, validated, train_lengths[validated]),
        test=ask(sequences, tested, history[tested]),
    )


def hold_out(
    sequences: Sequences, users: np.ndarray, positions: np.ndarray, split: SplitName,
    fraction: float, seed: int,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Which windows are validation and which training, bool (windows,) each.

    ``users``, ``positions``: whose window each is and where its target stands, int (windows,).
    """
    if split == "leave-one-out":
        target = leave_one_out(sequences).train_lengths[users]
        return (positions == target) & (target > 0), positions < target
    if split == "random":
        held_out = np.random.default_rng(seed).random(len(users)) < fraction
    elif split == "time":
        counts = np.bincount(users, minlength=sequences.num_users)
        held_out_counts = np.minimum(np.ceil(counts * fraction), counts - 1)  # one window stays
        held_out = place_in_group(counts) >= (counts - held_out_counts)[users]
    else:
        raise ValueError(f"split must be 'time', 'leave-one-out' or 'random', found {split!r}")
    return held_out, ~held_out


class MovieLensSequenceDataset(Dataset[Batch]):
    """Windows of movies and the movie that comes next, as the model is trained on them.

    ``dataset[i]`` is (movie tokens int32 (L,), ratings int8 (L,), user token int32 (), next movie
    token int32 (), next rating int8 ()), ``dataset[[3, 1, 4]]`` a Batch of such items.

    Args:
        movies_file, users_file, ratings_file: paths of the three files.
        sequence_length, window_size: movies in a window (L), and the step to the next one.
        is_validation: hand out the validation part instead of the training part.
        validation_fraction: share of the windows that is held out, in [0, 1).
        split: ``"time"``: the last share of every user's windows. ``"leave-one-out"``: of each
            user the window whose target is the last movie but one; the last is in neither part.
            ``"random"``, as in the post: neighbours overlap, so held-out movies are trained on.
        seed: seed of the random split.
    """

    def __init__(
        self, movies_file: str, users_file: str, ratings_file: str, sequence_length: int,
        window_size: int = 1, is_validation: bool = False, validation_fraction: float = 0.1,
        split: SplitName = "time", seed: int = 0,
    ):  # fmt: skip
        if not 0 <= validation_fraction < 1:
            raise ValueError(f"validation_fraction is {validation_fraction}, must be in [0, 1)")
        users, movies, ratings = read_movielens_files(users_file, movies_file, ratings_file)
        self.metadata = MovieLensMetadata.from_frames(users, movies)
        self.sequences = order_by_time(ratings, self.metadata)
        start, end = self.metadata.start_token, self.metadata.end_token
        self.all_windows, self.all_positions = sliding_windows(
            self.sequences, sequence_length, start, end, window_size
        )
        owners = self.all_windows.user_tokens.numpy()
        self.held_out, self.kept = hold_out(
            self.sequences, owners, self.all_positions, split, validation_fraction, seed
        )
        if not self.kept.any():
            raise ValueError("nothing to learn from: every user has too few movies for a window")
        self.choose(is_validation)

    def choose(self, is_validation: bool) -> None:
        """Hands out the windows of one part from now on."""
        chosen = self.held_out if is_validation else self.kept
        self.windows = Batch(*(tensor[torch.from_numpy(chosen)] for tensor in self.all_windows))
        self.target_positions = self.all_positions[chosen]

    def part(self, is_validation: bool) -> "MovieLensSequenceDataset":
        """The training or the validation part, from the same reading of the files."""
        other = copy.copy(self)
        other.choose(is_validation)
        return other

    @property
    def questions(self) -> Questions:
        """The windows as questions; those that ask for the end token, no movie, are left out."""
        targets = self.windows.next_movie_tokens.numpy()
        everything = Questions(self.windows.user_tokens.numpy(), self.target_positions, targets)
        return everything.take(targets != self.metadata.end_token)

    def __len__(self) -> int:
        return len(self.windows.user_tokens)

    def __getitem__(self, index: int | list[int] | torch.Tensor) -> Batch:
        return Batch(*(tensor[index] for tensor in self.windows))

    def __getitems__(self, indices: list[int]) -> list[Batch]:
        """A whole batch by index, which DataLoader prefers to one item at a time."""
        return [self[torch.tensor(indices)]]

    @staticmethod
    def collate(batches: list[Batch]) -> Batch:
        """DataLoader's collate_fn: `__getitems__` has made one batch of the items already."""
        return batches[0]
