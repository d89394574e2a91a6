"""Sequence models stored with their shape: what benchmarks.quality writes to data/pretrained."""

from pathlib import Path
from typing import Any

import pandas as pd
import torch
from dacite import Config, from_dict

from recformer_utils.runs.checkpoints import (
    CheckpointError,
    difference,
    first_lines,
    load_checkpoint,
    load_state,
)
from recformer_utils.sequence_model import SequenceModel, SequenceModelConfig
from recformer_utils.tokens import MovieLensMetadata, movie_features


def load_stored(path: str | Path) -> tuple[SequenceModel, Any]:
    """A model in evaluation mode, and what its file says about it; or CheckpointError.

    Nothing is built that is larger than the weights that are there.
    """
    stored = load_checkpoint(path)
    try:
        config = from_dict(SequenceModelConfig, stored["config"], Config(strict=True))
        weights, about = stored["weights"], stored["about"]
        numbers = sum(tensor.numel() for tensor in weights.values())
        sizes = [x for x in stored["config"]["transformer"].values() if type(x) is int]
        shallow = config.transformer.num_layers <= len(weights)
        if not shallow or not 0 < min(sizes) <= max(sizes) <= numbers:
            raise ValueError(f"{numbers:,} numbers are too few for its shape")
        with torch.device("meta"):  # no memory
            problem = difference(weights, dict(SequenceModel(config).state_dict()))
        if problem:
            raise ValueError(problem)
    except Exception as error:  # a shape may be wrong in as many ways as there are values
        reason = f"not a model stored with its shape ({first_lines(error)})"
        raise CheckpointError(f"{path}: {reason}") from error
    return load_state(SequenceModel(config), weights, path), about


def load_sequence_model(
    path: str | Path, movies: pd.DataFrame, metadata: MovieLensMetadata
) -> tuple[SequenceModel, Any]:
    """`load_stored`, with what is known of each movie; CheckpointError for another catalogue."""
    model, about = load_stored(path)
    there, here = model.config.transformer.vocab_size, metadata.vocab_size
    if there != here:
        raise CheckpointError(f"{path}: made for {there:,} tokens, this catalogue has {here:,}")
    if model.config.item_features:
        model.item_features.copy_(movie_features(movies, metadata))
    return model, about
