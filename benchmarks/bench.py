"""Times every stage against the plain way, peers and the machine's limit, side by side in one run.

    python -m benchmarks.bench [--data ml-1m] [--repetitions 5] [--threads 2]   (make bench)
    python -m benchmarks.bench --short --data sample --output build/short.json  (what a test runs)
    python -m benchmarks.bench --device cuda                                     (a GPU's rows)

Ours and the plain way take turns; every figure is a median, with its smallest and largest value.
Peers run in environments of their own, benchmarks/.peers/NAME, made by `make bench`; one that is
not there is left out of the table. Run it on a machine that does nothing else.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import training_ways as training
from benchmarks import ways
from benchmarks.limits import copy_speed, floating_point_operations, matrix_speed
from benchmarks.table import conditions, row, table
from tools.common import REPOSITORY, machine, write_json

RESULTS = REPOSITORY / "benchmarks/results.json"
PEERS = REPOSITORY / "benchmarks/.peers"
# Rows by what stands before the first comma of their name, as the table shows them.
ORDER = [
    "matrix product", "memory copy", *(stage.name for stage in ways.STAGES),
    "a training epoch", "training the sequence model", "training steps on a GPU",
]  # fmt: skip
PEER_NAMES = {"rectools": "RecTools", "recbole": "RecBole"}


def place(line: dict[str, Any]) -> tuple[str, int, bool]:
    """Where a row stands among the others: by device, stage, and bfloat16 behind float32."""
    halved = line["name"].endswith(("bfloat16", "mixed precision"))
    return line["device"], ORDER.index(line["name"].split(",")[0]), halved


def seconds(function: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def in_turn(repetitions: int, *functions: Callable[[int], float]) -> list[list[float]]:
    """Calls the functions in turn with the number of the repetition; their values."""
    rounds = [[function(number) for function in functions] for number in range(repetitions)]
    return [list(values) for values in zip(*rounds, strict=True)]


def measure(data: ways.Data, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """The rows of a CPU, all or those of the stages asked for, printed as they come."""
    import torch

    from recformer_utils.training import multiplies_bfloat16

    size = 256 if arguments.short else 2048
    copy = copy_speed(8 if arguments.short else 256)
    single, half = matrix_speed(torch.float32, size=size), None
    if multiplies_bfloat16(training.CPU):
        half = matrix_speed(torch.bfloat16, size=size)
    else:
        print("no instructions for bfloat16 here: rows in mixed precision stay as they are stored")
    tasks: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "the machine": lambda: [
            row("matrix product, float32", "GFLOP/s", [single / 1e9]),
            *([row("matrix product, bfloat16", "GFLOP/s", [half / 1e9])] if half else []),
            row("memory copy", "GB/s", [copy / 1e9]),
        ],
        **{
            stage.name: lambda stage=stage: [measure_stage(stage, data, arguments, copy, single)]
            for stage in ways.STAGES
        },
        "a training epoch, the post's model": lambda: [measure_epoch(data, arguments, single)],
        "training the sequence model": lambda: measure_sequence_model(
            data, arguments, single, half
        ),
    }
    rows = []
    for name, task in tasks.items():
        if arguments.only in name:
            print(f"{name} …", file=sys.stderr, flush=True)
            rows += task()
    return rows


def measure_epoch(data: ways.Data, arguments: argparse.Namespace, single: float) -> dict[str, Any]:
    """An epoch of the post's model."""
    steps = 3 if arguments.short else 60
    ours, plain = in_turn(
        arguments.repetitions,
        lambda _: training.window_epoch(data, steps),
        lambda _: training.window_epoch_plainly(data, steps),
    )
    batches = -(-len(data.dataset) // training.BATCH)
    return row(
        "a training epoch, the post's model", "s", ours, plain,
        limit=floating_point_operations(training.window_step(data)) * batches / single,
        note=f"from its start and {steps} of {batches:,} steps of {training.BATCH} windows",
    )  # fmt: skip


def measure_stage(
    stage: ways.Stage, data: ways.Data, arguments: argparse.Namespace, copy: float, single: float
) -> dict[str, Any]:
    """One stage that is timed as a call, after a first one that is not and is compared."""
    one, other, share = stage.ours(data), stage.plain(data), stage.plain_share(data)
    if stage.same and not bool((one == other).all() if hasattr(one, "all") else one == other):
        raise SystemExit(f"{stage.name}: our way and the plain way do not give the same")
    ours, plain = in_turn(
        arguments.repetitions,
        lambda _: seconds(lambda: stage.ours(data)),
        lambda _: seconds(lambda: stage.plain(data)) / share,
    )
    limit = None
    if stage.flops:
        limit = floating_point_operations(lambda: stage.ours(data)) / single
    elif stage.bytes_needed:
        limit = stage.bytes_needed(data) / copy
    note = f"the plain way from {share:.0%} of the users" if share < 1 else ""
    return row(stage.name, "s", ours, plain, limit=limit, note=note)


def measure_sequence_model(
    data: ways.Data, arguments: argparse.Namespace, single: float, half: float | None
) -> list[dict[str, Any]]:
    """The sequence model in float32 and, if there is such a speed, in mixed precision, beside both peers.

    A peer takes a while to start, so it does not take turns with ours: it runs between two halves.
    """
    steps = 2 if arguments.short else 12
    model = training.sequence_model(data)
    training.sequence_speed(data, model, 2, 0, False)  # warm-up
    step, positions = training.sequence_step(data, model)
    flops = floating_point_operations(step) / positions
    rows = []
    for precision, mixed, speed in (("float32", False, single), ("mixed precision", True, half)):
        if speed is None:
            continue

        def half_of_ours(count: int, mixed: bool = mixed) -> list[list[float]]:
            return in_turn(
                count,
                lambda n: training.sequence_speed(data, model, steps, n, mixed),
                lambda n: training.sequence_speed_plainly(data, model, max(1, steps // 6), n),
            )

        for folder in PEER_NAMES:
            first = half_of_ours((arguments.repetitions + 1) // 2)
            peer = None if arguments.short else peer_speeds(data, folder, mixed, arguments)
            last = half_of_ours((arguments.repetitions + 1) // 2)
            ours, plain = (one + other for one, other in zip(first, last, strict=True))
            rows.append(row(
                f"training the sequence model, {precision}", "positions/s", ours, plain,
                peer and (PEER_NAMES[folder], peer), speed / flops,
                f"{steps} of {len(training.epoch_batches(data))} batches; real positions only"
                + ("; RecBole learns one target a history" if folder == "recbole" else ""),
            ))  # fmt: skip
    return rows


def peer_speeds(
    data: ways.Data, folder: str, mixed: bool, arguments: argparse.Namespace
) -> list[float] | None:
    """Positions a second of a peer; None, and a word, if it is not installed."""
    python = PEERS / folder / "bin/python"
    if not python.exists():
        print(f"{PEER_NAMES[folder]} is left out: `make bench` installs it")
        return None
    command = [python, REPOSITORY / f"benchmarks/peers/{folder}_sasrec.py"]
    command += [data.folder / "ratings.dat", "bf16-mixed" if mixed else "32-true"]
    command += [arguments.repetitions, 2]
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=PEERS,
        env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{PEER_NAMES[folder]} stopped with an error:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def versions() -> dict[str, str]:
    """Of what decides the figures."""
    from importlib.metadata import version

    names = ("torch", "numpy", "pandas")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="auto", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for PyTorch")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--short", action="store_true", help="a few steps, no peers: a test")
    parser.add_argument("--only", default="", help="stages whose name has this text")
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    import torch

    torch.set_num_threads(arguments.threads)
    from benchmarks.gpu import gpu_rows, no_gpu_rows

    # What else keeps the machine busy before we begin; it belongs to the figures.
    load = round(os.getloadavg()[0], 1)
    data = ways.load(arguments.data)
    print(f"{data.movielens}; {arguments.repetitions} repetitions, {arguments.threads} threads")
    if arguments.device == "cuda":
        rows = gpu_rows(data, torch.device("cuda"), arguments.repetitions)
    else:
        rows = measure(data, arguments)
    shared = {
        "data": str(data.movielens).split(":")[0], "threads": arguments.threads,
        "machine": machine(), "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": versions(), "load_before": load, "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    rows = [{**line, **shared, "device": arguments.device} for line in rows]
    mine = {line["name"] for line in rows}
    kept = [{**line, **shared} for line in no_gpu_rows()]
    if arguments.output.exists():  # what this run did not measure stays
        kept = json.loads(arguments.output.read_text())
    everything = [line for line in kept if line["name"] not in mine] + rows
    everything.sort(key=place)
    write_json(arguments.output, everything)
    print(table(rows))
    print(conditions(rows))


if __name__ == "__main__":
    main()
