"""What bad inputs and kills were tried and how they ended, as a table (it stands in docs/)."""

from collections import Counter

COLUMNS = ("inputs", "kills", "accepted", "refused", "wrong")
TALLY: dict[str, Counter[str]] = {}


def count(what: str, column: str) -> None:
    TALLY.setdefault(what, Counter())[column] += 1


def table() -> list[str]:
    """Lines of Markdown, the sum last; none where nothing was tried."""
    rows = {**TALLY, "together": sum(TALLY.values(), Counter())} if TALLY else {}
    lines = [f"| tried | {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * len(COLUMNS)]
    for what, counts in rows.items():
        numbers = (f"{counts[column]:,}" for column in COLUMNS)
        lines.append(f"| {what} | {' | '.join(numbers)} |")
    return lines if rows else []
