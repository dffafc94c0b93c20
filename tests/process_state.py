"""What belongs to the whole process, before and after calls.

``python tests/process_state.py`` prints for each call what it changed.

A process of its own, since what an import changes shows only at the first time.
"""

import gc
import importlib
import json
import locale
import logging
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import torch

STEPS = 3


def files_open():
    """Files that this process has open, but for those of the system."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        try:
            target = str(link.readlink())
        except OSError:
            continue
        # Matplotlib keeps the fonts that it has drawn with.
        if target.startswith("/") and not target.startswith(("/dev", "/proc", "/sys")) and not target.endswith(".ttf"):
            found.append(target)
    return sorted(found)


def loggers():
    """Level, handlers and propagation of the root logger and of those that are no library's own."""
    root = logging.getLogger()
    return root.level, [repr(h) for h in root.handlers], logging.root.manager.disable, logging.raiseExceptions


def state():
    """By name."""
    found = {
        "numpy's random state": str(np.random.get_state()),  # noqa: NPY002
        "random's state": str(random.getstate()),
        "torch's random state": torch.get_rng_state().tolist(),
        "torch's random state on a GPU": torch.cuda.get_rng_state().tolist() if torch.cuda.is_available() else None,
        "a watch for waits": torch.cuda.get_sync_debug_mode() if torch.cuda.is_available() else None,
        "torch's default type": str(torch.get_default_dtype()),
        "torch's default device": str(torch.get_default_device()),
        "torch's threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()),
        "deterministic algorithms": (
            torch.are_deterministic_algorithms_enabled(),
            torch.is_deterministic_algorithms_warn_only_enabled(),
        ),
        "backends": (
            torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.mkldnn.enabled,
            torch.get_float32_matmul_precision(),
            torch.get_flush_denormal() if hasattr(torch, "get_flush_denormal") else None,
        ),
        "printing": (str(np.get_printoptions()), str(torch._tensor_str.PRINT_OPTS)),
        "errors of arithmetic": (str(np.geterr()), np.geterrcall()),
        "filters of warnings": [str(f) for f in warnings.filters],
        "showwarning": repr(warnings.showwarning),
        "loggers": loggers(),
        "loggers of libraries": {
            name: (logger.level, [repr(h) for h in logger.handlers], logger.propagate, logger.disabled)
            for name, logger in sorted(logging.root.manager.loggerDict.items())
            if isinstance(logger, logging.Logger)
        },
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "umask": _umask(),
        "signals": {
            s.name: repr(signal.getsignal(s))
            for s in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP)
        },
        "timers": signal.getitimer(signal.ITIMER_REAL),
        "path": list(sys.path),
        "hooks": (repr(sys.excepthook), repr(sys.displayhook), repr(threading.excepthook), repr(sys.unraisablehook)),
        "streams": (id(sys.stdout), id(sys.stderr), id(sys.stdin)),
        "recursion": (sys.getrecursionlimit(), sys.getswitchinterval(), gc.isenabled(), gc.get_threshold()),
        "locale": locale.setlocale(locale.LC_ALL),
        "threads": sorted(t.name for t in threading.enumerate()),
        "processes": [p.name for p in multiprocessing.active_children()],
        "start method": multiprocessing.get_start_method(allow_none=True),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "files": files_open(),
    }
    if "matplotlib" in sys.modules:
        import matplotlib as mpl

        found["rcParams"] = {k: str(v) for k, v in dict.items(mpl.rcParams) if k != "backend"}
        found["backend"] = str(dict.get(mpl.rcParams, "backend"))
        pyplot = sys.modules.get("matplotlib.pyplot")
        found["figures"] = pyplot.get_fignums() if pyplot else []
    if "sklearn" in sys.modules:
        import sklearn

        found["scikit-learn's settings"] = sklearn.get_config()
    return found


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def changed(before, after):
    """What differs, by name; what wasn't there before, such as settings of a library just imported, doesn't count."""
    found = {}
    for name in before.keys() & after.keys():
        if before[name] == after[name]:
            continue
        old, new = before[name], after[name]
        if isinstance(old, dict):
            ours = {k: (old.get(k), new.get(k)) for k in old.keys() | new.keys() if old.get(k) != new.get(k)}
            if name == "loggers of libraries":  # new ones are there to be used
                ours = {k: v for k, v in ours.items() if v[0] is not None}
            if ours:
                found[name] = str(ours)[:300]
        elif isinstance(old, list) and name in ("filters of warnings", "path", "threads", "files"):
            found[name] = f"gone {[x for x in old if x not in new]}, new {[x for x in new if x not in old]}"[:600]
        else:
            found[name] = f"{old!s:.100} -> {new!s:.100}"
    return found


def calls(folder):
    """Public calls by name, in order: each may use what those before it made."""
    made = {}
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = rng.normal(size=(120, 4)) + 5 * y[:, None] * np.array([1, 0, 1, 0])

    def kept(name, make):
        def call():
            made[name] = make()

        yield name, call

    yield "import farout", lambda: __import__("farout")
    import farout as fo

    yield from kept("load_data digits", lambda: fo.load_data("digits"))
    images = made["load_data digits"].X[:60]
    flow = lambda **settings: fo.FlowDensity(max_steps=STEPS, random_state=0, **settings)  # noqa: E731
    learned = {"max_steps": STEPS, "random_state": 0}
    yield from kept("FlowDensity.fit", lambda: flow().fit(X, y))
    yield from kept(
        "FlowDensity.fit, to be interrupted", lambda: flow(training=fo.Training(checkpoint_dir=folder / "ckpt")).fit(X)
    )
    yield from kept("FlowDensity.fit of images", lambda: flow(event_shape=(1, 8, 8)).fit(images))
    yield from kept("FlowDensity.fit, verbose", lambda: flow(verbose=True).fit(X))
    yield "FlowDensity that diverges", lambda: _refused(lambda: flow(learning_rate=1e30).fit(X))
    yield "FlowDensity.fit of what it can't take", lambda: _refused(lambda: flow().fit(X * np.nan))
    for method in ("score_samples", "encode", "class_log_probs", "bits_per_dim", "stages", "noisy_reconstruction"):
        yield f"FlowDensity.{method}", lambda method=method: getattr(made["FlowDensity.fit"], method)(X)
    yield "FlowDensity.sample", lambda: made["FlowDensity.fit"].sample(5)
    yield "FlowDensity.decode", lambda: made["FlowDensity.fit"].decode(X)
    shell = lambda: fo.NormalShell(2.5, flow=made["FlowDensity.fit"])  # noqa: E731
    for name, make in {
        "FlowDetector": lambda: fo.FlowDetector(random_state=0).fit(X),
        "FlowDetector of classes": lambda: fo.FlowDetector(flow=flow(), random_state=0).fit(X, y),
        "OutlierDiscriminator": lambda: fo.OutlierDiscriminator(shell(), **learned).fit(X),
        "CautiousClassifier": lambda: fo.CautiousClassifier(shell(), **learned).fit(X, y),
        "CautiousClassifier with defaults": lambda: fo.CautiousClassifier(**learned).fit(X, y),
        "CautiousClassifier of images": lambda: fo.CautiousClassifier(
            fo.NormalShell(flow=made["FlowDensity.fit of images"]), event_shape=(1, 8, 8), **learned
        ).fit(images, y[:60]),
        "wrap": lambda: fo.wrap(_network(), random_state=0).fit(X, y),
    }.items():
        yield from kept(f"{name}.fit", make)
        for method in (
            "predict",
            "predict_proba",
            "score_samples",
            "decision_function",
            "p_values",
            "is_inlier",
            "explain",
        ):
            yield (
                f"{name}.{method}",
                lambda name=name, method=method: (
                    getattr(made[f"{name}.fit"], method, lambda rows: None)(images[:3] if "images" in name else X[:3])
                    if not ("images" in name and method == "explain")
                    else None
                ),
            )
    yield from kept("ArchetypalAnalysis.fit", lambda: fo.ArchetypalAnalysis(3, random_state=0).fit(X))
    yield "ArchetypalAnalysis.transform", lambda: made["ArchetypalAnalysis.fit"].transform(X)
    yield from kept("DeepArchetypes.fit", lambda: fo.DeepArchetypes(3, flow=flow(), **learned).fit(X, y))
    for method in ("encode", "reconstruct", "losses", "hull_report", "nearest_samples"):
        yield f"DeepArchetypes.{method}", lambda method=method: getattr(made["DeepArchetypes.fit"], method)(X)
    yield "DeepArchetypes.sample", lambda: made["DeepArchetypes.fit"].sample(5)
    image_flow = lambda: made["FlowDensity.fit of images"]  # noqa: E731
    for name, make in {
        "GumbelShell": lambda: fo.GumbelShell(flow=made["FlowDensity.fit"]).fit(X, y),
        "Archetypal": lambda: fo.Archetypal(base=made["DeepArchetypes.fit"]).fit(X, y),
        "Nullspace": lambda: fo.Nullspace(base=made["DeepArchetypes.fit"]).fit(X, y),
        "Boundary": lambda: fo.Boundary(flow=made["FlowDensity.fit"]).fit(X, y),
        "Turned": lambda: fo.Turned(flow=image_flow()).fit(images),
        "Mixture": lambda: fo.Mixture([shell(), fo.GumbelShell(flow=made["FlowDensity.fit"])]).fit(X, y),
        "Recommended": lambda: fo.Recommended(random_state=0).fit(X, y),
        "RealOutliers": lambda: fo.RealOutliers(X + 9).fit(X, y),
    }.items():
        yield from kept(f"{name}.fit", make)
        yield f"{name}.sample", lambda name=name: made[f"{name}.fit"].sample(5)
        yield (
            f"{name}.process_inliers",
            lambda name=name: made[f"{name}.fit"].process_inliers(images[:5] if name == "Turned" else X[:5]),
        )
        yield f"{name}.batches", lambda name=name: next(iter(made[f"{name}.fit"].batches(4)))
    for name in ("FlowDensity", "CautiousClassifier", "FlowDetector", "DeepArchetypes"):
        yield f"{name}.save", lambda name=name: made[f"{name}.fit"].save(folder / name)
        yield f"load {name}", lambda name=name: fo.load(folder / name)
    scores = lambda rows: made["CautiousClassifier.fit"].score_samples(rows)  # noqa: E731
    yield from kept("evaluate", lambda: fo.evaluate(scores(X), {"far": scores(X + 20)}))
    yield "evaluate.to_frame", lambda: made["evaluate"].to_frame()
    yield from kept("stress_test", lambda: fo.stress_test(made["CautiousClassifier.fit"], X, y, random_state=0))
    for name in ("toy", "digits:test@0-3"):
        yield f"load_data {name}", lambda name=name: fo.load_data(name)
    yield "a table from a file", lambda: _table(folder, X, y)
    yield from kept("Features.fit_transform", lambda: fo.Features(_network()).fit_transform(X))
    yield "plots.strengths", lambda: _closed(fo.plots.strengths(shell().fit(X, y)))
    yield "plots on axes of one's own", lambda: _on_own_axes(fo, shell().fit(X, y))
    yield "report of a run", lambda: _command("report", str(folder / "FlowDensity"))
    yield "a command", lambda: _command("fit", "toy", "--out", str(folder / "run"), "--max-steps", "3", "--force")
    yield "a command that fails", lambda: _command("score", "nothing", "toy", "--out", str(folder / "s.csv"))


def _refused(call):
    import farout as fo

    try:
        call()
    except fo.errors.FaroutError:
        return
    raise AssertionError("no error")


def _network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def _closed(artists):
    from matplotlib import pyplot

    pyplot.close("all")


def _on_own_axes(fo, source):
    from matplotlib.figure import Figure

    fo.plots.strengths(source, ax=Figure().subplots())


def _table(folder, X, y):
    import farout as fo

    path = folder / "rows.csv"
    np.savetxt(path, np.c_[X, y], delimiter=",", header="a,b,c,d,label", comments="")
    fo.load_data(f"{path}")


def _command(*words):
    import contextlib
    import io

    from farout.cli import main

    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        contextlib.suppress(SystemExit),
    ):
        main(list(words))


def run(folder, chosen=""):
    """Every call, or those whose name the pattern matches; yields its name and what it changed."""
    # Libraries have filters of warnings and variables of their own, which their import sets.
    for name in ("sympy", "scipy.special", "scipy.sparse", "sklearn.ensemble", "pandas"):
        importlib.import_module(name)
    for name, call in calls(folder):
        if not re.search(chosen, name):
            continue
        before = state()
        with open(os.devnull, "w", encoding="utf-8") as nowhere:
            stderr, sys.stderr = sys.stderr, nowhere
            try:
                call()
                wrong = None
            except Exception as error:  # a call that fails is no check
                wrong = f"{type(error).__name__}: {error}"
            finally:
                sys.stderr = stderr
        gc.collect()
        leaks = changed(before, state())
        if wrong:
            leaks["it failed"] = wrong
        yield name, leaks


if __name__ == "__main__":
    import tempfile

    os.environ["MPLBACKEND"] = "agg"
    with tempfile.TemporaryDirectory() as folder:
        for name, leaks in run(Path(folder)):
            print(json.dumps({"call": name, "changed": leaks}), flush=True)
