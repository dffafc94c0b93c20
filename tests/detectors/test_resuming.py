"""A training that was interrupted and goes on equals one in one go, to the bit."""

import numpy as np
import pytest
import torch

import farout as fo
from farout.detectors.augmentation import affine

STEPS = 16
MODELS = [fo.CautiousClassifier, fo.OutlierDiscriminator]
OUTLIERS = {
    "fresh": {"n_outliers": None},
    "200": {"n_outliers": 200},
    "200 and the auxiliary task": {"n_outliers": 200, "auxiliary_weight": 0.5},
    "fresh, of a strength that falls": {"n_outliers": None, "strength": fo.Schedule(8.0, 2.0)},
}


class Steps:
    """An augmentation that counts its steps, and presses Ctrl-C at one of them."""

    def __init__(self, interrupt_at=None, then=lambda events: events):
        self.interrupt_at = interrupt_at
        self.then = then
        self.taken = 0

    def __call__(self, events):
        self.taken += 1
        if self.taken == self.interrupt_at:
            raise KeyboardInterrupt
        return self.then(events)


def interrupted_and_resumed(build, fit, tmp_path, at, **augmentation):
    """A model whose training was interrupted at a step and went on, beside one that was trained in one go."""
    where = {"checkpoint_dir": tmp_path / "checkpoints"}
    cut_off = build(augmentation=Steps(at, **augmentation), training=fo.Training(**where))
    with pytest.raises(KeyboardInterrupt):
        fit(cut_off)
    assert not hasattr(cut_off, "network_")
    steps = Steps(**augmentation)
    resumed = fit(build(augmentation=steps, training=fo.Training(**where, resume=True)))
    assert steps.taken == STEPS - (at - 1)
    return resumed, fit(build(augmentation=Steps(**augmentation)))


def assert_same(one, other, X):
    for (name, a), b in zip(one.network_.state_dict().items(), other.network_.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    np.testing.assert_array_equal(one.score_samples(X), other.score_samples(X))
    assert one.offset_ == other.offset_
    assert one.history_ == other.history_


@pytest.mark.parametrize("at", [3, 13])  # in the first block of fresh outliers, and in the second
@pytest.mark.parametrize("outliers", OUTLIERS)
@pytest.mark.parametrize("model", MODELS)
def test_tables(model, outliers, at, table, flow, tmp_path):
    X, y = table

    def build(**settings):
        asked = {"strength": 4.0} | OUTLIERS[outliers]
        source = fo.NormalShell(asked.pop("strength"), flow=flow)
        return model(source, max_steps=STEPS, batch_size=128, random_state=0, **asked, **settings)

    resumed, whole = interrupted_and_resumed(build, lambda m: m.fit(X, y), tmp_path, at)
    assert_same(resumed, whole, X)


@pytest.mark.parametrize("n_outliers", [None, 200])
@pytest.mark.parametrize("model", MODELS)
def test_images_that_are_augmented_at_random(model, n_outliers, tmp_path):
    digits = fo.load_data("digits:train@0-2")
    X, y = digits.X[:200], digits.y[:200]
    flow = fo.FlowDensity(event_shape=(1, 8, 8), max_steps=5, random_state=0).fit(X, y)

    def build(**settings):
        return model(
            fo.NormalShell(flow=flow),
            event_shape=(1, 8, 8),
            max_steps=STEPS,
            batch_size=32,
            n_outliers=n_outliers,
            random_state=0,
            **settings,
        )

    resumed, whole = interrupted_and_resumed(build, lambda m: m.fit(X, y), tmp_path, 9, then=affine)
    assert_same(resumed, whole, X)
