"""The processes of one training: how a batch is split among them, and what the first one does for all.

Each process draws the same rows, noise and latents of outliers for the joint batch, and sends its own part of them
through the network; what comes out is gathered, and each computes the loss of the joint batch. So the training is that
of one process, whatever the loss is: nothing is averaged over parts of a batch. Outliers are decoded in parts too, one
a process, and gathered.

    u = own(noisy(batch))        # of the joint batch, the rows of this process
    loss = joint(network(u)).mean()

In a training by one process `own` and `joint` change nothing.
"""

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from farout.errors import RunError

__all__ = ["by_the_first", "first_process", "in_parts", "joint", "own", "sharing"]

PATIENCE = timedelta(hours=12)  # for which a process waits for what the first one writes


class _Sharing(threading.local):
    rank, processes = 0, 1
    rows = 0  # of the joint batch that `own` split last


_sharing = _Sharing()


@contextlib.contextmanager
def sharing(rank: int, processes: int) -> Iterator[None]:
    """Within, `own` and `joint` are those of process ``rank``; dropout and batch normalization see the joint batch."""
    if processes == 1:
        yield
        return
    before = _sharing.rank, _sharing.processes, _sharing.rows
    _sharing.rank, _sharing.processes, _sharing.rows = rank, processes, 0
    try:
        with _OfJointBatch():
            yield
    finally:
        _sharing.rank, _sharing.processes, _sharing.rows = before


def own(t: Tensor) -> Tensor:
    """The rows of a joint batch that are this process's: every second one of two processes, and so on.

    Where they don't divide equally, the last row fills up, so that all have as many; `joint` leaves those out. It is
    for what goes into a network, and not for what has a gradient.
    """
    if _sharing.processes == 1:
        return t
    _sharing.rows = len(t)
    return t.index_select(0, _own_numbers(len(t), t.device).clamp(max=len(t) - 1))


def joint(t: Tensor) -> Tensor:
    """The rows of all processes, in the order of the joint batch that `own` split last; gradients flow back."""
    if _sharing.processes == 1:
        return t
    gathered: Tensor = _Gathered.apply(t, _sharing.rows, _sharing.rank, _sharing.processes)  # type: ignore[no-untyped-call]
    return gathered


def in_parts(n: int, make: Callable[[slice], NDArray[Any]]) -> NDArray[Any]:
    """What is made of ``n`` rows, of which each process makes a part; all have the whole.

    All processes of a training step must call it. An error of one of them is raised in all.

    Parameters
    ----------
    n : int
    make : callable
        Gives for consecutive rows, which may be none, an array of as many.
    """
    if _sharing.processes == 1 or n < _sharing.processes:
        return make(slice(0, n))
    ends = [n * i // _sharing.processes for i in range(_sharing.processes + 1)]
    found: NDArray[Any] | Exception
    try:
        found = make(slice(ends[_sharing.rank], ends[_sharing.rank + 1]))
    except Exception as error:  # else the others would wait for this one
        found = error
    parts: list[Any] = [None] * _sharing.processes
    dist.all_gather_object(parts, found)
    for part in parts:
        if isinstance(part, Exception):
            raise part
    return np.concatenate(parts)


def _own_numbers(n: int, device: torch.device) -> Tensor:
    """Numbers of the rows of this process; those from ``n`` on fill up."""
    share = -(-n // _sharing.processes)
    return _sharing.rank + _sharing.processes * torch.arange(share, device=device)


class _Gathered(torch.autograd.Function):
    """Rows of all processes. Each has the same loss of them, so that the own part of its gradient is all it needs.

    Gradients of the weights are averaged over the processes afterwards, which is why this one is multiplied by their
    number: the sum of all parts is what one process would have.
    """

    @staticmethod
    def forward(ctx: Any, t: Tensor, n: int, rank: int, processes: int) -> Tensor:
        ctx.rank, ctx.processes = rank, processes
        parts = [torch.empty_like(t, memory_format=torch.contiguous_format) for _ in range(processes)]
        dist.all_gather(parts, t.contiguous())
        return torch.stack(parts, 1).flatten(0, 1)[:n]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        share = -(-len(grad) // ctx.processes)
        filled = grad.new_zeros(share * ctx.processes, *grad.shape[1:])
        filled[: len(grad)] = grad
        return filled[ctx.rank :: ctx.processes] * ctx.processes, None, None, None


class _Summed(torch.autograd.Function):
    """The sum over processes of what depends on the rows of each; so does its gradient."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        total = t.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        total = grad.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _OfJointBatch(TorchFunctionMode):
    """What layers draw or measure over a batch is what they would over the joint one, whoever wrote the network."""

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        special: dict[Any, Callable[..., Any]] = {F.dropout: _dropout, F.batch_norm: _batch_norm}
        return special.get(func, func)(*args, **(kwargs or {}))


def _is_own_part(x: Tensor) -> bool:
    """Whether a layer's input has a row for each of this process's."""
    return _sharing.rows > 0 and len(x) == -(-_sharing.rows // _sharing.processes)


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
    if not training or not p or not _is_own_part(input):
        return F.dropout(input, p, training, inplace)
    kept = F.dropout(input.new_ones(_sharing.rows, *input.shape[1:]), p)
    own_numbers = _own_numbers(_sharing.rows, input.device).clamp(max=_sharing.rows - 1)
    return input * kept.index_select(0, own_numbers)


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training or not _is_own_part(input):
        return F.batch_norm(input, running_mean, running_var, weight, bias, training, momentum, eps)
    values = input.float() if input.dtype.itemsize < 4 else input
    shape = (1, -1, *[1] * (input.dim() - 2))
    others = [i for i in range(input.dim()) if i != 1]
    n = _sharing.rows * (input[0].numel() // input.shape[1])
    counts = (_own_numbers(_sharing.rows, input.device) < _sharing.rows).to(values)
    counts = counts.reshape(-1, *[1] * (input.dim() - 1))  # without the rows that fill up

    def mean(of_rows: Tensor) -> Tensor:
        total: Tensor = _Summed.apply((of_rows * counts).sum(others))  # type: ignore[no-untyped-call]
        return total / n

    center = mean(values)
    centred = values - center.reshape(shape)
    var = mean(centred.square())
    with torch.no_grad():
        if running_mean is not None and running_var is not None:
            running_mean.lerp_(center.to(running_mean), momentum)
            running_var.lerp_(var.to(running_var) * n / max(n - 1, 1), momentum)
    scaled = centred * (var + eps).rsqrt().reshape(shape)
    if weight is not None:
        scaled = scaled * weight.reshape(shape)
    return (scaled if bias is None else scaled + bias.reshape(shape)).to(input.dtype)


# --- what the first process does for all ---------------------------------------------------------------------------


def first_process() -> bool:
    """Whether this process is the first of those that a launcher has started, or the only one.

    It is told by what torchrun, SLURM and Lightning set for the processes that they start.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank() == 0
    names = ("RANK",) if os.environ.get("RANK") else ("SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
    return all(os.environ.get(name, "0") in ("", "0") for name in names)


_written: dict[str, int] = {}  # how often the processes have met at each path


@contextlib.contextmanager
def by_the_first(path: Path, first: bool = True) -> Iterator[bool]:
    """Around what the first of several processes writes to ``path``: True for it; for others False, once it is done.

    The first one waits for nobody, so that a script may as well call it in the first process alone.

    Parameters
    ----------
    path : Path
    first : bool, default=True
        Whether this is the first process, where they have no connection yet; then nobody waits.

    Raises
    ------
    RunError
        In the other processes, if the first one failed.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        yield first
        return
    key = f"farout {path.absolute()}"
    _written[key] = _written.get(key, 0) + 1
    key += f" {_written[key]}"
    store = dist.distributed_c10d._get_default_store()
    if dist.get_rank() == 0:
        result = "failed"
        try:
            yield True
            result = "done"
        finally:
            store.set(key, result)
        return
    try:
        store.wait([key], PATIENCE)
        failed = store.get(key) == b"failed"
    except dist.DistError:  # it has come to its end
        failed = False
    if failed:
        raise RunError(f"{path}: the first process couldn't write it; its own message says why.")
    yield False
