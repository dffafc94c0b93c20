"""One flow for all who ask for the same within a fit, and no rows kept for it."""

import gc
import weakref

import numpy as np
import pytest

import farout as fo
from farout.base.estimator import Defaults, Estimator
from farout.detectors import exposure, flow_detector
from farout.flows.sharing import fitted_flow


@pytest.fixture
def owner():
    made = fo.FlowDetector(random_state=0)
    made._handed = Defaults(random_state=0)
    return made


def asked():
    return fo.FlowDensity(max_steps=5)


def test_the_same_rows_get_the_same_flow_which_keeps_none_of_them(owner):
    rows = np.random.default_rng(0).normal(size=(300, 3))
    flow, kept = fitted_flow(owner, asked(), rows, None), weakref.ref(rows)
    assert fitted_flow(owner, asked(), rows[:], None) is flow
    assert fitted_flow(owner, fo.FlowDensity(max_steps=6), rows, None) is not flow
    del rows
    gc.collect()
    assert kept() is None


def test_other_rows_in_the_place_of_former_ones_get_a_flow_of_their_own(owner):
    memory, rng = bytearray(300 * 3 * 8), np.random.default_rng(0)

    def rows(mean):
        made = np.frombuffer(memory, np.float64).reshape(300, 3)
        made[:] = rng.normal(mean, size=(300, 3))
        return made

    former = fitted_flow(owner, asked(), rows(0.0), None)
    gc.collect()
    other = fitted_flow(owner, asked(), rows(50.0), None)
    assert other is not former
    assert np.abs(other.sample(100, random_state=0)[0].mean() - 50) < 5


@pytest.mark.parametrize(
    ("model", "module", "name"),
    [
        (fo.FlowDetector(flow=asked(), random_state=0), flow_detector, "kept_views"),
        (fo.FlowDetector("likelihood", flow=asked(), random_state=0), flow_detector, "flow_scores"),
        (fo.OutlierDiscriminator(fo.NormalShell(flow=asked()), max_steps=5, random_state=0), exposure, "kept_in_units"),
    ],
)
def test_what_a_model_copied_for_training_is_let_go_before_it_sets_its_scale(model, module, name, monkeypatch):
    """The copy, as large as the data, and what scores are compared with are never there at once."""
    copies, there = [], []
    checked, wanted = Estimator._check_rows, getattr(module, name)

    class Rows(np.ndarray):
        def __getitem__(self, which):
            made = super().__getitem__(which)
            if isinstance(which, np.ndarray) and which.ndim == 1 and len(which) > len(self) / 2:
                copies.append(weakref.ref(made))
            return made

    def looked(*given, **named):
        gc.collect()
        there.append(sum(copy() is not None for copy in copies))
        return wanted(*given, **named)

    monkeypatch.setattr(module, name, looked)
    monkeypatch.setattr(type(model), "_check_rows", lambda *given: checked(*given).view(Rows))
    model.fit(np.random.default_rng(0).normal(size=(400, 3)))
    assert copies
    assert there
    assert not any(there)
