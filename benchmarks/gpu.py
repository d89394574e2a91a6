"""The post's model on a GPU: eager, compiled, CUDA graphs; nothing waits inside an epoch.

Not measured yet: no GPU was at hand. `python -m benchmarks.bench --device cuda` fills the rows.
"""

import time
from typing import Any

import torch

from benchmarks.limits import floating_point_operations, matrix_speed
from benchmarks.table import row
from benchmarks.training_ways import BATCH, optimizer_of, window_epoch_plainly, window_step
from benchmarks.ways import Data
from recformer_utils.training import gradient_step

MODES = {"eager": None, "compiled": "default", "CUDA graphs": "reduce-overhead"}
EPOCHS_OF_THE_POST = 1_000


def resident_steps_per_second(
    data: Data, device: torch.device, mode: str | None, steps: int, mixed: bool = True
) -> float:
    """Steps a second with all windows on the device, shuffled there; the loss is read at the end.

    Args:
        data: its windows and its model, which moves to the device.
        device: where to train.
        mode: torch.compile's mode; None for eager.
        steps: how many steps are timed, after ten that are not (compilation is among them).
        mixed: compute in bfloat16 where that is safe.
    """
    model, end = data.model.to(device).train(), data.metadata.end_token
    dataset = data.dataset.windows
    movies, users, targets = (
        tensor.to(device)
        for tensor in (dataset.movie_tokens, dataset.user_tokens, dataset.next_movie_tokens.long())
    )
    optimizer = optimizer_of(model, fused=True)

    def loss_of(rows: torch.Tensor) -> torch.Tensor:
        return model.loss(movies[rows], users[rows], targets[rows], end)

    loss = loss_of if mode is None else torch.compile(loss_of, mode=mode)
    size = min(BATCH, len(targets))
    order = torch.randperm(len(targets), device=device)
    rows = [part for part in order.split(size) if len(part) == size]

    def train(count: int) -> torch.Tensor:
        total = torch.zeros((), device=device)
        for number in range(count):
            batch = rows[number % len(rows)]
            total += gradient_step(lambda b=batch: loss(b), model, optimizer, device, mixed)
        return total

    train(10).item()
    started = time.perf_counter()
    train(steps).item()  # the only wait
    return steps / (time.perf_counter() - started)


def gpu_rows(
    data: Data, device: torch.device, repetitions: int, steps: int = 2_000
) -> list[dict[str, Any]]:
    """Steps a second of each mode, beside the post's loop on the same device."""
    batches = -(-len(data.dataset) // BATCH)
    model = data.model
    flops = floating_point_operations(window_step(data))
    limit = matrix_speed(torch.bfloat16, device.type) / flops
    plain = [batches / window_epoch_plainly(data, 200, device) for _ in range(repetitions)]
    rows = []
    for name, mode in MODES.items():
        ours = [resident_steps_per_second(data, device, mode, steps) for _ in range(repetitions)]
        hours = EPOCHS_OF_THE_POST * batches / sorted(ours)[len(ours) // 2] / 3600
        note = f"{EPOCHS_OF_THE_POST:,} epochs: {hours:.1f} h"
        rows.append(row(_name(name), "steps/s", ours, plain, limit=limit, note=note))
    model.cpu()
    return rows


def _name(mode: str) -> str:
    return f"training steps on a GPU, the post's model, {mode}"


def no_gpu_rows() -> list[dict[str, Any]]:
    """The rows that a GPU would fill, all null."""
    empty = dict.fromkeys(row("", "s", [1.0]))
    return [
        {**empty, "name": _name(mode), "unit": "steps/s", "repetitions": 0, "device": "cuda",
         "note": "no GPU was at hand"}
        for mode in MODES
    ]  # fmt: skip
