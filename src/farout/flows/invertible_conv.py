"""InvertibleConv: a learned linear map of the channels, the same at every position."""

import math

import torch
from sklearn.covariance import ledoit_wolf
from torch import Tensor, nn

from farout.base.blocks import RowsOnDemand
from farout.flows.transform import Shape, Transform

__all__ = ["InvertibleConv"]

FEW = 12  # channels, up to which the entries of the triangles are the parameters themselves
POSITIONS = 300_000  # of images that a covariance is learned from, at most


class InvertibleConv(Transform):
    """A learned invertible 1x1 convolution: ``z = P L U x + shift`` at every position (Kingma & Dhariwal, 2018).

    P is a fixed permutation, L is triangular with ones on its diagonal, and U is triangular, so that the
    log-determinant is the sum of the logarithms of U's diagonal, once for each position. These are softly bounded.
    The map begins as a random rotation.

    Parameters
    ----------
    shape : tuple of int
        Event shape, channels first.
    whiten : bool, default=False
        Whether ``initialize`` sets the map so that the channels have zero mean and unit covariance (Ledoit & Wolf,
        2004) and are the principal components, the one of least variance first. So couplings needn't learn how
        neighbouring pixels and colours go together on average.
    bound : float, default=5.0
        Soft bound of the logarithms, in nats.
    """

    order: Tensor
    signs: Tensor

    def __init__(self, shape: Shape, whiten: bool = False, bound: float = 5.0) -> None:
        super().__init__(shape)
        n = shape[0]
        self.whiten = whiten
        self.bound = bound
        # Adam moves every parameter by as much, so that a step changes a larger matrix more, and 100 channels diverge.
        self.step = min(1.0, FEW / n)
        self.register_buffer("order", torch.arange(n))
        self.register_buffer("signs", torch.ones(n))
        self.lower = nn.Parameter(torch.zeros(n, n))
        self.upper = nn.Parameter(torch.zeros(n, n))
        self.raw_log_scale = nn.Parameter(torch.zeros(n))
        self.shift = nn.Parameter(torch.zeros(n))
        q, r = torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))
        self._set(q * r.diagonal().sign())

    def learn(self, x: Tensor | RowsOnDemand, condition: Tensor | RowsOnDemand | None = None) -> None:
        """With ``whiten``, set the map so that the channels of the output for ``x`` are white."""
        x = x[:]
        if self.whiten and x[:, 0].numel() > 1:
            rows = x.detach().transpose(0, 1).flatten(1).T
            # An odd stride, so that not the same columns of all images are left out.
            rows = rows[:: math.ceil(len(rows) / POSITIONS) | 1].double()
            covariance = torch.from_numpy(ledoit_wolf(rows.cpu().numpy())[0]).to(rows)
            variances, axes = torch.linalg.eigh(covariance)
            # A direction in which rows are alike keeps a finite scale.
            least = 1e-8 * variances[-1].clamp(min=1e-8)
            self._set((axes / variances.clamp(min=least).sqrt()).T)
            with torch.no_grad():
                self.shift.copy_(-self._matrix().double() @ rows.mean(0))

    @torch.no_grad()
    def _set(self, matrix: Tensor) -> None:
        """Let the map be a matrix, as far as its logarithms are within their bound."""
        permutation, lower, upper = torch.linalg.lu(matrix)
        diagonal = upper.diagonal()
        self.order.copy_(permutation.argmax(1))
        self.signs.copy_(diagonal.sign())
        self.lower.copy_(lower.tril(-1) / self.step)
        self.upper.copy_(upper.triu(1) / self.step)
        self.raw_log_scale.copy_(self.bound * torch.atanh((diagonal.abs().log() / self.bound).clamp(-0.99, 0.99)))

    def _log_scale(self) -> Tensor:
        return self.bound * torch.tanh(self.raw_log_scale / self.bound)

    def _matrix(self) -> Tensor:
        lower = self.step * self.lower.tril(-1) + torch.diag(torch.ones_like(self.signs))
        upper = self.step * self.upper.triu(1) + torch.diag(self.signs * self._log_scale().exp())
        return (lower @ upper).index_select(0, self.order)

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        z = torch.matmul(self._matrix(), x.flatten(2) if x.ndim > 2 else x[:, :, None]) + self.shift[:, None]
        return z.reshape(x.shape), self._log_det(x)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        # In double precision the inverse of the matrix adds no error of its own.
        back = torch.linalg.inv(self._matrix().double()).to(z.dtype)
        shifted = (z.flatten(2) if z.ndim > 2 else z[:, :, None]) - self.shift[:, None]
        return torch.matmul(back, shifted).reshape(z.shape), -self._log_det(z)

    def _log_det(self, x: Tensor) -> Tensor:
        return (self._log_scale().sum() * math.prod(self.in_shape[1:])).expand(x.shape[0])
