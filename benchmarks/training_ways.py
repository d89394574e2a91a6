"""Training, our way and the plain way: the post's model on windows, the sequence model on histories."""

import itertools
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset

from benchmarks.ways import Data
from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceBatch,
    SequenceModel,
    SequenceModelConfig,
    training_batches,
)
from recformer_utils.training import fast_matrix_products, gradient_step
from recformer_utils.transformer import TransformerConfig

BATCH, SEQUENCE_BATCH, LENGTH, WIDTH, BLOCKS, HEADS = 512, 128, 200, 64, 2, 2
CPU = torch.device("cpu")


class Items(Dataset):
    """Tensors whose rows are handed out one at a time, for DataLoader to glue."""

    def __init__(self, *tensors: torch.Tensor):
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


def optimizer_of(model: nn.Module, fused: bool) -> torch.optim.Optimizer:
    """AdamW as make_optimizer builds it; unfused, PyTorch's default on a CPU."""
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=fused)


# ---------------------------------------------------------------- the post's model


def epoch_seconds(
    loader: Callable[[], DataLoader], step: Callable[[object], object], steps: int
) -> float:
    """Seconds of a whole epoch: its start as measured, its steps extrapolated from the first ones."""
    started = time.perf_counter()
    batches = loader()
    iterator = iter(batches)
    first = next(iterator)
    begun = time.perf_counter()
    count = 0
    for batch in itertools.chain([first], itertools.islice(iterator, steps - 1)):
        step(batch)
        count += 1
    return begun - started + (time.perf_counter() - begun) / count * len(batches)


def window_epoch(data: Data, steps: int) -> float:
    """As run_model_training does it: whole batches by index, the loss without its logits."""
    model, end = data.model.train(), data.metadata.end_token
    optimizer = optimizer_of(model, fused=True)

    def step(batch) -> None:
        gradient_step(
            lambda: model.loss(
                batch.movie_tokens, batch.user_tokens, batch.next_movie_tokens.long(), end
            ),
            model, optimizer, CPU,
        )  # fmt: skip

    with fast_matrix_products():
        return epoch_seconds(lambda: DataLoader(data.dataset, BATCH, shuffle=True), step, steps)


def window_epoch_plainly(data: Data, steps: int, device: torch.device = CPU) -> float:
    """The post's loop: items glued by DataLoader, all logits, the loss asked for after each step."""
    model, items = data.model.to(device).train(), Items(*data.dataset.windows)
    optimizer, criterion = optimizer_of(model, fused=False), nn.CrossEntropyLoss()

    def step(batch) -> None:
        movies, _, users, targets, _ = (tensor.to(device) for tensor in batch)
        optimizer.zero_grad()
        output = model(movies, users)
        loss = criterion(output.view(-1, output.size(-1)), targets.view(-1).long())
        loss.backward()
        optimizer.step()
        loss.item()

    return epoch_seconds(lambda: DataLoader(items, BATCH, shuffle=True), step, steps)


def window_step(data: Data) -> Callable[[], object]:
    """One step of ours on one batch, to be counted."""
    model, batch = data.model.train(), data.dataset[torch.arange(min(BATCH, len(data.dataset)))]
    optimizer = optimizer_of(model, fused=True)
    return lambda: gradient_step(
        lambda: model.loss(
            batch.movie_tokens, batch.user_tokens, batch.next_movie_tokens.long(),
            data.metadata.end_token,
        ),
        model, optimizer, CPU,
    )  # fmt: skip


# ---------------------------------------------------------------- the sequence model


def sequence_model(data: Data) -> SequenceModel:
    """As the peers' SASRec: 64 wide, 2 blocks, 2 heads, length 200, dropout 0.2."""
    torch.manual_seed(0)
    shape = TransformerConfig(
        data.metadata.vocab_size, LENGTH, WIDTH, BLOCKS, HEADS,
        dropout_embeddings=0.2, dropout_attention=0.0, dropout_residual=0.2,
    )  # fmt: skip
    return SequenceModel(SequenceModelConfig(shape)).train()


def train_lengths(data: Data) -> np.ndarray:
    """How many movies of each user are training, int64 (num_users,)."""
    lengths = np.zeros(data.sequences.num_users, dtype=np.int64)
    lengths[data.split.user_tokens] = data.split.train_lengths
    return lengths


def epoch_batches(data: Data, seed: int = 0) -> list[SequenceBatch]:
    """The batches of one epoch."""
    return training_batches(data.sequences, train_lengths(data), LENGTH, SEQUENCE_BATCH, seed)


def sequence_speed(data: Data, model: SequenceModel, steps: int, seed: int, mixed: bool) -> float:
    """Real positions a second over the first batches of an epoch, their making included."""
    optimizer = optimizer_of(model, fused=True)
    started, positions = time.perf_counter(), 0
    batches = epoch_batches(data, seed)
    making = (time.perf_counter() - started) / len(batches)
    steps = min(steps, len(batches))
    started = time.perf_counter()
    with fast_matrix_products(not mixed):
        for batch in batches[:steps]:
            gradient_step(lambda batch=batch: model.loss(batch), model, optimizer, CPU, mixed)
            positions += int((batch.targets != NO_TARGET).sum())
    return positions / (time.perf_counter() - started + making * steps)


def sequence_speed_plainly(data: Data, model: SequenceModel, steps: int, seed: int) -> float:
    """The same with histories of any length padded to 200, glued by DataLoader, all logits kept."""
    padded = Items(*_padded(data, seed))
    optimizer = optimizer_of(model, fused=False)
    generator = torch.Generator().manual_seed(seed)
    loader: Iterator = iter(DataLoader(padded, SEQUENCE_BATCH, shuffle=True, generator=generator))
    started, positions = time.perf_counter(), 0
    for tokens, lengths, targets in itertools.islice(loader, steps):
        unread = dict.fromkeys(SequenceBatch._fields, tokens)
        batch = SequenceBatch(**unread | {"lengths": lengths, "targets": targets})
        optimizer.zero_grad()
        logits = model.scores(model(batch))  # (batch, 200, movies)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET)
        loss.backward()
        optimizer.step()
        loss.item()
        positions += int((targets != NO_TARGET).sum())
    return positions / (time.perf_counter() - started)


def _padded(data: Data, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All pieces of an epoch: tokens and targets int64 (pieces, 200), lengths int64 (pieces,)."""
    batches = epoch_batches(data, seed)

    def pad(tensor: torch.Tensor, value: int) -> torch.Tensor:
        return F.pad(tensor, (0, LENGTH - tensor.shape[1]), value=value)

    return (
        torch.cat([pad(batch.movie_tokens, 0) for batch in batches]),
        torch.cat([batch.lengths for batch in batches]),
        torch.cat([pad(batch.targets, NO_TARGET) for batch in batches]),
    )


def sequence_step(data: Data, model: SequenceModel) -> tuple[Callable[[], object], int]:
    """One step of ours on a batch of middling length, to be counted, and its real positions."""
    batches = epoch_batches(data)
    batch = sorted(batches, key=lambda one: one.movie_tokens.numel())[len(batches) // 2]
    optimizer = optimizer_of(model, fused=True)
    step = lambda: gradient_step(lambda: model.loss(batch), model, optimizer, CPU)  # noqa: E731
    return step, int((batch.targets != NO_TARGET).sum())
