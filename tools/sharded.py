"""A sequence model whose embedding table is cut by rows: each process keeps only some of them.

Every process sees the same batch and looks up the tokens whose rows it keeps; the vectors are
summed over the processes. The scores of the catalogue are cut alike, by columns, and so are Adam's
moments. Source: Shoeybi et al., Megatron-LM, 2019 (parallel vocabulary).
"""

import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import loss_parallel

from recformer_utils.sequence_model import NO_TARGET, SequenceBatch, SequenceModel


def shard_table(model: SequenceModel, mesh: DeviceMesh) -> None:
    """Keeps this process's rows of the table of a model that reads movies only; the rest is whole."""
    rows = distribute_tensor(model.movie_embedding.weight, mesh, [Shard(0)])
    model.movie_embedding.weight = nn.Parameter(rows)

    def tokens_for_all(_, inputs: tuple[SequenceBatch]) -> tuple[SequenceBatch]:
        tokens = DTensor.from_local(inputs[0].movie_tokens, mesh, [Replicate()])
        return (inputs[0]._replace(movie_tokens=tokens),)

    model.register_forward_pre_hook(tokens_for_all)
    # What the lookup returns is a sum over the processes; from here on the vectors are whole.
    model.embedding_dropout.register_forward_pre_hook(lambda _, inputs: (inputs[0].full_tensor(),))


def sharded_backward(model: SequenceModel, batch: SequenceBatch, mesh: DeviceMesh) -> torch.Tensor:
    """Gradients of the mean loss over all positions with a target; returns it, float ().

    No process holds the scores of the whole catalogue. Model after `shard_table`; the same batch
    on all processes.
    """
    learned = batch.targets != NO_TARGET  # (batch, time)
    hidden, targets = model(batch)[learned], batch.targets[learned]
    hidden = DTensor.from_local(hidden, mesh, [Replicate()])  # (positions, embedding)
    scores = hidden @ model.movie_vectors().T  # (positions, vocab_size), columns cut
    with loss_parallel():  # sums of exponentials travel, not scores
        loss = F.cross_entropy(scores, targets)
        loss.backward()
    return loss.detach().full_tensor()


class RowwiseAdagrad(torch.optim.Optimizer):
    """Adagrad with one number a row: the sum of the mean squares of the row's gradients.

    Rows that are cut over processes keep their numbers where they are. Sources: Duchi et al.,
    Adaptive Subgradient Methods, 2011; by rows: Mudigere et al., ZionEX, 2022.
    """

    def __init__(self, tables: list[torch.Tensor], lr: float):
        super().__init__(tables, {"lr": lr})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            for table in group["params"]:  # (rows, width)
                squares = table.grad.square().mean(dim=1, keepdim=True)  # (rows, 1)
                total = self.state[table].setdefault("total", torch.zeros_like(squares))
                total += squares
                table -= group["lr"] * table.grad / (total.sqrt() + 1e-10)
