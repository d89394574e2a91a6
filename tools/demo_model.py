"""The series' best model without a target time as one ONNX file that a browser can run."""

import dataclasses
import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from recformer_utils.evaluation import mask_history
from recformer_utils.movielens import MovieLens
from recformer_utils.runs.files import replacing
from recformer_utils.sequence_model import (
    NO_TARGET,
    SequenceBatch,
    SequenceModel,
    gap_buckets,
)
from recformer_utils.sequences import Sequences, order_by_time
from recformer_utils.tokens import MovieLensMetadata
from tools.common import REPOSITORY
from tools.stored import load_sequence_model

LONGEST = 30  # films in most of the histories that are compared, as on the page (MOST in main.js)
SECONDS_APART = 60  # taken between movies that are named without times
TIE = 1e-5  # logits closer than this are a draw: float32 sums in another order end elsewhere


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

    What is known of each film (genres, year) is added to its embedding here, once, so that the
    graph holds one table for both.
    """

    def __init__(self, model: SequenceModel):
        super().__init__()
        config, weights = model.config, model.state_dict()
        for name in ("next_gap", "pair_gaps"):
            if getattr(config, name):
                raise ValueError(f"the model reads {name}, of which the page knows nothing")
        if model.feature_embedding is not None:
            weights.pop("feature_embedding.weight")
            weights["movie_embedding.weight"] = model.movie_vectors().detach()
        self.model = SequenceModel(dataclasses.replace(config, item_features=0))
        self.model.load_state_dict(weights)

    def forward(self, movie_tokens: torch.Tensor) -> torch.Tensor:
        """int32 (batch, time), no padding -> logits after the last film, float (batch, vocab_size)."""
        return self.model.logits(self.model(batch_without_times(movie_tokens))[:, -1])


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


def load_pretrained(data: MovieLens, weights: Path | None = None) -> Pretrained:
    """Loads data/pretrained/<data set>/sequence_model.pth, or another file of its kind.

    Raises:
        FileNotFoundError: no model was trained on this data set.
        CheckpointError: the file holds no such model, or one of another catalogue.
        ValueError: the model asks for what the page cannot know.
    """
    weights = weights or REPOSITORY / "data/pretrained" / data.name / "sequence_model.pth"
    if not weights.exists():
        raise FileNotFoundError(
            f"no pretrained model for {data.name!r} at {weights}: train one with "
            f"`python -m benchmarks.quality --row best --data {data.name} --publish`"
        )
    movies = data.movies[data.movies["movie_id"].isin(data.ratings["movie_id"])]
    metadata = MovieLensMetadata.from_frames(data.users, movies)
    model, _ = load_sequence_model(weights, movies, metadata)
    sequences = order_by_time(data.ratings, metadata)
    return Pretrained(ForAnybody(model).eval(), movies, metadata, sequences)


def export(pretrained: Pretrained, path: Path) -> int:
    """Writes the model to one ONNX file; returns the version of the operators (opset) it uses.

    The graph takes movie_tokens, int32 (1, time) with 1 to window films, and gives logits, float32
    (1, vocab_size).
    """
    import onnx  # only the demo needs it: site/demo/requirements.txt

    example = torch.zeros(1, min(5, pretrained.window), dtype=torch.int32)
    time = torch.export.Dim("time", min=1, max=pretrained.window)
    quiet = logging.getLogger("torch.onnx")
    level = quiet.level
    quiet.setLevel(logging.ERROR)  # it warns of torchvision, which nothing here uses
    try:
        with warnings.catch_warnings():
            # PyTorch's exporter uses a part of PyTorch that PyTorch calls outdated.
            warnings.filterwarnings("ignore", category=FutureWarning, module="copyreg")
            program = torch.onnx.export(
                pretrained.model,
                (example,),
                dynamo=True,
                verbose=False,
                input_names=["movie_tokens"],
                output_names=["logits"],
                dynamic_shapes={"movie_tokens": {1: time}},
            )
    finally:
        quiet.setLevel(level)
    graph = program.model_proto
    # The exporter notes for each node the line that it came from, with the path of this machine.
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.value_info,
                 *graph.graph.input, *graph.graph.output, *graph.graph.initializer):  # fmt: skip
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.checker.check_model(graph, full_check=True)
    with replacing(path, mode=0o644) as file:
        file.write(graph.SerializeToString())
    return next(one.version for one in graph.opset_import if one.domain == "")


@dataclass(frozen=True)
class Agreement:
    """How the exported file compares with PyTorch."""

    histories: int
    same_ten: int  # histories with the same ten films in the same order, up to draws
    largest_difference: float  # of a logit of the ten, and of any film's probability

    def __str__(self) -> str:
        return (
            f"{self.same_ten:,} of {self.histories:,} histories give the same ten in the same "
            f"order; scores differ by at most {self.largest_difference:.1e}"
        )


def compare(pretrained: Pretrained, path: Path, histories: int = 1000) -> Agreement:
    """Runs the file and PyTorch on histories of actual users, every fiftieth as long as can be."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    sequences = pretrained.sequences
    rng = np.random.default_rng(0)
    users = rng.choice(np.flatnonzero(sequences.lengths > 0), histories)
    same, largest = 0, 0.0
    for number, user in enumerate(users):
        end = int(rng.integers(1, sequences.lengths[user] + 1))
        films = min(pretrained.window, 1 + number % LONGEST if number % 50 else end)
        history = sequences.of_user(user)[max(0, end - films) : end]
        tokens = torch.from_numpy(history)[None].int()
        (found,) = session.run(["logits"], {"movie_tokens": tokens.numpy()})
        with torch.inference_mode():
            expected = pretrained.model(tokens)
        found = torch.from_numpy(found)
        watched = torch.zeros(len(history), dtype=torch.int64), tokens[0].long()
        tens = [mask_history(each.clone(), watched).topk(10).indices for each in (found, expected)]
        # A logit far below the ten has no fifth decimal in float32; its probability has.
        differences = (
            (found - expected).gather(1, tens[1]).abs().max().item(),
            (found.softmax(-1) - expected.softmax(-1)).abs().max().item(),
        )
        largest = max(largest, *differences)
        # Two films may change places only where PyTorch itself can hardly tell them apart.
        swapped = expected.gather(1, tens[0]) - expected.gather(1, tens[1])
        same += int(swapped.abs().max() <= TIE)
    return Agreement(histories, same, largest)
