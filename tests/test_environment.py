"""requirements.txt and environment.yml hold the same set, and every line says what it is for."""

from importlib.metadata import version
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
LINES = [
    line
    for line in (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
REQUIREMENTS = [line.split("#")[0].strip() for line in LINES]


def test_conda_has_the_same_set():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))
    assert environment["dependencies"][-1]["pip"] == REQUIREMENTS


def test_each_line_is_pinned_and_says_who_needs_it():
    for line in LINES:
        requirement, _, comment = line.partition("#")
        assert requirement.count("==") == 1
        assert comment.strip()


def test_what_is_installed_is_what_is_pinned():
    for requirement in REQUIREMENTS:
        name, pinned = requirement.split("==")
        assert version(name).split("+")[0] == pinned
