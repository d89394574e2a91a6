"""`make data`, killed before any of its file operations: the next one completes it."""

import signal
from pathlib import Path

import pytest

from tests.archive import FILES, serve
from tests.faults import jobs
from tests.faults.harness import operations, run

DAMAGED = {**FILES, "users.dat": b"1::F::1\n", "mine.txt": b"notes"}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("before", [{}, DAMAGED], ids=["fresh", "damaged"])
def test_a_kill_before_any_file_operation_changes_nothing(httpserver, tmp_path, before):
    url = serve(httpserver)

    def place(name: str) -> Path:
        folder = tmp_path / name / "ml-1m"
        (folder if before else folder.parent).mkdir(parents=True)
        for file, content in before.items():
            (folder / file).write_bytes(content)
        return folder

    def job(folder: Path, **options):
        logs = tmp_path / f"{folder.parent.name} logs"
        return run(jobs.download, folder, url, folder=folder.parent, logs=logs, **options)

    whole = place("whole")
    ended = job(whole)
    assert ended.code == 0, ended.output
    assert contents(whole) == {**before, **FILES}
    steps = operations(tmp_path / "whole logs")
    assert len(steps) >= 8
    for number in range(1, len(steps) + 1):
        broken = place(f"{number}")
        killed = job(broken, kill_at=number)
        assert killed.code == -signal.SIGKILL, killed.output
        ended = job(broken)
        assert ended.code == 0, f"after a kill before {steps[number - 1]}: {ended.output}"
        assert contents(broken) == {**before, **FILES}, steps[number - 1]
        assert list(broken.parent.iterdir()) == [broken], steps[number - 1]
