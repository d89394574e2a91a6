"""The demo, built once for all of its tests on the embedded sample, and a browser to visit it."""

import functools
import http.server
import json
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from recformer_utils.movielens import load_movielens
from tools import demo
from tools.demo_model import load_pretrained

SCREENSHOTS = Path(__file__).resolve().parents[2] / "build/screenshots"


@pytest.fixture(scope="session")
def sample_demo(tmp_path_factory):
    """The folder of a demo of the sample."""
    folder = tmp_path_factory.mktemp("demo") / "dist"
    demo.build(folder, load_movielens("sample"))
    return folder


@pytest.fixture(scope="session")
def pretrained():
    """The sample's model in PyTorch, its numbers rounded as on the page."""
    return load_pretrained(load_movielens("sample"))


@pytest.fixture(scope="session")
def pytorch_ten(pretrained):
    """What PyTorch recommends to somebody with a history of movie ids: [(movie id, probability)]."""

    def ten(movie_ids):
        best = pretrained.probabilities(pretrained.metadata.tokenize_movies(movie_ids).tolist())
        best = best.topk(10)
        ids = pretrained.metadata.movie_ids_of(best.indices)
        return list(zip(ids, best.values.tolist(), strict=True))

    return ten


@pytest.fixture(scope="session")
def films(sample_demo):
    """The catalogue of the page, most watched first."""
    return json.loads((sample_demo / "catalogue.json").read_text())["films"]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def address(sample_demo):
    """Where a plain server, as in `python -m http.server`, shows the demo."""
    handler = functools.partial(_Quiet, directory=sample_demo)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Visit:
    """A reader's visit to the page; what it says and asks for is written down."""

    def __init__(self, browser, address, **context):
        context = {"viewport": {"width": 1280, "height": 900}, **context}
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.address = address
        self.complaints, self.requests = [], []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, link=""):
        """Opens the page; waits for its answer, or for what it says instead."""
        self.page.goto(self.address + link)
        self.page.wait_for_selector(
            "#ten[data-ready], #notice:not([hidden]), #failure:not([hidden])", state="attached"
        )
        return self.page

    def wait_for_ten(self, movie_ids):
        """Waits until the ten belong to this selection, then reads them."""
        selection = ",".join(str(movie_id) for movie_id in movie_ids)
        self.page.wait_for_selector(f'#ten[data-ready="{selection}"]', state="attached")
        return self.ten()

    def choose(self, number):
        """Chooses a ready-made history and waits for its ten; returns the films."""
        chip = self.page.locator(".chip").nth(number)
        chip.click()
        films = [int(movie) for movie in chip.get_attribute("data-films").split(",")]
        self.wait_for_ten(films)
        return films

    def ten(self):
        """The recommendations shown: [(movie id, probability)]."""
        read = "items => items.map(i => [Number(i.dataset.id), Number(i.dataset.probability)])"
        return [tuple(pair) for pair in self.page.eval_on_selector_all("#recommendations li", read)]

    def picks(self):
        """Movie ids of the reader's films, in order."""
        read = "items => items.map(item => Number(item.dataset.id))"
        return self.page.eval_on_selector_all("#picks .pick", read)

    def sideways(self):
        """By how many pixels the page can be scrolled sideways."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def settle(self):
        """Waits until everything that moves has come to rest: what is hit is what was aimed at."""
        self.page.evaluate(
            "new Promise(requestAnimationFrame).then(() => Promise.allSettled([document.fonts.ready, "
            "...document.getAnimations().map(animation => animation.finished)]))"
        )

    def photograph(self, name):
        """Stores what is on the screen."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.settle()
        self.page.screenshot(path=SCREENSHOTS / f"demo-{name}.png")

    def elsewhere(self):
        """Addresses that were asked for on other machines."""
        own = urlsplit(self.address).netloc
        return [
            url
            for url in self.requests
            if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != own
        ]


@pytest.fixture
def visit(chromium, address):
    """Starts visits; when the test is over, none may have complained or asked another machine.

    A test that breaks something on purpose takes its complaints off the list itself.
    """
    visits = []

    def start(**context):
        visits.append(Visit(chromium, address, **context))
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()
        assert one.elsewhere() == []
        assert one.complaints == []
