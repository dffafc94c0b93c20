"""The drawn faces: seeded, balanced, distinct, and not trivially so."""

import numpy as np
import pytest
from sklearn.svm import SVC

from farout.data import load_data
from farout.data.faces import CHARACTERS, EXPRESSIONS, draw_face, make_faces


def test_every_pair_is_there_equally_often():
    images, characters, expressions = make_faces()
    assert images.shape == (1680, 3, 32, 32)
    counts = np.zeros((6, 7), int)
    np.add.at(counts, (characters, expressions), 1)
    assert (counts == 40).all()


def test_same_seed_same_pictures():
    images = make_faces(1)[0]
    np.testing.assert_array_equal(images, make_faces.__wrapped__(1)[0])
    assert (images != make_faces(1, seed=1)[0]).any()
    with pytest.raises(ValueError, match="read-only"):
        images[0] = 0


def test_no_two_pictures_are_alike():
    images = make_faces()[0].reshape(1680, -1)
    assert len(np.unique(images, axis=0)) == 1680


def test_expressions_differ_around_eyes_and_mouth_only():
    for character in range(6):
        faces = np.stack([draw_face(character, mood) for mood in range(7)]).astype(int)
        spread = np.ptp(faces, axis=0).max(0)
        assert spread[:4].max() == 0
        assert spread[8:26, 6:26].max() > 80


def test_pose_moves_the_face():
    middle, moved = draw_face(1, 4), draw_face(1, 4, shift=(0.5, 0.0))
    columns = np.arange(32)
    bright = [(face.sum(0) > 500).sum(0) for face in (middle, moved)]
    centres = [(columns * b).sum() / b.sum() for b in bright]
    assert centres[1] - centres[0] == pytest.approx(0.5 * 0.4 * 32, abs=0.7)


@pytest.mark.parametrize(
    ("name", "names", "least"),
    [("faces", CHARACTERS, 0.99), ("faces-expressions", EXPRESSIONS, 0.85)],
)
def test_labels_can_be_learnt_from_pixels(name, names, least):
    train, test = load_data(f"{name}:train"), load_data(f"{name}:test")
    assert tuple(train.class_names[i] for i in train.classes) == names
    model = SVC(C=10).fit(train.X[:, ::3], train.y)
    assert model.score(test.X[:, ::3], test.y) > least


def test_pictures_of_one_pair_vary_in_place_and_light():
    one = make_faces()[0][280:320].astype(float).sum(1)
    rows = (one * np.arange(32)[:, None]).sum((1, 2)) / one.sum((1, 2))
    columns = (one * np.arange(32)).sum((1, 2)) / one.sum((1, 2))
    light = one.mean((1, 2))
    assert rows.std() > 0.5
    assert columns.std() > 0.5
    assert light.std() / light.mean() > 0.05
