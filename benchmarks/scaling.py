"""How cost grows with the catalogue, the histories, the users; and what a search costs.

    python -m benchmarks.scaling              (about ten minutes on a machine that does nothing else)
    python -m benchmarks.scaling --quick --output build/scaling_quick.json      (a minute, a test)

Each point is measured in a process of its own, with one thread, and stored in scaling.json beside
this file at once: a run that was killed goes on where it stopped. --anew measures everything again.
Times are medians of processor seconds, which other programs do not change much, with the smallest
and the largest (building an index: of all threads together); memory is what the point added to the
process at its peak, in MiB. Then the laws: cost = factor * size ** exponent, by least squares on
logarithms. Notebook 11 shows all of it.
"""

import argparse
import datetime
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import CATALOGUES, LARGEST_FULL, NEGATIVES, POSITIONS, WIDTH
from benchmarks.scaling_points import MEASURES, QUERIES, STEP_POSITIONS, TOP
from tools.common import REPOSITORY, write_json

POINTS = {
    "catalogue": [
        {"loss": loss, "movies": movies}
        for loss, movies in itertools.product(("full", "chunked", "sampled"), CATALOGUES)
        if loss != "full" or movies <= LARGEST_FULL
    ],
    "history": [
        {"attention": attention, "length": length}
        for attention, length in itertools.product(
            ("plain", "with gaps of pairs"), (50, 100, 200, 500, 1_000, 2_000)
        )
    ],
    "users": [{"users": users} for users in (10_000, 30_000, 100_000, 300_000, 1_000_000)],
    "reading": [{"ratings": ratings} for ratings in (1_000_000, 3_000_000, 10_000_000, 32_000_204)],
    "serving": [
        {"index": index, "items": items}
        for items, index in itertools.product(
            (1_000, 10_000, 100_000, 1_000_000), ("exact", "IVF", "HNSW")
        )
    ],
}
SMALL = {
    "movies": 3_000,
    "length": 100,
    "users": 10_000,
    "ratings": 1_000_000,
    "items": 10_000,
}  # --quick


def law(sizes: list[float], costs: list[float]) -> tuple[float, float]:
    """Factor and exponent of cost = factor * size ** exponent, by least squares on logarithms."""
    exponent, intercept = np.polyfit(np.log(sizes), np.log(costs), 1)
    return float(np.exp(intercept)), float(exponent)


# ---------------------------------------------------------------- the parent


def in_a_process(curve: str, point: dict[str, Any], repetitions: int) -> list[dict[str, Any]]:
    """The rows of a point, measured by this script in a process with one thread."""
    command = [sys.executable, "-m", "benchmarks.scaling", "--point", json.dumps([curve, point])]
    command += ["--repetitions", str(repetitions)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=REPOSITORY)
    if done.returncode:
        raise SystemExit(f"{curve}, {point} stopped with an error:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure_all(path: Path, quick: bool, anew: bool, only: str, repetitions: int) -> dict[str, Any]:
    """Measures what the file does not have yet, stores it after each point and returns all."""
    import torch

    from benchmarks.bench import versions
    from tools.common import machine

    conditions = {"machine": machine(), "versions": versions(), "threads": 1}
    conditions["instructions"] = torch.backends.cpu.get_cpu_capability()
    results: dict[str, Any] = {curve: [] for curve in POINTS}
    if path.exists() and not anew:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if any(stored.get(key) != value for key, value in conditions.items()):
            raise SystemExit(
                f"{path}: was measured on another machine or with other versions "
                f"({stored.get('machine')}, {stored.get('versions')}). Add --anew to measure all again"
            )
        results |= stored
    results |= conditions | {"positions": POSITIONS, "width": WIDTH, "negatives": NEGATIVES}
    results |= {"step_positions": STEP_POSITIONS, "queries": QUERIES, "top": TOP}
    for curve, point in _points(quick):
        if only and only != curve:
            continue
        if any(point.items() <= row.items() for row in results[curve]):
            continue
        print(f"{curve}: {point} …", file=sys.stderr, flush=True)
        started = time.perf_counter()
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
        rows = in_a_process(curve, point, repetitions)
        took = round(time.perf_counter() - started, 1)
        results[curve] += [{**row, "load_before": load, "took": took} for row in rows]
        results["date"] = datetime.date.today().isoformat()
        write_json(path, results)
    return results


def _points(quick: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    for curve, points in POINTS.items():
        for point in points:
            if not quick or all(point.get(key, 0) <= size for key, size in SMALL.items()):
                yield curve, point


def series_of(results: dict[str, Any]) -> dict[str, tuple[list[float], list[float], str]]:
    """What grows with what: name -> sizes, costs and the unit."""
    series = {}
    for quantity, unit in (("seconds", "s a step"), ("mib", "MiB")):
        for curve, kind, size in (
            ("catalogue", "loss", "movies"), ("history", "attention", "length"),
        ):  # fmt: skip
            for value in dict.fromkeys(row[kind] for row in results[curve]):
                rows = [row for row in results[curve] if row[kind] == value]
                name = f"{curve}, {value}"
                costs = [max(row[quantity], 1e-6) for row in rows]
                series[f"{name}: {unit}"] = ([row[size] for row in rows], costs, unit)
    for stage in ("ordering", "cutting", "epoch", "evaluation"):
        costs = [row[stage]["seconds"] for row in results["users"]]
        sizes = [row["users"] for row in results["users"]]
        series[f"users, {stage}: s"] = (sizes, costs, "s")
    for quantity, unit in (("seconds", "s"), ("mib", "MiB")):
        costs = [row[quantity] for row in results["reading"]]
        series[f"reading: {unit}"] = ([row["ratings"] for row in results["reading"]], costs, unit)
    exact = [row for row in results["serving"] if row["setting"] == "one query at a time"]
    items, times = [row["items"] for row in exact], [row["microseconds"] for row in exact]
    series["serving, exact: µs a query"] = (items, times, "µs")
    return series


def print_laws(results: dict[str, Any]) -> None:
    """The laws, and between which two sizes the line is steepest and flattest."""
    for name, (sizes, costs, _) in series_of(results).items():
        if len(sizes) < 2:
            continue
        slopes = np.diff(np.log(costs)) / np.diff(np.log(sizes))
        factor, exponent = law(sizes, costs)
        print(
            f"{name:45} {factor:9.2g} * n^{exponent:.2f}   "
            f"(between neighbours n^{slopes.min():.2f} to n^{slopes.max():.2f})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks/scaling.json")
    parser.add_argument("--quick", action="store_true", help="the smallest sizes only")
    parser.add_argument("--anew", action="store_true", help="forget what the file has")
    parser.add_argument("--only", choices=MEASURES, default="", help="one of the curves")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        curve, point = arguments.point
        print(json.dumps(MEASURES[curve](point, arguments.repetitions)))
        return
    started = time.perf_counter()
    results = measure_all(
        arguments.output, arguments.quick, arguments.anew, arguments.only, arguments.repetitions
    )
    print_laws(results)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
