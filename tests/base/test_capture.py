"""Steps that a GPU would replay: on a CPU the same logic gives the same weights, whatever is recorded."""

import contextlib
import signal

import numpy as np
import pytest
import torch

import farout as fo
from farout.base import training
from farout.base.capture import WARM_UP, CudaGraphs, ReplayedStep
from farout.base.step import training_step
from farout.base.training import Budget, Training, train
from small_training import X, Y, linear, squares, weights


class Recorder:
    """Stands for CUDA graphs: keeps the work, and does it when told to."""

    def __init__(self):
        self.recorded = self.replayed = self.warmed = 0
        self.against = []

    @contextlib.contextmanager
    def aside(self):
        self.warmed += 1
        yield

    @contextlib.contextmanager
    def watched(self):
        against = []
        yield against
        against += self.against

    def record(self, work):
        self.recorded += 1

        def replay():
            self.replayed += 1
            work()

        return replay


@pytest.fixture
def recorder(monkeypatch):
    recorder = Recorder()
    monkeypatch.setitem(training.RECORDERS, "cpu", recorder)
    return recorder


CPU = {"accelerator": "cpu"}  # for which the recorder stands in, whatever else there is
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


def fitted(same_work, **settings):
    module = linear()
    rows = torch.cat([X, X]), torch.cat([Y, Y])
    history = train(
        module, squares(module), rows, Budget(20, 16, 0.05), same_work=same_work, where=Training(**CPU | settings)
    )
    return weights(module), history


def test_replayed_steps_end_at_the_same_weights(recorder):
    one_by_one, history = fitted(False)
    assert recorder.recorded == 0
    replayed, replayed_history = fitted(True)
    assert (recorder.warmed, recorder.recorded, recorder.replayed) == (WARM_UP, 1, 20 - WARM_UP)
    torch.testing.assert_close(replayed, one_by_one, rtol=1e-6, atol=1e-6)
    assert replayed_history.steps == history.steps
    assert replayed_history.figures["loss"] == pytest.approx(history.figures["loss"], rel=1e-5)


def test_every_replay_reads_its_own_rows_and_gives_its_own_loss():
    seen = []

    def step(picked):
        seen.append(picked.tolist())
        return picked.sum().float(), {"sum": picked.sum(), "name": 3}

    replayed = ReplayedStep(step, lambda: None, Recorder())
    results = [replayed(torch.tensor([i, i + 1])) for i in range(8)]
    assert seen == [[i, i + 1] for i in range(8)]
    assert [float(loss) for loss, _ in results] == [2 * i + 1 for i in range(8)]
    assert [int(figures["sum"]) for _, figures in results] == [2 * i + 1 for i in range(8)]


def test_mixed_precision_is_not_replayed(recorder):
    fitted(True, precision="bf16-mixed")
    assert recorder.recorded == 0


def test_what_can_not_be_recorded_is_told_of_and_taken_step_by_step(recorder):
    expected, _ = fitted(False)

    def refuse(work):
        recorder.recorded += 1
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    recorder.record = refuse
    with pytest.warns(UserWarning, match=r"can't be recorded as a CUDA graph.*stream is capturing$"):
        found, _ = fitted(True)
    assert recorder.recorded == 1
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_what_can_not_be_recorded_is_not_tried(recorder):
    """A recording that fails may leave more behind than its step."""
    expected, _ = fitted(False)
    recorder.against = ["it waits for the GPU, at my_loss.py:7"]
    with pytest.warns(UserWarning, match=r"can't be recorded as a CUDA graph.*waits for the GPU, at my_loss\.py:7$"):
        found, _ = fitted(True)
    assert (recorder.warmed, recorder.recorded) == (WARM_UP, 0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.fixture
def interruptible():
    """Whoever runs the tests may ignore Ctrl-C, as a shell does for what it runs in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_is_obeyed_between_replays(recorder, tmp_path):
    """A replay passes by no line of Python, and the loop around it does."""
    record = recorder.record

    def interrupting(work):
        replay = record(work)

        def replay_and_interrupt():
            replay()
            if recorder.replayed == 5:
                signal.raise_signal(signal.SIGINT)

        return replay_and_interrupt

    recorder.record = interrupting
    with pytest.raises(KeyboardInterrupt):
        fitted(True, checkpoint_dir=tmp_path)
    assert recorder.replayed == 5
    kept = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert kept["state"]["step"] == WARM_UP + 5


def test_replayed_and_resumed(recorder, tmp_path, monkeypatch):
    """A checkpoint of a training that replays is one that can be gone on from, with or without replays."""
    whole, _ = fitted(True)
    stop = RuntimeError("the machine went away")

    class Stopping(ReplayedStep):
        def __call__(self, picked):
            if self.taken == 11:
                raise stop
            return super().__call__(picked)

    monkeypatch.setattr(training, "SAVE_EVERY", 5)
    with monkeypatch.context() as patch:
        patch.setattr(training, "ReplayedStep", Stopping)
        with pytest.raises(RuntimeError, match="went away"):
            fitted(True, checkpoint_dir=tmp_path)
    for same_work in (True, False):
        resumed, _ = fitted(same_work, checkpoint_dir=tmp_path, resume=True)
        torch.testing.assert_close(resumed, whole, rtol=1e-6, atol=1e-6)


def test_an_error_after_a_replay_keeps_nothing_of_it(recorder, tmp_path):
    """Weights have moved, so that what the step began with is no longer what there is."""
    record = recorder.record

    def failing(work):
        replay, loop = record(work), work.__self__.step.__self__

        def replay_and_fail():
            before = loop.before
            replay()
            loop.before = before  # a GPU replays without passing by any line of Python
            if recorder.replayed == 5:
                raise RuntimeError("the machine went away")

        return replay_and_fail

    recorder.record = failing
    with pytest.raises(RuntimeError, match="went away"):
        fitted(True, checkpoint_dir=tmp_path)
    assert not (tmp_path / "last.ckpt").exists()


def test_a_flow_s_training_does_the_same_work_each_step(recorder):
    """So does the objective of a flow, with noise, classes and those that are hidden."""
    rows = torch.randn(200, 3, generator=torch.Generator().manual_seed(0)).numpy()
    flow = fo.FlowDensity(max_steps=20, random_state=0, training=Training(**CPU)).fit(rows)
    assert recorder.replayed > 0
    assert (flow.score_samples(rows) < 0).all()


def test_the_recording_lets_go_of_gradients_first():
    order, recorder = [], Recorder()
    record = recorder.record
    recorder.record = lambda work: order.append("record") or record(work)
    replayed = ReplayedStep(
        lambda picked: (order.append("step") or torch.zeros(()), {}), lambda: order.append("forget"), recorder
    )
    for _ in range(WARM_UP + 2):
        replayed(torch.zeros(1, dtype=torch.int64))
    assert order == ["step"] * WARM_UP + ["forget", "record", "step", "step"]


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("architecture", ["vector", "table", "image", "natural"])
def test_a_step_of_a_flow_can_be_recorded(architecture, labelled):
    """On a device that has no numbers, it looks at none, and nothing in it lies on the CPU."""
    shape = (4,) if architecture in ("vector", "table") else (1, 8, 8)
    X = np.random.default_rng(0).random((300, *shape))
    model = fo.FlowDensity(architecture=architecture, event_shape=shape, max_steps=1, training=Training(**CPU))
    model.fit(X, np.arange(300) % 2 if labelled else None)
    rest = model.parts()[1]
    rest.float().train().requires_grad_(True)
    objective = model._objective(rest, 0.0)

    class Step(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.rest = rest

        def forward(self, *batch):
            return objective(batch, 0.5)[0]

    step = Step()
    learned = dict(step.named_parameters())
    there = {name: torch.empty_like(t, device="meta") for name, t in [*learned.items(), *step.named_buffers()]}
    weights = [there[name].requires_grad_() for name in learned]
    batch = [torch.empty(32, *shape, device="meta")]
    if labelled:
        batch.append(torch.empty(32, dtype=torch.int64, device="meta"))
    with training_step():
        loss = torch.func.functional_call(step, there, tuple(batch))
        loss.backward()
    assert loss.device.type == "meta"
    assert any(w.grad is not None for w in weights)


# --- on a GPU --------------------------------------------------------------------------------------------------------


@needs_gpu
def test_a_gpu_records_the_training_of_a_flow(monkeypatch):
    """With noise, classes and those that are hidden; and the replayed flow is as good as one trained step by step."""
    recorded, record = [], CudaGraphs.record
    monkeypatch.setattr(CudaGraphs, "record", lambda self, work: recorded.append(1) or record(self, work))
    rows, labels = torch.randn(300, 3, generator=torch.Generator().manual_seed(0)).numpy(), [0, 1, 2] * 100
    for given in ((rows,), (rows, labels)):
        replayed = fo.FlowDensity(max_steps=60, random_state=0).fit(*given)
        assert recorded
        recorded.clear()
        with monkeypatch.context() as patch:
            patch.delitem(training.RECORDERS, "cuda")
            one_by_one = fo.FlowDensity(max_steps=60, random_state=0).fit(*given)
        assert not recorded
        assert replayed.score(*given) == pytest.approx(one_by_one.score(*given), abs=0.02)


@needs_gpu
def test_what_a_gpu_would_have_to_wait_for_is_seen_before():
    """`squares` looks at its loss."""
    with pytest.warns(UserWarning, match=r"can't be recorded as a CUDA graph.*waits for the GPU, at .*small_training"):
        found, _ = fitted(True, accelerator="cuda")
    expected, _ = fitted(False, accelerator="cuda")
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert torch.cuda.get_sync_debug_mode() == 0


@needs_gpu
def test_a_recording_that_fails_leaves_the_process_as_it_was():
    recorder, x = CudaGraphs(), torch.ones(3, device="cuda")
    usual, generator = torch.cuda.current_stream(), torch.cuda.default_generators[0]

    def waits():
        (x + torch.randn(3, device="cuda")).sum().item()

    def copies():
        x.add_(1)
        x.copy_(torch.zeros(3))

    def stops():
        x.add_(1)
        raise KeyboardInterrupt

    for work, error in ((waits, RuntimeError), (copies, RuntimeError), (stops, KeyboardInterrupt)):
        generator.manual_seed(3)
        state = generator.get_state()
        with pytest.raises(error) as caught:
            recorder.record(work)
        assert "previous error" not in str(caught.value), "the first cause is told"
        assert torch.cuda.current_stream() == usual
        assert torch.equal(generator.get_state(), state)
        drawn = torch.randn(5, device="cuda")
        generator.manual_seed(3)
        assert torch.equal(torch.randn(5, device="cuda"), drawn)
    made = torch.zeros(3, device="cuda")
    replay = recorder.record(lambda: made.add_(torch.rand(3, device="cuda")))
    replay()
    first = made.clone()
    replay()
    assert (first > 0).all()
    assert not torch.equal(made, 2 * first), "each replay draws its own numbers"
