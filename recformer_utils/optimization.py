"""What shapes a training step besides the loss: optimizer, learning-rate schedule, penalties."""

import contextlib
import math
from collections.abc import Callable, Iterator

import torch
from torch import nn

from recformer_utils.runs.config import TrainerConfig

ONE_CYCLE_RISE = 0.3  # share of the steps on the way up
ONE_CYCLE_START = 1 / 25  # of the peak, at the first step


def learning_rate_factor(trainer: TrainerConfig, step: int, steps_per_epoch: int) -> float:
    """What the starting learning rate is multiplied by at a step.

    Args:
        trainer: ``schedule`` decides. ``"exponential"`` falls by ``learning_rate_decay`` after each
            epoch (1.0: constant); ``"cosine"`` rises in a line over ``warmup_fraction`` of all
            steps and falls along half a cosine to 0; ``"one-cycle"`` rises and falls along cosines.
        step: steps done so far, from 0.
        steps_per_epoch: batches an epoch.

    Returns:
        A factor in [0, 1].

    Source: cosine, Loshchilov and Hutter, SGDR, 2017; warm-up, Goyal et al., Accurate, Large
    Minibatch SGD, 2017; one-cycle, Smith and Topin, Super-Convergence, 2018.
    """
    if trainer.schedule == "exponential":
        return trainer.learning_rate_decay ** (step // steps_per_epoch)
    steps = trainer.num_epochs * steps_per_epoch
    if trainer.schedule == "one-cycle":
        rise = ONE_CYCLE_RISE * steps
        if step < rise:
            return 1 - (1 - ONE_CYCLE_START) * (1 + math.cos(math.pi * step / rise)) / 2
    else:
        rise = trainer.warmup_fraction * steps
        if step < rise:
            return (step + 1) / (rise + 1)
    done = min(1.0, (step - rise) / max(1.0, steps - rise))
    return (1 + math.cos(math.pi * done)) / 2


def make_optimizer(
    model: nn.Module, trainer: TrainerConfig, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """Adam and its schedule, to be stepped after each batch.

    Weight decay pulls weights towards zero beside the gradient, not through it (AdamW: Loshchilov
    and Hutter, Decoupled Weight Decay Regularization, 2019); biases and layer norms are spared.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [
        {"params": matrices, "weight_decay": trainer.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    betas = (0.9, trainer.adam_beta2)
    optimizer = torch.optim.AdamW(
        groups, lr=trainer.starting_learning_rate, betas=betas, fused=True
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(trainer, step, steps_per_epoch)
    )
    return optimizer, scheduler


@contextlib.contextmanager
def fast_matrix_products(enabled: bool = True) -> Iterator[None]:
    """Inside, float32 matrix products on a CPU go to oneDNN, which knows AVX-512 on every x86.

    PyTorch's default, MKL, uses half the width on processors that are not Intel's. The switch is
    named after bfloat16, which oneDNN uses on processors with AMX only: there, and where PyTorch
    cannot tell, it stays off, so that products are float32 everywhere. Not for mixed precision,
    whose float32 attention it slows down (benchmarks/README.md). A GPU is not concerned.
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
    """Whether the device has instructions for matrix products in bfloat16.

    A CPU without AVX-512, as in most laptops, has none: PyTorch then takes a plain loop, fifty times
    slower than float32 (benchmarks/README.md). So have GPUs before 2020.
    """
    if device.type == "cpu":
        mkldnn = torch.backends.mkldnn.is_available()
        return mkldnn and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return True


def gradient_step(
    loss: Callable[[], torch.Tensor],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    device: torch.device,
    mixed_precision: bool = False,
    max_gradient_norm: float | None = None,
) -> torch.Tensor:
    """Computes a loss and steps against its gradient; the loss before the step, float (), detached.

    Args:
        loss: computes the loss, float (), when called; a function, so that it runs in autocast.
        model: changed in place.
        optimizer: holds the model's parameters.
        device: where the model is.
        mixed_precision: compute in bfloat16 where that is safe; on a device that has no instructions
            for it, in float32.
        max_gradient_norm: a longer gradient, over all parameters, is cut to this length.
    """
    optimizer.zero_grad(set_to_none=True)
    mixed_precision = mixed_precision and multiplies_bfloat16(device)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed_precision):
        value = loss()
    value.backward()
    if max_gradient_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
    optimizer.step()
    return value.detach()
