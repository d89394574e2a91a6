"""Builds the demo page: python -m tools.demo [--data auto|sample|ml-1m|FOLDER] [--out FOLDER].

Writes site/demo/dist: the page, the pretrained model as one ONNX file, the catalogue, the title
cards, and the runtime from npm. Serve the folder with `python -m http.server` and open it.
"""

import argparse
import dataclasses
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pandas as pd
import psutil  # ipykernel brings it
from filelock import FileLock  # PyTorch brings it

from recformer_utils.movielens import ML_1M_COUNTS, SAMPLE_FOLDER, MovieLens, load_movielens
from recformer_utils.posters.cards import STYLES, font_file, split_title
from recformer_utils.runs.checkpoints import CheckpointError
from recformer_utils.runs.files import replacing
from recformer_utils.tokens import MovieLensMetadata, find_movies
from tools.card_svg import HEIGHT, WIDTH, instructions
from tools.common import REPOSITORY
from tools.demo_model import compare, export, load_pretrained

DEMO = REPOSITORY / "site/demo"
PACKAGE = "onnxruntime-web"
# Of the package's many builds: WebAssembly on the CPU, the script that starts it included.
RUNTIME_SCRIPT, RUNTIME_WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
LARGEST_DIFFERENCE = 1e-5  # of a score, between PyTorch and the exported file


class DemoError(RuntimeError):
    """The demo cannot be built, or would not say what PyTorch says."""


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
        model = folder / "model.onnx"
        opset = export(pretrained, model)
        agreement = compare(pretrained, model)
        print(f"model.onnx: {agreement}")
        if (
            agreement.same_ten < agreement.histories
            or agreement.largest_difference > LARGEST_DIFFERENCE
        ):
            raise DemoError(f"the exported model is not the one that was trained: {agreement}")
        films = catalogue(rated, pretrained.metadata)
        write_json(folder / "catalogue.json", {"films": films, "presets": presets(rated)})
        write_cards(folder, rated.movies)
        manifest = {
            "data_set": {
                "name": data.name,
                "title": str(data).split(":")[0],
                "films": len(films),
                # GroupLens' licence: no redistribution, so nothing with its titles is put online.
                "may_be_published": data.folder == SAMPLE_FOLDER,
            },
            "model": {
                **described(model),
                "opset": opset,
                "window": pretrained.window,
                "num_movies": len(films),
            },
            "runtime": copy_runtime(folder / "runtime"),
        }
        write_json(folder / "manifest.json", manifest)
        for path in folder.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        if out.exists():
            out.rename(Path(temporary) / "old")
        folder.rename(out)
    return manifest


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


def write_cards(folder: Path, movies: pd.DataFrame) -> None:
    """cards.json, and the font that it needs with its licence."""
    columns = (movies["movie_id"].tolist(), movies["title"], movies["genres"])
    cards = {row[0]: instructions(*row) for row in zip(*columns, strict=True)}
    write_json(folder / "cards.json", {"view": [WIDTH, HEIGHT], "cards": cards})
    letters = {letter for card in cards.values() for line in card["text"] for letter in line[-1]}
    write_font(letters, folder / "cards.woff")
    shutil.copyfile(font_file().with_name("LICENSE_DEJAVU"), folder / "cards.woff.LICENSE")


def write_font(characters: set[str], path: Path) -> None:
    """The cards' font with these characters only, so that lines break where Pillow broke them."""
    from fontTools import subset  # only the demo needs it: site/demo/requirements.txt

    options = subset.Options(
        flavor="woff", layout_features=["kern"], notdef_outline=True, drop_tables=["FFTM", "DSIG"]
    )
    font = subset.load_font(str(font_file()), options)
    cutter = subset.Subsetter(options)
    cutter.populate(text="".join(sorted(characters)))
    cutter.subset(font)
    subset.save_font(font, str(path), options)


def copy_runtime(folder: Path) -> dict | None:
    """onnxruntime-web, as its lock file pins it; None, and a sentence, where npm cannot get it."""
    package = DEMO / "node_modules" / PACKAGE
    wanted = json.loads((DEMO / "package.json").read_text())["dependencies"][PACKAGE]
    with FileLock(DEMO / ".npm.lock"):  # of two builds at once, one installs
        reason = None if _installed(package) == wanted else _install()
    if reason:
        print(
            f"Left out: {PACKAGE} ({reason}). The page will show the catalogue and say that it "
            f"cannot recommend. Install Node.js with npm, then run `make demo` again."
        )
        return None
    folder.mkdir()
    shutil.copyfile(package / "dist" / RUNTIME_SCRIPT, folder / "ort.js")
    # Compressed here, because many servers (python -m http.server) send files as they are.
    with replacing(folder / "ort.wasm.gz", mode=0o644) as file:
        wasm = (package / "dist" / RUNTIME_WASM).read_bytes()
        file.write(gzip.compress(wasm, mtime=0))
    return {
        "name": PACKAGE,
        "version": wanted,
        "script": "runtime/ort.js",
        "wasm": described(folder / "ort.wasm.gz", "runtime/ort.wasm.gz"),
    }


def _install() -> str | None:
    """Fills node_modules from the lock file; what kept it from that, in words."""
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=DEMO, check=True, stdout=subprocess.DEVNULL)
    except OSError:
        return "npm is not there"
    except subprocess.CalledProcessError:
        return "npm failed, see above"
    return None


def _installed(package: Path) -> str | None:
    """The version in node_modules, where it is whole."""
    if not all((package / "dist" / name).exists() for name in (RUNTIME_SCRIPT, RUNTIME_WASM)):
        return None
    return json.loads((package / "package.json").read_text())["version"]


def described(path: Path, name: str | None = None) -> dict:
    """Name, size and SHA-256, with which the page checks what arrived."""
    content = path.read_bytes()
    return {
        "file": name or path.name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


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
    except (DemoError, CheckpointError, FileNotFoundError, ValueError) as error:
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
