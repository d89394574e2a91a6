"""Several processes train one model: the share of a batch that each of them computes.

`tools/processes.py` starts PyTorch's own engines; `tools/train_distributed.py`: each process has a
copy, gradients are averaged; `tools/train_sharded.py`: the embedding table is cut over them.
"""

import torch

from recformer_utils.sequence_model import NO_TARGET, SequenceBatch


def share_of(batch: SequenceBatch, rank: int, processes: int) -> tuple[SequenceBatch, float]:
    """Every `processes`-th row of a batch, starting at `rank`, and the weight of its mean loss.

    With the weight, own positions with a target * processes / those of all, the average over the
    processes is the mean over all positions. A process without a row gets one with weight 0.
    """
    rows = torch.arange(len(batch.lengths))[rank::processes]
    counts = (batch.targets != NO_TARGET).sum(dim=1)  # (batch,)
    weight = processes * counts[rows].sum().item() / counts.sum().item()
    rows = rows if len(rows) else torch.zeros(1, dtype=torch.int64)
    return SequenceBatch(*(tensor[rows] for tensor in batch)), weight
