"""Recommended: the sources that models learn from where no other is given."""

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from farout.base.blocks import blocks_of
from farout.base.estimator import Nested, is_fitted
from farout.base.progress import stage
from farout.base.validation import check_labels, check_number
from farout.flows.density import FlowDensity
from farout.flows.sharing import fitted_flow
from farout.outliers.collage import Collage
from farout.outliers.exchange import Exchange
from farout.outliers.extremal import NormalShell
from farout.outliers.mixture import Mixture
from farout.outliers.noise import Noise
from farout.outliers.salient import Salient
from farout.outliers.scrambled import Scrambled
from farout.outliers.source import OutlierSource
from farout.outliers.trials import Choice, choose
from farout.outliers.turned import Turned

__all__ = ["Recommended"]

SHARES = {"Salient": 2.0}  # of a source in the mixture, where others have 1
LOOKS_NORMAL = "nearly all of its outliers look like real images"
LEAST = 0.25  # share of candidates that the rule of a source must keep, for it to count
REMEMBERED = 8  # choices that a process remembers
_choices: OrderedDict[str, Choice] = OrderedDict()  # what follows from rows, labels and seed: models share it


class Recommended(Mixture):
    """Outliers from the source that suits the data it is fitted on; the default of models.

    For vectors (rows of tables, embeddings) no source is best everywhere, so trials on the normal rows choose one.
    Classes are held out, or k-means clusters where there are fewer than three classes. Small models are trained with
    each candidate source for a few seconds, and the source that detects the held-out classes best without loss of
    accuracy is taken. The candidates are `Exchange`, `Noise`, both in equal shares, and, if you give a flow,
    ``NormalShell(2.5)`` on it. The same trials choose the weights of network, distance and class ratio in the score; a
    score by which held-out classes look more normal than known ones is left out. With fewer than 60 rows, `Exchange`
    and `Noise` are taken in equal shares.

    For grey images it is a fixed mixture: `Turned`, `Collage` and ``NormalShell(2.5)``, a third each, which was best on
    held-out classes of digits. The first two give outliers near the data, the last far ones. A source whose rule keeps
    less than a quarter of its candidates is left out, unless it is the only one; this happens for textures, maps or
    cells, which look normal when rotated. ``left_out_`` lists these.

    For colour images it is two thirds `Salient` (near the data) and one third `Scrambled` (far), which need no flow.
    Models also learn to predict rotations (``rotations`` of `CautiousClassifier`).

    For these comparisons see ``docs/results/part-4.md``, ``part-6.md`` and ``natural.md``.

    Parameters
    ----------
    flow : FlowDensity, optional
        Used as it is when fitted. For images a default flow is fitted when omitted, for vectors none.
    event_shape : tuple of int, optional
        (channels, height, width) of images, for the default flow.
    budget : float, default=20.0
        Seconds that all trials together may take on one core; above 0. They are counted in gradient steps of a nominal
        duration, not by a clock, so that the choice is the same on every machine. No effect for images.
    random_state : int, Generator or None, default=None
        Seed of the folds, the trials, the default flow and the choice of rows to keep.

    Attributes
    ----------
    sources_ : list of OutlierSource
        Fitted.
    weights_ : ndarray of shape (n_sources,)
        Shares of the sources.
    comparison_ : list of dict
        For vectors, the results of each candidate: ``source``, ``auroc`` (by the joined score), ``network`` (AUROC of
        the network's score alone), ``accuracy`` (None without labels), ``keeps_accuracy`` (whether it may be chosen)
        and ``chosen``: the first candidate that keeps accuracy and whose AUROC is within .003 of the highest of these.
        ``source="none"`` is training without outliers. Empty where there were too few rows.
    left_out_ : list of dict
        For images, the sources that were left out: ``source``, ``kept_share`` and ``why``.
    score_weights_ : dict of str to float
        For vectors: weights of "network", "distance" and "ratio" (with labels) in the joined score of the models that
        are trained with this source.
    classes_ : ndarray of shape (n_classes,)
        Only where there are labels.

    Examples
    --------
    >>> from sklearn.datasets import make_blobs
    >>> import farout as fo
    >>> X, y = make_blobs(300, n_features=4, centers=5, random_state=0)
    >>> source = fo.Recommended(budget=2.0, random_state=0).fit(X, y)
    >>> source.sample(5, random_state=0).x.shape, sum(row["chosen"] for row in source.comparison_)
    ((5, 4), 1)
    >>> [type(part).__name__ for part in fo.Recommended(event_shape=(1, 28, 28)).recipe()]
    ['Turned', 'Collage', 'NormalShell']
    """

    _nested = (Nested("flow", "sources_", shared=True),)

    comparison_: list[dict[str, Any]]
    left_out_: list[dict[str, Any]]
    score_weights_: dict[str, float]

    def __init__(
        self,
        flow: FlowDensity | None = None,
        event_shape: tuple[int, ...] | None = None,
        budget: float = 20.0,
        random_state: Any = None,
    ) -> None:
        self.flow = flow
        self.event_shape = event_shape
        self.budget = budget
        self.random_state = random_state

    def _check_settings(self) -> None:
        check_number(self.budget, "budget", type(self).__name__, low=0, low_open=True)
        OutlierSource._check_settings(self)  # unlike a Mixture, it has no parameters sources and weights

    def _fit(self, X: ArrayLike, y: ArrayLike | None) -> None:
        """Choose for vectors; fit all sources on the same normal data; leave out those whose rule keeps hardly any."""
        rows = self._check_rows(X, self._asked_shape(self.flow))
        parts = self.recipe() if self._is_image() else self._chosen(rows, y)
        self._mix(parts, [1.0] * len(parts), self._named(rows), y)
        shares = [vars(part).get("kept_share_", 1.0) for part in self.sources_]
        kept = [part for part, share in zip(self.sources_, shares, strict=True) if share >= LEAST]
        self.left_out_ = [
            {"source": type(part).__name__, "kept_share": share, "why": LOOKS_NORMAL}
            for part, share in zip(self.sources_, shares, strict=True)
            if kept and share < LEAST
        ]
        self.sources_ = kept or self.sources_
        weights = np.array([SHARES.get(type(part).__name__, 1.0) for part in self.sources_])
        self.weights_ = weights / weights.sum()

    def _is_image(self) -> bool:
        shape = self._asked_shape(self.flow)
        return shape is not None and len(shape) == 3

    def recipe(self) -> list[OutlierSource]:
        """The unfitted sources to mix: for images; for vectors, where rows are too few to choose."""
        shape = self._asked_shape(self.flow)
        if shape is not None and len(shape) == 3 and shape[0] >= 3:
            return [Salient(flow=self.flow), Scrambled(flow=self.flow)]
        if self._is_image():
            return [Turned(flow=self.flow), Collage(flow=self.flow), NormalShell(2.5, flow=self.flow)]
        return [Exchange(), Noise(2.5)]

    def _chosen(self, X: NDArray[Any], y: ArrayLike | None) -> list[OutlierSource]:
        """The unfitted sources that trials choose for these rows."""
        candidates: dict[str, list[OutlierSource]] = {
            "exchange": [Exchange()],
            "noise": [Noise(2.5)],
            "exchange and noise": self.recipe(),
        }
        flow = self.flow
        if flow is not None:
            flow = flow if is_fitted(flow) else fitted_flow(self, flow, X, y)
            candidates["normal"] = [NormalShell(2.5, flow=flow)]
        labels = None if y is None else np.unique(check_labels(y, len(X), type(self).__name__), return_inverse=True)[1]
        tried = {name: parts[0] if len(parts) == 1 else Mixture(parts) for name, parts in candidates.items()}
        with stage("choosing outliers", show=self._handing().verbose):
            fresh = {name: partial(part._taking, self._handing()) for name, part in tried.items()}
            choice = self._choice(fresh, X, labels)
        self.comparison_ = [
            vars(trial) | {"keeps_accuracy": trial.source in choice.able, "chosen": trial.source == choice.source}
            for trial in choice.trials
        ]
        self.score_weights_ = dict(choice.weights)
        return candidates[choice.source]

    def _choice(
        self, candidates: Mapping[str, Callable[[], OutlierSource]], X: NDArray[Any], labels: NDArray[np.int64] | None
    ) -> Choice:
        """What trials choose; the process remembers it for the next who asks the same, unless a flow has a say."""
        digest = hashlib.blake2b(repr((X.shape, X.dtype.str, self.seed_, float(self.budget))).encode())
        for rows in blocks_of(len(X)):
            digest.update(np.ascontiguousarray(X[rows]).data)
        digest.update(b"" if labels is None else labels.tobytes())
        key = digest.hexdigest()
        if self.flow is None and key in _choices:
            _choices.move_to_end(key)
            return _choices[key]
        choice = choose(
            candidates,
            self._named(X),
            labels,
            seed=self.seed_,
            budget=float(self.budget),
            fallback="exchange and noise",
        )
        if self.flow is None:
            _choices[key] = choice
            while len(_choices) > REMEMBERED:
                _choices.popitem(last=False)
        return choice
