"""An archive like that of MovieLens-1M, and a server of our own that fails in every way."""

import hashlib
import io
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

README = b"Terms of use: research, no redistribution.\n" * 4000  # several pieces of a transfer
FILES = {
    "README": README,
    "users.dat": b"1::F::1::10::48067\n",
    "movies.dat": b"1::Toy Story (1995)::Animation\n",
    "ratings.dat": b"1::1::5::978300760\n",
}
SUMMARY = "1 users, 1 movies (1 rated), 1 ratings"


def archive(members: dict[str, bytes], mode: int | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            if mode is not None:
                info.external_attr = mode << 16
            opened.writestr(info, content)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


GOOD_MEMBERS = {
    "ml-1m/": b"",
    **{f"ml-1m/{name}": content for name, content in FILES.items()},
    "ml-1m/extra.txt": b"not wanted",
}
GOOD = archive(GOOD_MEMBERS)


class Server(ThreadingHTTPServer):
    """Serves `body`; `answers` are used up one a request, the last one stays."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.body, self.answers, self.requests = GOOD, ["whole"], 0
        self.sent, self.pause = 0, 0.2
        self.url = f"http://127.0.0.1:{self.server_port}/ml-1m.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        self.server.requests += 1
        if isinstance(answer, int):
            self.send_error(answer)
            return
        body = self.server.body
        if answer == "endless":  # as much as anyone will take, and no word of how much
            self.send_response(200)
            self.end_headers()
            while self.server.sent < 2**30:
                self.wfile.write(bytes(2**20))
                self.server.sent += 2**20
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        half = len(body) // 2
        self.wfile.write(body[:half])
        if answer == "slow":
            time.sleep(self.server.pause)
        if answer != "cut off":
            self.wfile.write(body[half:])

    def log_message(self, *_):
        pass


@contextmanager
def serving() -> Iterator[Server]:
    """The server, at work in a thread."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
