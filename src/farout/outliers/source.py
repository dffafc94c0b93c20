"""The protocol of outlier sources: fit on normal data, then give outliers of a chosen strength."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.utils.validation import check_is_fitted
from torch import Tensor
from torch.utils.data import IterableDataset

from farout.base.estimator import Estimator, classes_of, is_fitted
from farout.base.validation import check_labels, check_number, encode_labels, seed_of
from farout.columns import Schema
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.flows.sharing import fitted_flow

__all__ = [
    "OutlierBatches",
    "OutlierStream",
    "OutlierSource",
    "Outliers",
    "Schedule",
    "Strength",
    "draw_strengths",
    "strength_ends",
]


@dataclass(frozen=True, repr=False)
class Outliers:
    """Generated outliers.

    Attributes
    ----------
    x : ndarray of shape (n, d)
        In the units of the data; codes of the schema, where the source was fitted on a frame.
    y : ndarray of shape (n,) or None
        The class that each was drawn for; None without classes.
    strength : ndarray of shape (n,)
        How strong each was asked to be; NaN where the source has no such notion.
    source : ndarray of shape (n,)
        Name of the source of each.
    weights : ndarray of shape (n, k) or None
        How much each has of each archetype, where the source draws such weights; in a mixture, NaN for the outliers
        of other sources.
    sigma : ndarray of shape (n,) or None
        Radius of each in latent space, as a multiple of the typical (median) one of rows that the flow held out;
        None where the source has no such radius, NaN for such outliers in a mixture.
    tail : ndarray of shape (n,) or None
        Probability that a row held out lies as far from the centre as each, or farther; None and NaN as for ``sigma``.
    least_tail : float or None
        The smallest probability that the held-out rows can tell: a ``tail`` of this value means "less than this".
    kind : int64 ndarray of shape (n,) or None
        Which of its source's kinds each is, from 0 to ``n_kinds - 1``; None where all are of one.
    schema : Schema or None
        Of the frame that the source was fitted on.

    Examples
    --------
    >>> import pyarrow as pa
    >>> import farout as fo
    >>> rng = np.random.default_rng(0)
    >>> frame = pa.table({"size": rng.normal(size=60), "legs": rng.integers(2, 5, 60), "colour": ["red", "blue"] * 30})
    >>> source = fo.NormalShell(flow=fo.FlowDensity(max_steps=20, random_state=0)).fit(frame)
    >>> source.sample(5, random_state=0).to_frame().schema.equals(frame.schema)
    True
    """

    x: NDArray[Any]
    y: NDArray[Any] | None
    strength: NDArray[np.float64]
    source: NDArray[np.str_]
    weights: NDArray[np.float64] | None = None
    kind: NDArray[np.int64] | None = None
    sigma: NDArray[np.float64] | None = None
    tail: NDArray[np.float64] | None = None
    least_tail: float | None = None
    schema: Schema | None = None

    def __len__(self) -> int:
        return len(self.x)

    def to_frame(self) -> Any:
        """The outliers as the data look: a frame of the library, columns, types and categories of that of ``fit``.

        Each cell becomes the nearest value that its column can hold (`Schema.decode`), so that a row may be less strong
        than its code in ``x``: a count below 0 becomes 0.

        Raises
        ------
        InvalidDataError
            If the source was fitted on arrays, which have no such columns.
        """
        if self.schema is None:
            raise InvalidDataError(
                "Outliers.to_frame: the source was fitted on an array, so its columns have no names or types; take x, "
                "or fit the source on a frame (pandas, polars, pyarrow)."
            )
        return self.schema.decode(self.x)

    def __repr__(self) -> str:
        names = ", ".join(sorted(set(self.source.tolist())))
        classes = "no classes" if self.y is None else f"{len(np.unique(self.y))} classes"
        strength = "" if not (told := _ends(self.strength)) else f", strength {told}"
        if self.tail is not None and self.least_tail is not None and (told := _ends(self.tail)):
            less = np.nanmin(self.tail) <= self.least_tail
            strength += f", tail probability {'less than ' if less else ''}{told}"
        return f"Outliers({len(self)} rows of {self.x.shape[1]} numbers from {names}, {classes}{strength})"


def _ends(values: NDArray[np.float64]) -> str:
    """The least and the largest of the finite values, as text; empty where there are none."""
    ends = sorted({float(v) for v in values if np.isfinite(v)})
    return "" if not ends else f"{ends[0]:.4g}" + (f" to {ends[-1]:.4g}" if len(ends) > 1 else "")


@dataclass(frozen=True)
class Schedule:
    """A strength that changes as training goes on, linearly from ``start`` to ``end``.

    Parameters
    ----------
    start, end : float
        Strength at the first and at the last step; above 0.

    Examples
    --------
    >>> Schedule(4.0, 2.0).at(0.25)
    3.5
    """

    start: float
    end: float

    def at(self, progress: float) -> float:
        """Strength at ``progress``, from 0 to 1."""
        return self.start + (self.end - self.start) * progress


Strength = float | tuple[float, float] | Schedule


def strength_ends(strength: Strength, where: str) -> tuple[float, ...]:
    """The one number, or the two ends of a range or a schedule.

    Raises
    ------
    InvalidSettingError
        If it is none of these, not above 0, or a range runs backwards.
    """
    if isinstance(strength, Schedule):
        ends: tuple[Any, ...] = (strength.start, strength.end)
    else:
        ends = tuple(np.atleast_1d(cast(Any, strength)).tolist())
    numbers = all(isinstance(e, int | float) and not isinstance(e, bool) and np.isfinite(e) and e > 0 for e in ends)
    if not numbers or not 1 <= len(ends) <= 2:
        raise InvalidSettingError(
            f"{where}: strength must be a number above 0, a range (low, high), or a Schedule; got {strength!r}."
        )
    if not isinstance(strength, Schedule) and ends[0] > ends[-1]:
        raise InvalidSettingError(f"{where}: the range of strengths {strength!r} runs backwards; give (low, high).")
    return tuple(float(e) for e in ends)


def draw_strengths(
    strength: Strength, n: int, progress: float, rng: np.random.Generator, where: str
) -> NDArray[np.float64]:
    """``n`` strengths: a number repeated, a range drawn from uniformly, or a schedule's value at ``progress``."""
    ends = strength_ends(strength, where)
    if isinstance(strength, Schedule):
        return np.full(n, strength.at(progress))
    return np.full(n, ends[0]) if len(ends) == 1 else rng.uniform(ends[0], ends[1], size=n)


class OutlierSource(Estimator):
    """Where outliers come from.

    A source is fitted on normal data alone. A model takes its source in the constructor and fits it on its own
    training data, so that no fold of a cross-validation leaks into it.

    Attributes
    ----------
    event_shape_ : tuple of int
        Shape of one event.
    classes_ : ndarray of shape (n_classes,)
        Labels that outliers come with; only where there are any.
    """

    event_shape_: tuple[int, ...]
    classes_: NDArray[Any]

    def _check_settings(self) -> None:
        """A flow, where the source has such a parameter, must be one."""
        flow = self.get_params(deep=False).get("flow")
        if flow is not None and not isinstance(flow, FlowDensity):
            raise InvalidSettingError(f"{type(self).__name__}: flow must be a FlowDensity or None; got {flow!r:.80}.")

    @abstractmethod
    def _draw(self, n: int, y: ArrayLike | None, rng: np.random.Generator, progress: float) -> Outliers: ...

    @abstractmethod
    def process_inliers(self, X: ArrayLike, y: ArrayLike | None = None, *, random_state: Any = None) -> NDArray[Any]:
        """Inliers processed as this source's outliers are, of shape (n, d).

        Where outliers were decoded by a flow, inliers get its noise, are encoded and decoded, so that a model that
        learns from both sees no difference but the one that matters.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
        random_state : int, Generator or None, default=None
        """

    def sample(
        self,
        n: int,
        y: ArrayLike | None = None,
        *,
        random_state: Any = None,
        progress: float = 1.0,
    ) -> Outliers:
        """Draw outliers.

        Parameters
        ----------
        n : int
        y : label or array of shape (n,), optional
            The classes to draw for; by their share in training when omitted.
        random_state : int, Generator or None, default=None
            The same int gives the same outliers.
        progress : float, default=1.0
            How far training has gone, from 0 to 1; only a `Schedule` of strengths reads it.

        Returns
        -------
        Outliers

        Raises
        ------
        NotFittedError
            Before ``fit``.
        InvalidDataError
            If a class is unknown.
        """
        check_is_fitted(self)
        n = check_number(n, "n", f"{type(self).__name__}.sample", low=1, integer=True)
        drawn = self._draw(n, y, np.random.default_rng(seed_of(random_state)), progress)
        return replace(drawn, schema=vars(self).get("schema_"))

    @property
    def n_kinds(self) -> int:
        """How many kinds of outliers it makes, which a model may learn to tell apart; 1 by default."""
        return 1

    def stays_fresh(self) -> bool:
        """Whether outliers should be generated anew for each batch: by default, where a strength has a `Schedule`."""
        return any(isinstance(value, Schedule) for value in self.get_params(deep=False).values())

    def batches(
        self, batch_size: int = 128, *, random_state: Any = None, distinct: int | None = None, kinds: bool = False
    ) -> "OutlierBatches":
        """Endless outliers for a training loop of your own.

        Parameters
        ----------
        batch_size : int, default=128
        random_state : int, Generator or None, default=None
        distinct : int, optional
            Number of distinct outliers. They are generated once and reused in random order; when omitted, every batch
            is generated anew.
        kinds : bool, default=False
            Give the kind of each outlier too.

        Returns
        -------
        OutlierBatches
            A torch ``IterableDataset`` of pairs ``(x, y)``, or of ``(x, y, kind)``.

        Raises
        ------
        NotFittedError
            Before ``fit``.
        InvalidSettingError
            If ``batch_size`` or ``distinct`` is below 1.
        """
        check_is_fitted(self)
        where = f"{type(self).__name__}.batches"
        batch_size = check_number(batch_size, "batch_size", where, low=1, integer=True)
        distinct = check_number(distinct, "distinct", where, low=1, integer=True, none_ok=True)
        return OutlierBatches(self, batch_size, seed_of(random_state), distinct, kinds)

    # --- for sources that stand on a flow, given as the parameter ``flow`` --------------------------------------------

    def _stand_on_flow(self, flow: FlowDensity | None, X: ArrayLike, y: ArrayLike | None, least: int) -> NDArray[Any]:
        """Set ``flow_``, fitted on these rows unless it comes fitted, and take over its shape and classes.

        Returns the checked rows, of shape (n, d); there must be ``least`` of them, or 2 where the flow is to be fitted.
        """
        X = self._check_rows(X, self._asked_shape(flow), min_rows=least if is_fitted(flow) else max(least, 2))
        self._use_flow(fitted_flow(self, flow, X, y), X)
        return X

    def _use_flow(self, flow: FlowDensity, X: NDArray[Any]) -> None:
        """Take a fitted flow with its shape and classes; rows that don't fit it are an error."""
        self.flow_ = flow
        self.event_shape_ = flow.event_shape_
        classes = classes_of(flow)
        if classes is not None:
            self.classes_ = classes
        if len(X):
            flow._query(self._named(X[:1]))

    def _asked_shape(self, flow: FlowDensity | None) -> tuple[int, ...] | None:
        """The event shape that was asked for, by this source, the model around it, or its flow; None for vectors."""
        asked = self._handing().event_shape
        if asked is None and flow is not None:
            asked = flow.event_shape_ if is_fitted(flow) else flow.event_shape
        return asked

    def _labels_of(self, y: ArrayLike | None, n: int) -> NDArray[Any] | None:
        """Labels of n rows, checked; None without, and where the source knows no classes."""
        classes, where = classes_of(self), type(self).__name__
        if y is None or classes is None:
            return None
        encode_labels(y, classes, n, where)
        return check_labels(y, n, where)

    def _asked_labels(self, y: ArrayLike | None, n: int) -> NDArray[Any] | None:
        """Labels that ``sample`` was asked for, one a row; a single label stands for all; None where none were."""
        if y is None:
            return None
        classes, where = classes_of(self), type(self).__name__
        if classes is None:
            raise InvalidDataError(f"{where}: got y, but it was fitted without labels; leave y out.")
        labels = np.full(n, y) if np.ndim(cast(Any, y)) == 0 else check_labels(y, n, where)
        return classes[encode_labels(labels, classes, n, where)]


def shapes_inside(source: OutlierSource) -> list[tuple[int, ...]]:
    """Event shapes that a source and the models inside it were given, and those of images that fitted ones learned."""
    shapes = []
    for model in cast(OutlierSource, clone(source)).nested_models():  # without what an earlier fit of the source left
        learned = vars(model).get("event_shape_", ())
        shapes.append(learned if len(learned) == 3 else model.get_params(deep=False).get("event_shape"))
    return [shape for shape in shapes if shape is not None]


class OutlierBatches(IterableDataset[tuple[Tensor, ...]]):
    """Endless batches of outliers, as a torch ``IterableDataset``; each worker and each pass has its own draws.

    The draws follow from ``seed`` alone; with workers, from the DataLoader's own ``generator`` as well. Workers of a
    flow on a GPU need ``multiprocessing_context="spawn"``, since a process that is forked off can't use one.

    Yields
    ------
    x : Tensor of shape (batch_size, *event_shape)
    y : int64 Tensor of shape (batch_size,)
        Class indices, -1 where there is no class.
    kind : int64 Tensor of shape (batch_size,)
        Only if ``kinds``: which of the source's kinds each is.

    Parameters
    ----------
    source : OutlierSource
        Fitted.
    batch_size : int
    seed : int
    distinct : int, optional
        Number of distinct outliers, generated once a pass and reused, in another order each time.
    kinds : bool, default=False
        Yield kinds too.
    dtype : torch.dtype, optional
        Of x; as the source makes it, which is float64 for tables, when None.
    """

    def __init__(
        self,
        source: OutlierSource,
        batch_size: int,
        seed: int,
        distinct: int | None = None,
        kinds: bool = False,
        dtype: torch.dtype | None = torch.float32,
    ) -> None:
        self.source = source
        self.batch_size = batch_size
        self.seed = seed
        self.distinct = distinct
        self.kinds = kinds
        self.dtype = dtype
        self.progress = 1.0
        self.passes = 0

    def __iter__(self) -> "OutlierStream":
        # A worker has a fresh copy of this object for each pass, so it's the loader's seed that tells passes apart.
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng([self.seed, self.passes, 0 if worker is None else worker.seed])
        self.passes += 1
        return OutlierStream(self, rng)


class OutlierStream(Iterator[tuple[Tensor, ...]]):
    """One pass over `OutlierBatches`; its state can be kept, so that a training that was cut off goes on with it.

    Parameters
    ----------
    batches : OutlierBatches
    rng : Generator
    """

    chunk = 1024  # outliers that one call of the source makes: a flow decodes many at once more quickly

    def __init__(self, batches: OutlierBatches, rng: np.random.Generator) -> None:
        self.batches = batches
        self.rng = rng
        self.pool = None if batches.distinct is None else self._generated(batches.distinct)
        self.order = np.empty(0, dtype=np.int64)  # indices into the pool that come next
        # With which the block of fresh outliers was made.
        self.start, self.progress = rng.bit_generator.state, batches.progress
        self.block: tuple[Tensor, ...] | None = None
        self.taken = 0  # outliers of the block

    def __next__(self) -> tuple[Tensor, ...]:
        return self._fresh() if self.pool is None else self._again(self.pool)

    def _fresh(self) -> tuple[Tensor, ...]:
        size = self.batches.batch_size
        if self.block is None or self.taken == len(self.block[0]):
            self.start, self.progress, self.taken = self.rng.bit_generator.state, self.batches.progress, 0
            self.block = self._new_block()
        now = slice(self.taken, self.taken + size)
        self.taken += size
        return tuple(column[now] for column in self.block)

    def _new_block(self) -> tuple[Tensor, ...]:
        n = self.batches.batch_size * max(1, self.chunk // self.batches.batch_size)
        return self._tensors(self.batches.source.sample(n, random_state=self.rng, progress=self.progress))

    def _again(self, pool: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """A batch of the pool in random order; it may begin in one round through the pool and end in the next."""
        size = self.batches.batch_size
        while len(self.order) < size:
            self.order = np.concatenate([self.order, self.rng.permutation(len(pool[0]))])
        now, self.order = torch.from_numpy(self.order[:size]), self.order[size:]
        return tuple(column[now.to(column.device)] for column in pool)

    def _generated(self, n: int) -> tuple[Tensor, ...]:
        sizes = [min(self.chunk, n - i) for i in range(0, n, self.chunk)]
        parts = [self._tensors(self.batches.source.sample(size, random_state=self.rng)) for size in sizes]
        return tuple(torch.cat(column) for column in zip(*parts, strict=True))

    def _tensors(self, out: Outliers) -> tuple[Tensor, ...]:
        source = self.batches.source
        x = torch.tensor(out.x, dtype=self.batches.dtype).reshape(len(out), *source.event_shape_)
        y, kind = torch.full((len(out),), -1), torch.zeros(len(out), dtype=torch.int64)
        classes = classes_of(source)
        if out.y is not None and classes is not None:
            y = torch.from_numpy(np.searchsorted(classes, out.y).astype(np.int64))
        if out.kind is not None:
            kind = torch.from_numpy(out.kind)
        return (x, y, kind) if self.batches.kinds else (x, y)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream is; its pool follows from the seed."""
        state = self.start if self.pool is None and self.block is not None else self.rng.bit_generator.state
        return {
            "rng": state,
            "progress": self.progress,
            "order": torch.from_numpy(self.order),
            "taken": self.taken if self.block else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another stream of the same batches was."""
        self.rng.bit_generator.state = self.start = state["rng"]
        self.progress = state["progress"]
        self.order = state["order"].numpy()
        if state["taken"] is not None:
            self.block, self.taken = self._new_block(), state["taken"]
