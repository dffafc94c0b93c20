"""Rows a second of each verb on this machine: what docs/scale.md's cost model is fitted to.

    python benchmarks/scale.py [--rows 200000] [--images 20000] [--steps 300] [--accelerator cpu|gpu]

One JSON object a line: what, shape of a row, rows, seconds, rows a second. Data are drawn, so that no download is
needed: what is measured is arithmetic, not quality. Each figure is the best of two runs, after one that isn't counted.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence

import numpy as np


def timed(what: str, shape: tuple[int, ...], rows: int, work: Callable[[], object], runs: int = 3) -> None:
    """Print how long the work takes."""
    best = float("inf")
    for i in range(runs):
        begun = time.perf_counter()
        work()
        if i or runs == 1:
            best = min(best, time.perf_counter() - begun)
    told = {
        "what": what,
        "shape": list(shape),
        "rows": rows,
        "seconds": round(best, 3),
        "rows_a_second": round(rows / best),
    }
    print(json.dumps(told), flush=True)


def table(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.exp(0.3 * rng.normal(size=(n, 4)) @ rng.normal(size=(4, d))) + 0.1 * rng.normal(size=(n, d))


def measure(rows: int, images: int, steps: int, accelerator: str) -> None:
    import farout as fo

    where = fo.Training(accelerator=accelerator)
    X = table(rows, 20)
    y = (X[:, 0] > np.median(X[:, 0])).astype(int)
    flow = fo.FlowDensity(max_steps=steps, random_state=0, training=where)
    timed("fit flow, rows seen in training", (20,), steps * 256, lambda: flow.fit(X[:50_000]), runs=1)
    timed("score flow", (20,), rows, lambda: flow.score_samples(X))
    shell = fo.NormalShell(2.5, flow=flow).fit(X[:50_000])
    timed("generate", (20,), rows, lambda: shell.sample(rows, random_state=0))
    detector = fo.FlowDetector(flow=fo.FlowDensity(max_steps=steps, random_state=0, training=where), random_state=0)
    timed("fit detector", (20,), min(rows, 50_000), lambda: detector.fit(X[:50_000]), runs=1)
    timed("score detector", (20,), rows, lambda: detector.score_samples(X))
    clf = fo.CautiousClassifier(fo.NormalShell(2.5), max_steps=steps, random_state=0, training=where)
    timed("fit classifier", (20,), min(rows, 50_000), lambda: clf.fit(X[:50_000], y[:50_000]), runs=1)
    timed("score classifier", (20,), rows, lambda: clf.score_samples(X))

    rng = np.random.default_rng(0)
    shape = (1, 28, 28)
    P = rng.integers(0, 256, size=(images, 784)).astype(np.uint8)
    z = rng.integers(0, 10, size=images)
    flow = fo.FlowDensity(event_shape=shape, max_steps=steps, random_state=0, training=where)
    timed("fit flow, rows seen in training", shape, steps * 64, lambda: flow.fit(P[:10_000], z[:10_000]), runs=1)
    timed("score flow", shape, images, lambda: flow.score_samples(P))
    shell = fo.NormalShell(2.5, flow=flow).fit(P[:10_000], z[:10_000])
    timed("generate", shape, images, lambda: shell.sample(images, random_state=0))
    clf = fo.CautiousClassifier(shell, event_shape=shape, max_steps=steps, random_state=0, training=where)
    timed("fit classifier", shape, min(images, 10_000), lambda: clf.fit(P[:10_000], z[:10_000]), runs=1)
    timed("score classifier", shape, images, lambda: clf.score_samples(P))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    options = parser.parse_args(argv)
    from farout.runs.provenance import Watch

    print(json.dumps(Watch().stop().__dict__), flush=True)
    measure(options.rows, options.images, options.steps, options.accelerator)


if __name__ == "__main__":
    main()
