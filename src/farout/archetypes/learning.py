"""How deep archetypes learn: the heads and, jointly with them, the flow."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from farout.archetypes.heads import ArchetypeHeads
from farout.archetypes.losses import AUTHOR_WEIGHTS, LOSS_WEIGHTS
from farout.archetypes.objective import DeepObjective, mean_losses
from farout.archetypes.warm_start import warm_start
from farout.base.holdout import holdout_split
from farout.base.training import Budget, Training, train
from farout.base.validation import check_positive, encode_labels
from farout.flows.density import FlowDensity
from farout.flows.flow import NO_CLASS

__all__ = ["LearnsHeads"]

START_ROWS = 5000  # latents are enough for a warm start


class LearnsHeads(ABC):
    """The half of `farout.DeepArchetypes` that trains."""

    joint: bool
    loss: str
    loss_weights: Mapping[str, float] | None
    warm_start: bool
    max_steps: int | None
    batch_size: int
    learning_rate: float
    weight_decay: float
    validation_fraction: float
    training: Training | None
    verbose: bool
    flow_: FlowDensity
    heads_: ArchetypeHeads
    side_classes_: NDArray[Any] | None
    seed_: int

    @abstractmethod
    def _checked(self, X: ArrayLike, min_rows: int = 1) -> NDArray[Any]: ...

    @abstractmethod
    def _latents_of(self, X: NDArray[Any], y: ArrayLike | None) -> NDArray[np.float64]: ...

    @abstractmethod
    def _condition(self, y: ArrayLike | None) -> ArrayLike | None: ...

    def _train(self, X: NDArray[Any], y: ArrayLike | None) -> None:
        rows = self._rows(X, y)
        inner, held = holdout_split(len(X), self.validation_fraction, None, self.seed_, at_least=10)
        if self.warm_start:
            first = inner[:START_ROWS]
            warm_start(self.heads_, self._latents_of(X[first], None if y is None else np.asarray(y)[first]), self.seed_)
        # In single precision, which would round the weights of a flow that isn't to change.
        flow = self.flow_ if self.joint else copy.deepcopy(self.flow_)
        learning = nn.ModuleDict({"heads": self.heads_.float(), "flow": flow.flow_.float().requires_grad_(self.joint)})
        history = train(
            learning,
            self._objective(flow),
            [t[inner] for t in rows],
            self._budget(len(inner)),
            validation_rows=[t[held] for t in rows] if len(held) else None,
            where=self.training,
            seed=self.seed_,
            verbose=self.verbose,
            name="archetypes",
        )
        flow.settle()
        self.heads_.eval().requires_grad_(False).cpu().double()
        self.history_ = {"step": [float(s) for s in history.steps], **history.figures}

    def _rows(self, X: NDArray[Any], y: ArrayLike | None) -> tuple[Tensor, Tensor, Tensor]:
        """Events, class indices for the flow, and for the side information; -1 where there is none."""
        own = self.flow_.tensors(X, self._condition(y))
        none = torch.full((len(X),), NO_CLASS)
        side = none
        if y is not None and self.side_classes_ is not None:
            side = torch.from_numpy(encode_labels(y, self.side_classes_, len(X), type(self).__name__))
        return own[0], own[1] if len(own) > 1 else none, side

    def _objective(self, flow: FlowDensity) -> DeepObjective:
        author = self.loss == "author"
        weights = (AUTHOR_WEIGHTS if author else LOSS_WEIGHTS) | dict(self.loss_weights or {})
        return DeepObjective(flow, self.heads_, weights, joint=self.joint, author=author)

    def _budget(self, n: int) -> Budget:
        image = len(self.flow_.event_shape_) == 3
        epochs, least, most = (20, 300, 1000) if image else (50, 300, 2000)
        steps = min(max(epochs * math.ceil(n / self.batch_size), least), most)
        return Budget(
            max_steps=steps if self.max_steps is None else int(self.max_steps),
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
        )

    def losses(self, X: ArrayLike, y: ArrayLike | None = None, *, batch_size: int = 128) -> dict[str, float]:
        """Each loss by name, the mean over batches of these data, without weights.

        Parameters
        ----------
        X : array of shape (n, d) or (n, *event_shape)
        y : array of shape (n,), optional
        batch_size : int, default=128
            With ``loss="free"`` no loss depends on it.

        Returns
        -------
        dict of str to float
            "nll" in nats a dimension; "reconstruction" the mean square of an element, in model units.
        """
        check_is_fitted(self)
        check_positive(batch_size, "batch_size", f"{type(self).__name__}.losses")
        objective, rows = self._objective(self.flow_), self._rows(self._checked(X), y)
        like = next(self.flow_.flow_.parameters())
        rows = (rows[0].to(like), rows[1].to(like.device), rows[2].to(like.device))
        self.heads_.to(like.device, like.dtype)
        try:
            with torch.no_grad(), torch.random.fork_rng():
                torch.manual_seed(self.seed_)
                return mean_losses(objective, rows, int(batch_size))
        finally:
            self.heads_.eval().cpu().double()
