"""The measures that tests of pages rely on, each on a page that fails it and on one that doesn't."""

import pytest

pytestmark = pytest.mark.slow

GOOD = "<p style='color:#333'>words</p><svg width=40 height=20><path d='M0 9h40' stroke='#0072b2'/></svg>"


@pytest.fixture
def opened(browser, tmp_path):
    def opened(body, **look):
        page = tmp_path / "page.html"
        head = "<!doctype html><meta charset=utf-8><link rel=icon href=data:,><style>body{background:#fff}</style>"
        page.write_text(head + body)
        browser.open(page, **look)
        return browser

    return opened


def test_a_good_page_passes_all(opened):
    browser = opened(GOOD, width=360)
    assert (browser.complaints(), browser.broken_images(), browser.overflow(), browser.faint()) == ([], [], [], [])


def test_what_is_too_wide_is_named(opened):
    assert opened("<div style='width:500px'>wide</div>", width=360).overflow()[0] == "div: wide"
    assert opened("<div style='overflow:auto'><div style='width:500px'>wide</div></div>", width=360).overflow() == []


def test_errors_and_images_that_fail_are_told(opened):
    browser = opened("<script>nothing()</script><img src=none.png>")
    assert "nothing is not defined" in " ".join(browser.complaints())
    assert browser.broken_images()[0].endswith("none.png")


def test_nothing_outside_can_be_reached(opened):
    assert "ERR_NAME_NOT_RESOLVED" in " ".join(opened("<img src=http://example.com/a.png>").complaints())


def test_faint_text_and_marks_are_told_and_decoration_is_not(opened):
    line = "<svg width=40 height=20><g id=line><path d='M0 9h40' stroke='#ccc'/></g></svg>"
    assert opened("<p style='color:#999'>pale</p>" + line).faint() == [
        "text 'pale' rgb(153, 153, 153): 2.85",
        "mark 'line' rgb(204, 204, 204): 1.61",
    ]
    assert opened(line.replace("<g", "<g data-decoration=1")).faint() == []
    assert "text 'pale' rgb(0, 0, 0): 2.85" in opened("<p style='color:#000;opacity:.4'>pale</p>").faint()


def test_a_page_can_be_looked_at_in_the_dark_and_on_paper(opened, tmp_path):
    css = (
        "<style>@media (prefers-color-scheme: dark) {p {color: red}} @media print {p {font-size: 8px}}</style><p>x</p>"
    )
    browser = opened(css, dark=True)
    style = "return getComputedStyle(document.querySelector('p'))"
    assert browser.run(f"{style}.color") == "rgb(255, 0, 0)"
    browser.look(paper=True)
    assert browser.run(f"{style}.fontSize") == "8px"
    assert browser.pdf(tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert browser.picture(tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
