"""`make site`, killed at moments of the clock: what is shown is whole, and the next one completes."""

import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import copy_checkout
from tests.tally import count

KILLS = 30 if os.environ.get("RECFORMER_FAULTS") == "long" else 1
# When a page was made, and Sphinx's environment for the next build.
VOLATILE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?|\?v=[0-9a-f]+")


def digests(html: Path) -> dict[str, str]:
    return {
        str(path.relative_to(html)): hashlib.sha256(
            VOLATILE.sub(b"", path.read_bytes())
        ).hexdigest()
        for path in sorted(html.rglob("*"))
        if path.is_file() and path.name not in (".buildinfo", "searchindex.js", "objects.inv")
    }


def test_a_killed_build_leaves_the_site_as_it_was_and_the_next_one_the_same(built, tmp_path):
    source, lasted = built
    root = copy_checkout(tmp_path)  # other tests look at the site meanwhile
    html = root / "site/_build/html"
    shutil.copytree(source.parent, html.parent)
    whole = digests(html)
    assert len(whole) > 20
    command = [sys.executable, "-m", "tools.site"]
    kills = 0
    for number in range(KILLS):
        build = subprocess.Popen(
            command, cwd=root, start_new_session=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            build.wait(lasted * (number + 1) / (KILLS + 1))
        except subprocess.TimeoutExpired:
            os.killpg(build.pid, signal.SIGKILL)
            killed = build.wait() == -signal.SIGKILL
            kills += killed
            if killed:
                count("kill: site", "kills")
        if html.exists():  # but for the moment in which the new one takes the old one's place
            assert digests(html) == whole
    assert kills >= KILLS / 2
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    assert digests(html) == whole
    assert not (html.parent / "new").exists()
    assert not (html.parent / "old").exists()
