"""`make lock`: the hashes of all packages, for every platform, in a lock beside each requirements.txt.

All of them go into one .venv, so they are resolved together and then written apart. PyTorch and its
GPU libraries have a lock of their own, so that a build for CPUs can take their place.
"""

import argparse
import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")
TOGETHER = (
    "requirements.txt", "requirements-test.txt", "site/requirements.txt",
)  # fmt: skip
TOOLS = "tools/requirements.txt"  # in an environment of their own
OF_TORCH = re.compile(r"(torch|triton|nvidia-[\w-]+|cuda-[\w-]+)==")


def compiled(*options: str) -> None:
    """One call of uv; a version that the output names already stays, where it fits."""
    command = [
        UV, "pip", "compile", "--quiet", "--universal", "--python-version", "3.11",
        "--no-emit-index-url", "--custom-compile-command", "make lock", *options,
    ]  # fmt: skip
    subprocess.run(command, check=True, cwd=REPOSITORY)


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    scratch = REPOSITORY / "build/supply"
    together = scratch / "together.txt"
    earlier = [REPOSITORY / file.replace(".txt", ".lock") for file in TOGETHER]
    earlier.append(REPOSITORY / "requirements-torch.lock")
    together.write_text("".join(path.read_text() for path in earlier if path.exists()))
    compiled(*TOGETHER, "--output-file", str(together.relative_to(REPOSITORY)))
    for file in (*TOGETHER, TOOLS):
        constraint = () if file == TOOLS else ("--constraint", "build/supply/together.txt")
        output = file.replace(".txt", ".lock")
        compiled(file, *constraint, "--generate-hashes", "--no-annotate", "--output-file", output)
    split(REPOSITORY / "requirements.lock", REPOSITORY / "requirements-torch.lock")


def split(lock: Path, of_torch: Path) -> None:
    """Moves PyTorch and what only it needs out of a lock."""
    head, *blocks = re.split(r"^(?=[a-z0-9])", lock.read_text(), flags=re.MULTILINE)
    moved = [block for block in blocks if OF_TORCH.match(block)]
    lock.write_text(head + "".join(block for block in blocks if block not in moved))
    of_torch.write_text(head + "".join(moved))


if __name__ == "__main__":
    main()
