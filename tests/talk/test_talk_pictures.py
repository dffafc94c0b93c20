"""The talk's figures: what is drawn is what was given, at its place, and in grey too."""

import colorsys

import matplotlib.colors as colours
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.image import AxesImage
from matplotlib.patches import StepPatch
from scipy.stats import gumbel_r

from farout import plots
from farout.plots.style import INK, to_svg

pytestmark = pytest.mark.usefixtures("in_page_style")
RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 20)


def clouds(axes):
    return [c for c in axes.collections if isinstance(c, PathCollection)]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def luminance(colour):
    return colorsys.rgb_to_yiq(*colours.to_rgb(colour))[0]


def contrast(one, other):
    def light(colour):
        rgb = np.array(colours.to_rgb(colour))
        return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]

    dark, bright = sorted([light(one), light(other)])
    return (bright + 0.05) / (dark + 0.05)


def grid(shift=0.0):
    """Two families of three lines of five points."""
    at, along = np.linspace(-1, 1, 3), np.linspace(-1, 1, 5)
    first = np.stack([np.column_stack([np.full(5, v), along]) for v in at])
    return [first + shift, first[..., ::-1] + shift]


def test_toy_shows_each_class_in_both_spaces_with_hollow_outliers():
    data, latent = RNG.normal(size=(60, 2)), RNG.normal(size=(60, 2))
    far = {"data": 9 + data[::10], "latent": 7 + latent[::10]}
    figure = plots.two_spaces({"data": data, "latent": latent}, far, LABELS, LABELS[::10]).figure_
    for axes, space, points in zip(figure.axes, ("data", "latent"), (data, latent), strict=True):
        filled, hollow = clouds(axes)[::2], clouds(axes)[1::2]
        for c in range(3):
            np.testing.assert_allclose(filled[c].get_offsets(), points[c == LABELS])
            np.testing.assert_allclose(hollow[c].get_offsets(), far[space][LABELS[::10] == c])
            assert len(filled[c].get_facecolor())
            assert not len(hollow[c].get_facecolor())
        assert space == "data" or "standard deviations" in axes.get_xlabel()
        markers = {tuple(map(tuple, c.get_paths()[0].vertices)) for c in filled}
        assert len(markers) == 3, "classes must differ in grey print"
    assert legend(figure)[0] == "class 0"
    assert legend(figure)[1] == "class 0, outliers"


def test_regions_put_each_cell_at_its_place():
    x, y = np.linspace(-2, 2, 9), np.linspace(-1, 3, 7)
    across, up = np.meshgrid(x, y)
    models = {
        "plain": {"classes": (across > 0).astype(int), "confidence": np.where(up > 2, 1.0, 0.6)},
        "cautious": {"classes": (up > 2).astype(int), "confidence": np.full((7, 9), 0.5)},
    }
    points, labels = RNG.normal(size=(30, 2)), np.repeat([4, 7], 15)
    outliers = np.array([[1.5, 2.5]])
    figure = plots.regions(x, y, models, points, labels, outliers).figure_
    images = [image for axes in figure.axes for image in axes.get_children() if isinstance(image, AxesImage)]
    shown = iter(images[:4])
    for found in models.values():
        np.testing.assert_array_equal(next(shown).get_array(), found["classes"])
        np.testing.assert_array_equal(next(shown).get_array(), found["confidence"])
    for image in images[:4]:
        assert image.origin == "lower"
        assert list(image.get_extent()) == [-2, 2, -1, 3]
    assert images[1].get_clim() == (0.5, 1)
    tints = [1 - tint[3] * (1 - luminance(tint[:3])) for tint in images[0].cmap(images[0].norm([0, 1]))]
    assert abs(tints[0] - tints[1]) > 0.1, "regions must differ in grey print"
    np.testing.assert_allclose(clouds(figure.axes[2])[-1].get_offsets(), outliers)
    assert len(clouds(figure.axes[0])) == 2, "outliers belong to the classifier that was trained with them"
    assert legend(figure) == ["class 4", "class 7", "outliers trained on"]


def test_mapping_draws_both_grids_in_both_spaces():
    points = RNG.normal(size=(50, 2))
    from_latent = {"data": grid(5.0), "latent": grid()}
    from_data = {"data": grid(), "latent": grid(-3.0)}
    figure = plots.mapping(from_latent, from_data, points + 5, points).figure_
    expected = [from_latent["data"], from_latent["latent"], from_data["data"], from_data["latent"]]
    for axes, families in zip(figure.axes, expected, strict=True):
        drawn = np.stack([line.get_xydata() for line in axes.lines])
        np.testing.assert_allclose(drawn, np.concatenate(families))
        widths = [line.get_linewidth() for line in axes.lines[:3]]
        assert np.argmax(widths) == 1, "the middle line is the thick one"
        assert axes.lines[0].get_linestyle() != axes.lines[3].get_linestyle()
    assert figure.axes[0].get_xlim()[0] > 0, "the view follows the data"


def test_extremal_panels_hold_densities_of_the_same_law():
    maxima = gumbel_r.rvs(3.0, 0.2, size=4000, random_state=0)
    r = np.linspace(0, 6, 300)
    law = gumbel_r.pdf(r, 3.0, 0.2)
    figure = plots.largest_radii(
        [{"d": 2, "n": 1000, "r": r, "gumbel": law, "exact": law, "maxima": maxima}] * 2
    ).figure_
    assert len(figure.axes) == 2
    chi, gumbel, exact = figure.axes[0].lines
    assert r[np.argmax(chi.get_ydata())] == pytest.approx(1.0, abs=0.02)  # the mode of chi with 2 degrees
    for line in (gumbel, exact):
        np.testing.assert_array_equal(line.get_ydata(), law)
    assert len({str(line._unscaled_dash_pattern) for line in (chi, gumbel, exact)}) == 3
    (steps,) = (patch for patch in figure.axes[0].patches if isinstance(patch, StepPatch))
    assert (steps.get_data().values * np.diff(steps.get_data().edges)).sum() == pytest.approx(1)
    assert figure.axes[0].get_title() == "d = 2, n = 1 000"


def test_errors_have_a_panel_a_set_and_one_look_a_model():
    curves = {
        "digits": {
            "linear": {"counts": [2, 3], "errors": [0.5, 0.4]},
            "deep": {"counts": [3], "errors": [0.3]},
        },
        "faces": {"deep": {"counts": [3, 5], "errors": [0.2, 0.1]}},
    }
    figure = plots.errors(curves).figure_
    left, right = figure.axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[2, 0.5], [3, 0.4]])
    np.testing.assert_allclose(right.lines[0].get_xydata(), [[3, 0.2], [5, 0.1]])
    assert left.lines[1].get_color() == right.lines[0].get_color()
    assert left.lines[0].get_marker() != left.lines[1].get_marker()
    assert left.get_ylim()[0] == 0
    assert legend(figure) == ["linear", "deep"]
    assert "pixel" in left.get_ylabel()


@pytest.mark.parametrize("scale", [0.5, 30.0, 400.0])
def test_every_distance_is_written_in_its_cell_and_legible(scale):
    distances = scale * np.linspace(0, 1, 12).reshape(3, 4)
    figure = plots.distances(distances, [0, 1, 2], list("abcd"), compared="letters", own="digits").figure_
    axes = figure.axes[0]
    (image,) = axes.images
    np.testing.assert_array_equal(image.get_array(), distances)
    for text in axes.texts:
        j, i = map(int, text.get_position())
        assert float(text.get_text()) == pytest.approx(distances[i, j], abs=0.5)
        *colour, opacity = image.cmap(image.norm(distances[i, j]))
        for page, words in (("#fdfcfa", INK), ("#15171a", "#e4e2de")):  # the page's light and dark colours
            cell = opacity * np.array(colour) + (1 - opacity) * np.array(colours.to_rgb(page))
            assert contrast(cell, words) >= 4.5
    assert len(axes.texts) == 12
    assert [label.get_text() for label in axes.get_xticklabels()] == list("abcd")
    assert "letters" in axes.get_xlabel()
    assert "digits" in axes.get_ylabel()


def test_equal_and_zero_distances_can_be_drawn():
    figure = plots.distances(np.zeros((2, 2)), [0, 1], ["a", "b"], compared="x", own="y").figure_
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.0"] * 4
    assert "<svg" in to_svg(figure, alt="zeros", key="z")
