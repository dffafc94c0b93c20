"""Archetypes on the page: where vertices and points lie, what is shaded, and which sections there are."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import dirichlet

from farout import plots
from farout.archetypes.simplex import dirichlet_weights
from farout.errors import InvalidDataError
from farout.plots.archetype_pictures import tiles_of
from farout.plots.mixtures import circle_order, corners
from farout.report import ReportContent
from farout.report.page import render_report
from farout.report.sections import sections

pytestmark = pytest.mark.usefixtures("in_page_style")
EVIL = "<b>&$x$"


def story(k=3, shape=(1, 4, 4), *, deep=True):
    rng = np.random.default_rng(0)
    d, n = int(np.prod(shape)), 30
    X, Z = rng.random((n, d)), rng.random((k, d))
    W = dirichlet_weights(n, k, 1.0, rng)
    kept = {
        "archetypes": Z,
        "nearest": X[np.argsort(-W, axis=0)[:4].T],
        "points": X,
        "weights": W,
        "labels": np.arange(n) % 3,
        "mean": X.mean(axis=0),
        "spread": X.std(axis=0),
        "feature_names": None,
        "counts": {
            "counts": [2, 3, 4],
            "explained": [[0.1, 0.2], [0.4, 0.3], [0.5, 0.5]],
            "stability": [1.0, 0.9, 0.25],
            "of": "data",
            "rows": 77,
        },
        "rows": n,
    }
    if deep:
        kept |= {
            "classes": [EVIL] * k,
            "by_class": {EVIL: Z, "b": Z[::-1], "c": 0 * Z, "d": Z},
            "draws": [
                {"concentration": c, "samples": A @ Z, "weights": A, "labels": None}
                for c in (7.0, 0.3)
                for A in [dirichlet_weights(20, k, c, rng)]
            ],
            "hull": [
                {"archetype": j, "largest_weight": 0.987, "distance": 3.21, "typical_distance": 2.5} for j in range(k)
            ],
            "reconstructions": {"originals": X[:5], "plain": W[:5] @ Z, "with nullspace": X[:5]},
            "errors": {"plain": 0.01234, "with nullspace": 0.06},
        }
    return {"title": "A", "summary": "B", "event_shape": shape, "archetypes": kept}


def points(figure):
    return np.concatenate([c.get_offsets() for c in figure.axes[0].collections if len(c.get_offsets())])


@pytest.mark.parametrize("k", [3, 4, 7])
def test_pure_samples_lie_on_the_corners_and_equal_mixtures_in_the_middle(k):
    order = np.roll(np.arange(k), 1)
    A = np.vstack([np.eye(k), np.full((1, k), 1 / k)])
    drawn = points(plots.simplex(A, [str(j) for j in range(k)], order=order).figure_)
    np.testing.assert_allclose(drawn[:k][order], corners(k), atol=1e-12)
    np.testing.assert_allclose(drawn[k], 0, atol=1e-12)


def test_names_stand_beside_their_own_corner():
    figure = plots.simplex(np.eye(5), list("abcde"), order=np.array([2, 0, 1, 4, 3])).figure_
    drawn = {text.get_text(): np.array(text.get_position()) for text in figure.axes[0].texts}
    for corner, name in zip(corners(5), "cabed", strict=True):
        np.testing.assert_allclose(drawn[name], 1.05 * corner, atol=1e-12)


@given(st.permutations(range(8)))
def test_the_order_around_the_circle_finds_the_circle_again(shuffled):
    shuffled = np.array(shuffled)
    order = circle_order(corners(8)[shuffled])
    assert sorted(order) == list(range(8))
    steps = np.diff(shuffled[[*order, order[0]]]) % 8
    assert set(steps) in ({1}, {7})


@given(st.integers(0, 10_000))
def test_no_exchange_of_two_legs_shortens_the_order(seed):
    X = np.random.default_rng(seed).normal(size=(7, 3))

    def length(tour):
        return sum(np.linalg.norm(X[a] - X[b]) for a, b in itertools.pairwise([*tour, tour[0]]))

    order = list(circle_order(X))
    for i, j in itertools.combinations(range(1, 7), 2):
        assert length(order) <= length(order[:i] + order[i : j + 1][::-1] + order[j + 1 :]) + 1e-9


def test_classes_have_their_own_colours_and_markers_up_to_twelve():
    A = dirichlet_weights(60, 3, 1.0, np.random.default_rng(0))
    few = plots.simplex(A, list("abc"), labels=np.arange(60) % 4).figure_
    assert [t.get_text() for t in few.legends[0].get_texts()] == ["0", "1", "2", "3"]
    looks = {tuple(c.get_facecolor()[0]) for c in few.axes[0].collections}
    shapes = {c.get_paths()[0].vertices.tobytes() for c in few.axes[0].collections}
    assert len(looks) == len(shapes) == 4
    assert not plots.simplex(A, list("abc"), labels=np.arange(60) % 13).figure_.legends


@pytest.mark.parametrize("c", [7.0, 0.3])
def test_shading_is_darkest_where_the_law_is_densest(c):
    figure = plots.simplex(np.eye(3), list("abc"), shade=c).figure_
    alpha = np.asarray(figure.axes[0].images[0].get_array())[..., 3]
    middle, edge, outside = alpha[120, 120], alpha[62, 120], alpha[10, 120]  # the lower edge lies at y = -1/2
    assert outside == 0
    assert (middle > 0.5 and edge < 0.01) if c > 1 else (edge > 3 * middle)


def test_a_projection_is_shaded_where_draws_fall():
    figure = plots.simplex(np.eye(4), list("abcd"), shade=20.0).figure_
    alpha = np.asarray(figure.axes[0].images[0].get_array())[..., 3]
    assert alpha[120, 120] > 0.5
    assert alpha[120, 10] < 0.01


@pytest.mark.parametrize("c", [7.0, 2.0, 0.5])
def test_an_outline_parts_the_draws_in_halves(c):
    figure = plots.simplex(np.eye(3), list("abc"), outlines=[c]).figure_
    (line,) = (p for p in figure.axes[0].collections if not len(p.get_offsets()) or p.get_paths()[0].vertices.size > 60)
    border = line.get_paths()[0].vertices
    weights = np.linalg.solve(np.vstack([corners(3).T, np.ones(3)]), np.vstack([border.T, np.ones(len(border))])).T
    level = np.median([dirichlet.logpdf(w, [c] * 3) for w in weights / weights.sum(axis=1, keepdims=True)])
    draws = dirichlet_weights(20_000, 3, c, np.random.default_rng(1))
    draws = np.clip(draws, 1e-12, None)
    inside = dirichlet.logpdf((draws / draws.sum(axis=1, keepdims=True)).T, [c] * 3) > level
    assert inside.mean() == pytest.approx(0.5, abs=0.02)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [f"half at c = {c:g}"]


def test_two_archetypes_are_a_histogram_of_the_second_ones_weight():
    A = np.column_stack([1 - np.linspace(0.7, 0.9, 50), np.linspace(0.7, 0.9, 50)])
    figure = plots.simplex(A, ["a", "b"], shade=2.0).figure_
    filled = next(p for p in figure.axes[0].patches if p.fill).get_data()
    centre = (filled.values * np.diff(filled.edges) * (filled.edges[1:] + filled.edges[:-1]) / 2).sum()
    assert centre == pytest.approx(0.8, abs=0.01)
    assert "archetype b" in figure.axes[0].get_xlabel()
    x, y = figure.axes[0].lines[0].get_xydata().T
    np.testing.assert_allclose(y, 6 * x * (1 - x), atol=1e-9)


def test_images_of_archetypes_stand_at_their_corners():
    tiles = tiles_of(np.linspace(0, 1, 4)[:, None] * np.ones((4, 16)), (1, 4, 4))
    figure = plots.simplex(np.eye(4), list("abcd"), tiles=tiles).figure_
    shown = [float(np.asarray(inset.images[0].get_array()).mean()) for inset in figure.axes[0].child_axes]
    np.testing.assert_allclose(shown, np.linspace(0, 1, 4))


def test_nearest_samples_stand_below_their_archetype_and_apart():
    Z, nearest = np.array([[0.1], [0.2]]), np.array([[[0.3], [0.4]], [[0.5], [0.6]]])
    axes = plots.archetypes(Z, nearest, event_shape=(1, 1, 1), classes=["ada", "bruno"]).figure_.axes[0]
    pixels = np.asarray(axes.images[0].get_array())
    rows = axes.get_yticks().astype(int)
    columns = axes.get_xticks().astype(int)
    np.testing.assert_allclose(pixels[np.ix_(rows, columns)][..., 0], [[0.1, 0.2], [0.3, 0.5], [0.4, 0.6]])
    assert np.diff(rows)[0] > np.diff(rows)[1]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1\nada", "2\nbruno"]
    assert [t.get_text() for t in axes.texts] == ["number\nclass"]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["archetype", "nearest samples", ""]


def test_bars_are_standardised_features_in_which_archetypes_differ():
    rng = np.random.default_rng(0)
    mean, spread = rng.normal(size=20), np.full(20, 2.0)
    scores = np.zeros((2, 20))
    scores[0, 3], scores[1, 12] = 4.0, -3.0
    spread[5] = 0.0  # a constant column says nothing, however far archetypes are
    names = [f"f{j}" for j in range(20)]
    figure = plots.features(mean + 2 * scores, mean, spread, ["1", "2"], names).figure_
    first, second = figure.axes
    shown = [t.get_text() for t in first.get_yticklabels()]
    assert len(shown) == 15
    assert {"f3", "f12"} <= set(shown)
    assert "f5" not in shown
    widths = [[bar.get_width() for bar in axes.patches] for axes in (first, second)]
    assert widths[0][shown.index("f3")] == pytest.approx(4)
    assert widths[1][shown.index("f12")] == pytest.approx(-3)
    assert np.abs(widths).sum() == pytest.approx(7)


def test_the_plane_shows_data_hull_and_archetypes():
    X, Z = np.random.default_rng(0).normal(size=(50, 2)), np.array([[0.0, 3], [-3, -2], [3, -2]])
    axes = plots.plane(X, Z, ["1", "2", "3"], outline=Z[[0, 1, 2, 0]], columns=("width", "height")).figure_.axes[0]
    np.testing.assert_array_equal(axes.collections[0].get_offsets(), X)
    np.testing.assert_array_equal(axes.collections[1].get_offsets(), Z)
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), Z[[0, 1, 2, 0]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("width", "height")


def test_explained_variance_has_every_restart_and_the_best():
    explained = np.array([[0.1, 0.2], [0.4, 0.3]])
    left, right = plots.counts([2, 5], explained, np.array([1.0, -0.2]), chosen=5).figure_.axes
    assert left.lines[0].get_xydata().tolist() == [[2, 0.1], [2, 0.2], [5, 0.4], [5, 0.3]]
    assert left.lines[1].get_xydata().tolist() == [[2, 0.2], [5, 0.4]]
    assert right.lines[0].get_xydata().tolist() == [[2, 1.0], [5, -0.2]]
    assert left.lines[2].get_xdata() == [5, 5]
    assert right.get_ylim()[0] < -0.2


@pytest.mark.parametrize(("k", "shape"), [(2, (1, 4, 4)), (5, (3, 4, 4)), (2, (5,)), (3, (2,))])
def test_a_deep_run_has_all_sections_on_its_page(k, shape):
    content = ReportContent.from_story(story(k, shape))
    page = render_report(content)
    keys = re.findall(r'<section id="([^"]*)"', page)
    assert keys == ["archetypes", "simplex", "draws", "counts", "hull", "reconstructions"]
    ids = re.findall(r' id="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    assert "<b>&$x" not in page
    assert "0.987" in page
    assert "plain: 0.0123; with nullspace: 0.0600" in page
    assert page.count("<tr class=") == k
    assert all(re.search(r'aria-label="[^"]{10,}"', svg) for svg in re.findall(r"<svg [^>]*>", page))


@pytest.mark.parametrize("k", [2, 6])
def test_archetypes_are_shown_under_every_class_the_longer_way_across(k):
    part = sections(ReportContent.from_story(story(k)))[0].pictures[1]
    texts = re.findall(r"<text[^>]*>([^<]*)<", part.svg)
    numbers = [str(j + 1) for j in range(k)]
    classes = ["&lt;b&gt;&amp;$x$", "b", "c", "d"]
    assert texts == ([*classes, *(f"archetype {n}" for n in numbers)] if k < 4 else [*numbers, *classes])


def test_a_linear_run_has_no_sections_of_deep_ones():
    content = ReportContent.from_story(story(deep=False))
    assert [s.key for s in sections(content)] == ["archetypes", "simplex", "counts"]


def test_one_archetype_alone_has_no_simplex():
    content = ReportContent.from_story(story(1, deep=False))
    assert [s.key for s in sections(content)] == ["archetypes", "counts"]


def test_a_story_without_archetypes_is_a_page_without_them():
    content = ReportContent.from_story({"title": "t", "summary": "s", "event_shape": (2,)})
    assert content.archetypes is None
    assert sections(content) == []


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"archetypes": np.zeros((3, 5))}, r"points.*\(n, 5\).*found \(30, 16\)"),
        ({"weights": np.zeros((4, 2))}, r"weights.*\(n, 3\)"),
        ({"points": np.full((2, 16), np.nan)}, "points.*finite"),
        ({"reconstructions": {"plain": np.zeros((2, 3))}}, "reconstructions"),
    ],
)
def test_bad_archetypes_are_named(part, message):
    told = story()
    told["archetypes"] |= part
    with pytest.raises(InvalidDataError, match=message):
        ReportContent.from_story(told)


def test_archetypes_of_another_width_than_the_data_are_refused():
    content = ReportContent.from_story(story())
    with pytest.raises(InvalidDataError, match=r"archetypes.*\(n, 4\)"):
        dataclasses.replace(content, event_shape=(4,))
