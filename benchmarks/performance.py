"""Write docs/performance.md: what things cost, on this machine at this commit.

    python benchmarks/performance.py --data-root ../shared/data [--quick] [--out docs]

Flows beside other libraries (flows.py), time to quality (time_to_quality.py), what fits and scores cost by rows,
columns, depth and classes, and how long commands take. Seconds are CPU time of a process with one thread; memory is the
peak above what the process had before. Takes about an hour, ``--quick`` some minutes.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

import farout as fo
from farout.base.step import quickest_type

__all__ = ["main"]

HERE = Path(__file__).parent
# Name, values, values when quick: the others are at 20 000 rows, 20 columns, depth as it comes, no classes.
AXES = {
    "rows": ([2_000, 20_000, 200_000, 1_000_000], [500, 2_000]),
    "columns": ([5, 20, 80, 320], [5, 10]),
    "blocks": ([2, 4, 8, 16], [1, 2]),
    "classes": ([1, 3, 10, 30, 100], [1, 3]),
}
SMALL = ": small sizes, which show that everything runs and say little about the cost of large ones."
LEGEND = (
    "Each cell has the ratio of that library's figure to ours, with the figure in brackets: above 1 ours is faster, "
    "smaller or more exact. The ratio is the median over rounds, which need not be the quotient of the two medians. "
    '"Own loop": our flow by autograd alone, in float32. "Eager": not compiled. "-": the library has no such flow.'
)
USUAL = {"rows": 20_000, "columns": 20, "blocks": 4, "classes": 1}


def table_of(rows: int, columns: int, classes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Correlated columns, half of them bent, and classes with centres of their own."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((rows, columns)) @ rng.standard_normal((columns, columns)) / columns**0.5
    X[:, ::2] = np.sinh(X[:, ::2])
    if classes == 1:
        return X, None
    y = np.arange(rows) % classes
    return X + 3 * rng.standard_normal((classes, columns))[y], y


def megabytes() -> float:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cost(kind: str, at: dict[str, int]) -> dict[str, float]:
    """CPU seconds and memory of one fit, and of scoring its rows; in a process of its own."""
    torch.set_num_threads(1)
    X, y = table_of(at["rows"], at["columns"], at["classes"])
    options = {"n_blocks": at["blocks"]}
    flow = fo.FlowDensity(architecture="table", options=options, random_state=0)
    model = {"flow": flow, "detector": fo.FlowDetector(flow=flow, random_state=0)}[kind]
    model_warm = fo.FlowDensity(architecture="table", options=options, max_steps=1, random_state=0)
    model_warm.fit(X[:300])  # imports
    result = {}
    for what, work in (("fit", lambda: model.fit(X, y)), ("score", lambda: model.score_samples(X))):
        memory, begin = megabytes(), time.process_time()
        work()
        result[what] = time.process_time() - begin
        result[f"{what} MiB"] = megabytes() - memory
    return result | {"data MiB": X.nbytes / 2**20}


def in_a_process(function: Callable[..., dict[str, float]], *arguments: object) -> dict[str, float]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def costs(quick: bool, out: Path) -> str:
    """Tables and a picture of what fits and scores cost."""
    text = ["## Cost of a fit and of scores\n", "![CPU seconds of fits and scores](performance.png)\n"]
    figure = Figure(figsize=(11, 3), layout="constrained")
    axes = figure.subplots(1, len(AXES), sharey=True)
    usual = USUAL | ({"rows": 1_000, "columns": 5, "blocks": 2} if quick else {})
    for ax, (name, (whole, small)) in zip(axes, AXES.items(), strict=True):
        text += [
            f"\n| {name} | flow: fit, s | flow: score, s | detector: fit, s | detector: score, s | data, MiB "
            "| detector: fit, MiB | detector: score, MiB |",
            "|---|---|---|---|---|---|---|---|",
        ]
        values = small if quick else whole
        found = {k: [in_a_process(cost, k, usual | {name: v}) for v in values] for k in ("flow", "detector")}
        for value, flow, detector in zip(values, found["flow"], found["detector"], strict=True):
            figures = [flow["fit"], flow["score"], detector["fit"], detector["score"], detector["data MiB"]]
            figures += [detector["fit MiB"], detector["score MiB"]]
            text.append(f"| {value:,} | " + " | ".join(f"{v:.3g}" for v in figures) + " |")
        for kind, style in (("flow", "-"), ("detector", "--")):
            for what, colour in (("fit", "C0"), ("score", "C1")):
                ax.plot(
                    values, [f[what] for f in found[kind]], style, color=colour, marker="o", label=f"{kind}: {what}"
                )
        ax.set(xscale="log", yscale="log", xlabel=name)
        ax.minorticks_off()
        ax.set_xticks(values, [f"{value:,}" for value in values])
    axes[0].set_ylabel("CPU seconds")
    axes[0].legend(fontsize="small")
    figure.savefig(out / "performance.png", dpi=110)
    at = ", ".join(f"{value:,} {name}" for name, value in usual.items() if name != "classes")
    text.append(
        f"\nEach table varies one setting; the others are {at} and no classes (1 class: none). Scores are of the rows "
        "of the fit. With classes the detector scores by the likelihood ratio, else by distance in three views, with a "
        "forest. Memory is what is needed beyond that of the process before. One run of each: repeated figures differ "
        "by up to a third.\n"
    )
    return "\n".join(text)


def commands(quick: bool) -> str:
    """CPU seconds of whole commands."""
    run = [sys.executable, "-c"]
    asked = {
        "`import farout`": [*run, "import farout"],
        "`farout --help`": [sys.executable, "-m", "farout", "--help"],
        "`farout demo`": [sys.executable, "-m", "farout", "demo", "--out", "runs/performance-demo", "--force"],
    }
    if quick:
        del asked["`farout demo`"]
    lines = ["## Commands\n", "| command | CPU, s | wall, s |", "|---|---|---|"]
    for name, command in asked.items():
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        lines.append(f"| {name} | {cpu:.2f} | {wall:.2f} |")
    return "\n".join(lines) + "\n"


def of_script(title: str, name: str, *arguments: str, note: str = "") -> str:
    """What a benchmark prints, under a title."""
    command = [sys.executable, str(HERE / name), *arguments]
    print(" ".join(command[1:]), flush=True)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shown = " ".join(["python", f"benchmarks/{name}", *(a for a in arguments if not a.startswith(("..", "/")))])
    body = done.stdout.strip()
    return f"## {title}\n\n`{shown}`. {note}\n\n" + (body if "|---" in body else f"```\n{body}\n```") + "\n"


def machine() -> str:
    """Date, commit, and what this machine is, without its name."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=HERE, capture_output=True, text=True).stdout
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    bits = str(quickest_type(torch.device("cpu"))).removeprefix("torch.")
    return (
        f"Measured on {date.today()} at commit {commit.strip() or 'unknown'}: {os.cpu_count()} cores, "
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, gradients in {bits}, {gpu}; "
        f"Python {platform.python_version()}, torch {torch.__version__}."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, help="the folder that holds mnist/, for time to quality")
    parser.add_argument("--quick", action="store_true", help="small sizes: whether all of it runs")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs", help="where performance.md and .png go")
    options = parser.parse_args(arguments)
    quick = ["--quick"] if options.quick else []
    options.out.mkdir(parents=True, exist_ok=True)
    command = " ".join(["python benchmarks/performance.py", *quick])
    parts = [
        "# Performance\n",
        f"{machine()} Written by `{command}`{SMALL if options.quick else '.'} On a GPU: `python benchmarks/flows.py "
        "--device cuda --json`.\n",
        costs(options.quick, options.out),
        commands(options.quick),
    ]
    if options.data_root is not None and not options.quick:
        root = str(options.data_root)
        parts.append(of_script("Time to quality", "time_to_quality.py", "--data-root", root))
    parts.append(of_script("Flows beside other libraries", "flows.py", *quick, note=LEGEND))
    (options.out / "performance.md").write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
