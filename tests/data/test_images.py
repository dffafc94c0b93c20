"""Folders of images."""

import os
import sys

import numpy as np
import pytest
from PIL import Image

from farout.data import load_data
from farout.errors import InvalidDataError, InvalidSettingError

RNG = np.random.default_rng(0)


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def test_classes_are_the_folders(tmp_path):
    dog = save(tmp_path / "dog" / "1.png", RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8))
    cat = save(tmp_path / "cat" / "1.PNG", RNG.integers(0, 256, (4, 6), dtype=np.uint8))
    (tmp_path / "dog" / "notes.txt").write_text("not an image")
    (tmp_path / ".cache").mkdir()
    data = load_data(tmp_path)
    assert (data.event_shape, data.levels, data.y.tolist()) == ((3, 4, 6), 256, ["cat", "dog"])
    pixels = np.rint(data.X.reshape(2, 3, 4, 6) * 255)
    np.testing.assert_array_equal(pixels[0], np.stack([cat] * 3))
    np.testing.assert_array_equal(pixels[1], dog.transpose(2, 0, 1))
    assert len(load_data(f"{tmp_path}@dog")) == 1


def test_numbered_folders_and_grey_content(tmp_path):
    grey = RNG.integers(0, 256, (4, 4), dtype=np.uint8)
    for name in ("10", "9"):
        save(tmp_path / name / "a.png", np.stack([grey] * 3, -1))
    data = load_data(tmp_path)
    assert data.event_shape == (1, 4, 4)
    assert data.y.dtype == np.int64
    assert data.y.tolist() == [10, 9]
    np.testing.assert_array_equal(np.rint(data.X[0] * 255), grey.ravel())


def test_no_classes_and_one_size(tmp_path):
    save(tmp_path / "a.png", np.full((5, 7), 200, np.uint8))
    save(tmp_path / "b.png", np.full((9, 9), 100, np.uint8))
    data = load_data(tmp_path, image_size=(4, 8))
    assert data.y is None
    assert data.event_shape == (1, 4, 8)
    np.testing.assert_array_equal(np.rint(data.X * 255), np.repeat([[200.0], [100.0]], 32, 1))
    assert load_data(tmp_path, image_size=2).event_shape == (1, 2, 2)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have names of valid text alone")
def test_names_of_files_can_be_written_whatever_they_are(tmp_path):
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    os.rename(tmp_path / "a.png", os.fsencode(tmp_path) + b"/b\xff.png")
    assert load_data(str(tmp_path)).files.tolist() == ["b?.png"]


def test_transparent_pixels_show_white_and_cameras_marks_are_obeyed(tmp_path):
    save(tmp_path / "a" / "1.png", np.zeros((2, 2, 4), np.uint8))
    assert load_data(tmp_path).X.tolist() == [[1, 1, 1, 1]]
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    picture = np.zeros((16, 32), np.uint8)
    save(tmp_path / "b" / "1.jpg", picture, exif=exif)
    assert load_data(tmp_path / "b").event_shape == (1, 32, 16)


@pytest.mark.parametrize(("first", "second"), [((4, 4), (4, 6)), ((8, 8), (2, 2))])
def test_sizes_that_differ(tmp_path, first, second):
    save(tmp_path / "a.png", np.zeros(first, np.uint8))
    save(tmp_path / "b.png", np.zeros(second, np.uint8))
    with pytest.raises(InvalidDataError, match=r"b.png is .*a.png is .*; pass image_size"):
        load_data(tmp_path)


def test_odd_size(tmp_path):
    save(tmp_path / "a.png", np.zeros((5, 4), np.uint8))
    with pytest.raises(InvalidDataError, match=r"a.png is 5x4 .* pass image_size, such as 6"):
        load_data(tmp_path)


@pytest.mark.parametrize("size", [0, 3, (4, 5), -2])
def test_wrong_image_size(tmp_path, size):
    save(tmp_path / "a.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(InvalidSettingError, match="image_size is"):
        load_data(tmp_path, image_size=size)


def test_folders_without_images(tmp_path):
    with pytest.raises(InvalidDataError, match="holds no images"):
        load_data(tmp_path)
    save(tmp_path / "a" / "1.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "b").mkdir()
    with pytest.raises(InvalidDataError, match="b holds no images"):
        load_data(tmp_path)
    save(tmp_path / "loose.png", np.zeros((4, 4), np.uint8))
    with pytest.raises(InvalidDataError, match="beside folders of images"):
        load_data(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_unreadable_image(tmp_path, content):
    save(tmp_path / "a.png", RNG.integers(0, 256, (64, 64), dtype=np.uint8))
    cut = (tmp_path / "a.png").read_bytes()[:2000]
    (tmp_path / "b.png").write_bytes(cut if content is None else content)
    with pytest.raises(InvalidDataError, match=r"b.png can't be read as an image"):
        load_data(tmp_path)


def test_sixteen_bits_are_refused(tmp_path):
    save(tmp_path / "a.png", np.full((4, 4), 40_000, np.uint16))
    with pytest.raises(InvalidDataError, match="not of 8 bits"):
        load_data(tmp_path)
