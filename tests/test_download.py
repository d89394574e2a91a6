"""The download of MovieLens-1M, from a server of our own that fails in several ways."""

import threading
import zipfile
from pathlib import Path

import pytest
from werkzeug import Response

from recformer_utils import movielens
from recformer_utils.formats import download
from recformer_utils.movielens import DownloadError, download_movielens, load_movielens
from recformer_utils.runs.files import InUseError, exclusive
from tests.archive import FILES, GOOD, SUMMARY, archive, serve, use


@pytest.fixture(autouse=True)
def _server(httpserver, monkeypatch):
    use(monkeypatch, serve(httpserver))


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "data" / "ml-1m"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_the_four_files_are_unpacked(folder, capsys):
    assert download_movielens(folder) == folder
    assert contents(folder) == FILES
    assert list(folder.parent.iterdir()) == [folder]
    assert str(load_movielens(folder)).endswith(SUMMARY)
    assert "its terms of use are in the README there" in capsys.readouterr().out


def test_a_complete_folder_is_left_alone_without_a_request(folder, httpserver, capsys):
    download_movielens(folder)
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    serve(httpserver, 500)
    download_movielens(folder)
    assert not httpserver.log
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert "is complete: nothing to download" in capsys.readouterr().out


def test_faults_that_pass_are_survived(folder, httpserver):
    serve(httpserver, "cut off", 503, archive(README=b"another"), GOOD)
    assert contents(download_movielens(folder)) == FILES
    assert len(httpserver.log) == 4


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("cut off", "IncompleteRead"),
        (404, "404 Client Error: NOT FOUND"),
        (b"<html>Sign in to the network</html>", "does not match the known hash"),
    ],
)
def test_a_failure_leaves_nothing_and_says_what_to_do(
    folder, httpserver, monkeypatch, answer, reason
):
    serve(httpserver, answer)
    monkeypatch.setattr(zipfile, "ZipFile", None)  # opening the wrong one would be a TypeError
    with pytest.raises(DownloadError) as caught:
        download_movielens(folder)
    assert list(folder.parent.iterdir()) == []
    message = f"{download.ML_1M_URL}ml-1m.zip could not be downloaded in 4 attempts: "
    assert str(caught.value).startswith(message)
    for part in (reason, "grouplens.org/datasets/movielens/1m", "RECFORMER_DATA", "certificate"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://localhost:9/", "Connection refused"), ("https://localhost:{}/", "SSL")],
)
def test_no_server_and_no_secure_connection(folder, httpserver, monkeypatch, url, reason):
    monkeypatch.setattr(download, "ML_1M_URL", url.format(httpserver.port))
    with pytest.raises(DownloadError, match=reason):
        download_movielens(folder)
    assert list(folder.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("README", None),
        ("ratings.dat", None),
        ("ratings.dat", b"1::1::5::9783\n1::1"),
        ("users.dat", FILES["users.dat"] + b"2::F::1::10::48067\n"),
    ],
    ids=["no README", "no ratings", "unreadable", "one user more"],
)
def test_an_incomplete_or_damaged_folder_is_repaired(folder, capsys, name, damage):
    download_movielens(folder)
    (folder / name).unlink()
    if damage:
        (folder / name).write_bytes(damage)
    (folder / "notes.txt").write_text("mine")
    download_movielens(folder)
    assert contents(folder) == {**FILES, "notes.txt": b"mine"}
    assert list(folder.parent.iterdir()) == [folder]
    if damage and name == "ratings.dat":
        assert "line 2: found 2 fields in '1::1'" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        408,
        429,
        Response(status=302, headers={"Location": "http://[::1"}),
        Response(iter([GOOD]), headers={"Content-Length": "abc"}),
        Response(iter([b"-5\r\n", GOOD]), headers={"Transfer-Encoding": "chunked"}),
    ],
    ids=["408", "429", "no address", "no length", "a chunk of -5 bytes"],
)
def test_strange_answers_are_tried_again_and_told_in_a_sentence(folder, httpserver, answer):
    serve(httpserver, answer, GOOD)
    assert contents(download_movielens(folder)) == FILES
    (folder / "README").unlink()
    serve(httpserver, answer)
    with pytest.raises(DownloadError, match="could not be downloaded in 4 attempts"):
        download_movielens(folder)


def test_a_failed_repair_changes_nothing(folder, httpserver):
    download_movielens(folder)
    (folder / "users.dat").unlink()
    before = contents(folder)
    serve(httpserver, "cut off")
    with pytest.raises(DownloadError):
        download_movielens(folder)
    assert contents(folder) == before
    assert list(folder.parent.iterdir()) == [folder]


def test_a_file_in_the_way_is_not_touched(folder, httpserver):
    folder.parent.mkdir()
    folder.write_text("mine")
    with pytest.raises(DownloadError, match="is not a folder"):
        download_movielens(folder)
    assert folder.read_text() == "mine"
    assert not httpserver.log


def test_a_server_that_drips_is_not_waited_for(folder, httpserver, monkeypatch):
    released = threading.Event()

    def drip(request):
        def body():
            yield GOOD[:1]
            released.wait(20)

        return Response(body(), headers={"Content-Length": str(len(GOOD))})

    httpserver.clear()
    httpserver.expect_request("/ml-1m.zip").respond_with_handler(drip)
    monkeypatch.setattr(download, "LONGEST", 1)
    try:
        with pytest.raises(DownloadError, match="not done after 1 seconds"):
            download_movielens(folder)
    finally:
        released.set()
    assert list(folder.parent.iterdir()) == []


def test_links_to_nowhere_and_folders_in_the_way_are_named_before_anything_changes(folder):
    folder.parent.mkdir()
    folder.symlink_to(folder.parent / "drive-that-is-away")
    with pytest.raises(DownloadError, match=r"ml-1m is not a folder"):
        download_movielens(folder)
    folder.unlink()
    (folder / "users.dat").mkdir(parents=True)
    (folder / "README").write_text("mine")
    with pytest.raises(DownloadError, match=r"users\.dat is not a file"):
        download_movielens(folder)
    assert (folder / "README").read_text() == "mine"
    (folder / "users.dat").rmdir()
    (folder.parent / ".ml-1m-download").write_text("mine")
    with pytest.raises(DownloadError, match=r"\.ml-1m-download is not a folder"):
        download_movielens(folder)


def test_of_two_downloads_at_once_the_second_says_so(folder):
    scratch = folder.parent / ".ml-1m-download"
    with (
        exclusive(scratch, "a download"),
        pytest.raises(InUseError, match="a download is already running"),
    ):
        download_movielens(folder)
    assert scratch.exists()


def test_what_a_killed_download_left_is_cleared_away(folder, httpserver):
    scratch = folder.parent / ".ml-1m-download"
    (scratch / "ml-1m").mkdir(parents=True)
    (scratch / "ml-1m.zip").write_bytes(GOOD[:50])
    (scratch / "ml-1m/users.dat").write_bytes(b"1::")
    assert contents(download_movielens(folder)) == FILES
    scratch.mkdir()  # killed when all was done but this
    download_movielens(folder)
    assert list(folder.parent.iterdir()) == [folder]
    assert len(httpserver.log) == 1


def test_the_command_prints_the_summary_or_the_reason(folder, httpserver, monkeypatch, capsys):
    monkeypatch.setattr(movielens, "download_movielens", lambda: download_movielens(folder))
    movielens._main()
    assert capsys.readouterr().out.splitlines()[-1].endswith(f": {SUMMARY}")
    (folder / "README").unlink()
    serve(httpserver, 404)
    with pytest.raises(SystemExit, match="404 Client Error"):
        movielens._main()
