"""What `make demo` writes: the model, the catalogue, the cards."""

import functools
import hashlib
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.quality import save_sequence_model
from recformer_utils.evaluation import evaluate_ranking, metrics_from_ranks
from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
)
from recformer_utils.sequences import last_windows, leave_one_out
from recformer_utils.transformer import TransformerConfig
from tools.demo_model import SECONDS_APART, batch_without_times


def check_export(demo_tools, score_history, data, folder):
    """Top 10 and scores of 1,000 histories and 20 long ones, computed here and not by the build."""
    import onnx
    import onnxruntime

    from tools.demo_model import export, load_pretrained

    pretrained = load_pretrained(data)
    opset = export(pretrained, folder / "model.onnx")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"], "one file, no side file"
    graph = onnx.load(folder / "model.onnx")
    assert [one.version for one in graph.opset_import] == [opset]
    (tokens,), (logits,) = graph.graph.input, graph.graph.output
    batch, time = tokens.type.tensor_type.shape.dim
    assert (tokens.name, logits.name) == ("movie_tokens", "logits")
    assert (batch.dim_value, time.dim_param) == (1, "time")
    numbers = sum(parameter.numel() for parameter in pretrained.model.parameters())
    overhead = (folder / "model.onnx").stat().st_size - 4 * numbers
    assert 0 < overhead < 64_000, "every number once, and the graph"

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    score, sequences = score_history(data), pretrained.sequences
    rng = np.random.default_rng(3)
    lengths = [*rng.integers(1, 31, 1000), *[pretrained.window] * 20]
    largest, draws = 0.0, 0
    for length in lengths:
        user = rng.choice(np.flatnonzero(sequences.lengths >= length))
        start = rng.integers(sequences.lengths[user] - length + 1)
        history = sequences.of_user(user)[start : start + length]
        found = session.run(None, {"movie_tokens": history[None].astype(np.int32)})[0]
        found, expected = torch.from_numpy(found), score(history)
        first, second = found.topk(10).indices, expected.topk(10).indices
        if not torch.equal(first, second):  # only films that tie may have changed places
            torch.testing.assert_close(
                expected[0, first[0]], expected[0, second[0]], atol=1e-5, rtol=0
            )
            draws += 1
        largest = max(largest, (found.softmax(-1) - expected.softmax(-1)).abs().max().item())
        torch.testing.assert_close(found[0, second], expected[0, second], atol=1e-5, rtol=0)
    assert draws <= 3
    assert 0 < largest < 1e-5


def test_exported_model_scores_as_pytorch(demo_tools, score_history, tmp_path):
    check_export(demo_tools, score_history, load_movielens("sample"), tmp_path)


@pytest.mark.realdata
def test_exported_model_scores_as_pytorch_on_ml_1m(demo_tools, score_history, tmp_path):
    check_export(demo_tools, score_history, load_movielens("ml-1m"), tmp_path)


def test_build_refuses_a_model_that_was_exported_wrong(demo_tools, tmp_path, monkeypatch):
    """One bias changed on the way: the page would recommend other films than PyTorch."""
    real = demo_tools.export

    def spoiled(pretrained, path):
        bias = pretrained.model.model.layer_norm.bias
        with torch.no_grad():
            bias += 0.01
            opset = real(pretrained, path)
            bias -= 0.01
        return opset

    monkeypatch.setattr(demo_tools, "export", spoiled)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for process in (ended.pid, os.getpid()):  # one was killed, the other is at work
        (tmp_path / f".dist.{process}.left").mkdir()
    with pytest.raises(demo_tools.DemoError, match="not the one that was trained"):
        demo_tools.build(tmp_path / "dist", load_movielens("sample"))
    left = [path.name for path in tmp_path.iterdir()]
    assert left == [f".dist.{os.getpid()}.left"], "nothing half-built is left but another's work"


@pytest.mark.realdata
def test_the_gap_between_a_readers_films_is_the_best_of_those_tried(demo_tools, monkeypatch):
    """Users of MovieLens-1M with their last five films, a gap in place of those they had."""
    from tools import demo_model

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


def test_another_model_can_take_its_place(demo_tools, pretrained, tmp_path):
    """Nothing of the build knows the pretrained model's numbers, or what it looks at."""
    store(tmp_path / "other.pth", pretrained.metadata.vocab_size)
    manifest = demo_tools.build(tmp_path / "dist", load_movielens("sample"), tmp_path / "other.pth")
    assert manifest["model"]["window"] == 8
    assert manifest["model"]["bytes"] < 200_000


@pytest.mark.parametrize("asked", ["next_gap", "pair_gaps"])
def test_a_model_that_reads_what_the_page_does_not_know_is_refused(
    demo_tools, pretrained, tmp_path, asked
):
    store(tmp_path / "other.pth", pretrained.metadata.vocab_size, **{asked: True})
    with pytest.raises(ValueError, match=f"{asked}, of which the page knows nothing"):
        demo_tools.build(tmp_path / "dist", load_movielens("sample"), tmp_path / "other.pth")


def test_manifest_describes_the_files(sample_demo, pretrained):
    manifest = json.loads((sample_demo / "manifest.json").read_text())
    described = [manifest["model"]]
    described += [manifest["runtime"]["wasm"]] if manifest["runtime"] else []
    for file in described:
        content = (sample_demo / file["file"]).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert manifest["model"]["window"] == pretrained.window
    assert manifest["model"]["num_movies"] == pretrained.metadata.num_movies
    assert manifest["data_set"]["may_be_published"] is True


def test_no_file_names_this_machine(sample_demo, demo_tools):
    home = str(demo_tools.REPOSITORY).encode()
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


def test_presets_are_the_films_that_they_name(sample_demo, demo_tools):
    stored = json.loads((sample_demo / "catalogue.json").read_text())
    names = {film["id"]: film["name"] for film in stored["films"]}
    written = json.loads((demo_tools.DEMO / "presets.json").read_text())["sample"]
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


def test_without_npm_the_build_says_what_is_left_out_and_goes_on(
    demo_tools, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(demo_tools, "_installed", lambda package: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert demo_tools.copy_runtime(tmp_path / "runtime") is None
    assert "Left out: onnxruntime-web (npm is not there)" in capsys.readouterr().out
