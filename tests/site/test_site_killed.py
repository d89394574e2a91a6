"""`make site`, killed at moments of the clock: what is shown is whole, and the next one completes."""

import hashlib
import os
import re
import signal
import subprocess
import sys
import time

from tests.site.conftest import HTML
from tests.tally import count

KILLS = 30 if os.environ.get("RECFORMER_FAULTS") == "long" else 2
# When a page was made, and Sphinx's environment for the next build.
VOLATILE = re.compile(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?([+-]\d\d:\d\d|Z)?|\?v=[0-9a-f]+")


def digests() -> dict[str, str]:
    return {
        str(path.relative_to(HTML)): hashlib.sha256(
            VOLATILE.sub(b"", path.read_bytes())
        ).hexdigest()
        for path in sorted(HTML.rglob("*"))
        if path.is_file() and path.name not in (".buildinfo", "searchindex.js", "objects.inv")
    }


def test_a_killed_build_leaves_the_site_as_it_was_and_the_next_one_the_same(built):
    whole = digests()
    assert len(whole) > 20
    command = [sys.executable, "-m", "tools.site"]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    lasted = time.monotonic() - started
    assert digests() == whole
    kills = 0
    for number in range(KILLS):
        build = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            build.wait(lasted * (number + 1) / (KILLS + 1))
        except subprocess.TimeoutExpired:
            os.killpg(build.pid, signal.SIGKILL)
            killed = build.wait() == -signal.SIGKILL
            kills += killed
            if killed:
                count("kill: site", "kills")
        if HTML.exists():  # but for the moment in which the new one takes the old one's place
            assert digests() == whole
    assert kills >= KILLS // 2
    subprocess.run(command, check=True, capture_output=True)
    assert digests() == whole
    assert not (HTML.parent / "new").exists()
    assert not (HTML.parent / "old").exists()
