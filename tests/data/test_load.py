"""The one door: what opens what, and a message for everything that does not."""

import gzip
import io

import numpy as np
import pytest
from idx_files import idx_bytes, write_idx

from farout.data import load_data
from farout.errors import DataNotFoundError, FaroutError, InvalidDataError, InvalidSettingError

IMAGES = np.arange(3 * 4 * 4, dtype=np.uint8).reshape(3, 4, 4)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_idx_file_with_its_labels(tmp_path, ending):
    path = write_idx(tmp_path / f"mine-images-idx3-ubyte{ending}", IMAGES)
    assert load_data(path).y is None
    write_idx(tmp_path / "mine-labels-idx1-ubyte.gz", np.array([4, 5, 4], np.uint8))
    data = load_data(f"{path}@4")
    np.testing.assert_array_equal(np.rint(data.X * 255), IMAGES[[0, 2]].reshape(2, 16))
    assert data.event_shape == (1, 4, 4)


def test_a_name_wins_over_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_idx(tmp_path / "toy", IMAGES)
    assert load_data("toy").event_shape == (2,)
    assert load_data("./toy").event_shape == (1, 4, 4)


def test_same_file_same_split(tmp_path):
    X = np.random.default_rng(0).standard_normal((40, 2))
    X = np.concatenate([X, X[:10]])
    np.save(tmp_path / "x.npy", X)
    train, test = load_data(f"{tmp_path / 'x.npy'}:train"), load_data(f"{tmp_path / 'x.npy'}:test")
    assert not {row.tobytes() for row in train.X} & {row.tobytes() for row in test.X}
    assert len(train) + len(test) == 50
    np.testing.assert_array_equal(test.X, load_data(f"{tmp_path / 'x.npy'}:test").X)


def npz(**arrays):
    def write(path):
        np.savez(path, **arrays)

    return write


def npy(array):
    return lambda path: np.save(path, array, allow_pickle=True)


def raw(content):
    return lambda path: path.write_bytes(content)


def npy_bytes(array):
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


OBJECTS = np.array([{"a": 1}, None], dtype=object)
BROKEN_FILES = {
    "empty csv": ("x.csv", raw(b""), "is empty"),
    "empty npy": ("x.npy", raw(b""), "is empty"),
    "empty npz": ("x.npz", raw(b""), "is empty"),
    "empty parquet": ("x.parquet", raw(b""), "is empty"),
    "empty idx": ("x-idx3-ubyte", raw(b""), "is empty"),
    "truncated idx": ("x-idx3-ubyte", raw(idx_bytes(IMAGES)[:-1]),
                      "48 bytes .* expected .* 47 found"),
    "idx magic": ("x-idx3-ubyte", raw(b"GIF89a.."), "no IDX file"),
    "damaged gzip": ("x-idx3-ubyte.gz", raw(gzip.compress(idx_bytes(IMAGES))[:-4]), "damaged gzip"),
    "labels alone": ("x-labels-idx1-ubyte", raw(idx_bytes(IMAGES[0, 0])), "most likely labels"),
    "garbage npy": ("x.npy", raw(b"hello world"), "can't be read as NumPy data"),
    "truncated npy": ("x.npy", raw(npy_bytes(np.eye(9))[:-9]), "can't be read"),
    "garbage npz": ("x.npz", raw(b"hello world"), "can't be read as NumPy data"),
    "truncated npz": ("x.npz", raw(b"PK\3\4" + bytes(90)), "can't be read as NumPy data"),
    "garbage parquet": ("x.parquet", raw(b"hello world"), "can't be read as Parquet"),
    "objects in npz": ("x.npz", npz(X=OBJECTS), "'X' in .* array of Python objects"),
    "objects as labels": ("x.npz", npz(X=np.eye(2), y=OBJECTS),
                          "'y' in .* array of Python objects"),
    "objects in npy": ("x.npy", npy(OBJECTS), "array of Python objects"),
    "length mismatch": ("x.npz", npz(X=np.eye(3), y=[1, 2]), "3 rows but labels of shape"),
    "unknown keys": ("x.npz", npz(a=np.eye(3), b=[1]), "the keys there are: a, b"),
    "two data keys": ("x.npz", npz(X=np.eye(3), data=[1]), "X and data could all be the data"),
    "two label keys": ("x.npz", npz(X=np.eye(1), y=[1], labels=[1]), "y and labels could all"),
    "no keys": ("x.npz", npz(), "the keys there are: none"),
    "npy named npz": ("x.npz", raw(npy_bytes(np.eye(2))), "rename it to .npy"),
    "unknown kind": ("x.docx", raw(b"hello"), "no known kind; give .npz"),
    "no ending": ("data", raw(b"hello"), "no known kind"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "write", "message"), BROKEN_FILES.values(), ids=BROKEN_FILES)
def test_broken_file(name, write, message, tmp_path):
    write(tmp_path / name)
    with pytest.raises(InvalidDataError, match=message) as caught:
        load_data(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "options", "kind", "message"),
    [
        ("minst", {}, DataNotFoundError, "did you mean mnist"),
        ("Digits", {}, DataNotFoundError, "did you mean digits"),
        ("x" * 5000, {}, DataNotFoundError, "neither a named data set"),
        ("xyzzy", {}, DataNotFoundError, "the named sets are: toy, digits"),
        ("missing.csv", {}, DataNotFoundError, "no file or folder missing.csv"),
        ("no/such/folder", {}, DataNotFoundError, "no file or folder"),
        ("~/no-such-file-anywhere", {}, DataNotFoundError, "no file or folder /"),
        ("digits:validation", {}, InvalidSettingError, "unknown split 'validation'"),
        ("digits@10", {}, InvalidDataError, "digits@10: unknown class '10'"),
        ("faces@joy", {}, InvalidDataError, r"0 \(ada\)"),
        ("digits", {"default_split": "dev"}, InvalidSettingError, "default_split is 'dev'"),
        ("digits", {"label": "y"}, InvalidSettingError, "label has no meaning"),
        ("digits", {"anomaly": "y"}, InvalidSettingError, "anomaly has no meaning"),
        ("digits", {"image_size": 8}, InvalidSettingError, "image_size has no meaning"),
    ],
)
def test_wrong_request(spec, options, kind, message):
    with pytest.raises(kind, match=message) as caught:
        load_data(spec, **options)
    assert isinstance(caught.value, FaroutError)


def test_options_that_mean_nothing_for_a_file(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2))
    with pytest.raises(InvalidSettingError, match="label has no meaning"):
        load_data(tmp_path / "x.npy", label="y")
    with pytest.raises(InvalidSettingError, match="image_size has no meaning"):
        load_data(tmp_path / "x.npy", image_size=4)
    with pytest.raises(InvalidSettingError, match="label has no meaning"):
        load_data(tmp_path, label="y")
    for path in (tmp_path, tmp_path / "x.npy"):
        with pytest.raises(InvalidSettingError, match="anomaly has no meaning"):
            load_data(path, anomaly="y")
    np.savez(tmp_path / "x.npz", X=np.eye(2), y=[0, 1])
    with pytest.raises(InvalidSettingError, match="label and anomaly are both 'y'"):
        load_data(tmp_path / "x.npz", label="y", anomaly="y")


def test_unlabelled_file_has_no_classes(tmp_path):
    np.save(tmp_path / "x.npy", np.eye(2))
    with pytest.raises(InvalidDataError, match="has no labels"):
        load_data(f"{tmp_path / 'x.npy'}@1")


def test_npz_label_key_that_is_not_there(tmp_path):
    np.savez(tmp_path / "x.npz", X=np.eye(2))
    with pytest.raises(InvalidDataError, match="no labels called 'kind'; the keys there are: X"):
        load_data(tmp_path / "x.npz", label="kind")
