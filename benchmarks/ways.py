"""The stages that are timed: for each our way, the plain way, and what the stage asks of the machine.

The plain way is what one writes first, and what the post does: pandas' Python engine, a Python
loop over users, items glued by DataLoader one at a time, one user at a time through the model.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from recformer_utils import posters
from recformer_utils.evaluation import evaluate_ranking, get_model_predictions, history_index
from recformer_utils.movielens import MovieLens, load_movielens, read_movielens_files
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.posters.cards import title_card
from recformer_utils.sequences import (
    LeaveOneOut,
    MovieLensSequenceDataset,
    Sequences,
    last_windows,
    leave_one_out,
    order_by_time,
    sliding_windows,
)
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.transformer import TransformerConfig

WINDOW = 5
FILES = ("users.dat", "movies.dat", "ratings.dat")
COLUMNS = {
    "users.dat": ["user_id", "sex", "age_group", "occupation", "zip_code"],
    "movies.dat": ["movie_id", "title", "genres"],
    "ratings.dat": ["user_id", "movie_id", "rating", "unix_timestamp"],
}


@dataclass(frozen=True)
class Data:
    """A data set, read once, for all stages."""

    movielens: MovieLens

    @property
    def folder(self) -> Path:
        return self.movielens.folder

    @cached_property
    def metadata(self) -> MovieLensMetadata:
        return MovieLensMetadata.from_frames(self.movielens.users, self.movielens.movies)

    @cached_property
    def sequences(self) -> Sequences:
        return order_by_time(self.movielens.ratings, self.metadata)

    @cached_property
    def split(self) -> LeaveOneOut:
        return leave_one_out(self.sequences)

    @cached_property
    def dataset(self) -> MovieLensSequenceDataset:
        """The windows of training, leave-one-out."""
        files = [str(self.folder / name) for name in ("movies.dat", "users.dat", "ratings.dat")]
        return MovieLensSequenceDataset(*files, WINDOW, split="leave-one-out")

    @cached_property
    def model(self) -> MovieLensTransformer:
        """The post's model, untrained: a stage takes as long as with a trained one."""
        torch.manual_seed(0)
        movies = TransformerConfig(self.metadata.vocab_size, WINDOW, 32, 4, 4)
        model = MovieLensTransformer(
            MovieLensTransformerConfig(movies, 32, self.metadata.num_users, [16])
        )
        init_weights(model)
        return model


def load(name: str) -> Data:
    """The data set of that name or folder."""
    return Data(load_movielens(name))


# ---------------------------------------------------------------- reading and windows


def read(data: Data) -> list[pd.DataFrame]:
    return list(read_movielens_files(*(data.folder / file for file in FILES)))


def read_plainly(data: Data) -> list[pd.DataFrame]:
    return [
        pd.read_csv(
            data.folder / file, sep="::", names=COLUMNS[file], encoding="latin-1", engine="python"
        )
        for file in FILES
    ]


def windows(data: Data) -> torch.Tensor:
    """All windows of all users, start and end token added, int32 (windows, WINDOW)."""
    metadata = MovieLensMetadata.from_frames(data.movielens.users, data.movielens.movies)
    sequences = order_by_time(data.movielens.ratings, metadata)
    batch, _ = sliding_windows(sequences, WINDOW, metadata.start_token, metadata.end_token)
    return batch.movie_tokens


def windows_plainly(data: Data) -> torch.Tensor:
    """The same by a loop over users, as the post cuts them."""
    tokens = {movie: n for n, movie in enumerate(sorted(data.movielens.movies["movie_id"]))}
    start, end = len(tokens), len(tokens) + 1
    ratings = data.movielens.ratings.assign(token=data.movielens.ratings["movie_id"].map(tokens))
    ordered = (
        ratings.sort_values("unix_timestamp", kind="stable")
        .groupby("user_id")[["token", "rating"]]
        .agg(list)
        .reset_index()
    )
    found, rated, owners, targets = [], [], [], []
    for _, row in ordered.iterrows():
        sequence = torch.tensor([start, *row.token, end], dtype=torch.int32)
        rating = torch.tensor([0, *row.rating, 0], dtype=torch.int8)
        found.append(sequence.unfold(0, WINDOW, 1)[:-1])
        rated.append(rating.unfold(0, WINDOW, 1)[:-1])
        targets.append(sequence[WINDOW:])
        owners.extend([row.user_id] * len(found[-1]))
    torch.cat(rated), torch.cat(targets), torch.tensor(owners)
    return torch.cat(found)


# ---------------------------------------------------------------- evaluation, recommendation


def evaluate(data: Data, users: int | None = None) -> float:
    """Hit rate at 10 on validation, every movie ranked; users: only the first ones."""
    split, model = data.split, data.model.eval()
    asked, ends = split.user_tokens[:users], split.train_lengths[:users]
    histories = last_windows(data.sequences, asked, ends, WINDOW, data.metadata.start_token)
    tokens = torch.from_numpy(asked)

    def score(batch: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return model(histories[batch], tokens[batch])

    targets = split.validation_targets[:users]
    ranks = evaluate_ranking(score, data.sequences, asked, ends, targets)
    return (ranks < 10).float().mean().item()


def evaluate_plainly(data: Data, users: int | None = None) -> float:
    """The same for one user after the other: predict, sort, skip what was seen."""
    split, model, start = data.split, data.model.eval(), data.metadata.start_token
    frame = pd.DataFrame(
        {
            "user": split.user_tokens[:users],
            "length": split.train_lengths[:users],
            "target": split.validation_targets[:users],
        }
    )
    hits = []
    for _, row in frame.iterrows():
        history = data.sequences.of_user(row.user)[: row.length].tolist()
        window = ([start] * WINDOW + history)[-WINDOW:]
        with torch.no_grad():
            scores = model(torch.tensor([window]), torch.tensor([row.user])).softmax(dim=-1)[0]
        order = scores.argsort(descending=True).tolist()
        seen = {*history, start, start + 1}
        best = [token for token in order if token not in seen][:10]
        hits.append(row.target in best)
    return float(np.mean(hits))


def recommend(data: Data, user: int = 0, n: int = 10) -> list[int]:
    """Ids of the n movies for a user."""
    end = data.sequences.lengths[[user]]
    asked = np.array([user])
    window = last_windows(data.sequences, asked, end, WINDOW, data.metadata.start_token)
    seen = history_index(data.sequences, asked, end)
    found = get_model_predictions(data.model, window, torch.tensor([user]), n, seen)
    return data.metadata.movie_ids_of(found.predictions[0])


def recommend_plainly(data: Data, user: int = 0, n: int = 10) -> list[int]:
    """The same from the frame of ratings, with a Python loop over the catalogue."""
    tokens, ratings = data.metadata.movie_id_tokens, data.movielens.ratings
    ids = {token: movie for movie, token in tokens.items()}
    own = ratings[ratings["user_id"] == data.metadata.user_ids[user]]
    history = [tokens[m] for m in own.sort_values("unix_timestamp", kind="stable")["movie_id"]]
    window = ([data.metadata.start_token] * WINDOW + history)[-WINDOW:]
    model = data.model.eval()
    with torch.no_grad():
        scores = model(torch.tensor([window]), torch.tensor([user])).softmax(dim=-1)[0].tolist()
    unseen = set(range(data.metadata.num_movies)) - set(history)
    return [ids[token] for token in sorted(unseen, key=lambda t: -scores[t])[:n]]


# ---------------------------------------------------------------- posters


def show_row(data: Data, columns: int = 6) -> bytes:
    """A row of posters as the bytes of a picture, the last one framed."""
    title_card.cache_clear()
    movies = data.movielens.movies
    row = movies["movie_id"].head(columns).tolist()
    return posters.encode(posters.compose(*posters.arrange([row], movies, -1, folder=None)))[1]


def show_row_plainly(data: Data, columns: int = 6) -> bytes:
    """The same pictures as subplots of a figure."""
    title_card.cache_clear()
    figure, axes = plt.subplots(1, columns, figsize=(12.4, 3.2))
    rows = data.movielens.movies.head(columns).itertuples()
    for axis, movie in zip(axes, rows, strict=True):
        axis.imshow(title_card(movie.movie_id, movie.title, movie.genres, (186, 279)))
        axis.axis("off")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    plt.close(figure)
    return buffer.getvalue()


@dataclass(frozen=True)
class Stage:
    """One line of the table that is timed as a call; training has a file of its own.

    Attributes:
        ours, plain: take the data.
        plain_share: takes the data and returns the share of the work that plain does, in (0, 1].
        same: whether what the two return must be equal.
        bytes_needed: takes the data; what must at least be read and written.
        flops: whether the limit is the floating-point work of ours.
    """

    name: str
    ours: Callable[[Data], object]
    plain: Callable[[Data], object]
    plain_share: Callable[[Data], float] = lambda data: 1.0
    same: bool = True
    bytes_needed: Callable[[Data], int] | None = None
    flops: bool = False


PLAIN_USERS = 500
STAGES = (
    Stage(
        "reading data", read, read_plainly, same=False,
        bytes_needed=lambda data: sum((data.folder / file).stat().st_size for file in FILES),
    ),
    Stage(
        "building windows", windows, windows_plainly,
        bytes_needed=lambda data: 4 * WINDOW * len(data.dataset) + 9 * len(data.movielens.ratings),
    ),
    Stage(
        "full-catalogue evaluation", evaluate,
        lambda data: evaluate_plainly(data, PLAIN_USERS),
        lambda data: min(1.0, PLAIN_USERS / len(data.split.user_tokens)), same=False, flops=True,
    ),
    Stage("one recommendation", recommend, recommend_plainly, flops=True),
    Stage(
        "a row of posters", show_row, show_row_plainly, same=False,
        bytes_needed=lambda data: 3 * 1240 * 320,
    ),
)  # fmt: skip
