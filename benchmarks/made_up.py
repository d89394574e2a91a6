"""Made-up data of any size: histories, a CSV in the form of MovieLens-32M, item vectors."""

from pathlib import Path

import numpy as np
import pandas as pd

ROWS, USERS, MOVIES = 32_000_204, 200_948, 87_585  # of MovieLens-32M
CATALOGUE = 600  # movies of the made-up histories


def random_histories(users: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Histories of 5 to 100 movies, 20 on average, no movie twice.

    Returns:
        movies int32 (interactions,), one user after the other, and lengths int64 (users,).
    """
    generator = np.random.default_rng(seed)
    lengths = 5 + 10 * np.exp(0.95 * generator.standard_normal(users))
    lengths = lengths.astype(np.int64).clip(max=100)
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    first = generator.integers(CATALOGUE, size=users).repeat(lengths)
    # Steps of 97 through the catalogue, which has no divisor in common with it.
    return ((first + 97 * place) % CATALOGUE).astype(np.int32), lengths


def write_csv(folder: Path, rows: int) -> None:
    """movies.csv and ratings.csv with that many ratings, in the form of MovieLens-32M."""
    generator = np.random.default_rng(0)
    users = max(1, rows * USERS // ROWS)
    ids = np.sort(generator.choice(np.arange(1, 292_758), MOVIES, replace=False))
    with (folder / "movies.csv").open("w", encoding="utf-8") as file:
        file.write("movieId,title,genres\n")
        file.writelines(f'{i},"Movie, The {i} (1999)",Drama|Comedy\n' for i in ids.tolist())
    counts = np.diff(np.linspace(0, rows, users + 1).astype(int))
    with (folder / "ratings.csv").open("w", encoding="utf-8") as file:
        file.write("userId,movieId,rating,timestamp\n")
        for start in range(0, users, 2_000):
            some = counts[start : start + 2_000]
            user = np.repeat(np.arange(start, start + len(some)) + 1, some)
            within = np.arange(len(user)) - np.repeat(np.cumsum(some) - some, some)
            first = generator.integers(MOVIES, size=len(some)).repeat(some)
            frame = pd.DataFrame(
                {
                    "user": user,
                    "movie": ids[(first + 97 * within) % MOVIES],  # no user has a movie twice
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
