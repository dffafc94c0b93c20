"""Photographs: classifiers of CIFAR-10 with each recipe; same network, steps and augmentation.

Recipes are chosen by classes held out; the textures are for the last look. Every model leaves its figures as one line
of JSON in --out, so that an interrupted table goes on.
"""

import io
import os
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from scipy.special import log_softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from torch.nn import functional as F

import farout as fo
from farout.base.neighbours import nearest_rows
from farout.base.validation import Rows
from farout.networks.features import unit, with_features
from farout.outliers.row_source import Candidates
from farout.outliers.salient import Salient
from quality.records import Records, markdown, mean_sd
from quality.rivals import scores_of_logits

SHAPE = (3, 32, 32)
SIZES = {  # rows a class, network, steps
    "quick": (60, "residual", 8),
    "cpu": (1000, "residual", 700),
    "gpu": (3600, "resnet18", 5000),
}
FOLDS = ((3, 5), (0, 8), (1, 9), (2, 4), (6, 7))
OWN = "own score"


class Shuffled(Salient):
    """Pixels of the most salient patches shuffled among themselves, as ASCOOD (2024) does with single pixels."""

    def _blended(self, hosts, guests):
        rows = self._rows(hosts)
        channels, height, width = self.event_shape_
        felt = self.critic_.saliency(Rows(rows), self._labels(hosts)).reshape(len(rows), -1)
        images = rows.reshape(len(rows), channels, -1).copy()
        rng = np.random.default_rng(int(hosts.sum()))
        for image, places in zip(
            images, np.argsort(-felt, axis=1)[:, : round(self.share * height * width)], strict=True
        ):
            image[:, places] = image[:, rng.permutation(places)]
        return images.reshape(len(rows), -1)


class Patched(Salient):
    """The 4x4 patches of most saliency from another image, with hard edges."""

    def _blended(self, hosts, guests):
        rows = self._rows(hosts)
        shape = (len(rows), *self.event_shape_)
        felt = self.critic_.saliency(Rows(rows), self._labels(hosts))
        mean = felt.reshape(len(rows), shape[2] // 4, 4, shape[3] // 4, 4).mean(axis=(2, 4))
        least = np.quantile(mean, 1 - self.share, axis=(1, 2), keepdims=True)
        struck = (mean > least).repeat(4, axis=1).repeat(4, axis=2)[:, None]
        return np.where(struck, self._rows(guests).reshape(shape), rows.reshape(shape)).reshape(len(rows), -1)


class Patches(Salient):
    """Half of the patches, wherever they are, from another image."""

    def __init__(self, side=4, flow=None, event_shape=None, random_state=None):
        super().__init__(flow=flow, event_shape=event_shape, random_state=random_state)
        self.side = side

    def _asks_critic(self):
        return False

    def _candidates(self, hosts, rng):
        guests = (hosts + rng.integers(1, len(self.rows_), size=len(hosts))) % len(self.rows_)
        shape = (len(hosts), *self.event_shape_)
        struck = rng.random((len(hosts), 1, 32 // self.side, 32 // self.side)) < 0.5
        struck = struck.repeat(self.side, axis=2).repeat(self.side, axis=3)
        x = np.where(struck, self._rows(guests).reshape(shape), self._rows(hosts).reshape(shape))
        return Candidates(x.reshape(len(hosts), -1), np.arange(len(hosts)))


class VOS(fo.CautiousClassifier):
    """Virtual outlier synthesis (Du et al., 2022), as in `quality.rivals`, for a network whose last layer is `last`."""

    queue, draws, begin, weight = 500, 2000, 0.4, 0.1

    def _objective(self, feed, head):
        net, certainty = (
            self.network_,
            torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2)),
        )
        parts = dict(net.named_children())
        for name in parts:
            delattr(net, name)
        net.register_module("certainty", certainty)  # before the others: the last linear layer gives the classes
        for name, part in parts.items():
            net.register_module(name, part)
        queues = [torch.empty(0, net.last.in_features) for _ in range(len(self.classes_))]

        def objective(batch, progress):
            rows, y = batch
            logits, features = with_features(net, net.last, feed.batch(rows, y, progress).events)
            for c in range(len(queues)):
                queues[c] = torch.cat([queues[c], features.detach().float().cpu()[y.cpu() == c]])[-self.queue :]
            loss = F.cross_entropy(logits, y)
            if progress < self.begin or min(len(q) for q in queues) < self.queue // 2:
                return loss, {}
            virtual = net.last(self._virtual(queues, max(1, len(rows) // len(queues))).to(logits.device))
            energies = torch.cat([logits, virtual]).float().logsumexp(1, keepdim=True)
            truth = torch.cat([torch.ones(len(logits)), torch.zeros(len(virtual))]).long().to(logits.device)
            return loss + self.weight * F.cross_entropy(certainty(energies), truth), {}

        return objective

    def _virtual(self, queues, n):
        pooled = torch.cat([q - q.mean(0) for q in queues]).double()
        covariance = pooled.T @ pooled / len(pooled)
        ridge = 1e-4 * covariance.trace() / len(covariance) * torch.eye(len(covariance), dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance + ridge).float()
        found = []
        for q in queues:
            steps = torch.randn(self.draws, q.shape[1])
            found.append(q.mean(0) + steps[steps.square().sum(1).topk(n).indices] @ factor.T)
        return torch.cat(found)


def rows_of(args, exposed):
    """What each row trains: a class of model, its source and further settings."""
    plain = {"auxiliary_weight": 0.0, "distance_aware": False, "rotations": False}
    flow = fo.FlowDensity(event_shape=SHAPE, random_state=0, max_steps=args.flow_steps)
    one = {"auxiliary_weight": 0.0, "distance_aware": False, "rotations": False, "beta": 0.3}
    return {
        "plain": (fo.CautiousClassifier, None, plain | {"beta": 0.0}),
        "vos": (VOS, None, plain | {"beta": 0.0}),
        "rotpred": (fo.CautiousClassifier, None, {"beta": 0.0, "rotations": True, "distance_aware": True}),
        "exposed": (fo.CautiousClassifier, fo.RealOutliers(exposed), one | {"beta": 0.5}),
        "shuffled": (fo.CautiousClassifier, Shuffled(share=0.15), one),
        "patches4": (fo.CautiousClassifier, Patches(4), one),
        "patches8": (fo.CautiousClassifier, Patches(8), one),
        "salient": (fo.CautiousClassifier, fo.Salient(), one),
        "latent": (fo.CautiousClassifier, fo.Salient(space="latent", flow=flow), one),
        "shell": (fo.CautiousClassifier, fo.NormalShell(tail=1e-2, flow=flow), one),
        "turned": (fo.CautiousClassifier, fo.Turned(), one),
        "collage": (fo.CautiousClassifier, fo.Collage(flow=flow), one),
        "ours-patched": (fo.CautiousClassifier, Patched(), {}),
        "ours-latent": (fo.CautiousClassifier, fo.Salient(space="latent", flow=flow), {}),
        "ours-turned": (fo.CautiousClassifier, fo.Mixture([fo.Salient(), fo.Turned()]), {}),
        "ours": (fo.CautiousClassifier, None, {}),
    }


NAMES = (
    "plain", "vos", "rotpred", "exposed", "shuffled", "patches4", "patches8", "salient", "latent", "shell", "turned",
    "collage", "ours-patched", "ours-latent", "ours-turned", "ours",
)  # fmt: skip


def images(root, part):
    """Rows (n, 3072) of uint8, and labels where there are some."""
    file = np.load(Path(root) / "cifar10" / f"{part}.npz")
    data, ends = file["jpeg"].tobytes(), np.cumsum(file["length"])
    starts = ends - file["length"]
    rows = [np.asarray(Image.open(io.BytesIO(data[a:b])).convert("RGB")) for a, b in zip(starts, ends, strict=True)]
    X = np.stack(rows).transpose(0, 3, 1, 2).reshape(len(rows), -1)
    return X, file["y"] if "y" in file.files else None


def run(args):
    """Train what isn't there yet, and show the table of what is."""
    per_class, network, steps = SIZES[args.size]
    steps = args.steps or steps
    Path(args.out).mkdir(parents=True, exist_ok=True)
    records = Records(Path(args.out) / f"natural-{args.size}.jsonl", ("row", "seed", "fold", "steps"))
    (train, y), (test, y_test) = images(args.data_root, "train"), images(args.data_root, "test")
    textures = images(args.data_root, "textures")[0] if args.textures else train[:0]
    exposed = textures[: len(textures) // 2]
    if "exposed" in args.rows and not len(exposed):
        raise SystemExit("the row exposed needs --textures: it learns from the first half of their kinds")
    for fold in args.folds:
        out = () if fold < 0 else FOLDS[fold]
        rng = np.random.default_rng(0)
        inside = [c for c in range(10) if c not in out]
        chosen = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:per_class] for c in inside])
        known = np.isin(y_test, inside)
        sets = {"held out": test[~known], "textures": textures[len(textures) // 2 :]}
        for seed in args.seeds:
            for name in args.rows:
                key = {"row": name, "seed": seed, "fold": fold, "steps": steps}
                if records.has(**key):
                    continue
                cls, source, options = rows_of(args, exposed)[name]
                model = cls(
                    source,
                    **{"network": network, "augmentation": "crop-flip"} | options,
                    event_shape=SHAPE,
                    max_steps=steps,
                    training=fo.Training(precision=args.precision),
                    random_state=seed,
                )
                begun = time.process_time(), time.perf_counter()
                model.fit(train[chosen], y[chosen])
                took = {"CPU s": time.process_time() - begun[0], "seconds": time.perf_counter() - begun[1]}
                found, scores = figures(model, train[chosen], y[chosen], test[known], y_test[known], sets)
                np.savez_compressed(Path(args.out) / f"natural-{args.size}-{name}-{seed}-{fold}-{steps}.npz", **scores)
                records.add(key | took | found)
                print(records.rows[-1], flush=True)
    print(table(records, args, steps))


def figures(model, X, y, inliers, labels, sets):
    """Accuracy, and AUROC of each set by each score; and the scores themselves."""
    scores = scorer(model, X, y)
    inside = scores(inliers)
    kept = {f"known|{k}": v for k, v in inside.items()}
    line = {"accuracy": float((model.predict(inliers) == labels).mean())}
    for name, rows in sets.items():
        if len(rows):
            truth = np.r_[np.ones(len(inliers)), np.zeros(len(rows))]
            found = scores(rows)
            kept |= {f"{name}|{k}": v for k, v in found.items()}
            line[name] = {k: round(float(roc_auc_score(truth, np.r_[inside[k], found[k]])), 4) for k in inside}
    return line, kept


def scorer(model, X, y):
    """A function from rows to scores by name; higher is more normal."""
    _, features = model._outputs(X)
    reference = unit(features).astype(np.float32)
    classes, at = np.unique(y, return_inverse=True)
    means = np.stack([features[at == k].mean(axis=0) for k in range(len(classes))])
    precision = LedoitWolf(assume_centered=True).fit(features - means[at]).precision_

    def scores(rows):
        logits, features = model._outputs(rows)
        found = scores_of_logits(logits)
        squared, _ = nearest_rows(reference, unit(features), 5)
        steps = features[:, None] - means
        found["kNN"] = -squared[:, -1]
        found["Mahalanobis"] = -np.einsum("ncd,de,nce->nc", steps, precision, steps).min(axis=1)
        found["feature norm"] = np.linalg.norm(features, axis=1)
        found["KL to uniform"] = -log_softmax(logits, axis=1).mean(axis=1)
        if "auxiliary_head_" in vars(model):
            found["upright"] = -model._rotated_log_odds(features)
        if "joined_" in vars(model):
            found[OWN] = -model._scored(np.asarray(rows)).against
        return found

    return scores


def table(records, args, steps):
    """Means and spread over seeds, a line a row and fold."""
    lines = []
    for fold in args.folds:
        for name in args.rows:
            mine = [r for r in records.rows if (r["row"], r["fold"], r["steps"]) == (name, fold, steps)]
            mine = [r for r in mine if r["seed"] in args.seeds]
            for part in ("held out", "textures"):
                with_part = [r for r in mine if part in r]
                if not with_part:
                    continue
                scores = {k: mean_sd([r[part][k] for r in with_part], 4) for k in with_part[0][part]}
                cells = [scores.get(k, "") for k in ("MSP", "energy", "kNN", "Mahalanobis", "feature norm", OWN)]
                held = "all classes" if fold < 0 else f"without {FOLDS[fold]}"
                accuracy, cpu = (mean_sd([r[k] for r in mine], d) for k, d in (("accuracy", 4), ("CPU s", 0)))
                lines.append([name, held, part, accuracy, *cells, cpu])
    head = ["row", "classes", "unseen", "accuracy", "MSP", "energy", "kNN", "Mahalanobis", "feature norm", OWN, "CPU s"]
    return markdown(head, lines)


def add_arguments(parser):
    parser.add_argument("--data-root", default=os.environ.get("FAROUT_DATA"), help="the folder that holds cifar10/")
    parser.add_argument("--size", default="cpu", choices=list(SIZES))
    parser.add_argument("--rows", nargs="+", default=["plain", "rotpred", "salient", "ours"], choices=NAMES)
    parser.add_argument("--folds", type=int, nargs="+", default=[0], help=f"which of {FOLDS} is held out; -1: none is")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, help="gradient steps of a classifier; by size when omitted")
    parser.add_argument("--flow-steps", type=int, default=300)
    parser.add_argument("--textures", action="store_true", help="look at the unseen textures too: not for choosing")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--out", default="runs/outlier_quality")
