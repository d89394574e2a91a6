"""What the machine can do, and what a step asks of it: speeds measured, operations counted."""

import statistics
import time
from collections import Counter
from collections.abc import Callable

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from recformer_utils.training import fast_matrix_products


def median_seconds(function: Callable[[], object], repetitions: int = 7) -> float:
    """Median wall time of a call, after one that does not count."""
    function()
    times = []
    for _ in range(repetitions):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def matrix_speed(dtype: torch.dtype, device: str = "cpu", size: int = 2048) -> float:
    """Floating-point operations a second of a large matrix product, the best kernel there is."""
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)

    def product() -> None:
        torch.mm(a, b)
        if device == "cuda":
            torch.cuda.synchronize()

    seconds = median_seconds(product)
    with fast_matrix_products():
        seconds = min(seconds, median_seconds(product))
    return 2 * size**3 / seconds


def copy_speed(megabytes: int = 256) -> float:
    """Bytes a second, read plus written, of copying a block larger than the caches."""
    source = torch.ones(megabytes << 20, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.numel() / median_seconds(lambda: target.copy_(source))


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
