"""Checkpoints: written whole or not at all, read as weights only, refused with a reason."""

import io
import math
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
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
    if not path.is_file():  # a pipe or a device could keep its reader waiting for ever
        raise CheckpointError(f"{path}: not a file")
    try:
        _check_archive(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except (CheckpointError, MemoryError):
        raise
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be read now ({error.strerror or error}). The file may be whole: mend what "
            f"keeps it from being read, and start again"
        ) from error
    except pickle.UnpicklingError as error:
        # PyTorch's long message goes on to say how to load it anyway.
        found = re.search(r"GLOBAL [\w.]+\w|Unsupported operand \d+", str(error))
        raise CheckpointError(
            f"{path}: refused. Only tensors and plain values are loaded; this file holds "
            f"something else, which could run code: {found[0] if found else first_lines(error)}"
        ) from error
    except Exception as error:  # what a damaged file makes zipfile and PyTorch raise is not listed
        if "allocate memory" in str(error):  # says PyTorch, for what Python calls a MemoryError
            raise MemoryError(f"{path}: {first_lines(error)}") from error
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


def difference(found: Any, wanted: Any, name: str = "") -> str | None:
    """Where a state differs from the wanted one, or None.

    Wanted are the keys, the shape and dtype of tensors, values or (``float``) any one of a kind, all
    finite. Whole numbers in a tensor have to be the same: they are looked up unchecked, as places.
    """
    if isinstance(wanted, dict | list | tuple):
        kind = dict if isinstance(wanted, dict) else list | tuple
        if not isinstance(found, kind) or len(found) != len(wanted):
            return f"{name or 'the state'} has other entries"
        keys = wanted if kind is dict else range(len(wanted))
        if kind is dict and (others := set(map(str, found)) ^ set(map(str, wanted))):
            return f"{name or 'the state'} has other entries ({', '.join(sorted(others)[:3])})"
        parts = (difference(found[key], wanted[key], f"{name}.{key}".lstrip(".")) for key in keys)
        return next(filter(None, parts), None)
    if not isinstance(wanted, torch.Tensor):
        fits = type(found) is wanted or (type(found) is type(wanted) and found == wanted)
        fits = fits and (type(found) is not float or math.isfinite(found))
        return None if fits else f"{name} is {str(found)[:40]}"
    there, here = (
        f"{[*x.shape]} {x.dtype} {x.layout}" if isinstance(x, torch.Tensor) else type(x).__name__
        for x in (found, wanted)
    )
    if there != here:
        return f"size mismatch for {name}: there {there}, here {here}"
    if not found.isfinite().all():
        return f"{name} is not finite"
    whole = not wanted.is_floating_point() and wanted.ndim and not wanted.is_meta
    return f"{name} holds other places" if whole and not torch.equal(found, wanted.cpu()) else None


def load_state(model: nn.Module, weights: Any, path: str | Path) -> nn.Module:
    """What `load_weights` does with a state_dict that was read already, from ``path``."""
    try:
        weights = {name.removeprefix(COMPILED_PREFIX): tensor for name, tensor in weights.items()}
        problem = difference(weights, dict(model.state_dict()))
    except Exception as error:  # whatever a value that is no state makes raise
        problem = first_lines(error)
    if problem is not None:
        raise CheckpointError(
            f"{path}: not the weights of this model: {problem}. "
            f"Build the model with the configuration stored beside the checkpoint"
        )
    model.load_state_dict(weights)
    return model.eval()


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: Any) -> None:
    """Loads what AdamW remembers of each parameter; ValueError, before anything is loaded.

    PyTorch takes moments of any shape, and its fused step then writes beyond them.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    wanted = {
        "param_groups": [g | {"lr": float} for g in optimizer.state_dict()["param_groups"]],
        "state": {
            i: {"step": torch.zeros(()), "exp_avg": parameters[i], "exp_avg_sq": parameters[i]}
            for i in range(len(parameters))
            if i in state["state"]  # a parameter that never had a gradient has none
        },
    }
    if problem := difference(state, wanted, "optimizer"):
        raise ValueError(problem)
    optimizer.load_state_dict(state)
