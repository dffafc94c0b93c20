"""A linear probe: can grey levels and fine texture alone tell generated outliers from inliers on the same path?

Where they can, a model may learn these traces in place of shapes. What they tell of unseen real outliers is the
yardstick.
"""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BINS, BANDS = 16, 8


def statistics(X, event_shape):
    """Share of grey levels by bin, and log-power by band of frequency, of shape (n, BINS + BANDS).

    Parameters
    ----------
    X : ndarray of shape (n, d)
        In [0, 1].
    event_shape : tuple of int
        (channels, height, width).
    """
    levels = np.minimum((np.asarray(X) * BINS).astype(int).clip(0), BINS - 1)
    histogram = np.stack([(levels == b).mean(axis=1) for b in range(BINS)], axis=1)
    _, height, width = event_shape
    power = np.abs(np.fft.fft2(np.asarray(X).reshape(-1, *event_shape))) ** 2
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width))
    band = np.minimum((radius / 0.5 * BANDS).astype(int), BANDS - 1)
    bands = [np.log(power[..., band == b].mean(axis=(1, 2)) + 1e-6) for b in range(BANDS)]
    return np.c_[histogram, np.stack(bands, axis=1)]


def probe(inliers, outliers, event_shape, seed=0):
    """Cross-validated AUROC of logistic regression on `statistics`, 0.5 where they tell nothing."""
    n = min(len(inliers), len(outliers))
    rng = np.random.default_rng(seed)
    parts = [statistics(rows[rng.permutation(len(rows))[:n]], event_shape) for rows in (inliers, outliers)]
    truth = np.r_[np.ones(n), np.zeros(n)]
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    chance = cross_val_predict(model, np.concatenate(parts), truth, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(truth, chance))
