"""What `make demo` writes: the model, the catalogue, the cards."""

import hashlib
import json
import re

import numpy as np
import pytest
import torch
import yaml

from recformer_utils.movielens import load_movielens


def check_export(demo_tools, data, folder):
    """Top 10 and scores of 1,000 histories, computed here and not by the build."""
    import onnx
    import onnxruntime
    from demo_model import export, load_pretrained

    pretrained = load_pretrained(data)
    opset = export(pretrained, folder / "model.onnx")
    assert [path.name for path in folder.iterdir()] == ["model.onnx"], "one file, no side file"
    graph = onnx.load(folder / "model.onnx")
    assert [one.version for one in graph.opset_import] == [opset]
    (tokens,), (logits,) = graph.graph.input, graph.graph.output
    dimensions = [one.dim_value for one in tokens.type.tensor_type.shape.dim]
    assert (tokens.name, logits.name) == ("movie_tokens", "logits")
    assert dimensions == [1, pretrained.window]

    session = onnxruntime.InferenceSession(folder / "model.onnx")
    windows = pretrained.dataset.windows.movie_tokens
    chosen = np.random.default_rng(3).choice(len(windows), 1000, replace=len(windows) < 1000)
    model = pretrained.model.model
    mean_user = model.user_embedding.weight.detach().mean(dim=0, keepdim=True)
    start = pretrained.metadata.start_token
    largest, draws = 0.0, 0
    for number in chosen:
        window = windows[number].clone()
        window[: number % pretrained.window] = start  # short histories as well
        found = session.run(None, {"movie_tokens": window[None].int().numpy()})[0]
        found = torch.from_numpy(found)
        with torch.no_grad():
            expected = model.score(window[None], mean_user)
        first, second = found.topk(10).indices, expected.topk(10).indices
        if not torch.equal(first, second):  # only films that tie may have changed places
            torch.testing.assert_close(
                expected[0, first[0]], expected[0, second[0]], atol=1e-5, rtol=0
            )
            draws += 1
        largest = max(largest, (found.softmax(-1) - expected.softmax(-1)).abs().max().item())
    assert draws <= 3
    assert 0 < largest < 1e-5


def test_exported_model_scores_as_pytorch(demo_tools, tmp_path):
    check_export(demo_tools, load_movielens("sample"), tmp_path)


@pytest.mark.realdata
def test_exported_model_scores_as_pytorch_on_ml_1m(demo_tools, tmp_path):
    check_export(demo_tools, load_movielens("ml-1m"), tmp_path)


def test_build_refuses_a_model_that_was_exported_wrong(demo_tools, tmp_path, monkeypatch):
    """One bias changed on the way: the page would recommend other films than PyTorch."""
    real = demo_tools.export

    def spoiled(pretrained, path):
        bias = pretrained.model.model.output_layer.fc_layers[0].bias
        with torch.no_grad():
            bias += 0.01
            opset = real(pretrained, path)
            bias -= 0.01
        return opset

    monkeypatch.setattr(demo_tools, "export", spoiled)
    with pytest.raises(demo_tools.DemoError, match="not the one that was trained"):
        demo_tools.build(tmp_path / "dist", load_movielens("sample"))
    assert not list(tmp_path.iterdir()), "nothing half-built is left"


def test_a_model_with_another_window_can_take_its_place(demo_tools, tmp_path):
    """Nothing of the build knows the pretrained model's numbers."""
    from recformer_utils.movielens_transformer import MovieLensTransformer, init_weights
    from recformer_utils.training import get_dataset, get_model_config, load_config

    data = load_movielens("sample")
    config = load_config(demo_tools.REPOSITORY / "data/pretrained/sample/config.yaml")
    config["movie_transformer_config"] |= {"context_window_size": 8, "num_layers": 1}
    config["trainer_config"]["data_dir"] = str(data.folder)
    torch.manual_seed(0)
    model = MovieLensTransformer(get_model_config(config, get_dataset(config)))
    init_weights(model)
    torch.save(model.state_dict(), tmp_path / "model.pth")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    manifest = demo_tools.build(tmp_path / "dist", data, tmp_path / "model.pth")
    assert manifest["model"]["window"] == 8
    assert manifest["model"]["filling"] in manifest["model"]["filling_hit_rates"]


def test_manifest_describes_the_files(sample_demo, pretrained):
    manifest = json.loads((sample_demo / "manifest.json").read_text())
    described = [manifest["model"]]
    described += [manifest["runtime"]["wasm"]] if manifest["runtime"] else []
    for file in described:
        content = (sample_demo / file["file"]).read_bytes()
        assert len(content) == file["bytes"]
        assert hashlib.sha256(content).hexdigest() == file["sha256"]
    assert manifest["model"]["window"] == pretrained.window
    assert manifest["model"]["start_token"] == pretrained.metadata.start_token
    assert manifest["data_set"]["may_be_published"] is True


def test_no_file_names_this_machine(sample_demo, demo_tools):
    home = str(demo_tools.REPOSITORY).encode()
    for path in sample_demo.rglob("*"):
        if path.is_file():
            assert home not in path.read_bytes(), path.name


def test_catalogue_has_every_film_once_and_no_more_than_the_page_needs(sample_demo, pretrained):
    stored = json.loads((sample_demo / "catalogue.json").read_text())
    movies = load_movielens("sample").movies
    films = stored["films"]
    assert {film["id"] for film in films} == set(movies["movie_id"])
    assert len(films) == len(movies)
    assert {frozenset(film) for film in films} == {
        frozenset({"id", "token", "name", "year", "genres"})
    }
    tokens = pretrained.metadata.tokenize_movies([film["id"] for film in films])
    assert tokens.tolist() == [film["token"] for film in films]


def test_presets_fill_the_window_with_the_films_that_they_name(sample_demo, demo_tools, pretrained):
    stored = json.loads((sample_demo / "catalogue.json").read_text())
    names = {film["id"]: film["name"] for film in stored["films"]}
    written = json.loads((demo_tools.DEMO / "presets.json").read_text())["sample"]
    for preset, source in zip(stored["presets"], written, strict=True):
        found = [names[film] for film in preset["films"]]
        assert len(set(found)) == pretrained.window
        for name, wanted in zip(found, source["films"], strict=True):
            assert name.startswith(wanted), (preset["name"], name, wanted)


@pytest.mark.realdata
def test_ml_1m_presets_are_the_films_that_they_name(demo_tools):
    data = load_movielens("ml-1m")
    from recformer_utils.title_cards import split_title

    titles = data.movies.set_index("movie_id")["title"]
    written = json.loads((demo_tools.DEMO / "presets.json").read_text())["ml-1m"]
    for preset, source in zip(demo_tools.presets(data), written, strict=True):
        for movie, wanted in zip(preset["films"], source["films"], strict=True):
            assert split_title(titles[movie])[0].startswith(wanted), (wanted, titles[movie])


def test_every_card_has_a_picture_a_title_and_its_year(sample_demo):
    cards = json.loads((sample_demo / "cards.json").read_text())["cards"]
    for film in json.loads((sample_demo / "catalogue.json").read_text())["films"]:
        card = cards[str(film["id"])]
        colors = {color for color, _ in card["art"]}
        assert colors - {card["ground"]}, film["name"]
        assert all(re.fullmatch("#[0-9A-Fa-f]{6}", color) for color in colors), film["name"]
        label, *lines = [line[-1] for line in card["text"]]
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
