"""ArchetypalAnalysis: data as mixtures of a few extreme points, which are mixtures of data themselves."""

import contextlib
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted
from torch import Tensor

from farout.archetypes.mixing import certificate, mixtures
from farout.archetypes.solver import Solution, solve
from farout.archetypes.starts import distinct_rows, standardized
from farout.base.estimator import Estimator
from farout.base.progress import stage
from farout.base.training import suitable_threads
from farout.base.validation import check_events, check_number, check_positive
from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["ArchetypalAnalysis", "rows_as_tensor"]


class ArchetypalAnalysis(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Linear archetypal analysis: ``min sum_i w_i ||x_i - a_i Z||^2``, ``Z = B X`` (Cutler and Breiman, 1994).

    Archetypes ``Z`` are mixtures of rows, and rows are mixtures of archetypes: rows of ``A`` and of ``B`` are 0 or more
    and add up to 1. So the archetypes are extremes of the data, and each row is described by its weights on them.

    No n x n matrix is formed: weights are found by accelerated projected gradients, archetypes by column
    generation on a few candidate rows, both from several starts on a coreset (Mair and Brefeld, 2019). Data are centred
    first but not scaled; use ``StandardScaler`` before it where columns have different units.

    Parameters
    ----------
    n_archetypes : int, default=3
        At most the number of rows.
    n_init : int, optional
        Starts on the coreset; the best one is continued on all rows. When omitted, 4, or 12 above 10 000 rows, where
        they take little of the time. The first start uses the furthest rows, the others rows drawn at random.
    coreset_size : int, optional
        Rows for the starts; when omitted, 5 % of the rows, but at least 1 000. With fewer rows, all are used, and the
        result doesn't depend on their order or on repeated rows.
    max_iter : int, default=500
        Largest number of iterations on all rows.
    tol : float, default=1e-4
        Stop when the sum of squares falls by less than this share of itself in an iteration.
    random_state : int, Generator or None, default=None
    verbose : bool, default=False
        Show progress on stderr.

    Attributes
    ----------
    archetypes_ : ndarray of shape (n_archetypes, d)
        Ordered by the mean weight that the rows have on each, largest first.
    archetype_rows_ : list of ndarray
        For each archetype, indices of the training rows that it is a mixture of, by weight, largest first.
    archetype_row_weights_ : list of ndarray
        Their weights: ``archetypes_[j] == archetype_row_weights_[j] @ X[archetype_rows_[j]]``.
    reconstruction_error_ : float
        Weighted sum of squared residuals of the training rows.
    explained_variance_ratio_ : float
        1 less the residual share of the weighted sum of squares about the mean; 1 where all rows are equal.
    duality_gap_ : float
        Upper bound (Frank and Wolfe, 1956; Jaggi, 2013) on how much the sum of squares can fall when either the
        weights of rows or the archetypes change and the other is fixed.
    restart_errors_ : ndarray of shape (n_init,)
        Sum of squared residuals of all rows for each start, before the best one is continued.
    history_ : dict of str to list of float
        "rss": the sum of squares after each iteration on all rows; it never rises.
    n_iter_ : int
    converged_ : bool
        Whether progress ended before ``max_iter`` did.

    Examples
    --------
    >>> import farout as fo
    >>> rng = np.random.default_rng(0)
    >>> corners = np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 2.0]])
    >>> X = np.vstack([corners, rng.dirichlet([1, 1, 1], 200) @ corners])
    >>> aa = fo.ArchetypalAnalysis(n_archetypes=3, random_state=0).fit(X)
    >>> np.sort(aa.archetypes_.round(4) + 0.0, axis=0).tolist()
    [[0.0, 0.0], [0.0, 0.0], [4.0, 2.0]]
    >>> A = aa.transform(X)
    >>> bool(np.allclose(A.sum(axis=1), 1)), bool(np.allclose(aa.inverse_transform(A), X, atol=1e-5))
    (True, True)
    """

    def __init__(
        self,
        n_archetypes: int = 3,
        *,
        n_init: int | None = None,
        coreset_size: int | None = None,
        max_iter: int = 500,
        tol: float = 1e-4,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.n_archetypes = n_archetypes
        self.n_init = n_init
        self.coreset_size = coreset_size
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: ArrayLike | Tensor, y: Any = None, sample_weight: ArrayLike | None = None) -> Self:
        """Find the archetypes.

        Parameters
        ----------
        X : array or Tensor of shape (n, d)
            Finite. A tensor is processed on its own device, such as a GPU.
        y : ignored
        sample_weight : array of shape (n,), optional
            0 or more. A row of weight 0 counts as absent, one of weight 2 as two rows.

        Returns
        -------
        self

        Raises
        ------
        InvalidDataError
            If X has numbers that aren't finite, or fewer rows than archetypes.
        InvalidSettingError
            If a parameter is out of its range.
        """
        with self._fitting(), torch.no_grad():
            rows = rows_as_tensor(self, X, reset=True)
            weights = self._check_weights(sample_weight, rows)
            with suitable_threads(rows.shape[1]):
                self._find(rows, weights)
        return self

    def fit_transform(
        self, X: ArrayLike | Tensor, y: Any = None, sample_weight: ArrayLike | None = None, **ignored: Any
    ) -> Any:
        """Fit, then return the weights of the same rows; see ``fit`` and ``transform``."""
        return self.fit(X, sample_weight=sample_weight).transform(X)

    def transform(self, X: ArrayLike | Tensor) -> Any:
        """Weights of each row on the archetypes: those of the nearest point of the archetypes' hull.

        They don't depend on the other rows of X.

        Parameters
        ----------
        X : array or Tensor of shape (n, d)

        Returns
        -------
        ndarray of shape (n, n_archetypes), or a Tensor on the device of X if that is one
            Each row is 0 or more and adds up to 1.
        """
        check_is_fitted(self)
        rows = rows_as_tensor(self, X, reset=False)
        Z = torch.as_tensor(self.archetypes_, device=rows.device, dtype=torch.float64)
        with torch.no_grad(), suitable_threads(rows.shape[1]):
            A = mixtures(rows, Z).to(rows.dtype)
        return A if isinstance(X, Tensor) else A.numpy()

    def inverse_transform(self, A: ArrayLike | Tensor) -> Any:
        """Rows that have the weights A: ``A @ archetypes_``.

        Parameters
        ----------
        A : array or Tensor of shape (n, n_archetypes)
            Of any sign and sum; weights outside the simplex give points outside the hull.

        Returns
        -------
        ndarray of shape (n, d), or a Tensor on the device of A if that is one

        Raises
        ------
        InvalidDataError
            If A has another shape.
        """
        check_is_fitted(self)
        weights = A if isinstance(A, Tensor) else np.asarray(A)
        k = len(self.archetypes_)
        if weights.ndim != 2 or weights.shape[1] != k:
            raise InvalidDataError(
                f"{type(self).__name__}.inverse_transform: A must have shape (n, {k}), one column for each archetype; "
                f"got {tuple(weights.shape)}."
            )
        if isinstance(weights, Tensor):
            return weights @ torch.as_tensor(self.archetypes_, device=weights.device).to(weights.dtype)
        return weights @ self.archetypes_

    @property
    def _n_features_out(self) -> int:
        return len(self.archetypes_)

    # --- checks ------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        where = type(self).__name__
        for name in ("n_archetypes", "n_init", "max_iter", "coreset_size"):
            value = getattr(self, name)
            if name in ("n_init", "coreset_size") and value is None:
                continue
            check_number(value, name, where, low=1, integer=True)
        check_positive(self.tol, "tol", where)
        if self.coreset_size is not None and self.coreset_size < self.n_archetypes:
            raise InvalidSettingError(
                f"{where}: coreset_size={self.coreset_size} is below n_archetypes={self.n_archetypes}; make it larger, "
                "some hundred rows at least, or leave it out."
            )

    def _check_weights(self, sample_weight: ArrayLike | None, X: Tensor) -> Tensor:
        where = type(self).__name__
        given = sample_weight.detach().cpu().numpy() if isinstance(sample_weight, Tensor) else sample_weight
        try:
            with np.errstate(invalid="ignore"):  # some bits of NaN make noise
                checked = _check_sample_weight(given, np.empty((len(X), 0)), dtype=np.float64)
        except ValueError as error:
            raise InvalidDataError(f"{where}: {error}") from error
        if (checked < 0).any():
            row = int(np.flatnonzero(checked < 0)[0])
            raise InvalidDataError(
                f"{where}: sample_weight is negative in row {row} ({checked[row]:g}); weights are 0 or more."
            )
        with np.errstate(over="ignore"):
            if not np.isfinite(checked.sum()):
                raise InvalidDataError(
                    f"{where}: sample_weight adds up to more than a float64 can hold; divide weights by the largest."
                )
        present = int((checked > 0).sum())
        if present < self.n_archetypes:
            what = "rows" if sample_weight is None else "rows of a weight above 0"
            raise InvalidDataError(
                f"{where}: X has {present} {what}, fewer than n_archetypes={self.n_archetypes} (n_samples={len(X)}); "
                "ask for fewer archetypes, or give more rows."
            )
        return torch.as_tensor(checked, device=X.device)

    # --- the fit -----------------------------------------------------------------------------------------------

    def _find(self, X: Tensor, weights: Tensor) -> None:
        kept = torch.nonzero(weights > 0)[:, 0]
        size = self.coreset_size or max(1000, len(kept) // 20)
        rows, part = (X, weights) if len(kept) == len(X) else (X[kept], weights[kept])
        if len(rows) <= size:
            first, part = distinct_rows(rows, part)
            rows, kept = rows[first], kept[first]
        mass = float(part.sum())
        share = (part / mass).to(X.dtype)
        centred, scale = standardized(rows, share)
        solution = self._solve(centred, share, size)
        self._keep(solution, centred, share, scale, mass)
        self._name_rows(solution, X, kept.cpu().numpy())

    def _solve(self, X: Tensor, share: Tensor, size: int) -> Solution:
        if self.n_archetypes == 1:  # the mean is the best mixture of rows
            return _mean_alone(X, share)
        report = _Report(self.verbose, self.max_iter)
        with report.open:
            return solve(
                X,
                share,
                self.n_archetypes,
                n_init=self.n_init or (4 if len(X) <= 10_000 else 12),
                coreset_size=size,
                max_iter=self.max_iter,
                tol=self.tol,
                rng=np.random.default_rng(self.seed_),
                report=report,
            )

    def _keep(self, solution: Solution, X: Tensor, share: Tensor, scale: float, mass: float) -> None:
        """Set the attributes of a solution, in units of the data, and order its archetypes by their mean weight."""
        unit = scale**2 * mass
        A = mixtures(X, solution.archetypes.double())
        order = torch.argsort(share.double() @ A, descending=True, stable=True).cpu().numpy()
        solution.weights = solution.weights[order]
        left, gap = certificate(X, share, A, solution.archetypes.double())
        self.reconstruction_error_ = left * unit
        self.explained_variance_ratio_ = 1.0 - left if scale > 0 else 1.0
        self.duality_gap_ = gap * unit
        self.restart_errors_ = np.array(solution.starts) * unit
        self.history_ = {"rss": [r * unit for r in solution.rss]}
        self.n_iter_ = len(solution.rss)
        self.converged_ = solution.converged

    def _name_rows(self, solution: Solution, X: Tensor, kept: NDArray[np.int64]) -> None:
        named = []
        for b in solution.weights:
            support = np.flatnonzero(b)
            named.append(support[np.argsort(-b[support], kind="stable")])
        self.archetype_rows_ = [kept[solution.rows[s]] for s in named]
        self.archetype_row_weights_ = [b[s] for b, s in zip(solution.weights, named, strict=True)]
        mixed = [
            weights @ X[torch.as_tensor(rows, device=X.device)].double().cpu().numpy()
            for rows, weights in zip(self.archetype_rows_, self.archetype_row_weights_, strict=True)
        ]
        self.archetypes_ = np.stack(mixed).astype(np.dtype(str(X.dtype).removeprefix("torch.")))


def rows_as_tensor(estimator: Any, X: ArrayLike | Tensor, *, reset: bool) -> Tensor:
    """Convert rows to a float32 or float64 tensor, checked like ``check_events``; a tensor stays on its device."""
    if not isinstance(X, Tensor):
        if isinstance(estimator, Estimator):
            X = estimator._learned(X) if reset else estimator._encoded(X)
        return _tensor_of(check_events(estimator, X, reset=reset))
    if X.device.type == "cpu":
        return _tensor_of(check_events(estimator, X.detach().numpy(), reset=reset))
    # Check the shape on one row, and finiteness on the device.
    check_events(estimator, X[:1].detach().cpu().numpy(), reset=reset)
    rows = X.detach()
    rows = rows if rows.dtype in (torch.float32, torch.float64) else rows.double()
    if not bool(torch.isfinite(rows).all()):
        row = int((~torch.isfinite(rows)).any(1).nonzero()[0])
        raise InvalidDataError(
            f"{type(estimator).__name__}: X has NaN or infinity in row {row}; impute or drop such rows."
        )
    return rows


def _tensor_of(X: NDArray[Any]) -> Tensor:
    """A tensor that shares the memory of ``X`` where torch can; it must not be written to."""
    if any(s < 0 for s in X.strides):
        X = X.copy()
    if not X.flags.writeable:  # torch would warn of what nobody does here
        X = np.asarray(_Lent(X))
    return torch.from_numpy(X)


class _Lent:
    """An array that says of itself that it may be written to."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array  # whose memory it is
        interface = array.__array_interface__
        self.__array_interface__ = interface | {"data": (interface["data"][0], False)}


def _mean_alone(X: Tensor, share: Tensor) -> Solution:
    weights = share.double()[None].cpu().numpy()
    left = float(share.double() @ torch.linalg.vector_norm(X, dim=1).square().double())
    return Solution(X.new_zeros(1, X.shape[1]), np.arange(len(X)), weights, [left], [left], converged=True)


class _Report:
    """Shows the stages of a fit and the explained share of variance."""

    def __init__(self, show: bool, max_iter: int) -> None:
        self.show = show
        self.max_iter = max_iter
        self.name = ""
        self.open = contextlib.ExitStack()

    def __call__(self, name: str, rss: float) -> None:
        if name != self.name:
            self.open.close()
            total = self.max_iter if name == "all rows" else None
            self.name = name
            self.advance = self.open.enter_context(stage(f"archetypes: {name}", total, show=self.show))
        self.advance(explained=1 - rss)
