"""Images: classifiers and discriminators trained with each recipe of outliers; same network, steps and augmentation.

Recipes are chosen by class hold-out and contamination, which need no outliers; the unseen sets are for the final table.
Every model leaves a file of scores in --out, so that an interrupted table goes on; the table is made of those files.
"""

import os
import time
from pathlib import Path

import numpy as np
from scipy.special import softmax
from sklearn.metrics import roc_auc_score

import farout as fo
from quality.classes import by_class, files
from quality.probe import probe
from quality.rivals import VOS, FeatureScores, Mixup, UniformNoise, scores_of_logits

UNSEEN = {
    "mnist": ("letters", "kana", "fashion-mnist:test"),
    "fashion-mnist": ("letters", "kana", "mnist:test"),
    "digits": (),  # for holdout alone
}
EXPOSED = {"mnist": "fashion-mnist:train", "fashion-mnist": "mnist:train"}  # real outliers of another kind
OWN = "largest probability"  # of a model that knows distances; the others' is MSP
FOLDS = ((0, 5), (1, 6), (2, 7), (3, 8), (4, 9))


ROWS = (
    "plain", "exposed", "noise", "mixup", "vos", "normal", "gumbel", "deepaa", "collage", "turned", "boundary",
    "recommended",
)  # fmt: skip
OURS = (
    "collage",
    "turned",
    "boundary",
    "recommended",
)  # with all that the models do by default; the others as published
PLAIN_MODEL = {"auxiliary_weight": 0.0, "distance_aware": False}


def recipe(name, flow, args):
    """The outliers of a row; None for the classifiers that see none."""
    makers = {
        "plain": lambda: None,
        "vos": lambda: None,
        "exposed": lambda: fo.RealOutliers(fo.load_data(EXPOSED[args.inliers], data_root=args.data_root).X),
        "noise": UniformNoise,
        "mixup": Mixup,
        "normal": lambda: fo.NormalShell(2.5, flow=flow),
        "gumbel": lambda: fo.GumbelShell(2.5, flow=flow),
        "deepaa": lambda: fo.Archetypal(0.3, base=fo.load(args.archetypes)),
        "collage": lambda: fo.Collage(flow=flow),
        "turned": lambda: fo.Turned(flow=flow),
        "boundary": lambda: fo.Boundary(flow=flow),
        "recommended": lambda: fo.Recommended(flow=flow),
    }
    if name == "deepaa" and not args.archetypes:
        raise SystemExit("the row deepaa needs --archetypes RUN, made by farout archetypes mnist:train --deep")
    return makers[name]()


def model_of(kind, name, source, train, seed, args):
    common = {
        "event_shape": train.event_shape,
        "max_steps": args.steps,
        "n_outliers": args.outliers,
        "augmentation": args.augmentation,
        "training": fo.Training(precision=args.precision),
        "random_state": seed,
    }
    common |= {} if name in OURS else PLAIN_MODEL
    if kind == "discriminator":
        return fo.OutlierDiscriminator(source, one_vs_rest="auto" if name in OURS else False, **common)
    if name == "vos":
        return VOS(None, beta=0.0, **common)
    return fo.CautiousClassifier(source, beta=0.0 if source is None else args.beta, **common)


def scored(kind, model, rows):
    """The file of a model: what it gives for the rows of each set."""
    if kind == "discriminator":
        return {name: model.score_samples(X) for name, X in rows.items()}
    logits = {name: model.logits(X) for name, X in rows.items()}
    if not hasattr(model, "reference_"):
        return logits
    return logits | {f"{name}|{OWN}": model.predict_proba(X) for name, X in rows.items()}


def subset(data, classes, keep):
    """Rows of these classes, or of all others."""
    rows = np.isin(data.y, classes) == keep
    return data.X[rows], data.y[rows]


def fit_and_keep(file, name, flow, X, y, rows, train, seed, args):
    """Train one model unless its file is there; give what is in the file."""
    kind = args.kind
    if not file.is_file():
        model = model_of(kind, name, recipe(name, flow, args), train, seed, args)
        begun = time.perf_counter()
        model.fit(X, y)
        kept = {"seconds": time.perf_counter() - begun, **scored(kind, model, rows)}
        if kind == "classifier" and name in ("plain", *OURS):
            further = FeatureScores(model, X, y)
            for set_name, values in rows.items():
                kept |= {f"{set_name}|{score}": found for score, found in further(values).items()}
        if kind == "classifier" and "source_" in vars(model) and model.beta:
            kept["outliers"] = model.source_.sample(1000, random_state=seed).x.astype(np.float16)
        if name != "vos":  # whose network has one part more
            model.save(file.with_suffix(""), force=True)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file.with_suffix(".part.npz"), **kept)
        os.replace(file.with_suffix(".part.npz"), file)
    with np.load(file) as found:
        return dict(found)


def flow_in(folder, X, y, train, steps):
    """The flow of these rows, fitted once."""
    if not folder.is_dir():
        flow = fo.FlowDensity(event_shape=train.event_shape, max_steps=steps, random_state=0, verbose=True)
        flow.fit(X, y).save(folder)
    return fo.load(folder)


# --- choosing: class hold-out and contamination --------------------------------------------------------------------


def holdout(args):
    """Train without two classes, judge by them; and contamination, by a plain classifier of the same classes."""
    train, test = (fo.load_data(f"{args.inliers}:{part}", data_root=args.data_root) for part in ("train", "test"))
    lines = []
    for i in args.folds:
        out = Path(args.out) / f"holdout-{args.inliers}-{'-'.join(map(str, FOLDS[i]))}"
        X, y = subset(train, FOLDS[i], False)
        (inside, labels), (outside, _) = subset(test, FOLDS[i], False), subset(test, FOLDS[i], True)
        flow = flow_in(out / "flow", X, y, train, args.flow_steps)
        plain = None
        for seed in args.seeds:
            for name in args.rows:
                file = out / f"{args.kind}-{name}-{args.steps}-{args.outliers}-seed{seed}.npz"
                rows = {"in": inside, "out": outside}
                found = fit_and_keep(file, name, flow, X, y, rows, train, seed, args)
                line = {"fold": FOLDS[i], "row": name, "seed": seed, "seconds": float(found["seconds"])}
                line |= judged(args.kind, found, labels)
                if "outliers" in found:
                    plain = plain or plain_of(out, X, y, train, args)
                    sure = plain.predict_proba(found["outliers"].astype(np.float32)).max(axis=1) > 0.99
                    line["contamination"] = float(sure.mean())
                print(line, flush=True)
                lines.append(line)
    print(summary(lines))


def plain_of(out, X, y, train, args):
    """A plain classifier of the fold's classes, kept as a run."""
    folder = out / "judge"
    if not folder.is_dir():
        model_of("classifier", "plain", None, train, 99, args).fit(X, y).save(folder)
    return fo.load(folder)


def judged(kind, found, labels):
    """AUROC of the classes that were held out, by each score, and accuracy."""
    scores = scores_in(kind, found)
    line = {score: auroc(value(found, "in", score), value(found, "out", score)) for score in scores}
    return line if kind == "discriminator" else {"accuracy": accuracy(kind, found, labels)} | line


def auroc(inside, outside):
    return float(roc_auc_score(np.r_[np.ones(len(inside)), np.zeros(len(outside))], np.r_[inside, outside]))


def summary(lines):
    """Means over folds and seeds, a Markdown row a recipe."""
    names = [key for key in lines[-1] if key not in ("fold", "row", "seed")]
    text = [f"| row | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for row in dict.fromkeys(line["row"] for line in lines):
        mine = [line for line in lines if line["row"] == row]
        means = [np.mean([line[name] for line in mine if name in line] or [np.nan]) for name in names]
        text.append(f"| {row} | {' | '.join(f'{mean:.4f}' for mean in means)} |")
    return "\n".join(text)


# --- what a linear probe tells -------------------------------------------------------------------------------------


def probed(args):
    """AUROC of the linear probe: outliers of each row against inliers on their path, and real sets against inliers."""
    train, test = (fo.load_data(f"{args.inliers}:{part}", data_root=args.data_root) for part in ("train", "test"))
    out = Path(args.out) / f"table-{args.inliers}"
    flow = fo.load(args.flow) if args.flow else flow_in(out / "flow", train.X, train.y, train, args.flow_steps)
    print("| told from inliers | AUROC of the probe |\n|---|---:|")
    for name in args.rows:
        source = recipe(name, flow, args).fit(train.X, train.y)
        inliers = source.process_inliers(test.X[:1000], test.y[:1000], random_state=0)
        print(
            f"| {name} | {probe(inliers, source.sample(1000, random_state=0).x, train.event_shape):.3f} |", flush=True
        )
    for name in UNSEEN[args.inliers]:
        rows = fo.load_data(name, data_root=args.data_root).X
        print(f"| {name} (real) | {probe(test.X[:1000], rows[:1000], train.event_shape):.3f} |", flush=True)


# --- the final table -----------------------------------------------------------------------------------------------


def table(args):
    """Every row on the unseen sets; models that left their file are not trained again."""
    train, test = (fo.load_data(f"{args.inliers}:{part}", data_root=args.data_root) for part in ("train", "test"))
    unseen = {name: fo.load_data(name, data_root=args.data_root) for name in UNSEEN[args.inliers]}
    out = Path(args.out) / f"table-{args.inliers}"
    flow = fo.load(args.flow) if args.flow else flow_in(out / "flow", train.X, train.y, train, args.flow_steps)
    rows = {"in": test.X} | {name: data.X for name, data in unseen.items()}
    for seed in args.seeds:
        for name in args.rows:
            file = file_of(out, name, seed, args)
            found = fit_and_keep(file, name, flow, train.X, train.y, rows, train, seed, args)
            print(f"seed {seed}, {name}: {float(found['seconds']):.0f} s", flush=True)
    text = "\n\n".join(report(out, list(unseen), test.y, args))
    print(text)
    (out / f"{args.kind}.md").write_text(text + "\n", encoding="utf-8")


def classes(args):
    """The files of the final table, class by class."""
    unseen = {name: fo.load_data(name, data_root=args.data_root) for name in UNSEEN[args.inliers]}
    out = Path(args.out) / f"table-{args.inliers}"
    plain = files(out, "classifier", "plain", args.steps, args.outliers, args.seeds)
    for name in args.rows:
        models = files(out, args.kind, name, args.steps, args.outliers, args.seeds)
        own = "log-odds" if args.kind == "discriminator" else OWN if f"in|{OWN}" in models[0] else "MSP"

        def scores(found, part, score=own):
            return value(found, part, score)

        print(f"{args.kind}, {name}, {own}\n\n{by_class(models, plain, unseen, scores, auroc)}\n")


def file_of(out, name, seed, args):
    return out / f"{args.kind}-{name}-{args.steps}-{args.outliers}-seed{seed}.npz"


def report(out, unseen, labels, args):
    """Single models, mean and spread over seeds, and ensembles of the seeds."""
    head = f"| {args.kind} | score | accuracy | {' | '.join(unseen)} | seconds |"
    single = [head, "|---|---|" + "---:|" * (2 + len(unseen))]
    joint = list(single)
    for name in args.rows:
        models = [dict(np.load(file_of(out, name, seed, args))) for seed in args.seeds]
        seconds = f"{np.mean([m['seconds'] for m in models]):.0f}"
        shares = [accuracy(args.kind, m, labels) for m in models]
        for score in scores_in(args.kind, models[0]):
            cells = [[auroc(value(m, "in", score), value(m, s, score)) for m in models] for s in unseen]
            single.append(line(name, score, [shares, *cells], seconds))
        if args.kind == "classifier":
            mean = {s: np.mean([probabilities(m, s) for m in models], axis=0) for s in ("in", *unseen)}
            cells = [[auroc(mean["in"].max(axis=1), mean[s].max(axis=1))] for s in unseen]
            cells = [[right(mean["in"], labels)], *cells]
            score = OWN if f"in|{OWN}" in models[0] else "MSP"
            joint.append(line(f"{len(models)} x {name}", score, cells, seconds))
        else:
            mean = {s: np.mean([m[s] for m in models], axis=0) for s in ("in", *unseen)}
            cells = [[np.nan], *([auroc(mean["in"], mean[s])] for s in unseen)]
            joint.append(line(f"{len(models)} x {name}", "log-odds", cells, seconds))
    return ["\n".join(single), "\n".join(joint)]


def scores_in(kind, found):
    if kind == "discriminator":
        return ["log-odds"]
    further = [key.split("|")[1] for key in found if key.startswith("in|")]
    return ["MSP", "max-logit", "energy", *further]


def value(found, name, score):
    """The score of a set, from the file of a model."""
    if score == "log-odds":
        return found[name]
    if score == OWN:
        return found[f"{name}|{OWN}"].max(axis=1)
    return found[f"{name}|{score}"] if f"{name}|{score}" in found else scores_of_logits(found[name])[score]


def probabilities(found, name):
    """Of the classes, from the file of a model."""
    return found.get(f"{name}|{OWN}", softmax(found[name], axis=1))


def accuracy(kind, found, labels):
    """By the classes that a model gives, its own probabilities where it has some."""
    return np.nan if kind == "discriminator" else right(probabilities(found, "in"), labels)


def right(probabilities, labels):
    return float((np.unique(labels)[probabilities.argmax(axis=1)] == labels).mean())


def line(name, score, cells, seconds):
    texts = [f"{np.mean(c):.4f} ± {np.std(c, ddof=1):.4f}" if len(c) > 1 else f"{c[0]:.4f}" for c in cells]
    return f"| {name} | {score} | {' | '.join(texts)} | {seconds} |"


TASKS = {
    "holdout": (holdout, "classes held out, and contamination"),
    "images": (table, "the final table on the unseen sets"),
    "classes": (classes, "the final table class by class, and without look-alikes"),
    "probe": (probed, "what grey levels and texture alone tell"),
}


def add_arguments(parser):
    """What the three tasks on images share."""
    parser.add_argument("--data-root", default=os.environ.get("FAROUT_DATA"))
    parser.add_argument("--inliers", default="mnist", choices=list(UNSEEN))
    parser.add_argument("--kind", default="classifier", choices=["classifier", "discriminator"])
    parser.add_argument("--rows", nargs="+", default=["plain", "normal", "collage", "recommended"], choices=ROWS)
    parser.add_argument("--folds", type=int, nargs="+", default=[2, 4], help=f"of holdout: which of {FOLDS}")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--flow", help="run folder of a flow on the training part; fitted anew when omitted")
    parser.add_argument("--archetypes", help="run folder of deep archetypes of the training part, for the row deepaa")
    parser.add_argument("--flow-steps", type=int, default=1500)
    parser.add_argument("--outliers", type=int, default=10_000, help="distinct outliers of a recipe")
    parser.add_argument("--augmentation", default="affine")
    parser.add_argument("--beta", type=float, default=1.0)
    parser.add_argument("--precision", default="32-true", help="bf16-mixed is quicker where the processor has it")
    parser.add_argument("--out", default="runs/outlier_quality")
