"""Peak memory: of every stage, and of three losses against the size of the catalogue.

    python -m benchmarks.memory [--data ml-1m]

Each figure comes from a process of its own, as the largest resident size that the system saw during
the stage; what the process had before it began (Python, PyTorch, the data set) stands beside it.
Writes memory.json and memory.png beside this file.
"""

import argparse
import ctypes
import datetime
import gc
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.common import REPOSITORY, write_json

POSITIONS, WIDTH, NEGATIVES = 1_024, 64, 256
CATALOGUES = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
LARGEST_FULL = 300_000  # a million would need 12 GB for the logits, their softmax and its gradient
STAGES = (
    "reading data", "building windows", "full-catalogue evaluation", "one recommendation",
    "a row of posters", "training step, the post's model", "training step, the sequence model",
    "training step, the sequence model, plain way",
)  # fmt: skip


def peak_mib() -> float:
    """Largest resident size of this process, since `size_now_mib` where the system can tell."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on a Mac


def size_now_mib() -> float:
    """Resident size before a measurement; the peak starts anew (Linux), free memory is given back."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


# ---------------------------------------------------------------- what a child process measures


def stage_peak(name: str, data_name: str) -> dict[str, float]:
    """MiB of the process before and after a stage."""
    from benchmarks import training_ways as training
    from benchmarks import ways

    data = ways.load(data_name)
    calls: dict[str, Callable[[], object]] = {
        stage.name: lambda stage=stage: stage.ours(data) for stage in ways.STAGES
    }
    if name.startswith("training step, the sequence model"):
        model = training.sequence_model(data)
        longest = max(training.epoch_batches(data), key=lambda batch: batch.targets.numel())
        optimizer = training.optimizer_of(model, fused=True)
        plain = training.sequence_speed_plainly
        calls["training step, the sequence model"] = lambda: training.gradient_step(
            lambda: model.loss(longest), model, optimizer, training.CPU
        )
        calls["training step, the sequence model, plain way"] = lambda: plain(data, model, 1, 0)
    elif name.startswith("training"):
        calls["training step, the post's model"] = training.window_step(data)
    elif name == "full-catalogue evaluation" or name == "one recommendation":
        _ = data.sequences, data.split, data.model
    before = size_now_mib()
    calls[name]()
    return {"before_mib": round(before), "peak_mib": round(peak_mib())}


def loss_step(kind: str, movies: int) -> Callable[[], None]:
    """One step of a loss with its gradients: full, chunked or sampled; scaling.py times it."""
    import torch
    import torch.nn.functional as F

    from recformer_utils.losses import full_cross_entropy, sampled_loss

    losses = {
        "full": lambda hidden, weight, targets: F.cross_entropy(hidden @ weight.T, targets),
        "chunked": full_cross_entropy,
        "sampled": lambda *tensors: sampled_loss(*tensors, "sampled", NEGATIVES),
    }
    torch.manual_seed(0)
    hidden = torch.randn(POSITIONS, WIDTH, requires_grad=True)
    weight = (0.02 * torch.randn(movies, WIDTH)).requires_grad_()
    targets = torch.randint(movies - 2, (POSITIONS,))

    def step() -> None:
        hidden.grad = weight.grad = None
        losses[kind](hidden, weight, targets).backward()

    losses[kind](hidden[:2], weight[:300], targets[:2] % 298).backward()  # libraries are loaded
    hidden.grad = weight.grad = None
    return step


def loss_peak(kind: str, movies: int) -> dict[str, float]:
    """MiB of the process before and after one step of a loss."""
    step = loss_step(kind, movies)
    before = size_now_mib()
    step()
    return {"before_mib": round(before), "peak_mib": round(peak_mib())}


# ---------------------------------------------------------------- the parent


def in_a_process(*arguments: object) -> dict[str, float]:
    """The JSON that this script prints with these arguments."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", *map(str, arguments)], cwd=REPOSITORY,
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{arguments} stopped with an error:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(data: str) -> dict[str, Any]:
    """All figures."""
    from benchmarks.bench import versions
    from tools.common import machine

    stages = {name: in_a_process("--stage", name, "--data", data) for name in STAGES}
    losses = [
        {"loss": kind, "movies": movies, **in_a_process("--loss", kind, "--movies", movies)}
        for kind in ("full", "chunked", "sampled")
        for movies in CATALOGUES
        if kind != "full" or movies <= LARGEST_FULL
    ]
    return {
        "stages": stages, "losses": losses, "positions": POSITIONS, "width": WIDTH,
        "negatives": NEGATIVES, "data": data, "machine": machine(), "versions": versions(),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def plot(results: dict[str, Any], path: Path) -> None:
    """What each loss adds to the memory, against the catalogue, on logarithmic axes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.style.context(REPOSITORY / "recformer_utils/recformer.mplstyle"):
        figure, axis = plt.subplots(figsize=(7, 4.2))
        # Not the second color of the style: red belongs to recommendations.
        for kind, color in (("full", "C0"), ("chunked", "C3"), ("sampled", "C2")):
            line = [row for row in results["losses"] if row["loss"] == kind]
            added = [max(1, row["peak_mib"] - row["before_mib"]) for row in line]
            movies = [row["movies"] for row in line]
            axis.plot(movies, added, marker="o", color=color)
            axis.annotate(
                kind, (movies[-1], added[-1]), (6, 0), textcoords="offset points", va="center"
            )
        axis.set(xscale="log", yscale="log", xlabel="movies in the catalogue")
        axis.set_ylabel("memory of one step, MiB")
        axis.set_title(f"{results['positions']:,} positions, {results['width']} wide, float32")
        axis.margins(x=0.12)
        figure.savefig(path, dpi=150, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="auto", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks/memory.json")
    parser.add_argument("--stage", choices=STAGES, help="one stage, in this process")
    parser.add_argument("--loss", choices=("full", "chunked", "sampled"))
    parser.add_argument("--movies", type=int, default=CATALOGUES[0])
    arguments = parser.parse_args()
    if arguments.stage:
        print(json.dumps(stage_peak(arguments.stage, arguments.data)))
    elif arguments.loss:
        print(json.dumps(loss_peak(arguments.loss, arguments.movies)))
    else:
        from recformer_utils.movielens import load_movielens

        results = measure(arguments.data)
        results["data"] = str(load_movielens(arguments.data)).split(":")[0]
        write_json(arguments.output, results)
        plot(results, arguments.output.with_suffix(".png"))
        for name, row in results["stages"].items():
            print(f"{name:50} {row['peak_mib']:6,} MiB, {row['before_mib']:,} before")


if __name__ == "__main__":
    main()
