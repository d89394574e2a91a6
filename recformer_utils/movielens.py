"""Find, download and load MovieLens-1M, or the embedded sample where it is not there.

`python -m recformer_utils.movielens` downloads MovieLens-1M to data/ml-1m. Source of the data:
F. M. Harper and J. A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015,
doi:10.1145/2827872.
"""

import contextlib
import os
import shutil
import stat
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pandas as pd

from recformer_utils import ROOT, SAMPLE_FOLDER
from recformer_utils.formats.dat import (
    BY_HAND,
    FILES,
    MovieLensFormatError,
    MovieLensNotFoundError,
    has_csv_form,
    read_movielens_files,
    read_movies,
    read_ratings,
    read_users,
)
from recformer_utils.runs.files import (
    CANNOT_WRITE,
    InUseError,
    NotWrittenError,
    exclusive,
    naming_path,
)

__all__ = [
    "DownloadError",
    "MovieLens",
    "MovieLensFormatError",
    "MovieLensNotFoundError",
    "download_movielens",
    "load_movielens",
    "read_movielens_files",
    "read_movies",
    "read_ratings",
    "read_users",
]

ML_1M_FOLDER = ROOT / "data" / "ml-1m"
ML_1M_COUNTS = (6_040, 3_883, 1_000_209)  # users, movies, ratings
ML_1M_URL = "https://files.grouplens.org/datasets/movielens/ml-1m.zip"
ML_1M_SHA256 = "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"
RETRY_WAIT_SECONDS = 1.0  # before the second attempt; doubled before each further one
LARGEST_ARCHIVE_BYTES = 16 * 2**20  # ml-1m.zip has 6 million
LARGEST_MEMBER_BYTES = 100 * 2**20  # ratings.dat has 25 million
LARGEST_RATIO = 100  # of a file to what it takes in the archive; ratings.dat has 5


class DownloadError(RuntimeError):
    """MovieLens-1M could not be downloaded, verified or unpacked; nothing was changed."""


@dataclass(frozen=True, eq=False)
class MovieLens:
    """The three frames of a data set in MovieLens-1M's format; `print` gives its size in one line.

    users: user_id int32; sex, age_group, occupation category; zip_code str
    movies: movie_id int32; title, genres str
    ratings: user_id, movie_id int32; rating int8 (1 to 5); unix_timestamp int32 (seconds)
    """

    name: str  # "sample", "ml-1m" or the folder's name
    folder: Path = field(repr=False)
    users: pd.DataFrame = field(repr=False)
    movies: pd.DataFrame = field(repr=False)
    ratings: pd.DataFrame = field(repr=False)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Numbers of users, movies and ratings."""
        return len(self.users), len(self.movies), len(self.ratings)

    def __str__(self) -> str:
        if self.counts == ML_1M_COUNTS:
            title = "MovieLens-1M"
        elif self.folder == SAMPLE_FOLDER:
            title = "the embedded sample (invented)"
        elif self.folder == Path():  # a table of the reader's own, see own_data.py
            title = self.name
        else:
            title = f"folder {self.folder.name!r}"
            title += " (not the whole of MovieLens-1M)" if self.name == "ml-1m" else ""
        rated = self.ratings["movie_id"].nunique()
        users, movies, ratings = (f"{count:,}" for count in self.counts)
        return f"{title}: {users} users, {movies} movies ({rated:,} rated), {ratings} ratings"


def load_movielens(name: str | Path = "auto") -> MovieLens:
    """Read a data set in MovieLens-1M's format, checked line by line.

    name: "sample" (data/sample), "ml-1m" (data/ml-1m, else the folder that RECFORMER_DATA names),
        "auto" ("ml-1m" where it is there, else "sample") or the path of a folder, which may also
        be in the CSV form of MovieLens-20M, 25M and 32M (movies.csv, ratings.csv).
    Raises MovieLensNotFoundError (a missing file or folder) and MovieLensFormatError (a bad line).
    """
    if name in ("auto", "ml-1m") and (folder := _find_ml_1m()):
        label = "ml-1m"
    elif name == "ml-1m":
        raise MovieLensNotFoundError(
            "MovieLens-1M is neither in data/ml-1m nor in a folder named by RECFORMER_DATA (not "
            f"set). `make data` downloads it to data/ml-1m. {BY_HAND}"
        )
    elif name in ("auto", "sample"):
        label, folder = "sample", SAMPLE_FOLDER
        _require_files(folder, "`python data/make_sample.py` writes the sample")
    else:
        folder = Path(name).expanduser().resolve()
        label = folder.name
        if not has_csv_form(folder):
            advice = 'Give "auto", "sample", "ml-1m" or a folder with the three files'
            _require_files(folder, f"{advice}, or with movies.csv and ratings.csv")
    return MovieLens(label, folder, *read_movielens_files(*(folder / file for file in FILES)))


def _find_ml_1m() -> Path | None:
    if any((ML_1M_FOLDER / file).exists() for file in FILES):
        _require_files(ML_1M_FOLDER, "`make data` completes data/ml-1m")
        return ML_1M_FOLDER
    if os.environ.get("RECFORMER_DATA"):
        folder = Path(os.environ["RECFORMER_DATA"]).expanduser().resolve()
        _require_files(folder, "RECFORMER_DATA names this folder: mend or unset the variable")
        return folder
    return None


def _require_files(folder: Path, advice: str) -> None:
    missing = [file for file in FILES if not (folder / file).is_file()]
    if missing:
        found = f"no {', no '.join(missing)}" if folder.is_dir() else "no such folder"
        raise MovieLensNotFoundError(
            f"{folder}: found {found}; expected {', '.join(FILES)}. {advice}."
        )


def download_movielens(
    destination: str | Path = ML_1M_FOLDER,
    url: str = ML_1M_URL,
    sha256: str = ML_1M_SHA256,
    retries: int = 3,
) -> Path:
    """Download MovieLens-1M, verify it, unpack its README and three data files; return the folder.

    A complete folder is left alone; in an incomplete or unreadable one the four files are replaced.
    retries: further attempts after a failed one, each from the start, after 1, 2, 4, ... seconds.
    Raises DownloadError, which says what happened and how to get the data by hand; InUseError
    (another download to that folder is at work) and NotWrittenError (disk full, or not writable).
    """
    destination = Path(destination)
    # Beside the destination: a move within one file system is all or nothing.
    scratch = destination.parent / f".{destination.name}-download"
    if _is_complete(destination, sha256):
        if scratch.exists():  # of a download that was killed when all was done but this
            with contextlib.suppress(InUseError), exclusive(scratch, "a download"):
                shutil.rmtree(scratch)
        print(f"{_shown(destination)} is complete: nothing to download.")
        return destination
    if destination.exists() and not destination.is_dir():
        raise DownloadError(f"{destination} is not a folder: move it away, then repeat.")
    archive, unpacked = scratch / "ml-1m.zip", scratch / "ml-1m"
    with exclusive(scratch, "a download"), naming_path(destination):
        try:
            shutil.rmtree(unpacked, ignore_errors=True)  # of a download that was killed
            _fetch(url, archive, sha256, retries)
            _unpack(archive, unpacked)
            if destination.exists():
                # Without ratings.dat the folder is incomplete, should a kill come in between.
                (destination / FILES[-1]).unlink(missing_ok=True)
                for file in ("README", *FILES):
                    (unpacked / file).replace(destination / file)
            else:
                unpacked.replace(destination)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"MovieLens-1M is in {_shown(destination)}; its terms of use are in the README there.")
    return destination


def _is_complete(folder: Path, sha256: str) -> bool:
    if not all((folder / file).is_file() for file in ("README", *FILES)):
        return False
    try:
        data = load_movielens(folder)
    except MovieLensFormatError as error:
        print(f"Replacing the files in {_shown(folder)}: {error}")
        return False
    return sha256 != ML_1M_SHA256 or data.counts == ML_1M_COUNTS


def _shown(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def _fetch(url: str, archive: Path, sha256: str, retries: int) -> None:
    """Download to `archive` and verify its hash; try again unless the server refuses (4xx)."""
    import pooch  # here, because only a download needs them
    import requests

    download = pooch.HTTPDownloader(progressbar=True, chunk_size=2**16)
    for attempt in range(retries + 1):
        refused = False
        try:
            with archive.open("wb") as file:
                download(url, _Bounded(file, url), None)
        except requests.HTTPError as error:
            status = error.response.status_code
            refused = 400 <= status < 500
            reason = f"the server answered {status} {error.response.reason}"
        except requests.exceptions.SSLError as error:
            reason = f"the secure connection failed ({_root_cause(error)})"
        except requests.exceptions.ChunkedEncodingError as error:
            reason = f"the connection was cut off ({_root_cause(error)})"
        except requests.RequestException as error:
            reason = f"there was no usable answer ({_root_cause(error)})"
        else:
            found = pooch.file_hash(str(archive))
            if found == sha256:
                return
            reason = f"the archive has the SHA-256 {found}, expected {sha256}"
        if refused or attempt == retries:
            break
        wait = RETRY_WAIT_SECONDS * 2**attempt
        print(f"Attempt {attempt + 1} failed: {reason}. Starting again in {wait:g} s.")
        time.sleep(wait)
    attempts = f"{attempt + 1} attempt{'s' if attempt else ''}"
    raise DownloadError(
        f"{url} could not be downloaded in {attempts}: {reason}. "
        f"GroupLens' server has had certificate outages, so a later try may do. {BY_HAND}"
    )


class _Bounded:
    """A file to download to: a server could send without end."""

    def __init__(self, file: IO[bytes], url: str):
        self.file, self.url, self.left = file, url, LARGEST_ARCHIVE_BYTES

    def write(self, chunk: bytes) -> None:
        self.left -= len(chunk)
        if self.left < 0:
            raise DownloadError(
                f"{self.url} sent more than {LARGEST_ARCHIVE_BYTES:,} bytes, so it is not the "
                f"archive of MovieLens-1M. {BY_HAND}"
            )
        self.file.write(chunk)

    def flush(self) -> None:
        self.file.flush()


def _root_cause(error: BaseException) -> BaseException:
    """Return the first of a chain of errors: the others only wrap it in more words."""
    while error.__context__ is not None:
        error = error.__context__
    return error


def _unpack(archive: Path, folder: Path) -> None:
    """Write the four files wanted, and nothing else in the archive, to a new folder."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            outside = [n for n in opened.namelist() if n.startswith("/") or ".." in Path(n).parts]
            if outside:
                raise DownloadError(f"The archive would write outside its folder: {outside[0]!r}.")
            for file in ("README", *FILES):
                member = opened.getinfo(f"ml-1m/{file}")
                if stat.S_ISLNK(member.external_attr >> 16):
                    raise DownloadError(f"ml-1m/{file} in the archive is a link, not a file.")
                if member.file_size > min(
                    LARGEST_MEMBER_BYTES, LARGEST_RATIO * member.compress_size + 2**20
                ):
                    raise DownloadError(
                        f"ml-1m/{file} would have {member.file_size:,} bytes, out of "
                        f"{member.compress_size:,} in the archive: refused."
                    )
                with opened.open(member) as source, (folder / file).open("wb") as target:
                    shutil.copyfileobj(source, target)
    except (DownloadError, MemoryError):
        raise
    except Exception as error:  # what a damaged archive makes zipfile raise is not all listed
        if isinstance(error, OSError) and error.errno in CANNOT_WRITE:
            raise
        reason = error.args[0] if error.args else type(error).__name__
        raise DownloadError(
            f"The archive is not that of MovieLens-1M: {reason}. {BY_HAND}"
        ) from error


def main() -> None:
    """Download MovieLens-1M to data/ml-1m and print its size; `make data` calls this."""
    try:
        print(load_movielens(download_movielens()))
    except (DownloadError, InUseError, NotWrittenError) as error:
        raise SystemExit(str(error)) from None  # the message says it all, a traceback would bury it


if __name__ == "__main__":
    main()
