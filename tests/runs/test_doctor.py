"""The doctor finds nothing in what is sound, and each damage by its own finding."""

import copy
import json

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError

import farout as fo
from farout.errors import InvalidDataError, InvalidTypeError
from farout.flows.actnorm import ActNorm
from farout.flows.coupling import Coupling

X, Y = make_blobs(900, centers=3, n_features=4, random_state=0)
SEEN, FRESH = slice(0, 500), slice(500, None)
OPTIONS = {"n_blocks": 2, "hidden": 16}


@pytest.fixture(scope="module")
def flow():
    return fo.FlowDensity(options=OPTIONS, max_steps=150, validation_fraction=0.1, random_state=0).fit(X[SEEN], Y[SEEN])


@pytest.fixture(scope="module")
def detector(flow):
    """Its flow has seen other rows, as it should."""
    return fo.FlowDetector("likelihood", flow=flow, calibration_fraction=0.5, random_state=0).fit(X[500:700])


def bad(diagnosis):
    return {f.name for f in diagnosis.findings if f.verdict in ("look", "broken")}


def test_a_sound_flow_is_ok(flow):
    found = fo.doctor(flow, X[FRESH], Y[FRESH])
    assert found.worst == "OK", str(found)
    told = {f.name: f.verdict for f in found.findings}
    assert {name for name, verdict in told.items() if verdict == "absent"} == {"threshold", "p-values"}
    for strength in (1, 3, 10):
        assert found[f"round trip, {strength} sigma"].value < 1e-3
    assert found["classes of samples"].value > 0.9


def test_a_sound_detector_is_ok(detector):
    found = fo.doctor(detector, X[700:], Y[700:])
    assert found.worst == "OK", str(found)
    assert not [f for f in found.findings if f.verdict == "absent"]


def test_without_rows_it_says_what_it_needs(detector):
    found = fo.doctor(detector)
    for name in ("radii of held-out rows", "threshold", "p-values"):
        assert found[name].verdict == "absent"
        assert "held-out rows" in found[name].told
    assert found["couplings at their bound"].verdict == "OK"


def damaged(model):
    return copy.deepcopy(model)


def test_a_dead_channel_is_found(flow):
    broken = damaged(flow)
    norms = [m for m in broken.flow_.modules() if isinstance(m, ActNorm)]
    norms[1].raw_log_scale[2] = -1e6
    assert "ActNorm channels" in bad(fo.doctor(broken))
    found = fo.doctor(broken, X[FRESH], Y[FRESH])["ActNorm channels"]
    assert found.value >= 1
    assert "nearly constant" in found.advice


@pytest.mark.parametrize("coupling", ["glow", "realnvp", "gin", "spline"])
def test_a_coupling_at_its_bound_is_found(coupling):
    options = {**OPTIONS, "coupling": coupling}
    broken = fo.FlowDensity(options=options, max_steps=3, random_state=0).fit(X[SEEN])
    assert fo.doctor(broken, X[FRESH])["couplings at their bound"].verdict == "OK"
    first = next(m for m in broken.flow_.modules() if isinstance(m, Coupling))
    for half in (first.first, first.second):
        network = half["scale"] if coupling == "realnvp" else half
        bias = network.layers[-1].bias
        places = {"realnvp": slice(None), "spline": slice(2 * len(bias) // 3, None)}
        bias[places.get(coupling, slice(len(bias) // 2))] = 1e4  # of scales alone, not of shifts
    for rows in (None, X[FRESH]):
        found = fo.doctor(broken, rows)["couplings at their bound"]
        assert found.value == 1
        assert found.verdict == "broken" if rows is None else found.verdict in ("look", "broken")
        assert "clamp" in found.advice


def test_radii_off_by_a_factor_are_found(flow):
    broken = damaged(flow)
    broken.held_radii_ = 2 * broken.held_radii_
    found = fo.doctor(broken, X[FRESH], Y[FRESH])
    assert bad(found) == {"radii against chi", "radii of held-out rows"}
    assert found.worst == "broken"
    assert found["radii against chi"].value == pytest.approx(2, rel=0.2)


def test_rows_unlike_those_of_training_are_found(flow):
    found = fo.doctor(flow, 1.5 * X[FRESH], Y[FRESH])
    assert "radii of held-out rows" in bad(found)


def test_a_threshold_set_on_rows_that_the_flow_has_learned_is_found(detector):
    broken = damaged(detector)
    broken.calibration_scores_ = broken.calibration_scores_ + 3.0
    broken.offset_ += 3.0
    assert bad(fo.doctor(broken, X[700:], Y[700:])) == {"threshold", "p-values"}
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(240, 12))  # so few that a training learns them by heart
    options = {"n_blocks": 3, "hidden": 64}
    flow = fo.FlowDensity(
        options=options, noise=0.0, max_steps=150, learning_rate=5e-3, validation_fraction=0, random_state=0
    ).fit(rows[:60])
    seen = fo.FlowDetector("likelihood", flow=flow, calibration_fraction=0, random_state=0).fit(rows[:60])
    found = fo.doctor(seen, rows[60:])["threshold"]
    assert found.verdict in ("look", "broken")
    assert "hasn't seen" in found.advice


def test_a_weight_that_is_no_number_is_found_and_the_rest_is_not_measured(detector):
    broken = damaged(detector)
    next(broken.flow_.flow_.parameters()).view(-1)[0] = torch.nan
    found = fo.doctor(broken, X[700:], Y[700:])
    assert bad(found) == {"finite weights"}
    assert found.worst == "broken"
    assert "FlowDensity.flow_: " in found["finite weights"].told
    assert all(f.verdict == "absent" for f in found.findings[1:])


def test_a_flow_that_mixes_up_its_classes_is_found(flow):
    broken = damaged(flow)
    broken.classes_ = flow.classes_
    weight = broken.flow_.embedding.weight
    weight[[0, 1]] = weight[[1, 0]].clone()
    model = fo.CautiousClassifier(fo.Noise(), max_steps=60, random_state=0).fit(X[SEEN], Y[SEEN])
    assert fo.doctor(model)["classes of samples"].verdict == "absent"
    shell = fo.NormalShell(flow=flow)
    model = fo.CautiousClassifier(shell, max_steps=60, random_state=0).fit(X[SEEN], Y[SEEN])
    assert fo.doctor(model)["classes of samples"].verdict == "OK"
    model.source_.flow_ = broken
    found = fo.doctor(model)["classes of samples"]
    assert found.verdict == "broken"
    assert "the classifier takes 0% for it" in found.told


@pytest.mark.parametrize(
    "model",
    [
        fo.ArchetypalAnalysis(3, random_state=0),
        fo.OutlierDiscriminator(fo.Noise(), max_steps=20, random_state=0),
        fo.DeepArchetypes(2, flow=fo.FlowDensity(options=OPTIONS, max_steps=20), max_steps=10, random_state=0),
        fo.NormalShell(flow=fo.FlowDensity(options=OPTIONS, max_steps=20, random_state=0)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_every_kind_of_model_is_measured_by_what_it_has(model):
    found = fo.doctor(model.fit(X[SEEN]), X[FRESH])
    assert len(found.findings) == 11
    for finding in found.findings:
        assert (finding.value is None) == (finding.verdict == "absent")
        assert finding.told
    assert found["finite weights"].verdict == "OK"
    assert json.loads(json.dumps(found.to_dict()))["worst"] == found.worst
    assert max(map(len, str(found).splitlines())) <= 80


def test_what_it_refuses(flow):
    with pytest.raises(InvalidTypeError, match=r"must be an estimator of farout; .* farout\.stress_test"):
        fo.doctor(object())
    with pytest.raises(NotFittedError):
        fo.doctor(fo.FlowDensity())
    with pytest.raises(InvalidDataError, match="X has 400 rows, but y has 3 labels"):
        fo.doctor(flow, X[FRESH], Y[:3])


def test_the_model_is_left_as_it_was(flow):
    before = copy.deepcopy(flow.flow_.state_dict())
    state = torch.random.get_rng_state()
    first, again = (str(fo.doctor(flow, X[FRESH], Y[FRESH])) for _ in range(2))
    assert first == again
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[k], v) for k, v in flow.flow_.state_dict().items())
    assert not any(m._forward_hooks for m in flow.flow_.modules())


def test_rows_of_classes_that_the_model_never_saw_are_refused(flow):
    strange = np.where(np.arange(len(Y[FRESH])) < 3, 99, Y[FRESH])
    with pytest.raises(InvalidDataError, match=r"3 of .* never saw \(99\)"):
        fo.doctor(flow, X[FRESH], strange)
