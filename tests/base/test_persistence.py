"""Run folders: bit-equal after loading, two plain files, clear errors."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import make_blobs

import farout as fo
from farout.base.persistence import read_config
from farout.errors import RunError

X, Y = make_blobs(240, centers=[[0, 6], [-5, -3], [5, -3]], random_state=0)
TEXT = np.array(["ant", "bee", "cat"])[Y]
NEW = np.random.default_rng(1).normal(0, 6, size=(20, 2))


@pytest.fixture(scope="module")
def flow():
    return fo.FlowDensity(max_steps=5, random_state=0).fit(X, TEXT)


def small_net(event_shape, n_outputs):
    return torch.nn.Sequential(torch.nn.Linear(*event_shape, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, n_outputs))


def sources(flow):
    shell = fo.NormalShell(fo.Schedule(3.0, 2.0), flow=flow, covariance="class")
    real = fo.RealOutliers(NEW)
    return {
        "normal": shell,
        "gumbel": fo.GumbelShell((2.0, 4.0), law="author", flow=flow),
        "real": real,
        "mixture": fo.Mixture([shell, fo.GumbelShell(flow=flow), real], weights=[1, 2, 3]),
    }


def models(flow):
    shell = fo.NormalShell(flow=flow)
    quick = {"max_steps": 3, "random_state": 0}
    return {
        "detector": fo.FlowDetector(flow=flow, random_state=0),
        "typicality": fo.FlowDetector("typicality", flow=fo.FlowDensity(max_steps=3), random_state=0),
        "discriminator": fo.OutlierDiscriminator(shell, score_by="random", **quick),
        "classifier": fo.CautiousClassifier(shell, **quick),
        "plain": fo.CautiousClassifier(beta=0, training=fo.Training(accelerator="cpu"), **quick),
        "mixture": fo.CautiousClassifier(sources(flow)["mixture"], **quick),
        "generator": fo.OutlierDiscriminator(shell, max_steps=3, random_state=np.random.default_rng(0)),
        "own function": fo.CautiousClassifier(shell, network=small_net, **quick),
        "own module": fo.CautiousClassifier(shell, network=small_net((2,), 3), **quick),
    }


def equal(a, b):
    assert type(a) is type(b)
    assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
    np.testing.assert_array_equal(a, b)


def test_a_flow_is_bit_equal(flow, tmp_path):
    again = fo.load(flow.save(tmp_path / "run"))
    equal(flow.encode(NEW, TEXT[:20]), again.encode(NEW, TEXT[:20]))
    equal(flow.score_samples(NEW), again.score_samples(NEW))
    equal(flow.class_log_probs(NEW), again.class_log_probs(NEW))
    for a, b in zip(flow.sample(10, random_state=0), again.sample(10, random_state=0), strict=True):
        equal(a, b)
    assert again.get_params() == flow.get_params()
    assert next(again.flow_.parameters()).dtype == torch.float64
    assert again.history_.keys() == flow.history_.keys()
    assert np.array_equal(again.history_["loss"], flow.history_["loss"], equal_nan=True)


def test_an_image_flow_is_bit_equal(tmp_path):
    images = np.random.default_rng(0).integers(0, 17, (40, 64)).astype(np.float32)
    flow = fo.FlowDensity(event_shape=(1, 8, 8), max_steps=2, random_state=0).fit(images)
    again = fo.load(flow.save(tmp_path / "run"))
    equal(flow.bits_per_dim(images), again.bits_per_dim(images))
    equal(flow.sample(3, random_state=0)[0], again.sample(3, random_state=0)[0])
    assert again.event_shape == (1, 8, 8)
    assert again.flow_.transform.transforms[0].bin_width == 1.0


@pytest.mark.parametrize("name", ["normal", "gumbel", "real", "mixture"])
def test_sources_are_bit_equal(name, flow, tmp_path):
    source = sources(flow)[name].fit(X, TEXT)
    again = fo.load(source.save(tmp_path / "run"))
    a, b = (s.sample(30, random_state=1, progress=0.5) for s in (source, again))
    for field in ("x", "y", "strength", "source"):
        equal(getattr(a, field), getattr(b, field))
    equal(source.process_inliers(X, TEXT, random_state=0), again.process_inliers(X, TEXT, random_state=0))


@pytest.mark.parametrize("name", list(models(None)))
def test_models_are_bit_equal(name, flow, tmp_path):
    model = models(flow)[name].fit(X, TEXT)
    given = {"network": small_net} if name.startswith("own") else {}
    again = fo.load(model.save(tmp_path / "run"), **given)
    assert type(again) is type(model)
    equal(model.score_samples(NEW), again.score_samples(NEW))
    equal(model.p_values(NEW), again.p_values(NEW))
    equal(model.predict(NEW), again.predict(NEW))
    assert again.offset_ == model.offset_
    for method in ("predict_proba", "decision_function", "is_inlier"):
        if hasattr(model, method):
            equal(getattr(model, method)(NEW), getattr(again, method)(NEW))


def test_loaded_networks_work_where_fitted_ones_do(flow, tmp_path, monkeypatch):
    """Fitted ones work on a GPU where there is one, and its last digits are others than a CPU's."""
    pixels = np.random.default_rng(0).random((60, 16))
    critic = fo.Critic(event_shape=(1, 4, 4), max_steps=2, random_state=0).fit(pixels)
    classifier = fo.CautiousClassifier(fo.NormalShell(flow=flow), max_steps=3, random_state=0).fit(X, TEXT)
    fitted = {"flow": flow, "critic": critic, "classifier": classifier}
    there, asked = torch.device("meta"), []
    for module in ("flows.density", "outliers.critic", "detectors.exposure"):
        monkeypatch.setattr(f"farout.{module}.inference_device", lambda where: asked.append(where) or there)
    for name, model in fitted.items():
        again = fo.load(model.save(tmp_path / name))
        for attribute in again._networks:
            tensors = vars(again)[attribute].state_dict().values() if attribute in vars(again) else []
            assert all(t.device == there for t in tensors), f"{name}.{attribute}"
    assert asked == [flow.training, critic.training, flow.training, classifier.training]


def test_a_network_of_ones_own_works_where_it_is_given(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    model = fo.WrappedClassifier(network, random_state=0).fit(X)
    path = model.save(tmp_path / "run")
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        again = fo.load(path, network=network.to(device))
        assert {p.device.type for p in again.network_.parameters()} == {device}
        np.testing.assert_allclose(again.score_samples(NEW), model.score_samples(NEW), rtol=1e-6)


def test_feature_names_and_object_labels_come_back(tmp_path):
    det = fo.FlowDetector(flow=fo.FlowDensity(max_steps=2), random_state=0).fit(X, TEXT.astype(object))
    det.feature_names_in_ = np.array(["length", "width"], dtype=object)
    again = fo.load(det.save(tmp_path / "run"))
    equal(again.feature_names_in_, det.feature_names_in_)
    equal(again.flow_.classes_, det.flow_.classes_)


def test_a_shared_flow_is_written_once_and_shared_again(flow, tmp_path):
    clf = models(flow)["mixture"].fit(X, TEXT)
    path = clf.save(tmp_path / "run")
    again = fo.load(path)
    shared = again.source_.sources_[0].flow_
    assert shared is again.source_.sources_[1].flow_
    assert shared is again.source.sources[0].flow
    n_flow = sum(t.numel() for t in flow.flow_.state_dict().values())
    float64 = sum(t.numel() for k, t in load_file(path / "model.safetensors").items() if "/flow_/" in k)
    assert float64 == n_flow


def test_the_folder_is_two_plain_files(flow, tmp_path):
    path = flow.save(tmp_path / "deep" / "run")
    assert sorted(p.name for p in path.iterdir()) == ["config.json", "model.safetensors"]

    def no_constant(name):
        raise AssertionError(f"{name} is no JSON")

    config = json.loads((path / "config.json").read_text(encoding="utf-8"), parse_constant=no_constant)
    assert config["format"] == "farout-run"
    assert config["model"]["class"] == "FlowDensity"
    assert read_config(path) == config
    tensors = load_file(path / "model.safetensors")
    assert all(tensors["/flow_/" + k].equal(v.cpu()) for k, v in flow.flow_.state_dict().items())


def test_loading_touches_no_random_state(flow, tmp_path):
    path = flow.save(tmp_path / "run")
    state = torch.random.get_rng_state()
    fo.load(path)
    assert torch.equal(torch.random.get_rng_state(), state)


# --- what was given of one's own -------------------------------------------------------------------------------


@pytest.fixture
def own(flow, tmp_path):
    return models(flow)["own function"].fit(X, TEXT).save(tmp_path / "run")


def test_an_own_network_must_be_given_again(own):
    with pytest.raises(RunError, match=r"made with a network of your own \(a function\).*load\(path, network=...\)"):
        fo.load(own)


def test_another_network_does_not_fit(own):
    with pytest.raises(RunError, match=r"weights don't fit the network network_ of this CautiousClassifier"):
        fo.load(own, network=torch.nn.Linear(2, 3))


def test_what_the_run_does_not_ask_for(own):
    with pytest.raises(RunError, match="no parameter of your own called netwrok"):
        fo.load(own, network=small_net, netwrok=small_net)


def test_a_single_row_is_bit_equal_too(tmp_path):
    """Products of one row depend on how matrices lie in memory: on strides, and on some CPUs on where they begin."""
    X = np.random.default_rng(0).normal(size=(60, 40))
    flow = fo.FlowDensity(max_steps=2, random_state=0).fit(X)
    again = fo.load(flow.save(tmp_path / "run"))
    for a, b in zip(flow.flow_.state_dict().values(), again.flow_.state_dict().values(), strict=True):
        assert a.stride() == b.stride()
        assert a.data_ptr() % 64 == b.data_ptr() % 64
    equal(flow.encode(X[:1]), again.encode(X[:1]))
