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

    def watched(self) -> AbstractContextManager[list[str]]:
        """What a step is taken in that shows whether it can be recorded; afterwards, the list says what speaks against.

        Nothing is tried: a recording that fails may leave more behind than its step.
        """

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` without doing it; what is returned does it.

        After an error, which names its first cause, the process is as it was before.
        """


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

    @contextlib.contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Told are waits for the GPU, as looks at numbers on it and copies from the CPU are; none can be recorded."""
        against: list[str] = []
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield against
            finally:
                torch.cuda.set_sync_debug_mode(before)
        for warning in caught:
            said = str(warning.message)
            if _WAITS in said:
                against += [f"it waits for the GPU, at {warning.filename}:{warning.lineno}"]
            elif _OF_WATCHING not in said:
                warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)

    def record(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record ``work`` as a CUDA graph, without doing it; what is returned does it."""
        graph, pool, device = torch.cuda.CUDAGraph(), torch.cuda.graph_pool_handle(), torch.cuda.current_device()
        first: BaseException | None = None
        torch.cuda.synchronize()
        try:
            # The outer one brings the usual stream back, which the inner one forgets if the recording can't be ended.
            with torch.cuda.stream(torch.cuda.current_stream()), torch.cuda.graph(graph, pool=pool):
                try:
                    work()
                except BaseException as error:
                    first = error
                    raise
        except BaseException as error:
            if error is not first:
                _clean_up(pool, device)
            if first is not None:  # what ends a recording would only say that there was an error before
                raise first from None
            raise
        finally:
            first = None  # whose frames hold this one, and so the graph and its memory
        return graph.replay


_WAITS = "called a synchronizing CUDA operation"
_OF_WATCHING = "Synchronization debug mode is a prototype"


def _clean_up(pool: Any, device: int) -> None:
    """Take away what torch leaves of a recording that could not be ended.

    The generator would believe for ever that it is being recorded, and refuse all draws; a copy of its state, with the
    same numbers to come, does not. The allocator would go on asking for the recording, and keep its memory.
    """
    generator = torch.cuda.default_generators[device]
    generator.graphsafe_set_state(generator.clone_state())
    with contextlib.suppress(AttributeError, RuntimeError):  # another torch has no such functions, or has done it
        torch._C._cuda_endAllocateToPool(device, pool)
        torch._C._cuda_releasePool(device, pool)


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
        if self.can_record and self.taken < WARM_UP:
            with self.recorder.aside():
                return self.step(picked)
        if self.can_record and self.taken == WARM_UP:
            with self.recorder.aside(), self.recorder.watched() as against:
                taken = self.step(picked)
            if against:
                self._give_up(against[0])
            return taken
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
            self._give_up(str(error).splitlines()[0])

    def _give_up(self, why: str) -> None:
        self.can_record = False
        self.forget_gradients()
        warnings.warn(
            f"training steps can't be recorded as a CUDA graph, so they are taken one by one, which is slower: {why}",
            stacklevel=2,
        )

    def _recorded(self) -> None:
        self.loss, self.figures = self.step(self.picked)
