"""Trains the model in data/pretrained: python -m tools.pretrain --data ml-1m [--threads 1].

Writes runs/pretrained/<data set>/ (resumable: run it again after a kill) and, at the end,
data/pretrained/<data set>/ with model.pth, config.yaml, curve.csv, run.json and
embedding_path.npz (how the embeddings of the most rated movies moved; --reduce-only rewrites it).
"""

import argparse
import datetime
import json
from pathlib import Path

import numpy as np
import torch
import yaml

from recformer_utils.evaluation import get_popular_movies
from recformer_utils.movielens import load_movielens
from recformer_utils.movielens_transformer import MovieLensTransformer, init_weights
from recformer_utils.runs.checkpoints import load_checkpoint, save_atomically
from recformer_utils.runs.files import exclusive, replacing
from recformer_utils.runs.record import describe_run, machine, sha256_of
from recformer_utils.training import get_dataset, get_model_config, load_config, run_model_training
from tools.common import REPOSITORY, write_json

CONFIGS = REPOSITORY / "notebooks/configs"
PATH_MOVIES, PATH_FRAMES = 400, 14  # of embedding_path.npz: 350 KB in float16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--config", help="default: pretrained_<data>.yaml or pretrained.yaml")
    parser.add_argument("--epochs", type=int, help="instead of the configuration's")
    parser.add_argument("--threads", type=int, help="CPU threads for PyTorch")
    parser.add_argument("--reduce-only", action="store_true", help="no training")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    data = load_movielens(arguments.data)
    run_folder = REPOSITORY / "runs/pretrained" / data.name
    run_folder.mkdir(parents=True, exist_ok=True)
    own_config = CONFIGS / f"pretrained_{data.name}.yaml"
    default = own_config if own_config.exists() else CONFIGS / "pretrained.yaml"
    config = load_config(arguments.config or default)
    trainer = config["trainer_config"]
    trainer |= {
        "data_dir": str(data.folder),
        "model_dir": str(run_folder),
        "tensorboard_dir": str(run_folder / "tensorboard"),
        "num_epochs": arguments.epochs or trainer["num_epochs"],
    }

    if arguments.reduce_only:
        record = json.loads((REPOSITORY / f"data/pretrained/{data.name}/run.json").read_text())
        reduce_embeddings(config, data.name, run_folder, record["best_epoch"])
        return

    def keep_embeddings(epoch: int, model: torch.nn.Module) -> None:
        weights = model.movie_transformer.token_embedding.weight.detach().cpu().half()
        save_atomically(weights, run_folder / f"embeddings_{epoch:03d}.pth")

    result = run_model_training(config, on_epoch=keep_embeddings)
    best = result.history.set_index("epoch").loc[result.best_epoch]
    with exclusive(REPOSITORY / "data/pretrained" / data.name, "a publication of weights"):
        publish(result, config, data.name, float(result.history["seconds"].sum()))
        reduce_embeddings(config, data.name, run_folder, result.best_epoch)
    print(f"best epoch {result.best_epoch}: {best.to_dict()}")


def publish(result, config: dict, name: str, seconds: float) -> None:
    """Copies what readers need to data/pretrained, without any path of this machine."""
    target = REPOSITORY / "data/pretrained" / name
    shape = json.loads(json.dumps(config))
    shape["trainer_config"] |= {
        "data_dir": f"../data/{name}",
        "model_dir": "../runs/pretrained",
        "tensorboard_dir": "../runs/pretrained/tensorboard",
    }
    made_of = describe_run(config["trainer_config"]["seed"], config["trainer_config"]["data_dir"])
    record = {
        "data": name,
        "best_epoch": result.best_epoch,
        "epochs": len(result.history),
        "train_seconds": round(seconds),
        "machine": f"{machine()}, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "date": datetime.date.today().isoformat(),
        **{key: made_of[key] for key in ("seed", "versions", "data_sha256", "git")},
        "model_sha256": sha256_of(result.model_file),
    }
    write(target / "model.pth", result.model_file.read_bytes())
    write(target / "curve.csv", result.history.round(6).to_csv(index=False).encode())
    write(target / "config.yaml", yaml.safe_dump(shape, sort_keys=False).encode())
    write_json(target / "run.json", record)


def write(path: Path, content: bytes) -> None:
    with replacing(path, mode=0o644) as file:
        file.write(content)


def reduce_embeddings(config: dict, name: str, run_folder: Path, best_epoch: int) -> None:
    """Writes how the embeddings of the most rated movies moved, from untrained to the best epoch.

    embedding_path.npz: epochs int64 (frames,), 0 is before training; movie_tokens int64 (movies,),
    most rated in training first; embeddings float16 (frames, movies, embedding).
    """
    dataset = get_dataset(config)
    torch.manual_seed(config["trainer_config"]["seed"])  # the weights that the run began with
    untrained = MovieLensTransformer(get_model_config(config, dataset))
    init_weights(untrained)
    ends = dataset.sequences.offsets[1:]
    training = np.delete(dataset.sequences.movie_tokens, np.concatenate([ends - 2, ends - 1]))
    tokens = get_popular_movies(training, PATH_MOVIES)["movie_token"].to_numpy()
    # Most of the way is made in the first epochs, so most of the frames are there.
    epochs = np.unique(np.rint(best_epoch * np.linspace(0, 1, PATH_FRAMES) ** 1.5)).astype(int)
    if best_epoch < PATH_FRAMES:
        epochs = np.arange(best_epoch + 1)
    frames = [untrained.movie_transformer.token_embedding.weight.detach().half()]
    frames += [load_checkpoint(run_folder / f"embeddings_{epoch:03d}.pth") for epoch in epochs[1:]]
    target = REPOSITORY / "data/pretrained" / name / "embedding_path.npz"
    with replacing(target, mode=0o644) as file:
        np.savez_compressed(
            file,
            epochs=epochs,
            movie_tokens=tokens,
            embeddings=np.stack([frame.numpy()[tokens] for frame in frames]),
        )
    print(f"{target.relative_to(REPOSITORY)}: {target.stat().st_size:,} bytes, epochs {epochs}")


if __name__ == "__main__":
    main()
