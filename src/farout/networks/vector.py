"""The default network for vectors: a linear layer, a hidden layer, or both side by side, chosen by held-out rows."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import KFold
from torch import Tensor, nn

from farout.base.blocks import RowsOnDemand
from farout.base.losses import cautious_loss
from farout.base.training import Budget, Training, seeded, suitable_threads, train

__all__ = ["KINDS", "VectorNetwork", "chosen_kind"]

KINDS = ("both", "linear", "mlp")
GAIN = 10.0  # of the linear layer, whose weights are as much smaller: so it learns as quickly as the hidden layer
DROPOUT = 0.3
FOLDS = 3
ROWS = 3000  # that the choice looks at, at most
LEAST_ROWS = 100  # for a choice
STEPS = 150  # of each training of the choice, at most
BATCH = 128


class VectorNetwork(nn.Module):
    """Logits by a linear layer, by one hidden layer (as wide as twice the vector, 64 to 512), or by their sum.

    Parameters
    ----------
    n_features : int
    n_outputs : int
    kind : {"both", "linear", "mlp"}, default="both"

    Examples
    --------
    >>> VectorNetwork(10, 3)(torch.zeros(2, 10)).shape
    torch.Size([2, 3])
    """

    def __init__(self, n_features: int, n_outputs: int, kind: str = "both") -> None:
        super().__init__()
        width = min(max(64, 2 * n_features), 512)
        self.bent: nn.Module | None = None
        self.straight: nn.Linear | None = None
        if kind != "linear":
            self.bent = nn.Sequential(
                nn.Linear(n_features, width, dtype=torch.float32),
                nn.ReLU(),
                nn.Dropout(DROPOUT),
                nn.Linear(width, n_outputs, dtype=torch.float32),
            )
        if kind != "mlp":
            self.straight = nn.Linear(n_features, n_outputs, dtype=torch.float32)
            with torch.no_grad():
                self.straight.weight.div_(GAIN)
                self.straight.bias.div_(GAIN)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of shape (n, n_outputs) of events of shape (n, n_features)."""
        parts = [] if self.straight is None else [GAIN * self.straight(x)]
        parts += [] if self.bent is None else [self.bent(x)]
        total: Tensor = torch.stack(parts).sum(dim=0)
        return total


def chosen_kind(U: Tensor | RowsOnDemand, y: NDArray[np.int64], *, seed: int, max_steps: int) -> str:
    """The kind of network that classifies held-out rows best; "both" where none is clearly better.

    Parameters
    ----------
    U : Tensor of shape (n, d), or RowsOnDemand
        Training rows in model units.
    y : int64 ndarray of shape (n,)
        Class indices.
    seed : int
    max_steps : int
        Steps that the model itself will take; a training of the choice takes no more.

    Returns
    -------
    str
        Another kind than "both" only if it is right more often by more than the standard error of the difference.
    """
    if len(U) < LEAST_ROWS:
        return KINDS[0]
    rows = np.random.default_rng(seed).permutation(len(U))[:ROWS]
    x = U.index_select(0, torch.from_numpy(rows)).float()
    labels = torch.from_numpy(np.unique(y[rows], return_inverse=True)[1])
    steps = min(STEPS, max_steps, max(60, 20 * len(rows) // BATCH))
    right = {kind: _right(kind, x, labels, steps, seed) for kind in KINDS}
    gains = {kind: right[kind].astype(int) - right[KINDS[0]] for kind in KINDS}
    clear = {kind: gain.sum() - np.sqrt(np.abs(gain).sum()) for kind, gain in gains.items() if kind != KINDS[0]}
    best = max(clear, key=lambda kind: clear[kind])
    return best if clear[best] > 0 else KINDS[0]


def _right(kind: str, x: Tensor, y: Tensor, steps: int, seed: int) -> NDArray[np.bool_]:
    """Which rows a network classifies rightly that was trained on the others, in folds."""
    right = np.zeros(len(x), dtype=bool)
    for inner, held in KFold(FOLDS).split(x):  # the rows are in random order already
        with seeded(seed):
            net = VectorNetwork(x.shape[1], int(y.max()) + 1, kind)

        def objective(batch: Any, progress: float, net: VectorNetwork = net) -> tuple[Tensor, dict[str, Any]]:
            return cautious_loss(net(batch[0]), batch[1], None), {}

        budget, here = Budget(steps, BATCH, 3e-3, 1e-4), Training(accelerator="cpu")  # so small a network: no GPU helps
        train(net, objective, (x[inner], y[inner]), budget, where=here, seed=seed, name="choice")
        net.eval()
        with torch.no_grad(), suitable_threads(x.shape[1]):
            right[held] = (net(x[held]).argmax(1) == y[held]).numpy()
    return right
