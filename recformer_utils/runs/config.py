"""Configuration: YAML into frozen dataclasses, unknown keys and wrong types refused."""

import dataclasses
import re
import reprlib
from collections.abc import Callable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args

import dacite
import pandas as pd
import yaml

SplitName = Literal["time", "leave-one-out", "random"]


RANGES = (  # of numbers: a round bracket stands beside a value that is not allowed itself
    dict.fromkeys(
        ("batch_size", "num_epochs", "patience", "context_window_size", "embedding_dimension",
         "num_layers", "num_heads", "user_embedding_dimension", "interaction_mlp_hidden_sizes"),
        pd.Interval(1, 10**9, closed="both"),
    )
    | dict.fromkeys(
        ("adam_beta2", "dropout_embeddings", "dropout_attention", "dropout_residual"),
        pd.Interval(0, 1, closed="left"),
    )
    | dict.fromkeys(
        ("warmup_fraction", "weight_decay", "learning_rate_decay"), pd.Interval(0, 1, closed="both")
    )
    | dict.fromkeys(("layer_norm_epsilon",), pd.Interval(0, 1, closed="right"))
    | dict.fromkeys(("validation_fraction",), pd.Interval(0, 1, closed="neither"))
    | dict.fromkeys(("starting_learning_rate",), pd.Interval(0, 10**9, closed="both"))
    | dict.fromkeys(("max_gradient_norm",), pd.Interval(0, 10**9, closed="right"))
    | dict.fromkeys(("seed",), pd.Interval(0, 2**31, closed="both"))
)  # fmt: skip
WORDS = {"device": r"auto|cpu|mps|cuda(:\d+)?"} | dict.fromkeys(
    ("data_dir", "model_dir", "tensorboard_dir"),
    r"[^~\0].*",  # a ~ would become a folder's name
)


class ConfigError(ValueError):
    """A configuration with an unknown key, a missing key or a value of the wrong type."""


@dataclass(frozen=True, kw_only=True)
class TrainerConfig:
    """How to train."""

    data_dir: str | None = None  # folder with users.dat, movies.dat, ratings.dat
    model_dir: str  # where model.pth (best so far) and checkpoint.pth (to resume) go
    tensorboard_dir: str  # where TensorBoard's event files go
    batch_size: int  # windows a step
    starting_learning_rate: float  # Adam's, at the first epoch
    num_epochs: int  # passes over the training windows
    device: str = "auto"  # "auto" (cuda, else mps, else cpu) or one of these
    schedule: Literal["exponential", "cosine", "one-cycle"] = "exponential"
    learning_rate_decay: float = 1.0  # "exponential": the rate is multiplied by this each epoch
    warmup_fraction: float = 0.0  # "cosine": share of the steps in which the rate rises from 0
    weight_decay: float = 0.0  # AdamW's; 0 is Adam
    adam_beta2: float = 0.999  # how slowly Adam's mean of squared gradients forgets
    max_gradient_norm: float | None = None  # longer gradients are cut to this length
    split: SplitName = "time"  # how validation is drawn: "time", "leave-one-out" or "random"
    validation_fraction: float = 0.1  # share of the windows held out ("time" and "random")
    seed: int = 0  # of the weights, the shuffling and the dropout
    keep_best: Literal["validation_loss", "NDCG@10"] = "validation_loss"  # decides model.pth
    patience: int | None = None  # stop after this many epochs without improvement
    mixed_precision: bool = False  # bfloat16 autocast, where the device has instructions for it
    compile: bool = False  # torch.compile the steps (pays off on cuda)
    resume: bool = True  # go on from checkpoint.pth when there is one
    progress: bool = True  # progress bars


@dataclass(frozen=True, kw_only=True)
class MovieTransformerShape:
    """The transformer's shape without the vocabulary, which the data set decides."""

    context_window_size: int  # movies in a window
    embedding_dimension: int  # width of the vectors that run through the model
    num_layers: int  # blocks
    num_heads: int  # attention heads
    dropout_embeddings: float = 0.1  # after token + position
    dropout_attention: float = 0.1  # on the attention weights
    dropout_residual: float = 0.1  # on what a block adds to its input
    layer_norm_epsilon: float = 1e-5  # keeps the layer norm's division finite


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a training run needs to know."""

    trainer_config: TrainerConfig  # how to train
    movie_transformer_config: MovieTransformerShape  # the part that reads the movies
    user_embedding_dimension: int  # width of a user's vector
    interaction_mlp_hidden_sizes: list[int] = field(default_factory=list)  # before the output


def load_config(config_file: str | Path) -> dict[str, Any]:
    """Reads a YAML configuration and checks it; a plain dict, so that a notebook can change it."""
    path, lines = Path(config_file), {}
    if path.exists() and not path.is_file():  # a pipe could keep its reader waiting for ever
        raise ConfigError(f"{path}: not a file")
    raw = path.read_bytes()
    try:
        text = raw.decode()
        for event in yaml.parse(text, yaml.SafeLoader):  # they may stand for billions of values
            if getattr(event, "anchor", None):
                place = f"{config_file}, line {event.start_mark.line + 1}"
                raise ConfigError(f"{place}: anchors and aliases are not read: write the value out")
        _note_lines(yaml.compose(text, yaml.SafeLoader), str(config_file), lines)
        config = yaml.safe_load(text)
    except ConfigError:
        raise
    except Exception as error:  # PyYAML also raises what its readers of dates and numbers raise
        raise ConfigError(f"{config_file}: not readable as YAML: {str(error)[:500]}") from error
    parse_config(config, str(config_file), lines)
    return config


def _note_lines(node: yaml.Node | None, source: str, lines: dict[str, int], prefix: str = ""):
    """Notes the line of every key; a key that is there twice, or merges (<<), is refused."""
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in lines or key.tag == "tag:yaml.org,2002:merge":
            words = f"again, as in line {lines[name]}" if name in lines else "is not read"
            raise ConfigError(f"{source}, line {line}: {name[:80]} {words}")
        lines[name] = line
        _note_lines(value, source, lines, f"{name}.")


def parse_config(
    config: dict[str, Any], source: str = "configuration", lines: dict[str, int] | None = None
) -> RunConfig:
    """Turns a nested dict into a RunConfig; raises ConfigError naming source, line and key."""
    if not isinstance(config, dict):
        raise ConfigError(f"{source}: expected keys and values, found {type(config).__name__}")

    def at(key: str) -> str:
        return f"{source}, line {lines[key]}: {key}" if key in (lines or {}) else f"{source}: {key}"

    _check_keys(config, RunConfig, at, "")
    # Whole numbers are fine where a float is wanted (`learning_rate: 1`); True is not.
    hooks = {float: lambda value: float(value) if type(value) is int else value}
    try:
        run = dacite.from_dict(RunConfig, config, dacite.Config(strict=True, type_hooks=hooks))
    except dacite.WrongTypeError as error:
        # A few bytes of YAML can stand for a list of billions, so its text is cut short.
        raise ConfigError(
            f"{at(error.field_path)} must be {_type_name(error.field_type)}, "
            f"found {reprlib.repr(error.value)} ({type(error.value).__name__})"
            f"{_as_yaml_wants_it(error.value)}"
        ) from error
    except dacite.MissingValueError as error:
        raise ConfigError(f"{source}: the key {error.field_path} is missing") from error
    except Exception as error:  # dacite lets through what list({}) or float(10**400) raises
        raise ConfigError(f"{source}: a value does not fit: {error}") from error
    if run.trainer_config.data_dir is None:
        raise ConfigError(f"{source}: the key trainer_config.data_dir is missing")
    return run


def _as_yaml_wants_it(value: Any) -> str:
    """A word on numbers that are text to YAML 1.1: 1e-3 has neither a point nor a sign."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return f"; YAML reads it as text: write {float(value)}"
    return ""


def _type_name(expected: Any) -> str:
    choices = [repr(choice) for choice in get_args(expected) if isinstance(choice, str)]
    return " or ".join(choices) or getattr(expected, "__name__", str(expected))


def _check_keys(config: dict[str, Any], into: type, at: Callable[[str], str], prefix: str) -> None:
    """Refuses keys that the dataclass does not have and values out of range, nested ones included."""
    fields = {f.name: f.type for f in dataclasses.fields(into)}
    for key, value in config.items():
        if key not in fields:
            name = str(key)[:80]
            nearest = get_close_matches(name, fields, n=1, cutoff=0)[0]
            raise ConfigError(
                f"{at(prefix + name)}: unknown key; the nearest known key is {prefix}{nearest}"
            )
        if dataclasses.is_dataclass(fields[key]) and isinstance(value, dict):
            _check_keys(value, fields[key], at, f"{prefix}{key}.")
        for one in value if isinstance(value, list) else [value]:
            allowed = RANGES.get(key)
            if allowed and isinstance(one, int | float) and (one is True or one not in allowed):
                raise ConfigError(f"{at(prefix + key)} must be in {allowed}, found {one}")
            if isinstance(one, str) and not re.fullmatch(WORDS.get(key, ".*"), one, re.DOTALL):
                raise ConfigError(f"{at(prefix + key)} cannot be {one[:80]!r}")
