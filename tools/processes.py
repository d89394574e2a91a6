"""What the scripts that train in several processes share: PyTorch's own engines, configured.

Source: Li et al., PyTorch Distributed: Experiences on Accelerating Data Parallel Training, 2020.
"""

import dataclasses
import os
from typing import NamedTuple

import numpy as np
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from recformer_utils.sequence_model import NO_TARGET, SequenceBatch, next_movie_loss
from recformer_utils.training import Task, TrainerConfig, epoch_seed, gradient_step


def join(backend: str = "gloo") -> tuple[int, int, torch.device]:
    """Joins the processes that torchrun started; alone without torchrun.

    Returns the number of this process from 0, how many there are, and the device to compute on: the
    CPU with "gloo", one GPU a process with "nccl".
    """
    device = torch.device("cpu")
    if backend == "nccl":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        backend = "cpu:gloo,cuda:nccl"  # what is on the CPU, such as a checkpoint, goes by gloo
    rank, processes = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    store = dist.HashStore()
    if "RANK" in os.environ:
        # torchrun's store outlives a restart, with the addresses of processes that have ended
        # (PyTorch 2.13: "Connection refused"). With a prefix each start has a store of its own.
        port, start = int(os.environ["MASTER_PORT"]), os.environ["TORCHELASTIC_RESTART_COUNT"]
        store = dist.TCPStore(os.environ["MASTER_ADDR"], port, is_master=False)
        store = dist.PrefixStore(f"start-{start}", store)
    dist.init_process_group(backend, store=store, rank=rank, world_size=processes)
    return rank, processes, device


class Loss(nn.Module):
    """The loss as a forward pass: what DistributedDataParallel and fully_shard watch."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, batch: SequenceBatch) -> torch.Tensor:
        return next_movie_loss(self.model, batch)


class Share(NamedTuple):
    """What a process takes of one step."""

    batch: SequenceBatch
    weight: float  # own positions with a target * processes / those of all


def in_step(own: list[SequenceBatch], steps: int, seed: int) -> list[SequenceBatch | None]:
    """A process' own batches in an order in which all processes meet similar lengths at a time.

    `steps` is the largest number of batches that any process has; None fills up the others.
    """
    ranked = sorted(own, key=lambda batch: batch.movie_tokens.shape[1])  # by length
    ranked = [None] * (steps - len(own)) + ranked
    return [ranked[i] for i in np.random.default_rng(seed).permutation(steps)]


def share_task(task: Task, trainer: TrainerConfig, num_questions: int) -> Task:
    """The task of one of several processes, each with users of its own, between `join` and `fit`.

    Losses and metrics are those over the users of all processes. A checkpoint fits the same number
    of processes with the same users each.

    Args:
        task: of `sequence_task`, for the users of this process; its batches are this process' part
            of each step.
        trainer: as given to `fit`; ValueError if it asks for torch.compile.
        num_questions: how many of this process' users are in the validation.
    """
    if trainer.compile:
        raise ValueError("several processes do not compile: set trainer_config.compile to false")
    rank, processes = dist.get_rank(), dist.get_world_size()
    device = next(task.model.parameters()).device
    devices = [device] if device.type == "cuda" else None
    parallel = DistributedDataParallel(Loss(task.model), device_ids=devices)

    def batches(epoch: int) -> list[Share]:
        own = task.batches(epoch)
        steps = torch.tensor(len(own))
        dist.all_reduce(steps, dist.ReduceOp.MAX)
        order = in_step(own, steps.item(), epoch_seed(trainer, epoch))
        learned = [0 if batch is None else (batch.targets != NO_TARGET).sum() for batch in order]
        counts = torch.tensor(learned)
        dist.all_reduce(total := counts.clone())
        weights = (processes * counts / total).tolist()
        torch.manual_seed(torch.initial_seed() + rank)  # other dropout in each process
        return [Share(b or own[0], weight) for b, weight in zip(order, weights, strict=True)]

    def step(_: nn.Module, share: Share, optimizer, mixed: bool) -> torch.Tensor:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed):
            loss = share.weight * parallel(share.batch.to(device))
        loss = gradient_step(loss, parallel, optimizer, trainer.max_gradient_norm)
        dist.all_reduce(loss)
        return loss / processes

    def validate(model: nn.Module) -> dict[str, float]:
        means = task.validate(model) if num_questions else {}
        names = ("validation_loss", "HR@10", "NDCG@10")
        parts = [num_questions * means.get(name, 0.0) for name in names]
        sums = torch.tensor([*parts, num_questions], dtype=torch.float64)
        dist.all_reduce(sums)
        return dict(zip(names, (sums[:-1] / sums[-1]).tolist(), strict=True))

    data = [None] * processes
    dist.all_gather_object(data, task.shape["data"])
    return dataclasses.replace(
        task, batches=batches, steps_per_epoch=len(batches(1)), step=step, validate=validate,
        shape=task.shape | {"data": " ".join(data)},
    )  # fmt: skip


def share_of(batch: SequenceBatch, rank: int, processes: int) -> tuple[SequenceBatch, float]:
    """Every `processes`-th row of a batch, starting at `rank`, and the weight of its mean loss.

    With the weight, own positions with a target * processes / those of all, the average over the
    processes is the mean over all positions. A process without a row gets one with weight 0.
    """
    rows = torch.arange(len(batch.lengths))[rank::processes]
    counts = (batch.targets != NO_TARGET).sum(dim=1)  # (batch,)
    weight = processes * counts[rows].sum().item() / counts.sum().item()
    rows = rows if len(rows) else torch.zeros(1, dtype=torch.int64)
    return SequenceBatch(*(tensor[rows] for tensor in batch)), weight
