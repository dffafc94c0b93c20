"""Where training runs: devices, precision, the log."""

import sys

import numpy as np
import pytest
import torch

from farout.base.training import Budget, Training, inference_device, train
from farout.errors import InvalidSettingError
from small_training import X, Y, fit, linear, squares, weights


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
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(InvalidSettingError, match=r"pip install 'farout\[tensorboard\]'"):
        fit(where=Training(log_dir=tmp_path))


def test_half_precision_on_the_cpu():
    module, history = fit(where=Training(accelerator="cpu", precision="bf16-mixed"), max_steps=200)
    exact, _ = fit(max_steps=200)
    assert weights(module).dtype == torch.float32
    assert not torch.equal(weights(module), weights(exact))
    torch.testing.assert_close(weights(module), weights(exact), atol=0.05, rtol=0)
    assert history.figures["loss"][-1] < 0.05


def test_mixed_precision_does_not_round_the_rows():
    """Rows in units of their own, such as seconds since 1970, would lose all in 8 bits."""
    module, seen = linear(), []

    def objective(batch, progress):
        seen.append(batch[0].cpu())
        return module((batch[0] - 1.6e9).float()).square().mean(), {}

    rows = torch.full((10, 3), 1.6e9, dtype=torch.float64) + torch.arange(10)[:, None]
    train(module, objective, [rows], Budget(1, 10, 0.1), where=Training(precision="bf16-mixed"))
    assert torch.equal(seen[0].sort(dim=0).values, rows)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_a_module_keeps_its_precision_and_no_gradients(precision):
    seen, module = set(), linear()

    def objective(batch, progress):
        seen.add(module.weight.dtype)
        return squares(module)(batch, progress)

    fit(module, objective, validation=True, where=Training(precision=precision), max_steps=200)
    exact, _ = fit(validation=True, max_steps=200)
    assert seen == {torch.float64 if precision == "64-true" else torch.bfloat16}
    assert weights(module).dtype == torch.float32
    assert torch.get_default_dtype() == torch.float32
    torch.testing.assert_close(weights(module), weights(exact), atol=0.05, rtol=0)
    assert all(p.grad is None and type(p) is torch.nn.Parameter for p in module.parameters())


@pytest.mark.parametrize("devices", ["auto", 1, np.int64(1)])
def test_devices_of_this_machine(devices):
    _, history = fit(where=Training(accelerator="cpu", devices=devices))
    assert history.steps[-1] == 59


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accelerator": "abacus"}, "accelerator must be one of 'auto', 'cpu', .*; got 'abacus'"),
        ({"accelerator": 3}, "accelerator must be one of .*; got 3"),
        ({"accelerator": ["cpu"]}, "accelerator must be one of .*; got \\['cpu'\\]"),
        ({"precision": "7-bit"}, "precision must be one of '32-true', .*; got '7-bit'"),
        ({"precision": None}, "precision must be one of .*; got None"),
        ({"strategy": "hope"}, "strategy must be one of 'auto', 'ddp', .*; got 'hope'"),
        ({"devices": 0}, "devices must be a whole number, 1 or more, 'auto', or .* such as '0,2'; got 0"),
        ({"devices": "two"}, "devices must be .*; got 'two'"),
        ({"devices": 1.0}, "devices must be .*; got 1.0"),
        ({"devices": True}, "devices must be .*; got True"),
        ({"devices": None}, "devices must be .*; got None"),
        ({"num_nodes": 0}, "num_nodes must be a whole number, 1 or more; got 0"),
        ({"checkpoint_dir": 3}, "checkpoint_dir must be the path of a folder, or None; got 3"),
        ({"log_dir": True}, "log_dir must be the path of a folder, or None; got True"),
        ({"resume": "yes"}, "resume must be True or False; got 'yes'"),
        ({"gradients": np.array([1, 2])}, r"gradients must be one of .*; got array\(\[1, 2\]\)"),
        ({"compile": np.array([1, 2])}, r"compile must be 'auto', True or False; got array\(\[1, 2\]\)"),
        ({"compile": 1}, "compile must be 'auto', True or False; got 1"),
        ({"progress": 1}, "progress must be True, False or None; got 1"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(InvalidSettingError, match=f"^Training: {message}\\.$"):
        Training(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
@pytest.mark.parametrize(
    ("settings", "found"), [({"accelerator": "gpu"}, "accelerator='gpu'"), ({"devices": "0,2"}, "devices='0,2'")]
)
def test_what_this_machine_cannot_do(settings, found):
    with pytest.raises(InvalidSettingError, match=rf"Training\(.*{found}.*can't be had on this machine: "):
        fit(where=Training(**settings))


def test_a_batch_that_devices_can_not_share(monkeypatch):
    monkeypatch.setattr("lightning_fabric.Fabric.world_size", 4)
    module = linear()
    with pytest.raises(InvalidSettingError, match=r"4 devices can't share a batch of 3 row\(s\)"):
        train(module, squares(module), (X, Y), Budget(1, 3, 0.1))


@pytest.mark.parametrize("name", ["max_steps", "batch_size"])
@pytest.mark.parametrize("value", [32.0, True, 2.5])
def test_steps_and_rows_are_whole_numbers(name, value):
    with pytest.raises(InvalidSettingError, match=f"{name} must be a whole number; got {value}"):
        Budget(**({"max_steps": 1, "batch_size": 1, "learning_rate": 1.0} | {name: value}))


@pytest.mark.parametrize("name", ["max_steps", "batch_size", "learning_rate"])
def test_a_budget_is_above_zero(name):
    with pytest.raises(InvalidSettingError, match=f"{name} must be above 0; got 0"):
        Budget(**({"max_steps": 1, "batch_size": 1, "learning_rate": 1.0} | {name: 0}))


def test_inference_device_follows_the_accelerator():
    assert inference_device(Training(accelerator="cpu")) == torch.device("cpu")
    assert inference_device(None).type == ("cuda" if torch.cuda.is_available() else "cpu")
