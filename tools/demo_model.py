"""The pretrained model as one ONNX file that a browser can run."""

import logging
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recformer_utils.checkpoints import load_weights
from recformer_utils.evaluation import history_index, mask_history, metrics_from_ranks, target_ranks
from recformer_utils.files import replacing
from recformer_utils.movielens import MovieLens
from recformer_utils.movielens_transformer import MovieLensTransformer
from recformer_utils.sequences import last_windows, leave_one_out
from recformer_utils.tokens import MovieLensMetadata
from recformer_utils.training import get_dataset, get_model_config, load_config

REPOSITORY = Path(__file__).resolve().parents[1]
FILLINGS = ("repeat", "start")
TIE = 1e-5  # logits closer than this are a draw: float32 sums in another order end elsewhere


class ForAnybody(nn.Module):
    """The model for a reader it has never seen: the mean of all user vectors is built in."""

    def __init__(self, model: MovieLensTransformer):
        super().__init__()
        self.model = model
        mean = model.user_embedding.weight.detach().mean(dim=0, keepdim=True)
        self.register_buffer("user", mean)  # (1, user_embedding)

    def forward(self, movie_tokens: torch.Tensor) -> torch.Tensor:
        """int32 (batch, window) -> logits, float (batch, vocab_size)."""
        return self.model.score(movie_tokens, self.user.expand(len(movie_tokens), -1))


@dataclass(frozen=True)
class Pretrained:
    """A trained model with the vocabulary and the histories that it was trained on."""

    model: ForAnybody
    metadata: MovieLensMetadata
    dataset: object  # MovieLensSequenceDataset, its validation part
    window: int


def load_pretrained(data: MovieLens, weights: Path | None = None) -> Pretrained:
    """Loads data/pretrained/<data set>, or another model.pth with its config.yaml beside it.

    Raises:
        FileNotFoundError: no model was trained on this data set.
        CheckpointError: the weights do not fit the configuration.
    """
    weights = weights or REPOSITORY / "data/pretrained" / data.name / "model.pth"
    if not weights.exists():
        raise FileNotFoundError(
            f"no pretrained model for {data.name!r} at {weights}: "
            f"train one with `python tools/pretrain.py --data {data.name}`"
        )
    config = load_config(weights.with_name("config.yaml"))
    config["trainer_config"]["data_dir"] = str(data.folder)
    dataset = get_dataset(config, is_validation=True)
    model = load_weights(MovieLensTransformer(get_model_config(config, dataset)), weights)
    window = config["movie_transformer_config"]["context_window_size"]
    return Pretrained(ForAnybody(model).eval(), dataset.metadata, dataset, window)


def fill_window(history: torch.Tensor, window: int, filling: str, start_token: int) -> torch.Tensor:
    """Makes a history as long as the model's window; the page does the same (model.js).

    Args:
        history: movie tokens, int (films,), at least one.
        window: how many films the model reads; of a longer history the last ones count.
        filling: for a shorter one, "repeat" repeats the films, "start" puts start tokens in front.
        start_token: the token for that.

    Returns:
        int (window,).
    """
    last = history[-window:]
    if filling == "repeat":
        return last.repeat(window)[-window:]
    return torch.cat([last.new_full((window - len(last),), start_token), last])


@torch.inference_mode()
def better_filling(pretrained: Pretrained) -> tuple[str, dict[str, float]]:
    """Which filling recommends better to somebody who names fewer films than the window holds.

    Known users name only their last 1 to window - 1 films; measured is HR@10 on the validation
    targets. Notebook 07 shows why this depends on the model.

    Returns:
        The better of `FILLINGS`, and the mean HR@10 of each.
    """
    split = leave_one_out(pretrained.dataset.sequences)
    window, start = pretrained.window, pretrained.metadata.start_token
    users, ends = split.user_tokens, split.train_lengths
    full = last_windows(pretrained.dataset.sequences, users, ends, window, start)
    seen = history_index(pretrained.dataset.sequences, users, ends)
    targets = torch.from_numpy(split.validation_targets).long()
    rates = {filling: [] for filling in FILLINGS}
    for films in range(1, window):
        for filling in FILLINGS:
            windows = torch.stack(
                [fill_window(row[window - films :], window, filling, start) for row in full]
            )
            scores = torch.cat([pretrained.model(part) for part in windows.split(1024)])
            mask_history(scores, windows, seen)
            rates[filling].append(metrics_from_ranks(target_ranks(scores, targets)).hit_rate)
    means = {
        filling: float(np.mean(values)) if values else 0.0 for filling, values in rates.items()
    }
    return max(FILLINGS, key=means.__getitem__), means


def export(pretrained: Pretrained, path: Path) -> int:
    """Writes the model to one ONNX file; returns the version of the operators (opset) it uses.

    The graph takes movie_tokens, int32 (1, window), and gives logits, float32 (1, vocab_size).
    """
    import onnx  # only the demo needs it: site/demo/requirements.txt

    example = torch.full((1, pretrained.window), 0, dtype=torch.int32)
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
            )
    finally:
        quiet.setLevel(level)
    graph = program.model_proto
    # The exporter notes for each node where in which file it came from: nobody's business.
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
    """Runs the file and PyTorch on histories of actual users, every fifth of them cut short."""
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    sequences, start = pretrained.dataset.sequences, pretrained.metadata.start_token
    rng = np.random.default_rng(0)
    users = rng.choice(np.flatnonzero(sequences.lengths > 0), histories)
    same, largest = 0, 0.0
    for number, user in enumerate(users):
        end = int(rng.integers(1, sequences.lengths[user] + 1))
        films = pretrained.window if number % 5 else int(rng.integers(1, pretrained.window + 1))
        history = torch.from_numpy(sequences.of_user(user)[max(0, end - films) : end])
        tokens = fill_window(history, pretrained.window, FILLINGS[number % 2], start)[None].int()
        (found,) = session.run(["logits"], {"movie_tokens": tokens.numpy()})
        with torch.inference_mode():
            expected = pretrained.model(tokens)
        found = torch.from_numpy(found)
        tens = [mask_history(each.clone(), tokens).topk(10).indices for each in (found, expected)]
        # A logit far below the ten (-200 and less) has no fifth decimal in float32; its
        # probability has.
        differences = (
            (found - expected).gather(1, tens[1]).abs().max().item(),
            (found.softmax(-1) - expected.softmax(-1)).abs().max().item(),
        )
        largest = max(largest, *differences)
        # Two films may change places only where PyTorch itself can hardly tell them apart.
        swapped = expected.gather(1, tens[0]) - expected.gather(1, tens[1])
        same += int(swapped.abs().max() <= TIE)
    return Agreement(histories, same, largest)
