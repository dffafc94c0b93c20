"""The page in Chromium: what moves when the slider and the point are moved, what is read, hovered and said."""

import io
import time

import numpy as np
import pytest
from PIL import Image
from test_uploads import picture

pytest.importorskip("panel", reason='Panel is not installed: pip install "farout[explore]"')
pytestmark = pytest.mark.slow

PATIENCE = 60  # seconds: a busy machine is slow, and nothing here asks how fast it is

# Panel's widgets live in shadow trees, which a plain query doesn't look into.
ALL = """
const all = (root) => [...root.querySelectorAll('*')].flatMap((e) => [e, ...(e.shadowRoot ? all(e.shadowRoot) : [])]);
const shown = (e) => e.getClientRects().length > 0;
const found = all(document).filter((e) => e.matches(arguments[0]) && (shown(e) || arguments[1]));
"""


class Page:
    """The page of a run in the browser, by the words that people see on it."""

    def __init__(self, browser, address):
        self.browser = browser
        browser.open(address, width=1100)
        self.address = address
        self.wait(lambda: self.all(".bk-tab"), "the page")

    def all(self, selector, hidden=False):
        return self.browser.run(ALL + "return found", selector, hidden)

    def texts(self, selector):
        return self.browser.run(ALL + "return found.map((e) => e.textContent.trim())", selector, False)

    def pictures(self):
        return self.browser.run(ALL + "return found.map((e) => e.src)", ".tiles img", False)

    def wait(self, done, what):
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if found := done():
                return found
            time.sleep(0.1)
        pytest.fail(f"{what}: not seen after {PATIENCE} s; the page says {self.texts('p')}")

    def changed(self, before, what):
        return self.wait(lambda: (now := self.pictures()) and now != before and now, f"other pictures after {what}")

    def tab(self, name):
        (tab,) = [e for e in self.all(".bk-tab") if e.text == name]
        tab.click()

    def upload(self, path):
        (chooser,) = self.all("input[type=file]", hidden=True)
        chooser.send_keys(str(path))

    def troubles(self):
        """What the console says beside Bokeh's chatter."""
        return [line for line in self.browser.complaints() if not line.startswith(("INFO", "DEBUG"))]


@pytest.fixture
def opened(browser, served):
    def opened(name):
        return Page(browser, served(name))

    return opened


def keys(*names):
    from selenium.webdriver import Keys

    return "".join(getattr(Keys, name) for name in names)


def actions(page):
    from selenium.webdriver import ActionChains

    return ActionChains(page.browser.driver, duration=50)


def test_moving_the_slider_changes_the_pictures_and_what_is_said_of_them(opened):
    page = opened("clf")
    first = page.wait(page.pictures, "pictures")
    assert len(first) == 16
    (handle,) = page.all(".noUi-handle")
    actions(page).drag_and_drop_by_offset(handle, 200, 0).perform()
    far = page.changed(first, "the slider was dragged")
    assert len(far) == 16
    handle.send_keys(keys("ARROW_LEFT"))
    page.changed(far, "the slider was moved by a key")
    said = " ".join(page.texts("p[role=status]"))
    assert "sigma from the centre" in said
    assert "of 16 outliers" in said
    assert page.troubles() == []


def test_going_back_gives_the_same_pictures_again(opened):
    page = opened("clf")
    first = page.wait(page.pictures, "pictures")
    (handle,) = page.all(".noUi-handle")
    handle.send_keys(keys("ARROW_RIGHT", "ARROW_RIGHT"))
    page.changed(first, "the slider was moved")
    handle.send_keys(keys("ARROW_LEFT", "ARROW_LEFT"))
    page.wait(lambda: page.pictures() == first, "the first pictures again")


def test_another_source_class_and_seed_change_the_pictures(opened):
    from selenium.webdriver.support.ui import Select

    page = opened("clf")
    seen = page.wait(page.pictures, "pictures")
    source, label = (Select(e) for e in page.all("select"))
    source.select_by_visible_text("turned")
    seen = page.changed(seen, "another source")
    source.select_by_visible_text("gumbel")
    seen = page.changed(seen, "a third source")
    label.select_by_visible_text("1")
    seen = page.changed(seen, "another class")
    (seed,) = page.all("input[type=text]")
    seed.clear()
    seed.send_keys("7" + keys("ENTER"))
    page.changed(seen, "another seed")
    assert page.troubles() == []


def test_dragging_the_point_decodes_the_mixture_while_it_moves(opened):
    page = opened("deep")
    page.tab("Archetypes")
    (handle,) = page.wait(lambda: page.all(".handle"), "the point")
    first = page.wait(page.pictures, "the mixture")
    actions(page).click_and_hold(handle).move_by_offset(0, -60).perform()
    held = page.changed(first, "the point was dragged and not yet let go")
    actions(page).move_by_offset(-50, 70).perform()
    further = page.changed(held, "the point was dragged further")
    actions(page).release().perform()
    handle.send_keys(keys("ARROW_RIGHT", "ARROW_RIGHT", "ARROW_UP"))
    page.changed(further, "the arrow keys")
    assert any(text.startswith("Weights") for text in page.texts("p[role=status]"))
    assert page.troubles() == []


def test_out_of_the_triangle_the_page_says_so(opened):
    page = opened("deep")
    page.tab("Archetypes")
    (handle,) = page.wait(lambda: page.all(".handle"), "the point")
    actions(page).drag_and_drop_by_offset(handle, 120, -80).perform()
    page.wait(lambda: "Past the hull" in " ".join(page.texts("p[role=status]")), "word of the hull")


def test_a_bad_file_is_a_message_and_a_good_one_after_it_is_judged(opened, tmp_path):
    page = opened("clf")
    page.tab("Your data")
    bad = tmp_path / "holiday.png"
    bad.write_bytes(b"this is no picture")
    page.upload(bad)
    page.wait(lambda: page.texts(".problem"), "a message")
    assert "holiday.png can't be read as an image" in page.texts(".problem")[0]
    assert "give a PNG or JPEG file" in page.texts(".problem")[0]
    good = tmp_path / "digit.png"
    good.write_bytes(picture((20, 20), "RGB", colour=(9, 90, 200)))
    page.upload(good)
    page.wait(lambda: not page.texts(".problem") and page.texts(".card"), "the verdict")
    card = page.texts(".card")[0]
    assert "p-value" in card
    assert "Nearest training rows" in card
    assert page.texts(".note") == ["It was brought from 20 x 20 to 8 x 8 pixels and made grey."]
    assert page.troubles() == []


def test_a_file_that_is_too_large_is_refused_before_it_is_sent(opened, tmp_path):
    page = opened("clf")
    page.tab("Your data")
    large = tmp_path / "large.png"
    large.write_bytes(bytes(9_000_000))
    page.upload(large)
    page.wait(lambda: "too large" in " ".join(page.texts(".filepond--file-status-main")), "the refusal")
    assert "8 MB" in " ".join(page.texts(".filepond--file-status-sub"))
    page.tab("Outliers")
    first = page.wait(page.pictures, "pictures")
    (handle,) = page.all(".noUi-handle")
    handle.send_keys(keys("ARROW_RIGHT"))
    page.changed(first, "the page was still alive")


def test_rows_of_a_table_are_explained(opened, tmp_path):
    page = opened("people")
    page.tab("Your data")
    rows = tmp_path / "rows.csv"
    rows.write_text("age,income,<b>city</b>,since,debt\n30,18000,Bern,2021-05-06,90000\n")
    page.upload(rows)
    page.wait(lambda: page.texts(".card"), "the verdict")
    assert "outlier" in page.texts("dd")[0]
    assert page.texts(".bars th")[0] == "debt"
    assert "<b>city</b>" in page.texts(".card th"), "shown as text"
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("age,height\n30,180\n")
    page.upload(wrong)
    page.wait(lambda: "unknown: 'height'" in " ".join(page.texts(".problem")), "a message")
    assert page.troubles() == []


def test_a_point_of_the_map_shows_its_row_when_it_is_hovered(opened):
    page = opened("clf")
    page.tab("Map")
    (plot,) = page.wait(lambda: page.all(".bk-Figure"), "the plot")
    page.wait(lambda: page.all(".bk-Figure canvas", hidden=True) or page.all("canvas"), "its canvas")
    place = page.browser.run(POINT_OF_MAP)
    actions(page).move_to_element_with_offset(
        plot, place["x"] - plot.size["width"] / 2, place["y"] - plot.size["height"] / 2
    ).perform()
    page.wait(lambda: any(text.startswith("row ") for text in page.texts(".bk-tooltip-content")), "a tooltip")
    address = page.browser.run(ALL + "return found.map((e) => e.src)", ".bk-tooltip-content img", False)[0]
    assert address.startswith("data:image/png;base64,")
    assert page.troubles() == []


# Where the first point of the first class lies in the plot's own pixels.
POINT_OF_MAP = """
const views = (view) => [view, ...[...(view.children ? view.children() : [])].flatMap(views)];
const roots = Object.values(Bokeh.index.roots ?? Bokeh.index).flatMap((root) => views(root.view ?? root));
const plot = roots.find((view) => view.model && view.model.type === "Figure");
const source = plot.model.renderers[0].data_source.data;
return {x: plot.frame.x_scale.compute(source.x[0]), y: plot.frame.y_scale.compute(source.y[0])};
"""


@pytest.mark.parametrize("name", ["clf", "deep", "people", "linear"])
def test_the_page_fits_a_telephone_and_fetches_from_here_alone(browser, opened, name):
    page = opened(name)
    for width in (360, 1100):
        browser.look(width=width)
        for tab in page.texts(".bk-tab"):
            page.tab(tab)
            time.sleep(0.5)
            assert browser.overflow() == [], (width, tab)
    fetched = browser.run("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert len(fetched) > 5
    assert [url for url in fetched if not url.startswith((page.address, "data:", "blob:"))] == []
    assert page.troubles() == []


def test_pictures_are_what_the_source_draws(opened, explored):
    import base64

    page = opened("clf")
    first = page.wait(page.pictures, "pictures")[0]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(first.partition(",")[2]))))
    wanted = explored("clf").drawers.draw("normal", 2.5).x[0].reshape(8, 8)
    np.testing.assert_array_equal(shown, np.round(255 * wanted.clip(0, 1)))
