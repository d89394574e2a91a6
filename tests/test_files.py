"""Files are whole, folders have one writer: what the tools and the notebooks lean on."""

import errno
import os
import shutil
import subprocess
import sys

import pytest
from filelock import FileLock

from recformer_utils.runs.files import (
    InUseError,
    NotWrittenError,
    exclusive,
    own_folder,
    replacing,
)

OTHER = """
import sys
from pathlib import Path
from recformer_utils.runs.files import own_folder
folder = own_folder(Path(sys.argv[1]))
(folder / "file").write_text("other")
print(folder.name, flush=True)
sys.stdin.readline()
"""


def other_process(folder):
    """A process that has taken its own folder, and its name."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER, folder], stdin=pipe, stdout=pipe, text=True
    )
    return process, process.stdout.readline().strip()


def test_the_same_notebook_opened_twice_has_two_folders(tmp_path):
    first, name = other_process(tmp_path / "06")
    assert name == "06"
    second, name = other_process(tmp_path / "06")
    assert name == "06-2"
    ours = own_folder(tmp_path / "06")
    assert ours == tmp_path / "06-3"
    (ours / "file").write_text("ours")
    assert own_folder(tmp_path / "06") == tmp_path / "06-3"  # the setup cell, run once more
    assert [path.name for path in ours.iterdir()] == [".lock"]
    assert (tmp_path / "06/file").read_text() == (tmp_path / "06-2/file").read_text() == "other"
    first.kill()
    first.wait()
    third, name = other_process(tmp_path / "06")  # a kill gives the folder back
    assert name == "06"
    for process in (second, third):
        process.communicate("\n")
        assert process.returncode == 0


def test_a_link_in_the_folder_is_removed_and_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("mine")
    (tmp_path / "work").mkdir()
    (tmp_path / "work/link").symlink_to(tmp_path / "kept")
    (tmp_path / "work/folder").mkdir()
    own_folder(tmp_path / "work")
    assert [path.name for path in (tmp_path / "work").iterdir()] == [".lock"]
    assert (tmp_path / "kept/file").read_text() == "mine"


def test_what_a_link_leads_to_is_not_emptied(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept/file").write_text("mine")
    (tmp_path / "work").symlink_to(tmp_path / "kept")
    assert own_folder(tmp_path / "work") == tmp_path / "work-2"
    assert (tmp_path / "kept/file").read_text() == "mine"


def test_unfinished_files_are_cleared_by_the_next_who_works_there(tmp_path):
    (tmp_path / ".model.pth.abc.recformer.part").write_text("half")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/.file.x.recformer.part").write_text("half")
    (tmp_path / ".thesis.docx.part").write_text("the reader's own")
    with exclusive(tmp_path, "a test", tmp_path / "more"):
        left = sorted(path.name for path in tmp_path.rglob("*"))
        assert left == [".lock", ".thesis.docx.part", "more"]
        with (
            pytest.raises(InUseError, match="a test is already running in this folder"),
            exclusive(tmp_path, "a test"),
        ):
            pass
    with exclusive(tmp_path, "a test"):
        pass


def test_a_folder_that_is_removed_just_then_is_made_again(tmp_path, monkeypatch):
    """As when another download has just ended and cleared its folder away."""
    acquire, removed = FileLock.acquire, []

    def late(lock, *arguments, **options):
        if not removed:
            removed.append(shutil.rmtree(tmp_path / "work"))
        return acquire(lock, *arguments, **options)

    monkeypatch.setattr(FileLock, "acquire", late)
    with exclusive(tmp_path / "work", "a test"):
        assert (tmp_path / "work").is_dir()
    assert removed


def test_an_interrupt_while_writing_leaves_nothing(tmp_path):
    def write():
        with replacing(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert list(tmp_path.iterdir()) == []


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
