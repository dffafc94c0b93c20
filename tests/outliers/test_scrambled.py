"""Scrambled images: the texture of real ones, and nothing of what they show."""

import numpy as np
import pytest

import farout as fo
from farout.errors import InvalidSettingError
from photographs import SHAPE, photographs


@pytest.fixture(scope="module")
def source():
    return fo.Scrambled(event_shape=SHAPE, random_state=0).fit(*photographs(300, 0))


def test_amplitudes_and_means_stay_and_places_go(source):
    """But for what is clipped and rounded."""
    hosts = np.arange(60)
    x = source._candidates(hosts, np.random.default_rng(0)).x.reshape(-1, *SHAPE)
    real = source._rows(hosts).reshape(-1, *SHAPE)
    before, after = (np.abs(np.fft.rfft2(images)) for images in (real, x))
    assert np.corrcoef(np.log1p(before.ravel()), np.log1p(after.ravel()))[0, 1] > 0.95
    assert np.abs(x.mean((2, 3)) - real.mean((2, 3))).mean() < 4
    flat = [(i - i.mean()) / i.std() for i in (real, x)]
    assert abs((flat[0] * flat[1]).mean()) < 0.5
    assert not np.allclose(x, source._candidates(hosts, np.random.default_rng(1)).x.reshape(-1, *SHAPE))


def test_colours_go_together_as_before(source):
    x, real = source.sample(200, random_state=0).x.reshape(-1, 3, 256), source._rows(np.arange(200)).reshape(-1, 3, 256)

    def together(images):
        return np.mean([np.corrcoef(image)[0, 1] for image in images])

    assert abs(together(x) - together(real)) < 0.15


def test_values_are_those_that_images_have(source):
    x = source.sample(100, random_state=0).x
    assert x.min() >= source.limits_[0]
    assert x.max() <= source.limits_[1]
    assert (x == x.round()).all()


def test_classes_kinds_and_inliers(source):
    out = source.sample(4, [0, 2] * 2, random_state=0)
    assert out.y.tolist() == [0, 2, 0, 2]
    assert source.n_kinds == 1
    X, y = photographs(5, 1)
    np.testing.assert_array_equal(source.process_inliers(X, y), X)


def test_images_that_are_not_square_or_grey_too():
    X, y = photographs(50, 0)
    assert fo.Scrambled(event_shape=(3, 8, 32), random_state=0).fit(X, y).sample(3).x.shape == (3, 768)
    assert fo.Scrambled(event_shape=(1, 24, 32), random_state=0).fit(X).sample(3).y is None


def test_saved_is_loaded(source, tmp_path):
    again = fo.load(source.save(tmp_path / "source"))
    np.testing.assert_array_equal(again.sample(20, random_state=3).x, source.sample(20, random_state=3).x)


def test_rows_that_are_no_images_are_an_error():
    with pytest.raises(InvalidSettingError, match="its rows are vectors, and it changes images"):
        fo.Scrambled().fit(np.arange(20.0).reshape(10, 2))
