"""Checkpoints: written whole or not at all, read as weights only, refused with a reason."""

import io
import pickle
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from dacite import Config, DaciteError, from_dict
from torch import nn

from recformer_utils.runs.files import replacing

COMPILED_PREFIX = "_orig_mod."  # torch.compile puts this before every name


class CheckpointError(ValueError):
    """A checkpoint that cannot be used: unreadable, of another shape, or with code in it."""


def first_lines(error: Exception, count: int = 1) -> str:
    """The beginning of an error's message, or its name if it has none."""
    return "; ".join(str(error).split("\n\t")[:count]) or type(error).__name__


def save_atomically(value: Any, path: str | Path) -> None:
    """Saves with torch.save; on a full disk (NotWrittenError) an earlier file stays intact."""
    buffer = io.BytesIO()  # PyTorch's own writer says of a full disk only that it "failed writing"
    torch.save(value, buffer)
    with replacing(Path(path)) as file:
        file.write(buffer.getbuffer())


def load_checkpoint(path: str | Path, map_location: str | torch.device = "cpu") -> Any:
    """Reads a file of torch.save that holds tensors and plain values; else CheckpointError."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}: train first (notebook 06)")
    try:
        _check_archive(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except (CheckpointError, MemoryError):
        raise
    except pickle.UnpicklingError as error:
        # PyTorch's long message goes on to say how to load it anyway.
        found = re.search(r"GLOBAL [\w.]+\w|Unsupported operand \d+", str(error))
        raise CheckpointError(
            f"{path}: refused. Only tensors and plain values are loaded; this file holds "
            f"something else, which could run code: {found[0] if found else first_lines(error)}"
        ) from error
    except Exception as error:  # what a damaged file makes zipfile and PyTorch raise is not listed
        raise CheckpointError(
            f"{path}: not a whole checkpoint ({first_lines(error)}). "
            f"Was the copy cut off? Delete it and train or download it again"
        ) from error


def _check_archive(path: Path) -> None:
    """Refuses damage and files that unpack to more than they are: PyTorch itself would read both."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > path.stat().st_size:
            raise CheckpointError(
                f"{path}: refused. It unpacks to more than it is, which torch.save never writes"
            )
        if damaged := archive.testzip():
            raise CheckpointError(
                f"{path}: damaged (the checksum of {damaged!r} differs). Delete it and train or "
                f"download it again"
            )


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Loads a state_dict into a model, strictly, and returns the model in evaluation mode.

    Names written from a compiled model (``_orig_mod.…``) are understood. CheckpointError says what
    does not fit.
    """
    return load_state(model, load_checkpoint(path), path)


def load_state(model: nn.Module, weights: Any, path: str | Path) -> nn.Module:
    """What `load_weights` does with a state_dict that was read already, from ``path``."""
    try:
        weights = {name.removeprefix(COMPILED_PREFIX): tensor for name, tensor in weights.items()}
        model.load_state_dict(weights, strict=True)
    except Exception as error:  # PyTorch raises another one for each thing that is not as it wants
        raise CheckpointError(
            f"{path}: not the weights of this model: {first_lines(error, 4)}. "
            f"Build the model with the configuration stored beside the checkpoint"
        ) from error
    return model.eval()


def load_stored(
    path: str | Path, config_class: type, build: Callable[[Any], nn.Module]
) -> tuple[nn.Module, Any]:
    """A model stored with its shape as ``config``, ``weights`` and ``about``; it and the last."""
    stored = load_checkpoint(path)
    try:
        config = from_dict(config_class, stored["config"], Config(strict=True))
        weights, about = stored["weights"], stored["about"]
    except (DaciteError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: not a model stored with its shape ({error})") from error
    return load_state(build(config), weights, path), about
