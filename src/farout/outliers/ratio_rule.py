"""RatioRule: calls a row an outlier if no class of a flow explains it better than no class does."""

from typing import Self

import numpy as np
from numpy.typing import NDArray

from farout.base.validation import Rows
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.scores import compares_classes, flow_scores

__all__ = ["RatioRule"]

NUMBERS = 2**18  # elements per pass through the flow; for rows of 784, a third faster than passes of 1 024 rows


class RatioRule:
    """A row is an outlier if ``max_y log p(x|y) - log p(x)`` is below a threshold.

    What all classes share cancels in the ratio (after Ren et al., 2019), so strokes that form no digit score low. A
    flow without labels, with one class, or without "no class" has no ratio. For these, the score is ``log p(x)``, or
    ``log p(x|y)`` of the likeliest class.

    Parameters
    ----------
    flow : FlowDensity
        Fitted.
    threshold : float
        In nats.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> X, y = make_blobs(300, centers=3, random_state=0)
    >>> flow = FlowDensity(max_steps=100, random_state=0).fit(X, y)
    >>> rule = RatioRule.fitted(flow, X, quantile=0.1)
    >>> float(rule.keeps(X).mean())
    0.1
    """

    def __init__(self, flow: FlowDensity, threshold: float) -> None:
        self.flow = flow
        self.threshold = threshold
        self.compares = compares_classes(flow)

    @classmethod
    def fitted(cls, flow: FlowDensity, X: NDArray[np.floating], quantile: float) -> Self:
        """Set the threshold so that a share of ``quantile``, in (0, 1), of the inliers ``X`` (n, d) is below it."""
        if not 0 < quantile < 1:
            raise InvalidSettingError(f"quantile must be above 0 and below 1; got {quantile!r}.")
        scores = flow_scores(flow, Rows(X), "ratio" if compares_classes(flow) else "likelihood")
        return cls(flow, float(np.quantile(scores, quantile)))

    def scores(self, X: NDArray[np.floating]) -> NDArray[np.float64]:
        """Scores that the rule compares with its threshold, in nats, of shape (n,)."""
        return flow_scores(self.flow, Rows(X), "ratio" if self.compares else "likelihood")

    def keeps(self, X: NDArray[np.floating]) -> NDArray[np.bool_]:
        """Whether each row is an outlier by this rule, of shape (n,)."""
        return self.explained_by(X) < 0

    def explained_by(self, X: NDArray[np.floating], guesses: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """Index of a class whose score reaches the threshold, -1 where none does, of shape (n,).

        Each row stops at its first such class, so most inliers need a few passes instead of one per class.

        Parameters
        ----------
        X : ndarray of shape (n, d)
        guesses : int ndarray of shape (n, g), optional
            Indices of the classes to try first, in their order.
        """
        if not self.compares:
            return np.where(self.scores(X) >= self.threshold, 0, -1)
        found = np.full(len(X), -1)
        limit = self._log_p(X, None) + self.threshold
        limit[np.isneginf(limit)] = np.inf  # no class explains a row that lies too far out for the flow
        order = _order(len(X), len(self._classes), guesses)
        (left,) = np.nonzero(found < 0)
        for k in range(len(self._classes)):
            tried = order[left, k]
            reached = self._log_p(X[left], tried) >= limit[left]
            found[left[reached]] = tried[reached]
            left = left[~reached]
            if not len(left):
                break
        return found

    @property
    def _classes(self) -> NDArray[np.generic]:
        return self.flow.classes_

    def _log_p(self, X: NDArray[np.floating], classes: NDArray[np.int64] | None) -> NDArray[np.float64]:
        rows = max(1, NUMBERS // X.shape[1])
        labels = None if classes is None else self._classes[classes]
        parts = [
            self.flow.densities(Rows(X[i : i + rows]), None if labels is None else labels[i : i + rows])
            for i in range(0, len(X), rows)
        ]
        return np.concatenate(parts)


def _order(n: int, k: int, guesses: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The order in which each row tries the ``k`` classes, its guesses first; shape (n, k)."""
    place = np.tile(np.arange(k), (n, 1))
    if guesses is not None:
        for j in reversed(range(guesses.shape[1])):
            place[np.arange(n), guesses[:, j]] = j - guesses.shape[1]
    return np.argsort(place, axis=1, kind="stable")
