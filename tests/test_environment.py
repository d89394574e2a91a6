"""The lists of packages, their locks, environment.yml and what installs them agree with each other."""

import re
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parents[1]
LINES = [
    line
    for file in ("requirements.txt", "requirements-test.txt")
    for line in (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    if line.strip() and not line.startswith("#")
]
REQUIREMENTS = [line.split("#")[0].strip() for line in LINES]
PINS = [  # name, version, whether it is wanted on this platform
    (each.name, next(iter(each.specifier)).version, each.marker is None or each.marker.evaluate())
    for each in map(Requirement, REQUIREMENTS)
]


def test_conda_installs_the_same_files():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))
    assert environment["dependencies"][-1]["pip"] == ["-r requirements.txt", "-e ."]


def test_the_module_asks_for_what_it_imports_in_versions_that_are_tested():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {each.name: each for each in map(Requirement, project["dependencies"])}
    modules = {"yaml": "pyyaml", "PIL": "pillow", "IPython": "ipython"}
    imported = (
        {
            name.split(".")[0]
            for path in (REPOSITORY / "recformer_utils").rglob("*.py")
            for name in re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
        }
        - sys.stdlib_module_names
        - {"recformer_utils"}
    )
    imported = {modules.get(name, name) for name in imported}
    assert imported - {"requests"} == asked.keys() - {"tensorboard"}  # pooch's, torch.utils'
    for name, requirement in asked.items():
        assert requirement.specifier.contains(version(name).split("+")[0])


def test_each_line_is_pinned_and_says_who_needs_it():
    for line in LINES:
        requirement, _, comment = line.partition("#")
        assert [part.operator for part in Requirement(requirement).specifier] == ["=="]
        assert comment.strip()


def test_what_is_installed_is_what_is_pinned():
    for name, pinned, here in PINS:
        if here:
            assert version(name).split("+")[0] == pinned


LISTS = {  # what goes into .venv -> its locks
    "requirements.txt": ["requirements.lock", "requirements-torch.lock"],
    "requirements-test.txt": ["requirements-test.lock"],
    "site/requirements.txt": ["site/requirements.lock"],
}
TOOLS = {"tools/requirements.txt": ["tools/requirements.lock"]}  # an environment of its own


def text_of(files: list[str]) -> str:
    return "".join((REPOSITORY / file).read_text(encoding="utf-8") for file in files)


LOCK = text_of([lock for locks in LISTS.values() for lock in locks])


def locked(text: str) -> dict[str, list[str]]:
    """Name -> versions: some packages have one for each Python."""
    versions: dict[str, list[str]] = {}
    for name, found in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE):
        versions.setdefault(name, []).append(found)
    return versions


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize(("file", "locks"), (LISTS | TOOLS).items(), ids=str)
def test_a_lock_pins_what_its_list_asks_for(file, locks):
    versions = locked(text_of(locks))
    lines = (REPOSITORY / file).read_text(encoding="utf-8").splitlines()
    for line in filter(None, (line.partition("#")[0].strip() for line in lines)):
        asked = Requirement(line)
        assert versions[normal(asked.name)] == [next(iter(asked.specifier)).version], "make lock"


def test_the_locks_of_one_environment_agree():
    for file in (lock for locks in LISTS.values() for lock in locks):
        for name, versions in locked(text_of([file])).items():
            assert set(versions) <= set(locked(LOCK)[name])
            assert len(set(locked(LOCK)[name])) == len(set(versions)), f"{name} in {file}"


def test_pytorch_for_cpus_is_the_version_that_is_pinned():
    (version,) = locked(text_of(["requirements-cpu.lock"]))["torch"]
    assert [version.removesuffix("+cpu")] == locked(LOCK)["torch"]


def test_each_locked_package_has_hashes_and_no_address():
    text = LOCK + text_of(["requirements-cpu.lock", *TOOLS["tools/requirements.txt"]])
    assert "://" not in text
    assert not re.search(r"/(home|root|work|Users|tmp|opt)/", text)
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) == sum(map(len, locked(text).values()))
    for block in blocks:
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", block), block.splitlines()[0]


def test_the_lock_holds_all_that_is_needed_in_versions_that_fit():
    """From requirements.txt along the metadata of what is installed here."""
    versions = locked(LOCK)
    wanted = [
        each for each, (*_, here) in zip(map(Requirement, REQUIREMENTS), PINS, strict=True) if here
    ]
    seen = set()
    while wanted:
        requirement = wanted.pop()
        key = (normal(requirement.name), frozenset(requirement.extras))
        pinned = versions.get(key[0], [])
        assert any(map(requirement.specifier.contains, pinned)), f"{requirement}: run make lock"
        if key in seen:
            continue
        seen.add(key)
        for line in requires(requirement.name) or []:
            needed = Requirement(line)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": e}) for e in extras):
                wanted.append(needed)
    assert len(seen) > 100


@pytest.mark.parametrize("file", ["Makefile", ".github/workflows/ci.yml"])
def test_nothing_is_installed_without_its_hash_but_the_peers_of_the_benchmarks(file):
    text = (REPOSITORY / file).read_text(encoding="utf-8")
    installs = [line for line in text.splitlines() if re.search(r"pip install", line)]
    assert len(installs) >= 2
    for line in installs:
        ours = "--no-deps --no-build-isolation --editable ." in line  # this repository itself
        assert "--require-hashes" in line or ours or "$(@D)" in line, line


def test_the_audit_sees_every_lock():
    audit = (REPOSITORY / "Makefile").read_text(encoding="utf-8").partition("\naudit:")[2]
    for lock in (lock for locks in (LISTS | TOOLS).values() for lock in locks):
        assert lock in audit or ("requirements*.lock" in audit and "/" not in lock)
    for path in REPOSITORY.glob("site/**/package-lock.json"):
        if "node_modules" not in path.parts:
            assert f"--prefix {path.parent.relative_to(REPOSITORY)} " in audit


def test_ci_runs_pinned_actions_that_may_only_read():
    workflow = (REPOSITORY / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (\S+)", workflow)
    assert used
    assert all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action) for action in used)
    assert yaml.safe_load(workflow)["permissions"] == {"contents": "read"}
