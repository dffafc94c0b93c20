"""Analyses of latent space: radii, the chi distribution, ways outward, LDA planes and distances between clusters."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import chi
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from farout.base.validation import seed_of
from farout.errors import InvalidDataError
from farout.flows.density import FlowDensity
from farout.outliers.radii import check_dimensions, chi_mean_std

__all__ = ["along_strength", "chi_mean_std", "chi_pdf", "cluster_distances", "lda_projection", "radii"]

Floats = NDArray[np.float64]


def radii(Z: ArrayLike) -> Floats:
    """Compute the norm of each latent; for standard normal latents it is chi distributed, ``d`` degrees of freedom.

    Parameters
    ----------
    Z : array-like, shape (n, d)
        Latents.

    Returns
    -------
    ndarray, shape (n,)
        Norms, 0 or more, in standard deviations of the latent normal.

    Raises
    ------
    InvalidDataError
        If ``Z`` is not 2-d, is empty or is not finite.

    Examples
    --------
    >>> radii([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [5.0, 0.0]
    """
    norms: Floats = np.linalg.norm(_as_latents(Z, "Z"), axis=1)
    return norms


def chi_pdf(r: ArrayLike, d: int) -> Floats:
    """Density of the norm of a standard normal in ``d`` dimensions.

    Parameters
    ----------
    r : array-like
        Radii, in standard deviations.
    d : int
        Number of dimensions, 1 or more.

    Returns
    -------
    ndarray, the shape of ``r``
        Density per unit of radius; 0 at negative radii.

    Raises
    ------
    InvalidSettingError
        If ``d`` is less than 1.

    Examples
    --------
    >>> chi_pdf([0.0, 1.0], d=2).round(4).tolist()
    [0.0, 0.6065]
    """
    return np.asarray(chi.pdf(np.asarray(r, dtype=np.float64), check_dimensions(d)))


def along_strength(
    flow: FlowDensity, strengths: Sequence[float], n: int, y: ArrayLike | None = None, *, random_state: Any = None
) -> list[tuple[float, NDArray[Any]]]:
    """Decode ways outward: ``n`` random directions of latent space, each at every strength.

    Parameters
    ----------
    flow : FlowDensity
        Fitted.
    strengths : sequence of float
        In sigma: multiples of the typical radius.
    n : int
    y : label or array of shape (n,), optional
        The class that each direction is decoded under; drawn by their share in training when omitted.
    random_state : int, Generator or None, default=None

    Returns
    -------
    list of (float, ndarray of shape (n, d))
        Each strength with its samples, clipped to the range of the data where they have one.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(100, 3))
    >>> flow = FlowDensity(max_steps=20, random_state=0).fit(X)
    >>> [(p, x.shape) for p, x in along_strength(flow, [1.0, 2.5], 4, random_state=0)]
    [(1.0, (4, 3)), (2.5, (4, 3))]
    """
    rng = np.random.default_rng(seed_of(random_state))
    labels = flow.draw_labels(n, y, rng)
    varies = np.broadcast_to(flow.varies_.ravel(), (int(np.prod(flow.event_shape_)),))
    directions = rng.standard_normal((n, len(varies))) * varies
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    typical = chi_mean_std(int(varies.sum()))[0]
    return [(float(p), flow.decode(p * typical * directions, labels, clip=True)) for p in strengths]


def lda_projection(Z: ArrayLike, y: ArrayLike) -> Floats:
    """Project latents to the plane that separates the classes of ``y`` best (LDA; Fisher, 1936).

    The unit is the standard deviation within classes. The covariance is shrunk (Ledoit and Wolf,
    2004), so classes may have fewer samples than there are dimensions.

    Parameters
    ----------
    Z : array-like, shape (n, d)
        Latents.
    y : array-like, shape (n,)
        Classes, two or more.

    Returns
    -------
    ndarray, shape (n, min(2, d, classes - 1))
        Coordinates; one only for two classes.

    Raises
    ------
    InvalidDataError
        If latents are not 2-d or not finite, if the lengths differ, or if there is one class only.

    Examples
    --------
    >>> Z = [[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0], [0.0, 9.0], [1.0, 9.0]]
    >>> lda_projection(Z, [0, 0, 1, 1, 2, 2]).shape
    (6, 2)
    """
    latents, labels = _as_latents(Z, "Z"), np.asarray(y)
    classes = np.unique(labels)
    if labels.shape != latents.shape[:1] or classes.size < 2:
        raise InvalidDataError(
            f"y must give one class for each of the {len(latents)} rows of Z, and two classes or "
            f"more; found shape {labels.shape} with {classes.size} classes"
        )
    size = min(2, latents.shape[1], classes.size - 1)
    lda: Any = LinearDiscriminantAnalysis
    plane = lda(solver="eigen", shrinkage="auto", n_components=size).fit_transform(latents, labels)
    return np.asarray(plane, dtype=np.float64)


def cluster_distances(
    latents_by_class: Mapping[Hashable, ArrayLike],
    compared: Mapping[Hashable, Mapping[Any, ArrayLike]],
) -> Floats:
    """Distances of the classes of another data set from the cluster of each class (Bungert, 2021).

    For each class, its latents and those of the other data set, encoded *under that class*, are
    projected to the plane that separates them best (LDA). The distance of another class is the mean
    distance of its samples from the centre of the class's cluster, divided by the same mean over
    the class's own samples. The plane's own unit would not do: it is the spread of all clusters, so
    a set with a large spread would look near.

    Parameters
    ----------
    latents_by_class : mapping of class to array-like, shape (n, d)
        Latents of each class's own samples, two or more that differ.
    compared : mapping of class to mapping of name to array-like, shape (m, d)
        For the same classes, latents of each class of the other data set, encoded under that class;
        the same names in the same order for all.

    Returns
    -------
    ndarray, shape (classes, names)
        Distances, 0 or more; 1 is as far as the class's own samples lie from their centre on average.

    Raises
    ------
    InvalidDataError
        If classes or names do not match, if latents are not 2-d or not finite, or if all latents of a class
        are the same.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> near, far = rng.normal(size=(200, 2)), rng.normal(20.0, size=(200, 2))
    >>> distances = cluster_distances({7: near}, {7: {"near": near + 0.1, "far": far}})
    >>> bool(0.8 < distances[0, 0] < 1.2), bool(distances[0, 1] > 15)
    (True, True)
    """
    names = [list(group) for group in compared.values()]
    same = all(row == names[0] for row in names)
    if not names or not names[0] or list(latents_by_class) != list(compared) or not same:
        raise InvalidDataError(
            "latents_by_class and compared must have the same classes, and each class the same "
            f"names, in the same order; found classes {list(latents_by_class)} and "
            f"{list(compared)} with names {names}"
        )
    pairs = zip(latents_by_class.values(), compared.values(), strict=True)
    return np.stack([_distances_from(own, list(others.values())) for own, others in pairs])


def _distances_from(own: ArrayLike, others: list[ArrayLike]) -> Floats:
    groups = [_as_latents(group, "a class's latents") for group in [own, *others]]
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    plane = lda_projection(np.concatenate(groups), labels)
    away = np.linalg.norm(plane - plane[labels == 0].mean(axis=0), axis=1)
    means = np.array([away[labels == k].mean() for k in range(len(groups))])
    if not means[0] > 1e-9 * means.max():
        raise InvalidDataError(
            f"a class's own latents must differ: their spread is the unit of distance; found {len(groups[0])} that are "
            "the same in the plane; give two or more different samples of each class"
        )
    return np.asarray(means[1:] / means[0])


def _as_latents(Z: ArrayLike, where: str) -> Floats:
    latents = np.asarray(Z, dtype=np.float64)
    if latents.ndim != 2 or not latents.size:
        raise InvalidDataError(f"{where} must be one latent a row, shape (n, d), n >= 1; found shape {latents.shape}")
    bad = np.flatnonzero(~np.isfinite(latents).all(axis=1))
    if bad.size:
        raise InvalidDataError(
            f"{where} must be finite; found {bad.size} of {len(latents)} rows that are not, the "
            f"first at index {bad[0]}; find out why the flow gives no number there"
        )
    return latents
