"""Configuration: YAML into frozen dataclasses, checked by pydantic, refused with file, line and key."""

import dataclasses
import re
import reprlib
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

SplitName = Literal["time", "leave-one-out", "random"]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Number = Annotated[float, Field(strict=True, ge=0)]
Share = Annotated[Number, Field(le=1)]
Dropped = Annotated[Number, Field(lt=1)]
Switch = Annotated[bool, Field(strict=True)]
Folder = Annotated[str, Field(pattern=r"^[^~\x00]")]  # a ~ would become a folder's name
STRICT = ConfigDict(extra="forbid", allow_inf_nan=False)


class ConfigError(ValueError):
    """A configuration with an unknown key, a missing key or a value that it cannot have."""


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainerConfig:
    """How to train."""

    data_dir: Folder | None = None  # folder with users.dat, movies.dat, ratings.dat
    model_dir: Folder  # where model.pth (best so far) and checkpoint.pth (to resume) go
    tensorboard_dir: Folder  # where TensorBoard's event files go
    batch_size: Count  # windows a step
    starting_learning_rate: Number  # Adam's, at the first epoch
    num_epochs: Count  # passes over the training windows
    # "auto" (cuda, else mps, else cpu) or one of these
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    schedule: Literal["exponential", "cosine", "one-cycle"] = "exponential"
    learning_rate_decay: Share = 1.0  # "exponential": the rate is multiplied by this each epoch
    warmup_fraction: Share = 0.0  # "cosine": share of the steps in which the rate rises from 0
    weight_decay: Share = 0.0  # AdamW's; 0 is Adam
    adam_beta2: Dropped = 0.999  # how slowly Adam's mean of squared gradients forgets
    max_gradient_norm: Annotated[Number, Field(gt=0)] | None = None  # longer ones are cut to this
    split: SplitName = "time"  # how validation is drawn: "time", "leave-one-out" or "random"
    # share of the windows held out ("time" and "random")
    validation_fraction: Annotated[Dropped, Field(gt=0)] = 0.1
    # of the weights, the shuffling and the dropout
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**31)] = 0
    keep_best: Literal["validation_loss", "NDCG@10"] = "validation_loss"  # decides model.pth
    patience: Count | None = None  # stop after this many epochs without improvement
    mixed_precision: Switch = False  # bfloat16 autocast, where the device has instructions for it
    compile: Switch = False  # torch.compile the steps (pays off on cuda)
    resume: Switch = True  # go on from checkpoint.pth when there is one
    progress: Switch = True  # progress bars


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MovieTransformerShape:
    """The transformer's shape without the vocabulary, which the data set decides."""

    context_window_size: Count  # movies in a window
    embedding_dimension: Count  # width of the vectors that run through the model
    num_layers: Count  # blocks
    num_heads: Count  # attention heads
    dropout_embeddings: Dropped = 0.1  # after token + position
    dropout_attention: Dropped = 0.1  # on the attention weights
    dropout_residual: Dropped = 0.1  # on what a block adds to its input
    layer_norm_epsilon: Annotated[Share, Field(gt=0)] = 1e-5  # keeps its division finite


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RunConfig:
    """Everything a training run needs to know."""

    trainer_config: TrainerConfig  # how to train
    movie_transformer_config: MovieTransformerShape  # the part that reads the movies
    user_embedding_dimension: Count  # width of a user's vector
    interaction_mlp_hidden_sizes: list[Count] = dataclasses.field(default_factory=list)


CHECKED = TypeAdapter(RunConfig)
KEYS = {f.name for kind in (RunConfig, TrainerConfig, MovieTransformerShape)
        for f in dataclasses.fields(kind)}  # fmt: skip


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
                place = f"{path}, line {event.start_mark.line + 1}"
                raise ConfigError(f"{place}: anchors and aliases are not read: write the value out")
        _note_lines(yaml.compose(text, yaml.SafeLoader), str(path), lines)
        config = yaml.safe_load(text)
    except ConfigError:
        raise
    except Exception as error:  # PyYAML also raises what its readers of dates and numbers raise
        raise ConfigError(f"{path}: not readable as YAML: {str(error)[:500]}") from error
    parse_config(config, str(path), lines)
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
    try:
        run = CHECKED.validate_python(config)
    except ValidationError as error:
        # A key that is unknown comes first: it is most likely the one that is missed elsewhere.
        first = min(error.errors(include_url=False), key=lambda each: each["type"] == "missing")
        path = first["loc"]
        key = ".".join(str(part)[:80] for part in path if part in KEYS or part == path[-1])
        place = f"{source}, line {lines[key]}" if key in (lines or {}) else source
        raise ConfigError(f"{place}: {_in_words(key, first)}") from None
    except RecursionError as error:
        raise ConfigError(f"{source}: nested too deeply") from error
    if run.trainer_config.data_dir is None:
        raise ConfigError(f"{source}: the key trainer_config.data_dir is missing")
    return run


def _in_words(key: str, error: dict[str, Any]) -> str:
    """What is wrong with a key, for people; values are cut short."""
    *outer, name = key.split(".")
    if error["type"] == "missing":
        return f"the key {key} is missing"
    if error["type"] == "unexpected_keyword_argument":
        nearest = ".".join([*outer, *get_close_matches(name, sorted(KEYS), n=1, cutoff=0)])
        return f"{key}: unknown key; the nearest known key is {nearest}"
    value, said = error["input"], error["msg"].removeprefix("Input ").removeprefix("String ")
    words = f"{key or 'all of it'} {said}, found {reprlib.repr(value)} ({type(value).__name__})"
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        words += f"; YAML reads it as text: write {float(value)}"  # 1e-3 has no point
    return words
