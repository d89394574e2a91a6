"""A training that is killed, wherever that is, and started again ends as if nothing had been."""

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from tbparse import SummaryReader

from recformer_utils.runs.checkpoints import load_checkpoint
from tests.faults import jobs
from tests.faults.harness import LONG, operations, run


def left_behind(folder: Path) -> dict:
    """All that a run leaves, without its clock: names, weights, losses, states, curves, record."""
    state = load_checkpoint(folder / "checkpoint.pth")
    for row in state["history"]:
        row.pop("seconds")
    scalars = SummaryReader(str(folder / "tensorboard")).scalars
    # A kill within a flush leaves a row that the run writes again: TensorBoard shows the later.
    scalars = scalars.drop_duplicates(["step", "tag"], keep="last")
    return {
        "names": sorted(path.name for path in folder.iterdir()),
        "weights": load_checkpoint(folder / "model.pth"),
        "state": state,
        "scalars": sorted(map(tuple, scalars[["tag", "step", "value"]].to_numpy().tolist())),
        "record": json.loads((folder / "run.json").read_text()),
    }


def same(one, two) -> bool:
    """Equal to the last bit, tensors included."""
    if isinstance(one, torch.Tensor):
        return one.dtype == two.dtype and torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


# All that a checkpoint can hold.
SETTINGS = {"schedule": "one-cycle", "weight_decay": 0.1, "max_gradient_norm": 0.5}


def test_a_kill_before_any_file_operation_changes_nothing(config_for, tmp_path):
    def train(name, **options):
        folder, logs = tmp_path / name, tmp_path / f"{name} logs"
        config = config_for(folder, **SETTINGS)
        return run(jobs.train, config, folder=folder, logs=logs, **options)

    assert train("whole").code == 0
    expected, steps = left_behind(tmp_path / "whole"), operations(tmp_path / "whole logs")
    assert {step.split()[0] for step in steps} >= {"open", "fsync", "os.rename", "os.chmod"}
    for number in range(1, len(steps) + 1, 1 if LONG else 3):
        killed = train(str(number), kill_at=number)
        assert killed.code == -signal.SIGKILL, killed.output
        ended = train(str(number))
        assert ended.code == 0, f"after a kill before {steps[number - 1]}: {ended.output}"
        found = left_behind(tmp_path / str(number))
        assert same(found, expected), f"after a kill before {steps[number - 1]}"


@pytest.mark.parametrize("changed", ["settings", "data"])
def test_a_fresh_start_is_killed_and_ends_as_the_run_that_was_asked_for(
    config_for, forty_users, tmp_path, changed
):
    """Over a finished run of other settings or data, of which nothing may be left in it."""
    fewer = tmp_path / "fewer"
    shutil.copytree(forty_users, fewer)
    lines = (fewer / "ratings.dat").read_text().splitlines()
    (fewer / "ratings.dat").write_text("\n".join(lines[:-40]) + "\n")
    asked = {"seed": 5} if changed == "settings" else {"data_dir": str(fewer)}

    def train(name, resume, kill_at=None, **settings):
        folder, logs = tmp_path / name, tmp_path / f"{name} logs"
        config = config_for(folder, resume=resume, **settings)
        return run(jobs.train, config, folder=folder, logs=logs, kill_at=kill_at)

    def kept(name):
        found = left_behind(tmp_path / name)
        return {key: found[key] for key in ("names", "weights", "state", "record")}

    assert train("earlier", True).code == 0
    assert train("alone", False, **asked).code == 0
    expected, steps = kept("alone"), operations(tmp_path / "alone logs")
    for number in range(1, len(steps) + 1, 2 if LONG else 9):
        shutil.copytree(tmp_path / "earlier", tmp_path / str(number))
        killed = train(str(number), False, number, **asked)
        assert killed.code == -signal.SIGKILL, killed.output
        again = train(str(number), True, **asked)
        if "belongs to a run with another" in again.output:  # the earlier one stands untouched
            assert "epoch" not in killed.output
            assert same(kept(str(number)), kept("earlier"))
            again = train(str(number), False, **asked)
        assert again.code == 0, f"after a kill before {steps[number - 1]}: {again.output}"
        assert same(kept(str(number)), expected), f"after a kill before {steps[number - 1]}"
