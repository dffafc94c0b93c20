"""Frames of any library as Arrow tables, as bytes, and back."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest

import farout as fo
from columns.frame_cases import LIBRARIES, equal
from farout.columns import as_table, frame_of, from_bytes, library_of, to_bytes
from farout.columns.frames import as_frame
from farout.data import Dataset

TABLE = pa.table({"n": [1, 2, 3], "c": ["a", None, "b"], "d": [dt.date(2020, 1, 1)] * 3})


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_frame_is_kept_as_bytes(library):
    frame = as_frame(TABLE, library)
    assert library_of(frame) == library
    assert equal(from_bytes(to_bytes(frame), library), frame)
    assert as_table(frame).column_names == ["n", "c", "d"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_run_keeps_the_frame_of_a_source(library, tmp_path):
    frame = as_frame(TABLE, library)
    fo.RealOutliers(frame).fit(frame).save(tmp_path / "run")
    loaded = fo.load(tmp_path / "run")
    assert equal(loaded.X, frame)
    assert equal(loaded.sample(5, random_state=0).to_frame(), loaded.sample(5, random_state=0).to_frame())


def test_a_library_that_is_not_there_gives_a_table(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert as_frame(TABLE, "pandas") is TABLE


def test_the_frame_of_a_data_set():
    data = Dataset(np.zeros((3, 1)), None, (1,), "x", feature_names=("n",), frame=TABLE.select(["n"]))
    assert frame_of(data) is data.frame
    assert frame_of(TABLE) is TABLE
    assert frame_of(np.zeros(3)) is frame_of(Dataset(np.zeros((3, 1)), None, (1,), "x")) is None


def test_a_frame_that_does_not_fit_its_rows_is_refused():
    with pytest.raises(fo.FaroutError, match="2 rows of 'n', but a frame of 3 rows of 'n'; give the same ones"):
        Dataset(np.zeros((2, 1)), None, (1,), "x", feature_names=("n",), frame=TABLE.select(["n"]))
