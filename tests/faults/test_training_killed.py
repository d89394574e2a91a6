"""A training that is killed, wherever that is, and started again ends as if nothing had been."""

import json
import signal
from pathlib import Path

import pytest
import torch
from tbparse import SummaryReader

from recformer_utils.runs.checkpoints import load_checkpoint
from tests.faults import jobs
from tests.faults.harness import LONG, operations, run

MOMENTS = 60 if LONG else 12


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


# The second has all that a checkpoint can hold: a schedule, moments, an average of the weights.
SETTINGS = [
    {},
    {"schedule": "one-cycle", "average_decay": 0.9, "weight_decay": 0.1, "max_gradient_norm": 0.5},
]


@pytest.fixture(scope="module", params=SETTINGS, ids=["plain", "all settings"])
def whole(request, tmp_path_factory):
    """Settings, and where a run that nobody killed leaves its files."""
    return request.param, tmp_path_factory.mktemp("whole")


@pytest.fixture
def undisturbed(whole, config_for):
    """What such a run leaves, its file operations, and its settings."""
    settings, place = whole
    folder, logs = place / "model", place / "logs"
    if not folder.exists():
        ended = run(jobs.train, config_for(folder, **settings), folder=folder, logs=logs)
        assert ended.code == 0, ended.output
    return left_behind(folder), operations(logs), settings


def test_a_kill_before_any_file_operation_changes_nothing(undisturbed, config_for, tmp_path):
    expected, steps, settings = undisturbed
    assert {step.split()[0] for step in steps} >= {"open", "fsync", "os.rename", "os.chmod"}
    assert any("events.out.tfevents" in step for step in steps)
    for number in range(1, len(steps) + 1, 1 if LONG else 2):
        folder, logs = tmp_path / f"{number}", tmp_path / f"logs{number}"
        killed = run(
            jobs.train, config_for(folder, **settings), folder=folder, logs=logs, kill_at=number
        )
        assert killed.code == -signal.SIGKILL, killed.output
        ended = run(jobs.train, config_for(folder, **settings), folder=folder, logs=logs)
        assert ended.code == 0, f"after a kill before {steps[number - 1]}: {ended.output}"
        assert same(left_behind(folder), expected), f"after a kill before {steps[number - 1]}"


def test_kill_after_kill_the_run_comes_to_its_end(undisturbed, config_for, tmp_path):
    """Killed at moments of the clock, again and again in the same folder, each a bit later."""
    expected, _, settings = undisturbed
    folder, logs = tmp_path / "model", tmp_path / "logs"
    kills = 0
    for moment in range(MOMENTS):
        seconds = 0.05 + 0.04 * moment
        killed = run(
            jobs.train, config_for(folder, **settings), folder=folder, logs=logs, seconds=seconds
        )
        kills += killed.code == -signal.SIGKILL
    assert kills >= 3
    ended = run(jobs.train, config_for(folder, **settings), folder=folder, logs=logs)
    assert ended.code == 0, ended.output
    assert same(left_behind(folder), expected)
