"""Download MovieLens-1M: verified by its hash, unpacked beside its place, then moved there."""

import contextlib
import shutil
import threading
import zipfile
from concurrent.futures import Future
from os.path import lexists
from pathlib import Path

from recformer_utils import ROOT
from recformer_utils.formats.columns import MovieLensFormatError
from recformer_utils.formats.files import BY_HAND, FILES, read_movielens_files
from recformer_utils.runs.files import InUseError, exclusive, naming_path

ML_1M_FOLDER = ROOT / "data" / "ml-1m"
ML_1M_COUNTS = (6_040, 3_883, 1_000_209)  # users, movies, ratings
ML_1M_URL = "https://files.grouplens.org/datasets/movielens/"
ML_1M_SHA256 = "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20"
RETRIES = 3
LONGEST = 3600  # seconds that a download may take as a whole


class DownloadError(RuntimeError):
    """MovieLens-1M could not be downloaded or verified; nothing was changed."""


def download_movielens(destination: str | Path = ML_1M_FOLDER) -> Path:
    """Download MovieLens-1M, verify it, unpack its README and three data files; return the folder.

    A complete folder is left alone; in an incomplete or unreadable one the four files are replaced.
    Raises DownloadError (with the way by hand), InUseError and NotWrittenError.
    """
    destination = Path(destination)
    # Beside the destination: a move within one file system is all or nothing.
    scratch = destination.parent / f".{destination.name}-download"
    if _is_complete(destination):
        if scratch.exists():  # of a download that was killed when all was done but this
            with contextlib.suppress(InUseError), exclusive(scratch, "a download"):
                shutil.rmtree(scratch)
        print(f"{_shown(destination)} is complete: nothing to download.")
        return destination
    files = [destination / file for file in ("README", *FILES)]
    wrong = [path for path in (destination, scratch) if lexists(path) and not path.is_dir()]
    wrong += [path for path in files if path.is_dir()]
    if wrong:
        kind = "file" if wrong[0] in files else "folder"
        raise DownloadError(f"{wrong[0]} is not a {kind}: move it away, then repeat.")
    with exclusive(scratch, "a download"), naming_path(destination):
        try:
            unpacked = _fetch(scratch)
            if destination.exists():
                # Without ratings.dat the folder is incomplete, should a kill come in between.
                (destination / FILES[-1]).unlink(missing_ok=True)
                for file in files:
                    (unpacked / file.name).replace(file)
            else:
                unpacked.replace(destination)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"MovieLens-1M is in {_shown(destination)}; its terms of use are in the README there.")
    return destination


def _fetch(folder: Path) -> Path:
    """Download and unpack to a folder; the four files are in the one returned."""
    import pooch  # here, because only a download needs them
    from requests import RequestException

    registry = {"ml-1m.zip": f"sha256:{ML_1M_SHA256}"}
    archive = pooch.create(folder, ML_1M_URL, registry=registry, retry_if_failed=RETRIES)
    fetched: Future[str] = Future()

    def fetch() -> None:
        try:
            fetched.set_result(archive.fetch("ml-1m.zip", progressbar=True))
        except BaseException as error:
            fetched.set_exception(error)

    # requests limits the silence between two bytes only: a server may drip for days.
    threading.Thread(target=fetch, daemon=True).start()
    try:
        path = fetched.result(timeout=LONGEST)
    except (RequestException, ValueError, TimeoutError) as error:  # ValueError: another hash
        reason = str(error).rstrip(".") or f"not done after {LONGEST} seconds"
        raise DownloadError(
            f"{ML_1M_URL}ml-1m.zip could not be downloaded in {RETRIES + 1} attempts: {reason}. "
            f"GroupLens' server has had certificate outages, so a later try may succeed. {BY_HAND}"
        ) from error
    with zipfile.ZipFile(path) as opened:
        opened.extractall(folder, [f"ml-1m/{file}" for file in ("README", *FILES)])
    return folder / "ml-1m"


def _is_complete(folder: Path) -> bool:
    paths = [folder / file for file in FILES]
    if not all(path.is_file() for path in (folder / "README", *paths)):
        return False
    try:
        counts = tuple(map(len, read_movielens_files(*paths)))
    except MovieLensFormatError as error:
        print(f"Replacing the files in {_shown(folder)}: {error}")
        return False
    return counts == ML_1M_COUNTS


def _shown(path: Path) -> Path:
    path = path.resolve()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
