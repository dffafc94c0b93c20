"""Reversible: a chain that trains in the memory of one step, by recomputing each step's input from its output."""

import warnings
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from farout.base.step import same_step
from farout.flows.transform import Chain, Transform

__all__ = ["Reversible"]

KEEPS = "keeps_activations"  # in a state dict, where it is so
TOLERANCE = 1e-4  # largest error of the recomputed input, against its largest number


class Reversible(Chain):
    """A chain whose steps don't keep their activations for the backward pass (Gomez et al., 2017).

    Going backward, each step inverts its output and is run again on the result. So only one step's activations are in
    memory at a time, however many steps there are; a training step takes 1.5 to 1.9 times as long. Outputs, weights and
    their names are those of a `Chain`. Gradients are too, as far as the inverse is exact.

    Where activations explode, as in deep stacks with large weights, the inverse is not exact, and gradients would be
    wrong without a sign of it. So every backward pass compares the recomputed input with the true one. If they differ
    by more than 1e-4 of its largest number, there is a warning, once, and activations are kept from then on, in
    that pass too.

    Under autocast it computes in single precision all the same, since a map in half precision has no exact inverse. In
    evaluation mode it is a plain chain. Steps that are fitted once, and those that hold a chain, such as `MultiScale`,
    run as they do in a plain one; a chain inside may be reversible itself. Gradients can't be differentiated again.

    Parameters
    ----------
    transforms : iterable of Transform
        As in `Chain`; may be a chain. The same input must give the same output: no dropout.

    Attributes
    ----------
    recomputes : bool
        False once a recomputed input was wrong.

    Examples
    --------
    >>> from farout.flows.couplings import GlowCoupling
    >>> from farout.flows.subnets import dense_subnets
    >>> chain = Chain(GlowCoupling((4,), dense_subnets(8)) for _ in range(10))
    >>> x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    >>> gradients = []
    >>> for steps in (chain, Reversible(chain)):
    ...     z, log_det = steps(x)
    ...     loss = z.square().mean() - log_det.mean()
    ...     gradients.append(torch.autograd.grad(loss, list(steps.parameters())))
    >>> all(torch.allclose(a, b, atol=1e-6) for a, b in zip(*gradients))
    True
    """

    def __init__(self, transforms: Iterable[Transform]) -> None:
        super().__init__(transforms)
        self.recomputes = True

    def _forward(self, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._through(self.transforms, x, condition, inverse=False)

    def _inverse(self, z: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._through(self.transforms[::-1], z, condition, inverse=True)

    def _through(
        self, steps: Sequence[Transform], value: Tensor, condition: Tensor | None, inverse: bool
    ) -> tuple[Tensor, Tensor]:
        # Steps are asked, not the chain: a slice of a chain in evaluation mode is a new chain.
        training = any(step.training for step in steps)
        if not (training and self.recomputes and torch.is_grad_enabled()):
            return _run(steps, value, condition, inverse)
        total = value.new_zeros(value.shape[0])
        for recomputable, group in groupby(steps, _recomputable):
            part = list(group)
            if recomputable:
                weights = dict.fromkeys(p for step in part for p in step.parameters() if p.requires_grad)
                full = [t if t is None else _single(t) for t in (value, condition)]
                value, log_det = _Recomputation.apply(self, part, inverse, *full, *weights)  # type: ignore[no-untyped-call]
            else:
                value, log_det = _run(part, value, condition, inverse)
            total = total + log_det
        return value, total

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        """Say if activations are kept, so that a training that is gone on with keeps them too."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if not self.recomputes:
            destination[prefix + KEEPS] = torch.tensor(True)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *further: Any) -> None:
        if state_dict.pop(prefix + KEEPS, False):
            self.recomputes = False
        super()._load_from_state_dict(state_dict, prefix, *further)

    def distrust(self, why: str) -> None:
        """Keep activations from now on, and say so the first time."""
        if self.recomputes:
            self.recomputes = False
            warnings.warn(
                f"Reversible: {why}. Gradients would be wrong, so from now on activations are kept in memory, as in a "
                "plain Chain. Smaller weights, or a lower learning rate, keep the inverse exact.",
                stacklevel=2,
            )


def _recomputable(step: Transform) -> bool:
    """Whether a step is to be recomputed; a chain within it sees to its own steps."""
    return not step.fitted_once and not any(isinstance(part, Chain) for part in step.modules())


def _run(steps: Iterable[Transform], value: Tensor, condition: Tensor | None, inverse: bool) -> tuple[Tensor, Tensor]:
    """Steps in the order given, each in the direction asked for."""
    total = value.new_zeros(value.shape[0])
    for step in steps:
        value, log_det = (step.inverse if inverse else step)(value, condition if step.condition_features else None)
        total = total + log_det
    return value, total


class _Recomputation(torch.autograd.Function):
    """Steps of which only the input, to compare with, and the output are kept."""

    @staticmethod
    def forward(
        ctx: Any,
        owner: Reversible,
        steps: list[Transform],
        inverse: bool,
        value: Tensor,
        condition: Tensor | None,
        *weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        ctx.owner, ctx.steps, ctx.inverse, ctx.weights = owner, steps, inverse, weights
        ctx.same_step = same_step()
        with torch.autocast(value.device.type, enabled=False):
            out, log_det = _run(steps, value, condition, inverse)
        ctx.save_for_backward(value, condition, out)
        return out, log_det

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        value, condition, out = ctx.saved_tensors
        if condition is not None:
            condition = condition.detach().requires_grad_(ctx.needs_input_grad[4])
        with ctx.same_step(), torch.autocast(value.device.type, enabled=False):
            sums: dict[Tensor | None, Tensor] = {}
            start, gradient = out, gradients[0]
            for step in reversed(ctx.steps):
                start = _run([step], start, condition, not ctx.inverse)[0]
                gradient = _back([step], start, condition, ctx.inverse, (gradient, gradients[1]), sums)
            error, scale, largest = (float(t.abs().max()) if t.numel() else 0.0 for t in (start - value, value, out))
            if not error <= TOLERANCE * (scale or 1.0):  # also where it isn't finite
                first, last = (type(ctx.steps[i]).__name__ for i in (0, -1))
                ctx.owner.distrust(
                    f"the input of {len(ctx.steps)} steps, {first} to {last}, was recomputed from their output with an "
                    f"error of {error:.2g}; its largest number is {scale:.2g} and that of the output {largest:.2g}"
                )
                sums = {}
                gradient = _back(ctx.steps, value, condition, ctx.inverse, gradients, sums)
        return None, None, None, gradient, sums.get(condition), *map(sums.get, ctx.weights)


def _back(
    steps: Sequence[Transform],
    value: Tensor,
    condition: Tensor | None,
    inverse: bool,
    gradients: Sequence[Tensor],
    sums: dict[Tensor | None, Tensor],
) -> Tensor:
    """The gradient of ``value``, which ``steps`` are run on; those of the condition and of weights go to ``sums``."""
    value = value.detach().requires_grad_()
    with torch.enable_grad():
        outs = _run(steps, value, condition, inverse)
    live = [(out, gradient.to(out.dtype)) for out, gradient in zip(outs, gradients, strict=True) if out.requires_grad]
    weights = dict.fromkeys(p for step in steps for p in step.parameters() if p.requires_grad)
    others = [*weights] if condition is None or not condition.requires_grad else [condition, *weights]
    ends, incoming = zip(*live, strict=True)
    first, *rest = torch.autograd.grad(ends, [value, *others], incoming, allow_unused=True)
    for other, gradient in zip(others, rest, strict=True):
        if gradient is not None:
            sums[other] = sums[other] + gradient if other in sums else gradient
    return first


def _single(t: Tensor) -> Tensor:
    """In single precision at least where autocast is on, which may have made it half."""
    return t.to(torch.promote_types(t.dtype, torch.float32)) if torch.is_autocast_enabled(t.device.type) else t
