"""Metrics against scikit-learn and by hand, intervals against a plain bootstrap, tables, errors."""

import csv
import importlib.util
import io
import json
import time
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from farout import evaluation
from farout.errors import InvalidDataError, InvalidSettingError
from farout.evaluation import METRICS, Evaluation, EvaluationRow, evaluate, roc_points

finite = st.floats(allow_nan=False, allow_infinity=False)
few_values = st.integers(-3, 3).map(float)  # many ties
scores = st.one_of(st.lists(finite, min_size=1, max_size=30), st.lists(few_values, min_size=1))


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(0)
    inliers = rng.normal(1.5, 1, 300)
    sets = {"letters": rng.normal(0, 1, 200), "kana": rng.normal(-2, 1, 100)}
    return evaluate(inliers, sets, accuracy=0.987, n_bootstrap=200)


def by_sklearn(inliers, outliers):
    truth = np.r_[np.ones(len(inliers)), np.zeros(len(outliers))]
    both = np.r_[inliers, outliers]
    fpr, tpr, _ = roc_curve(truth, both, drop_intermediate=False)
    return [
        roc_auc_score(truth, both),
        average_precision_score(truth, both),
        average_precision_score(1 - truth, -both),
        fpr[np.argmax(tpr >= 0.95)],
    ]


def test_a_case_by_hand():
    row = evaluate([4, 3, 1], {"x": [2, 1]}, n_bootstrap=0)["x"]
    assert row.auroc == pytest.approx((2 + 2 + 0.5) / 6)
    assert row.ap_in == pytest.approx((1 + 1 + 3 / 5) / 3)
    assert row.ap_out == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert (row.fpr95, row.n_in, row.n_out) == (1.0, 3, 2)


def test_fpr95_takes_the_strictest_threshold_that_accepts_95_percent():
    inliers = np.arange(20.0)  # the threshold falls on 1.0: 19 of 20 accepted
    assert evaluate(inliers, {"x": [0.5, 0.9, 1.0, 7.5]}, n_bootstrap=0)["x"].fpr95 == 0.5


@settings(deadline=None)
@given(inliers=scores, outliers=scores)
def test_counts_and_ranks_agree_for_any_scores(inliers, outliers):
    ranks = evaluation._ranks(np.array(inliers), np.array(outliers))
    width = max(map(np.max, ranks)) + 1
    counts = [np.bincount(r, minlength=width)[None] for r in ranks]
    ours = evaluation._metrics_of_counts(*counts)[:, 0]
    np.testing.assert_allclose(ours, evaluation._metrics(*ranks), rtol=1e-12, atol=1e-12)


@settings(deadline=None)
@given(inliers=st.lists(few_values, min_size=1), outliers=st.lists(few_values, min_size=1))
def test_metrics_are_those_of_scikit_learn(inliers, outliers):
    row = evaluate(inliers, {"x": outliers}, n_bootstrap=0)["x"]
    np.testing.assert_allclose([row[m] for m in METRICS], by_sklearn(inliers, outliers))


@settings(max_examples=30, deadline=None)
@given(inliers=scores, outliers=scores)
def test_only_the_order_of_scores_matters(inliers, outliers):
    values = np.unique(inliers + outliers)
    as_ranks = [np.searchsorted(values, part) for part in (inliers, outliers)]
    plain = evaluate(inliers, {"x": outliers}, n_bootstrap=5)
    assert plain == evaluate(as_ranks[0], {"x": as_ranks[1]}, n_bootstrap=5)


def test_resamples_are_scored_as_scikit_learn_scores_them():
    rng = np.random.default_rng(1)
    inliers, outliers = rng.normal(1, 1, 80).round(1), rng.normal(0, 1, 50).round(1)
    ranks = evaluation._ranks(inliers, outliers)
    width = max(map(np.max, ranks)) + 1
    counts = [evaluation._resampled_counts(r, 20, width, rng) for r in ranks]
    ours = evaluation._metrics_of_counts(*counts)
    for i in range(20):
        drawn = [np.repeat(np.arange(width), count[i]) for count in counts]
        assert list(map(len, drawn)) == [80, 50]
        np.testing.assert_allclose(ours[:, i], by_sklearn(*drawn))


def test_intervals_match_a_plain_bootstrap():
    rng = np.random.default_rng(2)
    inliers, outliers = rng.normal(1, 1, 120), rng.normal(0, 1, 90)
    row = evaluate(inliers, {"x": outliers}, n_bootstrap=2000, confidence=0.9)["x"]
    plain = [by_sklearn(rng.choice(inliers, 120), rng.choice(outliers, 90)) for _ in range(400)]
    for metric, values in zip(METRICS, np.transpose(plain), strict=True):
        expected = np.quantile(values, [0.05, 0.95])
        tolerance = 0.2 * np.std(values) + 1 / 90  # FPR95 moves in steps of one outlier
        np.testing.assert_allclose(row.interval(metric), expected, atol=tolerance)
        assert row.interval(metric)[0] < row[metric] < row.interval(metric)[1]


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(150):
        sample = {"x": rng.normal(0, 1, 60)}
        low, high = evaluate(rng.normal(1, 1, 60), sample, n_bootstrap=150, confidence=0.8, random_state=rng)[
            "x"
        ].interval("auroc")
        hits += low <= 0.7602499389065233 <= high  # Phi(1 / sqrt 2)
    assert 0.7 <= hits / 150 <= 0.9


def test_ten_thousand_scores_take_a_few_seconds_at_most():
    rng = np.random.default_rng(0)
    start = time.process_time()
    evaluate(rng.normal(size=10_000), {"x": rng.normal(size=10_000)}, n_bootstrap=200)
    assert time.process_time() - start < 3  # about .3 s; the rest is for a busy machine


def test_seeds(table):
    rng = np.random.default_rng(0)
    inliers, a, b = rng.normal(1, 1, 50), rng.normal(size=40), rng.normal(size=30)
    both = evaluate(inliers, {"a": a, "b": b})
    assert both == evaluate(inliers, {"a": a, "b": b})
    assert both["b"] == evaluate(inliers, {"b": b})["b"], "a set depends on the other sets"
    assert both["b"] != evaluate(inliers, {"b": b}, random_state=1)["b"]


def test_the_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    evaluate([1.0, 2.0], {"x": [0.0]})
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_no_intervals_on_request():
    table = evaluate([1.0, 2.0], {"x": [0.0, 1.5]}, n_bootstrap=0)
    assert table.confidence is None
    assert [table["x"].interval(metric) for metric in METRICS] == [None] * 4
    assert "[" not in str(table)
    assert "0.750" in str(table)


def test_a_table_is_an_immutable_mapping(table):
    assert list(table) == ["letters", "kana"]
    assert table["kana"].auroc == table["kana"]["auroc"] > table["letters"].auroc
    with pytest.raises(KeyError):
        table["fashion"]
    with pytest.raises(KeyError):
        table["kana"]["interval"]
    with pytest.raises(AttributeError):
        table.accuracy = 1.0
    with pytest.raises(AttributeError):
        table["kana"].auroc = 1.0
    with pytest.raises(TypeError):
        table["fashion"] = table["kana"]


def test_json_round_trip(table):
    assert Evaluation.from_dict(json.loads(json.dumps(table.to_dict()))) == table
    bare = evaluate(np.float32([1, 2]), {"x": np.float32([0])}, n_bootstrap=0)
    assert Evaluation.from_dict(json.loads(json.dumps(bare.to_dict()))) == bare


@pytest.mark.parametrize(
    "values",
    [{}, {"outliers": [], "accuracy": None, "confidence": None}, {"outliers": {"x": {"auc": 1}}}],
)
def test_from_dict_refuses_what_is_no_table(values):
    with pytest.raises(InvalidDataError, match="not an evaluation"):
        Evaluation.from_dict(values)


def test_csv_keeps_every_digit(table):
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert [line["outliers"] for line in lines] == ["letters", "kana"]
    assert float(lines[0]["fpr95_high"]) == table["letters"].fpr95_high
    assert {line["accuracy"] for line in lines} == {"0.987"}


def test_markdown_escapes_what_would_break_the_table():
    table = evaluate([1.0, 2.0], {"a|b\nc": [0.0]}, n_bootstrap=0)
    assert table.to_markdown().splitlines() == [
        "| outliers | AUROC | AP in | AP out | FPR95 | n in | n out |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        r"| a\|b c | 1.000 | 1.000 | 1.000 | 0.000 | 2 | 1 |",
    ]


def test_plain_text_is_aligned():
    row = EvaluationRow(0.5, 0.25, 0.75, 1.0, 10, 2000)
    assert str(Evaluation((("a", row), ("long name", row)), accuracy=0.9876)).splitlines() == [
        "outliers   AUROC  AP in  AP out  FPR95  n in  n out",
        "---------------------------------------------------",
        "a          0.500  0.250   0.750  1.000    10   2000",
        "long name  0.500  0.250   0.750  1.000    10   2000",
        "accuracy on inliers: 0.988",
    ]


def test_a_frame_has_the_numbers_of_the_csv(table):
    pa = pytest.importorskip("pyarrow")
    frame = table.to_frame("pyarrow")
    assert isinstance(frame, pa.Table)
    lines = list(csv.DictReader(io.StringIO(table.to_csv())))
    assert frame.column_names == list(lines[0])
    assert [{k: str(v) for k, v in row.items()} for row in frame.to_pylist()] == lines


def test_a_frame_leaves_out_what_there_is_not():
    bare = evaluate([1.0, 2.0], {"x": [0.0]}, n_bootstrap=0).to_frame("pyarrow")
    assert bare.column_names == ["outliers", "auroc", "ap_in", "ap_out", "fpr95", "n_in", "n_out"]


def test_the_frame_of_choice_is_pandas_where_it_is_installed(table, monkeypatch):
    frame = table.to_frame()
    assert type(frame).__module__.split(".")[0] == ("pandas" if importlib.util.find_spec("pandas") else "pyarrow")
    monkeypatch.setattr(evaluation.importlib.util, "find_spec", lambda name: None if name == "pandas" else name)
    assert type(table.to_frame()).__module__.split(".")[0] == "pyarrow"
    with pytest.raises(InvalidSettingError, match=r"pandas, polars, pyarrow that is installed.*found 'pandas'"):
        table.to_frame("pandas")
    with pytest.raises(InvalidSettingError, match="found 'excel'"):
        table.to_frame("excel")


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_frames_of_other_libraries(table, backend):
    library = pytest.importorskip(backend)
    frame = table.to_frame(backend)
    assert isinstance(frame, library.DataFrame)
    assert list(frame["outliers"]) == ["letters", "kana"]


def test_a_notebook_shows_a_table_of_escaped_names():
    row = EvaluationRow(0.5, 0.25, 0.75, 1.0, 10, 2000)
    page = Evaluation((("<b>&", row),), accuracy=0.9876)._repr_html_()
    root = ElementTree.fromstring(f"<div>{page}</div>")
    cells = [[cell.text for cell in line] for line in root.iter("tr")]
    assert cells == [
        ["outliers", "AUROC", "AP in", "AP out", "FPR95", "n in", "n out"],
        ["<b>&", "0.500", "0.250", "0.750", "1.000", "10", "2000"],
    ]
    assert [note.text for note in root.iter("p")] == ["accuracy on inliers: 0.988"]


def test_a_table_shows_itself(table):
    assert repr(table) == str(table)
    assert table._ipython_key_completions_() == ["letters", "kana"]


def test_text_names_the_intervals(table):
    row = table["letters"]
    assert f"{row.auroc:.3f} [{row.auroc_low:.3f}, {row.auroc_high:.3f}]" in str(table)
    assert "95 % bootstrap intervals" in table.to_markdown()


def test_roc_points_enclose_the_auroc(table):
    rng = np.random.default_rng(4)
    inliers, outliers = rng.normal(1, 1, 70).round(1), rng.normal(0, 1, 60).round(1)
    fpr, tpr = roc_points(inliers, outliers)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    row = evaluate(inliers, {"x": outliers}, n_bootstrap=0)["x"]
    assert np.trapezoid(tpr, fpr) == pytest.approx(row.auroc)


@pytest.mark.parametrize(
    ("inliers", "outliers", "message"),
    [
        ([1.0, np.nan], {"x": [0.0]}, "inlier_scores must be finite.*1 of 2.*nan at index 1"),
        (np.array([0, 0x7FA0_0000], np.uint32).view(np.float32), {"x": [0.0]}, "nan at index 1"),  # casting it warns
        ([1.0], {"letters": [0.0, -np.inf]}, r"outlier_scores\['letters'\].*-inf at index 1"),
        ([], {"x": [0.0]}, r"inlier_scores must be one score a sample.*found shape \(0,\)"),
        ([1.0], {"x": [[0.0]]}, r"outlier_scores\['x'\].*found shape \(1, 1\)"),
        (["high"], {"x": [0.0]}, "inlier_scores must be numbers"),
        ([1.0], {}, "found dict without entries"),
        ([1.0], [0.0], "must be a mapping.*found list"),
    ],
)
def test_bad_scores_give_one_clear_message(inliers, outliers, message):
    with pytest.raises(InvalidDataError, match=message):
        evaluate(inliers, outliers)


@pytest.mark.parametrize(
    "bad",
    [
        {"accuracy": 1.5},
        {"accuracy": np.nan},
        {"n_bootstrap": -1},
        {"n_bootstrap": 1.5},
        {"n_bootstrap": True},
        {"confidence": 0},
        {"confidence": 95},
    ],
)
def test_bad_settings_are_named_with_their_value(bad):
    with pytest.raises(InvalidSettingError, match=f"{next(iter(bad))}.*found"):
        evaluate([1.0], {"x": [0.0]}, **bad)


def test_an_interval_with_one_end_is_none():
    table = evaluate([1.0, 2.0, 3.0], {"far": [0.0, 0.5]}, n_bootstrap=20)
    values = table.to_dict()
    values["outliers"]["far"]["auroc_high"] = None
    assert Evaluation.from_dict(values)["far"].interval("auroc") is None
    assert "far" in str(Evaluation.from_dict(values))
