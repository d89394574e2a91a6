"""The page is the program: what the ten files define stands in one notebook, word for word.

So does what `benchmarks/hstu.py` defines, which notebook 14 builds and trains.
"""

import ast
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import nbformat
import pytest

from tools.freshness import plain

REPOSITORY = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("[0-9][0-9]_*.ipynb"))
FILES = (
    "movielens", "tokens", "sequences", "transformer", "movielens_transformer", "losses",
    "evaluation", "baselines", "training", "sequence_model",
)  # fmt: skip
BEHIND = ("formats", "runs", "posters")
BESIDE = ("benchmarks/hstu",)  # what a page builds and the series does not go on with

# Public names that no notebook prints, and why.
NOT_PRINTED: dict[str, str] = {
    "load_movielens": "finds and reads the files; 01 prints what it returns",
    "find_movies": "a title search, which holds no idea of the series",
    "plain_title": "the title search's helper, see find_movies",
    "sequence_task": "hands the model to the loop of 06; no idea of its own",
    "train_sequence_model": "hands the model to the loop of 06; no idea of its own",
}

Definition = ast.ClassDef | ast.FunctionDef


class _Bare(ast.NodeTransformer):
    """Takes docstrings and annotations out of a definition; keeps the fields of a dataclass."""

    def visit(self, node: ast.AST) -> ast.AST:
        self.generic_visit(node)
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            if ast.get_docstring(node, clean=False) is not None:
                node.body = node.body[1:] or [ast.Pass()]
            if isinstance(node, ast.FunctionDef):
                node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
        return node


def bare(node: Definition) -> str:
    """The statements of a definition, without docstrings and annotations."""
    return ast.dump(_Bare().visit(ast.parse(ast.unparse(node)).body[0]))


def definitions(source: str) -> Iterator[Definition]:
    """The public classes and functions at the top level of a source."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node


@cache
def module() -> dict[str, tuple[str, str]]:
    """Public name -> the file it stands in, and its statements."""
    found = {}
    for file in (*(f"recformer_utils/{name}" for name in FILES), *BESIDE):
        source = (REPOSITORY / f"{file}.py").read_text(encoding="utf-8")
        for node in definitions(source):
            assert node.name not in found, f"{node.name} stands in two files"
            found[node.name] = (file, bare(node))
    return found


@cache
def code_cells(path: Path) -> tuple[nbformat.NotebookNode, ...]:
    cells = nbformat.read(path, as_version=4).cells
    return tuple(cell for cell in cells if cell.cell_type == "code" and cell.source.strip())


@cache
def printed() -> dict[str, list[tuple[str, str]]]:
    """Name -> where it is defined on a page, and the statements there."""
    found: dict[str, list[tuple[str, str]]] = {}
    for path in NOTEBOOKS:
        for cell in code_cells(path):
            for node in definitions(plain(cell.source)):
                found.setdefault(node.name, []).append((path.name, bare(node)))
    return found


@pytest.mark.parametrize("name", module())
def test_what_the_module_defines_stands_on_one_page_word_for_word(name):
    file, statements = module()[name]
    same = [page for page, there in printed().get(name, []) if there == statements]
    other = [page for page, there in printed().get(name, []) if there != statements]
    if name in NOT_PRINTED:
        assert not same, f"{name} is printed in {same}: take it off the list of exceptions"
        return
    assert len(same) == 1, f"{file}.{name} is printed word for word in {same or 'no notebook'}" + (
        f"; with other statements in {other}" if other else ""
    )
    assert not other, f"{file}.{name} also stands, with other statements, in {other}"


@pytest.mark.parametrize("name", NOT_PRINTED)
def test_an_exception_names_something_and_gives_a_reason(name):
    assert name in module()
    assert len(NOT_PRINTED[name].split()) >= 4


# ---------------------------------------------------------------- the house


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Modules of ours that a file imports anywhere in it, and the names it takes from them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("recformer_utils"):
            for alias in node.names:
                yield node.module.removeprefix("recformer_utils").lstrip("."), alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("recformer_utils."):
                    yield alias.name.removeprefix("recformer_utils."), ""


MODULE_FILES = sorted((REPOSITORY / "recformer_utils").rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(REPOSITORY / "recformer_utils").with_suffix("").as_posix()


@pytest.mark.parametrize("path", MODULE_FILES, ids=name_of)
def test_data_flow_down_the_list_and_nothing_private_crosses_a_file(path):
    own = name_of(path).split("/")[0]
    for module_name, name in imports(path):
        assert not name.startswith("_"), f"{path.name} imports the private {module_name}.{name}"
        top = module_name.split(".")[0] or name
        if own in FILES and top in FILES:
            assert FILES.index(top) < FILES.index(own), f"{own} imports {top}, which is below it"
        if own in ("formats", "runs", "posters"):
            assert top not in FILES, f"{own} is behind the ten files and imports {top}"


def lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def test_the_module_is_small():
    ten = {file: lines(REPOSITORY / f"recformer_utils/{file}.py") for file in FILES}
    assert {name.split("/")[0] for name in map(name_of, MODULE_FILES)} <= {
        *FILES, *BEHIND, "__init__",
    }  # fmt: skip
    assert not {file: count for file, count in ten.items() if count > 300}
    assert sum(ten.values()) <= 2_400, ten
    assert sum(map(lines, MODULE_FILES)) <= 4_000


@pytest.mark.parametrize("path", MODULE_FILES, ids=name_of)
def test_no_function_is_longer_than_forty_lines_without_its_docstring(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            first = node.body[0]
            docstring = ast.get_docstring(node, clean=False) is not None
            length = node.end_lineno - node.lineno + 1
            length -= (first.end_lineno - first.lineno + 1) if docstring else 0
            assert length <= 40, f"{node.name} has {length} lines"


def test_no_file_changes_the_path_of_imports():
    for folder in ("recformer_utils", "tools", "benchmarks", "site", "data"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            if "node_modules" not in path.parts and ".peers" not in path.parts:
                assert "sys.path" not in path.read_text(encoding="utf-8"), path


# ---------------------------------------------------------------- small steps


def code_lines(source: str) -> int:
    """Lines of code: neither blank nor a comment; an import is one, however it is wrapped."""
    count = sum(
        1 for line in source.splitlines() if line.strip() and not line.strip().startswith("#")
    )
    for node in ast.parse(plain(source)).body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            count -= node.end_lineno - node.lineno
    return count


def defines(cell: nbformat.NotebookNode) -> bool:
    """Whether a cell prints something of the module."""
    return any(node.name in module() for node in definitions(plain(cell.source)))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_page_goes_in_small_steps(path):
    """Folded cells (hide-input) draw; they may have 25 lines and count for nothing else."""
    cells = code_cells(path)
    for cell in cells:
        most = 45 if defines(cell) else 25
        assert code_lines(cell.source) <= most, cell.source
    shown = [c for c in cells if "hide-input" not in c.metadata.get("tags", [])]
    lengths = [code_lines(cell.source) for cell in shown]
    assert statistics.median(lengths) <= 7
    assert sum(lengths) <= 450
