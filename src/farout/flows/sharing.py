"""The flow that a model stands on: as it is where it comes fitted, else fitted once for all that ask for the same."""

import weakref
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.estimator import Estimator, is_fitted
from farout.flows.density import FlowDensity

__all__ = ["fitted_flow"]


def fitted_flow(owner: Estimator, flow: FlowDensity | None, X: NDArray[Any], y: ArrayLike | None) -> FlowDensity:
    """The flow, fitted.

    Within one fit of a model, however deep the models in it are nested, a flow of the same settings is fitted once on
    the same rows, and shared.

    Parameters
    ----------
    owner : Estimator
        The model that is being fitted; it hands down the settings that the flow leaves open.
    flow : FlowDensity or None
        None is a default one.
    X : ndarray of shape (n, d)
        Checked rows of the owner.
    y : array of shape (n,), optional
    """
    if flow is not None and is_fitted(flow):
        return flow
    defaults = owner._handing()
    asked = (FlowDensity() if flow is None else flow)._taking(defaults)
    # What it takes from its owner, such as the seed, makes no other flow of it: the first who asks says it.
    given = (flow or FlowDensity()).get_params(deep=False) | {"event_shape": asked.event_shape}
    settings = type(asked).__name__ + repr(sorted(given.items()))
    place = (X.__array_interface__["data"][0], X.shape, X.strides, y is None)
    memory, flow = defaults.flows.get((settings, place), (None, None))
    if memory is None or memory() is None:  # rows that are gone may have others in their place
        flow = asked.fit(owner._named(X), y)
        defaults.flows[settings, place] = (weakref.ref(_memory(X)), flow)  # which keeps no rows
    fitted: FlowDensity = flow
    return fitted


def _memory(X: NDArray[Any]) -> NDArray[Any]:
    """The array that a view is of."""
    while isinstance(X.base, np.ndarray):
        X = X.base
    return X
