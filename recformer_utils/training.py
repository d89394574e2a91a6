"""Training: one step, one loop, the learning-rate schedule, and the run a configuration asks for."""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from recformer_utils.evaluation import evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.runs import CheckpointError as CheckpointError  # "as": for the notebooks
from recformer_utils.runs import ConfigError as ConfigError
from recformer_utils.runs import RunFolder, TrainingResult, fast_matrix_products, use_bfloat16
from recformer_utils.runs import TrainerConfig as TrainerConfig
from recformer_utils.runs import choose_device as choose_device
from recformer_utils.runs import load_checkpoint as load_checkpoint
from recformer_utils.runs import load_config as load_config
from recformer_utils.runs import load_weights as load_weights
from recformer_utils.runs import own_folder as own_folder
from recformer_utils.runs import parse_config as parse_config
from recformer_utils.sequences import MovieLensSequenceDataset, Questions, Sequences, last_windows
from recformer_utils.transformer import TransformerConfig

Penalty = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


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
    """One step of gradient descent on one batch; returns the loss before it, float (), detached.

    The loss stays on the device: asking for its value after every step would make a GPU wait.

    Args:
        movie_ids, user_ids, movie_targets: tokens, int (batch, window), (batch,) and (batch,).
        model, optimizer: changed in place, on ``device``.
        criterion: loss from logits (batch, vocab_size) and targets int64 (batch,).
        mixed_precision: compute in bfloat16 where that is safe.
        penalty: added to the loss, from logits and movie tokens (batch, window).
        max_gradient_norm: a longer gradient, over all parameters, is cut to this length.
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


def validation_step(
    movie_ids: torch.Tensor,
    user_ids: torch.Tensor,
    movie_targets: torch.Tensor,
    model: nn.Module,
    criterion: nn.Module,
    device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss on one batch, float (), and the logits, (batch, vocab_size); nothing is changed."""
    movie_ids, user_ids, movie_targets = (
        tensor.to(device, non_blocking=True) for tensor in (movie_ids, user_ids, movie_targets)
    )
    with torch.no_grad():
        logits = model(movie_ids, user_ids)
        return criterion(logits, movie_targets.long()), logits


def validation_metrics(
    ask: Callable[[Sequences, Questions], tuple[torch.Tensor, torch.Tensor]],
    sequences: Sequences,
    questions: Questions,
) -> dict[str, float]:
    """Mean loss and ranking of all questions, each scored once by ``ask``: loss and logits."""
    losses = []

    def score(sequences: Sequences, asked: Questions) -> torch.Tensor:
        loss, logits = ask(sequences, asked)
        losses.append(loss.item() * len(asked.targets))
        return logits.float().cpu()

    metrics = metrics_from_ranks(evaluate_ranking(score, sequences, questions))
    loss = sum(losses) / len(questions.targets)
    return {"validation_loss": loss, "HR@10": metrics.hit_rate, "NDCG@10": metrics.ndcg}


def learning_rate_factor(trainer: TrainerConfig, step: int, steps_per_epoch: int) -> float:
    """What the starting learning rate is multiplied by at a step (from 0), in [0, 1].

    Schedules: ``"exponential"`` falls by ``learning_rate_decay`` after each epoch (1.0: constant);
    ``"cosine"`` rises in a line over ``warmup_fraction`` of all steps and falls along half a cosine
    to 0 (Loshchilov and Hutter, SGDR, 2017; warm-up: Goyal et al., 2017); ``"one-cycle"`` rises and
    falls along cosines (Smith and Topin, Super-Convergence, 2018).
    """
    if trainer.schedule == "exponential":
        return trainer.learning_rate_decay ** (step // steps_per_epoch)
    steps = trainer.num_epochs * steps_per_epoch
    if trainer.schedule == "one-cycle":
        rise = 0.3 * steps  # the first step has a 25th of the peak
        if step < rise:
            return 1 - (1 - 1 / 25) * (1 + math.cos(math.pi * step / rise)) / 2
    else:
        rise = trainer.warmup_fraction * steps
        if step < rise:
            return (step + 1) / (rise + 1)
    done = min(1.0, (step - rise) / max(1.0, steps - rise))
    return (1 + math.cos(math.pi * done)) / 2


def make_optimizer(
    model: nn.Module, trainer: TrainerConfig, steps_per_epoch: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """AdamW (Loshchilov and Hutter, 2019), biases and layer norms without decay, and its schedule."""
    matrices = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": matrices}, {"params": others, "weight_decay": 0.0}]
    rate, decay, beta2 = trainer.starting_learning_rate, trainer.weight_decay, trainer.adam_beta2
    optimizer = torch.optim.AdamW(groups, rate, (0.9, beta2), weight_decay=decay, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(trainer, step, steps_per_epoch)
    )
    return optimizer, scheduler


@dataclasses.dataclass(kw_only=True)
class Task:
    """What the loop needs to know of a model and its data."""

    model: nn.Module  # on the device where it is trained
    batches: Callable[[int], Iterable[Any]]  # of an epoch (from 1), in its own order
    steps_per_epoch: int  # how many batches there are
    step: Callable[[nn.Module, Any, torch.optim.Optimizer, bool], torch.Tensor]
    # one step with model (compiled or not), batch, optimizer, bfloat16; the loss before it, float ()
    validate: Callable[[nn.Module], dict[str, float]]  # what `validation_metrics` returns
    shape: dict[str, Any]  # what else decides the numbers: a checkpoint with another is refused


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
    bfloat16 = use_bfloat16(trainer.mixed_precision, device)
    run = RunFolder(trainer, task.shape, task.model, optimizer, scheduler)
    with run, fast_matrix_products(not bfloat16):
        for epoch in range(len(run.history) + 1, trainer.num_epochs + 1):
            if run.out_of_patience:
                break
            row = {"epoch": epoch, "learning_rate": scheduler.get_last_lr()[0]}
            batches, started = task.batches(epoch), time.perf_counter()
            losses = torch.zeros(len(batches), device=device)
            torch.manual_seed(epoch_seed(trainer, epoch))  # dropout, the same after a resume
            bar = tqdm(batches, f"epoch {epoch}/{trainer.num_epochs}", disable=not trainer.progress)
            model.train()
            for number, batch in enumerate(bar):
                losses[number] = task.step(model, batch, optimizer, bfloat16)
                scheduler.step()
                if number % 100 == 99:  # seldom: to read a loss makes a GPU wait
                    loss = run.mean_loss(losses[: number + 1], epoch, task.batches)
                    bar.set_postfix(loss=loss, refresh=False)
            row["train_loss"] = run.mean_loss(losses, epoch, task.batches)
            row["seconds"] = time.perf_counter() - started
            model.eval()
            run.keep(row | task.validate(task.model))
            if on_epoch is not None:
                on_epoch(epoch, task.model)
            run.save_checkpoint()
    return run.result()


def get_dataset(config: dict, is_validation: bool = False) -> MovieLensSequenceDataset:
    """The training or the validation windows that a configuration asks for."""
    run = parse_config(config)
    trainer = run.trainer_config
    files = (f"{trainer.data_dir}/{name}.dat" for name in ("movies", "users", "ratings"))
    return MovieLensSequenceDataset(
        *files,
        sequence_length=run.movie_transformer_config.context_window_size,
        is_validation=is_validation,
        validation_fraction=trainer.validation_fraction,
        split=trainer.split,
        seed=trainer.seed,
    )


def get_model_config(config: dict, dataset: MovieLensSequenceDataset) -> MovieLensTransformerConfig:
    """The model's shape: the configuration's, with the data set's users and vocabulary."""
    run, metadata = parse_config(config), dataset.metadata
    shape = dataclasses.asdict(run.movie_transformer_config)
    return MovieLensTransformerConfig(
        movie_transformer_config=TransformerConfig(vocab_size=metadata.vocab_size, **shape),
        user_embedding_dimension=run.user_embedding_dimension,
        num_users=metadata.num_users,
        interaction_mlp_hidden_sizes=run.interaction_mlp_hidden_sizes,
    )


def window_task(config: dict, device: torch.device, penalty: Penalty | None = None) -> Task:
    """The post's task: a model of windows, its batches, its step and its validation."""
    trainer, training = parse_config(config).trainer_config, get_dataset(config)
    validation, metadata = training.part(is_validation=True), training.metadata
    if not len(validation.questions.users):
        raise ValueError("nothing to validate on: no window that is held out asks for a movie")
    # The end token is not a movie, so it is excluded from the loss and from the questions.
    criterion = nn.CrossEntropyLoss(ignore_index=metadata.end_token)
    torch.manual_seed(trainer.seed)
    model = MovieLensTransformer(get_model_config(config, training))
    init_weights(model)

    def batches(epoch):
        generator = torch.Generator().manual_seed(epoch_seed(trainer, epoch))
        options = {"collate_fn": training.collate, "pin_memory": device.type == "cuda"}
        size = trainer.batch_size
        return DataLoader(training, size, shuffle=True, generator=generator, **options)

    def step(model, batch, optimizer, bfloat16):
        movies, _, users, targets, _ = batch
        options = (bfloat16, penalty, trainer.max_gradient_norm)
        return train_step(movies, users, targets, model, optimizer, criterion, device, *options)

    def validate(model):
        def ask(sequences, asked):
            window = model.config.movie_transformer_config.context_window_size
            movies = last_windows(sequences, asked, window, metadata.start_token)
            users, targets = torch.from_numpy(asked.users), torch.from_numpy(asked.targets)
            return validation_step(movies, users, targets, model, criterion, device)

        return validation_metrics(ask, validation.sequences, validation.questions)

    shape = dataclasses.asdict(model.config)
    shape |= shape.pop("movie_transformer_config")
    return Task(
        model=model.to(device), batches=batches, steps_per_epoch=len(batches(1)), step=step,
        validate=validate, shape=shape,
    )  # fmt: skip


def run_model_training(
    config: dict,
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    penalty: Penalty | None = None,
) -> TrainingResult:
    """Trains a model as the configuration, of `load_config`, says.

    model_dir then holds ``model.pth`` (the best weights by ``keep_best``), ``checkpoint.pth`` (to
    go on from) and ``run.json`` (seed, versions, data, commit). A run that was killed and is started
    again goes on after its last whole epoch and, on a CPU, ends with the very same numbers.

    Args:
        on_epoch: called after each epoch with its number and the model; the checkpoint comes after.
        penalty: as in `train_step`; not part of the configuration, so give it its own model_dir.

    Raises ConfigError, CheckpointError, FloatingPointError, InUseError or NotWrittenError.
    """
    trainer = parse_config(config).trainer_config
    device = choose_device(trainer.device)
    return fit(window_task(config, device, penalty), trainer, device, on_epoch)
