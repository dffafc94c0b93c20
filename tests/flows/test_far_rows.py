"""Far out, every ready architecture, trained: a finite answer, or an error that names the row's size or strength."""

import math
import os
import re

import numpy as np
import pytest

import farout as fo
from farout.errors import DivergedError

pytestmark = pytest.mark.filterwarnings("ignore:Flow.*the images of training lie in:UserWarning")

SEED = int(os.environ.get("FAROUT_TEST_SEED", "0"))  # of the slow tests: other rows, other latents
STRENGTHS = (10, 30, 100, 300, 1000)
SIZES = (1e3, 1e6, 1e10, 1e20, 1e30, 1e38, 1e100, 1e300)  # up to 1e38 in float32 too
SMALL = {"n_blocks": (2, 1), "hidden": (8, 8)}
VECTOR = {"n_blocks": 2, "hidden": 8}


def settings(kind, **options):
    if kind in ("vector", "table", "toy"):
        return {"architecture": kind, "options": options or None}
    return {"architecture": kind, "event_shape": (3 if kind == "natural" else 1, 4, 4), "options": options or None}


ARCHITECTURES = {
    **{f"vector {c}": settings("vector", coupling=c, **VECTOR) for c in ("glow", "realnvp", "gin", "nice", "spline")},
    "vector reversible": settings("vector", reversible=True, **VECTOR),
    "table": settings("table", **VECTOR),
    "toy": settings("toy"),
    "seed": settings("seed"),
    **{f"image {c}": settings("image", coupling=c, **SMALL) for c in ("glow", "realnvp", "gin", "nice", "spline")},
    "image multiscale": settings("image", multiscale=True, downsampling="haar", n_dense=1, dense_hidden=8, **SMALL),
    "image reversible": settings("image", reversible=True, **SMALL),
    "natural": settings("natural", **SMALL),
    "natural spline": settings("natural", coupling="spline", **SMALL),
    "natural reversible": settings("natural", reversible=True, **SMALL),
}
QUICK = ["vector spline", "table", "image glow", "natural spline"]


def trained(name, classes, steps):
    given = ARCHITECTURES[name]
    rng = np.random.default_rng(SEED)
    d = math.prod(given.get("event_shape", (4,)))
    y = np.arange(150) % 3
    X = rng.normal(size=(150, d)) @ rng.normal(size=(d, d)) + 3 * y[:, None]
    if "event_shape" in given:
        X = np.clip(X / 8 + 0.5, 0, 1)
    flow = fo.FlowDensity(**given, max_steps=steps, random_state=SEED)
    return flow.fit(X, y if classes else None), X, y if classes else None


def told(ask, pattern):
    """The answer, finite; None where it is an error that says ``pattern``."""
    answer, said = None, pattern
    try:
        answer = np.asarray(ask())
    except DivergedError as error:
        said = str(error)
    assert answer is None or np.isfinite(answer).all()
    assert answer is not None or re.search(pattern, said), said
    return answer


def attack(name, classes, steps, n):
    flow, X, y = trained(name, classes, steps)
    rng = np.random.default_rng(SEED)
    labels = None if y is None else y[:n]
    for strength in STRENGTHS:
        Z = strength * rng.standard_normal((n, X.shape[1]))
        for of in (labels, None):
            answer = told(lambda Z=Z, of=of: flow.decode(Z, of), rf"row \d+: decoding .* strength {strength / 10:.0f}")
            assert answer is not None or strength >= 100, "up to 30 sigma there is an answer"
    scores = ["likelihood", "typicality", *(["ratio"] if classes else [])]
    detectors = {score: fo.FlowDetector(score, flow=flow, random_state=0).fit(X) for score in scores}
    sizes = [(s, t) for s in SIZES for t in (np.float32, np.float64) if s <= 1e38 or t is np.float64]
    for size, kind in sizes:
        rows = (X[:n] * size).clip(-3e38, 3e38).astype(kind) if size <= 1e38 else X[:n] * size
        far = r"row \d+: .* with numbers up to \d.*e\+\d+|row \d+: .* numbers up to"
        latents = told(lambda rows=rows: flow.encode(rows, labels), far)
        densities = told(lambda rows=rows: flow.score_samples(rows, labels), far)
        assert size > 1e30 or (latents is not None and densities is not None), "within single precision it is known"
        if classes:
            told(lambda rows=rows: flow.class_log_probs(rows), far)
        for score, detector in detectors.items():
            assert np.isfinite(detector.score_samples(rows)).all()
            assert np.isfinite(detector.decision_function(rows)).all()
            assert score == "typicality" or (detector.predict(rows) == -1).all(), (score, size)


@pytest.mark.parametrize("name", QUICK)
def test_far_out(name):
    attack(name, name != "table", 3, 4)


@pytest.mark.slow
@pytest.mark.parametrize("classes", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_far_out_after_a_longer_training(name, classes):
    attack(name, classes, 150, 60)


def test_the_row_is_counted_over_all_rows_and_not_within_a_chunk():
    flow, X, _ = trained("image glow", classes=False, steps=3)
    rows = np.resize(X, (1300, X.shape[1])).copy()
    rows[1201] *= 1e300
    with pytest.raises(DivergedError, match=r"^FlowDensity: row 1201: encoding gave .* up to .*e\+(299|300)\. Look"):
        flow.encode(rows)
    with pytest.raises(DivergedError, match=r"^FlowDensity: row 1201: its log-density is below all numbers") as caught:
        flow.score_samples(rows)
    assert caught.value.row == 1201
    found = flow.densities(rows)
    assert np.flatnonzero(~np.isfinite(found)).tolist() == [1201], "the rows beside it are as they were"
    assert np.array_equal(found[:1024], flow.score_samples(rows[:1024]))


def test_images_twenty_orders_of_magnitude_away_have_a_density():
    """Squares of single precision overflowed there: 20 of 20 densities were no numbers."""
    flow, X, _ = trained("image glow", classes=False, steps=3)
    found = flow.score_samples(X[:20] * 1e20)
    assert (found < -1e38).all()
    assert np.isfinite(found).all()


def test_large_numbers_whose_sum_overflows_are_numbers():
    """A constant column of -1e99 and others like it: the sum of many such isn't what is asked for."""
    X = np.random.default_rng(0).normal(size=(60, 4))
    X[:, 1] = -9e99
    flow = fo.FlowDensity(max_steps=3, random_state=0).fit(X)
    assert (flow.decode(flow.encode(X))[:, 1] == -9e99).all()
