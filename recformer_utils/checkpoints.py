"""Checkpoints: written whole or not at all, read as weights only, refused with a reason."""

import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from recformer_utils.files import replacing

COMPILED_PREFIX = "_orig_mod."  # torch.compile puts this before every name


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: unreadable, of another shape, or with code in it."""


def save_atomically(value: Any, path: str | Path) -> None:
    """Saves with torch.save to a temporary file and moves it into place.

    Raises:
        NotWrittenError: the disk is full or may not be written to; an earlier file is intact.
    """
    # By way of memory: PyTorch's own writer says of a full disk only that it "failed writing".
    buffer = io.BytesIO()
    torch.save(value, buffer)
    with replacing(Path(path)) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> Any:
    """Reads a file of torch.save that holds tensors, numbers, strings, lists and dicts only.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is damaged, is no checkpoint, or would run code.
    """
    path = Path(path)
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no checkpoint at {path}: train first (notebook 06)") from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused. Only tensors and plain values are loaded; this file holds "
            f"something else, which could run code: {_what_was_refused(error)}"
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a whole checkpoint ({str(error).splitlines()[0]}). "
            f"Was the copy cut off? Delete it and train or download it again"
        ) from error


def _what_was_refused(error: pickle.UnpicklingError) -> str:
    """The part of PyTorch's long message that names it; the rest says how to load it anyway."""
    found = re.search(r"GLOBAL [\w.]+\w|Unsupported operand \d+", str(error))
    return found[0] if found else str(error).splitlines()[0]


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Loads a state_dict into a model, strictly, and returns the model in evaluation mode.

    Names written from a compiled model (``_orig_mod.…``) are understood.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: unreadable, with code in it, or of another model; names the first
            parameters that do not fit.
    """
    weights = load_checkpoint(path)
    if not isinstance(weights, Mapping) or not all(
        isinstance(tensor, torch.Tensor) for tensor in weights.values()
    ):
        raise CheckpointError(f"{path}: expected names and tensors (a state_dict)")
    weights = {name.removeprefix(COMPILED_PREFIX): tensor for name, tensor in weights.items()}
    differences = _differences(model.state_dict(), weights)
    if differences:
        raise CheckpointError(
            f"{path}: written by a model of another shape: {'; '.join(differences[:3])}"
            f"{f' and {len(differences) - 3} more' if len(differences) > 3 else ''}. "
            f"Build the model with the configuration stored beside the checkpoint"
        )
    model.load_state_dict(weights, strict=True)
    return model.eval()


def _differences(expected: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]):
    """What keeps the tensors from fitting, in words."""
    words = []
    for name, tensor in expected.items():
        if name not in found:
            words.append(f"{name} is missing")
        elif found[name].shape != tensor.shape:
            words.append(
                f"{name} is {tuple(found[name].shape)}, the model has {tuple(tensor.shape)}"
            )
    return words + [f"{name} is not in the model" for name in found if name not in expected]


def save_training_state(
    path: Path,
    config: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    history: list[dict[str, float]],
) -> None:
    """Everything needed to go on training as if nothing had happened."""
    save_atomically(
        {
            "config": config,
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "scheduler": scheduler.state_dict(),
            "history": history,
        },
        path,
    )


def load_training_state(
    path: Path,
    config: dict[str, Any],
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
) -> list[dict[str, float]]:
    """Puts a saved state into the four objects and returns the history so far.

    Raises:
        CheckpointError: damaged, or of a run with another configuration; names the keys.
    """
    state = load_checkpoint(path)
    if not isinstance(state, dict) or not {"config", "model", "optimizer"} <= state.keys():
        raise CheckpointError(f"{path}: not a checkpoint of a training run")
    changed = [key for key, value in config.items() if state["config"].get(key) != value]
    if changed:
        raise CheckpointError(
            f"{path}: belongs to a run with another {', '.join(changed)} "
            f"(there {[state['config'].get(key) for key in changed]}, "
            f"here {[config[key] for key in changed]}). "
            f"Choose another model_dir, or set trainer_config.resume to false to start anew"
        )
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    scheduler.load_state_dict(state["scheduler"])
    return state["history"]
