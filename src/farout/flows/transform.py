"""Base class of all invertible transforms, with their shape checks, and Chain, which composes them."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Self, cast

import torch
from torch import Tensor, nn

from farout.base.blocks import RowsOnDemand
from farout.errors import InvalidDataError, InvalidSettingError

__all__ = ["Chain", "Transform", "as_chain"]

Shape = tuple[int, ...]
ROWS = 2048  # rows whose output is made at a time, where there are many


class Transform(nn.Module, ABC):
    """An invertible map between events, exact in both directions.

    A subclass writes ``_forward`` and ``_inverse``, and ``learn`` if it depends on the data. The public ``forward`` and
    ``inverse`` check shapes before calling them.

    Parameters
    ----------
    in_shape : tuple of int
        Shape of one event on the data side, without the batch dimension.
    out_shape : tuple of int, optional
        Shape of one event on the latent side; ``in_shape`` when omitted. Both have the same number of elements.
    condition_features : int, default=0
        Length of the condition vector of each event; 0 for a transform without one.
    """

    fitted_once = False  # True where ``learn`` fits all parameters and training leaves them fixed
    learns_classes = False  # True where ``learn`` takes the condition of a map that is the same for all classes

    def __init__(self, in_shape: Shape, out_shape: Shape | None = None, condition_features: int = 0) -> None:
        super().__init__()
        self.in_shape = tuple(in_shape)
        self.out_shape = self.in_shape if out_shape is None else tuple(out_shape)
        self.condition_features = condition_features

    def forward(self, x: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latent.

        Parameters
        ----------
        x : Tensor of shape (n, *in_shape)
        condition : Tensor of shape (n, condition_features), optional
            Must be given exactly when ``condition_features`` is not 0.

        Returns
        -------
        z : Tensor of shape (n, *out_shape)
        log_det : Tensor of shape (n,)
            ``log|det dz/dx|`` in nats, one per sample.

        Raises
        ------
        InvalidDataError
            If a shape is wrong, or a condition is missing or not taken.
        """
        self._check("forward", x, self.in_shape, condition)
        return self._forward(x, condition)

    def inverse(self, z: Tensor, condition: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latent to data: the exact inverse of ``forward``, with ``log|det dx/dz|`` in nats."""
        self._check("inverse", z, self.out_shape, condition)
        return self._inverse(z, condition)

    def initialize(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """`learn` from training data, and give the output for them."""
        self.learn(x, condition)
        return self.mapped(x, condition if self.condition_features else None)

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Set data-dependent parameters from training data, once, before training; nothing where there are none.

        Many rows are given on demand: then a step makes them a block at a time, as often as it needs them, so that
        memory doesn't grow with their number.
        """

    @property
    def learns(self) -> bool:
        """Whether it has parameters that `learn` sets."""
        return type(self).learn is not Transform.learn

    @torch.no_grad()
    def mapped(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """The output for ``x`` alone, without gradients, in parts: of many rows no step in between is kept."""
        made: Tensor | None = None
        for i in range(0, len(x), ROWS):
            part = self(x[i : i + ROWS], None if condition is None else condition[i : i + ROWS])[0]
            if made is None:
                made = part if len(part) == len(x) else part.new_empty(len(x), *part.shape[1:])
            made[i : i + ROWS] = part
        return self(x, condition)[0] if made is None else made

    @abstractmethod
    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]: ...

    @abstractmethod
    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]: ...

    def _check(self, what: str, value: Tensor, shape: Shape, condition: Tensor | None) -> None:
        where = f"{type(self).__name__}.{what}"
        if value.ndim != len(shape) + 1 or tuple(value.shape[1:]) != shape:
            raise InvalidDataError(
                f"{where}: expected events of shape {shape}, got {tuple(value.shape[1:])} (a batch of "
                f"shape {tuple(value.shape)}). The first dimension is the batch; reshape the others."
            )
        if condition is None:
            if self.condition_features:
                raise InvalidDataError(
                    f"{where}: the condition is missing; this transform was built for one of length "
                    f"{self.condition_features}. Give it, or build with condition_features=0."
                )
        elif not self.condition_features:
            raise InvalidDataError(
                f"{where}: got a condition, but this transform takes none. "
                "Build it with condition_features to make it conditional."
            )
        elif tuple(condition.shape) != (value.shape[0], self.condition_features):
            raise InvalidDataError(
                f"{where}: expected a condition of shape {(value.shape[0], self.condition_features)}, "
                f"got {tuple(condition.shape)}."
            )


class Chain(Transform):
    """Applies transforms one after the other; the condition goes to those that take one.

    A slice such as ``chain[1:3]`` is a chain of the same kind that shares these steps; they are not copied.

    Parameters
    ----------
    transforms : iterable of Transform
        In the order from data to latent; each ``out_shape`` is the next one's ``in_shape``. Chains among them are
        flattened into their steps.

    Raises
    ------
    InvalidSettingError
        If there are none, if shapes don't match from step to step, or if conditions differ in length.
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        steps = [step for part in transforms for step in (part.transforms if isinstance(part, Chain) else [part])]
        if not steps:
            raise InvalidSettingError("Chain: no transforms were given; give at least one.")
        for i, (before, after) in enumerate(pairwise(steps)):
            if before.out_shape != after.in_shape:
                raise InvalidSettingError(
                    f"Chain: step {i} ({type(before).__name__}) ends with shape {before.out_shape}, but step "
                    f"{i + 1} ({type(after).__name__}) starts with {after.in_shape}; make them equal."
                )
        features = {step.condition_features for step in steps} - {0}
        if len(features) > 1:
            raise InvalidSettingError(f"Chain: steps want conditions of different lengths {features}.")
        super().__init__(steps[0].in_shape, steps[-1].out_shape, max(features, default=0))
        self.steps = nn.ModuleList(steps)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        total = x.new_zeros(x.shape[0])
        for step in self.transforms:
            x, log_det = step(x, condition if step.condition_features else None)
            total = total + log_det
        return x, total

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        total = z.new_zeros(z.shape[0])
        for step in reversed(self.transforms):
            z, log_det = step.inverse(z, condition if step.condition_features else None)
            total = total + log_det
        return z, total

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Let each step learn from the output of the steps before it."""
        last = max((i for i, step in enumerate(self.transforms) if step.learns), default=-1)
        for i, step in enumerate(self.transforms[: last + 1]):
            step.learn(x, condition if step.condition_features or step.learns_classes else None)
            if i < last:
                x = _behind(step, x, condition if step.condition_features else None)

    @property
    def learns(self) -> bool:
        """Whether one of the steps does."""
        return any(step.learns for step in self.transforms)

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Transform]:
        return iter(self.transforms)

    def __getitem__(self, steps: slice) -> Self:
        """A chain of the same kind of the steps in the slice, which are shared."""
        return type(self)(self.transforms[steps])

    def after(self, first: Transform) -> Self:
        """A chain of the same kind that begins with ``first``; steps are shared."""
        return type(self)([first, *self.transforms])

    @property
    def n_fitted_once(self) -> int:
        """How many of the first steps are fitted to data once and never trained; training noise is added after them."""
        return len(list(itertools.takewhile(lambda step: step.fitted_once, self.transforms)))

    @property
    def transforms(self) -> list[Transform]:
        """The steps in the order from data to latent."""
        return [cast(Transform, step) for step in self.steps]


def _behind(
    step: Transform, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None
) -> Tensor | RowsOnDemand:
    """Rows as a step gives them; on demand if they are."""
    if isinstance(x, Tensor):
        return step.mapped(x, cast(Tensor | None, condition))
    return x.then(lambda rows, at: step.mapped(rows, None if condition is None else condition.index_select(0, at)))


def as_chain(transform: Transform) -> Chain:
    """The transform itself if it is a chain, else a chain of it alone."""
    return transform if isinstance(transform, Chain) else Chain([transform])
