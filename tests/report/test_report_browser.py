"""The page in a browser: nothing fails, nothing sticks out, and all can be read, on small and large, light and dark."""

import re

import numpy as np
import pytest

import farout as fo
from browser import WIDTHS
from farout.cli import main
from farout.report import ReportContent, write_report
from farout.runs.demo import run_demo

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The demo's page of images, and those of a classifier and of archetypes of a table with text."""
    folder = tmp_path_factory.mktemp("pages")
    demo = run_demo(folder / "demo", flow_steps=20, model_steps=20)
    write_report(ReportContent(**demo.story), folder / "images.html")
    table = folder / "flowers_and_other_things_of_a_rather_long_name.csv"
    rng = np.random.default_rng(0)
    kinds = np.arange(240) % 3
    rows = rng.normal(size=(240, 7)) + 2 * kinds[:, None]
    names = ",".join(f"a_column_with_a_long_name_{j}" for j in range(7))
    lines = [
        ",".join(map(str, [*row.round(3), "red" if k else "blue", f"kind {k}"]))
        for row, k in zip(rows, kinds, strict=True)
    ]
    table.write_text("\n".join([f"{names},colour,kind", *lines]))
    (folder / "short.toml").write_text("[flow]\nmax_steps = 30\n")
    common = ["--label", "kind", "--config", str(folder / "short.toml")]
    run, shapes = str(folder / "run"), str(folder / "archetypes")
    assert (
        main(["train", "classifier", str(table), *common, "--source", "normal", "--max-steps", "30", "--out", run]) == 0
    )
    far = folder / "far.csv"
    outliers = 9 + rng.normal(size=(40, 7))
    outliers[0, 2] = -60_000
    far.write_text("\n".join([f"{names},colour", *[",".join(map(str, [*row, "blue"])) for row in outliers]]))
    assert main(["evaluate", run, "--inliers", str(table), "--outliers", str(far)]) == 0
    assert main(["report", run, "--out", str(folder / "table.html")]) == 0
    assert main(["archetypes", "digits:train@0-2", "-k", "3", "--out", shapes]) == 0
    assert main(["report", shapes, "--out", str(folder / "archetypes.html")]) == 0
    return folder


KINDS = ("images", "table", "archetypes")


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_page_can_be_read_everywhere(browser, pages, kind, width, dark):
    browser.open(pages / f"{kind}.html", width=width, dark=dark)
    assert browser.complaints() == []
    assert browser.broken_images() == []
    assert browser.overflow() == []
    found = browser.contrasts()
    assert sum(one["kind"] == "text" for one in found) > 50
    assert sum(one["kind"] == "mark" for one in found) > 20
    assert browser.faint() == []


@pytest.mark.parametrize("kind", KINDS)
def test_pictures_load_and_are_large_enough_on_a_telephone(browser, pages, kind):
    browser.open(pages / f"{kind}.html", width=360)
    sizes = browser.run(
        "return [...document.querySelectorAll('figure svg')].map((s) => [s.getBoundingClientRect().width,"
        " s.getBoundingClientRect().height, s.getAttribute('aria-label')])"
    )
    assert len(sizes) > 2
    assert all(w >= 250 and h >= 40 for w, h, _ in sizes), sizes
    inside = browser.run(
        "return [...document.querySelectorAll('svg image')].map((i) => i.getBoundingClientRect().width)"
    )
    assert all(w > 0 for w in inside)
    letters = browser.run(
        "return [...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height)"
        ".filter((h) => h > 0)"
    )
    assert min(letters) >= 7


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_stay_on_one_line(browser, pages, kind):
    browser.open(pages / f"{kind}.html", width=360)
    broken = browser.run(
        """
        const found = [], walker = document.createTreeWalker(document.querySelector('main'), NodeFilter.SHOW_TEXT);
        while (walker.nextNode()) { const node = walker.currentNode;
          const inside = node.parentElement;
          if (!inside.getClientRects().length || inside.closest('svg, code, style, .name')) continue;
          for (const m of node.textContent.matchAll(/[-+−]?\\d[\\d.,\\u00a0]*\\d(?:\\u00a0[%σ])?/g)) {
            const range = document.createRange(); range.setStart(node, m.index);
            range.setEnd(node, m.index + m[0].length);
            const tops = new Set([...range.getClientRects()].map((r) => Math.round(r.top)));
            if (tops.size > 1) found.push(m[0]); } }
        return found;"""
    )
    assert broken == []


def test_links_lead_to_their_sections_and_settings_open(browser, pages):
    browser.open(pages / "images.html", width=800)
    for link in browser.driver.find_elements("css selector", "nav a"):
        link.click()
        at = browser.run("return document.querySelector(location.hash).getBoundingClientRect().top")
        assert abs(at) < 900
    summary = browser.driver.find_element("css selector", "#settings summary")
    summary.click()
    assert browser.overflow() == []
    assert browser.driver.find_element("css selector", "#settings table").is_displayed()


@pytest.mark.parametrize("kind", KINDS)
def test_a_print_has_pages_and_cuts_nothing_off(browser, pages, kind, tmp_path):
    browser.open(pages / f"{kind}.html", dark=True)
    pdf = browser.pdf(tmp_path / "page.pdf").read_bytes()
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20
    browser.look(width=688, paper=True)  # of A4 within its margins
    assert browser.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.run("return getComputedStyle(document.querySelector('h1')).color") == "rgb(0, 0, 0)"
    wide = browser.run(
        "return [...document.querySelectorAll('svg, table, pre')].filter((e) => e.getClientRects().length)"
        ".filter((e) => e.getBoundingClientRect().right > 689)"
        ".map((e) => e.tagName + e.textContent.trim().slice(0, 40))"
    )
    assert wide == []


def test_the_page_shows_what_is_wrong_before_all_else(browser, pages):
    browser.open(pages / "table.html", width=1400)
    headings = [h.text for h in browser.driver.find_elements("css selector", "main h2")]
    assert headings[:2] == ["What it gets wrong", "Results"]
    told = browser.driver.find_element("css selector", ".warnings").text
    assert "shares rows with" in told
    assert "farout train classifier" in browser.driver.find_element("css selector", "#about").text
    assert fo.__version__ in browser.driver.find_element("css selector", "footer").text
