"""Builds the demo page: python -m tools.demo [--data auto|sample|ml-1m|FOLDER] [--out FOLDER].

Writes site/demo/dist: the page, the pretrained model as one file of numbers, the catalogue and the
title cards. Serve the folder with `python -m http.server` and open it. `make site` puts the same,
with invented films, on its front page.
"""

import argparse
import dataclasses
import hashlib
import html
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
import psutil  # ipykernel brings it
from fontTools import subset  # matplotlib brings it

from recformer_utils.movielens import ML_1M_COUNTS, SAMPLE_FOLDER, MovieLens, load_movielens
from recformer_utils.posters.cards import STYLES, font_file, split_title
from recformer_utils.runs.checkpoints import CheckpointError
from recformer_utils.tokens import MovieLensMetadata, find_movies
from tools.card_svg import HEIGHT, WIDTH, instructions
from tools.common import REPOSITORY
from tools.demo_model import Pretrained, export, export_stored, load_pretrained

DEMO = REPOSITORY / "site/demo"
MARK = "<!-- {} -->"  # in app.html: what the build puts there
BAR = '<span class="bar"></span>'  # its width is a style, which only scripts may set
ABOUT_SAMPLE = (
    "<strong>{} that do not exist</strong>: the catalogue of MovieLens-1M may not be put online. Have a "
    "copy? Drop <code>ml-1m.zip</code> here for the real ones; it stays in your browser."
)


def build(out: Path, data: MovieLens, weights: Path | None = None) -> dict:
    """Writes the whole demo into a folder, which appears only when it is complete.

    Args:
        out: the folder; one that is there is replaced.
        data: the catalogue, and the histories to compare the exported model on.
        weights: another file of benchmarks.quality than the pretrained one.

    Returns:
        What manifest.json holds.
    """
    pretrained = load_pretrained(data, weights)
    rated = dataclasses.replace(data, movies=pretrained.movies)
    out.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{out.name}."
    for left in out.parent.glob(f"{prefix}*"):  # of a build that was killed
        process = left.name.removeprefix(prefix).partition(".")[0]
        if process.isdigit() and not psutil.pid_exists(int(process)):
            shutil.rmtree(left, ignore_errors=True)
    mine = f"{prefix}{os.getpid()}."
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=mine) as temporary:
        folder = Path(temporary) / "new"
        shutil.copytree(DEMO / "src", folder)
        films = catalogue(rated, pretrained.metadata)
        ready_made = presets(rated)
        cards = write_cards(folder, rated.movies)
        first = start(pretrained, ready_made[0]["films"])
        content = {"films": films, "presets": ready_made, "start": first, "styles": [*STYLES]}
        sample = data.folder == SAMPLE_FOLDER
        manifest = {
            "data_set": {
                "name": data.name,
                "title": str(data).split(":")[0],
                "films": len(films),
                # GroupLens' licence: no redistribution, so nothing with its titles is put online.
                "may_be_published": sample,
            },
            "model": stored(folder / "model.bin", export, pretrained.model.model),
        }
        if sample:  # for readers who have MovieLens-1M: its model, and no word of its data
            own = json.loads((DEMO / "presets.json").read_text(encoding="utf-8"))["ml-1m"]
            content["own_presets"] = own
            manifest["own"] = {
                **stored(folder / "ml-1m.bin", export_stored, "ml-1m"),
                "unrated": json.loads((DEMO / "unrated.json").read_text(encoding="utf-8")),
            }
        write_json(folder / "catalogue.json", content)
        write_json(folder / "manifest.json", manifest)
        write_pages(folder, content, cards, manifest["data_set"])
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if out.exists():
            out.rename(Path(temporary) / "old")
        folder.rename(out)
    return manifest


def stored(path: Path, write, model) -> dict:
    """Writes a model; its shape with name, size and SHA-256, with which the page checks what arrived."""
    shape = write(model, path)
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    return {"file": path.name, "bytes": len(content), "sha256": digest, **shape}


def start(pretrained: Pretrained, movie_ids: list[int]) -> dict:
    """The history that the page opens with, and the answer, so that nothing is loaded for it."""
    tokens = pretrained.metadata.tokenize_movies(movie_ids).tolist()
    return {"films": movie_ids, "answer": pretrained.answer(tokens)}


def catalogue(data: MovieLens, metadata: MovieLensMetadata) -> list[dict]:
    """The films, most watched first: id, token, name, year, genres."""
    watched = data.ratings["movie_id"].value_counts()
    movies = data.movies.assign(watched=data.movies["movie_id"].map(watched))
    movies = movies.sort_values(["watched", "movie_id"], ascending=[False, True])
    tokens = metadata.tokenize_movies(movies["movie_id"])
    films = []
    for token, (movie_id, title, genres) in zip(
        tokens, movies[["movie_id", "title", "genres"]].itertuples(index=False), strict=True
    ):
        name, year = split_title(title)
        known = [genre for genre in STYLES if genre in genres.split("|")]
        films.append(
            {"id": int(movie_id), "token": int(token), "name": name, "year": year, "genres": known}
        )
    return films


def presets(data: MovieLens) -> list[dict]:
    """Ready-made histories, as movie ids; for an unknown data set five films of a few genres."""
    stored = json.loads((DEMO / "presets.json").read_text(encoding="utf-8"))
    if data.name in stored:
        return [
            {
                "name": preset["name"],
                "films": [
                    int(find_movies(title, data.movies, n=1)["movie_id"].iloc[0])
                    for title in preset["films"]
                ],
            }
            for preset in stored[data.name]
        ]
    order = data.ratings["movie_id"].value_counts().index
    genres = data.movies.set_index("movie_id")["genres"].reindex(order).dropna()
    frequent = genres.str.split("|").explode().value_counts().index[:4]
    return [
        {"name": genre, "films": genres[genres.str.contains(genre, regex=False)].index[:5].tolist()}
        for genre in frequent
    ]


def write_cards(folder: Path, movies: pd.DataFrame) -> dict[int, dict]:
    """cards.json, which is returned, and the font that it needs with its licence."""
    columns = (movies["movie_id"].tolist(), movies["title"], movies["genres"])
    cards = {row[0]: instructions(*row) for row in zip(*columns, strict=True)}
    write_json(folder / "cards.json", {"view": [WIDTH, HEIGHT], "cards": cards})
    letters = {letter for card in cards.values() for line in card["text"] for letter in line[-1]}
    write_font(letters, folder / "cards.woff")
    shutil.copyfile(font_file().with_name("LICENSE_DEJAVU"), folder / "cards.woff.LICENSE")
    return cards


def write_font(characters: set[str], path: Path) -> None:
    """The cards' font with these characters only, so that lines break where Pillow broke them."""
    options = subset.Options(
        flavor="woff", layout_features=["kern"], notdef_outline=True, drop_tables=["FFTM", "DSIG"]
    )
    font = subset.load_font(str(font_file()), options)
    cutter = subset.Subsetter(options)
    cutter.populate(text="".join(sorted(characters)))
    cutter.subset(font)
    subset.save_font(font, str(path), options)


def write_pages(folder: Path, content: dict, cards: dict[int, dict], data_set: dict) -> None:
    """Draws the opening history into app.html, as the scripts will, and puts it into index.html."""
    by_token = {film["token"]: film for film in content["films"]}
    by_id = {film["id"]: film for film in content["films"]}
    first = content["start"]
    figures = f"{data_set['films']:,} films"
    drawn = {
        "about": ABOUT_SAMPLE.format(figures)
        if data_set["may_be_published"]
        else f"{figures} of {html.escape(data_set['title'])}: for this machine only.",
        "hidden": "" if data_set["may_be_published"] else " hidden",
        "presets": "".join(
            f'<button type="button" class="chip">{html.escape(one["name"])}</button>'
            for one in content["presets"]
        ),
        "picks": "".join(
            f'<li class="pick"><span class="film">{draw(cards[movie_id])}{name(by_id[movie_id])}'
            f'</span><p class="odds">{percent(share)}</p>{BAR}</li>'
            for movie_id, share in zip(first["films"], first["answer"]["attention"], strict=True)
        ),
        "ten": "".join(
            f'<li><span class="film">{draw(cards[by_token[token]["id"]])}{name(by_token[token])}'
            f'</span><p class="odds"><b class="percent">{percent(probability)}</b></p>'
            f"{BAR}</li>"
            for token, probability in first["answer"]["ten"]
        ),
    }
    app = (folder / "app.html").read_text(encoding="utf-8")
    for mark, part in drawn.items():
        app = app.replace(MARK.format(mark), part)
    (folder / "app.html").write_text(app, encoding="utf-8")
    index = (folder / "index.html").read_text(encoding="utf-8")
    (folder / "index.html").write_text(index.replace(MARK.format("app"), app), encoding="utf-8")


def name(film: dict) -> str:
    return f'<span class="name">{html.escape(film["name"])}</span>'


def percent(probability: float) -> str:
    """As in ten.js."""
    return f"{100 * probability:.{1 if probability < 0.1 else 0}f}\u00a0%"


def draw(card: dict) -> str:
    """The card as drawCard in cards.js draws it."""
    shapes = {
        part: "".join(f'<path fill="{fill}" d="{path}"/>' for fill, path in card[part])
        for part in ("art", "marks")
    }
    words = "".join(
        f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" fill="{fill}">{html.escape(text)}</text>'
        for x, y, size, fill, text in card["text"]
    )
    return (
        f'<svg class="card" viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true"><rect x="-4" y="-4" '
        f'width="{WIDTH + 8}" height="{HEIGHT + 8}" fill="{card["ground"]}"/><svg width="{WIDTH}" '
        f'height="{card["art_height"]}">{shapes["art"]}</svg>{shapes["marks"]}{words}</svg>'
    )


def write_json(path: Path, value: dict) -> None:
    """Compact JSON."""
    path.write_text(json.dumps(value, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="auto", help="auto, sample, ml-1m or a folder")
    parser.add_argument("--out", type=Path, default=DEMO / "dist")
    arguments = parser.parse_args()
    data = load_movielens(arguments.data)
    print(f"Building the demo on {data}")
    try:
        manifest = build(arguments.out.resolve(), data)
    except (CheckpointError, FileNotFoundError, ValueError) as error:
        print(f"The demo was not built: {error}", file=sys.stderr)
        return 1
    where = arguments.out
    if where.resolve().is_relative_to(REPOSITORY):
        where = where.resolve().relative_to(REPOSITORY)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{where}: {size / 1e6:.1f} MB. Look at it: python -m http.server --directory {where}")
    if not manifest["data_set"]["may_be_published"]:
        print(
            "It holds the films of MovieLens-1M, whose licence forbids redistribution: keep it to\n"
            "yourself. What may be published is `make demo DATA=sample`."
            if data.counts == ML_1M_COUNTS
            else "It holds the films of your data set. Publish it only if you may."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
