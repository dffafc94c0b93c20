"""farout: outliers of a chosen strength from a normalizing flow, and models trained with them."""

import importlib
from typing import Any

# Where each public name lives. Resolved on first use, so that `import farout` stays quick.
_HOMES = {
    "FlowDensity": "farout.flows.density",
    "ArchetypalAnalysis": "farout.archetypes.linear",
    "DeepArchetypes": "farout.archetypes.deep",
    "NormalShell": "farout.outliers.extremal",
    "GumbelShell": "farout.outliers.extremal",
    "Archetypal": "farout.outliers.archetypal",
    "Nullspace": "farout.outliers.nullspace",
    "Collage": "farout.outliers.collage",
    "Boundary": "farout.outliers.boundary",
    "Mixture": "farout.outliers.mixture",
    "Recommended": "farout.outliers.recommended",
    "Turned": "farout.outliers.turned",
    "RealOutliers": "farout.outliers.real",
    "Outliers": "farout.outliers.source",
    "Schedule": "farout.outliers.source",
    "FlowDetector": "farout.detectors.flow_detector",
    "OutlierDiscriminator": "farout.detectors.discriminator",
    "CautiousClassifier": "farout.detectors.classifier",
    "cautious_loss": "farout.detectors.losses",
    "discriminator_loss": "farout.detectors.losses",
    "Training": "farout.base.training",
    "evaluate": "farout.evaluation",
    "load_data": "farout.data",
    "list_data": "farout.data",
    "load": "farout.base.persistence",
    "FaroutError": "farout.errors",
}

__all__ = [*_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'farout' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
