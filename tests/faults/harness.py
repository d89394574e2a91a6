"""Jobs in processes of their own, killed with SIGKILL at a file operation or after some seconds.

A job's file operations are counted (opening to write, syncing, renaming, removing, making folders,
changing modes; below one folder), so a kill can be put before each one of them: every state that
a kill can leave behind in the folder is tried, not only those that a clock happens to hit.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing import forkserver
from pathlib import Path

from tests.tally import count

LONG = os.environ.get("RECFORMER_FAULTS") == "long"
# Imports PyTorch once; each job is then a fork of that process and starts at once.
FORKS = multiprocessing.get_context("forkserver")
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate"}


def _start_forks() -> None:
    """Starts the process that the jobs are forks of; before Python 3.13 it ignores sys.path."""
    FORKS.set_forkserver_preload(["tests.faults.jobs"])
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(
        [str(Path(__file__).parents[2]), *filter(None, [before])]
    )
    try:
        forkserver.ensure_running()
    finally:
        os.environ.pop("PYTHONPATH")
        os.environ |= {"PYTHONPATH": before} if before else {}


@dataclass
class Ended:
    """How a job ended: its exit code (negative: the signal) and what it printed."""

    code: int
    output: str


@dataclass
class Killer:
    """Counts a process's file operations below a folder and kills it before one of them."""

    folder: str
    kill_at: int | None  # from 1; None: only count
    log: Path
    count: int = field(default=0)
    busy: bool = False

    def __call__(self, event: str, arguments: tuple) -> None:
        if self.busy:
            return
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR)) if flags else "w" in str(mode)
            if writes:
                self.before(f"open {mode}", path)
        elif event in CHANGES:
            self.before(event, arguments[0])

    def before(self, event: str, path: object) -> None:
        path = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
        if not path.startswith(self.folder) or path.endswith(".lock"):
            return
        self.busy = True
        self.count += 1
        with self.log.open("a") as file:
            file.write(f"{event} {path}\n")
        if self.count == self.kill_at:
            tear(event, path)
            os.kill(os.getpid(), signal.SIGKILL)
        self.busy = False


def tear(event: str, path: str) -> None:
    """What a kill within a write leaves: half of a file, or the first bytes of what is added."""
    if event == "fsync":
        os.truncate(path, os.path.getsize(path) // 2)
    elif event in ("open a", "open ab"):  # TensorBoard appends
        with open(path, "ab") as file:
            file.write(b"\x18\x00\x00\x00")


def _child(job: Callable, arguments: tuple, killer: Killer, output: Path) -> None:
    with output.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        killer.before("fsync", os.readlink(f"/proc/self/fd/{descriptor}"))
        sync(descriptor)

    os.fsync = fsync
    sys.addaudithook(killer)
    code = 1
    try:
        job(*arguments)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # leave no exit handler to run after the job


@contextlib.contextmanager
def started(
    job: Callable, *arguments, folder: Path, logs: Path, kill_at: int | None = None
) -> Iterator[multiprocessing.Process]:
    """A job at work; it is killed at the end, if it has not ended by then."""
    logs.mkdir(exist_ok=True)
    (logs / "output").touch()
    killer = Killer(str(folder), kill_at, logs / "operations")
    _start_forks()
    process = FORKS.Process(target=_child, args=(job, arguments, killer, logs / "output"))
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()
        if process.exitcode == -signal.SIGKILL:
            count(f"kill: {job.__name__}", "kills")


def run(
    job: Callable,
    *arguments,
    folder: Path,
    logs: Path,
    kill_at: int | None = None,
    seconds: float = 120,
) -> Ended:
    """Runs a job to its end, or to the kill, which comes after ``seconds`` at the latest."""
    with started(job, *arguments, folder=folder, logs=logs, kill_at=kill_at) as process:
        process.join(seconds)
        process.kill()
        process.join()
    return Ended(process.exitcode, (logs / "output").read_text(errors="replace"))


def operations(logs: Path) -> list[str]:
    """The file operations of a job that was run with these logs."""
    return (logs / "operations").read_text().splitlines()
