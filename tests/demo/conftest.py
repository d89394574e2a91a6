"""The demo, built once for all of its tests on the embedded sample, and a browser to visit it."""

import functools
import http.server
import json
import shutil
import threading
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

NEEDED = ("onnx", "onnxscript", "onnxruntime", "fontTools")
SCREENSHOTS = Path(__file__).resolve().parents[2] / "build/screenshots"


@pytest.fixture(scope="session")
def demo_tools():
    """The module that builds the demo; the test is skipped where its packages are not there."""
    for name in NEEDED:
        pytest.importorskip(name, reason=f"{name} is not installed: `make test-demo` installs it")
    from tools import demo

    return demo


@pytest.fixture(scope="session")
def sample_demo(demo_tools, tmp_path_factory):
    """The folder of a demo of the sample."""
    from recformer_utils.movielens import load_movielens

    folder = tmp_path_factory.mktemp("demo") / "dist"
    demo_tools.build(folder, load_movielens("sample"))
    return folder


@pytest.fixture(scope="session")
def pretrained(demo_tools):
    """The sample's model in PyTorch."""
    from recformer_utils.movielens import load_movielens
    from tools.demo_model import load_pretrained

    return load_pretrained(load_movielens("sample"))


@pytest.fixture(scope="session")
def score_history(demo_tools):
    """The stored model's logits for a history without times, the features left where they are.

    score_history(data) -> movie tokens, int (time,) -> float (1, vocab_size)
    """
    from recformer_utils.sequence_model import make_batch
    from recformer_utils.sequences import Sequences
    from recformer_utils.tokens import MovieLensMetadata
    from tools.demo_model import SECONDS_APART
    from tools.stored import load_sequence_model

    def of(data):
        movies = data.movies[data.movies["movie_id"].isin(data.ratings["movie_id"])]
        file = demo_tools.REPOSITORY / "data/pretrained" / data.name / "sequence_model.pth"
        metadata = MovieLensMetadata.from_frames(data.users, movies)
        model, _ = load_sequence_model(file, movies, metadata)

        def score(tokens):
            # One film more in front, so that the first of the history has a gap before it.
            tokens = np.append(tokens[:1], tokens)
            times = SECONDS_APART * np.arange(len(tokens))
            ends = np.array([0, len(tokens)])
            user = Sequences(
                movie_tokens=tokens,
                ratings=np.ones(len(tokens), np.int8),
                timestamps=times,
                offsets=ends,
            )
            batch = make_batch(user, np.array([1]), ends[1:] - 1, np.array([0]))
            with torch.no_grad():
                return model.logits(model(batch)[:, -1])

        return score

    return of


@pytest.fixture(scope="session")
def pytorch_ten(pretrained, score_history):
    """What PyTorch recommends to somebody with a history of movie ids: [(movie id, probability)]."""
    from recformer_utils.movielens import load_movielens

    metadata, score = pretrained.metadata, score_history(load_movielens("sample"))

    def ten(movie_ids):
        tokens = metadata.tokenize_movies(movie_ids)
        scores = score(tokens).softmax(dim=-1)[0]
        scores[tokens] = -1
        scores[metadata.num_movies :] = -1
        best = scores.topk(10)
        ids = metadata.movie_ids_of(best.indices)
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
    if json.loads((sample_demo / "manifest.json").read_text())["runtime"] is None:
        pytest.skip("npm is not there, so the demo was built without its runtime")
    handler = functools.partial(_Quiet, directory=sample_demo)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="session")
def browser():
    """Chromium: the system's, else the one that `playwright install chromium` fetched."""
    sync_api = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: `make test-demo` installs it"
    )
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((path for name in names if (path := shutil.which(name))), None)
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error:
            pytest.skip(
                "no browser is there: install chromium, or run `playwright install chromium`"
            )
        yield found
        found.close()


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
        """Opens the page; waits for the catalogue unless the page could not load it."""
        self.page.goto(self.address + link)
        self.page.wait_for_selector("#boot", state="hidden")
        return self.page

    def wait_for_ten(self, movie_ids):
        """Waits until the ten belong to this selection, then reads them."""
        selection = ",".join(str(movie_id) for movie_id in movie_ids)
        self.page.wait_for_selector(f'#ten[data-ready="{selection}"]', state="attached")
        return self.ten()

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
            "Promise.allSettled([document.fonts.ready, "
            "...document.getAnimations().map(animation => animation.finished)])"
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
def visit(browser, address):
    """Starts visits; when the test is over, none may have complained or asked another machine.

    A test that breaks something on purpose takes its complaints off the list itself.
    """
    visits = []

    def start(**context):
        visits.append(Visit(browser, address, **context))
        return visits[-1]

    yield start
    for one in visits:
        one.context.close()
        assert one.elsewhere() == []
        assert one.complaints == []
