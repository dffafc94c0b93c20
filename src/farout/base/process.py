"""Process-wide state that a fit changes and restores: signals, torch's generators, the number of threads."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

import torch

__all__ = [
    "Signals",
    "alone",
    "generators_of",
    "recording_gradients",
    "seeded",
    "stopped_by",
    "suitable_threads",
    "torch_as_usual",
]

SMALL_ROWS = 256  # numbers in a row, up to which one thread is quickest


class Signals:
    """SIGINT and SIGTERM are kept in ``asked`` until the loop obeys; a second one acts at once.

    Only the main thread hears signals; elsewhere, and for a signal that the process ignores, nothing is changed.
    """

    def __init__(self) -> None:
        self.asked = 0
        self.handlers: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) not in (None, signal.SIG_IGN):
                    self.handlers[number] = signal.signal(number, self._hear)
        return self

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise stopped_by(number)
        self.asked = number

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.handlers.items():
            signal.signal(number, handler)
        usual = (signal.SIG_DFL, signal.default_int_handler)
        if self.asked and self.handlers[self.asked] not in usual:  # whoever set it waits to be called
            self.handlers[self.asked](self.asked, None)
        if self.asked and kind is None:  # it came after the last step
            raise stopped_by(self.asked)


def stopped_by(number: int) -> BaseException:
    """What a program that is stopped by this signal raises."""
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


alone = threading.RLock()  # held by whoever draws from a seed, since torch's generators belong to the whole process


def generators_of(device: torch.device) -> list[torch.Generator]:
    """Those that work on this device draws from."""
    if device.type == "cuda":
        torch.cuda.init()
        return [torch.default_generator, torch.cuda.default_generators[device.index or 0]]
    if device.type == "mps":
        return [torch.default_generator, torch.mps._get_default_mps_generator()]
    return [torch.default_generator]


@contextlib.contextmanager
def seeded(seed: int, device: torch.device | None = None) -> Iterator[None]:
    """Draw from ``seed`` on, on the CPU and on ``device``; then torch's generators go on as if nothing had been drawn.

    One thread at a time can be here, so that no other one disturbs its draws.
    """
    with alone:
        generators = generators_of(torch.device("cpu") if device is None else device)
        before = [g.get_state() for g in generators]
        try:
            for generator in generators:
                generator.manual_seed(seed)
            yield
        finally:
            for generator, state in zip(generators, before, strict=True):
                generator.set_state(state)


@contextlib.contextmanager
def recording_gradients() -> Iterator[None]:
    """Gradients are recorded here, also where the caller has ``torch.no_grad`` or ``torch.inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextlib.contextmanager
def torch_as_usual() -> Iterator[None]:
    """Whatever the caller has set, torch records gradients here and makes numbers of 32 bits, as a fit expects.

    One thread at a time can be here, since torch's default dtype belongs to the process.
    """
    with alone:
        before = torch.get_default_dtype()
        try:
            if before != torch.float32:
                torch.set_default_dtype(torch.float32)
            with recording_gradients():
                yield
        finally:
            if before != torch.float32:
                torch.set_default_dtype(before)


class _Threads(threading.local):
    depth = 0  # of `suitable_threads`, in this thread


_lock, _threads = threading.Lock(), _Threads()
_limits, _usual = 0, 1  # limits in all threads, and the number of threads before the first of them


@contextlib.contextmanager
def suitable_threads(n_features: int) -> Iterator[None]:
    """One torch thread for small rows, which are not worth sharing: threads would only wait for each other.

    On a busy machine of two cores, two threads took 8x8 images 30 times as long as one.
    """
    global _limits, _usual
    with _lock:
        if not _limits:
            _usual = torch.get_num_threads()
        # A thread that is new meanwhile has begun with the limit of another one.
        before = torch.get_num_threads() if _threads.depth else _usual
        _limits, _threads.depth = _limits + 1, _threads.depth + 1
        torch.set_num_threads(1 if n_features <= SMALL_ROWS else before)
    try:
        yield
    finally:
        with _lock:
            _limits, _threads.depth = _limits - 1, _threads.depth - 1
            torch.set_num_threads(before)
