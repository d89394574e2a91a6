"""An implementation that is not ours under our protocol: python -m benchmarks.peer_quality

RecTools' SASRec or BERT4Rec, or RecBole's SASRec, in the environment that `make bench` makes, learns
from the same movies as the rows of quality.py and answers the same questions, the test once; its line
joins theirs, with its curve: seconds of training and NDCG@10 on validation. With ties at random the
order is drawn once: a peer sees the same one in each epoch.
"""

import argparse
import dataclasses
import datetime
import json
import os
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.bench import PEERS
from benchmarks.quality import TRAINER, Row, find, read, results_file, store
from recformer_utils.movielens import load_movielens
from recformer_utils.runs.precision import multiplies_bfloat16
from tools.common import REPOSITORY, machine

ROWS = {
    "rectools": ("rectools", "sasrec", Row(0, "RecTools' SASRec, softmax")),
    "rectools-bert4rec": ("rectools", "bert4rec", Row(0, "RecTools' BERT4Rec, softmax")),
    "recbole": ("recbole", "sasrec", Row(0, "RecBole's SASRec, softmax")),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", choices=ROWS, default="rectools")
    parser.add_argument("--ties", choices=("file", "random"), default="file")
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--group", choices=("A", "B"), default="B")
    parser.add_argument("--epochs", type=int, default=TRAINER["num_epochs"], help="of RecTools")
    parser.add_argument("--seconds", type=int, default=1200, help="of RecBole")
    parser.add_argument("--batch", type=int, help="histories; 16 of RecTools, 128 of RecBole")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    movielens = load_movielens(arguments.data)
    results, (peer, model, row) = results_file(movielens.name), ROWS[arguments.row]
    length, batch = {"num_epochs": arguments.epochs}, TRAINER["batch_size"]
    if peer == "recbole":  # one target a history: an epoch of it is hours, and 16 targets are few
        length, batch = {"seconds": arguments.seconds}, 128
    batch = arguments.batch or batch
    mixed = multiplies_bfloat16(torch.device("cpu"))
    mine = {
        "key": arguments.row, "data": movielens.name, "group": arguments.group,
        "split": "leave-one-out", "ties": arguments.ties, "seed": arguments.seed,
        "config": dataclasses.asdict(row)
        | {"trainer": {**length, "batch_size": batch}},
    }  # fmt: skip
    if found := find(results, mine):
        print("already measured:", json.dumps(found))
        return
    ties = arguments.seed if arguments.ties == "random" else None
    data = read(movielens, arguments.group, "leave-one-out", ties=ties)
    questions = {
        f"{name}_{key}": value
        for name, part in (("validation", data.split.validation), ("test", data.split.test))
        for key, value in part._asdict().items()
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "questions.npz"
        np.savez(
            file, movie_tokens=data.sequences.movie_tokens, offsets=data.sequences.offsets,
            train_lengths=data.split.train_lengths, **questions,
        )  # fmt: skip
        script = REPOSITORY / f"benchmarks/peers/{peer}_quality.py"
        command = [PEERS / peer / "bin/python", script, file, model]
        command += ["bf16-mixed" if mixed else "32-true", *length.values()]
        command += [batch, arguments.seed]
        done = subprocess.run(
            [str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True,
            cwd=folder, env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
        )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    hits, gains = (
        {part: round(found[f"{part}_{name}"], 5) for part in ("validation", "test")}
        for name in ("hr10", "ndcg10")
    )
    line = {
        "rung": row.rung, "name": row.name, **mine, "ids_only": True,
        "target_time": False,
        "val_hr10": hits["validation"], "val_ndcg10": gains["validation"],
        "val_ndcg10_interval": None, "val_ndcg10_network": gains["validation"],
        "count_weights": [0.0, 0.0], "test_hr10": hits["test"], "test_ndcg10": gains["test"],
        "test_ndcg10_interval": None, "test_ndcg10_network": gains["test"],
        "best_epoch": round(found["epochs"], 2), "parameters": found["parameters"],
        "train_seconds": round(found["train_seconds"]), "curve": found["curve"],
        "peak_mib": round(found["peak_mib"]),
        "machine": machine(), "torch": found["torch"], "date": datetime.date.today().isoformat(),
    }  # fmt: skip
    store(results, mine, line)
    print(json.dumps(line))


if __name__ == "__main__":
    main()
