"""Runs commands of farout in forked processes, and kills them: before a file operation, or after a time.

A process of its own, since forks want one without threads: it imports once what takes seconds, reads a JSON line a
trial and answers with one.
"""

import contextlib
import gc
import importlib
import json
import os
import random
import resource
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

STOPS = {signal.SIGINT, signal.SIGTERM}
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate", "os.link", "os.symlink"}


def serve():
    """Answer the trials on stdin until it ends."""
    warm_up()
    for line in sys.stdin:
        print(json.dumps(attempt(json.loads(line))), flush=True)


def warm_up():
    """Import what commands import when they run, and make checkpoints more frequent, so that small runs have some.

    One step and one picture, since torch and matplotlib load more at their first, which each fork would do again.
    """
    for name in ("farout.cli.entry", "lightning_fabric", "torch.utils.data", "farout.runs.fitting", "farout.report"):
        importlib.import_module(name)
    import torch

    from farout.base import training
    from farout.flows.density import FlowDensity
    from farout.plots.style import to_svg

    torch.set_num_threads(1)
    FlowDensity(max_steps=1).fit(np.random.default_rng(0).normal(size=(100, 2)))
    figure = Figure(layout="constrained")
    figure.subplots().set_title("x")
    to_svg(figure, alt="x", key="x")
    training.SAVE_EVERY = 10
    training.Budget.validation_interval = property(lambda self: min(20, self.max_steps))


def attempt(trial):
    """One run of ``words`` (or of a script): how it ended, what it said, and how many file operations it did."""
    reading, writing = os.pipe()
    known = set(sys.modules)
    paths = [Path(trial["cwd"], name) for name in ("stdout", "stderr")]
    for path in paths:
        path.touch()
    begun = time.monotonic()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until the command runs, and after it, they are the trial's own
    gc.freeze()  # what is here isn't collected in children, which would copy its pages
    pid = os.fork()
    if not pid:
        os.close(reading)
        os._exit(child(trial, writing))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    os.close(writing)
    after = trial.get("after")
    if after is not None:
        while time.monotonic() - begun < after and not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            time.sleep(0.002)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, trial["signal"])
    sent = time.monotonic()
    with os.fdopen(reading) as pipe:
        told = [json.loads(line) for line in pipe if line.endswith("\n")]  # killed while it told of the last
    _, status = os.waitpid(pid, 0)
    for name in told[-1]["modules"] if told and "modules" in told[-1] else []:
        if name not in known and not name.startswith("__"):
            with contextlib.suppress(Exception):
                importlib.import_module(name)
    return {
        "rc": os.waitstatus_to_exitcode(status),
        "seconds": time.monotonic() - begun,
        "to_end": time.monotonic() - sent,
        "operations": [t["operation"] for t in told if "operation" in t],
        "stdout": paths[0].read_text(errors="replace"),
        "stderr": paths[1].read_text(errors="replace"),
    }


def child(trial, writing):
    os.chdir(trial["cwd"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    for number in (signal.SIGINT, signal.SIGTERM):  # whoever runs the tests may ignore them
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    if "file_size" in trial:  # as a full disk: nothing longer can be written
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (trial["file_size"],) * 2)
    watch(trial, writing)
    code = 1
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
        if "script" in trial:
            exec(compile(trial["script"], "script", "exec"), {"__name__": "script"})
            code = 0
        else:
            from farout.cli import main

            code = main(trial["words"])
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:  # before the command had begun: as any process of Python dies of it
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException as error:
        print(f"raised {type(error).__name__}: {error}", file=sys.stderr)
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(writing, (json.dumps({"modules": list(sys.modules)}) + "\n").encode())
    return code


def watch(trial, writing):
    """Tell each operation on files below ``trial["watched"]`` before it is done; strike before the one at ``at``.

    A strike is a signal, or takes the folder away as a person or a cleaning job does.
    """
    count, watched = 0, trial["watched"] + os.sep
    at, number = trial.get("at"), trial.get("signal")

    def hook(event, args):
        nonlocal count
        if event == "open":
            path, _, flags = args
            if isinstance(path, int) or not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
                return
        elif event in CHANGES:
            path = args[0]
        else:
            return
        path = os.path.abspath(os.fsdecode(path))
        relative = event in ("os.remove", "os.rmdir") and isinstance(args[-1], int) and args[-1] >= 0
        if not (path + os.sep).startswith(watched) and not relative:  # relative to an open folder: shutil.rmtree
            return
        count += 1
        if count - 1 == at and trial.get("vanish"):
            shutil.rmtree(trial["watched"], ignore_errors=True)  # these operations are counted too
        elif count - 1 == at:
            os.kill(os.getpid(), number)
        os.write(writing, (json.dumps({"operation": f"{event} {os.path.basename(path)}"}) + "\n").encode())

    sys.addaudithook(hook)


if __name__ == "__main__":
    random.seed(0)
    serve()
