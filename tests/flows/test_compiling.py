"""Compiled training steps: the same training, when asked for or when it pays, and never a reason to fail."""

import shutil

import numpy as np
import pytest
import torch

import farout as fo
from farout.base.step import training_step
from farout.base.training import Budget, Training
from farout.errors import InvalidSettingError
from farout.flows import compiling
from farout.flows.compiling import compiled_for, training_seconds
from farout.flows.image import image_flow
from farout.flows.vector import vector_flow

ROWS = np.random.default_rng(0).standard_normal((200, 3)) @ np.random.default_rng(1).standard_normal((3, 3))
LABELS = np.arange(200) % 2
SMALL = {"options": {"n_blocks": 1, "hidden": 8}, "max_steps": 30, "batch_size": 64, "random_state": 0}
HERE = Training(accelerator="cpu")

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler here")


@pytest.fixture
def compiles(monkeypatch):
    """Counts what is compiled, and compiles nothing."""
    calls = []

    def fake(function, **settings):
        calls.append(settings)
        return function

    monkeypatch.setattr(torch, "compile", fake)
    return calls


@pytest.mark.slow  # half a minute of a C++ compiler; below, the same graph is run without
@needs_compiler
def test_it_trains_to_the_same_flow():
    plain, compiled = (
        fo.FlowDensity(**SMALL, training=Training(accelerator="cpu", compile=c)).fit(ROWS, LABELS)
        for c in (False, True)
    )
    np.testing.assert_allclose(compiled.score_samples(ROWS), plain.score_samples(ROWS), rtol=1e-3, atol=1e-3)
    assert not compiled.flow_.is_compiled


@pytest.mark.filterwarnings("ignore")  # of torch's compiler about itself
@pytest.mark.parametrize("make", [lambda: vector_flow((4,), n_classes=2), lambda: image_flow((1, 4, 4), n_classes=2)])
def test_a_step_is_one_graph(make):
    """Traced without a break, forward; what the graph computes is what the transform does."""
    flow, x = make(), torch.randn(8, *make().event_shape)
    condition = flow.condition(torch.arange(8) % 3 - 1, 8)
    traced = torch.compile(flow.transform.forward, fullgraph=True, dynamic=False, backend="eager")
    with training_step(torch.bfloat16):
        z, log_det = traced(x, condition)
        expected = flow.transform(x, condition)
    torch.testing.assert_close((z, log_det), expected)


def test_only_training_steps_are_compiled(compiles):
    flow, used = vector_flow((3,)), []
    x = torch.zeros(2, 3)
    with flow.compiled():
        encode = flow._compiled
        flow._compiled = lambda *inputs: used.append(1) or encode(*inputs)
        flow.log_prob(x)
        with torch.no_grad(), training_step():
            flow.log_prob(x)
        assert not used
        with training_step():
            flow.log_prob(x)
        assert used
    assert not flow.is_compiled
    assert compiles == [{"fullgraph": True, "dynamic": False}]


@needs_compiler
def test_auto_compiles_what_takes_long(compiles, monkeypatch):
    fo.FlowDensity(**SMALL, training=HERE).fit(ROWS)
    assert not compiles
    monkeypatch.setattr(compiling, "COST", 0.0)
    fo.FlowDensity(**SMALL, training=HERE).fit(ROWS)
    assert len(compiles) == 1
    for other in (Training("cpu", compile=False), Training("cpu", precision="64-true")):
        fo.FlowDensity(**SMALL, training=other).fit(ROWS)
    assert len(compiles) == 1


def test_a_compiler_that_fails_is_told_of_and_done_without(monkeypatch):
    def broken(function, **settings):
        def fail(*inputs):
            raise RuntimeError("no such header\nand much more")

        return fail

    monkeypatch.setattr(torch, "compile", broken)
    asked = Training(accelerator="cpu", compile=True)
    with pytest.warns(
        UserWarning, match=r"compile=True\): the flow couldn't be compiled.*RuntimeError: no such header$"
    ):
        flow = fo.FlowDensity(**SMALL, training=asked).fit(ROWS)
    expected = fo.FlowDensity(**SMALL, training=HERE).fit(ROWS)
    np.testing.assert_array_equal(flow.score_samples(ROWS), expected.score_samples(ROWS))


def test_seconds_grow_with_steps_rows_and_size():
    rows = [torch.zeros(500, 3)]
    flow = vector_flow((3,))
    seconds = training_seconds(flow, rows, Budget(100, 64, 1e-3))
    assert training_seconds(flow, rows, Budget(200, 64, 1e-3)) == pytest.approx(2 * seconds)
    assert training_seconds(flow, rows, Budget(100, 128, 1e-3)) == pytest.approx(2 * seconds)
    assert training_seconds(vector_flow((3,), n_blocks=12), rows, Budget(100, 64, 1e-3)) == pytest.approx(2 * seconds)
    with compiled_for(flow, rows, Budget(100, 64, 1e-3)) as is_compiled:
        assert not is_compiled


@pytest.mark.parametrize("field", ["compile", "gradients"])
def test_what_is_not_a_choice(field):
    with pytest.raises(InvalidSettingError, match=f"Training: {field} must be .*got 'maybe'"):
        Training(**{field: "maybe"})


def test_a_reversible_flow_is_not_compiled(compiles, monkeypatch):
    reversible = {**SMALL, "options": SMALL["options"] | {"reversible": True}}
    with pytest.raises(InvalidSettingError, match="a reversible flow looks at its errors in every step and can't"):
        fo.FlowDensity(**reversible, training=Training(accelerator="cpu", compile=True)).fit(ROWS)
    monkeypatch.setattr(compiling, "COST", 0.0)
    fo.FlowDensity(**reversible, training=HERE).fit(ROWS)
    assert not compiles
