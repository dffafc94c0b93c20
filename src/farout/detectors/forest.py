"""A forest that tells training rows from rows made of their columns, stored as arrays."""

import multiprocessing
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from sklearn.ensemble import ExtraTreesClassifier

from farout.base.blocks import blocks_of, rows_at_once

__all__ = ["contrast_forest", "contrasts", "forest_log_odds"]

# docs/results/part-6.md says what decided.
TREES = 100
ROWS = 3000  # training rows that trees grow on, at most
CONTRASTS = 3  # rows of either kind for each training row
LEAF = 3  # least rows of a leaf
MARGIN = 0.1  # how far the box extends past the data, in ranges of a column
CHUNK = 8192  # rows that go down the trees at a time, so that memory doesn't grow with their number
STEPS = 8  # down a tree, before what has come to a leaf is put aside


def contrasts(rows: NDArray[np.float64], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
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
    float32 ndarray of shape (2 n, d)
        In the precision of the trees.

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
    low, high = rows.min(axis=0), rows.max(axis=0)
    beyond = MARGIN * (high - low)
    made = np.empty((2 * n, d), np.float32)
    for part in blocks_of(n, rows_at_once(d)):
        made[:n][part] = np.where(rng.random((len(one[part]), d)) < 0.5, rows[one[part]], rows[other[part]])
    for part in blocks_of(n, rows_at_once(d)):
        made[n:][part] = rng.uniform(low - beyond, high + beyond, (len(one[part]), d))
    return made


def contrast_forest(rows: NDArray[np.floating], seed: int) -> dict[str, NDArray[np.generic]]:
    """Fit extremely randomized trees (Geurts et al., 2006) that tell rows from their `contrasts`.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Training rows, in float32's precision; the first 3 000 count.
    seed : int

    Returns
    -------
    dict of str to ndarray
        The nodes of all trees: "feature" and "threshold" of a split, "child", the node for what is not above the
        threshold, which the node for what is above comes next to (a leaf's is itself, and nothing is above its
        threshold), "outlying" (share of contrasts in a node, both kinds of rows weighing alike), and "roots".

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(300, 1)).repeat(2, axis=1)  # two columns that are always equal
    >>> alike, unlike = forest_log_odds(contrast_forest(X, 0), np.array([[1.0, 1.0], [1.0, -1.0]]))
    >>> bool(unlike > alike + 2)
    True
    """
    rng = np.random.default_rng(seed)
    known = rows[:ROWS].astype(np.float64)
    both = np.concatenate([rows[:ROWS], contrasts(known, CONTRASTS * len(known), rng)], dtype=np.float32)
    truth = np.arange(len(both)) >= len(known)
    model = ExtraTreesClassifier(TREES, min_samples_leaf=LEAF, class_weight="balanced", random_state=seed % 2**32)
    method: str | None = multiprocessing.get_start_method(allow_none=True)
    try:
        trees = [tree.tree_ for tree in model.fit(both, truth).estimators_]
    finally:
        if method is None:  # joblib has set the default, and others may want to set another one
            multiprocessing.set_start_method(cast(Any, None), force=True)
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    nodes = [_nodes(tree, int(root)) for tree, root in zip(trees, roots, strict=True)]
    return {name: np.concatenate([part[name] for part in nodes]) for name in nodes[0]} | {"roots": roots}


def _nodes(tree: Any, root: int) -> dict[str, NDArray[np.generic]]:
    """The nodes of one of scikit-learn's trees, in an order in which siblings are neighbours."""
    inner = np.flatnonzero(tree.children_left >= 0)
    place = np.zeros(tree.node_count, np.int64)
    for side, children in enumerate((tree.children_left, tree.children_right)):
        place[children[inner]] = 1 + 2 * np.arange(len(inner)) + side
    # Rows are in single precision, and above a threshold if they are above the next number below it.
    below = tree.threshold.astype(np.float32)
    below = np.where(below > tree.threshold, np.nextafter(below, np.float32(-np.inf)), below)
    child, threshold = place.copy(), np.full(tree.node_count, np.inf, np.float32)
    child[inner], threshold[inner] = place[tree.children_left[inner]], below[inner]
    order = np.argsort(place)
    return {
        "feature": tree.feature.clip(0)[order].astype(np.int32),
        "threshold": threshold[order],
        "child": (root + child[order]).astype(np.int32),
        "outlying": (tree.value[:, 0, 1] / tree.value[:, 0].sum(axis=1))[order],
    }


def forest_log_odds(forest: Mapping[str, NDArray[np.generic]], rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-odds of rows to be contrasts, of shape (n,), bounded by log(2 trees - 1) about; high is outlying.

    Parameters
    ----------
    forest : mapping of str to ndarray
        Of `contrast_forest`.
    rows : ndarray of shape (n, d)
    """
    # Places as NumPy takes them, which else it would make of them at every step down.
    forest = {**forest, "feature": forest["feature"].astype(np.intp), "child": forest["child"].astype(np.intp)}
    most = np.finfo(np.float32).max
    chunks = (rows[i : i + CHUNK].clip(-most, most).astype(np.float32) for i in range(0, len(rows), CHUNK))
    parts = [_shares(forest, chunk) for chunk in chunks]
    least = 0.5 / len(forest["roots"])
    result: NDArray[np.float64] = logit(np.concatenate(parts).clip(least, 1 - least))
    return result


def _shares(forest: Mapping[str, NDArray[Any]], rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean share of contrasts in the leaves that rows end in."""
    n, trees = len(rows), len(forest["roots"])
    columns = rows.T.ravel()
    forest = {**forest, "column": forest["feature"] * n}  # where that of a split begins
    shares = np.empty((n, trees))
    at_once = max(1, CHUNK // n)
    for first in range(0, trees, at_once):
        roots = forest["roots"][first : first + at_once]
        leaves = _leaves(forest, columns, n, np.tile(roots, n))
        shares[:, first : first + at_once] = forest["outlying"][leaves].reshape(n, -1)
    result: NDArray[np.float64] = shares.mean(axis=1)
    return result


def _leaves(
    forest: Mapping[str, NDArray[Any]], columns: NDArray[np.float32], n: int, roots: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Where each of ``n`` rows ends, from each root; ``columns`` are those of the rows, one after the other."""
    column, threshold, child = (forest[name] for name in ("column", "threshold", "child"))
    leaves, going, node = np.empty(len(roots), np.int64), np.arange(len(roots)), roots
    row = going // (len(roots) // n)
    while len(going):
        for _ in range(STEPS):
            value = columns.take(column.take(node) + row)
            node = child.take(node) + (value > threshold.take(node))
        ended = child.take(node) == node
        leaves[going[ended]] = node[ended]
        going, node, row = going[~ended], node[~ended], row[~ended]
    return leaves
