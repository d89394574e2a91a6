"""Tokens: user and movie ids to 0..N-1 and back, with a start and an end token for sequences."""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

START = "<start>"  # stands before a user's first movie
END = "<end>"  # stands after a user's last movie
ARTICLE = r"^(the|a|an|les?|la) "
LONGEST_QUERY = 200  # letters of a title search; comparing takes time with their square


class UnknownIdError(KeyError):
    """An id or token that is not in the vocabulary."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would print the repr, quotes and all


def lookup(ids: Iterable[int], vocabulary: np.ndarray, kind: str) -> np.ndarray:
    """Position of each id, int (n,), in the vocabulary, int (size,), as int32 (n,).

    ``kind`` is "user" or "movie", for the message. Raises UnknownIdError.
    """
    ids = np.asarray(ids if hasattr(ids, "__array__") else list(ids), dtype=np.int64)
    positions = pd.Index(vocabulary).get_indexer(ids)
    unknown = ids[positions < 0]
    if len(unknown):
        raise UnknownIdError(
            f"{kind} id {unknown[0]} is not in the vocabulary of {len(vocabulary):,} {kind}s; "
            f"{len(unknown)} of {ids.size} ids are unknown. Build the metadata from the frames "
            f"that hold these ids."
        )
    return positions.astype(np.int32)


@dataclass(frozen=True)
class MovieLensMetadata:
    """The vocabulary: ids to tokens 0..N-1 in order of the ids; movies, then start and end token."""

    user_id_tokens: dict[int, int]
    movie_id_tokens: dict[int | str, int]

    @classmethod
    def from_frames(cls, users: pd.DataFrame, movies: pd.DataFrame) -> "MovieLensMetadata":
        """Builds the vocabulary from every user and every *listed* movie, rated or not."""
        movie_ids: list[int | str] = [*sorted(set(movies["movie_id"])), START, END]
        return cls(
            user_id_tokens={id: token for token, id in enumerate(sorted(set(users["user_id"])))},
            movie_id_tokens={id: token for token, id in enumerate(movie_ids)},
        )

    @property
    def num_users(self) -> int:
        """Number of users."""
        return len(self.user_id_tokens)

    @property
    def num_movies(self) -> int:
        """Number of movies, without the two special tokens."""
        return len(self.movie_id_tokens) - 2

    @property
    def vocab_size(self) -> int:
        """Number of movie tokens, start and end included."""
        return len(self.movie_id_tokens)

    @property
    def start_token(self) -> int:
        """Token that stands before a user's first movie."""
        return self.movie_id_tokens[START]

    @property
    def end_token(self) -> int:
        """Token that stands after a user's last movie."""
        return self.movie_id_tokens[END]

    @cached_property
    def user_ids(self) -> np.ndarray:
        """User ids by token, int64 (num_users,)."""
        return np.fromiter(self.user_id_tokens, dtype=np.int64)

    @cached_property
    def movie_ids(self) -> np.ndarray:
        """Movie ids by token, int64 (num_movies,); the special tokens have no id."""
        return np.array(list(self.movie_id_tokens)[:-2], dtype=np.int64)

    def tokenize_users(self, user_ids: Iterable[int]) -> np.ndarray:
        """Maps user ids to tokens, int32 (n,); raises UnknownIdError."""
        return lookup(user_ids, self.user_ids, "user")

    def tokenize_movies(self, movie_ids: Iterable[int]) -> np.ndarray:
        """Maps movie ids to tokens, int32 (n,); raises UnknownIdError."""
        return lookup(movie_ids, self.movie_ids, "movie")

    def movie_ids_of(self, tokens: Iterable[int]) -> list[int | None]:
        """Maps movie tokens back to ids; the start and the end token become None."""
        ids = [*self.movie_ids.tolist(), None, None]
        tokens = np.asarray(tokens).ravel()
        wrong = tokens[(tokens < 0) | (tokens >= self.vocab_size)]
        if len(wrong):
            raise UnknownIdError(f"movie token {wrong[0]} is not one of 0 to {self.vocab_size - 1}")
        return [ids[token] for token in tokens]


def movie_features(movies: pd.DataFrame, metadata: MovieLensMetadata) -> torch.Tensor:
    """What is known of each movie before anybody watched it, float32 (vocab_size, columns).

    Genres (one column each), the year (16 bumps from 1920 to 2000), and the places of the title
    in the alphabet and of the id in the catalogue, as waves, so that neighbours are alike.
    """
    movies = movies.set_index("movie_id").loc[list(metadata.movie_id_tokens)[:-2]]
    genres = movies["genres"].str.get_dummies("|").to_numpy(np.float32)
    year = movies["title"].str.extract(r"\((\d{4})\)\s*$")[0].astype(float)
    year = year.fillna(year.median()).to_numpy()[:, None]
    bumps = np.exp(-(((year - np.linspace(1920, 2000, 16)) / 2.4) ** 2) / 2)
    columns = [genres, np.nan_to_num(bumps)]  # nan: no title of the catalogue has a year
    alphabet = movies["title"].str.lower().rank(method="first").to_numpy() - 1
    for place in (alphabet, np.arange(len(movies))):
        angle = 2 * np.pi * np.outer(place / len(movies), 2.0 ** np.arange(10))
        columns += [np.sin(angle), np.cos(angle)]
    known = torch.from_numpy(np.concatenate(columns, axis=1).astype(np.float32))
    return F.pad(known, (0, 0, 0, metadata.vocab_size - len(known)))


def find_movies(title: str, movies: pd.DataFrame, n: int = 5) -> pd.DataFrame:
    """The rows of ``movies`` (movie_id, title) with titles like this one, best first, at most n.

    Case, punctuation, accents and the place of the article do not matter; small typing errors
    are forgiven. Raises UnknownIdError, with the nearest titles, where nothing comes near.
    """
    if movies.empty:
        return movies
    query, found = plain_title(title[:LONGEST_QUERY]), []
    words, names = set(query.split()), movies["title"].map(plain_title)
    without_year = names.str.replace(r" \d{4}$", "", regex=True)
    for row, (name, bare) in enumerate(zip(names, without_year, strict=True)):
        alike = [name.startswith(query), words <= set(name.split()), query in name]
        alike = [query in (name, bare), *(each and bool(words) for each in alike)]
        if any(alike):
            found.append((alike.index(True), len(name), row))
    if found:
        return movies.iloc[[row for _, _, row in sorted(found)[:n]]]
    # Typing errors: an article counts for nothing, in a short title it would weigh too much.
    bare = without_year.str.replace(ARTICLE, "", regex=True).tolist()
    query = re.sub(ARTICLE, "", query)
    for cutoff in (0.75, 0.0):
        close = dict.fromkeys(get_close_matches(query, bare, n=n, cutoff=cutoff))
        nearest = movies.iloc[[bare.index(name) for name in close]]
        if cutoff and len(nearest):
            return nearest
    suggestions = nearest["title"].tolist()[:3]
    raise UnknownIdError(
        f"no movie is called {title[:LONGEST_QUERY]!r}; the nearest titles are {suggestions}"
    )


def plain_title(title: str) -> str:
    """Lower case, no accents, no punctuation, a trailing article moved to the front."""
    text = unicodedata.normalize("NFKD", title.casefold())
    text = "".join(c for c in text if not unicodedata.combining(c))
    text = re.sub(r"^(.*?), (the|a|an|les|la|le|der|die|das|el|il)\b", r"\2 \1", text)
    return " ".join(re.sub(r"[^a-z0-9]+", " ", text.replace("'", "")).split())
