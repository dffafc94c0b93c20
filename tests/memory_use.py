"""How much memory calls take beyond what was there before: measured in a process of its own.

``python tests/memory_use.py ROWS COLUMNS DTYPE [CASE | CASE:CALL,CALL | I/K ...]`` (I/K: each K-th case from I on)
prints a line of JSON for each call: the bytes beyond those before it, as a multiple of the data's ("extra"), and how
many of them are what it gave ("out").
Every case is fitted to a few rows first, so that what is loaded once doesn't count.
"""

import contextlib
import ctypes
import json
import os
import resource
import sys
import traceback
import warnings
from pathlib import Path

import numpy as np

STEPS = 12  # of trainings: their number has no say in the memory
SMALL = 3000  # rows of the fit that comes first


def peak():
    """Bytes of memory that this process had at most since `forgotten_peak`."""
    line = next(x for x in Path("/proc/self/status").read_text(encoding="utf-8").splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def forgotten_peak():
    """Begin to look for the peak anew; the bytes that the process has now."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak()


def measured(call):
    """What a call gives, the bytes that it took at its peak beyond those before it, and seconds of CPU."""
    before, began = forgotten_peak(), resource.getrusage(resource.RUSAGE_SELF)
    made = call()
    took, ended = peak() - before, resource.getrusage(resource.RUSAGE_SELF)
    return made, took, ended.ru_utime - began.ru_utime, ended.ru_stime - began.ru_stime


def bytes_of(made):
    """Of what a call gave, if that is arrays."""
    parts = (
        made
        if isinstance(made, tuple)
        else [getattr(made, n, None) for n in ("x", "y", "strength", "source", "kind", "sigma", "tail")]
    )
    parts = [made] if isinstance(made, np.ndarray) else list(made.values()) if isinstance(made, dict) else parts
    return sum(a.nbytes for a in parts if isinstance(a, np.ndarray))


def rows_of(n, columns, dtype):
    """Rows in three clusters, and which each is of."""
    rng = np.random.default_rng(0)
    y = rng.integers(3, size=n)
    X = np.empty((n, columns), dtype)
    for i in range(0, n, 10_000):
        part = X[i : i + 10_000]
        part[:] = rng.standard_normal(part.shape, dtype=np.float32) + 4.0 * y[i : i + 10_000, None] * (
            np.arange(columns) % 3 == 0
        )
    return X, y


def cases():
    """By name: how to make the model, whether it is given labels, and what it is asked."""
    import torch

    import farout as fo

    whole = lambda: fo.FlowDensity(max_steps=STEPS, random_state=0)  # noqa: E731
    # Small couplings: what one takes is a block of rows, whatever their number, and a call takes a tenth of the time.
    flow = lambda: whole().set_params(options={"n_blocks": 2, "hidden": 16})  # noqa: E731
    deep = lambda: fo.DeepArchetypes(3, flow=flow(), max_steps=STEPS, random_state=0)  # noqa: E731
    shell = lambda: fo.NormalShell(2.5, flow=flow())  # noqa: E731
    judged = ("p_values",)  # which are made of scores, and decisions of these
    learned = {"max_steps": STEPS, "random_state": 0}

    def wrapped(columns):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            net = torch.nn.Sequential(torch.nn.Linear(columns, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
        return fo.wrap(net, random_state=0)

    return {
        "flow": (lambda _: whole(), False, ("score_samples",)),
        "flow-calls": (lambda _: flow(), False, ("encode", "stages", "sample", "noisy_reconstruction")),
        "flow-table": (
            lambda _: fo.FlowDensity(architecture="table", max_steps=STEPS, random_state=0),
            False,
            ("score_samples",),
        ),
        "flow-classes": (lambda _: flow(), True, ("score_samples", "class_log_probs", "sample")),
        "nearest": (lambda _: fo.FlowDetector(random_state=0), False, judged),
        "likelihood": (lambda _: fo.FlowDetector("likelihood", flow=flow(), random_state=0), False, judged),
        "typicality": (lambda _: fo.FlowDetector("typicality", flow=flow(), random_state=0), False, judged),
        "ratio": (lambda _: fo.FlowDetector("ratio", flow=flow(), random_state=0), True, judged),
        "classifier": (lambda _: fo.CautiousClassifier(shell(), **learned), True, judged),
        "classifier-recommended": (lambda _: fo.CautiousClassifier(**learned), True, judged),
        "discriminator": (lambda _: fo.OutlierDiscriminator(shell(), **learned), False, judged),
        "discriminator-recommended": (lambda _: fo.OutlierDiscriminator(**learned), False, judged),
        "wrapped": (wrapped, True, judged),
        "linear": (lambda _: fo.ArchetypalAnalysis(3, random_state=0, max_iter=5, n_init=1), False, ("transform",)),
        "deep": (lambda _: deep(), False, ("encode", "reconstruct", "sample")),
        "gumbel": (lambda _: fo.GumbelShell(2.5, flow=flow()), False, ("sample",)),
        "gumbel-classes": (lambda _: fo.GumbelShell(2.5, flow=flow()), True, ("sample",)),
        "shell": (lambda _: shell(), False, ("sample", "process_inliers")),
        "archetypal": (lambda _: fo.Archetypal(base=deep()), False, ("sample",)),
        "nullspace": (lambda _: fo.Nullspace(base=deep()), False, ("sample",)),
        "boundary": (lambda _: fo.Boundary(flow=flow()), True, ("sample",)),
        "recommended": (lambda _: fo.Recommended(random_state=0), False, ("sample",)),
        "recommended-classes": (lambda _: fo.Recommended(random_state=0), True, ("sample",)),
        "mixture": (lambda _: fo.Mixture([shell(), fo.GumbelShell(2.5, flow=flow())]), False, ("sample",)),
        "real": (lambda _: fo.RealOutliers(np.random.default_rng(0).normal(size=(500, _)) + 9), False, ("sample",)),
    }


def warm_up():
    """What is loaded once; few rows of many columns, which a case begins with, may be fitted without a training.

    The flow that a detector fits by itself takes as few steps as all others.
    """
    from farout.detectors.flow_detector import TABLE_FLOW

    TABLE_FLOW["max_steps"] = STEPS
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases()["flow"][0](4).fit(rows_of(SMALL, 4, "float32")[0])


def run(n, columns, dtype, name, asked=None):
    """Measure a case: yields a dict for its fit, and for each call."""
    X, y = rows_of(n, columns, dtype)
    make, labelled, calls = cases()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for call, found in _of_case(make, X, y if labelled else None, columns, calls if asked is None else asked):
            made, took, user, system = found
            yield {
                "case": name,
                "call": call,
                "extra": took / X.nbytes,
                "out": bytes_of(made) / X.nbytes,
                "mb": took / 2**20,
                "user": user,
                "system": system,
            }


def _of_case(make, X, y, columns, calls):
    make(columns).fit(X[:SMALL], None if y is None else y[:SMALL])
    model, *figures = measured(lambda: make(columns).fit(X, y))
    yield "fit", (None, *figures)
    for call in calls:
        method = getattr(model, call)
        if call == "sample":
            method(100, random_state=0)
            yield call, measured(lambda: method(len(X), random_state=0))  # noqa: B023
        else:
            method(X[:SMALL])
            yield call, measured(lambda: method(X))  # noqa: B023


def apart(n, columns, dtype, name, asked):
    """Measure a case in a fork, since free pieces that one leaves would count for the next; lines of JSON to stdout."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    code = 1
    try:
        for line in run(n, columns, dtype, name, asked):
            print(json.dumps(line), flush=True)
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    n, columns, dtype, *names = sys.argv[1:]
    every = list(cases())
    names = [case for name in names for case in (every[int(name[0]) :: int(name[2])] if name[1] == "/" else [name])]
    warm_up()
    for name in names or every:
        case, only, calls = name.partition(":")
        if apart(int(n), int(columns), dtype, case, [*filter(None, calls.split(","))] if only else None):
            sys.exit(f"{name}: failed")
