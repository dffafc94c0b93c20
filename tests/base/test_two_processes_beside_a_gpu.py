"""Where there is a GPU, forked processes are tested by a process that sees none, as one must be that forks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from farout.base import training
from farout.errors import InvalidSettingError


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.skipif(sys.platform != "linux", reason="needs processes that are forked off")
def test_two_processes_train_as_one_does():
    tests = Path(__file__).with_name("test_two_processes.py")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests)]
    settings = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    made = subprocess.run(
        command,
        env=settings | {"CUDA_VISIBLE_DEVICES": ""},
        cwd=tests.parents[2],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert made.returncode == 0, made.stdout[-5000:]
    assert " skipped" not in made.stdout.splitlines()[-1]


def test_who_has_used_a_gpu_is_told_not_to_fork(monkeypatch):
    """Its forked processes would end in errors of CUDA, or of autograd."""
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    with pytest.raises(InvalidSettingError, match=r"forks the process off, and it has used a GPU already"):
        training._forked_off(None, torch.nn.Linear(1, 1), lambda fabric: training.History())
