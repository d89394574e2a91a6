"""`tools/check.py` finds what is wrong and says what to do about it."""

import errno
import json
import os
import shutil
import sys

import numpy as np
import pytest
import torch

from recformer_utils import movielens
from recformer_utils.runs.record import sha256_of
from tools import check
from tools.check import NOTE, OK, WRONG, findings_of


def only(findings):
    (finding,) = findings
    return finding


@pytest.fixture(params=["sample", "ml-1m"])
def pretrained(request, tmp_path):
    """A copy of a folder of pretrained files, to be broken."""
    return shutil.copytree(
        check.REPOSITORY / "data/pretrained" / request.param, tmp_path / request.param
    )


def of(folder):
    return only(findings_of("pretrained", lambda: check.check_pretrained(folder)))


def test_a_good_installation_passes(monkeypatch, capsys):
    monkeypatch.delenv("RECFORMER_DATA", raising=False)
    assert check.main() == 0
    printed = capsys.readouterr().out
    assert printed.endswith("\nAll checks passed.\n")
    for part in ("Python 3", "packages of requirements.txt", "PyTorch", "kernel", "38,155 ratings"):
        assert part in printed
    assert printed.count("data/pretrained/") == 2


def test_what_is_wrong_is_counted_and_the_rest_is_still_looked_at(monkeypatch, capsys):
    def broken():
        raise ImportError("libexample.so is missing")

    monkeypatch.setattr(
        check, "checks", lambda: [("PyTorch", broken), ("Python", check.check_python)]
    )
    assert check.main() == 1
    printed = capsys.readouterr().out
    assert "WRONG  PyTorch: libexample.so is missing" in printed
    assert "   ok  Python 3" in printed
    assert "1 thing is wrong: docs/troubleshooting.md has more." in printed


def test_an_old_python_is_named():
    later = (sys.version_info[0], sys.version_info[1] + 1)
    kind, words = only(check.check_python(later))
    assert kind == WRONG
    assert "3.11 or later is needed" in words


def test_packages_that_are_missing_or_other_are_named(tmp_path):
    (tmp_path / "requirements.txt").write_text(
        "# set\nnumpy==0.1  # old\nno-such-thing==1.0  # x\n"
        'not-here==1.0; sys_platform == "plan9"  # of another platform\n'
    )
    old, missing = check.check_packages(tmp_path)
    assert old == (
        WRONG,
        f"numpy {np.__version__} is installed, requirements.txt pins 0.1: run make setup",
    )
    assert missing[1].startswith("no-such-thing is not installed")


@pytest.mark.parametrize(
    "name", ["model.pth", "sequence_model.pth", "config.yaml", "curve.csv", "embedding_path.npz"]
)
def test_a_pretrained_file_that_is_missing_or_cut_off_is_named(pretrained, name):
    assert of(pretrained)[0] == OK
    path = pretrained / name
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    kind, words = of(pretrained)
    assert kind == WRONG
    assert name in words
    path.unlink()
    kind, words = of(pretrained)
    assert kind == WRONG
    assert name in words


def test_weights_that_are_no_numbers_are_found(pretrained):
    weights = torch.load(pretrained / "model.pth", weights_only=True)
    weights["user_embedding.weight"][3, 1] = float("nan")
    torch.save(weights, pretrained / "model.pth")
    kind, words = of(pretrained)
    assert kind == WRONG
    assert "not the file that run.json was written with" in words
    record = json.loads((pretrained / "run.json").read_text())
    record["model_sha256"] = sha256_of(pretrained / "model.pth")
    (pretrained / "run.json").write_text(json.dumps(record))
    kind, words = of(pretrained)
    assert kind == WRONG
    assert "user_embedding.weight is not finite" in words


def test_pretrained_arrays_hold_no_code(pretrained):
    arrays = dict(np.load(pretrained / "embedding_path.npz"))
    np.savez(pretrained / "embedding_path.npz", **(arrays | {"epochs": np.array([{}], object)}))
    kind, words = of(pretrained)
    assert kind == WRONG
    assert "Object arrays cannot be loaded" in words


def test_data_that_cannot_be_read_is_named_with_its_line(tmp_path, monkeypatch):
    shutil.copytree(movielens.SAMPLE_FOLDER, tmp_path / "mine")
    monkeypatch.setattr(movielens, "ML_1M_FOLDER", tmp_path / "none")
    monkeypatch.setenv("RECFORMER_DATA", str(tmp_path / "mine"))
    kinds = [kind for kind, _ in findings_of("the data", check.check_data)]
    assert kinds == [OK, WRONG]  # readable, but not the million
    path = tmp_path / "mine/ratings.dat"
    path.write_text(path.read_text().replace("::", ",", 1))
    kind, words = findings_of("the data", check.check_data)[-1]
    assert kind == WRONG
    assert "ratings.dat, line 1: found" in words
    monkeypatch.setenv("RECFORMER_DATA", str(tmp_path / "nowhere"))
    assert "no such folder" in findings_of("the data", check.check_data)[-1][1]
    monkeypatch.delenv("RECFORMER_DATA")
    monkeypatch.setattr(check, "REPOSITORY", tmp_path)
    assert findings_of("the data", check.check_data)[-1][0] == NOTE


def test_a_folder_that_takes_no_files_is_named(tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    assert only(check.check_folders(tmp_path))[0] == OK
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["build", "data"]
    monkeypatch.setattr(check, "ROOM_BYTES", 2**70)
    assert only(check.check_folders(tmp_path))[0] == NOTE

    def no_room(descriptor):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "fsync", no_room)
    kind, words = only(check.check_folders(tmp_path))
    assert kind == WRONG
    assert "could not be written (Read-only file system)" in words
