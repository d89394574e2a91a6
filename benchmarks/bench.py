"""Times every stage against the plain way, peers and the machine's limit, side by side in one run.

    python -m benchmarks.bench [--data ml-1m] [--repetitions 5] [--threads 2]   (make bench)
    python -m benchmarks.bench --short --data sample --output build/short.json  (what a test runs)
    python -m benchmarks.bench --memory                (peak memory of each stage: memory.json)

Ours and the plain way take turns; every figure is a median, with its smallest and largest value.
Peers run in environments of their own, benchmarks/.peers/NAME, made by `make bench`; one that is
not installed is left out of the table. Run it on a machine that does nothing else.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks import measure, stages
from benchmarks.table import conditions, row, table
from recformer_utils.runs.precision import multiplies_bfloat16
from tools.common import REPOSITORY, machine, write_json

RESULTS = REPOSITORY / "benchmarks/results.json"
PEERS = REPOSITORY / "benchmarks/.peers"
PEER_NAMES = {"rectools": "RecTools", "recbole": "RecBole"}
# Rows by what stands before the first comma of their name, as the table shows them.
ORDER = [
    "matrix product", "memory copy", *(stage.name for stage in stages.STAGES), "a training epoch",
    "training the sequence model",
]  # fmt: skip
STEPS = (
    "training step, the post's model", "training step, the sequence model",
    "training step, the sequence model, plain way",
)  # fmt: skip


def place(line: dict[str, Any]) -> tuple[int, bool]:
    """Where a row stands among the others: by stage, and bfloat16 behind float32."""
    halved = line["name"].endswith(("bfloat16", "mixed precision"))
    return ORDER.index(line["name"].split(",")[0]), halved


def seconds(function: Callable[[], object], at_least: float = 0.1) -> float:
    """Wall time of a call, the mean of as many as take ``at_least`` so many seconds."""
    started, calls = time.perf_counter(), 0
    while not calls or time.perf_counter() - started < at_least:
        function()
        calls += 1
    return (time.perf_counter() - started) / calls


def in_turn(repetitions: int, *functions: Callable[[int], float]) -> list[list[float]]:
    """Calls the functions in turn with the number of the repetition; their values."""
    rounds = [[function(number) for function in functions] for number in range(repetitions)]
    return [list(values) for values in zip(*rounds, strict=True)]


def all_rows(data: stages.Data, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All rows or those of the stages asked for."""
    size = 256 if arguments.short else 2048
    copy = measure.copy_speed(8 if arguments.short else 256)
    single, half = measure.matrix_speed(torch.float32, size=size), None
    if multiplies_bfloat16(stages.CPU):
        half = measure.matrix_speed(torch.bfloat16, size=size)
    else:
        print("no instructions for bfloat16 here: rows in mixed precision stay as they are stored")
    tasks: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "the machine": lambda: [
            row("matrix product, float32", "GFLOP/s", [single / 1e9]),
            *([row("matrix product, bfloat16", "GFLOP/s", [half / 1e9])] if half else []),
            row("memory copy", "GB/s", [copy / 1e9]),
        ]
    }
    compiled = [] if arguments.short else [stages.COMPILED]  # it takes a minute to compile
    for stage in (*stages.STAGES, *compiled):
        tasks[stage.name] = lambda stage=stage: [
            measure_stage(stage, data, arguments, copy, single)
        ]
    tasks["a training epoch, the post's model"] = lambda: [measure_epoch(data, arguments, single)]
    tasks["training the sequence model"] = lambda: measure_sequence_model(
        data, arguments, single, half
    )
    rows = []
    for name, task in tasks.items():
        if arguments.only in name:
            print(f"{name} …", file=sys.stderr, flush=True)
            rows += task()
    return rows


def measure_epoch(
    data: stages.Data, arguments: argparse.Namespace, single: float
) -> dict[str, Any]:
    """An epoch of the post's model."""
    steps = 3 if arguments.short else 60
    ours, plain = in_turn(
        arguments.repetitions,
        lambda _: stages.window_epoch(data, steps),
        lambda _: stages.window_epoch_plainly(data, steps),
    )
    batches = -(-len(data.dataset) // stages.BATCH)
    return row(
        "a training epoch, the post's model", "s", ours, plain,
        limit=measure.floating_point_operations(stages.one_window_step(data)) * batches / single,
        note=f"from its start and {steps} of {batches:,} steps of {stages.BATCH} windows",
    )  # fmt: skip


def measure_stage(
    stage: stages.Stage,
    data: stages.Data,
    arguments: argparse.Namespace,
    copy: float,
    single: float,
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
        limit = measure.floating_point_operations(lambda: stage.ours(data)) / single
    elif stage.bytes_needed:
        limit = stage.bytes_needed(data) / copy
    note = f"the plain way from {share:.0%} of the users" if share < 1 else ""
    return row(stage.name, "s", ours, plain, limit=limit, note=note)


def measure_sequence_model(
    data: stages.Data, arguments: argparse.Namespace, single: float, half: float | None
) -> list[dict[str, Any]]:
    """The sequence model in float32 and, if there is such a speed, in mixed precision, beside both peers.

    A peer takes a while to start, so it does not take turns with ours: it runs between two halves.
    """
    steps = 2 if arguments.short else 12
    model = stages.sequence_model(data)
    stages.sequence_speed(data, model, 2, 0, False)  # warm-up
    step, positions = stages.one_sequence_step(data, model)
    flops = measure.floating_point_operations(step) / positions
    rows = []
    for precision, mixed, speed in (("float32", False, single), ("mixed precision", True, half)):
        if speed is None:
            continue

        def half_of_ours(count: int, mixed: bool = mixed) -> list[list[float]]:
            return in_turn(
                count,
                lambda n: stages.sequence_speed(data, model, steps, n, mixed),
                lambda n: stages.sequence_speed_plainly(data, model, max(1, steps // 6), n),
            )

        for folder in PEER_NAMES:
            first = half_of_ours((arguments.repetitions + 1) // 2)
            peer = None if arguments.short else peer_speeds(data, folder, mixed, arguments)
            last = half_of_ours((arguments.repetitions + 1) // 2)
            ours, plain = (one + other for one, other in zip(first, last, strict=True))
            rows.append(row(
                f"training the sequence model, {precision}", "positions/s", ours, plain,
                peer and (PEER_NAMES[folder], peer), speed / flops,
                f"{steps} of {len(stages.epoch_batches(data))} batches; real positions only"
                + ("; RecBole learns one target a history" if folder == "recbole" else ""),
            ))  # fmt: skip
    return rows


def peer_speeds(
    data: stages.Data, folder: str, mixed: bool, arguments: argparse.Namespace
) -> list[float] | None:
    """Positions a second of a peer; None, with a printed note, if it is not installed."""
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


# ---------------------------------------------------------------- memory


def stage_peak(name: str, data: stages.Data) -> dict[str, int]:
    """MiB of this process before and at the peak of a stage."""
    calls = {stage.name: lambda stage=stage: stage.ours(data) for stage in stages.STAGES}
    if name.startswith("training step, the sequence model"):
        model = stages.sequence_model(data)
        optimizer = stages.optimizer_of(model)
        longest = max(stages.epoch_batches(data), key=lambda batch: batch.targets.numel())
        calls[STEPS[1]] = lambda: stages.sequence_step(model, optimizer, longest)
        calls[STEPS[2]] = lambda: stages.sequence_speed_plainly(data, model, 1, 0)
    elif name in STEPS:
        calls[name] = stages.one_window_step(data)
    elif name in ("full-catalogue evaluation", "one recommendation"):
        _ = data.sequences, data.split, data.model
    before = measure.size_now_mib()
    calls[name]()
    return {"before_mib": round(before), "peak_mib": round(measure.peak_mib())}


def measure_memory(arguments: argparse.Namespace) -> None:
    """Writes memory.json: each stage in a process of its own, and what the process had before."""
    found = {}
    for name in [*(stage.name for stage in stages.STAGES), *STEPS]:
        if arguments.only in name:
            options = ("--peak", name, "--data", arguments.data)
            found[name] = measure.in_a_process("benchmarks.bench", *options)
            print(
                f"{name:50} {found[name]['peak_mib']:6,} MiB, {found[name]['before_mib']:,} before"
            )
    about = {"data": str(stages.load(arguments.data).movielens).split(":")[0], "machine": machine()}
    about |= {"versions": measure.versions(), "date": datetime.date.today().isoformat()}
    output = arguments.output or RESULTS.with_name("memory.json")
    write_json(output, {"stages": found, **about})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="auto", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for PyTorch")
    parser.add_argument("--short", action="store_true", help="a few steps, no peers: a test")
    parser.add_argument("--only", default="", help="stages whose name has this text")
    parser.add_argument("--memory", action="store_true", help="peak memory instead of time")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(json.dumps(stage_peak(arguments.peak, stages.load(arguments.data))))
    elif arguments.memory:
        measure_memory(arguments)
    else:
        measure_times(arguments)


def measure_times(arguments: argparse.Namespace) -> None:
    """Writes results.json and prints the new rows."""
    torch.set_num_threads(arguments.threads)
    load = round(os.getloadavg()[0], 1)  # of other programs: it belongs to the figures
    data, output = stages.load(arguments.data), arguments.output or RESULTS
    print(f"{data.movielens}; {arguments.repetitions} repetitions, {arguments.threads} threads")
    shared = {
        "data": str(data.movielens).split(":")[0], "threads": arguments.threads,
        "machine": machine(), "instructions": torch.backends.cpu.get_cpu_capability(),
        "versions": measure.versions(), "load_before": load, "cores": os.cpu_count(),
        "date": datetime.date.today().isoformat(), "device": "cpu",
    }  # fmt: skip
    rows = [{**line, **shared} for line in all_rows(data, arguments)]
    mine = {line["name"] for line in rows}
    kept = json.loads(output.read_text()) if output.exists() else []
    # What this run did not measure stays as it is stored.
    everything = [line for line in kept if line["name"] not in mine] + rows
    write_json(output, sorted(everything, key=place))
    print(table(rows))
    print(conditions(rows))


if __name__ == "__main__":
    main()
