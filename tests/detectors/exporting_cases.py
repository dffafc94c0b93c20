"""Every kind of classifier and detector, small, with rows to ask about: normal ones, strange ones, far ones."""

import numpy as np
import torch
from networks_of_others import OneOutput, cnn, of_words, resnet, trained, words
from networks_of_others import X as DIGITS
from sklearn.datasets import make_blobs
from torch import nn

import farout as fo

__all__ = ["CASES", "QUICK", "cache", "made"]

RNG = np.random.default_rng(0)
TABLE, KINDS = make_blobs(400, centers=3, n_features=4, random_state=0)
TABLE = np.column_stack([TABLE, np.full(400, 5.0)])  # with a column that is constant
STRANGE = TABLE[:50] + RNG.normal(size=(50, 5)) * [5, 5, 5, 5, 0.1]
FAR = np.vstack([TABLE[:50], STRANGE, 20 * TABLE[:30]])
ROUND = np.round(TABLE[:, :4] / 3)  # many rows are equal
ROUND_KINDS = np.where(RNG.random(400) < 0.7, KINDS, RNG.integers(3, size=400))
GREY = fo.load_data("digits:train@0-2")
PIXELS = np.vstack([GREY.X[:60], RNG.uniform(0, GREY.X.max(), (40, 64)), GREY.X[:20, ::-1]])
COLOUR = RNG.uniform(size=(160, 3, 8, 8))
COLOUR[::2] = COLOUR[::2].cumsum(axis=2) / 8
COLOUR = COLOUR.reshape(160, -1)
COLOURED = np.arange(160) % 2
ODD = np.vstack([COLOUR[:60], COLOUR[:40, ::-1]])
STEPS = {"max_steps": 30, "random_state": 0}
SMALL = {"options": {"n_blocks": 2, "hidden": 16}, "max_steps": 30, "random_state": 0}


def flow(labelled):
    return fo.FlowDensity(**SMALL).fit(TABLE, KINDS if labelled else None)


def classifier(X=TABLE, y=KINDS, source=None, **settings):
    source = fo.Noise() if source is None else source
    return fo.CautiousClassifier(source, **STEPS, **settings).fit(X, y)


def discriminator(X=TABLE, y=None, source=None, **settings):
    source = fo.Noise() if source is None else source
    return fo.OutlierDiscriminator(source, **STEPS, **settings).fit(X, y)


def detector(score_by, labelled=False, **settings):
    return fo.FlowDetector(score_by, flow(labelled), random_state=0, **settings).fit(TABLE, KINDS if labelled else None)


def of_images(score_by, labelled, **settings):
    of = fo.FlowDensity((1, 8, 8), options={"n_blocks": (1, 1), "hidden": (4, 6)}, max_steps=10, random_state=0)
    return fo.FlowDetector(score_by, of, random_state=0, **settings).fit(GREY.X, GREY.y if labelled else None)


def wrapped(network, X=DIGITS, **settings):
    return fo.wrap(network, random_state=0, **settings).fit(X)


def perceptron(bend):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), bend, nn.Linear(16, 3))


IMAGE, PHOTO = {"event_shape": (1, 8, 8)}, {"event_shape": (3, 8, 8)}
CASES = {
    "classifier alone": (lambda: classifier(TABLE[:, :2], distance_aware=False), FAR[:, :2]),
    "classifier": (classifier, FAR),
    "classifier, its source chosen": (lambda: fo.CautiousClassifier(**STEPS).fit(TABLE, KINDS), FAR),
    "classifier, copies of rows": (lambda: classifier(ROUND, ROUND_KINDS), np.vstack([ROUND[:80], FAR[:, :4]])),
    "classifier of grey images": (lambda: classifier(GREY.X, GREY.y, **IMAGE), PIXELS),
    "classifier of grey images alone": (lambda: classifier(GREY.X, GREY.y, distance_aware=False, **IMAGE), PIXELS),
    "classifier of colour images": (lambda: classifier(COLOUR, COLOURED, **PHOTO), ODD),
    "classifier of colour images, rotations": (lambda: classifier(COLOUR, COLOURED, rotations=True, **PHOTO), ODD),
    "classifier of colour images, wide": (lambda: classifier(COLOUR, COLOURED, network="wide", **PHOTO), ODD),
    "discriminator": (discriminator, FAR),
    "discriminator of classes": (lambda: discriminator(y=KINDS), FAR),
    "discriminator alone": (lambda: discriminator(distance_aware=False), FAR),
    "discriminator of grey images": (lambda: discriminator(GREY.X, **IMAGE), PIXELS),
    "discriminator of colour images, classes": (lambda: discriminator(COLOUR, COLOURED, rotations=True, **PHOTO), ODD),
    "detector, nearest": (lambda: fo.FlowDetector(random_state=0).fit(TABLE), FAR),
    "detector, nearest, none held out": (lambda: detector("nearest", calibration_fraction=0), FAR),
    "detector, ratio": (lambda: detector("ratio", True), FAR),
    "detector, likelihood": (lambda: detector("likelihood"), FAR),
    "detector, likelihood of classes": (lambda: detector("likelihood", True), FAR),
    "detector, typicality": (lambda: detector("typicality"), FAR),
    "detector of images, ratio": (lambda: of_images("ratio", True), PIXELS),
    "detector of images, likelihood": (lambda: of_images("likelihood", False), PIXELS),
    **{
        f"wrapped, {score}": (lambda score=score: wrapped(trained(cnn), score_by=score, **IMAGE), PIXELS)
        for score in ("joined", "max_probability", "energy", "knn", "ratio")
    },
    "wrapped residual": (lambda: wrapped(trained(resnet), **IMAGE), PIXELS),
    "wrapped, normalised": (lambda: wrapped(trained(cnn), inputs=(0.5, 0.3), **IMAGE), PIXELS),
    "wrapped of one output": (lambda: wrapped(OneOutput(), **IMAGE), PIXELS),
    "wrapped of probabilities": (lambda: wrapped(OneOutput(sigmoid=True), **IMAGE), PIXELS),
    "wrapped of words": (lambda: wrapped(of_words(), inputs=words), PIXELS),
    "wrapped table": (lambda: wrapped(perceptron(nn.ReLU()), TABLE), FAR),
    "wrapped table, single precision": (lambda: wrapped(perceptron(nn.GELU()), TABLE), FAR),
}  # fmt: skip
QUICK = "classifier alone"  # exported in a few seconds
cache = {}


def made(name):
    """A model of that name, fitted once, and its rows."""
    make, rows = CASES[name]
    if name not in cache:
        cache[name] = make()
    return cache[name], rows.astype(np.float32)
