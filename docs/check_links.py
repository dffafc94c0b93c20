"""Checks that every link, picture and anchor within the built site leads somewhere. Run by `make docs`."""

import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

SITE = Path(__file__).parent / "_build" / "html"


def broken(site: Path) -> list[str]:
    """A line for each link that leads nowhere."""
    files = [file for file in site.rglob("*.html") if "_static" not in file.parts]  # the theme's parts are no pages
    pages = {file: BeautifulSoup(file.read_text(encoding="utf-8"), "html.parser") for file in files}
    anchors = {page: {tag["id"] for tag in soup.find_all(id=True)} for page, soup in pages.items()}
    found = []
    for page, soup in pages.items():
        for tag in soup.find_all(["a", "img", "script", "link"]):
            address = tag.get("href") or tag.get("src") or ""
            parts = urlsplit(address)
            if parts.scheme or parts.netloc or not (parts.path or parts.fragment):
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if target.is_dir():
                target = target / "index.html"
            known = anchors.get(target)
            if not target.is_file() or (parts.fragment and known is not None and unquote(parts.fragment) not in known):
                found.append(f"{page.relative_to(site)}: {address}")
    return sorted(set(found))


if __name__ == "__main__":
    lines = broken(SITE)
    print("\n".join(lines) or f"all links within {SITE.name} lead somewhere")
    sys.exit(bool(lines))
