"""Draws the front page's row of title cards from MovieLens-1M and the trained model.

RECFORMER_DATA=... python -m tools.front_posters     writes site/static/posters/

What it writes is committed, since the site is built without MovieLens: a drawn card for each film,
no poster and no rating, and row.json with who they belong to.
"""

import io
import json

import torch
from PIL import Image

from recformer_utils.evaluation import get_model_predictions, history_index
from recformer_utils.movielens import load_movielens
from recformer_utils.movielens_transformer import MovieLensTransformer
from recformer_utils.posters.cards import split_title, title_card
from recformer_utils.runs.checkpoints import load_weights
from recformer_utils.runs.config import get_dataset, get_model_config, load_config
from recformer_utils.runs.files import replacing
from recformer_utils.sequences import last_windows, leave_one_out
from tools.common import REPOSITORY

FOLDER = REPOSITORY / "site/static/posters"
USER_ID = 1  # a row of well-known films; the first user of the files, not a chosen hit
LIST = 50  # how far down the model's list we look for what came next
SIZE = (320, 480)  # twice what the page shows, for dense screens


def row() -> tuple[list[int], int]:
    """Movie ids: the user's last five, the first choice, what came next; and its place."""
    data = load_movielens("ml-1m")
    folder = REPOSITORY / "data/pretrained/ml-1m"
    config = load_config(folder / "config.yaml")
    config["trainer_config"]["data_dir"] = str(data.folder)
    dataset = get_dataset(config, is_validation=True)
    metadata, sequences = dataset.metadata, dataset.sequences
    model = load_weights(
        MovieLensTransformer(get_model_config(config, dataset)), folder / "model.pth"
    )
    split = leave_one_out(sequences)
    i = int((metadata.user_ids[split.user_tokens] == USER_ID).nonzero()[0][0])
    one = slice(i, i + 1)
    users, lengths = split.user_tokens[one], split.train_lengths[one]
    length = config["movie_transformer_config"]["context_window_size"]
    windows = last_windows(sequences, users, lengths, length, metadata.start_token)
    history = history_index(sequences, users, lengths)
    output = get_model_predictions(model, windows, torch.from_numpy(users), LIST, history)
    choices = output.predictions[0].tolist()
    target = int(split.validation_targets[i])
    if target not in choices:
        raise SystemExit(f"user {USER_ID}: what came next is not among the first {LIST} choices")
    ids = metadata.movie_ids_of([*windows[0].tolist(), choices[0], target])
    return [int(movie_id) for movie_id in ids], choices.index(target) + 1


def main() -> None:
    movies = load_movielens("ml-1m").movies.set_index("movie_id")
    ids, place = row()
    captions = [*["watched"] * (len(ids) - 2), "recommended", "watched next"]
    cards = []
    for movie_id, caption in zip(ids, captions, strict=True):
        title, genres = movies.loc[movie_id, ["title", "genres"]]
        picture = Image.fromarray(title_card(movie_id, title, genres, SIZE)).quantize(64)
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", optimize=True)
        name = f"{movie_id}.png"
        with replacing(FOLDER / name, mode=0o644) as file:
            file.write(buffer.getvalue())
        cards.append({"file": name, "title": split_title(title)[0], "caption": caption})
    text = json.dumps({"user": USER_ID, "place": place, "cards": cards}, indent=1) + "\n"
    with replacing(FOLDER / "row.json", mode=0o644) as file:
        file.write(text.encode())


if __name__ == "__main__":
    main()
