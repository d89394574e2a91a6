"""The device to compute on, what it multiplies fast, and in which precision."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def fast_matrix_products(enabled: bool = True) -> Iterator[None]:
    """Inside, float32 matrix products on a CPU go to oneDNN, which knows AVX-512 on every x86.

    MKL, PyTorch's default, does not. The switch is named after bfloat16, which oneDNN would use on
    processors with AMX: there it stays off. Mixed precision is slower with it.
    """
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    if not enabled or capabilities.get("amx_bf16", True):
        yield
        return
    matmul = torch.backends.mkldnn.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        matmul.fp32_precision = before


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions for bfloat16; without, products are a slow plain loop."""
    if device.type == "cpu":
        mkldnn = torch.backends.mkldnn.is_available()
        return mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return True


def choose_device(name: str = "auto") -> torch.device:
    """The device to compute on: CUDA, else Apple's MPS, else the CPU; ValueError if it is not here."""
    there = ["cuda"] * torch.cuda.is_available() + ["mps"] * torch.backends.mps.is_available()
    there.append("cpu")
    name = there[0] if name == "auto" else name
    if name.partition(":")[0] not in there:
        raise ValueError(f"device {name!r} is not here; there is {' and '.join(there)}")
    return torch.device(name)


def use_bfloat16(wanted: bool, device: torch.device) -> bool:
    """Whether to compute in mixed precision; says so where it is wanted and not possible."""
    if wanted and not multiplies_bfloat16(device):
        print(f"this {device.type} has no instructions for bfloat16: training in float32")
    return wanted and multiplies_bfloat16(device)
