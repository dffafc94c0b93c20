"""Training: reproducible, stops well, resumes, reports on stderr alone."""

import os
import signal

import numpy as np
import pytest
import torch
from torch import nn

from farout.base._lightning import _sigint_kept, _validation_interval
from farout.base.training import Budget, History, Training, suitable_threads, train
from farout.errors import DivergedError, InvalidSettingError, RunError
from small_training import X, Y, fit, linear, squares, weights


def test_it_learns_and_keeps_a_history():
    module, history = fit(max_steps=200)
    np.testing.assert_allclose(weights(module), [1.0, -2.0, 0.5, 0.3], atol=0.02)
    assert history.steps == list(range(200))
    assert history.figures["loss"][-1] < 0.01 < history.figures["loss"][0]
    assert history.figures["bits/dim"][0] == pytest.approx(history.figures["loss"][0] / 2)
    assert not history.stopped_early


def test_same_seed_same_weights_and_torch_left_alone():
    state = torch.random.get_rng_state()
    noisy = []
    for _ in range(2):
        module = linear()

        def objective(batch, progress, module=module):
            return (module(batch[0] + torch.randn(3)) - batch[1]).square().mean(), {}

        noisy.append(weights(fit(module, objective)[0]))
    assert torch.equal(*noisy)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_batches_are_shuffled_whole_passes_and_progress_grows():
    seen, progresses = [], []
    module = linear()

    def spy(batch, progress):
        seen.append(batch[0])
        progresses.append(progress)
        return squares(module)(batch, progress)

    fit(module, spy, max_steps=8)
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert torch.equal(first.sort(dim=0).values, X.sort(dim=0).values)
    assert not torch.equal(first, second)
    np.testing.assert_allclose(progresses, np.arange(8) / 8)


def test_fewer_rows_than_a_batch():
    module = linear()
    history = train(module, squares(module), (X[:5], Y[:5]), Budget(3, 128, 0.1))
    assert history.steps == [0, 1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(value):
    module = linear()

    def objective(batch, progress):
        return module(batch[0]).mean() * (value if progress > 0.4 else 1), {}

    with pytest.raises(
        DivergedError, match=r"test: training diverged at step 25: .*Lower learning_rate \(it is 0.05\)"
    ):
        fit(module, objective)


def test_a_loss_that_climbs():
    module = linear()

    def objective(batch, progress):
        return (1 + 1e4 * progress) * (1 + 0 * module(batch[0]).mean()), {}

    with pytest.raises(DivergedError, match="the loss climbed from 1 to"):
        fit(module, objective)


def test_a_validation_loss_that_is_not_finite():
    module = linear()

    def objective(batch, progress):
        loss, figures = squares(module)(batch, progress)
        return loss * (1 if module.training else torch.nan), figures

    with pytest.raises(DivergedError, match="the validation loss became nan"):
        fit(module, objective, validation=True)


def test_advice_comes_with_an_error_from_inside():
    module = linear()

    def objective(batch, progress):
        raise DivergedError("layer 3 gave inf")

    with pytest.raises(DivergedError, match=r"layer 3 gave inf.*Lower learning_rate"):
        fit(module, objective)


def worse_and_worse(module, best_until):
    """An objective whose validation loss is best at a known step: the weight grows by steps, best at 1.0."""

    def objective(batch, progress):
        pull = -module.weight.sum()
        return (pull if module.training else (module.weight.sum() - best_until).square()), {}

    return objective


def test_best_weights_are_kept_and_training_stops_early():
    module = linear()
    _, history = fit(
        module, worse_and_worse(module, 0.8), validation=True, max_steps=300, patience=2, gradient_clip=1e9
    )
    validation = [v for v in history.figures["validation loss"] if np.isfinite(v)]
    assert history.stopped_early
    assert np.argmin(validation) == len(validation) - 3
    assert (module.weight.sum() - 0.8).square().item() == pytest.approx(min(validation), abs=1e-5)


def test_without_patience_it_runs_to_the_end_and_keeps_the_best():
    module = linear()
    _, history = fit(module, worse_and_worse(module, 0.8), validation=True)
    validation = [v for v in history.figures["validation loss"] if np.isfinite(v)]
    assert not history.stopped_early
    assert len(validation) == 6
    assert (module.weight.sum() - 0.8).square().item() == pytest.approx(min(validation), abs=1e-5)


@pytest.mark.parametrize(("steps", "every", "expected"), [(200, 100, 100), (250, 100, 125), (30, 100, 30), (1, 100, 1)])
def test_the_last_validation_sees_the_last_weights(steps, every, expected):
    assert _validation_interval(Budget(steps, 1, 1.0, validate_every=every)) == expected


def test_history_fills_what_is_missing():
    history = History()
    history.add(0, {"a": 1.0})
    history.add(5, {"b": 2.0})
    assert history.steps == [0, 5]
    np.testing.assert_array_equal(history.figures["a"], [1.0, np.nan])
    np.testing.assert_array_equal(history.figures["b"], [np.nan, 2.0])


# --- checkpoints, resume, interrupts ---------------------------------------------------------------------------


def interrupted_at(step, module, raise_signal=False):
    inner = squares(module)

    def objective(batch, progress):
        if module.training and round(progress * 60) == step:
            if raise_signal:
                os.kill(os.getpid(), signal.SIGINT)
            else:
                raise KeyboardInterrupt
        return inner(batch, progress)

    return objective


@pytest.mark.parametrize("validation", [False, True])
def test_resume_goes_on_where_an_interrupt_left(validation, tmp_path):
    whole, history = fit(validation=validation)
    first = linear()
    with pytest.raises(KeyboardInterrupt):
        fit(first, interrupted_at(40, first), validation, Training(checkpoint_dir=tmp_path))
    assert (tmp_path / "last.ckpt").is_file()
    second, resumed = fit(validation=validation, where=Training(checkpoint_dir=tmp_path, resume=True))
    assert torch.equal(weights(second), weights(whole))
    assert not torch.equal(weights(first), weights(second))
    assert [s for s in resumed.steps if s < 40] == [s for s in history.steps if s < 40]
    assert resumed.steps[-1] == history.steps[-1]
    assert resumed.figures["loss"][:20] == pytest.approx(history.figures["loss"][:20], nan_ok=True)


def noisy(module, cut_off=None, error=KeyboardInterrupt):
    """An objective with noise of its own, that fails in the middle of a step."""
    inner = squares(module)

    def objective(batch, progress):
        x = batch[0] + 0.3 * torch.randn_like(batch[0]) if module.training else batch[0]
        if module.training and cut_off is not None and round(progress * 150) == cut_off:
            raise error
        return inner((x, batch[1]), progress)

    return objective


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError], ids=["interrupted", "killed"])
@pytest.mark.parametrize("cut_off", [119, 120, 121, 130, 140])
@pytest.mark.parametrize("validation", [False, True])
def test_cut_off_and_gone_on_is_the_same_as_in_one_go_to_the_bit(validation, cut_off, error, tmp_path):
    budget = {"max_steps": 150, "batch_size": 60}  # three batches a pass, and some rows left over
    whole, first, second = linear(), linear(), linear()
    _, expected = fit(whole, noisy(whole), validation, **budget)
    with pytest.raises(error):
        fit(first, noisy(first, cut_off, error), validation, Training(checkpoint_dir=tmp_path), **budget)
    _, history = fit(second, noisy(second), validation, Training(checkpoint_dir=tmp_path, resume=True), **budget)
    assert torch.equal(weights(second), weights(whole))
    assert history.steps == expected.steps
    for name, column in expected.figures.items():
        np.testing.assert_array_equal(history.figures[name], column)


def test_a_checkpoint_of_before_goes_on_too(tmp_path):
    where, module = Training(checkpoint_dir=tmp_path), linear()
    with pytest.raises(KeyboardInterrupt):
        fit(module, interrupted_at(40, module), where=where)
    last = tmp_path / "last.ckpt"
    kept = torch.load(last)
    del (
        kept["farout"]["drawn"],
        kept["farout"]["steps_above"],
        kept["loops"]["fit_loop"]["state_dict"]["combined_loader"],
    )
    torch.save(kept, last)
    _, history = fit(where=Training(checkpoint_dir=tmp_path, resume=True))
    assert history.steps == list(range(60))


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    where = Training(checkpoint_dir=tmp_path, resume=True)
    module, history = fit(where=where)
    again, resumed = fit(where=where)
    assert torch.equal(weights(again), weights(module))
    assert resumed.steps == history.steps


@pytest.fixture
def ctrl_c_heard():
    """Python's own handler of Ctrl-C, which a process begun in the background of a script doesn't have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c_heard")
def test_ctrl_c_is_a_keyboard_interrupt_and_the_handler_comes_back(tmp_path):
    handler = signal.getsignal(signal.SIGINT)
    module = linear()
    with pytest.raises(KeyboardInterrupt):
        fit(module, interrupted_at(20, module, raise_signal=True), where=Training(checkpoint_dir=tmp_path))
    assert signal.getsignal(signal.SIGINT) is handler
    assert [p.name for p in tmp_path.iterdir()] == ["last.ckpt"]


def test_being_told_to_stop_is_no_success():
    handler = signal.getsignal(signal.SIGTERM)
    module = linear()

    def objective(batch, progress):
        if round(progress * 60) == 10:
            os.kill(os.getpid(), signal.SIGTERM)
        return squares(module)(batch, progress)

    with pytest.raises(SystemExit) as stopped:
        fit(module, objective)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is handler


def test_a_handler_that_lightning_switched_off_comes_back():
    handler = signal.getsignal(signal.SIGINT)
    with _sigint_kept():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGINT) is handler


def test_best_and_last_checkpoints(tmp_path):
    fit(validation=True, where=Training(checkpoint_dir=tmp_path))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["best.ckpt", "last.ckpt"]


def test_a_diverged_training_leaves_no_checkpoint_to_go_on_from(tmp_path):
    module = linear()
    with pytest.raises(DivergedError):
        fit(module, lambda b, p: (module(b[0]).mean() * torch.nan, {}), where=Training(checkpoint_dir=tmp_path))
    assert list(tmp_path.glob("*.ckpt")) == []


@pytest.mark.parametrize("kind", ["truncated", "other"])
def test_a_checkpoint_that_does_not_fit(kind, tmp_path):
    where = Training(checkpoint_dir=tmp_path, resume=True)
    fit(where=where)
    last = tmp_path / "last.ckpt"
    module = linear() if kind == "truncated" else nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 1))
    if kind == "truncated":
        last.write_bytes(last.read_bytes()[:500])
    with pytest.raises(RunError, match=r"(?s)test: can't go on from .*last.ckpt.*leave resume out"):
        fit(module, where=where)


def test_resume_needs_a_place():
    with pytest.raises(InvalidSettingError, match="resume=True needs checkpoint_dir"):
        Training(resume=True)


def test_small_rows_train_on_one_thread_and_threads_come_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suitable_threads(64):
            assert torch.get_num_threads() == 1
        with suitable_threads(784):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
