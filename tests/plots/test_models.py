"""Plots that ask a model: the same picture as from its numbers."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from sklearn.exceptions import NotFittedError

import farout as fo
from farout.errors import InvalidSettingError
from farout.latent import along_strength, radii
from farout.plots.mixtures import circle_order

RNG = np.random.default_rng(0)
X = np.concatenate([RNG.normal(size=(60, 3)) + 4 * k for k in range(3)])
Y = np.repeat(["a", "b", "c"], 60)


@pytest.fixture(scope="module")
def flow():
    return fo.FlowDensity(max_steps=30, random_state=0).fit(X, Y)


@pytest.fixture(scope="module")
def images():
    """A flow of small images of two classes."""
    digits = fo.load_data("digits:train@0-1")
    return fo.FlowDensity(event_shape=(1, 8, 8), max_steps=2, random_state=0).fit(digits.X, digits.y)


@pytest.fixture(scope="module")
def classifier(flow):
    source = fo.NormalShell(strength=3.0, flow=flow)
    return fo.CautiousClassifier(source, max_steps=30, random_state=0).fit(X, Y)


def columns_of(display, n):
    """Tiles of a sheet of 8x8 images, of shape (rows, n, 64)."""
    step, enlarged = 26, 24
    pixels = np.asarray(display.artists_["images"].get_array())[..., 0]
    rows = -(-pixels.shape[0] // step)
    tiles = [
        pixels[r * step : r * step + enlarged : 3, c * step : c * step + enlarged : 3]
        for r in range(rows)
        for c in range(n)
    ]
    return np.stack(tiles).reshape(rows, n, 64)


def test_a_row_of_images_keeps_to_one_draw_of_the_source(images):
    source = fo.NormalShell(strength=2.5, flow=images).fit(np.empty((0, 64)))
    display = fo.plots.strengths(source, values=[1, 2.5, 9], random_state=3)
    assert [t.get_text() for t in display.ax_.get_xticklabels()] == ["1", "2.5", "9"]
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["0", "1"]
    drawn = columns_of(display, 3)
    expected = source.sample(2, [0, 1], random_state=3).x
    np.testing.assert_allclose(drawn[:, 1], expected, atol=1e-6)
    near = images.encode(drawn[:, 0], [0, 1])
    assert source.strength == 2.5, "the source is left as it was"
    assert np.isfinite(near).all()


def test_a_flow_is_followed_outwards(images):
    display = fo.plots.strengths(images, values=[1, 3], random_state=5)
    expected = along_strength(images, [1, 3], 2, [0, 1], random_state=5)
    np.testing.assert_allclose(columns_of(display, 2)[:, 1], np.clip(expected[1][1], 0, 1), atol=1e-6)


def test_ways_outward_are_straight_in_latent_space(flow):
    near, far = (x for _, x in along_strength(flow, [1.0, 3.0], 5, np.array(["a"] * 5), random_state=0))
    Z, beyond = flow.encode(near, ["a"] * 5), flow.encode(far, ["a"] * 5)
    np.testing.assert_allclose(beyond, 3 * Z, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(radii(Z), radii(Z)[0], rtol=1e-3)


@pytest.mark.parametrize("law", ["exact", "author"])
def test_strengths_of_a_table_are_those_of_its_source(flow, law):
    source = fo.GumbelShell(law=law, flow=flow).fit(X, Y)
    display = fo.plots.strengths(source, data=X)
    first = "1 σ" if law == "exact" else "1.25 σ"
    assert list(display.artists_) == ["data", first, "1.5 σ", "2 σ", "2.5 σ", "3 σ", "4 σ"]


def test_a_tail_gives_way_to_strengths():
    rows = RNG.normal(size=(300, 2))
    source = fo.NormalShell(tail=0.1, flow=fo.FlowDensity(max_steps=10, random_state=0)).fit(rows)
    assert "4 σ" in fo.plots.strengths(source).artists_
    assert source.tail == 0.1


def test_a_model_and_a_mixture_stand_for_the_first_source_with_a_strength(classifier, flow):
    alone = fo.plots.strengths(fo.NormalShell(flow=flow).fit(X, Y))
    for model in (classifier, fo.Mixture([fo.Exchange(), fo.NormalShell(flow=flow)]).fit(X, Y)):
        shown = fo.plots.strengths(model)
        np.testing.assert_array_equal(shown.artists_["2.5 σ"].get_offsets(), alone.artists_["2.5 σ"].get_offsets())


def test_what_has_no_strength_says_so_and_what_is_not_fitted_too(flow):
    with pytest.raises(InvalidSettingError, match=r"Exchange has no strength.*fo\.plots\.samples"):
        fo.plots.strengths(fo.Exchange().fit(X))
    for draw in (fo.plots.strengths, fo.plots.samples):
        with pytest.raises(NotFittedError):
            draw(fo.NormalShell())
    assert plt.get_fignums() == []


def test_samples_of_a_flow_a_source_and_outliers(images, flow):
    assert [t.get_text() for t in fo.plots.samples(images, random_state=0).ax_.get_yticklabels()] == ["0", "1"]
    source = fo.NormalShell(flow=flow).fit(X, Y)
    out = source.sample(400, random_state=4)
    ours = fo.plots.samples(out, data=X).artists_["samples"].get_offsets()
    np.testing.assert_array_equal(
        fo.plots.samples(source, data=X, random_state=4).artists_["samples"].get_offsets(), ours
    )


def test_scores_roc_and_radii_ask_the_model(classifier, flow):
    sets = {"inliers": X, "far": X + 50}
    scored = {name: classifier.score_samples(rows) for name, rows in sets.items()}
    by_model, by_hand = fo.plots.scores(sets, model=classifier), fo.plots.scores(scored, threshold=classifier.offset_)
    for name in sets:
        np.testing.assert_array_equal(
            by_model.artists_[name].get_data().values, by_hand.artists_[name].get_data().values
        )
    line = by_model.artists_["threshold"].get_xdata()[0]
    assert line == pytest.approx(classifier.offset_)
    texts = [t.get_text() for t in by_model.figure_.legends[0].get_texts()]
    assert texts[1] == "far: 0 % accepted"
    assert texts[2] == "threshold"
    curve = fo.plots.roc(sets, model=classifier).artists_["far"].get_xydata()
    np.testing.assert_array_equal(curve, fo.plots.roc(scored).artists_["far"].get_xydata())
    norms = {name: radii(flow.encode(rows)) for name, rows in sets.items()}
    by_flow, by_norms = fo.plots.radii(sets, flow=flow), fo.plots.radii(norms, latent_dim=3)
    np.testing.assert_array_equal(by_flow.artists_["far"].get_data().values, by_norms.artists_["far"].get_data().values)


def test_reliability_and_confusion_ask_the_classifier(classifier):
    counts = [text.get_text() for text in fo.plots.confusion(Y, X, model=classifier).ax_.texts]
    assert sum(int(text) for text in counts if text) == len(Y)
    assert len(counts) == 9
    by_model = fo.plots.reliability(Y, X, model=classifier).artists_["observed"]
    by_hand = fo.plots.reliability(Y, classifier.predict_proba(X)).artists_["observed"]
    np.testing.assert_array_equal(by_model[0].get_xydata(), by_hand[0].get_xydata())


def test_reliability_is_the_share_that_is_right_in_each_bin():
    sure = np.r_[np.full(40, 0.95), np.full(10, 0.62)]
    right = np.r_[np.arange(40) < 30, np.arange(10) < 5]
    y = np.where(right, 0, 1)
    display = fo.plots.reliability(y, np.column_stack([sure, 1 - sure]), bins=5)
    np.testing.assert_allclose(display.artists_["observed"][0].get_xydata(), [[0.62, 0.5], [0.95, 0.75]])
    text = display.figure_.legends[0].get_texts()[0].get_text()
    assert text == f"observed, calibration error {0.8 * 0.2 + 0.2 * 0.12:.3f}"
    shares = display.artists_["share of rows"].get_data().values
    np.testing.assert_allclose(shares, [0, 0.2, 0, 0, 0.8])
    (bars,) = display.artists_["observed"][2]
    low, high = (bars.get_segments()[1][:, 1]).tolist()
    assert (low, high) == pytest.approx((0.5981, 0.8581), abs=1e-3), "Wilson's interval of 30 of 40"


def test_shares_and_weights_ask_the_model(classifier):
    shares = classifier.explain(X[:2])
    first = fo.plots.shares(X[:2], ["p", "q", "r"], model=classifier).artists_["row 1"]
    np.testing.assert_allclose(sorted(bar.get_width() for bar in first), np.sort(shares[0]))
    found = fo.ArchetypalAnalysis(3, random_state=0).fit(X)
    points = fo.plots.simplex(X, model=found).artists_["samples"].get_offsets()
    by_hand = fo.plots.simplex(found.transform(X), order=circle_order(found.archetypes_))
    np.testing.assert_array_equal(points, by_hand.artists_["samples"].get_offsets())


def test_the_latent_map_puts_classes_apart_and_other_sets_among_them(flow):
    Z = np.concatenate([RNG.normal(size=(50, 6)) + 9 * np.eye(6)[k] for k in range(3)])
    y = np.repeat([4, 7, 9], 50)
    display = fo.plots.latent_map({"inliers": Z, "like 7": Z[50:100]}, y)
    middle = {name: np.asarray(artist.get_offsets()).mean(axis=0) for name, artist in display.artists_.items()}
    assert list(middle) == ["4", "7", "9", "like 7"]
    np.testing.assert_allclose(middle["like 7"], middle["7"], atol=1e-9)
    assert min(np.linalg.norm(middle[a] - middle[b]) for a, b in [("4", "7"), ("4", "9"), ("7", "9")]) > 5
    by_flow = fo.plots.latent_map({"inliers": X}, Y, flow=flow)
    assert list(by_flow.artists_) == ["a", "b", "c"]
    assert list(fo.plots.latent_map({"inliers": X, "more": X}).artists_) == ["inliers", "more"]


def test_points_far_away_do_not_stretch_the_axes_and_are_told():
    far = np.concatenate([X[:30], np.full((10, 3), -60_000.0)])
    display = fo.plots.scatter({"drawn": far}, data=X)
    low, high = display.ax_.get_xlim()
    assert high - low < 30
    assert [t.get_text() for t in display.figure_.legends[0].get_texts()] == ["data", "drawn (25 % outside)"]
    assert len(display.artists_["drawn"].get_offsets()) == 40


def test_half_of_a_set_that_is_not_far_out_of_sight_is_shown():
    base = RNG.normal(size=(200, 2))
    near, away = fo.plots.scatter({"near": base + 20, "away": base + 500}, data=base).figure_.legends[0].get_texts()[1:]
    assert near.get_text() in ("near", *[f"near ({k} % outside)" for k in range(1, 51)])
    assert away.get_text() == "away (100 % outside)"


def test_a_spike_in_training_does_not_flatten_the_rest():
    losses = np.r_[np.linspace(2, 1, 99), 9000.0]
    axes = fo.plots.training({"loss": losses}).ax_[0, 0]
    assert axes.get_ylim()[1] < 3
    assert [text.get_text() for text in axes.texts] == ["1 of 100 numbers outside"]
    assert fo.plots.training({"loss": losses[:99]}).ax_[0, 0].texts[:] == []


def test_texts_below_images_stand_below_their_own():
    tiles = np.linspace(0, 1, 4).reshape(1, 4, 1) * np.ones((1, 4, 64))
    display = fo.plots.images(tiles, (1, 8, 8), captions=[["0.9\n7", "b", "c", "d"]])
    pixels = np.asarray(display.artists_["images"].get_array())
    for j, text in enumerate(display.ax_.texts):
        x, y = text.get_position()
        assert pixels[12, int(x), 0] == pytest.approx(tiles[0, j, 0])
        assert pixels[int(y), int(x), 3] == 0, "below the image"
        assert pixels[int(y) - 1, int(x), 3] == 1
    assert display.ax_.texts[0].get_text() == "0.9\n7"
