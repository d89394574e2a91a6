"""Everywhere else that the series is read: JupyterLab, a code host, nbviewer, an editor, a feed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.site.conftest import REPOSITORY
from tests.site.test_browser import SCREENSHOTS


@pytest.fixture
def lab(tmp_path):
    """`make lab` in a fresh copy: the copy, and the address that it opens in the reader's browser."""
    copy, home = tmp_path / "copy", tmp_path / "home"
    tracked = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(tracked, cwd=REPOSITORY, check=True, capture_output=True).stdout
    for name in filter(None, names.decode().split("\0")):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((REPOSITORY / name).read_bytes())
    (home / ".jupyter").mkdir(parents=True)
    (home / ".jupyter/jupyter_server_config.json").write_text('{"ServerApp": {"allow_root": true}}')
    browser = home / "browser"
    browser.write_text(f'#!/bin/sh\necho "$1" > {home}/asked\nmv {home}/asked {home}/opened\n')
    browser.chmod(0o755)
    environment = {name: value for name, value in os.environ.items() if "JUPYTER" not in name}
    environment |= {"HOME": str(home), "BROWSER": f"{browser} %s"}
    with (home / "log").open("w") as log:
        server = subprocess.Popen(
            ["make", "-o", "setup", "lab", f"BIN={Path(sys.executable).parent}"],
            cwd=copy, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not (home / "opened").exists():
            assert server.poll() is None, (home / "log").read_text()
            assert time.monotonic() < deadline, (home / "log").read_text()
            time.sleep(0.2)
        page = Path((home / "opened").read_text().strip().removeprefix("file://")).read_text()
        yield copy, re.search(r'url=([^"]+)"', page)[1].replace("&amp;", "&")
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(30)


def test_lab_opens_the_first_notebook_and_leaves_it_as_it_is(chromium, lab):
    copy, address = lab
    before = {path: path.read_bytes() for path in (copy / "notebooks").glob("*.ipynb")}
    with chromium.new_context(viewport={"width": 1440, "height": 900}) as context:
        page = context.new_page()
        page.goto(address)
        tabs = page.locator("#jp-main-dock-panel .lm-TabBar-tab")
        page.get_by_role("heading", name="01 · Exploration").first.wait_for(timeout=60_000)
        page.locator(".jp-Notebook-ExecutionIndicator[data-status=idle]").wait_for(timeout=60_000)
        page.wait_for_timeout(5000)
        assert [tab.inner_text() for tab in tabs.all()] == ["01_exploration.ipynb"]
        assert page.locator(".jp-mod-dirty").count() == 0, "opened, and marked as changed"
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / "lab-01.png")
        links = page.locator(".jp-RenderedMarkdown a")
        links.filter(has_text="Contents").first.click()
        page.locator(".jp-MarkdownViewer h1").first.wait_for()
        assert "README.md" in tabs.last.inner_text()
        page.screenshot(path=SCREENSHOTS / "lab-contents.png")
        tabs.first.click()
        links.filter(has_text="02 · ").first.click()
        page.get_by_role("heading", name="02 · ").first.wait_for()
        assert {path: path.read_bytes() for path in before} == before
        tabs.first.click()
        with page.expect_response(lambda response: response.request.method == "PUT"):
            page.keyboard.press("Control+s")
    for path, content in before.items():  # but for how a browser writes 12.0
        assert json.loads(path.read_bytes()) == json.loads(content)
