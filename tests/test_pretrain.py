"""The command that trains what is in data/pretrained: it leaves whole files and can be run again."""

import json
import sys

import numpy as np
import pandas as pd

from recformer_utils.movielens_transformer import MovieLensTransformer
from recformer_utils.runs.record import sha256_of
from recformer_utils.training import get_dataset, get_model_config, load_config, load_weights
from tools import pretrain


def run(monkeypatch, epochs: int) -> None:
    arguments = ["--data", "sample", "--epochs", str(epochs), "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["pretrain", *arguments])
    pretrain.main()


def test_two_epochs_leave_a_model_that_loads_and_a_third_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(pretrain, "REPOSITORY", tmp_path)
    run(monkeypatch, 2)
    run(monkeypatch, 3)
    assert "resuming after epoch 2" in capsys.readouterr().out
    folder = tmp_path / "data/pretrained/sample"
    record = json.loads((folder / "run.json").read_text())
    assert (record["epochs"], len(pd.read_csv(folder / "curve.csv"))) == (3, 3)
    assert record["model_sha256"] == sha256_of(folder / "model.pth")
    config = load_config(folder / "config.yaml")
    assert str(tmp_path) not in (folder / "config.yaml").read_text()
    config["trainer_config"]["data_dir"] = str(pretrain.load_movielens("sample").folder)
    load_weights(
        MovieLensTransformer(get_model_config(config, get_dataset(config))), folder / "model.pth"
    )
    path = np.load(folder / "embedding_path.npz")
    assert path["epochs"].tolist() == list(range(record["best_epoch"] + 1))
