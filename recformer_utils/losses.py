"""Cross-entropy over the whole catalogue, with its gradient in the same pass.

PyTorch's own keeps the logarithms of all probabilities, reads them again for the gradient and
fills another matrix of that size with zeros first. Here the probabilities become the gradient.
Source: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024; the gradient in
the forward pass: Hsu et al., Liger Kernel, 2024.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 4 << 20  # of logits at a time on a CPU: what fits into its caches
GPU_CHUNK_BYTES = 256 << 20  # what keeps a GPU busy
Loss = Literal["full", "sampled", "bce", "gbce"]
GBCE_CALIBRATION = 0.75  # t of Petrov and Macdonald: 0 is plain BCE, 1 undoes the sampling


def full_cross_entropy(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    bias: torch.Tensor | None = None,
    ignore_index: int = -100,
) -> torch.Tensor:
    """``cross_entropy(hidden @ weight.T + bias, targets, ignore_index)``, a few rows of logits at a time.

    The whole matrix of logits is larger than everything else in the step together: 16,000
    positions and 3,706 movies are 240 MB, three times over for its softmax and gradient.

    Args:
        hidden: float (positions, embedding).
        weight: float (movies, embedding).
        targets: int64 (positions,).
        bias: float (movies,).
        ignore_index: positions with this target are left out; the loss of none at all is nan.

    Returns:
        float (). Gradients of its gradients are refused.

    Under autocast the three matrix products run in its type, softmax and sums in float32.
    """
    device = hidden.device.type
    low = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return _FullCrossEntropy.apply(hidden, weight, targets, bias, low, ignore_index)


class _FullCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, targets, bias, low, ignore_index):
        with torch.autocast(hidden.device.type, enabled=False):
            return _loss_and_gradients(ctx, hidden, weight, targets, bias, low, ignore_index)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        hidden, weight, bias, count = ctx.saved_tensors
        scale = gradient / count
        bias = None if bias is None else bias * scale
        return (hidden * scale).to(ctx.dtype), weight * scale, None, bias, None, None


def _loss_and_gradients(ctx, hidden, weight, targets, bias, low, ignore_index):
    factor = weight if low is None else weight.to(low)
    kept = targets != ignore_index  # (positions,)
    count, targets = kept.sum(), targets.where(kept, 0)[:, None]
    hidden_gradient = torch.empty_like(hidden, dtype=weight.dtype)
    weight_gradient = torch.zeros_like(weight)
    bias_gradient = None if bias is None else torch.zeros_like(bias)
    total = torch.zeros((), device=hidden.device)
    chunk = CHUNK_BYTES if hidden.device.type == "cpu" else GPU_CHUNK_BYTES
    # Each part passes over all weights. With as many rows as these are wide that is paid for,
    # and the logits take no more memory than the weights, however large the catalogue.
    rows = max(weight.shape[1], chunk // (4 * len(weight)))
    for start in range(0, len(targets), rows):
        part = slice(start, start + rows)
        states, counted = hidden[part].to(factor.dtype), kept[part, None].to(factor.dtype)
        logits = (states @ factor.T).float()  # (rows, movies)
        if bias is not None:
            logits += bias
        own, highest = logits.gather(1, targets[part]), logits.amax(dim=1, keepdim=True)
        gradients = logits.softmax(dim=1)
        # The highest probability is at least 1 / movies: unlike the target's it has a logarithm.
        losses = highest - own - gradients.amax(dim=1, keepdim=True).log()  # (rows, 1)
        total += losses.where(kept[part, None], 0).sum()
        gradients.scatter_add_(1, targets[part], -torch.ones_like(own))
        gradients = gradients.to(factor.dtype)
        hidden_gradient[part] = gradients @ factor * counted
        states = states * counted
        if low is None:
            weight_gradient.addmm_(gradients.T, states)
        else:
            weight_gradient += gradients.T @ states
        if bias_gradient is not None:
            bias_gradient += (gradients.T @ counted)[:, 0]
    ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient, count)
    ctx.dtype = hidden.dtype
    return total / count


def sampled_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    loss: Loss,
    negatives: int,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Losses that look at the target and a few other movies drawn at random, float ().

    ``"bce"``: is this movie the next one, yes or no, for the target and one other movie a
    position (Kang and McAuley, Self-Attentive Sequential Recommendation, 2018). ``"sampled"``:
    a softmax over the target and ``negatives`` movies that all positions share. ``"gbce"``: yes
    or no for the same movies, with the target's probability raised to a power that undoes the
    overconfidence of sampling (Petrov and Macdonald, gSASRec, 2023).

    Args:
        hidden: float (positions, embedding).
        weight: float (movies, embedding); the last two rows, start and end, are never drawn.
        targets: int64 (positions,).
        loss: which one.
        negatives: how many movies are drawn a step.
        bias: float (movies,).
    """
    num_movies = len(weight) - 2
    own = (hidden * weight[targets]).sum(dim=-1)  # (positions,)
    drawn = torch.randint(
        num_movies, (len(targets) if loss == "bce" else negatives,), device=hidden.device
    )
    if loss == "bce":
        others = (hidden * weight[drawn]).sum(dim=-1)[:, None]  # (positions, 1)
        same = (drawn == targets)[:, None]
    else:
        others = hidden @ weight[drawn].T  # (positions, negatives)
        same = drawn == targets[:, None]
    if bias is not None:
        own, others = own + bias[targets], others + (
            bias[drawn][:, None] if loss == "bce" else bias[drawn]
        )  # fmt: skip
    own, others = own.float(), others.float().masked_fill(same, float("-inf"))
    if loss == "sampled":
        return -torch.cat([own[:, None], others], dim=1).log_softmax(dim=1)[:, 0].mean()
    power = 1.0
    if loss == "gbce":
        rate = min(1.0, negatives / (num_movies - 1))
        power = rate * (GBCE_CALIBRATION * (1 - 1 / rate) + 1 / rate)
    return (power * F.softplus(-own) + F.softplus(others).sum(dim=1)).mean()


def repetition_mass(logits: torch.Tensor, movie_tokens: torch.Tensor) -> torch.Tensor:
    """Probability that the model gives to the movies of the window, averaged over a batch.

    As a penalty it has a gradient: it is built from the probabilities themselves.

    Args:
        logits: float (batch, vocab_size).
        movie_tokens: windows of movie tokens, int (batch, window).

    Returns:
        float () in [0, 1]; a movie that stands twice in a window counts once.
    """
    log_probabilities = logits.log_softmax(dim=-1)
    tokens = movie_tokens.long().sort(dim=1).values  # (batch, window)
    again = torch.zeros_like(tokens, dtype=torch.bool)
    again[:, 1:] = tokens[:, 1:] == tokens[:, :-1]
    mass = log_probabilities.gather(1, tokens).exp().masked_fill(again, 0)
    return mass.sum(dim=1).mean()


def repetition_share(logits: torch.Tensor, movie_tokens: torch.Tensor) -> torch.Tensor:
    """Share of a batch whose most probable movie is one of the window, float ().

    As a penalty it does nothing: ``argmax`` has no gradient, so neither has what is built on it.
    It stands here to show that; arguments as in `repetition_mass`.
    """
    best = logits.argmax(dim=-1, keepdim=True)  # (batch, 1)
    return (movie_tokens == best).any(dim=1).to(logits.dtype).mean()
