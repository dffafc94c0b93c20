"""What people use today, as rows beside ours: simple outliers, VOS, and scores of a plain classifier."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import logsumexp, softmax
from sklearn.covariance import EmpiricalCovariance
from sklearn.neighbors import NearestNeighbors
from torch import nn

import farout as fo
from farout.base.estimator import classes_of
from farout.outliers.source import Outliers, OutlierSource

NEIGHBOURS = 50  # of kNN on features (Sun et al., 2022), for 10 000 and more training rows


class _Simple(OutlierSource):
    """Outliers made from the training rows alone."""

    def _fit(self, X, y):
        self.rows_ = self._check_rows(X)
        self.event_shape_ = self.rows_.shape[1:]
        if y is not None:
            self.labels_ = np.asarray(y)
            self.classes_ = np.unique(y)

    def _draw(self, n, y, rng, progress):
        classes = classes_of(self)
        labels = None if classes is None else rng.choice(classes, size=n)
        return Outliers(self._make(n, rng), labels, np.full(n, np.nan), np.full(n, type(self).__name__))

    def process_inliers(self, X, y=None, *, random_state=None):
        return self._query(X)


class UniformNoise(_Simple):
    """Each number uniform between the least and the largest of training."""

    def _make(self, n, rng):
        return rng.uniform(self.rows_.min(), self.rows_.max(), size=(n, self.n_features_in_)).astype(np.float32)


class Mixup(_Simple):
    """The mean of two rows of different classes."""

    def _make(self, n, rng):
        first, second = rng.integers(len(self.rows_), size=(2, 2 * n))
        differ = np.flatnonzero(self.labels_[first] != self.labels_[second])[:n]
        return 0.5 * (self.rows_[first[differ]] + self.rows_[second[differ]])


class VOS(fo.CautiousClassifier):
    """Virtual outlier synthesis (Du et al., 2022), with the plain classifier's network, steps and augmentation.

    Penultimate features are taken as a Gaussian a class with one covariance for all, from a queue of 500 features a
    class; of 2 000 draws a class the unlikeliest become virtual outliers; a logistic layer on the energy of the logits
    learns to tell them from inliers, from 40 % of training on, with weight 0.1. The score is the (negative) energy.
    """

    queue, draws, begin, weight = 500, 2000, 0.4, 0.1

    def _objective(self, feed, head):
        net = self.network_
        net.register_module("certainty", nn.Sequential(nn.Linear(1, 16), nn.ReLU(), nn.Linear(16, 2)))
        forward = net[:-2]  # all but the last linear layer and `certainty`, which is registered after it
        last = net[-2]
        net.forward = lambda x: last(forward(x))
        n_classes = len(self.classes_)
        queues = [torch.empty(0, last.in_features) for _ in range(n_classes)]

        def objective(batch, progress):
            x, y = batch
            events = feed.batch(x, y, progress).events
            features = forward(events)
            logits = last(features)
            for c in range(n_classes):
                queues[c] = torch.cat([queues[c], features.detach().float()[y == c]])[-self.queue :]
            loss = F.cross_entropy(logits, y)
            if progress < self.begin or min(len(q) for q in queues) < self.queue // 2:
                return loss, {}
            virtual = last(self._virtual(queues, max(1, len(x) // n_classes)))
            energies = torch.cat([logits, virtual]).float().logsumexp(1, keepdim=True)
            truth = torch.cat([torch.ones(len(logits)), torch.zeros(len(virtual))]).long()
            return loss + self.weight * F.cross_entropy(net.certainty(energies), truth), {}

        return objective

    def _virtual(self, queues, n):
        pooled = torch.cat([q - q.mean(0) for q in queues]).numpy()
        covariance = pooled.T.astype(float) @ pooled / len(pooled)
        ridge = 1e-4 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        factor = torch.from_numpy(np.linalg.cholesky(covariance + ridge)).float()
        found = []
        for q in queues:
            steps = torch.randn(self.draws, q.shape[1])
            unlikely = steps.square().sum(1).topk(n).indices  # the density of the same Gaussian falls with the norm
            found.append(q.mean(0) + steps[unlikely] @ factor.T)
        return torch.cat(found)


def scores_of_logits(logits):
    """The three scores that need logits alone; higher is more normal."""
    return {
        "MSP": softmax(logits, axis=1).max(axis=1),
        "max-logit": logits.max(axis=1),
        "energy": logsumexp(logits, axis=1),
    }


@torch.no_grad()
def features_of(model, X):
    """Penultimate features of the default network."""
    body = model.network_[:-1]
    parts = [
        body(model.units_.to_model(X[i : i + 1000], torch.float32)).double().numpy() for i in range(0, len(X), 1000)
    ]
    return np.concatenate(parts)


class FeatureScores:
    """kNN on normalised penultimate features (Sun et al., 2022) and Mahalanobis distance (Lee et al., 2018)."""

    def __init__(self, model, X, y):
        self.model = model
        features = features_of(model, X)
        self.neighbours = NearestNeighbors(n_neighbors=min(NEIGHBOURS, len(X))).fit(_unit(features))
        self.means = np.stack([features[y == c].mean(axis=0) for c in model.classes_])
        centred = features - self.means[np.searchsorted(model.classes_, y)]
        shared = EmpiricalCovariance(assume_centered=True).fit(centred)
        self.precision = shared.get_precision()

    def __call__(self, X):
        features = features_of(self.model, X)
        steps = features[:, None] - self.means
        return {
            "kNN": -self.neighbours.kneighbors(_unit(features))[0][:, -1],
            "Mahalanobis": -np.einsum("ncd,de,nce->nc", steps, self.precision, steps).min(axis=1),
        }


def _unit(features):
    return features / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
