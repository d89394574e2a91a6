"""Several processes are one training: own users, same curve, and a kill changes nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceBatch,
    SequenceModel,
    SequenceModelConfig,
    make_batch,
    next_movie_loss,
    train_sequence_model,
    training_batches,
)
from recformer_utils.sequences import Sequences, leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.training import TrainerConfig, load_checkpoint
from recformer_utils.transformer import TransformerConfig
from tests.faults.harness import LONG
from tests.test_pages import bare, definitions, printed
from tools.common import REPOSITORY
from tools.log_files import read_log, write_log
from tools.processes import in_step, share_of
from tools.sharded import RowwiseAdagrad

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SMALL = ["--width", "16", "--layers", "1", "--length", "50", "--epochs", "4"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# Float32 sums in another order: what four epochs make of the last digit, with room.
TOLERANCE = 1e-4

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun's gloo needs a Unix")


def command(*before: str, folder: Path, log: Path) -> list[str]:
    where = ["--data", str(log), "--model-dir", str(folder)]
    return [*before, "-m", "tools.train_distributed", *where, *SMALL]


def history(folder: Path) -> pd.DataFrame:
    return pd.DataFrame(load_checkpoint(folder / "checkpoint.pth")["history"])


def assert_same_curve(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert one["epoch"].tolist() == other["epoch"].tolist() == [1, 2, 3, 4]
    for column in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(one[column], other[column], rtol=TOLERANCE)
    np.testing.assert_allclose(one["NDCG@10"], other["NDCG@10"], atol=0.005)
    assert one["train_loss"].iloc[-1] < one["train_loss"].iloc[0] - 0.1  # it learned something


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    write_log(load_movielens("sample"), folder, files=8)
    return folder


def pad(batches: list[SequenceBatch | None], column: str, value: int) -> torch.Tensor:
    tensors = [getattr(batch, column) for batch in batches if batch is not None]
    longest = max(tensor.shape[1] for tensor in tensors)
    return torch.cat([F.pad(each, (0, longest - each.shape[1]), value=value) for each in tensors])


def batches_of_two(sequences, train_lengths, length, size, seed) -> list[SequenceBatch]:
    """What two processes take together: users with even and with odd numbers."""
    users = np.arange(1, sequences.num_users + 1)
    own = [
        training_batches(
            sequences, np.where(users % 2 == rank, train_lengths, 0), length, size // 2, seed
        )
        for rank in (0, 1)
    ]
    steps = max(map(len, own))
    pairs = zip(*(in_step(batches, steps, seed) for batches in own), strict=True)
    return [
        SequenceBatch(
            movie_tokens=pad(pair, "movie_tokens", 0),
            lengths=torch.cat([batch.lengths for batch in pair if batch is not None]),
            timestamps=pad(pair, "timestamps", 0),
            next_timestamps=pad(pair, "next_timestamps", 0),
            gaps=pad(pair, "gaps", 0),
            targets=pad(pair, "targets", NO_TARGET),
        )
        for pair in pairs
    ]


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> pd.DataFrame:
    """One process, which reads everything, on the rows that two processes take together."""
    folder = tmp_path_factory.mktemp("alone")
    data = load_movielens("sample")
    metadata = MovieLensMetadata.from_frames(data.users, data.movies)
    sequences = order_by_time(data.ratings, metadata)
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=metadata.vocab_size, context_window_size=50, embedding_dimension=16,
        num_layers=1, num_heads=2, dropout_embeddings=0.0, dropout_attention=0.0,
        dropout_residual=0.0,
    )  # fmt: skip
    model = SequenceModel(SequenceModelConfig(transformer=shape))
    trainer = TrainerConfig(
        model_dir=str(folder), tensorboard_dir=str(folder / "tensorboard"), batch_size=64,
        starting_learning_rate=0.003, num_epochs=4, seed=0, progress=False,
    )  # fmt: skip
    split = leave_one_out(sequences)
    return train_sequence_model(model, sequences, split, trainer, cut=batches_of_two).history


def test_a_log_in_files_keeps_every_rating_once_and_each_users_order(log):
    data = load_movielens("sample")
    for processes in (1, 3, 8):
        parts = [read_log(log, rank, processes) for rank in range(processes)]
        users = [set(ratings["user_id"]) for ratings, _ in parts]
        assert sum(map(len, users)) == len(set.union(*users)) == data.ratings["user_id"].nunique()
        assert all((movies["movie_id"] == data.movies["movie_id"]).all() for _, movies in parts)
        together = pd.concat([ratings for ratings, _ in parts]).sort_values(
            "user_id", kind="stable"
        )
        in_order = data.ratings.sort_values(["user_id", "unix_timestamp"], kind="stable")
        assert (together.to_numpy() == in_order.to_numpy()).all()
        assert (together.dtypes == in_order.dtypes).all()
    with pytest.raises(ValueError, match="no file is left for process 8 of 9"):
        read_log(log, 8, 9)


def test_a_log_that_is_written_again_in_fewer_files_has_no_user_twice(tmp_path):
    data = load_movielens("sample")
    write_log(data, tmp_path, files=8)
    write_log(data, tmp_path, files=2)
    assert len(read_log(tmp_path)[0]) == len(data.ratings)


def test_processes_meet_similar_lengths_in_each_step():
    generator = np.random.default_rng(0)

    def own(number: int) -> list[SequenceBatch]:
        lengths = generator.integers(1, 100, number)
        return [SequenceBatch(*[torch.zeros(2, length)] * 6) for length in lengths]

    one, other = own(30), own(26)
    steps = [in_step(batches, 30, seed=5) for batches in (one, other)]
    assert [sum(batch is None for batch in each) for each in steps] == [0, 4]
    assert sorted(map(id, steps[1])) == sorted([*map(id, other), *[id(None)] * 4])
    lengths = np.array(
        [(a.targets.shape[1], b.targets.shape[1]) for a, b in zip(*steps, strict=True) if b]
    )
    assert np.corrcoef(lengths.T)[0, 1] > 0.95
    assert (np.diff(lengths[:, 0]) < 0).any()  # and in no order


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("write_log", "log_files"), ("read_log", "log_files"), ("in_step", "processes"),
        ("RowwiseAdagrad", "sharded"),
    ],
)  # fmt: skip
def test_notebook_11_prints_what_runs(name, file):
    source = (REPOSITORY / f"tools/{file}.py").read_text(encoding="utf-8")
    (there,) = [node for node in definitions(source) if node.name == name]
    assert printed()[name] == [("11_scaling_out.ipynb", bare(there))]


def test_rowwise_adagrad_keeps_one_number_a_row_and_leaves_untouched_rows_alone():
    generator = torch.Generator().manual_seed(0)
    table = torch.randn(5, 3, generator=generator).requires_grad_()
    optimizer = RowwiseAdagrad([table], lr=0.1)
    expected, totals = table.detach().clone().double(), [0.0] * 5
    for rows in ([0, 1], [1, 3], [1, 0]):
        target = torch.randn(len(rows), 3, generator=generator)
        optimizer.zero_grad()
        (table[rows] - target).square().sum().backward()
        for row in set(rows):
            slope = table.grad[row].double()
            totals[row] += float((slope**2).sum()) / 3
            expected[row] -= 0.1 * slope / totals[row] ** 0.5
        optimizer.step()
    torch.testing.assert_close(table.detach().double(), expected, rtol=1e-5, atol=1e-6)
    assert optimizer.state[table]["total"].shape == (5, 1)


def test_two_machines_have_the_curve_of_one(alone, log, tmp_path):
    """Two agents of torchrun that meet at an address, as on two machines."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    agent = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "test",
    ]  # fmt: skip
    agents = [
        subprocess.Popen(command(*agent, folder=tmp_path, log=log), cwd=REPOSITORY, env=ENVIRONMENT)
        for _ in range(2)
    ]
    try:
        assert [one.wait(timeout=120) for one in agents] == [0, 0]
    finally:
        for one in agents:
            one.terminate()
    assert_same_curve(history(tmp_path), alone)


@pytest.mark.parametrize("victim", [0, 1] if LONG else [0])  # 0 writes the checkpoint
def test_a_killed_process_is_started_again_and_the_curve_goes_on(alone, log, tmp_path, victim):
    started = command(
        *TORCHRUN, "--max-restarts", "1", "--monitor-interval", "0.1", folder=tmp_path, log=log
    )
    with subprocess.Popen(
        started, cwd=REPOSITORY, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as torchrun:  # fmt: skip
        said = ""
        try:
            for line in torchrun.stdout:
                said += line
                if line.startswith("epoch 2") and "resuming" not in said:
                    pid = int(re.search(rf"process {victim} of 2: pid (\d+)", said)[1])
                    os.kill(pid, signal.SIGKILL)
        finally:
            torchrun.terminate()
    assert torchrun.returncode == 0, said
    assert len(set(re.findall(r"pid (\d+)", said))) == 4  # both were started again
    assert re.search(r"resuming after epoch [12]\b", said), said
    assert_same_curve(history(tmp_path), alone)
    weights = [
        load_checkpoint(tmp_path / folder / "checkpoint.pth")["model"]
        for folder in ("", "process-1")
    ]
    assert all(weights[0][name].equal(weights[1][name]) for name in weights[0])


def test_shares_of_two_processes_give_the_gradient_of_the_whole_batch():
    lengths = np.array([2, 30, 3, 40, 4])  # one process gets the long histories
    generator = np.random.default_rng(0)
    sequences = Sequences(
        movie_tokens=generator.integers(0, 50, lengths.sum() + 5).astype(np.int32),
        ratings=np.ones(lengths.sum() + 5, np.int8),
        timestamps=np.arange(lengths.sum() + 5),
        offsets=np.concatenate([[0], (lengths + 1).cumsum()]),
    )
    batch = make_batch(sequences, np.zeros(5, int), lengths, np.arange(5), learn=True)
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=52, context_window_size=40, embedding_dimension=8, num_layers=1, num_heads=2,
        dropout_embeddings=0.0, dropout_attention=0.0, dropout_residual=0.0,
    )  # fmt: skip
    model = SequenceModel(SequenceModelConfig(transformer=shape))

    def gradient(weighted: bool, processes: int) -> torch.Tensor:
        model.zero_grad()
        for rank in range(processes):
            mine, weight = share_of(batch, rank, processes)
            loss = next_movie_loss(model, mine) * (weight if weighted else 1.0) / processes
            loss.backward()
        return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])

    whole = gradient(weighted=True, processes=1)
    for processes in (2, 3, 5, 8):  # with eight, three have no row
        assert torch.allclose(gradient(True, processes), whole, rtol=1e-4, atol=1e-7)
        assert not torch.allclose(gradient(False, processes), whole, rtol=1e-2, atol=1e-5)
    shares = [share_of(batch, rank, 3) for rank in range(3)]
    assert sum((mine.targets != NO_TARGET).sum() for mine, _ in shares) == lengths.sum()


def trained(*before: str, cut: str = "rows") -> dict[str, tuple[list[float], list[int]]]:
    """For either optimizer what tools.train_sharded prints: losses, rows that each process keeps."""
    done = subprocess.run(
        [
            *before, "-m", "tools.train_sharded", "--cut", cut, "--table-optimizer", "adam", "rowwise",
            "--steps", "8", "--width", "16",
        ],
        cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = re.findall(r"(adam|rowwise), (?:step \d+: loss|process \d keeps) ([\d.]+)", done.stdout)
    return {
        table: (
            [float(number) for name, number in said if name == table and "." in number],
            [int(number) for name, number in said if name == table and "." not in number],
        )
        for table in ("adam", "rowwise")
    }


def test_a_table_cut_over_processes_learns_as_a_whole_one():
    alone = trained(sys.executable)
    for processes, cut in (("3", "rows"), ("2", "all")):  # 402 rows, 3 x 134
        together = trained(*TORCHRUN[:-1], processes, cut=cut)
        for table, (losses, rows) in alone.items():
            assert len(losses) == 8
            # A wrong gradient would show from the second step on.
            assert losses[-1] < losses[0] - 0.1
            np.testing.assert_allclose(together[table][0], losses, atol=2e-5)
            kept = together[table][1]
            assert len(kept) == int(processes)
            assert sum(kept) == rows[0]
            assert max(kept) < rows[0]
