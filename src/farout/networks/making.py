"""How a model gets its network: a ready-made one, or one of your own, checked before anything is trained."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from farout.base.training import seeded
from farout.errors import InvalidSettingError
from farout.networks.image import default_network, named_network
from farout.networks.vector import VectorNetwork

__all__ = ["double_precision", "dtype_of", "make_network", "works_in"]

Shape = tuple[int, ...]
_REFUSALS = (RuntimeError, ValueError, TypeError, IndexError)  # how torch says that an input doesn't fit


def make_network(
    network: Any,
    event_shape: Shape,
    n_outputs: int,
    seed: int,
    *,
    batch_size: int = 128,
    kind: str = "both",
) -> nn.Module:
    """The network that a model trains: a copy of a module, what a function makes, or a default one.

    Parameters
    ----------
    network : Module, callable, str or None
        A module maps events of shape (n, *event_shape), in model units (images in [-1, 1], columns of unit
        variance), to (n, n_outputs) logits. A function is called as ``network(event_shape, n_outputs)``. A name is
        one of `NETWORKS`, for images. None gives the one of `default_network` for images and a `VectorNetwork` for
        vectors, in float32. The parameters of a network
        are float32 or float64, and it is given events of that dtype.
    event_shape : tuple of int
    n_outputs : int
    seed : int
        Of the first weights.
    batch_size : int, default=128
        Inliers a step; the network is tried on twice as many rows (inliers and outliers), on 2 and on 1. The trial
        changes neither its buffers nor its mode.
    kind : {"both", "linear", "mlp"}, default="both"
        Of the default network for vectors.

    Raises
    ------
    InvalidSettingError
        If it is none of these, couldn't be trained, or doesn't give (n, n_outputs) logits.
    """
    with seeded(seed):
        try:
            made = _made(network, event_shape, n_outputs, kind)
        except (RuntimeError, ValueError, TypeError) as error:
            how = "be copied" if isinstance(network, nn.Module) else "be made by network(event_shape, n_outputs)"
            raise InvalidSettingError(
                f"network can't {how}: {type(error).__name__}: {error}. Give a module, or a function that makes one."
            ) from error
        if not isinstance(made, nn.Module):
            raise InvalidSettingError(
                f"network must be a torch module or a function that makes one; got {type(made).__name__}."
            )
        _initialize_lazy(made, event_shape)
        _require_dtype(made)
        _require_logits(made, event_shape, n_outputs, batch_size)
    return made


def _made(network: Any, event_shape: Shape, n_outputs: int, kind: str) -> Any:
    if isinstance(network, nn.Module):
        return copy.deepcopy(network)
    if network is None and len(event_shape) == 1:
        return VectorNetwork(*event_shape, n_outputs, kind)
    if network is None:
        network = default_network(event_shape)
    if isinstance(network, str):
        network = named_network(network, event_shape)
    return network(event_shape, n_outputs) if callable(network) else network


@torch.no_grad()
def _initialize_lazy(network: nn.Module, event_shape: Shape) -> None:
    """Let lazy layers (``nn.LazyLinear``) find their sizes, in evaluation mode."""
    if any(nn.parameter.is_lazy(p) for p in network.parameters()):
        with _mode(network, training=False):
            _given(network, torch.zeros(2, *event_shape), event_shape)


def _require_dtype(network: nn.Module) -> None:
    parameters = list(network.parameters())
    dtypes = {p.dtype for p in parameters if p.is_floating_point()}
    if not any(p.requires_grad for p in parameters):
        raise InvalidSettingError("network has no parameter that could learn; give one with requires_grad=True.")
    if len(dtypes) > 1 or not dtypes <= {torch.float32, torch.float64}:
        found = " and ".join(sorted(str(dtype).removeprefix("torch.") for dtype in dtypes))
        raise InvalidSettingError(
            f"network must have parameters of one dtype, float32 or float64, and has {found}; give network.float(). "
            'To train in half precision, give training=farout.Training(precision="bf16-mixed").'
        )


@torch.no_grad()
def _require_logits(network: nn.Module, event_shape: Shape, n_outputs: int, batch_size: int) -> None:
    """Try the batches of training and of inference on a copy, in the network's own dtype."""
    with contextlib.suppress(RuntimeError):  # old weight_norm can't be copied: then the network itself
        network = copy.deepcopy(network)
    like = next(p for p in network.parameters() if p.is_floating_point())
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    for n, training in ((2, True), (2 * batch_size, True), (1, False)):
        x = torch.randn(n, *event_shape, dtype=like.dtype).to(like.device)
        learns = training and n == 2
        with _mode(network, training), torch.set_grad_enabled(learns):
            given = _given(network, x, event_shape)
        shape = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
        if shape != (n, n_outputs):
            raise InvalidSettingError(
                f"network must give {n_outputs} logits an event, shape (n, {n_outputs}); "
                f"for {n} events it gave {shape}."
            )
        if given.dtype not in (torch.float32, torch.float64):
            raise InvalidSettingError(f"network must give logits of float32 or float64; it gave {given.dtype}.")
        if learns and not given.requires_grad:
            raise InvalidSettingError("network gives logits without a gradient; leave out no_grad, detach and argmax.")
    for name, buffer in network.named_buffers():  # BatchNorm's statistics have moved
        if name in buffers:
            buffer.copy_(buffers[name])


@contextlib.contextmanager
def _mode(network: nn.Module, training: bool) -> Iterator[None]:
    """The network in training or evaluation mode for a while, and each of its modules in its own again."""
    modes = [(module, module.training) for module in network.modules()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _given(network: Callable[[Tensor], Any], x: Tensor, event_shape: Shape) -> Any:
    try:
        return network(x)
    except _REFUSALS as error:
        dtype = str(x.dtype).removeprefix("torch.")
        raise InvalidSettingError(
            f"network can't take events of shape {event_shape}, {len(x)} {dtype} rows at a time: {error}"
        ) from error


def dtype_of(network: nn.Module) -> torch.dtype:
    """The dtype of a network's parameters, in which it takes events: float32 or float64."""
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.float32)


@torch.no_grad()
def works_in(network: nn.Module, event_shape: Shape, dtype: torch.dtype) -> bool:
    """Whether a copy of the network, its parameters as ``dtype``, maps events of that dtype to numbers of that dtype.

    One that casts inside, such as ``x.float()``, doesn't work in float64, and neither does one that can't be copied.
    """
    like = next((p for p in network.parameters() if p.is_floating_point()), torch.empty(0))
    x = torch.zeros(1, *event_shape, dtype=dtype, device=like.device)
    try:
        given = copy.deepcopy(network).eval().to(dtype)(x)
    except _REFUSALS:
        return False
    return isinstance(given, Tensor) and given.dtype == dtype


def double_precision(network: nn.Module) -> nn.Module:
    """A copy of the network in evaluation mode, whose parameters and events are float64; see `works_in`.

    Examples
    --------
    >>> network = nn.Linear(4, 2)
    >>> double_precision(network)(torch.zeros(3, 4, dtype=torch.float64)).dtype, network.weight.dtype
    (torch.float64, torch.float32)
    """
    return copy.deepcopy(network).eval().double()
