"""Users by the million who follow the law of the embedded sample, drawn in blocks."""

import runpy

import numpy as np
import torch

from tools.common import REPOSITORY

MAKE_SAMPLE = REPOSITORY / "data/make_sample.py"
BLOCK = 250  # users at a time: what they need stays in the caches


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
        order = np.argsort(-lengths, kind="stable")  # users of like length share a block
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
