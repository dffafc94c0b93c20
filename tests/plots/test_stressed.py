"""Curves of a stress test."""

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

import farout as fo
from farout.errors import InvalidSettingError
from farout.stress.result import StressResult, StressRow

mpl.use("Agg")


def row(model, kind, sigma, fooled, **more):
    ends = {"fooled_low": fooled - 0.1, "fooled_high": fooled + 0.1}
    return StressRow(
        model, kind, f"{sigma:g} sigma", sigma, 0.1, False, 100, fooled=fooled, auroc=1 - fooled, **ends, **more
    )


@pytest.fixture
def result():
    rows = [row(m, "shell", s, f / s) for m, f in (("a", 0.9), ("b", 0.4)) for s in (1.0, 2.0, 4.0)]
    rows += [row(m, "turned", 3.0, 0.2) for m in "ab"]
    rows.append(StressRow("b", "shell", "5 sigma", 5.0, 0.01, True, 100, failure="ValueError: too far"))
    return StressResult(
        rows=tuple(rows), controls=(), break_points={}, score={"a": 0.8, "b": 0.9}, score_interval={}, worst={},
        warnings=(), finished=True, sure=0.9, confidence=0.95, seconds=1.0, n_held=100, event_shape=(2,),
    )  # fmt: skip


def test_a_line_a_model_and_a_panel_a_kind(result):
    display = fo.plots.stress(result)
    assert list(display.artists_) == ["a", "b"]
    assert [axes.get_title() for axes in display.ax_.flat] == ["shell", "turned"]
    assert display.artists_["b"].get_xdata().tolist() == [1.0, 2.0, 4.0]  # where it failed there is no number
    assert display.artists_["b"].get_ydata().tolist() == [0.4, 0.2, 0.1]
    assert fo.plots.stress(result, metric="auroc").artists_["a"].get_ydata().tolist() == pytest.approx(
        [0.1, 0.55, 0.775]
    )


def test_it_draws_into_the_axes_of_the_user(result):
    figure = Figure()
    mine = figure.subplots(1, 2)
    display = fo.plots.stress(result, ax=mine)
    assert display.figure_ is figure
    assert display.ax_.ravel().tolist() == list(mine)
    alone = fo.plots.stress(result, kinds=["turned"], ax=Figure().subplots())
    assert alone.ax_.get_title() == "turned"
    assert np.ptp(alone.ax_.get_xlim()) > 0.5


def test_strengths_as_far_out_stand_side_by_side(result):
    shown = ((1.0, 0.9, 10), (0.99, 0.4, 50))
    rows = tuple(replace(row("a", "exchange", s, f), strength=f"{n}% of the columns") for s, f, n in shown)
    display = fo.plots.stress(replace(result, rows=rows, score={"a": 0.9}))
    assert display.artists_["a"].get_xdata().tolist() == [0.0, 1.0]
    assert [text.get_text() for text in display.ax_.get_xticklabels()] == ["10%", "50%"]


@pytest.mark.parametrize("wrong", [{"metric": "accuracy"}, {"kinds": ["collage"]}, {"kinds": []}])
def test_what_was_not_tried_is_refused(result, wrong):
    with pytest.raises(InvalidSettingError):
        fo.plots.stress(result, **wrong)
    with pytest.raises(InvalidSettingError, match="2 panels"):
        fo.plots.stress(result, ax=Figure().subplots())
