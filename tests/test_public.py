"""The public names: all there, documented with examples, and quick to import."""

import inspect
import subprocess
import sys

import pytest
from sklearn.base import BaseEstimator

import farout as fo

# What checks and people outside the repository call; a name here never goes away.
PROMISED = {
    "FlowDensity",
    "NormalShell",
    "GumbelShell",
    "Mixture",
    "RealOutliers",
    "Archetypal",
    "Nullspace",
    "Collage",
    "Boundary",
    "Recommended",
    "Turned",
    "ArchetypalAnalysis",
    "DeepArchetypes",
    "FlowDetector",
    "OutlierDiscriminator",
    "CautiousClassifier",
    "evaluate",
    "load",
}
HEAVY = ("matplotlib", "typer", "lightning", "torch", "sklearn")


def test_promised_names_are_there():
    assert set(fo.__all__) >= PROMISED
    assert len(fo.__all__) == len(set(fo.__all__))


@pytest.mark.parametrize("name", fo.__all__)
def test_a_public_name_is_documented_under_its_own_name(name):
    thing = getattr(fo, name)
    assert thing.__name__ == name
    assert len(inspect.getdoc(thing).splitlines()[0]) > 15


@pytest.mark.parametrize("name", [n for n in fo.__all__ if inspect.isclass(getattr(fo, n))])
def test_every_parameter_is_documented_and_shown_in_an_example(name):
    cls = getattr(fo, name)
    if not issubclass(cls, BaseEstimator):
        pytest.skip("not an estimator")
    text = inspect.getdoc(cls)
    described = text.split("Parameters\n----------\n")[1].split("\n\n")[0]
    missing = [p for p in cls().get_params(deep=False) if f"{p} :" not in described] if name not in NEEDS else []
    assert missing == []
    assert ">>> " in text.split("Examples\n--------\n")[1]
    assert "fit" in vars(cls) or any("fit" in vars(base) for base in cls.__mro__)


NEEDS = {"Mixture", "RealOutliers"}  # these have a parameter without a default


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'farout' has no attribute 'FlowDensitty'"):
        fo.FlowDensitty  # noqa: B018


def test_importing_farout_imports_nothing_heavy():
    code = f"import sys, farout; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_using_a_detector_imports_neither_matplotlib_nor_the_command_line():
    code = "import sys, farout; farout.CautiousClassifier(); print([m for m in ('matplotlib', 'typer', 'lightning') "
    done = subprocess.run(
        [sys.executable, "-c", code + "if m in sys.modules])"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
