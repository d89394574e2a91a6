"""Checks an installation and says in plain words what is wrong: python -m tools.check (make check).

Looked at: Python, the packages, the kernel, data, pretrained weights, folders and disk.
"""

import argparse
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tools.common import REPOSITORY

ROOM_BYTES = 2**30  # what the packages' caches, the data and a full training need
OK, NOTE, WRONG = "ok", "note", "WRONG"
Finding = tuple[str, str]  # one of the three, and a sentence


def check_python(needed: tuple[int, int] = (3, 11)) -> Iterator[Finding]:
    """The interpreter's version."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < needed:
        yield WRONG, f"Python {found}, but 3.11 or later is needed: make PYTHON=python3.12 setup"
    else:
        yield OK, f"Python {found}"


def check_packages(root: Path = REPOSITORY) -> Iterator[Finding]:
    """What is installed, compared with requirements.txt."""
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("#")[0].strip() for line in lines if "==" in line.split("#")[0]]
    # A line may be for one platform: name==version; sys_platform == "linux"
    pins = [pin for pin in pins if ";" not in pin or f'"{sys.platform}"' in pin.partition(";")[2]]
    wrong = 0
    for pin in pins:
        name, pinned = pin.partition(";")[0].strip().split("==")
        try:
            found = version(name).split("+")[0]
        except PackageNotFoundError:
            found = None
        if found != pinned:
            wrong += 1
            state = "is not installed" if found is None else f"{found} is installed"
            yield WRONG, f"{name} {state}, requirements.txt pins {pinned}: run make setup"
    if not wrong:
        yield OK, f"the {len(pins)} packages of requirements.txt"


def check_pytorch() -> Iterator[Finding]:
    """PyTorch imports and computes."""
    import torch

    product = torch.arange(6.0).reshape(2, 3) @ torch.ones(3, 1)
    if product.flatten().tolist() != [3.0, 12.0]:
        yield WRONG, f"PyTorch multiplies wrongly here ({product.tolist()}): install it again"
        return
    has_gpu = torch.cuda.is_available() or torch.backends.mps.is_available()
    yield OK, f"PyTorch {torch.__version__} computes, on {'a GPU' if has_gpu else 'the CPU'}"


def check_kernel() -> Iterator[Finding]:
    """The notebooks' kernel, and the Python that it starts."""
    from jupyter_client import KernelManager
    from jupyter_client.kernelspec import NoSuchKernel

    try:
        command = KernelManager(kernel_name="python3").format_kernel_cmd()[0]  # "python": this one
    except NoSuchKernel:
        yield WRONG, "Jupyter has no kernel named python3: run make setup"
        return
    if shutil.which(command) is None:
        yield WRONG, f"the kernel python3 starts {command}, which is not there: run make setup"
    else:
        yield OK, "Jupyter's kernel python3"


def check_data() -> Iterator[Finding]:
    """The embedded sample, and MovieLens-1M where it is there."""
    from recformer_utils.movielens import ML_1M_COUNTS, MovieLensNotFoundError, load_movielens

    yield OK, str(load_movielens("sample"))
    try:
        data = load_movielens("ml-1m")
    except MovieLensNotFoundError as error:
        if os.environ.get("RECFORMER_DATA") or (REPOSITORY / "data/ml-1m").exists():
            yield WRONG, str(error)
        else:
            yield NOTE, "MovieLens-1M is not there: all runs on the sample. make data fetches it"
        return
    if data.counts == ML_1M_COUNTS:
        yield OK, str(data)
    else:
        yield WRONG, f"{data}; expected {ML_1M_COUNTS}: move the folder away, then make data"


def check_pretrained(folder: Path) -> Iterator[Finding]:
    """Configuration, weights, curve and embeddings of a folder of data/pretrained."""
    import numpy as np
    import pandas as pd

    from recformer_utils.runs.record import sha256_of
    from recformer_utils.training import load_checkpoint, load_config, load_weights
    from tools.stored import load_stored

    again = f"restore it: git checkout -- data/pretrained/{folder.name}"
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    weights = folder / "model.pth"
    if sha256_of(weights) != record["model_sha256"]:
        yield WRONG, f"{weights}: not the file that run.json was written with; {again}"
        return
    found = load_checkpoint(weights)
    model = load_weights(_model_for(load_config(folder / "config.yaml"), found), weights)
    load_stored(folder / "sequence_model.pth")
    epochs = pd.read_csv(folder / "curve.csv").get("epoch", pd.Series())
    try:
        with np.load(folder / "embedding_path.npz", allow_pickle=False) as path:
            frames = path["embeddings"].shape[:2]
            fits = frames == (len(path["epochs"]), len(path["movie_tokens"]))
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        yield WRONG, f"{folder / 'embedding_path.npz'}: not readable ({error}); {again}"
        return
    if epochs.tolist() != list(range(1, record["epochs"] + 1)):
        yield WRONG, f"{folder / 'curve.csv'}: not the {record['epochs']} epochs of run; {again}"
    elif not fits:
        yield WRONG, f"{folder / 'embedding_path.npz'}: its arrays do not fit together; {again}"
    else:
        size = sum(p.numel() for p in model.parameters())
        yield OK, f"data/pretrained/{folder.name}: {size:,} parameters, {len(epochs)} epochs"


def _model_for(config: dict, weights: dict):
    """A model of the configured shape, with as many users and movies as the weights have."""
    from recformer_utils.movielens_transformer import (
        MovieLensTransformer,
        MovieLensTransformerConfig,
    )
    from recformer_utils.transformer import TransformerConfig

    vocab_size = len(weights["movie_transformer.token_embedding.weight"])
    return MovieLensTransformer(
        MovieLensTransformerConfig(
            movie_transformer_config=TransformerConfig(
                vocab_size=vocab_size, **config["movie_transformer_config"]
            ),
            user_embedding_dimension=config["user_embedding_dimension"],
            num_users=len(weights["user_embedding.weight"]),
            interaction_mlp_hidden_sizes=config["interaction_mlp_hidden_sizes"],
        )
    )


def check_folders(root: Path = REPOSITORY) -> Iterator[Finding]:
    """Where the commands write, and room there."""
    from recformer_utils.runs.files import NotWrittenError, naming_path, replacing

    for folder in (root / "build", root / "data"):
        try:
            with naming_path(folder):
                folder.mkdir(exist_ok=True)
            with replacing(folder / ".check") as file:
                file.write(b"may be written to")
            (folder / ".check").unlink()
        except NotWrittenError as error:
            yield WRONG, str(error)
            return
    free = shutil.disk_usage(root).free
    enough = free >= ROOM_BYTES
    words = f"{free / 2**30:.1f} GiB of room, and build/ and data/ may be written to"
    yield (OK, words) if enough else (NOTE, f"{words}; a full training wants 1 GiB")


def checks() -> list[tuple[str, Callable[[], Iterator[Finding]]]]:
    """All of them, each with what it looks at."""
    folders = sorted(path.parent for path in (REPOSITORY / "data/pretrained").glob("*/run.json"))
    return [
        ("Python", check_python),
        ("the packages", check_packages),
        ("PyTorch", check_pytorch),
        ("the kernel", check_kernel),
        ("the data", check_data),
        *((f"data/pretrained/{p.name}", lambda p=p: check_pretrained(p)) for p in folders),
        ("folders and disk", check_folders),
    ]


def findings_of(what: str, check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    """What a check found; that it failed is a finding too."""
    try:
        return list(check())
    except Exception as error:  # whatever is broken, the other checks still help
        return [(WRONG, f"{what}: {str(error) or type(error).__name__}")]


def main() -> int:
    """Prints all findings; 1 if anything is wrong."""
    wrong = 0
    for what, check in checks():
        for kind, sentence in findings_of(what, check):
            wrong += kind == WRONG
            print(f"{kind:>5}  {sentence}")
    if wrong:
        are = "things are" if wrong > 1 else "thing is"
        print(f"\n{wrong} {are} wrong: docs/troubleshooting.md has more.")
    else:
        print("\nAll checks passed.")
    return 1 if wrong else 0


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    sys.exit(main())
