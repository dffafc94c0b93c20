"""Image sheets: every pixel where it belongs, values clipped, empty tiles transparent."""

import numpy as np
import pytest

from farout.errors import InvalidDataError
from farout.plots.grids import images, is_image, padded_rows


def pixels(display):
    return np.asarray(display.artists_["images"].get_array())


def test_tiles_are_in_reading_order_and_enlarged_without_blur():
    X = np.arange(6).reshape(2, 3, 1) / 10
    shown = pixels(images(X, (1, 1, 1)))
    step = np.array(shown.shape[:2]) + 2  # the last gap is cut off
    assert step.tolist() == [2 * 26, 3 * 26]
    for row in range(2):
        for column in range(3):
            tile = shown[26 * row : 26 * row + 24, 26 * column : 26 * column + 24]
            np.testing.assert_allclose(tile[..., :3], X[row, column, 0])
            assert (tile[..., 3] == 1).all()
    assert (shown[24:26, :, 3] == 0).all(), "the gap shows the page"


def test_colours_keep_their_channels():
    red_top = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1]], float)  # 3 x (2 x 2)
    shown = pixels(images(red_top.reshape(1, 1, 12), (3, 2, 2)))
    assert shown[0, 0].tolist() == [1, 0, 0, 1]
    assert shown[-1, -1].tolist() == [0, 0, 1, 1]


def test_values_are_clipped_and_a_missing_image_is_transparent():
    X = np.array([[[-3.0], [7.0], [np.nan]]])
    shown = pixels(images(X, (1, 1, 1)))
    assert shown[0, 0].tolist() == [0, 0, 0, 1]
    assert shown[0, 26].tolist() == [1, 1, 1, 1]
    assert shown[0, 52, 3] == 0


def test_labels_stand_at_the_middle_of_their_tiles():
    axes = images(np.zeros((2, 2, 64)), (1, 8, 8), row_labels=["a", "b"], column_labels=["1", "2.5"]).ax_
    assert [text.get_text() for text in axes.get_yticklabels()] == ["a", "b"]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2.5"]
    step = axes.get_yticks()[1] - axes.get_yticks()[0]
    assert step == 26
    assert abs(axes.get_yticks()[0] - 11.5) <= 0.5


def test_large_images_are_not_enlarged():
    assert pixels(images(np.zeros((1, 1, 1600)), (1, 40, 40))).shape == (40, 40, 4)


@pytest.mark.parametrize(
    ("shape", "event_shape"),
    [((2, 64), (1, 8, 8)), ((1, 2, 63), (1, 8, 8)), ((1, 1, 8), (2, 2, 2)), ((1, 1, 4), (4,))],
)
def test_what_is_no_sheet_of_images_is_refused(shape, event_shape):
    with pytest.raises(InvalidDataError, match="image grid needs shape"):
        images(np.zeros(shape), event_shape)


def test_only_grey_and_rgb_are_images():
    shapes = [(1, 8, 8), (3, 8, 8), (2, 8, 8), (8, 8), (64,)]
    assert [is_image(shape) for shape in shapes] == [True, True, False, False, False]


def test_padding_cuts_or_fills_with_nothing():
    X = np.arange(6.0).reshape(3, 2)
    assert padded_rows(X, 2).tolist() == [[0, 1], [2, 3]]
    filled = padded_rows(X, 5)
    assert np.isnan(filled[3:]).all()
    assert filled[:3].tolist() == X.tolist()
