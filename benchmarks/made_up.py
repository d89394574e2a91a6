"""Made-up data of any size: users by the law of the embedded sample, a large CSV, item vectors."""

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from tools.common import REPOSITORY

MAKE_SAMPLE = REPOSITORY / "data/make_sample.py"
BLOCK = 250  # users at a time: what they need stays in the caches
ROWS, USERS, MOVIES = 32_000_204, 200_948, 87_585  # of MovieLens-32M


class ManyUsers:
    """The sample's law for any number of new users: its softmax as a product of table rows.

    The law's score is a sum over the last five movies, so its exponential is a product, and the
    factors of each movie can be tabled once: a draw multiplies six rows and takes no exponential.
    """

    def __init__(self, seed: int = 1):
        sample = runpy.run_path(str(MAKE_SAMPLE))
        self.law = law = sample["build_law"](seed)
        self.recent = sample["NUM_RECENT"]
        weights = sample["RECENCY_DECAY"] ** np.arange(self.recent)
        weights /= weights.sum()
        sequel = [law._sequel if j < sample["NUM_SEQUEL"] else 0 for j in range(self.recent)]
        factors = [np.exp(w * law._kinship + s) for w, s in zip(weights, sequel, strict=True)]
        # (movies + 1, movies) for each of the last five; the last row stands for "no movie"
        self.factors = [torch.from_numpy(factor).float() for factor in factors]
        self.genres = torch.from_numpy(sample["TASTE_WEIGHT"] * law.genres.T).float()
        self.log_popularity = torch.from_numpy(np.log(law.popularity)).float()
        # Fresh memory for each product would take longer than the products.
        self.buffers = torch.empty(2, BLOCK, len(law.movie_ids))

    def tastes(self, users: int, generator: np.random.Generator) -> np.ndarray:
        """Tastes of new users as the sample draws them, float64 (users, genres)."""
        share = np.sqrt((self.law.genres > 0).mean(axis=0))
        tastes = 0.4 * generator.standard_normal((users, len(share)))
        favorites = generator.choice(len(share), size=(users, 3), p=share / share.sum())
        np.add.at(tastes, (np.arange(users)[:, None], favorites), 1.5)
        return tastes

    def own(self, tastes: np.ndarray) -> torch.Tensor:
        """What does not depend on the history, float32 (users, movies), proportional to e^score."""
        score = self.log_popularity + torch.from_numpy(tastes).float() @ self.genres
        return score.sub_(score.amax(dim=1, keepdim=True)).exp_()

    def weights(self, own: torch.Tensor, recent: torch.Tensor) -> torch.Tensor:
        """Weights of the next movie, float32 (users, movies), until the next call.

        own: from `own`, with zeros for the movies that were seen; at most a block of users.
        recent: int64 (5, users), the last movie first; the number of movies where there is none.
        """
        result, row = self.buffers[0, : len(own)], self.buffers[1, : len(own)]
        result.copy_(own)
        for factor, movies in zip(self.factors, recent, strict=True):
            torch.index_select(factor, 0, movies, out=row)
            result.mul_(row)
        return result

    def draw(self, users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Histories of 5 to 100 movies, 20 in the mean (the sample's are three times as long).

        Returns:
            movies int16 (interactions,), one user after the other, and lengths int64 (users,).
        """
        generator = np.random.default_rng(seed)
        lengths = 5 + 10 * np.exp(0.95 * generator.standard_normal(users))
        lengths = lengths.astype(np.int64).clip(max=100)
        firsts = np.cumsum(lengths) - lengths  # where each user's movies begin
        movies = np.empty(lengths.sum(), dtype=np.int16)
        order = np.argsort(-lengths, kind="stable")  # users of similar length share a block
        for start in range(0, users, BLOCK):
            block = order[start : start + BLOCK]
            own = self.own(self.tastes(len(block), generator))
            recent = torch.full((self.recent, len(block)), own.shape[1])
            for step in range(lengths[block[0]]):
                active = int((lengths[block] > step).sum())  # the first ones: lengths fall
                sums = self.weights(own[:active], recent[:, :active]).cumsum_(dim=1)
                chance = torch.from_numpy(generator.random(active)).float()[:, None] * sums[:, -1:]
                movie = torch.searchsorted(sums, chance, right=True)[:, 0]
                movie.clamp_(max=own.shape[1] - 1)
                movies[firsts[block[:active]] + step] = movie.numpy()
                own[torch.arange(active), movie] = 0
                recent = torch.cat([movie[None], recent[:-1, :active]])
        return movies, lengths


def write_csv(folder: Path, rows: int) -> None:
    """movies.csv and ratings.csv with that many ratings, in the form of MovieLens-32M."""
    generator = np.random.default_rng(0)
    users, movies = max(1, rows * USERS // ROWS), MOVIES
    with (folder / "movies.csv").open("w", encoding="utf-8") as file:
        file.write("movieId,title,genres\n")
        ids = np.sort(generator.choice(np.arange(1, 292_758), movies, replace=False))
        file.writelines(f'{i},"Movie, The {i} (1999)",Drama|Comedy\n' for i in ids.tolist())
    counts = np.diff(np.linspace(0, rows, users + 1).astype(int))
    with (folder / "ratings.csv").open("w", encoding="utf-8") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for start in range(0, users, 2_000):
            some = counts[start : start + 2_000]
            user = np.repeat(np.arange(start, start + len(some)) + 1, some)
            within = np.arange(len(user)) - np.repeat(np.cumsum(some) - some, some)
            first = generator.integers(movies, size=len(some)).repeat(some)
            # One step of 97 after the other through the catalogue: no user has a movie twice.
            movie = ids[(first + 97 * within) % movies]
            frame = pd.DataFrame(
                {
                    "user": user,
                    "movie": movie,
                    "rating": generator.integers(1, 11, len(user)) / 2,
                    "time": generator.integers(789_652_004, 1_697_164_147, len(user)),
                }
            )
            frame.to_csv(file, index=False, header=False)


def item_vectors(
    items: int, queries: int, width: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors in clusters of a hundred, and queries between two of them each.

    The directions differ in strength, from 1 to 0.2, as those of the series' trained embeddings do.

    Returns:
        float32 (items, width) and float32 (queries, width).
    """
    generator = np.random.default_rng(seed)
    strength = np.linspace(1, 0.2, width, dtype=np.float32)

    def draw(count: int) -> np.ndarray:
        return strength * generator.standard_normal((count, width), dtype=np.float32)

    centres = draw(max(10, items // 100))
    vectors = centres[generator.integers(len(centres), size=items)] + 0.7 * draw(items)
    pairs = generator.integers(items, size=(queries, 2))
    between = vectors[pairs].sum(axis=1) + draw(queries)
    return tuple(v / np.linalg.norm(v, axis=1, keepdims=True) for v in (vectors, between))
