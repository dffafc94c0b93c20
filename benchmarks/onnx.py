"""Whole models as ONNX beside themselves: how far scores differ, how many decisions agree, how long a call takes.

    python benchmarks/onnx.py [NAME ...] [--out FILE.md]

Every kind of classifier and detector of the tests (tests/detectors/exporting_cases.py), each small, asked about normal,
strange and far rows in float32; NAME chooses some. Scores differ relatively to themselves or to the median score,
whichever is larger. Latency is the median time of a call on one core, of onnxruntime and of the model itself, of one
row and of 1 000 rows. Prints a table in Markdown.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

__all__ = ["main"]

HERE = Path(__file__).resolve().parent
LARGE = ("classifier, 20 000 rows of 20 columns kept", "detector, nearest, 20 000 rows of 20 columns kept")


def milliseconds(call: Callable[[], object], at_least: float = 0.3) -> float:
    """Median time of a call."""
    call()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begun < at_least and len(times) < 200):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def large(kind: str) -> tuple[Any, np.ndarray]:
    """A model of 22 000 rows of 20 columns, 20 000 of which it keeps, and rows."""
    import farout as fo

    rng = np.random.default_rng(0)
    y = np.arange(22_000) % 3
    X = rng.standard_normal((22_000, 20)) @ rng.standard_normal((20, 20)) + 3 * rng.standard_normal((3, 20))[y]
    if kind == "classifier":
        model: Any = fo.CautiousClassifier(fo.Noise(), max_steps=30, random_state=0).fit(X, y)
    else:
        model = fo.FlowDetector(flow=fo.FlowDensity(architecture="table", max_steps=30), random_state=0).fit(X)
    return model, np.vstack([X[:500], X[:500] + 5 * rng.standard_normal((500, 20))]).astype(np.float32)


def row_of(name: str) -> str:
    """A model's row of the table."""
    from exporting_cases import made

    from farout.base.graphs import open_session

    model, rows = large(name.partition(",")[0]) if name in LARGE else made(name)
    session = open_session(model.to_onnx().SerializeToString(), name, 1)

    def ask(given: np.ndarray) -> list[np.ndarray]:
        return session.run(None, {"rows": given.reshape(-1, *model.event_shape_)})

    score, decision = ask(rows)[0], ask(rows)[2]
    ours = model.score_samples(rows)
    accepts = model.is_inlier(rows) if hasattr(model, "is_inlier") else model.predict(rows)
    worst = np.max(np.abs(score - ours) / np.maximum(np.abs(ours), np.median(np.abs(ours))))
    many = rows[np.arange(1000) % len(rows)]
    latency = [
        milliseconds(lambda call=call, given=given: call(given))
        for given in (rows[:1], many)
        for call in (ask, model.score_samples)
    ]
    shown = " | ".join(f"{value:.3g}" for value in latency)
    return f"| {name} | {worst:.1e} | {(decision == accepts).mean():.2%} | {shown} |"


def main() -> None:
    """Print the table, row by row."""
    sys.path[:] = [p for p in sys.path if Path(p or ".").resolve() != HERE]  # this file has the package's name
    sys.path.append(str(HERE.parent / "tests" / "detectors"))
    from exporting_cases import CASES

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    lines = [
        "| model | worst relative error | equal decisions | 1 row: ONNX, ms | ours, ms | 1 000 rows: ONNX | ours |",
        "|---|---|---|---|---|---|---|",
    ]
    print(*lines, sep="\n", flush=True)
    for name in options.names or (*CASES, *LARGE):
        lines.append(row_of(name))
        print(lines[-1], flush=True)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
