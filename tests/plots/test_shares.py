"""The bars of shares, read back from the artists."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from farout import plots

SHARES = np.array([0.05, 0.4, 0.0, 0.1, 0.15, 0.05, 0.15, 0.1])
NAMES = list("abcdefgh")


def bars(axes):
    return [
        (label.get_text(), bar.get_width()) for label, bar in zip(axes.get_yticklabels(), axes.patches, strict=True)
    ]


def test_the_largest_is_on_top_and_the_rest_is_one_bar():
    axes = Figure().subplots()
    (drawn,) = plots.shares(SHARES, NAMES, most=4, ax=axes).artists_.values()
    assert [name for name, _ in bars(axes)] == ["b", "e", "g", "d", "4 others"]
    np.testing.assert_allclose([bar.get_width() for bar in drawn], [0.4, 0.15, 0.15, 0.1, 0.2])
    low, high = axes.get_ylim()
    assert low > high, "from top to bottom"
    assert axes.get_xlim() == (0, 1), "so that rows compare"


def test_few_columns_have_a_bar_each():
    axes = Figure().subplots()
    plots.shares(SHARES[:2], NAMES[:2], ax=axes)
    assert [name for name, _ in bars(axes)] == ["b", "a"]


@pytest.mark.parametrize("n", [1, 4, 6])
def test_each_row_has_a_panel_with_its_title(n):
    figure = plots.shares(np.tile(SHARES, (n, 1)), NAMES, [f"$row {i}" for i in range(n)]).figure_
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert [axes.get_title() for axes in shown] == [rf"\$row {i}" for i in range(n)]
    assert all(sum(width for _, width in bars(axes)) == pytest.approx(1) for axes in shown)
