"""The long trainings of notebook 13, made by the cells of its page (those tagged "program").

    python -m benchmarks.cold_start                                      (an hour and a half)
    python -m benchmarks.cold_start --only 1 "number only"               (two minutes: one of them)
    python -m benchmarks.cold_start --data sample --only 0 codes --output build/cold (a test)

A training is a draw of new films (0, 1, 2; "newest": the newest by year; "all": nothing is deleted)
and a kind of model. It is measured as the page says and writes one line or more to cold_start.jsonl:
what was trained, the figures, seconds, machine and date. cold_start.npz holds the sums for each new
film and each held-out user, from which the page takes its intervals; no titles and no ratings. A
training that has its lines is skipped, so a killed call goes on when it is called again.
"""

import argparse
import datetime
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recformer_utils.runs.files import replacing
from tools import notebooks
from tools.common import REPOSITORY, machine

PAGE = notebooks.NOTEBOOKS / "13_a_film_nobody_has_rated.ipynb"
BOTH, DROPPED, LISTED, ALL = "number and features", "number dropped", "all listed", "all ratings"
KINDS = ("number only", BOTH, "genres, year", DROPPED, "codes", "genres, year, subwords")
LATER = ("genres, year, words", "number, genres, year")
TRAININGS = [(str(draw), kind) for draw in range(3) for kind in (*KINDS, *LATER)] + [
    ("all", "number only"), ("newest", BOTH), ("newest", "genres, year"), ("0", LISTED),
]  # fmt: skip
CODES = {"ml-1m": 32}  # at each of three levels; elsewhere 8


def program(data: str) -> dict[str, Any]:
    """The names that the page's program defines, with this data set loaded."""
    os.environ["RECFORMER_DATASET"] = data
    names: dict[str, Any] = {"__name__": "cold_start"}
    for cell in notebooks.tagged(notebooks.read(PAGE), "program"):
        exec(compile(cell.source, PAGE.name, "exec"), names)
    return names


def budget_of(page: dict[str, Any], draw: str) -> np.ndarray:
    """How many ratings of each film stay, int (films,)."""
    if draw == "all":
        return np.full(len(page["films"]), page["UNLIMITED"])
    if draw == "newest":
        return page["newest_budgets"](page["counts"], page["films"])
    return page["draw_budgets"](page["counts"], int(draw))


def trained(page: dict[str, Any], draw: str, kind: str) -> torch.nn.Module:
    """The model of one training."""
    budget, seed = budget_of(page, draw), int(draw) if draw.isdigit() else 0
    if kind in page["KINDS"]:
        return page["train_kind"](kind, budget, seed)
    train = page["within_budget"](page["sequences"], budget, page["training"])
    films, movies = len(page["films"]), page["films"]
    if kind == LISTED:  # new films are rivals in the softmax
        torch.manual_seed(seed)
        existing = torch.from_numpy(np.unique(train.movie_tokens)).long()
        model = page["film_model"](movies, existing, **page["KINDS"][BOTH])
        loss = page["existing_loss"](torch.arange(films), films + 2)
        return page["fit_films"](model, loss, train, seed)
    known = trained(page, draw, BOTH).known()[:-2].detach().numpy()  # of the films as in section 9
    torch.manual_seed(seed)
    k = CODES.get(page["data"].name, 8)
    model = page["code_model"](page["residual_codes"](known, k, seed), k)
    return page["fit_films"](model, page["codes_loss"], train, seed)


def measured(page: dict[str, Any], model: torch.nn.Module, draw: str, kind: str) -> dict:
    """Draw and kind of each row that a training gives, with its sums."""
    if draw == "all":
        draws = ("0", "1", "2", "newest")
        sums = [page["measure_model"](model, budget_of(page, each)) for each in draws]
        return {(each, f"{kind}, {ALL}"): s for each, s in zip(draws, sums, strict=True)}
    budget = budget_of(page, draw)
    if kind == "codes":
        with torch.no_grad():
            states = page["hidden_states"](model, page["sequences"], page["held_out"])
            score = page["code_scores"]
            return {(draw, kind): page["measure"](lambda some: score(model, some), states, budget)}
    rows = {(draw, kind): page["measure_model"](model, budget)}
    if kind in (BOTH, DROPPED):
        rows[draw, f"{kind}, unused"] = page["measure_model"](model, budget, use_numbers=False)
    return rows


def figures(page: dict[str, Any], budget: np.ndarray, films: np.ndarray, users: np.ndarray) -> dict:
    """Means over the questions of each budget, and over those of the films that are not new."""
    new, found = budget[budget < page["UNLIMITED"]], {}
    for each in np.unique(new):
        questions, hits, ndcg, beaten = films[new == each].sum(axis=0)
        found[str(each)] = {"questions": int(questions), "hr10": hits / questions}
        found[str(each)] |= {"ndcg10": ndcg / questions, "beaten": beaten / questions}
    questions, hits, ndcg = users.sum(axis=0)
    found["others"] = {"questions": int(questions), "hr10": hits / questions}
    found["others"]["ndcg10"] = ndcg / questions
    return {part: {k: round(float(v), 5) for k, v in each.items()} for part, each in found.items()}


def write(folder: Path, lines: list[dict], sums: dict[str, np.ndarray]) -> None:
    """Both files, whole or not at all; the sums first, since a line says that they are there."""
    with replacing(folder / "cold_start.npz") as file:
        np.savez_compressed(file, **sums)
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    with replacing(folder / "cold_start.jsonl") as file:
        file.write(text.encode())


def stored(folder: Path) -> tuple[list[dict], dict[str, np.ndarray]]:
    """The lines and the sums that are there."""
    path = folder / "cold_start.jsonl"
    if not path.exists():
        return [], {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    with np.load(folder / "cold_start.npz") as sums:
        return lines, dict(sums)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="ml-1m", help="sample, ml-1m or a folder")
    parser.add_argument("--only", nargs=2, metavar=("DRAW", "KIND"), help="one training")
    parser.add_argument("--output", type=Path, default=REPOSITORY / "data/pretrained")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads for PyTorch")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.output.mkdir(parents=True, exist_ok=True)
    page = program(arguments.data)
    lines, sums = stored(arguments.output)
    for draw, kind in [tuple(arguments.only)] if arguments.only else TRAININGS:
        training = f"{draw} {kind}"
        if any(line["training"] == training for line in lines):
            continue
        started = time.perf_counter()
        model = trained(page, draw, kind)
        about = {"train_seconds": round(time.perf_counter() - started, 1), "machine": machine()}
        about |= {"date": datetime.date.today().isoformat(), "epochs": page["EPOCHS"]}
        about["parameters"] = sum(each.numel() for each in model.parameters())
        for (own_draw, own_kind), (films, users) in measured(page, model, draw, kind).items():
            name, budget = f"{own_draw} {own_kind}", budget_of(page, own_draw)
            sums[f"{name} films"], sums[f"{name} users"] = np.float32(films), np.float32(users)
            line = {"training": training, "draw": own_draw, "kind": own_kind}
            lines.append(line | {"figures": figures(page, budget, films, users)} | about)
        write(arguments.output, lines, sums)
        print(training, lines[-1]["figures"], flush=True)


if __name__ == "__main__":
    main()
