"""A small data set and a configuration to train on it."""

from pathlib import Path

import pytest

from recformer_utils.movielens import load_movielens


@pytest.fixture(scope="session")
def forty_users(tmp_path_factory) -> Path:
    """Forty users of the sample as a data set of their own."""
    sample = load_movielens("sample")
    users = sample.users.head(40)
    ratings = sample.ratings[sample.ratings["user_id"].isin(users["user_id"])]
    folder = tmp_path_factory.mktemp("forty users")
    for name, frame in {"users": users, "movies": sample.movies, "ratings": ratings}.items():
        lines = frame.astype(str).agg("::".join, axis=1)
        (folder / f"{name}.dat").write_text("\n".join(lines) + "\n", encoding="latin-1")
    return folder


@pytest.fixture
def config_for(forty_users):
    """A configuration of three epochs of a small model, in a folder."""

    def config(folder: Path, **trainer) -> dict:
        return {
            "trainer_config": {
                "data_dir": str(forty_users), "model_dir": str(folder),
                "tensorboard_dir": str(folder / "tensorboard"), "batch_size": 256,
                "starting_learning_rate": 0.01, "learning_rate_decay": 0.9, "num_epochs": 3,
                "device": "cpu", "split": "leave-one-out", "progress": False, **trainer,
            },
            "movie_transformer_config": {
                "context_window_size": 5, "embedding_dimension": 8, "num_layers": 1,
                "num_heads": 2,
            },
            "user_embedding_dimension": 4,
            "interaction_mlp_hidden_sizes": [8],
        }  # fmt: skip

    return config
