"""The registry of sources: complete, true to the classes, and how options are read."""

import inspect
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

import farout as fo
from farout.outliers.registry import SOURCES, Option, parsed
from farout.outliers.source import OutlierSource


@pytest.mark.parametrize("name", SOURCES)
def test_options_are_parameters_with_the_same_defaults(name):
    known = inspect.signature(SOURCES[name].load()).parameters
    for option in SOURCES[name].options:
        if option.kind != "specs":
            assert option.default == known[option.name].default


def test_every_public_source_has_a_name():
    public = {getattr(fo, name) for name in fo.__all__}
    sources = {c for c in public if inspect.isclass(c) and issubclass(c, OutlierSource)}
    # A mixture is made of others, which no setting can say.
    assert {source.load() for source in SOURCES.values()} == sources - {fo.Mixture}


def test_the_registry_brings_nothing_heavy_along():
    code = "import sys, farout.outliers.registry as r; print({'torch', 'sklearn', 'pydantic'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_ranges_read_as_written(low, high):
    low, high = float(f"{low:f}"), float(f"{high:f}")
    assert Option("strength", "range", "").parse(f"{low:f}") == low
    assert Option("strength", "range", "").parse(f"{low:f}-{high:f}") == (low, high)


@pytest.mark.parametrize(
    ("kind", "value", "read"),
    [
        ("range", "1e-3", 1e-3),
        ("range", "1e-3-2", (1e-3, 2.0)),
        ("range", [2, 4], (2.0, 4.0)),
        ("numbers", "7,0.3, 0.3", [7.0, 0.3, 0.3]),
        ("numbers", 0.3, 0.3),
        ("count", "3", 3),
        ("switch", False, False),
        ("specs", ["a", "b"], ["a", "b"]),
    ],
)
def test_values_are_read_by_kind(kind, value, read):
    assert Option("x", kind, "").parse(value) == read


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *(("range", v) for v in ("strong", "", "1-2-3", "1-", "nan", True, [1, 2, 3])),
        *(("number", v) for v in ("1-2", "inf", [1.0])),
        *(("numbers", v) for v in ("few", "1,,2", [])),
        *(("count", v) for v in ("0", "1.5", "many")),
        ("switch", "yes"),
        ("specs", "a"),
    ],
)
def test_what_can_not_be_read_is_refused(kind, value):
    with pytest.raises(ValueError, match="is not "):
        Option("x", kind, "").parse(value)


def test_options_are_told_with_their_flag():
    with pytest.raises(ValueError, match="--n-archetypes many: 'many' is not an integer above 0"):
        parsed("archetypal", {"n_archetypes": "many"})
    with pytest.raises(ValueError, match="--quantile has no meaning for the source 'gumbel', whose options are: str"):
        parsed("gumbel", {"quantile": 0.1})
