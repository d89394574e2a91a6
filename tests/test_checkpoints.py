"""Checkpoints are whole or absent, hold no code, and say why they do not fit."""

import io
import os
import pickle
import zipfile

import pytest
import torch
from torch import nn

from recformer_utils.movielens import load_movielens
from recformer_utils.runs.checkpoints import (
    CheckpointError,
    load_checkpoint,
    load_optimizer_state,
    load_weights,
    save_atomically,
)
from recformer_utils.tokens import MovieLensMetadata
from tools.common import REPOSITORY
from tools.stored import load_sequence_model


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


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda weight: weight.double(), "float64"),
        (lambda weight: weight.to_sparse(), "sparse"),
        (lambda weight: weight * torch.nan, "not finite"),
    ],
)
def test_weights_of_another_kind_are_refused_before_any_is_loaded(tmp_path, change, said):
    path, model = tmp_path / "model.pth", nn.Linear(3, 2)
    before = model.bias.detach().clone()
    save_atomically({"bias": before + 1, "weight": change(model.weight.detach())}, path)
    with pytest.raises(CheckpointError, match=f"weight.*{said}"):
        load_weights(model, path)
    assert torch.equal(model.bias, before)


def test_places_that_are_looked_up_have_to_be_the_model_s_own(tmp_path):
    class Placed(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("places", torch.arange(5).unsqueeze(0))

    path = tmp_path / "model.pth"
    save_atomically({"places": torch.arange(5).unsqueeze(0) + 1}, path)
    with pytest.raises(CheckpointError, match="places"):
        load_weights(Placed(), path)


@pytest.mark.parametrize("size", [0, 3, 100, 12_000])
def test_moments_of_another_shape_never_reach_the_optimizer(size):
    """PyTorch's fused step writes beyond them: segmentation faults, or worse."""
    weight = nn.Parameter(torch.ones(402, 32))
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    state = optimizer.state_dict()
    load_optimizer_state(optimizer, state)
    state["state"][0]["exp_avg"] = state["state"][0]["exp_avg_sq"] = torch.zeros(size)
    with pytest.raises(ValueError, match=rf"exp_avg: there \[{size}\].* here \[402, 32\]"):
        load_optimizer_state(optimizer, state)
    assert optimizer.state[weight]["exp_avg"].shape == (402, 32)


def test_a_file_that_may_not_be_read_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "model.pth"
    save_atomically(nn.Linear(3, 2).state_dict(), path)

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(zipfile, "ZipFile", refuse)
    with pytest.raises(CheckpointError, match=r"cannot be read now \(Permission denied") as error:
        load_checkpoint(path)
    assert "elete" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        {"transformer.num_layers": 10**6},
        {"transformer.embedding_dimension": 10**6},
        {"transformer.context_window_size": 10**12},
        {"transformer.num_heads": -1},
        {"transformer.dropout_embeddings": 7.0},
        {"item_features": 3},
        {"item_features": 10**9},
        {"transformer": [1, 2]},
        {"pair_gaps": "no"},
    ],
    ids=str,
)
def test_a_declared_shape_is_bounded_by_the_weights_that_are_there(tmp_path, change):
    sample, path = load_movielens("sample"), tmp_path / "sequence_model.pth"
    rated = sample.movies[sample.movies["movie_id"].isin(sample.ratings["movie_id"])]
    metadata = MovieLensMetadata.from_frames(sample.users, rated)
    whole = load_checkpoint(REPOSITORY / "data/pretrained/sample/sequence_model.pth")
    for name, value in change.items():
        part = whole["config"]
        *outer, name = name.split(".")
        for key in outer:
            part = part[key]
        part[name] = value
    save_atomically(whole, path)
    with pytest.raises(CheckpointError, match=r"sequence_model\.pth"):
        load_sequence_model(path, rated, metadata)
