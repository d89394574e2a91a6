"""An archive like that of MovieLens-1M, and a server that answers as a test wishes."""

import hashlib
import io
import zipfile

import pytest
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

from recformer_utils.formats import download

FILES = {
    "README": b"Terms of use: research, no redistribution.\n",
    "users.dat": b"1::F::1::10::48067\n",
    "movies.dat": b"1::Toy Story (1995)::Animation\n",
    "ratings.dat": b"1::1::5::978300760\n",
}
COUNTS = (1, 1, 1)
SUMMARY = "1 users, 1 movies (1 rated), 1 ratings"


def archive(**files: bytes) -> bytes:
    """The bytes of an archive with these files, and one that nobody wants."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in {**FILES, **files, "extra.txt": b"not wanted"}.items():
            opened.writestr(zipfile.ZipInfo(f"ml-1m/{name}"), content)  # of a fixed date
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


GOOD = archive()


def serve(server: HTTPServer, *answers: int | str | bytes | Response) -> str:
    """Let the server give these answers in turn, the last one for ever; return its address.

    An answer is a status, "cut off" (half of the archive), the body or all of it.
    """
    left = list(answers or [GOOD])

    def handler(request: Request) -> Response:
        answer = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(answer, int):
            return Response(status=answer)
        if answer == "cut off":  # an iterator, so that the length that is named stays
            half = iter([GOOD[: len(GOOD) // 2]])
            return Response(half, headers={"Content-Length": str(len(GOOD))})
        return answer if isinstance(answer, Response) else Response(answer)

    server.clear()
    server.expect_request("/ml-1m.zip").respond_with_handler(handler)
    return server.url_for("/")


def use(patch: pytest.MonkeyPatch, url: str) -> None:
    """Download the archive above, from that address."""
    patch.setenv("NO_PROXY", "localhost")
    patch.setenv("no_proxy", "localhost")
    patch.setattr(download, "ML_1M_URL", url)
    patch.setattr(download, "ML_1M_SHA256", sha256(GOOD))
    patch.setattr(download, "ML_1M_COUNTS", COUNTS)
    patch.setattr("pooch.core.time.sleep", lambda seconds: None)  # no waiting between attempts
