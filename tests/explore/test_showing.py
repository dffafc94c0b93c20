"""Rows as HTML: pictures that can be decoded again, the right cells marked, and no text of the user's as HTML."""

import base64
import io
import re

import numpy as np
import pyarrow as pa
from PIL import Image

from farout.data import Dataset
from farout.explore.judging import Judged
from farout.explore.showing import data_uri, grid_html, lines_of, message_html, table_html, upload_html
from farout.runs.scoring import ScoreTable

EVIL = "<script>alert(1)</script>\"'&"


def decoded(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))))


def table(values, names=("a", "b", "c")):
    X = np.asarray(values, dtype=float)
    return Dataset(
        X, None, (X.shape[1],), "table", feature_names=names, frame=pa.table(dict(zip(names, X.T, strict=True)))
    )


def test_a_picture_comes_back_grey_or_in_colour():
    grey = np.linspace(0, 1, 16)
    np.testing.assert_array_equal(decoded(data_uri(grey, (1, 4, 4))), np.round(255 * grey).reshape(4, 4))
    colour = np.random.default_rng(0).random((3, 2, 4))
    found = decoded(data_uri(colour.ravel(), (3, 2, 4)))
    np.testing.assert_array_equal(found, np.round(255 * colour).transpose(1, 2, 0))


def test_pictures_of_another_range_are_scaled_and_what_lies_beyond_is_clipped():
    row = np.array([-3.0, -1.0, 1.0, 9.0])
    assert decoded(data_uri(row, (1, 2, 2), (-1.0, 1.0))).ravel().tolist() == [0, 0, 255, 255]


def test_large_pictures_are_brought_down_for_the_map():
    assert decoded(data_uri(np.zeros(3 * 100 * 50), (3, 100, 50), side=32)).shape == (32, 16, 3)


def test_a_grid_has_a_picture_and_a_caption_each_and_frames_for_alerts():
    data = Dataset(np.zeros((3, 4)), None, (1, 2, 2), "images")
    html = grid_html(data, ["one", EVIL, ""], alerts=[False, True, False])
    assert html.count("<img") == 3
    assert html.count('class="alert"') == 1
    assert "<script>" not in html
    assert 'alt="image 3"' in html


def test_the_three_farthest_cells_are_marked_from_two_deviations_on():
    apart = np.array([[0.1, 2.5, 9.0, 3.0, 4.0], [1.9, 0.0, 0.0, 2.0, 0.0]])
    html = table_html(table([[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]], tuple("abcde")), apart)
    assert re.findall(r'<td class="far"[^>]*>([^<]*)<', html) == ["3", "4", "5", "9"]
    assert "9.0 standard deviations" in html


def test_a_departure_from_a_constant_is_told_in_words():
    html = table_html(table([[1.0, 2.0, 3.0]]), np.array([[0.0, np.inf, 0.0]]))
    assert 'title="not the constant of training">2<' in html


def test_of_many_columns_those_are_shown_that_are_strange():
    X, apart = np.arange(40.0)[None], np.zeros((1, 40))
    apart[0, [39, 20]] = 5
    html = table_html(table(X, tuple(f"c{i}" for i in range(40))), apart)
    assert html.count("<th>") == 12
    assert "<th>c20</th>" in html
    assert "<th>c39</th>" in html
    assert "12 of 40 columns: those that lie farthest" in html
    assert "The first 12 of 40 columns" in table_html(table(X, tuple(f"c{i}" for i in range(40))))


def test_cells_are_shown_as_people_write_them():
    frame = pa.table({"n": [1, None], "x": [0.1 + 0.2, 1e-9], "t": [EVIL, "b"], "f": [True, False]})
    X = np.full((2, 4), np.nan)
    html = table_html(Dataset(X, None, (4,), "t", feature_names=tuple(frame.column_names), frame=frame))
    assert "<td>0.3</td>" in html
    assert "<td>missing</td>" in html
    assert "<td>1e-09</td>" in html
    assert "<script>" not in html


def test_names_of_columns_labels_and_files_are_text():
    data = table([[1.0, 2.0]], (EVIL, "b"))
    scores = ScoreTable(np.zeros(1), np.ones(1), np.array([-1]), np.array([EVIL]))
    judged = Judged(data, np.array([0]), scores, shares={EVIL: np.array([0.5]), "b": np.array([0.5])})
    html = upload_html(judged, EVIL, [EVIL]) + table_html(data, None, {EVIL: [EVIL]}) + message_html(EVIL)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_shares_are_bars_with_numbers_the_rest_in_one():
    shares = {f"c{i}": np.array([0.3 if i == 3 else 0.1]) for i in range(8)}
    judged = Judged(table([np.zeros(8)], tuple(shares)), np.array([0]), ScoreTable(np.zeros(1)), shares=shares)
    html = upload_html(judged, "a.csv", [])
    bars = html[html.index("Shares of columns") :]
    assert re.findall(r"<th>([^<]*)</th>", bars)[0] == "c3"
    assert "2 other" in bars
    assert "<td>30%</td>" in bars
    assert "<td>20%</td>" in bars


def test_the_summary_counts_outliers():
    data = table([[1.0, 2.0]] * 3, ("a", "b"))
    scores = ScoreTable(np.arange(3.0), np.ones(3), np.array([-1, 1, 1]))
    html = upload_html(Judged(data, np.arange(3), scores), "a.csv", [])
    assert "3 rows, 1 called outlier; the strangest first." in html
    assert html.count("taken as normal") == 2
    assert "p-value" in html
    assert "2 rows." in upload_html(Judged(table([[1.0, 2.0]] * 2, ("a", "b")), np.arange(2)), "a.csv", [])


def test_lines_for_the_map_have_the_first_columns():
    assert lines_of(table([[1, 2, 3], [4, 5, 6.5]]), most=2) == ["a 1, b 2", "a 4, b 5"]
