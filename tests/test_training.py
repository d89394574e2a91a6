"""Configuration, checkpoints and the training loop."""

import hashlib
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from tbparse import SummaryReader
from torch import nn

from recformer_utils import training
from recformer_utils.movielens import load_movielens
from recformer_utils.movielens_transformer import MovieLensTransformer, init_weights
from recformer_utils.runs import precision, record, save_atomically
from recformer_utils.runs.record import git_state
from recformer_utils.sequence_model import SequenceModel, SequenceModelConfig, train_sequence_model
from recformer_utils.sequences import leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.training import (
    CheckpointError,
    ConfigError,
    TrainerConfig,
    get_dataset,
    get_model_config,
    load_checkpoint,
    load_config,
    run_model_training,
    train_step,
)
from recformer_utils.transformer import TransformerConfig

SHAPE = """
movie_transformer_config:
  context_window_size: 5
  embedding_dimension: 8
  num_layers: 1
  num_heads: 2
user_embedding_dimension: 4
interaction_mlp_hidden_sizes: [8]
"""


@pytest.fixture
def config(tmp_path):
    """A small model on forty users of the sample."""
    sample = load_movielens("sample")
    users = sample.users.head(40)
    frames = {
        "users": users,
        "movies": sample.movies,
        "ratings": sample.ratings[sample.ratings["user_id"].isin(users["user_id"])],
    }
    folder = tmp_path / "data"
    folder.mkdir()
    for name, frame in frames.items():
        lines = frame.astype(str).agg("::".join, axis=1)
        (folder / f"{name}.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    text = f"""
trainer_config:
  data_dir: {folder}
  model_dir: {tmp_path / "model"}
  tensorboard_dir: {tmp_path / "tensorboard"}
  batch_size: 64
  starting_learning_rate: 0.01
  learning_rate_decay: 0.9
  num_epochs: 3
  device: cpu
  split: leave-one-out
  progress: false
{SHAPE}"""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return load_config(path)


def elsewhere(config, folder, **trainer):
    places = {"model_dir": str(folder), "tensorboard_dir": str(folder / "tensorboard")}
    return {**config, "trainer_config": {**config["trainer_config"], **places, **trainer}}


def get_sequences():
    sample = load_movielens("sample")
    metadata = MovieLensMetadata.from_frames(sample.users, sample.movies)
    users = sample.ratings["user_id"] <= sample.users["user_id"].iloc[60]
    return order_by_time(sample.ratings[users], metadata)


def tiny_model(config):
    torch.manual_seed(0)
    dataset = get_dataset(config)
    model = MovieLensTransformer(get_model_config(config, dataset))
    init_weights(model)
    return model, dataset


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "batch_size",
            "batchsize",
            "line 6: trainer_config.batchsize: unknown key.*trainer_config.batch_size",
        ),
        ("num_heads", "heads", "movie_transformer_config.heads: unknown key.*num_heads"),
        ("  batch_size: 64\n", "", "trainer_config.batch_size is missing"),
        ("  data_dir:", "  # data_dir:", "trainer_config.data_dir is missing"),
        (
            "batch_size: 64",
            "batch_size: many",
            "trainer_config.batch_size should be a valid integer, found 'many'",
        ),
        ("trainer_config:", "trainer_config: [", "not readable as YAML"),
        ("rate: 0.01", "rate: 1e-2", "found '1e-2' \\(str\\); YAML reads it as text: write 0.01"),
        (
            "split: leave-one-out",
            "schedule: linear",
            "trainer_config.schedule should be 'exponential', 'cosine' or 'one-cycle', found 'linear'",
        ),
        (
            "batch_size: 64",
            "batch_size: 0",
            "line 6: trainer_config.batch_size should be greater than or equal to 1",
        ),
        ("batch_size: 64", "batch_size: -1", "found -1"),
        ("batch_size: 64", "batch_size: yes", "batch_size should be a valid integer, found True"),
        ("batch_size: 64", "batch_size: 64\n  batch_size: 32", "line 7: .*again, as in line 6"),
        ("batch_size: 64", "batch_size: &a 64", "line 6: anchors and aliases"),
        ("batch_size: 64", "<<: {batch_size: 64}", "line 6: trainer_config.<< is not read"),
        ("num_epochs: 3", "num_epochs: -1", "num_epochs should be greater than or equal to 1"),
        ("num_epochs: 3", "num_epochs: 3\n  patience: 0", "patience should be greater"),
        ("num_epochs: 3", "num_epochs: 3\n  warmup_fraction: .nan", "found nan"),
        (
            "num_epochs: 3",
            "num_epochs: 3\n  warmup_fraction: 1.5",
            "warmup_fraction should be less than or equal to 1",
        ),
        (
            "num_epochs: 3",
            "num_epochs: 3\n  max_gradient_norm: -1",
            "norm should be greater than or equal to 0",
        ),
        (
            "num_epochs: 3",
            "num_epochs: 3\n  weight_decay: -1",
            "weight_decay should be greater than or equal to 0",
        ),
        (
            "num_epochs: 3",
            "num_epochs: 3\n  validation_fraction: 0.0",
            "validation_fraction should be greater than 0",
        ),
        (
            "num_epochs: 3",
            "num_epochs: 3\n  seed: 9223372036854775808",
            "seed should be less than 2147483648",
        ),
        ("decay: 0.9", "decay: -1", "learning_rate_decay should be greater"),
        ("device: cpu", "device: banana", "device should match pattern .*, found 'banana'"),
        ("hidden_sizes: [8]", "hidden_sizes: [0]", "hidden_sizes.0 should be greater"),
        ("dimension: 8", "dimension: 0", "embedding_dimension should be greater"),
        ("model_dir: /", "model_dir: ~/", "model_dir should match pattern .*, found '~/"),
    ],
)
def test_a_bad_configuration_is_refused_by_file_and_key(config, tmp_path, old, new, message):
    path = tmp_path / "bad.yaml"
    path.write_text((tmp_path / "config.yaml").read_text().replace(old, new))
    with pytest.raises(ConfigError, match=rf"bad\.yaml.*{message}"):
        load_config(path)


def test_a_split_that_holds_out_no_movie_is_refused_before_training(config, tmp_path):
    lines = (tmp_path / "data/ratings.dat").read_text().splitlines()[:2]  # one user's
    (tmp_path / "data/ratings.dat").write_text("\n".join(lines) + "\n")
    config["movie_transformer_config"]["context_window_size"] = 1
    config["trainer_config"]["split"] = "time"  # the last window is held out: the end token's
    with pytest.raises(ValueError, match="nothing to validate on"):
        run_model_training(config)
    assert not (tmp_path / "model").exists()


def test_one_batch_is_learned_by_heart(config):
    model, dataset = tiny_model(config)
    batch = dataset[torch.tensor([0, 40, 200, 700])]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    criterion = nn.CrossEntropyLoss()
    model.eval()  # dropout off
    for _ in range(200):
        loss = train_step(
            batch.movie_tokens, batch.user_tokens, batch.next_movie_tokens,
            model, optimizer, criterion, torch.device("cpu"),
        )  # fmt: skip
    assert loss.item() < 1e-3
    with torch.no_grad():
        found = model(batch.movie_tokens, batch.user_tokens).argmax(dim=1)
    assert found.tolist() == batch.next_movie_tokens.tolist()


def test_training_beats_popularity_and_writes_what_it_says(config, tmp_path):
    result = run_model_training(config)
    assert result.history["epoch"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(result.history["learning_rate"], [0.01, 0.009, 0.0081])
    assert result.history["train_loss"].is_monotonic_decreasing
    assert (tmp_path / "model/model.pth").exists()
    scalars = SummaryReader(str(tmp_path / "tensorboard")).scalars
    table = scalars.pivot(index="step", columns="tag", values="value")
    assert set(table.columns) == {
        "loss/train", "loss/validation", "learning_rate", "validation/HR@10", "validation/NDCG@10",
    }  # fmt: skip
    np.testing.assert_allclose(
        table["loss/validation"], result.history["validation_loss"], rtol=1e-5
    )
    best = int(result.history["validation_loss"].idxmin()) + 1
    assert result.best_epoch == best


def test_the_steps_of_the_notebooks_are_those_that_run_and_each_question_is_scored_once(
    config, monkeypatch
):
    calls = {"train_step": [], "validation_step": []}
    originals = {name: getattr(training, name) for name in calls}

    def counted(name):
        def step(movies, *arguments):
            calls[name].append(len(movies))
            return originals[name](movies, *arguments)

        return step

    for name in calls:
        monkeypatch.setattr(training, name, counted(name))
    config["trainer_config"]["num_epochs"] = 2
    run_model_training(config)
    assert sum(calls["train_step"]) == 2 * len(get_dataset(config))
    assert sum(calls["validation_step"]) == 2 * len(get_dataset(config, is_validation=True))


def sequence_run(folder, **trainer):
    """Losses of two epochs of a small sequence model."""
    sequences = get_sequences()
    shape = TransformerConfig(
        vocab_size=int(sequences.movie_tokens.max()) + 3, context_window_size=16,
        embedding_dimension=8, num_layers=1, num_heads=2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = SequenceModel(SequenceModelConfig(transformer=shape))
    settings = TrainerConfig(
        model_dir=str(folder), tensorboard_dir=str(folder / "tensorboard"), batch_size=64,
        starting_learning_rate=0.01, num_epochs=2, progress=False, **trainer,
    )  # fmt: skip
    result = train_sequence_model(model, sequences, leave_one_out(sequences), settings)
    return result.history["train_loss"]


@pytest.mark.parametrize("kind", ["windows", "sequences"])
def test_compile_compiles_the_step_of_both_models(config, tmp_path, monkeypatch, kind):
    graphs = []

    def counting(graph, inputs):
        graphs.append(graph)
        return graph.forward

    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: real(model, backend=counting))

    def losses(folder, **trainer):
        if kind == "sequences":
            return sequence_run(folder, **trainer)
        return run_model_training(elsewhere(config, folder, num_epochs=2, **trainer)).history[
            "train_loss"
        ]

    plain = losses(tmp_path / "plain")
    assert not graphs
    compiled = losses(tmp_path / "compiled", compile=True)
    assert graphs
    np.testing.assert_allclose(compiled, plain, rtol=1e-4)
    assert not any("_orig_mod" in name for name in load_checkpoint(tmp_path / "compiled/model.pth"))


@pytest.mark.parametrize("has_bfloat16", [True, False])
def test_without_instructions_for_bfloat16_a_run_says_so_and_stays_in_float32(
    config, monkeypatch, capsys, has_bfloat16
):
    """PyTorch would run a plain loop instead, fifty times slower than float32."""
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda device: has_bfloat16)
    kinds = set()

    def penalty(logits, movie_tokens):
        kinds.add(logits.dtype)
        return 0.0 * logits.sum()

    config["trainer_config"] |= {"mixed_precision": True, "num_epochs": 1}
    run_model_training(config, penalty=penalty)
    said = "this cpu has no instructions for bfloat16: training in float32"
    assert (said in capsys.readouterr().out) == (not has_bfloat16)
    assert kinds == {torch.bfloat16 if has_bfloat16 else torch.float32}


class Killed(Exception):
    """Stands in for a kill between two epochs."""


SCHEDULED = {"schedule": "one-cycle", "max_gradient_norm": 0.5, "weight_decay": 0.1}


@pytest.mark.parametrize("settings", [{}, SCHEDULED], ids=["plain", "scheduled"])
def test_a_resumed_run_ends_with_the_same_numbers(config, tmp_path, settings):
    whole = run_model_training(elsewhere(config, tmp_path / "whole", **settings))

    def kill(epoch, model):
        if epoch == 2:
            torch.rand(17)  # whatever else the process did with the global generator
            raise Killed

    broken = elsewhere(config, tmp_path / "broken", **settings)
    with pytest.raises(Killed):
        run_model_training(broken, on_epoch=kill)
    resumed = run_model_training(broken)
    columns = ["train_loss", "validation_loss", "HR@10", "learning_rate"]
    assert resumed.history[columns].equals(whole.history[columns])
    for name, tensor in whole.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name


def test_only_a_schedule_over_all_epochs_needs_their_number(config):
    run_model_training(config)
    config["trainer_config"]["num_epochs"] = 4
    assert len(run_model_training(config).history) == 4
    config["trainer_config"] |= {"schedule": "one-cycle", "resume": False}
    run_model_training(config)
    config["trainer_config"] |= {"num_epochs": 5, "resume": True}
    with pytest.raises(CheckpointError, match="another num_epochs"):
        run_model_training(config)


def test_the_kept_epoch_is_the_best_by_the_chosen_figure(config):
    config["trainer_config"] |= {"num_epochs": 6, "keep_best": "NDCG@10"}
    kept = {}

    def remember(epoch, model):
        kept[epoch] = {name: tensor.clone() for name, tensor in model.state_dict().items()}

    result = run_model_training(config, on_epoch=remember)
    assert result.best_epoch == int(result.history["NDCG@10"].idxmax()) + 1
    stored = torch.load(result.model_file, weights_only=True)
    for name, tensor in kept[result.best_epoch].items():
        assert torch.equal(stored[name], tensor)


def test_a_checkpoint_of_another_run_is_refused(config):
    run_model_training(config)
    other = {**config, "trainer_config": {**config["trainer_config"], "batch_size": 32}}
    with pytest.raises(CheckpointError, match="another batch_size"):
        run_model_training(other)


def test_patience_ends_a_run(config, tmp_path):
    stuck = elsewhere(config, tmp_path / "stuck", starting_learning_rate=0.0, patience=2)
    stuck["trainer_config"]["num_epochs"] = 9
    assert len(run_model_training(stuck).history) == 3  # the best, then two without a better one


def test_a_loss_that_is_no_number_names_its_step_and_keeps_its_batch(config, tmp_path):
    folder = tmp_path / "wild"
    run_model_training(elsewhere(config, folder, num_epochs=1))
    kept = {name: (folder / name).read_bytes() for name in ("model.pth", "checkpoint.pth")}
    steps = []  # the movie tokens of every batch that the penalty sees

    def poison(logits, movie_tokens):
        steps.append(movie_tokens)
        return logits.sum() * (float("inf") if len(steps) >= 7 else 0.0)

    with pytest.raises(FloatingPointError, match=r"in epoch 2, step 7\..*bad_batch\.pth"):
        run_model_training(elsewhere(config, folder), penalty=poison)
    assert len(steps) > 7  # it is looked at now and then only, which lets a GPU run ahead
    assert torch.equal(load_checkpoint(folder / "bad_batch.pth")["movie_tokens"], steps[6])
    assert {name: (folder / name).read_bytes() for name in kept} == kept


@pytest.mark.parametrize("step", [1, 100, 137])
def test_the_first_bad_step_is_found_wherever_it_is(config, tmp_path, step):
    seen = []

    def poison(logits, movie_tokens):
        seen.append(0)
        return logits.sum() * (float("nan") if len(seen) >= step else 0.0)

    config = elsewhere(config, tmp_path / "wild", batch_size=8)
    with pytest.raises(FloatingPointError, match=rf"in epoch 1, step {step}\."):
        run_model_training(config, penalty=poison)
    assert not (tmp_path / "wild/checkpoint.pth").exists()


def test_weights_that_the_last_step_of_an_epoch_broke_are_not_stored(config, tmp_path):
    folder = tmp_path / "wild"
    config = elsewhere(config, folder, num_epochs=1)
    run_model_training(config)
    config["trainer_config"] |= {"num_epochs": 2, "batch_size": 100_000, "resume": False}
    seen = []

    class Breaks(torch.autograd.Function):
        @staticmethod
        def forward(ctx, logits):
            seen.append(0)
            ctx.save_for_backward(logits)
            return logits.sum() * 0.0

        @staticmethod
        def backward(ctx, gradient):
            return torch.full_like(*ctx.saved_tensors, float("nan"))

    with pytest.raises(FloatingPointError, match=r"step 1 of epoch 1 left .* not finite"):
        run_model_training(config, penalty=lambda logits, tokens: Breaks.apply(logits))
    assert len(seen) == 1
    assert not list(folder.glob("*.pth"))  # nor those of the run before: this one starts again


@pytest.mark.parametrize("fresh", ["seed", "data", "nothing"])
def test_a_run_started_afresh_and_killed_never_goes_on_with_the_old_one(config, tmp_path, fresh):
    """What was killed before its first checkpoint starts again, as the run that was asked for."""
    mine = tmp_path / "mine"
    run_model_training(elsewhere(config, mine))
    if fresh == "data":
        ratings = tmp_path / "data/ratings.dat"
        ratings.write_text("\n".join(ratings.read_text().splitlines()[:-30]) + "\n")
    asked = {"seed": 5} if fresh == "seed" else {}

    def kill(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_model_training(elsewhere(config, mine, resume=False, **asked), penalty=kill)
    assert not list(mine.glob("*.pth"))
    found = run_model_training(elsewhere(config, mine, **asked))
    alone = run_model_training(elsewhere(config, tmp_path / "alone", **asked))
    columns = ["train_loss", "validation_loss"]
    assert found.history[columns].equals(alone.history[columns])
    assert (mine / "model.pth").read_bytes() == (tmp_path / "alone/model.pth").read_bytes()


@pytest.mark.parametrize(
    "broken",
    [
        lambda state: state["optimizer"]["state"][0].update(exp_avg=torch.zeros(100)),
        lambda state: state["optimizer"]["state"][0].update(exp_avg_sq=torch.full((), 1.0)),
        lambda state: state["optimizer"]["state"][0].pop("step"),
        lambda state: state["optimizer"]["param_groups"][0].update(betas=(0.9, "0.999")),
        lambda state: state["model"].popitem(),
        lambda state: state["model"]["user_embedding.weight"].fill_(torch.inf),
        lambda state: state["scheduler"].update(last_epoch="3"),
        lambda state: state["optimizer"]["param_groups"][0].update(differentiable=True),
        lambda state: state["optimizer"]["param_groups"][1].update(weight_decay=3.0),
        lambda state: state["scheduler"].update(last_epoch=-5),
        lambda state: state["scheduler"].update(base_lrs=[1.0, 1.0]),
        lambda state: state["scheduler"].update(optimizer=None),
        lambda state: state.update(history=[1, 2, 3]),
        lambda state: state.update(history=[{}, {}, {}]),
        lambda state: state["history"].reverse(),
        lambda state: state["history"][0].update(train_loss=torch.nan),
    ],
)
def test_a_checkpoint_is_checked_before_anything_of_it_is_loaded(config, broken):
    run_model_training(config)
    folder = Path(config["trainer_config"]["model_dir"])
    state = load_checkpoint(folder / "checkpoint.pth")
    broken(state)
    save_atomically(state, folder / "checkpoint.pth")
    config["trainer_config"]["num_epochs"] = 4
    with pytest.raises(CheckpointError, match=r"checkpoint\.pth: does not fit this run"):
        run_model_training(config)


def test_a_run_records_what_it_was_made_of(config, tmp_path):
    result = run_model_training(
        {**config, "trainer_config": config["trainer_config"] | {"seed": 5}}
    )
    (start,) = json.loads((tmp_path / "model/run.json").read_text())
    ratings = (tmp_path / "data/ratings.dat").read_bytes()
    assert start["after_epoch"] == 0
    assert start["seed"] == 5
    assert start["versions"]["torch"] == torch.__version__
    assert start["data_sha256"]["ratings.dat"] == hashlib.sha256(ratings).hexdigest()
    assert start["threads"] == torch.get_num_threads()
    if start["git"] is not None:
        assert re.fullmatch("(.*-g)?[0-9a-f]{40}(-dirty)?", start["git"])
    assert len(result.history) == 3


def test_a_run_that_goes_on_elsewhere_says_from_which_epoch(config, tmp_path, monkeypatch):
    def epochs(number):
        return elsewhere(config, tmp_path / "model", num_epochs=number)

    run_model_training(epochs(1))
    run_model_training(epochs(2))
    threads = torch.get_num_threads()
    monkeypatch.setattr(record.platform, "python_version", lambda: "99")
    run_model_training(epochs(3))
    starts = json.loads((tmp_path / "model/run.json").read_text())
    assert [start["after_epoch"] for start in starts] == [0, 2]
    assert starts[1]["versions"]["python"] == "99"
    assert starts[1]["threads"] == threads


@pytest.mark.parametrize("content", ["[1]", "[null]", "{}", "3", "half"])
def test_a_record_that_is_none_is_written_anew(config, tmp_path, content):
    run_model_training(elsewhere(config, tmp_path / "model", num_epochs=1))
    (tmp_path / "model/run.json").write_text(content)
    run_model_training(elsewhere(config, tmp_path / "model", num_epochs=2))
    (start,) = json.loads((tmp_path / "model/run.json").read_text())
    assert start["after_epoch"] == 1


def test_a_run_does_not_go_on_with_other_data(config, tmp_path):
    run_model_training(elsewhere(config, tmp_path / "model", num_epochs=1))
    ratings = tmp_path / "data/ratings.dat"
    lines = ratings.read_text().splitlines()
    user, movie, rating, second = lines[0].split("::")
    lines[0] = "::".join([user, movie, "1" if rating != "1" else "2", second])
    ratings.write_text("\n".join(lines) + "\n")
    with pytest.raises(CheckpointError, match="another data_sha256"):
        run_model_training(elsewhere(config, tmp_path / "model"))
    run_model_training(elsewhere(config, tmp_path / "model", resume=False))


def test_the_state_of_a_repository(tmp_path):
    assert git_state(tmp_path) is None
    for command in (
        ["init", "-q"],
        ["config", "user.email", "a@b"],
        ["config", "user.name", "a"],
        ["commit", "-q", "--allow-empty", "-m", "first"],
    ):
        subprocess.run(["git", "-C", tmp_path, *command], check=True)
    clean = git_state(tmp_path)
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (tmp_path / "file").write_text("new")
    subprocess.run(["git", "-C", tmp_path, "add", "file"], check=True)
    assert git_state(tmp_path) == f"{clean}-dirty"
    (tmp_path / "inner").mkdir()
    assert git_state(tmp_path / "inner") is None  # of another project, as far as we know
