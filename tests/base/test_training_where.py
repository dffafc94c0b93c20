"""Where training runs and what it shows: devices, precision, the bar, the log, warnings."""

import io
import logging
import sys
import threading
import warnings

import pytest
import torch

from farout.base.training import Budget, Training, inference_device, train
from farout.errors import InvalidSettingError
from small_training import X, Y, fit, linear, squares, weights


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_bar_on_stderr_and_nothing_on_stdout(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    fit(where=Training(progress=True), name="my flow")
    out, err = capsys.readouterr()
    assert out == ""
    assert "my flow" in err
    assert "60/60" in err
    assert "0:00:00" in err
    assert "loss 0." in err
    assert "bits/dim 0." in err


@pytest.mark.parametrize("progress", [None, False])
def test_silent_when_stderr_is_no_terminal(progress, capsys):
    module = linear()
    train(module, squares(module), (X, Y), Budget(3, 50, 0.1), verbose=True, where=Training(progress=progress))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("verbose", "shown"), [(True, True), (False, False)])
def test_on_a_terminal_the_bar_is_for_the_verbose(verbose, shown, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    module = linear()
    train(module, squares(module), (X, Y), Budget(3, 50, 0.1), verbose=verbose, name="flow")
    assert ("flow" in terminal.getvalue()) == shown


def test_warnings_and_loggers_are_left_as_they_were(recwarn):
    loggers = [logging.getLogger(n) for n in ("lightning.pytorch", "lightning.fabric")]
    levels, filters = [x.level for x in loggers], list(warnings.filters)
    fit(validation=True)
    assert [x.level for x in loggers] == levels
    assert warnings.filters == filters
    assert len(recwarn) == 0


def test_nothing_is_written_where_nobody_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fit(validation=True)
    assert list(tmp_path.iterdir()) == []


def test_tensorboard_log(tmp_path):
    fit(where=Training(log_dir=tmp_path / "log"))
    events = list((tmp_path / "log").rglob("events.out.tfevents*"))
    assert len(events) == 1
    assert b"bits/dim" in events[0].read_bytes()


def test_without_tensorboard_the_log_says_what_to_install(monkeypatch, tmp_path):
    import lightning.pytorch.loggers

    def missing(*args, **kwargs):
        raise ModuleNotFoundError("tensorboard")

    monkeypatch.setattr(lightning.pytorch.loggers, "TensorBoardLogger", missing)
    with pytest.raises(InvalidSettingError, match=r"pip install 'farout\[tensorboard\]'"):
        fit(where=Training(log_dir=tmp_path))


def test_half_precision_on_the_cpu():
    module, history = fit(where=Training(accelerator="cpu", precision="bf16-mixed"), max_steps=200)
    exact, _ = fit(max_steps=200)
    assert weights(module).dtype == torch.float32
    assert not torch.equal(weights(module), weights(exact))
    torch.testing.assert_close(weights(module), weights(exact), atol=0.05, rtol=0)
    assert history.figures["loss"][-1] < 0.05


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({"accelerator": "abacus"}, "accelerator='abacus'"),
        ({"precision": "7-bit"}, "precision='7-bit'"),
        ({"devices": 0, "accelerator": "cpu"}, "devices=0"),
        ({"strategy": "hope"}, "strategy='hope'"),
    ],
)
def test_what_this_machine_cannot_do(settings, found):
    with pytest.raises(InvalidSettingError, match=rf"Training\(.*{found}.*can't be had on this machine: "):
        fit(where=Training(**settings))


def test_training_in_a_thread():
    """Signals can't be set there; training must not need them."""
    results = []
    thread = threading.Thread(target=lambda: results.append(fit()[1].steps[-1]))
    thread.start()
    thread.join()
    assert results == [59]


@pytest.mark.parametrize("name", ["max_steps", "batch_size", "learning_rate"])
def test_a_budget_is_above_zero(name):
    with pytest.raises(InvalidSettingError, match=f"{name} must be above 0; got 0"):
        Budget(**({"max_steps": 1, "batch_size": 1, "learning_rate": 1.0} | {name: 0}))


def test_inference_device_follows_the_accelerator():
    assert inference_device(Training(accelerator="cpu")) == torch.device("cpu")
    assert inference_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
