"""A row-wise optimizer for the table against Adam: what as many steps of each leave to lose.

    python -m benchmarks.rowwise                 (MovieLens-1M, a quarter of an hour on one core)

Learning rates are chosen by the validation loss of one half of the users, with a seed of their own;
the other half and five other seeds compare. Everything but the table is trained by AdamW alike.
Each training is stored in rowwise.json, beside this file, at once; notebook 11 shows it.
"""

import argparse
import datetime
import itertools
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from recformer_utils.movielens import load_movielens
from recformer_utils.sequence_model import (
    SequenceModel,
    SequenceModelConfig,
    history_scores,
    next_movie_loss,
    training_batches,
)
from recformer_utils.sequences import Questions, leave_one_out, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY, machine, write_json
from tools.sharded import RowwiseAdagrad

STEPS, BATCH, LENGTH, WIDTH, RATE = 400, 32, 50, 32, 0.003  # the rate of all but the table
RATES = {"Adam": (0.003, 0.01, 0.03, 0.1), "row-wise": (0.03, 0.1, 0.3, 1.0)}
CHOOSING, SEEDS = 9, (0, 1, 2, 3, 4)


class Trial:
    """The data, and trainings on it."""

    def __init__(self, name: str):
        data = load_movielens(name)
        self.metadata = MovieLensMetadata.from_frames(data.users, data.movies)
        self.sequences = order_by_time(data.ratings, self.metadata)
        self.split = leave_one_out(self.sequences)

    def model(self, seed: int) -> SequenceModel:
        torch.manual_seed(seed)
        shape = TransformerConfig(
            vocab_size=self.metadata.vocab_size, context_window_size=LENGTH,
            embedding_dimension=WIDTH, num_layers=1, num_heads=2, dropout_embeddings=0.0,
            dropout_attention=0.0, dropout_residual=0.0,
        )  # fmt: skip
        return SequenceModel(SequenceModelConfig(transformer=shape))

    def train(self, optimizer: str, rate: float, seed: int, steps: int) -> dict[str, float]:
        """The validation loss after so many steps, for two halves of the users."""
        model = self.model(seed)
        table = model.movie_embedding.weight
        others = [parameter for parameter in model.parameters() if parameter is not table]
        optimizers = [torch.optim.AdamW(others, RATE, weight_decay=0.0)]
        if optimizer == "Adam":
            optimizers.append(torch.optim.AdamW([table], rate, weight_decay=0.0))
        else:
            optimizers.append(RowwiseAdagrad([table], rate))
        for batch in itertools.islice(self.batches(seed), steps):
            model.zero_grad()
            next_movie_loss(model, batch).backward()
            for each in optimizers:
                each.step()
        halves = {f"loss_{half}": slice(half, None, 2) for half in (0, 1)}
        asked = {name: self.split.validation.take(rows) for name, rows in halves.items()}
        return {name: self.loss(model, questions) for name, questions in asked.items()}

    def batches(self, seed: int):
        for epoch in itertools.count(1_000 * seed):
            lengths = self.split.train_lengths
            yield from training_batches(self.sequences, lengths, LENGTH, BATCH, seed=epoch)

    def loss(self, model: SequenceModel, questions: Questions) -> float:
        score, total = history_scores(model, torch.device("cpu")), 0.0
        for rows in np.array_split(np.arange(len(questions.users)), 8):
            some = questions.take(rows)
            targets = torch.from_numpy(some.targets).long()
            total += F.cross_entropy(score(self.sequences, some), targets, reduction="sum").item()
        return total / len(questions.users)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--output", type=Path, default=REPOSITORY / "benchmarks/rowwise.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    about = {"data": arguments.data, "steps": arguments.steps, "batch": BATCH, "length": LENGTH}
    about |= {"width": WIDTH, "machine": machine(), "runs": []}
    if arguments.output.exists():
        about |= {"runs": json.loads(arguments.output.read_text(encoding="utf-8"))["runs"]}
    runs, trial = about["runs"], Trial(arguments.data)

    def run(optimizer: str, rate: float, seed: int) -> None:
        of = {"optimizer": optimizer, "rate": rate, "seed": seed}
        if not any(of.items() <= row.items() for row in runs):
            runs.append(of | trial.train(optimizer, rate, seed, arguments.steps))
            print(runs[-1], flush=True)
            write_json(arguments.output, about | {"date": datetime.date.today().isoformat()})

    for optimizer, rates in RATES.items():
        for rate in rates:
            run(optimizer, rate, CHOOSING)
        tried = [row for row in runs if (row["optimizer"], row["seed"]) == (optimizer, CHOOSING)]
        best = min(tried, key=lambda row: row["loss_0"])["rate"]
        for seed in SEEDS:
            run(optimizer, best, seed)


if __name__ == "__main__":
    main()
