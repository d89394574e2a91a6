"""Writes docs/licences.md, the licence of every package in requirements.lock: make licences.

Asks pip for the packages' metadata; nothing is installed. Needs the package index.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements.lock"
PAGE = REPOSITORY / "docs/licences.md"
HEAD = """# Licences of the packages

What `requirements.lock` names, with the licence that each package states in its metadata. Made by
`make licences`; recformer itself is under the [MIT licence](../LICENSE). The `nvidia-*` packages come
with PyTorch on Linux and are used on a GPU only.

| package | version | licence |
| --- | --- | --- |
"""
NOT_STATED = "not stated in its metadata"


def locked(text: str) -> dict[str, list[str]]:
    """Name -> versions: some packages have one for each Python."""
    versions: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", text, re.MULTILINE):
        versions.setdefault(name, []).append(version)
    return versions


def metadata(requirements: str, *options: str) -> dict[str, dict]:
    """What pip would install of these requirements: name -> metadata."""
    with tempfile.TemporaryDirectory() as folder:
        file, report = Path(folder) / "requirements.txt", Path(folder) / "report.json"
        file.write_text(requirements)
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed"]
        command += ["--no-deps", "--quiet", "--report", str(report), *options, "-r", str(file)]
        subprocess.run(command, check=True)
        installs = json.loads(report.read_text())["install"]
    return {normal(one["metadata"]["name"]): one["metadata"] for one in installs}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(about: dict) -> str:
    """The licence expression, else the classifiers, else the first line of the licence field."""
    named = [c.split(" :: ")[-1] for c in about.get("classifier", []) if c.startswith("License ::")]
    text = (about.get("license") or "").strip().splitlines()
    return about.get("license_expression") or "; ".join(named) or (text[0] if text else "")


def page(versions: dict[str, list[str]], about: dict[str, dict]) -> str:
    """The Markdown page."""
    return HEAD + "".join(
        f"| {name} | {', '.join(found)} | {licence(about[name]) or NOT_STATED} |\n"
        for name, found in versions.items()
    )


def main() -> None:
    text = LOCK.read_text()
    versions = locked(text)
    about = metadata(text)
    others = "".join(f"{n}=={v[0]}\n" for n, v in versions.items() if n not in about)
    if others:  # for Windows or macOS only
        elsewhere = ["--platform", "win_amd64", "--only-binary=:all:", "--target", "unused"]
        about |= metadata(others, *elsewhere)
    PAGE.write_text(page(versions, about), encoding="utf-8")
    print(f"{len(versions)} packages in {PAGE.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
