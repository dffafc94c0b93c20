"""DeepArchetypes: what its weights, samples and reconstructions promise."""

import copy

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import farout as fo
from farout.archetypes.deep import DeepArchetypes
from farout.archetypes.losses import LOSS_WEIGHTS
from farout.archetypes.objective import DeepObjective
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity


def quick(flow, **params):
    return DeepArchetypes(**{"n_archetypes": 3, "flow": flow, "max_steps": 20, "random_state": 0} | params)


def flow_bytes(flow):
    return [t.cpu().numpy().tobytes() for t in flow.flow_.state_dict().values()]


def some_weights(n, k, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.5), size=n)


def test_weights_lie_on_the_simplex_and_transform_is_encode(deep, blobs):
    A = deep.encode(*blobs)
    assert A.shape == (300, 4)
    assert A.min() >= 0
    np.testing.assert_allclose(A.sum(axis=1), 1)
    assert np.array_equal(deep.transform(*blobs), A)
    np.testing.assert_allclose(deep.encode(blobs[0][:7], blobs[1][:7]), A[:7], atol=1e-12)


def test_trained_reconstructs_better_than_untrained_and_reaches_the_archetypes(blobs, flow):
    X, y = blobs
    short, long = (quick(flow, max_steps=n, warm_start=False).fit(X, y) for n in (1, 300))
    before, after = (model.losses(X, y) for model in (short, long))
    assert after["reconstruction"] < 0.7 * before["reconstruction"]
    assert after["archetype"] < 0.5 * before["archetype"]
    assert min(row.largest_weight for row in long.hull_report(X, y)) > 0.8


def test_the_warm_start_is_a_better_start(blobs, plain_flow):
    X, _ = blobs
    cold, warm = (quick(plain_flow, max_steps=1, joint=False, warm_start=w).fit(X).losses(X) for w in (False, True))
    assert warm["reconstruction"] < 0.9 * cold["reconstruction"]
    assert warm["archetype"] < 0.9 * cold["archetype"]


@pytest.mark.parametrize("joint", [True, False])
def test_a_fitted_flow_is_never_changed(blobs, flow, joint):
    before = flow_bytes(flow)
    deep = quick(flow, joint=joint).fit(*blobs)
    assert flow_bytes(flow) == before
    assert (deep.flow_ is flow) is not joint
    assert (flow_bytes(deep.flow_) == before) is not joint


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("name", ["nll", "archetype", "reconstruction", "side", "prototype"])
def test_every_loss_reaches_what_it_should(blobs, flow, deep, name, joint):
    model = quick(flow, joint=joint, head="softmax", positions="learned", bias=True).fit(*blobs)
    model.flow_ = copy.deepcopy(model.flow_)  # the frozen one is everyone's
    torch.manual_seed(0)
    for module in (model.heads_, model.flow_.flow_):
        module.cpu().double().train().requires_grad_(True)
        for p in module.parameters():
            torch.nn.init.normal_(p, std=0.3)
    objective = DeepObjective(model.flow_, model.heads_, {name: 1.0}, joint=joint, author=False)
    rows = model._training_rows(*blobs, np.arange(len(blobs[0])))
    losses = objective.losses(rows[0].double(), *rows[1:])
    if name == "nll" and not joint:
        assert losses == {}
        return
    losses[name].backward()
    heads = model.heads_.named_parameters()
    reached = {n.split(".")[0] for n, p in heads if p.grad is not None and p.grad.abs().max() > 0}
    expected = {
        "nll": set(),
        "archetype": {"a", "b", "corners"},
        "reconstruction": {"a", "c", "corners"},
        "side": {"a", "side", "corners"},
        "prototype": {"a", "corners"},
    }[name]
    assert reached == expected
    flow_learns = [p.grad is not None and bool(p.grad.abs().max() > 0) for p in model.flow_.flow_.parameters()]
    if name == "reconstruction":
        assert any(flow_learns)  # by decoding; a frozen one has no gradients to begin with
    else:
        assert any(flow_learns) is joint


def test_side_information_tells_the_class(blobs, plain_flow):
    X, y = blobs
    told = quick(plain_flow, max_steps=300, loss_weights={"side": 1.0}).fit(X, y)
    assert told.losses(X, y)["side"] < 0.5 * np.log(3)
    assert not hasattr(told, "classes_")
    assert told.side_classes_.tolist() == ["a", "b", "c"]
    with pytest.raises(InvalidDataError, match="labels unseen in training: z"):
        told.losses(X, np.where(y == "a", "z", y))
    assert "side" not in quick(plain_flow).fit(X).losses(X)
    assert "side" not in told.losses(X), "without labels there is nothing to tell"


@pytest.mark.parametrize("loss", ["free", "author"])
def test_only_the_authors_losses_depend_on_the_batch(blobs, flow, loss):
    X, y = np.tile(blobs[0], (8, 1)), np.tile(blobs[1], 8)
    model = quick(flow, loss=loss, max_steps=60).fit(*blobs)
    small, large = (model.losses(X, y, batch_size=b) for b in (64, 512))
    for name in ("archetype", "reconstruction"):
        if loss == "free":
            assert small[name] == pytest.approx(large[name], rel=0.05), name
        else:
            assert large[name] > 1.5 * small[name], name


@pytest.mark.parametrize("head", ["softmax", "simplex"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("law", ["fitted", "normal"])
def test_encoding_an_exact_nullspace_sample_gives_its_weights_back(blobs, flow, head, bias, law):
    model = quick(flow, head=head, bias=bias).fit(*blobs)
    A, y = some_weights(50, 3), np.array(["a", "b", "c", "a", "b"] * 10)
    X = model.decode(A, y, nullspace=law, random_state=0)
    np.testing.assert_allclose(model.encode(X, y), A, atol=1e-4)
    rough = model.decode(A, y, nullspace=law, exact=False, random_state=0)
    assert np.abs(model.encode(rough, y) - A).max() > 0.01


def test_with_its_own_nullspace_part_a_row_is_the_flows_round_trip(deep, blobs):
    X, y = blobs
    np.testing.assert_allclose(deep.reconstruct(X, y, nullspace="own"), X, rtol=1e-6, atol=1e-8)
    plain = deep.reconstruct(X, y)
    assert np.abs(plain - X).max() > 0.1
    np.testing.assert_allclose(plain, deep.decode(deep.encode(X, y), y))


def test_the_fitted_law_is_that_of_the_data(deep, blobs):
    part = deep.nullspace_part(*blobs)
    drawn = deep._row_space.null_part(deep.draw_nullspace(5000, random_state=0))
    np.testing.assert_allclose(drawn.mean(axis=0), part.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1).mean(), np.linalg.norm(part, axis=1).mean(), rtol=0.1)


def test_small_concentrations_go_to_the_archetypes(deep):
    def spread(c):
        return np.linalg.norm(deep.sample(400, concentration=c, y="a", random_state=0)[0].std(axis=0))

    assert spread(0.1) > 1.5 * spread(1.0) > 1.5 * spread(10.0)
    X, y = deep.sample(5, random_state=0)
    assert X.shape == (5, 5)
    assert set(y) <= {"a", "b", "c"}


def test_the_archetypes_are_decoded_vertices_under_the_class_of_their_nearest_rows(deep, blobs):
    assert deep.archetypes_.shape == (4, 5)
    np.testing.assert_allclose(deep.archetypes_, deep.decode(np.eye(4), deep.archetype_classes_))
    nearest = deep.nearest_samples(*blobs, n=50)
    assert nearest.shape == (4, 50)
    A = deep.encode(*blobs)
    for j in range(4):
        assert A[nearest[j, 0], j] == A[:, j].max()
        values, counts = np.unique(blobs[1][nearest[j]], return_counts=True)
        assert counts[values == deep.archetype_classes_[j]] == counts.max()


def test_the_hull_report_is_what_it_says(deep, blobs):
    rows = deep.hull_report(*blobs)
    A = deep.encode(*blobs)
    Z = deep.flow_.encode(*blobs)
    ends = deep.latents_of_weights(np.eye(4))
    for j, row in enumerate(rows):
        assert (row.archetype, row.largest_weight) == (j, A[:, j].max())
        assert row.distance == pytest.approx(np.linalg.norm(Z - ends[j], axis=1).min(), rel=1e-6)
        assert row.typical_distance > 0


@pytest.mark.parametrize("method", ["linear", "spherical"])
def test_a_way_begins_and_ends_at_its_ends(deep, blobs, method):
    X, y = blobs[0][blobs[1] == "a"][:6], np.array(["a"] * 6)
    way = deep.interpolate(X, X[::-1], 5, y, method=method)
    assert way.shape == (6, 5, 5)
    np.testing.assert_allclose(way[:, 0], X, atol=1e-6)
    np.testing.assert_allclose(way[:, -1], X[::-1], atol=1e-6)
    norms = np.linalg.norm(deep.flow_.encode(way.reshape(30, 5), np.full(30, "a")), axis=1).reshape(6, 5)
    lowest = np.minimum(norms[:, 0], norms[:, -1])
    if method == "spherical":
        assert (norms >= 0.999 * lowest[:, None]).all()
    else:
        assert (norms[:, 2] < 0.9 * lowest).any()


def test_it_works_without_labels(blobs, plain_flow):
    X, _ = blobs
    model = quick(plain_flow).fit(X)
    assert model.encode(X).shape == (300, 3)
    assert not hasattr(model, "archetype_classes_")
    assert model.sample(4)[1] is None
    assert model.hull_report(X)[0].largest_weight <= 1


def test_it_fits_its_own_flow(blobs):
    X, y = blobs
    model = DeepArchetypes(3, flow=FlowDensity(max_steps=5), max_steps=5).fit(X, y)
    assert model.classes_.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("options", [{}, {"head": "simplex", "bias": True, "positions": "learned"}, {"loss": "author"}])
def test_saved_is_loaded_to_the_bit(tmp_path, blobs, flow, options):
    X, y = blobs
    model = quick(flow, **options).fit(X, y)
    model.save(tmp_path / "run")
    again = fo.load(tmp_path / "run")
    assert np.array_equal(again.encode(X, y), model.encode(X, y))
    assert np.array_equal(again.archetypes_, model.archetypes_)
    one, two = (m.sample(20, 0.5, nullspace="fitted", random_state=1)[0] for m in (model, again))
    assert np.array_equal(one, two)


def test_a_seed_decides_all(blobs, flow):
    a, b, c = (quick(flow, random_state=s).fit(*blobs).encode(*blobs) for s in (0, 0, 1))
    assert np.array_equal(a, b)
    assert not np.array_equal(a, c)


def test_images_are_clipped_unless_asked_otherwise():
    data = fo.load_data("digits:train@0-2")
    flow = FlowDensity(event_shape=(1, 8, 8), max_steps=20, random_state=0).fit(data.X, data.y)
    model = quick(flow, max_steps=5).fit(data.X, data.y)
    A, y = some_weights(40, 3), np.repeat(data.classes[:1], 40)
    free = model.decode(A, y, nullspace="normal", clip=False, random_state=0)
    assert free.min() < 0
    assert np.array_equal(model.decode(A, y, nullspace="normal", random_state=0), free.clip(0, 1))
    assert model.archetypes_.min() >= 0
    np.testing.assert_allclose(model.encode(free, y), A, atol=1e-4)
    cube = data.X.reshape(-1, 1, 8, 8)
    np.testing.assert_allclose(model.encode(cube, data.y), model.encode(data.X, data.y))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_archetypes": 1}, "n_archetypes must be a whole number of 2 or more; got 1"),
        ({"n_archetypes": 2.5}, "n_archetypes must be a whole number"),
        ({"n_archetypes": 7}, r"n_archetypes=7 is too many for 5 features.*at most 6 vertices"),
        ({"head": "sparse"}, "head must be 'softmax' or 'simplex'; got 'sparse'"),
        ({"positions": "free"}, "positions must be 'fixed' or 'learned'"),
        ({"loss": "mine"}, "loss must be 'free' or 'author'"),
        ({"loss_weights": {"nil": 1}}, "unknown nil; the losses are nll"),
        ({"batch_size": 0}, "batch_size"),
        ({"max_steps": -1}, "max_steps"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
    ],
)
def test_settings_that_make_no_sense_are_refused(blobs, flow, params, message):
    with pytest.raises(InvalidSettingError, match=message):
        quick(flow, **params).fit(*blobs)


def test_weights_that_make_no_sense_are_refused(deep):
    for A, message in [
        (np.ones((2, 3)) / 3, r"shape \(n, 4\).*got shape \(2, 3\)"),
        (np.full((2, 4), np.nan), "8 of its numbers not finite"),
        (np.ones((2, 4)), "add up to 1; one is off by 3"),
    ]:
        with pytest.raises(InvalidDataError, match=message):
            deep.decode(A)
    with pytest.raises(InvalidSettingError, match="nullspace='own' is unknown here"):
        deep.decode(np.eye(4), nullspace="own")
    with pytest.raises(InvalidSettingError, match="nullspace must be None or one of"):
        deep.reconstruct(np.zeros((2, 5)), nullspace="mine")


def test_calls_that_make_no_sense_are_refused(deep, blobs):
    X = blobs[0]
    with pytest.raises(InvalidSettingError, match="n_samples must be a whole number of 1 or more"):
        deep.sample(0)
    with pytest.raises(InvalidSettingError, match="4 of them"):
        deep.sample(3, concentration=[1, 2])
    with pytest.raises(InvalidSettingError, match="n_steps must be at least 2"):
        deep.interpolate(X[:2], X[:2], 1)
    with pytest.raises(InvalidDataError, match="X0 has 2 rows and X1 has 3"):
        deep.interpolate(X[:2], X[:3], 4)
    with pytest.raises(InvalidDataError, match="labels unseen in training: z"):
        deep.encode(X[:1], ["z"])
    for call in (lambda m: m.encode(X), lambda m: m.sample(3), lambda m: m.decode(np.eye(3))):
        with pytest.raises(NotFittedError):
            call(DeepArchetypes())


def test_a_clone_keeps_a_fitted_flow(flow):
    assert clone(quick(flow)).flow is flow


def test_a_failed_fit_leaves_nothing(blobs, flow):
    model = quick(flow)
    with pytest.raises(InvalidDataError):
        model.fit(blobs[0], blobs[1][:5])
    assert not hasattr(model, "flow_")
    assert set(LOSS_WEIGHTS) == {"nll", "archetype", "reconstruction", "side", "prototype"}


def test_its_own_flow_is_trained_where_the_archetypes_are(tmp_path, blobs, monkeypatch):
    asked = []
    fit = FlowDensity.fit
    monkeypatch.setattr(FlowDensity, "_steps", lambda self, n: 1)
    monkeypatch.setattr(FlowDensity, "fit", lambda self, X, y=None: asked.append(self.training) or fit(self, X, y))
    where = fo.Training(accelerator="cpu", checkpoint_dir=tmp_path)
    DeepArchetypes(training=where, max_steps=1, random_state=0).fit(*blobs)
    assert asked == [fo.Training(accelerator="cpu")]


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError], ids=["interrupted", "killed"])
def test_cut_off_and_gone_on_is_the_same_as_in_one_go(tmp_path, blobs, flow, monkeypatch, error):
    def cut_off(self, batch, progress):
        found = call(self, batch, progress)
        if self.heads.training and round(130 * progress) == 115:
            raise error
        return found

    call, where = DeepObjective.__call__, fo.Training(checkpoint_dir=tmp_path, resume=True)
    params = {"max_steps": 130, "validation_fraction": 0, "batch_size": 32}
    monkeypatch.setattr(DeepObjective, "__call__", cut_off)
    with pytest.raises(error):
        quick(flow, training=where, **params).fit(*blobs)
    monkeypatch.setattr(DeepObjective, "__call__", call)
    resumed, whole = quick(flow, training=where, **params).fit(*blobs), quick(flow, **params).fit(*blobs)
    assert flow_bytes(resumed.flow_) == flow_bytes(whole.flow_)
    np.testing.assert_array_equal(resumed.archetypes_, whole.archetypes_)
    assert resumed.history_ == whole.history_


def test_fitted_without_labels_it_uses_none_of_the_flows_classes(blobs, flow):
    X, y = blobs
    model = quick(flow).fit(X)
    assert flow.classes_ is not None
    assert not hasattr(model, "classes_")
    labels = model.sample(6, random_state=0)[1]
    assert labels is None
    A = model.encode(X)
    np.testing.assert_allclose(model.reconstruct(X), model.decode(A))
    np.testing.assert_allclose(model.flow_.decode(model.latents_of_weights(A)), model.decode(A))
    out = fo.Archetypal(base=model).fit(X).sample(5, random_state=0)
    assert out.y is None
    for call in (lambda: model.encode(X, y), lambda: model.sample(3, y="a"), lambda: model.decode(A, y)):
        with pytest.raises(InvalidDataError, match="fitted without labels; leave y out"):
            call()
