"""The ladder's tool: whom it asks for what, what it adds up, and that it does nothing twice."""

import argparse
import dataclasses
import json

import numpy as np
import pytest
import torch

from benchmarks import peer_quality, quality, variants
from recformer_utils.baselines import distance_counts
from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import SequenceModelConfig
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY
from tools.stored import load_sequence_model

BASE = ("B", "leave-one-out")  # all movies

SMALL = quality.Row(
    7, "small", width=8, layers=1, heads=1, length=20, features=True, counts=True,
    trainer={"num_epochs": 1, "batch_size": 64},
)  # fmt: skip


@pytest.fixture(scope="module")
def sample():
    return load_movielens("sample")


def test_five_core_leaves_nobody_with_fewer(sample):
    few = sample.ratings.groupby("user_id").head(6)  # many movies now have fewer than five
    data = quality.read(dataclasses.replace(sample, ratings=few), "A", "leave-one-out")
    movies = np.bincount(data.sequences.movie_tokens, minlength=len(data.movies))
    assert 0 < len(data.movies) < few["movie_id"].nunique()
    assert movies.min() >= 5
    assert data.sequences.lengths.min() >= 5
    everything = quality.read(dataclasses.replace(sample, ratings=few), "B", "leave-one-out")
    assert len(everything.movies) == few["movie_id"].nunique()


@pytest.mark.parametrize("split", ["leave-one-out", "temporal"])
def test_what_is_asked_for_is_never_training(sample, split):
    data = quality.read(sample, "B", split)
    validation, test = data.split.validation, data.split.test
    for questions in (validation, test):
        at = data.sequences.offsets[questions.users] + questions.ends
        assert (data.sequences.movie_tokens[at] == questions.targets).all()
        assert (questions.ends >= data.split.train_lengths[questions.users]).all()
    assert (validation.ends < data.split.known_lengths[validation.users]).all()
    assert (test.ends >= data.split.known_lengths[test.users]).all(), "counts would know the answer"
    assert (test.ends == data.sequences.lengths[test.users] - 1).all()
    if split == "temporal":
        stamps = data.sequences.timestamps
        cut = np.quantile(data.sequences.timestamps, 0.9)
        assert stamps[data.sequences.offsets[test.users] + test.ends].min() >= cut
        of_users = np.split(stamps, data.sequences.offsets[1:-1])
        for mine, known in zip(of_users, data.split.known_lengths, strict=True):
            assert (mine[:known] <= cut).all()
        assert len(test.users) == sum(mine[-1] > cut for mine in of_users)


def test_counts_are_added_to_the_logarithm_of_the_probabilities():
    network, far, near = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(0))
    found = quality.with_counts(network, (far, near), (2.0, 0.5))
    expected = network.softmax(dim=1).log() + 2 * far + near / 2
    assert torch.allclose(found, expected, atol=1e-6)


def by_hand(logits: torch.Tensor, data: quality.Data, questions: quality.Questions) -> float:
    """NDCG@10, one user at a time."""
    gains = []
    for scores, user, end, target in zip(logits, *questions, strict=True):
        seen = set(data.sequences.of_user(user)[:end].tolist())
        left = [scores[m].item() for m in range(len(scores) - 2) if m not in seen]
        own = scores[target].item()
        rank = sum(s > own for s in left) + (sum(s == own for s in left) - 1) / 2
        gains.append(1 / np.log2(rank + 2) if rank < 10 else 0.0)
    return float(np.mean(gains))


def test_a_row_is_trained_once_and_scored_on_the_test_once(sample, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(quality.ROWS, "small", SMALL)
    monkeypatch.setattr(quality, "REPOSITORY", tmp_path)
    arguments = argparse.Namespace(
        data="sample",
        group="B",
        split="leave-one-out",
        ties="file",
        seed=0,
        device="cpu",
        test=False,
    )
    quality.run_once("small", SMALL, arguments)
    (line,) = quality.stored(quality.results_file("sample"))
    assert line["test_ndcg10"] is line["test_hr10"] is line["test_ndcg10_network"] is None
    assert line["val_ndcg10"] >= line["val_ndcg10_network"]  # weights of zero were tried as well
    low, high = line["val_ndcg10_interval"]
    assert low < line["val_ndcg10"] < high
    (network,) = tmp_path.glob("runs/quality/sample/*/seed-0/model.pth")
    trained = network.stat().st_mtime_ns

    quality.run_once("small", SMALL, arguments)
    assert "already measured" in capsys.readouterr().out
    arguments.test = True
    quality.run_once("small", SMALL, arguments)
    quality.run_once("small", SMALL, arguments)
    (scored,) = quality.stored(quality.results_file("sample"))  # in place of the first line
    assert network.stat().st_mtime_ns == trained, "nothing was trained again"
    assert scored["val_ndcg10"] == line["val_ndcg10"]
    json.dumps(scored)

    data = quality.read(sample, "B", "leave-one-out")
    (tmp_path / "data/pretrained/sample").mkdir(parents=True)
    quality.publish("small", SMALL, arguments)
    file = tmp_path / "data/pretrained/sample/sequence_model.pth"
    published, about = load_sequence_model(file, data.movies, data.metadata)
    assert network.stat().st_mtime_ns == trained
    assert about["validation"]["NDCG@10"] == line["val_ndcg10_network"]

    scorer = quality.sequence_scorer(SMALL, data, network.parents[1], range(1), torch.device("cpu"))
    logits = scorer.logits(data.split.test)
    score = quality.history_scores(published, torch.device("cpu"))
    few = data.split.test.take(slice(0, 50))
    assert torch.allclose(logits[:50], score(data.sequences, few), atol=1e-5)
    assert by_hand(logits, data, data.split.test) == pytest.approx(
        scored["test_ndcg10_network"], abs=1e-5
    )
    counts = quality.count_scores(
        data, data.split.test, data.split.test.ends
    )  # every user has a test movie
    joined = quality.with_counts(logits, counts, scored["count_weights"])
    assert by_hand(joined, data, data.split.test) == pytest.approx(scored["test_ndcg10"], abs=1e-5)


def test_with_ties_at_random_a_row_learns_and_is_asked_on_its_own_draw(
    sample, tmp_path, monkeypatch
):
    monkeypatch.setattr(quality, "REPOSITORY", tmp_path)
    row = dataclasses.replace(SMALL, counts=False)
    common = {"data": "sample", "group": "B", "split": "leave-one-out", "device": "cpu"}
    for ties, seed in (("file", 0), ("random", 0), ("random", 1)):
        options = argparse.Namespace(**common, ties=ties, seed=seed, test=True)
        quality.run_once("small", row, options)
    lines = quality.stored(quality.results_file("sample"))
    assert [(line["ties"], line["seed"]) for line in lines] == [
        ("file", 0), ("random", 0), ("random", 1),
    ]  # fmt: skip
    assert len({line["test_ndcg10"] for line in lines}) == 3
    networks = sorted(path.parent.name for path in tmp_path.glob("runs/quality/sample/*/seed-?"))
    assert len(networks) == 3
    folder = next(tmp_path.glob("runs/quality/sample/*-random-1"))
    draws = [quality.read(sample, "B", "leave-one-out", ties=draw) for draw in (0, 1)]
    scorer = quality.sequence_scorer(row, draws[1], folder, range(1, 2), torch.device("cpu"))
    found = by_hand(scorer.logits(draws[1].split.test), draws[1], draws[1].split.test)
    assert found == pytest.approx(lines[2]["test_ndcg10"], abs=1e-5)
    for refused in (["--row", "window"], ["--rung", "1"], ["--row", "gaps", "--publish"]):
        monkeypatch.setattr("sys.argv", ["quality", *refused, "--ties", "random"])
        with pytest.raises(SystemExit):
            quality.main()


def test_several_seeds_are_averaged_as_probabilities(sample, tmp_path):
    data = quality.read(sample, "B", "leave-one-out")
    device = torch.device("cpu")
    both = quality.sequence_scorer(SMALL, data, tmp_path, range(2), device)
    one, other = (
        quality.sequence_scorer(SMALL, data, tmp_path, range(seed, seed + 1), device)
        for seed in (0, 1)
    )
    mean = (
        one.logits(data.split.test).softmax(dim=1) + other.logits(data.split.test).softmax(dim=1)
    ) / 2
    assert torch.allclose(both.logits(data.split.test).softmax(dim=1), mean, atol=1e-6)
    assert not torch.allclose(one.logits(data.split.test), other.logits(data.split.test), atol=1e-3)
    assert both.seconds == pytest.approx(one.seconds + other.seconds)


def test_counts_alone_know_the_movies_of_validation_only_when_the_test_is_asked(sample):
    data = quality.read(sample, "B", "leave-one-out")
    scorer, split = quality.counting_scorer(data), data.split
    for questions, lengths in (
        (split.validation, split.train_lengths), (split.test, split.known_lengths),
    ):  # fmt: skip
        counts = distance_counts(data.sequences, lengths, data.metadata.vocab_size)
        expected = quality.all_scores(counts.score, data.sequences, questions)
        assert torch.equal(scorer.logits(questions), expected)


def test_the_readme_tells_the_figures_that_are_stored():
    lines = [line for line in quality.stored() if (line["group"], line["split"]) == BASE]

    def mean(key: str, ties: str, figure: str = "test_ndcg10") -> float:
        mine = [line for line in lines if (line["key"], line["ties"]) == (key, ties)]
        return float(np.mean([line[figure] for line in mine]))

    told = (REPOSITORY / "README.md").read_text().split("**The result.**")[1].split("##")[0]
    for value, digits in (
        (mean("wide-ensemble", "file"), 4), (mean("wide-12", "random", "test_ndcg10_network"), 4),
        (mean("wide-12", "file"), 4),
        (mean("best-ids", "file"), 4), (mean("pctm", "file"), 4), (mean("pctm", "random"), 3),
        (mean("wide-12", "random"), 4),
    ):  # fmt: skip
        assert f"{value:.{digits}f}" in told


def test_rows_that_differ_in_what_is_added_later_share_a_network():
    rows = quality.ROWS
    assert quality.row_hash(rows["counts"]) == quality.row_hash(rows["both"])
    for together, one in (("ensemble", "best"), ("wide-ensemble", "wide-12")):
        assert quality.row_hash(rows[together]) == quality.row_hash(rows[one])
    names = [quality.row_hash(row) for key, row in rows.items() if key not in ("window", "pctm")]
    assert len(set(names)) == len(names) - 3


def test_each_stored_line_belongs_to_a_row_as_it_is_now():
    lines = quality.stored()
    assert len(lines) >= 36
    for line in lines:
        peer = line["key"] in peer_quality.ROWS
        row = peer_quality.ROWS[line["key"]][2] if peer else quality.ROWS[line["key"]]
        config = json.loads(json.dumps(dataclasses.asdict(row)))
        if peer:
            config["trainer"] = line["config"]["trainer"]
        assert line["config"] == config
        mine = {
            name: line[name] for name in ("key", "data", "group", "split", "ties", "seed", "config")
        }
        assert quality.find(quality.RESULTS, mine) == line


@pytest.mark.parametrize(
    ("name", "options", "size", "following"),
    [
        ("places", {"item_features": 5}, 766.4326552272814, 0.5780369639396667),
        ("untied", {}, 779.5314299098591, 0.9179264903068542),
        (
            "",
            {"item_features": 5, "previous_gap": True, "next_gap": True, "pair_gaps": True},
            781.5550622174687,
            0.37075257301330566,
        ),
    ],
)
def test_a_seed_gives_the_network_of_the_measured_rows(name, options, size, following):
    """Sums of weights, and the random number drawn after them, as before the model was cut down."""
    shape = TransformerConfig(
        vocab_size=60, context_window_size=20, embedding_dimension=16, num_layers=2, num_heads=2
    )
    torch.manual_seed(0)
    model = variants.VARIANTS[name].model(SequenceModelConfig(transformer=shape, **options))
    found = sum(parameter.double().abs().sum().item() for parameter in model.parameters())
    assert found == pytest.approx(size, rel=1e-6)
    assert torch.rand(1).item() == pytest.approx(following, rel=1e-6)


@pytest.mark.parametrize("name", variants.VARIANTS)
def test_every_variant_trains_resumes_and_ranks(name, sample, tmp_path):
    data = quality.read(sample, "B", "leave-one-out")
    row = dataclasses.replace(SMALL, variant=name, length=60, features=name not in ("untied",))
    device = torch.device("cpu")
    longer = dataclasses.replace(row, trainer={"num_epochs": 2, "batch_size": 64})
    whole = quality.train(longer, data, 0, tmp_path, device)
    again = quality.train(longer, data, 0, tmp_path, device)  # everything is there: only read
    assert whole.history["train_loss"].tolist() == again.history["train_loss"].tolist()
    first, last = whole.history["train_loss"].iloc[[0, -1]]
    assert last < first
    (scorer,) = [quality.sequence_scorer(longer, data, tmp_path, range(1), device)]
    scores = scorer.logits(data.split.validation.take(slice(0, 40)))
    assert scores.shape == (40, data.metadata.vocab_size)
    assert torch.isfinite(scores).all()


def test_overlapping_pieces_ask_for_each_movie_once():
    lengths = np.array([3, 140, 7, 1, 200])
    sequences = quality.Sequences(
        movie_tokens=np.arange(lengths.sum(), dtype=np.int32),
        ratings=np.ones(lengths.sum(), dtype=np.int8),
        timestamps=np.arange(lengths.sum()),
        offsets=np.concatenate([[0], lengths.cumsum()]),
    )
    found = []
    for batch in variants.overlapping_batches(sequences, lengths, 80, 2, seed=0):
        assert batch.movie_tokens.shape[1] <= 80
        found += batch.targets[batch.targets >= 0].tolist()
    expected = set(range(lengths.sum())) - set(sequences.offsets[:-1].tolist())
    assert sorted(found) == sorted(expected)


@pytest.mark.realdata
def test_the_stored_network_gives_the_figures_of_its_line():
    """MovieLens-1M: the network alone, and with the counts of its line."""
    movielens = load_movielens("ml-1m")
    data = quality.read(movielens, "B", "leave-one-out")
    file = quality.REPOSITORY / "data/pretrained/ml-1m/sequence_model.pth"
    model, about = load_sequence_model(file, data.movies, data.metadata)
    (line,) = [
        each for each in quality.stored()
        if (each["key"], each["group"], each["split"], each["seed"])
        == (about["row"], about["group"], about["split"], about["seed"])
    ]  # fmt: skip
    for part, lengths in (("validation", "train_lengths"), ("test", "known_lengths")):
        questions = getattr(data.split, part)
        score = quality.history_scores(model, torch.device("cpu"))
        logits = quality.all_scores(score, data.sequences, questions)
        counts = quality.count_scores(data, questions, getattr(data.split, lengths))
        joined = quality.with_counts(logits, counts, line["count_weights"])
        for scores, name in ((logits, "ndcg10_network"), (joined, "ndcg10")):
            ranks = quality.ranks_of(scores, data.sequences, questions)
            ndcg = quality.metrics_from_ranks(ranks).ndcg
            stored = line[f"{'val' if part == 'validation' else 'test'}_{name}"]
            assert ndcg == pytest.approx(stored, abs=2e-5)
