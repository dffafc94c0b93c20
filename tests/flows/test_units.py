"""Units: one row can't ruin them, rounding makes no outlier, and large numbers that differ little stay apart."""

import warnings

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

import farout as fo
from farout.errors import FaroutError

NAMES = ["a", "b", "c", "d"]
QUICK = {"options": {"n_blocks": 2, "hidden": 32}, "max_steps": 60, "random_state": 0}
SHORT = {"max_steps": 100, "random_state": 0}
RNG = np.random.default_rng(0)
MIX = RNG.standard_normal((4, 4))
ROWS, NEW = (RNG.standard_normal((n, 4)) @ MIX + 10 for n in (400, 200))
FAR = (6 * RNG.standard_normal((200, 4))) @ MIX + 10


def table(X):
    return pa.table({name: X[:, i] for i, name in enumerate(NAMES)})


def spoiled(X):
    X = X.copy()
    X[123, 1] = -99999
    return X


def caught(fit):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        model = fit()
    return model, [str(w.message) for w in found]


SPOILED = {
    "FlowDensity": lambda: fo.FlowDensity(**QUICK),
    "FlowDetector": lambda: fo.FlowDetector(flow=fo.FlowDensity(architecture="table", **QUICK), random_state=0),
    "FlowDetector by likelihood": lambda: fo.FlowDetector("likelihood", fo.FlowDensity(**QUICK), random_state=0),
    "FlowDetector by typicality": lambda: fo.FlowDetector("typicality", fo.FlowDensity(**QUICK), random_state=0),
    "OutlierDiscriminator": lambda: fo.OutlierDiscriminator(fo.NormalShell(3.0, fo.FlowDensity(**QUICK)), **SHORT),
    "NormalShell": lambda: fo.NormalShell(flow=fo.FlowDensity(max_steps=5)),
    "Mixture": lambda: fo.Mixture([fo.NormalShell(flow=fo.FlowDensity(max_steps=5)), fo.RealOutliers(FAR)]),
    "Recommended": lambda: fo.Recommended(fo.FlowDensity(max_steps=5), random_state=0),
    "Recommended by another seed": lambda: fo.Recommended(fo.FlowDensity(max_steps=5), random_state=1),
    "DeepArchetypes": lambda: fo.DeepArchetypes(3, fo.FlowDensity(max_steps=5), max_steps=5),
}


@pytest.mark.parametrize("name", SPOILED)
def test_one_warning_names_column_value_and_row(name):
    model, said = caught(lambda: SPOILED[name]().fit(table(spoiled(ROWS))))
    (text,) = said
    assert text.startswith(f"{name.split()[0]}: column 'b' has -99999 in row 123 (1 such in all): more than 1000 times")
    assert "missing" in text
    if hasattr(model, "score_samples"):
        scores = [model.score_samples(table(X)) for X in (NEW, FAR)]
        assert roc_auc_score(np.r_[np.ones(200), np.zeros(200)], np.concatenate(scores)) > 0.95
        assert np.isfinite(model.score_samples(table(spoiled(ROWS)))).all()


def test_what_is_learned_of_latents_is_not_ruined_either():
    """Values are clipped at 50 standard deviations, so the row still widens the law, by 3 and not by 5 000."""
    flow = fo.FlowDensity(**QUICK).fit(ROWS)
    X = spoiled(ROWS)
    shell, _ = caught(lambda: fo.NormalShell(2.0, flow, covariance="class").fit(X))
    assert np.abs(shell.sample(200, random_state=0).x).max() < 1000
    base, _ = caught(lambda: fo.DeepArchetypes(3, flow, joint=False, max_steps=50, random_state=0).fit(X))
    assert np.abs(base.archetypes_).max() < 1000
    assert np.abs(base.sample(200, nullspace="fitted", random_state=0)[0]).max() < 1000
    own, _ = caught(lambda: fo.Nullspace(base, w="own").fit(X))
    assert np.abs(own.sample(400, random_state=0).x).max() < 1000


def test_several_columns_are_one_warning():
    X = np.tile(ROWS, 2)
    X[[3, 5], 0:7:2] = 1e9
    _, (text,) = caught(lambda: fo.FlowDensity(max_steps=2, random_state=0).fit(X))
    assert "column 0 has 1e+09 in row 3 (2 such in all), column 2" in text
    assert "and 1 more columns" in text


@pytest.mark.slow
def test_a_classifier_is_as_good_with_one_row_spoiled():
    centres = np.array([[0, 6], [-5, -3], [5, -3]]) @ RNG.standard_normal((2, 4))
    y, y_new = np.arange(400) % 3, np.arange(600) % 3
    X, X_new = (centres[labels] + RNG.standard_normal((len(labels), 4)) for labels in (y, y_new))

    def fit(rows):
        source = fo.NormalShell(3.0, fo.FlowDensity(**QUICK))
        return fo.CautiousClassifier(source, max_steps=200, random_state=0).fit(rows, y)

    clean = fit(X).score(X_new, y_new)
    spoilt, said = caught(lambda: fit(spoiled(X)))
    assert len(said) == 1
    assert clean > 0.9
    assert spoilt.score(X_new, y_new) > clean - 0.02


def test_images_have_no_codes_for_missing_values():
    X = np.full((30, 64), 100.0) + RNG.uniform(size=(30, 64))
    X[0, 0] = 255 * 1000
    options = {"n_blocks": (1,), "hidden": (4,), "n_dense": 1, "dense_hidden": 8}
    assert caught(lambda: fo.FlowDensity((1, 8, 8), options=options, max_steps=1).fit(X))[1] == []


@pytest.mark.parametrize("trained", [np.float64, np.float32])
@pytest.mark.parametrize("scored", [np.float64, np.float32])
def test_a_constant_in_another_precision_is_no_outlier(trained, scored):
    X = np.c_[ROWS, np.full(400, 0.1)]
    flow = fo.FlowDensity(**QUICK | {"max_steps": 10}).fit(X.astype(trained))
    assert flow.departures(X.astype(scored)).sum() == 0
    assert not flow.varies_[4]
    assert flow.departures(np.c_[ROWS, np.full(400, 0.1001)].astype(scored)).min() == 1
    np.testing.assert_allclose(flow.score_samples(X.astype(scored)), flow.score_samples(X), rtol=1e-3)


def test_northings_that_differ_by_centimetres_vary():
    X = np.c_[5_400_000 + RNG.uniform(-0.05, 0.05, 400), ROWS]
    flow = fo.FlowDensity(**QUICK | {"max_steps": 10}).fit(X)
    assert flow.varies_.all()
    np.testing.assert_allclose(flow.decode(flow.encode(X))[:, 0], X[:, 0], rtol=0, atol=1e-7)
    moved = np.c_[X[:, 0] + 0.5, ROWS]
    assert flow.score_samples(moved).max() < flow.score_samples(X).min()


def test_unix_seconds_stay_distinct():
    seconds = 1_760_000_000 + np.arange(400.0)
    flow = fo.FlowDensity(**QUICK | {"max_steps": 10}).fit(np.c_[seconds, ROWS])
    X = np.c_[seconds, ROWS]
    Z = flow.encode(X)
    assert Z.dtype == np.float64
    np.testing.assert_allclose(flow.decode(Z)[:, 0], seconds, rtol=0, atol=1e-4)
    assert len(np.unique(flow.decode(Z)[:, 0].round())) == 400


def test_a_value_that_is_missing_is_an_error_and_no_warning():
    X = ROWS.copy()
    X[0, 0] = np.nan
    with pytest.raises(FaroutError, match="NaN"):
        fo.FlowDensity().fit(X)
