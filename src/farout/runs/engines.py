"""Engines: who writes the shards of a result, this process alone or the workers of a Ray cluster."""

import contextlib
import importlib
import importlib.util
import io
import logging
import math
import os
import pickle
import platform
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from farout.base.files import PART
from farout.errors import InvalidSettingError, RunError
from farout.runs.shards import Made, Shard, ShardFolder, write_shard

__all__ = ["PLAIN", "CallAll", "Engine", "PlainEngine", "RayEngine", "ShardWriter", "Told", "untold"]

NEEDED = ("ray", "pandas", "fsspec")  # of the extra; Ray Data imports them
TRIES = 4  # times that a shard is begun whose workers die; Ray itself would go on for ever
STORE = 2**27  # bytes of shared memory of a local cluster, beside those of the writer


class Told(Protocol):
    """Called with the number of rows that are done."""

    def __call__(self, rows: int, /) -> None: ...


def untold(rows: int) -> None:
    """Nobody wants to know."""


class ShardWriter(Protocol):
    """Writes the file of a shard, which depends on the shard alone, and gives back facts of it or None.

    It is pickled for workers. What takes long, such as to open a run, is done once, where it is unpickled.

    Attributes
    ----------
    takes_gpu : bool
        Whether it works on a GPU where there is one.
    """

    takes_gpu: bool

    def __call__(self, shard: Shard, path: Path, told: Told = untold) -> dict[str, Any] | None: ...


class CallAll(Protocol):
    """Has a function called with a name and each of several blocks; gives back what it returns, in their order."""

    def __call__(self, name: str, blocks: Sequence[Any], /) -> list[Any]: ...


class Engine(Protocol):
    """Has the missing shards of a folder written, and a function called for blocks of rows."""

    def write(self, shards: ShardFolder, writer: ShardWriter, told: Told = untold) -> None:
        """Write the missing shards, and note each in the manifest as soon as it is whole; call ``told`` on the way."""

    def calling(self, call: Callable[[str, Any], Any], takes_gpu: bool) -> contextlib.AbstractContextManager[CallAll]:
        """Around calls: what comes of it has ``call(name, block)`` called for all blocks of a name."""


class PlainEngine:
    """Writes the shards in this process, one after the other."""

    def write(self, shards: ShardFolder, writer: ShardWriter, told: Told = untold) -> None:
        """See `Engine`."""
        _tell_done(shards, told)
        for shard in shards.missing():
            shards.note(write_shard(shards.folder, shard, partial(writer, shard, told=told)))

    @contextlib.contextmanager
    def calling(self, call: Callable[[str, Any], Any], takes_gpu: bool) -> Iterator[CallAll]:
        """See `Engine`."""
        yield lambda name, blocks: [call(name, block) for block in blocks]


PLAIN = PlainEngine()


class RayEngine:
    """The workers of a Ray cluster write the shards, as Ray Data hands them out.

    Each worker is a process that unpickles the writer once, and works on one torch thread, or on its share of a GPU.
    One that dies is begun anew, with the shard that it was at. This process keeps the manifest. All machines need the
    folders of the run, the data and the shards under the same paths.

    Parameters
    ----------
    workers : int, optional
        As many as the cluster has GPUs, where the writer takes them, or else CPUs, when omitted.
    address : str, optional
        Of a running cluster, or "auto"; that in ``RAY_ADDRESS`` when omitted. Without either, a cluster of this machine
        is begun, and ended with the last shard. Where ``ray.init`` was called before, its cluster is used.

    Raises
    ------
    InvalidSettingError
        If Ray isn't installed.

    Examples
    --------
    >>> engine = RayEngine(workers=2)  # doctest: +SKIP
    >>> score_shards(open_run("runs/clf"), open_stream("rows.parquet"), Path("scores"), engine=engine)  # doctest: +SKIP
    """

    def __init__(self, workers: int | None = None, address: str | None = None) -> None:
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise InvalidSettingError(
                f"the engine ray needs {', '.join(missing)}, which isn't installed: pip install 'farout[ray]'."
            )
        self.workers = workers
        self.address = address

    def write(self, shards: ShardFolder, writer: ShardWriter, told: Told = untold) -> None:
        """See `Engine`.

        Raises
        ------
        RunError
            If workers die again and again, or can't begin.
        """
        _tell_done(shards, told)
        missing = list(shards.missing())
        if not missing:
            return
        with _quiet():
            pickled = importlib.import_module("ray.cloudpickle").dumps(writer)
            self._write(shards, missing, pickled, writer.takes_gpu, told)

    @contextlib.contextmanager
    def calling(self, call: Callable[[str, Any], Any], takes_gpu: bool) -> Iterator[CallAll]:
        """See `Engine`; workers stay until the end.

        A worker that dies is begun anew, with the block that it was at.

        Parameters
        ----------
        call : callable
            Pickled for the workers; an error of it is raised here.
        takes_gpu : bool

        Raises
        ------
        RunError
            From the calls, if workers die again and again.
        """
        with _quiet(), self._cluster() as ray:
            util = importlib.import_module("ray.util")
            workers, share = self._workers(ray, takes_gpu)
            pickled = importlib.import_module("ray.cloudpickle").dumps(call)
            remote = ray.remote(_Caller).options(max_restarts=2 * TRIES, max_task_retries=TRIES, **share)
            pool = util.ActorPool([remote.remote(pickled, str(Path.cwd())) for _ in range(workers)])

            def call_all(name: str, blocks: Sequence[Any]) -> list[Any]:
                try:
                    found = list(pool.map(lambda worker, block: worker.call.remote(name, block), list(blocks)))
                except ray.exceptions.RayError as error:
                    raise RunError(f"{name}: Ray gave up: {_first_line(error)}") from error
                return [_handed(answer) for answer in found]

            yield call_all

    def _workers(self, ray: Any, takes_gpu: bool) -> tuple[int, dict[str, float]]:
        """How many there are, and the share of a machine that each takes."""
        found = ray.cluster_resources()
        gpus = int(found.get("GPU", 0)) if takes_gpu else 0
        workers = self.workers or gpus or int(found.get("CPU", 1))
        return workers, {"num_gpus": 1 / math.ceil(workers / gpus)} if gpus else {"num_cpus": 1}

    def _write(self, shards: ShardFolder, missing: list[Shard], writer: bytes, takes_gpu: bool, told: Told) -> None:
        with self._cluster(2 * len(writer)) as ray:
            try:
                for made in self._made(ray, shards.folder, missing, writer, takes_gpu):
                    shards.note(made)
                    told(made.shard.rows)
            except ray.exceptions.RayError as error:
                raise RunError(
                    f"{shards.folder}: Ray gave up: {_first_line(error)} Each of its machines needs this version of "
                    "farout; whole shards stay, and the same command goes on with the others."
                ) from error

    def _made(self, ray: Any, folder: Path, missing: list[Shard], writer: bytes, takes_gpu: bool) -> Iterator[Made]:
        """Shards, each as soon as it is whole; an error of a worker is raised here as it would be in this process."""
        workers, share = self._workers(ray, takes_gpu)
        answers = ray.data.from_items([asdict(shard) for shard in missing], override_num_blocks=len(missing)).map(
            _Worker,
            fn_constructor_args=(writer, str(folder), str(Path.cwd())),
            # One shard at a time each, so that none waits at a busy worker for want of another.
            compute=ray.data.ActorPoolStrategy(size=min(workers, len(missing)), max_tasks_in_flight_per_actor=1),
            **share,
        )
        # No batch is fetched ahead: a shard is noted when it is there, not when the next one is.
        for batch in answers.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
            for row in batch.to_pylist():
                yield _handed(row)

    @contextlib.contextmanager
    def _cluster(self, room: int = 0) -> Iterator[Any]:
        """Ray, connected to the cluster that was asked for; a local one has so many bytes more of shared memory."""
        import ray
        import ray.data

        if ray.is_initialized():
            yield ray
            return
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        own = {"num_cpus": self.workers, "include_dashboard": False, "object_store_memory": STORE + room}
        try:
            if address not in ("local", "auto") and "://" not in address:  # Ray itself would try for minutes
                host, _, port = address.rpartition(":")
                if not (host and port.isdecimal()):
                    raise ValueError("an address is HOST:PORT, such as 10.0.0.1:6379")
                socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
            with _signals_kept(), _without_stderr():
                ray.init(
                    address=address,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    **(own if address == "local" else {}),
                )
        except (OSError, ValueError, RuntimeError) as error:
            ray.shutdown()
            raise InvalidSettingError(
                f"no Ray cluster at {address}: {_first_line(error)} Begin one by `ray start --head`, or leave "
                "--address and RAY_ADDRESS out for one of this machine."
            ) from error
        try:
            yield ray
        finally:
            ray.shutdown()


class _Worker:
    """One of Ray's workers. It hands errors back as values, since Ray would wrap them in its own."""

    def __init__(self, writer: bytes, folder: str, home: str) -> None:
        self.pickled, self.folder, self.home = writer, folder, home
        self.writer: ShardWriter | None = None

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            shard, writer = Shard(**row), self._begun()
            with _counted(Path(self.folder), shard):
                return {"answer": pickle.dumps(write_shard(Path(self.folder), shard, partial(writer, shard)))}
        except Exception as error:
            return {"answer": _pickled(error), "trace": traceback.format_exc()}

    def _begun(self) -> ShardWriter:
        if self.writer is None:
            self.writer = _unpickled(self.pickled, self.home)
        return self.writer


class _Caller:
    """One of Ray's workers that stay, and are asked time and again; it hands errors back as values."""

    def __init__(self, function: bytes, home: str) -> None:
        self.pickled, self.home = function, home
        self.function: Callable[[str, Any], Any] | None = None

    def call(self, name: str, block: Any) -> dict[str, Any]:
        try:
            self.function = self.function or _unpickled(self.pickled, self.home)
            return {"answer": pickle.dumps(self.function(name, block))}
        except Exception as error:
            return {"answer": _pickled(error), "trace": traceback.format_exc()}


def _unpickled(pickled: bytes, home: str) -> Any:
    """What a worker was sent, in the folder that paths are relative to."""
    import torch

    torch.set_num_threads(1)
    if not Path(home).is_dir():
        raise RunError(
            f"{home} is no folder on the machine {platform.node()} of the Ray cluster; its machines need the same "
            "folders under the same paths."
        )
    os.chdir(home)
    return pickle.loads(pickled)


def _handed(answer: dict[str, Any]) -> Any:
    """What a worker hands back; its error is raised here as it would be in this process."""
    found = pickle.loads(answer["answer"])
    if isinstance(found, Exception):
        raise found from RuntimeError(f"in a worker of Ray:\n{answer['trace']}")
    return found


@contextlib.contextmanager
def _counted(folder: Path, shard: Shard) -> Iterator[None]:
    """Around writing a shard: an error if it was begun too often, and never ended.

    A file beside the shard has a byte for each beginning; `remove_parts` would remove it too.
    """
    begun = folder / f".{shard.file}.begun{PART}"
    with begun.open("ab") as file:
        file.write(b".")
        times = file.tell()
    try:
        if times > TRIES:
            raise RunError(
                f"{folder / shard.file}: {TRIES} workers of Ray have died over this shard, most likely for want of "
                "memory; give fewer --workers, or fewer --shard-rows and another folder. Whole shards stay."
            )
        yield
    finally:
        begun.unlink(missing_ok=True)


def _pickled(error: Exception) -> bytes:
    """An error, or what it says where it can't be pickled and read again."""
    try:
        kept = pickle.dumps(error)
        pickle.loads(kept)
    except Exception:
        kept = pickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
    return kept


def _tell_done(shards: ShardFolder, told: Told) -> None:
    for shard in shards.done():
        told(shard.rows)


def _first_line(error: Exception) -> str:
    line = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return line if line.endswith(".") else f"{line}."


# --- Ray, without its words and traces ------------------------------------------------------------------------------

_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",  # no telemetry
    "RAY_BACKEND_LOG_LEVEL": "fatal",  # each worker would be told to have arguments
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # what Ray would warn of
}


class _Nowhere(io.TextIOBase):
    """What is written is lost; it is never closed, as threads of Ray may still write."""

    def write(self, text: str) -> int:
        return len(text)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No telemetry, no bars, and nothing of Ray on stdout, which is for results.

    Ray tells there of workers that died, and of those that it stopped itself, which can't be told apart in time. A
    shard over which workers die again and again ends in an error of ours.
    """
    before = {name: os.environ.get(name) for name in _ENVIRONMENT}
    os.environ.update(_ENVIRONMENT)
    hook = sys.excepthook
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(_Nowhere()):
            warnings.filterwarnings("ignore", category=DeprecationWarning, module="ray")  # of its own parts
            import ray.data

            sys.excepthook = hook  # which the import has replaced
            context, log = ray.data.DataContext.get_current(), logging.getLogger("ray.data")
            bars, level = context.enable_progress_bars, log.level
            context.enable_progress_bars = False
            log.setLevel(logging.CRITICAL)
            try:
                yield
            finally:
                context.enable_progress_bars = bars
                log.setLevel(level)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Nothing goes to the file of stderr, where compiled code of Ray says how its log is set; errors are raised."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Handlers of signals stay, where Ray sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:  # set by C
                signal.signal(number, handler)
