"""The critic: which positions images come in, where their class shows, and what is near them."""

import numpy as np
import pytest

import farout as fo
from farout.errors import InvalidSettingError
from photographs import SHAPE, photographs, textures


@pytest.fixture(scope="module")
def critic():
    return fo.Critic(event_shape=SHAPE, max_steps=80, random_state=0).fit(*photographs(600, 0))


def test_photographs_are_told_from_their_rotations_and_not_from_their_mirror_images(critic):
    assert critic.told_.shape == (8,)
    assert np.isnan(critic.told_[0])
    assert min(critic.told_[[1, 2, 3]]) > 0.8
    assert critic.told_[4] < 0.6
    assert critic.tells(2)
    assert not critic.tells(4)


def test_textures_look_the_same_in_all_positions():
    critic = fo.Critic(event_shape=SHAPE, max_steps=80, random_state=0).fit(*textures(600, 0))
    assert not any(critic.tells(k) for k in range(1, 8))


def test_without_labels_it_tells_positions_alone():
    critic = fo.Critic(event_shape=SHAPE, max_steps=80, random_state=0).fit(photographs(600, 0)[0])
    assert critic.tells(2)
    assert not hasattr(critic, "classes_")
    assert critic.saliency(photographs(5, 1)[0], None).shape == (5, 16, 16)


def test_of_few_rows_every_position_counts_as_told():
    critic = fo.Critic(event_shape=SHAPE, max_steps=3, random_state=0).fit(*photographs(40, 0))
    assert (critic.told_[1:] == 1).all()


def test_images_that_are_not_square_have_three_positions():
    X, y = photographs(120, 0)
    critic = fo.Critic(event_shape=(3, 8, 32), max_steps=3, random_state=0).fit(X, y)
    assert np.flatnonzero(np.isfinite(critic.told_)).tolist() == [2, 4, 6]


def test_the_class_shows_where_the_shape_is(critic):
    X, y = photographs(60, 1)
    felt = critic.saliency(X, y).reshape(len(X), -1)
    saturated = X.reshape(len(X), 3, -1)
    shape = saturated.max(1) - saturated.min(1) > 90
    inside = np.mean([f[s].mean() for f, s in zip(felt, shape, strict=True)])
    outside = np.mean([f[~s].mean() for f, s in zip(felt, shape, strict=True)])
    assert inside > 1.05 * outside


def test_features_are_of_unit_norm_and_the_same_after_saving(critic, tmp_path):
    X, _ = photographs(9, 1)
    features = critic.features(X)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1)
    again = fo.load(critic.save(tmp_path / "critic"))
    np.testing.assert_array_equal(again.features(X), features)
    np.testing.assert_array_equal(again.told_, critic.told_)


def test_rows_that_are_no_images_are_an_error():
    with pytest.raises(InvalidSettingError, match="give event_shape"):
        fo.Critic().fit(np.zeros((10, 4)) + np.arange(4))
