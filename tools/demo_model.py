"""The series' best model without a target time as one file of numbers that a web page reads."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from recformer_utils.movielens import MovieLens
from recformer_utils.runs.files import replacing
from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceBatch,
    SequenceModel,
    SequenceModelConfig,
    gap_buckets,
    rotate,
)
from recformer_utils.sequences import Sequences, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from tools.common import REPOSITORY
from tools.stored import load_sequence_model, load_stored

TEN = 10  # recommendations that the page shows
SECONDS_APART = 60  # taken between movies that are named without times


def batch_without_times(
    movie_tokens: torch.Tensor, seconds_apart: int = SECONDS_APART
) -> SequenceBatch:
    """Histories of which only the movies are known, int (batch, time), the oldest movie first."""
    seconds = torch.full_like(movie_tokens, seconds_apart)
    return SequenceBatch(
        movie_tokens=movie_tokens,
        lengths=torch.full_like(movie_tokens[:, 0], movie_tokens.shape[1]),
        timestamps=seconds.cumsum(dim=1) - seconds,
        next_timestamps=seconds.cumsum(dim=1),
        gaps=gap_buckets(seconds),
        targets=torch.full_like(movie_tokens, NO_TARGET),
    )


class ForAnybody(nn.Module):
    """The model for a reader who names films without times: taken for one a minute.

    What is known of each film (genres, year) is added to its embedding here, once, and every number
    is rounded to float16: this is the model of the page, which is half as large.
    """

    def __init__(self, model: SequenceModel):
        super().__init__()
        config, weights = model.config, model.state_dict()
        if model.feature_embedding is not None:
            weights.pop("feature_embedding.weight")
            weights["movie_embedding.weight"] = model.movie_vectors().detach()
        self.model = SequenceModel(dataclasses.replace(config, item_features=0))
        self.model.load_state_dict({name: rounded(each) for name, each in weights.items()})

    def forward(self, movie_tokens: torch.Tensor) -> torch.Tensor:
        """int32 (batch, time), no padding -> logits after the last film, float (batch, vocab_size)."""
        return self.model.logits(self.model(batch_without_times(movie_tokens))[:, -1])

    def attention(self, movie_tokens: torch.Tensor) -> torch.Tensor:
        """What the last position looks at in the last block, mean of the heads, float (time,)."""
        block, seen = self.model.layers[-1].attention, []
        hook = block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        self(movie_tokens)
        hook.remove()
        q, k = (
            rotate(part.unflatten(-1, (block.num_heads, -1)).transpose(1, 2))
            for part in block.qkv(seen[0]).chunk(3, dim=-1)[:2]
        )  # each (1, heads, time, head_dimension)
        scores = q[0, :, -1:] @ k[0].transpose(-2, -1) / block.head_dimension**0.5
        return scores.softmax(dim=-1).mean(dim=0)[0]


def rounded(numbers: torch.Tensor) -> torch.Tensor:
    """The nearest numbers that float16 can hold, as float32."""
    return numbers.half().float()


@dataclass(frozen=True)
class Pretrained:
    """A trained model with the vocabulary and the histories that it was trained on."""

    model: ForAnybody
    movies: pd.DataFrame  # those that somebody rated: the others have no token
    metadata: MovieLensMetadata
    sequences: Sequences

    @property
    def window(self) -> int:
        """The longest history that the model reads, in films."""
        return self.model.model.config.transformer.context_window_size

    def probabilities(self, tokens: list[int]) -> torch.Tensor:
        """Of each film as the next one, float (num_movies,), 0 for those of the history."""
        with torch.inference_mode():
            found = self.model(torch.tensor([tokens], dtype=torch.int32))[0].softmax(dim=-1)
        found = found[: self.metadata.num_movies].clone()
        found[tokens] = 0
        return found

    def answer(self, tokens: list[int]) -> dict:
        """What the page says to a history of two films or more, as ``answer`` in model.js does."""
        best = self.probabilities(tokens).topk(TEN)
        without = []
        for place in range(len(tokens)):
            left = self.probabilities(tokens[:place] + tokens[place + 1 :])
            left[tokens[place]] = 0
            of_ten = left[best.indices]
            places = (left > of_ten[:, None]).sum(dim=1) + 1
            without.append(
                {
                    "ten": left.topk(TEN).indices.tolist(),
                    "of": list(zip(shortened(of_ten), places.tolist(), strict=True)),
                }
            )
        with torch.inference_mode():
            attention = self.model.attention(torch.tensor([tokens], dtype=torch.int32))
        return {
            "ten": list(zip(best.indices.tolist(), shortened(best.values), strict=True)),
            "attention": shortened(attention),
            "without": without,
        }


def shortened(values: torch.Tensor) -> list[float]:
    """Six decimals: more than a page shows."""
    return [round(value, 6) for value in values.tolist()]


def pretrained_file(name: str) -> Path:
    """Where the model of a data set is stored."""
    return REPOSITORY / "data/pretrained" / name / "sequence_model.pth"


def load_pretrained(data: MovieLens, weights: Path | None = None) -> Pretrained:
    """Loads data/pretrained/<data set>/sequence_model.pth, or another file of its kind.

    Raises:
        FileNotFoundError: no model was trained on this data set.
        CheckpointError: the file holds no such model, or one of another catalogue.
        ValueError: the model asks for what the page cannot know.
    """
    weights = weights or pretrained_file(data.name)
    if not weights.exists():
        raise FileNotFoundError(
            f"no pretrained model for {data.name!r} at {weights}: train one with "
            f"`python -m benchmarks.quality --row best --data {data.name} --publish`"
        )
    movies = data.movies[data.movies["movie_id"].isin(data.ratings["movie_id"])]
    metadata = MovieLensMetadata.from_frames(data.users, movies)
    model, _ = load_sequence_model(weights, movies, metadata)
    refuse_unknown(model.config)
    sequences = order_by_time(data.ratings, metadata)
    return Pretrained(ForAnybody(model).eval(), movies, metadata, sequences)


def refuse_unknown(config: SequenceModelConfig) -> None:
    """Raises ValueError for a model that reads what the page does not know."""
    for name in ("next_gap", "pair_gaps"):
        if getattr(config, name):
            raise ValueError(f"the model reads {name}, of which the page knows nothing")


def export(model: SequenceModel, path: Path) -> dict:
    """Writes the model's numbers as float16, little-endian, one tensor after the other.

    Returns:
        What a reader of the file has to know: ``tensors``, [name, shape] in order, and the numbers
        that shape the model. A tensor "gap" holds the embedding of the time between two films.
    """
    refuse_unknown(model.config)
    shape, weights = model.config.transformer, model.state_dict()
    if model.gap_embedding is not None:
        gaps = weights.pop("gap_embedding.weight")
        weights["gap"] = gaps[gap_buckets(torch.tensor(SECONDS_APART))]
    numbers = np.concatenate([each.numpy().astype("<f2").ravel() for each in weights.values()])
    with replacing(path, mode=0o644) as file:
        file.write(numbers.tobytes())
    return {
        "tensors": [[name, list(each.shape)] for name, each in weights.items()],
        "layers": shape.num_layers,
        "heads": shape.num_heads,
        "epsilon": shape.layer_norm_epsilon,
        "window": shape.context_window_size,
        "num_movies": shape.vocab_size - 2,
    }


def export_stored(name: str, path: Path) -> dict:
    """The same for the stored model of a data set that need not be there: what is known of its films
    is not yet added to their embeddings."""
    return export(load_stored(pretrained_file(name))[0], path)
