"""The sequence model and its batches: nothing lost, nothing doubled, no look ahead."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.quality import save_sequence_model
from benchmarks.variants import VARIANTS
from recformer_utils.runs import CheckpointError, TrainerConfig
from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceModel,
    SequenceModelConfig,
    gap_buckets,
    history_scores,
    make_batch,
    next_movie_loss,
    rotate,
    train_sequence_model,
    training_batches,
)
from recformer_utils.sequences import Questions, Sequences, leave_one_out
from recformer_utils.tokens import MovieLensMetadata, movie_features
from recformer_utils.transformer import TransformerConfig
from tools.demo_model import batch_without_times
from tools.stored import load_sequence_model

LENGTHS = np.array([3, 40, 7, 1, 2, 25, 0, 90])
VOCABULARY = 60


@pytest.fixture(scope="module")
def sequences():
    generator = np.random.default_rng(0)
    size = LENGTHS.sum()
    return Sequences(
        movie_tokens=generator.integers(0, VOCABULARY - 2, size).astype(np.int32),
        ratings=generator.integers(1, 6, size).astype(np.int8),
        timestamps=np.sort(generator.integers(0, 10_000_000, size)),
        offsets=np.concatenate([[0], LENGTHS.cumsum()]),
    )


def model(kind=SequenceModel, window=20, **options):
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=VOCABULARY, context_window_size=window, embedding_dimension=16, num_layers=2,
        num_heads=2,
    )  # fmt: skip
    network = kind(SequenceModelConfig(transformer=shape, **options)).eval()
    if network.pair_bias is not None:  # it starts at zero; here it says something
        torch.nn.init.normal_(network.pair_bias.weight)
    return network


@pytest.mark.parametrize("seed", [0, 1])
def test_every_training_movie_but_the_first_is_a_target_once(sequences, seed):
    train_lengths = np.maximum(LENGTHS - 2, 0)
    found = []
    for batch in training_batches(sequences, train_lengths, 20, 4, seed):
        assert batch.movie_tokens.shape[1] <= 20
        found += batch.targets[batch.targets != NO_TARGET].tolist()
    expected = [
        token
        for user, length in enumerate(train_lengths)
        for token in sequences.of_user(user)[1 : max(length, 1)].tolist()
    ]
    assert sorted(found) == sorted(expected)


def test_lengths_of_fewer_users_are_refused(sequences):
    """Users of a split are fewer where some have too few movies: each would get another's."""
    with pytest.raises(ValueError, match="one length per user is needed"):
        training_batches(sequences, np.array([3, 40, 7]), 20, 4, 0)


def test_a_target_is_the_movie_that_follows(sequences):
    starts, lengths, users = np.array([10, 0]), np.array([5, 3]), np.array([7, 2])
    batch = make_batch(sequences, starts, lengths, users, learn=True)
    long, short = sequences.of_user(7), sequences.of_user(2)
    assert batch.movie_tokens[0].tolist() == long[10:15].tolist()
    assert batch.targets[0].tolist() == long[11:16].tolist()
    assert batch.movie_tokens[1, :3].tolist() == short[:3].tolist()
    assert batch.targets[1].tolist() == short[1:4].tolist() + [NO_TARGET] * 2
    assert (make_batch(sequences, starts, lengths, users).targets == NO_TARGET).all()
    stamps = sequences.timestamps[sequences.offsets[7] :]
    gaps = torch.from_numpy(stamps[10:15] - stamps[9:14])
    assert batch.gaps[0].tolist() == gap_buckets(gaps).tolist()
    assert batch.timestamps[0].tolist() == (stamps[10:15] - stamps[10]).tolist()
    assert batch.next_timestamps[0].tolist() == (stamps[11:16] - stamps[10]).tolist()
    assert batch.gaps[1, 0] == 0  # the first movie of a user has none before it


def test_cuts_move_from_epoch_to_epoch_and_repeat_with_the_seed(sequences):
    def starts(seed):
        batches = training_batches(sequences, LENGTHS, 20, 4, seed)
        return sorted(tuple(row.tolist()) for b in batches for row in b.movie_tokens)

    assert starts(0) == starts(0)
    assert starts(0) != starts(1)


INPUTS = [
    {}, {"previous_gap": True}, {"next_gap": True}, {"pair_gaps": True},
    {"pair_gaps": True, "next_gap": True},
]  # fmt: skip


@pytest.mark.parametrize("options", INPUTS)
def test_the_future_and_the_padding_change_nothing(sequences, options):
    network = model(**options)
    users, lengths = np.array([7, 2]), np.array([12, 4])
    batch = make_batch(sequences, np.zeros(2, dtype=int), lengths, users)
    with torch.no_grad():
        before = network(batch)
        movies, times = batch.movie_tokens.clone(), batch.timestamps.clone()
        movies[0, 8:] = (movies[0, 8:] + 1) % (VOCABULARY - 2)
        movies[1, 4:] = 3
        times[:, 8:] += 5000
        after = network(batch._replace(movie_tokens=movies, timestamps=times))
        alone = network(make_batch(sequences, np.zeros(1, dtype=int), lengths[1:], users[1:]))
    assert torch.allclose(before[0, :8], after[0, :8], atol=1e-6)
    assert not torch.allclose(before[0, 8], after[0, 8], atol=1e-4)
    assert torch.allclose(before[1, :4], after[1, :4], atol=1e-6)
    assert torch.allclose(before[1, :4], alone[0], atol=1e-6)


def test_the_time_of_the_target_counts_only_where_it_is_declared(sequences):
    users, lengths = np.array([7]), np.array([12])
    batch = make_batch(sequences, np.zeros(1, dtype=int), lengths, users)
    moved = batch._replace(next_timestamps=batch.next_timestamps + 90_000)
    with torch.no_grad():
        for options in INPUTS:
            network = model(**options)
            same = torch.allclose(network(batch), network(moved), atol=1e-4)
            assert same != options.get("next_gap", False)


def test_gaps_between_pairs_are_a_bias_of_attention(sequences):
    """The first block's attention, by hand for one position and one head."""
    network = model(pair_gaps=True)
    batch = make_batch(sequences, np.zeros(1, dtype=int), np.array([9]), np.array([7]))
    attention, seen = network.layers[0].attention, {}
    attention.register_forward_hook(lambda _, inputs, output: seen.update(x=inputs[0], y=output))
    with torch.no_grad():
        network(batch)
        q, k, v = attention.qkv(seen["x"])[0].split(16, dim=-1)  # (time, embedding)
        heads = []
        passed = batch.timestamps[0, 6] - batch.timestamps[0, :7]
        for head in (slice(0, 8), slice(8, 16)):
            turned = [rotate(each[None, None, :, head])[0, 0] for each in (q, k)]
            scores = turned[0][6] @ turned[1][:7].T / 8**0.5
            scores = scores + network.pair_bias.weight[gap_buckets(passed), head.start // 8]
            heads.append(scores.softmax(dim=0) @ v[:7, head])
        expected = attention.out(torch.cat(heads))
    assert torch.allclose(seen["y"][0, 6], expected, atol=1e-5)


def test_rotary_scores_know_distances_only():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 1, 12, 8)  # the same at each place
    scores = (rotate(q) @ rotate(k).transpose(-2, -1))[0, 0]
    for distance in range(-11, 12):
        along = scores.diagonal(distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-5)
    assert not torch.allclose(scores[0, 0], scores[5, 0], atol=1e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_has_a_loss_and_gradients_on_its_batches(sequences, name):
    variant = VARIANTS[name]
    network, lengths = model(variant.model, window=60).train(), np.maximum(LENGTHS - 2, 0)
    torch.manual_seed(0)
    for batch in variant.cut(sequences, lengths, 60, 4, 0):
        loss = variant.loss(network, batch)
        assert loss.isfinite()
        loss.backward()
    assert network.movie_embedding.weight.grad.abs().sum() > 0


def test_what_is_known_of_a_movie():
    movies = pd.DataFrame(
        {
            "movie_id": [3, 5, 9],
            "title": ["Zebra (1950)", "apple (1951)", "Aardvark (1999)"],
            "genres": ["Drama|War", "Drama", "Comedy"],
        }
    )
    users = pd.DataFrame({"user_id": [1]})
    features = movie_features(movies, MovieLensMetadata.from_frames(users, movies))
    assert features.shape == (5, 3 + 16 + 40)
    assert features[:3, :3].tolist() == [[0, 1, 1], [0, 1, 0], [1, 0, 0]]  # Comedy, Drama, War
    year, title = features[:3, 3:19], features[:3, 19:39]
    assert (year[0] - year[1]).norm() < (year[0] - year[2]).norm() / 2
    assert title[2].tolist() == [0.0] * 10 + [1.0] * 10  # first in the alphabet, case ignored
    assert (features[3:] == 0).all()


def test_features_of_a_movie_go_in_and_out(sequences):
    network = model(item_features=3)
    network.item_features[7] = torch.tensor([1.0, 0.0, 2.0])
    vector = network.feature_embedding.weight @ network.item_features[7]
    expected = network.movie_embedding.weight[7] + vector
    assert torch.allclose(network.movie_vectors()[7], expected)
    batch = make_batch(sequences, np.zeros(1, dtype=int), np.array([1]), np.array([7]))
    batch = batch._replace(movie_tokens=torch.tensor([[7]]))
    with torch.no_grad():
        before = network(batch)
        network.item_features[7] = 0
        assert not torch.allclose(before, network(batch), atol=1e-4)


def test_scores_are_those_of_the_last_movie(sequences):
    network = model()
    users, ends = np.array([1, 2, 7]), np.array([38, 5, 88])
    questions = Questions(users, ends, np.zeros(3, dtype=int))
    scores = history_scores(network, torch.device("cpu"))(sequences, questions)
    assert scores.shape == (3, VOCABULARY)
    for row, (user, end) in enumerate(zip(users, ends, strict=True)):
        start = max(0, end - 20)
        piece = make_batch(sequences, np.array([start]), np.array([end - start]), np.array([user]))
        with torch.no_grad():
            expected = network.logits(network(piece)[0, -1])
        assert torch.allclose(scores[row], expected, atol=1e-5)


def test_movies_without_times_count_as_one_a_minute(sequences):
    network = model(previous_gap=True)
    once = sequences.of_user(2)
    sequences = Sequences(
        movie_tokens=np.concatenate([once[:1], once]),  # one in front: a gap before the first
        ratings=np.ones(len(once) + 1, np.int8),
        timestamps=1000 + 60 * np.arange(len(once) + 1),
        offsets=np.array([0, len(once) + 1]),
    )
    batch = make_batch(sequences, np.array([1]), np.array([len(once)]), np.array([0]))
    named = torch.from_numpy(once)[None]
    with torch.no_grad():
        expected, found = network(batch), network(batch_without_times(named))
        assert torch.equal(found, expected)
        assert torch.equal(network(batch_without_times(named).to(torch.device("cpu"))), expected)
        assert not torch.equal(network(batch_without_times(named, seconds_apart=0)), expected)


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
            loss = next_movie_loss(network, batch)
            loss.backward()
            optimizer.step()
    assert loss.item() < 0.05
    questions = Questions(np.arange(12), np.full(12, 28), tokens.reshape(12, 30)[:, 28])
    scores = history_scores(network, torch.device("cpu"))(circle, questions)
    assert (scores.argmax(dim=1).numpy() == questions.targets).all()


@pytest.fixture
def catalogue():
    movies = pd.DataFrame(
        {
            "movie_id": range(1, VOCABULARY - 1),
            "title": [f"Film {i} (19{30 + i})" for i in range(VOCABULARY - 2)],
            "genres": ["Drama|War", "Comedy"] * (VOCABULARY // 2 - 1),
        }
    )
    users = pd.DataFrame({"user_id": [1]})
    return movies, MovieLensMetadata.from_frames(users, movies)


def test_a_stored_model_comes_back_as_it_was(sequences, catalogue, tmp_path):
    movies, metadata = catalogue
    features = movie_features(movies, metadata)
    trained = model(previous_gap=True, item_features=features.shape[1])
    trained.item_features.copy_(features)
    save_sequence_model(trained, tmp_path / "model.pth", {"seed": 3})
    found, about = load_sequence_model(tmp_path / "model.pth", movies, metadata)
    assert about == {"seed": 3}
    assert found.config == trained.config
    assert not found.training
    users, lengths = np.array([7, 1]), np.array([20, 9])
    batch = make_batch(sequences, np.zeros(2, dtype=int), lengths, users)
    with torch.no_grad():
        assert torch.equal(found.logits(found(batch)), trained.logits(trained(batch)))


def test_a_stored_model_of_another_catalogue_or_kind_is_refused(catalogue, tmp_path):
    movies, metadata = catalogue
    save_sequence_model(model(), tmp_path / "model.pth", {})
    fewer = MovieLensMetadata.from_frames(pd.DataFrame({"user_id": [1]}), movies[:-1])
    with pytest.raises(CheckpointError, match="made for 60 tokens, this catalogue has 59"):
        load_sequence_model(tmp_path / "model.pth", movies[:-1], fewer)
    torch.save(model().state_dict(), tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match="not a model stored with its shape"):
        load_sequence_model(tmp_path / "weights.pth", movies, metadata)
    stored = torch.load(tmp_path / "model.pth", weights_only=True)
    stored["config"]["temprature"] = 1.0
    torch.save(stored, tmp_path / "typo.pth")
    with pytest.raises(CheckpointError, match="temprature"):
        load_sequence_model(tmp_path / "typo.pth", movies, metadata)


def test_a_checkpoint_of_other_data_is_refused(sequences, tmp_path):
    def train(sequences, epochs):
        trainer = TrainerConfig(
            model_dir=str(tmp_path), tensorboard_dir=str(tmp_path / "curves"), batch_size=64,
            starting_learning_rate=0.01, num_epochs=epochs, progress=False,
        )  # fmt: skip
        split = leave_one_out(sequences)
        return train_sequence_model(model(), sequences, split, trainer).history

    assert len(train(sequences, 1)) == 1
    assert len(train(sequences, 2)) == 2
    later = dataclasses.replace(sequences, timestamps=sequences.timestamps + 1)
    with pytest.raises(CheckpointError, match="belongs to a run with another data"):
        train(later, 3)
