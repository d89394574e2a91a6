"""Checkpoints are whole or absent, hold no code, and say why they do not fit."""

import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from recformer_utils.runs.checkpoints import (
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
    with pytest.raises(CheckpointError, match=r"size mismatch for weight: .*\[2, 3\].*\[2, 4\]"):
        load_weights(nn.Linear(4, 2), path)


def test_one_changed_bit_of_a_weight_is_noticed(tmp_path):
    """PyTorch's own reader skips the checksums and loads it."""
    path, model = tmp_path / "model.pth", nn.Linear(50, 50)
    save_atomically(model.state_dict(), path)
    content = bytearray(path.read_bytes())
    place = content.index(model.weight.detach().numpy().tobytes()[:64])
    content[place + 9] ^= 1
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["weight"], model.weight)
    with pytest.raises(CheckpointError, match="damaged"):
        load_weights(nn.Linear(50, 50), path)


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    whole, path = io.BytesIO(), tmp_path / "bomb.pth"
    torch.save({"weight": torch.zeros(5_000_000)}, whole)
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    assert path.stat().st_size < 50_000
    with pytest.raises(CheckpointError, match="unpacks to more than it is"):
        load_checkpoint(path)


def test_the_old_format_is_refused(tmp_path):
    """It takes memory as its own words demand, before anything is checked."""
    path = tmp_path / "old.pth"
    torch.save({"a": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("weights", [{1: torch.ones(2)}, {"weight": 3}, [torch.ones(2)], {}])
def test_what_is_no_state_of_a_model_is_refused(tmp_path, weights):
    path = tmp_path / "model.pth"
    save_atomically(weights, path)
    with pytest.raises(CheckpointError, match="not the weights of this model"):
        load_weights(nn.Linear(3, 2), path)
