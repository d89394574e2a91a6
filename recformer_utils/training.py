"""Training: one step, one loop, the learning-rate schedule, and the run a configuration asks for."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from recformer_utils.evaluation import ScoreFunction, evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.runs import (
    CheckpointError,
    ConfigError,
    RunConfig,
    RunFolder,
    TrainerConfig,
    choose_device,
    fast_matrix_products,
    load_checkpoint,
    load_config,
    load_weights,
    multiplies_bfloat16,
    own_folder,
    parse_config,
)
from recformer_utils.sequences import (
    Batch,
    MovieLensSequenceDataset,
    Questions,
    Sequences,
    last_windows,
)
from recformer_utils.transformer import TransformerConfig

# fmt: off
__all__ = [  # noqa: RUF022  (the last line: what notebooks take from runs/)
    "Task", "TrainingResult", "epoch_seed", "fit", "get_dataset", "get_model_config",
    "gradient_step", "learning_rate_factor", "make_optimizer", "run_model_training", "train_step",
    "validation_metrics", "validation_step", "window_task",
    "CheckpointError", "ConfigError", "TrainerConfig", "choose_device", "load_checkpoint",
    "load_config", "load_weights", "own_folder", "parse_config",
]
# fmt: on
Penalty = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
ONE_CYCLE_RISE = 0.3  # share of the steps on the way up
ONE_CYCLE_START = 1 / 25  # of the peak, at the first step


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
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=mixed_precision):
        logits = model(movie_ids, user_ids)  # (batch, vocab_size)
        loss = criterion(logits, movie_targets.long())
        if penalty is not None:
            loss = loss + penalty(logits, movie_ids)
    return gradient_step(loss, model, optimizer, max_gradient_norm)


def gradient_step(
    loss: torch.Tensor,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    max_gradient_norm: float | None = None,
) -> torch.Tensor:
    """Steps against the gradient of a loss, float (), and returns the loss detached."""
    optimizer.zero_grad(set_to_none=True)
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
    score: ScoreFunction, sequences: Sequences, questions: Questions
) -> dict[str, float]:
    """Cross-entropy (``validation_loss``), ``HR@10`` and ``NDCG@10``, each question scored once."""
    losses = []

    def watched(sequences: Sequences, questions: Questions) -> torch.Tensor:
        logits, targets = score(sequences, questions), torch.as_tensor(questions.targets).long()
        losses.append(F.cross_entropy(logits, targets, reduction="sum").item())
        return logits

    metrics = metrics_from_ranks(evaluate_ranking(watched, sequences, questions))
    loss = sum(losses) / len(questions.targets)
    return {"validation_loss": loss, "HR@10": metrics.hit_rate, "NDCG@10": metrics.ndcg}


def learning_rate_factor(trainer: TrainerConfig, step: int, steps_per_epoch: int) -> float:
    """What the starting learning rate is multiplied by at a step, in [0, 1].

    Args:
        trainer: ``schedule`` decides. ``"exponential"`` falls by ``learning_rate_decay`` after each
            epoch (1.0: constant); ``"cosine"`` rises in a line over ``warmup_fraction`` of all
            steps and falls along half a cosine to 0; ``"one-cycle"`` rises and falls along cosines.
        step: steps done so far, from 0.
        steps_per_epoch: batches an epoch.

    Sources: cosine, Loshchilov and Hutter, SGDR, 2017; warm-up, Goyal et al., Accurate, Large
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
    """Adam with decoupled weight decay, biases and layer norms spared, and its schedule.

    Source: AdamW, Loshchilov and Hutter, Decoupled Weight Decay Regularization, 2019.
    """
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": trainer.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
        trainer.starting_learning_rate,
        betas=(0.9, trainer.adam_beta2),
        fused=True,
    )
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(trainer, step, steps_per_epoch)
    )
    return optimizer, scheduler


@dataclass(kw_only=True)
class Task:
    """What the loop needs to know of a model and its data.

    Attributes:
        model: on the device where it is trained.
        batches: the shuffled batches of an epoch (from 1), the same ones whenever it is asked.
        steps_per_epoch: how many there are.
        step: takes the model (compiled or not), a batch, the optimizer and whether to use mixed
            precision; returns the loss before the step, float (), on the device.
        validate: takes the model; returns what `validation_metrics` returns.
        shape: settings beside TrainerConfig that decide the numbers of a run, flat; a checkpoint
            with other ones is refused.
    """

    model: nn.Module
    batches: Callable[[int], Iterable[Any]]
    steps_per_epoch: int
    step: Callable[[nn.Module, Any, torch.optim.Optimizer, bool], torch.Tensor]
    validate: Callable[[nn.Module], dict[str, float]]
    shape: dict[str, Any]


@dataclass(kw_only=True)
class TrainingResult:
    """What a training run leaves behind.

    Attributes:
        history: one row an epoch, from 1, with columns epoch, learning_rate, train_loss (mean over
            batches, while the weights still move), seconds, validation_loss, HR@10, NDCG@10.
        best_epoch: the epoch with the lowest validation loss (or highest NDCG@10: keep_best).
        model_file: its weights.
        model: the model after the last epoch, on the device.
    """

    history: pd.DataFrame
    best_epoch: int
    model_file: Path
    model: nn.Module


def epoch_seed(trainer: TrainerConfig, epoch: int) -> int:
    """The seed of one epoch's order and dropout, whatever was computed before it."""
    return trainer.seed * 100_003 + epoch


def fit(
    task: Task,
    trainer: TrainerConfig,
    device: torch.device,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
) -> TrainingResult:
    """Trains a task's model as the trainer's settings say; see `run_model_training`."""
    optimizer, scheduler = make_optimizer(task.model, trainer, task.steps_per_epoch)
    model = torch.compile(task.model) if trainer.compile else task.model
    mixed = trainer.mixed_precision and multiplies_bfloat16(device)
    with (
        RunFolder(trainer, task.shape, task.model, optimizer, scheduler) as run,
        fast_matrix_products(not mixed),
    ):
        for epoch in range(len(run.history) + 1, trainer.num_epochs + 1):
            if run.out_of_patience:
                break
            row = {"epoch": epoch, "learning_rate": scheduler.get_last_lr()[0]}
            started, losses = time.perf_counter(), []
            model.train()
            torch.manual_seed(epoch_seed(trainer, epoch))  # dropout, the same after a resume
            name, steps = f"epoch {epoch}/{trainer.num_epochs}", task.steps_per_epoch
            for batch in tqdm(task.batches(epoch), name, steps, disable=not trainer.progress):
                losses.append(task.step(model, batch, optimizer, mixed))
                scheduler.step()
                if len(losses) % 100 == 0 or len(losses) == steps:  # to look makes a GPU wait
                    run.require_finite_losses(losses, epoch, task.batches(epoch))
            row["train_loss"] = torch.stack(losses).mean().item()
            row["seconds"] = time.perf_counter() - started
            row |= task.validate(task.model)
            run.keep(row)
            if on_epoch is not None:
                on_epoch(epoch, task.model)
            run.save_checkpoint()
    return TrainingResult(
        history=pd.DataFrame(run.history),
        best_epoch=run.best_epoch,
        model_file=run.model_file,
        model=task.model,
    )


def get_dataset(
    config: dict[str, Any] | RunConfig, is_validation: bool = False
) -> MovieLensSequenceDataset:
    """The training or the validation windows that a configuration asks for."""
    config = config if isinstance(config, RunConfig) else parse_config(config)
    trainer = config.trainer_config
    return MovieLensSequenceDataset(
        movies_file=f"{trainer.data_dir}/movies.dat",
        users_file=f"{trainer.data_dir}/users.dat",
        ratings_file=f"{trainer.data_dir}/ratings.dat",
        sequence_length=config.movie_transformer_config.context_window_size,
        is_validation=is_validation,
        validation_fraction=trainer.validation_fraction,
        split=trainer.split,
        seed=trainer.seed,
    )


def get_model_config(
    config: dict[str, Any] | RunConfig, dataset: MovieLensSequenceDataset
) -> MovieLensTransformerConfig:
    """The model's shape: the configuration's, with the data set's users and vocabulary."""
    config = config if isinstance(config, RunConfig) else parse_config(config)
    shape = dataclasses.asdict(config.movie_transformer_config)
    return MovieLensTransformerConfig(
        movie_transformer_config=TransformerConfig(vocab_size=dataset.metadata.vocab_size, **shape),
        user_embedding_dimension=config.user_embedding_dimension,
        num_users=dataset.metadata.num_users,
        interaction_mlp_hidden_sizes=config.interaction_mlp_hidden_sizes,
    )


def window_task(run: RunConfig, device: torch.device, penalty: Penalty | None = None) -> Task:
    """The post's task: a model of windows, its batches, its step and its validation."""
    trainer, training = run.trainer_config, get_dataset(run)
    validation, metadata = training.part(is_validation=True), training.metadata
    window = run.movie_transformer_config.context_window_size
    # The end token is not a movie, so it is excluded from the loss and from the questions.
    criterion = nn.CrossEntropyLoss(ignore_index=metadata.end_token)
    torch.manual_seed(trainer.seed)
    model = MovieLensTransformer(get_model_config(run, training))
    init_weights(model)

    def batches(epoch: int) -> DataLoader:
        generator = torch.Generator().manual_seed(epoch_seed(trainer, epoch))
        size, pinned = trainer.batch_size, device.type == "cuda"
        return DataLoader(
            training, size, shuffle=True, generator=generator, pin_memory=pinned,
            collate_fn=training.collate,
        )  # fmt: skip

    def step(model: nn.Module, batch: Batch, optimizer, mixed: bool) -> torch.Tensor:
        movies, _, users, targets, _ = batch
        return train_step(
            movies, users, targets, model, optimizer, criterion, device, mixed, penalty,
            trainer.max_gradient_norm,
        )  # fmt: skip

    def validate(model: nn.Module) -> dict[str, float]:
        def score(sequences: Sequences, asked: Questions) -> torch.Tensor:
            movies = last_windows(sequences, asked, window, metadata.start_token)
            with torch.no_grad():
                return (
                    model(movies.to(device), torch.from_numpy(asked.users).to(device)).float().cpu()
                )

        model.eval()
        return validation_metrics(score, validation.sequences, validation.questions)

    shape = dataclasses.asdict(run.movie_transformer_config) | {
        "user_embedding_dimension": run.user_embedding_dimension,
        "interaction_mlp_hidden_sizes": run.interaction_mlp_hidden_sizes,
    }
    return Task(
        model=model.to(device), batches=batches, steps_per_epoch=len(batches(1)), step=step,
        validate=validate, shape=shape,
    )  # fmt: skip


def run_model_training(
    config: dict[str, Any],
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    penalty: Penalty | None = None,
) -> TrainingResult:
    """Trains a model as the configuration says, and keeps the best weights on validation.

    After every epoch, model_dir holds ``model.pth`` (the best weights so far, by ``keep_best``)
    and ``checkpoint.pth`` (everything needed to go on); ``run.json`` says with which seed,
    versions, data and commit. A run that was killed and is started again goes on after its last
    whole epoch and, on a CPU, ends with the very same numbers.

    Args:
        config: as `load_config` returns it.
        on_epoch: called with the number of each finished epoch and the model, before the
            checkpoint is written: after a kill in between, once more.
        penalty: added to the training loss, as in `train_step`; no part of the configuration, so
            give a run with another penalty a folder of its own.

    Raises:
        ConfigError: the configuration is not understood.
        CheckpointError: there is a checkpoint of a run with another configuration or other data.
        FloatingPointError: the loss became infinite or not a number; names epoch and step, and
            the file with the batch.
        InUseError: another training is running in model_dir.
        NotWrittenError: the disk is full or may not be written to; earlier files are intact.
    """
    run = parse_config(config)
    device = choose_device(run.trainer_config.device)
    return fit(window_task(run, device, penalty), run.trainer_config, device, on_epoch)
