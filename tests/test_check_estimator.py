"""scikit-learn's own checks of an estimator, all of them, with no expected failure."""

import pytest
from sklearn.utils.estimator_checks import check_estimator

import farout as fo


def quick_source():
    return fo.NormalShell(flow=fo.FlowDensity(max_steps=3))


# Few steps and starts: the checks are about the interface. One wants a classifier to learn, hence its larger steps.
QUICK = {
    "FlowDensity": lambda: fo.FlowDensity(max_steps=3),
    "ArchetypalAnalysis": lambda: fo.ArchetypalAnalysis(n_init=1),
    "DeepArchetypes": lambda: fo.DeepArchetypes(flow=fo.FlowDensity(max_steps=3), max_steps=3),
    "FlowDetector": lambda: fo.FlowDetector(flow=fo.FlowDensity(max_steps=3)),
    "OutlierDiscriminator": lambda: fo.OutlierDiscriminator(quick_source(), max_steps=3),
    "CautiousClassifier": lambda: fo.CautiousClassifier(quick_source(), max_steps=15, learning_rate=1e-2),
}


def run_all_checks(estimator):
    """Run every check; a failure of one raises."""
    results = check_estimator(estimator, on_skip=None, on_fail="raise")  # skipped: what needs pandas or the array API
    statuses = [r["status"] for r in results]
    assert statuses.count("passed") > 30
    assert set(statuses) <= {"passed", "skipped"}
    assert statuses.count("skipped") <= 4


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if n == "DeepArchetypes" else n for n in QUICK]
)
def test_check_estimator(name):
    run_all_checks(QUICK[name]())


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_check_estimator_with_defaults(name):
    run_all_checks(getattr(fo, name)())
