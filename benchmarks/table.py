"""One row of results.json, and all of them as a table."""

import statistics
from collections import Counter
from typing import Any

import pandas as pd


def row(
    name: str,
    unit: str,
    ours: list[float],
    plain: list[float] | None = None,
    peer: tuple[str, list[float]] | None = None,
    limit: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One row of results.json; a unit that ends with "/s" is better when larger."""

    def faster(one: float, other: float) -> float:
        return one / other if unit.endswith("/s") else other / one

    def spread(values: list[float] | None) -> list[float] | None:
        return [_rounded(min(values)), _rounded(max(values))] if values else None

    peer_name, peer_values = peer or (None, None)
    middle = statistics.median(ours)
    found = {"name": name, "unit": unit, "note": note, "repetitions": len(ours)}
    found |= {"peer_name": peer_name, "limit": _rounded(limit) if limit else None}
    for key, values in (("ours", ours), ("plain", plain), ("peer", peer_values)):
        found[key] = _rounded(statistics.median(values)) if values else None
        found[f"{key}_spread"] = spread(values)
        if key != "ours":
            ratio = round(faster(middle, statistics.median(values)), 2) if values else None
            found[f"ratio_to_{key}"] = ratio
    pairs = [faster(one, other) for one, other in zip(ours, plain or [], strict=False)]
    found["ratio_to_plain_spread"] = spread(pairs)
    found["share_of_limit"] = round(faster(middle, limit), 4) if limit else None
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, for the terminal and for the documentation."""
    marks = _marks(rows)

    def figure(line: dict[str, Any], key: str, form: str = "") -> str:
        if line.get(key) is None:
            return ""
        low, high = line.get(f"{key}_spread") or (0, 0)
        show = (lambda value: f"{value:{form}}") if form else _figure
        between = f" [{show(low)}, {show(high)}]" if low != high else ""
        value = f"**{show(line[key])}**" if form else show(line[key])
        return f"{value}{between}"

    shown = [
        {
            "what": f"{line['name']} {marks[_run(line)]}".strip(),
            "ours": f"{figure(line, 'ours')} {line['unit']}",
            "plain way": figure(line, "plain") and f"{figure(line, 'plain')} {line['unit']}",
            "peer": figure(line, "peer")
            and f"{line['peer_name']} {figure(line, 'peer')} {line['unit']}",
            "times faster than plain": figure(line, "ratio_to_plain", ".1f"),
            "than the peer": figure(line, "ratio_to_peer", ".1f"),
            "of the limit": f"{line['share_of_limit']:.1%}" if line["share_of_limit"] else "",
        }
        for line in rows
    ]
    return pd.DataFrame(shown).to_markdown(index=False, disable_numparse=True)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def conditions(rows: list[dict[str, Any]]) -> str:
    """What holds for the rows of each run, and the notes of single ones, in sentences."""
    sentences = ["Medians, in brackets the smallest and the largest."]
    for run, mark in _marks(rows).items():
        lines = [line for line in rows if _run(line) == run]
        busiest = max(line["load_before"] for line in lines)
        shared = (
            f" Other programs shared the machine (load up to {busiest:.1f} on {lines[0]['cores']} "
            "cores): figures may be too slow, ratios less so."
        )
        sentences.append(f"{mark} {run}".strip() + (shared if busiest > 0.5 else ""))
    notes = {line["note"]: line["name"].split(",")[0] for line in reversed(rows) if line["note"]}
    sentences += [f"{name}: {note}." for note, name in reversed(notes.items())]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _marks(rows: list[dict[str, Any]]) -> dict[str, str]:
    """A sign for each run, none for the one that most rows are of."""
    runs = Counter(map(_run, rows))
    return {run: "†" * number for number, (run, _) in enumerate(runs.most_common())}


def _run(line: dict[str, Any]) -> str:
    """Data, machine, versions and date of a row, as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in line["versions"].items())
    return (
        f"{line['data']}; {line['machine']}, PyTorch with {line['threads']} of them and "
        f"{line['instructions']}; {versions}; {line['date']}."
    )
