"""The page of a reproduction: what differed, a contents list, a section an experiment, tables with captions."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from farout import plots
from farout.errors import InvalidSettingError
from farout.talk.page import talk_sections, write_talk_page

PANELS = [
    {"title": "letters", "ours": [0.9, 0.4], "spread": [0.05, None], "published": [0.6, None]},
    {"title": "kana", "ours": [0.1, 1.0], "spread": [0.0, 0.01], "published": [0.2, 0.97]},
]


@dataclass(frozen=True)
class Picture:
    draw: str = "compared"
    arguments: dict[str, Any] = field(default_factory=lambda: {"rows": ["a", "b"], "sets": PANELS, "metric": "AUROC"})
    caption: str = "dots & rings"
    alt: str = "ours and theirs"


@dataclass(frozen=True)
class Grid:
    caption: str
    header: list[str]
    rows: list[list[str]]


@dataclass(frozen=True)
class Found:
    name: str = "table"
    title: str = "A <table>"
    text: str = "What is seen."
    figures: list[Picture] = field(default_factory=lambda: [Picture()])
    tables: list[Grid] = field(
        default_factory=lambda: [Grid("AUROC", ["row", "ours"], [["a", "0.9"]]), Grid("AP", ["row"], [["b"]])]
    )


def page_of(tmp_path, *findings):
    path = write_talk_page(
        findings, tmp_path / "page.html", title="The talk", summary="All of it.", notes=["Data: a < b", "Steps: 3"],
        settings={"preset": "smoke"}, figures=tmp_path / "figures",
    )  # fmt: skip
    return path.read_text()


def test_the_page_says_what_differed_and_lists_its_contents(tmp_path):
    page = page_of(tmp_path, Found(), Found(name="other", title="Other"))
    assert page.index("<li>Data: a &lt; b</li>") < page.index('<a href="#table">A &lt;table&gt;</a>')
    assert '<a href="#other">Other</a>' in page
    assert '<section id="table">' in page
    assert page.count("<svg") == 2


def test_every_table_has_its_caption(tmp_path):
    page = page_of(tmp_path, Found())
    assert (
        page.index(">AUROC</h3>")
        < page.index('<td class="num">0.9</td>')
        < page.index(">AP</h3>")
        < page.index("<td>b</td>")
    )


def test_the_same_findings_give_the_same_page(tmp_path):
    assert page_of(tmp_path, Found()) == page_of(tmp_path, Found())


def test_each_picture_is_kept_by_itself_as_well(tmp_path):
    page_of(tmp_path, Found())
    (png,) = (tmp_path / "figures").iterdir()
    assert png.name == "table-1.png"
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_an_unknown_drawing_is_refused():
    with pytest.raises(InvalidSettingError, match="no plot is called 'styled'; there are samples, strengths"):
        talk_sections([Found(figures=[Picture(draw="styled")])])


def test_dots_and_rings_stand_where_the_numbers_are():
    figure = plots.compared(["a", "b"], PANELS, "AUROC").figure_
    first, second = figure.axes
    drawn = {tuple(np.round(line.get_xdata(), 3)) for line in first.lines if len(line.get_xdata()) == 2}
    assert (0.9, 0.4) in drawn
    rings = [line for line in first.lines if line.get_fillstyle() == "none"]
    np.testing.assert_array_equal(rings[0].get_xdata(), [0.6, np.nan])
    assert [label.get_text() for label in first.get_yticklabels()] == ["a", "b"]
    assert first.yaxis_inverted()
    assert second.get_title() == "kana"
    assert first.get_xlabel() == "AUROC"
