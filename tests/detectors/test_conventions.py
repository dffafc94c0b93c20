"""What scikit-learn's users expect of any estimator: displays, containers of every kind, settings that are checked."""

import warnings

import matplotlib
import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.inspection import DecisionBoundaryDisplay

import farout as fo
from farout.data.dataset import Dataset
from farout.errors import FaroutError, InvalidDataError, InvalidSettingError

matplotlib.use("Agg")

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(-4, 1, (40, 2)), RNG.normal(4, 1, (40, 2))])
Y = np.repeat([0, 1], 40)
NAMES = ("length", "width")


def shell():
    return fo.NormalShell(flow=fo.FlowDensity(max_steps=3))


MAKERS = {
    "FlowDetector": lambda **kw: fo.FlowDetector(flow=fo.FlowDensity(max_steps=3), random_state=0, **kw),
    "OutlierDiscriminator": lambda **kw: fo.OutlierDiscriminator(shell(), **{"max_steps": 3, "random_state": 0} | kw),
    "CautiousClassifier": lambda **kw: fo.CautiousClassifier(shell(), **{"max_steps": 3, "random_state": 0} | kw),
}


def fit(model, rows):
    return model.fit(rows, Y) if isinstance(model, fo.CautiousClassifier) else model.fit(rows)


@pytest.mark.parametrize("name", MAKERS)
def test_decision_boundaries_can_be_drawn(name):
    model = fit(MAKERS[name](), X)
    display = DecisionBoundaryDisplay.from_estimator(model, X, grid_resolution=5)
    assert np.isfinite(display.response).all()


@pytest.mark.parametrize("name", MAKERS)
def test_attributes_that_are_not_there_are_absent(name):
    model = fit(MAKERS[name](), X)
    assert [k for k, v in vars(model).items() if k.endswith("_") and v is None] == []


ROWS = {
    "a table": lambda x: pa.table(dict(zip(NAMES, x.T, strict=True))),
    "a data set": lambda x: Dataset(x, None, (2,), "x", feature_names=NAMES),
    "a tensor that requires a gradient": lambda x: torch.tensor(x, requires_grad=True),
    "a bfloat16 tensor": lambda x: torch.tensor(x).bfloat16(),
    "a list": lambda x: x.tolist(),
}


@pytest.mark.parametrize("kind", ROWS)
@pytest.mark.parametrize("name", MAKERS)
def test_rows_of_every_kind_are_fitted_and_scored_without_a_warning(name, kind):
    rows = ROWS[kind](X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = fit(MAKERS[name](), rows)
        assert np.isfinite(model.score_samples(rows)).all()
    if kind in ("a table", "a data set"):
        assert tuple(model.feature_names_in_) == NAMES
        with pytest.raises(InvalidDataError, match="same order"):
            model.score_samples(ROWS["a table"](X).select(NAMES[::-1]))


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("column", [pa.array(["a", "b"] * 40), pa.array(np.arange(80).astype("datetime64[s]"))])
def test_columns_that_are_no_numbers_are_taken_and_named_when_missing(name, column):
    rows = ROWS["a table"](X)
    model = fit(MAKERS[name](), rows.append_column("when", column))
    assert np.isfinite(model.score_samples(rows.append_column("when", column))).all()
    with pytest.raises(InvalidDataError, match="when"):
        model.score_samples(rows)


SETTINGS = {
    "FlowDetector": {"contamination": [True, np.nan, "x", 0.7, -0.1]},
    "OutlierDiscriminator": {
        "training": ["cpu", 3],
        "batch_size": [32.0, True, "x", None],
        "max_steps": [2.5, "x", True],
        "learning_rate": ["x", None, np.nan, True],
    },
    "CautiousClassifier": {
        "training": ["cpu", 3],
        "batch_size": [32.0, True, "x", None],
        "beta": ["x", None, np.nan, True],
        "calibration_fraction": ["x", None, np.nan],
    },
}
CASES = [(name, key, value) for name, keys in SETTINGS.items() for key, values in keys.items() for value in values]


@pytest.mark.parametrize(("name", "key", "value"), CASES)
def test_settings_of_a_wrong_type_are_refused_with_a_message_of_ours(name, key, value):
    with pytest.raises(InvalidSettingError, match=f"{name}: {key} must be"):
        fit(MAKERS[name](**{key: value}), X)


@pytest.mark.parametrize("value", ["auto", None])
def test_contamination_as_scikit_learn_has_it_works_or_is_refused(value):
    try:
        model = MAKERS["FlowDetector"](contamination=value).fit(X)
    except InvalidSettingError as error:
        assert "FlowDetector: contamination must be" in str(error)  # noqa: PT017
    else:
        assert set(model.predict(X)) <= {-1, 1}


def test_every_error_is_a_farout_error():
    for model in (MAKERS[name]() for name in MAKERS):
        with pytest.raises(FaroutError):
            fit(model, None)
