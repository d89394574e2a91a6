"""What the explanations to play with are made from: called by tools/site.py, one JSON file a post.

Everything comes from the notebooks' stored cells, the stored results, and the models in
data/pretrained with the embedded sample: nothing of MovieLens but what the posts print.

    python -m tools.explain    what takes long (the slider of 12), stored anew
"""

import argparse
import ast
import hashlib
import inspect
import json
import re
import runpy
from contextlib import chdir
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import torch
from sklearn.manifold import TSNE

from recformer_utils import baselines
from recformer_utils.evaluation import evaluate_ranking
from recformer_utils.movielens import MovieLens, load_movielens
from recformer_utils.movielens_transformer import MovieLensTransformer
from recformer_utils.posters.cards import split_title
from recformer_utils.sequence_model import history_scores
from recformer_utils.sequences import leave_one_out
from recformer_utils.training import get_dataset, get_model_config, load_config, load_weights
from tools.common import REPOSITORY
from tools.demo import presets
from tools.demo_model import Pretrained, load_pretrained, pretrained_file
from tools.notebooks import findings, read
from tools.stored import load_sequence_model

PRETRAINED = REPOSITORY / "data/pretrained"
RIVALS = {
    "distance counts": baselines.distance_counts,
    "Markov chain": baselines.markov_chain,
    "EASE": baselines.ease,
    "item-kNN": baselines.item_knn,
    "popularity": baselines.popularity,
}
NEIGHBOURS = 5
EXPLORING = [0, 0.02, 0.05, 0.1, 0.2, 0.5, 1]  # shares of random pages
WORLDS = 3  # of the ten of notebook 12, which would take a minute
EXPLORATION = PRETRAINED / "exploration.json"
HIDING = {
    "number only": "number only",
    "number and features, unused": "features alone",
    "number and features": "number and features",
    "genres, year": "genres and year",
    "number only, all ratings": "number, nothing hidden",
}


def explanations() -> dict[int, dict]:
    """By the number of the post."""
    data = load_movielens("sample")
    pretrained = load_pretrained(data)
    return {
        4: {"toy": toy(), "window": window(data)},
        7: {"scores": scores(pretrained, data), "map": embedding_map(pretrained)},
        8: ranks(pretrained, data),
        10: {"stairs": staircase()},
        12: {"exploration": exploration()},
        13: {"hidden": hidden_ratings()},
    }


def notebook(number: int) -> nbformat.NotebookNode:
    """A notebook of the series."""
    (path,) = (REPOSITORY / "notebooks").glob(f"{number:02d}_*.ipynb")
    return read(path)


def cells(number: int) -> list:
    """The cells of a notebook."""
    return notebook(number).cells


def toy() -> dict:
    """The three movies of notebook 04: names, and the scores of its matrices before they are divided."""
    source = next(cell.source for cell in cells(4) if "W_query = " in cell.source)

    def matrix(name: str) -> np.ndarray:
        return np.array(ast.literal_eval(re.search(rf"{name} = torch\.tensor\((.*?)\)", source)[1]))

    x = matrix("x")
    names = ast.literal_eval(re.search(r"names = (\[.*?\])", source)[1])
    return {"names": names, "scores": [[(x @ matrix("W_query") @ x.T).tolist()]], "divisor": 2}


def window(data: MovieLens) -> dict:
    """Scores of a trained model of notebook 04 for five films, [block][head], divided already."""
    folder = PRETRAINED / data.name
    config = load_config(folder / "config.yaml")
    config["trainer_config"]["data_dir"] = str(data.folder)
    dataset = get_dataset(config, is_validation=True)
    model = load_weights(
        MovieLensTransformer(get_model_config(config, dataset)), folder / "model.pth"
    ).eval()
    films = presets(data)[1]["films"]
    tokens = torch.from_numpy(dataset.metadata.tokenize_movies(films))[None]
    found = []

    def keep(block, inputs):
        q, k = (
            part.unflatten(-1, (block.num_heads, -1)).transpose(1, 2)
            for part in block.qkv(inputs[0]).chunk(3, dim=-1)[:2]
        )
        found.append((q @ k.transpose(-2, -1) / block.head_dimension**0.5)[0])

    with torch.no_grad():
        for layer in model.movie_transformer.layers:
            layer.attention.register_forward_pre_hook(keep)
        model.movie_transformer(tokens)
    return {"names": names_of(data, films), "scores": rounded(torch.stack(found)), "divisor": 1}


def scores(pretrained: Pretrained, data: MovieLens) -> dict:
    """After the five films that the front page opens with: the ten that it shows, then all others."""
    films = presets(data)[0]["films"]
    tokens = torch.from_numpy(pretrained.metadata.tokenize_movies(films))[None]
    with torch.no_grad():
        logits = pretrained.model(tokens)[0]
    shown = torch.tensor([token for token, _ in pretrained.answer(tokens[0].tolist())["ten"]])
    others = torch.ones_like(logits, dtype=torch.bool).scatter(0, shown, False)
    return {
        "films": names_of(data, films),
        "names": names_of(data, pretrained.metadata.movie_ids_of(shown)),
        "scores": rounded(torch.cat([logits[shown], logits[others]])),
    }


def embedding_map(pretrained: Pretrained) -> dict:
    """Every film of the sample on a map, as notebook 07 draws it: [name, genre, x, y, nearest]."""
    metadata, movies = pretrained.metadata, pretrained.movies.set_index("movie_id")
    vectors = pretrained.model.model.movie_embedding.weight[: metadata.num_movies].detach()
    vectors = torch.nn.functional.normalize(vectors)
    nearest = (vectors @ vectors.T).topk(NEIGHBOURS + 1).indices[:, 1:]
    flat = TSNE(metric="cosine", perplexity=30, init="pca", random_state=0)
    spots = flat.fit_transform(vectors.numpy())
    spots = (spots - spots.min(axis=0)) / np.ptp(spots, axis=0)
    genres = movies["genres"].loc[metadata.movie_ids].str.split("|")
    films_of = genres.explode().value_counts()
    telling = [min(names, key=films_of.get) for names in genres]
    titles = [split_title(title)[0] for title in movies["title"].loc[metadata.movie_ids]]
    rows = zip(titles, telling, *spots.T.round(3).tolist(), nearest.tolist(), strict=True)
    return {"films": [list(row) for row in rows]}


def ranks(pretrained: Pretrained, data: MovieLens) -> dict:
    """For each model of notebook 08 how many users of the sample have their target at each place."""
    metadata, sequences = pretrained.metadata, pretrained.sequences
    split = leave_one_out(sequences)
    model, _ = load_sequence_model(pretrained_file(data.name), pretrained.movies, metadata)
    scorers = {"the network": history_scores(model, torch.device("cpu"))}
    for name, fit in RIVALS.items():
        scorers[name] = fit(sequences, split.train_lengths, metadata.vocab_size).score
    counts = {}
    for name, score in scorers.items():
        places = evaluate_ranking(score, sequences, split.validation).long()
        counts[name] = torch.bincount(places, minlength=metadata.num_movies).tolist()
    return {"films": metadata.num_movies, "places": counts}


def staircase() -> list[dict]:
    """The steps of notebook 10, ties in random order: its names and figures, what is beside them."""
    source = next(cell.source for cell in cells(10) if cell.source.startswith("stairs = {"))
    stairs, joined = (ast.literal_eval(node.value) for node in ast.parse(source).body[:2])
    lines = (PRETRAINED / "results.jsonl").read_text(encoding="utf-8").splitlines()
    column = ("B", "leave-one-out", "random")  # the data, how it is split, the order of ties
    runs = [run for run in map(json.loads, lines) if run["seed"] < 3]  # as every step has them
    runs = [run for run in runs if (run["group"], run["split"], run["ties"]) == column]
    steps = [(words, key, "val_ndcg10_network") for words, key in stairs.items()]
    steps += [(words, key, "val_ndcg10") for words, key in joined.items()]
    return [
        step(words, figure, [r for r in runs if r["key"] == key]) for words, key, figure in steps
    ]


def step(name: str, figure: str, runs: list[dict]) -> dict:
    """One step of the staircase."""
    values = [run[figure] for run in runs]
    # The stored interval over the users is that of the figure with counts.
    whole = values == [run["val_ndcg10"] for run in runs]
    interval = np.mean([run["val_ndcg10_interval"] for run in runs], axis=0) if whole else None
    return {
        "name": name, "value": round(sum(values) / len(values), 5), "seeds": values,
        "interval": None if interval is None else interval.round(5).tolist(),
    }  # fmt: skip


def loop() -> list[str]:
    """The code of notebook 12 from its world to its loop."""
    code = [cell.source for cell in cells(12) if cell.cell_type == "code"]
    first = next(i for i, source in enumerate(code) if source.startswith("world = "))
    last = next(i for i, source in enumerate(code) if "def simulate(" in source)
    seed = re.search(r"^SEED = \d+$", "\n".join(code), re.MULTILINE)[0]
    return [seed, *code[first : last + 1]]


def feedback() -> dict:
    """Everything by its name on the page of notebook 12, from its world to its loop."""
    page = {"np": np, "runpy": runpy, "load_movielens": load_movielens}
    page |= dict.fromkeys(("print", "show_posters"), lambda *_, **__: None)
    with chdir(REPOSITORY / "notebooks"):
        for source in loop():
            exec(source, page)
    return page


def exploring(page: dict, share: float):
    """The epsilon-greedy of the page for any share of random pages; at the ends its own two rules."""

    def policy(picks, looks, genres, rng):
        explore = rng.random((len(genres), 1)) < share
        own = page["greedy"](picks, looks, genres, rng)
        return np.where(explore, page["at_random"](picks, looks, genres, rng), own)

    return {0: page["greedy"], 1: page["at_random"]}.get(share, policy)


def told(page: dict, policy) -> dict:
    """What the slider shows of one rule, from its first worlds."""
    mean = page["attraction"].sum(axis=0) / (~page["watched"]).sum(axis=0)
    order = np.argsort(-mean)  # the best film first
    runs = [page["simulate"](policy, seed) for seed in range(WORLDS)]
    looks = [run[1].sum(axis=1)[:, order] for run in runs]  # (rounds, films), so far
    late = np.array([each[-1] - each[-11] for each in looks])
    return {
        "values": np.mean([worth for _, _, worth in runs], axis=0).round(4).tolist(),
        "shown": round(np.mean([(each[-1] > each[-2]).sum() for each in looks])),
        "dark": round((late[:, :100] == 0).mean(), 4),
        "looks": np.ceil(late[0]).astype(int).tolist(),  # in one world: a mean is never dark
    }


def made_from() -> str:
    """A hash of what the stored exploration comes from."""
    parts = [*loop(), str((EXPLORING, WORLDS)), *map(inspect.getsource, (exploring, told))]
    parts.append((REPOSITORY / "data/make_sample.py").read_text(encoding="utf-8"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def simulated() -> dict:
    """The loop of notebook 12 for several shares of random pages, and for Thompson sampling."""
    page = feedback()
    return {
        "shares": EXPLORING,
        "runs": [told(page, exploring(page, share)) for share in EXPLORING],
        "thompson": told(page, page["thompson"]),
        "table": round(page["BY_GENRE"], 4),
    }


def exploration() -> dict:
    """What is stored of it (it takes twenty seconds), or anew where the page has changed since."""
    if EXPLORATION.exists():
        stored = json.loads(EXPLORATION.read_text(encoding="utf-8"))
        if stored.pop("made_from") == made_from():
            return stored
    return simulated()


def hidden_ratings() -> dict:
    """The share of the other new films that are beaten, by how many ratings a new film has (13)."""
    rows = pd.read_json(PRETRAINED / "cold_start.jsonl", lines=True, dtype={"draw": str})
    rows = rows[rows["draw"].str.isdigit() & rows["kind"].isin(HIDING)]
    budgets = [int(b) for b in rows["figures"].iloc[0] if b.isdigit()]
    kinds = []
    for kind, name in HIDING.items():
        draws = rows.loc[rows["kind"] == kind, "figures"]
        asked = np.array([[each[str(b)]["questions"] for b in budgets] for each in draws])
        beaten = np.array([[each[str(b)]["beaten"] for b in budgets] for each in draws])
        together = (asked * beaten).sum(axis=0) / asked.sum(axis=0)  # as on the page
        kinds.append({
            "name": name, "beaten": together.round(4).tolist(), "draws": beaten.T.round(4).tolist(),
        })  # fmt: skip
    printed = "\n".join(findings(notebook(13)))
    found = re.findall(r"number only minus features alone, beaten: (\S+) \[(\S+), (\S+)\]", printed)
    return {"budgets": budgets, "kinds": kinds, "ahead": [[float(x) for x in row] for row in found]}


def names_of(data: MovieLens, movie_ids: list[int]) -> list[str]:
    titles = data.movies.set_index("movie_id")["title"]
    return [split_title(titles[movie_id])[0] for movie_id in movie_ids]


def rounded(values: torch.Tensor) -> list:
    """As nested lists with four decimals."""
    return np.round(values.numpy().astype(float), 4).tolist()


def write(folder: Path) -> None:
    """One file for each post that has something to play with."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in explanations().items():
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        (folder / f"{number:02d}.json").write_text(text, encoding="utf-8")


def main() -> None:
    argparse.ArgumentParser(description="Stores what takes long anew.").parse_args()
    text = json.dumps({"made_from": made_from(), **simulated()}, separators=(",", ":"))
    EXPLORATION.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
