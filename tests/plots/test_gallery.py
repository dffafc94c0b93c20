"""The page of plots: its calls work, and each picture is there and small."""

import importlib.util
import re
from pathlib import Path

import pytest
from PIL import Image

import farout as fo

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "plots.md").read_text(encoding="utf-8")


@pytest.fixture
def gallery():
    spec = importlib.util.spec_from_file_location("gallery", DOCS / "plots.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_plot_is_named_on_the_page_and_every_name_is_one(gallery):
    public = {name for name in fo.plots.__all__ if name.islower()}
    assert set(re.findall(r"fo\.plots\.([a-z_]+)", TEXT)) <= public
    assert [name for name in public if not re.search(rf"\b{name}\b", TEXT)] == []


def test_every_picture_is_there_and_small(gallery):
    shown = {name for _, name in gallery.blocks() if name}
    files = list((DOCS / "plots").iterdir())
    assert shown == {file.stem for file in files}
    assert len(shown) == TEXT.count("![")
    assert max(file.stat().st_size for file in files) < gallery.MOST


@pytest.mark.slow
def test_the_calls_draw_the_pictures(gallery, tmp_path):
    gallery.main(tmp_path)
    for file in (DOCS / "plots").iterdir():
        with Image.open(file) as kept, Image.open(tmp_path / file.name) as drawn:
            assert drawn.size == pytest.approx(kept.size, abs=12)
