"""A forest that tells training rows from rows made of their columns, stored as arrays."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.ensemble import ExtraTreesClassifier

__all__ = ["contrast_forest", "contrasts", "forest_log_odds"]

# docs/results/part-6.md says what decided.
TREES = 100
ROWS = 3000  # training rows that trees grow on, at most
CONTRASTS = 3  # rows of either kind for each training row
LEAF = 3  # least rows of a leaf
MARGIN = 0.1  # how far the box extends past the data, in ranges of a column
CHUNK = 4096  # rows that go down the trees at a time, so that memory doesn't grow with their number


def contrasts(rows: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Rows unlike training rows: ``n`` of exchanged columns, then ``n`` uniform in a box.

    The first take each column from one of two training rows, by chance (Shi & Horvath, 2006, permute each column over
    all rows): every column keeps its law, but not how columns go together. The others have each column uniform over
    its range and a tenth of that beyond, whatever its law.

    Parameters
    ----------
    rows : ndarray of shape (m, d)
        Training rows, 2 or more.
    n : int
    rng : Generator

    Returns
    -------
    ndarray of shape (2 n, d)

    Examples
    --------
    >>> X = np.array([[0.0, 0.0], [1.0, 1.0]])
    >>> exchanged = contrasts(X, 50, np.random.default_rng(0))[:50]
    >>> np.unique(exchanged, axis=0).tolist()
    [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]
    """
    m, d = rows.shape
    one = rng.integers(m, size=n)
    other = (one + rng.integers(1, m, size=n)) % m
    exchanged = np.where(rng.random((n, d)) < 0.5, rows[one], rows[other])
    low, high = rows.min(axis=0), rows.max(axis=0)
    beyond = MARGIN * (high - low)
    return np.vstack([exchanged, rng.uniform(low - beyond, high + beyond, (n, d))])


def contrast_forest(rows: NDArray[np.float64], seed: int) -> dict[str, NDArray[np.generic]]:
    """Fit extremely randomized trees (Geurts et al., 2006) that tell rows from their `contrasts`.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Training rows, in float32's precision; the first 3 000 count.
    seed : int

    Returns
    -------
    dict of str to ndarray
        The nodes of all trees: "feature" and "threshold" of a split, "left" and "right" (a leaf's are itself),
        "outlying" (share of contrasts in a node, both kinds of rows weighing alike), and "roots".

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(300, 1)).repeat(2, axis=1)  # two columns that are always equal
    >>> alike, unlike = forest_log_odds(contrast_forest(X, 0), np.array([[1.0, 1.0], [1.0, -1.0]]))
    >>> bool(unlike > alike + 2)
    True
    """
    rng = np.random.default_rng(seed)
    rows = rows[:ROWS]
    made = contrasts(rows, CONTRASTS * len(rows), rng)
    truth = np.r_[np.zeros(len(rows)), np.ones(len(made))]
    model = ExtraTreesClassifier(TREES, min_samples_leaf=LEAF, class_weight="balanced", random_state=seed % 2**32)
    trees = [tree.tree_ for tree in model.fit(np.vstack([rows, made]), truth).estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    itself = np.arange(sum(tree.node_count for tree in trees))
    shift = np.repeat(roots, [tree.node_count for tree in trees])
    left, right = (np.concatenate([getattr(t, f"children_{side}") for t in trees]) for side in ("left", "right"))
    shares = np.concatenate([tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1) for tree in trees])
    return {
        "feature": np.concatenate([tree.feature for tree in trees]).clip(0).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "left": np.where(left < 0, itself, left + shift).astype(np.int32),
        "right": np.where(right < 0, itself, right + shift).astype(np.int32),
        "outlying": shares,
        "roots": roots.astype(np.int32),
    }


def forest_log_odds(forest: Mapping[str, NDArray[np.generic]], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of rows to be contrasts, of shape (n,), bounded by log(2 trees - 1) about; high is outlying.

    Parameters
    ----------
    forest : mapping of str to ndarray
        Of `contrast_forest`.
    rows : ndarray of shape (n, d)
    """
    most = np.finfo(np.float32).max
    chunks = (rows[i : i + CHUNK].clip(-most, most).astype(np.float32) for i in range(0, len(rows), CHUNK))
    parts = [_shares(forest, chunk) for chunk in chunks]
    least = 0.5 / len(forest["roots"])
    result: NDArray[np.float64] = logit(np.concatenate(parts).clip(least, 1 - least))
    return result


def _shares(forest: Mapping[str, NDArray[np.generic]], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean share of contrasts in the leaves that rows end in."""
    feature, threshold, left, right = (forest[name] for name in ("feature", "threshold", "left", "right"))
    trees = len(forest["roots"])
    node = np.tile(forest["roots"], len(rows))
    going = np.arange(len(node))  # what hasn't come to a leaf: row i in tree j is i * trees + j
    while len(going):
        at = node[going]
        below = rows[going // trees, feature[at]] <= threshold[at]
        following = np.where(below, left[at], right[at])
        node[going] = following
        going = going[following != left[following]]
    result: NDArray[np.float64] = forest["outlying"][node].astype(np.float64).reshape(-1, trees).mean(axis=1)
    return result
