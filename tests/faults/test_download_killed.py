"""`make data`, killed within the transfer, the unpacking, the move: the next one completes it."""

import signal
import time
from pathlib import Path

import pytest

from tests.download_server import FILES, GOOD, serving, sha256
from tests.faults import jobs
from tests.faults.harness import operations, run, started

EDITED = {**FILES, "movies.dat": b"1::Something Else (1999)::Drama\n", "mine.txt": b"notes"}
DAMAGED = {**EDITED, "users.dat": b"1::F::1\n"}


@pytest.fixture
def server():
    with serving() as server:
        yield server


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def place(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


@pytest.mark.parametrize(
    "before",
    [
        {},
        {name: FILES[name] for name in ("README", "users.dat")},
        {name: EDITED[name] for name in ("users.dat", "movies.dat", "ratings.dat")},
        DAMAGED,
    ],
    ids=["fresh", "half", "edited, without its README", "damaged"],
)
def test_a_kill_before_any_file_operation_changes_nothing(server, tmp_path, before):
    def data(name: str) -> dict:
        folder = tmp_path / name / "ml-1m"
        if before:
            place(folder, before)
        else:
            folder.parent.mkdir()
        arguments = (folder, server.url, sha256(GOOD))
        return dict(folder=folder, arguments=arguments, logs=tmp_path / f"{name} logs")

    def job(place: dict, **options):
        return run(
            jobs.download, *place["arguments"],
            folder=place["folder"].parent, logs=place["logs"], **options,
        )  # fmt: skip

    whole = data("whole")
    assert job(whole).code == 0
    expected = contents(whole["folder"])
    assert {name: expected[name] for name in FILES} == FILES
    steps = operations(whole["logs"])
    assert len(steps) >= 8
    for number in range(1, len(steps) + 1):
        broken = data(f"{number}")
        killed = job(broken, kill_at=number)
        assert killed.code == -signal.SIGKILL, killed.output
        ended = job(broken)
        assert ended.code == 0, f"after a kill before {steps[number - 1]}: {ended.output}"
        assert contents(broken["folder"]) == expected, steps[number - 1]
        assert list(broken["folder"].parent.iterdir()) == [broken["folder"]], steps[number - 1]


def test_a_kill_in_the_middle_of_the_transfer_is_survived(server, tmp_path):
    folder = tmp_path / "data" / "ml-1m"
    arguments = (folder, server.url, sha256(GOOD))
    server.answers, server.pause = ["slow", "whole"], 1.0
    archive = folder.parent / ".ml-1m-download" / "ml-1m.zip"
    with started(jobs.download, *arguments, folder=folder.parent, logs=tmp_path / "logs") as job:
        deadline = time.monotonic() + 60
        while not (archive.exists() and archive.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.005)
        job.kill()
    assert 0 < archive.stat().st_size < len(GOOD)
    assert not folder.exists()
    ended = run(jobs.download, *arguments, folder=folder.parent, logs=tmp_path / "logs")
    assert ended.code == 0, ended.output
    assert contents(folder) == FILES
    assert list(folder.parent.iterdir()) == [folder]


def test_of_two_downloads_at_once_one_waits_for_nothing_and_says_why(server, tmp_path):
    folder = tmp_path / "data" / "ml-1m"
    arguments = (folder, server.url, sha256(GOOD))
    server.answers, server.pause = ["slow"], 3.0
    lock = folder.parent / ".ml-1m-download" / "ml-1m.zip"
    with started(jobs.download, *arguments, folder=folder.parent, logs=tmp_path / "one") as first:
        deadline = time.monotonic() + 60
        while not lock.exists() and time.monotonic() < deadline:
            time.sleep(0.005)
        second = run(jobs.download, *arguments, folder=folder.parent, logs=tmp_path / "two")
        assert second.code == 1
        assert "InUseError" in second.output
        assert "a download is already running in this folder" in second.output
        first.join(60)
    assert first.exitcode == 0
    assert contents(folder) == FILES
