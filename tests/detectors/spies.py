"""A source and a network that remember what they see, and the blobs that the tests learn from."""

import re
from typing import Any

import numpy as np
from sklearn.datasets import make_blobs
from torch import nn

from farout.base.estimator import classes_of
from farout.outliers.source import Outliers, OutlierSource

CENTRES = [[0, 6], [-5, -3], [5, -3]]
FAR = [[0.0, 13.0], [-11.0, -7.0], [11.0, -7.0]]  # beyond each of them, at 6 to 7 sigma


def blobs(n, seed):
    return make_blobs(n, centers=CENTRES, random_state=seed)


def refusal(where, name, value):
    """What the message about a setting that makes no sense must say: who, which parameter, what it was."""
    return rf"^{where}: (?=.*\b{name}\b)(?=.*{re.escape(repr(value))})"


class SpySource(OutlierSource):
    """Outliers at a fixed place; remembers what it was asked for and what rows it saw."""

    def __init__(self, log: Any = None, at: float = 30.0, shift: float = 100.0, classes: Any = "same") -> None:
        self.log = log
        self.at = at
        self.shift = shift
        self.classes = classes

    def __sklearn_clone__(self):
        return type(self)(**self.get_params(deep=False))  # the same log

    def _fit(self, X, y):
        X = self._check_rows(X)
        self.log.append(("fit", X))
        self.event_shape_ = self._handing().event_shape or (X.shape[1],)
        classes = self.classes
        if isinstance(classes, str):  # the same as the model's
            classes = None if y is None else np.unique(y)
        if classes is not None:
            self.classes_ = classes

    def _draw(self, n, y, rng, progress):
        self.log.append(("draw", progress))
        classes = classes_of(self)
        labels = None if classes is None else rng.choice(classes, size=n)
        return Outliers(np.full((n, self.n_features_in_), self.at), labels, np.full(n, np.nan), np.full(n, "spy"))

    def process_inliers(self, X, y=None, *, random_state=None):
        self.log.append(("process", np.array(X)))
        return np.asarray(X) + self.shift


class SpyNetwork(nn.Module):
    """A linear network that remembers its batches."""

    def __init__(self, event_shape, n_outputs):
        super().__init__()
        self.linear = nn.Linear(int(np.prod(event_shape)), n_outputs)
        self.batches = []

    def forward(self, x):
        if self.training:
            self.batches.append(x.detach().clone())
        return self.linear(x.flatten(1))
