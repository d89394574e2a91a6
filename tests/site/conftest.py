"""The built site, a server for it on this machine, and a browser to open it with."""

import fcntl
import functools
import gzip
import importlib.util
import io
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from tests.conftest import left_out
from tools.post_data import posts

REPOSITORY = Path(__file__).resolve().parents[2]
SITE = REPOSITORY / "site"
HTML = SITE / "_build/html"


def yardstick() -> float:
    """Seconds of processor time in which this machine colours the code of all posts."""
    code = [source for post in posts() for source in post.code]
    started = time.process_time()
    for source in code:
        highlight(source, PythonLexer(), HtmlFormatter())
    return time.process_time() - started


def build() -> float:
    """Builds the site anew; its processor time, in yardsticks.

    Clock time would say as much about what else runs here, and seconds as much about the machine. A
    machine's speed changes within a minute, so the yardstick is taken again and again meanwhile.
    """
    shutil.rmtree(SITE / "_build", ignore_errors=True)
    before, units = resource.getrusage(resource.RUSAGE_CHILDREN), []
    with tempfile.TemporaryFile("w+") as said:
        command = [sys.executable, "-m", "tools.site"]
        building = subprocess.Popen(command, cwd=REPOSITORY, stdout=said, stderr=said)
        while building.poll() is None:
            units.append(yardstick())
            time.sleep(3)
        said.seek(0)
        assert building.returncode == 0, said.read()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    effort = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return effort / statistics.mean(units)


@pytest.fixture(scope="session")
def built(tmp_path_factory, worker_id) -> tuple[Path, float]:
    """The site, and what `build` says; of several test processes the first one builds for all."""
    if importlib.util.find_spec("sphinx") is None:
        left_out("Sphinx is not installed (make test-site installs it)")
    if worker_id == "master":
        return HTML, build()
    with open(tmp_path_factory.getbasetemp().parent / "built", "a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        note.seek(0)
        effort = note.read()
        if not effort:
            effort = build()
            note.write(str(effort))
        return HTML, float(effort)


class Zipped(SimpleHTTPRequestHandler):
    """Serves text compressed, as hosts of static pages do."""

    def log_message(self, *args):
        pass

    def send_head(self):
        path = Path(self.translate_path(self.path))
        path = path / "index.html" if path.is_dir() else path
        if path.suffix not in (".html", ".css", ".js", ".json", ".svg") or not path.is_file():
            return super().send_head()
        body = gzip.compress(path.read_bytes(), 6)
        self.send_response(200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        return io.BytesIO(body)


@pytest.fixture(scope="session")
def address(built) -> Iterator[str]:
    """Where the built site is served: http://127.0.0.1:port/"""

    handler = functools.partial(Zipped, directory=built[0])
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def axe() -> Path:
    """axe-core, which looks for what keeps people out; from npm, as the lock file pins it."""
    path = SITE / "node_modules/axe-core/axe.min.js"
    if not path.exists():
        command = ["npm", "ci", "--no-audit", "--no-fund", "--silent"]
        try:
            subprocess.run(command, cwd=SITE, check=True, timeout=120, capture_output=True)
        except (OSError, subprocess.SubprocessError) as error:
            left_out(f"npm could not install axe-core ({error})")
    return path


@pytest.fixture
def open_page(chromium, address):
    """Opens pages: open_page(path, width, mode). At the end nothing may have gone wrong in any."""
    contexts, troubles = [], []

    def open_page(path: str, width: int = 1280, mode: str = "light"):
        height = 800 if width > 600 else 740
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=mode, has_touch=width < 600
        )
        contexts.append(context)
        page = context.new_page()
        page.on(
            "console", lambda m: troubles.append(m.text) if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on(
            "response",
            lambda r: troubles.append(f"{r.status} {r.url}") if r.status >= 400 else None,
        )
        page.on(
            "request",
            lambda r: (
                None if r.url.startswith((address, "data:", "blob:")) else troubles.append(r.url)
            ),
        )
        page.address = address
        page.goto(path if path == "about:blank" else address + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert troubles == []
