"""What a run was made of: seed, versions, data, state of the repository, machine."""

import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from recformer_utils import ROOT
from recformer_utils.formats.files import CSV_FILES, FILES, has_csv_form
from recformer_utils.runs.files import replacing


def describe_run(seed: int, data_folder: str | Path | None) -> dict[str, Any]:
    """Everything beside the configuration that decides the numbers of a run."""
    libraries = {library.__name__: library.__version__ for library in (torch, np, pd)}
    return {
        "seed": seed,
        "versions": {"python": platform.python_version(), **libraries},
        "data_sha256": data_hashes(data_folder) if data_folder else None,
        "git": git_state(),
        "machine": machine(),
        "threads": torch.get_num_threads(),
    }


def data_hashes(folder: str | Path) -> dict[str, str]:
    """The SHA-256 of each of the three files (two in the CSV form), hex."""
    files = CSV_FILES if has_csv_form(folder) else FILES
    return {file: sha256_of(Path(folder) / file) for file in files}


def sha256_of(path: Path) -> str:
    """A file's SHA-256, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_state(root: Path = ROOT) -> str | None:
    """The commit of the repository, ``-dirty`` with changes to its files; None outside of one."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if (root / ".git").exists() else None  # not of another project


def machine() -> str:
    """The machine in words: its GPU, or how many cores of what."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{os.cpu_count()} CPU cores, {platform.machine()}, no GPU"


def write_record(path: Path, after_epoch: int, record: dict[str, Any]) -> None:
    """Adds a start of the run to its record, a list, unless it is like the one before."""
    try:
        starts = json.loads(path.read_text()) if after_epoch else []
        starts = [start for start in starts if isinstance(start, dict)]
    except (OSError, ValueError, TypeError):  # it is not there, or not what was written here
        starts = []
    if not starts or {**starts[-1], "after_epoch": 0} != {"after_epoch": 0, **record}:
        starts.append({"after_epoch": after_epoch, **record})
    with replacing(path, mode=0o644) as file:
        file.write((json.dumps(starts, indent=1) + "\n").encode())
