"""The same questions to every public estimator and source: refits, failed fits, one flow for all, names, clones."""

import contextlib
import dataclasses
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

import farout as fo
from farout.base.encoding import fitted_state
from farout.base.estimator import Estimator, is_fitted
from farout.errors import FaroutError
from farout.outliers.source import OutlierSource

# Labels here have nothing to do with the rows, which a wrapped network tells of.
pytestmark = pytest.mark.filterwarnings("ignore:.*no better than guessing")
IMAGE = (1, 8, 8)
SMALL = {"n_blocks": 1, "hidden": 8}
SMALL_IMAGE = {"n_blocks": (1,), "hidden": (4,), "n_dense": 1, "dense_hidden": 8}
SHORT = {"max_steps": 2, "random_state": 0}
RNG = np.random.default_rng(0)
ROWS, LABELS = RNG.standard_normal((240, 4)), np.tile(["a", "b"], 120)  # enough for flows to be trained
TABLE = pa.table({name: ROWS[:, i] for i, name in enumerate(["north", "east", "up", "time"])})
OTHERS = RNG.standard_normal((50, 5)).astype(np.float32)
IMAGES = RNG.integers(0, 17, (240, 64)).astype(float)
OTHER_IMAGES = RNG.uniform(size=(50, 64))


def flow(**settings):
    return fo.FlowDensity(options=SMALL, max_steps=2, **settings)


def image_flow(**settings):
    return fo.FlowDensity(IMAGE, options=SMALL_IMAGE, max_steps=2, **settings)


def deep(**settings):
    return fo.DeepArchetypes(3, flow(), max_steps=2, **settings)


def shells(**settings):
    return [fo.NormalShell(flow=flow(), **settings), fo.GumbelShell(flow=flow())]


class Trained(torch.nn.Module):
    """Two classes, of rows of any width."""

    def __init__(self):
        super().__init__()
        self.last = torch.nn.Linear(3, 2)

    def forward(self, x):
        return 9 * self.last(torch.stack([x[:, 0], x[:, -1], x.square().mean(1)], dim=1))


# Settings of a first fit on a table with labels, and of a second one on other rows, without names or labels.
CASES = {
    "FlowDensity": (
        {"options": SMALL, **SHORT},
        {"architecture": "table", "options": SMALL, "class_dropout": 0.0, "noise": 0.1} | SHORT,
    ),
    "ArchetypalAnalysis": ({"random_state": 0}, {"n_archetypes": 2, "random_state": 1}),
    "DeepArchetypes": (
        {"flow": flow(), **SHORT},
        {"flow": flow(), "n_archetypes": 2, "joint": False, "head": "simplex", "bias": True, "positions": "learned"}
        | SHORT,
    ),
    "NormalShell": (
        {"flow": flow(), "covariance": "class", "random_state": 0},
        {"flow": flow(), "covariance": "identity", "strength": (2.0, 3.0), "random_state": 1},
    ),
    "GumbelShell": (
        {"flow": flow(), "covariance": "class", "random_state": 0},
        {"flow": flow(), "covariance": "identity", "law": "author", "random_state": 1},
    ),
    "Exchange": (
        {"partner": "other", "space": "latent", "flow": flow(), "random_state": 0},
        {"chance": 0.3, "block": 2, "max_rows": 40, "random_state": 1},
    ),
    "Noise": ({"strength": 2.0}, {"strength": (1.0, 3.0), "distribution": "uniform"}),
    "Archetypal": (
        {"base": deep(), "random_state": 0},
        {"base": deep(head="simplex"), "beyond": 1.0, "random_state": 1},
    ),
    "Nullspace": (
        {"base": deep(), "w": "own", "random_state": 0},
        {"base": deep(joint=False), "w": "fitted", "exact": False, "random_state": 1},
    ),
    "Collage": ({"flow": flow(), "random_state": 0}, {"flow": flow(), "bound": None, "random_state": 1}),
    "Boundary": (
        {"flow": flow(), "quantile": 0.5, "random_state": 0},
        {"flow": flow(), "quantile": 0.4, "reach": 2.0, "random_state": 1},
    ),
    "Walk": (
        {"flow": flow(), "n_candidates": 20, "random_state": 0},
        {"flow": flow(), "n_candidates": 10, "n_clusters": 3, "random_state": 1},
    ),
    "Turned": ({"event_shape": IMAGE, "random_state": 0}, {"event_shape": IMAGE, "quantile": 0.3, "random_state": 1}),
    "Critic": (
        {"event_shape": IMAGE, "max_steps": 3, "random_state": 0},
        {"event_shape": IMAGE, "max_steps": 2, "random_state": 1},
    ),
    "Salient": (
        {"event_shape": IMAGE, "random_state": 0},
        {"event_shape": IMAGE, "share": 0.2, "quantile": 0.3, "random_state": 1},
    ),
    "Scrambled": (
        {"event_shape": IMAGE, "random_state": 0},
        {"event_shape": IMAGE, "max_rows": 30, "random_state": 1},
    ),
    "Mixture": (
        {"sources": shells(covariance="class"), "random_state": 0},
        {"sources": [fo.RealOutliers(np.full((3, 5), 9.0)), *shells()], "weights": [1, 2, 3], "random_state": 1},
    ),
    "Recommended": (
        {"flow": image_flow(), "event_shape": IMAGE, "random_state": 0},
        {"flow": flow(), "event_shape": None, "random_state": 1},
    ),
    "RealOutliers": ({"X": np.full((3, 4), 9.0)}, {"X": np.full((4, 5), -9.0)}),
    "FlowDetector": (
        {"flow": flow(), "random_state": 0},
        {"flow": flow(), "score_by": "typicality", "calibration_fraction": 0.0, "random_state": 1},
    ),
    "OutlierDiscriminator": (
        {"source": fo.NormalShell(flow=flow()), "distance_aware": True, "one_vs_rest": True} | SHORT,
        {"source": fo.NormalShell(flow=flow()), "distance_aware": False, "one_vs_rest": False} | SHORT,
    ),
    "CautiousClassifier": (
        {"source": fo.NormalShell(flow=flow()), "distance_aware": True, "auxiliary_weight": 0.5} | SHORT,
        {"source": None, "beta": 0.0, "distance_aware": False, "auxiliary_weight": 0.0} | SHORT,
    ),
    "WrappedClassifier": (
        {"network": Trained(), "classes": ["b", "a"], "random_state": 0},
        {"network": Trained(), "score_by": "knn", "calibration_fraction": 0.2, "random_state": 1},
    ),
}
ON_IMAGES = dict.fromkeys(("Turned", "Critic", "Salient", "Scrambled"), (True, True)) | {"Recommended": (True, False)}
# A setting that makes no sense.
WRONG = {
    "Noise": {"strength": -1},
    "RealOutliers": {"X": np.array([["a"] * 4])},
    "Mixture": {"weights": [-1]},
    "Archetypal": {"beyond": -1},
}


def data(name, which):
    """Rows and labels of the first fit, or of the second."""
    images = ON_IMAGES.get(name, (False, False))[which]
    if which == 0:
        return (IMAGES if images else TABLE), LABELS
    return (OTHER_IMAGES if images else OTHERS), (LABELS[:50] == "a" if name == "CautiousClassifier" else None)


def made(name, which=0):
    """An unfitted model with copies of the settings: those of the first fit, or of the second."""
    return clone(getattr(fo, name)(**CASES[name][which]))


def used(name, model, which=0):
    """What a fitted model gives: one array for each method that it has."""
    X = data(name, which)[0]
    out = {}
    for method in ("score_samples", "predict", "predict_proba", "encode", "transform", "process_inliers", "features"):
        if hasattr(model, method):
            settings = {"random_state": 0} if method == "process_inliers" else {}
            out[method] = getattr(model, method)(X, **settings)
    if isinstance(model, OutlierSource):
        out["sample"] = model.sample(20, random_state=0).x
    elif hasattr(model, "sample"):
        out["sample"] = model.sample(20, random_state=0)[0]
    return out


def assert_same(a, b, where=""):
    """Two values of one type and content, whatever they are made of."""
    assert type(a) is type(b), where
    if isinstance(a, Estimator):
        kept = [name for name in vars(a) if name not in a._caches]
        assert set(kept) == {name for name in vars(b) if name not in b._caches}, where
        for name in kept:
            assert_same(vars(a)[name], vars(b)[name], f"{where}.{name}")
    elif isinstance(a, torch.nn.Module):
        assert_same(dict(a.state_dict()), dict(b.state_dict()), where)
    elif isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert a.device == b.device, where
        assert_same(a.detach().cpu().numpy(), b.detach().cpu().numpy(), where)
    elif isinstance(a, Mapping):
        assert a.keys() == b.keys(), where
        for key in a:
            assert_same(a[key], b[key], f"{where}[{key!r}]")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{where}[{i}]")
    elif dataclasses.is_dataclass(a):
        for field in dataclasses.fields(a):
            assert_same(getattr(a, field.name), getattr(b, field.name), f"{where}.{field.name}")
    elif isinstance(a, np.ndarray):
        assert a.dtype == b.dtype, where
        np.testing.assert_array_equal(a, b, err_msg=where)
    elif type(a).__module__.startswith(("farout.", "sklearn.")):
        assert_same(vars(a), vars(b), where)
    else:
        assert a == b or (a != a and b != b), where  # not a number, where a figure has none at a step


def assert_unfitted(name, model):
    assert fitted_state(model) == {}
    assert {key for key in vars(model) if key.startswith("_")} == set()
    for ask in (lambda: used(name, model), lambda: check_is_fitted(model), lambda: model.save("never")):
        with pytest.raises(NotFittedError):
            ask()


@pytest.fixture(scope="module")
def fitted():
    """Each model fitted once on the first data; tests don't change them."""
    models = {}

    def get(name):
        if name not in models:
            models[name] = made(name).fit(*data(name, 0))
        return models[name]

    return get


@pytest.fixture
def fits(monkeypatch):
    """The flows that are fitted, in order; none takes more than two steps."""
    seen, fit = [], fo.FlowDensity._fit
    monkeypatch.setattr(fo.FlowDensity, "_fit", lambda self, X, y: (seen.append(self), fit(self, X, y))[1])
    monkeypatch.setattr(fo.FlowDensity, "_steps", lambda *_: 2)
    return seen


def test_no_public_estimator_is_missing():
    public = {name for name in fo.__all__ if isinstance(getattr(fo, name), type)}
    assert {name for name in public if issubclass(getattr(fo, name), Estimator)} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_few_classes_of_our_own(name):
    own = [c for c in getattr(fo, name).__mro__ if c.__module__.startswith("farout.")]
    assert len(own) <= 4, own


@pytest.mark.parametrize("name", CASES)
def test_a_refit_with_other_settings_equals_a_fresh_fit(name):
    again, fresh = made(name), made(name, 1).fit(*data(name, 1))
    again.fit(*data(name, 0))
    assert_same(again.set_params(**made(name, 1).get_params(deep=False)).fit(*data(name, 1)), fresh, name)
    assert_same(used(name, again, 1), used(name, fresh, 1), name)
    for model in fresh.nested_models():
        assert {key for key in vars(model) if key.startswith("_")} <= set(model._caches)


@contextlib.contextmanager
def double_by_default():
    torch.set_default_dtype(torch.float64)
    try:
        yield
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("caller", [torch.no_grad, torch.inference_mode, double_by_default])
@pytest.mark.parametrize("name", CASES)
def test_what_the_caller_set_in_torch_changes_nothing(name, caller, fitted, tmp_path):
    with caller():
        model = made(name).fit(*data(name, 0))
        again = used(name, model)
        model.save(tmp_path / "run")
        loaded = fo.load(tmp_path / "run", **({"network": Trained()} if name == "WrappedClassifier" else {}))
        later = used(name, loaded)
    expected = used(name, fitted(name))
    assert_same(model, fitted(name), name)
    assert_same(again, expected, name)
    assert_same(later, expected, name)


@pytest.mark.parametrize("name", CASES)
def test_a_failed_fit_leaves_nothing(name):
    X, y = data(name, 0)
    model = made(name)
    nested = [m for m in model.nested_models() if m is not model]
    bad = (np.full((60, 64 if name in ON_IMAGES else 4), np.nan), y)
    with pytest.raises(FaroutError):
        model.fit(*bad)
    assert_unfitted(name, model)
    with pytest.raises(FaroutError):
        model.fit(X, y).fit(*bad)
    assert_unfitted(name, model)
    with pytest.raises(FaroutError):
        model.set_params(**WRONG.get(name, {"random_state": -1})).fit(X, y)
    assert_unfitted(name, model)
    assert not any(map(is_fitted, nested)), "models that were given stay as they are"


@pytest.mark.parametrize("name", CASES)
def test_a_fit_that_is_broken_off_leaves_nothing(name, monkeypatch):
    model, inner = made(name), {"ArchetypalAnalysis": "_find"}.get(name, "_fit")
    method = getattr(type(model), inner)

    def stopped(self, *given):
        method(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(type(model), inner, stopped)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(name, 0))
    assert_unfitted(name, model)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        *((name, "farout.flows.density.train") for name in ("FlowDensity", "NormalShell", "Mixture")),
        *((name, "farout.flows.density.train") for name in ("Boundary", "FlowDetector", "CautiousClassifier")),
        ("DeepArchetypes", "farout.archetypes.deep.train"),
        ("Nullspace", "farout.archetypes.deep.train"),
        ("OutlierDiscriminator", "farout.detectors.exposure.train"),
        ("CautiousClassifier", "farout.detectors.exposure.train"),
    ],
)
def test_an_error_in_training_leaves_nothing(name, place, monkeypatch):
    model = made(name)
    monkeypatch.setattr(place, lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        model.fit(*data(name, 0))
    assert_unfitted(name, model)


@pytest.mark.parametrize("shell", [fo.NormalShell, fo.GumbelShell])
def test_a_source_that_lacks_labels_draws_nothing(shell):
    source = shell(covariance="class", flow=flow(random_state=0).fit(ROWS, LABELS))
    with pytest.raises(FaroutError, match="needs labels"):
        source.fit(ROWS)
    with pytest.raises(NotFittedError):
        source.sample(5)
    assert source.flow.sample(1)[0].shape == (1, 4), "a fitted flow that it was given stays fitted"


def test_what_a_classifier_no_longer_uses_is_gone(fitted):
    model = made("CautiousClassifier").fit(*data("CautiousClassifier", 0))
    assert {"reference_", "joined_", "source_"} <= set(vars(model))
    model.set_params(distance_aware=False, beta=0.0, source=None).fit(ROWS, LABELS)
    assert not {"reference_", "reference_classes_", "joined_", "votes_", "source_", "feature_names_in_"} & set(
        vars(model)
    )


# --- flows ---------------------------------------------------------------------------------------------------------

ONE_FLOW = {
    "a shell": lambda f: fo.NormalShell(flow=f),
    "a mixture": lambda f: fo.Mixture([fo.NormalShell(flow=f), fo.GumbelShell(flow=f), fo.Boundary(f, quantile=0.5)]),
    "a mixture of mixtures": lambda f: fo.Mixture(
        [fo.Mixture([fo.NormalShell(flow=f), fo.Collage(f)]), fo.Mixture([fo.GumbelShell(flow=f)])]
    ),
    "sources of other seeds": lambda f: fo.Mixture(
        [fo.NormalShell(flow=f, random_state=1), fo.GumbelShell(flow=f, random_state=2)]
    ),
    "archetypes beside a shell": lambda f: fo.Mixture(
        [fo.Archetypal(base=fo.DeepArchetypes(flow=f, joint=False, max_steps=2)), fo.NormalShell(flow=f)]
    ),
    "archetypes of their own seed": lambda f: fo.Mixture(
        [fo.Nullspace(fo.DeepArchetypes(flow=f, joint=False, max_steps=2, random_state=5)), fo.NormalShell(flow=f)]
    ),
}


def standing_on(model):
    """The flows that a fitted model and those inside it use."""
    return [vars(m)["flow_"] for m in model.nested_models() if isinstance(vars(m).get("flow_"), fo.FlowDensity)]


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a classifier"])
@pytest.mark.parametrize("given", [None, flow()], ids=["default", "given"])
@pytest.mark.parametrize("case", ONE_FLOW)
def test_a_flow_is_fitted_once_and_shared(case, given, inside, fits):
    source = ONE_FLOW[case](given)
    if inside:
        training = fo.Training(accelerator="cpu")
        source = fo.CautiousClassifier(source, beta=0.0, max_steps=2, training=training)
    source.fit(ROWS, LABELS)
    assert len(fits) == 1
    used_flows = list(standing_on(source))
    assert len(used_flows) >= (3 if "mixture" in case else 1)
    assert all(f is fits[0] for f in used_flows)


def test_a_joint_model_of_archetypes_leaves_the_shared_flow_as_it_is(fits):
    source = fo.Mixture([fo.Archetypal(base=fo.DeepArchetypes(max_steps=2)), fo.NormalShell()]).fit(ROWS)
    (one,) = fits
    archetypal, shell = source.sources_
    assert shell.flow_ is one
    assert archetypal.flow_ is archetypal.base_.flow_ is not one


@pytest.mark.parametrize("given", [None, image_flow()], ids=["default", "given"])
@pytest.mark.parametrize("source", [None, fo.Recommended(), fo.Mixture([fo.Recommended(), fo.NormalShell()])])
def test_a_classifier_of_images_fits_one_flow(source, given, fits):
    if given is not None and source is not None:
        source = clone(source)
        for model in source.nested_models():
            if "flow" in model.get_params(deep=False):
                model.flow = given
    model = fo.CautiousClassifier(source, event_shape=IMAGE, max_steps=2, random_state=0).fit(IMAGES, LABELS)
    assert len(fits) == 1
    assert all(f is fits[0] for f in standing_on(model))


def test_different_flows_stay_different(fits):
    source = fo.Mixture([fo.NormalShell(flow=flow(noise=noise)) for noise in (0.02, 0.1)]).fit(ROWS)
    assert len(fits) == 2
    assert [s.flow_.noise for s in source.sources_] == [0.02, 0.1]


def test_each_fit_has_its_own_flow(fits):
    source = fo.NormalShell(random_state=0)
    first, second = source.fit(ROWS).flow_, source.fit(ROWS).flow_
    assert first is not second
    assert len(fits) == 2


@pytest.mark.parametrize("name", ["NormalShell", "Collage", "Recommended", "DeepArchetypes", "FlowDetector"])
def test_a_clone_keeps_a_fitted_flow(name, fits):
    given = flow(random_state=0).fit(ROWS)
    model = clone(made(name).set_params(flow=given, **({"event_shape": None} if name == "Recommended" else {})))
    assert model.flow is given
    around = clone(fo.OutlierDiscriminator(model)) if isinstance(model, OutlierSource) else clone(model)
    assert any(m is given for m in around.nested_models())
    model.fit(ROWS)
    assert len(fits) == 1


def test_a_clone_of_what_was_fitted_is_unfitted(fitted):
    for name in CASES:
        assert not is_fitted(clone(fitted(name)))
        assert not any(map(is_fitted, clone(fitted(name)).nested_models()))


def test_a_clone_of_a_mixture_keeps_one_flow_one(fits):
    f = flow(random_state=0)
    mixture = clone(fo.Mixture([fo.NormalShell(flow=f), fo.GumbelShell(flow=f)]))
    assert mixture.sources[0].flow is mixture.sources[1].flow is not f
    mixture.fit(ROWS)
    assert len(fits) == 1


def test_a_clone_keeps_what_scikit_learn_was_told():
    model = clone(fo.ArchetypalAnalysis(random_state=0).set_output(transform="pandas"))
    assert model._sklearn_output_config == {"transform": "pandas"}


# --- nested models and names -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in CASES if name not in ON_IMAGES])
def test_names_of_columns_reach_all_models_and_are_saved(name, fitted, tmp_path):
    model, names = fitted(name), TABLE.column_names
    model.save(tmp_path / "run")
    given = {"network": Trained()} if name == "WrappedClassifier" else {}
    loaded = fo.load(tmp_path / "run", **given)
    assert_same(fitted_state(loaded), fitted_state(model))
    for one in (model, loaded):
        inner = [m for m in one.nested_models() if is_fitted(m)]
        assert [m.feature_names_in_.tolist() for m in inner] == [names] * len(inner)
        used(name, one)  # without a warning
        methods = ("score_samples", "encode", "transform", "process_inliers")
        ask = next(getattr(one, method) for method in methods if hasattr(one, method))
        with pytest.raises(FaroutError, match="feature names"):
            ask(TABLE.rename_columns([*names[:3], "zeit"]))


@pytest.mark.parametrize("name", CASES)
def test_arrays_lie_in_memory_as_those_of_a_loaded_model_do(name, fitted):
    # Sums over another order differ in the last bit, and a saved model has to be the same to the bit.
    def arrays(value):
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, dict | list):
            for part in value.values() if isinstance(value, dict) else value:
                yield from arrays(part)

    for model in filter(is_fitted, fitted(name).nested_models()):
        assert all(a.flags.c_contiguous for a in arrays(fitted_state(model)))


def test_a_classifier_of_vectors_is_saved_to_the_bit(tmp_path):
    model = fo.CautiousClassifier(fo.Noise(), max_steps=5, random_state=0).fit(ROWS, np.tile(["a", "b", "c"], 80))
    model.save(tmp_path / "run")
    assert np.array_equal(fo.load(tmp_path / "run").score_samples(ROWS), model.score_samples(ROWS))


def test_nested_models_go_from_the_outermost_inwards(fitted):
    kinds = [type(m).__name__ for m in fitted("CautiousClassifier").nested_models()]
    assert kinds == ["CautiousClassifier", "NormalShell", "FlowDensity", "FlowDensity", "NormalShell", "FlowDensity"]
    model = fitted("CautiousClassifier")
    assert [is_fitted(m) for m in model.nested_models()] == [True, True, True, False, False, False]
    mixed = [type(m).__name__ for m in fitted("Mixture").nested_models() if is_fitted(m)]
    assert mixed == ["Mixture", "NormalShell", "FlowDensity", "GumbelShell", "FlowDensity"]
    deep_source = [type(m).__name__ for m in fitted("Archetypal").nested_models() if is_fitted(m)]
    assert deep_source[:3] == ["Archetypal", "DeepArchetypes", "FlowDensity"]


def test_settings_reach_models_that_leave_them_open(fits, tmp_path):
    training = fo.Training(accelerator="cpu", log_dir=tmp_path / "log")
    source = fo.Mixture([fo.NormalShell()])
    model = fo.OutlierDiscriminator(source, max_steps=2, random_state=7, training=training).fit(ROWS)
    (one,) = fits
    assert one.seed_ == model.seed_ == 7
    assert one.training == training.elsewhere(), "its device, not its folders"
    assert source.random_state is None, "what was given stays as it was given"
    assert source.sources[0].flow is None
