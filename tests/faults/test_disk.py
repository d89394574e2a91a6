"""A full disk and one that may not be written to: a clear message, and nothing lost."""

import errno
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from recformer_utils.runs.files import InUseError, NotWrittenError, exclusive, replacing
from tests.download_server import FILES, GOOD, serving, sha256
from tests.faults import jobs
from tests.faults.harness import run, started
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


@pytest.mark.parametrize("leave", [0, 4096, 16384, 65536])
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
    assert "No space left on device" in failed.output
    assert "could not be written" in failed.output.strip().splitlines()[-1]
    assert str(folder) in failed.output.strip().splitlines()[-1]
    for path, content in before.items():
        if path.name == "checkpoint.pth" or leave < 65536:
            assert path.read_bytes() == content
    assert not list(folder.glob(".*.part"))
    ballast.unlink()
    ended = train(config_for(folder), tmp_path)
    assert ended.code == 0, ended.output
    assert "resuming after epoch" in ended.output
    found = left_behind(folder)
    expected = left_behind(tmp_path / "whole")
    assert same(found, expected)


def test_a_full_disk_under_the_curves_only(small_disk, config_for, tmp_path):
    config = config_for(tmp_path / "model", tensorboard_dir=str(small_disk / "curves"))
    ballast = fill(small_disk, 0)
    failed = train(config, tmp_path)
    assert failed.code == 1
    assert f"{small_disk / 'curves'}: could not be written" in failed.output
    ballast.unlink()
    assert train(config, tmp_path).code == 0


def test_a_disk_that_may_only_be_read(small_disk, config_for, tmp_path):
    folder = small_disk / "model"
    assert train(config_for(folder, num_epochs=1), tmp_path).code == 0
    before = {path: path.read_bytes() for path in folder.glob("*.pth")}
    assert mount("mount", "-o", "remount,ro", str(small_disk))
    failed = train(config_for(folder), tmp_path)
    assert failed.code == 1
    assert "could not be written (Read-only file system)" in failed.output.splitlines()[-1]
    assert {path: path.read_bytes() for path in folder.glob("*.pth")} == before
    assert mount("mount", "-o", "remount,rw", str(small_disk))
    assert train(config_for(folder), tmp_path).code == 0


def test_a_download_onto_a_full_disk(small_disk, tmp_path):
    folder = small_disk / "data" / "ml-1m"
    (small_disk / "data").mkdir()
    with serving() as server:
        job = (jobs.download, folder, server.url, sha256(GOOD))
        for leave in (0, 8192, len(GOOD) + 4096):  # nothing fits, a part, the archive alone
            ballast = fill(small_disk, leave)
            failed = run(*job, folder=tmp_path, logs=tmp_path / "logs")
            assert failed.code == 1
            assert f"NotWrittenError: {folder.parent}" in failed.output
            assert "could not be written (No space left on device)" in failed.output
            assert list((small_disk / "data").iterdir()) == []
            ballast.unlink()
        assert run(*job, folder=tmp_path, logs=tmp_path / "logs").code == 0
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_a_file_that_cannot_be_written_keeps_what_stood_there(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"before")

    def no_room(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_room)
    refused = pytest.raises(NotWrittenError, match=r"file: could not be written \(No space left")
    with refused, replacing(path) as file:
        file.write(b"after")
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_two_trainings_never_share_a_folder(config_for, tmp_path):
    folder = tmp_path / "model"
    with exclusive(folder, "a training"):
        second = train(config_for(folder), tmp_path)
        with pytest.raises(InUseError), exclusive(folder, "a training"):
            pass
    assert second.code == 1
    assert (
        f"{folder}: a training is already running in this folder" in second.output.splitlines()[-1]
    )
    assert not (folder / "model.pth").exists()
    assert train(config_for(folder), tmp_path).code == 0


def test_the_hold_on_a_folder_ends_with_a_kill(config_for, tmp_path):
    folder, logs = tmp_path / "model", tmp_path / "logs"
    config = config_for(folder, num_epochs=200)
    with started(jobs.train, config, folder=folder, logs=logs) as job:
        deadline = time.monotonic() + 60
        while not (folder / "checkpoint.pth").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert "InUseError" in train(config, tmp_path).output
        job.kill()
        job.join()
    assert job.exitcode == -signal.SIGKILL
    assert train(config_for(folder), tmp_path).code == 0
