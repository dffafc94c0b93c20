"""The final table class by class: which letters are hard, and what is left without those that look like digits.

A class is a look-alike if plain classifiers of all seeds are, on average, more than 90 % sure of half of its images or
more: no reader of ours chose them, and no row but "plain" has a say.
"""

from pathlib import Path

import numpy as np

SURE, HALF = 0.9, 0.5


def look_alikes(sure, labels):
    """Classes of which at least half of the images have a mean largest probability of plain classifiers above 0.9."""
    return [c for c in np.unique(labels) if (sure[labels == c] > SURE).mean() >= HALF]


def by_class(models, plain, unseen, value, auroc):
    """Lines of text: for each set, all of it, without look-alikes, and the hardest classes.

    Parameters
    ----------
    models : list of dict
        Files of one row, a seed each.
    plain : list of dict
        Files of the row "plain".
    unseen : dict of str to Dataset
    value : callable
        ``(file, set, score) -> scores``, given the score already.
    auroc : callable
    """
    lines = ["| set | all | without look-alikes | look-alikes | hardest classes |", "|---|---:|---:|---|---|"]
    for name, data in unseen.items():
        labels = np.asarray(data.y)
        alike = look_alikes(np.mean([value(m, name, "MSP") for m in plain], axis=0), labels)
        rest = ~np.isin(labels, alike)

        def mean(rows, name=name):
            return float(np.mean([auroc(value(m, "in"), value(m, name)[rows]) for m in models]))

        each = sorted((mean(labels == c), str(c)) for c in np.unique(labels))
        hardest = ", ".join(f"{c} {a:.2f}" for a, c in each[:6])
        without = f"{mean(rest):.4f}" if rest.any() else "–"
        found = ", ".join(map(str, alike)) or "none"
        lines.append(f"| {name} | {mean(np.ones(len(labels), bool)):.4f} | {without} | {found} | {hardest} |")
    return "\n".join(lines)


def files(folder: Path, kind, row, steps, outliers, seeds):
    """What each model of a row left."""
    return [dict(np.load(folder / f"{kind}-{row}-{steps}-{outliers}-seed{seed}.npz")) for seed in seeds]
