"""Shares of columns: what they sum to, which column they find, what they cost, and that they stay what they are."""

import numpy as np
import pyarrow as pa
import pytest
from sklearn.exceptions import NotFittedError

import farout as fo
from farout.detectors.explaining import COLUMNS, explain_rows, typical_rows
from farout.errors import InvalidDataError, RunError

D = 8
MIXING = np.random.default_rng(7).normal(size=(3, D))


def normal(n, seed):
    """Rows of 8 columns that go together, by 3 factors, on scales from 0.01 to 1 000."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, 3)) @ MIXING + 0.3 * rng.normal(size=(n, D))) * np.logspace(-2, 3, D)


X, TEST = normal(100, 0), normal(60, 1)  # so few rows for the columns that the flow of tables needs no training
Y = (X[:, 0] > 0).astype(int)
SHELL = fo.NormalShell(3.0, flow=fo.FlowDensity(max_steps=3, random_state=0))
SHORT = {"max_steps": 150, "random_state": 0}
MODELS = {
    "nearest": lambda: fo.FlowDetector(random_state=0),
    "likelihood": lambda: fo.FlowDetector("likelihood", random_state=0),
    "typicality": lambda: fo.FlowDetector("typicality", random_state=0),
    "ratio": lambda: fo.FlowDetector("ratio", fo.FlowDensity(max_steps=100), labels="classes", random_state=0),
    "discriminator": lambda: fo.OutlierDiscriminator(SHELL, **SHORT),
    "discriminator, a random class": lambda: fo.OutlierDiscriminator(SHELL, score_by="random", **SHORT),
    "classifier": lambda: fo.CautiousClassifier(SHELL, **SHORT),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    """Fitted once for all tests of this file."""
    return MODELS[request.param]().fit(X, Y if "class" in request.param or request.param == "ratio" else None)


def planted(size, seed=0):
    """Held-out rows with one column moved by so many standard deviations, up or down, and which column."""
    rng, rows = np.random.default_rng(seed), TEST.copy()
    column = rng.integers(D, size=len(rows))
    rows[np.arange(len(rows)), column] += rng.choice([-1, 1], len(rows)) * size * X.std(axis=0)[column]
    return rows, column


def length(rows):
    return np.linalg.norm(rows, axis=1)


def test_shares_are_a_row_for_each_and_sum_to_one(model):
    for rows in (TEST, TEST[:1], planted(1e6)[0], X[:3], np.full((1, D), 1e100)):
        shares = model.explain(rows)
        assert shares.shape == rows.shape
        assert shares.dtype == np.float64
        assert (shares >= 0).all()
        np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)


def test_shares_are_the_same_again_without_the_rows_beside_and_in_single_precision(model):
    rows = planted(8.0)[0][:20]
    shares = model.explain(rows)
    np.testing.assert_array_equal(model.explain(rows), shares)
    np.testing.assert_allclose(model.explain(rows[7:8]), shares[7:8], atol=1e-8)
    np.testing.assert_allclose(model.explain(rows[::-1])[::-1], shares, atol=1e-8)
    np.testing.assert_allclose(model.explain(rows.astype(np.float32)), shares, atol=2e-3)


def test_a_saved_model_explains_alike(model, tmp_path):
    rows = planted(8.0)[0][:5]
    np.testing.assert_array_equal(fo.load(model.save(tmp_path / "run")).explain(rows), model.explain(rows))


@pytest.mark.parametrize("size", [5.0, 8.0, 100.0, 1e6])
@pytest.mark.parametrize("score", ["nearest", "likelihood", "typicality"])
def test_the_column_that_was_moved_comes_first(score, size, whole_choices):
    rows, column = planted(size)
    shares = MODELS[score]().fit(X).explain(rows)
    assert (shares.argmax(axis=1) == column).mean() >= 0.95
    if size > 50:
        assert shares[np.arange(len(rows)), column].min() > 0.7


def test_a_discriminator_tells_the_column_that_it_objects_to():
    found = MODELS["discriminator"]().fit(X)
    for size in (20.0, 1e3):
        rows, column = planted(size)
        flagged = found.predict(rows) == -1
        assert flagged.mean() > 0.7
        assert (found.explain(rows).argmax(axis=1) == column)[flagged].mean() >= 0.9


def test_a_classifier_tells_the_column_of_rows_that_it_is_sure_of_too():
    found = MODELS["classifier"]().fit(X, Y)
    for size, least in [(8.0, 0.8), (100.0, 0.9), (1e6, 0.95)]:
        rows, column = planted(size)
        assert (found.explain(rows).argmax(axis=1) == column).mean() >= least


def test_between_usual_and_unusual_the_score_takes_over_from_the_distances():
    typical = np.random.default_rng(0).normal(size=(200, 3))

    def last(Q):
        return np.abs(Q[:, 2])

    row = np.array([[9.0, 0.0, 3.0]])  # the first column is far, and the score sees the last alone
    shares = [explain_rows(last, row, typical, usual=ends)[0] for ends in [(3.0, 4.0), (2.0, 4.0), (1.0, 3.0)]]
    by_distance, between, by_score = shares
    assert by_distance[0] > 0.8
    np.testing.assert_allclose(by_score, [0, 0, 1], atol=1e-12)
    np.testing.assert_allclose(between, (by_distance + by_score) / 2, atol=1e-12)
    np.testing.assert_array_equal(explain_rows(last, row, typical), by_score[None])


def test_a_value_that_does_not_go_with_the_others_is_found_inside_its_range():
    rng = np.random.default_rng(0)
    factor = rng.uniform(-1, 1, (400, 1))
    rows = factor + 0.02 * rng.normal(size=(400, 4))
    strange, column = rows[350:].copy(), rng.integers(4, size=50)
    strange[np.arange(50), column] = -np.sign(factor[350:, 0]) * rng.uniform(0.5, 1, 50)
    shares = explain_rows(lambda Q: np.log(Q.var(axis=1) + 1e-4), strange, rows[:350])
    assert (shares.argmax(axis=1) == column).mean() >= 0.95


def test_several_strange_columns_of_unlike_size_are_all_found():
    rows, rng = TEST.copy(), np.random.default_rng(3)
    chosen = np.stack([rng.choice(D, 3, replace=False) for _ in rows])
    for k, size in enumerate([8, 80, 800]):
        rows[np.arange(len(rows)), chosen[:, k]] += size * X.std(axis=0)[chosen[:, k]]
    first = np.argsort(-fo.FlowDetector(random_state=0).fit(X).explain(rows), axis=1)[:, :3]
    hits = [len(set(a) & set(b)) for a, b in zip(first.tolist(), chosen.tolist(), strict=True)]
    assert np.mean(hits) > 2.8


def test_two_alike_columns_have_alike_shares():
    rows = np.zeros((1, 4))
    rows[0, 1:3] = 1e6
    typical = np.random.default_rng(0).normal(size=(200, 4))
    (shares,) = explain_rows(lambda Q: np.log(length(Q)), rows, typical)
    np.testing.assert_allclose(shares[1:3], 0.5, atol=0.01)


# --- columns that belong together ------------------------------------------------------------------------------------


def coded(n, seed):
    """Two numbers, the three columns of a category that goes with the first, and a third number."""
    rng = np.random.default_rng(seed)
    level = rng.integers(3, size=n)
    numbers = rng.normal(size=(n, 3))
    return np.column_stack([4 * level + numbers[:, 0], numbers[:, 1], np.eye(3)[level], numbers[:, 2]])


GROUPS = [[0], [1], [2, 3, 4], [], [5]]


def test_columns_of_a_group_have_one_share_and_a_group_without_columns_none():
    rows, typical = coded(20, 1), coded(300, 0)
    rows[:, 2:5] = np.roll(rows[:, 2:5], 1, axis=1)  # another level than the first number says
    rows[:, 0] = typical[:, 0].min()  # such as no level but the first has
    rows = rows[rows[:, 2] == 0]
    seen = []

    def against(Q):
        seen.append(Q)
        levels = Q[:, 2:5].argmax(axis=1)
        return np.square(Q[:, 0] - 4 * levels) + np.square(Q[:, [1, 5]]).sum(axis=1)

    shares = explain_rows(against, rows, typical, GROUPS)
    assert shares.shape == (len(rows), len(GROUPS))
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-12)
    assert (shares[:, 3] == 0).all()
    assert (np.argsort(-shares, axis=1)[:, :2].max(axis=1) == 2).mean() > 0.9, "the number or its category"
    asked = np.concatenate(seen)[:, 2:5]
    np.testing.assert_array_equal(np.sort(asked, axis=1), np.tile([0, 0, 1], (len(asked), 1)), "never half a level")


def test_single_groups_are_the_columns():
    rows, typical = coded(9, 1), coded(100, 0)
    alone = explain_rows(length, rows, typical)
    np.testing.assert_array_equal(explain_rows(length, rows, typical, [[i] for i in range(6)]), alone)


# --- edges -----------------------------------------------------------------------------------------------------------


def test_where_the_score_says_nothing_the_distances_do():
    typical = np.random.default_rng(0).normal(size=(100, 3))
    shares = explain_rows(lambda Q: np.full(len(Q), 30.0), np.array([[0.0, 50.0, 0.0]]), typical)
    assert shares[0, 1] > 0.9


def test_a_row_like_all_others_has_alike_shares():
    same = np.zeros((5, 4))
    np.testing.assert_allclose(explain_rows(length, same[:1], same), 0.25)


def test_another_value_than_a_constant_is_found_whatever_its_size():
    rows = np.column_stack([X, np.full(len(X), 3.0), np.full(len(X), 0.1)])
    detector = fo.FlowDetector(random_state=0).fit(rows)
    strange = np.column_stack([TEST[:10], np.full(10, 3.0), np.full(10, 0.1)])
    strange[:, -2] += 1e-3
    assert (detector.explain(strange).argmax(axis=1) == D).mean() >= 0.8
    as_trained = np.column_stack([TEST[:10], np.full(10, 3.0), np.full(10, 0.1)])
    assert detector.explain(as_trained.astype(np.float32))[:, -2:].max() == 0, "rounding is no departure"


def test_wide_rows_cost_two_scores_for_each_of_the_columns_tried():
    rng = np.random.default_rng(0)
    typical, rows = rng.normal(size=(300, 1000)), rng.normal(size=(20, 1000))
    column = rng.integers(1000, size=20)
    rows[np.arange(20), column] += 9
    asked = []

    def counting(Q):
        asked.append(len(Q))
        return length(Q)

    shares = explain_rows(counting, rows, typical)
    assert sum(asked) == 20 * (2 * COLUMNS + 2)
    assert max(asked) * 1000 <= 2**21, "memory doesn't grow with the rows"
    assert (shares.argmax(axis=1) == column).all()
    assert ((shares > 0).sum(axis=1) <= COLUMNS).all()


def test_typical_rows_are_drawn_by_the_seed_and_kept_in_double_precision():
    rows = np.arange(5000, dtype=np.float32).reshape(2500, 2)
    kept = typical_rows(rows, 0)
    assert kept.shape == (1000, 2)
    assert kept.dtype == np.float64
    np.testing.assert_array_equal(kept, typical_rows(rows, 0))
    assert (kept != typical_rows(rows, 1)).any()


def test_names_of_columns_are_compared():
    names = [f"c{i}" for i in range(D)]
    detector = fo.FlowDetector(random_state=0).fit(pa.table(dict(zip(names, X.T, strict=True))))
    rows = planted(9.0)[0]
    same = detector.explain(pa.table(dict(zip(names, rows.T, strict=True))))
    np.testing.assert_array_equal(same, fo.FlowDetector(random_state=0).fit(X).explain(rows))
    with pytest.raises(ValueError, match="feature names"):
        detector.explain(pa.table(dict(zip(names[::-1], rows.T, strict=True))))


def test_images_are_refused_in_words():
    images = np.random.default_rng(0).random((40, 16))
    detector = fo.FlowDetector(flow=fo.FlowDensity((1, 4, 4), max_steps=2), random_state=0).fit(images)
    assert "typical_rows_" not in vars(detector)
    with pytest.raises(InvalidDataError, match="images"):
        detector.explain(images[:1])


def test_unfitted_and_older_models_say_what_to_do():
    with pytest.raises(NotFittedError):
        fo.FlowDetector().explain(X[:1])
    detector = MODELS["likelihood"]().fit(X)
    del detector.typical_rows_
    with pytest.raises(RunError, match="fit it again"):
        detector.explain(X[:1])
