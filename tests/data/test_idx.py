"""Reading IDX, plain and gzipped, whole and broken."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from idx_files import idx_bytes, write_idx

from farout.data.idx import labels_beside, looks_like_idx, read_idx, read_idx_labels
from farout.errors import DataNotFoundError, InvalidDataError


@settings(deadline=None)  # it writes files, on machines that may be busy
@given(
    array=st.sampled_from(["u1", "i1", "i2", "i4", "f4", "f8"]).flatmap(
        lambda kind: hnp.arrays(np.dtype(kind), hnp.array_shapes(max_dims=4, max_side=4))
    ),
    ending=st.sampled_from(["", ".gz"]),
)
def test_round_trip(tmp_path_factory, array, ending):
    path = tmp_path_factory.getbasetemp() / f"round-idx{ending}"
    found = read_idx(write_idx(path, array))
    np.testing.assert_array_equal(found, array)
    assert found.dtype == array.dtype
    assert found.flags.writeable


def test_content_and_not_the_name_tells_gzip(tmp_path):
    path = tmp_path / "plain-name-idx1-ubyte"
    path.write_bytes(gzip.compress(idx_bytes(np.arange(3, dtype=np.uint8))))
    assert read_idx(path).tolist() == [0, 1, 2]


IMAGES = idx_bytes(np.zeros((10, 4, 4), np.uint8))
HUGE = bytes([0, 0, 8, 3]) + b"\xff" * 12


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\0\0", "begins with 00 00"),
        (b"PNG!....", "no IDX file: it begins with 50 4e 47 21"),
        (bytes([0, 0, 7, 1, 0, 0, 0, 0]), "no IDX file"),
        (bytes([0, 0, 8, 0]), "no IDX file"),
        (IMAGES[:10], "truncated in its header: 16 bytes expected, 10 found"),
        (IMAGES[:-7], r"truncated: 160 bytes of data expected for shape \(10, 4, 4\), 153 found"),
        (IMAGES + b"!", "does not end where its header says"),
        (HUGE, "is truncated"),
        (gzip.compress(HUGE, mtime=0), "is truncated"),
        (gzip.compress(IMAGES, mtime=0)[:-9], "damaged gzip"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(IMAGES, mtime=0)[:-8] + bytes(8), "damaged gzip"),
    ],
)
def test_broken_files(content, message, tmp_path):
    path = tmp_path / "x-idx3-ubyte"
    path.write_bytes(content)
    with pytest.raises(InvalidDataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(DataNotFoundError, match="no file"):
        read_idx(tmp_path / "x")


@pytest.mark.parametrize("labels", [np.zeros(3, np.uint8), np.zeros((4, 1), np.uint8), np.zeros(4, "f4")])
def test_labels_that_do_not_belong(labels, tmp_path):
    path = write_idx(tmp_path / "labels-idx1-ubyte", labels)
    with pytest.raises(InvalidDataError, match="should hold 4 integer labels"):
        read_idx_labels(path, 4)


def test_labels_are_found_by_name(tmp_path):
    images = tmp_path / "train-images-idx3-ubyte.gz"
    assert labels_beside(images) is None
    labels = tmp_path / "train-labels-idx1-ubyte"
    labels.touch()
    assert labels_beside(images) == labels
    assert labels_beside(tmp_path / "other.bin") is None


def test_sniffing(tmp_path):
    path = tmp_path / "x.bin"
    for content, verdict in [
        (IMAGES, True),
        (gzip.compress(b"1", mtime=0), True),
        (b"\0\0\1", False),
        (b"", False),
    ]:
        path.write_bytes(content)
        assert looks_like_idx(path) is verdict
