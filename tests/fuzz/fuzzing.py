"""Reads mutated files, one after the other, in a process with little memory; prints what happened as JSON.

Run as a program, ``fuzzing.py KIND COUNT SEED [FIRST]``, since a limit of memory holds for a whole process and a reader
that crashes takes it along. Each input is made from (SEED, kind, number) alone, so that a failure can be repeated:
``fuzzing.py idx 1 0 4711`` reads input 4711 of seed 0.
"""

import faulthandler
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # others reserve more than they take
os.environ.setdefault("MALLOC_ARENA_MAX", "2")

from mutants import KINDS  # noqa: E402, what was set above is read on import

SECONDS = 2.0  # of processor time an input may take
MEMORY = 2**30  # bytes that the process may take beside what it has once it has read a whole file
HANGING = 120  # seconds of wall time after which an input counts as hanging, and the process ends


class TooSlowError(BaseException):
    """Not an `Exception`: no reader may turn it into an answer."""


def _too_slow(*_):
    raise TooSlowError(f"more than {SECONDS} s")


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def tried(kind, folder: Path, rng: random.Random) -> str:
    """What one input ends in: "answer", "refused", or what is wrong."""
    read = kind.mutant(rng, folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        try:
            read()
            end = "answer"
        except kind.errors:
            end = "refused"
        except TooSlowError as error:
            end = f"{error} at {_place(error)}"
        except Exception as error:
            end = f"{type(error).__name__}: {str(error)[:200]} at {_place(error)}"
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
    # A warning of farout's own is told of the line outside of it that called it, which is in mutants.py.
    strange = [w for w in told if Path(w.filename).name != "mutants.py"]
    return f"warning: {strange[0].message} at {strange[0].filename}:{strange[0].lineno}" if strange else end


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "farout" in f.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def fuzz(name: str, count: int, seed: int, first: int, progress: int) -> dict:
    kind = KINDS[name]()
    begun, ends, failures = time.process_time(), Counter(), []
    for i in range(first, first + count):
        os.pwrite(progress, f"{name} {i}\n".ljust(64).encode(), 0)
        faulthandler.dump_traceback_later(HANGING, exit=True)
        with tempfile.TemporaryDirectory(dir=kind.folder) as folder:
            end = tried(kind, Path(folder), random.Random(f"{seed}/{name}/{i}"))
        faulthandler.cancel_dump_traceback_later()
        if end not in ("answer", "refused"):
            failures.append(f"{name} {i}: {end}")
            end = "failed"
        ends[end] += 1
    return {"ends": dict(ends), "failures": failures[:50], "seconds": round(time.process_time() - begun, 1)}


def main(names: str, count: int, seed: int, first: int = 0) -> None:
    signal.signal(signal.SIGPROF, _too_slow)
    faulthandler.enable()
    progress = os.open(os.environ.get("FUZZ_PROGRESS", os.devnull), os.O_WRONLY)
    report = {}
    for kind in names.split(","):
        KINDS[kind]().whole()  # so that all is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit_memory()
    for name in names.split(","):
        report[name] = fuzz(name, count, seed, first, progress)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report[name]["megabytes"], before = (after - before) // 1024, max(before, after)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
