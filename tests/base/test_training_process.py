"""What belongs to the whole process is left as it was: signals, logs, warnings, generators, threads."""

import json
import subprocess
import sys
import threading

import pytest
import torch

from farout.base.training import Training, seeded, suitable_threads
from small_training import fit, linear, squares, weights

STATE = """
import json, logging, os, signal, sys, threading, warnings
import numpy, random, torch
import farout.base.training
from small_training import fit
from farout.base.training import Training

def state():
    names = (None, "lightning", "lightning_fabric", "lightning.pytorch", "torch")
    loggers = [logging.getLogger(name) for name in names]
    return {
        "loggers": [[x.name, x.level, x.propagate, x.disabled, len(x.handlers), len(x.filters)] for x in loggers],
        "warnings": [str(f) for f in warnings.filters],
        "signals": [str(signal.getsignal(n)) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)],
        "torch": torch.get_rng_state().tolist(),
        "draws": [str(random.getstate()), str(numpy.random.get_state())],
        "numbers": [str(torch.get_default_dtype()), torch.get_num_threads(), torch.is_grad_enabled()],
        "determinism": [torch.are_deterministic_algorithms_enabled(), torch.get_float32_matmul_precision()],
        "environment": dict(os.environ),
        "streams": [id(sys.stdout), id(sys.stderr)],
        "hooks": [str(sys.excepthook), str(threading.excepthook)],
        "threads": [t.name for t in threading.enumerate()],
        "folder": [os.getcwd(), os.umask(0o22)],
    }

torch.set_num_threads(2)
before = state()
for where in (None, Training(progress=True), Training(precision="bf16-mixed"), Training(precision="64-true")):
    fit(validation=True, where=where)
after = state()
heavy = [m for m in ("lightning", "lightning.pytorch", "pytorch_lightning") if m in sys.modules]
print(json.dumps({"changed": [k for k in before if before[k] != after[k]], "heavy": heavy}))
"""


@pytest.mark.slow
def test_a_training_changes_nothing_of_the_process():
    ended = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-c",
            STATE.replace("import farout", f"sys.path[:0] = {sys.path!r}\nimport farout", 1),
        ],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == {"changed": [], "heavy": []}
    assert [line.split(":")[0] for line in ended.stderr.splitlines()] == ["test", "test"]  # of progress, nothing else


def noisy():
    module = linear()

    def objective(batch, progress):
        return squares(module)([batch[0] + torch.randn_like(batch[0]), batch[1]], progress)

    return weights(fit(module, objective, validation=True, where=Training(accelerator="cpu"))[0])


def in_threads(n, function):
    results = []
    threads = [threading.Thread(target=lambda: results.append(function())) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_trainings_in_threads_with_one_seed_agree():
    alone, state = noisy(), torch.get_rng_state()
    results = in_threads(3, noisy)
    assert len(results) == 3
    assert all(torch.equal(r, alone) for r in results)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_from_a_seed_in_threads_agree():
    def draw():
        with seeded(3):
            return [torch.rand(1000) for _ in range(50)][-1]

    alone = draw()
    assert all(torch.equal(r, alone) for r in in_threads(4, draw))


def test_an_error_leaves_the_process_as_it_was():
    state, threads = torch.get_rng_state(), torch.get_num_threads()

    def objective(batch, progress):
        torch.rand(1)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(objective=objective)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert in_threads(1, noisy)  # nobody holds the generators any more


def test_limits_of_threads_that_overlap_leave_the_number_as_it_was():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    entered, left, seen = threading.Event(), threading.Event(), []

    def other():
        with suitable_threads(8):
            entered.set()
            left.wait()
        with suitable_threads(784):
            seen.append(torch.get_num_threads())

    thread = threading.Thread(target=other)
    try:
        with suitable_threads(8):
            thread.start()
            entered.wait()
            with suitable_threads(784):
                assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        left.set()
        thread.join()
        assert seen == [2]
        assert torch.get_num_threads() == 2
        assert in_threads(1, torch.get_num_threads) == [2]
    finally:
        left.set()
        torch.set_num_threads(before)
