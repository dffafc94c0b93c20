"""No public call changes what belongs to the whole process: random states, filters of warnings, settings, files."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from process_state import run

SCRIPT = Path(__file__).with_name("process_state.py")
SOME = r"^(FlowDensity\.(fit|score_samples|sample)|FlowDensity that|wrap\.|load_data)"
SOME += r"|^(FlowDensity\.save|load FlowDensity|a table)"


def test_some_calls_leave_the_process_as_it_was(tmp_path):
    changed = dict(run(tmp_path, SOME))
    assert len(changed) > 20
    assert {name: leaks for name, leaks in changed.items() if leaks} == {}


@pytest.mark.slow
def test_every_call_leaves_a_fresh_process_as_it_was():
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False, env=dict(os.environ), timeout=1800
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) > 90
    assert {line["call"]: line["changed"] for line in lines if line["changed"]} == {}
