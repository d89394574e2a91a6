"""What three ways to hold out promise, and what the future delivers: notebook 08, section 7.

python -m benchmarks.splits      three seeds on MovieLens-1M and on the sample; about ten minutes

The last tenth of all ratings, by the clock, is the future. What lies before it is split by random
windows, by leave-one-out, and by the clock once more. On each split a small network is trained, and
nearest neighbours are looked up; both are asked the questions of their own split, and then about
the future. One line a run goes to data/pretrained/splits.jsonl.
"""

import argparse
import datetime
import json
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from recformer_utils.baselines import truncate
from recformer_utils.evaluation import evaluate_ranking
from recformer_utils.movielens import load_movielens
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.runs.files import replacing
from recformer_utils.sequences import (
    Batch,
    Questions,
    Sequences,
    order_by_time,
    sliding_windows,
    temporal_split,
)
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import TransformerConfig
from tools.common import REPOSITORY, machine

WINDOW = 5
MOST_QUESTIONS = {"network": 20_000, "neighbours": 5_000}
NEIGHBOURS = (5, 10, 20, 50, 100, 200, 500)
STORED = REPOSITORY / "data/pretrained/splits.jsonl"

Score = Callable[[Sequences, Questions], torch.Tensor]


class Windows:
    """Windows of one log, and where each of their targets stands."""

    def __init__(self, sequences: Sequences, metadata: MovieLensMetadata):
        self.sequences = sequences
        self.batch, self.positions = sliding_windows(
            sequences, WINDOW, metadata.start_token, metadata.end_token
        )
        self.users = self.batch.user_tokens.numpy()
        self.is_movie = (self.batch.next_movie_tokens != metadata.end_token).numpy()

    def take(self, rows: np.ndarray) -> Batch:
        return Batch(*(column[torch.from_numpy(rows)] for column in self.batch))

    def questions(self, asked: np.ndarray, most: int, seed: int) -> np.ndarray:
        """Rows of at most so many of the windows that are asked."""
        return np.random.default_rng(seed).permutation(np.flatnonzero(asked))[:most]


def known_before_the_last_tenth(sequences: Sequences) -> np.ndarray:
    """How many movies of each user lie before the last tenth of all ratings, int64 (num_users,)."""
    return temporal_split(sequences, np.quantile(sequences.timestamps, 0.9)).known_lengths


def three_splits(past: Windows, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name of the split, the windows that are learned and those that are asked, bool each."""
    held_out = np.random.default_rng(seed).random(len(past.users)) < 0.1
    from_end = past.sequences.lengths[past.users] - past.positions  # 1: a user's last movie
    before = known_before_the_last_tenth(past.sequences)[past.users]
    yield "random windows", ~held_out & past.is_movie, held_out & past.is_movie
    yield "leave-one-out", (from_end > 1) & past.is_movie, from_end == 1
    after = (past.positions >= before) & (before > 0) & past.is_movie
    yield "by the clock", (past.positions < before) & past.is_movie, after


def train(windows: Batch, vocab_size: int, num_users: int, seed: int) -> MovieLensTransformer:
    """One pass of a small network over the windows; the seed draws its weights and the order."""
    torch.manual_seed(seed)
    shape = TransformerConfig(
        vocab_size=vocab_size,
        context_window_size=WINDOW,
        embedding_dimension=32,
        num_layers=1,
        num_heads=4,
    )
    model = MovieLensTransformer(
        MovieLensTransformerConfig(
            movie_transformer_config=shape,
            user_embedding_dimension=32,
            num_users=num_users,
            interaction_mlp_hidden_sizes=[16],
        )
    )
    init_weights(model)
    count = len(windows.user_tokens)
    batches = torch.randperm(count).split(1024 if count > 200_000 else 64)
    optimizer = torch.optim.Adam(model.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, len(batches))
    for rows in batches:
        optimizer.zero_grad()
        logits = model(windows.movie_tokens[rows], windows.user_tokens[rows])
        nn.functional.cross_entropy(logits, windows.next_movie_tokens[rows].long()).backward()
        optimizer.step()
        scheduler.step()
    return model.eval()


class Neighbours:
    """Scores movies by the learned windows that share most films with the question.

    Source: Jannach and Ludewig, When Recurrent Neural Networks meet the Neighborhood, 2017.
    """

    def __init__(self, windows: Batch, vocab_size: int):
        films = torch.cat([windows.movie_tokens, windows.next_movie_tokens[:, None]], dim=1)
        self.films = films.numpy()  # (windows, WINDOW + 1)
        order = np.argsort(self.films, axis=None, kind="stable")
        self.window_of = order // (WINDOW + 1)  # windows, sorted by the film in them
        self.first = np.searchsorted(self.films.ravel()[order], np.arange(vocab_size + 1))
        self.vocab_size = vocab_size

    def scores(self, window: np.ndarray) -> np.ndarray:
        """For each number of neighbours, shared films summed: (len(NEIGHBOURS), vocab_size)."""
        found = [self.window_of[self.first[m] : self.first[m + 1]] for m in window]
        candidates, shared = np.unique(np.concatenate(found), return_counts=True)
        nearest = np.argsort(-shared, kind="stable")[: max(NEIGHBOURS)]
        films = self.films[candidates[nearest]]
        weights = np.repeat(shared[nearest], WINDOW + 1).reshape(films.shape)
        sums = [
            np.bincount(films[:k].ravel(), weights[:k].ravel(), self.vocab_size) for k in NEIGHBOURS
        ]
        return np.stack(sums)


def network_hits(model: MovieLensTransformer, log: Windows, rows: np.ndarray) -> np.ndarray:
    """Whether the target is among the ten best unseen movies, bool (questions,)."""
    asked = log.take(rows)
    where = iter(torch.arange(len(rows)).split(512))

    @torch.no_grad()
    def score(sequences: Sequences, questions: Questions) -> torch.Tensor:
        batch = next(where)
        return model(asked.movie_tokens[batch], asked.user_tokens[batch])

    questions = Questions(log.users[rows], log.positions[rows], asked.next_movie_tokens.numpy())
    return (evaluate_ranking(score, log.sequences, questions, 512) < 10).numpy()


def neighbour_hits(neighbours: Neighbours, log: Windows, rows: np.ndarray) -> np.ndarray:
    """The same for each number of neighbours, bool (questions, len(NEIGHBOURS))."""
    hits = []
    for row in rows:
        user, end = log.users[row], log.positions[row]
        target = int(log.batch.next_movie_tokens[row])
        scores = neighbours.scores(log.batch.movie_tokens[row].numpy())
        scores[:, log.sequences.of_user(user)[:end]] = -np.inf  # seen
        scores[:, -2:] = -np.inf  # start and end
        own = scores[:, [target]]
        ranks = (scores > own).sum(axis=1) + ((scores == own).sum(axis=1) - 1) / 2
        hits.append(ranks < 10)
    return np.array(hits)


def interval(name: str, hits: np.ndarray, users: np.ndarray) -> dict[str, float]:
    """Mean and 95 % bootstrap interval over users, since one user's questions are alike."""
    _, group = np.unique(users, return_inverse=True)
    found, asked = np.bincount(group, hits), np.bincount(group)
    drawn = np.random.default_rng(0).integers(len(asked), size=(1000, len(asked)))
    rates = found[drawn].sum(axis=1) / asked[drawn].sum(axis=1)
    values = hits.mean(), *np.quantile(rates, (0.025, 0.975))
    names = name, f"{name} from", f"{name} to"
    return {key: round(float(value), 5) for key, value in zip(names, values, strict=True)}


def runs_of(data_name: str, seed: int) -> Iterator[dict]:
    """One row a split and model."""
    data = load_movielens(data_name)
    metadata = MovieLensMetadata.from_frames(data.users, data.movies)
    sequences = order_by_time(data.ratings, metadata)
    known = known_before_the_last_tenth(sequences)
    whole = Windows(sequences, metadata)
    past = Windows(truncate(sequences, known), metadata)
    learned_until = known[whole.users]
    in_future = (whole.positions >= learned_until) & (learned_until > 0) & whole.is_movie
    size = metadata.vocab_size
    for split, learned, asked in three_splits(past, seed):
        windows = past.take(np.flatnonzero(learned))
        about = {
            "data": data.name, "split": split, "seed": seed, "windows": len(windows.user_tokens),
            "machine": machine(), "date": datetime.date.today().isoformat(),
        }  # fmt: skip
        for kind, most in MOST_QUESTIONS.items():
            started = time.process_time()
            own = past.questions(asked, most, seed)
            later = whole.questions(in_future, most, seed)
            if kind == "network":
                model = train(windows, size, metadata.num_users, seed)
                hits = network_hits(model, past, own), network_hits(model, whole, later)
                hits = [each[:, None] for each in hits]
            elif seed == 0:  # nothing is drawn in looking up neighbours
                neighbours = Neighbours(windows, size)
                hits = (
                    neighbour_hits(neighbours, past, own),
                    neighbour_hits(neighbours, whole, later),
                )
            else:
                continue
            for column in range(hits[0].shape[1]):
                yield about | {
                    "model": kind,
                    "neighbours": NEIGHBOURS[column] if kind == "neighbours" else None,
                    **interval("promised", hits[0][:, column], past.users[own]),
                    **interval("delivered", hits[1][:, column], whole.users[later]),
                    "questions": [len(own), len(later)],
                    "seconds": round(time.process_time() - started),
                }


def main() -> None:
    """Runs what was asked for and stores it, whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=["sample", "ml-1m"])
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    rows = []
    for name in arguments.data:
        for seed in range(arguments.seeds):
            for row in runs_of(name, seed):
                rows.append(row)
                print(json.dumps(row), flush=True)
    with replacing(STORED, mode=0o644) as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows).encode())


if __name__ == "__main__":
    main()
