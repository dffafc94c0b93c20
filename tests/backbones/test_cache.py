"""Features that were computed are found again, by content alone; what is damaged is made anew."""

import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from torch import nn

import farout as fo
from farout.backbones import features as features_module
from farout.backbones.cache import FeatureCache
from farout.errors import FaroutError, RunError

SMALL = {"size": 16, "crop": 1.0, "mean": 0.4, "std": 0.2}


@pytest.fixture
def cached(small, tmp_path):
    return fo.Features(small, cache=tmp_path / "cache", **SMALL)


def calls(features, X, seen):
    """The features, and how many inputs the network saw beside the first, which a fit tries."""
    features.fit(X)
    seen.clear()
    return features.transform(X), sum(seen)


def files_of(cached):
    return sorted(cached.cache.glob("*/*.safetensors"))


def test_a_second_run_computes_nothing(cached, pictures, seen):
    first, n = calls(cached, pictures, seen)
    assert n == len(pictures)
    for again in (clone(cached), clone(cached).set_params(batch_size=2), clone(cached).set_params(accelerator="cpu")):
        found, n = calls(again, pictures, seen)
        assert n == 0
        np.testing.assert_array_equal(found, first)


def test_only_what_is_new_is_computed_and_equal_inputs_once(cached, pictures, seen):
    first, _ = calls(cached, pictures[:4], seen)
    mixed = [pictures[5], *pictures[:4], pictures[5], pictures[6]]
    found, n = calls(cached, mixed, seen)
    assert n == 2
    np.testing.assert_array_equal(found[1:5], first)
    np.testing.assert_array_equal(found[0], found[5])
    np.testing.assert_allclose(found, calls(clone(cached).set_params(cache=None), mixed, seen)[0], rtol=1e-5, atol=1e-6)


def test_content_counts_not_names(cached, pictures, seen, tmp_path):
    for name in ("a", "b"):
        pictures[0].save(tmp_path / f"{name}.png")
    _, n = calls(cached, [tmp_path / "a.png", tmp_path / "b.png"], seen)
    assert n == 1
    pictures[1].save(tmp_path / "a.png")
    found, n = calls(cached, [tmp_path / "a.png"], seen)
    assert n == 1
    np.testing.assert_allclose(found, cached.transform(pictures[1:2]), rtol=1e-5, atol=1e-6)


def changed_weight(network):
    with torch.no_grad():
        network.head.bias[0] += 1e-6
    return {}


def changed_buffer(network):
    network.stem[1].running_var[0] = 1.5
    return {}


def changed_attribute(network):
    network.stem[1].eps = 1e-2
    return {}


CHANGES = {
    "a weight": changed_weight,
    "a buffer": changed_buffer,
    "an attribute": changed_attribute,
    "the layer": lambda _: {"layer": "drop"},
    "the size": lambda _: {"size": 18},
    "the mean": lambda _: {"mean": 0.41},
    "the crop": lambda _: {"crop": 0.9},
    "the interpolation": lambda _: {"interpolation": "bicubic"},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_backbone_is_another_one(cached, pictures, seen, what, small):
    calls(cached, pictures, seen)
    again = clone(cached).set_params(backbone=small, **CHANGES[what](small))
    found, n = calls(again, pictures, seen)
    assert n == len(pictures)
    np.testing.assert_allclose(found, calls(again.set_params(cache=None), pictures, seen)[0], rtol=1e-4, atol=1e-5)


def test_the_code_of_a_network_counts(tmp_path, monkeypatch, pictures, seen):
    monkeypatch.chdir(tmp_path)
    code = (
        "from torch import nn\nclass Net(nn.Module):\n    def forward(self, x):\n        return x.mean((2, 3)) * {}\n"
    )
    made = []
    for factor in ("1", "2.0"):  # of another length, so that Python takes the file for a new one
        (tmp_path / "net_that_changes.py").write_text(code.format(factor))
        made.append(fo.Features("net_that_changes:Net", cache=tmp_path / "cache", **SMALL).fit_transform(pictures))
        del sys.modules["net_that_changes"]
    np.testing.assert_allclose(made[1], 2 * made[0], rtol=1e-6)


def test_unit_length_is_of_what_was_stored(cached, pictures, seen):
    raw, _ = calls(cached, pictures, seen)
    unit, n = calls(clone(cached).set_params(normalize=True), pictures, seen)
    assert n == 0
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-6)


def truncated(file):
    file.write_bytes(file.read_bytes()[:-5])


def flipped(file):
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def foreign(file):
    file.write_text("no features")


def emptied(file):
    file.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncated, flipped, foreign, emptied])
def test_a_damaged_file_is_made_anew(cached, pictures, seen, damage):
    first, _ = calls(cached, pictures, seen)
    (file,) = files_of(cached)
    whole = file.read_bytes()
    damage(file)
    found, n = calls(cached, pictures, seen)
    assert n == len(pictures)
    np.testing.assert_array_equal(found, first)
    assert [f.read_bytes() for f in files_of(cached)] == [whole]


def test_what_was_computed_before_a_failure_is_kept(cached, pictures, seen, tmp_path, monkeypatch):
    monkeypatch.setattr(features_module, "STORED_AT_ONCE", 4)
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    cached.set_params(batch_size=2).fit(pictures)
    with pytest.raises(FaroutError, match=r"broken\.png can't be read"):
        cached.transform([*pictures[:6], broken])
    assert len(files_of(cached)) == 2
    _, n = calls(cached, pictures, seen)
    assert n == 1


def test_a_folder_that_can_not_be_made(cached, pictures, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="can't be made"):
        cached.set_params(cache=tmp_path / "file").fit_transform(pictures)


def test_rows_are_cached_too(tmp_path):
    X = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    features = fo.Features(nn.Linear(3, 2), cache=tmp_path)
    np.testing.assert_array_equal(features.fit_transform(X), features.fit_transform(X))
    assert len(list(tmp_path.glob("*/*"))) == 1


def test_names_of_the_user_or_the_machine_are_not_stored(cached, pictures, seen, tmp_path):
    pictures[0].save(tmp_path / "secret.png")
    calls(cached, [tmp_path / "secret.png"], seen)
    (file,) = files_of(cached)
    assert b"secret" not in file.read_bytes()
    assert os.fsencode(tmp_path) not in file.read_bytes()


def test_a_file_of_another_width_is_removed(tmp_path):
    cache = FeatureCache(tmp_path, "network")
    cache.write([b"a" * 16], np.ones((1, 3), np.float32))
    assert not cache.fill([b"a" * 16], np.zeros((1, 4), np.float32)).any()
    assert list(tmp_path.glob("*/*")) == []


def test_pictures_of_one_content_and_several_shapes_differ():
    from farout.backbones.inputs import as_pictures

    flat = np.zeros((1, 4, 9, 3), np.uint8)
    keys = [as_pictures(flat.reshape(1, h, w, 3), "")[0].key() for h, w in ((4, 9), (9, 4), (6, 6))]
    assert len(set(keys)) == 3
    assert as_pictures([Image.new("RGB", (9, 4))], "")[0].key() == keys[0]
