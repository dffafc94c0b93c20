"""How many of a source's outliers are no outliers: a figure that needs none that are real."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from farout.errors import InvalidSettingError

__all__ = ["contamination"]


def contamination(classifier: Any, outliers: ArrayLike, *, above: float = 0.99) -> float:
    """Share of outliers that a plain classifier, trained on normal data alone, is sure of.

    Such an outlier is most likely a valid member of a class, and training against it does harm: recipes with less of
    them are better (rank correlation with the AUROC on unseen outliers of -.7 over the recipes of a trial).

    Parameters
    ----------
    classifier : estimator with ``predict_proba``
        Fitted without outliers, such as ``CautiousClassifier(beta=0)`` or one of scikit-learn's.
    outliers : array of shape (n, d)
        Of a source's ``sample(n).x``.
    above : float, default=0.99
        The largest probability from which on it is called sure, in (0, 1).

    Returns
    -------
    float
        Between 0 and 1; lower is better.

    Raises
    ------
    InvalidSettingError
        If ``above`` is not between 0 and 1.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> from sklearn.linear_model import LogisticRegression
    >>> X, y = make_blobs(200, centers=[[-5, 0], [5, 0]], random_state=0)
    >>> plain = LogisticRegression().fit(X, y)
    >>> contamination(plain, X) > 0.9, contamination(plain, [[0.0, 9.0], [0.0, -9.0]])
    (True, 0.0)
    """
    if not 0 < above < 1:
        raise InvalidSettingError(f"contamination: above must lie between 0 and 1; got {above!r}.")
    return float((np.asarray(classifier.predict_proba(outliers)).max(axis=1) > above).mean())
