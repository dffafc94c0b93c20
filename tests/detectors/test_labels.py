"""What y says to a detector: classes of normal rows, or marks of anomalies."""

import numpy as np
import pytest
from spies import SpySource, blobs, refusal

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError

ANOMALOUS = np.random.default_rng(0).permutation(np.arange(200) < 40)


def flow_detector(**settings):
    return fo.FlowDetector(flow=fo.FlowDensity(max_steps=3), random_state=0, **settings)


def discriminator(**settings):
    return fo.OutlierDiscriminator(SpySource([], at=9.0, shift=0.0), max_steps=3, random_state=0, **settings)


MAKERS = [flow_detector, discriminator]


class Column:
    """Labels as a data frame gives them: an array only for those who ask."""

    def __init__(self, values):
        self.values = np.asarray(values)
        self.shape = self.values.shape

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype=dtype, copy=copy)

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return self.values[i]


MARKS = {
    "-1 and 1": np.where(ANOMALOUS, -1, 1),
    "0 and 1": ANOMALOUS.astype(int),
    "0.0 and 1.0": ANOMALOUS.astype(np.float32),
    "unsigned": ANOMALOUS.astype(np.uint8),
    "booleans": ANOMALOUS,
    "objects": ANOMALOUS.astype(object),
    "a list": np.where(ANOMALOUS, -1, 1).tolist(),
    "a column": Column(ANOMALOUS.astype(int)),
}


@pytest.fixture(scope="module")
def rows():
    """160 normal rows in 3 classes, and 40 anomalies among them."""
    X, y = blobs(200, 0)
    X[ANOMALOUS] += 9
    return X, y


@pytest.fixture(scope="module")
def unlabelled(rows):
    return {make: make().fit(rows[0]).score_samples(rows[0]) for make in MAKERS}


@pytest.fixture(scope="module")
def normal_only(rows):
    X = rows[0]
    return {make: make().fit(X[~ANOMALOUS]).score_samples(X) for make in MAKERS}


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("make", MAKERS)
def test_marks_of_anomalies_are_no_classes(make, marks, rows, unlabelled):
    model = make().fit(rows[0], MARKS[marks])
    assert not hasattr(model, "classes_")
    np.testing.assert_array_equal(model.score_samples(rows[0]), unlabelled[make])


@pytest.mark.parametrize("marks", MARKS)
@pytest.mark.parametrize("make", MAKERS)
def test_marked_rows_are_left_out_when_asked(make, marks, rows, normal_only):
    model = make(labels="anomalies").fit(rows[0], MARKS[marks])
    assert not hasattr(model, "classes_")
    np.testing.assert_array_equal(model.score_samples(rows[0]), normal_only[make])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("y", [np.ones(200, int), np.zeros(200), np.zeros(200, bool)])
def test_marks_of_no_anomaly_leave_all_rows_in(make, y, rows, unlabelled):
    for labels in ("auto", "anomalies", "ignore"):
        np.testing.assert_array_equal(make(labels=labels).fit(rows[0], y).score_samples(rows[0]), unlabelled[make])


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("y", [np.full(200, -1), np.ones(200, bool)])
def test_all_rows_marked(make, y, rows):
    model = make(labels="anomalies")
    with pytest.raises(InvalidDataError, match=rf"^{type(model).__name__}: y marks all 200 rows as anomalies"):
        model.fit(rows[0], y)
    assert not hasattr(model, "n_features_in_")


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("y", [np.arange(200) % 3, np.where(ANOMALOUS, 2, 1), np.where(ANOMALOUS, "bad", "good")])
def test_what_are_no_marks_is_refused_as_such(make, y, rows):
    model = make(labels="anomalies")
    found = ", ".join(map(str, np.unique(y)))
    with pytest.raises(
        InvalidDataError, match=rf"^{type(model).__name__}: labels='anomalies' needs .*found {found}.*labels='classes'"
    ):
        model.fit(rows[0], y)


@pytest.mark.parametrize("y", [np.where(ANOMALOUS, -1, 1), ANOMALOUS.astype(int), ANOMALOUS])
@pytest.mark.parametrize("make", MAKERS)
def test_two_classes_are_such_when_they_are_called_so(make, y, rows):
    model = make(labels="classes").fit(rows[0], y)
    assert model.classes_.tolist() == np.unique(y).tolist()
    if isinstance(model, fo.FlowDetector):
        assert model.score_ == "ratio"
        assert model.flow_.classes_.tolist() == np.unique(y).tolist()
    else:
        assert model._logits(rows[0]).shape == (200, 2)


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("names", [["ant", "bee", "cat"], [1, 2, 3], [0, 1, 2]])
def test_other_labels_are_classes(make, names, rows):
    X, y = rows
    model = make().fit(X, np.array(names)[y])
    assert model.classes_.tolist() == names
    ignored = make(labels="ignore").fit(X, np.array(names)[y])
    assert not hasattr(ignored, "classes_")
    np.testing.assert_array_equal(ignored.score_samples(X), make().fit(X).score_samples(X))


def test_a_setting_that_needs_classes_takes_marks_for_them(rows):
    X, y = rows[0], ANOMALOUS.astype(int)
    assert flow_detector(score_by="ratio").fit(X, y).classes_.tolist() == [0, 1]
    for settings in ({"score_by": "random"}, {"one_vs_rest": True}):
        assert discriminator(**settings).fit(X, y).classes_.tolist() == [0, 1]
        assert not hasattr(discriminator(**settings, labels="ignore").fit(X, y), "classes_")


@pytest.mark.parametrize("make", MAKERS)
def test_unknown_meaning_of_labels(make, rows):
    with pytest.raises(InvalidSettingError, match=refusal(type(make()).__name__, "labels", "marks")):
        make(labels="marks").fit(*rows)


def test_a_score_that_lacks_classes_is_refused_before_the_flow_is_fitted(rows, monkeypatch):
    monkeypatch.setattr(fo.FlowDensity, "fit", lambda *a, **k: pytest.fail("a flow was fitted"))
    with pytest.raises(InvalidSettingError, match=r"score_by='ratio' compares .* the flow knows 0 classes"):
        flow_detector(score_by="ratio").fit(rows[0])
    with pytest.raises(InvalidSettingError, match="score_by='nearest' compares rows of tables without classes"):
        flow_detector(score_by="nearest").fit(*rows)


@pytest.mark.parametrize("marks", ["-1 and 1", "0 and 1"])
def test_contaminated_rows_tell_anomalies_apart_with_and_without_marks(marks):
    rng = np.random.default_rng(1)
    X, _ = blobs(300, 1)
    bad = np.arange(300) < 30
    X[bad] = rng.uniform([-14, 11], [14, 39], (30, 2))
    y = np.where(bad, -1, 1) if marks == "-1 and 1" else bad.astype(int)
    for labels in ("auto", "anomalies"):
        scores = fo.FlowDetector(labels=labels, random_state=0).fit(X, y).score_samples(X)
        table = fo.evaluate(scores[~bad], {"bad": scores[bad]}, n_bootstrap=0)
        assert table["bad"].auroc > 0.9
