"""What deep archetypes are worth: reconstruction with and without the nullspace, agreement of draws with their class.

    farout archetypes mnist:train -k 3 --deep --flow runs/mnist --out runs/archetypes
    python benchmarks/deep_archetypes.py runs/archetypes --data-root DIR

For each run: the mean squared error of an element, on the test split, of plain and of nullspace reconstruction; the
archetype loss at two batch sizes on the same rows; the largest weight that any training row gives an archetype; and how
often a plain classifier, trained on the same data, finds draws at each concentration to be of the class they were drawn
for, as the author checked.
"""

import argparse
import functools
import json
from pathlib import Path

import numpy as np
import torch

import farout as fo
from farout.base.estimator import classes_of
from farout.runs.folder import open_run

CONCENTRATIONS = (7.0, 1.0, 0.3, 0.1)
WAYS = {
    "plain": {},
    "own": {"nullspace": "own"},
    "fitted": {"nullspace": "fitted"},
    "N(0, I)": {"nullspace": "normal"},
    "slides": {"nullspace": "normal", "exact": False},
}


def main() -> None:
    args = parse()
    results = {str(run): measure(run, args) for run in args.runs}
    print(table("mean squared error of an element, data units", results, "mse"))
    print(table("archetype loss by batch size", results, "archetype loss"))
    print(table("largest weight of a row, by archetype", results, "largest weight"))
    print(table("share of draws found to be of their class, by concentration", results, "agreement"))
    if args.out:
        Path(args.out).write_text(json.dumps(results, indent=1), encoding="utf-8")


def measure(path: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    run = open_run(path)
    spec = run.settings.data.split(":")[0]
    train, test = (fo.load_data(f"{spec}:{split}", data_root=args.data_root) for split in ("train", "test"))
    model, rows = run.model, np.random.default_rng(0).permutation(len(train))[: args.rows]
    y = None if classes_of(model) is None else test.y
    X, labels = train.X[rows], None if "side_classes_" not in vars(model) else train.y[rows]
    found = {
        "mse": {name: error(model, test.X, y, way) for name, way in WAYS.items()},
        "archetype loss": {str(b): model.losses(X, labels, batch_size=b)["archetype"] for b in (64, 512)},
        "largest weight": {
            str(r.archetype + 1): r.largest_weight
            for r in model.hull_report(train.X, None if classes_of(model) is None else train.y)
        },
    }
    if classes_of(model) is not None:
        found["agreement"] = agreement(model, spec, test, args)
    return found


def error(model, X, y, way) -> float:
    return float(np.square(model.reconstruct(X, y, random_state=0, **way) - X).mean())


@functools.cache
def trained_judge(spec: str, data_root: str | None, steps: int) -> fo.CautiousClassifier:
    train = fo.load_data(f"{spec}:train", data_root=data_root)
    judge = fo.CautiousClassifier(beta=0.0, event_shape=train.event_shape, max_steps=steps, random_state=0)
    return judge.fit(train.X, train.y)


def agreement(model, spec, test, args) -> dict[str, float]:
    judge = trained_judge(spec, args.data_root, args.steps)
    shares = {"real": judge.score(test.X, test.y)}
    for c in CONCENTRATIONS:
        X, y = model.sample(args.draws, c, random_state=0)
        shares[f"c = {c:g}"] = float((judge.predict(X) == y).mean())
    return shares


def table(title: str, results: dict, part: str) -> str:
    shown = {run: found[part] for run, found in results.items() if part in found}
    columns = list(dict.fromkeys(name for row in shown.values() for name in row))
    lines = [f"\n{title}\n", f"| run | {' | '.join(columns)} |", "|---|" + "---:|" * len(columns)]
    for run, row in shown.items():
        cells = " | ".join(f"{row[c]:.4f}" if c in row else "" for c in columns)
        lines.append(f"| {run} | {cells} |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="runs of `farout archetypes --deep`")
    parser.add_argument("--data-root", help="folder of real image sets")
    parser.add_argument("--rows", type=int, default=10_000, help="training rows for the archetype loss")
    parser.add_argument("--draws", type=int, default=3000, help="draws at each concentration")
    parser.add_argument("--steps", type=int, default=700, help="of the judging classifier")
    parser.add_argument("--out", help="write all figures here, as JSON")
    return parser.parse_args()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
