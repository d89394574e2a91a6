"""The same result everywhere: python tests/everywhere.py [names] (make test-everywhere).

Runs the notebooks part of `make test` in every way that a reader's machine may differ: order, number
of processes and threads, no network, another locale, path, home, Python. Prints one line a pass.
"""

import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
OFFLINE = ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]  # but for itself


def command(root: Path, python: str, jobs: int = 2, seed: int | None = None) -> list[str]:
    """Pytest on all notebooks, shuffled by a seed."""
    folders = (root / "notebooks", root / "notebooks/solutions")
    paths = [str(p.relative_to(root)) for folder in folders for p in sorted(folder.glob("*.ipynb"))]
    if seed is not None:
        random.Random(seed).shuffle(paths)
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=600"]
    return [python, "-m", "pytest", "-q", *options, "-n", str(jobs), "--dist", "loadscope", *paths]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "RECFORMER_DATASET": "sample", "OMP_NUM_THREADS": "1", **more}


@contextmanager
def copy_in(name: str) -> Iterator[Path]:
    """A copy of what git tracks, in a folder of that name."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / name
        listed = subprocess.run(
            ["git", "-C", REPOSITORY, "ls-files", "-z"], capture_output=True, text=True, check=True
        )
        for file in filter(None, listed.stdout.split("\0")):
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / file, root / file)
        yield root


def run(name: str, *starts: subprocess.Popen) -> bool:
    """Waits for one or several runs and prints what they came to."""
    started, good = time.monotonic(), True
    for process in starts:
        output, _ = process.communicate()
        counts = re.findall(r"\d+ (?:passed|failed|error)", output)
        good &= process.returncode == 0
        print(f"{name}: {', '.join(counts)} in {time.monotonic() - started:.0f} s", flush=True)
        if process.returncode:
            print(output[-6000:])
    return good


def start(
    arguments: list[str], root: Path = REPOSITORY, prefix: tuple[str, ...] = (), **more: str
) -> subprocess.Popen:
    pipe = subprocess.PIPE
    env = environment(PYTHONPATH=str(root), **more)
    return subprocess.Popen(
        [*prefix, *arguments], cwd=root, env=env, stdout=pipe, stderr=subprocess.STDOUT, text=True
    )


def passes(python: str, repeats: int, other: str | None) -> dict[str, object]:
    """The ways, by name; each is called and says whether all was well."""
    plain = command(REPOSITORY, python)

    def shuffled() -> bool:
        return all(
            [run(f"order {i}", start(command(REPOSITORY, python, seed=i))) for i in range(repeats)]
        )

    def with_path(name: str) -> bool:
        with copy_in(name) as root:
            return run(f"path {name!r}", start(command(root, python), root))

    ways = {
        "order": shuffled,
        "two": lambda: run("two at a time", start(plain), start(plain)),
        "threads": lambda: run("two threads", start(plain, OMP_NUM_THREADS="2")),
        "one": lambda: run("one process", start(command(REPOSITORY, python, jobs=0))),
        "network": lambda: run("no network", start(plain, prefix=tuple(OFFLINE))),
        "locale": lambda: run("LANG=C", start(plain, LANG="C", LC_ALL="C", PYTHONUTF8="0")),
        "path": lambda: with_path("ein Ordner mit Umlauten äöü"),
        # Not even root can make a folder there.
        "home": lambda: run("no writable home", start(plain, HOME="/proc/nobody")),
    }
    if other:
        version = subprocess.run([other, "-V"], capture_output=True, text=True).stdout.strip()
        ways["python"] = lambda: run(version, start(command(REPOSITORY, other)))
    return ways


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help="some of the ways; all when none is named")
    parser.add_argument("--repeats", type=int, default=10, help="passes in random order")
    parser.add_argument("--python", help="another Python with the packages installed")
    arguments = parser.parse_args()
    ways = passes(sys.executable, arguments.repeats, arguments.python)
    if unknown := set(arguments.names) - ways.keys():
        parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(ways)}")
    results = {name: ways[name]() for name in arguments.names or ways}
    failed = [name for name, good in results.items() if not good]
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
