"""Draws the front pages' rows of title cards from MovieLens-1M and the model in data/pretrained.

RECFORMER_DATA=... python -m tools.front_page    writes docs/result.png with its alternative text in
                                                 the README, and site/static/posters/

What it writes is committed, since README and site do without MovieLens: a drawn card for each film,
no poster and no rating. Two users, chosen by rule: the first of the files, and the first for whom
the model's first choice is what they watched next.
"""

import argparse
import hashlib
import io
import json
import re
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from recformer_utils import posters
from recformer_utils.evaluation import get_model_predictions, history_index
from recformer_utils.movielens import load_movielens
from recformer_utils.movielens_transformer import MovieLensTransformer
from recformer_utils.posters.cards import split_title, title_card
from recformer_utils.runs.files import replacing
from recformer_utils.sequences import last_windows, leave_one_out
from recformer_utils.training import get_dataset, get_model_config, load_config, load_weights
from tools.common import REPOSITORY, write_json
from tools.notebooks import write_text

SITE = Path("site/static/posters")  # below the repository, as are the next two
PICTURE = Path("docs/result.png")
README = Path("README.md")
MODEL = REPOSITORY / "data/pretrained/ml-1m"
SIZE = (320, 480)  # twice what the site shows, for dense screens
CAPTIONS = [*["watched"] * 5, "recommended", "watched next"]


class Row(NamedTuple):
    """A user, the films as in `CAPTIONS`, and the place of the last one on the model's list."""

    user_id: int
    movie_ids: list[int]
    place: int


def rows() -> tuple[Row, Row]:
    """What the stored model says to the two users, before the film that it was chosen by."""
    data = load_movielens("ml-1m")
    config = load_config(MODEL / "config.yaml")
    config["trainer_config"]["data_dir"] = str(data.folder)
    dataset = get_dataset(config, is_validation=True)
    metadata, sequences = dataset.metadata, dataset.sequences
    model = load_weights(
        MovieLensTransformer(get_model_config(config, dataset)), MODEL / "model.pth"
    )
    length = config["movie_transformer_config"]["context_window_size"]
    questions = leave_one_out(sequences).validation
    windows = last_windows(sequences, questions, length, metadata.start_token)
    history = history_index(sequences, questions)
    users = torch.from_numpy(questions.users)
    n = metadata.num_movies
    first = get_model_predictions(model, windows, users, 1, history).predictions[:, 0].numpy()

    def row(i: int) -> Row:
        one = slice(i, i + 1)
        seen = history_index(sequences, questions.take(one))
        ranked = get_model_predictions(model, windows[one], users[one], n - len(seen[1]), seen)
        place = (ranked.predictions[0] == int(questions.targets[i])).nonzero()
        tokens = [*windows[i].tolist(), int(first[i]), int(questions.targets[i])]
        ids = [int(movie_id) for movie_id in metadata.movie_ids_of(tokens)]
        return Row(int(metadata.user_ids[questions.users[i]]), ids, int(place[0]) + 1)

    return row(0), row(int((first == questions.targets).nonzero()[0][0]))


def fingerprint() -> str:
    """Of the stored model: what was drawn from another one is out of date."""
    return hashlib.sha256((MODEL / "model.pth").read_bytes()).hexdigest()[:16]


def described(films: list[list[str]], places: list[int]) -> str:
    """The alternative text of the picture: the titles of each row, as in `CAPTIONS`."""
    rows = [
        f"After {', '.join(watched[:4])} and {watched[4]} the model recommends {first}, framed in red; "
        f"the user watched {'it next: a green tick' if place == 1 else f'{target} next'}."
        for (*watched, first, target), place in zip(films, places, strict=True)
    ]
    return f"Two rows of movie posters. {' '.join(rows)}"


def write(root: Path) -> None:
    """Writes both front pages' rows below ``root``, whose README has the picture already."""
    both, movies = rows(), load_movielens("ml-1m").movies
    picture = posters.compose(*posters.arrange(
        [row.movie_ids for row in both], movies, highlight=5, captions=[CAPTIONS] * 2,
        hits=lambda r, c: c == 5 and both[r].place == 1, folder=None,
    ))  # fmt: skip
    with replacing(root / PICTURE, mode=0o644) as file:
        file.write(posters.encode(picture)[1])
    cards, known = [], movies.set_index("movie_id")
    for movie_id, caption in zip(both[0].movie_ids, CAPTIONS, strict=True):
        title, genres = known.loc[movie_id, ["title", "genres"]]
        buffer = io.BytesIO()
        card = Image.fromarray(title_card(movie_id, title, genres, SIZE))
        card.quantize(64).save(buffer, "PNG", optimize=True)
        with replacing(root / SITE / f"{movie_id}.png", mode=0o644) as file:
            file.write(buffer.getvalue())
        name = split_title(title)[0]
        cards.append({"file": f"{movie_id}.png", "title": name, "caption": caption})
    for left in set((root / SITE).glob("*.png")) - {root / SITE / card["file"] for card in cards}:
        left.unlink()
    titles = [[split_title(known.loc[i, "title"])[0] for i in row.movie_ids] for row in both]
    row = {"user": both[0].user_id, "place": both[0].place, "model": fingerprint()}
    row["alt"] = described(titles, [row.place for row in both])
    write_json(root / SITE / "row.json", row | {"cards": cards})
    text = (root / README).read_text(encoding="utf-8")
    image = rf"!\[.*?\](?=\({PICTURE.as_posix()}\))"
    write_text(root / README, re.sub(image, lambda _: f"![{row['alt']}]", text))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    write(REPOSITORY)
    print(json.loads((REPOSITORY / SITE / "row.json").read_text(encoding="utf-8"))["alt"])


if __name__ == "__main__":
    main()
