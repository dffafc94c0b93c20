"""ArchetypalAnalysis as an estimator: recovery, equivariance, weights of rows, dtypes, tensors, messages."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ortho_group

import farout as fo
from farout.archetypes.simplex import matched
from farout.errors import InvalidDataError, InvalidSettingError, NotFittedError

seeds = st.integers(0, 2**32 - 1)


def simplex_data(k, d, n, seed, noise=0.0, concentration=0.5):
    """Mixtures of ``k`` known archetypes, which are among the rows."""
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((k, d))
    W = rng.permutation(np.vstack([np.eye(k), rng.dirichlet(np.full(k, concentration), n)]))
    X = W @ Z
    return X + noise * rng.standard_normal(X.shape), Z


def error_of(Z, found):
    """The largest error of a coordinate, relative to the largest norm of an archetype."""
    return np.abs(found[matched(Z, found)] - Z).max() / np.linalg.norm(Z, axis=1).max()


def fitted(X, k=3, **settings):
    return fo.ArchetypalAnalysis(k, random_state=0, **settings).fit(X)


def same_sets(a, b, atol):
    return np.abs(a - b[matched(a, b)]).max() <= atol


@pytest.fixture(scope="module")
def blob():
    return np.random.default_rng(0).standard_normal((200, 5)) * [3, 2, 2, 1, 1] + 10


@pytest.fixture(scope="module")
def model(blob):
    return fitted(blob, 4)


# --- what it finds -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("k", "d", "n", "seed"), [(4, 10, 500, 0), (4, 10, 500, 1), (8, 30, 800, 0), (8, 30, 800, 1), (4, 10, 3000, 0)]
)
def test_a_known_simplex_is_recovered(k, d, n, seed):
    X, Z = simplex_data(k, d, n, seed)
    aa = fitted(X, k)
    assert error_of(Z, aa.archetypes_) < 1e-3
    assert aa.explained_variance_ratio_ > 1 - 1e-6


def test_a_known_simplex_is_recovered_from_rows_that_only_come_near_its_corners():
    X, Z = simplex_data(4, 10, 2000, 0, concentration=0.05)
    near = X[np.abs(X[:, None] - Z).max(-1).min(1) > 0]
    assert len(near) < len(X)
    assert error_of(Z, fitted(near, 4).archetypes_) < 1e-3


@pytest.mark.parametrize("seed", range(3))
def test_with_noise_it_is_no_worse_than_the_archetypes_package(seed, capsys):
    package = pytest.importorskip("archetypes")
    X, Z = simplex_data(4, 10, 400, seed, noise=0.05)
    peer = package.AA(4, random_state=seed, n_init=3, tol=1e-6).fit(X)
    aa = fitted(X, 4)
    assert aa.reconstruction_error_ <= peer.rss_ * (1 + 1e-4)
    assert error_of(Z, aa.archetypes_) <= 1.1 * error_of(Z, peer.archetypes_)


def test_figures_are_what_they_say(blob, model):
    residual = blob - model.inverse_transform(model.transform(blob))
    rss, total = np.square(residual).sum(), np.square(blob - blob.mean(0)).sum()
    assert model.reconstruction_error_ == pytest.approx(rss, rel=1e-9)
    assert model.explained_variance_ratio_ == pytest.approx(1 - rss / total, rel=1e-9)
    assert 0.5 < model.explained_variance_ratio_ < 0.9
    assert model.history_["rss"][-1] == pytest.approx(rss, rel=1e-3)
    assert model.history_["rss"][-1] >= rss * (1 - 1e-9)
    assert model.n_iter_ == len(model.history_["rss"])
    assert (np.diff(model.history_["rss"]) <= 0).all()
    assert model.converged_
    assert model.restart_errors_.shape == (4,)
    assert model.restart_errors_.min() >= rss


def test_the_duality_gap_is_small_and_smaller_with_a_smaller_tolerance(blob, model):
    tight = fitted(blob, 4, tol=1e-9, max_iter=5000)
    assert 0 <= tight.duality_gap_ < 1e-4 * tight.reconstruction_error_
    assert tight.duality_gap_ < model.duality_gap_ < 0.05 * model.reconstruction_error_
    assert tight.reconstruction_error_ <= model.reconstruction_error_


def test_archetypes_are_the_mixtures_of_rows_that_they_name(blob, model):
    for z, rows, weights in zip(model.archetypes_, model.archetype_rows_, model.archetype_row_weights_, strict=True):
        assert np.allclose(weights @ blob[rows], z, atol=1e-12)
        assert (weights > 0).all()
        assert weights.sum() == pytest.approx(1)
        assert (np.diff(weights) <= 0).all()
        assert len(rows) <= 20


def test_archetypes_come_in_the_order_of_their_share(blob, model):
    assert (np.diff(model.transform(blob).mean(0)) < 0).all()


def test_more_archetypes_explain_more(blob):
    explained = [fitted(blob, k).explained_variance_ratio_ for k in (1, 2, 4, 8)]
    assert explained[0] == pytest.approx(0, abs=1e-12)
    assert (np.diff(explained) > 0.05).all()


# --- equivariance ------------------------------------------------------------------------------------------------


@settings(max_examples=6, deadline=None)
@given(seeds)
def test_archetypes_move_turn_and_grow_with_the_data(seed):
    rng = np.random.default_rng(seed)
    X = rng.exponential(size=(60, 4)) * [4, 3, 2, 1]
    turn, shift, size = ortho_group.rvs(4, random_state=seed), 50 * rng.standard_normal(4), 10 ** rng.uniform(-3, 3)
    plain, moved = fitted(X), fitted(size * (X @ turn + shift))
    expected = size * (plain.archetypes_ @ turn + shift)
    assert np.abs(moved.archetypes_ - expected).max() < 1e-6 * size * X.std()
    assert moved.explained_variance_ratio_ == pytest.approx(plain.explained_variance_ratio_, rel=1e-9)
    assert np.abs(moved.transform(size * (X @ turn + shift)) - plain.transform(X)).max() < 1e-6


@settings(max_examples=6, deadline=None)
@given(seeds)
def test_the_order_and_repetition_of_rows_and_of_columns_change_nothing(seed):
    rng = np.random.default_rng(seed)
    X = rng.exponential(size=(60, 4)) * [4, 3, 2, 1]
    rows, columns = rng.permutation(np.repeat(np.arange(60), 2)), rng.permutation(4)
    plain, other = fitted(X), fitted(X[rows][:, columns])
    assert np.abs(other.archetypes_ - plain.archetypes_[:, columns]).max() < 1e-6 * X.std()


@pytest.mark.parametrize("size", [None, 40])
def test_a_weight_of_two_is_a_row_that_is_there_twice_and_of_zero_one_that_is_not(size):
    rng = np.random.default_rng(0)
    X, weights = rng.standard_normal((150, 3)), rng.integers(0, 4, 150)
    # Above the coreset the way differs by rounding and by candidates, not the place that it leads to.
    settings = {"coreset_size": size, "tol": 1e-8, "max_iter": 3000}
    repeated = fitted(np.repeat(X, weights, axis=0), 3, **settings)
    weighted = fo.ArchetypalAnalysis(3, random_state=0, **settings).fit(X, sample_weight=weights)
    assert np.allclose(weighted.archetypes_, repeated.archetypes_, atol=1e-9 if size is None else 1e-3)
    assert weighted.reconstruction_error_ == pytest.approx(repeated.reconstruction_error_, rel=1e-6)
    for z, rows, parts in zip(
        weighted.archetypes_, weighted.archetype_rows_, weighted.archetype_row_weights_, strict=True
    ):
        assert np.allclose(parts @ X[rows], z)
        assert (weights[rows] > 0).all()


def test_weights_matter():
    X = np.random.default_rng(0).standard_normal((100, 3))
    weights = np.where(X[:, 0] > 0, 10.0, 0.1)
    assert fo.ArchetypalAnalysis(2, random_state=0).fit(X, sample_weight=weights).archetypes_[:, 0].min() > -0.5
    assert fitted(X, 2).archetypes_[:, 0].min() < -0.5


# --- transform ---------------------------------------------------------------------------------------------------


def test_a_rows_weights_do_not_depend_on_the_rows_beside_it(blob, model):
    whole = model.transform(blob)
    assert np.abs(model.transform(blob[::7]) - whole[::7]).max() < 1e-9
    assert np.abs(np.vstack([model.transform(x[None]) for x in blob[:30]]) - whole[:30]).max() < 1e-9
    assert np.abs(model.transform(blob[::-1])[::-1] - whole).max() < 1e-9


def test_weights_are_on_the_simplex_within_the_hull_and_far_beyond(blob, model):
    for X in (blob, 1e4 * blob, blob + 1e6):
        A = model.transform(X)
        assert (A >= 0).all()
        assert np.allclose(A.sum(1), 1, atol=1e-12)


def test_archetypes_are_all_of_themselves(model):
    assert np.allclose(model.transform(model.archetypes_), np.eye(4), atol=1e-9)


def test_fit_transform_is_fit_and_transform(blob, model):
    assert np.array_equal(fo.ArchetypalAnalysis(4, random_state=0).fit_transform(blob), model.transform(blob))


def test_inverse_transform_goes_beyond_the_hull(model):
    A = np.array([[1.5, -0.5, 0.0, 0.0]])
    Z = model.archetypes_
    assert np.allclose(model.inverse_transform(A), 1.5 * Z[0] - 0.5 * Z[1])


def test_output_columns_are_named(blob, model):
    assert model.get_feature_names_out().tolist() == [f"archetypalanalysis{i}" for i in range(4)]


# --- kinds of input ----------------------------------------------------------------------------------------------


def test_float32_stays_float32_and_agrees_with_float64(blob, model):
    aa = fitted(blob.astype(np.float32), 4)
    assert aa.archetypes_.dtype == np.float32
    assert aa.transform(blob.astype(np.float32)).dtype == np.float32
    assert aa.explained_variance_ratio_ == pytest.approx(model.explained_variance_ratio_, abs=1e-3)
    assert model.archetypes_.dtype == np.float64
    assert model.transform(blob).dtype == np.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_gives_the_same_as_its_array_and_a_tensor_back(blob, dtype):
    X = torch.tensor(blob, dtype=dtype)
    aa, other = fitted(X, 3), fitted(X.numpy(), 3)
    assert isinstance(aa.archetypes_, np.ndarray)
    assert np.array_equal(aa.archetypes_, other.archetypes_)
    A = aa.transform(X)
    assert isinstance(A, torch.Tensor)
    assert A.dtype == dtype
    assert A.device == X.device
    assert np.array_equal(A.numpy(), other.transform(X.numpy()))
    back = aa.inverse_transform(A)
    assert isinstance(back, torch.Tensor)
    assert np.allclose(back.numpy(), other.inverse_transform(A.numpy()))


def test_a_tensor_that_asks_for_gradients_and_its_weights_are_taken(blob):
    X = torch.tensor(blob, requires_grad=True)
    aa = fo.ArchetypalAnalysis(2, random_state=0).fit(X, sample_weight=torch.ones(len(blob)))
    assert np.array_equal(aa.archetypes_, fitted(blob, 2).archetypes_)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_cuda_tensor_is_solved_where_it_lies(blob, model):
    X = torch.tensor(blob, device="cuda")
    aa = fitted(X, 4)
    assert np.allclose(aa.archetypes_, model.archetypes_, atol=1e-3)
    assert aa.transform(X).device == X.device
    with pytest.raises(InvalidDataError, match="row 3"):
        aa.transform(torch.where(torch.arange(200, device="cuda")[:, None] == 3, torch.nan, X))


def test_the_input_is_left_as_it_was(blob):
    X = blob.copy()
    fitted(X, 3)
    assert np.array_equal(X, blob)
    X.setflags(write=False)
    assert fitted(X[::-1], 3).archetypes_.shape == (3, 5)


# --- odd data ----------------------------------------------------------------------------------------------------


def test_one_archetype_is_the_weighted_mean(blob):
    weights = np.arange(200.0)
    aa = fo.ArchetypalAnalysis(1).fit(blob, sample_weight=weights)
    assert np.allclose(aa.archetypes_[0], np.average(blob, axis=0, weights=weights))
    assert np.array_equal(aa.transform(blob), np.ones((200, 1)))
    assert aa.duality_gap_ == pytest.approx(0, abs=1e-6 * aa.reconstruction_error_)


def test_as_many_archetypes_as_rows_are_the_rows():
    X = np.random.default_rng(0).standard_normal((5, 7))
    aa = fitted(X, 5)
    assert same_sets(X, aa.archetypes_, 1e-6)
    assert aa.reconstruction_error_ == pytest.approx(0, abs=1e-9)


def test_fewer_distinct_rows_than_archetypes():
    X = np.repeat(np.array([[0.0, 1.0], [2.0, 3.0]]), 4, axis=0)
    aa = fitted(X, 3)
    assert {tuple(z) for z in aa.archetypes_.round(6).tolist()} == {(0.0, 1.0), (2.0, 3.0)}
    assert np.allclose(aa.inverse_transform(aa.transform(X)), X)


@pytest.mark.parametrize("value", [0.0, 3.3, 1e8])
def test_rows_that_are_all_equal(value):
    X = np.full((20, 3), value)
    aa = fitted(X, 2)
    assert np.allclose(aa.archetypes_, value)
    assert aa.explained_variance_ratio_ == 1.0
    assert aa.reconstruction_error_ == 0.0
    assert np.allclose(aa.transform(X).sum(1), 1)


def test_constant_columns_are_kept(blob):
    X = np.hstack([blob, np.full((200, 1), 4.0)])
    aa = fitted(X, 3)
    assert np.allclose(aa.archetypes_[:, 5], 4.0)
    assert np.allclose(aa.archetypes_[:, :5], fitted(blob, 3).archetypes_, atol=1e-6)


def test_one_column_has_its_ends_as_archetypes():
    X = np.random.default_rng(0).uniform(-1, 1, (100, 1))
    aa = fitted(X, 2)
    assert np.sort(aa.archetypes_[:, 0]) == pytest.approx([X.min(), X.max()])


# --- the house's ways --------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_and_torch_and_numpy_keep_their_state(blob):
    states = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again = (fo.ArchetypalAnalysis(4, coreset_size=50, random_state=3).fit(blob) for _ in range(2))
    assert np.array_equal(first.archetypes_, again.archetypes_)
    assert torch.equal(states[0], torch.get_rng_state())
    assert np.array_equal(states[1], np.random.get_state()[1])  # noqa: NPY002


def test_a_saved_model_is_the_same_bit_for_bit(tmp_path, blob, model):
    model.save(tmp_path / "run")
    loaded = fo.load(tmp_path / "run")
    assert loaded.get_params() == model.get_params()
    for name, value in vars(model).items():
        if not name.endswith("_"):
            continue
        other = getattr(loaded, name)
        if name.startswith("archetype_row"):
            assert all(np.array_equal(a, b) for a, b in zip(value, other, strict=True))
        else:
            assert np.array_equal(value, other), name
    assert np.array_equal(loaded.transform(blob), model.transform(blob))


def test_a_fit_that_fails_leaves_nothing(blob):
    aa = fitted(blob, 3)
    with pytest.raises(InvalidDataError, match="NaN in row 2, column 1"):
        aa.fit(np.where(np.arange(1000).reshape(200, 5) == 11, np.nan, blob))
    with pytest.raises(NotFittedError):
        aa.save("nowhere")


def test_quiet_unless_asked_and_lines_in_a_log(blob, capsys):
    fitted(blob, 3)
    assert capsys.readouterr() == ("", "")
    fitted(blob, 3, verbose=True)  # stderr is no terminal here
    out, err = capsys.readouterr()
    assert out == ""
    assert "archetypes: starts: begun" in err
    assert "archetypes: all rows: done in" in err


def test_a_bar_is_shown_on_a_terminal(blob, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    fitted(blob, 3, verbose=True)
    err = capsys.readouterr().err
    assert "starts" in err
    assert "all rows" in err
    assert "explained 0." in err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_archetypes": 0}, "n_archetypes must be a whole number of 1 or more; got 0"),
        ({"n_archetypes": 2.5}, "n_archetypes must be a whole number"),
        ({"n_init": 0}, "n_init must be"),
        ({"max_iter": True}, "max_iter must be"),
        ({"tol": 0.0}, "tol must be a finite number above 0"),
        ({"coreset_size": 2}, "coreset_size=2 is below n_archetypes=3"),
    ],
)
def test_settings_that_make_no_sense(settings, message, blob):
    with pytest.raises(InvalidSettingError, match=message):
        fo.ArchetypalAnalysis(**settings).fit(blob)


def test_data_that_can_not_be_used(blob, model):
    with pytest.raises(InvalidDataError, match="2 rows, fewer than n_archetypes=3"):
        fitted(blob[:2], 3)
    with pytest.raises(InvalidDataError, match="2 rows of a weight above 0"):
        fo.ArchetypalAnalysis(3).fit(blob, sample_weight=np.arange(200) < 2)
    with pytest.raises(InvalidDataError, match="negative in row 1"):
        fo.ArchetypalAnalysis(3).fit(blob, sample_weight=np.where(np.arange(200) == 1, -1.0, 1.0))
    with pytest.raises(InvalidDataError, match="adds up to more than a float64 can hold; divide weights"):
        fo.ArchetypalAnalysis(3).fit(blob, sample_weight=np.full(200, 1e308))
    noisy = np.full(200, 0x7FA0_0000, np.uint32).view(np.float32)  # NaN whose casting warns
    with pytest.raises(InvalidDataError, match=r"ArchetypalAnalysis: .*sample_weight contains NaN"):
        fo.ArchetypalAnalysis(3).fit(blob, sample_weight=noisy)
    with pytest.raises(InvalidDataError, match=r"shape \(n, 4\)"):
        model.inverse_transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="features"):
        model.transform(blob[:, :3])
