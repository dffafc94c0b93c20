"""The cautious classifier against the plain one on MNIST: same network, same steps, same seeds, unseen outlier sets.

    python benchmarks/mnist_classifier.py --data-root DIR --flow runs/mnist --steps 700 --seeds 0 1 2

    python benchmarks/mnist_classifier.py --data-root DIR --archetypes runs/archetypes --rows plain archetypal

Rows: "plain"; "path", the plain loss on inliers that took the outliers' path, which tells the two effects apart;
"normal", with NormalShell; "archetypal", with Archetypal outliers of a run of `farout archetypes mnist:train --deep`;
"both", with equal shares of the two. They are interleaved by seed. Letters, kana and Fashion-MNIST are only scored at
the end.
"""

import argparse
import os
import time

import numpy as np

import farout as fo

ROWS = ("plain", "path", "normal", "archetypal", "both")
UNSEEN = ("letters", "kana", "fashion-mnist:test")


def main() -> None:
    args = parse()
    train, test = (fo.load_data(f"mnist:{part}", data_root=args.data_root) for part in ("train", "test"))
    unseen = {name: fo.load_data(name, data_root=args.data_root).X for name in UNSEEN}
    models = dict(chosen(name, args, train) for name in args.rows)
    results: dict[str, list[list[float]]] = {name: [] for name in models}
    for seed in args.seeds:
        for name, settings in models.items():
            results[name].append(row(settings, seed, args.steps, train, test, unseen))
            print(f"seed {seed}, {name}: {np.round(results[name][-1], 4).tolist()}", flush=True)
    print(table(results, args.seeds))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", default=os.environ.get("FAROUT_DATA"))
    parser.add_argument("--flow", help="run folder of a flow on mnist:train; fitted anew when omitted")
    parser.add_argument("--strength", type=float, default=2.5)
    parser.add_argument("--steps", type=int, default=700)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--rows", nargs="+", default=["plain", "normal"], choices=ROWS)
    parser.add_argument("--archetypes", help="run folder of deep archetypes of mnist:train")
    parser.add_argument("--concentration", type=float, default=0.3)
    parser.add_argument("--beyond", type=float, nargs=2, default=(0.0, 0.0), help="range of steps past the hull")
    return parser.parse_args()


def chosen(name, args, train) -> tuple[str, dict]:
    """What the table calls a row, and the settings of its classifier."""
    if name == "plain":
        return "plain", {"source": None, "beta": 0.0}
    if name == "archetypal":
        return f"cautious, {called(args)}", {"source": archetypal(args)}
    shell = fo.NormalShell(strength=args.strength, flow=fitted_flow(args.flow, train))
    if name == "path":
        return "plain, on the outliers' path", {"source": shell, "beta": 0.0}
    if name == "normal":
        return f"cautious, Normal {args.strength:g}", {"source": shell}
    return f"cautious, Normal {args.strength:g} and {called(args)}", {"source": fo.Mixture([shell, archetypal(args)])}


def called(args) -> str:
    past = f", {args.beyond[0]:g} to {args.beyond[1]:g} past the hull" if args.beyond[1] else ""
    return f"Archetypal {args.concentration:g}{past}"


def archetypal(args) -> fo.Archetypal:
    if not args.archetypes:
        raise SystemExit(
            "--rows archetypal and both need --archetypes RUN, made by farout archetypes mnist:train --deep"
        )
    return fo.Archetypal(args.concentration, base=fo.load(args.archetypes), beyond=tuple(args.beyond))


def fitted_flow(run, train) -> fo.FlowDensity:
    if run:
        return fo.load(run)
    return fo.FlowDensity(event_shape=train.event_shape, random_state=0, verbose=True).fit(train.X, train.y)


def row(settings, seed, steps, train, test, unseen) -> list[float]:
    """Accuracy, AUROC by unseen set, and seconds of training."""
    start = time.perf_counter()
    # The classifier of eq. 10 alone, as part 1 measured it.
    bare = {"auxiliary_weight": 0.0, "distance_aware": False}
    model = fo.CautiousClassifier(**settings, **bare, event_shape=train.event_shape, max_steps=steps, random_state=seed)
    model.fit(train.X, train.y)
    seconds = time.perf_counter() - start
    scores = {name: model.score_samples(X) for name, X in unseen.items()}
    table = fo.evaluate(model.score_samples(test.X), scores, n_bootstrap=0)
    return [model.score(test.X, test.y), *(table[name].auroc for name in unseen), seconds]


def table(results, seeds) -> str:
    lines = [
        f"| model (mean ± sd of {len(seeds)} seeds) | accuracy | {' | '.join(UNSEEN)} | seconds |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, rows in results.items():
        mean, sd = np.mean(rows, axis=0), np.std(rows, axis=0, ddof=min(1, len(rows) - 1))
        cells = [f"{m:.4f} ± {s:.4f}" for m, s in zip(mean[:-1], sd[:-1], strict=True)]
        lines.append(f"| {name} | {' | '.join(cells)} | {mean[-1]:.0f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
