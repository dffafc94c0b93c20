"""Augmentation: images move a little, whatever they are, inliers and outliers by the same law."""

import numpy as np
import pytest
import torch
from spies import SpyNetwork, SpySource

import farout as fo
from farout.detectors.augmentation import affine
from farout.errors import InvalidSettingError

STILL = {"degrees": 0.0, "zoom": 0.0, "shear": 0.0, "shift": 0.0}
MODELS = [fo.CautiousClassifier, fo.OutlierDiscriminator]


@pytest.fixture
def squares():
    images = torch.full((64, 1, 28, 28), -1.0)
    images[:, :, 10:18, 10:18] = 1.0
    return images


def centres(images):
    """Centre of mass of each image, in pixels, of shape (n, 2)."""
    mass = images[:, 0] + 1
    at = torch.arange(28.0)
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(2) * at).sum(1) / total, (mass.sum(1) * at).sum(1) / total], 1)


def test_without_any_motion_images_stay(squares):
    torch.testing.assert_close(affine(squares, **STILL), squares)


def test_shifts_reach_both_ways_and_stay_within_their_bound(squares):
    moved = centres(affine(squares, **STILL | {"shift": 0.1})) - centres(squares)
    assert moved.abs().max() <= 2.8 + 1e-3
    assert moved.min() < -1.5
    assert moved.max() > 1.5
    assert not torch.allclose(moved[:, 0], moved[:, 1])


def test_zoom_changes_the_size_both_ways(squares):
    mass = (affine(squares, **STILL | {"zoom": 0.2}) + 1).sum((1, 2, 3)) / (squares + 1).sum((1, 2, 3))
    assert 0.6 < mass.min() < 0.9 < 1.1 < mass.max() < 1.6


@pytest.mark.parametrize("motion", [{"degrees": 45.0}, {"shear": 0.5}])
def test_turning_and_shearing_keep_the_centre_and_the_mass_but_not_the_square(squares, motion):
    moved = affine(squares, **STILL | motion)
    torch.testing.assert_close(centres(moved), centres(squares), atol=0.1, rtol=0)
    torch.testing.assert_close((moved + 1).sum((1, 2, 3)), (squares + 1).sum((1, 2, 3)), rtol=0.1, atol=0)
    assert (moved - squares).abs().amax((1, 2, 3)).median() > 0.5


def test_what_comes_into_view_repeats_the_edge():
    torch.testing.assert_close(affine(torch.full((8, 3, 8, 8), 0.7)), torch.full((8, 3, 8, 8), 0.7))


@pytest.mark.parametrize("model", MODELS)
def test_inliers_and_outliers_are_augmented_in_one_batch(model, table):
    seen = []

    def doubled(events):
        seen.append(len(events))
        return 2 * events

    def batches(augmentation):
        fitted = model(
            SpySource([]), network=SpyNetwork, max_steps=3, batch_size=32, augmentation=augmentation, random_state=0
        )
        return fitted.fit(*table).network_.batches

    for plain, augmented in zip(batches(None), batches(doubled), strict=True):
        torch.testing.assert_close(augmented, 2 * plain)
    assert seen == [64] * 3


@pytest.mark.parametrize("model", MODELS)
def test_images_of_a_model_are_moved_in_training_and_never_in_scoring(model):
    digits = fo.load_data("digits:train")
    fitted = model(
        SpySource([], at=0.0, shift=0.0),
        event_shape=digits.event_shape,
        augmentation="affine",
        max_steps=5,
        random_state=0,
    ).fit(digits.X[:200], digits.y[:200])
    np.testing.assert_array_equal(fitted.score_samples(digits.X[:20]), fitted.score_samples(digits.X[:20]))
    still = fitted.__sklearn_clone__() if hasattr(fitted, "__sklearn_clone__") else type(fitted)(**fitted.get_params())
    still.set_params(augmentation=None).fit(digits.X[:200], digits.y[:200])
    assert not np.allclose(still.score_samples(digits.X[:20]), fitted.score_samples(digits.X[:20]))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("augmentation", "message"),
    [
        ("afine", "augmentation='afine' is unknown; give 'auto', None, one of affine"),
        ("affine", "is for images, and rows of 2"),
    ],
)
def test_wrong_augmentation_is_an_error_before_the_source_is_fitted(model, augmentation, message, table):
    log = []
    with pytest.raises(InvalidSettingError, match=message):
        model(SpySource(log), augmentation=augmentation).fit(*table)
    assert log == []
