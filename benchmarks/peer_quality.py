"""An implementation that is not ours under our protocol: python benchmarks/peer_quality.py --test

RecTools' SASRec, in the environment that `make bench` makes for it, learns from the same movies as
the rows of quality.py and answers the same questions; its line joins theirs in results.jsonl.
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
from bench import PEERS, REPOSITORY
from quality import Row, read, results_file, stored

from recformer_utils.movielens import load_movielens
from recformer_utils.run_record import machine

ROW = Row(0, "RecTools' SASRec, softmax")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--group", choices=("A", "B"), default="B")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--python", type=Path, default=PEERS / "rectools/bin/python")
    arguments = parser.parse_args()
    movielens = load_movielens(arguments.data)
    config = dataclasses.asdict(ROW) | {"trainer": {"num_epochs": arguments.epochs}}
    results, mine = results_file(movielens.name), (config, arguments.group, arguments.seed)
    if any(mine == (old["config"], old["group"], old["seed"]) for old in stored(results)):
        raise SystemExit("already measured: its line stands in the results")
    data = read(movielens, arguments.group, "leave-one-out")
    questions = {
        f"{name}_{key}": value
        for name, part in (("validation", data.validation), ("test", data.test))
        for key, value in part._asdict().items()
    }
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "questions.npz"
        np.savez(
            file, movie_tokens=data.sequences.movie_tokens, offsets=data.sequences.offsets,
            train_lengths=data.train_lengths, **questions,
        )  # fmt: skip
        script = REPOSITORY / "benchmarks/peers/rectools_quality.py"
        command = [arguments.python, script, file, arguments.epochs, arguments.seed]
        done = subprocess.run(
            [str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True,
            cwd=folder, env={**os.environ, "OMP_NUM_THREADS": str(arguments.threads)},
        )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    line = {
        "rung": ROW.rung, "name": ROW.name, "key": "rectools", "data": movielens.name,
        "group": arguments.group, "split": "leave-one-out", "target_time": False,
        "seed": arguments.seed, "val_hr10": round(found["validation_hr10"], 5),
        "val_ndcg10": round(found["validation_ndcg10"], 5), "val_ndcg10_interval": None,
        "val_ndcg10_network": round(found["validation_ndcg10"], 5), "count_weights": [0.0, 0.0],
        "test_hr10": round(found["test_hr10"], 5), "test_ndcg10": round(found["test_ndcg10"], 5),
        "test_ndcg10_interval": None, "test_ndcg10_network": round(found["test_ndcg10"], 5),
        "best_epoch": arguments.epochs, "parameters": found["parameters"],
        "train_seconds": round(found["train_seconds"]), "peak_mib": round(found["peak_mib"]),
        "machine": machine(), "torch": found["torch"], "date": datetime.date.today().isoformat(),
        "config": config,
    }  # fmt: skip
    with results.open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    print(json.dumps(line))


if __name__ == "__main__":
    main()
