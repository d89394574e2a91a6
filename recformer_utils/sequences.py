"""Sequences: order by time, windows, splits, and the PyTorch Dataset that hands out batches."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset
from torch.utils.data._utils.collate import default_collate_fn_map

from recformer_utils.movielens import read_movielens_files
from recformer_utils.tokens import MovieLensMetadata

SplitName = Literal["time", "leave-one-out", "random"]
START_RATING = 0  # the start and the end token carry no rating
END_RATING = 0


@dataclass(frozen=True)
class Sequences:
    """The interactions of all users, one user after the other, each in order of time.

    Attributes:
        movie_tokens: int32 (interactions,).
        ratings: int8 (interactions,), 1 to 5.
        timestamps: int64 (interactions,), seconds since 1970.
        offsets: int64 (num_users + 1,); user token u owns ``offsets[u]:offsets[u + 1]``.
    """

    movie_tokens: np.ndarray
    ratings: np.ndarray
    timestamps: np.ndarray
    offsets: np.ndarray

    @property
    def num_users(self) -> int:
        """Number of users, those without a single interaction included."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Number of interactions of each user, int64 (num_users,)."""
        return np.diff(self.offsets)

    def of_user(self, user_token: int) -> np.ndarray:
        """Movie tokens of one user in order of time, int32 (length,)."""
        return self.movie_tokens[self.offsets[user_token] : self.offsets[user_token + 1]]


def order_by_time(ratings: pd.DataFrame, metadata: MovieLensMetadata) -> Sequences:
    """Orders each user's ratings by time; ties keep the order of the file.

    Args:
        ratings: frame with columns user_id, movie_id, rating, unix_timestamp.
        metadata: vocabulary that knows all of its users and movies.

    Raises:
        UnknownIdError: a user or a movie is not in the vocabulary.
    """
    user_tokens = metadata.tokenize_users(ratings["user_id"].to_numpy())
    movie_tokens = metadata.tokenize_movies(ratings["movie_id"].to_numpy())
    timestamps = ratings["unix_timestamp"].to_numpy(dtype=np.int64)
    order = _by_user_then_time(user_tokens, timestamps)
    counts = np.bincount(user_tokens, minlength=metadata.num_users)
    return Sequences(
        movie_tokens=movie_tokens[order],
        ratings=ratings["rating"].to_numpy(dtype=np.int8)[order],
        timestamps=timestamps[order],
        offsets=np.concatenate([[0], counts.cumsum()]).astype(np.int64),
    )


def _by_user_then_time(user_tokens: np.ndarray, timestamps: np.ndarray) -> np.ndarray:
    """Where the rows go, int64 (rows,); rows of one user and second keep their order."""
    earliest, latest = (timestamps.min(), timestamps.max()) if len(timestamps) else (0, 0)
    span = int(latest) - int(earliest) + 1
    if (int(user_tokens.max(initial=0)) + 1) * span >= 2**63:
        return np.lexsort((timestamps, user_tokens))
    # Both in one number: one sort instead of two takes half the time.
    return np.argsort(user_tokens * np.int64(span) + (timestamps - earliest), kind="stable")


class Batch(NamedTuple):
    """Windows and what follows them; also the type of the whole data set and of one item.

    Attributes:
        movie_tokens: int32 (batch, window).
        ratings: int8 (batch, window), the user's ratings of those movies.
        user_tokens: int32 (batch,).
        next_movie_tokens: int32 (batch,), the targets.
        next_ratings: int8 (batch,), the user's ratings of the targets.
    """

    movie_tokens: torch.Tensor
    ratings: torch.Tensor
    user_tokens: torch.Tensor
    next_movie_tokens: torch.Tensor
    next_ratings: torch.Tensor


# DataLoader glues single items together. `__getitems__` below already returns a whole batch, so
# tell the default collate function (the hook that torch documents) to pass it through.
default_collate_fn_map[Batch] = lambda batch, *, collate_fn_map=None: batch[0]


def sliding_windows(
    sequences: Sequences,
    sequence_length: int,
    start_token: int,
    end_token: int,
    window_size: int = 1,
) -> tuple[Batch, np.ndarray]:
    """Cuts every user's sequence, start and end token added, into windows and next movies.

    The same as ``torch.Tensor.unfold`` for each user in turn, but for all users at once.

    Args:
        sequences: the users' interactions.
        sequence_length: movies in a window.
        start_token: token put before each user's first movie.
        end_token: token put after each user's last movie.
        window_size: step from one window to the next (1: every position).

    Returns:
        The windows as one Batch, users in order, and the position of each target within its
        user's interactions, int64 (windows,): 0 is the first movie, ``length`` the end token.

    Raises:
        ValueError: sequence_length or window_size below 1.
    """
    if sequence_length < 1 or window_size < 1:
        raise ValueError(
            f"sequence_length and window_size must be at least 1, "
            f"found {sequence_length} and {window_size}"
        )
    lengths = sequences.lengths
    starts = sequences.offsets[:-1] + 2 * np.arange(sequences.num_users)  # where each start goes
    padded_offsets = np.append(starts, sequences.offsets[-1] + 2 * sequences.num_users)
    is_movie = np.ones(padded_offsets[-1], dtype=bool)
    is_movie[starts] = is_movie[padded_offsets[1:] - 1] = False

    tokens = np.full(len(is_movie), end_token, dtype=np.int32)
    tokens[starts] = start_token
    tokens[is_movie] = sequences.movie_tokens
    ratings = np.full(len(is_movie), END_RATING, dtype=np.int8)
    ratings[starts] = START_RATING
    ratings[is_movie] = sequences.ratings

    windows_per_user = np.maximum(0, (lengths + 2 - sequence_length - 1) // window_size + 1)
    windows_per_user[lengths == 0] = 0  # nobody there: start and end alone teach nothing
    user_tokens = np.repeat(np.arange(sequences.num_users, dtype=np.int32), windows_per_user)
    before = np.cumsum(windows_per_user) - windows_per_user
    number = np.arange(len(user_tokens)) - before[user_tokens]  # 0, 1, ... within the user
    first = starts[user_tokens] + number * window_size
    first = torch.from_numpy(first)
    target_index = first + sequence_length

    tokens, ratings = torch.from_numpy(tokens), torch.from_numpy(ratings)
    if len(first) == 0:  # there may be fewer tokens than unfold needs for one window
        tokens, ratings = tokens.new_zeros(sequence_length), ratings.new_zeros(sequence_length)
    # unfold copies nothing: of all its windows only those within one user are taken.
    batch = Batch(
        movie_tokens=tokens.unfold(0, sequence_length, 1)[first],  # (windows, sequence_length)
        ratings=ratings.unfold(0, sequence_length, 1)[first],
        user_tokens=torch.from_numpy(user_tokens),
        next_movie_tokens=tokens[target_index],  # (windows,)
        next_ratings=ratings[target_index],
    )
    return batch, number * window_size + sequence_length - 1


class Questions(NamedTuple):
    """Who is asked for which movie after which history; every evaluation takes it.

    Attributes:
        users: user tokens, int64 (questions,).
        ends: how many of each user's movies are history, int64 (questions,).
        targets: movie tokens, int32 (questions,).
    """

    users: np.ndarray
    ends: np.ndarray
    targets: np.ndarray

    def take(self, rows: np.ndarray | slice) -> "Questions":
        """Some of the questions."""
        return Questions(*(column[rows] for column in self))


@dataclass(frozen=True, kw_only=True)
class Split:
    """What is learned from, and what is asked; every split returns it.

    Attributes:
        train_lengths: int64 (num_users,), how many movies of each user are training.
        validation: the questions that choices are made on.
        test: the questions that are asked once.
    """

    train_lengths: np.ndarray
    validation: Questions
    test: Questions

    @property
    def known_lengths(self) -> np.ndarray:
        """Movies of each user that are training or validation, int64 (num_users,)."""
        known = self.train_lengths.copy()
        known[self.validation.users] += 1
        return known


def ask(sequences: Sequences, users: np.ndarray, ends: np.ndarray) -> Questions:
    """Asks users for the movie that comes after their first ``ends`` movies."""
    targets = sequences.movie_tokens[sequences.offsets[users] + ends]
    return Questions(users=users, ends=ends, targets=targets)


def leave_one_out(sequences: Sequences) -> Split:
    """Splits by position: last movie = test, the one before = validation, the rest = training.

    Users with fewer than three movies are in no part.

    Source: He et al., Neural Collaborative Filtering, 2017; full ranking as in Krichene and
    Rendle, On Sampled Metrics for Item Recommendation, 2020.
    """
    train_lengths = np.maximum(sequences.lengths - 2, 0)
    users = np.flatnonzero(train_lengths)
    return Split(
        train_lengths=train_lengths,
        validation=ask(sequences, users, train_lengths[users]),
        test=ask(sequences, users, train_lengths[users] + 1),
    )


def cut_time(sequences: Sequences, quantile: float = 0.9) -> int:
    """The second before which a share of all interactions lies, seconds since 1970.

    Raises:
        ValueError: the quantile is not in (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be in (0, 1), found {quantile}")
    return int(np.ceil(np.quantile(sequences.timestamps, quantile)))


def temporal_split(
    sequences: Sequences, quantile: float = 0.9, target: Literal["first", "last"] = "last"
) -> Split:
    """Splits by the clock: one moment for everybody, nothing is learned from after it.

    Validation asks for the last movie before the cut of everybody who has three there.

    Args:
        sequences: the users' interactions.
        quantile: share of all interactions that lie before the cut, in (0, 1); an interaction of
            the very second of the cut is asked, not learned.
        target: the test asks everybody who comes after the cut for the "first" movie there (those
            who were there before it), or, as published, for the "last" one, with everything
            before it as history.

    Raises:
        ValueError: the quantile is not in (0, 1).

    Sources: Meng et al., Exploring Data Splitting Strategies for the Evaluation of Recommendation
    Models, 2020; the last movie: Gusak et al., Time to Split, 2025.
    """
    earlier = np.concatenate([[0], np.cumsum(sequences.timestamps < cut_time(sequences, quantile))])
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


def require_lengths(sequences: Sequences, lengths: np.ndarray) -> np.ndarray:
    """Checks a number of movies for each user, int64 (num_users,), and returns it.

    Raises:
        ValueError: not one per user, or beyond a user's last movie.
    """
    lengths, there = np.asarray(lengths, dtype=np.int64), sequences.lengths
    if lengths.shape != there.shape:
        raise ValueError(
            f"one length per user is needed, ({sequences.num_users},), found {lengths.shape}"
        )
    if ((lengths < 0) | (lengths > there)).any():
        user = int(np.flatnonzero((lengths < 0) | (lengths > there))[0])
        raise ValueError(
            f"user token {user} has {there[user]} movies, cannot keep the first {lengths[user]}"
        )
    return lengths


def truncate(sequences: Sequences, ends: np.ndarray) -> Sequences:
    """The same users with only the first movies of each.

    Args:
        sequences: the users' interactions.
        ends: int (num_users,), how many movies to keep of each user.

    Raises:
        ValueError: not one end per user, or an end beyond a user's last movie.
    """
    ends, lengths = require_lengths(sequences, ends), sequences.lengths
    position = np.arange(sequences.offsets[-1]) - np.repeat(sequences.offsets[:-1], lengths)
    kept = position < np.repeat(ends, lengths)
    return Sequences(
        movie_tokens=sequences.movie_tokens[kept],
        ratings=sequences.ratings[kept],
        timestamps=sequences.timestamps[kept],
        offsets=np.concatenate([[0], ends.cumsum()]),
    )


def last_windows(
    sequences: Sequences, questions: Questions, length: int, start_token: int
) -> torch.Tensor:
    """The last ``length`` movies of each history; start tokens fill the front.

    Args:
        sequences: the users' interactions.
        questions: whose histories.
        length: movies in a window.
        start_token: what stands in for movies that are not there.

    Returns:
        int32 (questions, length).
    """
    position = questions.ends[:, None] + np.arange(-length, 0)  # (questions, length)
    index = sequences.offsets[questions.users][:, None] + position.clip(min=0)
    tokens = sequences.movie_tokens[index.clip(max=len(sequences.movie_tokens) - 1)]
    return torch.from_numpy(np.where(position >= 0, tokens, np.int32(start_token)))


class MovieLensSequenceDataset(Dataset[Batch]):
    """Windows of movies and the movie that comes next, as the model is trained on them.

    Args:
        movies_file: path of movies.dat.
        users_file: path of users.dat.
        ratings_file: path of ratings.dat.
        sequence_length: movies in a window.
        window_size: step from one window to the next.
        is_validation: hand out the validation part instead of the training part.
        validation_fraction: share of the windows that is held out (not for leave-one-out).
        split: how the two parts are drawn.
            ``"time"``: the last share of every user's windows is held out, end token included,
            so no window of training holds a movie that validation asks for.
            ``"leave-one-out"``: one window per user is held out, the one whose target is the
            last movie but one; the last movie is kept for the test and is in neither part.
            ``"random"``: windows are drawn at random, as in the post. Neighbouring windows
            overlap, so nearly every held-out movie is seen in training: it leaks.
        seed: seed of the random split.

    An item, ``dataset[i]``, is (movie tokens int32 (L,), ratings int8 (L,), user token int32 (),
    next movie token int32 (), next rating int8 ()). ``dataset[[3, 1, 4]]`` is a Batch.

    Raises:
        MovieLensFormatError: a file is not in MovieLens' form.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        movies_file: str,
        users_file: str,
        ratings_file: str,
        sequence_length: int,
        window_size: int = 1,
        is_validation: bool = False,
        validation_fraction: float = 0.1,
        split: SplitName = "time",
        seed: int = 0,
    ):
        if not 0 <= validation_fraction < 1:
            raise ValueError(f"validation_fraction must be in [0, 1), found {validation_fraction}")
        users, movies, ratings = read_movielens_files(users_file, movies_file, ratings_file)
        self.metadata = MovieLensMetadata.from_frames(users, movies)
        self.sequences = order_by_time(ratings, self.metadata)
        self.is_validation = is_validation
        windows, positions = sliding_windows(
            self.sequences,
            sequence_length,
            self.metadata.start_token,
            self.metadata.end_token,
            window_size,
        )
        held_out, kept = _draw_split(
            split, windows, positions, self.sequences.lengths, validation_fraction, seed
        )
        chosen = torch.from_numpy(held_out if is_validation else kept)
        self.windows = Batch(*(tensor[chosen] for tensor in windows))
        self.target_positions = positions[chosen.numpy()]

    @property
    def questions(self) -> Questions:
        """The windows as questions; those whose target is the end token, no movie, are left out."""
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


def _draw_split(
    split: SplitName,
    windows: Batch,
    positions: np.ndarray,
    lengths: np.ndarray,
    validation_fraction: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Masks of the windows that are held out and kept, bool (windows,) each."""
    user_tokens = windows.user_tokens.numpy()
    if split == "random":
        held_out = np.random.default_rng(seed).random(len(user_tokens)) < validation_fraction
        return held_out, ~held_out
    if split == "time":
        counts = np.bincount(user_tokens, minlength=len(lengths))
        number = np.arange(len(user_tokens)) - (np.cumsum(counts) - counts)[user_tokens]
        # A user with a single window keeps it for training: there is nothing to learn from else.
        held_out_count = np.minimum(np.ceil(counts * validation_fraction), counts - 1)
        held_out = number >= (counts - held_out_count)[user_tokens]
        return held_out, ~held_out
    if split == "leave-one-out":
        from_end = (
            lengths[user_tokens] - positions
        )  # 0: end token, 1: last movie, 2: the one before
        return from_end == 2, from_end > 2
    raise ValueError(f"split must be 'time', 'leave-one-out' or 'random', found {split!r}")
