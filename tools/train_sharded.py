"""Trains the sequence model with its table cut over processes; the losses are those of one process.

    python -m tools.train_sharded                                              (one process)
    torchrun --standalone --nproc-per-node 2 -m tools.train_sharded            (table cut by rows)
    torchrun --standalone --nproc-per-node 2 -m tools.train_sharded --cut all  (FSDP2: all weights)

--table-optimizer rowwise: one number a row instead of Adam's two a weight, for the table alone.
Several cuts or optimizers after one another, each with each: --cut rows all --table-optimizer adam rowwise
"rows": each process sees the whole batch and keeps some rows of the table. "all": each process takes
a share of the batch, keeps a part of every weight, and gathers the whole weights for its step.
"""

import argparse
import itertools
import sys

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import SequenceModel, SequenceModelConfig, training_batches
from recformer_utils.sequences import Sequences, leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import TransformerConfig
from tools.processes import Loss, join, share_of
from tools.sharded import RowwiseAdagrad, shard_table, sharded_backward


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="sample", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--cut", choices=("rows", "all"), nargs="+", default=["rows"])
    optimizers = {"choices": ("adam", "rowwise"), "nargs": "+", "default": ["adam"]}
    parser.add_argument("--table-optimizer", **optimizers)
    parser.add_argument("--table-rate", type=float, default=0.03, help="of rowwise")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--backend", choices=("gloo", "nccl"), default="gloo")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--length", type=int, default=50)
    return parser.parse_args()


def optimizers_of(model: torch.nn.Module, table_optimizer: str, table_rate: float) -> list:
    """AdamW for everything, or for everything but the table."""
    table, others = model.movie_embedding.weight, list(model.parameters())
    optimizers = []
    if table_optimizer == "rowwise":
        others = [parameter for parameter in others if parameter is not table]
        optimizers.append(RowwiseAdagrad([table], lr=table_rate))
    adam = torch.optim.AdamW(others, lr=0.003, weight_decay=0.0, foreach=False)
    return [adam, *optimizers]


def train(
    sequences: Sequences, vocab_size: int, cut: str, table_optimizer: str, arguments: argparse.Namespace,
    device: torch.device,
) -> None:  # fmt: skip
    """One training; process 0 prints the losses, each process how many rows of the table it keeps."""
    rank, processes = dist.get_rank(), dist.get_world_size()
    lengths = leave_one_out(sequences).train_lengths
    torch.manual_seed(arguments.seed)
    shape = TransformerConfig(
        vocab_size=vocab_size, context_window_size=arguments.length,
        embedding_dimension=arguments.width, num_layers=1, num_heads=2,
        dropout_embeddings=0.0, dropout_attention=0.0, dropout_residual=0.0,
    )  # fmt: skip
    model = SequenceModel(SequenceModelConfig(transformer=shape)).to(device)
    loss_of = Loss(model)
    mesh = init_device_mesh(device.type, (processes,))
    if processes > 1 and cut == "rows":
        shard_table(model, mesh)
    elif processes > 1:
        fully_shard(loss_of, mesh=mesh)
    optimizers = optimizers_of(model, table_optimizer, arguments.table_rate)
    batches = itertools.chain.from_iterable(
        training_batches(sequences, lengths, arguments.length, arguments.batch_size, seed=epoch)
        for epoch in itertools.count()
    )
    for step, batch in enumerate(itertools.islice(batches, arguments.steps), start=1):
        model.zero_grad()
        if processes > 1 and cut == "rows":
            loss = sharded_backward(model, batch.to(device), mesh)
        else:
            mine, weight = share_of(batch, rank, processes)
            loss = weight * loss_of(mine.to(device))
            loss.backward()
            dist.all_reduce(loss := loss.detach())
            loss /= processes
        for optimizer in optimizers:
            optimizer.step()
        if rank == 0:
            print(f"--cut {cut} {table_optimizer}, step {step}: loss {loss.item():.6f}")
    table = model.movie_embedding.weight
    rows = len(table.to_local() if processes > 1 else table)
    print(f"--cut {cut} {table_optimizer}, process {rank} keeps {rows:,} of {len(table):,} rows")


def main() -> None:
    arguments = parse()
    # Each line in one piece, also where Python is told not to buffer: processes would mix theirs.
    sys.stdout.reconfigure(line_buffering=True, write_through=False)
    _, _, device = join(arguments.backend)
    data = load_movielens(arguments.data)
    metadata = MovieLensMetadata.from_frames(data.users, data.movies)
    sequences = order_by_time(data.ratings, metadata)
    for cut, optimizer in itertools.product(arguments.cut, arguments.table_optimizer):
        train(sequences, metadata.vocab_size, cut, optimizer, arguments, device)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
