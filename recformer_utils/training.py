"""Training the model of windows: steps, validation, and the run that a configuration asks for."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from recformer_utils.evaluation import Metrics, evaluate_ranking, metrics_from_ranks
from recformer_utils.loop import Task, TrainingResult, epoch_seed, fit
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    init_weights,
)
from recformer_utils.optimization import (
    fast_matrix_products,
    gradient_step,
    learning_rate_factor,
    make_optimizer,
    multiplies_bfloat16,
)
from recformer_utils.runs.checkpoints import CheckpointError, load_checkpoint, load_weights
from recformer_utils.runs.config import (
    ConfigError,
    RunConfig,
    TrainerConfig,
    choose_device,
    get_dataset,
    get_model_config,
    load_config,
    parse_config,
)
from recformer_utils.runs.files import own_folder, replacing
from recformer_utils.sequences import (
    Batch,
    MovieLensSequenceDataset,
    Questions,
    Sequences,
    last_windows,
)

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Task",
    "TrainerConfig",
    "TrainingResult",
    "choose_device",
    "epoch_seed",
    "fast_matrix_products",
    "fit",
    "get_dataset",
    "get_model_config",
    "gradient_step",
    "learning_rate_factor",
    "load_checkpoint",
    "load_config",
    "load_weights",
    "make_optimizer",
    "multiplies_bfloat16",
    "own_folder",
    "parse_config",
    "replacing",
    "run_model_training",
    "train_step",
    "validation_metrics",
    "validation_step",
]

Penalty = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


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

    def loss() -> torch.Tensor:
        logits = model(movie_ids, user_ids)  # (batch, vocab_size)
        loss = criterion(logits, movie_targets.long())
        return loss if penalty is None else loss + penalty(logits, movie_ids)

    return gradient_step(loss, model, optimizer, device, mixed_precision, max_gradient_norm)


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

    length, start_token = windows.movie_tokens.shape[1], dataset.metadata.start_token

    def score(sequences: Sequences, questions: Questions) -> torch.Tensor:
        movies = last_windows(sequences, questions, length, start_token)
        with torch.no_grad():
            logits = model(movies.to(device), torch.from_numpy(questions.users).to(device))
        return logits.float().cpu()

    questions = Questions(
        users=windows.user_tokens[rows].numpy(),
        ends=dataset.target_positions[rows.numpy()],
        targets=windows.next_movie_tokens[rows].numpy(),
    )
    ranks = evaluate_ranking(score, dataset.sequences, questions)
    return metrics_from_ranks(ranks, k)


def run_model_training(
    config: dict[str, Any],
    on_epoch: Callable[[int, nn.Module], None] | None = None,
    penalty: Penalty | None = None,
) -> TrainingResult[MovieLensTransformer]:
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
        InUseError: another training is at work in model_dir.
        NotWrittenError: the disk is full or may not be written to; earlier files are intact.
    """
    run = parse_config(config)
    trainer = run.trainer_config
    device = choose_device(trainer.device)
    training, validation = get_dataset(run), get_dataset(run, is_validation=True)
    torch.manual_seed(trainer.seed)
    model = MovieLensTransformer(get_model_config(run, training))
    init_weights(model)
    # The end token says that the log stops, which is no taste to learn.
    end_token = training.metadata.end_token
    criterion = nn.CrossEntropyLoss(ignore_index=end_token)

    def batches(epoch: int) -> DataLoader:
        """Shuffled; an epoch draws the same order whether or not the run was resumed."""
        return DataLoader(
            training,
            batch_size=trainer.batch_size,
            shuffle=True,
            generator=torch.Generator().manual_seed(epoch_seed(trainer, epoch)),
            pin_memory=device.type == "cuda",
        )

    def step(model: nn.Module, batch: Batch, optimizer: torch.optim.Optimizer) -> torch.Tensor:
        if penalty is None and not trainer.compile:  # nobody asks for the logits
            movies, users, targets = (
                tensor.to(device, non_blocking=True)
                for tensor in (batch.movie_tokens, batch.user_tokens, batch.next_movie_tokens)
            )
            return gradient_step(
                lambda: model.loss(movies, users, targets.long(), end_token),
                model, optimizer, device, trainer.mixed_precision, trainer.max_gradient_norm,
            )  # fmt: skip
        return train_step(
            batch.movie_tokens, batch.user_tokens, batch.next_movie_tokens,
            model, optimizer, criterion, device,
            trainer.mixed_precision, penalty, trainer.max_gradient_norm,
        )  # fmt: skip

    def validate(model: nn.Module) -> dict[str, float]:
        loss = _validate(model, validation, criterion, device, run)
        metrics = validation_metrics(model, validation, device)
        return {"validation_loss": loss, "HR@10": metrics.hit_rate, "NDCG@10": metrics.ndcg}

    shape = {
        **dataclasses.asdict(run.movie_transformer_config),
        "user_embedding_dimension": run.user_embedding_dimension,
        "interaction_mlp_hidden_sizes": run.interaction_mlp_hidden_sizes,
    }
    task = Task(model.to(device), batches, len(batches(1)), step, validate, shape)
    return fit(task, trainer, device, on_epoch)


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
