"""FlowDensity: a normalizing flow as a scikit-learn estimator."""

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import DensityMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from farout.base.blocks import RowsOnDemand, blocks_of, filled, rows_at_once
from farout.base.encoding import lay_out_as_saved
from farout.base.estimator import Estimator, classes_of
from farout.base.holdout import holdout_split
from farout.base.ranks import in_parts, joint, own
from farout.base.training import (
    Budget,
    History,
    Objective,
    Training,
    TrainingRows,
    inference_device,
    seeded,
    suitable_threads,
    train,
)
from farout.base.validation import (
    Rows,
    check_flag,
    check_labels,
    check_number,
    check_training,
    encode_labels,
    resolve_event_shape,
)
from farout.errors import DivergedError, InvalidDataError
from farout.flows.architectures import build_flow, resolved
from farout.flows.class_gaussian import ClassGaussian
from farout.flows.columns import OnColumns, on_columns
from farout.flows.compiling import compiled_for
from farout.flows.flow import NO_CLASS, Flow
from farout.flows.marginals import Marginals
from farout.flows.transform import Chain, as_chain
from farout.flows.units import Units
from farout.flows.whitening import Whitening

__all__ = ["CHUNK", "FlowDensity"]

HELD = 10_000  # rows held out to keep the best weights, at most
LEARNED = 100_000  # rows that steps are fitted to before training, at most
FEWEST = 2000  # of a class among these, if it has so many
KEPT = 2**23  # numbers in training rows, from which on these are made a batch at a time, where they aren't on a GPU
MADE = 2**20  # numbers in rows that steps learn from, from which on these are made a block at a time
CHUNK = 1024  # rows that go through the flow at a time, for inference
ROWS_A_COLUMN = 10  # rows for each column below which training doesn't improve on a Gaussian copula


@dataclass(frozen=True)
class _Usual:
    """How a flow trains unless it is told otherwise, by likelihood after equal CPU time (docs/results/part-8.md)."""

    batch_size: int
    learning_rate: float
    epochs: int
    least_steps: int
    most_steps: int
    judging: int  # held-out rows that the best weights are told by, at most
    noise: float


VECTORS = _Usual(128, 2e-3, epochs=100, least_steps=200, most_steps=4000, judging=HELD, noise=0.02)
IMAGES = _Usual(64, 5e-3, epochs=40, least_steps=300, most_steps=3000, judging=1000, noise=0.02)
# A noise of 0.02, of 2.5 grey levels, would be most of what there is to learn of photographs; this one, beside uniform
# dequantisation, is for images without grey levels, or whose channels are equal.
NATURAL = _Usual(32, 5e-3, epochs=40, least_steps=300, most_steps=3000, judging=1000, noise=0.002)


class FlowDensity(DensityMixin, Estimator):
    """The exact density of data by a normalizing flow, conditional on the class where there are labels.

    ``log p(x|y) = log N(f(x; y); 0, I) + log|det df/dx|``, with the flow ``f`` (Dinh et al., 2015; Bungert, 2021). With
    labels, the class is hidden at random in training, so that the same model also gives ``log p(x)``.

    The flow's first step is `Units`, which scales rows, so that you give and get rows in the units of the data.
    Constant columns of a table have no density and are left out of the flow: their latent is 0, and ``decode`` gives
    the constant whatever the latent. A departure from a constant costs ``log(n + 1)`` nats, where ``n`` is the number
    of training rows.

    Parameters
    ----------
    event_shape : tuple of int, optional
        (channels, height, width) of images, with 1 or 3 channels and even sides; rows of X are flattened images. When
        omitted, rows are vectors.
    architecture : {"auto", "vector", "table", "image", "natural", "seed", "toy"} or callable, default="auto"
        "auto": "vector" for rows of numbers, "image" for grey images, "natural" for images of 3 channels or more.
        "table" is the default of `FlowDetector` for tables; "seed" and "toy" are Bungert's. A function builds one of
        your own; see `farout.flows.architectures`.
    options : dict, optional
        Keyword arguments of the architecture, such as ``{"coupling": "gin", "multiscale": True}``.
    noise : float, optional
        Standard deviation of the Gaussian noise added in training, in model units (images span [-1, 1], columns of
        tables have unit variance); for "table" it is added after whitening. When omitted 0.02, and 0.002 with
        "natural". Bungert has 0.15 for images, which leaves more speckle in outliers.
    class_dropout : float, default=0.1
        Share of training rows whose class is hidden; 0 gives a purely conditional model.
    max_steps : int, optional
        Gradient steps; chosen by the number of rows when omitted.
    batch_size : int, optional
        Rows per step; when omitted 128, for images 64, with "natural" 32.
    learning_rate : float, optional
        Peak of a cosine schedule; when omitted 2e-3, for images 5e-3.
    weight_decay : float, default=1e-5
    validation_fraction : float, default=0.05
        Share of rows held out for early stopping and to choose the best weights, at most 10 000 rows; 0 trains on all
        rows for all steps.
    patience : int, default=10
        Validations without improvement before training stops.
    training : Training, optional
        Device, precision, checkpoints, log.
    random_state : int, Generator or None, default=None
    verbose : bool, default=False
        A progress bar on stderr, when that is a terminal.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels.
    class_prior_ : ndarray of shape (n_classes,)
        Share of each class in training; only where there are labels.
    event_shape_ : tuple of int
    flow_ : Flow
        The torch module, from data units to latents. Flows on vectors are kept in float64 after training.
    held_radii_ : ndarray of shape (m,)
        Sorted norms of the latents of the held-out rows, encoded with the noise of training, each under its own class.
        Empty where none were held out.
    history_ : dict of str to list of float
        Loss in nats per dimension, and bits per dimension, by training step.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(200, centers=2, random_state=0)
    >>> flow = fo.FlowDensity(max_steps=100, random_state=0).fit(X, y)
    >>> Z = flow.encode(X, y)
    >>> bool(np.allclose(flow.decode(Z, y), X))
    True
    >>> X_new, y_new = flow.sample(5, random_state=0)
    >>> X_new.shape, y_new.shape
    ((5, 2), (5,))
    """

    _networks = ("flow_",)
    _squares = False  # units are learned from most rows, and the rest are clipped

    def __init__(
        self,
        event_shape: tuple[int, ...] | None = None,
        architecture: str | Callable[..., Flow] = "auto",
        options: Mapping[str, Any] | None = None,
        noise: float | None = None,
        class_dropout: float = 0.1,
        max_steps: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float = 1e-5,
        validation_fraction: float = 0.05,
        patience: int = 10,
        training: Training | None = None,
        random_state: Any = None,
        verbose: bool = False,
    ) -> None:
        self.event_shape = event_shape
        self.architecture = architecture
        self.options = options
        self.noise = noise
        self.class_dropout = class_dropout
        self.max_steps = max_steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.training = training
        self.random_state = random_state
        self.verbose = verbose

    # --- fitting -------------------------------------------------------------------------------------------------

    def _check_settings(self) -> None:
        where = type(self).__name__
        for name in ("batch_size", "patience", "max_steps"):
            check_number(getattr(self, name), name, where, low=1, integer=True, none_ok=name != "patience")
        check_number(self.learning_rate, "learning_rate", where, low=0, low_open=True, none_ok=True)
        check_number(self.noise, "noise", where, low=0, none_ok=True)
        check_number(self.weight_decay, "weight_decay", where, low=0)
        for name in ("class_dropout", "validation_fraction"):
            check_number(getattr(self, name), name, where, low=0, high=1, high_open=True)
        check_flag(self.verbose, "verbose", where)
        check_training(self.training, where)

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        where = type(self).__name__
        X = self._check_rows(X, self.event_shape)
        self.event_shape_ = resolve_event_shape(self._handing().event_shape, X.shape[1], where)
        labels = None if y is None else self._learn_classes(check_labels(y, len(X), where))
        units = Units.of(X, self.event_shape_)
        self.varies_ = units.varies
        if len(self.event_shape_) == 1:
            _require_two_columns(X, self.varies_, where)
        self.flow_ = self._assembled(units)
        self._train(X, labels)

    def _learn_classes(self, labels: NDArray[Any]) -> NDArray[np.int64]:
        self.classes_, indices = np.unique(labels, return_inverse=True)
        self.class_prior_ = np.bincount(indices) / len(indices)
        return cast(NDArray[np.int64], indices.astype(np.int64))

    def _build(self, name: str) -> Flow:
        return self._assembled(Units(self.event_shape_))

    def _assembled(self, units: Units) -> Flow:
        """The flow, untrained: units first, then the architecture on the columns that vary."""
        classes, varies = classes_of(self), self.varies_
        shape = self.event_shape_ if varies.all() else (int(varies.sum()),)
        n_classes = 0 if classes is None else len(classes)
        flow = build_flow(self.architecture, self.options, shape, n_classes=n_classes, seed=self.seed_ % 2**32).float()
        if not varies.all():
            flow = on_columns(flow, varies.tolist())
        flow = flow.on(as_chain(flow.transform).after(units))
        n_steps = vars(self).get("n_steps_")  # of a flow that stayed Gaussian
        return flow if n_steps is None else flow.on(cast(Chain, flow.transform)[:n_steps])

    def _n_gaussian(self) -> int:
        """How many of the first steps make the flow a Gaussian copula or discriminant analysis; 0 where none do."""
        steps = [getattr(step, "inner", step) for step in self._chain.transforms]
        ends = [i + 1 for i, step in enumerate(steps) if isinstance(step, Whitening | ClassGaussian)]
        return max(ends, default=0)

    @property
    def n_rows(self) -> int:
        """How many rows it was fitted on."""
        return int(self.units.n_rows)

    @property
    def units(self) -> Units:
        """Its first step."""
        return cast(Units, self._chain.transforms[0])

    def _value_range(self) -> tuple[float, float] | None:
        return self.units.value_range

    @property
    def _chain(self) -> Chain:
        return cast(Chain, self.flow_.transform)

    def parts(self) -> tuple[Chain, Flow]:
        """The first steps, which are fitted to data once, and the flow of the steps that training changes.

        Training noise is added between them, where all columns are on one scale; who trains the flow further works on
        what comes out of the first part. The steps are the flow's own, not copies.
        """
        k = min(self._chain.n_fitted_once, len(self._chain) - 1)
        return self._chain[:k], self.flow_.on(self._chain[k:])

    def _train(self, X: NDArray[Any], labels: NDArray[np.int64] | None) -> None:
        fraction = min(self.validation_fraction, HELD / len(X))  # more would make validations long, and no surer
        inner, held = holdout_split(len(X), fraction, labels, self.seed_, at_least=10)
        first, rest = self.parts()
        self._learn_gaussians(X, labels, _learned_from(inner, labels))
        judging = held[:: max(1, math.ceil(len(held) / self._usual().judging))]
        fitted, validation = self._batches_of(X, labels, inner, self._kept()), self._batches_of(X, labels, judging)
        if not self._n_gaussian():
            with seeded(self.seed_):
                rest.initialize(self.noisy(fitted[0][:CHUNK]), *(t[:CHUNK] for t in fitted[1:]))
        objective = self._objective(
            rest, float(first(torch.tensor(X[inner[:CHUNK]]).reshape(-1, *first.in_shape))[1].mean())
        )
        history = self._descend(rest, objective, fitted, validation)
        self.history_ = {"step": [float(s) for s in history.steps], **history.figures}
        self.freeze()
        self.held_radii_ = self._radii(self.clipped(X[held]), None if labels is None else labels[held])

    @torch.no_grad()
    def _learn_gaussians(self, X: NDArray[Any], labels: NDArray[np.int64] | None, rows: NDArray[np.int64]) -> None:
        """Let a flow that starts as Gaussians start as those of some rows.

        The Gaussians' steps learn from all of the rows, a block at a time if they are many. The steps behind, each of
        which has to see what the one before makes of them, learn from as many as are kept at once.
        """
        k = self._n_gaussian()
        if not k:
            return

        def conditions(some: NDArray[np.int64]) -> Tensor | None:
            given = None if labels is None else torch.from_numpy(labels[some])
            return self.flow_.condition(given, len(some))

        gaussians, behind = self._chain[1:k], self._chain[k:] if k < len(self._chain) else None
        condition = None if labels is None else RowsOnDemand(rows, lambda some: cast(Tensor, conditions(some)))
        gaussians.learn(_made(X, rows, lambda some: self.units.to_train(X[some]), MADE), condition)
        if behind is not None:
            few = rows[: max(CHUNK, MADE // X.shape[1])]
            given = conditions(few)
            known = gaussians.mapped(self.units.to_train(X[few]), given if gaussians.condition_features else None)
            behind.learn(known, given if behind.condition_features else None)

    def _batches_of(
        self, X: NDArray[Any], labels: NDArray[np.int64] | None, rows: NDArray[np.int64], most: float = math.inf
    ) -> list[Any]:
        """What comes out of the first of the `parts` for some rows, as `train` takes it, and their class indices.

        With more than ``most`` numbers, rows are made when they are asked for: a tensor of all would be another copy of
        the data.
        """
        first = self.parts()[0]

        def events(rows: NDArray[np.int64]) -> Tensor:
            u = self.units.to_train(X[rows])
            with torch.autocast("cpu", enabled=False):
                return first[1:].mapped(u) if len(first) > 1 else u

        made = _made(X, rows, events, most)
        return [made, *([] if labels is None else [torch.from_numpy(labels[rows])])]

    def _kept(self) -> float:
        """How many numbers of training rows are made at once; all where training brings them to a type."""
        precision = (self.training or Training()).precision
        return KEPT if precision == "32-true" or precision.endswith("mixed") else math.inf

    def _radii(self, X: NDArray[Any], labels: NDArray[np.int64] | None) -> NDArray[np.float64]:
        """Sorted norms of the latents of rows, with the noise of training, under their classes."""
        if not len(X):
            return np.empty(0)
        encoded = self._noisy_encoding(self.seed_)

        def norms(x: Tensor, c: Tensor | None) -> Tensor:
            Z = encoded(x, c).flatten(1).cpu().numpy()
            return torch.from_numpy(np.linalg.norm(Z.astype(np.float64), axis=1))[:, None]

        return np.sort(self._map(norms, X, labels)[:, 0])

    def _objective(self, rest: Flow, log_det: float) -> Objective:
        """Negative log-likelihood a dimension; ``log_det`` is the mean one of the part before, for bits/dim."""
        size = rest.latent_size
        varying = int(self.varies_.sum())
        zeros = (size - varying) * 0.5 * math.log(2 * math.pi)  # of constant columns, whose latents are 0
        offset = self._bits_offset

        def objective(batch: Any, progress: float) -> tuple[Tensor, dict[str, Any]]:
            u = own(self.noisy(batch[0]))
            labels = own(self.hidden(batch[1], rest.training)) if len(batch) > 1 else None
            log_p = joint(rest.log_prob(u, labels)).mean()
            if labels is not None and not rest.training and self.class_dropout:
                # For held-out rows "no class" counts as much as it does in training, and every row by both.
                log_p = torch.lerp(log_p, rest.log_prob(u).mean(), self.class_dropout)
            bits = -(log_p.detach() + log_det) / (size * math.log(2)) + offset
            return -(log_p + zeros) / varying, {"bits/dim": bits}

        return objective

    def _descend(self, rest: Flow, objective: Objective, rows: TrainingRows, validation: list[Tensor]) -> History:
        """Train; a flow that starts as Gaussians stays so unless held-out rows find training better.

        With too few rows to hold any out there is nothing to decide it by, and with too few for the columns, and for
        the classes, held-out rows never found it better: then it isn't trained at all, and its couplings, which change
        nothing, are left out.
        """
        gaussian = self._n_gaussian()
        classes = classes_of(self)
        least = ROWS_A_COLUMN * int(self.varies_.sum()) * (1 if classes is None else len(classes))
        judged = gaussian > 0 and len(validation[0]) > 0 and len(rows[0]) >= least
        if gaussian and not judged:
            self.n_steps_ = gaussian
            self.flow_ = self.flow_.on(self._chain[:gaussian])
            return History()
        before = copy.deepcopy(rest.state_dict()) if judged else {}
        at_start = _judge(rest, objective, validation) if judged else math.inf
        budget = self._budget(len(rows[0]))
        with compiled_for(rest, rows, budget, self.training, show=self.verbose):
            history = train(
                rest,
                objective,
                rows,
                budget,
                validation_rows=validation if len(validation[0]) else None,
                where=self.training,
                seed=self.seed_,
                verbose=self.verbose,
                name="flow",
                # A reversible chain looks at its errors, and of another's architecture nothing is known.
                same_work=isinstance(self.architecture, str) and not dict(self.options or {}).get("reversible"),
            )
        if judged and not _judge(rest, objective, validation) < at_start:
            rest.load_state_dict(before)
        return history

    def _budget(self, n: int) -> Budget:
        """Of a training on ``n`` rows."""
        usual = self._usual()
        return Budget(
            max_steps=self._steps(n),
            batch_size=usual.batch_size if self.batch_size is None else int(self.batch_size),
            learning_rate=usual.learning_rate if self.learning_rate is None else self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
        )

    def _steps(self, n: int) -> int:
        if self.max_steps is not None:
            return int(self.max_steps)
        usual = self._usual()
        passes = math.ceil(n / (usual.batch_size if self.batch_size is None else self.batch_size))
        return int(min(max(usual.epochs * passes, usual.least_steps), usual.most_steps))

    def _usual(self) -> _Usual:
        if resolved(self.architecture, self.event_shape_) == "natural":
            return NATURAL
        return IMAGES if len(self.event_shape_) == 3 else VECTORS

    def hidden(self, labels: Tensor, training: bool) -> Tensor:
        """Class indices; in training, a share of ``class_dropout`` of them hidden."""
        mask = torch.rand(len(labels), device=labels.device) < self.class_dropout
        return torch.where(mask & training, NO_CLASS, labels)

    def freeze(self) -> None:
        """End training: no gradients, on the device and in the precision of inference."""
        self.flow_.eval().requires_grad_(False)
        # Vectors are scored in float64, so that a row's score doesn't depend on the rows beside it.
        dtype = torch.float64 if len(self.event_shape_) == 1 else torch.float32
        self.flow_.to(dtype)
        self._to_device()
        lay_out_as_saved(self.flow_)

    def _to_device(self) -> None:
        self.flow_.to(inference_device(self.training))

    # --- rows in and out -----------------------------------------------------------------------------------------

    def noisy(self, u: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Values between the two `parts` with the noise of training: dequantisation, for grey levels, and the Gaussian.

        Parameters
        ----------
        u : Tensor
        generator : torch.Generator, optional
            On the CPU; torch's own state when omitted.
        """
        width = self.units.bin_width
        if generator is not None:
            uniform, gauss = (
                draw(u.shape, generator=generator, dtype=torch.float32).to(u) for draw in (torch.rand, torch.randn)
            )
        else:
            uniform, gauss = torch.rand_like(u) if width else u, torch.randn_like(u)
        if width is not None:
            u = u + width / float(self.units.scale.flatten()[0]) * (uniform - 0.5)
        return u + (self._usual().noise if self.noise is None else self.noise) * gauss

    def model_units(self, X: NDArray[Any], rows: NDArray[np.int64]) -> Tensor | RowsOnDemand:
        """Some of the checked rows after the first of the two `parts`, in float32, as `train` takes them."""
        first = copy.deepcopy(self.parts()[0]).cpu()  # as precise as it is now, whatever a training makes of the flow

        @torch.no_grad()
        def events(rows: NDArray[np.int64]) -> Tensor:
            x = torch.tensor(np.ascontiguousarray(X[rows])).reshape(-1, *self.event_shape_)
            with torch.autocast("cpu", enabled=False):
                u: Tensor = first(x)[0]
            return u.float()

        return _made(X, rows, events, self._kept())

    def _label_indices(self, y: ArrayLike | None, n: int) -> NDArray[np.int64] | None:
        where, classes = type(self).__name__, classes_of(self)
        if y is None:
            if classes is not None and self.class_dropout == 0:
                raise InvalidDataError(
                    f"{where}: y is missing, and this flow was fitted with class_dropout=0, so it knows no "
                    "unconditional density; give y, or fit with class_dropout=0.1."
                )
            return None
        if classes is None:
            raise InvalidDataError(f"{where}: got y, but it was fitted without labels; leave y out.")
        return encode_labels(y, classes, n, where)

    @torch.no_grad()
    def _map(
        self,
        function: Callable[[Tensor, Tensor | None], Tensor],
        rows: NDArray[Any],
        labels: NDArray[np.int64] | None,
        shape: tuple[int, ...] | None = None,
    ) -> NDArray[Any]:
        """Apply a function of the flow in chunks; rows go in as events, or in a ``shape``, and come out as vectors."""
        device = self.units.shift.device

        def of_part(which: slice) -> NDArray[Any]:
            part = torch.tensor(np.ascontiguousarray(rows[which]), device=device)
            c = None if labels is None else torch.from_numpy(labels[which]).to(device)
            # Not in the half precision of whoever trains on this flow's outliers: the inverse would not be one.
            with suitable_threads(rows.shape[1]), torch.autocast(device.type, enabled=False):
                events = part.reshape(len(part), *(self.event_shape_ if shape is None else shape))
                try:
                    return function(events, c).flatten(1).cpu().numpy()
                except DivergedError as error:
                    raise self._of_row(error, which.start) from error

        return filled(len(rows), of_part, CHUNK)

    def _of_row(self, error: DivergedError, start: int = 0) -> DivergedError:
        """An error of one row, or of the flow, with the row's number among all that were given."""
        row = None if error.row is None else start + error.row
        at = "" if row is None else f"row {row}: "
        return DivergedError(f"{type(self).__name__}: {at}{str(error).removeprefix('Flow: ')}", row)

    def through(
        self, steps: Chain, rows: NDArray[Any], *, noise: bool = False, random_state: Any = None
    ) -> NDArray[Any]:
        """What some steps of the flow, one after the other, make of rows (n, d) under "no class", of shape (n, d).

        With ``noise``, the noise of training is added after the first of the `parts`; the steps must begin there.
        """
        k = self._chain.n_fitted_once if noise else 0
        pieces = [part for part in (steps.transforms[:k], steps.transforms[k:]) if part]
        generator = self._noise_generator(random_state)

        def apply(value: Tensor, _: Tensor | None) -> Tensor:
            condition = self.flow_.condition(None, len(value))
            for i, piece in enumerate(map(Chain, pieces)):
                value = self.noisy(value, generator) if noise and i == 1 else value
                value = piece(value, condition if piece.condition_features else None)[0]
            return value

        given = rows if isinstance(steps.transforms[0], Units) else rows.astype(self._dtype, copy=False)
        return self._map(apply, given, None, steps.in_shape)

    def _noise_generator(self, random_state: Any) -> torch.Generator:
        return torch.Generator().manual_seed(int(self._generator(random_state).integers(2**62)))

    @property
    def _dtype(self) -> Any:
        return np.float64 if self.units.like.dtype == torch.float64 else np.float32

    def stages(self, X: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Rows on their way through the flow, each of shape (n, d), for what compares rows.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)

        Returns
        -------
        dict of str to ndarray
            "units": model units, in which columns of a table have unit variance; "scores": normal scores of columns, if
            the architecture begins with them, as "table" does; "latents": the end, as of no class.
        """
        ends = {"units": 1, "latents": len(self._chain)}
        second = self._chain.transforms[1]
        if isinstance(second.inner if isinstance(second, OnColumns) else second, Marginals):
            ends = {"units": 1, "scores": 2, "latents": len(self._chain)}

        def apply(value: Tensor, _: Tensor | None) -> Tensor:
            condition, passed = self.flow_.condition(None, len(value)), [value]
            for step in self._chain.transforms:
                passed.append(step(passed[-1], condition if step.condition_features else None)[0])
            return torch.cat([passed[end].flatten(1) for end in ends.values()], dim=1).double()

        found = self._map(apply, self._query(X), None)
        return dict(zip(ends, np.split(found, len(ends), axis=1), strict=True))

    def no_rows(self) -> Rows:
        """Rows such as it was fitted on, but none of them, for a source that stands on this flow and needs no other."""
        return self._named(np.empty((0, math.prod(self.event_shape_))))

    def clipped(self, X: NDArray[Any]) -> NDArray[Any]:
        """Checked rows of a table with values that lie extremely far out clipped, for what is learned of latents."""
        return self.units.clipped(X)

    def departures(self, X: ArrayLike) -> NDArray[np.int64]:
        """How many of the columns that were constant in training have another value, of shape (n,)."""
        return self.units.departures(self._query(X))

    # --- what it is asked ----------------------------------------------------------------------------------------

    def encode(
        self, X: ArrayLike, y: ArrayLike | None = None, *, noise: bool = False, random_state: Any = None
    ) -> NDArray[Any]:
        """Latents of data.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
            Labels; without them the latent is that of "no class".
        noise : bool, default=False
            Add the noise of training first.
        random_state : int, Generator or None, default=None
            Seed of the noise.

        Returns
        -------
        ndarray of shape (n, d)
        """
        X = self._query(X)
        labels = self._label_indices(y, len(X))
        encoded = self._noisy_encoding(random_state) if noise else lambda x, c: self.flow_.encode(x, c)[0]
        return self._map(encoded, X, labels)

    def decode(self, Z: ArrayLike, y: ArrayLike | None = None, *, clip: bool = False) -> NDArray[Any]:
        """Data of latents: the exact inverse of ``encode``.

        Parameters
        ----------
        Z : array of shape (n, d)
        y : array of shape (n,), optional
        clip : bool, default=False
            Clip images to the range of values that the training images have.

        Returns
        -------
        ndarray of shape (n, d)
            After a fit on a frame these are codes, as in ``sample``.
        """
        check_is_fitted(self)
        Z, width = np.asarray(Z), math.prod(self.event_shape_)
        finite = Z.ndim == 2 and len(Z) > 0 and all(np.isfinite(Z[rows]).all() for rows in blocks_of(len(Z)))
        if not finite or Z.shape[1] != width:
            raise InvalidDataError(
                f"{type(self).__name__}.decode: Z must be finite, of shape (n, {width}) with n >= 1; "
                f"got shape {Z.shape}, {int((~np.isfinite(Z)).sum())} of its numbers not finite."
            )
        return self._decoded(Z, self._label_indices(y, len(Z)), clip=clip)

    def _decoded(self, Z: NDArray[Any], labels: NDArray[np.int64] | None, *, clip: bool) -> NDArray[Any]:
        def apply(z: Tensor, c: Tensor | None) -> Tensor:
            return self._decoded_part(z.to(self.units.like.dtype), c, clip)

        def of_part(rows: slice) -> NDArray[Any]:
            try:
                some = None if labels is None else labels[rows]
                return self._map(apply, Z[rows], some, (math.prod(self.event_shape_),))
            except DivergedError as error:
                if rows.start == 0:
                    raise
                raise self._of_row(error, rows.start) from error

        return in_parts(len(Z), of_part)

    def _decoded_part(self, z: Tensor, c: Tensor | None, clip: bool) -> Tensor:
        """Some rows decoded, in the type of the data; an error of a row whose numbers that type doesn't hold."""
        x, dtype = self.flow_.decode(z, c)[0], self.units.like.dtype
        if clip and self.units.value_range is not None:
            x = x.clamp(*self.units.value_range)
        largest = x.flatten(1).abs().amax(dim=1)
        bad = ~(largest <= torch.finfo(dtype).max)
        if bad.any():
            row = int(bad.int().argmax())
            strength = float(z[row].double().square().mean().sqrt())
            message = f"decoding gave {float(largest[row]):.3g}, more than {dtype} holds, at strength {strength:.3g}"
            raise DivergedError(f"{message}. Lower the strength.", row)
        return x.to(dtype)

    def decode_drawn(
        self, n: int, draw: Callable[[slice], NDArray[Any]], y: ArrayLike | None, *, clip: bool = True
    ) -> NDArray[Any]:
        """Data of latents that are drawn a part at a time, since all of them would take as much memory as the data.

        Parameters
        ----------
        n : int
        draw : callable
            The latents of a part of the rows, (m, d); asked once for each part, in order.
        y : array of shape (n,), optional
        clip : bool, default=True
            As in `decode`.

        Returns
        -------
        ndarray of shape (n, d)
        """
        check_is_fitted(self)
        labels = self._label_indices(y, n)

        def of_part(rows: slice) -> NDArray[Any]:
            try:
                return self._decoded(draw(rows), None if labels is None else labels[rows], clip=clip)
            except DivergedError as error:
                raise self._of_row(error, rows.start) from error

        # Of wide rows fewer at a time: there are several arrays of a part's numbers at once, in double precision.
        return filled(n, of_part, min(CHUNK * 8, max(CHUNK, MADE // math.prod(self.event_shape_))))

    def score_samples(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Exact ``log p(x|y)`` in data units, or ``log p(x)`` without labels, in nats, of shape (n,).

        Constant columns count by the probability that they are what they are, not by a density.

        Raises
        ------
        DivergedError
            If a row lies so far out that its log-density is no number; detectors give such rows their lowest score.
        """
        X = self._query(X)
        return self._log_prob(X, self._label_indices(y, len(X)))

    def densities(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """``score_samples`` for whoever has an answer to what lies too far out: -inf where the result is no number."""
        X = self._query(X)
        return self._densities(X, self._label_indices(y, len(X)))

    def class_densities(self, X: ArrayLike) -> NDArray[np.float64]:
        """``class_log_probs`` for whoever has an answer to what lies too far out: -inf where a result is no number."""
        check_is_fitted(self)
        classes = classes_of(self)
        if classes is None:
            raise InvalidDataError(f"{type(self).__name__} was fitted without labels; it knows no classes.")
        X = self._query(X)
        shared = next(i for i, step in enumerate(self._chain.transforms) if step.condition_features)
        before, after = self._chain[:shared], self.flow_.on(self._chain[shared:])

        def of_classes(x: Tensor, _: Tensor | None) -> Tensor:
            u, log_det = before(x)  # the same for all classes
            each = [_log_density(after, u, torch.full((len(u),), k, device=u.device)) for k in range(len(classes))]
            return cast(Tensor, torch.stack(each, dim=1) + log_det[:, None])

        return _or_lowest(self._map(of_classes, X, None))

    def _densities(self, X: NDArray[Any], labels: NDArray[np.int64] | None) -> NDArray[np.float64]:
        return _or_lowest(self._map(lambda x, c: _log_density(self.flow_, x, c)[:, None], X, labels)[:, 0])

    def _log_prob(self, X: NDArray[Any], labels: NDArray[np.int64] | None) -> NDArray[np.float64]:
        return self._known(self._densities(X, labels), X)

    def _known(self, found: NDArray[np.float64], X: NDArray[Any]) -> NDArray[np.float64]:
        """Log-densities as they are, where all are numbers."""
        bad = np.isneginf(found.reshape(len(X), -1)).any(axis=1)
        if bad.any():
            row = int(bad.argmax())
            more = f" ({int(bad.sum())} such rows)" if bad.sum() > 1 else ""
            message = (
                f"its log-density is below all numbers; the row has numbers up to {np.abs(X[row]).max():.3g}{more}"
            )
            advice = "Leave such rows out; a detector (FlowDetector) gives them its lowest score."
            raise self._of_row(DivergedError(f"{message}. {advice}", row))
        return found

    def score(self, X: ArrayLike, y: ArrayLike | None = None) -> float:
        """Mean log-likelihood a row, in nats."""
        return float(self.score_samples(X, y).mean())

    def bits_per_dim(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """Negative log-likelihood in bits a dimension, of shape (n,); lower is better.

        Quantised images are dequantised with uniform noise first (of a fixed seed) and the width of a grey level
        is accounted for, so that the figure compares with published ones (Theis et al., 2016). For continuous data it
        is the differential one, in data units.
        """
        X, width = self._query(X), self.units.bin_width
        labels = self._label_indices(y, len(X))
        rng = np.random.default_rng(0)

        def of_part(rows: slice) -> NDArray[np.float64]:
            part = X[rows] if width is None else X[rows] + width * (rng.random(X[rows].shape) - 0.5)
            return self._log_prob(part, None if labels is None else labels[rows])

        bits: NDArray[np.float64] = -filled(len(X), of_part, CHUNK * 8) / (math.log(2) * X.shape[1])
        return bits + self._bits_offset

    @property
    def _bits_offset(self) -> float:
        """What turns bits/dim of a density in data units into bits/dim of grey levels: ``-log2(bin width)``."""
        return 0.0 if self.units.bin_width is None else -math.log2(self.units.bin_width)

    def class_log_probs(self, X: ArrayLike) -> NDArray[np.float64]:
        """``log p(x|y)`` for each class, in nats, of shape (n, n_classes), in the order of ``classes_``."""
        found = self.class_densities(X)
        return self._known(found, np.asarray(X).reshape(len(found), -1))

    def sample(
        self,
        n_samples: int = 1,
        y: ArrayLike | None = None,
        *,
        random_state: Any = None,
    ) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Draw from the density.

        Parameters
        ----------
        n_samples : int, default=1
        y : label or array of shape (n_samples,), optional
            Classes to draw; by their share in training when omitted.
        random_state : int, Generator or None, default=None

        Returns
        -------
        X : ndarray of shape (n_samples, d)
            Images are clipped to the range of the training images. After a fit on a frame these are codes:
            ``schema_.decode(X)`` is a frame of the same columns.
        y : ndarray of shape (n_samples,) or None
            None for a flow without classes.

        Raises
        ------
        InvalidSettingError
            If ``n_samples`` is below 1.
        """
        check_is_fitted(self)
        n_samples = check_number(n_samples, "n_samples", f"{type(self).__name__}.sample", low=1, integer=True)
        rng = self._generator(random_state)
        labels = self.draw_labels(n_samples, y, rng)
        width = math.prod(self.event_shape_)
        X = self.decode_drawn(n_samples, lambda rows: rng.standard_normal((rows.stop - rows.start, width)), labels)
        return X, labels

    def draw_labels(self, n: int, y: ArrayLike | None, rng: np.random.Generator) -> NDArray[Any] | None:
        """``n`` labels: ``y`` itself (one for all is repeated), or by the shares of training; None without classes."""
        if y is not None:
            labels: NDArray[Any] = np.full(n, y) if np.ndim(y) == 0 else np.asarray(y)
            self._label_indices(labels, n)
            return labels.reshape(n)
        classes = classes_of(self)
        return None if classes is None else rng.choice(classes, size=n, p=self.class_prior_)

    def to_onnx(self, path: str | Path | None = None, *, decode: bool = False, encoded: bool = False) -> Any:
        """The flow as an ONNX graph that encodes rows, or with ``decode`` one that decodes latents.

        To encode, the input ``rows`` is float32, of shape (n, d) or (n, *event_shape), with any n, and a flow with
        classes takes ``y``, int64 positions in ``classes_``, -1 for no class. Outputs, in float64, are ``latent``, of
        shape (n, d), and ``log_likelihood``, in nats, of shape (n,).

        To decode, inputs are ``latent`` (float64), ``strength`` (float64, of shape (n,)), by which each latent is
        multiplied, and ``y``; the output ``rows`` are float64, not clipped. Draws from a standard normal distribution
        decoded at strength 1 are samples, and outliers at higher ones.

        The graph is checked by onnxruntime on a few rows before it is written. Needs ``pip install 'farout[onnx]'``.

        Parameters
        ----------
        path : path, optional
            File to write; above 1 GiB the weights are in a second file beside it, of the same name with ``.data``
            after it.
        decode : bool, default=False
        encoded : bool, default=False
            Of a flow that was fitted on a frame with text, dates or missing cells: rows are codes, as
            ``schema_.encode(frame)`` makes them.

        Returns
        -------
        Path or onnx.ModelProto
            The model itself without a path.

        Raises
        ------
        NotFittedError
            If the flow isn't fitted.
        InvalidSettingError
            If it can't be exported: the message names what and says what to do.
        """
        from farout.flows.exporting import flow_to_onnx

        return flow_to_onnx(self, path, decode=decode, encoded=encoded)

    def noisy_reconstruction(
        self, X: ArrayLike, y: ArrayLike | None = None, *, bound: float | None = None, random_state: Any = None
    ) -> NDArray[Any]:
        """Data with the noise of training, encoded and decoded again: as the flow would give them.

        Whoever trains on generated outliers passes the inliers through this first, so that a model learns the outlier
        and not the flow's noise or its clipped edges.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
        bound : float, optional
            Clamp each number of the latents to ``[-bound, bound]``, for outliers whose latents are clamped.
        random_state : int, Generator or None, default=None

        Returns
        -------
        ndarray of shape (n, d)
            Images are clipped to the range of the training images.
        """
        X = self._query(X)
        labels = self._label_indices(y, len(X))
        encoded = self._noisy_encoding(random_state)

        def apply(x: Tensor, c: Tensor | None) -> Tensor:
            z = encoded(x, c)
            return self._decoded_part(z if bound is None else z.clamp(-bound, bound), c, clip=True)

        return self._map(apply, X, labels)

    def _noisy_encoding(self, random_state: Any) -> Callable[[Tensor, Tensor | None], Tensor]:
        """What gives latents of events with the noise of training, drawn anew for each part that it is given."""
        first, rest = self.parts()
        generator = self._noise_generator(random_state)
        return lambda x, c: rest.encode(self.noisy(first(x)[0], generator), c)[0]


def _learned_from(inner: NDArray[np.int64], labels: NDArray[np.int64] | None) -> NDArray[np.int64]:
    """The first of the rows, and of classes that have few among these more."""
    first, more = inner[:LEARNED], inner[LEARNED:]
    if labels is None or not len(more):
        return first
    missing = FEWEST - np.bincount(labels[first], minlength=int(labels.max()) + 1)
    added = [more[labels[more] == k][:lack] for k, lack in enumerate(missing.tolist()) if lack > 0]
    return np.concatenate([first, *added])


def _made(
    X: NDArray[Any], rows: NDArray[np.int64], make: Callable[[NDArray[np.int64]], Tensor], most: float
) -> Tensor | RowsOnDemand:
    """What is made of some rows of X, a block at a time; on demand where that is more than so many numbers."""
    if len(rows) * X.shape[1] > most:
        return RowsOnDemand(rows, make)
    if not len(rows):
        return make(rows)
    return torch.from_numpy(filled(len(rows), lambda part: make(rows[part]).numpy(), rows_at_once(X.shape[1])))


def _require_two_columns(X: NDArray[Any], varies: NDArray[np.bool_], where: str) -> None:
    varying = int(varies.sum())
    if varying >= 2:
        return
    constant = "" if varying == len(varies) else f", {varying} of them not constant"
    if constant and np.abs(X).max() > 2**53:
        constant += (
            " (from 9e15 on, whole numbers are told apart by hundreds only: subtract a column's least value first)"
        )
    raise InvalidDataError(
        f"{where}: X has {len(varies)} feature(s){constant}, and a flow couples features with each other, so it needs "
        "at least 2 that vary; for one column use sklearn.neighbors.KernelDensity."
    )


def _log_density(flow: Flow, x: Tensor, y: Tensor | None) -> Tensor:
    """``Flow.log_prob`` summed in float64, where squares of far latents don't overflow; it may be no number."""
    z, log_det = flow.transform(x, flow.condition(y, len(x)))
    density: Tensor = log_det.double() - 0.5 * z.double().square().sum(1)
    return density - 0.5 * flow.latent_size * math.log(2 * math.pi)


def _or_lowest(found: NDArray[Any]) -> NDArray[np.float64]:
    """Log-densities, -inf where they aren't finite."""
    return np.where(np.isfinite(found), found, -np.inf).astype(np.float64, copy=False)


@torch.no_grad()
def _judge(flow: Flow, objective: Objective, rows: list[Tensor]) -> float:
    """Loss of held-out rows, the mean of several draws of noise, which are the same each time."""
    n, width = len(rows[0]), rows[0][0].numel()
    flow.eval()
    try:
        total = 0.0
        with seeded(0), suitable_threads(width):
            for part in [*blocks_of(n, rows_at_once(width))] * 4:
                total += float(objective([t[part] for t in rows], 1.0)[0]) * (part.stop - part.start)
        return total / (4 * n)
    finally:
        flow.train()
