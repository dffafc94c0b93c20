"""farout: outliers of a chosen strength from a normalizing flow, and models trained with them."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers and editors, which see what is imported under its own name
    from farout import plots as plots
    from farout.archetypes.deep import DeepArchetypes as DeepArchetypes
    from farout.archetypes.linear import ArchetypalAnalysis as ArchetypalAnalysis
    from farout.backbones.features import Features as Features
    from farout.base.losses import cautious_loss as cautious_loss
    from farout.base.losses import discriminator_loss as discriminator_loss
    from farout.base.persistence import load as load
    from farout.base.training import Training as Training
    from farout.columns import Column as Column
    from farout.columns import Schema as Schema
    from farout.data import list_data as list_data
    from farout.data import load_data as load_data
    from farout.detectors.classifier import CautiousClassifier as CautiousClassifier
    from farout.detectors.discriminator import OutlierDiscriminator as OutlierDiscriminator
    from farout.detectors.flow_detector import FlowDetector as FlowDetector
    from farout.detectors.wrapped import WrappedClassifier as WrappedClassifier
    from farout.detectors.wrapped import wrap as wrap
    from farout.errors import FaroutError as FaroutError
    from farout.evaluation import evaluate as evaluate
    from farout.flows.density import FlowDensity as FlowDensity
    from farout.outliers.archetypal import Archetypal as Archetypal
    from farout.outliers.boundary import Boundary as Boundary
    from farout.outliers.collage import Collage as Collage
    from farout.outliers.critic import Critic as Critic
    from farout.outliers.exchange import Exchange as Exchange
    from farout.outliers.extremal import GumbelShell as GumbelShell
    from farout.outliers.extremal import NormalShell as NormalShell
    from farout.outliers.mixture import Mixture as Mixture
    from farout.outliers.noise import Noise as Noise
    from farout.outliers.nullspace import Nullspace as Nullspace
    from farout.outliers.real import RealOutliers as RealOutliers
    from farout.outliers.recommended import Recommended as Recommended
    from farout.outliers.salient import Salient as Salient
    from farout.outliers.scrambled import Scrambled as Scrambled
    from farout.outliers.source import Outliers as Outliers
    from farout.outliers.source import Schedule as Schedule
    from farout.outliers.turned import Turned as Turned
    from farout.outliers.walk import Walk as Walk
    from farout.runs.doctor import doctor as doctor
    from farout.stress.stress_test import stress_test as stress_test

    __version__: str

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
    "Critic": "farout.outliers.critic",
    "Exchange": "farout.outliers.exchange",
    "Noise": "farout.outliers.noise",
    "Mixture": "farout.outliers.mixture",
    "Recommended": "farout.outliers.recommended",
    "Salient": "farout.outliers.salient",
    "Scrambled": "farout.outliers.scrambled",
    "Turned": "farout.outliers.turned",
    "Walk": "farout.outliers.walk",
    "RealOutliers": "farout.outliers.real",
    "Outliers": "farout.outliers.source",
    "Schedule": "farout.outliers.source",
    "FlowDetector": "farout.detectors.flow_detector",
    "OutlierDiscriminator": "farout.detectors.discriminator",
    "CautiousClassifier": "farout.detectors.classifier",
    "WrappedClassifier": "farout.detectors.wrapped",
    "wrap": "farout.detectors.wrapped",
    "cautious_loss": "farout.base.losses",
    "discriminator_loss": "farout.base.losses",
    "Training": "farout.base.training",
    "Schema": "farout.columns",
    "Column": "farout.columns",
    "Features": "farout.backbones.features",
    "evaluate": "farout.evaluation",
    "stress_test": "farout.stress.stress_test",
    "doctor": "farout.runs.doctor",
    "load_data": "farout.data",
    "list_data": "farout.data",
    "load": "farout.base.persistence",
    "FaroutError": "farout.errors",
}

# Packages of public functions, resolved on first use too: matplotlib takes longer to import than all else.
_PACKAGES = ("plots",)

__all__ = [*_HOMES, *_PACKAGES]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


if not TYPE_CHECKING:  # a type checker that saw this would take any name, misspelt ones too

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from farout.version import own_version

            return own_version()
        if name not in __all__:
            raise AttributeError(f"module 'farout' has no attribute {name!r}")
        from farout.base.unnoticed import unnoticed

        with unnoticed():
            if name in _PACKAGES:
                return importlib.import_module(f"farout.{name}")
            return getattr(importlib.import_module(_HOMES[name]), name)
