"""Linear archetypal analysis of MNIST's raw pixels beside the `archetypes` package, on one core.

    python benchmarks/archetypes.py --data-root DIR --out archetypes.json

First ours alone on all 60 000 rows, each fit in a process of its own for the peak of memory. Then the two take turns,
seed by seed, on the same 5 000 rows, each with its own defaults: a ratio is the package's time over ours, beside what
both explain. Seconds are of the CPU, on one thread, which other work on the machine changes least. The package is left
out where it isn't installed, or with --no-peer.
"""

import argparse
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time

import numpy as np
import torch
from threadpoolctl import threadpool_limits

import farout as fo

COUNTS = (3, 5, 10, 20)


def main() -> None:
    args = parse()
    one_core()
    results = {"all rows": [alone(one_fit, args.data_root, 60_000, args.k, seed) for seed in args.seeds]}
    print(table_of_all(results["all rows"], args.k), flush=True)
    X = pixels(args.data_root, args.rows)
    results["side by side"] = [turn(X, args.k, seed, args.peer) for seed in args.seeds]
    print(table_of_turns(results["side by side"], args.rows, args.k), flush=True)
    if args.by_count:
        results["by count"] = [alone(one_fit, args.data_root, 60_000, k, args.seeds[0]) for k in COUNTS]
        print(table_of_all(results["by count"], args.k), flush=True)
    if args.out:
        with open(args.out, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("FAROUT_DATA"))
    parser.add_argument("-k", type=int, default=10, help="archetypes")
    parser.add_argument("--rows", type=int, default=5000, help="rows of the comparison with the package")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--by-count", action="store_true", help="also k = 3, 5, 10 and 20 on all rows")
    parser.add_argument("--no-peer", dest="peer", action="store_false", help="leave the package out")
    parser.add_argument("--out", help="a JSON file for the figures")
    return parser.parse_args()


def one_core() -> None:
    torch.set_num_threads(1)
    threadpool_limits(1)


def pixels(data_root, n) -> np.ndarray:
    return fo.load_data("mnist:train", data_root=data_root).X[:n]


def alone(function, *args):
    """The result of a function in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, args)


def one_fit(data_root, n, k, seed) -> dict:
    one_core()
    X = pixels(data_root, n)
    loaded = peak_gib()
    seconds, model = timed(lambda: fo.ArchetypalAnalysis(k, random_state=seed).fit(X))
    return {
        "k": k,
        "seed": seed,
        "rows": len(X),
        "seconds": seconds,
        "explained": model.explained_variance_ratio_,
        "iterations": model.n_iter_,
        "peak GiB": peak_gib(),
        "peak GiB before": loaded,
    }


def turn(X, k, seed, peer) -> dict:
    """Ours and the package's, one after the other; who is first changes by seed."""
    row: dict = {"seed": seed}
    fits = {"ours": lambda: ours(X, k, seed)}
    if peer:
        fits["package"] = lambda: package(X, k, seed)
    for name in sorted(fits, reverse=bool(seed % 2)):
        row[name] = fits[name]()
    return row


def ours(X, k, seed) -> dict:
    seconds, model = timed(lambda: fo.ArchetypalAnalysis(k, random_state=seed).fit(X))
    return {"seconds": seconds, "rss": squares(X - model.inverse_transform(model.transform(X))), "total": total(X)}


def package(X, k, seed) -> dict | None:
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p) != here]  # this file has the package's name
    try:
        from archetypes import AA
    except ImportError:
        return None
    seconds, model = timed(lambda: AA(k, random_state=seed).fit(X))
    return {"seconds": seconds, "rss": squares(X - model.A_ @ model.archetypes_), "total": total(X)}


def timed(function) -> tuple[float, object]:
    start = time.process_time()
    result = function()
    return time.process_time() - start, result


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def squares(residual) -> float:
    return float(np.square(residual, dtype=np.float64).sum())


def total(X) -> float:
    return squares(X - X.mean(axis=0, dtype=np.float64))


def table_of_all(rows, k) -> str:
    lines = ["| rows | k | seed | explained | seconds of CPU | peak GiB |", "|---:|---:|---:|---:|---:|---:|"]
    lines += [
        f"| {r['rows']} | {r['k']} | {r['seed']} | {r['explained']:.4f} | {r['seconds']:.1f} | {r['peak GiB']:.2f} |"
        for r in rows
    ]
    return "\n".join([*lines, ""])


def table_of_turns(rows, n, k) -> str:
    lines = [
        f"| {n} rows, k = {k}, seed | explained, ours | package | seconds of CPU, ours | package | ratio |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    ratios = []
    for r in rows:
        mine, theirs = r["ours"], r.get("package")
        cells = [f"{1 - mine['rss'] / mine['total']:.4f}", "", f"{mine['seconds']:.2f}", "", ""]
        if theirs:
            ratios.append(theirs["seconds"] / mine["seconds"])
            cells[1], cells[3] = f"{1 - theirs['rss'] / theirs['total']:.4f}", f"{theirs['seconds']:.1f}"
            cells[4] = f"{ratios[-1]:.1f}"
        lines.append(f"| {r['seed']} | {' | '.join(cells)} |")
    if ratios:
        lines.append(f"| median | | | | | {statistics.median(ratios):.1f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
