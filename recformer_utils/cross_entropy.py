"""Cross-entropy over the whole catalogue, with its gradient in the same pass.

PyTorch's own keeps the logarithms of all probabilities, reads them again for the gradient and
fills another matrix of that size with zeros first. Here the probabilities become the gradient.
Source: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024; the gradient in
the forward pass: Hsu et al., Liger Kernel, 2024.
"""

import torch
from torch.autograd.function import once_differentiable

CHUNK_BYTES = 4 << 20  # of logits at a time on a CPU: what fits into its caches
GPU_CHUNK_BYTES = 256 << 20  # what keeps a GPU busy


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
