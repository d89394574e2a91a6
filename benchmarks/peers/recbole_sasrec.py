"""RecBole's SASRec, timed in its own environment: see `peer_speeds` in benchmarks/bench.py.

python recbole_sasrec.py RATINGS PRECISION REPETITIONS STEPS; prints positions a second as JSON.

It learns one target a history, so what is counted are the positions that it reads: the count that
favours it most. Every tenth user is enough for its batches and keeps its copies of each prefix of
each history within memory.
"""

import contextlib
import io
import json
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

warnings.simplefilter("ignore")  # of another project's packages about each other
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402

WARM_UP = 2
ratings, precision, repetitions, steps = (sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    rows = [line.split("::") for line in Path(ratings).read_text().splitlines()]
    target = Path(folder) / "movies/movies.inter"
    target.parent.mkdir()
    lines = [f"{user}\t{movie}\t{stamp}" for user, movie, _, stamp in rows if int(user) % 10 == 0]
    head = "user_id:token\titem_id:token\ttimestamp:float"
    target.write_text("\n".join([head, *lines]) + "\n")
    settings = {
        "data_path": folder, "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": 200, "train_batch_size": 128, "loss_type": "CE",
        "train_neg_sample_args": None, "hidden_size": 64, "inner_size": 256, "n_layers": 2,
        "n_heads": 2, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2, "use_gpu": False,
        "show_progress": False, "state": "ERROR", "checkpoint_dir": folder,
        "benchmark_filename": None, "log_wandb": False,
    }  # fmt: skip
    config = Config(model="SASRec", dataset="movies", config_dict=settings)
    dataset = create_dataset(config)
    loader, _, _ = data_preparation(config, dataset)
    model = SASRec(config, loader.dataset).train()
optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
speeds, batches = [], iter(loader)
for repetition in range(-1, repetitions):
    started, positions = time.perf_counter(), 0
    for _ in range(steps if repetition >= 0 else WARM_UP):
        batch = next(batches)
        optimizer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
            loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()
        loss.item()  # as its trainer does after every step
        positions += int(batch["item_length"].sum())
    if repetition >= 0:
        speeds.append(positions / (time.perf_counter() - started))
print(json.dumps(speeds))
