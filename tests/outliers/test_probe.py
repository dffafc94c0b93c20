"""Grey levels and fine texture alone must not give recommended outliers away more than real letters give themselves."""

import importlib.util
from pathlib import Path

import pytest

import farout as fo

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "quality" / "probe.py"


@pytest.fixture(scope="module")
def probe():
    """The linear probe of the benchmark."""
    spec = importlib.util.spec_from_file_location("quality_probe", BENCHMARK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.probe


@pytest.fixture(scope="module")
def sets(data_root):
    names = ("mnist:train", "mnist:test", "letters")
    return [fo.load_data(name, data_root=data_root) for name in names]


def test_the_probe_tells_textures_and_nothing_of_twins(probe, sets):
    _, test, _ = sets
    assert probe(test.X[:500], test.X[500:1000], (1, 28, 28)) < 0.6
    assert probe(test.X[:500], 0.8 * test.X[500:1000], (1, 28, 28)) > 0.95


@pytest.mark.slow
def test_recommended_outliers_are_told_no_better_than_real_letters(probe, sets):
    train, test, letters = sets
    X, y = train.X[:1000], train.y[:1000]
    flow = fo.FlowDensity(event_shape=(1, 28, 28), max_steps=15, random_state=0).fit(X, y)
    source = fo.Recommended(flow, random_state=0).fit(X, y)
    inliers = source.process_inliers(test.X[:400], test.y[:400], random_state=0)
    generated = probe(inliers, source.sample(400, random_state=0).x, (1, 28, 28))
    real = probe(test.X[:400], letters.X[:400], (1, 28, 28))
    assert generated < real + 0.02
