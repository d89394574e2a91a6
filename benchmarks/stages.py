"""What is timed: for each stage our way, the plain way, and what it asks of the machine.

The plain way is what one writes first, and what the post does: pandas' Python engine, a Python
loop over users, items glued by DataLoader one at a time, one user at a time through the model.
"""

import io
import itertools
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from recformer_utils import posters
from recformer_utils.evaluation import (
    evaluate_ranking,
    get_model_predictions,
    history_index,
    metrics_from_ranks,
)
from recformer_utils.movielens import MovieLens, load_movielens, read_movielens_files
from recformer_utils.movielens_transformer import (
    MovieLensTransformer,
    MovieLensTransformerConfig,
    init_weights,
)
from recformer_utils.posters.cards import title_card
from recformer_utils.runs import fast_matrix_products
from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceBatch,
    SequenceModel,
    SequenceModelConfig,
    next_movie_loss,
    training_batches,
)
from recformer_utils.sequences import (
    MovieLensSequenceDataset,
    Questions,
    Sequences,
    Split,
    last_windows,
    leave_one_out,
    order_by_time,
    sliding_windows,
)
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.training import gradient_step, train_step
from recformer_utils.transformer import TransformerConfig

CPU = torch.device("cpu")
WINDOW, BATCH = 5, 512  # of the post's model
SEQUENCE_BATCH, LENGTH, WIDTH, BLOCKS, HEADS = 128, 200, 64, 2, 2  # of the sequence model
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
    def split(self) -> Split:
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
        movies = TransformerConfig(
            vocab_size=self.metadata.vocab_size, context_window_size=WINDOW,
            embedding_dimension=32, num_layers=4, num_heads=4,
        )  # fmt: skip
        shape = MovieLensTransformerConfig(
            movie_transformer_config=movies, user_embedding_dimension=32,
            num_users=self.metadata.num_users, interaction_mlp_hidden_sizes=[16],
        )  # fmt: skip
        model = MovieLensTransformer(shape)
        init_weights(model)
        return model

    @cached_property
    def compiled(self) -> nn.Module:
        """The same model for one window, compiled ahead of time: a minute, with a C++ compiler."""
        one = torch.zeros(1, WINDOW, dtype=torch.int32), torch.zeros(1, dtype=torch.int64)
        return Compiled(self.model.eval(), *one)


class Compiled(nn.Module):
    """A model as a program of its own (AOTInductor), for inputs of one shape.

    What `torch.compile` makes checks its inputs and the modules in Python before each call.
    """

    def __init__(self, model: nn.Module, *inputs: torch.Tensor):
        super().__init__()
        with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
            exported = torch.export.export(model, inputs)
            file = torch._inductor.aoti_compile_and_package(
                exported, package_path=f"{folder}/model.pt2", inductor_configs={"cpp.threads": 1}
            )
            self.program = torch._inductor.aoti_load_package(file)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.program(*inputs)


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
    model, start = data.model.eval(), data.metadata.start_token

    def score(sequences: Sequences, questions: Questions) -> torch.Tensor:
        windows = last_windows(sequences, questions, WINDOW, start)
        with torch.no_grad():
            return model(windows, torch.from_numpy(questions.users))

    questions = data.split.validation.take(slice(users))
    return metrics_from_ranks(evaluate_ranking(score, data.sequences, questions)).hit_rate


def evaluate_plainly(data: Data, users: int | None = None) -> float:
    """The same for one user after the other: predict, sort, skip what was seen."""
    model, start = data.model.eval(), data.metadata.start_token
    hits = []
    for user, end, target in zip(*data.split.validation.take(slice(users)), strict=True):
        history = data.sequences.of_user(user)[:end].tolist()
        window = ([start] * WINDOW + history)[-WINDOW:]
        with torch.no_grad():
            scores = model(torch.tensor([window]), torch.tensor([user])).softmax(dim=-1)[0]
        order = scores.argsort(descending=True).tolist()
        seen = {*history, start, start + 1}
        best = [token for token in order if token not in seen][:10]
        hits.append(target in best)
    return float(np.mean(hits))


def recommend(data: Data, user: int = 0, n: int = 10, compiled: bool = False) -> list[int]:
    """Ids of the n movies for a user."""
    model = data.compiled if compiled else data.model
    asked = Questions(np.array([user]), data.sequences.lengths[[user]], np.array([0]))
    window = last_windows(data.sequences, asked, WINDOW, data.metadata.start_token)
    seen = history_index(data.sequences, asked)
    found = get_model_predictions(model, window, torch.tensor([user]), n, seen)
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


# ---------------------------------------------------------------- the stages that are one call


@dataclass(frozen=True)
class Stage:
    """One line of the table that is timed as a call; training is below.

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
        lambda data: min(1.0, PLAIN_USERS / len(data.split.validation.users)), same=False, flops=True,
    ),
    Stage("one recommendation", recommend, recommend_plainly, flops=True),
    Stage(
        "a row of posters", show_row, show_row_plainly, same=False,
        bytes_needed=lambda data: 3 * 1240 * 320,
    ),
)  # fmt: skip
COMPILED = Stage(
    "one recommendation, compiled", partial(recommend, compiled=True), recommend_plainly
)


# ---------------------------------------------------------------- training the post's model


def optimizer_of(model: nn.Module, fused: bool = True) -> torch.optim.Optimizer:
    """AdamW as make_optimizer builds it; unfused, PyTorch's default on a CPU."""
    return torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0, fused=fused)


def epoch_seconds(
    loader: Callable[[], DataLoader], step: Callable[[object], object], steps: int
) -> float:
    """Seconds of a whole epoch: its start as measured, its steps extrapolated from the first ones."""
    started = time.perf_counter()
    batches = loader()
    iterator = iter(batches)
    first = next(iterator)
    begun = time.perf_counter()
    count = 0
    for batch in itertools.chain([first], itertools.islice(iterator, steps - 1)):
        step(batch)
        count += 1
    return begun - started + (time.perf_counter() - begun) / count * len(batches)


def window_step(data: Data) -> Callable[[object], torch.Tensor]:
    """One step of ours on a batch of windows."""
    model = data.model.train()
    optimizer = optimizer_of(model)
    criterion = nn.CrossEntropyLoss(ignore_index=data.metadata.end_token)
    return lambda batch: train_step(
        batch.movie_tokens, batch.user_tokens, batch.next_movie_tokens,
        model, optimizer, criterion, CPU,
    )  # fmt: skip


def one_window_step(data: Data) -> Callable[[], torch.Tensor]:
    """A step of ours on the first batch, to be counted."""
    step, batch = window_step(data), data.dataset[torch.arange(min(BATCH, len(data.dataset)))]
    return lambda: step(batch)


def window_epoch(data: Data, steps: int) -> float:
    """Seconds of an epoch as run_model_training does it: whole batches by index."""
    with fast_matrix_products():
        return epoch_seconds(
            lambda: DataLoader(data.dataset, BATCH, shuffle=True, collate_fn=data.dataset.collate),
            window_step(data),
            steps,
        )


def window_epoch_plainly(data: Data, steps: int) -> float:
    """The post's loop: items glued by DataLoader, the value of the loss after each step."""
    model, items = data.model.train(), TensorDataset(*data.dataset.windows)
    optimizer, criterion = optimizer_of(model, fused=False), nn.CrossEntropyLoss()

    def step(batch) -> None:
        movies, _, users, targets, _ = batch
        optimizer.zero_grad()
        output = model(movies, users)
        loss = criterion(output.view(-1, output.size(-1)), targets.view(-1).long())
        loss.backward()
        optimizer.step()
        loss.item()

    return epoch_seconds(lambda: DataLoader(items, BATCH, shuffle=True), step, steps)


# ---------------------------------------------------------------- training the sequence model


def sequence_model(data: Data) -> SequenceModel:
    """As the peers' SASRec: 64 wide, 2 blocks, 2 heads, length 200, dropout 0.2."""
    torch.manual_seed(0)
    shape = TransformerConfig(
        vocab_size=data.metadata.vocab_size, context_window_size=LENGTH, embedding_dimension=WIDTH,
        num_layers=BLOCKS, num_heads=HEADS,
        dropout_embeddings=0.2, dropout_attention=0.0, dropout_residual=0.2,
    )  # fmt: skip
    return SequenceModel(SequenceModelConfig(transformer=shape)).train()


def epoch_batches(data: Data, seed: int = 0) -> list[SequenceBatch]:
    """The batches of one epoch."""
    lengths = data.split.train_lengths
    return training_batches(data.sequences, lengths, LENGTH, SEQUENCE_BATCH, seed)


def sequence_step(
    model: SequenceModel,
    optimizer: torch.optim.Optimizer,
    batch: SequenceBatch,
    mixed: bool = False,
) -> torch.Tensor:
    """One step of ours."""
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        loss = next_movie_loss(model, batch)
    return gradient_step(loss, model, optimizer)


def sequence_speed(data: Data, model: SequenceModel, steps: int, seed: int, mixed: bool) -> float:
    """Real positions a second over the first batches of an epoch, their making included."""
    optimizer = optimizer_of(model)
    started, positions = time.perf_counter(), 0
    batches = epoch_batches(data, seed)
    making = (time.perf_counter() - started) / len(batches)
    steps = min(steps, len(batches))
    started = time.perf_counter()
    with fast_matrix_products(not mixed):
        for batch in batches[:steps]:
            sequence_step(model, optimizer, batch, mixed)
            positions += int((batch.targets != NO_TARGET).sum())
    return positions / (time.perf_counter() - started + making * steps)


def sequence_speed_plainly(data: Data, model: SequenceModel, steps: int, seed: int) -> float:
    """The same with histories of any length padded to 200, glued by DataLoader, all logits kept."""
    pieces = TensorDataset(*_padded(data, seed))
    optimizer = optimizer_of(model, fused=False)
    generator = torch.Generator().manual_seed(seed)
    loader = iter(DataLoader(pieces, SEQUENCE_BATCH, shuffle=True, generator=generator))
    started, positions = time.perf_counter(), 0
    for tokens, lengths, targets in itertools.islice(loader, steps):
        unread = dict.fromkeys(SequenceBatch._fields, tokens)
        batch = SequenceBatch(**unread | {"lengths": lengths, "targets": targets})
        optimizer.zero_grad()
        logits = model.logits(model(batch))  # (batch, 200, movies)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=NO_TARGET)
        loss.backward()
        optimizer.step()
        loss.item()
        positions += int((targets != NO_TARGET).sum())
    return positions / (time.perf_counter() - started)


def _padded(data: Data, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """All pieces of an epoch: tokens and targets int64 (pieces, 200), lengths int64 (pieces,)."""
    batches = epoch_batches(data, seed)

    def padded(name: str, value: int) -> torch.Tensor:
        tensors = (getattr(batch, name) for batch in batches)
        return torch.cat([F.pad(t, (0, LENGTH - t.shape[1]), value=value) for t in tensors])

    lengths = torch.cat([batch.lengths for batch in batches])
    return padded("movie_tokens", 0), lengths, padded("targets", NO_TARGET)


def one_sequence_step(data: Data, model: SequenceModel) -> tuple[Callable[[], torch.Tensor], int]:
    """A step of ours on a batch of medium length, to be counted, and its real positions."""
    batches = sorted(epoch_batches(data), key=lambda batch: batch.movie_tokens.numel())
    batch, optimizer = batches[len(batches) // 2], optimizer_of(model)
    positions = int((batch.targets != NO_TARGET).sum())
    return lambda: sequence_step(model, optimizer, batch), positions
