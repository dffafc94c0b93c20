"""Classifiers and detectors as ONNX graphs: rows in; score, p-value, decision and probabilities of classes out."""

import contextlib
import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from farout.base.graphs import Graph
from farout.detectors import reach, views
from farout.detectors.classifier import CautiousClassifier
from farout.detectors.exposure import FARTHEST, ExposedModel
from farout.detectors.flow_detector import FlowDetector
from farout.detectors.graph_parts import (
    DiscriminantGraph,
    ForestGraph,
    JoinedGraph,
    NearestGraph,
    Verdict,
    negative_log_odds,
    unit,
    with_log_odds,
    with_votes,
)
from farout.detectors.wrapped import WrappedClassifier
from farout.flows.graphs import ALIKE_IMAGES, ConstantUnits, Density
from farout.flows.scores import LOWEST
from farout.networks.features import FLOOR, NEIGHBOUR, last_linear, with_features
from farout.networks.making import dtype_of
from farout.networks.trained import LEAST, TrainedNetwork

__all__ = ["ExposedGraph", "FlowDetectorGraph", "WrappedGraph"]

VERDICT = ("score", "p_value", "decision")


class _Scored(Graph):
    """Base: a score, which gets its p-value and decision, and for classifiers probabilities."""

    def __init__(self, model: Any, *, classes: bool) -> None:
        super().__init__()
        self.outputs = (*VERDICT, "probabilities") if classes else VERDICT
        self.alike = ALIKE_IMAGES if len(model.event_shape_) > 1 else self.alike
        self.verdict = Verdict(model.offset_, model.calibration_scores_)

    def score(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Scores of shape (n,), and probabilities of shape (n, n_classes) of a classifier."""
        raise NotImplementedError

    def forward(self, *values: Tensor) -> tuple[Tensor, ...]:
        """Score, p-value and decision of rows (n, *event_shape), and probabilities of classes."""
        score, probabilities = self.score(values[0])
        told = self.verdict(score, values[0])
        return told if probabilities is None else (*told, probabilities)


class _Reach(nn.Module):
    """Distances to the nearest training rows in units of the columns, as `nearest_training_rows` gives them."""

    def __init__(self, units: ConstantUnits, reference: Any) -> None:
        super().__init__()
        self.units = units
        self.nearest = NearestGraph(reference, reach.VOTES)

    def in_units(self, rows: Tensor) -> Tensor:
        """As `farout.detectors.reach.in_units`."""
        scaled = self.units.scaled(rows).to(self.units.like.dtype).double().clamp(-reach.FARTHEST, reach.FARTHEST)
        return torch.cat([scaled, self.units.departure_of(rows).clamp(max=reach.FARTHEST)[:, None]], dim=1)

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Log distance to the nearest, of shape (n,), and the places of the five nearest, of rows in units."""
        squared, places = self.nearest(rows)
        return 0.5 * (squared[:, 0] + reach.FLOOR**2 * (rows.shape[1] - 1)).log(), places


class _Features(nn.Module):
    """Log distances of features to those of training rows, as `feature_distances` gives them."""

    def __init__(self, reference: Any) -> None:
        super().__init__()
        self.nearest = NearestGraph(reference, NEIGHBOUR)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Log distance to the fifth nearest, of shape (n,), and the places of the five nearest."""
        squared, places = self.nearest(unit(features))
        return squared[:, -1].sqrt().clamp(min=FLOOR).log(), places


class ExposedGraph(_Scored):
    """A `CautiousClassifier` or `OutlierDiscriminator`.

    Parameters
    ----------
    model : ExposedModel
        Fitted.
    precise : bool
        Whether the network computes in double precision where the model's does.
    """

    def __init__(self, model: ExposedModel, *, precise: bool) -> None:
        super().__init__(model, classes=isinstance(model, CautiousClassifier))
        self.is_classifier, self.is_vector = isinstance(model, CautiousClassifier), model._is_vector()
        self.units = ConstantUnits(model.units_)
        self.network = _on_cpu(model._inference_network() if precise else model.network_)
        self.dtype = dtype_of(self.network)
        state = vars(model)
        self.joined = JoinedGraph(model.joined_) if "joined_" in state else None
        if self.joined is None:
            return
        self.reach: nn.Module
        self.constant("classes_of_rows", model.reference_classes_, torch.int64)
        self.votes = not self.is_vector or bool(model.votes_)
        if self.is_vector:
            self.reach = _Reach(self.units, model.reference_)
            self.ratio = DiscriminantGraph(model.discriminant_) if "discriminant_" in state else None
            return
        self.reach = _Features(model.reference_)
        self.layer = last_linear(self.network, model._n_outputs())
        self.has_energy = self.is_classifier and model._is_colour()
        self.head = _on_cpu(model.auxiliary_head_) if "auxiliary_head_" in state else None
        if self.head is not None:
            self.constant("turns", model.turns_, torch.int64)

    classes_of_rows: Tensor
    turns: Tensor

    def score(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """As the model's ``score_samples`` and ``predict_proba``."""
        events = self.units.scaled(rows).to(self.dtype).clamp(-FARTHEST, FARTHEST)
        if self.joined is None:
            logits = self.network(events).double()
            return self._told(logits, self._against(logits), None)
        if self.is_vector:
            logits, inside = self.network(events).double(), cast(_Reach, self.reach).in_units(rows)
            logs, nearest = self.reach(inside)
            scores = [self._against(logits), logs]
            if self.ratio is not None:
                scores += self.ratio(inside[:, :-1])
        else:
            logits, features = (v.double() for v in with_features(self.network, cast(nn.Linear, self.layer), events))
            logs, nearest = self.reach(features)
            scores = [self._against(logits), logs]
            if self.has_energy:
                scores.append(-logits.logsumexp(1))
            if self.head is not None:
                scores.append(self._rotated(features, logits.shape[1]))
        (against,) = self.joined(torch.stack(scores, dim=1), logs)
        return self._told(logits, against, self.classes_of_rows[nearest] if self.votes else None)

    def _against(self, logits: Tensor) -> Tensor:
        return negative_log_odds(logits) if self.is_classifier else -logits.amax(1)

    def _rotated(self, features: Tensor, n_outputs: int) -> Tensor:
        head = cast(nn.Linear, self.head)
        kinds: Tensor = head(features.to(head.weight.dtype)).double().log_softmax(1)
        kinds = kinds.reshape(features.shape[0], -1, n_outputs).logsumexp(2)
        return kinds[:, self.turns].logsumexp(1) - kinds[:, 0]

    def _told(self, logits: Tensor, against: Tensor, votes: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if not self.is_classifier:
            return -against, None
        if self.joined is None:
            probabilities = logits.softmax(1)
        else:
            probabilities = with_log_odds(logits if votes is None else with_votes(logits, votes), against)
        return probabilities.amax(1), probabilities


class FlowDetectorGraph(_Scored):
    """A `FlowDetector`, by whichever score."""

    def __init__(self, model: FlowDetector) -> None:
        super().__init__(model, classes=False)
        self.kind = model.score_
        self.density = Density(model.flow_)
        self.constant("lowest", LOWEST)
        state = vars(model)
        if self.kind == "nearest":
            self._keep_views(model)
        elif self.kind == "typicality":
            self.constant("typical", model.typical_)
        self.joined = JoinedGraph(model.joined_) if "joined_" in state else None
        if self.joined is not None:
            self.reach = _Reach(self.density.units, model.reference_["units"])
        self.is_far = "farthest_" in state
        if self.is_far:
            self.width = model.n_features_in_
            self.constant("usual", model.usual_density_)
            self.constant("farthest", model.farthest_)
            self.constant("least", model.calibration_scores_[0])

    lowest: Tensor
    typical: Tensor
    usual: Tensor
    farthest: Tensor
    least: Tensor
    weights: Tensor
    centres: Tensor
    spreads: Tensor

    def _keep_views(self, model: FlowDetector) -> None:
        names = list(model.reference_)
        steps = {"units": 1, "scores": 2, "latents": len(cast(Any, model.flow_.flow_.transform))}
        self.ends = [steps[name] for name in names]
        self.views = nn.ModuleList(NearestGraph(model.reference_[name], views.AROUND) for name in names)
        for i, name in enumerate(names):
            self.constant(f"scale_{i}", model.local_scales_[name])
        self.forest = ForestGraph(model.forest_) if "forest_" in vars(model) else None
        self.constant("weights", model.weights_)
        self.constant("centres", model.centre_)
        self.constant("spreads", model.spread_)

    def score(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """As the model's ``score_samples``."""
        if self.kind == "nearest":
            found = torch.stack(self._outlyingness(rows), dim=1)
            return -(((found - self.centres) / self.spreads) * self.weights).sum(1), None
        best, of_any = self.density.densities(rows)
        if self.kind != "ratio":
            likelihood = torch.maximum(of_any if best is None else best, self.lowest)
            return -(likelihood - self.typical).abs() if self.kind == "typicality" else likelihood, None
        best = cast(Tensor, best)
        known = torch.isfinite(best) & torch.isfinite(of_any)
        ratio = torch.where(known, torch.maximum(best - of_any, self.lowest), self.lowest)
        if self.is_far:
            return self._far(ratio, torch.maximum(of_any, self.lowest)), None
        if self.joined is None:
            return ratio, None
        logs, _ = self.reach(self.reach.in_units(rows))
        (against,) = self.joined(-ratio[:, None], logs)
        return -against, None

    def _far(self, ratio: Tensor, density: Tensor) -> Tensor:
        below = (self.usual - density).clamp(min=0.0)
        beyond = ((self.width + 2 * torch.minimum(below, -self.lowest / 4)).sqrt() / self.farthest).clamp(min=1.0)
        return torch.where(beyond > 1, torch.minimum(ratio, self.least) - beyond.log(), ratio)

    def _outlyingness(self, rows: Tensor) -> list[Tensor]:
        """Log distance in each view, and the forest's log-odds where there is one, each of shape (n,)."""
        departed, logs = self.density.units.departure_of(rows)[:, None], []
        stages = self.density.stages(rows, self.ends)
        for i, (stage, nearest) in enumerate(zip(stages, self.views, strict=True)):
            known = torch.where(torch.isfinite(stage), stage, reach.FARTHEST)
            view = torch.cat([known, departed], dim=1).clamp(-reach.FARTHEST, reach.FARTHEST)
            squared, places = nearest(view)
            each = 0.5 * (squared + views.FLOOR**2 * (view.shape[1] - 1)).log()
            scale = getattr(self, f"scale_{i}")[places].mean(1)
            logs.append(each.mean(1) - views.SCALE_WEIGHT * scale)
            if i == 0:
                columns = view[:, :-1]
        return logs if self.forest is None else [*logs, *self.forest(columns)]


class WrappedGraph(_Scored):
    """A `WrappedClassifier`, with the network that it wraps.

    Parameters
    ----------
    model : WrappedClassifier
        Fitted.
    precise : bool
        Whether the network computes in double precision where the model's does.
    """

    def __init__(self, model: WrappedClassifier, *, precise: bool) -> None:
        super().__init__(model, classes=True)
        asked = model._trained()
        self.network = _on_cpu(asked.module if precise else model.network_)
        shape, batch = model.event_shape_, int(model.batch_size)
        self.asked = TrainedNetwork(self.network, shape, model.inputs, model.pixel_scale_, batch, type(model).__name__)
        self.kind, self.outputs_are = model.score_by_, model.outputs_
        self.constant("least", LEAST)
        state = vars(model)
        self.units = ConstantUnits(model.units_) if "units_" in state else None
        if self.units is not None:
            low, high = model._bounds()
            self.constant("low", low)
            self.constant("high", high)
        self.features = _Features(model.reference_) if "reference_" in state else None
        self.ratio = DiscriminantGraph(model.discriminant_) if "discriminant_" in state else None
        self.reach = None
        if self.units is not None and "reference_inputs_" in state:
            self.reach = _Reach(self.units, model.reference_inputs_)
        self.joined = JoinedGraph(model.joined_) if self.kind == "joined" else None
        self.layer = None
        if self.features is not None or self.ratio is not None:
            self.layer = cast(nn.Linear, self.network.get_submodule(model.layer_))

    low: Tensor
    high: Tensor
    least: Tensor

    def score(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """As the model's ``score_samples`` and ``predict_proba``."""
        given = rows if self.units is None else torch.minimum(torch.maximum(rows.double(), self.low), self.high)
        events = given.to(self.asked.precise)
        if self.layer is None:
            outputs, features = self.asked._forward(events), None
        else:
            outputs, features = with_features(self.asked._forward, self.layer, events)
            features = features.double()
        logits = self._logits(outputs.double())
        scores, logs = {"network": negative_log_odds(logits)}, logits[:, 0]
        if self.features is not None:
            scores["distance"] = logs = self.features(features)[0]
        if self.ratio is not None:
            scores["ratio"] = self.ratio(features)[0]
        if self.reach is not None:
            logs = self.reach(self.reach.in_units(rows))[0]
        return self._told(logits, scores, logs)

    def _logits(self, outputs: Tensor) -> Tensor:
        if self.outputs_are == "logits":
            return outputs if outputs.shape[1] > 1 else torch.cat([-outputs / 2, outputs / 2], dim=1)
        both = outputs if outputs.shape[1] > 1 else torch.cat([1 - outputs, outputs], dim=1)
        return torch.maximum(both, self.least).log()

    def _told(self, logits: Tensor, scores: dict[str, Tensor], logs: Tensor) -> tuple[Tensor, Tensor | None]:
        if self.joined is not None:
            (against,) = self.joined(torch.stack(list(scores.values()), dim=1), logs)
            probabilities = with_log_odds(logits, against)
            return probabilities.amax(1), probabilities
        probabilities = logits.softmax(1)
        if self.kind == "max_probability":
            return probabilities.amax(1), probabilities
        if self.kind == "energy":
            return logits.logsumexp(1), probabilities
        return -scores["distance"].exp() if self.kind == "knn" else -scores["ratio"], probabilities


def _on_cpu(module: nn.Module) -> nn.Module:
    """A copy on the CPU; the module itself where it can't be copied."""
    with contextlib.suppress(RuntimeError):  # old weight_norm can't be
        return copy.deepcopy(module).cpu().eval()
    return module.cpu().eval()
