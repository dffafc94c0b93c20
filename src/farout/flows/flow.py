"""Flow: an invertible transform to a standard normal latent, conditioned on a learned class embedding."""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import cast

import torch
from torch import Tensor, nn

from farout.base.step import gradient_type, in_training_step
from farout.errors import DivergedError, InvalidDataError, InvalidSettingError
from farout.flows.transform import Chain, Transform

__all__ = ["NO_CLASS", "Flow"]

NO_CLASS = -1  # the class index that means "no class"; it has its own embedding


class Flow(nn.Module):
    """A density on events: ``log p(x|y) = log N(f(x; y); 0, I) + log|det df/dx|``.

    Parameters
    ----------
    transform : Transform
        From data to a latent vector.
    n_classes : int, default=0
        0 for a flow without classes. Otherwise the transform takes the class embedding as its condition. "No class"
        (index -1) has an embedding too, so one model gives ``p(x|y)`` and ``p(x)``.
    embedding : Embedding, optional
        Embedding to share with another flow; a new one when omitted.

    Raises
    ------
    InvalidSettingError
        If the transform doesn't end in a vector, or only one of condition and classes is there.

    Examples
    --------
    >>> from farout.flows.vector import vector_flow
    >>> flow = vector_flow((2,), n_classes=3, seed=0)
    >>> z, log_det = flow.encode(torch.zeros(5, 2), torch.tensor([0, 1, 2, -1, -1]))
    >>> z.shape, log_det.shape
    (torch.Size([5, 2]), torch.Size([5]))
    """

    def __init__(self, transform: Transform, n_classes: int = 0, embedding: nn.Embedding | None = None) -> None:
        super().__init__()
        if len(transform.out_shape) != 1:
            raise InvalidSettingError(
                f"Flow: the transform must end in a vector; it ends in {transform.out_shape}. Add a Flatten."
            )
        if bool(transform.condition_features) != bool(n_classes):
            raise InvalidSettingError(
                f"Flow: n_classes={n_classes}, but the transform takes a condition of length "
                f"{transform.condition_features}; a flow has both or neither."
            )
        self.transform = transform
        self.n_classes = n_classes
        self.event_shape = transform.in_shape
        self.latent_size = transform.out_shape[0]
        if n_classes and embedding is None:
            embedding = nn.Embedding(n_classes + 1, transform.condition_features)
        self.embedding = embedding
        self._compiled: Callable[[Tensor, Tensor | None], tuple[Tensor, Tensor]] | None = None

    @contextlib.contextmanager
    def compiled(self) -> Iterator[None]:
        """Within, training steps encode by ``torch.compile``, as one graph for each size of a batch.

        All else is done as ever: inference has batches of many sizes, each of which would be compiled.
        """
        self._compiled = torch.compile(self.transform.forward, fullgraph=True, dynamic=False)
        try:
            yield
        finally:
            self.forget_compiled()

    def forget_compiled(self) -> None:
        """Encode as ever from now on."""
        self._compiled = None

    @property
    def is_compiled(self) -> bool:
        """Whether training steps are compiled now."""
        return self._compiled is not None

    def encode(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map data to latents.

        Parameters
        ----------
        x : Tensor of shape (n, *event_shape)
        y : int64 Tensor of shape (n,), optional
            Class indices, -1 for "no class"; None is "no class" for all.

        Returns
        -------
        z : Tensor of shape (n, latent_size)
        log_det : Tensor of shape (n,)
            In nats.

        Raises
        ------
        InvalidDataError
            If a shape or a class index is wrong.
        DivergedError
            If a result is not finite; the message names the step where this first happens, and how large the row's
            numbers are, or how strong its latent is. Within a training step nothing is looked at: whoever trains
            watches the loss.
        """
        condition = self.condition(y, len(x))
        encode = self._compiled if self._compiled is not None and gradient_type() is not None else self.transform
        z, log_det = encode(x, condition)
        self._require_finite(z, log_det, x, condition, inverse=False)
        return z, log_det

    def decode(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latents to data, the exact inverse of ``encode``; returns the inverse map's log-determinant as well."""
        condition = self.condition(y, len(z))
        x, log_det = self.transform.inverse(z, condition)
        self._require_finite(x, log_det, z, condition, inverse=True)
        return x, log_det

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Exact ``log p(x|y)``, or ``log p(x)`` without a class, in nats, of shape (n,)."""
        z, log_det = self.encode(x, y)
        return log_det - 0.5 * z.square().sum(1) - 0.5 * self.latent_size * math.log(2 * math.pi)

    def sample(
        self,
        n: int,
        y: Tensor | None = None,
        *,
        strength: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Decode ``n`` draws from ``N(0, strength^2 I)``: typical at 1, outliers above about 1.5."""
        like = next(iter(self.transform.parameters()), torch.empty(0))
        z = torch.randn(n, self.latent_size, generator=generator, dtype=like.dtype)
        return self.decode(strength * z.to(like.device), y)[0]

    def condition(self, y: Tensor | None, n: int) -> Tensor | None:
        """The embedding of classes ``y``, of shape (n, features); None for a flow without classes."""
        if self.embedding is None:
            if y is not None:
                raise InvalidDataError("Flow: got classes, but this flow was built without (n_classes=0).")
            return None
        weight = self.embedding.weight
        if y is None:
            return weight[self.n_classes].expand(n, -1)
        if y.shape != (n,) or y.is_floating_point():
            raise InvalidDataError(f"Flow: expected {n} integer class indices, got {tuple(y.shape)} of {y.dtype}.")
        # A training step has its indices from an encoder, and on a GPU a look at them waits for all that came before.
        if n and not in_training_step() and not -1 <= int(y.min()) <= int(y.max()) < self.n_classes:
            raise InvalidDataError(
                f"Flow: class indices must lie in -1 (no class) to {self.n_classes - 1}; "
                f"found {int(y.min())} to {int(y.max())}."
            )
        return cast(Tensor, self.embedding(torch.where(y == NO_CLASS, self.n_classes, y)))

    def on(self, transform: Transform) -> "Flow":
        """A flow with another transform and the same classes; it shares this flow's embedding."""
        return Flow(transform, self.n_classes, self.embedding)

    @torch.no_grad()
    def initialize(self, x: Tensor, y: Tensor | None = None) -> None:
        """Set data-dependent parameters (ActNorm) from training data, once, before training."""
        self.transform.learn(x, self.condition(y, len(x)))

    def _require_finite(
        self, out: Tensor, log_det: Tensor, start: Tensor, condition: Tensor | None, *, inverse: bool
    ) -> None:
        # The sums are not finite if any number is not.
        if in_training_step() or bool(torch.isfinite(out.sum() + log_det.sum())):
            return
        good = torch.isfinite(out).flatten(1).all(1) & torch.isfinite(log_det)
        if bool(good.all()):  # only the sums overflow
            return
        row = int(good.logical_not().nonzero()[0])
        part, given = start[row : row + 1], None if condition is None else condition[row : row + 1]
        step = _first_bad_step(self.transform, part, given, inverse=inverse)
        many = int((~good).sum())
        size = float(part.abs().max())
        if inverse:
            strength = float(part.double().norm()) / math.sqrt(self.latent_size)
            what = f"decoding gave a number that isn't finite, first in {step}, for a latent of strength {strength:.3g}"
            advice = "Lower the strength"
        else:
            what = f"encoding gave a number that isn't finite, first in {step}, for a row with numbers up to {size:.3g}"
            advice = "Look for numbers far outside the training range"
        more = f" ({many} such rows)" if many > 1 else ""
        raise DivergedError(f"Flow: {what}{more}. {advice}, or build the flow with a smaller clamp.", row)


@torch.no_grad()
def _first_bad_step(transform: Transform, value: Tensor, condition: Tensor | None, *, inverse: bool) -> str:
    """Run a chain again, step by step, to name the first step with a non-finite result."""
    if not bool(torch.isfinite(value).all()):
        return "its input"
    if not isinstance(transform, Chain):
        return type(transform).__name__
    steps = list(enumerate(transform.transforms))
    for i, step in reversed(steps) if inverse else steps:
        given = condition if step.condition_features else None
        value = (step.inverse if inverse else step)(value, given)[0]
        if not bool(torch.isfinite(value).all()):
            return f"step {i} ({type(step).__name__})"
    return "the last step"
