"""Critic: a small network that learns the classes and positions of normal images, for sources and models to ask."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from farout.base.estimator import Estimator, classes_of
from farout.base.holdout import holdout_split
from farout.base.process import recording_gradients
from farout.base.ranks import joint, own
from farout.base.training import Budget, Training, inference_device, seeded, train
from farout.base.validation import check_labels, check_number, check_training, encode_labels, resolve_event_shape
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.units import Units
from farout.networks.features import unit, with_features
from farout.networks.image import ResidualNetwork
from farout.outliers.symmetries import TURNS, positions

__all__ = ["Critic", "shared_critic"]

WIDTHS = (16, 32, 64)
STEPS, BATCH, RATE = 300, 64, 3e-3
ROWS = 10_000  # rows it learns from, at most
ASKED = 500  # rows held out to ask whether positions can be told, at most
TOLD = 0.6  # AUROC from which on a position counts as told from the upright one
FEW = 100  # rows below which nothing is asked: every position counts as told
AT_ONCE = 256  # images that go through the network at a time


class Critic(Estimator):
    """Learns the classes of images, and to tell images that were rotated or mirrored from those that weren't.

    Sources ask it where in an image its class shows, and whether a changed image still looks like a real one. Models
    ask it which rotations and mirror images their data are indifferent to. It is a small residual network, trained for
    a few hundred steps; what it is asked needs no more.

    Parameters
    ----------
    event_shape : tuple of int, optional
        (channels, height, width).
    max_steps : int, optional
        Gradient steps; 300 when omitted.
    training : Training, optional
    random_state : int, Generator or None, default=None

    Attributes
    ----------
    told_ : ndarray of shape (8,)
        For each position (see `farout.outliers.symmetries.turned`), the AUROC by which held-out images in it are told
        from those as they came, given their class: near 0.5 where the data are symmetric. NaN for the first, which is
        as they came, and for positions that don't keep the shape. 1 where there were fewer than 100 rows.
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels. Without, it learns positions alone.

    Examples
    --------
    >>> import farout as fo
    >>> digits = fo.load_data("digits:train")
    >>> critic = Critic(event_shape=(1, 8, 8), max_steps=60, random_state=0).fit(digits.X, digits.y)
    >>> critic.features(digits.X[:5]).shape, critic.saliency(digits.X[:5], digits.y[:5]).shape
    ((5, 64), (5, 8, 8))
    """

    _networks = ("units_", "network_")

    event_shape_: tuple[int, ...]
    classes_: NDArray[Any]
    units_: Units
    network_: ResidualNetwork
    told_: NDArray[np.float64]
    _open_ended = ("history_", "told_")  # NaN where a symmetry was not judged

    def __init__(
        self,
        event_shape: tuple[int, ...] | None = None,
        max_steps: int | None = None,
        training: Training | None = None,
        random_state: Any = None,
    ) -> None:
        self.event_shape = event_shape
        self.max_steps = max_steps
        self.training = training
        self.random_state = random_state

    def _check_settings(self) -> None:
        check_number(self.max_steps, "max_steps", "Critic", low=1, integer=True, none_ok=True)
        check_training(self.training, "Critic")

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        X = self._check_rows(X, self.event_shape)
        self.event_shape_ = resolve_event_shape(self._handing().event_shape, X.shape[1], "Critic")
        if len(self.event_shape_) != 3:
            raise InvalidSettingError("Critic: its rows are vectors; give event_shape=(channels, height, width).")
        labels = np.zeros(len(X), np.int64)
        if y is not None:
            self.classes_, found = np.unique(check_labels(y, len(X), "Critic"), return_inverse=True)
            labels = found.astype(np.int64)
        rows = np.random.default_rng(self.seed_).permutation(len(X))[:ROWS]
        X, labels = X[rows], labels[rows]
        self.units_ = Units.of(X, self.event_shape_)
        with seeded(self.seed_):
            self.network_ = self._build("network_")
        asked = min(ASKED / len(X), 0.2) if len(X) >= FEW else 0.0
        inner, held = holdout_split(len(X), asked, labels, self.seed_)
        train(
            self.network_,
            self._loss,
            (self.units_.to_train(X[inner]), torch.from_numpy(labels[inner])),
            Budget(self.max_steps or STEPS, BATCH, RATE, weight_decay=1e-4),
            where=self._handing().training,
            seed=self.seed_,
            name="critic",
        )
        self.network_.eval().requires_grad_(False)
        self._to_device()
        self.told_ = self._told(X[held], labels[held])

    def _to_device(self) -> None:
        device = inference_device(self.training)
        self.network_.to(device)
        self.units_.to(device)

    def _build(self, name: str) -> Any:
        if name == "units_":
            return Units(self.event_shape_)
        return ResidualNetwork(self.event_shape_, self._n_classes * (2 + TURNS), WIDTHS, blocks=1)

    @property
    def _n_classes(self) -> int:
        classes = classes_of(self)
        return 1 if classes is None else len(classes)

    def _loss(self, batch: Any, progress: float) -> tuple[Tensor, dict[str, Any]]:
        """Cross entropy of the class of half of the images, and of the position of all, given their class."""
        x, y = batch
        at = torch.zeros(len(x), dtype=torch.int64)
        turning = len(x) // 2
        at[:turning] = torch.from_numpy(positions(self.event_shape_))[
            torch.randint(len(positions(self.event_shape_)), (turning,))
        ]
        by_class, by_position = self._split(joint(self.network_(own(_turned(x, at.to(x.device))))), y)
        loss = F.cross_entropy(by_position, at.to(y.device))
        return loss + (F.cross_entropy(by_class[turning:], y[turning:]) if self._n_classes > 1 else 0.0), {}

    def _split(self, logits: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the classes, and of the positions given the class."""
        k = self._n_classes
        at = logits[:, k:].reshape(len(logits), k, 1 + TURNS)
        return logits[:, :k], at[torch.arange(len(logits), device=logits.device), y]

    @torch.no_grad()
    def _told(self, X: NDArray[Any], labels: NDArray[np.int64]) -> NDArray[np.float64]:
        told = np.full(1 + TURNS, np.nan)
        told[positions(self.event_shape_)] = 1.0
        if not len(X):
            return told
        events, y = self.units_.to_model(X), torch.from_numpy(labels).to(self.units_.shift.device)

        right = self._upright(events, y, 0)
        for k in positions(self.event_shape_):
            wrong = self._upright(events, y, int(k))
            told[k] = roc_auc_score(np.r_[np.ones(len(right)), np.zeros(len(wrong))], np.r_[right, wrong])
        return told

    def _upright(self, events: Tensor, y: Tensor, position: int) -> NDArray[np.float64]:
        """Log-probability that events which are turned to a position came so, given their class, of shape (n,)."""
        parts = []
        for x, c in zip(events.split(AT_ONCE), y.split(AT_ONCE), strict=True):
            logits = self.network_(_turned(x, torch.full((len(x),), position, device=x.device)))
            parts.append(F.log_softmax(self._split(logits, c)[1], dim=1)[:, 0])
        found: NDArray[np.float64] = torch.cat(parts).double().cpu().numpy()
        return found

    # --- what it is asked ----------------------------------------------------------------------------------------

    def tells(self, position: int) -> bool:
        """Whether images in this position are told from those that are as they came."""
        return bool(self.told_[position] >= TOLD)

    @torch.no_grad()
    def features(self, X: ArrayLike) -> NDArray[np.float64]:
        """What the last layer is given for rows (n, d), scaled to norm 1, of shape (n, 64)."""
        X = self._query(X)
        parts = [
            with_features(self.network_, self.network_.last, self.units_.to_model(X[i : i + AT_ONCE]))[1]
            for i in range(0, len(X), AT_ONCE)
        ]
        return unit(torch.cat(parts).cpu().numpy())

    def saliency(self, X: ArrayLike, y: ArrayLike | None = None) -> NDArray[np.float64]:
        """How strongly the class of each image rests on each place, of shape (n, height, width).

        The absolute gradient of the logit of the image's class, summed over channels (Simonyan et al., 2014); without
        classes, of the logit of being as it came, and not rotated or mirrored. Labels that are left out are the
        critic's own likeliest.

        Raises
        ------
        InvalidDataError
            If a label is unknown, or given where the critic knows none.
        """
        X = self._query(X)
        labels = self._label_indices(X, y)
        parts = []
        for i in range(0, len(X), AT_ONCE):
            with recording_gradients():
                events = self.units_.to_model(X[i : i + AT_ONCE]).requires_grad_()
                target = torch.from_numpy(labels[i : i + AT_ONCE]).to(events.device)
                (slope,) = torch.autograd.grad(self.resting(events, target).sum(), events)
            parts.append(slope.abs().sum(1).double().cpu())
        found: NDArray[np.float64] = torch.cat(parts).numpy()
        return found

    @torch.no_grad()
    def _label_indices(self, X: NDArray[Any], y: ArrayLike | None) -> NDArray[np.int64]:
        classes = classes_of(self)
        if y is not None and classes is None:
            raise InvalidDataError("Critic: got y, but it was fitted without labels; leave y out.")
        if y is not None and classes is not None:
            return encode_labels(y, classes, len(X), "Critic")
        parts = [self.network_(self.units_.to_model(X[i : i + AT_ONCE])) for i in range(0, len(X), AT_ONCE)]
        found: NDArray[np.int64] = torch.cat(parts)[:, : self._n_classes].argmax(1).cpu().numpy()
        return found

    def resting(self, events: Tensor, y: Tensor) -> Tensor:
        """What the class of each event rests on: the logit of its class or, without classes, of its position."""
        by_class, by_position = self._split(self.network_(events), y)
        return by_position[:, 0] if self._n_classes == 1 else by_class.gather(1, y[:, None])[:, 0]


def _turned(x: Tensor, at: Tensor) -> Tensor:
    """Each image in its position; see `farout.outliers.symmetries.turned`."""
    out = x.clone()
    for k in range(1, 1 + TURNS):
        mine = at == k
        if not mine.any():
            continue
        whole = torch.rot90(x[mine], k % 4, (2, 3))
        out[mine] = whole.flip(3) if k >= 4 else whole
    return out


def shared_critic(owner: Estimator, X: NDArray[Any], y: ArrayLike | None) -> Critic:
    """A critic fitted on these rows: within one fit of a model, however deep the models in it are nested, one for all.

    Parameters
    ----------
    owner : Estimator
        The model that is being fitted.
    X : ndarray of shape (n, d)
        Checked rows of the owner.
    y : array of shape (n,), optional
    """
    defaults = owner._handing()
    place = ("critic", X.__array_interface__["data"][0], X.shape, X.strides, y is None)
    if place not in defaults.flows:  # the rows are kept with it, so that no others come to lie in their place
        defaults.flows[place] = (X, Critic()._taking(defaults).fit(owner._named(X), y))
    shared: Critic = defaults.flows[place][1]
    return shared
