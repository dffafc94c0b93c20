"""Sharing a flow: one that is fitted is used as it is, by as many sources and detectors as want it."""

from typing import Any, Self, cast

from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.validation import check_is_fitted

from farout.flows.density import FlowDensity

__all__ = ["KeepsFittedFlow", "fitted_flow", "is_fitted"]


class KeepsFittedFlow:
    """For estimators with a ``flow`` or ``base``: ``sklearn.clone`` keeps one that is fitted, so that many share it."""

    def __sklearn_clone__(self) -> Self:
        params: dict[str, Any] = self.get_params(deep=False)  # type: ignore[attr-defined]
        copies = {
            name: value if name in ("flow", "base") and is_fitted(value) else clone(value, safe=False)
            for name, value in params.items()
        }
        return type(self)(**copies)


def fitted_flow(flow: FlowDensity, X: ArrayLike, y: ArrayLike | None, random_state: Any = None) -> FlowDensity:
    """The flow itself when it is fitted already, else a copy fitted on these data.

    ``random_state`` is for a copy that has none of its own, so that the seed of a model reaches all of it.
    """
    if is_fitted(flow):
        return flow
    own = cast(FlowDensity, clone(flow))
    if own.random_state is None:
        own.random_state = random_state
    return own.fit(X, y)


def is_fitted(estimator: Any) -> bool:
    """Whether an estimator has been fitted; False for None."""
    if estimator is None:
        return False
    try:
        check_is_fitted(estimator)
    except NotFittedError:
        return False
    return True
