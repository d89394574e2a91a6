"""Files are written whole or not at all, and in a folder one process writes at a time."""

import atexit
import contextlib
import errno
import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

UNFINISHED = ".recformer.part"  # ends the name of a file that is not whole yet, and no other
LOCK = ".lock"  # stays in the folder; the hold on it ends with the process, however that ends
CANNOT_WRITE = {
    errno.EACCES, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS,
}  # fmt: skip


class NotWrittenError(OSError):
    """A file or folder could not be written; what stood there before is intact."""

    def __str__(self) -> str:
        return (
            f"{self.filename}: could not be written ({self.strerror}). What stood there before is "
            f"intact. Make room, or choose a folder that you may write to, and start again"
        )


class InUseError(RuntimeError):
    """Another process is working in this folder."""


@contextlib.contextmanager
def naming_path(path: Path) -> Iterator[None]:
    """Turns the ways in which a disk refuses into a NotWrittenError that names the path."""
    try:
        yield
    except NotWrittenError:
        raise
    except OSError as error:
        if error.errno not in CANNOT_WRITE:
            raise
        raise NotWrittenError(error.errno, error.strerror, str(path)) from error


@contextlib.contextmanager
def replacing(path: Path, mode: int = 0o600) -> Iterator[IO[bytes]]:
    """A binary file to write to that takes its name only once it is whole, else NotWrittenError."""
    with (
        naming_path(path),
        tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED, delete=False
        ) as temporary,
    ):
        try:
            yield temporary
            temporary.flush()
            os.fsync(temporary.fileno())
            os.chmod(temporary.name, mode)
            os.replace(temporary.name, path)
        except BaseException:
            Path(temporary.name).unlink(missing_ok=True)
            raise


@contextlib.contextmanager
def exclusive(folder: Path, work: str, *more: Path) -> Iterator[None]:
    """Keeps a folder to this process, else InUseError says what ``work`` another one does there.

    Unfinished files of a process that was killed are removed, also those in ``more`` folders.
    """
    folder = Path(folder)
    with naming_path(folder):
        lock = FileLock(folder / LOCK)
        try:
            while not lock.is_locked:
                folder.mkdir(parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # another one has just removed it
                    lock.acquire(timeout=0)
        except Timeout as error:
            raise InUseError(
                f"{folder}: {work} is already running in this folder. Wait until it ends (or stop it), "
                f"or choose another folder"
            ) from error
    try:
        for each in (folder, *more):
            for left in Path(each).glob(f".*{UNFINISHED}"):
                left.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def own_folder(folder: str | Path) -> Path:
    """Empties a folder and keeps it to this process until it ends.

    While another process has it (the same notebook, opened twice), folder-2 is taken instead.
    """
    for number in itertools.count(1):
        chosen = Path(folder if number == 1 else f"{folder}-{number}")
        if chosen.is_symlink():  # what it leads to is not ours to empty
            continue
        with naming_path(chosen), contextlib.suppress(Timeout):
            chosen.mkdir(parents=True, exist_ok=True)
            lock = FileLock(chosen.resolve() / LOCK, is_singleton=True)  # one a process and path
            if not lock.is_locked:
                lock.acquire(timeout=0)
                atexit.register(lock.release)  # also keeps the lock alive
            for path in chosen.iterdir():
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
            return chosen
