"""The talk's figures at the size of the preset quick: no text on other text, none too small, none cut off."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from farout import plots

pytestmark = pytest.mark.usefixtures("in_page_style")
RNG = np.random.default_rng(0)
PAGE = 900  # pixels, where a figure that is wider is made smaller
SETS = ("letters", "fashion-mnist (talk: fashion)", "emnist-letters (talk: letters)", "kana (talk: kmnist)")
ROWS = [f"INN Normal p={p:g}" for p in np.linspace(0.5, 3, 13)]
GARMENTS = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle-boot"]


def images(*shape):
    return RNG.random((*shape, 784))


def strengths():
    columns = [(round(float(p), 1), images(10)) for p in np.linspace(1, 10, 15)]
    return plots.strengths(columns, event_shape=(1, 28, 28), row_labels=[*map(str, range(10))])


def compared(n):
    panels = [{"title": s, "ours": RNG.random(13), "spread": [0.1] * 13, "published": [0.5] * 13} for s in SETS[:n]]
    return plots.compared(ROWS, panels, "AUROC")


def distances(columns, top):
    values = 1 + (top - 1) * RNG.random((10, len(columns)))
    return plots.distances(values, range(10), columns, compared="fashion-mnist", own="mnist:train")


def errors():
    counts = [2, 3, 5, 8, 14, 20]
    found = {model: {"counts": counts, "errors": RNG.random(6) / 20} for model in ("linear", "deep archetypes")}
    return plots.errors({"mnist:train": found, "faces": found})


def radii():
    names = ("mnist:test, own class", "mnist:test, no class", "letters", "fashion-mnist", "kana")
    return plots.radii({s: RNG.normal(28 * (1 + i), 1 + 3 * i, 2000) for i, s in enumerate(names)}, latent_dim=784)


def toy():
    points, labels = {"data": RNG.normal(size=(90, 2)), "latent": RNG.normal(size=(90, 2))}, np.arange(90) % 3
    return plots.two_spaces(points, points, labels, labels)


def archetypes():
    shown = {"event_shape": (1, 28, 28), "classes": ["bruno", "7"] * 7}
    return plots.archetypes(images(14), images(14, 3), **shown)


FIGURES = {
    "sigma": strengths,
    "three sets": lambda: compared(3),
    "four sets": lambda: compared(4),
    "letters": lambda: distances("abcdefghijklmnopqrstuvwxyz", 7),
    "far letters": lambda: distances("abcdefghijklmnopqrstuvwxyz", 1400),
    "fashion": lambda: distances(GARMENTS, 60),
    "no classes": lambda: distances(["all"], 12),
    "errors": errors,
    "archetypes": lambda: plots.archetypes(
        images(14), images(14, 3), event_shape=(1, 28, 28), classes=["bruno", "7"] * 7
    ),
    "samples": lambda: plots.samples(images(80), np.repeat(np.arange(10), 8), event_shape=(1, 28, 28)),
    "radii": radii,
    "toy": toy,
}


@pytest.mark.parametrize("name", FIGURES)
def test_texts_are_apart_and_legible_at_page_width(name, monkeypatch):
    figure = FIGURES[name]().figure_
    drawn, draw = [], Text.draw
    monkeypatch.setattr(Text, "draw", lambda text, renderer: (drawn.append(text), draw(text, renderer)))
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    texts = [t for t in dict.fromkeys(drawn) if t.get_visible() and t.get_text().strip()]
    assert len(texts) > 8
    boxes = {t: t.get_window_extent(renderer) for t in texts}
    upright = [t for t in texts if t.get_rotation() % 90 == 0]
    laid = [(a, b) for a, b in combinations(upright, 2) if _overlap(boxes[a], boxes[b]) > 1]
    assert [(a.get_text(), b.get_text()) for a, b in laid] == []
    whole = figure.get_tightbbox(renderer).width * 96  # of the picture, as it is kept
    scale = min(1, PAGE / whole)
    small = {t.get_text(): t.get_fontsize() * 96 / 72 * scale for t in texts}
    assert min(small.values()) >= 8, min(small, key=small.get)


def _overlap(a, b):
    """Pixels of the smaller side of what two boxes share."""
    return min(min(a.x1, b.x1) - max(a.x0, b.x0), min(a.y1, b.y1) - max(a.y0, b.y0))
