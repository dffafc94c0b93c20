"""Reads mutated files, one after the other, in a process with little memory; prints what happened as JSON.

Each must end in an answer or in the reader's own error, in time, within memory, without a warning of a library, and
with nothing run, compiled, written or sent on the way.

Run as a program, ``fuzzing.py KIND[:COUNT],... COUNT SEED [FIRST]``, since a limit of memory holds for a whole process,
and a reader that crashes takes it along. Each input is made from (SEED, kind, number) alone, so that a failure can be
repeated: ``fuzzing.py idx 1 0 4711`` reads input 4711 of seed 0.
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

from mutants import KINDS

SECONDS = 2.0  # of processor time an input may take
MEMORY = 2**30  # bytes that the process may take beside what it has once it has read a whole file
HANGING = 120  # seconds of wall time after which an input counts as hanging, and the process ends


WRITES = (
    "os.mkdir",
    "os.rename",
    "os.remove",
    "os.rmdir",
    "os.chmod",
    "os.truncate",
    "os.symlink",
    "os.link",
    "shutil.",
)
RUNS = (
    *(
        "subprocess.",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.fork",
        "os.spawn",
        "os.startfile",
        "pty.",
        "ctypes.",
    ),
    *("socket.", "urllib.", "ftplib.", "http.", "webbrowser.", "sqlite3.", "pickle.find_class", "code.__new__"),
)


class Watch:
    """Sees what a reader does besides reading: an audit hook, which can't be taken away."""

    def __init__(self) -> None:
        self.on = self.writes = False
        self.seen: list[str] = []
        # What reading whole files brought in, and Python's own; all else would come of a file.
        self.known = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
        self.places = tuple({sys.prefix, sys.base_prefix, str(Path(__file__).parents[2] / "src"), "<frozen"})
        sys.addaudithook(self.hook)

    def hook(self, event: str, args: tuple) -> None:
        if self.on and self.is_strange(event, args):
            self.seen.append(f"{event} {str(args)[:200]}")

    def is_strange(self, event: str, args: tuple) -> bool:
        if event.startswith(RUNS):
            return True
        if event == "import":
            return args[0].partition(".")[0] not in self.known
        if event in ("exec", "compile") and self.called_by("importlib", "_find_and_load"):
            return False  # of a module, whose name was asked for above
        if event == "exec":
            return not args[0].co_filename.startswith(self.places)
        if event == "compile":  # NumPy parses its headers so: to a tree, which literal_eval takes for values alone
            return not self.called_by("ast.py", "literal_eval")
        if self.writes:
            return False
        if event == "open":
            flags = args[2] if isinstance(args[2], int) else 0
            return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or bool(set(str(args[1] or "")) & set("wax+"))
        return event.startswith(WRITES)

    @staticmethod
    def called_by(file: str, name: str) -> bool:
        frame = sys._getframe()
        while frame is not None and not (file in frame.f_code.co_filename and frame.f_code.co_name == name):
            frame = frame.f_back
        return frame is not None


class TooSlowError(BaseException):
    """Not an `Exception`: no reader may turn it into an answer."""


def _too_slow(*_):
    raise TooSlowError(f"more than {SECONDS} s")


def limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def tried(kind, folder: Path, rng: random.Random, watch: Watch) -> str:
    """What one input ends in: "answer", "refused", or what is wrong."""
    read = kind.mutant(rng, folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        watch.seen.clear()
        watch.writes, watch.on = kind.writes, True
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
            watch.on = False
    if watch.seen:
        return f"it did: {watch.seen[0]}"
    # A warning of farout's own is told of the line outside of it that called it, which is in mutants.py.
    strange = [w for w in told if Path(w.filename).name != "mutants.py"]
    return f"warning: {strange[0].message} at {strange[0].filename}:{strange[0].lineno}" if strange else end


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "farout" in f.filename] or frames
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"


def fuzz(name: str, count: int, seed: int, first: int, progress: int, watch: Watch) -> dict:
    kind = KINDS[name]()
    begun, ends, failures = time.process_time(), Counter(), []
    for i in range(first, first + count):
        os.pwrite(progress, f"{name} {i}\n".ljust(64).encode(), 0)
        faulthandler.dump_traceback_later(HANGING, exit=True)
        with tempfile.TemporaryDirectory(dir=kind.folder) as folder:
            end = tried(kind, Path(folder), random.Random(f"{seed}/{name}/{i}"), watch)
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
    counts = dict(part.partition(":")[::2] for part in names.split(","))
    for kind in counts:
        KINDS[kind]().whole()  # so that all is imported
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    limit_memory()
    watch = Watch()
    for name, own in counts.items():
        report[name] = fuzz(name, int(own or count), seed, first, progress, watch)
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report[name]["megabytes"], before = (after - before) // 1024, max(before, after)
    print(json.dumps(report))


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
