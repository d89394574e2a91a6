"""A training that is killed, wherever that is, and started again ends as if nothing had been."""

import json
import signal
from pathlib import Path

import torch
from tbparse import SummaryReader

from recformer_utils.runs.checkpoints import load_checkpoint
from tests.faults import jobs
from tests.faults.harness import operations, run


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
    for number in range(1, len(steps) + 1, 3):
        killed = train(str(number), kill_at=number)
        assert killed.code == -signal.SIGKILL, killed.output
        ended = train(str(number))
        assert ended.code == 0, f"after a kill before {steps[number - 1]}: {ended.output}"
        found = left_behind(tmp_path / str(number))
        assert same(found, expected), f"after a kill before {steps[number - 1]}"
