"""Losses over the whole catalogue and over a few movies of it, and the penalty for repetition."""

from typing import Literal

import torch
import torch.nn.functional as F

CHUNK_BYTES = {"cpu": 4 << 20, "cuda": 256 << 20}  # of logits at a time: what caches hold
GBCE_CALIBRATION = 0.75  # t of Petrov and Macdonald: 0 is plain BCE, 1 undoes the sampling


class FullCrossEntropy(torch.autograd.Function):
    """The loss of `full_cross_entropy` and its gradients in the same pass.

    PyTorch's own keeps the logarithms of all probabilities, reads them again for the gradient and
    fills another matrix of that size with zeros first. Here the probabilities become the gradient.
    Source: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2024; the gradient
    in the forward pass: Hsu et al., Liger Kernel, 2024.
    """

    @staticmethod
    def forward(ctx, hidden, weight, targets):
        """Loss, float (); leaves the gradients for `backward`. Softmax and sums are in float32."""
        device, factor = hidden.device.type, weight
        if torch.is_autocast_enabled(device):
            factor = weight.to(torch.get_autocast_dtype(device))
        # At least `width` rows a part, or reading the weights costs more than the product. So
        # the logits take CHUNK_BYTES or as much as the weights, whichever is more.
        rows = max(weight.shape[1], CHUNK_BYTES.get(device, 4 << 20) // (4 * len(weight)))
        total, weight_gradient = hidden.new_zeros((), dtype=torch.float), torch.zeros_like(weight)
        hidden_gradient = torch.empty_like(hidden, dtype=weight.dtype)
        with torch.autocast(device, enabled=False):
            for start in range(0, len(targets), rows):
                part = slice(start, start + rows)
                states, own_movie = hidden[part].to(factor.dtype), targets[part, None]
                logits = (states @ factor.T).float()  # (rows, movies)
                own, highest = logits.gather(1, own_movie), logits.amax(dim=1, keepdim=True)
                gradients = logits.softmax(dim=1)
                # The highest probability is at least 1 / movies: it has a logarithm.
                total += (highest - own - gradients.amax(dim=1, keepdim=True).log()).sum()
                gradients.scatter_add_(1, own_movie, -torch.ones_like(own))
                gradients = gradients.to(factor.dtype)
                hidden_gradient[part] = gradients @ factor
                weight_gradient += gradients.T @ states
        ctx.save_for_backward(hidden_gradient, weight_gradient)
        return total / len(targets)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        """Gradients of hidden and weight; there are no gradients of gradients."""
        hidden, weight = ctx.saved_tensors
        scale = gradient / len(hidden)
        return hidden * scale, weight * scale, None


def full_cross_entropy(
    hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """``cross_entropy(hidden @ weight.T, targets)``, float (), a few rows of logits at a time.

    The whole matrix of logits is larger than everything else in the step together: 16,000
    positions and 3,706 movies are 240 MB, three times over for its softmax and gradient.
    hidden: float (positions, embedding); weight: float (movies, embedding); targets: int64.
    """
    return FullCrossEntropy.apply(hidden, weight, targets)


def sampled_loss(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    loss: Literal["bce", "sampled", "gbce"],
    negatives: int,
) -> torch.Tensor:
    """Losses that look at the target and a few other movies drawn at random, float ().

    ``"sampled"``: a softmax over the target and ``negatives`` movies that all positions share.
    ``"bce"``: binary cross-entropy for the target and as many others, drawn anew for each position
    (one of them: Kang and McAuley, SASRec, 2018). ``"gbce"``: the same with the target's
    probability raised to a power against overconfidence (Petrov and Macdonald, gSASRec, 2023).
    Arguments as in `full_cross_entropy`; the last two rows of weight, start and end, are never drawn.
    """
    num_movies = len(weight) - 2
    own = (hidden * weight[targets]).sum(dim=-1).float()  # (positions,)
    if loss == "sampled":
        drawn = torch.randint(num_movies, (negatives,), device=hidden.device)
        others = hidden @ weight[drawn].T  # (positions, negatives)
    else:
        drawn = torch.randint(num_movies, (len(targets), negatives), device=hidden.device)
        others = torch.einsum("pe,pne->pn", hidden, F.embedding(drawn, weight))
    others = others.float().masked_fill(drawn == targets[:, None], float("-inf"))
    if loss == "sampled":
        return -torch.cat([own[:, None], others], dim=1).log_softmax(dim=1)[:, 0].mean()
    power = 1.0
    if loss == "gbce":
        rate = min(1.0, negatives / (num_movies - 1))
        power = rate * (GBCE_CALIBRATION * (1 - 1 / rate) + 1 / rate)
    return (power * F.softplus(-own) + F.softplus(others).sum(dim=1)).mean()


def repetition_mass(logits: torch.Tensor, movie_tokens: torch.Tensor) -> torch.Tensor:
    """Mean probability of the window's movies, each once, float () in [0, 1]: has a gradient.

    logits: float (batch, vocab_size); movie_tokens: windows, int (batch, window).
    """
    log_probabilities = logits.log_softmax(dim=-1)
    tokens = movie_tokens.long().sort(dim=1).values  # (batch, window)
    again = torch.zeros_like(tokens, dtype=torch.bool)
    again[:, 1:] = tokens[:, 1:] == tokens[:, :-1]
    mass = log_probabilities.gather(1, tokens).exp().masked_fill(again, 0)
    return mass.sum(dim=1).mean()
