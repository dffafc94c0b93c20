"""`Features`: what goes in, what comes out, and what stays as it was."""

import random

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn

import farout as fo
from farout.data.dataset import Dataset
from farout.errors import DataNotFoundError, InvalidDataError, InvalidSettingError, InvalidTypeError

SMALL = {"size": 16, "crop": 1.0, "mean": 0.4, "std": 0.2}


def normalized(pictures, size=16):
    """By hand: short side to the size, the centre, then (x - mean) / std."""
    made = []
    for picture in pictures:
        width, height = picture.size
        short = min(width, height)
        resized = picture.resize((size * width // short, size * height // short), Image.Resampling.BILINEAR)
        left, top = round((resized.width - size) / 2), round((resized.height - size) / 2)
        made.append(np.asarray(resized)[top : top + size, left : left + size])
    pixels = torch.tensor(np.stack(made)).permute(0, 3, 1, 2)
    return (pixels / 255 - 0.4) / 0.2


def test_features_are_what_the_network_makes_of_normalized_pictures(small, pictures):
    found = fo.Features(small, **SMALL).fit_transform(pictures)
    small.eval()
    with torch.no_grad():
        expected = small(normalized(pictures)).numpy()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.ptp(found, axis=0).min() > 0.01  # pictures differ, so do their features


@pytest.mark.parametrize(("layer", "width"), [("stem", 6), ("stem.0", 6), ("drop", 6), ("head", 4), (None, 4)])
def test_a_layer_is_tapped_and_maps_are_averaged(small, pictures, layer, width):
    found = fo.Features(small, layer=layer, **SMALL).fit_transform(pictures)
    assert found.shape == (len(pictures), width)
    if layer == "stem.0":
        with torch.no_grad():
            expected = small.stem[0](normalized(pictures)).mean((2, 3))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_tokens_are_averaged_and_a_layer_called_twice_gives_its_last_output():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x):
            return self.act(self.act(x).flatten(2).transpose(1, 2) - 1)  # (n, tokens, 3)

    white = [Image.new("RGB", (8, 8), "white")]
    network = Tokens()
    assert fo.Features(network, size=8, mean=0, std=0.1).fit_transform(white).tolist() == [[9, 9, 9]]
    assert fo.Features(network, layer="act", size=8, mean=0, std=0.1).fit_transform(white).tolist() == [[9, 9, 9]]


def holders(pictures, folder):
    """The same pictures, which are all of one size, in all that people hold them in."""
    folder.mkdir()
    paths = [folder / f"{i}.png" for i in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    last = np.stack([np.asarray(picture) for picture in pictures])
    first = np.ascontiguousarray(last.transpose(0, 3, 1, 2))
    rows = (first / np.float32(255)).reshape(len(first), -1)
    return {
        "pictures": pictures,
        "a folder": folder,
        "a folder by name": str(folder),
        "paths": paths,
        "names": [str(path) for path in paths],
        "an array of names": np.array([str(path) for path in paths]),
        "a column of names": pa.chunked_array([[str(path) for path in paths]]),
        "a table of names": pa.table({"file": [str(path) for path in paths]}),
        "channels last": last,
        "channels first": first,
        "whole numbers": last.astype(np.int64),
        "floats": (last / 255).astype(np.float32),
        "a tensor": torch.tensor(first),
        "arrays of their own": list(last),
        "a data set": Dataset(rows, None, first.shape[1:], "pictures", levels=256),
    }


def test_pictures_are_taken_from_whatever_holds_them(small, pictures, tmp_path):
    same = [picture.resize((24, 20)) for picture in pictures]
    expected = fo.Features(small, **SMALL).fit_transform(same)
    for name, X in holders(same, tmp_path / "photos").items():
        np.testing.assert_array_equal(fo.Features(small, **SMALL).fit_transform(X), expected, err_msg=name)


def test_a_folder_of_classes_comes_as_its_list(small, pictures, tmp_path):
    for i, picture in enumerate(pictures):
        (tmp_path / f"class{i % 2}").mkdir(exist_ok=True)
        picture.save(tmp_path / f"class{i % 2}" / f"{i}.png")
    files, labels = fo.data.list_pictures(tmp_path)
    assert labels.tolist() == ["class0"] * 4 + ["class1"] * 3
    features = fo.Features(small, **SMALL).fit(tmp_path)
    np.testing.assert_array_equal(features.transform(tmp_path), features.transform(files))


def test_grey_transparent_and_turned_pictures(small, tmp_path):
    features = fo.Features(small, **SMALL)
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    found = features.fit_transform([grey, np.stack([grey] * 3, axis=2), Image.fromarray(grey)])
    assert (found == found[0]).all()
    clear = Image.new("RGBA", (8, 8), (10, 20, 30, 0))
    np.testing.assert_array_equal(*features.fit_transform([clear, Image.new("RGB", (8, 8), "white")]))
    upright = Image.fromarray(np.stack([grey, grey // 2, grey], axis=2))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(*features.fit_transform([tmp_path / "turned.png", upright]))


def test_a_network_of_grey_pictures(pictures):
    network = nn.Conv2d(1, 2, 3)
    found = fo.Features(network, channels=1, size=8).fit_transform([p.convert("L") for p in pictures])
    assert found.shape == (len(pictures), 2)


def test_rows_go_in_as_they_are():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    X = np.random.default_rng(0).normal(size=(7, 3))
    expected = network[1](network[0](torch.tensor(X, dtype=torch.float32))).detach().numpy()
    for rows in (X, X.tolist(), pa.table(dict(zip("abc", X.T, strict=True)))):
        features = fo.Features(network, layer="1", batch_size=3).fit(rows)
        np.testing.assert_allclose(features.transform(rows), expected, rtol=1e-5, atol=1e-6)
        assert features.n_features_in_ == 3


def test_the_network_given_stays_as_it_is(small, pictures):
    small.stem[0].weight.requires_grad_(False)
    before = {name: t.clone() for name, t in small.state_dict().items()}
    features = fo.Features(small, layer="stem", **SMALL).fit(pictures)
    found = features.transform(pictures)
    assert all(part.training for part in small.modules())
    assert not small.stem[0].weight.requires_grad
    assert small.head.weight.requires_grad
    assert not small.stem._forward_hooks
    assert not features.network_.tapped._forward_hooks
    assert all(torch.equal(t, before[name]) for name, t in small.state_dict().items())
    with torch.no_grad():
        small.stem[0].weight.zero_()  # as its owner goes on to train it
    np.testing.assert_array_equal(features.transform(pictures), found)


class Drawing(nn.Module):
    def forward(self, x):
        return x.mean((2, 3)) + torch.randn(len(x), 3)


def test_the_same_every_time_and_nothing_global_is_moved(pictures):
    features = fo.Features(Drawing(), **SMALL)
    state, own, old = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # noqa: NPY002
    threads, grad = torch.get_num_threads(), torch.is_grad_enabled()
    found = features.fit_transform(pictures)
    np.testing.assert_array_equal(features.transform(pictures), found)
    np.testing.assert_array_equal(clone(features).fit_transform(pictures), found)
    assert torch.equal(torch.get_rng_state(), state)
    assert random.getstate() == own
    assert (np.random.get_state()[1] == old).all()  # noqa: NPY002
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == (threads, grad)


def test_as_precise_within_mixed_precision(small, pictures):
    features = fo.Features(small, **SMALL).fit(pictures)
    found = features.transform(pictures)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        np.testing.assert_array_equal(features.transform(pictures), found)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 100])
def test_batches(small, pictures, seen, batch_size):
    expected = fo.Features(small, **SMALL).fit_transform(pictures)
    features = fo.Features(small, batch_size=batch_size, **SMALL).fit(pictures)
    seen.clear()
    np.testing.assert_allclose(features.transform(pictures), expected, rtol=1e-5, atol=1e-6)
    full, rest = divmod(len(pictures), batch_size)
    assert seen == [batch_size] * full + [rest] * (rest > 0)


def test_unit_length(small, pictures):
    raw = fo.Features(small, **SMALL).fit_transform(pictures)
    unit = fo.Features(small, normalize=True, **SMALL).fit_transform(pictures)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(unit, raw / np.linalg.norm(raw, axis=1, keepdims=True), rtol=1e-6)
    with torch.no_grad():
        small.head.weight.zero_()
        small.head.bias.zero_()
    assert (fo.Features(small, normalize=True, **SMALL).fit_transform(pictures) == 0).all()


def test_half_precision_networks(small, pictures):
    found = fo.Features(small.bfloat16(), **SMALL).fit_transform(pictures)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()


def test_a_network_says_itself_how_it_wants_its_pictures(small, pictures):
    small.pretrained_cfg = {
        "input_size": (3, 16, 16),
        "mean": 0.4,
        "std": 0.2,
        "crop_pct": 1.0,
        "interpolation": "bilinear",
    }
    found = fo.Features(small).fit_transform(pictures)
    del small.pretrained_cfg
    np.testing.assert_array_equal(found, fo.Features(small, **SMALL).fit_transform(pictures))


# --- as scikit-learn has it ------------------------------------------------------------------------------------------


def labelled_pictures():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 90, (40, 20, 20, 3), dtype=np.uint8)
    images[:20, ..., 0] += 120
    images[20:, ..., 2] += 120
    return images, np.repeat(["red", "blue"], 20)


def test_a_pipeline_fits_predicts_and_is_cross_validated(small):
    images, y = labelled_pictures()
    model = make_pipeline(
        fo.Features(small, layer="stem", **SMALL),
        fo.CautiousClassifier(
            fo.NormalShell(flow=fo.FlowDensity(max_steps=20)), max_steps=60, learning_rate=1e-2, random_state=0
        ),
    )
    model.fit(images, y)
    assert model.score(images, y) > 0.9
    assert model.predict_proba(images).shape == (40, 2)
    linear = make_pipeline(clone(model[0]), LogisticRegression())
    assert cross_val_score(linear, list(images), y, cv=2).min() > 0.8


def test_clone_and_names_of_features(small, pictures):
    features = fo.Features(small, layer="stem", batch_size=3, **SMALL)
    with pytest.raises(NotFittedError):
        features.transform(pictures)
    copy = clone(features.fit(pictures))
    assert not hasattr(copy, "network_")
    assert {k: v for k, v in copy.get_params().items() if k != "backbone"} == {
        k: v for k, v in features.get_params().items() if k != "backbone"
    }
    assert features.get_feature_names_out().tolist() == [f"features{i}" for i in range(6)]


def test_a_failed_fit_leaves_nothing(small, pictures):
    features = fo.Features(small, **SMALL).fit(pictures)
    with pytest.raises(InvalidSettingError):
        features.set_params(layer="stam").fit(pictures)
    assert [name for name in vars(features) if name.endswith("_")] == []


def test_progress_goes_to_stderr_when_asked_for(small, pictures, capsys):
    fo.Features(small, **SMALL).fit_transform(pictures)
    assert capsys.readouterr() == ("", "")
    fo.Features(small, verbose=True, **SMALL).fit_transform(pictures)
    told = capsys.readouterr()
    assert told.out == ""
    assert "features of 7 pictures: done in" in told.err


# --- what can't be used ----------------------------------------------------------------------------------------------

SETTINGS = [
    ({"backbone": 3}, "backbone must be a torch module or a name"),
    ({"backbone": "resnet50"}, "of no known kind; give 'timm:NAME', 'st:NAME'"),
    ({"backbone": "timm:"}, "of no known kind"),
    ({"backbone": "no_such_module_of_mine:make"}, r"can't be found \(No module named 'no_such_module_of_mine'\)"),
    ({"backbone": "math:pi"}, "must be a torch module, or a function without arguments that makes one; it is float"),
    ({"backbone": "builtins:dict"}, "it gave dict"),
    ({"layer": "stam"}, "no layer 'stam'; did you mean 'stem'"),
    ({"layer": 3}, "layer must be the dotted name"),
    ({"size": 0}, "size must be a whole number of 1 or more; got 0"),
    ({"size": (3, 4, 5)}, "size must be one number, or height and width"),
    ({"size": "16"}, "size must be a whole number"),
    ({"channels": 2}, r"channels must be 1 \(grey\) or 3 \(RGB\); got 2"),
    ({"channels": 1}, "can't take pictures of shape .* Set size and channels as it wants"),
    ({"mean": (0.1, 0.2)}, r"mean must be one number, or 3 \(one a channel\)"),
    ({"std": 0}, "std must be a finite number above 0"),
    ({"std": (1, 1, -1)}, "std must be a finite number above 0"),
    ({"crop": 1.5}, "crop must be a finite number between 0 and 1, 0 excluded"),
    ({"interpolation": "bilinaer"}, "did you mean 'bilinear'"),
    ({"normalize": "yes"}, "normalize must be True or False"),
    ({"batch_size": 2.0}, "batch_size must be a whole number of 1 or more"),
    ({"cache": 3}, "cache must be the path of a folder, or None"),
    ({"accelerator": "tpu"}, "accelerator must be 'auto', 'cpu', 'gpu' or 'cuda'"),
]


@pytest.mark.parametrize(("settings", "message"), SETTINGS, ids=[str(s) for s, _ in SETTINGS])
def test_settings_that_make_no_sense(small, pictures, settings, message):
    with pytest.raises(InvalidSettingError, match=f"Features: .*{message}"):
        fo.Features(**{"backbone": small, **SMALL, **settings}).fit(pictures)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there(small, pictures):
    with pytest.raises(InvalidSettingError, match="torch finds no GPU here; give 'auto' or 'cpu'"):
        fo.Features(small, accelerator="gpu").fit(pictures)


class Giving(nn.Module):
    """Gives what it is told to, whatever goes in."""

    def __init__(self, out):
        super().__init__()
        self.out = out
        self.unused = nn.Identity()

    def forward(self, x):
        return self.out(x)


OUTPUTS = [
    (lambda x: {"logits": x, "loss": x}, "the network's output is a dict with logits, loss, no tensor; name a layer"),
    (lambda x: (x, x), "is a tuple, no tensor"),
    (lambda x: x.mean(), r"for 1 input\(s\) has shape \(\)"),
    (lambda x: torch.cat([x, x]), r"has shape \(2, 3, 16, 16\)"),
    (lambda x: x.long(), "type torch.int64; it must be floats"),
]


@pytest.mark.parametrize(("out", "message"), OUTPUTS, ids=[m for _, m in OUTPUTS])
def test_outputs_that_are_no_features(pictures, out, message):
    with pytest.raises(InvalidSettingError, match=message):
        fo.Features(Giving(out), **SMALL).fit(pictures)


def test_a_layer_that_is_not_called(pictures):
    with pytest.raises(InvalidSettingError, match="the layer 'unused' isn't called by the network"):
        fo.Features(Giving(lambda x: x), layer="unused", **SMALL).fit(pictures)


def test_features_that_are_not_finite_name_their_input(pictures):
    def out(x):
        flat = x.mean((2, 3))
        return torch.where(flat.mean(1, keepdim=True) > 2.9, torch.inf, flat)

    white = Image.new("RGB", (9, 9), "white")
    features = fo.Features(Giving(out), **SMALL, batch_size=3).fit(pictures)
    with pytest.raises(InvalidDataError, match=r"features of input 5 \(counted from 0\) aren't finite"):
        features.transform([*pictures[:5], white])


def test_inputs_that_are_no_pictures(small, pictures, tmp_path):
    features = fo.Features(small, **SMALL).fit(pictures)
    text = tmp_path / "text.png"
    text.write_text("no picture")
    deep = Image.fromarray(np.full((8, 8), 1000, dtype=np.uint16))
    cases = [
        (pictures[0], InvalidTypeError, r"X is one picture; give a list of pictures, as \[picture\]"),
        (text, InvalidTypeError, r"text.png is one file; give a list of pictures"),
        ([text], InvalidDataError, "text.png can't be read as an image"),
        ([deep], InvalidDataError, "picture 0 holds pixels of mode I;16, not of 8 bits a channel"),
        (tmp_path / "absent", DataNotFoundError, "no folder .*absent"),
        ([pictures[0], tmp_path / "absent.png"], DataNotFoundError, "picture 1: no file .*absent.png"),
        ([pictures[0], None], InvalidTypeError, r"picture 1 \(counted from 0\) is missing; X must be a folder"),
        (3, InvalidTypeError, "X is of type int; it must be a folder of pictures"),
        (np.zeros((2, 5, 8, 8), np.uint8), InvalidDataError, r"images of shape \(5, 8, 8\), where neither the first"),
        (np.full((1, 8, 8), 300), InvalidDataError, r"pixels lie in \[300, 300\]; give whole numbers from 0 to 255"),
        (np.full((1, 8, 8), np.nan), InvalidDataError, r"pixels lie in \[nan, nan\]"),
        (np.full((1, 8, 8), -1.0), InvalidDataError, "before any normalization"),
        (pa.table({"a": ["x"], "b": ["y"]}), InvalidTypeError, "a frame of 2 columns; give one column of it"),
    ]
    for X, error, message in cases:
        with pytest.raises(error, match=message):
            features.transform(X)


def test_an_empty_list_has_no_features(small, pictures):
    assert fo.Features(small, **SMALL).fit(pictures).transform([]).shape == (0, 4)
    with pytest.raises(InvalidDataError, match="X is empty; give at least one input"):
        fo.Features(small, **SMALL).fit([])


def test_rows_where_pictures_were_fitted_and_the_other_way_round(small, pictures):
    with pytest.raises(InvalidSettingError, match=r"can't take rows .* flattened pictures as"):
        fo.Features(small).fit(np.zeros((2, 64)))
    with pytest.raises(InvalidSettingError, match="size, mean has no meaning for rows; leave it out"):
        fo.Features(nn.Linear(3, 2), size=3, mean=0).fit(np.zeros((2, 3)))
    rows = fo.Features(nn.Linear(3, 2)).fit(np.zeros((2, 3)))
    with pytest.raises(InvalidDataError, match="fitted on rows"):
        rows.transform(pictures)
