"""What holds within a training step: the way back may be rougher than the way forward, and nobody stops to look."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import partial

import torch

__all__ = ["gradient_type", "in_training_step", "quickest_type", "same_step", "training_step"]


# Not of a class of its own, whose defaults torch's compiler, up to 2.11 at least, takes for what a thread has set.
_state = threading.local()


def _now() -> tuple[bool, torch.dtype]:
    """Whether this thread is within a step, and the type of its gradients."""
    return getattr(_state, "on", False), getattr(_state, "dtype", torch.float32)


@contextlib.contextmanager
def training_step(dtype: torch.dtype = torch.float32) -> Iterator[None]:
    """Within, float32 networks that can do so take gradients back in ``dtype``, and flows don't look at their numbers.

    What comes forward isn't changed: a flow's latents, its log-determinants and the loss are as exact as ever. In
    bfloat16 a gradient is off by about .2 %, as random as the choice of a batch and far smaller. To look whether
    numbers are finite would make a GPU wait at every step; whoever trains watches the loss instead.
    """
    before = _now()
    _state.on, _state.dtype = True, dtype
    try:
        yield
    finally:
        _state.on, _state.dtype = before


def same_step() -> Callable[[], AbstractContextManager[None]]:
    """What puts another thread into this one's step: autograd takes a GPU's steps back in a thread of its own."""
    on, dtype = _now()
    return partial(training_step, dtype) if on else contextlib.nullcontext


def in_training_step() -> bool:
    """Whether this thread is within a `training_step`."""
    return bool(getattr(_state, "on", False))


def gradient_type() -> torch.dtype | None:
    """The type for gradients of a `training_step`; None outside one, and where nothing is differentiated."""
    on, dtype = _now()
    return dtype if on and torch.is_grad_enabled() else None


def quickest_type(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it natively (AVX-512 BF16, AMX, CUDA from Ampere on), else float32."""
    if device.type == "cuda":
        native = torch.cuda.get_device_capability(device)[0] >= 8
    else:
        known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)() if device.type == "cpu" else {}
        native = bool(known.get("amx_bf16") or known.get("avx512_bf16"))
    return torch.bfloat16 if native else torch.float32
