"""Estimators on frames: text, categories, booleans, dates and missing cells go in and come back."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import farout as fo
from columns.frame_cases import LIBRARIES, equal
from farout.columns.frames import as_frame
from farout.data import Dataset
from farout.errors import InvalidDataError, InvalidTypeError


def people(n=120, seed=0, library="pyarrow"):
    rng = np.random.default_rng(seed)
    days = dt.date(2024, 1, 1)
    table = pa.table(
        {
            "age": pa.array(rng.integers(18, 90, n), pa.int16()),
            "income": pa.array(rng.lognormal(size=n).round(2), mask=rng.random(n) < 0.1),
            "job": pa.array(rng.choice(["smith", "baker", "nurse"], n).tolist()).dictionary_encode(),
            "owner": rng.random(n) < 0.4,
            "since": [days + dt.timedelta(int(k)) for k in rng.integers(0, 300, n)],
            "unit": ["m"] * n,
        }
    )
    return as_frame(table, library)


def flow(**more):
    return fo.FlowDensity(max_steps=20, random_state=0, **more)


MODELS = {
    "flow": lambda: flow(),
    "detector": lambda: fo.FlowDetector(flow=flow(architecture="table"), random_state=0),
    "discriminator": lambda: fo.OutlierDiscriminator(fo.NormalShell(flow=flow()), max_steps=20, random_state=0),
    "classifier": lambda: fo.CautiousClassifier(fo.NormalShell(flow=flow()), max_steps=20, random_state=0),
}


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_takes_a_frame_and_is_saved_with_its_schema(name, library, tmp_path):
    frame, labels = people(library=library), np.arange(120) % 2
    model = MODELS[name]().fit(frame, labels if name == "classifier" else None)
    assert model.n_features_in_ == 6
    assert list(model.feature_names_in_) == ["age", "income", "job", "owner", "since", "unit"]
    scores = model.score_samples(frame)
    model.save(tmp_path / "run")
    again = fo.load(tmp_path / "run")
    assert again.schema_ == model.schema_
    np.testing.assert_array_equal(again.score_samples(frame), scores)
    np.testing.assert_array_equal(model.score_samples(model.schema_.encode(frame)), scores)  # codes are rows too
    new = people(50, seed=1, library=library)
    np.testing.assert_array_equal(model.score_samples(new), model.score_samples(people(50, seed=1)))
    assert equal(model.schema_.decode(model.schema_.encode(frame)), frame)


SOURCES = [
    lambda: fo.NormalShell(flow=flow()),
    lambda: fo.Collage(flow=flow(), random_state=0),
    lambda: fo.Mixture([fo.NormalShell(flow=flow()), fo.GumbelShell(flow=flow())]),
]


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("make", SOURCES)
def test_outliers_come_back_as_the_data_look(make, library):
    frame = people(library=library)
    out = make().fit(frame).sample(30, random_state=0)
    found = out.to_frame()
    assert type(found) is type(frame)
    assert equal(found, as_frame(pa_like(found, people()), library))
    assert found["job"].to_list() if library == "polars" else True
    assert set(pa_of(found)["unit"].to_pylist()) == {"m"}
    assert set(pa_of(found)["job"].to_pylist()) <= {"smith", "baker", "nurse"}


def pa_of(frame):
    from farout.columns import as_table

    return as_table(frame)


def pa_like(frame, like):
    """The frame's cells in the types of another: equal if it has these types already."""
    return pa_of(frame).cast(like.schema) if isinstance(frame, pa.Table) else pa_of(frame)


def test_samples_of_a_flow_are_codes():
    model = flow().fit(people())
    X, _ = model.sample(5, random_state=0)
    assert X.shape == (5, model.schema_.width)
    assert model.schema_.decode(X).schema == people().schema
    np.testing.assert_allclose(model.decode(model.encode(people())), model.schema_.encode(people()), atol=1e-6)


@pytest.mark.parametrize("library", LIBRARIES)
def test_frames_of_numbers_go_as_arrays_do(library):
    rng = np.random.default_rng(0)
    table = pa.table({"a": rng.normal(size=80), "n": rng.integers(0, 9, 80), "b": rng.random(80) < 0.5})
    array = np.column_stack([table["a"], table["n"], table["b"]]).astype(float)
    of_frame, of_array = flow().fit(as_frame(table, library)), flow().fit(array)
    np.testing.assert_array_equal(of_frame.score_samples(as_frame(table, library)), of_array.score_samples(array))
    assert of_frame.schema_.is_plain
    assert "schema_" not in vars(of_array)
    out = fo.NormalShell(flow=of_frame).fit(as_frame(table, library)).sample(4, random_state=0)
    np.testing.assert_array_equal(out.x, fo.NormalShell(flow=of_array).fit(array).sample(4, random_state=0).x)
    assert pa_of(out.to_frame()).schema.types == table.schema.types
    with pytest.raises(InvalidDataError, match="its columns have no names or types"):
        fo.NormalShell(flow=of_array).fit(array).sample(4, random_state=0).to_frame()


def test_a_fitted_flow_brings_its_schema():
    frame = people()
    inside = flow().fit(frame)
    source = fo.NormalShell(flow=inside)
    part = frame.filter(np.array([job != "nurse" for job in frame["job"].to_pylist()]))
    model = fo.OutlierDiscriminator(source, max_steps=10, random_state=0).fit(part)
    assert model.schema_ == inside.schema_ == model.source_.schema_
    with pytest.raises(InvalidDataError, match="missing: 'age'"):
        fo.NormalShell(flow=inside).fit(frame.drop_columns("age"))
    with pytest.raises(InvalidDataError, match=r"columns of code, and they aren't the \d+|expecting 3 features"):
        fo.NormalShell(flow=flow().fit(np.random.default_rng(0).normal(size=(50, 3)))).fit(frame)


def test_archetypes_of_a_frame_are_codes():
    frame = people()
    model = fo.ArchetypalAnalysis(3, random_state=0).fit(frame)
    weights = model.transform(frame)
    np.testing.assert_array_equal(model.transform(model.schema_.encode(frame)), weights)
    assert model.schema_.decode(model.archetypes_).schema == frame.schema
    deep = fo.DeepArchetypes(3, flow(), max_steps=10, random_state=0).fit(frame)
    assert deep.encode(frame).shape == (120, 3)
    assert deep.schema_.decode(deep.sample(4, random_state=0)[0]).schema == frame.schema


def test_outliers_of_a_frame_may_be_real_ones():
    source = fo.RealOutliers(people(20, seed=3)).fit(people())
    drawn = source.sample(10, random_state=0).to_frame()
    assert drawn.schema == people().schema
    assert set(drawn["age"].to_pylist()) <= set(people(20, seed=3)["age"].to_pylist())


def test_what_was_never_seen_lies_far_out():
    frame = people()
    model = fo.FlowDetector(flow=flow(architecture="table"), random_state=0).fit(frame)
    usual = model.score_samples(frame)
    for column, cells in (("job", ["pilot"] * 120), ("unit", ["cm"] * 120), ("job", [None] * 120)):
        odd = frame.set_column(frame.column_names.index(column), column, pa.array(cells, pa.string()))
        assert model.score_samples(odd).max() < np.quantile(usual, 0.02)


WRONG = {
    "a missing column": (lambda f: f.drop_columns("age"), InvalidDataError, "missing: 'age'"),
    "another order": (lambda f: f.select(f.column_names[::-1]), InvalidDataError, "in another order"),
    "another type": (lambda f: f.set_column(0, "age", f["job"]), InvalidTypeError, "column 'age', which held numbers"),
    "an array": (lambda f: np.zeros((3, 6)), InvalidDataError, "isn't a frame, and it was fitted on a frame; give"),
    "text in an array": (lambda f: np.array([["a"] * 6]), InvalidTypeError, "Estimators take such columns .* frame"),
    "infinity": (
        lambda f: f.set_column(1, "income", [[np.inf] * 120]),
        InvalidDataError,
        "infinity in row 0, .*income",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_rows_that_do_not_fit_are_told(name):
    change, kind, message = WRONG[name]
    model = flow().fit(people())
    with pytest.raises(kind, match=f"(?s)^FlowDensity: .*{message}"):
        model.score_samples(change(people()))


def test_holes_in_an_array_stay_an_error_that_tells_of_frames():
    with pytest.raises(InvalidDataError, match=r"X has NaN in row 0, column 1.*fitted on a frame"):
        flow().fit(np.array([[1, np.nan], [2, 3], [4, 5]]))
    with pytest.raises(InvalidDataError, match="X has NaN in row 1, column 'a'"):  # none were missing in fit
        flow().fit(pa.table({"a": [1.0, 2, 3], "b": [3.0, 1, 2]})).score_samples(
            pa.table({"a": [1.0, None], "b": [1.0, 2]})
        )


def test_text_where_a_model_knows_numbers_is_told():
    model = flow().fit(pa.table({"a": [1.0, 2, 3], "b": [3.0, 1, 2]}))
    words = Dataset(
        np.array([[1, np.nan]]), None, (2,), "t", feature_names=("a", "b"), frame=pa.table({"a": [1], "b": ["x"]})
    )
    for given in (words, words.frame):
        with pytest.raises(InvalidTypeError, match="values of type String in column 'b', and must be numbers"):
            model.score_samples(given)


def test_a_fit_on_an_array_forgets_the_frame():
    model = flow().fit(people())
    assert "schema_" not in vars(model.fit(np.random.default_rng(0).normal(size=(50, 3))))


def test_the_code_of_a_column_is_exchanged_as_one():
    frame = people()
    drawn = fo.Exchange(random_state=0).fit(frame).sample(200, random_state=0)
    assert {tuple(code) for code in drawn.x[:, 4:8].tolist()} == {
        tuple(code) for code in drawn.schema.encode(frame)[:, 4:8].tolist()
    }
    assert drawn.to_frame().schema == frame.schema


def test_shares_are_those_of_the_columns_of_the_frame():
    frame = people()
    model = fo.FlowDetector(flow=flow(architecture="table"), random_state=0).fit(frame)
    odd = frame.set_column(2, "job", pa.array(["pilot"] * 120))
    shares = model.explain(odd.slice(0, 10))
    assert shares.shape == (10, 6)
    assert (shares.argmax(axis=1) == 2).mean() >= 0.8
