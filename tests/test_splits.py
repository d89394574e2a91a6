"""The stored experiment of notebook 08, section 7: its command, and that it gives what is stored."""

import json

import pytest

from benchmarks import splits

STORED = [json.loads(line) for line in splits.STORED.read_text().splitlines()]
KEY = ("data", "split", "seed", "model", "neighbours")


@pytest.fixture(scope="module")
def again(tmp_path_factory):
    """One seed on the sample, by the command that the notebook names."""
    path = tmp_path_factory.mktemp("splits") / "splits.jsonl"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(splits, "STORED", path)
        patch.setattr("sys.argv", ["splits", "--data", "sample", "--seeds", "1"])
        splits.main()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_the_command_gives_what_is_stored(again):
    stored = {tuple(row[key] for key in KEY): row for row in STORED}
    for row in again:
        before = stored[tuple(row[key] for key in KEY)]
        # Looking up neighbours is exact; a training differs a little between kinds of processors.
        band = 0.03 if row["model"] == "network" else 0
        for value in ("promised", "delivered"):
            assert row[value] == pytest.approx(before[value], abs=band)


def test_three_seeds_of_each_split_are_stored_with_intervals():
    for data in ("sample", "ml-1m"):
        runs = [row for row in STORED if row["data"] == data and row["model"] == "network"]
        assert sorted({row["seed"] for row in runs}) == [0, 1, 2]
        assert len(runs) == 9
    for row in STORED:
        for value in ("promised", "delivered"):
            assert row[f"{value} from"] <= row[value] <= row[f"{value} to"]
