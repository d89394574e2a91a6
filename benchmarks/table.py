"""One line of results.json, and all of them as a table."""

import statistics
from collections import Counter
from typing import Any


def row(
    name: str,
    unit: str,
    ours: list[float],
    plain: list[float] | None = None,
    peer: tuple[str, list[float]] | None = None,
    limit: float | None = None,
    note: str = "",
) -> dict[str, Any]:
    """One line of results.json; a unit that ends with "/s" is better when larger."""
    faster = (lambda one, other: one / other) if unit.endswith("/s") else lambda one, other: other / one  # fmt: skip

    def ratio(values: list[float] | None) -> float | None:
        return round(faster(median(ours), median(values)), 2) if values else None

    def median(values: list[float]) -> float:
        return statistics.median(values)

    def spread(values: list[float] | None) -> list[float] | None:
        return [_short(min(values)), _short(max(values))] if values else None

    peer_name, peer_values = peer or (None, None)
    pairs = [faster(one, other) for one, other in zip(ours, plain or [], strict=False)]
    return {
        "name": name, "unit": unit,
        "ours": _short(median(ours)), "ours_spread": spread(ours),
        "plain": _short(median(plain)) if plain else None, "plain_spread": spread(plain),
        "peer": _short(median(peer_values)) if peer_values else None,
        "peer_spread": spread(peer_values), "peer_name": peer_name,
        "limit": _short(limit) if limit else None,
        "ratio_to_plain": ratio(plain), "ratio_to_plain_spread": spread(pairs),
        "ratio_to_peer": ratio(peer_values),
        "share_of_limit": round(faster(median(ours), limit), 4) if limit else None,
        "repetitions": len(ours), "note": note,
    }  # fmt: skip


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown, for the terminal and for the README."""
    lines = [
        "| what | ours | plain way | peer | times faster than plain | than the peer | of the limit |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    marks = _marks(rows)
    for line in rows:
        unit = line["unit"]

        def cell(key: str, line=line, unit=unit) -> str:
            if line.get(key) is None:
                return ""
            low, high = line[f"{key}_spread"]
            spread = f" [{_figure(low)}, {_figure(high)}]" if low != high else ""
            who = f"{line['peer_name']} " if key == "peer" else ""
            return f"{who}{_figure(line[key])}{spread} {unit}"

        spread = line["ratio_to_plain_spread"]
        ratio = f"**{line['ratio_to_plain']:.1f}**" if line["ratio_to_plain"] else ""
        ratio += f" [{spread[0]:.1f}, {spread[1]:.1f}]" if spread else ""
        peer = f"**{line['ratio_to_peer']:.1f}**" if line["ratio_to_peer"] else ""
        share = f"{line['share_of_limit']:.1%}" if line["share_of_limit"] else ""
        name = f"{line['name']} {marks[_run(line)] if line['repetitions'] else ''}".strip()
        cells = [name, cell("ours"), cell("plain"), cell("peer"), ratio, peer, share]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _figure(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def conditions(rows: list[dict[str, Any]]) -> str:
    """What holds for the rows of each run, and the notes of single ones, in sentences."""
    sentences = ["Medians, in brackets the smallest and the largest."]
    for run, mark in _marks(rows).items():
        lines = [line for line in rows if line["repetitions"] and _run(line) == run]
        busiest = max(line["load_before"] for line in lines)
        shared = (
            f" Other programs shared the machine (load up to {busiest:.1f} on {lines[0]['cores']} "
            "cores): figures may be too slow, ratios less so."
        )
        sentences.append(f"{mark} {run}".strip() + (shared if busiest > 0.5 else ""))
    sentences += [
        f"{line['name'].split(',')[0]}: {line['note']}." for line in _once(rows) if line["note"]
    ]
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _marks(rows: list[dict[str, Any]]) -> dict[str, str]:
    """A sign for each run, none for the one that most rows are of."""
    runs = Counter(_run(line) for line in rows if line["repetitions"])
    return {run: "†" * number for number, (run, _) in enumerate(runs.most_common())}


def _run(line: dict[str, Any]) -> str:
    """Data, machine, versions and date of a row, as a sentence."""
    versions = ", ".join(f"{name} {version}" for name, version in line["versions"].items())
    return (
        f"{line['data']}; {line['machine']}, PyTorch with {line['threads']} of them and "
        f"{line['instructions']}; {versions}; {line['date']}."
    )


def _once(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without those whose note has been said."""
    return list({line["note"]: line for line in rows}.values())
