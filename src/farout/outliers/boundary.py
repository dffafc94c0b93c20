"""Boundary: moves real rows through latent space until no class of the flow explains them."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.base.validation import Rows, check_positive
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.ratio_rule import RatioRule
from farout.outliers.row_source import Candidates, RowSource

__all__ = ["Boundary"]

Floats = NDArray[np.float64]
SCAN = (1 / 3, 2 / 3, 1.0)  # shares of the reach at which the rule is evaluated
HALVINGS = 3  # bisections of the interval with the crossing: to 4 % of the reach


class Boundary(RowSource):
    """Outliers at the boundary of normal data: real rows moved in latent space until a rule calls them outliers.

    A row is encoded without a class as ``z`` and moved along a random unit direction ``u`` with ``u . z >= 0``, that
    is, not towards the centre: ``z + t sqrt(d) u``. The first of a few steps ``t`` at which `RatioRule` finds an
    outlier is refined by bisection. Rows that never cross the boundary, or start as outliers, are replaced by others.
    Directions are random, since most points between rows of two classes belong to one of the classes.

    Parameters
    ----------
    flow : FlowDensity, optional
        Used as it is when fitted; a default flow is fitted when omitted. Fitted with labels, it needs
        ``class_dropout`` above 0.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    beyond : float, default=1.0
        Distance from the row to the outlier, as a multiple of its distance to the boundary; 1 (just past it) or more.
        Rows that are inliers there are replaced by others.
    reach : float, default=1.2
        Largest step ``t``, in units of ``sqrt(d)``, the typical norm of a latent; above 0.
    quantile : float, default=0.1
        Share of inliers that the rule calls outliers, in (0, 1).
    max_rows : int, default=10000
        Training rows kept to start from.
    random_state : int, Generator or None, default=None
        Seed of the default flow and the choice of rows to keep.

    Attributes
    ----------
    flow_ : FlowDensity
    threshold_ : float
        Threshold of the rule, in nats.
    rows_, labels_ : ndarray
        Kept training rows (as uint8 for images of grey levels) and, if there are any, their classes.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, _ = make_blobs(300, centers=3, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X)
    >>> out = fo.Boundary(flow=flow, random_state=0).fit(X).sample(100, random_state=0)
    >>> share = [float((flow.score_samples(X) < s).mean()) for s in flow.score_samples(out.x)]
    >>> bool(max(share) <= 0.15), bool(np.median(share) > 0.05)
    (True, True)
    """

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        beyond: float = 1.0,
        reach: float = 1.2,
        quantile: float = 0.1,
        max_rows: int = 10_000,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.beyond = beyond
        self.reach = reach
        self.quantile = quantile
        self.max_rows = max_rows
        self.random_state = random_state

    def _check_settings(self) -> None:
        super()._check_settings()
        check_positive(self.reach, "reach", "Boundary")
        check_positive(self.beyond, "beyond", "Boundary")
        if self.beyond < 1:
            raise InvalidSettingError(f"Boundary: beyond must be 1 (on the boundary) or more; got {self.beyond!r}.")

    def _strength(self) -> float:
        return float(self.beyond)

    def _candidates(self, hosts: NDArray[np.int64], rng: np.random.Generator) -> Candidates:
        Z = self.flow_.encode(Rows(self._rows(hosts)), noise=True, random_state=rng)
        walk = _Walk(self.flow_, RatioRule(self.flow_, self.threshold_), Z, _outward(Z, rng), self._host_classes(hosts))
        of, steps = walk.crossings(self.reach)
        if not len(of):
            return Candidates(np.empty((0, Z.shape[1]), dtype=Z.dtype), of)
        guesses = None if walk.guesses is None else walk.guesses[of]
        return Candidates(walk.at(of, self.beyond * steps), of, guesses)

    def _advice(self) -> str:
        return (
            f"train the flow for longer, so that it separates its classes, or choose a larger quantile than "
            f"{self.quantile}, another reach than {self.reach:g}, or beyond nearer to 1 than {self.beyond:g}."
        )


class _Walk:
    """Moves rows along straight lines through latent space and finds where each becomes an outlier.

    ``guesses`` holds, for each row, the class that explained it last, which the rule tries first.
    """

    def __init__(
        self, flow: FlowDensity, rule: RatioRule, Z: Floats, directions: Floats, classes: NDArray[np.int64] | None
    ) -> None:
        self.flow, self.rule, self.Z, self.directions = flow, rule, Z, directions
        self.guesses = None if classes is None else classes[:, None]

    def at(self, of: NDArray[np.int64], steps: Floats) -> NDArray[Any]:
        """Rows of indices ``of`` after these steps, in data units."""
        return self.flow.decode(self.Z[of] + steps[:, None] * self.directions[of], clip=True)

    def outside(self, of: NDArray[np.int64], steps: Floats) -> NDArray[np.bool_]:
        """Whether rows of indices ``of`` are outliers after these steps."""
        guesses = None if self.guesses is None else self.guesses[of]
        found = self.rule.explained_by(self.at(of, steps), guesses)
        if self.guesses is not None:
            self.guesses[of, 0] = np.where(found < 0, self.guesses[of, 0], found)
        return found < 0

    def crossings(self, reach: float) -> tuple[NDArray[np.int64], Floats]:
        """Indices of rows that start as inliers and become outliers, and the steps just past the first crossing."""
        n = len(self.Z)
        near, far = np.zeros(n), np.full(n, np.inf)
        walking = np.arange(n)[~self.outside(np.arange(n), np.zeros(n))]
        for share in SCAN:
            if not len(walking):
                break
            crossed = self.outside(walking, np.full(len(walking), share * reach))
            far[walking[crossed]] = share * reach
            walking = walking[~crossed]
            near[walking] = share * reach
        (of,) = np.nonzero(np.isfinite(far))
        for _ in range(HALVINGS if len(of) else 0):
            middle = (near[of] + far[of]) / 2
            crossed = self.outside(of, middle)
            far[of[crossed]], near[of[~crossed]] = middle[crossed], middle[~crossed]
        return of, far[of]


def _outward(Z: Floats, rng: np.random.Generator) -> Floats:
    """Random directions of norm sqrt(d) that don't point towards the centre."""
    steps = rng.standard_normal(Z.shape)
    steps *= math.sqrt(Z.shape[1]) / np.linalg.norm(steps, axis=1, keepdims=True)
    inward = (steps * Z).sum(axis=1) < 0
    steps[inward] *= -1
    return steps.astype(Z.dtype)
