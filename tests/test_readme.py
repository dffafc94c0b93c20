"""The README is short, and its example prints what it says. Commands and links are checked with those of pages."""

import contextlib
import io
import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
(EXAMPLE,) = [text for kind, text in BLOCKS if kind == "python"]
(SHOWN,) = [text for kind, text in BLOCKS if kind == "text"]


def test_it_is_read_in_minutes():
    assert len(README.splitlines()) <= 120
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 15


def test_the_example_prints_what_the_readme_shows():
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(EXAMPLE, {})
    assert NUMBER.sub("#", printed.getvalue()) == NUMBER.sub("#", SHOWN)
    # Other processors round differently, and training carries it on: a few hundredths, a few nats.
    for ours, theirs in zip(NUMBER.findall(printed.getvalue()), NUMBER.findall(SHOWN), strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=0.1, abs=3 if float(theirs).is_integer() else 0.04)


def test_the_map_names_the_packages_that_there_are():
    (drawn,) = [text for kind, text in BLOCKS if text.startswith("src/farout/")]
    named = set(re.findall(r"\b([a-z]+)/", drawn)) - {"farout", "src"}
    there = {p.parent.name for p in (Path(__file__).parents[1] / "src" / "farout").glob("*/__init__.py")}
    assert named == there
