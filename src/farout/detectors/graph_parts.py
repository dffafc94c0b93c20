"""What detectors do with scores and neighbours, in torch, as ONNX has operators for it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from farout.base.graphs import Graph, count_below, padded_table
from farout.base.log_odds import FARTHEST
from farout.base.neighbours import Neighbours
from farout.detectors.joined import Joined
from farout.flows.discriminant import Discriminant

__all__ = [
    "DiscriminantGraph",
    "ForestGraph",
    "JoinedGraph",
    "NearestGraph",
    "Verdict",
    "negative_log_odds",
    "unit",
    "with_log_odds",
    "with_votes",
]

TREES = "ai.onnx.ml::TreeEnsembleRegressor"
SPARE = 8  # candidates more than needed, whose distances are computed exactly
TINY = 1e-300


class NearestGraph(Graph):
    """`nearest_rows`: squared distances to the ``k`` nearest rows and their places; equally near ones by place.

    Candidates are found by a matrix product in double precision; their distances are then computed anew, pair by pair.

    Parameters
    ----------
    reference : ndarray of shape (m, d)
    k : int
    """

    reference: Tensor
    centre: Tensor
    squares: Tensor
    members: Tensor

    def __init__(self, reference: NDArray[np.floating], k: int) -> None:
        super().__init__()
        near = Neighbours(reference)
        self.k = min(k, len(reference))
        self.candidates = min(self.k + SPARE, len(near.distinct))
        self.constant("reference", near.distinct, None)
        self.constant("centre", near.centre)
        self.constant("squares", np.square(near.distinct - near.centre).sum(axis=1))
        # Copies of a row are looked up as one; the first k places of each, and -1 where there are fewer.
        copies = [near.copies[a : a + min(n, self.k)] for a, n in zip(near.first, near.count, strict=True)]
        most = max(map(len, copies))
        self.constant("members", [[*places, *[-1] * (most - len(places))] for places in copies], torch.int64)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Squared distances (n, k), nearest first, and places (n, k), of rows (n, d) in float64."""
        (rows,) = values
        reference = self.reference.double()
        table = self.squares - 2 * ((rows - self.centre) @ (reference - self.centre).T)
        found = table.topk(self.candidates, dim=1, largest=False).indices
        squared = (rows[:, None] - reference[found]).square().sum(2)
        places = self.members[found]
        squared = torch.where(places >= 0, squared[:, :, None], math.inf).flatten(1)
        places, order = places.flatten(1).sort(dim=1)  # of equal distances ONNX takes the first
        nearest = squared.gather(1, order).topk(self.k, dim=1, largest=False)
        return nearest.values, places.gather(1, nearest.indices)


class JoinedGraph(Graph):
    """`Joined`: negative log-odds from scores in their order, and log distances where they decide in the end."""

    powers: Tensor
    least: Tensor

    def __init__(self, joined: Mapping[str, Any]) -> None:
        super().__init__()
        self.law = Joined(**joined)
        self.constant("powers", self.law.powers)
        self.constant("least", self.law.least)
        for name in ("slope", "shift", "edge", "reach"):
            self.constant(name, getattr(self.law, name))

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Of scores of shape (n, k) and log distances (n,): negative log-odds (n,)."""
        scores, logs = values
        total = self.slope * (torch.maximum(scores, self.least) * self.powers).sum(1) + self.shift
        if math.isfinite(self.law.edge):
            total = total + self.reach * (logs - self.edge).clamp(min=0.0) / math.log(2)
        return (total,)

    slope: Tensor
    shift: Tensor
    edge: Tensor
    reach: Tensor


class DiscriminantGraph(Graph):
    """`Discriminant.against`."""

    mean: Tensor
    axes: Tensor
    centres: Tensor
    spread: Tensor
    log_spread: Tensor

    def __init__(self, law: Mapping[str, Any]) -> None:
        super().__init__()
        made = Discriminant(**law)
        self.constant("mean", made.mean)
        self.constant("axes", made.axes)
        self.constant("centres", made.centres)
        self.constant("spread", 1 + made.between)
        self.constant("log_spread", np.log1p(made.between).sum())

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Of rows (n, d) in float64: (n,)."""
        u = (values[0] - self.mean) @ self.axes
        apart = (u[:, None] - self.centres).square().sum(2).amin(1)
        return (0.5 * (apart - (u.square() / self.spread).sum(1) - self.log_spread),)


class ForestGraph(Graph):
    """`forest_log_odds`, by the operator that ONNX has for trees; outside of a graph it gives no numbers."""

    def __init__(self, forest: Mapping[str, NDArray[Any]]) -> None:
        super().__init__()
        self.forest = forest

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Of rows (n, d) in float64: log-odds (n,)."""
        most = torch.finfo(torch.float32).max
        rows = values[0].clamp(-most, most).float()
        share = torch.onnx.ops.symbolic(TREES, [rows], {}, dtype=torch.float32, shape=(rows.shape[0], 1), version=3)
        least = 0.5 / len(self.forest["roots"])
        share = share[:, 0].double().clamp(least, 1 - least)
        return ((share / (1 - share)).log(),)

    def attributes(self) -> dict[str, dict[str, Any]]:
        """The trees, which torch's exporter would take as arguments one by one."""
        forest = self.forest
        child, roots = forest["child"].astype(np.int64), forest["roots"].astype(np.int64)
        nodes = np.arange(len(child))
        tree = np.searchsorted(roots, nodes, side="right") - 1
        own, leaf = nodes - roots[tree], child == nodes
        below = np.where(leaf, 0, child - roots[tree])
        return {
            TREES.partition("::")[2]: {
                "n_targets": 1,
                "aggregate_function": "AVERAGE",
                "nodes_treeids": tree,
                "nodes_nodeids": own,
                "nodes_featureids": forest["feature"].astype(np.int64),
                "nodes_values": np.where(leaf, 0.0, forest["threshold"]).astype(np.float32),
                "nodes_modes": ["LEAF" if end else "BRANCH_LEQ" for end in leaf],
                "nodes_truenodeids": below,
                "nodes_falsenodeids": np.where(leaf, 0, below + 1),
                "target_treeids": tree[leaf],
                "target_nodeids": own[leaf],
                "target_ids": np.zeros(int(leaf.sum()), np.int64),
                "target_weights": forest["outlying"][leaf].astype(np.float32),
            }
        }


class Verdict(Graph):
    """Score, p-value and decision of scores: NaN, NaN and -1 for rows that aren't finite."""

    calibration: Tensor
    offset: Tensor

    def __init__(self, offset: float, calibration: NDArray[np.float64]) -> None:
        super().__init__()
        self.constant("offset", offset)
        self.constant("calibration", calibration)

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Of scores (n,) and rows (n, ...)."""
        score, rows = values
        known = torch.isfinite(rows).flatten(1).all(1)
        n = len(self.calibration)
        below = count_below(padded_table(self.calibration), score, equal=True).clamp(max=n)
        p_value = (1 + below).double() / (1 + n)
        decision = torch.where(known & (score >= self.offset), 1, -1)
        return torch.where(known, score, math.nan), torch.where(known, p_value, math.nan), decision


# --- log-odds of classes, as farout.base.log_odds has them -----------------------------------------------------------


def negative_log_odds(logits: Tensor) -> Tensor:
    """Of logits (n, n_classes): (n,)."""
    most = 1 - 1 / logits.shape[1]
    rest = _rest(logits)
    against = rest.clamp(min=TINY).log() - (most - rest * (1 - most)).clamp(min=TINY).log()
    return against.clamp(-FARTHEST, FARTHEST)


def _rest(logits: Tensor) -> Tensor:
    best = logits.argmax(1, keepdim=True)
    others = torch.arange(logits.shape[1]) != best
    return torch.where(others, (logits - logits.amax(1, keepdim=True)).exp(), 0.0).sum(1)


def with_votes(logits: Tensor, classes: Tensor) -> Tensor:
    """Of logits (n, n_classes) and the classes of the nearest rows, (n, k): (n, n_classes)."""
    votes = (classes[:, :, None] == torch.arange(logits.shape[1])).double().sum(1)
    return logits.log_softmax(1) + ((votes + 1) / (classes.shape[1] + logits.shape[1])).log()


def with_log_odds(logits: Tensor, against: Tensor) -> Tensor:
    """Of logits (n, n_classes) and negative log-odds (n,): probabilities (n, n_classes)."""
    best, most = logits.argmax(1, keepdim=True), 1 - 1 / logits.shape[1]
    before = negative_log_odds(logits)
    lack, faded = before.sigmoid(), against.clamp(-FARTHEST, FARTHEST).sigmoid()
    left = (-before).sigmoid()
    towards = ((faded - lack) / left.clamp(min=TINY)).clamp(0.0, 1.0)[:, None]
    shrunk = (faded / lack).clamp(max=1.0)[:, None]
    result = (1.0 - towards) * shrunk * logits.softmax(1) + towards * (1 - most)
    return torch.where(torch.arange(logits.shape[1]) == best, (1.0 - most * faded)[:, None], result)


def unit(features: Tensor) -> Tensor:
    """Rows of norm 1 in float64; zeros stay."""
    rows = features.double()
    return rows / rows.square().sum(1, keepdim=True).sqrt().clamp(min=1e-12)
