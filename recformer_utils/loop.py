"""The training loop: epochs, checkpoints that survive a kill, early stopping, TensorBoard."""

import dataclasses
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

import pandas as pd
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from recformer_utils.optimization import (
    fast_matrix_products,
    make_optimizer,
    multiplies_bfloat16,
)
from recformer_utils.runs.checkpoints import (
    CheckpointError,
    load_training_state,
    save_atomically,
    save_training_state,
)
from recformer_utils.runs.config import TrainerConfig
from recformer_utils.runs.files import exclusive, says_where
from recformer_utils.runs.record import describe_run, read_record, write_record

Model = TypeVar("Model", bound=nn.Module)
HISTORY_COLUMNS = [
    "epoch", "train_loss", "validation_loss", "learning_rate", "HR@10", "NDCG@10", "seconds",
]  # fmt: skip
# What may differ between a run and the one that goes on with it.
NOT_PART_OF_THE_RUN = {
    "model_dir", "tensorboard_dir", "data_dir", "num_epochs", "patience", "device", "compile",
    "resume", "progress",
}  # fmt: skip


@dataclass
class Task(Generic[Model]):
    """What the loop needs to know of a model and its data.

    Attributes:
        model: on the device where it is trained.
        batches: the shuffled batches of an epoch (from 1), the same ones whenever it is asked.
        steps_per_epoch: how many there are.
        step: trains a model, compiled or not, on one batch and returns the loss before the step,
            float (), on the device.
        validate: takes the model; returns ``validation_loss``, ``HR@10`` and ``NDCG@10``.
        shape: settings beside TrainerConfig that decide the numbers of a run, flat; a checkpoint
            with other ones is refused.
    """

    model: Model
    batches: Callable[[int], Iterable[Any]]
    steps_per_epoch: int
    step: Callable[[nn.Module, Any, torch.optim.Optimizer], torch.Tensor]
    validate: Callable[[nn.Module], dict[str, float]]
    shape: dict[str, Any]


@dataclass
class TrainingResult(Generic[Model]):
    """What a training run leaves behind.

    Attributes:
        history: one row an epoch, from 1, with columns epoch, train_loss (mean over batches, while
            the weights still move), validation_loss, learning_rate, HR@10, NDCG@10, seconds.
        best_epoch: the epoch with the lowest validation loss (or highest NDCG@10: keep_best).
        model_file: its weights.
        model: the model (its average, if there is one) after the last epoch, on the device.
    """

    history: pd.DataFrame
    best_epoch: int
    model_file: Path
    model: Model


def fit(
    task: Task[Model],
    trainer: TrainerConfig,
    device: torch.device,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> TrainingResult[Model]:
    """Trains a task's model as the trainer's settings say; see `run_model_training`."""
    with exclusive(Path(trainer.model_dir), "a training"):
        return _fit(task, trainer, device, on_epoch)


def _fit(
    task: Task[Model],
    trainer: TrainerConfig,
    device: torch.device,
    on_epoch: Callable[[int, nn.Module], None] | None,
) -> TrainingResult[Model]:
    model, identity = task.model, _identity(task, trainer)
    optimizer, scheduler = make_optimizer(model, trainer, task.steps_per_epoch)
    average, state = None, model  # state: what a checkpoint holds
    if trainer.average_decay is not None:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(trainer.average_decay))
        state = nn.ModuleList([model, average])
    kept = model if average is None else average.module
    folder = Path(trainer.model_dir)
    checkpoint = folder / "checkpoint.pth"
    history: list[dict[str, float]] = []
    record = describe_run(trainer.seed, trainer.data_dir)
    if trainer.resume and checkpoint.exists():
        history = load_training_state(checkpoint, identity, state, optimizer, scheduler)
        _same_data(folder / "run.json", record, trainer)
        print(
            f"resuming after epoch {len(history)} (set trainer_config.resume to false to start anew)"
        )
    write_record(folder / "run.json", len(history), record)
    step_model = torch.compile(model) if trainer.compile else model
    with says_where(Path(trainer.tensorboard_dir)):
        writer = SummaryWriter(trainer.tensorboard_dir, purge_step=len(history) + 1, flush_secs=10)
    mixed_precision = trainer.mixed_precision and multiplies_bfloat16(device)
    if trainer.mixed_precision and not mixed_precision:
        print(f"this {device.type} has no instructions for bfloat16: training in float32")
    with writer, fast_matrix_products(not mixed_precision):
        for epoch in range(len(history) + 1, trainer.num_epochs + 1):
            if _out_of_patience(history, trainer):
                break
            row = {"epoch": epoch, "learning_rate": scheduler.get_last_lr()[0]}
            started = time.perf_counter()
            # One line an epoch: a second bar below the first garbles the output of a notebook.
            name = f"epoch {epoch}/{trainer.num_epochs}"
            with tqdm(total=task.steps_per_epoch, desc=name, disable=not trainer.progress) as bar:
                row["train_loss"] = _train_epoch(
                    task, step_model, optimizer, scheduler, average, trainer, device, epoch, bar
                )
                row["seconds"] = time.perf_counter() - started
                _refuse_broken_weights(model, epoch, trainer)
                row |= task.validate(kept)
                bar.set_postfix_str(
                    f"train {row['train_loss']:.3f}, validation {row['validation_loss']:.3f}"
                )
            history.append(row)
            # The checkpoint comes last: whatever a kill leaves out before it is done once more.
            if _best_epoch(history, trainer.keep_best) == epoch:
                save_atomically(kept.state_dict(), folder / "model.pth")
            with says_where(Path(trainer.tensorboard_dir)):
                _write_scalars(writer, row)
            if on_epoch is not None:
                on_epoch(epoch, kept)
            save_training_state(checkpoint, identity, state, optimizer, scheduler, history)
    return TrainingResult(
        history=pd.DataFrame(history, columns=HISTORY_COLUMNS),
        best_epoch=_best_epoch(history, trainer.keep_best),
        model_file=folder / "model.pth",
        model=kept,
    )


def epoch_seed(trainer: TrainerConfig, epoch: int) -> int:
    """The seed of one epoch's order and dropout, whatever was computed before it."""
    return trainer.seed * 100_003 + epoch


def _train_epoch(
    task: Task,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    average: AveragedModel | None,
    trainer: TrainerConfig,
    device: torch.device,
    epoch: int,
    bar: tqdm,
) -> float:
    """One pass over the training batches; the mean of their losses."""
    model.train()
    total = torch.zeros((), device=device)
    unseen: list[torch.Tensor] = []  # losses not looked at yet
    torch.manual_seed(epoch_seed(trainer, epoch))  # dropout, the same after a resume
    for step, batch in enumerate(task.batches(epoch), start=1):
        loss = task.step(model, batch, optimizer)
        total += loss
        unseen.append(loss)
        scheduler.step()
        if average is not None:
            average.update_parameters(model)
        if step % 100 == 0 or step == task.steps_per_epoch:  # seldom: it makes a GPU wait
            finite = torch.isfinite(torch.stack(unseen)).tolist()
            if not all(finite):
                _stop_at(step - len(finite) + finite.index(False) + 1, task, trainer, epoch)
            unseen = []
            bar.set_postfix_str(f"loss {total.item() / step:.3f}", refresh=False)
        bar.update()
    return total.item() / max(1, task.steps_per_epoch)


def _stop_at(step: int, task: Task, trainer: TrainerConfig, epoch: int) -> NoReturn:
    """Names the step whose loss was the first to be no finite number, and keeps its batch."""
    batch = next(islice(task.batches(epoch), step - 1, None))  # the same batches as in the epoch
    path = Path(trainer.model_dir) / "bad_batch.pth"
    save_atomically(batch._asdict() if hasattr(batch, "_asdict") else batch, path)
    raise FloatingPointError(
        f"the loss is not finite in epoch {epoch}, step {step} of {task.steps_per_epoch}. "
        f"Its batch is in {path}. Lower starting_learning_rate "
        f"({trainer.starting_learning_rate}) or set max_gradient_norm; {_kept(epoch)}"
    )


def _kept(epoch: int) -> str:
    if epoch == 1:
        return "this run has kept no weights yet"
    return f"the weights and the checkpoint of epoch {epoch - 1} are kept"


def _refuse_broken_weights(model: nn.Module, epoch: int, trainer: TrainerConfig) -> None:
    """The last step may have broken what no loss has seen; such weights are never stored."""
    broken = [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]
    if broken:
        raise FloatingPointError(
            f"the last step of epoch {epoch} left weights that are not finite: "
            f"{', '.join(broken[:3])}. Lower starting_learning_rate "
            f"({trainer.starting_learning_rate}) or set max_gradient_norm; {_kept(epoch)}"
        )


def _same_data(path: Path, record: dict[str, Any], trainer: TrainerConfig) -> None:
    """Refuses to go on with other data than the run was started with."""
    before = [start.get("data_sha256") for start in read_record(path)[-1:]]
    if before and before[0] and before[0] != record["data_sha256"]:
        raise CheckpointError(
            f"{path}: the run was started with other data than what {trainer.data_dir} holds now "
            f"(the SHA-256 differs). Restore the data, choose another model_dir, or set "
            f"trainer_config.resume to false to start anew"
        )


def _identity(task: Task, trainer: TrainerConfig) -> dict[str, Any]:
    """The settings that decide the numbers of a run, flat."""
    settings = dataclasses.asdict(trainer)
    return {
        **{key: value for key, value in settings.items() if key not in NOT_PART_OF_THE_RUN},
        # These schedules are stretched over all epochs, so their number decides every step.
        "num_epochs": None if trainer.schedule == "exponential" else trainer.num_epochs,
        **task.shape,
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
