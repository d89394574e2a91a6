"""RecTools' SASRec, timed in its own environment: see `peer_speeds` in benchmarks/bench.py.

python rectools_sasrec.py RATINGS PRECISION REPETITIONS STEPS; prints positions a second as JSON.
"""

import json
import logging
import sys
import time
import warnings

import pandas as pd
from pytorch_lightning import Callback, Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel

WARM_UP = 2
ratings, precision, repetitions, steps = (sys.argv[1], sys.argv[2], *map(int, sys.argv[3:5]))
warnings.simplefilter("ignore")  # of another project's packages about each other
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
ends: list[float] = []
positions: list[int] = []


class Clock(Callback):
    """Notes when each batch is done and how many of its positions have a target."""

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        ends.append(time.perf_counter())
        positions.append(int((batch["yw"] > 0).sum()))


def trainer() -> Trainer:
    return Trainer(
        max_epochs=1 + (WARM_UP + repetitions * steps) // 40, precision=precision,
        max_steps=WARM_UP + repetitions * steps, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[Clock()],
    )  # fmt: skip


names = ["user_id", "item_id", "weight", "datetime"]
frame = pd.read_csv(ratings, sep="::", engine="python", names=names)
frame["weight"] = 1
frame["datetime"] = pd.to_datetime(frame["datetime"], unit="s")
SASRecModel(
    n_blocks=2, n_heads=2, n_factors=64, session_max_len=200, batch_size=128, dropout_rate=0.2,
    loss="softmax", lr=0.001, get_trainer_func=trainer,
).fit(Dataset.construct(frame))  # fmt: skip
speeds = []
for first in range(WARM_UP, WARM_UP + repetitions * steps, steps):
    seconds = ends[first + steps - 1] - ends[first - 1]
    speeds.append(sum(positions[first : first + steps]) / seconds)
print(json.dumps(speeds))
