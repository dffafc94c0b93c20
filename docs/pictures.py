"""Draws the pictures of docs/methods, one function a picture, about two minutes.

Run: python docs/pictures.py [NAME ...]
"""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image
from scipy.stats import chi, gumbel_r
from sklearn.datasets import load_wine, make_moons
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import farout as fo

HERE = Path(__file__).parent
MOST = 60_000  # bytes of a picture
SHAPE = (1, 8, 8)

Array = NDArray[Any]


def digits() -> tuple[Any, Any]:
    """Digits 0 to 6: those to train on, and the others."""
    return fo.load_data("digits:train@0-6"), fo.load_data("digits:test@0-6")


@functools.cache
def flow_of_digits() -> fo.FlowDensity:
    train, _ = digits()
    return fo.FlowDensity(event_shape=SHAPE, max_steps=300, random_state=0).fit(train.X, train.y)


def lines(low: float, high: float, n: int) -> list[Array]:
    """A regular grid of the plane as two families of lines, each of shape (lines, points, 2)."""
    at, along = np.linspace(low, high, n), np.linspace(low, high, 60)
    fixed, moving = np.broadcast_arrays(at[:, None], along)
    return [np.stack([fixed, moving], axis=2), np.stack([moving, fixed], axis=2)]


def moved(grid: list[Array], function: Callable[[Array], Array]) -> list[Array]:
    return [function(family.reshape(-1, 2)).reshape(family.shape) for family in grid]


def flow() -> Figure:
    """A flow's map as grids that it bends."""
    X, _ = make_moons(1000, noise=0.08, random_state=0)
    fitted = fo.FlowDensity(max_steps=500, options={"coupling": "spline"}, random_state=0).fit(X)
    latent, data = lines(-2.5, 2.5, 11), lines(-2.5, 3.0, 12)
    return fo.plots.mapping(
        {"latent": latent, "data": moved(latent, fitted.decode)},
        {"data": data, "latent": moved(data, fitted.encode)},
        X[:300],
        fitted.encode(X[:300]),
    ).figure_


def strength() -> Figure:
    """Digits along strength."""
    return fo.plots.strengths(flow_of_digits()).figure_


def radii() -> Figure:
    """Latent radii of data and of outliers."""
    train, test = digits()
    fitted = flow_of_digits()
    out = fo.NormalShell(2.5, flow=fitted).fit(train.X, train.y).sample(400, random_state=0)
    unseen = fo.load_data("digits:all@7-9")
    sets = {"digits 0 to 6": test.X, "digits 7 to 9": unseen.X, "outliers at 2.5 sigma": out.x}
    return fo.plots.radii(sets, flow=fitted).figure_


def gumbel() -> Figure:
    """The largest of n norms: both laws and what a simulation gives."""
    laws, rng = [], np.random.default_rng(0)
    for d, n in ((2, 100), (64, 10_000)):
        one = chi(d)
        maxima = one.isf(-np.expm1(np.log(rng.random(2000)) / n))
        r = np.linspace(0.0 if d == 2 else one.mean() - 3 * one.std(), maxima.max(), 400)
        wide = np.sqrt(2 * np.log(n))
        b = wide - (np.log(np.log(n)) + np.log(4 * np.pi)) / (2 * wide)
        author = gumbel_r(one.mean() + one.std() * b, one.std() / wide)
        exact = n * one.pdf(r) * one.cdf(r) ** (n - 1)
        laws.append({"d": d, "n": n, "r": r, "gumbel": author.pdf(r), "exact": exact, "maxima": maxima})
    return fo.plots.largest_radii(laws).figure_


def archetypes() -> Figure:
    """Data of two columns, their archetypes and the hull of these."""
    weights = np.random.default_rng(0).dirichlet([0.7] * 4, size=500)
    corners = np.array([[0.0, 3.0], [-3.0, 0.5], [-1.0, -3.0], [3.0, -1.0]])
    X = weights @ corners + np.random.default_rng(1).normal(scale=0.12, size=(500, 2))
    found = fo.ArchetypalAnalysis(4, random_state=0).fit(X)
    Z = found.archetypes_
    around = np.argsort(np.arctan2(*(Z - Z.mean(axis=0)).T))
    outline = np.concatenate([Z[around], Z[around[:1]]])
    return fo.plots.plane(X, Z, ["1", "2", "3", "4"], outline=outline).figure_


@functools.cache
def deep() -> tuple[fo.DeepArchetypes, Any]:
    train, _ = digits()
    return fo.DeepArchetypes(3, flow=flow_of_digits(), max_steps=200, random_state=0).fit(train.X, train.y), train


def simplex() -> Figure:
    """Weights of three deep archetypes, and where draws of two concentrations lie."""
    found, train = deep()
    return fo.plots.simplex(train.X, model=found, y=train.y, labels=train.y, outlines=[7.0, 0.6]).figure_


def nullspace() -> Figure:
    """Mixtures of archetypes, decoded without and with the nullspace part of data."""
    found, train = deep()
    asked = np.repeat(np.arange(7), 2)
    settings = {"concentration": 2.0, "base": found}
    plain = fo.Archetypal(**settings).fit(train.X, train.y).sample(14, asked, random_state=0)
    varied = fo.Nullspace(**settings).fit(train.X, train.y).sample(14, asked, random_state=0)
    rows = {"mixture alone": plain.x, "with the nullspace": varied.x}
    return fo.plots.images(np.stack(list(rows.values())), SHAPE, row_labels=list(rows)).figure_


def sources() -> Figure:
    """Outliers of the sources for grey images, a row each."""
    train, _ = digits()
    fitted = flow_of_digits()
    shown = {"data": train.X[:14]}
    for source in (
        fo.NormalShell(1.5, flow=fitted),
        fo.NormalShell(2.5, flow=fitted),
        fo.GumbelShell(2.5, flow=fitted),
        fo.Exchange(space="latent", flow=fitted, random_state=0),
        fo.Turned(event_shape=SHAPE, random_state=0),
        fo.Collage(flow=fitted, random_state=0),
        fo.Boundary(flow=fitted, random_state=0),
        fo.Salient(event_shape=SHAPE, random_state=0),
        fo.Scrambled(event_shape=SHAPE, random_state=0),
    ):
        name = type(source).__name__
        name += f" {source.strength:g}" if hasattr(source, "strength") else ""
        shown[name] = source.fit(train.X, train.y).sample(14, random_state=0).x
    return fo.plots.images(np.stack(list(shown.values())), SHAPE, row_labels=list(shown)).figure_


def models() -> Figure:
    """Classes and confidence of a plain and of a cautious classifier over the plane."""
    X, y = make_moons(600, noise=0.1, random_state=0)
    x, up = np.linspace(-3.0, 4.0, 90), np.linspace(-3.0, 3.5, 90)
    grid = np.stack(np.meshgrid(x, up), axis=2).reshape(-1, 2)
    source = fo.Noise(3.0)
    found = {}
    for name, settings in (("plain", {"beta": 0.0, "distance_aware": False}), ("cautious", {})):
        clf = fo.CautiousClassifier(source, max_steps=400, random_state=0, **settings).fit(X, y)
        p = clf.predict_proba(grid).reshape(90, 90, -1)
        found[name] = {"classes": p.argmax(axis=2), "confidence": p.max(axis=2)}
    out = source.fit(X, y).sample(200, random_state=0).x
    return fo.plots.regions(x, up, found, X, y, out).figure_


def features() -> Figure:
    """Features of pictures in the plane of their two main directions."""
    faces = fo.load_data("faces")
    X = torch.tensor(faces.X.reshape(-1, *faces.event_shape))
    known = np.flatnonzero(faces.y < 4)
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 16, 5, stride=2),
        torch.nn.ReLU(),
        torch.nn.Conv2d(16, 32, 3, stride=2),
        torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(),
        torch.nn.ReLU(),
        torch.nn.Linear(128, 4),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(100):
        rows = torch.tensor(known)[torch.randint(len(known), (64,))]
        loss = torch.nn.functional.cross_entropy(network(X[rows] * 2 - 1), torch.tensor(faces.y)[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    made = fo.Features(network, layer="4", size=32, crop=1.0, mean=0.5, std=0.5).fit_transform(X.numpy())
    plane = PCA(2, random_state=0).fit(made[known]).transform(made)
    groups = {f"character {c + 1}{', never seen' if c > 3 else ''}": plane[faces.y == c] for c in range(6)}
    return fo.plots.scatter(groups, columns=("first direction", "second direction")).figure_


def stress() -> Figure:
    """Share of outliers that fool two classifiers of wine, by strength."""
    X, y = load_wine(return_X_y=True)
    forest = RandomForestClassifier(random_state=0).fit(X[::2], y[::2])
    linear = make_pipeline(StandardScaler(), LogisticRegression()).fit(X[::2], y[::2])
    models = {"random forest": forest, "logistic regression": linear}
    result = fo.stress_test(models, X[1::2], y[1::2], random_state=0)
    return fo.plots.stress(result, kinds=["shell", "targeted", "exchange"]).figure_


def abstain() -> Figure:
    """Scores of known and unknown digits, with the threshold."""
    train, test = digits()
    source = fo.NormalShell(2.5, flow=flow_of_digits())
    clf = fo.CautiousClassifier(source, event_shape=SHAPE, max_steps=200, random_state=0).fit(train.X, train.y)
    unseen = fo.load_data("digits:all@7-9")
    return fo.plots.scores({"digits 0 to 6": test.X, "digits 7 to 9": unseen.X}, model=clf).figure_


PICTURES: dict[str, Callable[[], Figure]] = {
    f.__name__: f
    for f in (
        flow,
        strength,
        radii,
        gumbel,
        archetypes,
        simplex,
        nullspace,
        sources,
        models,
        features,
        stress,
        abstain,
    )
}


def save(figure: Figure, path: Path) -> None:
    """Save a picture with few colours, so that it stays small."""
    figure.savefig(path, dpi=100, bbox_inches="tight")
    with Image.open(path) as drawn:
        small = drawn.convert("RGB").quantize(48)
    small.save(path, optimize=True)
    if path.stat().st_size > MOST:
        raise SystemExit(f"{path}: {path.stat().st_size} bytes, more than {MOST}")


def main(names: list[str], out: Path = HERE / "methods") -> None:
    """Draw pictures by name; all when none is given."""
    unknown = sorted(set(names) - set(PICTURES))
    if unknown:
        raise SystemExit(f"no such pictures: {', '.join(unknown)}; there are {', '.join(PICTURES)}")
    with mpl.rc_context(fo.plots.STYLE):
        for name in names or PICTURES:
            save(PICTURES[name](), out / f"{name}.png")


if __name__ == "__main__":
    mpl.use("agg")
    main(sys.argv[1:])
