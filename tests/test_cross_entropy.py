"""The chunked loss equals PyTorch's own: value, gradients, what is left out, extremes, bfloat16."""

import pytest
import torch
import torch.nn.functional as F

from recformer_utils import losses as losses_module
from recformer_utils.losses import full_cross_entropy
from recformer_utils.training import fast_matrix_products

POSITIONS, WIDTH, MOVIES = 50, 8, 30


@pytest.fixture(autouse=True)
def seven_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(losses_module, "CHUNK_BYTES", 7 * 4 * MOVIES + 3)


def inputs(scale=1.0):
    torch.manual_seed(0)
    hidden = (scale * torch.randn(POSITIONS, WIDTH)).requires_grad_()
    weight = torch.randn(MOVIES, WIDTH, requires_grad=True)
    bias = torch.randn(MOVIES, requires_grad=True)
    return hidden, weight, bias, torch.randint(MOVIES, (POSITIONS,))


@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("left_out", [-100, 3])
@pytest.mark.parametrize("scale", [1.0, 100.0])  # 100: the target's probability is 0 in float32
def test_value_and_gradients_are_those_of_pytorch(with_bias, left_out, scale):
    hidden, weight, bias, targets = inputs(scale)
    targets[::9] = left_out
    parameters = (hidden, weight, bias) if with_bias else (hidden, weight)
    logits = hidden @ weight.T + (bias if with_bias else 0)
    plain = F.cross_entropy(logits, targets, ignore_index=left_out)
    ours = full_cross_entropy(
        hidden, weight, targets, bias if with_bias else None, ignore_index=left_out
    )
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    for one, other in zip(
        torch.autograd.grad(3 * plain, parameters),
        torch.autograd.grad(3 * ours, parameters),
        strict=True,
    ):
        torch.testing.assert_close(other, one, atol=2e-6, rtol=1e-5)


def test_autocast_keeps_the_types_and_two_digits():
    hidden, weight, _, targets = inputs()
    plain = F.cross_entropy(hidden @ weight.T, targets)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = full_cross_entropy(hidden, weight, targets)
        assert torch.is_autocast_enabled("cpu")
    assert ours.dtype == torch.float32
    assert ours.item() == pytest.approx(plain.item(), rel=0.01)
    gradients = torch.autograd.grad(ours, (hidden, weight))
    for one, other in zip(torch.autograd.grad(plain, (hidden, weight)), gradients, strict=True):
        assert other.dtype == torch.float32
        torch.testing.assert_close(other, one, atol=0.02 * one.abs().max().item(), rtol=0)


def test_no_target_at_all_is_no_number():
    hidden, weight, _, targets = inputs()
    assert full_cross_entropy(hidden, weight, torch.full_like(targets, -100)).isnan()


def test_fast_matrix_products_are_float32_and_end():
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.manual_seed(0)
    a, b = torch.randn(300, 256), torch.randn(256, 200)
    exact = a.double() @ b.double()
    with fast_matrix_products():
        error = ((a @ b) - exact).abs().max().item()
    assert error < 1e-4  # with factors in bfloat16 it is 0.1
    assert torch.backends.mkldnn.matmul.fp32_precision == before
