"""Hostile but finite data: every estimator and source ends in a model whose scores are finite, or in our error."""

import os
import warnings

import numpy as np
import pytest

import farout as fo
from farout.errors import FaroutError

SEED = int(os.environ.get("FAROUT_TEST_SEED", "0"))
RNG = np.random.default_rng(SEED)
N = RNG.normal(size=(60, 4))
LABELS = np.arange(60) % 2
LARGEST = float(np.finfo(np.float32).max)


def with_column(values):
    return np.column_stack([N[:, 0], values, N[:, 2:]])


def with_cell(value):
    rows = N.copy()
    rows[7, 2] = value
    return rows


DATA = {
    "1e308, -1e308 and 1e-308 mixed": RNG.choice([1e308, -1e308, 1e-308], size=(60, 4)),
    "an outlier of 1e300": with_cell(1e300),
    "an outlier of 1e99": with_cell(1e99),
    "a constant column of -1e308": with_column(np.full(60, -1e308)),
    "a column of 1e200": with_column(N[:, 1] * 1e200),
    "all of 1e99": N * 1e99,
    "denormals": N * 1e-310,
    "a column of denormals": with_column(N[:, 1] * 1e-310),
    "all of 1e-200": N * 1e-200,
    "constant columns": np.column_stack([N[:, :2], np.full(60, 5.0), np.zeros(60)]),
    "two rows": N[:2],
    "two rows of 1e308": np.array([[1e308, -1e308, 0, 1], [-1e308, 1e308, 1, 0]]),
    "one row": N[:1],
    "all rows equal": np.tile(N[:1], (60, 1)),
    "a column 1e20 times another": with_column(N[:, 1] * 1e20),
    "float32's largest": (np.sign(N) * LARGEST).astype(np.float32),
    "some of float32's largest": np.where(RNG.random((60, 4)) < 0.1, LARGEST, N).astype(np.float32),
    "integers near 2**63": RNG.integers(2**63 - 100, 2**63 - 1, size=(60, 4)),
    "integers between": RNG.integers(-(2**63), 2**63 - 1, size=(60, 4)),
    "booleans": RNG.random((60, 4)) < 0.5,
}
QUICK = {"max_steps": 3, "random_state": 0}


def flow():
    return fo.FlowDensity(options={"n_blocks": 1, "hidden": 8}, **QUICK)


MODELS = {
    "flow": flow,
    "flow, table": lambda: fo.FlowDensity(architecture="table", **QUICK),
    "archetypes": lambda: fo.ArchetypalAnalysis(2, n_init=1, random_state=0),
    "deep archetypes": lambda: fo.DeepArchetypes(2, flow=flow(), **QUICK),
    "detector": lambda: fo.FlowDetector(random_state=0),
    "detector, likelihood": lambda: fo.FlowDetector("likelihood", flow=flow(), random_state=0),
    "detector, typicality": lambda: fo.FlowDetector("typicality", flow=flow(), random_state=0),
    "detector, ratio": lambda: fo.FlowDetector("ratio", flow=flow(), random_state=0),
    "discriminator": lambda: fo.OutlierDiscriminator(fo.Noise(), **QUICK),
    "classifier": lambda: fo.CautiousClassifier(fo.Noise(), distance_aware=True, **QUICK),
    "shell": lambda: fo.NormalShell(flow=flow()),
    "shell by class": lambda: fo.NormalShell(flow=flow(), covariance="class"),
    "Gumbel shell": lambda: fo.GumbelShell(flow=flow()),
    "collage": lambda: fo.Collage(flow=flow()),
    "boundary": lambda: fo.Boundary(flow=flow()),
    "exchange": lambda: fo.Exchange(),
    "exchange of latents": lambda: fo.Exchange(space="latents", flow=flow()),
    "noise": lambda: fo.Noise(),
    "mixture": lambda: fo.Mixture([fo.Noise(), fo.NormalShell(flow=flow())]),
    "salient": lambda: fo.Salient(flow=flow()),
    "scrambled": lambda: fo.Scrambled(),
    "turned": lambda: fo.Turned(),
    "walk": lambda: fo.Walk(flow=flow()),
}
SLOW = {
    "archetypal": lambda: fo.Archetypal(),
    "nullspace": lambda: fo.Nullspace(),
    "recommended": lambda: fo.Recommended(),
    "classifier as it comes": lambda: fo.CautiousClassifier(**QUICK),
    "discriminator as it comes": lambda: fo.OutlierDiscriminator(**QUICK),
}
WITHOUT_LABELS = ("archetypes", "detector", "discriminator", "noise", "scrambled")
QUICK_MODELS = [
    "flow",
    "archetypes",
    "detector, likelihood",
    "detector, ratio",
    "classifier",
    "shell",
]
EASY = ("a column of denormals", "all of 1e-200", "constant columns", "a column 1e20 times another", "booleans")


def ends_well(model, X, y):
    """A model of finite answers, or our error and nothing fitted."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)  # of values that look like codes for missing ones
        error = None
        try:
            model.fit(X, y)
        except FaroutError as found:
            error = found
        if error is not None:
            assert not [k for k in vars(model) if k.endswith("_")]
            assert len(str(error)) > 40, "it says what to do"
            return False
        for name in ("score_samples", "decision_function", "predict_proba", "p_values", "transform"):
            if hasattr(model, name):
                assert np.isfinite(getattr(model, name)(X)).all(), name
        if hasattr(model, "sample"):
            drawn = model.sample(4, random_state=0)
            assert np.isfinite(drawn.x if hasattr(drawn, "x") else drawn[0]).all()
        if hasattr(model, "reconstruct"):
            assert np.isfinite(model.reconstruct(X, y)).all()
    return True


@pytest.mark.parametrize("name", QUICK_MODELS)
def test_hostile_data(name):
    ended = {}
    for data, X in DATA.items():
        y = None if name in WITHOUT_LABELS else LABELS[: len(X)]
        ended[data] = ends_well(MODELS[name](), X, y)
    for data in EASY:
        assert ended[data], f"{data}: a model can be had of it"
    for data in ("an outlier of 1e300", "a column of 1e200"):
        assert ended[data] == name.startswith(("flow", "detector")), "units of flows are learned in another unit"


@pytest.mark.slow
@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("name", [*MODELS, *SLOW])
def test_hostile_data_with_labels_and_without(name, data):
    make = (MODELS | SLOW)[name]
    if not name.startswith(("classifier", "detector, ratio", "shell by class")):
        ends_well(make(), DATA[data], None)
    if name not in WITHOUT_LABELS:
        ends_well(make(), DATA[data], LABELS[: len(DATA[data])])


def test_the_error_names_the_column_of_a_frame():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"height": N[:, 0], "weight": with_cell(1e300)[:, 2], "age": N[:, 1]})
    with pytest.raises(FaroutError, match=r"Analysis: X has 1e\+300 in row 7, column 'weight', and a fit takes"):
        fo.ArchetypalAnalysis(2).fit(frame)


def test_archetypes_of_two_rows_of_float32s_largest_are_these_rows():
    X = np.array([[LARGEST, 0], [-LARGEST, 0]], dtype=np.float32)
    model = fo.ArchetypalAnalysis(2, random_state=0).fit(X)
    assert np.isfinite(model.archetypes_).all()
    assert np.isfinite(model.reconstruction_error_)
    np.testing.assert_allclose(np.sort(model.archetypes_[:, 0]), [-LARGEST, LARGEST], rtol=1e-6)


@pytest.mark.parametrize("unit", [1e-310, 1e-200, 1e90])
def test_archetypes_are_the_same_in_every_unit(unit):
    plain, scaled = (fo.ArchetypalAnalysis(3, random_state=0).fit(N * u) for u in (1.0, unit))
    close = 1e-3 if unit < 1e-300 else 1e-6
    np.testing.assert_allclose(scaled.archetypes_ / unit, plain.archetypes_, atol=close)
    np.testing.assert_allclose(scaled.transform(N * unit), plain.transform(N), atol=10 * close)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_weights_of_rows_far_out_are_those_of_the_nearest_point(kind):
    model = fo.ArchetypalAnalysis(3, random_state=0).fit(N)
    with np.errstate(over="ignore"):
        far = [model.transform((N[:9] * size).clip(-3e38, 3e38).astype(kind)) for size in (1e9, 1e20, 1e30)]
    for weights in far:
        np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_allclose(weights, far[0], atol=1e-4)
    assert np.isfinite(model.transform(N[:9] * 1e300)).all()


@pytest.mark.parametrize("size", [1e20, 1e100, 1e300])
@pytest.mark.parametrize("make", [fo.CautiousClassifier, fo.OutlierDiscriminator])
def test_image_networks_answer_far_out(make, size):
    X = RNG.random((40, 16))
    model = make(fo.Noise(), event_shape=(1, 4, 4), max_steps=2, random_state=0).fit(X, np.arange(40) % 2)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*the images of training lie in", UserWarning)
        assert np.isfinite(model.score_samples(X * size)).all()
