"""The download of MovieLens-1M, against a server of our own that fails in every way."""

import io
import stat
import zipfile
from pathlib import Path

import pytest

from recformer_utils import movielens
from recformer_utils.movielens import DownloadError, download_movielens, load_movielens
from tests.download_server import (
    FILES,
    GOOD,
    GOOD_MEMBERS,
    README,
    SUMMARY,
    Server,
    archive,
    serving,
    sha256,
)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(movielens, "RETRY_WAIT_SECONDS", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving() as server:
        yield server


def download(server: Server, folder: Path, retries: int = 2) -> Path:
    return download_movielens(folder, server.url, sha256(GOOD), retries)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_only_the_four_files_are_unpacked(server, tmp_path, capsys):
    folder = tmp_path / "data" / "ml-1m"
    assert download(server, folder) == folder
    assert contents(folder) == FILES
    assert list(folder.parent.iterdir()) == [folder]
    assert str(load_movielens(folder)).endswith(SUMMARY)
    assert "its terms of use are in the README there" in capsys.readouterr().out


def test_a_complete_folder_is_left_alone_without_a_request(server, tmp_path, capsys):
    folder = download(server, tmp_path / "ml-1m")
    times = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    server.answers = [500]
    download(server, folder)
    assert server.requests == 1
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == times
    assert "is complete: nothing to download" in capsys.readouterr().out


def test_a_transfer_cut_off_once_starts_again(server, tmp_path, capsys):
    server.answers = ["cut off", "whole"]
    folder = download(server, tmp_path / "ml-1m")
    assert contents(folder) == FILES
    assert server.requests == 2
    assert "Attempt 1 failed: the connection was cut off" in capsys.readouterr().out


def test_a_server_fault_that_passes_is_survived(server, tmp_path):
    server.answers = [500, 503, "whole"]
    assert contents(download(server, tmp_path / "ml-1m")) == FILES
    assert server.requests == 3


@pytest.mark.parametrize(
    ("answer", "requests", "reason"),
    [
        ("cut off", 3, "in 3 attempts: the connection was cut off (IncompleteRead("),
        (500, 3, "in 3 attempts: the server answered 500 Internal Server Error"),
        (404, 1, "in 1 attempt: the server answered 404 Not Found"),  # asking again helps nobody
        (403, 1, "in 1 attempt: the server answered 403 Forbidden"),
    ],
)
def test_a_failure_leaves_nothing_and_says_what_to_do(server, tmp_path, answer, requests, reason):
    server.answers = [answer]
    with pytest.raises(DownloadError) as caught:
        download(server, tmp_path / "ml-1m")
    assert server.requests == requests
    assert list(tmp_path.iterdir()) == []
    for part in (
        server.url,
        reason,
        "https://grouplens.org/datasets/movielens/1m/",
        "unpack it to data/ml-1m",
        "RECFORMER_DATA",
        "certificate",
    ):
        assert part in str(caught.value)


def test_a_wrong_archive_is_never_opened(server, tmp_path, monkeypatch):
    server.body = archive({**GOOD_MEMBERS, "ml-1m/users.dat": b"2::F::1::10::48067\n"})
    monkeypatch.setattr(zipfile, "ZipFile", None)  # opening it would be a TypeError
    with pytest.raises(DownloadError) as caught:
        download(server, tmp_path / "ml-1m", retries=1)
    assert f"has the SHA-256 {sha256(server.body)}, expected {sha256(GOOD)}" in str(caught.value)
    assert server.requests == 2
    assert list(tmp_path.iterdir()) == []


def test_no_server_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as closed:
        url = closed.url
    with pytest.raises(DownloadError, match=r"in 1 attempt: there was no usable answer \(\[Errno"):
        download_movielens(tmp_path / "ml-1m", url, retries=0)
    assert list(tmp_path.iterdir()) == []


def test_a_connection_that_is_not_secure_is_not_used(server, tmp_path):
    with pytest.raises(DownloadError, match=r"the secure connection failed \(\[SSL"):
        download_movielens(tmp_path / "ml-1m", server.url.replace("http:", "https:"), retries=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            archive({name: GOOD_MEMBERS[name] for name in GOOD_MEMBERS if "ratings" not in name}),
            "no item named 'ml-1m/ratings.dat'",
        ),
        (
            archive({name[6:]: GOOD_MEMBERS[name] for name in list(GOOD_MEMBERS)[1:]}),
            "'ml-1m/README'",
        ),
        (archive({**GOOD_MEMBERS, "ml-1m/../../evil": b"x"}), "outside its folder"),
        (archive({**GOOD_MEMBERS, "/evil/file": b"x"}), "outside its folder: '/evil/file'"),
        (archive(GOOD_MEMBERS, mode=stat.S_IFLNK | 0o777), "ml-1m/README in the archive is a link"),
        (b"<html>Sign in to the network</html>", "not a zip file"),
        (GOOD[: len(GOOD) // 2], "not a zip file"),
    ],
    ids=["missing member", "other folder", "parent", "absolute", "link", "page", "half"],
)
def test_an_archive_with_the_right_hash_is_still_checked(server, tmp_path, body, reason):
    server.body = body
    folder = tmp_path / "inner" / "ml-1m"
    folder.parent.mkdir()
    with pytest.raises(DownloadError, match=reason):
        download_movielens(folder, server.url, sha256(body))
    assert list(tmp_path.iterdir()) == [folder.parent]
    assert list(folder.parent.iterdir()) == []


def test_a_huge_member_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setattr(movielens, "LARGEST_MEMBER_BYTES", len(README) - 1)
    with pytest.raises(DownloadError, match=f"ml-1m/README would have {len(README):,} bytes"):
        download(server, tmp_path / "ml-1m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["README", "users.dat", "movies.dat", "ratings.dat"])
def test_an_incomplete_folder_is_repaired(server, tmp_path, name):
    folder = download(server, tmp_path / "ml-1m")
    (folder / name).unlink()
    (folder / "notes.txt").write_text("mine")
    download(server, folder)
    assert server.requests == 2
    assert contents(folder) == {**FILES, "notes.txt": b"mine"}
    assert list(tmp_path.iterdir()) == [folder]


def test_files_that_cannot_be_read_are_replaced(server, tmp_path, capsys):
    folder = download(server, tmp_path / "ml-1m")
    (folder / "ratings.dat").write_bytes(b"1::1::5::9783\n1::1")
    download(server, folder)
    assert contents(folder) == FILES
    assert "line 2: found 2 fields in '1::1'" in capsys.readouterr().out


def test_a_failed_repair_changes_nothing(server, tmp_path):
    folder = download(server, tmp_path / "ml-1m")
    (folder / "users.dat").unlink()
    before = contents(folder)
    server.answers = ["cut off"]
    with pytest.raises(DownloadError):
        download(server, folder, retries=0)
    assert contents(folder) == before
    assert list(tmp_path.iterdir()) == [folder]


def test_readable_files_that_are_not_all_of_movielens_1m_are_replaced(
    server, tmp_path, monkeypatch
):
    """Under the hash of the real archive, a folder counts as complete only with all its rows."""
    monkeypatch.setattr(movielens, "ML_1M_SHA256", sha256(GOOD))
    folder = download(server, tmp_path / "ml-1m")
    download(server, folder)
    assert server.requests == 2
    monkeypatch.setattr(movielens, "ML_1M_COUNTS", (1, 1, 1))
    download(server, folder)
    assert server.requests == 2


def test_a_file_in_the_way_is_not_touched(server, tmp_path):
    (tmp_path / "ml-1m").write_text("mine")
    with pytest.raises(DownloadError, match="is not a folder"):
        download(server, tmp_path / "ml-1m")
    assert (tmp_path / "ml-1m").read_text() == "mine"
    assert server.requests == 0


def test_the_command_prints_the_summary_or_the_reason(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        movielens, "download_movielens", lambda: download(server, tmp_path / "ml-1m", retries=0)
    )
    movielens.main()
    assert capsys.readouterr().out.splitlines()[-1].endswith(f": {SUMMARY}")
    (tmp_path / "ml-1m" / "README").unlink()
    server.answers = [404]
    with pytest.raises(SystemExit, match="404 Not Found"):
        movielens.main()


def test_a_server_that_sends_without_end_is_cut_off(server, tmp_path):
    server.answers = ["endless"]
    with pytest.raises(DownloadError, match="sent more than 16,777,216 bytes"):
        download(server, tmp_path / "ml-1m")
    assert server.requests == 1
    assert server.sent < 2 * movielens.LARGEST_ARCHIVE_BYTES + 2**23  # what was under way included
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_refused_by_its_ratio(server, tmp_path):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in GOOD_MEMBERS.items():
            opened.writestr(name, bytes(30_000_000) if name.endswith("ratings.dat") else content)
    server.body = buffer.getvalue()
    refused = r"ratings.dat would have 30,000,000 bytes, out of [\d,]+ in the archive"
    with pytest.raises(DownloadError, match=refused):
        download_movielens(tmp_path / "ml-1m", server.url, sha256(server.body))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_download_left_is_cleared_away(server, tmp_path):
    scratch = tmp_path / ".ml-1m-download"
    (scratch / "ml-1m").mkdir(parents=True)
    (scratch / "ml-1m.zip").write_bytes(GOOD[:50])
    (scratch / "ml-1m/users.dat").write_bytes(b"1::")
    folder = download(server, tmp_path / "ml-1m")
    assert contents(folder) == FILES
    scratch.mkdir()  # killed when all was done but this
    download(server, folder)
    assert list(tmp_path.iterdir()) == [folder]
    assert server.requests == 1
