"""Trains the sequence model in several processes that read their own users: one model, one curve.

    python -m tools.log_files --data auto --to build/log --files 8        (the log as Parquet files)
    python -m tools.train_distributed                                          (one process)
    torchrun --standalone --nproc-per-node 2 --max-restarts 3 -m tools.train_distributed
    torchrun --standalone --nproc-per-node 8 -m tools.train_distributed --backend nccl   (8 GPUs)

Two machines, the same command on each, with the address of one of them:

    torchrun --nnodes 2 --nproc-per-node 1 --max-restarts 3 --rdzv-backend c10d \\
        --rdzv-endpoint ADDRESS:29400 --rdzv-id run1 -m tools.train_distributed

--batch-size is that of all processes together. Kill one of the processes whose numbers are printed:
torchrun ends the others and starts them all again, and they go on after the last whole epoch.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import pandas as pd
import torch
import torch.distributed as dist

from recformer_utils.runs.files import replacing
from recformer_utils.sequence_model import SequenceModel, SequenceModelConfig, sequence_task
from recformer_utils.sequences import leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.training import TrainerConfig, fit
from recformer_utils.transformer import TransformerConfig
from tools.log_files import read_log
from tools.processes import join, share_task


def rank_folder(model_dir: Path) -> Path:
    """Where this process keeps its checkpoint: process 0 in model_dir, the others below it.

    Process 0 sends its checkpoint to the others first: after a kill, or on a new machine, they may
    have another or none.
    """
    rank = dist.get_rank()
    folder = model_dir if rank == 0 else model_dir / f"process-{rank}"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "checkpoint.pth"
    content = [checkpoint.read_bytes() if rank == 0 and checkpoint.exists() else None]
    dist.broadcast_object_list(content)
    if rank and content[0] is None:
        checkpoint.unlink(missing_ok=True)
    elif rank:
        with replacing(checkpoint) as file:
            file.write(content[0])
    return folder


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("build/log"), help="of tools.log_files")
    parser.add_argument("--model-dir", type=Path, default=Path("runs/distributed"))
    parser.add_argument("--backend", choices=("gloo", "nccl"), default="gloo")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=64, help="of all processes together")
    parser.add_argument("--length", type=int, default=100, help="longest history that is read")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.0)
    parser.add_argument("--learning-rate", type=float, default=0.003)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    arguments = parse()
    # Each line in one piece, also where Python is told not to buffer: processes would mix theirs.
    sys.stdout.reconfigure(line_buffering=True, write_through=False)
    rank, processes, device = join(arguments.backend)
    print(f"process {rank} of {processes}: pid {os.getpid()}")
    ratings, movies = read_log(arguments.data, rank, processes)
    print(f"process {rank} reads {len(ratings):,} ratings")
    users = pd.DataFrame({"user_id": ratings["user_id"].unique()})  # this process' own
    metadata = MovieLensMetadata.from_frames(users, movies)
    sequences = order_by_time(ratings, metadata)
    split = leave_one_out(sequences)
    torch.manual_seed(arguments.seed)
    shape = TransformerConfig(
        vocab_size=metadata.vocab_size, context_window_size=arguments.length,
        embedding_dimension=arguments.width, num_layers=arguments.layers, num_heads=2,
        dropout_embeddings=arguments.dropout, dropout_attention=arguments.dropout,
        dropout_residual=arguments.dropout,
    )  # fmt: skip
    model = SequenceModel(SequenceModelConfig(transformer=shape)).to(device)
    folder = rank_folder(arguments.model_dir)
    trainer = TrainerConfig(
        model_dir=str(folder), tensorboard_dir=str(folder / "tensorboard"),
        batch_size=arguments.batch_size // processes, starting_learning_rate=arguments.learning_rate,
        num_epochs=arguments.epochs, seed=arguments.seed, progress=False,
    )  # fmt: skip
    task = sequence_task(model, sequences, split, trainer)
    before = time.perf_counter(), time.process_time()
    result = fit(
        share_task(task, trainer, len(split.validation.users)), trainer, device,
        on_epoch=lambda epoch, _: print(f"epoch {epoch}") if rank == 0 else None,
    )  # fmt: skip
    passed, worked = time.perf_counter() - before[0], time.process_time() - before[1]
    print(f"took {passed:.2f} s, of which process {rank} worked {worked:.2f} s")
    if rank == 0:
        columns = ["epoch", "train_loss", "validation_loss", "NDCG@10", "seconds"]
        for line in result.history[columns].round(4).to_string(index=False).splitlines():
            print(line)
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
