"""Checkpoints: written whole or not at all, read as weights only, refused with a reason."""

import copy
import io
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from dacite import Config, DaciteError, from_dict
from torch import nn

from recformer_utils.runs.files import replacing

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
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}: train first (notebook 06)")
    try:
        _check_archive(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except (CheckpointError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: refused. Only tensors and plain values are loaded; this file holds "
            f"something else, which could run code: {_what_was_refused(error)}"
        ) from error
    except Exception as error:  # what a damaged file makes zipfile and PyTorch raise is not listed
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(
            f"{path}: not a whole checkpoint ({reason}). "
            f"Was the copy cut off? Delete it and train or download it again"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuses what PyTorch itself would read: damage, and files that unpack to more than they are.

    Its reader skips the checksums, and takes memory as the file's own words demand.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED]
        if packed or sum(member.file_size for member in members) > path.stat().st_size:
            raise CheckpointError(
                f"{path}: refused. Its members unpack to more than they take in the file, which "
                f"torch.save never writes"
            )
        if damaged := archive.testzip():
            raise CheckpointError(
                f"{path}: damaged (the checksum of {damaged!r} differs). Delete it and train or "
                f"download it again"
            )


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
    return load_state(model, load_checkpoint(path), path)


def load_state(model: nn.Module, weights: Any, path: str | Path) -> nn.Module:
    """What `load_weights` does with a state_dict that was read already, from ``path``."""
    if not isinstance(weights, Mapping) or not all(
        isinstance(name, str) and isinstance(tensor, torch.Tensor)
        for name, tensor in weights.items()
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
        elif (found[name].layout, found[name].is_floating_point()) != (
            tensor.layout,
            tensor.is_floating_point(),
        ):
            words.append(f"{name} is {found[name].dtype}, the model has {tensor.dtype}")
    return words + [f"{name} is not in the model" for name in found if name not in expected]


def load_stored(
    path: str | Path, config_class: type, build: Callable[[Any], nn.Module]
) -> tuple[nn.Module, Any]:
    """A model stored with its shape as ``config``, ``weights`` and ``about``; returns it and the last.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: unreadable, with code in it, or of another kind.
    """
    stored = load_checkpoint(path)
    try:
        config = from_dict(config_class, stored["config"], Config(strict=True))
        weights, about = stored["weights"], stored["about"]
    except (DaciteError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a model stored with its shape ({error!r})") from error
    return load_state(build(config), weights, path), about


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
    parts = {"model": dict, "optimizer": dict, "scheduler": dict, "config": dict, "history": list}
    if not isinstance(state, dict) or not all(
        isinstance(state.get(key), kind) for key, kind in parts.items()
    ):
        raise CheckpointError(f"{path}: not a checkpoint of a training run")
    changed = [key for key, value in config.items() if state["config"].get(key) != value]
    if changed:
        raise CheckpointError(
            f"{path}: belongs to a run with another {', '.join(changed)} "
            f"(there {[state['config'].get(key) for key in changed]}, "
            f"here {[config[key] for key in changed]}). "
            f"Choose another model_dir, or set trainer_config.resume to false to start anew"
        )
    into = {"model": model, "optimizer": optimizer, "scheduler": scheduler}
    before = {key: copy.deepcopy(part.state_dict()) for key, part in into.items()}
    try:
        for key, part in into.items():
            part.load_state_dict(state[key])
    except Exception as error:  # whatever does not fit: nothing is left half filled
        for key, part in into.items():
            part.load_state_dict(before[key])
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path}: does not fit this run ({reason})") from error
    return state["history"]
