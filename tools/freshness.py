"""Whether a notebook's stored outputs still belong to everything that they were made of."""

import ast
import hashlib
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

import nbformat

from tools.common import REPOSITORY

OURS = ("recformer_utils", "tools", "benchmarks")
STORED = ("data/pretrained", "notebooks/configs", "benchmarks")  # what notebooks read beside data
VERSIONS = ("torch", "numpy", "pandas")


def code_hash(notebook: nbformat.NotebookNode) -> str:
    """A hash of everything that the outputs depend on.

    The code cells; the files of the module that they import, and what those import; the stored
    configurations, weights and results that they name; the versions of PyTorch, NumPy and pandas.
    Docstrings, comments and prose do not count.
    """
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    parts = [statements(source) for source in sources]
    parts += [statements(path.read_text(encoding="utf-8")) for path in reached(sources)]
    parts += [hashlib.sha256(path.read_bytes()).hexdigest() for path in stored(sources)]
    parts += [f"{name} {version(name).split('+')[0]}" for name in VERSIONS]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def reached(sources: list[str]) -> list[Path]:
    """The files of ours that code names (imports, ``-m tools.…``), and those that they import."""
    found, waiting = set(), {path for source in sources for path in _named(source)}
    while waiting:
        path = waiting.pop()
        found.add(path)
        waiting |= _named(path.read_text(encoding="utf-8")) - found
    return sorted(found)


def _named(source: str) -> set[Path]:
    paths = set()
    for parts in (name.split(".") for name in _modules(source)):
        for end in range(1, len(parts) + 1):
            place = REPOSITORY.joinpath(*parts[:end])
            paths |= {place.with_suffix(".py"), place / "__init__.py"}
    return {path for path in paths if path.is_file()}


@cache
def _modules(source: str) -> frozenset[str]:
    names = set()
    for node in ast.walk(ast.parse(plain(source))):
        if isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant):  # what a subprocess runs: python -m tools.pretrain
            names.add(str(node.value))
    return frozenset(name for name in names if name and name.startswith(OURS))


def stored(sources: list[str]) -> list[Path]:
    """The stored files that code names in a string, by their name or the beginning of their path."""
    names = {
        node.value
        for source in sources
        for node in ast.walk(ast.parse(plain(source)))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) > 6
    }
    notebooks = REPOSITORY / "notebooks"
    files = [path for folder in STORED for path in (REPOSITORY / folder).rglob("*.*")]
    kept = [
        path for path in files
        if path.suffix in (".json", ".jsonl", ".csv", ".yaml", ".pth", ".npz")
        and not {"sample", ".peers"} & set(path.parts)
    ]  # fmt: skip
    by_name = {path for path in kept for name in names if Path(name).name == path.name}
    by_start = {
        path for path in kept for name in names
        if path.is_relative_to(notebooks)
        and path.relative_to(notebooks).as_posix().startswith(name)
    }  # fmt: skip
    return sorted(by_name | by_start)


def plain(source: str) -> str:
    """A cell in which the lines that are for IPython only do nothing."""
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", source, flags=re.MULTILINE)


@cache
def statements(source: str) -> str:
    """What code does: without docstrings and comments, in one layout."""
    tree = ast.parse(plain(source))
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)
