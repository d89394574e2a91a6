"""What several folders of tests open: a browser of this machine, or loud words that there is none."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tools.common import REPOSITORY

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
NOT_TESTED = "NOT TESTED: "


def left_out(why: str) -> None:
    """A tool is not there: on a reader's machine its tests are skipped, in CI that is a failure."""
    (pytest.fail if os.environ.get("CI") else pytest.skip)(NOT_TESTED + why)


def copy_checkout(folder: Path, untracked: bool = True) -> Path:
    """Copies what git tracks, and what it would track, into a folder of its own; returns it."""
    command = ["git", "ls-files", "-z", "--cached"]
    command += ["--others", "--exclude-standard"] if untracked else []
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def chromium():
    """Chromium without a window: the system's, else what `playwright install chromium` fetched."""
    try:
        from playwright import sync_api
    except ImportError:
        left_out("playwright is not installed (make test-site installs it)")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_api.sync_playwright() as playwright:
        try:
            found = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error:
            left_out(f"no browser here (apt install chromium); looked for {', '.join(BROWSERS)}")
        yield found
        found.close()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What was skipped for want of a tool stands at the end, where it is not overlooked."""
    skipped = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    for why in {text[text.index(NOT_TESTED) :] for text in skipped if NOT_TESTED in text}:
        number = sum(why in text for text in skipped)
        terminalreporter.write_sep("!", f"{number} tests", red=True, bold=True)
        terminalreporter.write_line(why.rstrip("')"), red=True, bold=True)
