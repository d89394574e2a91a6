"""Several processes are one training: same gradient, same curve, and a kill changes nothing."""

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

from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceModel,
    SequenceModelConfig,
    make_batch,
    next_movie_loss,
)
from recformer_utils.sequences import Sequences
from recformer_utils.training import load_checkpoint
from recformer_utils.transformer import TransformerConfig
from tests.faults.harness import LONG
from tools.common import REPOSITORY
from tools.processes import share_of

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SMALL = ["--data", "sample", "--width", "16", "--layers", "1", "--length", "50", "--epochs", "4"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# Float32 sums in another order: what four epochs make of the last digit, with room.
TOLERANCE = 1e-4

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun's gloo needs a Unix")


def command(*before: str, folder: Path) -> list[str]:
    return [*before, "-m", "tools.train_distributed", "--model-dir", str(folder), *SMALL]


def history(folder: Path) -> pd.DataFrame:
    return pd.DataFrame(load_checkpoint(folder / "checkpoint.pth")["history"])


def assert_same_curve(one: pd.DataFrame, other: pd.DataFrame) -> None:
    assert one["epoch"].tolist() == other["epoch"].tolist() == [1, 2, 3, 4]
    for column in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(one[column], other[column], rtol=TOLERANCE)
    np.testing.assert_allclose(one["NDCG@10"], other["NDCG@10"], atol=0.005)
    assert one["train_loss"].iloc[-1] < one["train_loss"].iloc[0] - 0.1  # it learned something


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("alone")
    subprocess.run(
        command(sys.executable, folder=folder), check=True, cwd=REPOSITORY, env=ENVIRONMENT
    )
    return history(folder)


def test_two_machines_have_the_curve_of_one(alone, tmp_path):
    """Two agents of torchrun that meet at an address, as on two machines."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    agent = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1",
        "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}", "--rdzv-id", "test",
    ]  # fmt: skip
    agents = [
        subprocess.Popen(command(*agent, folder=tmp_path), cwd=REPOSITORY, env=ENVIRONMENT)
        for _ in range(2)
    ]
    try:
        assert [one.wait(timeout=120) for one in agents] == [0, 0]
    finally:
        for one in agents:
            one.terminate()
    assert_same_curve(history(tmp_path), alone)


@pytest.mark.parametrize("victim", [0, 1] if LONG else [0])  # 0 writes the checkpoint
def test_a_killed_process_is_started_again_and_the_curve_goes_on(alone, tmp_path, victim):
    started = command(
        *TORCHRUN, "--max-restarts", "1", "--monitor-interval", "0.1", folder=tmp_path
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


def losses(*before: str, cut: str = "rows") -> tuple[list[float], list[int]]:
    """The losses that tools.train_sharded prints, and how many rows each process keeps."""
    done = subprocess.run(
        [*before, "-m", "tools.train_sharded", "--cut", cut, "--steps", "8", "--width", "16"],
        cwd=REPOSITORY, env=ENVIRONMENT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.stdout)]
    return found, [int(rows) for rows in re.findall(r"keeps (\d+) of", done.stdout)]


def test_a_table_cut_over_processes_learns_as_a_whole_one():
    alone, rows = losses(sys.executable)
    assert len(alone) == 8
    assert alone[-1] < alone[0] - 0.1  # a wrong gradient would show from the second step on
    for processes, cut in (("3", "rows"), ("2", "all")):  # 402 rows, 3 x 134
        together, kept = losses(*TORCHRUN[:-1], processes, cut=cut)
        np.testing.assert_allclose(together, alone, atol=2e-5)
        assert len(kept) == int(processes)
        assert sum(kept) == rows[0]
        assert max(kept) < rows[0]
