"""Detectors on ADBench's tables and ResNet features (Han et al., 2022).

Train on 70 % of the normal rows, standardised; test on the other 30 % and all anomalies; at most 10 000 rows a set.
The anomalies are for this table alone: nothing of farout was chosen by them (docs/results/part-4.md).
"""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from quality.peers import detectors
from quality.records import Records, markdown, mean_sd

FOLDERS = {"tables": "tabular", "features": "embeddings"}
DEFAULT = ["FlowDetector", "kNN", "LOF", "IForest", "OCSVM", "PCA", "ECOD", "DTE-NP", "TCCM", "Mahalanobis"]
MOST_ROWS = 10_000


def protocol(path: Path, seed: int):
    """Standardised training rows, test rows, and which of these are anomalies."""
    with np.load(path) as file:
        X, y = file["X"].astype(np.float64), file["y"].astype(int)
    rng = np.random.default_rng(seed)
    if len(X) > MOST_ROWS:
        kept = rng.permutation(len(X))[:MOST_ROWS]
        X, y = X[kept], y[kept]
    normal = rng.permutation(np.flatnonzero(y == 0))
    cut = int(0.7 * len(normal))
    scaler = StandardScaler().fit(X[normal[:cut]])
    test = np.r_[normal[cut:], np.flatnonzero(y == 1)]
    return scaler.transform(X[normal[:cut]]), scaler.transform(X[test]), y[test]


def measure(path: Path, name: str, seed: int) -> dict:
    """AUROC, seconds of fit and score, and the memory that they added, in MiB."""
    train, test, y = protocol(path, seed)
    before = reset_peak()
    start, cpu = time.perf_counter(), time.process_time()
    scores = detectors()[name](train, test, seed)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    mib = peak() - before
    return {"auroc": float(roc_auc_score(y, scores)), "seconds": seconds, "cpu": cpu, "mib": mib, "n": len(train)}


def peak() -> float:
    """Most memory held since ``reset_peak``, in MiB; NaN where the system doesn't tell (it is Linux that does)."""
    status = Path("/proc/self/status")
    if not status.exists():
        return float("nan")
    lines = dict(line.split(":", 1) for line in status.read_text(encoding="utf-8").splitlines())
    return float(lines["VmHWM"].split()[0]) / 1024


def reset_peak() -> float:
    """Forget the former peak; the memory held now, in MiB."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return peak()


def run(root: Path, out: Path, seeds: Sequence[int], sets: Sequence[str], names: Sequence[str]) -> None:
    """Measure what isn't measured yet, and print the tables."""
    records = Records(out, ("set", "detector", "seed"))
    paths = [(kind, p) for kind, folder in FOLDERS.items() for p in sorted((root / "adbench" / folder).glob("*.npz"))]
    paths = [(kind, p) for kind, p in paths if not sets or p.stem in sets]
    import lightning_fabric  # noqa: F401  (so that the first set doesn't count its seconds)

    for seed in seeds:
        for kind, path in paths:
            for name in names:
                if not records.has(set=path.stem, detector=name, seed=seed):
                    row = measure(path, name, seed)
                    records.add({"kind": kind, "set": path.stem, "detector": name, "seed": seed, **row})
    print(report(records, names))


def report(records: Records, names: Sequence[str]) -> str:
    """One table of AUROC for each kind of data, and one of cost."""
    parts = []
    for kind in FOLDERS:
        rows = [r for r in records.rows if r["kind"] == kind and r["detector"] in names]
        if rows:
            parts += [f"AUROC, {kind}:", _aurocs(rows, names)]
    parts += ["Cost:", _costs(records.rows, names)]
    return "\n\n".join(parts)


def _aurocs(rows: list[dict], names: Sequence[str]) -> str:
    sets = sorted({r["set"] for r in rows})
    lines = [
        [s, *(mean_sd(r["auroc"] for r in rows if r["set"] == s and r["detector"] == name) for name in names)]
        for s in sets
    ]
    seeds = sorted({r["seed"] for r in rows})
    overall = [
        mean_sd(
            float(np.mean(values))
            for seed in seeds
            if (values := [r["auroc"] for r in rows if r["seed"] == seed and r["detector"] == name])
        )
        for name in names
    ]
    return markdown(["set", *names], [*lines, ["**mean**", *overall]])


def _costs(rows: list[dict], names: Sequence[str]) -> str:
    lines = []
    for name in names:
        mine = [r for r in rows if r["detector"] == name]
        if mine:
            seconds, memory = [r["cpu"] for r in mine], [r["mib"] for r in mine]
            lines.append([name, *(f"{v:.1f}" for v in (np.mean(seconds), max(seconds))), f"{max(memory):.0f}"])
    return markdown(["detector", "CPU s, mean", "CPU s, most", "memory added, most, MiB"], lines)
