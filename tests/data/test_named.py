"""Named sets: built in, in their publishers' own files, and the real ones."""

import numpy as np
import pytest
from idx_files import write_idx
from PIL import Image

from farout.data import load_data
from farout.data.catalogue import FERG_PEOPLE
from farout.data.faces import EXPRESSIONS
from farout.errors import DataNotFoundError, InvalidDataError, InvalidSettingError

RNG = np.random.default_rng(0)


def test_toy():
    toy = load_data("toy")
    assert toy.X.shape == (3000, 2)
    for label, mean in enumerate([(0, 2), (-np.sqrt(3), -1), (np.sqrt(3), -1)]):
        points = toy.X[toy.y == label]
        np.testing.assert_allclose(points.mean(0), mean, atol=0.1)
        np.testing.assert_allclose(np.cov(points.T), np.eye(2), atol=0.12)
    np.testing.assert_array_equal(toy.X, load_data("toy").X)


def test_digits():
    digits = load_data("digits")
    assert (digits.event_shape, digits.levels, len(digits)) == ((1, 8, 8), 17, 1797)
    assert set(np.unique(digits.X * 16)) == set(range(17))
    assert load_data("digits:test@7-9").classes == (7, 8, 9)


def put_idx(folder, prefix, n, ending, first_label=0):
    images = RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8)
    labels = (np.arange(n) % 5 + first_label).astype(np.uint8)
    write_idx(folder / f"{prefix}-images-idx3-ubyte{ending}", images)
    write_idx(folder / f"{prefix}-labels-idx1-ubyte{ending}", labels)
    return images, labels


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("mnist", "mnist"),
        ("mnist", "MNIST/raw"),
        ("fashion-mnist", "FashionMNIST/raw"),
        ("kmnist", "kmnist"),
        ("kmnist", "KMNIST/raw"),
    ],
)
def test_mnist_and_its_like(no_sets, tmp_path, name, folder, ending):
    train, train_labels = put_idx(tmp_path / folder, "train", 7, ending)
    test, _ = put_idx(tmp_path / folder, "t10k", 4, ending)
    data = load_data(f"{name}:train", data_root=tmp_path)
    np.testing.assert_array_equal(data.X, train.reshape(7, 784) / np.float32(255))
    np.testing.assert_array_equal(data.y, train_labels)
    assert (data.event_shape, data.levels, data.name) == ((1, 28, 28), 256, f"{name}:train")
    whole = load_data(name, data_root=tmp_path)
    np.testing.assert_array_equal(whole.X[7:], test.reshape(4, 784) / np.float32(255))
    assert len(load_data(name, data_root=tmp_path, default_split="test")) == 4


@pytest.mark.parametrize("folder", ["emnist", "emnist/gzip", "EMNIST/raw"])
def test_emnist_is_turned_upright(no_sets, tmp_path, folder):
    for kind, start in (("digits", 0), ("letters", 1)):
        stored, labels = put_idx(tmp_path / folder, f"emnist-{kind}-train", 6, ".gz", start)
        put_idx(tmp_path / folder, f"emnist-{kind}-test", 3, ".gz", start)
        data = load_data(f"emnist-{kind}:train", data_root=tmp_path)
        upright = np.rint(data.X.reshape(6, 28, 28) * 255)
        np.testing.assert_array_equal(upright, stored.transpose(0, 2, 1))
        assert (upright[0, 2, 20], upright[0, 20, 2]) == (stored[0, 20, 2], stored[0, 2, 20])
        np.testing.assert_array_equal(data.y, labels)
    named = load_data("emnist-letters:train@a,B", data_root=tmp_path)
    assert named.classes == (1, 2)
    assert (named.class_names[1], named.class_names[26]) == ("a", "z")


def test_the_first_folder_wins(no_sets, tmp_path, monkeypatch):
    put_idx(tmp_path / "env" / "kana", "t10k", 3, "")
    put_idx(no_sets / "kana", "t10k", 4, "")
    put_idx(tmp_path / "system" / "kana", "t10k", 5, "")
    assert len(load_data("kana")) == 4
    monkeypatch.setenv("FAROUT_DATA", str(tmp_path / "env"))
    assert len(load_data("kana")) == 3
    put_idx(tmp_path / "root" / "kana", "t10k", 2, "")
    assert len(load_data("kana", data_root=tmp_path / "root")) == 2


@pytest.mark.parametrize("name", ["letters", "kana"])
def test_sets_for_judging_have_no_train_split(no_sets, tmp_path, name):
    put_idx(tmp_path / name, "t10k", 3, ".gz")
    for spec, default in ((f"{name}:train", "all"), (name, "train")):
        with pytest.raises(InvalidSettingError, match=f"{name} has no split 'train', only test"):
            load_data(spec, data_root=tmp_path, default_split=default)
    assert len(load_data(name, data_root=tmp_path)) == 3


def test_missing_set_says_everything(no_sets, tmp_path):
    with pytest.raises(DataNotFoundError) as caught:
        load_data("kmnist", data_root=tmp_path / "root")
    message = str(caught.value)
    for part in (
        str(tmp_path / "root" / "kmnist"),
        str(no_sets),
        str(tmp_path / "system"),
        "http://codh.rois.ac.jp/kmnist/",
        f"farout data download kmnist --data-root {tmp_path / 'root'}",
        "t10k-labels-idx1-ubyte",
    ):
        assert part in message
    with pytest.raises(DataNotFoundError) as caught:
        load_data("ferg-people", data_root=tmp_path)
    assert "grail.cs.washington.edu" in str(caught.value)
    assert str(tmp_path / "ferg") in str(caught.value)
    assert "download" not in str(caught.value)


def test_incomplete_set_says_what_lacks(no_sets, tmp_path):
    put_idx(tmp_path / "mnist", "train", 3, "")
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").unlink()
    with pytest.raises(DataNotFoundError, match=r"mnist \(lacks train-labels-idx1-ubyte"):
        load_data("mnist:train", data_root=tmp_path)


def test_files_that_do_not_fit(no_sets, tmp_path):
    put_idx(tmp_path / "kana", "t10k", 3, "")
    write_idx(tmp_path / "kana" / "t10k-labels-idx1-ubyte", np.zeros(2, np.uint8))
    with pytest.raises(InvalidDataError, match="should hold 3 integer labels"):
        load_data("kana", data_root=tmp_path)
    write_idx(tmp_path / "kana" / "t10k-images-idx3-ubyte", np.zeros((2, 3), np.uint8))
    with pytest.raises(InvalidDataError, match=r"should hold bytes of shape \(n, H, W\)"):
        load_data("kana", data_root=tmp_path)


@pytest.fixture
def ferg(no_sets, tmp_path):
    """Two pictures a pair, 256x256, plain but for a bright quarter; value tells the pair."""
    for who, person in enumerate(FERG_PEOPLE):
        for mood, expression in enumerate(EXPRESSIONS):
            folder = tmp_path / "ferg" / "FERG_DB_256" / person / f"{person}_{expression}"
            folder.mkdir(parents=True)
            for k in range(2):
                pixels = np.zeros((256, 256, 3), np.uint8)
                pixels[:128, :128] = (20 + 30 * who, 20 + 30 * mood, 100 * k)
                Image.fromarray(pixels).save(folder / f"{folder.name}_{k}.png", compress_level=1)
    return tmp_path


def test_ferg(ferg):
    people = load_data("ferg-people", data_root=ferg)
    moods = load_data("ferg-expressions", data_root=ferg)
    np.testing.assert_array_equal(people.X, moods.X)
    assert people.event_shape == (3, 32, 32)
    corner = np.rint(people.X.reshape(-1, 3, 32, 32)[:, :, 4, 4] * 255)
    np.testing.assert_array_equal(corner[:, 0], 20 + 30 * people.y)
    np.testing.assert_array_equal(corner[:, 1], 20 + 30 * moods.y)
    assert people.class_names[0] == "aia"
    assert moods.class_names[3] == "joy"
    train = load_data("ferg-people:train", data_root=ferg)
    test = load_data("ferg-expressions:test@0-6", data_root=ferg)
    assert not {row.tobytes() for row in train.X} & {row.tobytes() for row in test.X}


def test_ferg_unpacked_in_part(ferg):
    folder = ferg / "ferg" / "FERG_DB_256" / "ray" / "ray_joy"
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(InvalidDataError, match="ray_joy is missing or holds no images"):
        load_data("ferg-people", data_root=ferg)


@pytest.mark.parametrize(
    ("spec", "n", "classes"),
    [
        ("mnist:test", 10_000, 10),
        ("mnist:test@0-6", 6989, 7),
        ("fashion-mnist:test@Bag,Coat", 2000, 2),
        ("letters", 1000, 50),
        ("kana:test", 940, 47),
    ],
)
def test_real_sets(data_root, spec, n, classes):
    data = load_data(spec, data_root=data_root)
    assert (len(data), len(data.classes)) == (n, classes)
    assert data.event_shape == (1, 28, 28)
    assert data.X.dtype == np.float32
    assert (data.X.min(), data.X.max()) == (0, 1)


def test_real_mnist_train(data_root):
    data = load_data("mnist", data_root=data_root, default_split="train")
    assert data.X.shape == (60_000, 784)
    assert np.bincount(data.y)[[0, 1, 9]].tolist() == [5923, 6742, 5949]
    assert data.X.mean(dtype=np.float64) == pytest.approx(0.1307, abs=1e-4)


def test_real_tables(data_root):
    data = load_data(data_root / "adbench" / "tabular" / "44_Wilt.npz")
    assert (data.X.shape, data.classes) == ((4819, 5), (0, 1))
