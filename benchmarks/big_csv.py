"""Files in the form of MovieLens-32M, as large as wanted, with numbers drawn at random."""

from pathlib import Path

import numpy as np
import pandas as pd

ROWS, USERS, MOVIES = 32_000_204, 200_948, 87_585  # of MovieLens-32M


def write_csv(folder: Path, rows: int) -> None:
    """movies.csv and ratings.csv with so many ratings and MovieLens-32M's ratings a user."""
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
