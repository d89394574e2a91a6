"""What the benchmarks share: time, memory, a process of its own, speeds of the machine, counts."""

import ctypes
import gc
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from recformer_utils.runs import fast_matrix_products
from tools.common import REPOSITORY


def versions() -> dict[str, str]:
    """Versions of what decides the figures."""
    names = ("torch", "numpy", "pandas")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def timed(
    function: Callable[[], object],
    repetitions: int = 7,
    budget: float = 20,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Median, smallest and largest time of a call, s, after a first call that does not count.

    Args:
        function: what is timed.
        repetitions: fewer where they would take longer than the budget, but at least three.
        budget: seconds.
        clock: processor time by default: with one thread that is the time on the clock, without
            what other programs take of it.
    """
    values: list[float] = []
    function()
    while len(values) < repetitions and (len(values) < 3 or sum(values) < budget):
        started = clock()
        function()
        values.append(clock() - started)
    return {
        "seconds": statistics.median(values), "fastest": min(values), "slowest": max(values),
        "repetitions": len(values),
    }  # fmt: skip


def peak_mib() -> float:
    """Largest resident size of this process, since `size_now_mib` where the system can tell.

    0 where it cannot (Windows).
    """
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.search(r"VmHWM:\s+(\d+)", status.read_text())[1]) / 2**10
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # bytes on a Mac


def size_now_mib() -> float:
    """Resident size before a measurement: free memory is given back, the peak is reset (Linux)."""
    gc.collect()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return peak_mib()


def in_a_process(module: str, *arguments: object, **environment: str) -> Any:
    """The JSON that a module prints last when it runs with these arguments and one thread."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment}, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{module} {arguments} ended with an error:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def matrix_speed(dtype: torch.dtype, size: int = 2048) -> float:
    """Floating-point operations a second of a large matrix product, the best kernel there is."""
    a, b = torch.randn(2, size, size, dtype=dtype)
    seconds = timed(lambda: a @ b, clock=time.perf_counter)["seconds"]
    with fast_matrix_products():
        seconds = min(seconds, timed(lambda: a @ b, clock=time.perf_counter)["seconds"])
    return 2 * size**3 / seconds


def copy_speed(megabytes: int = 256) -> float:
    """Bytes a second, read plus written, of copying a block larger than the caches."""
    source = torch.ones(megabytes << 20, dtype=torch.uint8)
    target = torch.empty_like(source)
    took = timed(lambda: target.copy_(source), clock=time.perf_counter)
    return 2 * source.numel() / took["seconds"]


def floating_point_operations(function: Callable[[], object]) -> int:
    """What the matrix products and the attention of a call need, backward included."""
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


class Counts(TorchDispatchMode):
    """Counts what PyTorch executes inside: the same numbers on every run, on every machine.

    Attributes:
        operations: how often each operation ran, views included.
        bytes_written: bytes of all new tensors, views excluded.
        largest: bytes of the largest new tensor.
    """

    def __init__(self):
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.bytes_written = self.largest = 0

    def __torch_dispatch__(self, operation, types, arguments=(), keywords=None):
        result = operation(*arguments, **(keywords or {}))
        self.operations[operation.overloadpacket.__name__] += 1
        if not operation.is_view:
            for tensor in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(tensor, torch.Tensor):
                    size = tensor.numel() * tensor.element_size()
                    self.bytes_written += size
                    self.largest = max(self.largest, size)
        return result

    @property
    def total(self) -> int:
        """All operations together."""
        return sum(self.operations.values())
