"""The folder of a training run: what it resumes from, and what each epoch leaves there."""

import dataclasses
import itertools
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import pandas as pd
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from recformer_utils.runs.checkpoints import (
    CheckpointError,
    difference,
    first_lines,
    load_checkpoint,
    load_optimizer_state,
    save_atomically,
)
from recformer_utils.runs.config import TrainerConfig
from recformer_utils.runs.files import exclusive, naming_path
from recformer_utils.runs.record import data_hashes, describe_run, write_record

# What may differ between a run and the one that goes on with it.
NOT_PART_OF_THE_RUN = {
    "model_dir", "tensorboard_dir", "data_dir", "num_epochs", "patience", "device", "compile",
    "resume", "progress",
}  # fmt: skip
CURVES = {  # column of the history -> name in TensorBoard
    "train_loss": "loss/train", "validation_loss": "loss/validation",
    "learning_rate": "learning_rate", "HR@10": "validation/HR@10", "NDCG@10": "validation/NDCG@10",
}  # fmt: skip


@dataclass
class TrainingResult:
    """What a training run leaves behind."""

    history: pd.DataFrame  # one row an epoch; its train_loss is taken while the weights move
    best_epoch: int  # with the lowest validation loss (or the highest NDCG@10: keep_best)
    model_file: Path  # its weights
    model: nn.Module  # after the last epoch, on the device


class RunFolder:
    """Keeps a run: entered, it resumes; `keep` stores an epoch; left, it is free for others.

    Raises CheckpointError for a checkpoint of other settings or data; InUseError, NotWrittenError.
    """

    def __init__(self, trainer: TrainerConfig, shape: dict[str, Any], model, optimizer, scheduler):
        self.trainer = trainer
        self.folder = Path(trainer.model_dir)
        self.model_file = self.folder / "model.pth"
        self.checkpoint = self.folder / "checkpoint.pth"
        self.parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
        self.history: list[dict[str, float]] = []
        settings = dataclasses.asdict(trainer)
        self.identity = {
            **{key: value for key, value in settings.items() if key not in NOT_PART_OF_THE_RUN},
            # These schedules are stretched over all epochs, so their number decides every step.
            "num_epochs": None if trainer.schedule == "exponential" else trainer.num_epochs,
            "data_sha256": data_hashes(trainer.data_dir) if trainer.data_dir else None,
            **shape,
        }

    def __enter__(self) -> "RunFolder":
        with ExitStack() as stack:
            stack.enter_context(exclusive(self.folder, "a training"))
            record = describe_run(self.trainer.seed, self.trainer.data_dir)
            if self.trainer.resume and self.checkpoint.exists():
                self._resume()
                print(f"resuming after epoch {len(self.history)} (resume: false starts again)")
            else:  # what an earlier run left here must not pass for this one's, even after a kill
                self.checkpoint.unlink(missing_ok=True)
                self.model_file.unlink(missing_ok=True)
            write_record(self.folder / "run.json", len(self.history), record)
            curves = self.trainer.tensorboard_dir
            with naming_path(Path(curves)):
                self.writer = SummaryWriter(curves, purge_step=len(self.history) + 1, flush_secs=10)
            stack.callback(self._close_curves)
            self.open = stack.pop_all()
        return self

    def __exit__(self, *exception: Any) -> None:
        self.open.close()

    def _close_curves(self) -> None:
        with naming_path(Path(self.trainer.tensorboard_dir)):  # it writes what is left
            self.writer.close()

    @property
    def best_epoch(self) -> int:
        """The best epoch by ``keep_best``, the earlier one of two; 0 before the first."""
        by, sign = self.trainer.keep_best, -1 if self.trainer.keep_best == "NDCG@10" else 1
        best = min(self.history, key=lambda row: sign * row[by], default={"epoch": 0})
        return int(best["epoch"])

    @property
    def out_of_patience(self) -> bool:
        """Whether there has been no better epoch for ``patience`` epochs."""
        patience = self.trainer.patience
        return patience is not None and len(self.history) - self.best_epoch >= patience

    def keep(self, row: dict[str, float]) -> None:
        """Stores an epoch: its weights if they are the best so far, and its point of the curves."""
        self.history.append(row)
        if self.best_epoch == row["epoch"]:
            save_atomically(self.parts["model"].state_dict(), self.model_file)
        with naming_path(Path(self.trainer.tensorboard_dir)):
            for column, name in CURVES.items():
                self.writer.add_scalar(name, row[column], row["epoch"])
            self.writer.flush()

    def result(self) -> TrainingResult:
        """What the run leaves behind."""
        history, model = pd.DataFrame(self.history), self.parts["model"]
        return TrainingResult(history, self.best_epoch, self.model_file, model)

    def save_checkpoint(self) -> None:
        """Comes last in an epoch: whatever a kill leaves out before it is done once more."""
        state = {name: part.state_dict() for name, part in self.parts.items()}
        state |= {"config": self.identity, "history": self.history}
        save_atomically(state, self.checkpoint)

    def _resume(self) -> None:
        """Fills model, optimizer, scheduler and history from the checkpoint of this very run."""
        path, state = self.checkpoint, load_checkpoint(self.checkpoint)
        try:
            there = state["config"]
            changed = [key for key, value in self.identity.items() if there.get(key) != value]
            if not changed:
                self._take(state)
        except Exception as error:  # whatever a file that is no checkpoint of a run makes raise
            reason = f"does not fit this run ({first_lines(error)})"
            raise CheckpointError(f"{path}: {reason}") from error
        if changed:
            raise CheckpointError(
                f"{path}: belongs to a run with another {', '.join(changed)} "
                f"(there {[there.get(key) for key in changed]}, "
                f"here {[self.identity[key] for key in changed]}). "
                f"Choose another model_dir, or set trainer_config.resume to false to start again"
            )

    def _take(self, state: dict[str, Any]) -> None:
        """Fills the parts once all of the state is known to fit; else ValueError and the like."""
        model, optimizer, scheduler = self.parts.values()
        row = {"epoch": int, "seconds": float} | dict.fromkeys(CURVES, float)
        schedule = scheduler.state_dict() | {"last_epoch": int, "_step_count": int}
        schedule["_last_lr"] = [float] * len(schedule["_last_lr"])
        problem = (
            difference(state["model"], dict(model.state_dict()), "model")
            or difference(state["scheduler"], schedule, "scheduler")
            or difference(state["history"], [row] * len(state["history"]), "history")
        )
        if problem or any(row["epoch"] != i for i, row in enumerate(state["history"], start=1)):
            raise ValueError(problem or "its epochs are not 1, 2, 3, ...")
        if state["scheduler"]["last_epoch"] < len(state["history"]):  # PyTorch's name for steps
            raise ValueError("its schedule has fewer steps than epochs")
        load_optimizer_state(optimizer, state["optimizer"])
        scheduler.load_state_dict(state["scheduler"])
        model.load_state_dict(state["model"])
        self.history = state["history"]

    def mean_loss(
        self, losses: torch.Tensor, epoch: int, batches: Callable[[int], Iterable[Any]]
    ) -> float:
        """The mean of an epoch's losses so far; FloatingPointError if one, or a weight, is not finite.

        The batch of that loss, made again by ``batches``, is kept in a file.
        """
        finite = torch.isfinite(losses).tolist()
        if not all(finite):
            step, path = finite.index(False), self.folder / "bad_batch.pth"
            batch = next(itertools.islice(batches(epoch), step, None))
            save_atomically(batch._asdict(), path)
            self._stop(f"loss not finite in epoch {epoch}, step {step + 1}. Its batch is in {path}")
        for name, parameter in self.parts["model"].named_parameters():
            if not torch.isfinite(parameter).all():
                self._stop(f"step {len(losses)} of epoch {epoch} left {name} not finite")
        return losses.mean().item()

    def _stop(self, reason: str) -> NoReturn:
        raise FloatingPointError(
            f"{reason}. Lower starting_learning_rate ({self.trainer.starting_learning_rate}) or "
            f"set max_gradient_norm; {len(self.history)} epochs are kept in {self.folder}"
        )
