"""One training step, eager and compiled, for models of several sizes: python -m benchmarks.compile_step

Writes data/pretrained/compile_step.json for notebook 09. Every size runs in a process of its own
with an empty cache, so that the first step pays for the whole translation. Run it on a quiet machine.
"""

import argparse
import datetime
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import torch

from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.training import train_step
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY, machine, write_json

RESULTS = REPOSITORY / "data/pretrained/compile_step.json"
# Layers, width, batch.
SIZES = [(1, 32, 32), (4, 32, 32), (4, 32, 512), (4, 32, 2048), (4, 128, 512)]
MOVIES, USERS, WINDOW = 3_885, 6_040, 5  # of MovieLens-1M
REPETITIONS = 30


def measure(layers: int, width: int, batch: int, threads: int) -> dict:
    """Seconds of the first compiled step, median milliseconds of the later ones and of eager ones."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    dropout = dict.fromkeys(("dropout_embeddings", "dropout_attention", "dropout_residual"), 0.1)
    shape = TransformerConfig(
        vocab_size=MOVIES, context_window_size=WINDOW, embedding_dimension=width,
        num_layers=layers, num_heads=4, **dropout,
    )  # fmt: skip
    model = MovieLensTransformer(MovieLensTransformerConfig(shape, width, USERS, [16]))
    init_weights(model)
    optimizer = torch.optim.Adam(model.parameters())
    criterion = torch.nn.CrossEntropyLoss()
    windows = torch.randint(MOVIES - 2, (batch, WINDOW), dtype=torch.int32)
    users = torch.randint(USERS, (batch,), dtype=torch.int32)
    targets = torch.randint(MOVIES - 2, (batch,))

    def step_seconds(module: torch.nn.Module) -> float:
        started = time.perf_counter()
        train_step(windows, users, targets, module, optimizer, criterion, torch.device("cpu"))
        return time.perf_counter() - started

    def median_ms(module: torch.nn.Module) -> float:
        return 1000 * statistics.median(step_seconds(module) for _ in range(REPETITIONS))

    for _ in range(3):
        step_seconds(model)
    eager = median_ms(model)
    compiled = torch.compile(model)
    first = step_seconds(compiled)
    step_seconds(compiled)
    return {
        "layers": layers, "width": width, "batch": batch, "first_step_s": round(first, 1),
        "eager_ms": round(eager, 2), "compiled_ms": round(median_ms(compiled), 2),
        "machine": machine(), "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for PyTorch")
    parser.add_argument("--size", type=int, nargs=3, help="layers, width, batch: one, printed only")
    arguments = parser.parse_args()
    if arguments.size:
        print(json.dumps(measure(*arguments.size, arguments.threads)))
        return
    rows = []
    for size in SIZES:
        command = [
            sys.executable,
            "-m",
            "benchmarks.compile_step",
            "--threads",
            str(arguments.threads),
        ]
        command += ["--size", *map(str, size)]
        with tempfile.TemporaryDirectory() as cache:
            environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache}
            done = subprocess.run(
                command, env=environment, cwd=REPOSITORY, check=True, capture_output=True, text=True
            )
        print(done.stdout.strip(), flush=True)
        rows.append(json.loads(done.stdout))
    write_json(RESULTS, rows)


if __name__ == "__main__":
    main()
