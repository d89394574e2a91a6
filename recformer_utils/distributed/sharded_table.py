"""An embedding table cut by rows: every process keeps some, and they send each other what is asked.

    torchrun --standalone --nproc-per-node 2 -m recformer_utils.distributed.sharded_table

looks up the same tokens in a cut and in a whole table and compares vectors and gradients. Source:
Ivchenko et al., TorchRec: a PyTorch Domain Library for Recommendation Systems, 2022.
"""

import argparse
import sys

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn


class _Exchange(torch.autograd.Function):
    """Sends the first rows to process 0, the next ones to 1, ...; gradients travel back."""

    @staticmethod
    def forward(ctx, rows: torch.Tensor, sent: list[int], received: list[int]) -> torch.Tensor:
        ctx.sent, ctx.received = sent, received
        result = rows.new_empty(sum(received), *rows.shape[1:])
        dist.all_to_all_single(result, rows.contiguous(), received, sent)
        return result

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        return _Exchange.apply(gradient, ctx.received, ctx.sent), None, None


class ShardedEmbedding(nn.Module):
    """A row-wise sharded embedding table: of P processes, process p keeps rows p, p + P, p + 2P, …

    Every process asks for tokens of its own and gets their vectors, as from `nn.Embedding`. The
    gradient of a row is the sum over all processes; it arrives where the row is kept, so this
    module's parameters are not to be averaged by DistributedDataParallel.
    """

    def __init__(self, num_embeddings: int, embedding_dim: int, seed: int = 0):
        super().__init__()
        self.rank, self.processes = dist.get_rank(), dist.get_world_size()
        rows = len(range(self.rank, num_embeddings, self.processes))
        generator = torch.Generator().manual_seed(seed * self.processes + self.rank)
        weight = 0.02 * torch.randn(rows, embedding_dim, generator=generator)
        self.weight = nn.Parameter(weight)  # (rows of this process, embedding)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Vectors float (..., embedding) of tokens int64 (...)."""
        asked, place = tokens.flatten().unique(return_inverse=True)  # each one travels once
        order = (asked % self.processes).argsort(stable=True)  # by the process that keeps it
        asked, place = asked[order], order.argsort()[place]
        counts = torch.bincount(asked % self.processes, minlength=self.processes)
        counts_here = torch.empty_like(counts)
        dist.all_to_all_single(counts_here, counts)
        sent, received = counts.tolist(), counts_here.tolist()
        wanted = _Exchange.apply(asked, sent, received)  # tokens that others want of this one
        vectors = F.embedding(wanted // self.processes, self.weight)
        vectors = _Exchange.apply(vectors, received, sent)  # back, in the order of `asked`
        return F.embedding(place, vectors).view(*tokens.shape, -1)


def whole_table(table: ShardedEmbedding, num_embeddings: int) -> torch.Tensor:
    """All rows in the order of the tokens, float (num_embeddings, embedding), for a comparison."""
    parts = [None] * table.processes
    dist.all_gather_object(parts, table.weight.detach())
    whole = torch.empty(num_embeddings, table.weight.shape[1])
    for rank, part in enumerate(parts):
        whole[rank :: table.processes] = part
    return whole


def compare(num_embeddings: int, embedding_dim: int, num_tokens: int, seed: int = 0) -> None:
    """Looks up tokens in both tables, other ones in each process, and prints what differs."""
    table = ShardedEmbedding(num_embeddings, embedding_dim, seed)
    whole = whole_table(table, num_embeddings).requires_grad_()
    generator = torch.Generator().manual_seed(100 * seed + table.rank)
    tokens = torch.randint(num_embeddings, (num_tokens,), generator=generator)
    factor = torch.randn(num_tokens, embedding_dim, generator=generator)
    found, expected = table(tokens), F.embedding(tokens, whole)
    (found * factor).sum().backward()
    (expected * factor).sum().backward()
    dist.all_reduce(whole.grad)  # the whole table's gradient: the sum over the processes
    mine = whole.grad[table.rank :: table.processes]
    values, gradients = (found - expected).abs().max(), (table.weight.grad - mine).abs().max()
    sys.stdout.write(  # in one piece: processes that print would mix their lines
        f"process {table.rank} keeps {len(table.weight):,} of {num_embeddings:,} rows and asked for "
        f"{num_tokens:,}: largest difference {values:.1g} in vectors, {gradients:.1g} in gradients\n"
    )
    sys.stdout.flush()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(table.weight.grad, mine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_001)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=5_000)
    arguments = parser.parse_args()
    dist.init_process_group("gloo")
    compare(arguments.rows, arguments.width, arguments.tokens)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
