"""How a flow is fitted: maximum likelihood under noise, with labels hidden now and then."""

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from farout.base.holdout import holdout_split
from farout.base.training import Budget, History, Objective, Training, inference_device, suitable_threads, train
from farout.base.validation import check_events, check_labels, check_positive, resolve_event_shape, seed_of
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.architectures import build_flow
from farout.flows.columns import on_columns
from farout.flows.flow import NO_CLASS, Flow
from farout.flows.rows import CHUNK, PassesRows
from farout.flows.transform import Transform
from farout.flows.units import Units

__all__ = ["LearnsDensity"]

ROWS_A_COLUMN = 10  # rows for each column below which training doesn't improve on a Gaussian copula


class LearnsDensity(PassesRows):
    """The part of `FlowDensity` that checks settings and data, builds the flow and trains it."""

    architecture: str | Callable[..., Flow]
    options: Mapping[str, Any] | None
    max_steps: int | None
    batch_size: int
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    patience: int
    training: Training | None
    random_state: Any
    verbose: bool

    def _check_settings(self) -> None:
        where = type(self).__name__
        for name in ("batch_size", "learning_rate", "patience"):
            check_positive(getattr(self, name), name, where)
        if self.max_steps is not None:
            check_positive(self.max_steps, "max_steps", where)
        if self.noise != 0:
            check_positive(self.noise, "noise", where)
        for name in ("class_dropout", "validation_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidSettingError(f"{where}: {name} must be at least 0 and below 1; got {getattr(self, name)}.")

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = check_events(self, X, self.event_shape, reset=True, min_rows=2)
        self.event_shape_ = resolve_event_shape(self.event_shape, X.shape[1], type(self).__name__)
        units = Units.of(X, self.event_shape_)
        if len(self.event_shape_) == 1:
            _require_table(X, units, self)
        labels = self._learn_classes(X, y)
        self.shift_, self.scale_ = units.shift, units.scale
        self.value_range_, self.bin_width_ = units.value_range, units.bin_width
        seed = seed_of(self.random_state)
        self.seed_, self.n_rows_ = seed, len(X)
        self.flow_ = self._build("flow_")
        self._train(self._tensors(X, labels), seed)

    def _learn_classes(self, X: NDArray[Any], y: ArrayLike | None) -> NDArray[np.int64] | None:
        if y is None:
            self.classes_, self.class_prior_ = None, None
            return None
        labels = check_labels(y, len(X), type(self).__name__)
        self.classes_, indices = np.unique(labels, return_inverse=True)
        self.class_prior_ = np.bincount(indices) / len(indices)
        return cast(NDArray[np.int64], indices.astype(np.int64))

    def _build(self, name: str) -> Flow:
        n_classes = 0 if self.classes_ is None else len(self.classes_)
        build = partial(build_flow, self.architecture, self.options, n_classes=n_classes, seed=self.seed_ % 2**32)
        varies = self._units.varies
        if varies.all():
            return build(self.event_shape_)
        return on_columns(build((int(varies.sum()),)), varies.tolist())

    def _train(self, rows: tuple[Tensor, ...], seed: int) -> None:
        labels = rows[1].numpy() if len(rows) > 1 else None
        inner, held = holdout_split(len(rows[0]), self.validation_fraction, labels, seed, at_least=10)
        budget = Budget(
            max_steps=self._steps(len(inner)),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            patience=self.patience,
        )
        fitted, validation = [t[inner] for t in rows], [t[held] for t in rows]
        if self.flow_.transform.parts()[0] is None:
            first = [t[:CHUNK] for t in fitted]
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                self.flow_.initialize(self.noisy(first[0]), *first[1:])
            history = self._descend(self.flow_, self._objective, fitted, validation, budget)
        else:
            self.flow_.initialize(*fitted)
            history = self._train_rest(fitted, validation, budget)
        self.history_ = {"step": [float(s) for s in history.steps], **history.figures}
        self.settle()

    def _train_rest(self, rows: list[Tensor], validation: list[Tensor], budget: Budget) -> History:
        """Train what comes after the part fitted once, and keep it if held-out rows find it better than step 0.

        With too few rows to hold any out there is nothing to decide it by, and with too few for the columns held-out
        rows never found it better: then the flow stays as it is.
        """
        varying = int(self._units.varies.sum())
        if not len(validation[0]) or len(rows[0]) < ROWS_A_COLUMN * varying:
            return History()
        once, rest = self.flow_.transform.parts()
        learned = self.flow_.on(rest)
        with torch.no_grad():
            rows, validation = ([cast(Transform, once)(t[0])[0], *t[1:]] for t in (rows, validation))

        def objective(batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
            labels = self.hidden(batch[1]) if len(batch) > 1 else None
            blurred = batch[0] + self.noise * torch.randn_like(batch[0])
            return -learned.log_prob(blurred, labels).mean() / varying, {}

        before, at_start = copy.deepcopy(learned.state_dict()), _judge(learned, objective, validation)
        history = self._descend(learned, objective, rows, validation, budget)
        if not _judge(learned, objective, validation) < at_start:
            learned.load_state_dict(before)
        return history

    def _descend(
        self, flow: Flow, objective: Objective, rows: list[Tensor], validation: list[Tensor], budget: Budget
    ) -> History:
        return train(
            flow,
            objective,
            rows,
            budget,
            validation_rows=validation if len(validation[0]) else None,
            where=self.training,
            seed=self.seed_,
            verbose=self.verbose,
            name="flow",
        )

    def _steps(self, n: int) -> int:
        if self.max_steps is not None:
            return int(self.max_steps)
        epochs, least, most = (60, 300, 3000) if len(self.event_shape_) == 3 else (100, 200, 4000)
        return min(max(epochs * math.ceil(n / self.batch_size), least), most)

    def _objective(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, float]]:
        u = self.noisy(batch[0])
        labels = self.hidden(batch[1]) if len(batch) > 1 else None
        nats = -self.flow_.log_prob(u, labels).mean() / self.flow_.latent_size
        units = self._units
        bits = (float(nats.detach()) + units.log_scale / len(units.scale)) / math.log(2)
        return nats, {"bits/dim": bits + units.bits_offset}

    def hidden(self, labels: Tensor) -> Tensor:
        """Class indices with a share of ``class_dropout`` of them hidden, while training."""
        mask = torch.rand(len(labels), device=labels.device) < self.class_dropout
        return torch.where(mask & self.flow_.training, NO_CLASS, labels)

    def settle(self) -> None:
        """End training: no gradients, on the device and in the precision of inference."""
        self.flow_.eval().requires_grad_(False)
        # Vectors are scored in float64, so that a row's score doesn't depend on the rows beside it.
        self.flow_.to(inference_device(self.training), self._dtype)


def _require_table(X: NDArray[Any], units: Units, estimator: Any) -> None:
    varying = int(units.varies.sum())
    if varying >= 2:
        return
    constant = "" if varying == X.shape[1] else f", {varying} of them not constant"
    raise InvalidDataError(
        f"{type(estimator).__name__}: X has {X.shape[1]} feature(s){constant}, and a flow couples features with each "
        "other, so it needs at least 2 that vary; for one column use sklearn.neighbors.KernelDensity."
    )


@torch.no_grad()
def _judge(flow: Flow, objective: Objective, rows: list[Tensor]) -> float:
    """Loss of held-out rows, each several times under the same noise."""
    flow.eval()
    with torch.random.fork_rng(), suitable_threads(rows[0][0].numel()):
        torch.manual_seed(0)
        return float(np.mean([float(objective(rows, 1.0)[0]) for _ in range(4)]))
