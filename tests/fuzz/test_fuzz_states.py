"""Training states with anything in them: refused, or loaded and good for a step."""

import copy
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from recformer_utils.runs import CheckpointError, RunFolder, TrainerConfig
from recformer_utils.runs.checkpoints import load_checkpoint, save_atomically
from tests.fuzz.bounds import bounded, memory

ROW = {"epoch": 1, "learning_rate": 0.01, "train_loss": 1.0, "seconds": 0.1, "validation_loss": 1.0,
       "HR@10": 0.1, "NDCG@10": 0.1}  # fmt: skip
sizes = st.lists(st.integers(0, 70), max_size=3)
kinds = st.sampled_from([torch.float32, torch.float64, torch.int64, torch.bool, torch.bfloat16])
tensors = st.builds(lambda size, kind: torch.ones(size).to(kind), sizes, kinds)
values = st.one_of(
    tensors, tensors.map(lambda x: x * torch.nan), st.none(), st.booleans(), st.integers(),
    st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.just("gone"),
)  # fmt: skip


def parts(rows: int = 40):
    """A model, its optimizer after a step, and its schedule."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(rows, 16), nn.Linear(16, 3))
    optimizer = torch.optim.AdamW(model.parameters(), 0.01, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.9**step)
    step(model, optimizer)
    scheduler.step()
    return model, optimizer, scheduler


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.tensor([3, 5])).sum().backward()
    optimizer.step()


def folder_of(path: Path, rows: int = 40) -> RunFolder:
    trainer = TrainerConfig(
        model_dir=str(path), tensorboard_dir=str(path), batch_size=1, starting_learning_rate=0.01,
        num_epochs=3,
    )  # fmt: skip
    return RunFolder(trainer, {"model": "tiny"}, *parts(rows))


def places(value, path=()):
    """The way to every entry of nested dicts and lists."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in inside:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def state_of(run: RunFolder) -> dict:
    state = {name: part.state_dict() for name, part in run.parts.items()}
    return state | {"config": run.identity, "history": [ROW]}


with tempfile.TemporaryDirectory() as _folder:
    STATE = state_of(folder_of(Path(_folder)))
PLACES = list(places(STATE))
MOMENTS = [place for place in PLACES if place[-1] in ("exp_avg", "exp_avg_sq", "step")]


def changed(changes) -> dict:
    state = copy.deepcopy(STATE)
    for (*outer, last), value in changes:
        part = state
        for key in outer:
            part = part[key] if isinstance(part, dict | list) and key in keys(part) else {}
        if not isinstance(part, dict | list) or last not in keys(part):
            continue  # an earlier change took it away
        if isinstance(value, str) and value == "gone":
            del part[last]
        else:
            part[last] = value
    return state


def keys(part):
    return part.keys() if isinstance(part, dict) else range(len(part))


def resumed(state: dict) -> None:
    with bounded("training state") as tried, tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        save_atomically(state, path / "checkpoint.pth")
        run = folder_of(path)
        before = copy.deepcopy(run.parts["model"].state_dict())
        try:
            with run:
                for _ in range(2):
                    step(run.parts["model"], run.parts["optimizer"])
                    run.parts["scheduler"].step()
        except CheckpointError as error:
            tried.refused = True
            assert "checkpoint.pth: " in str(error)
            after = run.parts["model"].state_dict()
            assert all(torch.equal(before[name], after[name]) for name in before)
        else:
            assert run.history == state["history"]


@given(st.lists(st.tuples(st.sampled_from(PLACES), values), min_size=1, max_size=3))
def test_a_changed_state_is_refused_whole_or_good_for_a_step(changes):
    resumed(changed(changes))


@given(st.lists(st.tuples(st.sampled_from(MOMENTS), tensors), min_size=1, max_size=2))
def test_moments_of_any_shape_never_reach_a_step(changes):
    resumed(changed(changes))


def test_the_state_as_it_is_goes_on():
    resumed(changed([]))


def test_a_run_goes_on_with_twice_the_memory_of_its_file_and_short_of_it_says_so(tmp_path):
    rows = 2**20  # 192 MiB in the file, blocks too large for the heap
    save_atomically(state_of(folder_of(tmp_path, rows)), tmp_path / "checkpoint.pth")
    size = (tmp_path / "checkpoint.pth").stat().st_size
    run = folder_of(tmp_path, rows)
    with memory(2 * size), run:
        assert run.history == [ROW]
    with memory(size // 2), pytest.raises(MemoryError, match=r"checkpoint.pth: .*memory"):
        load_checkpoint(tmp_path / "checkpoint.pth")
