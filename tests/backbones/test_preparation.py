"""Pictures are resized and cropped as torchvision and timm do it."""

import numpy as np
import pytest
import torch
from PIL import Image

from farout.backbones.preparation import Preparation, preparation_of

NONE = dict.fromkeys(("size", "channels", "mean", "std", "crop", "interpolation"))


def prepared(size, crop, squash=False):
    return Preparation(size, 3, (0.0,) * 3, (1.0,) * 3, crop, "bilinear", squash)


@pytest.mark.parametrize(
    ("size", "crop", "squash", "given", "resized"),
    [
        ((224, 224), 0.875, False, (500, 333), (384, 256)),
        ((224, 224), 0.875, False, (333, 500), (256, 384)),
        ((224, 224), 0.95, False, (100, 100), (235, 235)),
        ((160, 160), 1.0, False, (301, 200), (240, 160)),
        ((160, 160), 1.0, True, (301, 200), (160, 160)),
        ((96, 160), 0.9, False, (400, 400), (177, 177)),
        ((96, 160), 1.0, False, (400, 100), (384, 96)),
    ],
)
def test_sizes_before_the_crop(size, crop, squash, given, resized):
    preparation = prepared(size, crop, squash)
    assert preparation._resized(given) == resized
    assert preparation.pixels(Image.new("RGB", given)).shape == (3, *size)


@pytest.mark.parametrize("given", [(1, 1), (1, 500), (500, 1), (3, 2)])
@pytest.mark.parametrize("size", [(8, 8), (8, 24)])
def test_pictures_of_any_shape_fill_the_size(given, size):
    white = Image.new("RGB", given, "white")
    assert (prepared(size, 0.875).pixels(white) == 255).all()


def test_the_centre_is_kept():
    ramp = np.broadcast_to(np.arange(40, dtype=np.uint8)[None, :, None], (20, 40, 3))
    kept = prepared((10, 10), 0.5).pixels(Image.fromarray(np.ascontiguousarray(ramp)))
    assert kept.shape == (3, 10, 10)
    np.testing.assert_array_equal(kept[0, 0], np.arange(15, 25))


def test_bytes_that_a_network_takes_as_minus_127_over_128():
    preparation = preparation_of(NONE | {"size": 2, "mean": 127 / 255, "std": 128 / 255}, None, "")
    pixels = torch.arange(12, dtype=torch.uint8).reshape(1, 3, 2, 2) * 20
    expected = (pixels.float() - 127) / 128
    torch.testing.assert_close(preparation.tensor(pixels), expected, rtol=0, atol=1e-6)


def test_what_is_asked_wins_over_the_networks_own():
    config = {"input_size": (3, 96, 96), "mean": (0.1, 0.2, 0.3), "std": (0.4,) * 3, "crop_pct": 0.9}
    config |= {"interpolation": "bicubic", "crop_mode": "squash"}
    own = preparation_of(NONE, config, "")
    assert own == Preparation((96, 96), 3, (0.1, 0.2, 0.3), (0.4,) * 3, 0.9, "bicubic", True)
    asked = preparation_of(NONE | {"size": (32, 48), "mean": 0.5, "crop": 1, "interpolation": "nearest"}, config, "")
    assert asked == Preparation((32, 48), 3, (0.5,) * 3, (0.4,) * 3, 1.0, "nearest", True)


def test_without_a_configuration_as_imagenets_networks():
    usual = preparation_of(NONE, None, "")
    assert (usual.size, usual.crop, usual.interpolation) == ((224, 224), 0.875, "bilinear")
    assert usual.mean == (0.485, 0.456, 0.406)
    assert preparation_of(NONE | {"channels": 1}, None, "").mean == (0.5,)
