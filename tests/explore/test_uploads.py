"""Files that people drop on the page: what can be read is read as in training, all else is said in one message."""

import csv
import io
import pickle
import struct
import warnings
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
from people_table import people
from PIL import Image

import farout as fo
from farout.errors import FaroutError, InvalidDataError
from farout.explore import uploads
from farout.explore.explorer import Explorer
from farout.explore.uploads import LARGEST, MOST_ROWS, read_upload
from farout.runs.folder import open_run


def picture(size=(8, 8), mode="L", form="PNG", colour=128):
    file = io.BytesIO()
    Image.new(mode, size, colour).save(file, form)
    return file.getvalue()


def npy(array, **more):
    file = io.BytesIO()
    np.save(file, array, **more)
    return file.getvalue()


def table(rows, header=("age", "income", "<b>city</b>", "since", "debt")):
    file = io.StringIO()
    csv.writer(file).writerows([header, *rows])
    return file.getvalue().encode()


GOOD = [30, 18000.5, "Bern", "2021-05-06", 900.5]


def test_a_picture_is_read_as_the_training_images_are(explored):
    run = explored("clf").run
    upload = read_upload(run, "seven.png", picture(colour=51))
    assert upload.data.event_shape == (1, 8, 8)
    np.testing.assert_allclose(upload.data.X, 0.2, atol=1e-6)
    assert upload.notes == ()
    assert upload.data.name == "seven.png"


def test_a_picture_is_brought_to_size_and_made_grey_and_both_are_said(explored):
    upload = read_upload(explored("clf").run, "a photo.JPG", picture((40, 30), "RGB", "JPEG", (250, 10, 10)))
    assert upload.data.X.shape == (1, 64)
    assert upload.notes == ("It was brought from 40 x 30 to 8 x 8 pixels and made grey.",)


def test_transparent_pixels_are_white_as_in_training(explored):
    upload = read_upload(explored("clf").run, "a.png", picture(mode="RGBA", colour=(0, 0, 0, 0)))
    np.testing.assert_array_equal(upload.data.X, 1.0)


def test_pictures_are_on_the_scale_of_the_training_images(tmp_path):
    X = np.random.default_rng(0).integers(0, 256, size=(60, 16)).astype(np.float32)
    fo.FlowDensity(event_shape=(1, 4, 4), max_steps=5, random_state=0).fit(X).save(tmp_path / "run")
    found = read_upload(open_run(tmp_path / "run"), "a.png", picture((4, 4), colour=51)).data.X
    np.testing.assert_allclose(found, 0.2 * X.max(), rtol=1e-3)


def test_arrays_of_images_are_read(explored):
    images = np.random.default_rng(0).integers(0, 256, size=(5, 8, 8)).astype(np.uint8)
    data = read_upload(explored("clf").run, "some.npy", npy(images)).data
    np.testing.assert_allclose(data.X, images.reshape(5, 64) / 255, atol=1e-6)


def test_rows_of_a_table_are_read_whatever_the_order_of_their_columns(explored):
    run = explored("people").run
    file = io.BytesIO()
    pyarrow.csv.write_csv(people(7, seed=1).select(["debt", "since", "age", "<b>city</b>", "income"]), file)
    data = read_upload(run, "people.csv", file.getvalue()).data
    assert data.feature_names == ("age", "income", "<b>city</b>", "since", "debt")
    assert len(data) == 7


def test_of_many_rows_the_first_are_judged_and_it_is_said(explored):
    content = table([GOOD] * (MOST_ROWS + 5))
    upload = read_upload(explored("people").run, "people.csv", content)
    assert len(upload.data) == MOST_ROWS
    assert upload.notes[-1] == f"Of {MOST_ROWS + 5} rows, the first {MOST_ROWS} are judged."


def test_warnings_of_reading_become_notes(explored, monkeypatch):
    read = uploads._rows

    def warned(run, path):
        warnings.warn(f"{path}: a column is strange", UserWarning, stacklevel=1)
        return read(run, path)

    monkeypatch.setattr(uploads, "_rows", warned)
    assert read_upload(explored("people").run, "mine.csv", table([GOOD])).notes == ("mine.csv: a column is strange",)


def bomb(width, height):
    """A PNG of few bytes that says it is huge."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("it was unpickled",))


BAD = {
    "no picture": ("clf", "seven.png", b"not a picture", "seven.png can't be read as an image"),
    "cut short": ("clf", "a.png", picture((64, 64))[:60], "a.png can't be read as an image"),
    "empty": ("clf", "a.png", b"", "a.png is empty"),
    "kind": (
        "clf",
        "letter.docx",
        b"PK",
        "letter.docx: files that end in .docx can't be read here; this run takes images",
    ),
    "no ending": ("people", "letter", b"1,2", "end in nothing"),
    "table for images": ("clf", "people.csv", b"a\n1\n", "this run takes images"),
    "image for a table": ("people", "a.png", picture(), "this run takes rows of a table: give .csv"),
    "packed": ("people", "a.csv.gz", b"\x1f\x8b", "end in .gz"),
    "large": ("clf", "a.png", b"0" * (LARGEST + 1), "holds 8.0 MB, and the page takes 8 MB at most"),
    "bomb": ("clf", "a.png", bomb(60_000, 60_000), "a.png"),
    "many pixels": ("clf", "a.png", bomb(10_000, 8000), "a.png has 10000 x 8000 pixels, and the page takes 50 million"),
    "16 bits": ("clf", "a.png", picture(mode="I;16", colour=9), "not of 8 bits a channel"),
    "pickle": ("clf", "a.npy", npy(np.array([Evil()]), allow_pickle=True), "Python objects, which could run code"),
    "bare pickle": ("clf", "a.npy", pickle.dumps(Evil()), "can't be read as NumPy data"),
    "sizes": ("clf", "a.npy", npy(np.zeros((3, 9, 9))), "bring the images to 8x8"),
    "one row": ("people", "a.npy", npy(np.zeros(5)), "a.npy has shape (5,)"),
    "text": ("clf", "a.npy", npy(np.array(["a", "b"])), "not numbers"),
    "more than memory": (
        "clf",
        "a.npy",
        npy(np.zeros((2, 8, 8)))[:128].replace(b"(2, 8,", b"(9999999999999, 8,"),
        "a.npy",
    ),
    "columns": (
        "people",
        "a.csv",
        table([GOOD[:4]], ("age", "income", "town", "since")),
        "missing: '<b>city</b>', 'debt'",
    ),
    "ragged": ("people", "a.csv", table([GOOD, GOOD[:2]]), "a.csv is no valid CSV file"),
    "no rows": ("people", "a.csv", table([]), "a.csv is empty: 0 rows"),
    "binary": ("people", "a.csv", bytes(range(256)) * 9, "a.csv"),
    "Windows text": ("people", "a.csv", table([[*GOOD[:2], "Zürich", *GOOD[3:]]]).decode().encode("cp1252"), "UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cant_be_read_is_said_with_the_name_of_the_file(explored, case):
    name, file, content, said = BAD[case]
    with pytest.raises(InvalidDataError) as caught:
        explored(name).upload_html(file, content)
    message = str(caught.value)
    assert said in message
    assert file in message
    assert "/tmp" not in message
    assert "upload." not in message
    assert "Error" not in message, "a traceback's words"


@pytest.mark.parametrize("cell", ["inf", "very old"])
def test_cells_that_are_no_age_are_refused(explored, cell):
    with pytest.raises(FaroutError, match="age"):
        explored("people").upload_html("a.csv", table([GOOD, [cell, *GOOD[1:]], GOOD]))


@pytest.mark.parametrize("cell", ["", "nan"])
def test_missing_cells_are_refused_where_training_had_none(tmp_path, cell):
    frame = people(100).select(["age", "income"])
    fo.FlowDensity(max_steps=5, random_state=0).fit(frame).save(tmp_path / "run")
    with pytest.raises(FaroutError, match=r"row 1.*income"):
        Explorer(open_run(tmp_path / "run")).upload_html("a.csv", f"age,income\n30,18000\n31,{cell}\n".encode())


def test_an_array_with_nan_is_refused(explored):
    images = np.full((2, 8, 8), 0.5)
    images[1, 2, 3] = np.nan
    with pytest.raises(FaroutError, match=r"(?i)nan"):
        explored("clf").upload_html("a.npy", npy(images))


def test_a_name_is_no_path(explored, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(uploads, "_rows", lambda run, path: seen.append(path) or uploads.Upload(None))
    for name in ("../../etc/passwd.npy", "C:\\temp\\a.npy", "a@b:test.npy", "/x.npy"):
        with pytest.raises(AttributeError):  # of the stand-in's None
            read_upload(explored("clf").run, name, npy(np.zeros((1, 8, 8))))
    assert {path.name for path in seen} == {"upload.npy"}
    assert len({path.parent for path in seen}) == 4
    assert not any(path.exists() for path in seen), "nothing is left on the disk"


def test_missing_cells_and_new_categories_are_judged_where_training_knew_such(explored):
    html = explored("people").upload_html("a.csv", table([[30, 18000, "Paris", "2021-05-06", ""], GOOD]))
    assert "Paris" in html
    assert "missing" in html


def test_types_of_arrow_come_back(explored):
    data = read_upload(explored("people").run, "a.csv", table([GOOD])).data
    assert data.frame.schema.field("since").type in (pa.date32(), pa.string())
