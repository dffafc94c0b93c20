"""No model is made of numbers that aren't finite: trainings stop with step, layer and advice, and fits with a name."""

import numpy as np
import pytest
import torch
from torch import nn

import farout as fo
from farout.base.estimator import Estimator
from farout.base.training import Training
from farout.errors import DivergedError, InvalidDataError
from small_training import X, fit, linear, squares

AT_ONCE = Training(accelerator="cpu")  # where each step is looked at before the weights learn from it


def poisoning(module, name, step, value=float("nan")):
    """An objective whose loss is fine, and which spoils a number of a tensor of the module in one step."""
    taken = []

    def objective(batch, progress):
        loss = squares(module)(batch, progress)
        if module.training:
            taken.append(0)
            if len(taken) == step:
                with torch.no_grad():
                    module.state_dict()[name].view(-1)[0] = value  # wherever the training has brought it
        return loss

    return objective


class Idle(nn.Module):
    """A layer that learns, and another one that has no part in the loss."""

    def __init__(self):
        super().__init__()
        self.used, self.idle = linear(), nn.Linear(2, 2)
        self.register_buffer("running", torch.zeros(3))
        self.register_buffer("mask", torch.full((2,), -torch.inf))

    def forward(self, x):
        return self.used(x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("validation", [False, True])
@pytest.mark.parametrize("name", ["idle.weight", "running"])
def test_weights_spoilt_by_the_last_step_are_no_model(name, validation, value):
    module = Idle()
    with pytest.raises(DivergedError, match=rf"test: training diverged at step 60: {name} is not finite\. No model"):
        fit(module, poisoning(module, name, 60, value), validation)


def test_a_mask_of_minus_infinity_is_fine():
    fit(Idle(), max_steps=3)


def test_the_last_good_checkpoint_is_kept(tmp_path):
    module = Idle()
    where = Training(checkpoint_dir=tmp_path)
    with pytest.raises(DivergedError, match=rf"The last good checkpoint stays in {tmp_path}"):
        fit(module, poisoning(module, "idle.weight", 25), validation=True, where=where)
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["state"]["step"] == 20
    assert all(torch.isfinite(t).all() for n, t in kept["weights"].items() if n != "mask")


class Overflows(nn.Module):
    """The second of two layers overflows from some step on, and later ones make NaN of that."""

    def __init__(self, at):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1)
        self.at, self.taken = at, 0

    def forward(self, x):
        self.taken += 1
        h = self.first(x) * (1e38 if self.taken > self.at else 1.0)
        return self.third(self.second(h).square())


def test_the_first_layer_that_overflows_is_named():
    module = Overflows(7)
    with torch.no_grad():
        module.second.weight.fill_(1e3)
    with pytest.raises(DivergedError, match=r"at step 7: the loss became .*, first in second \(Linear\)\."):
        fit(module, squares(module), where=AT_ONCE, learning_rate=1e-6)
    assert all(torch.isfinite(p).all() for p in module.parameters()), "no step was taken by such a loss"


def test_what_overflows_is_an_error_on_any_device():
    """A GPU, at whose loss nobody looks at each step, names the step at least."""
    module = Overflows(7)
    with torch.no_grad():
        module.second.weight.fill_(1e3)
    with pytest.raises(DivergedError, match=r"at step 7: the loss became .* No model was made"):
        fit(module, squares(module), learning_rate=1e-6)


def test_a_gradient_that_is_not_finite_is_named():
    module = linear()

    def objective(batch, progress):
        at_zero = (module.bias * 0).sum().sqrt() if progress > 0.5 else 0  # the slope of a root is infinite there
        return squares(module)(batch, progress)[0] + at_zero, {}

    with pytest.raises(DivergedError, match="at step 31: the gradient of bias is not finite"):
        fit(module, objective, where=AT_ONCE)
    assert torch.isfinite(module.weight).all()


@pytest.mark.parametrize(
    ("rows", "where", "advice"),
    [
        (X, Training(), r"Lower learning_rate \(it is 0\.05\), or look for extreme values"),
        (
            torch.cat([X[:9], X[:1] * 1e6]),
            Training(),
            r"look at column \d, which has -?\d\.?\d*e\+0[56] in training row 9",
        ),
        (X, Training(precision="bf16-mixed"), r"Lower learning_rate"),
    ],
)
def test_advice_fits(rows, where, advice):
    from farout.base.training import Budget, train

    module = linear()

    def objective(batch, progress):
        return module(batch[0]).sum() * float("nan"), {}

    with pytest.raises(DivergedError, match=advice):
        train(module, objective, (rows,), Budget(5, 50, 0.05), where=where)


def test_half_precision_is_told_of():
    from farout.base.training import Budget, train

    module = linear()

    def objective(batch, progress):
        return module(batch[0]).sum() * float("nan"), {}

    with pytest.raises(DivergedError, match="'16-true' ends at 65 504"):
        train(module, objective, (X,), Budget(5, 50, 0.05), where=Training(precision="16-true", accelerator="cpu"))


ROWS = np.random.default_rng(0).normal(size=(200, 4))  # with fewer, a flow of classes isn't trained
LABELS = np.arange(200) % 3
TRAINED = {
    "flow": lambda: fo.FlowDensity(max_steps=4, random_state=0),
    "classifier": lambda: fo.CautiousClassifier(fo.Noise(), max_steps=4, random_state=0),
    "discriminator": lambda: fo.OutlierDiscriminator(fo.Noise(), max_steps=4, random_state=0),
    "deep archetypes": lambda: fo.DeepArchetypes(
        2, flow=fo.FlowDensity(max_steps=4, random_state=0), max_steps=4, random_state=0
    ),
    "critic": lambda: fo.Critic(event_shape=(1, 2, 2), random_state=0),
}


@pytest.mark.parametrize("name", TRAINED)
def test_every_estimator_that_trains_ends_unfitted(name, monkeypatch):
    """The optimizer's last step spoils a weight, whatever the model."""
    taken = torch.optim.AdamW.step

    def spoilt(self, *args, **kwargs):
        result = taken(self, *args, **kwargs)
        with torch.no_grad():
            self.param_groups[0]["params"][0].view(-1)[:1].fill_(torch.nan)  # which a GPU can record, as all of a step
        return result

    monkeypatch.setattr(torch.optim.AdamW, "step", spoilt)
    model = TRAINED[name]()
    with pytest.raises(DivergedError, match=r"not finite|became nan"):
        model.fit(ROWS, LABELS)
    assert not [k for k in vars(model) if k.endswith("_")]


class Learns(Estimator):
    """Keeps what it is given, without a training."""

    def __init__(self, value=None):
        self.value = value

    def _fit(self, X, y):
        self.kept_, self.history_ = self.value, {"loss": [np.nan]}


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (np.array([1.0, np.nan]), "kept_"),
        (np.inf, "kept_"),
        ({"a": [np.zeros(2), np.array([np.inf])]}, r"kept_\['a'\]\[1\]"),
        (torch.tensor([torch.nan]), "kept_"),
        (nn.Linear(1, 1).requires_grad_(False), r"kept_: bias"),
    ],
)
def test_a_fit_without_a_training_ends_in_finite_numbers_or_none(value, named):
    if isinstance(value, nn.Module):
        value.bias.fill_(torch.nan)
    model = Learns(value)
    with pytest.raises(DivergedError, match=rf"^Learns: {named} is not finite after the fit, so no model was made\."):
        model.fit(ROWS)
    assert not hasattr(model, "kept_")


@pytest.mark.parametrize("value", [np.arange(3), np.array(["a"]), None, np.zeros(0), "text", [1, 2.0]])
def test_what_is_no_float_or_finite_is_fine(value):
    assert Learns(value).fit(ROWS).kept_ is value or value == Learns(value).fit(ROWS).kept_


def test_training_rows_that_arithmetic_can_not_hold_are_named():
    rows = ROWS.copy()
    rows[4, 2] = -1e308
    with pytest.raises(InvalidDataError, match=r"-1e\+308 in row 4, column 2, and a fit takes numbers up to 1e\+100"):
        fo.ArchetypalAnalysis(2).fit(rows)
