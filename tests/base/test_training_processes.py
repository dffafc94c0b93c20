"""Training by several processes: the same loss curve as by one, and stopping together."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import json, os, signal, sys
import torch
from farout.base.training import Budget, Training, train
from small_training import X, Y, linear, squares

devices, folder, strategy, stop = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
module = linear()
inner = squares(module)

def objective(batch, progress):
    if module.training and round(progress * 60) == stop and os.environ.get("LOCAL_RANK", "0") == "0":
        os.kill(os.getpid(), signal.SIGTERM)
    return inner(batch, progress)

where = Training(accelerator="cpu", devices=devices, strategy=strategy, checkpoint_dir=folder, resume=True)
history = train(
    module, objective, (X, Y), Budget(60, 50, 0.05, validate_every=30), validation_rows=(X, Y), where=where, seed=3
)
weights = [p.detach().flatten().tolist() for p in module.parameters()]
file = f"{folder}/history{os.environ.get('LOCAL_RANK', '0')}.json"
with open(file, "w") as f:
    json.dump([history.steps, history.figures, weights], f)
"""


def run(folder, devices, strategy="auto", stop=-1):
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(f"import sys\nsys.path[:0] = {sys.path!r}\n{SCRIPT}")
    words = [sys.executable, str(folder / "script.py"), str(devices), str(folder), strategy, str(stop)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
    return ended, [json.loads(p.read_text()) for p in sorted(folder.glob("history*.json"))]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "ddp_fork"])
def test_two_processes_share_each_batch(strategy, tmp_path):
    _, [alone] = run(tmp_path / "alone", 1)
    ended, both = run(tmp_path / "both", 2, strategy)
    assert ended.returncode == 0, ended.stderr
    assert len(both) == (2 if strategy == "ddp" else 1)
    for steps, figures, weights in both:
        assert steps == alone[0]
        for name, column in alone[1].items():
            np.testing.assert_allclose(figures[name], column, atol=1e-4)
        np.testing.assert_allclose(np.concatenate(weights), np.concatenate(alone[2]), atol=1e-4)


@pytest.mark.slow
def test_a_signal_to_one_process_stops_both_after_the_same_step(tmp_path):
    ended, both = run(tmp_path / "cut", 2, "ddp", stop=33)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert both == []
    ended, both = run(tmp_path / "cut", 2, "ddp")
    assert ended.returncode == 0, ended.stderr
    _, whole = run(tmp_path / "whole", 2, "ddp")
    assert [w[2] for w in both] == [w[2] for w in whole]
    assert [w[0] for w in both] == [w[0] for w in whole]
