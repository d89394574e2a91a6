"""`make run` and `make publish`, killed anywhere: only whole files, and the next run completes them."""

import re
import shutil
import signal
import time
from pathlib import Path

import nbformat
import pytest

from tests.faults import jobs
from tests.faults.harness import LONG, operations, run, started
from tools.series import COLAB

REPOSITORY = Path(__file__).resolve().parents[2]
PICTURE = """
import numpy as np, matplotlib.pyplot as plt
plt.imshow(np.arange(12).reshape(3, 4)); plt.show()
"""
README = "# A\n<!-- series -->\n<!-- /series -->\n<!-- results -->\n<!-- /results -->\n"


def notebook() -> nbformat.NotebookNode:
    new = nbformat.v4
    head = "# 01 · A small one\n\nIt counts to three.\n\n<!-- navigation -->"
    head += "\n[Contents](../README.md#the-series) | [Glossary](../docs/glossary.md)"
    head += f" | [Open in Colab]({COLAB}01_small.ipynb)\n<!-- /navigation -->"
    return new.new_notebook(
        cells=[
            new.new_markdown_cell(head),
            new.new_code_cell("print(1 + 2)", metadata={"tags": ["finding"]}),
            new.new_code_cell(PICTURE, metadata={"alt": "Twelve squares, from dark to light."}),
            new.new_code_cell("from recformer_utils.movielens import load_movielens\n"
                              "print(load_movielens('sample'))"),
        ]
    )  # fmt: skip


@pytest.fixture
def repository(tmp_path):
    """A function that makes a small repository with one notebook and its solutions."""

    def make(name: str) -> Path:
        root = tmp_path / name
        for folder in ("recformer_utils", "tools", "data/sample", "site/static"):
            shutil.copytree(
                REPOSITORY / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__")
            )
        (root / "notebooks/solutions").mkdir(parents=True)
        for folder in ("notebooks", "notebooks/solutions"):
            one = notebook()
            for number, cell in enumerate(one.cells):
                cell["id"] = f"cell-{number}"
            nbformat.write(one, root / folder / "01_small.ipynb")
        (root / "README.md").write_text(README)
        return root

    return make


def files(root: Path) -> dict[str, object]:
    """What the commands write, without the time and the memory that a run took."""
    found = {}
    for path in sorted([*root.glob("notebooks/**/*"), *root.glob("build/*"), root / "README.md"]):
        if path.is_file() and path.name != ".lock":
            text = path.read_text()
            if path.suffix == ".ipynb":
                one = nbformat.reads(text, as_version=4)  # also says that the file is whole
                nbformat.validate(one)
                for key in ("wall_seconds", "peak_mib"):
                    one.metadata.get("recformer", {}).pop(key, None)
                text = nbformat.writes(one)
            text = re.sub(r"\d+ s, [\d.]+ GiB", "", text)
            # nbconvert draws new names for the parts of a page each time.
            text = re.sub(
                r'id="?[0-9a-f-]{8,}"?|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}', "", text
            )
            found[str(path.relative_to(root))] = text
    return found


@pytest.mark.parametrize("command", ["run", "publish"])
def test_a_kill_before_any_file_operation_leaves_whole_files(repository, tmp_path, command):
    def job(root: Path, **options):
        logs = tmp_path / f"{root.name} logs"
        return run(jobs.run_series, root, command, folder=root, logs=logs, **options)

    whole = repository("whole")
    before = files(whole)
    ended = job(whole)
    assert ended.code == 0, ended.output
    after = files(whole)
    steps = operations(tmp_path / "whole logs")
    changed = [name for name in after if after[name] != before.get(name)]
    assert len(changed) >= 3
    assert not [name for name in after if ".part" in name]
    for number in range(1, len(steps) + 1, 2) if LONG else [len(steps) // 2]:
        root = repository(f"{number}")
        killed = job(root, kill_at=number)
        assert killed.code == -signal.SIGKILL, killed.output
        for name, content in files(root).items():
            if not name.endswith(".part"):
                assert content in (before.get(name), after[name]), (name, steps[number - 1])
        ended = job(root)
        assert ended.code == 0, f"after a kill before {steps[number - 1]}: {ended.output}"
        assert files(root) == after, f"after a kill before {steps[number - 1]}"


def test_killed_while_a_cell_runs_the_kernel_ends_too(repository, tmp_path):
    root = repository("one")
    path = root / "notebooks/01_small.ipynb"
    one = nbformat.read(path, as_version=4)
    mark = tmp_path / "running"
    one.cells[
        1
    ].source = f"import os, time\nopen({str(mark)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)"
    nbformat.write(one, path)
    before = path.read_bytes()
    with started(jobs.run_series, root, "publish", folder=root, logs=tmp_path / "logs") as job:
        deadline = time.monotonic() + 60
        while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
            time.sleep(0.02)
        second = run(jobs.run_series, root, "publish", folder=root, logs=tmp_path / "second")
        assert second.code == 1
        assert "make publish or another command on notebooks is already running" in second.output
        job.kill()
    kernel = Path("/proc") / mark.read_text()
    deadline = time.monotonic() + 30
    while kernel.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not kernel.exists()
    assert path.read_bytes() == before
