"""Tokens, order, windows and splits, on users that fit on the screen."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader

from recformer_utils.baselines import truncate
from recformer_utils.movielens import MovieLensNotFoundError, load_movielens
from recformer_utils.sequence_model import training_batches
from recformer_utils.sequences import (
    MovieLensSequenceDataset,
    Sequences,
    hold_out,
    last_windows,
    leave_one_out,
    order_by_time,
    sliding_windows,
    temporal_split,
)
from recformer_utils.tokens import MovieLensMetadata, UnknownIdError, find_movies

USERS = pd.DataFrame({"user_id": [3, 1]})
MOVIES = pd.DataFrame(
    {
        "movie_id": [10, 40, 20, 30],
        "title": ["Matrix, The (1999)", "Alien (1979)", "Aliens (1986)", "Misérables, Les (1995)"],
        "genres": ["Sci-Fi", "Horror", "Action", "Drama"],
    }
)
METADATA = MovieLensMetadata.from_frames(USERS, MOVIES)  # tokens: 10 20 30 40 -> 0 1 2 3
RATINGS = pd.DataFrame(  # user 1: 40 10 20 (a tie at 7, file order); user 3: 30 10 20 40
    [(1, 10, 5, 7), (1, 40, 4, 2), (1, 20, 3, 7), (3, 30, 1, 1), (3, 20, 3, 9), (3, 10, 2, 4), (3, 40, 4, 9)],
    columns=["user_id", "movie_id", "rating", "unix_timestamp"],
)  # fmt: skip


def test_tokens_follow_the_ids_and_end_in_start_and_end():
    assert METADATA.user_id_tokens == {1: 0, 3: 1}
    assert METADATA.movie_id_tokens == {10: 0, 20: 1, 30: 2, 40: 3, "<start>": 4, "<end>": 5}
    assert (METADATA.vocab_size, METADATA.num_movies, METADATA.num_users) == (6, 4, 2)
    tokens = METADATA.tokenize_movies([40, 10, 40])
    assert tokens.tolist() == [3, 0, 3]
    assert METADATA.movie_ids_of([*tokens, 4, 5]) == [40, 10, 40, None, None]


def test_unknown_ids_are_named():
    with pytest.raises(UnknownIdError, match=r"movie id 33 is not .*1 of 2 ids are unknown"):
        METADATA.tokenize_movies([10, 33])
    with pytest.raises(UnknownIdError, match="movie token 6"):
        METADATA.movie_ids_of([6])


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("the matrix", 10),
        ("Matrix", 10),
        ("les miserables", 30),
        ("Alien", 40),
        ("aliens (1986)", 20),
        ("matirx", 10),
    ],
)
def test_titles_are_found(typed, found):
    assert find_movies(typed, MOVIES)["movie_id"].iloc[0] == found


def test_a_title_as_long_as_a_book_is_answered_at_once():
    movies = load_movielens("sample").movies
    with pytest.raises(UnknownIdError) as caught:
        find_movies("ab" * 100_000, movies)
    assert len(str(caught.value)) < 600
    assert find_movies("", movies.head(0)).empty


def test_a_title_that_matches_nothing_names_the_nearest():
    with pytest.raises(UnknownIdError, match=r"no movie is called 'zzzz'.*nearest titles"):
        find_movies("zzzz", MOVIES)


def test_order_is_by_time_with_ties_in_file_order():
    sequences = order_by_time(RATINGS, METADATA)
    assert sequences.of_user(0).tolist() == [3, 0, 1]
    assert sequences.of_user(1).tolist() == [2, 0, 1, 3]
    assert sequences.ratings.tolist() == [4, 5, 3, 1, 2, 3, 4]
    assert sequences.lengths.tolist() == [3, 4]


def test_windows_by_hand():
    batch, positions = sliding_windows(order_by_time(RATINGS, METADATA), 3, 4, 5)
    assert batch.movie_tokens.tolist() == [[4, 3, 0], [3, 0, 1], [4, 2, 0], [2, 0, 1], [0, 1, 3]]
    assert batch.next_movie_tokens.tolist() == [1, 5, 1, 3, 5]
    assert batch.ratings.tolist() == [[0, 4, 5], [4, 5, 3], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert batch.next_ratings.tolist() == [3, 0, 3, 4, 0]
    assert batch.user_tokens.tolist() == [0, 0, 1, 1, 1]
    assert positions.tolist() == [2, 3, 2, 3, 4]
    assert batch.movie_tokens.dtype == torch.int32
    assert batch.ratings.dtype == torch.int8


def test_a_user_with_too_few_movies_has_no_window():
    batch, _ = sliding_windows(order_by_time(RATINGS, METADATA), 5, 4, 5)
    assert batch.user_tokens.tolist() == [1]
    with pytest.raises(ValueError, match="at least 1"):
        sliding_windows(order_by_time(RATINGS, METADATA), 0, 4, 5)


def test_leave_one_out_and_last_windows():
    sequences = order_by_time(RATINGS, METADATA)
    split = leave_one_out(sequences)
    assert split.validation.targets.tolist() == [0, 1]
    assert split.test.targets.tolist() == [1, 3]
    assert split.train_lengths.tolist() == [1, 2]
    assert split.known_lengths.tolist() == split.test.ends.tolist() == [2, 3]
    windows = last_windows(sequences, split.validation, 3, 4)
    assert windows.tolist() == [[4, 4, 3], [4, 2, 0]]


def users_with(*lengths):
    """Sequences of users with so many movies: movie tokens 0, 1, 2, ... one user after the other."""
    size = sum(lengths)
    return Sequences(
        movie_tokens=np.arange(size, dtype=np.int32),
        ratings=np.full(size, 3, dtype=np.int8),
        timestamps=np.arange(size),
        offsets=np.cumsum([0, *lengths]),
    )


def test_a_user_with_too_few_movies_is_in_no_part():
    sequences = users_with(6, 1, 8)
    split = leave_one_out(sequences)
    assert split.train_lengths.tolist() == [4, 0, 6]
    assert split.validation.users.tolist() == split.test.users.tolist() == [0, 2]
    assert split.validation.targets.tolist() == [4, 13]
    assert split.test.targets.tolist() == [5, 14]
    assert split.known_lengths.tolist() == [5, 0, 7]


def test_one_length_per_question_is_refused_by_the_training():
    """It was accepted once: user 1, who has one movie, was trained on movies of user 2."""
    sequences = users_with(6, 1, 8)
    split = leave_one_out(sequences)
    with pytest.raises(ValueError, match=r"one length per user is needed, \(3,\), not \(2,\)"):
        training_batches(sequences, split.validation.ends, 10, 8, seed=0)
    (batch,) = training_batches(sequences, split.train_lengths, 10, 8, seed=0)
    assert sorted(batch.targets[batch.targets >= 0].tolist()) == [1, 2, 3, 8, 9, 10, 11, 12]


def test_users_with_few_movies_hold_out_nothing():
    windows, positions = sliding_windows(users_with(0, 1, 2, 3), 1, 6, 7)
    users = windows.user_tokens.numpy()
    assert users.tolist() == [1] * 2 + [2] * 3 + [3] * 4  # without a movie, no window
    held_out, _ = hold_out(users_with(0, 1, 2, 3), users, positions, "leave-one-out", 0.1, 0)
    assert windows.next_movie_tokens[held_out].tolist() == [4]  # of the one user with three
    # By time, a user's only window stays in training.
    held_out, kept = hold_out(users_with(1, 2), np.array([0, 1, 1]), np.arange(3), "time", 0.5, 0)
    assert (held_out.tolist(), kept.tolist()) == ([False, False, True], [True, True, False])


@pytest.fixture(scope="module")
def files():
    folder = load_movielens("sample").folder
    return {f"{name}_file": str(folder / f"{name}.dat") for name in ("movies", "users", "ratings")}


def parts(files, split):
    return [
        MovieLensSequenceDataset(**files, sequence_length=5, split=split, is_validation=held_out)
        for held_out in (False, True)
    ]


def places(dataset, back):
    users = dataset.windows.user_tokens.numpy().astype(np.int64)[:, None]
    return set((users * 100_000 + dataset.target_positions[:, None] - np.arange(back)).ravel())


@pytest.mark.parametrize("split", ["time", "random"])
def test_the_parts_hold_every_window_once(files, split):
    training, validation = parts(files, split)
    sequences = training.sequences
    assert len(training) + len(validation) == (sequences.lengths + 2 - 5).clip(min=0).sum()
    assert not places(training, 1) & places(validation, 1)
    assert 0.08 < len(validation) / (len(training) + len(validation)) < 0.13


@pytest.mark.parametrize("split", ["time", "leave-one-out"])
def test_no_validation_target_stands_in_a_training_window(files, split):
    training, validation = parts(files, split)
    assert not places(training, 6) & places(validation, 1)


def test_the_random_split_leaks(files):
    training, validation = parts(files, "random")
    asked = places(validation, 1)
    assert len(asked & places(training, 6)) > 0.95 * len(asked)


def test_leave_one_out_asks_for_the_last_but_one(files):
    training, validation = parts(files, "leave-one-out")
    split = leave_one_out(training.sequences)
    assert validation.windows.next_movie_tokens.tolist() == split.validation.targets.tolist()
    assert training.metadata.end_token not in training.windows.next_movie_tokens


def test_whole_batches_equal_items(files):
    dataset = MovieLensSequenceDataset(**files, sequence_length=5)
    batch = next(iter(DataLoader(dataset, batch_size=7, collate_fn=dataset.collate)))
    for name, tensor in batch._asdict().items():
        items = torch.stack([getattr(dataset[i], name) for i in range(7)])
        assert torch.equal(tensor, items)
    assert dataset[0].user_tokens.shape == ()


def test_arguments_out_of_range_are_refused(files):
    with pytest.raises(ValueError, match="validation_fraction"):
        MovieLensSequenceDataset(**files, sequence_length=5, validation_fraction=1.0)
    with pytest.raises(ValueError, match="'time', 'leave-one-out' or 'random'"):
        MovieLensSequenceDataset(**files, sequence_length=5, split="tomorrow")


def test_a_split_by_the_clock():
    sequences = order_by_time(RATINGS, METADATA)  # times 2 7 7 and 1 4 9 9
    first = temporal_split(sequences, 7, target="first")
    assert first.train_lengths.tolist() == [1, 2]  # the second of the cut is asked, not learned
    assert len(first.validation.users) == 0  # nobody has three movies before it
    assert first.test.users.tolist() == [0, 1]
    assert first.test.targets.tolist() == sequences.movie_tokens[[1, 5]].tolist()
    last = temporal_split(sequences, 9)
    assert last.test.users.tolist() == [1]  # user 0 has nothing from then on
    assert last.test.ends.tolist() == [3]
    assert last.test.targets.tolist() == sequences.movie_tokens[[6]].tolist()
    assert last.validation.users.tolist() == [0]
    assert (last.train_lengths.tolist(), last.known_lengths.tolist()) == ([2, 2], [3, 2])


def test_truncated_sequences_keep_the_first_movies():
    sequences = order_by_time(RATINGS, METADATA)
    short = truncate(sequences, np.array([0, 3]))
    assert short.lengths.tolist() == [0, 3]
    assert short.of_user(1).tolist() == sequences.of_user(1)[:3].tolist()
    assert short.timestamps.tolist() == [1, 4, 9]
    assert len(short.ratings) == 3
    with pytest.raises(ValueError, match="user token 0 has 3 movies, not 4"):
        truncate(sequences, np.array([4, 1]))
    with pytest.raises(ValueError, match="one length per user"):
        truncate(sequences, np.array([1]))


@pytest.mark.realdata
def test_movielens_1m_has_982089_windows():
    try:
        folder = load_movielens("ml-1m").folder
    except MovieLensNotFoundError as error:
        pytest.skip(str(error))
    files = {f"{name}_file": str(folder / f"{name}.dat") for name in ("movies", "users", "ratings")}
    training, validation = parts(files, "time")
    assert len(training) + len(validation) == 982_089
    assert training.metadata.vocab_size == 3_885
    assert len(training.metadata.user_id_tokens) == 6_040


def test_sparse_and_dense_ids_get_the_same_tokens():
    for ids in (np.arange(3, 300, 2), np.array([1, 5, 10**9, 2**40])):
        metadata = MovieLensMetadata({}, {**{int(i): n for n, i in enumerate(ids)}, "<start>": 0})
        metadata.movie_id_tokens["<end>"] = 0
        asked = np.random.default_rng(0).choice(ids, 50)
        assert metadata.movie_ids[metadata.tokenize_movies(asked)].tolist() == asked.tolist()
        for unknown in (ids[0] - 1, ids[0] + 1, ids[-1] + 1):
            with pytest.raises(UnknownIdError, match=f"movie id {unknown} is not in"):
                metadata.tokenize_movies([ids[1], unknown])


@pytest.mark.parametrize("longest", [100, 2**62])  # of the second, two sorts are needed
def test_order_is_by_user_then_time_and_ties_keep_theirs(longest):
    generator = np.random.default_rng(0)
    users = generator.integers(0, 5, 400)
    stamps = generator.integers(0, 9, 400) * (longest // 8)
    movies = np.arange(400)
    frame = pd.DataFrame(
        {"user_id": users, "movie_id": movies, "rating": 3, "unix_timestamp": stamps}
    )
    metadata = MovieLensMetadata.from_frames(frame.drop_duplicates("user_id"), frame)
    expected = sorted(range(400), key=lambda i: (users[i], stamps[i], i))
    assert order_by_time(frame, metadata).movie_tokens.tolist() == expected


def test_data_without_a_window_to_learn_from_are_refused(tmp_path):
    (tmp_path / "users.dat").write_text("1::F::1::10::48067\n")
    (tmp_path / "movies.dat").write_text("1::A (1999)::Drama\n2::B (1999)::Drama\n")
    (tmp_path / "ratings.dat").write_text("1::1::5::978300760\n1::2::5::978300761\n")
    files = [tmp_path / f"{name}.dat" for name in ("movies", "users", "ratings")]
    with pytest.raises(ValueError, match="nothing to learn from"):
        MovieLensSequenceDataset(*files, sequence_length=5)
