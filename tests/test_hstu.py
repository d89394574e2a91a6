"""HSTU: what it attends to, what its parts do, and that the loop of notebook 14 agrees."""

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from benchmarks import hstu, quality, variants
from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import SequenceModelConfig, gap_buckets, make_batch
from recformer_utils.transformer import TransformerConfig

SHAPE = TransformerConfig(
    vocab_size=60, context_window_size=20, embedding_dimension=16, num_layers=2, num_heads=2,
    dropout_embeddings=0.0, dropout_residual=0.0,
)  # fmt: skip
NAMES = [name for name in variants.VARIANTS if name.startswith("hstu")]


def some_batch(seed: int = 0):
    """Two histories of 12 and 7 movies."""
    generator = np.random.default_rng(seed)
    lengths = np.array([13, 8])
    sequences = quality.Sequences(
        movie_tokens=generator.integers(58, size=21).astype(np.int32),
        ratings=np.ones(21, dtype=np.int8),
        timestamps=np.concatenate([np.sort(generator.integers(9**7, size=n)) for n in lengths]),
        offsets=np.array([0, 13, 21]),
    )
    return make_batch(sequences, np.zeros(2, dtype=int), lengths - 1, np.arange(2), learn=True)


def network(name: str, next_gap: bool = False):
    """A model with biases that are not zero."""
    torch.manual_seed(0)
    config = SequenceModelConfig(transformer=SHAPE, pair_gaps=True, next_gap=next_gap)
    model = variants.VARIANTS[name].model(config).eval()
    for bias in model.biases:
        for numbers in bias.parameters():
            torch.nn.init.normal_(numbers)
    return model


@pytest.mark.parametrize("name", NAMES)
def test_the_future_and_the_padding_change_nothing(name):
    model, batch = network(name), some_batch()
    found = model(batch)
    later = batch.movie_tokens.clone()
    later[:, 6:] = 3
    stamps = batch.timestamps.clone()
    stamps[:, 6:] += 10**6
    other = model(batch._replace(movie_tokens=later, timestamps=stamps))
    assert torch.equal(found[:, :6], other[:, :6])
    assert not torch.allclose(found[0, 6:], other[0, 6:])
    alone = model(
        type(batch)(*(column[1:, :7] if column.dim() > 1 else column[1:] for column in batch))
    )
    assert torch.allclose(found[1:, :7], alone, atol=1e-6)


def test_only_with_next_gap_the_time_of_the_target_counts():
    batch = some_batch()
    later = batch._replace(next_timestamps=batch.next_timestamps + 10**6)
    without, knows = network("hstu"), network("hstu", next_gap=True)
    assert torch.equal(without(batch), without(later))
    assert not torch.allclose(knows(batch), knows(later), atol=1e-3)


def test_the_block_is_what_a_loop_over_movies_adds_up():
    torch.manual_seed(1)
    layer = hstu.HSTULayer(SHAPE).eval()
    x, bias = torch.randn(1, 5, 16), torch.randn(1, 1, 5, 5)
    v, q, k, u = F.silu(layer.vqku(layer.layer_norm1(x)))[0].split(16, dim=-1)
    rows = []
    for i in range(5):
        found = torch.zeros(16)
        for head in (slice(0, 8), slice(8, 16)):
            for j in range(i + 1):
                score = q[i, head] @ k[j, head] + bias[0, 0, i, j]
                found[head] += F.silu(score) / 20 * v[j, head]
        rows.append(x[0, i] + layer.out(layer.layer_norm2(found) * u[i]))
    assert torch.allclose(layer(x, bias)[0], torch.stack(rows), atol=1e-5)


def test_the_biases_are_looked_up_by_places_and_by_buckets():
    bias = hstu.RelativeBias(4, places=True, times=True)
    torch.nn.init.normal_(bias.places)
    torch.nn.init.normal_(bias.times)
    stamps = torch.tensor([[0, 0, 60, 86_400]])
    place = torch.arange(4)
    passed = gap_buckets(stamps[:, :, None] - stamps[:, None])
    found = bias((place[:, None] - place).clamp(min=0), passed)
    assert found.shape == (1, 1, 4, 4)
    assert found[0, 0, 3, 1] == bias.places[2] + bias.times[gap_buckets(torch.tensor(86_400))]
    assert found[0, 0, 1, 0] == bias.places[1] + bias.times[0]


def test_the_rows_of_the_page_differ_in_one_thing_each():
    rows = quality.ROWS
    times = rows["hstu-times"]
    for key, changed in (
        ("hstu-places", {"model": {}}),
        ("hstu-softmax", {"variant": "hstu-softmax"}),
        ("hstu-no-gate", {"variant": "hstu-no-gate"}),
        ("hstu-target-time", {"model": {"pair_gaps": True, "next_gap": True}}),
        ("rotary-times", {"variant": ""}),
    ):
        assert dataclasses.replace(times, name=rows[key].name, **changed) == rows[key]
    assert dataclasses.replace(rows["hstu-places"], variant="hstu-places", name="") == (
        dataclasses.replace(rows["hstu-plain"], name="")
    )


def test_the_count_of_parameters_is_that_of_the_parts():
    data = quality.read(load_movielens("sample"), "B", "leave-one-out")
    keys = "hstu-times", "hstu-places", "hstu-no-gate", "hstu-target-time"
    rows = {key: quality.ROWS[key] for key in keys}
    rows["four blocks"] = dataclasses.replace(quality.ROWS["hstu-times"], layers=4)
    size = {
        key: sum(p.numel() for p in quality.build(row, data, 0).parameters())
        for key, row in rows.items()
    }
    assert size["hstu-times"] - size["hstu-places"] == 2 * hstu.GAP_BUCKETS
    assert size["hstu-times"] - size["hstu-no-gate"] == 2 * 64 * 65
    assert size["hstu-times"] == size["hstu-target-time"]
    block = 2 * 2 * 64 + 4 * 64 * 65 + 64 * 65 + 100 + hstu.GAP_BUCKETS
    assert size["four blocks"] - size["hstu-times"] == 2 * block
