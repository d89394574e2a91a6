"""Schedules, the optimizer's groups and the penalties of notebook 09."""

import dataclasses
import time

import numpy as np
import pytest
import torch
from torch import nn

from recformer_utils.losses import repetition_mass
from recformer_utils.runs.precision import multiplies_bfloat16
from recformer_utils.training import (
    TrainerConfig,
    learning_rate_factor,
    make_optimizer,
    train_step,
)

STEPS_PER_EPOCH = 50
CPU = torch.device("cpu")
PLAIN = TrainerConfig(
    model_dir="unused",
    tensorboard_dir="unused",
    batch_size=8,
    starting_learning_rate=0.1,
    num_epochs=8,
)


def factors(**changes):
    trainer = dataclasses.replace(PLAIN, **changes)
    steps = range(trainer.num_epochs * STEPS_PER_EPOCH)
    return np.array([learning_rate_factor(trainer, step, STEPS_PER_EPOCH) for step in steps])


def torchs_own(make):
    """The factors of one of PyTorch's schedulers over the same steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for _ in range(PLAIN.num_epochs * STEPS_PER_EPOCH):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return np.array(found)


def test_cosine_is_pytorchs():
    steps = PLAIN.num_epochs * STEPS_PER_EPOCH
    expected = torchs_own(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, steps))
    np.testing.assert_allclose(factors(schedule="cosine"), expected, atol=1e-9)


def test_one_cycle_is_pytorchs_but_for_the_last_hundredth():
    """PyTorch reaches its turning point one step earlier and ends a little above 0."""
    steps = PLAIN.num_epochs * STEPS_PER_EPOCH
    expected = torchs_own(lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1.0, steps))
    np.testing.assert_allclose(factors(schedule="one-cycle"), expected, atol=0.015)


def test_warm_up_rises_in_a_line_and_never_stands_still():
    found = factors(schedule="cosine", warmup_fraction=0.1)
    rise = found[:40]
    np.testing.assert_allclose(np.diff(rise), 1 / 41)
    assert found.argmax() == 40
    assert found[40] == 1
    assert (found > 0).all()


def test_exponential_falls_between_epochs_only():
    found = factors(learning_rate_decay=0.5).reshape(PLAIN.num_epochs, STEPS_PER_EPOCH)
    np.testing.assert_array_equal(found, 0.5 ** np.arange(PLAIN.num_epochs)[:, None] + 0 * found)


def test_weight_decay_spares_biases_and_norms():
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(1.0)
    trainer = dataclasses.replace(PLAIN, weight_decay=0.5)
    optimizer, _ = make_optimizer(model, trainer, STEPS_PER_EPOCH)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.allclose(model[0].weight, torch.tensor(1 - 0.1 * 0.5))
    for parameter in (model[0].bias, model[1].weight, model[1].bias):
        assert torch.equal(parameter, torch.ones(3))


def test_repetition_mass_adds_up_the_window_each_movie_once():
    torch.manual_seed(0)
    logits = torch.randn(3, 7)
    windows = torch.tensor([[1, 2, 3], [4, 4, 0], [6, 6, 6]])
    expected = np.mean(
        [
            sum(row.softmax(0)[token].item() for token in set(window.tolist()))
            for row, window in zip(logits, windows, strict=True)
        ]
    )
    assert repetition_mass(logits, windows).item() == pytest.approx(expected, abs=1e-6)
    certain = torch.full((1, 7), -50.0)
    certain[0, 4] = 50.0
    assert repetition_mass(certain, torch.tensor([[4, 1, 2]])).item() == pytest.approx(1)


def weights_after_a_step(penalty, **options):
    torch.manual_seed(0)

    class Toy(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 7)

        def forward(self, movie_ids, user_ids):
            return self.table(movie_ids).sum(dim=1)

    model = Toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    before = model.table.weight.detach().clone()
    train_step(
        torch.tensor([[1, 2], [3, 4]]), torch.tensor([0, 1]), torch.tensor([5, 6]),
        model, optimizer, nn.CrossEntropyLoss(), torch.device("cpu"), penalty=penalty, **options,
    )  # fmt: skip
    return model.table.weight.detach(), model.table.weight.detach() - before


def test_only_the_penalty_with_a_gradient_changes_a_step():
    plain, _ = weights_after_a_step(None)
    without, _ = weights_after_a_step(
        lambda logits, tokens: 100.0 * (logits.argmax(1) == tokens[:, 0]).float().mean()
    )
    with_gradient, _ = weights_after_a_step(repetition_mass)
    assert torch.equal(plain, without)
    assert not torch.allclose(plain, with_gradient, atol=1e-3)


def test_a_long_gradient_is_cut_to_its_length():
    _, free = weights_after_a_step(None)
    _, cut = weights_after_a_step(None, max_gradient_norm=0.25)
    assert free.norm() > 0.3
    assert cut.norm().item() == pytest.approx(0.25, rel=1e-4)  # SGD with rate 1: step = gradient
    assert torch.allclose(cut / cut.norm(), free / free.norm(), atol=1e-5)


def test_what_counts_as_instructions_for_bfloat16_is_fast_enough():
    """If a CPU is said to have them, a product in bfloat16 is no plain loop."""
    if not multiplies_bfloat16(CPU):
        pytest.skip("this CPU has no instructions for bfloat16")
    a = torch.randn(512, 512)

    def seconds(matrix):
        times = []
        for _ in range(5):
            started = time.perf_counter()
            matrix @ matrix
            times.append(time.perf_counter() - started)
        return min(times)

    assert seconds(a.bfloat16()) < 10 * seconds(a)
