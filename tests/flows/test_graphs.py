"""Flows as ONNX: every transform as one that ONNX has operators for, and whole flows encoded and decoded."""

import numpy as np
import pytest
import torch
from flow_cases import CASES, build_case

import farout as fo
from farout.base.graphs import open_session
from farout.flows.graphs import exportable

ROWS = 6


@pytest.mark.parametrize("name", CASES)
def test_what_is_exported_is_the_same_map(name):
    case = build_case(name)
    made = exportable(case.transform).double().eval()
    events = torch.randn(ROWS, *case.transform.in_shape, generator=torch.Generator().manual_seed(0)).double()
    condition = condition_of(case)
    with torch.no_grad():
        for there, back in ((case.transform, made), (case.transform.inverse, made.inverse)):
            for expected, found in zip(there(events, condition), back(events, condition), strict=True):
                assert torch.allclose(found, expected.expand(found.shape), rtol=1e-9, atol=1e-9)
            events = there(events, condition)[0]


def condition_of(case):
    if not case.conditional:
        return None
    if hasattr(case.module, "condition"):
        return case.module.condition(torch.arange(ROWS) % 4 - 1, ROWS)
    return torch.eye(case.transform.condition_features).double()[torch.arange(ROWS) % 4]


# --- whole flows -----------------------------------------------------------------------------------------------------


def table():
    """300 rows of three classes: a skewed column, one of few levels, one that is constant."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    X = rng.standard_normal((300, 5)) + 3.0 * np.eye(5)[y]
    X[:, 1], X[:, 3], X[:, 4] = np.exp(X[:, 1] / 2), np.round(X[:, 3]), 7.0
    return X, y


def images(channels):
    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    smooth = rng.uniform(size=(60, channels, 8, 8)).cumsum(axis=2).cumsum(axis=3) + 9.0 * y[:, None, None, None]
    return (smooth / smooth.max()).reshape(60, -1), y


SMALL = {"n_blocks": 2, "hidden": 8}
COUPLED = ("nice", "realnvp", "glow", "gin", "spline")
FLOWS = {
    **{f"vector {c}": (table, None, "vector", {"coupling": c} | SMALL) for c in COUPLED},
    "vector reversible": (table, None, "vector", {"reversible": True} | SMALL),
    **{f"table {c}": (table, None, "table", {"coupling": c} | SMALL) for c in COUPLED},
    "toy": (lambda: (table()[0][:, :2], table()[1]), None, "toy", {}),
    "image": (lambda: images(1), (1, 8, 8), "image", {"n_blocks": (1, 1), "hidden": (4, 6)}),
    "image haar": (
        lambda: images(1), (1, 8, 8), "image",
        {"n_blocks": (1,), "hidden": (4,), "downsampling": "haar", "multiscale": True, "n_dense": 1, "dense_hidden": 8},
    ),
    "natural": (lambda: images(3), (3, 8, 8), "natural", {"n_blocks": (1, 1), "hidden": (4, 6)}),
    "seed": (lambda: images(1), (1, 8, 8), "seed", {}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("labelled", [False, True], ids=["", "classes"])
@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_in_a_file_encodes_and_decodes_as_ours(name, labelled, tmp_path):
    pytest.importorskip("onnxscript")
    make, shape, architecture, options = FLOWS[name]
    X, y = make()
    flow = fo.FlowDensity(shape, architecture, options, max_steps=10, random_state=0).fit(X, y if labelled else None)
    rows = X[:9].astype(np.float32)
    indices = np.arange(9) % 4 - 1
    labels = [None if i < 0 else i for i in indices]
    encode = open_session(flow.to_onnx(tmp_path / "flow.onnx"), "encode", 1)
    further = {"y": indices} if labelled else {}
    z, density = encode.run(None, {"rows": rows.reshape(-1, *flow.event_shape_)} | further)
    each = [(rows[i : i + 1], None if not labelled or labels[i] is None else labels[i : i + 1]) for i in range(9)]
    assert np.allclose(z, np.concatenate([flow.encode(*row) for row in each]), atol=1e-4)
    assert np.allclose(density, np.concatenate([flow.score_samples(*row) for row in each]), rtol=1e-4, atol=1e-3)
    decode = open_session(flow.to_onnx(tmp_path / "back.onnx", decode=True), "decode", 1)
    strength = np.linspace(0.5, 2.0, 9)
    (made,) = decode.run(None, {"latent": z, "strength": strength} | further)
    given = [((s * z[i])[None], row[1]) for i, (s, row) in enumerate(zip(strength, each, strict=True))]
    ours = np.concatenate([flow.decode(*row) for row in given])
    assert made.shape == (9, *flow.event_shape_)
    assert np.allclose(made.reshape(9, -1), ours, atol=1e-4 * np.abs(ours).max())
