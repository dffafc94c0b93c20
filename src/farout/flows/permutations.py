"""Layers that mix channels between couplings: fixed permutations and orthogonal 1x1 maps, with log-determinant 0."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from farout.flows.transform import Shape, Transform

__all__ = ["Orthogonal", "Permutation"]


class Permutation(Transform):
    """A fixed random order of the channels.

    Parameters
    ----------
    shape : tuple of int
        Event shape, channels first.
    generator : torch.Generator, optional
        Draws the order; torch's global generator when omitted.
    """

    order: Tensor
    back: Tensor

    def __init__(self, shape: Shape, generator: torch.Generator | None = None) -> None:
        super().__init__(shape)
        order = torch.randperm(shape[0], generator=generator)
        self.register_buffer("order", order)
        self.register_buffer("back", order.argsort())

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return x.index_select(1, self.order), x.new_zeros(x.shape[0])

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return z.index_select(1, self.back), z.new_zeros(z.shape[0])


class Orthogonal(Transform):
    """A random rotation of the channels, the same at every position; optionally learned.

    The learned rotation is the fixed one times ``exp(A - A^T)``, which is orthogonal for any ``A``. So
    the inverse is the transpose and the log-determinant is 0
    (Kingma & Dhariwal, 2018, use an unconstrained 1x1 convolution instead).

    Parameters
    ----------
    shape : tuple of int
        Event shape, channels first.
    learned : bool, default=False
        Each call then computes a matrix exponential of channels x channels; suits up to a few hundred channels.
    generator : torch.Generator, optional
        Draws the rotation; torch's global generator when omitted.
    """

    rotation: Tensor

    def __init__(self, shape: Shape, learned: bool = False, generator: torch.Generator | None = None) -> None:
        super().__init__(shape)
        n = shape[0]
        gauss = torch.randn(n, n, dtype=torch.float64, generator=generator)
        q, r = torch.linalg.qr(gauss)
        # The signs of R's diagonal make the rotation uniform (Haar) rather than an artefact of QR.
        self.register_buffer("rotation", (q * r.diagonal().sign()).to(torch.get_default_dtype()).contiguous())
        self.skew = nn.Parameter(torch.zeros(n, n)) if learned else None

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Cast or move; after float32 to float64 the rotation is made orthogonal to float64 precision."""
        eps = torch.finfo(self.rotation.dtype).eps
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if torch.finfo(self.rotation.dtype).eps < eps:
            for _ in range(2):  # Newton steps to the nearest orthogonal matrix; each squares the error: 1e-14, 1e-28
                q = self.rotation
                self.rotation = 1.5 * q - 0.5 * q @ q.T @ q
        return self

    def _matrix(self) -> Tensor:
        if self.skew is None:
            return self.rotation
        turned: Tensor = torch.linalg.matrix_exp(self.skew - self.skew.T) @ self.rotation
        return turned

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return _mix(self._matrix(), x), x.new_zeros(x.shape[0])

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return _mix(self._matrix().T, z), z.new_zeros(z.shape[0])


def _mix(matrix: Tensor, x: Tensor) -> Tensor:
    """Apply the matrix to the channels at every position."""
    mixed: Tensor = torch.matmul(matrix, x.flatten(2)).reshape(x.shape) if x.ndim > 2 else x @ matrix.T
    return mixed
