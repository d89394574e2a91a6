"""RecTools' models as a cross-check, in their own environment: how good they get by our protocol.

python rectools_quality.py QUESTIONS.npz MODEL PRECISION EPOCHS BATCH SEED; peer_quality.py calls it,
with sasrec or bert4rec and a precision of PyTorch Lightning. Trains on the
first movies of every user (of them the last 201, as RecTools does), recommends ten unseen ones after
longer histories, prints one JSON line.
"""

import json
import logging
import resource
import sys
import time
import warnings

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer, seed_everything
from rectools.dataset import Dataset
from rectools.models import BERT4RecModel, SASRecModel

file, name, precision = sys.argv[1:4]
epochs, batch, seed = map(int, sys.argv[4:])
warnings.simplefilter("ignore")  # of another project's packages about each other
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
seed_everything(seed)


class Looks(Callback):
    """Asks the validation questions after each epoch, while the clock of the training stands still."""

    curve, seconds, started = [], 0.0, 0.0  # RecTools works with copies, which share the list

    def on_train_epoch_start(self, trainer, module):
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer, module):
        self.seconds += time.perf_counter() - self.started
        model.is_fitted = True
        self.curve.append((round(self.seconds, 1), round(metrics("validation")[1], 5)))
        module.train()
        print(f"epoch {trainer.current_epoch + 1}: {self.curve[-1]}", file=sys.stderr, flush=True)


def trainer() -> Trainer:
    return Trainer(
        max_epochs=epochs, precision=precision, accelerator="cpu", logger=False,
        enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False,
        callbacks=[Looks()],
    )  # fmt: skip


arrays = np.load(file)  # movie_tokens, offsets, train_lengths; validation_* and test_* questions


def interactions(ends: np.ndarray) -> Dataset:
    """The first ``ends`` movies of each user; their order is their place in the history."""
    lengths = np.diff(arrays["offsets"])
    users = np.repeat(np.arange(len(lengths)), lengths)
    place = np.arange(len(users)) - arrays["offsets"][users]
    known = place < ends[users]
    return Dataset.construct(
        pd.DataFrame(
            {
                "user_id": users[known],
                "item_id": arrays["movie_tokens"][known],
                "weight": 1,
                "datetime": pd.Timestamp(2000, 1, 1) + pd.to_timedelta(place[known], unit="s"),
            }
        )
    )


model = {"sasrec": SASRecModel, "bert4rec": BERT4RecModel}[name](
    n_blocks=2, n_heads=2, n_factors=64, session_max_len=200, batch_size=batch, dropout_rate=0.2,
    loss="softmax", lr=0.001, get_trainer_func=trainer,
)  # fmt: skip


def metrics(part: str) -> tuple[float, float]:
    """HR@10 and NDCG@10 of "validation" or "test", all unseen movies ranked."""
    users, ends = arrays[f"{part}_users"], arrays[f"{part}_ends"]
    lengths = arrays["train_lengths"].copy()
    lengths[users] = ends
    top = model.recommend(users, interactions(lengths), k=10, filter_viewed=True)
    targets = pd.Series(arrays[f"{part}_targets"], index=users)
    hits = top[top["item_id"] == top["user_id"].map(targets)]
    ranks = hits["rank"].to_numpy()  # from 1
    return len(hits) / len(users), float((1 / np.log2(ranks + 1)).sum() / len(users))


model.fit(interactions(arrays["train_lengths"]))
found = {
    "train_seconds": Looks.curve[-1][0],
    "epochs": epochs,
    "curve": Looks.curve,
    "parameters": sum(p.numel() for p in model.torch_model.parameters()),
    "torch": torch.__version__,
}
for part in ("validation", "test"):
    found[f"{part}_hr10"], found[f"{part}_ndcg10"] = metrics(part)
found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(found))
