"""How much memory fits, scores and draws take beside the data: docs/reliability.md states it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("memory_use.py")
# Beside what a call gives: the data once more, and what no number of rows changes (blocks of rows, rows to compare
# with, rows held out), which is more where a forest and three views of rows to compare with are kept.
SHARE, FIXED, KEPT = 1.0, 120, 200
ROWS = int(os.environ.get("FAROUT_MEMORY_ROWS", "100000"))  # of the long test, which takes minutes for each 100 000


def use(rows, columns, dtype, *cases):
    """A dict for each call."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the peak of a process's memory can't be told here: no /proc/self/clear_refs")
    run = subprocess.run(
        [sys.executable, str(SCRIPT), str(rows), str(columns), dtype, *cases],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def beyond(calls, share):
    """Calls that take more than their share, in words."""
    return [
        f"{call['case']}.{call['call']}: {call['mb']:.0f} MB, {call['extra']:.2f} of the data, {call['out']:.2f} given"
        for call in calls
        if (call["extra"] - call["out"] - share) * call["mb"]
        > (KEPT if "nearest" in call["case"] else FIXED) * call["extra"]
    ]


def test_a_fit_takes_no_more_than_the_data_once_more():
    (fit,) = use(200_000, 100, "float32", "flow:")
    assert not beyond([fit], SHARE)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["0/4", "1/4", "2/4", "3/4"])  # of the models, so that cores share the work
@pytest.mark.parametrize(("columns", "dtype"), [(400, "float32"), (150, "float64")])
def test_every_model_takes_no_more_than_the_data_once_more(columns, dtype, part):
    asked = os.environ.get("FAROUT_MEMORY_CASES", "").split()
    if asked and part != "0/4":
        pytest.skip("FAROUT_MEMORY_CASES names the models, and the first part takes them all")
    assert not beyond(use(ROWS, columns, dtype, *(asked or [part])), SHARE)
