"""RecBole's SASRec as a cross-check, in its own environment: how good it gets by our protocol.

python recbole_quality.py QUESTIONS.npz sasrec PRECISION SECONDS BATCH SEED; peer_quality.py calls it.
It learns one target a history, so an epoch is a million histories: it is trained for seconds, and
asked ten times on the way. Learns from the first movies of every user, prints one JSON line.
"""

import contextlib
import io
import json
import resource
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch

warnings.simplefilter("ignore")  # of another project's packages about each other
from recbole.config import Config  # noqa: E402
from recbole.data import create_dataset, data_preparation  # noqa: E402
from recbole.model.sequential_recommender import SASRec  # noqa: E402
from recbole.utils import init_seed  # noqa: E402

LENGTH, LOOKS = 200, 10
file, _, precision = sys.argv[1:4]
budget, batch_size, seed = map(int, sys.argv[4:])
arrays = np.load(file)  # movie_tokens, offsets, train_lengths; validation_* and test_* questions
lengths = np.diff(arrays["offsets"])
users = np.repeat(np.arange(len(lengths)), lengths)
place = np.arange(len(users)) - arrays["offsets"][users]
known = place < arrays["train_lengths"][users]
with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
    target = Path(folder) / "movies/movies.inter"
    target.parent.mkdir()
    pd.DataFrame(
        {
            "user_id:token": users[known],
            "item_id:token": arrays["movie_tokens"][known],
            "timestamp:float": place[known],  # the order is that of the questions' file
        }
    ).to_csv(target, sep="\t", index=False)
    settings = {
        "data_path": folder, "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "MAX_ITEM_LIST_LENGTH": LENGTH, "train_batch_size": batch_size, "loss_type": "CE",
        "train_neg_sample_args": None, "hidden_size": 64, "inner_size": 256, "n_layers": 2,
        "n_heads": 2, "hidden_dropout_prob": 0.2, "attn_dropout_prob": 0.2, "use_gpu": False,
        "show_progress": False, "state": "ERROR", "checkpoint_dir": folder, "seed": seed,
        "benchmark_filename": None, "log_wandb": False,
        "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "TO", "mode": "full", "group_by": "user"},
    }  # fmt: skip
    config = Config(model="SASRec", dataset="movies", config_dict=settings)
    init_seed(seed, True)
    dataset = create_dataset(config)
    loader, _, _ = data_preparation(config, dataset)
    model = SASRec(config, loader.dataset)
to_item = np.full(arrays["movie_tokens"].max() + 1, -1)
for token in np.unique(arrays["movie_tokens"][known]):
    to_item[token] = dataset.token2id("item_id", str(token))


def metrics(part: str) -> tuple[float, float]:
    """HR@10 and NDCG@10 of "validation" or "test", all unseen movies ranked."""
    model.eval()
    ranks = []
    rows = zip(*(arrays[f"{part}_{name}"] for name in ("users", "ends", "targets")), strict=True)
    for user, end, asked in rows:
        first = arrays["offsets"][user]
        history = to_item[arrays["movie_tokens"][first : first + end]]
        history = history[history >= 0]  # a movie outside of training has no number there
        read = torch.zeros(1, LENGTH, dtype=torch.int64)
        read[0, : min(len(history), LENGTH)] = torch.from_numpy(history[-LENGTH:])
        with torch.no_grad():
            state = model(read, torch.tensor([min(len(history), LENGTH)]))
        scores = state[0] @ model.item_embedding.weight.T
        scores[history], scores[0] = -torch.inf, -torch.inf  # 0 is padding
        item = to_item[asked]
        ranks.append(int((scores > scores[item]).sum()) if item >= 0 else len(scores))
    ranks, _ = np.array(ranks), model.train()
    return float((ranks < 10).mean()), float(np.where(ranks < 10, 1 / np.log2(ranks + 2), 0).mean())


optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
curve, seconds, learned, batches = [], 0.0, 0, iter(loader)
while len(curve) < LOOKS:
    started = time.perf_counter()
    if (batch := next(batches, None)) is None:
        batches = iter(loader)
        batch = next(batches)
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16-mixed"):
        loss = model.calculate_loss(batch)
    loss.backward()
    optimizer.step()
    learned += len(batch["item_length"])
    seconds += time.perf_counter() - started
    if seconds >= budget * (len(curve) + 1) / LOOKS:
        curve.append((round(seconds, 1), round(metrics("validation")[1], 5)))
        print(f"{curve[-1]}, {learned:,} targets", file=sys.stderr, flush=True)
found = {
    "train_seconds": seconds, "curve": curve, "torch": torch.__version__,
    "epochs": learned / len(loader.dataset), "parameters": sum(p.numel() for p in model.parameters()),
}  # fmt: skip
for part in ("validation", "test"):
    found[f"{part}_hr10"], found[f"{part}_ndcg10"] = metrics(part)
found["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps(found))
