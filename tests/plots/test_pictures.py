"""The numbers that plots draw, read back from the artists."""

import numpy as np
import pytest
from matplotlib.patches import StepPatch
from sklearn.metrics import roc_auc_score

from farout import plots
from farout.evaluation import roc_points
from farout.latent import chi_mean_std, chi_pdf

pytestmark = pytest.mark.usefixtures("in_page_style")


@pytest.fixture
def scores():
    rng = np.random.default_rng(0)
    return {"inliers": rng.normal(2, 1, 400), "a": rng.normal(0, 1, 300), "b": rng.normal(-1, 1, 9)}


def steps(figure):
    """Values and edges of each outline."""
    patches = [p for p in figure.axes[0].patches if isinstance(p, StepPatch)]
    return [(p.get_data().values, p.get_data().edges) for p in patches]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_histograms_are_densities_on_shared_bins(scores):
    figure = plots.scores(scores).figure_
    drawn = steps(figure)
    assert legend(figure) == ["inliers", "a", "b"]
    for (values, edges), sample in zip(drawn, scores.values(), strict=True):
        np.testing.assert_array_equal(edges, drawn[0][1])
        assert (values * np.diff(edges)).sum() == pytest.approx(1)
        centre = (values * np.diff(edges) * (edges[1:] + edges[:-1]) / 2).sum()
        assert centre == pytest.approx(sample.mean(), abs=0.1)
    assert figure.axes[0].get_yscale() == "linear"


def test_far_outliers_stay_in_the_picture_and_leave_the_inliers_their_room(scores):
    drawn = steps(plots.scores({**scores, "far": np.full(50, -1e6)}).figure_)
    values, edges = drawn[-1]
    assert values[0] * (edges[1] - edges[0]) == pytest.approx(1), "all in the first bin"
    assert (drawn[0][0] > 0).sum() >= 6, "inliers in one bin tell nothing"


def test_a_spike_switches_to_a_logarithmic_scale_and_says_so(scores):
    spike = {"inliers": np.r_[np.full(990, 1.0), np.linspace(0, 1, 10)], "a": np.linspace(0, 1, 99)}
    axes = plots.scores(spike).figure_.axes[0]
    assert axes.get_yscale() == "log"
    assert "log" in axes.get_ylabel()


@pytest.mark.parametrize("value", [0.0, 1e9, -3.5])
def test_constant_scores_can_be_drawn(value):
    values, edges = steps(plots.scores({"in": np.full(5, value), "a": [value]}).figure_)[0]
    assert edges[0] < value < edges[-1]
    assert (values > 0).sum() == 1


def test_roc_curves_are_those_of_the_scores(scores):
    figure = plots.roc(scores).figure_
    curves = figure.axes[0].lines[2:]
    for line, name in zip(curves, ["a", "b"], strict=True):
        np.testing.assert_array_equal(line.get_xydata().T, roc_points(scores["inliers"], scores[name]))
    truth = np.repeat([1, 0], [400, 300])
    auroc = roc_auc_score(truth, np.r_[scores["inliers"], scores["a"]])
    assert legend(figure)[0] == f"a: {auroc:.3f}"


def test_radii_are_drawn_with_the_chi_density():
    r = np.linalg.norm(np.random.default_rng(0).normal(size=(2000, 64)), axis=1)
    figure = plots.radii({"inliers": r, "2.5 σ": 2.5 * r}, latent_dim=64).figure_
    x, y = figure.axes[0].lines[0].get_xydata().T
    np.testing.assert_allclose(y, chi_pdf(x, 64))
    assert x[np.argmax(y)] == pytest.approx(np.sqrt(63), abs=0.1)
    assert legend(figure) == ["χ, 64 dimensions (ideal inliers)", "inliers", "2.5 σ"]


def test_the_upper_axis_of_radii_counts_typical_radii():
    figure = plots.radii({"inliers": np.array([8.0, 7.5])}, latent_dim=64).figure_
    figure.draw_without_rendering()
    lower = figure.axes[0].get_xlim()
    upper = figure.axes[0].child_axes[0].get_xlim()
    np.testing.assert_allclose(upper, np.array(lower) / chi_mean_std(64)[0])


@pytest.mark.parametrize("d", [2, 64, 3072])
def test_outliers_of_ten_sigma_are_inside_the_picture_of_radii(d):
    mean, _ = chi_mean_std(d)
    r = np.full(20, 9.5 * mean)
    values, edges = steps(plots.radii({"inliers": r / 9.5, "far": r}, latent_dim=d).figure_)[1]
    bin_ = np.flatnonzero(values)[0]
    assert edges[bin_] <= 9.5 * mean <= edges[bin_ + 1]


def test_two_columns_are_drawn_as_they_are():
    data, outliers = np.array([[0.0, 1.0], [2.0, 3.0]]), np.array([[9.0, -9.0]])
    figure = plots.scatter(data=data, groups={"far": outliers}).figure_
    drawn = [collection.get_offsets() for collection in figure.axes[0].collections]
    np.testing.assert_array_equal(drawn[0], data)
    np.testing.assert_array_equal(drawn[1], outliers)
    assert figure.axes[0].get_xlabel() == "column 1"


def test_more_columns_are_projected_to_the_components_of_the_data():
    rng = np.random.default_rng(0)
    t = rng.normal(size=(300, 1))
    data = np.hstack([t, 1000 * t, rng.normal(size=(300, 1))]) + 5  # the unit must not matter
    figure = plots.scatter(data=data, groups={"shifted": data + np.array([3, 3000, 0])}).figure_
    before, after = (c.get_offsets() for c in figure.axes[0].collections)
    moved = np.abs((after - before).mean(axis=0))
    assert moved[0] == pytest.approx(3 * np.sqrt(2) / t.std(), rel=0.02)
    assert moved[1] == pytest.approx(0, abs=0.3)
    assert "67 % of variance" in figure.axes[0].get_xlabel()


@pytest.mark.parametrize("d", [1, 2, 5])
def test_scatter_takes_any_width_draws_a_part_of_many_and_needs_no_data(d):
    X = np.random.default_rng(0).normal(size=(5000, d))
    (drawn,) = plots.scatter({"x": X}).figure_.axes[0].collections
    assert len(drawn.get_offsets()) == 400


def test_strengths_are_columns_of_images():
    outliers = [(1.0, np.zeros((2, 64))), (2.5, np.full((3, 64), 0.5))]
    figure = plots.strengths(outliers, event_shape=(1, 8, 8), row_labels=["0", "1", "2"]).figure_
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2.5"]
    shown = np.asarray(axes.images[0].get_array())
    assert shown[0, 0, 0] == 0
    assert shown[0, 30, 0] == 0.5
    assert shown[-1, 0, 3] == 0, "the first column has two images only"
    assert shown[-1, 30, 3] == 1


def test_strengths_of_a_table_are_one_scatter():
    outliers = [(s, s * np.ones((4, 2))) for s in (1.0, 1.6, 4.0)]
    figure = plots.strengths(outliers, event_shape=(2,), data=np.arange(6.0).reshape(3, 2)).figure_
    assert legend(figure) == ["data", "1 σ", "1.6 σ", "4 σ"]
    colours = [tuple(c.get_facecolor()[0]) for c in figure.axes[0].collections]
    assert len(set(colours)) == 4


def test_training_curves_share_axes_by_unit_and_leave_gaps_out():
    history = {
        "epoch": [1, 2, 3],
        "loss (nats)": [3.0, 2.0, 1.0],
        "validation loss (nats)": [3.5, None, float("nan")],
        "accuracy": [0.1, 0.5, 0.9],
    }
    figure = plots.training(history).figure_
    assert [axes.get_ylabel() for axes in figure.axes] == ["nats", "accuracy"]
    losses = [line.get_xydata().tolist() for line in figure.axes[0].lines]
    assert losses == [[[1, 3], [2, 2], [3, 1]], [[1, 3.5]]]
    assert figure.axes[-1].get_xlabel() == "epoch"


def test_the_map_shows_rows_from_the_first_to_the_last():
    at = np.linspace(-1, 1, 5)
    across, up = np.broadcast_arrays(at[:, None], at)
    grid = [np.stack([across, up], axis=2), np.stack([up, across], axis=2)]
    X = np.arange(2000.0).repeat(2).reshape(-1, 2)  # rows sorted, as by class
    figure = plots.mapping({"data": grid, "latent": grid}, {"data": grid, "latent": grid}, X, X).figure_
    shown = figure.axes[0].collections[0].get_offsets()[:, 0]
    assert 500 < len(shown) <= 750
    assert shown.min() < 10
    assert shown.max() > 1990
