"""Without a browser, or Jekyll, nobody takes the tests that need them for passed."""

import os
import subprocess
import sys

import pytest

from tests.site.conftest import REPOSITORY

ASKING = (
    "tests/site/test_browser.py::test_the_book_is_offered_and_whole",
    "tests/site/test_posts.py::test_tables_are_tables",
)


@pytest.mark.parametrize("ci", [True, False])
def test_what_is_not_there_is_said_and_fails_in_ci(tmp_path, ci):
    environment = {
        **{
            name: value
            for name, value in os.environ.items()
            if name not in ("CI", "PYTEST_ADDOPTS")
        },
        "PATH": str(tmp_path),  # no program at all
        "PLAYWRIGHT_BROWSERS_PATH": str(tmp_path),
        **({"CI": "true"} if ci else {}),
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *ASKING]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=240
    )
    *lines, closing = done.stdout.rstrip().splitlines()
    assert done.returncode == (1 if ci else 0), done.stdout + done.stderr
    assert f"{len(ASKING)} {'errors' if ci else 'skipped'} in" in closing
    if not ci:
        said = [line for line in lines[-4:] if line.startswith("NOT TESTED: ")]
        assert any("no browser here" in line for line in said), said
        assert any("no Jekyll here" in line for line in said), said
