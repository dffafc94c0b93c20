"""OnColumns: applies a transform to some columns of a vector and leaves the others unchanged."""

from collections.abc import Sequence

import torch
from torch import Tensor

from farout.base.blocks import RowsOnDemand
from farout.errors import InvalidSettingError
from farout.flows.flow import Flow
from farout.flows.transform import Transform, as_chain

__all__ = ["OnColumns", "on_columns"]


class OnColumns(Transform):
    """Applies a transform to some columns and leaves the rest unchanged. Flows exclude constant columns with it.

    Parameters
    ----------
    chosen : sequence of bool
        One per column; True for the columns that the inner transform is applied to.
    inner : Transform
        Maps vectors to vectors; their length is the number of chosen columns.

    Raises
    ------
    InvalidSettingError
        If the inner transform takes or gives another length.

    Examples
    --------
    >>> from farout.flows.actnorm import ActNorm
    >>> layer = OnColumns([True, False], ActNorm((1,)))
    >>> layer.initialize(torch.tensor([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 5.0], [1.0, 5.0]]
    """

    where: Tensor

    def __init__(self, chosen: Sequence[bool], inner: Transform) -> None:
        mask = torch.as_tensor(chosen, dtype=torch.bool)
        n = int(mask.sum())
        if inner.in_shape != (n,) or inner.out_shape != (n,):
            raise InvalidSettingError(
                f"OnColumns: {n} columns are chosen; the inner transform maps {inner.in_shape} to {inner.out_shape}."
            )
        super().__init__((len(mask),), condition_features=inner.condition_features)
        self.register_buffer("where", torch.nonzero(mask)[:, 0])
        self.inner = inner
        self.fitted_once = inner.fitted_once
        self.learns_classes = inner.learns_classes

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """Let the inner transform learn from its columns."""
        chosen = x[:, self.where] if isinstance(x, Tensor) else x.then(lambda rows, _: rows[:, self.where])
        self.inner.learn(chosen, condition)

    @property
    def learns(self) -> bool:
        """Whether the inner transform does."""
        return self.inner.learns

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        z, log_det = self.inner(x[:, self.where], condition)
        return x.index_copy(1, self.where, z), log_det

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        x, log_det = self.inner.inverse(z[:, self.where], condition)
        return z.index_copy(1, self.where, x), log_det


def on_columns(flow: Flow, chosen: Sequence[bool]) -> Flow:
    """A flow for longer vectors that applies ``flow`` to the chosen columns; weights and embedding are shared."""
    chain = as_chain(flow.transform)
    return flow.on(type(chain)(OnColumns(chosen, step) for step in chain))
