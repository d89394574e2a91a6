"""The chunked loss equals PyTorch's own, the sampled ones their formulas."""

import pytest
import torch
import torch.nn.functional as F

from recformer_utils import losses as losses_module
from recformer_utils.losses import GBCE_CALIBRATION, full_cross_entropy, sampled_loss
from recformer_utils.runs import fast_matrix_products

POSITIONS, WIDTH, MOVIES = 50, 8, 30


@pytest.fixture(autouse=True)
def nine_rows_at_a_time(monkeypatch):
    monkeypatch.setattr(losses_module, "CHUNK_BYTES", {"cpu": 9 * 4 * MOVIES + 3})


def inputs(scale=1.0):
    torch.manual_seed(0)
    hidden = (scale * torch.randn(POSITIONS, WIDTH)).requires_grad_()
    weight = torch.randn(MOVIES, WIDTH, requires_grad=True)
    return hidden, weight, torch.randint(MOVIES, (POSITIONS,))


@pytest.mark.parametrize("scale", [1.0, 100.0])  # 100: the target's probability is 0 in float32
def test_value_and_gradients_are_those_of_pytorch(scale):
    hidden, weight, targets = inputs(scale)
    plain = F.cross_entropy(hidden @ weight.T, targets)
    ours = full_cross_entropy(hidden, weight, targets)
    assert ours.item() == pytest.approx(plain.item(), rel=1e-6)
    for one, other in zip(
        torch.autograd.grad(3 * plain, (hidden, weight)),
        torch.autograd.grad(3 * ours, (hidden, weight)),
        strict=True,
    ):
        torch.testing.assert_close(other, one, atol=2e-6, rtol=1e-5)


def test_autocast_keeps_the_types_and_two_digits():
    hidden, weight, targets = inputs()
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
    hidden, weight, targets = inputs()
    assert full_cross_entropy(hidden[:0], weight, targets[:0]).isnan()


@pytest.mark.parametrize("loss", ["bce", "sampled", "gbce"])
def test_sampled_losses_are_their_formulas(loss):
    negatives, movies = 20, 60
    torch.manual_seed(3)
    drawn = torch.randint(movies - 2, (negatives,) if loss == "sampled" else (9, negatives))
    drawn = drawn.expand(9, negatives)
    hidden, weight, targets = torch.randn(9, 8), torch.randn(movies, 8), torch.arange(9)
    targets[2], targets[5] = drawn[2, 2], drawn[5, 5]  # drawn by accident: not a negative there
    torch.manual_seed(3)
    ours = sampled_loss(hidden, weight, targets, loss, negatives).item()
    rate = negatives / (movies - 3)
    power = rate * (GBCE_CALIBRATION * (1 - 1 / rate) + 1 / rate) if loss == "gbce" else 1.0
    expected = []
    for row, target in enumerate(targets.tolist()):
        scores = (weight @ hidden[row]).double()
        others = scores[[int(other) for other in drawn[row] if other != target]]
        if loss == "sampled":
            expected.append(torch.cat([scores[target, None], others]).logsumexp(0) - scores[target])
        else:
            positive = scores[target].sigmoid() ** power
            expected.append(-positive.log() - (1 - others.sigmoid()).log().sum())
    assert ours == pytest.approx(torch.stack(expected).mean().item(), rel=1e-5)


def test_fast_matrix_products_are_float32_and_end():
    before = torch.backends.mkldnn.matmul.fp32_precision
    torch.manual_seed(0)
    a, b = torch.randn(300, 256), torch.randn(256, 200)
    exact = a.double() @ b.double()
    with fast_matrix_products():
        error = ((a @ b) - exact).abs().max().item()
    assert error < 1e-4  # with factors in bfloat16 it is 0.1
    assert torch.backends.mkldnn.matmul.fp32_precision == before
