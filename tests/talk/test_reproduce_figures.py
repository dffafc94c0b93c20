"""The talk's figures by small models: what each shows is true of the models, and every figure can be drawn."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure as Drawn
from scipy.stats import chi, kstest

from farout.data import Dataset, load_data
from farout.latent import chi_mean_std, cluster_distances
from farout.plots.style import to_svg
from farout.talk import agreement
from farout.talk import extremal as extremes
from farout.talk.agreement import plain_classifier
from farout.talk.archetypes import archetype_count, archetype_samples, archetypes
from farout.talk.context import Context
from farout.talk.differences import differences
from farout.talk.extremal import extremal, largest_cdf, largest_pdf, simulated_maxima
from farout.talk.latent import cluster_distance, radii
from farout.talk.mapping import mapping
from farout.talk.nullspace import nullspace
from farout.talk.page import draw as drawn_of
from farout.talk.presets import PRESETS
from farout.talk.sets import inlier_parts, open_set
from farout.talk.showing import deep_counts, pictured_counts, rows_of_class, shown_classes
from farout.talk.sigma import sigma
from farout.talk.toy import toy

TINY = replace(
    PRESETS["smoke"],
    flow_steps=60,
    face_flow_steps=2,
    toy_steps=80,
    archetype_steps=8,
    model_steps=40,
    counts=(2, 4),
    sample_rows=3,
    simulations=200,
)


def small_faces(size=8):
    """Drawn faces, small enough to train on in a blink."""
    faces = load_data("faces")
    some = faces.take(np.arange(0, len(faces), 40))
    X = some.X.reshape(len(some), 3, size, 32 // size, size, 32 // size).mean(axis=(3, 5))
    return Dataset(X.reshape(len(X), -1), some.y, (3, size, size), "faces", class_names=faces.class_names)


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    train, test = inlier_parts("digits@0-3", None)
    sets = {name: open_set(name, train) for name in ("digits@7-9", "small-faces")}
    unlabelled = replace(sets["small-faces"], judged=replace(sets["small-faces"].judged, y=None))
    return Context(
        TINY, tmp_path_factory.mktemp("reproduced"), train, test, sets | {"unlabelled": unlabelled}, small_faces()
    )


def draw(finding):
    """All figures of a finding, as a page draws them."""
    figures = [drawn_of(figure).figure_ for figure in finding.figures]
    assert figures
    assert all(isinstance(figure, Drawn) for figure in figures)
    assert "<svg" in to_svg(figures[-1], alt=finding.figures[-1].alt, key="a")
    for table in finding.tables:
        assert all(len(row) == len(table.header) for row in table.rows)
        assert all(isinstance(cell, str) for row in table.rows for cell in row)
    assert all(figure.caption and figure.alt for figure in finding.figures)
    assert finding.text.endswith(".")
    return figures


@pytest.mark.slow
def test_toy_outliers_lie_on_a_shell_and_the_kl_term_lowers_confidence_there(context):
    finding = toy(context)
    draw(finding)
    both, regions = (figure.arguments for figure in finding.figures)
    _, flow = context.toy()
    far, near = (np.linalg.norm(both[part]["latent"], axis=1) for part in ("outliers", "inliers"))
    assert np.median(far) == pytest.approx(2.5 * chi_mean_std(2)[0], rel=0.1)
    assert (far > np.quantile(near, 0.9)).mean() > 0.9
    back = flow.decode(both["outliers"]["latent"], both["outlier_labels"])
    np.testing.assert_allclose(back, both["outliers"]["data"], atol=1e-8)
    plain, cautious = (model["confidence"] for model in regions["models"].values())
    assert plain.min() >= 1 / 3
    rows = {row[0]: [float(cell) for cell in row[1:]] for row in finding.tables[0].rows}
    assert rows["with the KL term"][2] < rows["without the KL term"][2] - 0.1
    assert rows["without the KL term"][0] > 0.85
    assert cautious.mean() < plain.mean()


@pytest.mark.slow
def test_a_second_run_of_the_plane_fits_nothing(context):
    first = toy(context).tables[0].rows, mapping(context).figures[0].arguments["latents"]
    again = replace(context, _models={}, tell=pytest.fail)
    assert toy(again).tables[0].rows == first[0]
    np.testing.assert_array_equal(mapping(again).figures[0].arguments["latents"], first[1])


def test_flows_of_the_plane_are_the_authors_and_near_the_law_that_the_data_are_drawn_from(context):
    means = np.array([[0, 2], [-np.sqrt(3), -1], [np.sqrt(3), -1]])  # METHODS, section 1
    test = load_data("toy:test")
    log_p = np.log(np.exp(-0.5 * ((test.X[:, None] - means) ** 2).sum(axis=2)) / (2 * np.pi))
    told, mixed = context.toy()[1], context.toy(classes=False)[1]
    assert (told.architecture, mixed.architecture) == ("toy", "toy")
    assert not hasattr(mixed, "classes_")
    assert told.score(test.X, test.y) > log_p[np.arange(len(test)), test.y].mean() - 0.1
    assert mixed.score(test.X) > np.logaddexp.reduce(log_p, axis=1).mean() - np.log(3) - 0.2
    said = " ".join(differences(context, ["mapping"]))
    assert "two GLOW blocks (hidden width 500, clamp 2), 80 steps" in said


def test_mapping_grids_are_regular_in_their_own_space_and_exact_in_the_other(context):
    finding = mapping(context)
    draw(finding)
    (figure,) = finding.figures
    _, flow = context.toy(classes=False)
    for grid, own, other in (("from_latent", "latent", "data"), ("from_data", "data", "latent")):
        first, second = figure.arguments[grid][own]
        assert np.ptp(first[..., 0], axis=1).max() == 0
        assert np.ptp(second[..., 1], axis=1).max() == 0
        there = figure.arguments[grid][other][0]
        back = (flow.encode if own == "latent" else flow.decode)(there.reshape(-1, 2))
        np.testing.assert_allclose(back, first.reshape(-1, 2), atol=1e-6)


@pytest.mark.slow
def test_sigma_goes_along_one_direction_a_row_from_1_to_10(context):
    finding = sigma(context)
    draw(finding)
    digits, faces = (figure.arguments for figure in finding.figures)
    strengths = [p for p, _ in digits["source"]]
    assert (len(strengths), strengths[0], strengths[2], strengths[-1]) == (15, 1.0, 2.3, 10.0)
    assert digits["row_labels"] == ["0", "1", "3"]
    assert faces["row_labels"][0] == context.faces.class_names[0]
    flow = context.flow()
    first = flow.encode(digits["source"][0][1], [0, 1, 3])
    fourth = flow.encode(flow.decode(first * 2.0, [0, 1, 3]), [0, 1, 3])
    np.testing.assert_allclose(fourth, 2 * first, rtol=1e-2, atol=1e-2)
    X = digits["source"][-1][1]
    assert X.min() >= 0
    assert X.max() <= 1


@pytest.mark.parametrize("d", [1, 2, 64, 1024])
def test_the_density_of_the_largest_norm_is_the_slope_of_its_distribution(d):
    mean, std = chi_mean_std(d)
    r = np.linspace(max(0.05, mean - std), mean + 6 * std, 60)
    slope = (largest_cdf(r + 1e-5, d, 200) - largest_cdf(r - 1e-5, d, 200)) / 2e-5
    np.testing.assert_allclose(largest_pdf(r, d, 200), slope, atol=2e-4)
    np.testing.assert_allclose(largest_cdf(r, d, 200), chi.cdf(r, d) ** 200, atol=1e-9)


def test_simulated_maxima_follow_the_exact_law_and_not_the_authors_in_the_plane(context):
    maxima = simulated_maxima(2, 1000, 2000, seed=3)
    assert kstest(maxima, lambda r: largest_cdf(r, 2, 1000)).pvalue > 0.001
    assert len(simulated_maxima(3, 4, 501, seed=0)) == 501, "chunks must not lose draws"
    finding = extremal(context)
    draw(finding)
    panels = finding.figures[0].arguments["laws"]
    assert [panel["d"] for panel in panels] == list(extremes.DIMENSIONS) == [2, 64, 1024]
    for panel in panels:
        for law in ("gumbel", "exact"):
            assert np.trapezoid(panel[law], panel["r"]) == pytest.approx(1, abs=0.02)
    distances = {int(row[0]): [float(cell) for cell in row[2:]] for row in finding.tables[0].rows}
    assert all(exact < 0.12 for exact, _ in distances.values())
    assert distances[2][1] > 0.4
    assert distances[1024][1] < 0.15
    at_strength = {int(row[0]): row for row in finding.tables[1].rows}
    assert float(at_strength[1024][3]) == pytest.approx(2.5 * chi_mean_std(1024)[0], abs=1e-3)


@pytest.mark.slow
def test_counts_compare_linear_and_deep_archetypes_on_rows_that_were_not_trained_on(context):
    finding = archetype_count(context)
    draw(finding)
    curves = finding.figures[0].arguments["curves"]
    digits, faces = curves.values()
    assert digits["linear archetypes"]["counts"] == [2, 4]
    assert digits["deep archetypes"]["counts"] == [3, 4]
    assert "deep archetypes" not in faces
    assert "no deep archetypes of faces" in finding.text
    for found in curves.values():
        assert np.diff(found["linear archetypes"]["errors"]) < 0
    model = context.archetypes(3)
    error = np.mean((model.reconstruct(context.test.X, context.test.y) - context.test.X) ** 2)
    assert digits["deep archetypes"]["errors"][0] == pytest.approx(error, rel=1e-5)
    assert {record["model"] for record in finding.records} == set(digits)


@pytest.mark.slow
def test_archetypes_stand_above_the_samples_that_have_most_of_them(context):
    finding = archetypes(context)
    draw(finding)
    few, many, faces = (figure.arguments for figure in finding.figures)
    assert [len(a["values"]) for a in (few, many, faces)] == [3, 4, 3]
    model = context.archetypes(3)
    A = model.encode(context.train.X, context.train.y)
    for j in range(3):
        np.testing.assert_array_equal(few["nearest"][j, 0], context.train.X[A[:, j].argmax()])
    assert few["classes"] == [str(c) for c in model.archetype_classes_]
    assert "14; this preset, 4" in finding.text


def test_draws_lie_beside_their_simplex_and_agreement_is_what_the_classifier_says(context):
    finding = archetype_samples(context)
    draw(finding)
    sheet, simplex, _, outliers = (figure.arguments for figure in finding.figures)
    assert simplex["shade"] == 7.0
    assert outliers["shade"] == 0.3
    assert simplex["weights"].max(axis=1).mean() < 0.5 < outliers["weights"].max(axis=1).mean()
    assert sheet["X"].shape == (24, 64)
    table = finding.tables[0]
    assert [row[:2] for row in table.rows] == [["7", "0.997"], ["1", "0.84"], ["0.3", "0.64"]]
    X, y = context.archetypes(3).sample(2000, 7.0, random_state=0)
    classifier = plain_classifier(context)
    assert float(table.rows[0][2]) == pytest.approx(np.mean(classifier.predict(X) == y), abs=6e-4)
    assert classifier.score(context.test.X, context.test.y) > 0.8
    assert (context.out / "models" / "plain-classifier").is_dir(), "a second run would train it again"


def test_a_classifier_that_always_says_the_same_agrees_by_the_share_of_that_class(context):
    class Always:
        def predict(self, X):
            return np.full(len(X), 2)

    share = np.mean(context.train.y == 2)
    assert agreement._agreement(context, Always(), 3, 7.0) == pytest.approx(share, abs=0.04)


@pytest.mark.slow
def test_nullspace_errors_stand_beside_the_talks(context):
    finding = nullspace(context)
    figures = draw(finding)
    assert len(figures) == 4
    rows = {row[0]: row[1:] for row in finding.tables[0].rows}
    assert rows["the talk, with nullspace"] == ["0.022", "0.068"]
    unbiased = {(r["nullspace"], r["exact"]): r["mse"] for r in finding.records if r["head"] == "unbiased head"}
    assert unbiased["own", True] < 1e-6 < unbiased["none", True]
    assert unbiased["fitted", True] < unbiased["normal", False] * 3
    plain, fitted, biased, _ = (figure.arguments["X"] for figure in finding.figures)
    spread = [X.reshape(3, 8, -1).std(axis=1).mean() for X in (plain, fitted, biased)]
    assert spread[0] < min(spread[1:]), "the nullspace brings the variety back"


def encoded(flow, data, c, condition):
    X = rows_of_class(data, c, 100, 0)
    return flow.encode(X, np.full(len(X), condition))


def test_cluster_distances_have_a_row_a_condition_and_a_column_a_class(context):
    finding = cluster_distance(context)
    draw(finding)
    digits, _, unlabelled = (figure.arguments for figure in finding.figures)
    assert digits["values"].shape == (4, 3)
    assert digits["columns"] == ["7", "8", "9"]
    assert unlabelled["columns"] == ["all"]
    flow = context.flow()
    own = encoded(flow, context.test, 2, 2)
    others = {c: encoded(flow, context.outliers["digits@7-9"].judged, c, 2) for c in (7, 8, 9)}
    np.testing.assert_allclose(digits["values"][2], cluster_distances({2: own}, {2: others})[0], rtol=1e-6)
    record = next(r for r in finding.records if (r["set"], r["condition"], r["class"]) == ("digits@7-9", "2", "8"))
    assert record["distance"] == digits["values"][2, 1]


def test_radii_are_norms_of_latents_with_shares_past_the_shell(context):
    finding = radii(context)
    draw(finding)
    found = finding.figures[0].arguments["sets"]
    flow = context.flow()
    norms = np.linalg.norm(flow.encode(context.outliers["small-faces"].judged.X), axis=1)
    assert np.sort(found["small-faces"])[-1] <= norms.max() * (1 + 1e-6)
    assert np.abs(found["small-faces"][:, None] / norms - 1).min(axis=1).max() < 1e-6
    ideal, own, *_ = finding.tables[0].rows
    assert float(ideal[1]) == pytest.approx(chi_mean_std(64)[0], abs=0.01)
    limit = float(finding.tables[0].header[-1].rpartition(" ")[2])
    assert chi.sf(limit, 64) == pytest.approx(0.01, rel=0.2)
    share = (np.linalg.norm(flow.encode(context.test.X, context.test.y), axis=1) > limit).mean()
    assert float(own[3]) == pytest.approx(share, abs=0.03)


def test_without_faces_only_the_inliers_are_shown(context):
    alone = replace(context, faces=None)
    assert len(sigma(alone).figures) == 1
    assert len(archetypes(alone).figures) == 2


def test_presets_say_for_which_counts_there_are_deep_archetypes(context):
    counts = {}
    for name, preset in PRESETS.items():
        of = replace(context, preset=preset)
        counts[name] = pictured_counts(of), deep_counts(of, "inliers"), deep_counts(of, "faces")
    assert counts["smoke"] == ((3, 8), (3, 8), ())
    assert counts["quick"] == ((3, 14), PRESETS["quick"].counts, (3, 14))
    assert counts["full"] == ((3, 14), PRESETS["full"].counts, PRESETS["full"].counts)


def test_classes_are_chosen_evenly_and_rows_of_a_class_are_its_own():
    assert shown_classes(np.arange(26), 3).tolist() == [0, 12, 25]
    assert shown_classes(np.array(["a", "b"]), 8).tolist() == ["a", "b"]
    data = Dataset(np.arange(12.0).reshape(6, 2), np.array([0, 1, 0, 1, 0, 1]), (2,), "rows")
    np.testing.assert_array_equal(rows_of_class(data, 1, 9, 0), data.X[1::2])
    assert len(rows_of_class(replace(data, y=None), None, 4, 0)) == 4
