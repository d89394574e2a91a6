"""A guard against slowness that cannot flake: operations, bytes and calls are counted, not seconds.

The bounds leave a few per cent for other versions of PyTorch. Whoever breaks one on purpose says
in the commit what it buys.
"""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks import stages
from benchmarks.measure import Counts, floating_point_operations
from recformer_utils import sequences
from recformer_utils.formats import files as dat
from recformer_utils.sequence_model import SequenceModel
from recformer_utils.training import TrainerConfig, make_optimizer

MIB = 1 << 20


@pytest.fixture(scope="module")
def data():
    return stages.load("sample")


def counted(step) -> Counts:
    step()  # the optimizer's state is made
    with Counts() as counts:
        step()
    return counts


def test_a_step_of_the_posts_model_stays_as_short_as_it_is(data):
    counts = counted(stages.one_window_step(data))
    assert counts.total < 800  # 736 with PyTorch 2.13
    assert counts.bytes_written < 111 * MIB  # 101
    assert counts.operations["_local_scalar_dense"] == 0, "loss.item() makes a GPU wait"
    assert counts.operations["_fused_adamw_"] == 1


def test_a_step_of_the_sequence_model_never_holds_all_logits(data):
    movies = 5_000  # enough for the logits to be larger than everything else
    config = stages.sequence_model(data).config
    shape = dataclasses.replace(config.transformer, vocab_size=movies)
    model = SequenceModel(dataclasses.replace(config, transformer=shape))
    step, positions = stages.one_sequence_step(data, model)
    counts = counted(step)
    assert counts.largest < 4 * positions * movies / 10
    assert counts.total < 1_400  # 1,228 with PyTorch 2.13
    assert counts.operations["_fused_adamw_"] == 1
    assert counts.operations["_local_scalar_dense"] == 0


def test_a_batch_is_taken_by_one_index_and_not_glued(data, monkeypatch):
    calls = []
    take = sequences.MovieLensSequenceDataset.__getitem__
    monkeypatch.setattr(
        sequences.MovieLensSequenceDataset, "__getitem__",
        lambda self, index: calls.append(index) or take(self, index),
    )  # fmt: skip
    batches = list(DataLoader(data.dataset, batch_size=1_000))
    assert len(calls) == len(batches) == -(-len(data.dataset) // 1_000)


def test_little_of_a_batch_is_padding(data):
    batches = stages.epoch_batches(data)
    real = sum(int(batch.lengths.sum()) for batch in batches)
    padding = sum(batch.movie_tokens.numel() for batch in batches) - real
    to_the_longest = sum(len(batch.lengths) for batch in batches) * stages.LENGTH - real
    assert padding < 0.2 * to_the_longest


def test_good_ratings_are_never_parsed_line_by_line(data, monkeypatch):
    parsed = []
    read = dat.read_lines
    monkeypatch.setattr(dat, "read_lines", lambda *line: parsed.append(line[0]) or read(*line))
    stages.read(data)
    assert sorted(Path(path).name for path in parsed) == ["movies.dat", "users.dat"]


def test_evaluation_asks_the_model_once_a_batch_of_users(data, monkeypatch):
    calls = []
    forward = type(data.model).forward
    monkeypatch.setattr(
        type(data.model), "forward", lambda *inputs: calls.append(1) or forward(*inputs)
    )
    stages.evaluate(data)
    assert len(calls) == -(-len(data.split.validation.users) // 512)


def test_windows_need_as_many_operations_for_many_users_as_for_few(data):
    def operations(users: int) -> int:
        whole = data.sequences
        end = whole.offsets[users]
        part = sequences.Sequences(
            movie_tokens=whole.movie_tokens[:end], ratings=whole.ratings[:end],
            timestamps=whole.timestamps[:end], offsets=whole.offsets[: users + 1],
        )  # fmt: skip
        with Counts() as counts:
            sequences.sliding_windows(part, 5, 400, 401)
        return counts.total

    assert operations(10) == operations(500) < 20


def test_the_optimizer_is_fused(data):
    trainer = TrainerConfig(
        model_dir="unused",
        tensorboard_dir="unused",
        batch_size=1,
        starting_learning_rate=0.1,
        num_epochs=1,
    )
    assert make_optimizer(data.model, trainer, 1)[0].defaults["fused"]


def test_counts_see_what_a_step_does():
    a, b = torch.ones(100, 50), torch.ones(50, 20)
    with Counts() as counts:
        (a @ b).T.relu()
    assert counts.operations["mm"] == counts.operations["relu"] == 1
    assert (counts.bytes_written, counts.largest) == (2 * 100 * 20 * 4, 100 * 20 * 4)
    assert floating_point_operations(lambda: a @ b) == 2 * 100 * 50 * 20
