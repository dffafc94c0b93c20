"""A training step recorded once as a CUDA graph, and replayed: a GPU then waits neither for Python nor for launches."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["WARM_UP", "Recorder", "ReplayedStep", "on_cuda"]

WARM_UP = 3  # steps that are taken one by one first, in which the optimizer and libraries take the memory they need

# A function without arguments -> another that does the same work again
Recorder = Callable[[Callable[[], None]], Callable[[], None]]
# Numbers of the rows of a step -> loss, and figures beside it
Step = Callable[[Tensor], tuple[Tensor, Mapping[str, Any]]]


class ReplayedStep:
    """Takes a few steps one by one, records the next one and from then on replays it on other rows.

    Parameters
    ----------
    step : callable
        Forward, backward and the optimizer, for the rows whose numbers it is given. It must do the same work on
        tensors of the same shapes each time, and look at none of their numbers.
    forget_gradients : callable
        Called before the recording, so that gradients lie in the graph's own memory.
    record : callable
        `on_cuda`; a test on a CPU gives another.
    """

    def __init__(self, step: Step, forget_gradients: Callable[[], None], record: Recorder) -> None:
        self.step, self.forget_gradients, self.record = step, forget_gradients, record
        self.taken = 0
        self.replay: Callable[[], None] | None = None
        self.picked = torch.empty(0)  # where the recorded step reads the numbers of its rows
        self.loss = torch.empty(0)
        self.figures: Mapping[str, Any] = {}

    def __call__(self, picked: Tensor) -> tuple[Tensor, Mapping[str, Any]]:
        """Take a step on the rows of these numbers; the result is the caller's own."""
        self.taken += 1
        if self.taken <= WARM_UP:
            return self.step(picked)
        if self.replay is None:
            self.picked = picked.clone()
            self.forget_gradients()
            self.replay = self.record(self._recorded)
        self.picked.copy_(picked)
        self.replay()
        # The next replay writes over them.
        return self.loss.clone(), {k: v.clone() if isinstance(v, Tensor) else v for k, v in self.figures.items()}

    def _recorded(self) -> None:
        self.loss, self.figures = self.step(self.picked)


def on_cuda(work: Callable[[], None]) -> Callable[[], None]:
    """Record ``work`` as a CUDA graph, without doing it; what is returned does it."""
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
