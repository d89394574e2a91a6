"""A full disk: a clear message, and nothing lost."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from recformer_utils.runs import load_checkpoint
from tests.faults import jobs
from tests.faults.harness import run
from tests.faults.test_training_killed import left_behind, same

AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


def mount(*arguments: str) -> bool:
    return subprocess.run([*AS_ROOT, *arguments], capture_output=True).returncode == 0


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    """A disk of a megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if not mount("mount", "-t", "tmpfs", "-o", "size=1m,mode=777", "tmpfs", str(folder)):
        pytest.skip("needs the right to mount a small disk")
    yield folder
    mount("umount", "-l", str(folder))


def fill(disk: Path, leave: int) -> Path:
    """Takes all the room but a few bytes; delete what it returns to give it back."""
    ballast = disk / "ballast"
    free = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    ballast.write_bytes(bytes(free - leave))
    return ballast


def train(config: dict, tmp_path: Path):
    return run(jobs.train, config, folder=tmp_path, logs=tmp_path / "logs")


@pytest.mark.parametrize("leave", [0, 16384])
def test_a_full_disk_keeps_the_earlier_checkpoint(small_disk, config_for, tmp_path, leave):
    whole = config_for(tmp_path / "whole")
    assert train(whole, tmp_path).code == 0
    folder = small_disk / "model"
    assert train(config_for(folder, num_epochs=1), tmp_path).code == 0
    before = {path: path.read_bytes() for path in folder.glob("*.pth")}
    assert len(before) == 2
    ballast = fill(small_disk, leave)
    failed = train(config_for(folder), tmp_path)
    assert failed.code == 1
    said = failed.output  # which of its two streams ends last depends on the buffers
    assert "could not be written (No space left on device)" in said
    assert str(folder) in said
    assert {path: path.read_bytes() for path in before} == before
    assert not list(folder.glob(".*.recformer.part"))
    ballast.unlink()
    ended = train(config_for(folder), tmp_path)
    assert ended.code == 0, ended.output
    assert "resuming after epoch" in ended.output
    assert same(left_behind(folder), left_behind(tmp_path / "whole"))


def test_a_full_disk_under_the_curves_is_named_and_the_run_goes_on(
    small_disk, config_for, tmp_path
):
    curves = small_disk / "curves"
    config = config_for(tmp_path / "model", tensorboard_dir=str(curves), num_epochs=1)
    assert train(config, tmp_path).code == 0
    ballast = fill(small_disk, 0)
    config = config_for(tmp_path / "model", tensorboard_dir=str(curves))
    failed = train(config, tmp_path)
    assert failed.code == 1
    assert f"{curves}: could not be written (No space left on device)" in failed.output
    ballast.unlink()
    ended = train(config, tmp_path)
    assert ended.code == 0, ended.output
    state = load_checkpoint(tmp_path / "model/checkpoint.pth")
    assert [row["epoch"] for row in state["history"]] == [1, 2, 3]
