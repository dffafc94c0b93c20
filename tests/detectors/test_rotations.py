"""Rotations as a part of the auxiliary task, and the augmentation that images allow."""

import numpy as np
import pytest
import torch
from spies import SpySource

import farout as fo
from farout.base.losses import auxiliary_loss
from farout.detectors.augmentation import AUGMENTATIONS, crop, crop_flip, keeps_classes
from farout.detectors.feeding import Feed
from farout.errors import InvalidSettingError
from farout.flows.units import Units
from photographs import SHAPE, photographs, textures

FEW = {"event_shape": SHAPE, "network": "small", "random_state": 0}


@pytest.fixture(scope="module")
def fitted():
    return fo.CautiousClassifier(max_steps=100, **FEW).fit(*photographs(500, 0))


def test_photographs_learn_rotations_and_are_mirrored(fitted):
    assert fitted.turns_.tolist() == [1, 2, 3]
    assert fitted.augmentation_ == "crop-flip"
    assert fitted.auxiliary_head_.out_features == 3 * (1 + 3 + fitted.source_.n_kinds)
    assert [type(s).__name__ for s in fitted.source_.sources_] == ["Salient", "Scrambled"]
    np.testing.assert_allclose(fitted.source_.weights_, [2 / 3, 1 / 3])
    assert not hasattr(fitted.source_, "flow_")


def test_rotated_photographs_are_told(fitted):
    X, _ = photographs(200, 1)
    turned = np.rot90(X.reshape(-1, *SHAPE), 2, axes=(2, 3)).reshape(len(X), -1)
    features, rotated = (fitted._outputs(rows)[1] for rows in (X, turned))
    assert np.median(fitted._rotated_log_odds(features)) < -1
    assert np.median(fitted._rotated_log_odds(rotated)) > 1
    assert fo.evaluate(fitted.score_samples(X), {"turned": fitted.score_samples(turned)})["turned"].auroc > 0.9


def test_the_score_is_the_same_after_saving(fitted, tmp_path):
    again = fo.load(fitted.save(tmp_path / "clf"))
    X, _ = photographs(20, 1)
    np.testing.assert_array_equal(again.score_samples(X), fitted.score_samples(X))
    torch.testing.assert_close(again.auxiliary_head_.weight, fitted.auxiliary_head_.weight, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, True),
        ({"rotations": False}, False),
        ({"beta": 0.0}, False),
        ({"auxiliary_weight": 0.0}, False),
        ({"beta": 0.0, "rotations": True, "distance_aware": True}, True),
    ],
)
def test_when_rotations_are_told(change, told):
    model = fo.CautiousClassifier(max_steps=3, augmentation=None, **FEW | change).fit(*photographs(130, 0))
    assert hasattr(model, "turns_") == told
    assert ("rotation" in _score_names(model)) == told


def _score_names(model):
    logits, features = model._outputs(photographs(5, 1)[0])
    return set(model._image_scores(logits, features, np.zeros(5)))


def test_textures_learn_no_rotations():
    model = fo.CautiousClassifier(max_steps=3, **FEW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("farout.outliers.critic.STEPS", 80)
        model.fit(*textures(600, 0))
    assert not hasattr(model, "turns_")
    assert not hasattr(model, "auxiliary_head_")


def test_grey_images_are_as_before():
    X, y = photographs(130, 0)
    grey = X.reshape(len(X), *SHAPE).mean(axis=1).round().reshape(len(X), -1)
    model = fo.CautiousClassifier(
        fo.Turned(), event_shape=(1, 16, 16), max_steps=3, random_state=0, augmentation=None
    ).fit(grey, y)
    assert not hasattr(model, "turns_")


@pytest.mark.slow
def test_a_discriminator_without_labels_learns_rotations_too():
    X, _ = photographs(400, 0)
    model = fo.OutlierDiscriminator(max_steps=70, **FEW).fit(X)
    assert model.augmentation_ is None
    assert model.auxiliary_head_.out_features == 1 + 3 + model.source_.n_kinds
    turned = np.rot90(photographs(100, 1)[0].reshape(-1, *SHAPE), 2, axes=(2, 3)).reshape(100, -1)
    scores = model.score_samples(photographs(100, 1)[0]), model.score_samples(turned)
    assert fo.evaluate(scores[0], {"turned": scores[1]})["turned"].auroc > 0.8


def test_the_loss_reaches_the_head_and_the_network():
    model = fo.CautiousClassifier(max_steps=2, augmentation=None, **FEW).fit(*photographs(130, 0))
    before = model.auxiliary_head_.weight.clone()
    longer = fo.CautiousClassifier(max_steps=6, augmentation=None, **FEW).fit(*photographs(130, 0))
    rows = longer._n_outputs() * 4
    assert (longer.auxiliary_head_.weight - before).abs()[:rows].min(dim=1).values.max() > 0


def test_a_step_has_half_of_its_inliers_once_more_rotated():
    X, y = photographs(20, 0)
    units = Units.of(X, SHAPE)
    feed = Feed(None, None, units, X, y, 0, None, None, np.random.default_rng(0), turns=np.array([2]))
    step = feed.batch(torch.arange(10), torch.from_numpy(y[:10]), 0.0)
    assert step.events.shape == (15, *SHAPE)
    assert step.turns.tolist() == [2] * 5
    torch.testing.assert_close(step.events[10:].flip(2, 3), step.events[:5])


def test_outliers_rotations_and_inliers_have_kinds_of_their_own():
    log = []
    model = fo.CautiousClassifier(SpySource(log), max_steps=2, augmentation=None, **FEW)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "farout.detectors.exposure.auxiliary_loss",
            lambda logits, y, kind, n, k: seen.append((logits, y, kind, n)) or auxiliary_loss(logits, y, kind, n, k),
        )
        model.fit(*photographs(130, 0))
    logits, y, kind, n = seen[0]
    assert logits.shape[1] == 3 * (1 + 3 + 1)
    assert len(logits) == len(y) == len(kind)
    n_turned = -(-n // 2)
    assert (kind[:n] == 0).all()
    assert (kind[n:-n_turned] == 4).all()
    assert set(kind[-n_turned:].tolist()) <= {1, 2, 3}
    assert (y[-n_turned:] == y[:n_turned]).all()


# --- augmentation --------------------------------------------------------------------------------------------------


def test_a_crop_shifts_whole_pixels_and_mirrors_at_the_edge():
    torch.manual_seed(0)
    image = torch.arange(64.0).reshape(1, 1, 8, 8).expand(200, 1, 8, 8)
    moved = crop(image, margin=0.25)
    steps = {(int(m[0, 4, 4]) // 8 - 4, int(m[0, 4, 4]) % 8 - 4) for m in moved}
    assert steps == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    up = next(m[0] for m in moved if int(m[0, 4, 4]) == 2 * 8 + 4)
    torch.testing.assert_close(up, image[0, 0][[2, 1, 0, 1, 2, 3, 4, 5]])


def test_half_of_the_images_are_mirrored():
    torch.manual_seed(0)
    image = torch.arange(64.0).reshape(1, 1, 8, 8).expand(400, 1, 8, 8)
    moved = crop(image, margin=0.0, flip=True)
    mirrored = (moved == image.flip(3)).flatten(1).all(1)
    assert ((moved == image).flatten(1).all(1) | mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_an_augmentation_follows_torchs_seed_and_keeps_the_shape(name):
    images = torch.randn(5, 3, 12, 20)
    results = []
    for _ in range(2):
        torch.manual_seed(3)
        results.append(AUGMENTATIONS[name](images))
    assert results[0].shape == images.shape
    torch.testing.assert_close(*results)


def test_where_a_place_tells_the_class_images_are_not_moved():
    """One bright pixel out of sixteen, its place the class: a fixed layout."""
    rng = np.random.default_rng(0)
    y = rng.integers(16, size=600)
    X = rng.normal(scale=4, size=(600, 16, 16)) + 20
    X[np.arange(600), 2 + 4 * (y // 4) - 1, 2 + 4 * (y % 4) - 1] = 250
    events = torch.from_numpy(X[:, None]).float() / 128 - 1
    assert not keeps_classes(crop_flip, events, y, 0)
    model = fo.CautiousClassifier(
        fo.Turned(), event_shape=(3, 16, 16), max_steps=3, network="small", random_state=0
    ).fit(X[:, None].repeat(3, axis=1).clip(0, 255).round().reshape(600, -1), y)
    assert model.augmentation_ is None


def test_where_neighbours_know_nothing_images_may_be_moved():
    rng = np.random.default_rng(0)
    assert keeps_classes(crop, torch.randn(300, 3, 8, 8), rng.integers(10, size=300), 0)


def test_digits_are_moved_as_strokes_are():
    digits = fo.load_data("digits:train")
    model = fo.CautiousClassifier(fo.Turned(), event_shape=(1, 8, 8), max_steps=3, random_state=0).fit(
        digits.X, digits.y
    )
    assert model.augmentation_ == "affine"
    assert not hasattr(fo.CautiousClassifier(max_steps=3, random_state=0).fit(digits.X, digits.y), "augmentation_")


def test_of_noise_it_is_not_sure(fitted):
    """Far from photographs distance decides, whatever the network says."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, size=(200, 768)).astype(np.float32)
    assert (fitted.is_inlier(noise) == 1).mean() < 0.05
    assert np.isfinite(fitted.joined_["least"]).all()


def test_one_critic_serves_all_who_ask():
    """The sources, the augmentation and the rotations."""
    fits = []
    with pytest.MonkeyPatch.context() as patch:
        whole = fo.Critic._fit
        patch.setattr(fo.Critic, "_fit", lambda self, X, y: (fits.append(len(X.X)), whole(self, X, y)))
        fo.CautiousClassifier(max_steps=2, **FEW).fit(*photographs(130, 0))
    assert fits == [117]


def test_rotations_that_can_not_be_told_are_refused():
    rows = np.random.default_rng(0).normal(size=(40, 4))
    labels = np.arange(40) % 2
    with pytest.raises(InvalidSettingError, match="auxiliary_weight=0 leaves it out"):
        fo.CautiousClassifier(rotations=True, auxiliary_weight=0).fit(rows, labels)
    with pytest.raises(InvalidSettingError, match="rows are vectors"):
        fo.CautiousClassifier(rotations=True).fit(rows, labels)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true", "16-true"])
def test_a_precision_that_rows_do_not_have_is_refused_before_anything_long(precision):
    with pytest.raises(InvalidSettingError, match="32-true"):
        fo.CautiousClassifier(training=fo.Training(precision=precision)).fit(np.ones((40, 4)), np.arange(40) % 2)
