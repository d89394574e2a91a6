"""Training: steps, the loop, checkpoints that survive a kill, TensorBoard."""

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from recformer_utils.checkpoints import (
    load_training_state,
    save_atomically,
    save_training_state,
)
from recformer_utils.configuration import (
    RunConfig,
    TrainerConfig,
    choose_device,
    get_dataset,
    get_model_config,
    load_config,
    parse_config,
)
from recformer_utils.evaluation import Metrics, evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    init_weights,
)
from recformer_utils.optimization import make_optimizer
from recformer_utils.sequences import MovieLensSequenceDataset

__all__ = [
    "TrainingResult",
    "choose_device",
    "get_dataset",
    "get_model_config",
    "load_config",
    "run_model_training",
    "train_step",
    "validation_metrics",
    "validation_step",
]

Penalty = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
HISTORY_COLUMNS = [
    "epoch", "train_loss", "validation_loss", "learning_rate", "HR@10", "NDCG@10", "seconds",
]  # fmt: skip
# What may differ between a run and the one that goes on with it.
NOT_PART_OF_THE_RUN = {
    "model_dir", "tensorboard_dir", "data_dir", "num_epochs", "patience", "device", "compile",
    "resume", "progress",
}  # fmt: skip


def train_step(
    movie_ids: torch.Tensor,
    user_ids: torch.Tensor,
    movie_targets: torch.Tensor,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    criterion: nn.Module,
    device: torch.device,
    mixed_precision: bool = False,
    penalty: Penalty | None = None,
    max_gradient_norm: float | None = None,
) -> torch.Tensor:
    """One step of gradient descent on one batch.

    Args:
        movie_ids: movie tokens, int (batch, window).
        user_ids: user tokens, int (batch,).
        movie_targets: movie tokens, int (batch,).
        model: changed in place.
        optimizer: holds the model's parameters.
        criterion: loss from logits (batch, vocab_size) and targets int64 (batch,).
        device: where the model is.
        mixed_precision: compute in bfloat16 where that is safe.
        penalty: added to the loss, from logits and movie tokens (batch, window).
        max_gradient_norm: a longer gradient, over all parameters, is cut to this length.

    Returns:
        The loss before the step, float (), detached. It stays on the device: asking for its value
        after every step would make the GPU wait.
    """
    movie_ids, user_ids, movie_targets = (
        tensor.to(device, non_blocking=True) for tensor in (movie_ids, user_ids, movie_targets)
    )
    optimizer.zero_grad(set_to_none=True)
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed_precision):
        logits = model(movie_ids, user_ids)  # (batch, vocab_size)
        loss = criterion(logits, movie_targets.long())
        if penalty is not None:
            loss = loss + penalty(logits, movie_ids)
    loss.backward()
    if max_gradient_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_gradient_norm)
    optimizer.step()
    return loss.detach()


def validation_step(
    movie_ids: torch.Tensor,
    user_ids: torch.Tensor,
    movie_targets: torch.Tensor,
    model: nn.Module,
    criterion: nn.Module,
    device: torch.device,
) -> torch.Tensor:
    """The loss on one batch, float (), nothing changed; arguments as in train_step."""
    movie_ids, user_ids, movie_targets = (
        tensor.to(device, non_blocking=True) for tensor in (movie_ids, user_ids, movie_targets)
    )
    with torch.no_grad():
        return criterion(model(movie_ids, user_ids), movie_targets.long())


def validation_metrics(
    model: nn.Module, dataset: MovieLensSequenceDataset, device: torch.device, k: int = 10
) -> Metrics:
    """Ranking metrics at k on a data set's windows, everything the user has seen left out.

    Windows whose target is the end token are not counted: it is no movie.
    """
    model.eval()
    windows = dataset.windows
    rows = torch.nonzero(windows.next_movie_tokens != dataset.metadata.end_token).squeeze(1)

    def score(batch: torch.Tensor) -> torch.Tensor:
        chosen = rows[batch]
        with torch.no_grad():
            logits = model(
                windows.movie_tokens[chosen].to(device), windows.user_tokens[chosen].to(device)
            )
        return logits.float().cpu()

    ranks = evaluate_ranking(
        score,
        dataset.sequences,
        user_tokens=windows.user_tokens[rows].numpy(),
        ends=dataset.target_positions[rows.numpy()],
        targets=windows.next_movie_tokens[rows].numpy(),
    )
    return metrics_from_ranks(ranks, k)


@dataclass
class TrainingResult:
    """What a training run leaves behind.

    Attributes:
        history: one row an epoch, from 1, with columns epoch, train_loss (mean over batches, while
            the weights still move), validation_loss, learning_rate, HR@10, NDCG@10, seconds.
        best_epoch: the epoch with the lowest validation loss (or highest NDCG@10: keep_best).
        model_file: its weights.
        model: the model as it was after the last epoch, on the device.
    """

    history: pd.DataFrame
    best_epoch: int
    model_file: Path
    model: MovieLensTransformer


def run_model_training(
    config: dict[str, Any],
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    penalty: Penalty | None = None,
) -> TrainingResult:
    """Trains a model as the configuration says, and keeps the best weights on validation.

    After every epoch, model_dir holds ``model.pth`` (the best weights so far, by ``keep_best``)
    and ``checkpoint.pth`` (everything needed to go on). A run that was killed and is started
    again goes on after its last whole epoch and, on a CPU, ends with the very same numbers.

    Args:
        config: as `load_config` returns it.
        on_epoch: called with the number of each finished epoch and the model.
        penalty: added to the training loss, as in `train_step`; no part of the configuration, so
            give a run with another penalty a folder of its own.

    Raises:
        ConfigError: the configuration is not understood.
        CheckpointError: there is a checkpoint of a run with another configuration.
        FloatingPointError: the loss became infinite or not a number.
    """
    run = parse_config(config)
    trainer = run.trainer_config
    device = choose_device(trainer.device)
    training, validation = get_dataset(run), get_dataset(run, is_validation=True)
    torch.manual_seed(trainer.seed)
    model = MovieLensTransformer(get_model_config(run, training))
    init_weights(model)
    model.to(device)
    steps_per_epoch = math.ceil(len(training) / trainer.batch_size)
    optimizer, scheduler = make_optimizer(model, trainer, steps_per_epoch)
    # The end token says that the log stops, which is no taste to learn.
    criterion = nn.CrossEntropyLoss(ignore_index=training.metadata.end_token)

    folder = Path(trainer.model_dir)
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pth"
    history: list[dict[str, float]] = []
    if trainer.resume and checkpoint.exists():
        history = load_training_state(checkpoint, _identity(run), model, optimizer, scheduler)
        print(
            f"resuming after epoch {len(history)} (set trainer_config.resume to false to start anew)"
        )
    step_model = torch.compile(model) if trainer.compile else model
    writer = SummaryWriter(trainer.tensorboard_dir, purge_step=len(history) + 1, flush_secs=10)
    with writer:
        for epoch in range(len(history) + 1, trainer.num_epochs + 1):
            if _out_of_patience(history, trainer):
                break
            row = {"epoch": epoch, "learning_rate": scheduler.get_last_lr()[0]}
            started = time.perf_counter()
            loader = _loader(training, run, device, epoch)
            # One line an epoch: a second bar below the first garbles the output of a notebook.
            name = f"epoch {epoch}/{trainer.num_epochs}"
            with tqdm(total=len(loader), desc=name, disable=not trainer.progress) as bar:
                row["train_loss"] = _train_epoch(
                    step_model,
                    loader,
                    optimizer,
                    scheduler,
                    criterion,
                    penalty,
                    device,
                    run,
                    epoch,
                    bar,
                )
                row["seconds"] = time.perf_counter() - started
                row["validation_loss"] = _validate(step_model, validation, criterion, device, run)
                metrics = validation_metrics(model, validation, device)
                row |= {"HR@10": metrics.hit_rate, "NDCG@10": metrics.ndcg}
                bar.set_postfix_str(
                    f"train {row['train_loss']:.3f}, validation {row['validation_loss']:.3f}"
                )
            history.append(row)
            if _best_epoch(history, trainer.keep_best) == epoch:
                save_atomically(model.state_dict(), folder / "model.pth")
            save_training_state(checkpoint, _identity(run), model, optimizer, scheduler, history)
            _write_scalars(writer, row)
            if on_epoch is not None:
                on_epoch(epoch, model)
    return TrainingResult(
        history=pd.DataFrame(history, columns=HISTORY_COLUMNS),
        best_epoch=_best_epoch(history, trainer.keep_best),
        model_file=folder / "model.pth",
        model=model,
    )


def _epoch_seed(run: RunConfig, epoch: int) -> int:
    """The seed of one epoch's order and dropout, whatever was computed before it."""
    return run.trainer_config.seed * 100_003 + epoch


def _loader(
    dataset: MovieLensSequenceDataset, run: RunConfig, device: torch.device, epoch: int
) -> DataLoader:
    """Shuffled batches; epoch n draws the same order whether or not a run was resumed."""
    return DataLoader(
        dataset,
        batch_size=run.trainer_config.batch_size,
        shuffle=True,
        generator=torch.Generator().manual_seed(_epoch_seed(run, epoch)),
        pin_memory=device.type == "cuda",
    )


def _train_epoch(
    model: nn.Module,
    loader: DataLoader,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    criterion: nn.Module,
    penalty: Penalty | None,
    device: torch.device,
    run: RunConfig,
    epoch: int,
    bar: tqdm,
) -> float:
    """One pass over the training windows; the mean of the batches' losses."""
    trainer = run.trainer_config
    model.train()
    total = torch.zeros((), device=device)
    torch.manual_seed(_epoch_seed(run, epoch))  # dropout, the same after a resume
    for step, batch in enumerate(loader, start=1):
        total += train_step(
            batch.movie_tokens,
            batch.user_tokens,
            batch.next_movie_tokens,
            model,
            optimizer,
            criterion,
            device,
            trainer.mixed_precision,
            penalty,
            trainer.max_gradient_norm,
        )
        scheduler.step()
        if step % 100 == 0 or step == len(loader):  # seldom: reading the loss makes a GPU wait
            mean = total.item() / step
            if not math.isfinite(mean):
                since = (step - 1) // 100 * 100 + 1
                raise FloatingPointError(
                    f"the loss is {mean} in epoch {epoch}, step {since} to {step}: lower "
                    f"starting_learning_rate ({trainer.starting_learning_rate}); the weights "
                    f"up to epoch {epoch - 1} are kept"
                )
            bar.set_postfix_str(f"loss {mean:.3f}", refresh=False)
        bar.update()
    return total.item() / max(1, len(loader))


def _validate(
    model: nn.Module,
    dataset: MovieLensSequenceDataset,
    criterion: nn.Module,
    device: torch.device,
    run: RunConfig,
) -> float:
    """Mean loss over all validation targets that are movies."""
    model.eval()
    end = dataset.metadata.end_token
    total, count = torch.zeros((), device=device), 0
    for batch in DataLoader(dataset, batch_size=run.trainer_config.batch_size):
        targets = int((batch.next_movie_tokens != end).sum())
        if targets:
            loss = validation_step(
                batch.movie_tokens, batch.user_tokens, batch.next_movie_tokens,
                model, criterion, device,
            )  # fmt: skip
            total += loss * targets
            count += targets
    return total.item() / max(1, count)


def _identity(run: RunConfig) -> dict[str, Any]:
    """The settings that decide the numbers of a run, flat."""
    trainer = dataclasses.asdict(run.trainer_config)
    return {
        **{key: value for key, value in trainer.items() if key not in NOT_PART_OF_THE_RUN},
        # These schedules are stretched over all epochs, so their number decides every step.
        "num_epochs": None
        if run.trainer_config.schedule == "exponential"
        else trainer["num_epochs"],
        **dataclasses.asdict(run.movie_transformer_config),
        "user_embedding_dimension": run.user_embedding_dimension,
        "interaction_mlp_hidden_sizes": run.interaction_mlp_hidden_sizes,
    }


def _best_epoch(history: list[dict[str, float]], keep_best: str) -> int:
    """The best epoch by loss or NDCG@10, the earlier one of two; 0 before the first."""
    sign = -1 if keep_best == "NDCG@10" else 1
    return int(min(history, key=lambda row: sign * row[keep_best])["epoch"]) if history else 0


def _out_of_patience(history: list[dict[str, float]], trainer: TrainerConfig) -> bool:
    """Whether there has been no better epoch for so many epochs."""
    best = _best_epoch(history, trainer.keep_best)
    return trainer.patience is not None and len(history) - best >= trainer.patience


def _write_scalars(writer: SummaryWriter, row: dict[str, float]) -> None:
    """One epoch for TensorBoard, under the names that the notebooks read back."""
    names = {
        "train_loss": "loss/train", "validation_loss": "loss/validation",
        "learning_rate": "learning_rate", "HR@10": "validation/HR@10",
        "NDCG@10": "validation/NDCG@10",
    }  # fmt: skip
    for key, name in names.items():
        writer.add_scalar(name, row[key], row["epoch"])
    writer.flush()
