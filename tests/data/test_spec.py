"""The grammar of specs."""

import pytest

from farout.data.spec import parse_spec
from farout.errors import InvalidSettingError


@pytest.mark.parametrize(
    ("text", "source", "split", "classes"),
    [
        ("mnist", "mnist", None, None),
        ("mnist:test", "mnist", "test", None),
        ("mnist:test@0-6", "mnist", "test", ("0-6",)),
        ("mnist@7,8, 9", "mnist", None, ("7", "8", "9")),
        ("a/b.csv:train@A,B", "a/b.csv", "train", ("A", "B")),
        (r"C:\data\x.csv", r"C:\data\x.csv", None, None),
        (r"C:\data\x.csv:all", r"C:\data\x.csv", "all", None),
        ("C:/data/x.npz@1", "C:/data/x.npz", None, ("1",)),
        ("me@home/x.csv", "me@home/x.csv", None, None),
    ],
)
def test_parts(text, source, split, classes):
    spec = parse_spec(text)
    assert (spec.text, spec.source, spec.split, spec.classes) == (text, source, split, classes)


@pytest.mark.parametrize("name", ["a:b.csv", "run:test", "x@1", "odd:name@2.csv"])
def test_an_existing_path_stands_as_it_is(name, tmp_path):
    path = tmp_path / name
    path.touch()
    assert parse_spec(path).source == str(path)
    split = parse_spec(f"{path}:train@3")
    assert (split.source, split.split, split.classes) == (str(path), "train", ("3",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no data named"),
        (":test", "no data named"),
        ("@3", "no data named"),
        ("mnist:trian", "unknown split 'trian' in 'mnist:trian'; the splits are train, test, all"),
        ("mnist:", "unknown split ''"),
        ("mnist@", "an empty class"),
        ("mnist@1,,2", "an empty class"),
        ("a/b:c/d.csv", "unknown split 'c/d.csv'"),
    ],
)
def test_wrong_specs(text, message):
    with pytest.raises(InvalidSettingError, match=message):
        parse_spec(text)
