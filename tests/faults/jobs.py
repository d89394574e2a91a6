"""What the harness starts and kills; imported once, before the processes fork."""

import os
from pathlib import Path

import pooch  # noqa: F401  (nor this)
import torch
from tbparse import SummaryReader  # noqa: F401  (so that no fork has to import it)

from recformer_utils import movielens
from recformer_utils.training import run_model_training

torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports half of PyTorch, so do it here


def train(config: dict) -> None:
    """A training as a notebook starts it."""
    torch.set_num_threads(1)
    run_model_training(config)


def download(folder: Path, url: str, sha256: str) -> None:
    """`make data`, from a server of the test."""
    os.environ |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    movielens.RETRY_WAIT_SECONDS = 0.01
    movielens.download_movielens(folder, url, sha256)
