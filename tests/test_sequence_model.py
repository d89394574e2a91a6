"""The sequence model and its batches: nothing lost, nothing doubled, no look ahead."""

import numpy as np
import pytest
import torch

from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceModel,
    SequenceModelConfig,
    gap_buckets,
    history_scores,
    make_batch,
    training_batches,
)
from recformer_utils.sequences import Sequences
from recformer_utils.transformer import TransformerConfig

LENGTHS = np.array([3, 40, 7, 1, 2, 25, 0, 90])
VOCABULARY = 60


@pytest.fixture(scope="module")
def sequences():
    generator = np.random.default_rng(0)
    size = LENGTHS.sum()
    return Sequences(
        movie_tokens=generator.integers(0, VOCABULARY - 2, size).astype(np.int32),
        ratings=np.ones(size, dtype=np.int8),
        timestamps=np.sort(generator.integers(0, 10_000_000, size)),
        offsets=np.concatenate([[0], LENGTHS.cumsum()]),
    )


def model(max_length=20, **options):
    torch.manual_seed(0)
    shape = TransformerConfig(VOCABULARY, max_length, 16, 2, 2, 0.0, 0.0, 0.0)
    return SequenceModel(SequenceModelConfig(shape, **options)).eval()


@pytest.mark.parametrize("overlap", [0, 5, 19])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_training_movie_but_the_first_is_a_target_once(sequences, overlap, seed):
    train_lengths = np.maximum(LENGTHS - 2, 0)
    found = []
    for batch in training_batches(sequences, train_lengths, 20, 4, seed, overlap):
        assert batch.movie_tokens.shape[1] <= 20
        found += batch.targets[batch.targets != NO_TARGET].tolist()
    expected = [
        token
        for user, length in enumerate(train_lengths)
        for token in sequences.of_user(user)[1 : max(length, 1)].tolist()
    ]
    assert sorted(found) == sorted(expected)


def test_a_target_is_the_movie_that_follows(sequences):
    batch = make_batch(
        sequences, np.array([10, 0]), np.array([5, 3]), np.array([7, 2]), np.array([2, 3])
    )
    long, short = sequences.of_user(7), sequences.of_user(2)
    assert batch.movie_tokens[0].tolist() == long[10:15].tolist()
    assert batch.targets[0].tolist() == [NO_TARGET] * 3 + long[14:16].tolist()
    assert batch.movie_tokens[1, :3].tolist() == short[:3].tolist()
    assert batch.targets[1].tolist() == short[1:4].tolist() + [NO_TARGET] * 2
    stamps = sequences.timestamps[sequences.offsets[7] :]
    assert batch.gaps[0].tolist() == gap_buckets(stamps[10:15] - stamps[9:14]).tolist()
    assert batch.next_gaps[0].tolist() == gap_buckets(stamps[11:16] - stamps[10:15]).tolist()
    assert batch.gaps[1, 0] == 0  # the first movie of a user has none before it


def test_cuts_move_from_epoch_to_epoch_and_repeat_with_the_seed(sequences):
    def starts(seed):
        batches = training_batches(sequences, LENGTHS, 20, 4, seed)
        return sorted(tuple(row.tolist()) for b in batches for row in b.movie_tokens)

    assert starts(0) == starts(0)
    assert starts(0) != starts(1)


@pytest.mark.parametrize("options", [{}, {"previous_gap": True}, {"next_gap": True}])
def test_the_future_and_the_padding_change_nothing(sequences, options):
    network = model(**options)
    users, lengths = np.array([7, 2]), np.array([12, 4])
    batch = make_batch(sequences, np.zeros(2, dtype=int), lengths, users)
    with torch.no_grad():
        before = network(batch)
        later = batch.movie_tokens.clone()
        later[0, 8:] = (later[0, 8:] + 1) % (VOCABULARY - 2)
        later[1, 4:] = 7
        after = network(batch._replace(movie_tokens=later))
        alone = network(make_batch(sequences, np.zeros(1, dtype=int), lengths[1:], users[1:]))
    assert torch.allclose(before[0, :8], after[0, :8], atol=1e-6)
    assert not torch.allclose(before[0, 8], after[0, 8], atol=1e-4)
    assert torch.allclose(before[1, :4], after[1, :4], atol=1e-6)
    assert torch.allclose(before[1, :4], alone[0], atol=1e-6)


def test_the_time_of_the_target_counts_only_where_it_is_declared(sequences):
    users, lengths = np.array([7]), np.array([12])
    batch = make_batch(sequences, np.zeros(1, dtype=int), lengths, users)
    moved = batch._replace(next_gaps=batch.next_gaps + 1)
    with torch.no_grad():
        for options in ({}, {"previous_gap": True}):
            network = model(**options)
            assert torch.equal(network(batch), network(moved))
        network = model(next_gap=True)
        assert not torch.allclose(network(batch), network(moved), atol=1e-4)


def test_scores_are_those_of_the_last_movie(sequences):
    network = model(output_bias=True)
    users, ends = np.array([1, 2, 7]), np.array([38, 5, 88])
    scores = history_scores(network, sequences, users, ends, torch.device("cpu"))(torch.arange(3))
    assert scores.shape == (3, VOCABULARY)
    for row, (user, end) in enumerate(zip(users, ends, strict=True)):
        start = max(0, end - 20)
        piece = make_batch(sequences, np.array([start]), np.array([end - start]), np.array([user]))
        with torch.no_grad():
            expected = network.scores(network(piece)[0, -1])
        assert torch.allclose(scores[row], expected, atol=1e-5)


def test_it_learns_a_cycle():
    """Movies that follow each other in a circle: every next one can be known."""
    tokens = np.concatenate([(np.arange(30) + start) % 10 for start in range(12)])
    circle = Sequences(
        movie_tokens=tokens.astype(np.int32),
        ratings=np.ones(len(tokens), dtype=np.int8),
        timestamps=np.arange(len(tokens)),
        offsets=np.arange(0, len(tokens) + 1, 30),
    )
    network = model()
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for epoch in range(25):
        for batch in training_batches(circle, np.full(12, 28), 20, 4, epoch):
            optimizer.zero_grad()
            loss = network.loss(batch)
            loss.backward()
            optimizer.step()
    assert loss.item() < 0.05
    score = history_scores(network, circle, np.arange(12), np.full(12, 28), torch.device("cpu"))
    assert (score(torch.arange(12)).argmax(dim=1).numpy() == tokens.reshape(12, 30)[:, 28]).all()
