"""Points in a plane: samples of tables, and the map of latent space."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from farout.errors import InvalidDataError
from farout.plots.display import Display
from farout.plots.style import ink, legend, line_style, marker, new_axes, plain, scale_colours

__all__ = ["class_looks", "latent_map", "scatter"]

Floats = NDArray[np.floating[Any]]

_POINTS = 400  # of each set in a scatter plot; more would overlap
_MAPPED = 1000  # inliers of a latent map
_OTHERS = 150  # rows of each other set there
_HOLLOW = "o^sDv"
_CLASSES = 12  # more than these can't be told apart
_WIDE = 200  # latent dimensions, above which the plane of classes is sought among so many principal components
_CLIPPED = 0.002  # of each end of a column, which must not decide on the plane
_REACH = 1.5  # how many times the range of the first set a picture may show beyond it, at each end
_FAR_REACH = 6.0  # to show half of a set that lies farther


def scatter(
    groups: Mapping[str, ArrayLike],
    *,
    data: ArrayLike | None = None,
    ordered: bool = False,
    columns: Sequence[str] = (),
    ax: Axes | None = None,
) -> Display:
    """Draw samples of a table in a plane: the columns themselves in 2-d, else principal components of the data.

    The axes show the data and what lies around them: where some points of a group would need far wider axes, the
    legend says how many lie outside.

    Parameters
    ----------
    groups : mapping of str to array, shape (m, d)
        Named samples; at most 400 of each are drawn.
    data : array, shape (n, d), optional
        Real inliers; the components are those of their standardised columns.
    ordered : bool
        Whether the groups are ordered, such as by strength; they then get a colour scale.
    columns : sequence of str
        Names of the columns, for data of one or two.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for "data" and for each group.

    Raises
    ------
    InvalidDataError
        If there are no samples, or sets differ in their number of columns.

    Examples
    --------
    >>> import farout as fo
    >>> rng = np.random.default_rng(0)
    >>> fo.plots.scatter({"moved": rng.normal(3, 1, (50, 4))}, data=rng.normal(size=(200, 4)))
    Display of 'data', 'moved'
    """
    shown = ({} if data is None else {"data": np.asarray(data)}) | {name: np.asarray(X) for name, X in groups.items()}
    _check_sets(shown, "scatter")
    axes = new_axes(5.2, 4.2) if ax is None else ax
    project, labels = _plane(next(iter(shown.values())), columns)
    points = {name: project(X[_some(len(X), _POINTS)]) for name, X in shown.items()}
    artists = {}
    for index, (name, drawn) in enumerate(points.items(), start=0 if data is None else -1):
        look = _point_look(index, len(groups), ordered)
        artists[name] = axes.scatter(drawn[:, 0], drawn[:, 1], s=13, linewidths=0, **look)
    outside = _frame(axes, list(points.values()))
    _label(axes, labels)
    texts = [_named(name, share) for name, share in zip(points, outside, strict=True)]
    legend(axes, list(artists.values()), texts, above=ax is None)
    return Display(axes.figure, axes, artists)


def latent_map(
    sets: Mapping[str, ArrayLike],
    y: ArrayLike | None = None,
    *,
    flow: Any = None,
    ax: Axes | None = None,
) -> Display:
    """Draw the map of latent space: inliers by class, and where other sets lie among them.

    The plane is the one that separates the classes of the inliers best (LDA; Fisher, 1936), that of their largest
    variance (PCA) where there are fewer than three classes, and latents of two dimensions are drawn as they are.

    Parameters
    ----------
    sets : mapping of str to array, shape (n, d)
        Latents, the inliers first; rows of data, if a flow is given. At most 1 000 inliers and 150 of each other set
        are drawn.
    y : array, shape (n,), optional
        Classes of the inliers; of at most twelve each has its own colour and marker.
    flow : FlowDensity, optional
        A fitted one, which encodes the sets without regard to class.
    ax : Axes, optional
        Of a new figure when omitted.

    Returns
    -------
    Display
        With an artist for each class of the inliers, or one for all, and for each other set.

    Raises
    ------
    InvalidDataError
        If there are no latents, sets differ in their number of dimensions, or ``y`` has another length.

    Examples
    --------
    >>> import farout as fo
    >>> Z = np.random.default_rng(0).normal(size=(60, 5))
    >>> fo.plots.latent_map({"inliers": Z, "far": 4 * Z[:20]}, np.arange(60) % 3)
    Display of '0', '1', '2', 'far'
    """
    latents = {name: np.asarray(X if flow is None else flow.encode(X), dtype=float) for name, X in sets.items()}
    _check_sets(latents, "latent_map")
    (name, Z), *others = latents.items()
    labels = None if y is None else np.asarray(y)
    if labels is not None and len(labels) != len(Z):
        raise InvalidDataError(f"latent_map: y must give one class for each of {len(Z)} inliers; found {len(labels)}")
    project, titles = _class_plane(Z, labels)
    axes = new_axes(5.6, 4.6) if ax is None else ax
    rows = _some(len(Z), _MAPPED)
    points, artists = [project(Z[rows])], {}
    looks = class_looks(None if labels is None else labels[rows])
    for key, mine, look in looks or [(name, np.full(len(rows), True), {"color": ink(), "alpha": 0.55})]:
        drawn = points[0][mine]
        artists[key] = axes.scatter(drawn[:, 0], drawn[:, 1], s=16, linewidths=0, **look)
    for index, (other, X) in enumerate(others):
        drawn = project(X[_some(len(X), _OTHERS)])
        points.append(drawn)
        look = {"facecolors": "none", "edgecolors": ink(), "linewidths": 0.6, "marker": _HOLLOW[index % len(_HOLLOW)]}
        artists[other] = axes.scatter(drawn[:, 0], drawn[:, 1], s=16, zorder=0.9, **look)  # below the inliers
    outside = _frame(axes, points)
    _label(axes, titles)
    texts = [plain(key, 18) for key in list(artists)[: len(artists) - len(others)]]
    texts += [_named(other, share) for (other, _), share in zip(others, outside[1:], strict=True)]
    legend(axes, list(artists.values()), texts, above=ax is None)
    return Display(axes.figure, axes, artists)


def class_looks(labels: NDArray[Any] | None) -> list[tuple[str, NDArray[np.bool_], dict[str, Any]]]:
    """Name, rows and look of each class; empty without classes, and where there are too many to tell apart.

    Examples
    --------
    >>> [(name, rows.tolist()) for name, rows, _ in class_looks(np.array([4, 7, 4]))]
    [('4', [True, False, True]), ('7', [False, True, False])]
    """
    classes = [] if labels is None else np.unique(labels).tolist()
    if len(classes) > _CLASSES:
        return []
    return [
        (str(c), np.asarray(labels == c), {"color": line_style(k)["color"], "marker": marker(k), "alpha": 0.9})
        for k, c in enumerate(classes)
    ]


def _check_sets(sets: Mapping[str, Floats], where: str) -> None:
    shapes = {name: X.shape for name, X in sets.items()}
    if not shapes or any(len(s) != 2 or not s[0] or not s[1] for s in shapes.values()):
        raise InvalidDataError(f"{where}: each set must have shape (n, d), n >= 1, d >= 1; found {shapes}")
    if len({s[1] for s in shapes.values()}) > 1:
        raise InvalidDataError(f"{where}: all sets must have as many columns; found {shapes}")
    for name, X in sets.items():
        if not np.isfinite(X).all():
            raise InvalidDataError(f"{where}: {name!r} has rows that are not finite; leave them out")


def _some(n: int, most: int) -> NDArray[Any]:
    return np.unique(np.linspace(0, n - 1, most).astype(int))


def _plane(base: Floats, columns: Sequence[str]) -> tuple[Any, tuple[str, str]]:
    """A map to the plane of some data, and the names of its axes."""
    if base.shape[1] == 1:
        return lambda X: np.column_stack([X, np.zeros(len(X))]), (columns[0] if len(columns) else "value", "")
    if base.shape[1] == 2:
        named = columns if len(columns) == 2 else ("column 1", "column 2")
        return lambda X: X, (named[0], named[1])
    return _components(base, "of variance")


def _components(base: Floats, unit: str) -> tuple[Any, tuple[str, str]]:
    standardise, components = cast(Any, StandardScaler), cast(Any, PCA)  # both are untyped
    middle = np.clip(base, *np.quantile(base, [_CLIPPED, 1 - _CLIPPED], axis=0))  # one far cell must not rule
    scaler = standardise().fit(middle)
    pca = components(n_components=2, random_state=0).fit(scaler.transform(middle))
    titles = [
        f"principal component {k + 1} ({100 * share:.0f} % {unit})"
        for k, share in enumerate(pca.explained_variance_ratio_)
    ]
    return lambda X: pca.transform(scaler.transform(X)), (titles[0], titles[1])


def _class_plane(Z: Floats, labels: NDArray[Any] | None) -> tuple[Any, tuple[str, str]]:
    """The plane of a latent map."""
    if Z.shape[1] == 1:
        return lambda X: np.column_stack([X, np.zeros(len(X))]), ("z (standard deviations)", "")
    if Z.shape[1] == 2:
        return lambda X: X, ("z₁ (standard deviations)", "z₂ (standard deviations)")
    if labels is None or len(np.unique(labels)) < 3:
        return _components(Z, "of latent variance")
    before: Any = None
    if Z.shape[1] > _WIDE and len(Z) > _WIDE:
        before = cast(Any, PCA)(n_components=_WIDE, random_state=0).fit(Z)
    lda: Any = cast(Any, LinearDiscriminantAnalysis)(solver="eigen", shrinkage="auto", n_components=2)
    lda.fit(Z if before is None else before.transform(Z), labels)
    titles = ("first direction between classes (σ within classes)", "second direction between classes")
    return lambda X: lda.transform(X if before is None else before.transform(X)), titles


def _frame(axes: Axes, sets: Sequence[Floats]) -> list[float]:
    """Set the limits of both axes; returns the share of each set that lies outside.

    They hold the first set but for its own far tails, and the others as far as these lie near, or half of them.
    """
    low, high = np.quantile(sets[0], [0.005, 0.995], axis=0)
    room = np.where(high > low, high - low, np.maximum(1.0, np.abs(low)))
    halves = np.stack([np.quantile(points, [0.25, 0.75], axis=0) for points in sets])
    least = np.minimum(low - _REACH * room, np.maximum(low - _FAR_REACH * room, halves[:, 0].min(axis=0)))
    most = np.maximum(high + _REACH * room, np.minimum(high + _FAR_REACH * room, halves[:, 1].max(axis=0)))
    inside = [((points >= least) & (points <= most)).all(axis=1) for points in sets]
    near = np.concatenate([points[rows] for points, rows in zip(sets, inside, strict=True)])
    ends = np.stack([near.min(axis=0), near.max(axis=0)])
    margin = 0.05 * np.where(ends[1] > ends[0], ends[1] - ends[0], room)
    (left, bottom), (right, top) = (ends + np.stack([-margin, margin])).tolist()
    axes.set(xlim=(left, right), ylim=(bottom, top))
    for ticks in (axes.xaxis, axes.yaxis):
        ticks.set_major_locator(MaxNLocator(6))
    return [1 - float(rows.mean()) for rows in inside]


def _named(name: str, outside: float) -> str:
    """A name for the legend, with the share of points that no axis shows."""
    if not outside:
        return plain(name)
    return f"{plain(name, 22)} ({'less than 1' if outside < 0.01 else f'{100 * outside:.0f}'} % outside)"


def _label(axes: Axes, titles: tuple[str, str]) -> None:
    axes.set_xlabel(plain(titles[0], 60))
    axes.set_ylabel(plain(titles[1], 60))


def _point_look(index: int, n: int, ordered: bool) -> dict[str, Any]:
    """Style of a set: ink for the data (-1), else a marker and a colour of the cycle or of the scale."""
    if index < 0:
        return {"color": ink(), "alpha": 0.55, "marker": "o"}
    colour = scale_colours(n)[index] if ordered else line_style(index)["color"]
    return {"marker": marker(index), "alpha": 0.9, "color": colour}
