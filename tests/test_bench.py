"""`make bench` on the sample in its short mode, and what is stored of its long one."""

import json
import os
import re
import subprocess
import sys

import pytest

from benchmarks import bench, measure, stages, table
from tools.common import REPOSITORY

FIELDS = {
    "name", "unit", "ours", "plain", "peer", "limit", "ratio_to_plain", "ratio_to_peer",
    "share_of_limit", "machine", "date",
}  # fmt: skip


def stored():
    return json.loads((REPOSITORY / "benchmarks/results.json").read_text())


def check_rows(rows):
    """The figures of each row agree with each other."""
    names = [line["name"].split(",")[0] for line in rows]
    for stage in stages.STAGES:
        assert stage.name in names
    assert {"a training epoch", "training the sequence model", "memory copy"} <= set(names)
    for line in rows:
        assert line.keys() >= FIELDS
        low, high = line["ours_spread"]
        assert 0 < low <= line["ours"] <= high
        up = line["unit"].endswith("/s")
        for other, ratio in (("plain", "ratio_to_plain"), ("peer", "ratio_to_peer")):
            assert (line[other] is None) == (line[ratio] is None)
            if line[other]:
                expected = line["ours"] / line[other]
                expected = expected if up else 1 / expected
                assert line[ratio] == pytest.approx(expected, rel=0.01, abs=0.01)


def test_the_short_run_writes_every_row(tmp_path):
    output = tmp_path / "short.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", "--short", "--data", "sample", "--threads", "1",
         "--repetitions", "2", "--output", output],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(output.read_text())
    check_rows(rows)
    assert all(line["repetitions"] == 2 for line in rows if line["plain"])
    assert done.stdout.count("\n|") == len(rows) + 2


def test_the_stored_run_is_whole():
    rows = stored()
    check_rows(rows)
    for line in rows:
        assert re.fullmatch(r"20\d\d-\d\d-\d\d", line["date"])
        assert line["machine"]
        assert line["repetitions"] >= 5 or line["plain"] is None
    peers = {line["peer_name"] for line in rows}
    assert {"RecTools", "RecBole"} <= peers


def test_a_row_compares_in_the_right_direction():
    line = table.row("a", "s", [2.0, 1.0, 3.0], [8.0, 9.0, 10.0], ("P", [1.0, 1.0, 1.0]), 0.5)
    assert (line["ratio_to_plain"], line["ratio_to_peer"]) == (4.5, 0.5)
    assert (line["share_of_limit"], line["ours_spread"]) == (0.25, [1.0, 3.0])
    assert line["ratio_to_plain_spread"] == [pytest.approx(10 / 3, rel=1e-3), 9.0]
    line = table.row("a", "positions/s", [300.0], [100.0], limit=600.0)
    assert (line["ratio_to_plain"], line["share_of_limit"]) == (3.0, 0.5)


def test_rows_of_another_run_are_marked():
    """What a machine cannot measure stays as another one measured it, and says so."""
    run = {
        "data": "d", "machine": "2 cores", "threads": 2, "instructions": "AVX2", "versions": {},
        "date": "2026-01-01", "load_before": 0.1, "cores": 2,
    }  # fmt: skip
    rows = [table.row(name, "s", [1.0]) | run for name in ("a", "b", "c")]
    assert "†" not in table.table(rows) + table.conditions(rows)
    rows[1] |= {"instructions": "AVX512", "load_before": 2.0}
    assert [line[2] for line in table.table(rows).splitlines()[2:]] == ["a", "b", "c"]
    assert [line.count("†") for line in table.table(rows).splitlines()[2:]] == [0, 1, 0]
    said = table.conditions(rows).splitlines()
    assert ["†" in line for line in said] == [False, False, True]
    assert "AVX2" in said[1]
    assert "shared" not in said[1]
    assert "AVX512" in said[2]
    assert "shared" in said[2]


def test_both_ways_of_evaluating_and_recommending_agree():
    data = stages.load("sample")
    assert stages.evaluate(data, 200) == pytest.approx(stages.evaluate_plainly(data, 200))
    for user in (0, 7, 599):
        assert stages.recommend(data, user) == stages.recommend_plainly(data, user)


def test_the_stored_memory_has_every_stage_and_a_stage_can_be_measured_again(tmp_path):
    stored = json.loads((REPOSITORY / "benchmarks/memory.json").read_text())
    names = [*(stage.name for stage in stages.STAGES), *bench.STEPS]
    assert list(stored["stages"]) == names
    options = ("--peak", bench.STEPS[1], "--data", "sample")
    row = measure.in_a_process("benchmarks.bench", *options)
    assert 0 < row["before_mib"] < row["peak_mib"] < 4_000


def test_where_no_peak_is_told_it_is_zero(monkeypatch):
    """Windows has neither /proc nor the module resource."""
    assert measure.peak_mib() > 10
    monkeypatch.setattr(measure.Path, "exists", lambda self: False)
    monkeypatch.setitem(sys.modules, "resource", None)
    assert measure.peak_mib() == 0.0
