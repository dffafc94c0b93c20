"""A training step recorded once as a CUDA graph, and replayed: a GPU then waits neither for Python nor for launches."""

import contextlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

__all__ = ["WARM_UP", "CudaGraphs", "Recorder", "ReplayedStep"]

WARM_UP = 3  # steps that are taken one by one first, in which the optimizer and libraries take the memory they need

# Numbers of the rows of a step -> loss, and figures beside it
Step = Callable[[Tensor], tuple[Tensor, Mapping[str, Any]]]


class Recorder(Protocol):
    """What can record work and do it again."""

    def aside(self) -> AbstractContextManager[None]:
        """What steps are taken in that warm up for the recording."""

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` without doing it; what is returned does it."""


class CudaGraphs:
    """Records on the current GPU."""

    @contextlib.contextmanager
    def aside(self) -> Iterator[None]:
        """A stream of its own, as a recording has, so that nothing allocated is bound to the usual one."""
        usual, side = torch.cuda.current_stream(), torch.cuda.Stream()
        side.wait_stream(usual)
        with torch.cuda.stream(side):
            yield
        usual.wait_stream(side)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` as a CUDA graph, without doing it; what is returned does it."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            work()
        return graph.replay


class ReplayedStep:
    """Takes a few steps one by one, records the next one and from then on replays it on other rows.

    If a step can't be recorded there is a warning, and steps are taken one by one to the end.

    Parameters
    ----------
    step : callable
        Forward, backward and the optimizer, for the rows whose numbers it is given. It must do the same work on
        tensors of the same shapes each time, and look at none of their numbers.
    forget_gradients : callable
        Called before the recording, so that gradients lie in the graph's own memory.
    recorder : Recorder
        `CudaGraphs`; a test on a CPU gives another.
    """

    def __init__(self, step: Step, forget_gradients: Callable[[], None], recorder: Recorder) -> None:
        self.step, self.forget_gradients, self.recorder = step, forget_gradients, recorder
        self.taken, self.can_record = 0, True
        self.replay: Callable[[], None] | None = None
        self.picked = torch.empty(0)  # where the recorded step reads the numbers of its rows
        self.loss = torch.empty(0)
        self.figures: Mapping[str, Any] = {}

    def __call__(self, picked: Tensor) -> tuple[Tensor, Mapping[str, Any]]:
        """Take a step on the rows of these numbers; the result is the caller's own."""
        self.taken += 1
        if self.can_record and self.taken <= WARM_UP:
            with self.recorder.aside():
                return self.step(picked)
        if self.can_record and self.replay is None:
            self._record(picked)
        if self.replay is None:
            return self.step(picked)
        self.picked.copy_(picked)
        self.replay()
        # The next replay writes over them.
        return self.loss.clone(), {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.figures.items()}

    def _record(self, picked: Tensor) -> None:
        self.picked = picked.clone()
        self.forget_gradients()
        try:
            self.replay = self.recorder.record(self._recorded)
        except RuntimeError as error:
            self.can_record = False
            self.forget_gradients()
            warnings.warn(
                "training steps can't be recorded as a CUDA graph, so they are taken one by one, which is slower: "
                f"{str(error).splitlines()[0]}",
                stacklevel=2,
            )

    def _recorded(self) -> None:
        self.loss, self.figures = self.step(self.picked)
