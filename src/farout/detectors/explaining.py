"""Which columns make a row unusual: each in turn is exchanged with what the other columns let expect."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.errors import InvalidDataError, RunError
from farout.flows.units import ROUNDING, Units

__all__ = ["Explained", "explain", "explain_rows", "keep_typical", "typical_rows"]

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Abnormality = Callable[[NDArray[Any]], Floats]

ROWS = 1000  # training rows kept to take values from, at most
VALUES = 5  # nearest of them, of whose values the middle one is expected
REACH = 3.0  # standard deviations from which on one column counts no more: it alone must not decide which rows are near
DEPARTED = 10.0  # standard deviations that stand for another value than a constant
COLUMNS = 16  # columns that are tried on each row, at most; docs/results/part-6.md has others
NUMBERS = 2**21  # numbers in the rows that are scored at a time
LARGEST = 1e100  # bound of scores and distances, so that sums stay finite


class Explained(Protocol):
    """A detector of vectors that can tell which columns make a row unusual."""

    contamination: float
    seed_: int
    typical_rows_: NDArray[np.float64]
    usual_abnormality_: NDArray[np.float64]

    def _abnormality(self, X: NDArray[Any]) -> Floats:
        """How unusual checked rows are, of shape (n,), higher is stranger; not yet bounded to a probability."""

    def _query(self, X: ArrayLike) -> NDArray[Any]:
        """Rows, checked."""


def keep_typical(model: Explained, X: NDArray[Any], found: Floats, rows: Indices | None = None) -> None:
    """Keep what `explain` needs: training rows, and how unusual held-out rows are, or these where none are held out.

    Training rows are those of ``X``, or these ``rows`` of it.

    ``typical_rows_`` has the shape (m, d), m at most 1 000; ``usual_abnormality_`` are the median of what was ``found``
    and the quantile that only a share of ``contamination`` exceeds.
    """
    model.typical_rows_ = typical_rows(X, model.seed_, rows)
    model.usual_abnormality_ = np.quantile(found.clip(-LARGEST, LARGEST), [0.5, 1 - model.contamination])


def explain(self: Explained, X: ArrayLike) -> Floats:
    """How much each column has to do with how unusual a row is; a method of the detectors of vectors.

    Two questions are asked of each column. How much less unusual is the row when the column has the value that the
    other columns let expect, which is the middle one among the five training rows nearest in the other columns? And
    how much more unusual is a normal row when it takes the column's value? That is the training row nearest to this
    one, once the column with the largest answer to the first question has the value expected. Of all columns'
    answers to either question, each column has a share; answers below 0 count as 0. The mean of the two shares is
    returned. The answers are the last and the first of the terms that a Shapley value averages (Shapley, 1953):
    the first question finds columns that don't go with the others, the second several strange ones at once.

    Unusual is what `score_samples` says, before it is bounded to a probability. Where that finds a row no more
    unusual than half of the held-out rows, there is nothing that a column could have done to it, and shares are
    those in the squared distance from the expected values, in standard deviations. From there to the threshold,
    shares pass over from these to those of the score.

    The cost is that of scoring 34 rows for each one: the 16 columns farthest from their expected values are tried,
    and the shares of others are 0.

    Parameters
    ----------
    X : array or frame of shape (n, d)

    Returns
    -------
    ndarray of shape (n, d)
        Shares of the columns: 0 or more, with a sum of 1 in each row. Columns of a frame that are encoded, such as
        categories, have one share each.

    Raises
    ------
    InvalidDataError
        If the model was fitted on images, or the rows can't be used.
    RunError
        If the model was saved by an earlier version, which kept no training rows.
    """
    rows = self._query(X)
    where = type(self).__name__
    if len(vars(self).get("event_shape_") or (1,)) == 3:
        raise InvalidDataError(
            f"{where}.explain: it was fitted on images, and shares are those of columns of tables and embeddings; "
            "score_samples tells how unusual an image is."
        )
    if "typical_rows_" not in vars(self):
        raise RunError(f"{where}.explain: it was saved by an earlier farout, which kept no rows; fit it again.")
    schema = vars(self).get("schema_")  # of a frame, whose columns may be several of ours
    groups = None if schema is None else list(schema.groups().values())
    low, high = self.usual_abnormality_.tolist()
    return explain_rows(self._abnormality, rows, self.typical_rows_, groups, usual=(low, high))


def typical_rows(X: NDArray[Any], seed: int, rows: Indices | None = None) -> Floats:
    """Some training rows, at most 1 000, of shape (m, d): `explain_rows` takes expected values from them.

    Parameters
    ----------
    X : ndarray of shape (n, d)
    seed : int
    rows : int64 ndarray of shape (k,), optional
        Which of the rows to choose from; all when omitted.
    """
    kept = np.sort(np.random.default_rng(seed).permutation(len(X) if rows is None else len(rows))[:ROWS])
    return X[kept if rows is None else rows[kept]].astype(np.float64)


def explain_rows(
    abnormality: Abnormality,
    X: NDArray[Any],
    typical: Floats,
    groups: Sequence[Sequence[int]] | None = None,
    *,
    usual: tuple[float, float] = (-LARGEST, -LARGEST),
    most: int = COLUMNS,
) -> Floats:
    """Shares of columns in how unusual rows are; `explain` says what they mean.

    Parameters
    ----------
    abnormality : callable
        How unusual rows of shape (n, d) are, of shape (n,); higher is stranger. It is asked about many rows at once,
        and its answer for a row must not depend on those beside it.
    X : ndarray of shape (n, d)
        Finite.
    typical : ndarray of shape (m, d)
        Training rows.
    groups : sequence of sequences of int, optional
        Indices of columns that belong together, such as those of the levels of a category; a group without columns has
        a share of 0. Each column alone when omitted.
    usual : tuple of float, optional
        How unusual a row is of which distances alone tell the shares, and of which the score alone does; between them,
        both do. The score alone when omitted.
    most : int, default=16
        Columns or groups that are tried on each row, at most.

    Returns
    -------
    ndarray of shape (n, d) or (n, n_groups)
        0 or more, with a sum of 1 in each row.

    Examples
    --------
    >>> typical = np.random.default_rng(0).normal(size=(200, 3))
    >>> rows = np.array([[0.1, 9.0, -0.2], [5.0, 5.0, 0.0]])
    >>> explain_rows(lambda X: np.linalg.norm(X, axis=1), rows, typical).round(1).tolist()
    [[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]]
    """
    rows = np.asarray(X, np.float64)
    members = [
        np.asarray(group, np.int64) for group in (np.arange(rows.shape[1])[:, None] if groups is None else groups)
    ]
    space = _Space(typical, members)
    at_once = max(1, NUMBERS // (2 * (min(most, len(members)) + 1) * rows.shape[1]))
    parts = [_shares(abnormality, rows[i : i + at_once], space, usual, most) for i in range(0, len(rows), at_once)]
    return np.concatenate(parts)


class _Space:
    """Typical rows and the groups of their columns."""

    def __init__(self, typical: Floats, members: list[Indices]) -> None:
        self.typical = typical
        self.members = members
        self.units = Units.of(typical, (typical.shape[1],))
        self.single = np.array([k for k, columns in enumerate(members) if len(columns) == 1], np.int64)

    def apart(self, values: Floats, others: Floats) -> Floats:
        """Distances in each column, in standard deviations, of shape (..., d)."""
        scale, varies = self.units.scale.numpy(), self.units.varies
        with np.errstate(over="ignore"):
            difference = np.abs(values - others)
            departed = np.where(difference > ROUNDING * np.abs(others), DEPARTED, 0.0)
            return np.where(varies, difference / np.where(varies, scale, 1.0), departed).clip(max=LARGEST)

    def squares(self, row: Floats) -> Floats:
        """Squared distances of a row of shape (d,) to typical rows, bounded in each group, of shape (m, n_groups)."""
        squares = np.square(np.minimum(self.apart(row, self.typical), REACH))
        of_groups: Floats = np.stack([squares[:, columns].sum(axis=1) for columns in self.members], axis=1)
        return of_groups.clip(max=REACH**2)

    def nearest(self, row: Floats) -> Floats:
        """The typical row that is nearest to one of shape (d,)."""
        found: Floats = self.typical[int(_ranks(self.squares(row).sum(axis=1)).argmin())]
        return found

    def expected(self, row: Floats) -> tuple[Floats, Floats]:
        """What the other columns let expect of each column of a row, of shape (d,), and how far the row is from it.

        These are squared distances of the groups, of shape (n_groups,), in standard deviations.
        """
        squares = self.squares(row)
        others = _ranks(squares.sum(axis=1, keepdims=True) - squares)
        k = min(VALUES, len(others))
        near = np.argpartition(others, k - 1, axis=0)[:k] if k < len(others) else np.argsort(others, axis=0)
        expected = self._middle(row, np.sort(near, axis=0))  # by place: which they are is all that matters
        distances = np.square(self.apart(row, expected).clip(max=np.sqrt(LARGEST)))
        return expected, np.array([distances[columns].sum() for columns in self.members])

    def _middle(self, row: Floats, near: Indices) -> Floats:
        """Of the rows near to each group, of shape (k, n_groups), the values of the middle one: nearest to the others.

        In a single column these are the median; of an even number, the lower middle one.
        """
        expected, k = row.copy(), len(near)
        columns = np.array([self.members[g][0] for g in self.single], np.int64)
        values = self.typical[near[:, self.single], columns]
        expected[columns] = np.sort(values, axis=0)[(k - 1) // 2]
        for group, several in enumerate(self.members):
            if len(several) > 1:
                found = self.typical[near[:, group]][:, several]
                scale = np.where(self.units.varies, self.units.scale.numpy(), 1.0)[several]
                distances = np.abs((found[:, None] - found[None]) / scale).sum(axis=(1, 2))
                expected[several] = found[int(np.argmin(np.round(distances, 6)))]
        return expected


def _ranks(distances: Floats) -> Floats:
    """Distances of rows, of shape (m, ...), so that those which are equal but for rounding are in order of their place.

    Single and double precision then choose the same rows.
    """
    return np.round(distances, 6) + 1e-10 * np.arange(len(distances)).reshape(-1, *[1] * (distances.ndim - 1))


def _shares(abnormality: Abnormality, rows: Floats, space: _Space, usual: tuple[float, float], most: int) -> Floats:
    """Shares of some rows, which are scored together with all that is tried on them."""
    n = len(rows)
    expected, far = (np.stack(found) for found in zip(*map(space.expected, rows), strict=True))
    tried = np.argsort(-far, axis=1, kind="stable")[:, :most]
    found = _scores(abnormality, rows, expected, space, tried)
    own = found[:n, None]
    lessened = _differences(own, found[n:].reshape(tried.shape), tried, far.shape)
    # The column that does most must not choose the normal row that it is tried on: a neighbour has the same value.
    cleaned = rows.copy()
    for i, first in enumerate(np.where(lessened.max(axis=1) > 0, lessened.argmax(axis=1), tried[:, 0])):
        columns = space.members[first]
        cleaned[i, columns] = expected[i, columns]
    normal = np.stack([space.nearest(row) for row in cleaned])
    found = _scores(abnormality, normal, rows, space, tried)
    added = _differences(found[n:].reshape(tried.shape), found[:n, None], tried, far.shape)
    # Where one question has no answer, the other's stands for it, and where neither has, the distances do.
    some = np.broadcast_to([float(len(columns) > 0) for columns in space.members], far.shape)
    first, second = _in_proportion(lessened, added, far, some), _in_proportion(added, lessened, far, some)
    low, high = usual
    weight = ((own - low) / max(high - low, 1e-9 * max(abs(low), 1.0))).clip(0, 1)
    return weight * (first + second) / 2 + (1 - weight) * _in_proportion(far, some)


def _scores(abnormality: Abnormality, rows: Floats, values: Floats, space: _Space, tried: Indices) -> Floats:
    """Of rows, and then of each row with one of the groups that are tried taken from ``values``."""
    variants = np.repeat(rows[:, None], tried.shape[1], axis=1)
    for i, k in np.ndindex(*tried.shape):
        columns = space.members[tried[i, k]]
        variants[i, k, columns] = values[i, columns]
    every = np.concatenate([rows, variants.reshape(-1, rows.shape[1])])
    return abnormality(every).clip(-LARGEST, LARGEST)


def _differences(high: Floats, low: Floats, tried: Indices, shape: tuple[int, ...]) -> Floats:
    """Differences of scores of the groups that were tried, among zeros for the others; those of rounding are 0."""
    difference = high - low
    difference[difference <= 1e-9 * np.maximum(np.abs(high), np.abs(low))] = 0
    every = np.zeros(shape)
    np.put_along_axis(every, tried, difference, axis=1)
    return every


def _in_proportion(*choices: Floats) -> Floats:
    """Rows with a sum of 1: of each row the first of the choices in which it isn't all 0."""
    chosen = choices[-1]
    for choice in choices[-2::-1]:
        chosen = np.where(choice.max(axis=1, keepdims=True) > 0, choice, chosen)
    chosen = chosen / chosen.max(axis=1, keepdims=True)
    shares: Floats = chosen / chosen.sum(axis=1, keepdims=True)
    return shares
