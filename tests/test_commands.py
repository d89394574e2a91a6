"""Every command that a page, a document or a script names is there and starts, from a clean checkout."""

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
    return copy_checkout(tmp_path_factory.mktemp("checkout"))


def help_of(arguments: list[str], root: Path) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, *arguments, "--help"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "usage: " in done.stdout
    return done.stdout


@pytest.mark.parametrize("module", sorted(NAMED))
def test_a_module_that_is_named_starts_and_knows_its_options(checkout, module):
    if module in ("tools.site", "tools.posts"):
        pytest.importorskip("sphinx", reason="make site installs what builds the site")
    shown = help_of(["-m", module], checkout)
    assert not {option for option in NAMED[module] - {"--help"} if option not in shown}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_is_named_starts(checkout, script):
    help_of([script], checkout)


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target(checkout, target):
    done = subprocess.run(["make", "-n", target], cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_are_found():
    assert {"tools.series", "tools.pretrain", "benchmarks.quality"} <= NAMED.keys()
    assert DATA in SCRIPTS
    assert {"run", "test", "data", "lab"} <= set(TARGETS)
