"""Every command that a page, a document or a script names is there and starts, from a clean checkout."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import copy_checkout
from tools import notebooks
from tools.common import REPOSITORY

DOCUMENTS = [
    *REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md"), *REPOSITORY.glob("*/README.md"),
    *REPOSITORY.glob("data/sample/README.md"), REPOSITORY / "Makefile",
    *(path for folder in ("tools", "benchmarks") for path in REPOSITORY.glob(f"{folder}/*.py")),
]  # fmt: skip
# As a line of a shell, or as the items of a list.
MODULE = re.compile(r"-m[\s\",']+((?:tools|benchmarks)\.\w+)((?:[ \t]+[^\s`\"]+)*)")
SCRIPT = re.compile(r"python ((?:data|tools|benchmarks|site)/\w+\.py)")
TARGET = re.compile(r"`make ([a-z][a-z-]*)|^make ([a-z][a-z-]*)", re.MULTILINE)
DATA = "data/make_sample.py"


def texts() -> list[str]:
    pages = [
        cell.source
        for path in [*notebooks.series(), *notebooks.NOTEBOOKS.glob("solutions/*.ipynb")]
        for cell in notebooks.read(path).cells
    ]
    return [*pages, *(path.read_text(encoding="utf-8") for path in DOCUMENTS)]


def named() -> dict[str, set[str]]:
    """Module -> the options that are named with it."""
    found: dict[str, set[str]] = {}
    for text in texts():
        for module, rest in MODULE.findall(text):
            found.setdefault(module, set()).update(re.findall(r"--[a-z][a-z-]+", rest))
    return found


NAMED = named()
SCRIPTS = sorted({script for text in texts() for script in SCRIPT.findall(text)})
TARGETS = sorted({one or other for text in texts() for one, other in TARGET.findall(text)})


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    return copy_checkout(tmp_path_factory.mktemp("checkout"), untracked=False)


# In one process, so that PyTorch is imported once.
ASK = """
import contextlib, io, json, runpy, sys
shown = {}
for name in sys.argv[1:]:
    run = runpy.run_path if name.endswith(".py") else runpy.run_module
    sys.argv, ended = [name, "--help"], None
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            run(name, run_name="__main__")
        except BaseException as error:
            ended = repr(error)
    shown[name] = ended, said.getvalue()
print(json.dumps(shown))
"""


@pytest.fixture(scope="module")
def helps(checkout) -> dict[str, str]:
    """What each command says of itself."""
    modules = sorted(NAMED)
    if importlib.util.find_spec("sphinx") is None:  # make site installs what builds the site
        modules = [name for name in modules if name not in ("tools.site", "tools.posts")]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ASK, *modules, *SCRIPTS],
        cwd=checkout, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    shown = json.loads(done.stdout)
    assert {ended for ended, _ in shown.values()} == {"SystemExit(0)"}, shown
    return {name: said for name, (_, said) in shown.items()}


@pytest.mark.parametrize("name", [*sorted(NAMED), *SCRIPTS])
def test_a_command_that_is_named_starts_and_knows_its_options(helps, name):
    if name not in helps:
        pytest.skip("make site installs what builds the site")
    assert "usage: " in helps[name]
    assert not {o for o in NAMED.get(name, set()) - {"--help"} if o not in helps[name]}


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(checkout, target):
    done = subprocess.run(["make", "-n", target], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_are_found():
    assert {"tools.series", "tools.pretrain", "benchmarks.quality"} <= NAMED.keys()
    assert DATA in SCRIPTS
    assert {"run", "test", "data", "lab"} <= set(TARGETS)
