"""Every plot draws in the axes it is given, in the style that is in force, and says what it drew."""

import inspect

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.colors import same_color

import farout as fo
from farout.errors import InvalidDataError, InvalidSettingError
from farout.plots.style import line_style, page_style
from farout.stress.result import StressResult, StressRow

RNG = np.random.default_rng(0)
X, IMAGES = RNG.normal(size=(40, 4)), RNG.random((24, 16))
LABELS = np.arange(40) % 3
SCORES = {"inliers": RNG.normal(2, 1, 50), "letters": RNG.normal(0, 1, 40)}
GRID = [np.stack([np.column_stack([np.full(5, v), np.linspace(-1, 1, 5)]) for v in (-1, 0, 1)])] * 2
GRIDS, BOTH = {"data": GRID, "latent": GRID}, {"data": X, "latent": X}
FOUND = {"classes": np.eye(4, dtype=int), "confidence": np.full((4, 4), 0.7) + np.eye(4) / 5}
LAW = {"d": 2, "n": 9, "r": np.linspace(0, 5, 20), "gumbel": np.ones(20), "exact": np.ones(20), "maxima": np.ones(9)}
COMPARED = {"title": "letters", "ours": [0.9], "spread": [0.1], "published": [0.8]}
STRESSED = StressResult(
    tuple(StressRow("a", k, "x", s, 0.1, False, 9, fooled=1 / s) for k in ("shell", "exchange") for s in (1.0, 2.0)),
    (), {}, {"a": 0.9}, {}, {}, (), True, 0.9, 0.95, 1.0, 9, (2,),
)  # fmt: skip

# name -> how many axes it needs, and the call
PLOTS = {
    "samples": (1, lambda ax: fo.plots.samples(IMAGES, np.arange(24) % 3, event_shape=(1, 4, 4), ax=ax)),
    "strengths": (1, lambda ax: fo.plots.strengths([(1.0, X), (2.5, 2 * X)], data=X, ax=ax)),
    "images": (1, lambda ax: fo.plots.images(IMAGES.reshape(4, 6, 16), (1, 4, 4), ax=ax)),
    "scatter": (1, lambda ax: fo.plots.scatter({"moved": X + 1}, data=X, ax=ax)),
    "latent_map": (1, lambda ax: fo.plots.latent_map({"inliers": X, "far": 2 * X}, LABELS, ax=ax)),
    "radii": (1, lambda ax: fo.plots.radii({"inliers": np.linalg.norm(X, axis=1)}, latent_dim=4, ax=ax)),
    "scores": (1, lambda ax: fo.plots.scores(SCORES, threshold=1.0, ax=ax)),
    "roc": (1, lambda ax: fo.plots.roc(SCORES, ax=ax)),
    "reliability": (1, lambda ax: fo.plots.reliability(LABELS, RNG.dirichlet([1, 1, 1], 40), ax=ax)),
    "confusion": (1, lambda ax: fo.plots.confusion(LABELS, LABELS[::-1], ax=ax)),
    "shares": (2, lambda ax: fo.plots.shares([[0.2, 0.8], [0.5, 0.5]], rows=["a", "b"], ax=ax)),
    "training": (2, lambda ax: fo.plots.training({"step": [0, 1], "loss (nats)": [2, 1], "accuracy": [0, 1]}, ax=ax)),
    "simplex": (1, lambda ax: fo.plots.simplex(RNG.dirichlet([1, 1, 1], 40), labels=LABELS, shade=2.0, ax=ax)),
    "archetypes": (1, lambda ax: fo.plots.archetypes(IMAGES[:3], event_shape=(1, 4, 4), ax=ax)),
    "features": (2, lambda ax: fo.plots.features(X[:2], X.mean(0), X.std(0), ["1", "2"], list("abcd"), ax=ax)),
    "plane": (1, lambda ax: fo.plots.plane(X[:, :2], X[:3, :2], ["1", "2", "3"], ax=ax)),
    "counts": (2, lambda ax: fo.plots.counts([2, 3], [[0.1, 0.2], [0.3, 0.3]], [1.0, 0.9], chosen=2, ax=ax)),
    "errors": (1, lambda ax: fo.plots.errors({"digits": {"linear": {"counts": [2, 3], "errors": [2, 1]}}}, ax=ax)),
    "distances": (1, lambda ax: fo.plots.distances([[1.0, 2.0]], [0], ["a", "b"], ax=ax)),
    "largest_radii": (1, lambda ax: fo.plots.largest_radii([LAW], ax=ax)),
    "two_spaces": (2, lambda ax: fo.plots.two_spaces(BOTH, BOTH, LABELS, LABELS, ax=ax)),
    "mapping": (4, lambda ax: fo.plots.mapping(GRIDS, GRIDS, X, X, ax=ax)),
    "regions": (2, lambda ax: fo.plots.regions(np.arange(4.0), np.arange(4.0), {"a": FOUND}, X[:, :2], LABELS, ax=ax)),
    "stress": (2, lambda ax: fo.plots.stress(STRESSED, ax=ax)),
    "compared": (1, lambda ax: fo.plots.compared(["plain"], [COMPARED], "AUROC", ax=ax)),
}


def test_every_public_plot_is_tried_here_and_documented_alike():
    public = [name for name in fo.plots.__all__ if name not in ("Display", "STYLE")]
    assert set(PLOTS) == set(public)
    for name in public:
        text = inspect.getdoc(getattr(fo.plots, name))
        described, rest = text.split("Parameters\n----------\n")[1].split("\n\n", 1)
        assert [p for p in inspect.signature(getattr(fo.plots, name)).parameters if p not in described] == [], name
        assert "Returns\n-------\nDisplay\n" in rest, name
        assert ">>> fo.plots." in rest or f"= fo.plots.{name}(" in rest, name


@pytest.mark.parametrize("name", PLOTS)
def test_it_draws_in_the_axes_it_is_given_and_nowhere_else(name):
    n, draw = PLOTS[name]
    figure, every = plt.subplots(1, n + 1, squeeze=False, layout="constrained")
    mine, other = every[0, :n], every[0, n]
    display = draw(mine[0] if n == 1 else mine)
    assert plt.get_fignums() == [figure.number]
    assert display.figure_ is figure
    assert set(np.atleast_1d(display.ax_).ravel()) == set(mine)
    assert all(axes.has_data() for axes in mine)
    assert not other.has_data()
    assert not figure.legends, "a legend belongs to the axes, not to the user's figure"
    assert display.artists_
    figure.canvas.draw()


@pytest.mark.parametrize("name", PLOTS)
def test_without_axes_it_makes_a_figure_of_pyplot_and_on_a_page_one_outside(name):
    display = PLOTS[name][1](None)
    assert plt.figure(plt.get_fignums()[-1]) is display.figure_
    assert isinstance(np.atleast_1d(display.ax_).ravel()[0], Axes)
    plt.close("all")
    with page_style():
        outside = PLOTS[name][1](None)
    assert plt.get_fignums() == []
    assert outside.figure_.canvas.manager is None


def test_the_size_and_the_style_are_those_in_force():
    with mpl.rc_context(
        {"figure.figsize": (3, 2), "axes.prop_cycle": cycler(color=["red", "lime"]), "text.color": "blue"}
    ):
        roc = fo.plots.roc({**SCORES, "kana": SCORES["letters"]})
        filled = fo.plots.scores(SCORES).artists_["inliers"]
    assert roc.figure_.get_size_inches().tolist() == [3, 2]
    assert [roc.artists_[name].get_color() for name in ("letters", "kana")] == ["red", "lime"]
    assert same_color(filled.get_edgecolor(), "blue")
    with mpl.rc_context(fo.plots.STYLE):
        assert fo.plots.roc(SCORES).artists_["letters"].get_color() == line_style(0)["color"] == "#0072B2"


def test_the_users_settings_stay_as_they_were():
    before = dict(mpl.rcParams)
    for _, draw in PLOTS.values():
        draw(None)
        plt.close("all")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("given", [1, 3])
def test_another_number_of_axes_is_refused_with_the_right_one(given):
    axes = plt.subplots(1, given, squeeze=False)[1]
    with pytest.raises(InvalidSettingError, match=rf"has 2 panels: .*plt\.subplots\(1, 2\)\[1\]; got {given}"):
        fo.plots.counts([2, 3], [[0.1], [0.3]], [1.0, 0.9], ax=axes[0, 0] if given == 1 else axes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fo.plots.scores({}), "scores needs the inliers' scores first; found no sets"),
        (lambda: fo.plots.roc({"inliers": [1.0]}), "and one other set or more; found .'inliers'."),
        (lambda: fo.plots.roc({"inliers": [1.0], "a": [np.nan]}), "roc: 'a' must be finite"),
        (lambda: fo.plots.radii({"inliers": [1.0]}), "give latent_dim, or a fitted flow"),
        (lambda: fo.plots.scatter({"a": X, "b": X[:, :2]}), "as many columns"),
        (lambda: fo.plots.scatter({}), "each set must have shape"),
        (lambda: fo.plots.latent_map({"a": X}, LABELS[:3]), "one class for each of 40 inliers; found 3"),
        (lambda: fo.plots.latent_map({"a": np.full((2, 2), np.inf)}), "'a' has rows that are not finite"),
        (lambda: fo.plots.reliability([0, 1], [[0.5, 0.6, 0.1]] * 2), r"shape \(n, 2\).*found \(2,\) and \(2, 3\)"),
        (lambda: fo.plots.reliability([0, 1], [[1.5, 0.6]] * 2), "from 0 to 1"),
        (lambda: fo.plots.confusion([0, 1], [0]), r"found shapes \(2,\) and \(1,\)"),
        (lambda: fo.plots.shares([[0.5, 0.5]], ["a"]), "1 rows of 2 columns, 1 names"),
        (lambda: fo.plots.simplex([[1.0]]), r"k >= 2.*found \(1, 1\)"),
        (lambda: fo.plots.training({"step": [0]}), "one series or more"),
    ],
)
def test_what_cannot_be_drawn_is_named(call, message):
    with pytest.raises(InvalidDataError, match=message):
        call()
    assert plt.get_fignums() == [], "nothing is left behind"
