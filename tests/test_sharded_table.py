"""A table cut over processes gives the vectors and gradients of the whole one."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="torchrun's gloo needs a Unix")


def run(processes: int, code: list[str]) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*TORCHRUN, str(processes), *code],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("processes", "rows", "tokens"),
    [(2, 1_001, 500), (3, 5, 1)],  # in the second one most processes have nothing to send to some
)
def test_vectors_and_gradients_are_those_of_the_whole_table(processes, rows, tokens):
    module = [
        "-m",
        "recformer_utils.distributed.sharded_table",
        "--rows",
        str(rows),
        "--tokens",
        str(tokens),
    ]
    done = run(processes, module)
    assert done.returncode == 0, done.stderr
    kept = re.findall(r"keeps ([\d,]+) of", done.stdout)
    assert len(kept) == processes
    assert sum(int(number.replace(",", "")) for number in kept) == rows


WRONG = """
import torch
import torch.distributed as dist
from recformer_utils.distributed import sharded_table
dist.init_process_group("gloo")
exchange = sharded_table._Exchange.backward
sharded_table._Exchange.backward = staticmethod(lambda ctx, g: exchange(ctx, {wrong}))
sharded_table.compare(101, 4, 50)
dist.destroy_process_group()  # else a process may abort when the other one has gone
"""


@pytest.mark.parametrize(
    ("wrong", "passes"), [("g", True), ("g * (1 + 1e-3 * dist.get_rank())", False)]
)
def test_the_comparison_notices_a_wrong_gradient(tmp_path, wrong, passes):
    script = tmp_path / "wrong.py"
    script.write_text(WRONG.format(wrong=wrong), encoding="utf-8")
    done = run(2, [str(script)])
    assert (done.returncode == 0) == passes, done.stderr
    assert passes or "Tensor-likes are not close" in done.stderr
