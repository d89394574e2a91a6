"""Checkpoints are whole or absent, hold no code, and say why they do not fit."""

import os
import pickle

import pytest
import torch
from torch import nn

from recformer_utils.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_weights,
    save_atomically,
)


def test_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.pth"
    save_atomically({"a": torch.tensor([1.0])}, path)
    with pytest.raises((AttributeError, TypeError, pickle.PicklingError)):
        save_atomically({"a": lambda: None}, path)
    assert load_checkpoint(path)["a"].item() == 1.0
    assert os.listdir(tmp_path) == ["model.pth"]


def test_truncated_file_is_refused(tmp_path):
    path = tmp_path / "model.pth"
    save_atomically(nn.Linear(50, 50).state_dict(), path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        load_checkpoint(path)


class Code:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_code_is_refused_and_not_run(tmp_path):
    path = tmp_path / "model.pth"
    torch.save(Code(tmp_path / "ran"), path)
    with pytest.raises(CheckpointError, match="refused"):
        load_checkpoint(path)
    assert not (tmp_path / "ran").exists()


def test_other_shape_is_named_and_compiled_names_load(tmp_path):
    path, model = tmp_path / "model.pth", nn.Linear(3, 2)
    save_atomically({f"_orig_mod.{k}": v for k, v in model.state_dict().items()}, path)
    assert torch.equal(load_weights(nn.Linear(3, 2), path).weight, model.weight)
    with pytest.raises(CheckpointError, match=r"weight is \(2, 3\), the model has \(2, 4\)"):
        load_weights(nn.Linear(4, 2), path)
