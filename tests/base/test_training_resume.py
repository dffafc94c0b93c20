"""Checkpoints, resuming, and signals: nothing is lost, and a step is taken whole or not at all."""

import errno
import os
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from torch import nn

from farout.base import training
from farout.base.training import Training
from farout.errors import DivergedError, InvalidSettingError, RunError
from small_training import fit, linear, squares, weights

STEPS = {"max_steps": 150, "batch_size": 60}  # three batches a pass, and some rows left over


@pytest.fixture(autouse=True)
def signals_heard():
    """Python's own handlers, which a process begun in the background of a script doesn't have."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    after = {number: signal.getsignal(number) for number in usual}
    for number, handler in before.items():
        signal.signal(number, handler)
    assert after == usual


def raising(error):
    def happen():
        raise error

    return happen


def killing(number):
    return lambda: os.kill(os.getpid(), number)


def cut_off(module, at, happen, of=150, noisy=True):
    """An objective with noise of its own, to which something happens in the middle of a step."""
    inner = squares(module)

    def objective(batch, progress):
        x = batch[0] + 0.3 * torch.randn_like(batch[0]) if noisy and module.training else batch[0]
        if module.training and round(progress * of) == at:
            happen()
        return inner((x, batch[1]), progress)

    return objective


def undisturbed(validation, **budget):
    module = linear()
    _, history = fit(module, cut_off(module, None, None), validation, **budget)
    return module, history


def same(history, expected):
    assert history.steps == expected.steps
    for name, column in expected.figures.items():
        np.testing.assert_array_equal(history.figures[name], column)


@pytest.mark.parametrize("validation", [False, True])
def test_resume_goes_on_where_an_interrupt_left(validation, tmp_path):
    whole, history = undisturbed(validation)
    first, second = linear(), linear()
    with pytest.raises(KeyboardInterrupt):
        fit(first, cut_off(first, 40, raising(KeyboardInterrupt), 60), validation, Training(checkpoint_dir=tmp_path))
    assert (tmp_path / "last.ckpt").is_file()
    where = Training(checkpoint_dir=tmp_path, resume=True)
    _, resumed = fit(second, cut_off(second, None, None), validation, where)
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(first), weights(second))
    same(resumed, history)


@pytest.mark.parametrize(
    ("happen", "error"),
    [
        (raising(KeyboardInterrupt), KeyboardInterrupt),
        (raising(MemoryError), MemoryError),
        (raising(OSError), OSError),
        (killing(signal.SIGINT), KeyboardInterrupt),
        (killing(signal.SIGTERM), SystemExit),
    ],
    ids=["interrupted", "killed", "disk", "SIGINT", "SIGTERM"],
)
@pytest.mark.parametrize("at", [119, 120, 121, 130, 149])
@pytest.mark.parametrize("validation", [False, True])
def test_cut_off_and_gone_on_is_the_same_as_in_one_go_to_the_bit(validation, at, happen, error, tmp_path):
    whole, expected = undisturbed(validation, **STEPS)
    first, second = linear(), linear()
    taken = []

    def objective(batch, progress):
        taken.append(round(progress * 150))
        return cut_off(second, None, None)(batch, progress)

    with pytest.raises(error):
        fit(first, cut_off(first, at, happen), validation, Training(checkpoint_dir=tmp_path), **STEPS)
    _, history = fit(second, objective, validation, Training(checkpoint_dir=tmp_path, resume=True), **STEPS)
    assert torch.equal(weights(second), weights(whole))
    same(history, expected)
    # A step that an error cut off is taken again; a signal is obeyed after its step.
    assert [step for step in taken if step < 150][:1] == list(range(at + (happen.__qualname__[:7] == "killing"), 150))[
        :1
    ]


def test_a_signal_is_obeyed_after_the_step_that_it_came_in(tmp_path):
    module, steps = linear(), []
    inner = cut_off(module, 20, killing(signal.SIGINT), 60)

    def objective(batch, progress):
        steps.append(round(progress * 60))
        return inner(batch, progress)

    with pytest.raises(KeyboardInterrupt):
        fit(module, objective, where=Training(checkpoint_dir=tmp_path))
    assert steps[-1] == 20
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["state"]["step"] == 21
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_being_told_to_stop_is_no_success():
    module = linear()
    with pytest.raises(SystemExit) as stopped:
        fit(module, cut_off(module, 10, killing(signal.SIGTERM), 60))
    assert stopped.value.code == 143


def test_a_second_ctrl_c_interrupts_at_once(tmp_path):
    module, came_further = linear(), []

    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        came_further.append(True)

    whole, _ = undisturbed(False)
    with pytest.raises(KeyboardInterrupt):
        fit(module, cut_off(module, 20, twice, 60), where=Training(checkpoint_dir=tmp_path))
    assert came_further == []
    second = linear()
    fit(second, cut_off(second, None, None), where=Training(checkpoint_dir=tmp_path, resume=True))
    assert torch.equal(weights(second), weights(whole))


def test_a_signal_in_the_last_step_is_heard():
    module = linear()
    with pytest.raises(KeyboardInterrupt):
        fit(module, cut_off(module, 59, killing(signal.SIGINT), 60))


def test_a_signal_that_the_process_ignores_stays_ignored():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        module = linear()
        _, history = fit(module, cut_off(module, 20, killing(signal.SIGINT), 60))
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert history.steps[-1] == 59
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_handler_of_the_program_is_called_too():
    heard = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        module = linear()
        with pytest.raises(SystemExit):
            fit(module, cut_off(module, 20, killing(signal.SIGTERM), 60))
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def script(text, *args, **kwargs):
    head = "import os, signal, sys, torch\nfrom farout.base.training import *\n"
    return subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(text), *map(str, args)], capture_output=True, text=True, **kwargs
    )


@pytest.mark.slow
def test_a_script_that_is_told_to_stop_exits_with_143(tmp_path):
    ended = script(
        """
        layer = torch.nn.Linear(3, 1)
        def objective(batch, progress):
            if progress == 0.5:
                os.kill(os.getpid(), signal.SIGTERM)
            return layer(batch[0]).square().mean(), {}
        where = Training(checkpoint_dir=sys.argv[1])
        train(layer, objective, [torch.ones(9, 3)], Budget(10, 3, 0.1), where=where)
        """,
        tmp_path,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "", "")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["state"]["step"] == 6


# --- what a checkpoint is ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_keeps_the_earlier_checkpoint(error, tmp_path, monkeypatch):
    save, writes = torch.save, []

    def half(state, file):
        writes.append(state["state"]["step"])
        if len(writes) == 1:
            return save(state, file)
        file.write(b"half of it")
        raise error

    whole, _ = undisturbed(False, max_steps=300)
    first, second = linear(), linear()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", half)
        with pytest.raises(type(error)):
            fit(first, cut_off(first, None, None), where=Training(checkpoint_dir=tmp_path), max_steps=300)
    assert writes == [100, 200]
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]
    where = Training(checkpoint_dir=tmp_path, resume=True)
    fit(second, cut_off(second, None, None), where=where, max_steps=300)
    assert torch.equal(weights(second), weights(whole))


@pytest.mark.slow
def test_a_process_killed_while_it_writes_keeps_the_earlier_checkpoint(tmp_path):
    text = """
        save, saved = torch.save, []
        def half(state, file):
            saved.append(state)
            if len(saved) == 2:
                file.write(b"half of it")
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
            save(state, file)
        torch.save = half
        layer = torch.nn.Linear(3, 1)
        def objective(batch, progress):
            return layer(batch[0]).square().mean(), {}
        where = Training(checkpoint_dir=sys.argv[1])
        train(layer, objective, [torch.ones(9, 3)], Budget(300, 3, 0.1), where=where)
        """
    assert script(text, tmp_path).returncode == -signal.SIGKILL
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["state"]["step"] == 100


def test_checkpoints_are_written_beside_their_place(tmp_path, monkeypatch):
    moved = []
    monkeypatch.setenv("TMPDIR", "/nowhere")
    monkeypatch.setattr(training.os, "fsync", lambda number: moved.append(os.readlink(f"/proc/self/fd/{number}")))
    fit(where=Training(checkpoint_dir=tmp_path / "new" / "folder"))
    folder = tmp_path / "new" / "folder"
    assert moved == [str(folder / ".last.ckpt.farout-part"), str(folder)]


def test_best_and_last_checkpoints(tmp_path):
    fit(validation=True, where=Training(checkpoint_dir=tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    where = Training(checkpoint_dir=tmp_path, resume=True)
    module, history = fit(where=where)
    again, resumed = fit(objective=raising(AssertionError), where=where)
    assert torch.equal(weights(again), weights(module))
    assert resumed.steps == history.steps


def test_resuming_a_run_that_stopped_early_changes_nothing(tmp_path):
    def objective(module):
        return lambda batch, progress: ((module.weight.sum() - 0.8 * (not module.training)).square(), {})

    where, first, second = Training(checkpoint_dir=tmp_path, resume=True), linear(), linear()
    _, history = fit(first, objective(first), True, where, patience=2, max_steps=300)
    _, resumed = fit(second, objective(second), True, where, patience=2, max_steps=300)
    assert history.stopped_early
    assert resumed.stopped_early
    assert torch.equal(weights(first), weights(second))
    same(resumed, history)


def test_half_a_step_is_not_kept(tmp_path):
    """What a module keeps beside its weights has changed in the middle of the step: the checkpoint before counts."""
    layers = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1))

    def objective(batch, progress):
        loss = layers(batch[0]).square().mean()
        if round(progress * 150) == 110:
            raise MemoryError
        return loss, {}

    with pytest.raises(MemoryError):
        fit(layers, objective, where=Training(checkpoint_dir=tmp_path), max_steps=150)
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["state"]["step"] == 100


@pytest.mark.parametrize("at", [0, 110])
def test_a_diverged_training_leaves_no_newer_checkpoint(at, tmp_path):
    module = linear()

    def objective(batch, progress):
        return module(batch[0]).square().mean() * (torch.nan if round(progress * 150) >= at else 1), {}

    with pytest.raises(DivergedError):
        fit(module, objective, where=Training(checkpoint_dir=tmp_path), max_steps=150)
    kept = [torch.load(p, weights_only=True)["state"]["step"] for p in tmp_path.iterdir()]
    assert kept == ([100] if at else [])


@pytest.mark.parametrize("kind", ["truncated", "other module", "other program", "earlier version", "no yes or no"])
def test_a_checkpoint_that_does_not_fit(kind, tmp_path):
    where = Training(checkpoint_dir=tmp_path, resume=True)
    fit(where=where)
    last = tmp_path / "last.ckpt"
    module = nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 1)) if kind == "other module" else linear()
    if kind == "truncated":
        last.write_bytes(last.read_bytes()[:500])
    elif kind == "no yes or no":
        saved = torch.load(last, weights_only=True)
        saved["state"]["stopped"] = torch.zeros(3)
        torch.save(saved, last)
    elif kind == "other program":
        torch.save([1, 2], last)
    elif kind == "earlier version":
        torch.save({"pytorch-lightning_version": "2.6.6", "farout": {"steps": []}}, last)
    with pytest.raises(RunError, match=r"(?s)test: can't go on from .*last.ckpt.*leave resume out"):
        fit(module, where=where)


def test_a_checkpoint_runs_no_code(tmp_path):
    ran = []

    class Evil:
        def __reduce__(self):
            return ran.append, (1,)

    torch.save({"format": Evil()}, tmp_path / "last.ckpt")
    with pytest.raises(RunError, match="can't go on from"):
        fit(where=Training(checkpoint_dir=tmp_path, resume=True))
    assert ran == []


def test_resume_needs_a_place():
    with pytest.raises(InvalidSettingError, match="resume=True needs checkpoint_dir"):
        Training(resume=True)
