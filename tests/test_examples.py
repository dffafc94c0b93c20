"""The example scripts run as written, quietly, and show what they promise."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@functools.cache
def run(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        # Side by side with other tests, more threads than cores only wait for each other.
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def numbers(pattern, text):
    return [float(x) for x in re.findall(pattern, text)]


def test_no_example_is_left_out():
    assert {p.name for p in EXAMPLES.glob("*.py")} == {"own_network.py", "own_training_loop.py", "table_detector.py"}


def test_table_detector():
    out = run("table_detector.py")
    assert numbers(r"AUROC.*: ([\d.]+)", out)[0] > 0.9
    (normal,) = numbers(r"normal wines flagged: (\d+)%", out)
    (foreign,) = numbers(r"foreign wines flagged: (\d+)%", out)
    assert normal < 40 < foreign
    assert "the same after saving and loading: True" in out


@pytest.mark.parametrize("name", ["own_network.py", "own_training_loop.py"])
def test_sure_inside_and_undecided_far_away(name):
    last = run(name).splitlines()[-1]
    (inside,) = numbers(r"normal rows ([\d.]+)", last)
    (outside,) = numbers(r"far away ([\d.]+)", last)
    assert inside > 0.7
    assert outside < inside - 0.15


def test_without_outliers_the_network_is_sure_far_away():
    plain = run("own_network.py").splitlines()[0]
    assert plain.startswith("plain")
    assert numbers(r"far away ([\d.]+)", plain)[0] > 0.95
