"""Inline SVG: ink that follows the page, ids that never clash, names taken as they are."""

import re
from xml.etree import ElementTree

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from farout import plots
from farout.plots.style import INK, line_style, new_axes, page_style, plain, to_svg


def picture(name="letters"):
    with page_style():
        return plots.scores({"inliers": np.linspace(0, 1, 50), name: np.linspace(-1, 1, 40)}).figure_


def texts(svg):
    return [element.text for element in ElementTree.fromstring(svg).iter("text")]


def test_ink_follows_the_page():
    svg = to_svg(picture(), alt="a", key="k")
    assert INK not in svg
    assert "currentColor" in svg
    assert "#0072B2".lower() in svg.lower()
    assert "#ffffff" not in svg, "a white background would hide the page"


def test_every_id_carries_the_key_and_every_reference_has_its_target():
    svg = to_svg(picture(), alt="a", key="scores7")
    ids = re.findall(r'\bid="([^"]+)"', svg)
    targets = re.findall(r"url\(#([^)]+)\)", svg) + re.findall(r'href="#([^"]+)"', svg)
    assert ids
    assert targets
    assert all(name.startswith("scores7-") for name in ids)
    assert len(set(ids)) == len(ids)
    assert set(targets) <= set(ids)


def test_equal_images_and_the_user_s_own_ids_are_no_id_twice():
    figure = Figure()
    for axes in figure.subplots(1, 2):
        axes.imshow(np.eye(4))
        axes.plot([0, 1])[0].set_gid("mine")
    ids = re.findall(r'\bid="([^"]+)"', to_svg(figure, alt="a", key="k"))
    assert "k-mine" in ids
    assert len(set(ids)) == len(ids)


def test_the_svg_says_what_it_shows_and_fits_its_container():
    root = ElementTree.fromstring(to_svg(picture(), alt='<scores> & "more"', key="k"))
    assert root.tag == "svg"
    assert root.attrib["aria-label"] == '<scores> & "more"'
    assert root.attrib["role"] == "img"
    assert "width" not in root.attrib
    assert re.fullmatch(r"--natural:4\d\dpx", root.attrib["style"]), "4.6 inches are 442 px"


def test_the_same_picture_gives_the_same_bytes():
    assert to_svg(picture(), alt="a", key="k") == to_svg(picture(), alt="a", key="k")


def test_the_user_s_own_matplotlib_settings_neither_matter_nor_change():
    expected = to_svg(picture(), alt="a", key="k")
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "black", "text.color": "red"}):
        before = dict(mpl.rcParams)
        assert to_svg(picture(), alt="a", key="k") == expected
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("price in $, then $", "price in $, then $"),
        (r"$\frac$", r"$\frac$"),
        ("_hidden", "\u200a_hidden"),
        ("<b>&amp;", "<b>&amp;"),
        ("two\nlines\x00\x1b", "two lines"),
        ("かな", "かな"),
        ("a" * 50, "a" * 29 + "…"),
        ("\udc80", "?"),
    ],
)
def test_names_are_shown_as_they_are(name, shown):
    assert shown in texts(to_svg(picture(name), alt=name.strip("\x00\x1b\n\udc80"), key="k"))


@settings(max_examples=6, deadline=None)
@given(st.text(max_size=40))
def test_no_name_breaks_a_picture(name):
    assert texts(to_svg(picture("x" + name), alt="a", key="k"))


def test_a_short_name_stays_and_a_long_one_is_cut_to_the_width():
    assert plain("letters") == "letters"
    assert len(plain("x" * 31)) == 30


def test_neighbouring_lines_of_a_page_differ_in_colour_and_in_dashes():
    with page_style():
        styles = [line_style(k) for k in range(6)]
        assert line_style(6) == line_style(0)
    assert len({s["color"] for s in styles}) == len({str(s["linestyle"]) for s in styles}) == 6


def test_figures_of_a_page_stay_out_of_pyplot():
    with page_style():
        assert new_axes().figure.canvas.manager is None, "pyplot would keep the figure alive"
