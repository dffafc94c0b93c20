"""What FlowDensity refuses, each in one message, and how training ends when it goes wrong or is interrupted."""

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError

from farout.base.training import Training
from farout.errors import DivergedError, FaroutError, InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity

QUICK = {"options": {"n_blocks": 1, "hidden": 8}, "max_steps": 5, "random_state": 0}
X = np.random.default_rng(0).standard_normal((60, 4))
Y = np.arange(60) % 2


def with_cell(value):
    bad = X.copy()
    bad[3, 1] = value
    return bad


@pytest.fixture(scope="module")
def flow():
    return FlowDensity(**QUICK).fit(X, Y)


BAD_DATA = {
    "NaN": (with_cell(np.nan), None, {}, "X has NaN in row 3, column 1"),
    "infinity": (with_cell(np.inf), None, {}, "X has infinity in row 3, column 1"),
    "images without their shape": (X.reshape(60, 1, 2, 2), None, {}, r"build FlowDensity\(event_shape=\(1, 2, 2\)\)"),
    "another event shape": (X, None, {"event_shape": (1, 4, 4)}, "holds 16 numbers, but each row of X has 4"),
    "a short y": (X, Y[:50], {}, "X has 60 rows, but y has 50 labels"),
    "y with NaN": (X, np.where(Y == 1, np.nan, 0.0), {}, "y has NaN"),
    # Constant columns are left out of the flow now; an error only where fewer than 2 columns are left.
    "constant columns but one": (np.c_[X[:, :1], np.ones((60, 2))], None, {}, "3 feature.s., 1 of them not constant"),
    "one feature": (X[:, :1], None, {}, r"X has 1 feature\(s\)"),
    "odd images": (X[:, :3], None, {"event_shape": (1, 1, 3)}, "even height and width; pad or crop"),
    "two channels": (np.c_[X, X], None, {"event_shape": (2, 2, 2)}, "must have 1 or 3 channels"),
    "four sizes": (X, None, {"event_shape": (1, 1, 2, 2)}, "neither .features,. nor .channels, height, width."),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_data_that_can_not_be_used(case):
    rows, y, settings, message = BAD_DATA[case]
    flow = FlowDensity(**{**QUICK, **settings})
    with pytest.raises((InvalidDataError, InvalidSettingError), match=message) as caught:
        flow.fit(rows, y)
    assert isinstance(caught.value, ValueError)
    assert str(caught.value).startswith("FlowDensity: ")
    assert not hasattr(flow, "flow_")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_steps": 0}, "max_steps must be a whole number of 1 or more or None; got 0"),
        ({"max_steps": -5}, "max_steps must be a whole number of 1 or more or None; got -5"),
        ({"noise": -0.1}, "noise must be a finite number of 0 or more or None; got -0.1"),
        ({"noise": float("nan")}, "noise must be a finite number"),
        ({"batch_size": 0}, "batch_size must be a whole number of 1 or more or None; got 0"),
        ({"learning_rate": 0}, "learning_rate must be a finite number above 0 or None; got 0"),
        ({"patience": 0}, "patience must be a whole number of 1 or more; got 0"),
        ({"class_dropout": 1.0}, "class_dropout must be a finite number between 0 and 1, 1 excluded; got 1.0"),
        (
            {"validation_fraction": -0.1},
            "validation_fraction must be a finite number between 0 and 1, 1 excluded; got -0.1",
        ),
        ({"architecture": "real_nvp"}, "architecture='real_nvp' is unknown; choose one of auto, vector"),
        ({"options": {"n_block": 3}}, "architecture option 'n_block' is unknown; did you mean 'n_blocks'"),
        ({"options": {"coupling": "cubic"}}, "coupling='cubic' is unknown; choose one of nice"),
        ({"options": {"clamp": 0}}, "clamp must be above 0; got 0"),
        ({"architecture": "image"}, "architecture='image' is for images"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(InvalidSettingError, match=message):
        FlowDensity(**{**QUICK, "options": None, **settings}).fit(X)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: f.score_samples(with_cell(np.nan), Y), "X has NaN in row 3"),
        (lambda f: f.score_samples(X[:, :3]), "X has 3 features, but FlowDensity is expecting 4"),
        (lambda f: f.score_samples(X, Y[:9]), "X has 60 rows, but y has 9 labels"),
        (lambda f: f.encode(X, Y + 5), "labels unseen in training: 5, 6; the classes are 0, 1"),
        (lambda f: f.decode(X[:, :3]), r"Z must be finite, of shape \(n, 4\) with n >= 1; got shape \(60, 3\)"),
        (lambda f: f.decode(with_cell(np.inf)), "Z must be finite, .* 1 of its numbers not finite"),
        (lambda f: f.decode(X[:0]), r"with n >= 1; got shape \(0, 4\)"),
        (lambda f: f.sample(0), "n_samples must be a whole number of 1 or more; got 0"),
        (lambda f: f.sample(3, 7), "labels unseen in training: 7"),
        (lambda f: f.sample(3, [0, 1]), "X has 3 rows, but y has 2 labels"),
    ],
)
def test_queries_that_can_not_be_answered(flow, call, message):
    with pytest.raises(ValueError, match=message):
        call(flow)


def test_classes_must_be_known_to_be_used():
    plain = FlowDensity(**QUICK).fit(X)
    for call in (lambda: plain.score(X, Y), lambda: plain.sample(2, 0), lambda: plain.noisy_reconstruction(X, Y)):
        with pytest.raises(InvalidDataError, match="got y, but it was fitted without labels; leave y out"):
            call()
    with pytest.raises(InvalidDataError, match="was fitted without labels; it knows no classes"):
        plain.class_log_probs(X)
    assert plain.sample(2)[1] is None
    conditional = FlowDensity(**QUICK, class_dropout=0).fit(X, Y)
    with pytest.raises(InvalidDataError, match="y is missing, and this flow was fitted with class_dropout=0"):
        conditional.score(X)
    assert np.isfinite(conditional.score(X, Y))


def test_nothing_before_fit():
    for call in (lambda f: f.score(X), lambda f: f.encode(X), lambda f: f.decode(X), lambda f: f.sample(2)):
        with pytest.raises(NotFittedError):
            call(FlowDensity())


@pytest.mark.parametrize(("rows", "settings"), [(X, {}), (X, {"event_shape": (1, 2, 2), "options": None})])
def test_a_diverging_training_ends_in_advice(rows, settings):
    flow = FlowDensity(**{**QUICK, "max_steps": 200, "learning_rate": 1e5, **settings})
    with pytest.raises(
        DivergedError, match=r"flow: training diverged at step \d+: .* Lower learning_rate \(it is 100000\)"
    ):
        flow.fit(rows)


class Interrupted(FlowDensity):
    """Raises Ctrl-C at a step; keeps count of those that it took. A GPU, which replays steps, would pass it by."""

    at = 0

    def _objective(self, rest, log_det):
        objective = super()._objective(rest, log_det)

        def counted(batch, progress):
            if rest.training:
                self.taken += 1
                if self.taken == self.at:
                    raise KeyboardInterrupt
            return objective(batch, progress)

        return counted


def interrupted(at, fraction, **training):
    flow = Interrupted(
        **{**QUICK, "max_steps": 120}, validation_fraction=fraction, training=Training("cpu", **training)
    )
    flow.at, flow.taken = at, 0
    return flow


@pytest.mark.parametrize(("at", "fraction"), [(20, 0.0), (20, 0.2), (110, 0.2)])  # before and after a validation
def test_an_interrupted_training_goes_on_where_it_was(tmp_path, fraction, at):
    flow = interrupted(at, fraction, checkpoint_dir=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        flow.fit(X)
    saved = {p.name for p in tmp_path.iterdir()}
    assert "last.ckpt" in saved
    resumed = interrupted(0, fraction, checkpoint_dir=tmp_path, resume=True).fit(X)
    assert resumed.taken == 120 - (at - 1)
    assert resumed.score(X) > -7, "the weights are those of a trained flow"


def test_resume_without_a_checkpoint_starts_afresh(tmp_path):
    flow = interrupted(0, 0.0, checkpoint_dir=tmp_path, resume=True)
    assert flow.fit(X).taken == 120
    with pytest.raises(InvalidSettingError, match="resume=True needs checkpoint_dir"):
        Training(resume=True)


def test_every_refusal_is_a_farout_error():
    with pytest.raises(FaroutError):
        FlowDensity(max_steps=0).fit(X)
    assert torch.get_default_dtype() == torch.float32
