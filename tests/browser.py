"""A browser for tests of pages: Debian's Chromium, driven by selenium, with what a page must hold to measured in it.

The fixture ``browser`` skips where Chromium or selenium is missing; ``make browser`` installs both.
"""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

__all__ = ["WIDTHS", "Browser", "browser"]

WIDTHS = (360, 800, 1400)  # CSS pixels: a telephone, a tablet, a screen

# Nothing but the loopback interface and files can be reached, so that a page that fetches from outside fails.
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
)

_WIDER_THAN_THE_WINDOW = """
const scrolls = (e) => e && (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX) ||
  scrolls(e.parentElement));
return [...document.body.querySelectorAll('*')]
  .filter((e) => e.getClientRects().length && !e.ownerSVGElement && !scrolls(e.parentElement))
  .filter((e) => { const b = e.getBoundingClientRect(); return b.right > innerWidth + 1 || b.left < -1; })
  .map((e) => `${e.tagName.toLowerCase()}: ${(e.textContent || '').trim().slice(0, 40)}`);
"""

_BROKEN_IMAGES = """
return [...document.images].filter((i) => !(i.complete && i.naturalWidth > 0)).map((i) => (i.src || '?').slice(-80));
"""

# Colours as the browser computed them, each laid over what lies behind it, by the WCAG's formula for contrast.
_CONTRASTS = """
const parse = (text) => { const n = (text.match(/[\\d.]+/g) || []).map(Number);
  return /^rgb/.test(text) ? [n[0], n[1], n[2], n.length > 3 ? n[3] : 1] : null; };
const over = (top, below) => [0, 1, 2].map((i) => top[i] * top[3] + below[i] * (1 - top[3]));
const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const light = (c) => { const [r, g, b] = c.map((v) => linear(v / 255)); return .2126 * r + .7152 * g + .0722 * b; };
const ratio = (a, b) => { const [x, y] = [light(a), light(b)].sort((p, q) => q - p); return (x + .05) / (y + .05); };
const canvas = matchMedia('(prefers-color-scheme: dark)').matches ? [18, 18, 18] : [255, 255, 255];
const behind = (e) => { const layers = []; for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor); if (c && c[3] > 0) layers.push(c); }
  return layers.reverse().reduce((below, top) => over(top, below), canvas); };
const opacity = (e) => e ? Number(getComputedStyle(e).opacity) * opacity(e.parentElement) : 1;
const shown = (e) => e.getClientRects().length && getComputedStyle(e).visibility !== 'hidden';
const found = [];
const tell = (e, kind, paint, alpha, name) => { const c = parse(paint); if (!c) return;
  c[3] *= alpha * opacity(e); const below = behind(e);
  found.push({kind, name, ratio: ratio(over(c, below), below), paint}); };
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) { const e = walker.currentNode.parentElement, words = walker.currentNode.textContent.trim();
  if (!words || !shown(e) || e.closest('style, script, [data-decoration], [data-on-colour]')) continue;
  const s = getComputedStyle(e), svg = e.ownerSVGElement;
  tell(e, 'text', svg ? s.fill : s.color, svg ? Number(s.fillOpacity) : 1, words.slice(0, 40)); }
for (const e of document.querySelectorAll('svg path, svg use, svg line, svg rect, svg circle')) {
  if (!shown(e) || e.closest('defs, clipPath, [data-decoration]')) continue;
  const s = getComputedStyle(e), b = e.getBoundingClientRect(), paints = [];
  if (s.stroke !== 'none' && parseFloat(s.strokeWidth) > 0) paints.push([s.stroke, Number(s.strokeOpacity)]);
  if (s.fill !== 'none' && b.width > 0 && b.height > 0) paints.push([s.fill, Number(s.fillOpacity)]);
  if (!paints.length) continue;
  const before = found.length; // of fill and edge the clearer one is what shows the mark
  for (const [paint, alpha] of paints) tell(e, 'mark', paint, alpha, (e.closest('g[id]') || e).id);
  const own = found.splice(before).sort((p, q) => q.ratio - p.ratio); if (own.length) found.push(own[0]); }
return found;
"""


class Browser:
    """One window of Chromium. ``driver`` is selenium's, for what the methods don't do.

    Parameters
    ----------
    driver : selenium.webdriver.Chrome
    """

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, address: str | Path, *, width: int = 1400, height: int = 900, dark: bool = False) -> None:
        """Load a page (an address, or a file) in a window of this size, for people who like it light or dark."""
        self.driver.get_log("browser")  # what an earlier page said is gone
        self.look(width=width, height=height, dark=dark)
        self.driver.get(address.absolute().as_uri() if isinstance(address, Path) else address)

    def look(self, *, width: int = 1400, height: int = 900, dark: bool = False, paper: bool = False) -> None:
        """Change size, colour scheme or medium (screen or paper) under the page as it is."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}  # a mobile one zooms out
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        media = {"media": "print" if paper else "", "features": [scheme]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", media)

    def run(self, script: str, *arguments: Any) -> Any:
        """What a script returns in the page."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """Errors and warnings of the console since the page was opened."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def broken_images(self) -> list[str]:
        """Addresses of images that did not load."""
        return list(self.run(_BROKEN_IMAGES))

    def overflow(self) -> list[str]:
        """What sticks out of the window sideways; empty if nobody has to scroll the page that way."""
        wide = self.run("return document.documentElement.scrollWidth - window.innerWidth")
        return [*self.run(_WIDER_THAN_THE_WINDOW), *([f"the page, by {wide} pixels"] if wide > 0 else [])]

    def contrasts(self) -> list[dict[str, Any]]:
        """``kind`` ("text" or "mark"), ``name``, ``paint`` and ``ratio`` of all that is drawn, to what is behind it.

        Elements under ``data-decoration`` (a grid) are left out, since nobody needs to see them to understand the page,
        and texts under ``data-on-colour``, which stand on a coloured cell and not on the page.
        """
        return list(self.run(_CONTRASTS))

    def faint(self, text: float = 4.5, mark: float = 3.0) -> list[str]:
        """What has less contrast than it must."""
        least = {"text": text, "mark": mark}
        return [
            f"{found['kind']} {found['name']!r} {found['paint']}: {found['ratio']:.2f}"
            for found in self.contrasts()
            if found["ratio"] < least[found["kind"]]
        ]

    def picture(self, path: Path) -> Path:
        """The whole page as PNG, however long."""
        whole = {"captureBeyondViewport": True, "format": "png"}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.captureScreenshot", whole)["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        """The page as it is printed on A4."""
        paper = {"paperWidth": 8.27, "paperHeight": 11.69, "printBackground": False}
        path.write_bytes(base64.b64decode(self.driver.execute_cdp_cmd("Page.printToPDF", paper)["data"]))
        return path


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium without a window, or a skip that says what is missing."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: run `make browser`")
    program, driver_program = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver_program is None:
        pytest.skip("Chromium or its driver is not installed: run `make browser`")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver_program))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
