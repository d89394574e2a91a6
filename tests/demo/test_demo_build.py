"""What `make demo` writes: the model, the catalogue, the cards."""

import functools
import hashlib
import io
import json
import re
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch

from benchmarks.quality import save_sequence_model
from recformer_utils.evaluation import evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    make_batch,
)
from recformer_utils.sequences import Sequences, last_windows, leave_one_out
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import TransformerConfig
from tools import demo, demo_model
from tools.demo_model import SECONDS_APART, batch_without_times, pretrained_file
from tools.stored import load_sequence_model

# Reads a model file and answers histories, as the page does.
ANSWERS = """async ([histories, taking]) => {
    const { Model } = await import("./model.js");
    const manifest = await (await fetch("manifest.json")).json();
    const bytes = new Uint8Array(await (await fetch("model.bin")).arrayBuffer());
    const model = new Model(bytes, manifest.model);
    return histories.map((history) => {
        const { ten, attention, without } = model.answer(history);
        return [[...model.read(history, []).probabilities], ten, attention,
                taking && history.length > 1 ? history.map((_, place) => without(place)) : []];
    });
}"""


def test_the_page_computes_what_pytorch_computes(visit, pretrained):
    """Every probability, attention weight and change, for histories short, long and as long as can be."""
    rng, sequences = np.random.default_rng(3), pretrained.sequences
    histories = []
    for length in (*rng.integers(1, 9, 60), 40, pretrained.window):
        user = rng.choice(np.flatnonzero(sequences.lengths >= length))
        start = rng.integers(sequences.lengths[user] - length + 1)
        histories.append(sequences.of_user(user)[start : start + length].tolist())
    reader = visit()
    page = reader.open()
    short = [history for history in histories if len(history) < 9]
    for asked in (short, histories[len(short) :]):
        found = page.evaluate(ANSWERS, [asked, asked is short])
        for history, (probabilities, ten, attention, without) in zip(asked, found, strict=True):
            tokens = torch.tensor([history], dtype=torch.int32)
            with torch.no_grad():
                expected = pretrained.model(tokens)[0].softmax(dim=-1)[:-2].numpy()
            np.testing.assert_allclose(probabilities, expected, atol=1e-5)
            np.testing.assert_allclose(
                attention, pretrained.model.attention(tokens).detach(), atol=1e-5
            )
            if not without:
                continue
            answer = pretrained.answer(history)
            assert [token for token, _ in ten] == [token for token, _ in answer["ten"]]
            for mine, wanted in zip(without, answer["without"], strict=True):
                assert mine["ten"] == wanted["ten"]
                np.testing.assert_allclose(mine["of"], wanted["of"], atol=1e-5)


def test_rounding_changes_no_recommendation(pretrained):
    """Numbers of two bytes, against the stored model: two films in a thousand at most, and 0.1 %."""
    data = load_movielens("sample")
    movies = pretrained.movies
    metadata = MovieLensMetadata.from_frames(data.users, movies)
    model, _ = load_sequence_model(pretrained_file("sample"), movies, metadata)
    rng, kept, largest = np.random.default_rng(0), [], 0.0
    for user in rng.choice(len(pretrained.sequences.lengths), 100):
        history = pretrained.sequences.of_user(user)[-int(rng.integers(1, 12)) :]
        # One film more in front, so that the first of the history has a gap before it.
        tokens = np.append(history[:1], history)
        ends = np.array([0, len(tokens)])
        times, ratings = SECONDS_APART * np.arange(len(tokens)), np.ones(len(tokens), np.int8)
        one = Sequences(movie_tokens=tokens, ratings=ratings, timestamps=times, offsets=ends)
        batch = make_batch(one, np.array([1]), ends[1:] - 1, np.array([0]))
        with torch.no_grad():
            stored = model.logits(model(batch)[:, -1])[0].softmax(dim=-1)
            rounded = pretrained.model(torch.from_numpy(history)[None].int())[0].softmax(dim=-1)
        largest = max(largest, (stored - rounded).abs().max().item())
        tens = [set(each.topk(10).indices.tolist()) for each in (stored, rounded)]
        kept.append(len(tens[0] & tens[1]))
    assert np.mean(kept) >= 9.98
    assert 0 < largest < 1e-3


@pytest.mark.realdata
def test_the_gap_between_a_readers_films_is_the_best_of_those_tried(monkeypatch):
    """Users of MovieLens-1M with their last five films, a gap in place of those they had."""
    pretrained = demo_model.load_pretrained(load_movielens("ml-1m"))
    sequences = pretrained.sequences
    questions = leave_one_out(sequences).validation

    def score(sequences, questions):
        films = last_windows(sequences, questions, 5, pretrained.metadata.start_token)
        with torch.no_grad():
            return pretrained.model(films)

    found = {}
    for gap in (0, 10, 60, 3600):
        in_a_row = functools.partial(batch_without_times, seconds_apart=gap)
        monkeypatch.setattr(demo_model, "batch_without_times", in_a_row)
        ranks = evaluate_ranking(score, sequences, questions)
        found[gap] = metrics_from_ranks(ranks).ndcg
    monkeypatch.undo()
    assert max(found, key=found.get) == SECONDS_APART, found
    assert found[0] < 0.5 * found[SECONDS_APART], found


def store(path, vocab_size, **options):
    """An untrained model of another shape: a context of eight films, eight wide."""
    shape = TransformerConfig(
        vocab_size=vocab_size,
        context_window_size=8,
        embedding_dimension=8,
        num_layers=1,
        num_heads=2,
    )
    torch.manual_seed(0)
    save_sequence_model(SequenceModel(SequenceModelConfig(transformer=shape, **options)), path, {})


def test_another_model_can_take_its_place(pretrained, tmp_path):
    """Nothing of the build knows the pretrained model's numbers, or what it looks at."""
    store(tmp_path / "other.pth", pretrained.metadata.vocab_size)
    manifest = demo.build(tmp_path / "dist", load_movielens("sample"), tmp_path / "other.pth")
    assert manifest["model"]["window"] == 8
    assert manifest["model"]["bytes"] < 20_000


@pytest.mark.parametrize("asked", ["next_gap", "pair_gaps"])
def test_a_model_that_reads_what_the_page_does_not_know_is_refused(pretrained, tmp_path, asked):
    store(tmp_path / "other.pth", pretrained.metadata.vocab_size, **{asked: True})
    with pytest.raises(ValueError, match=f"{asked}, of which the page knows nothing"):
        demo.build(tmp_path / "dist", load_movielens("sample"), tmp_path / "other.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["other.pth"], "nothing half-built is left"


def test_manifest_describes_the_files(sample_demo, pretrained):
    manifest = json.loads((sample_demo / "manifest.json").read_text())
    for file in (manifest["model"], manifest["own"]):
        content = (sample_demo / file["file"]).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert manifest["model"]["window"] == pretrained.window
    assert manifest["model"]["num_movies"] == pretrained.metadata.num_movies
    assert manifest["data_set"]["may_be_published"] is True


def test_no_file_names_this_machine(sample_demo):
    home = str(demo.REPOSITORY).encode()
    for path in sample_demo.rglob("*"):
        if path.is_file():
            assert home not in path.read_bytes(), path.name


def test_catalogue_has_every_rated_film_once_and_no_more_than_the_page_needs(
    sample_demo, pretrained
):
    stored = json.loads((sample_demo / "catalogue.json").read_text())
    rated = load_movielens("sample").ratings["movie_id"].unique()
    films = stored["films"]
    assert {film["id"] for film in films} == set(rated)
    assert len(films) == len(rated)
    assert {frozenset(film) for film in films} == {
        frozenset({"id", "token", "name", "year", "genres"})
    }
    tokens = pretrained.metadata.tokenize_movies([film["id"] for film in films])
    assert tokens.tolist() == [film["token"] for film in films]


def test_presets_are_the_films_that_they_name(sample_demo):
    stored = json.loads((sample_demo / "catalogue.json").read_text())
    names = {film["id"]: film["name"] for film in stored["films"]}
    written = json.loads((demo.DEMO / "presets.json").read_text())["sample"]
    for preset, source in zip(stored["presets"], written, strict=True):
        found = [names[film] for film in preset["films"]]
        assert len(set(found)) == 5
        for name, wanted in zip(found, source["films"], strict=True):
            assert name.startswith(wanted), (preset["name"], name, wanted)


def test_every_card_has_a_picture_a_title_and_its_year(sample_demo):
    cards = json.loads((sample_demo / "cards.json").read_text())["cards"]
    for film in json.loads((sample_demo / "catalogue.json").read_text())["films"]:
        card = cards[str(film["id"])]
        colors = {color for color, _ in card["art"]}
        assert colors - {card["ground"]}, film["name"]
        assert all(re.fullmatch("#[0-9A-Fa-f]{6}", color) for color in colors), film["name"]
        *lines, label = [line[-1] for line in card["text"]]
        assert label.startswith(str(film["year"]))
        shown = "".join(lines).replace(" ", "").replace("-", "")
        assert shown == film["name"].replace(" ", "").replace("-", ""), film["name"]


def test_no_title_of_movielens_is_published(sample_demo):
    """But for those that the ready-made histories name, which are looked up in the reader's copy."""
    content = json.loads((sample_demo / "catalogue.json").read_text())
    named = {name for preset in content.pop("own_presets") for name in preset["films"]}
    assert len(named) == 25
    assert not named & {film["name"] for film in content["films"]}


@pytest.mark.realdata
def test_films_that_nobody_rated_are_those_of_movielens():
    data = load_movielens("ml-1m")
    unrated = set(data.movies["movie_id"]) - set(data.ratings["movie_id"])
    assert json.loads((demo.DEMO / "unrated.json").read_text()) == sorted(unrated)


# ------------------------------------------------------------------ the reader's own MovieLens-1M

GENRES = ["Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama",
          "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller",
          "War", "Western"]  # fmt: skip


def made_up(unrated: list[int]) -> pd.DataFrame:
    """Films with the ids of MovieLens-1M's, and the titles that the ready-made histories name."""
    content = json.loads((demo.DEMO / "presets.json").read_text(encoding="utf-8"))["ml-1m"]
    titles = [title for preset in content for title in preset["films"]]
    ids = [*unrated, *[i for i in range(1, 3953) if i not in unrated][:3706]]
    rng = np.random.default_rng(0)
    rows = []
    for number, movie_id in enumerate(sorted(ids)):
        named = (
            titles.pop() if movie_id not in unrated and titles else f"Ünnamed {movie_id % 977}, The"
        )
        genres = sorted(rng.choice(GENRES, 1 + number % 3, replace=False))
        year = f" ({1919 + number % 82})" if number % 50 else ""
        rows.append((movie_id, named + year, "|".join(genres)))
    return pd.DataFrame(rows, columns=["movie_id", "title", "genres"])


@pytest.fixture(scope="module")
def own():
    """A movies.dat like MovieLens-1M's: its frame and its bytes."""
    movies = made_up(json.loads((demo.DEMO / "unrated.json").read_text()))
    lines = [f"{a}::{b}::{c}\n" for a, b, c in movies.itertuples(index=False)]
    return movies, "".join(lines).encode("latin-1")


def pytorch_on(movies: pd.DataFrame, movie_ids: list[int]) -> list[tuple[int, float]]:
    """The stored model of MovieLens-1M on a reader's list; its parts are rounded before they are added."""
    unrated = json.loads((demo.DEMO / "unrated.json").read_text())
    movies = movies[~movies["movie_id"].isin(unrated)]
    metadata = MovieLensMetadata.from_frames(pd.DataFrame({"user_id": []}), movies)
    model, _ = load_sequence_model(pretrained_file("ml-1m"), movies, metadata)
    for parameter in model.parameters():
        parameter.data = parameter.data.half().float()
    tokens = metadata.tokenize_movies(movie_ids)
    with torch.no_grad():
        batch = batch_without_times(torch.from_numpy(tokens)[None].int())
        found = model.logits(model(batch)[:, -1])[0].softmax(dim=-1)
    found[tokens] = found[-2:] = 0
    best = found.topk(10)
    return list(zip(metadata.movie_ids_of(best.indices), best.values.tolist(), strict=True))


def zipped(content: bytes, method: int) -> bytes:
    """As GroupLens packs it: other files, a folder, and a comment behind the directory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        archive.writestr("ml-1m/README", b"read me" * 100)
        archive.writestr("ml-1m/movies.dat", content)
        archive.comment = b"a comment"
    return buffer.getvalue()


@pytest.mark.parametrize("packed", ["movies.dat", "deflated", "stored"])
def test_the_readers_own_movielens_gives_what_pytorch_gives(visit, own, packed):
    movies, content = own
    reader = visit()
    page = reader.open()
    method = {"deflated": zipfile.ZIP_DEFLATED, "stored": zipfile.ZIP_STORED}.get(packed)
    content = content if method is None else zipped(content, method)
    file = {"name": "a-file", "mimeType": "application/octet-stream", "buffer": content}
    page.get_by_label("Open MovieLens-1M").set_input_files(file)
    page.wait_for_selector("#about:has-text('3,706 films')")
    first = page.locator(".chip").first.get_attribute("data-films").split(",")
    names = movies.set_index("movie_id")["title"]
    assert [names[int(movie)].startswith("Toy Story") for movie in first] == [True, *[False] * 4]
    for history in (
        [int(movie) for movie in first],
        [movies["movie_id"].iloc[i] for i in (9, 70, 3000)],
    ):
        history = [int(movie) for movie in history]
        page.evaluate(f"location.hash = 'ml-1m={','.join(map(str, history))}'")
        shown = reader.wait_for_ten(history)
        expected = pytorch_on(movies, history)
        assert [movie for movie, _ in shown] == [movie for movie, _ in expected]
        np.testing.assert_allclose([p for _, p in shown], [p for _, p in expected], atol=1e-4)
    assert not [url for url in reader.requests if "a-file" in url]
    if packed == "deflated":
        reader.photograph("own")
        # A reload keeps catalogue and list; the link of the page shows it to who has the file too.
        page.reload()
        assert reader.wait_for_ten(history) == shown


def test_a_list_of_movielens_waits_for_the_readers_copy(visit, own):
    """A link is opened before the file: the file brings the list. It is dropped on the page."""
    movies, content = own
    history = [int(movie) for movie in movies["movie_id"].iloc[[5, 6, 7]]]
    reader = visit()
    page = reader.open(f"#ml-1m={','.join(map(str, history))}")
    assert "open your copy of it" in page.locator("#notice").inner_text()
    page.evaluate(
        """(text) => {
            const given = new DataTransfer();
            given.items.add(new File([Uint8Array.from(text, (c) => c.charCodeAt(0))], "movies.dat"));
            dispatchEvent(new DragEvent("drop", { dataTransfer: given, cancelable: true }));
        }""",
        content.decode("latin-1"),
    )
    assert [movie for movie, _ in reader.wait_for_ten(history)] == [
        movie for movie, _ in pytorch_on(movies, history)
    ]
    assert page.locator("#notice").is_hidden()


def test_a_list_that_is_asked_for_while_the_file_opens(visit, own):
    """Nothing of the invented films is left by then: neither in the ten nor in what is said of them."""
    movies, content = own
    history = [int(movie) for movie in movies["movie_id"].iloc[[5, 6, 7]]]
    reader = visit()
    page = reader.open()
    waiting = []
    page.route("**/ml-1m.bin*", lambda route: waiting.append(route))
    with page.expect_request("**/ml-1m.bin*"):
        page.get_by_label("Open MovieLens-1M").set_input_files(
            {"name": "movies.dat", "mimeType": "text/plain", "buffer": content}
        )
    page.wait_for_selector("#about:has-text('3,706 films')")
    assert page.locator("#recommendations li, #picks .pick").count() == 0
    page.evaluate(f"location.hash = 'ml-1m={','.join(map(str, history))}'")
    page.wait_for_selector("#picks .pick")
    waiting.pop().continue_()
    shown = reader.wait_for_ten(history)
    assert [movie for movie, _ in shown] == [movie for movie, _ in pytorch_on(movies, history)]
    assert page.locator("#left").inner_text() == ""
    assert page.locator("#recommendations .badge:not(:empty)").all_inner_texts() == [""] * 10


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PK\x03\x04" + b"x" * 40, "damaged or incomplete"),
        (zipfile, "no movies.dat in this zip"),
        (b"1::Alone (1999)::Drama\n", "not the movies.dat of MovieLens-1M: 1 of its films"),
        (b"movieId,title,genres\n", "Line 1 of the file is no film"),
        (b"", "not the movies.dat of MovieLens-1M: 0 of its films"),
    ],
    ids=["damaged zip", "another zip", "too few", "a csv", "empty"],
)
def test_another_file_is_refused_in_a_sentence(visit, pytorch_ten, content, sentence):
    if content is zipfile:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("holiday.jpg", b"x")
        content = buffer.getvalue()
    reader = visit()
    page = reader.open()
    file = {"name": "x", "mimeType": "application/octet-stream", "buffer": content}
    page.get_by_label("Open MovieLens-1M").set_input_files(file)
    page.wait_for_selector("#notice:not([hidden])")
    told = page.locator("#notice").inner_text()
    assert sentence in told
    assert "grouplens.org" in told
    picked = reader.choose(1)  # the invented films are still there
    assert [movie for movie, _ in reader.ten()] == [movie for movie, _ in pytorch_ten(picked)]


@pytest.mark.realdata
def test_the_real_movielens_gives_what_pytorch_gives(visit):
    data = load_movielens("ml-1m")
    reader = visit()
    page = reader.open()
    page.get_by_label("Open MovieLens-1M").set_input_files(data.folder / "movies.dat")
    page.wait_for_selector("#about:has-text('3,706 films')")
    for chip in page.locator(".chip").all():
        chip.click()
        history = [int(movie) for movie in chip.get_attribute("data-films").split(",")]
        shown = reader.wait_for_ten(history)
        expected = pytorch_on(data.movies, history)
        assert [movie for movie, _ in shown] == [movie for movie, _ in expected]
    assert "Toy Story" in page.locator(".chip").first.evaluate(
        "(chip) => { chip.click(); return document.getElementById('picks').textContent; }"
    )
