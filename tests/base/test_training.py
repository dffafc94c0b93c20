"""Training: it learns, is reproducible, keeps the best weights, and tells when it diverges."""

import gc
import weakref

import numpy as np
import pytest
import torch

from farout.base.training import Budget, History, suitable_threads, train
from farout.errors import DivergedError
from small_training import X, Y, fit, linear, squares, weights


def test_it_learns_and_keeps_a_history():
    module, history = fit(max_steps=200)
    np.testing.assert_allclose(weights(module), [1.0, -2.0, 0.5, 0.3], atol=0.02)
    assert history.steps == list(range(200))
    assert history.figures["loss"][-1] < 0.01 < history.figures["loss"][0]
    assert history.figures["bits/dim"][0] == pytest.approx(history.figures["loss"][0] / 2)
    assert not history.stopped_early


def test_same_seed_same_weights_and_torch_left_alone():
    state = torch.random.get_rng_state()
    noisy = []
    for _ in range(2):
        module = linear()

        def objective(batch, progress, module=module):
            return (module(batch[0] + torch.randn(3, device=batch[0].device)) - batch[1]).square().mean(), {}

        noisy.append(weights(fit(module, objective)[0]))
    assert torch.equal(*noisy)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_rows_are_let_go_of_at_once():
    rows, module = (X.clone(), Y.clone()), linear()
    objective = squares(module)
    kept = [weakref.ref(rows[0]), weakref.ref(objective)]
    gc.disable()  # which would find a cycle of references some time
    try:
        train(module, objective, rows, Budget(5, 50, 0.05), name="test")
        del rows, objective
        assert [ref() for ref in kept] == [None, None]
    finally:
        gc.enable()


def test_batches_are_shuffled_whole_passes_and_progress_grows():
    seen, progresses = [], []
    module = linear()

    def spy(batch, progress):
        seen.append(batch[0].cpu())
        progresses.append(progress)
        return squares(module)(batch, progress)

    fit(module, spy, max_steps=8)
    first, second = torch.cat(seen[:4]), torch.cat(seen[4:])
    assert torch.equal(first.sort(dim=0).values, X.sort(dim=0).values)
    assert not torch.equal(first, second)
    np.testing.assert_allclose(progresses, np.arange(8) / 8)


def test_fewer_rows_than_a_batch():
    module = linear()
    history = train(module, squares(module), (X[:5], Y[:5]), Budget(3, 128, 0.1))
    assert history.steps == [0, 1, 2]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite(value):
    module = linear()

    def objective(batch, progress):
        return module(batch[0]).mean() * (value if progress > 0.4 else 1), {}

    with pytest.raises(
        DivergedError, match=r"test: training diverged at step 25: .*Lower learning_rate \(it is 0.05\)"
    ):
        fit(module, objective)


def test_a_loss_that_climbs():
    module = linear()

    def objective(batch, progress):
        return (1 + 1e4 * progress) * (1 + 0 * module(batch[0]).mean()), {}

    with pytest.raises(DivergedError, match="the loss climbed from 1 to"):
        fit(module, objective)


def test_a_validation_loss_that_is_not_finite():
    module = linear()

    def objective(batch, progress):
        loss, figures = squares(module)(batch, progress)
        return loss * (1 if module.training else torch.nan), figures

    with pytest.raises(DivergedError, match="the validation loss became nan"):
        fit(module, objective, validation=True)


def test_advice_comes_with_an_error_from_inside():
    module = linear()

    def objective(batch, progress):
        raise DivergedError("layer 3 gave inf")

    with pytest.raises(DivergedError, match=r"layer 3 gave inf.*Lower learning_rate"):
        fit(module, objective)


def worse_and_worse(module, best_until):
    """An objective whose validation loss is best at a known step: the weight grows by steps, best at 1.0."""

    def objective(batch, progress):
        pull = -module.weight.sum()
        return (pull if module.training else (module.weight.sum() - best_until).square()), {}

    return objective


def test_best_weights_are_kept_and_training_stops_early():
    module = linear()
    _, history = fit(
        module, worse_and_worse(module, 0.8), validation=True, max_steps=300, patience=2, gradient_clip=1e9
    )
    validation = [v for v in history.figures["validation loss"] if np.isfinite(v)]
    assert history.stopped_early
    assert np.argmin(validation) == len(validation) - 3
    assert (module.weight.sum() - 0.8).square().item() == pytest.approx(min(validation), abs=1e-5)


def test_without_patience_it_runs_to_the_end_and_keeps_the_best():
    module = linear()
    _, history = fit(module, worse_and_worse(module, 0.8), validation=True)
    validation = [v for v in history.figures["validation loss"] if np.isfinite(v)]
    assert not history.stopped_early
    assert len(validation) == 6
    assert (module.weight.sum() - 0.8).square().item() == pytest.approx(min(validation), abs=1e-5)


@pytest.mark.parametrize(
    ("steps", "every", "expected"),
    [(200, 100, [100, 200]), (250, 100, [125, 250]), (30, 100, [30]), (1, 100, [1]), (100, 30, [33, 66, 100])],
)
def test_the_last_validation_sees_the_last_weights(steps, every, expected):
    _, history = fit(validation=True, max_steps=steps, validate_every=every)
    pairs = zip(history.steps, history.figures["validation loss"], strict=True)
    assert [step for step, value in pairs if np.isfinite(value)] == expected


def test_history_fills_what_is_missing():
    history = History()
    history.add(0, {"a": 1.0})
    history.add(5, {"b": 2.0})
    assert history.steps == [0, 5]
    np.testing.assert_array_equal(history.figures["a"], [1.0, np.nan])
    np.testing.assert_array_equal(history.figures["b"], [np.nan, 2.0])


def test_small_rows_train_on_one_thread_and_threads_come_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with suitable_threads(64):
            assert torch.get_num_threads() == 1
        with suitable_threads(784):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
