"""What the harness starts and kills; imported once, before the processes fork."""

import os
import sys
from pathlib import Path

import nbclient  # noqa: F401  (these, so that no fork has to import them)
import nbconvert  # noqa: F401
import pooch  # noqa: F401
import pytest
import torch
from tbparse import SummaryReader  # noqa: F401

from recformer_utils import movielens
from recformer_utils.training import run_model_training
from tests.archive import use

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports half of PyTorch, so do it here


def train(config: dict) -> None:
    """A training as a notebook starts it."""
    torch.set_num_threads(1)
    run_model_training(config)


def run_series(repository: Path, command: str) -> None:
    """`make run` or `make publish`, in a copy of the repository."""
    os.environ |= {"PYTHONPATH": str(repository), "RECFORMER_DATASET": "sample"}
    from tools import common

    common.REPOSITORY = repository  # the copy: series works on the folder that this names
    from tools import series

    sys.argv = ["series.py", command, "--data", "sample"]
    if code := series.main():
        raise SystemExit(code)


def download(folder: Path, url: str) -> None:
    """`make data`, from a server of the test."""
    use(pytest.MonkeyPatch(), url)
    movielens.download_movielens(folder)
