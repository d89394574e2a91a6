"""A sequence model whose embedding table is cut by rows: each process keeps only some of them.

`tools/train_sharded.py` trains it. The rows are kept as a DTensor, with PyTorch's tensor
parallelism: every process sees the same batch, looks up the tokens whose rows it keeps, and the
vectors are summed over the processes. The scores of the catalogue are cut the same way, by columns,
and so are Adam's moments. Source: Shoeybi et al., Megatron-LM, 2019 (parallel vocabulary).
"""

import torch
import torch.nn.functional as F
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate
from torch.distributed.tensor.parallel import RowwiseParallel, loss_parallel, parallelize_module

from recformer_utils.sequence_model import NO_TARGET, SequenceBatch, SequenceModel

TABLE = "transformer.token_embedding"


def shard_table(model: SequenceModel, mesh: DeviceMesh) -> None:
    """Keeps this process's rows of the embedding table; all else stays whole.

    Args:
        model: with tied output and full loss, the same on all processes.
        mesh: the processes, one-dimensional.
    """
    parallelize_module(model, mesh, {TABLE: RowwiseParallel(input_layouts=Replicate())})


def sharded_backward(model: SequenceModel, batch: SequenceBatch, mesh: DeviceMesh) -> torch.Tensor:
    """The model's loss with its gradients, no process holding a whole row of scores.

    Args:
        model: after `shard_table`.
        batch: the same on all processes.
        mesh: as in `shard_table`.

    Returns:
        Mean loss over all positions with a target, float (), the same on all processes.
    """
    learned = batch.targets != NO_TARGET  # (batch, time)
    hidden, targets = model(batch)[learned], batch.targets[learned]
    hidden = DTensor.from_local(hidden, mesh, [Replicate()])  # (positions, embedding)
    scores = hidden @ model.output_weight().T  # (positions, vocab_size), columns cut
    with loss_parallel():  # sums of exponentials travel, not scores
        loss = F.cross_entropy(scores, targets)
        loss.backward()
    return loss.detach().full_tensor()
