"""Models trained by two processes are those of one: the same losses, weights and thresholds, in one go or resumed."""

import shutil
import sys

import numpy as np
import pytest
import torch
import torch.distributed as dist
from sklearn.datasets import make_moons

import farout as fo
from farout.base import ranks
from farout.base import training as loop
from farout.networks.image import NETWORKS

pytestmark = [
    pytest.mark.skipif(torch.cuda.is_available(), reason="run beside a GPU by test_two_processes_beside_a_gpu.py"),
    pytest.mark.skipif(sys.platform != "linux", reason="needs processes that are forked off"),
    pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning"),
]

STEPS, CUT = 20, 10
X, Y = make_moons(303, noise=0.1, random_state=0)  # batches of 33 rows can't be halved
FLOW = fo.FlowDensity(architecture="vector", max_steps=5, random_state=0).fit(X, Y)
IMAGES = np.random.default_rng(0).random((80, 64)) / 2 + np.eye(2)[np.arange(80) % 2].repeat(32, axis=1) / 2


def flow(training):
    return fo.FlowDensity(
        architecture="vector", noise=0.05, max_steps=STEPS, batch_size=33, learning_rate=0.01, training=training
    )


def classifier(training):
    return fo.CautiousClassifier(fo.Noise(3.0), max_steps=STEPS, batch_size=33, training=training)


def doubles(event_shape, n_outputs):
    """A residual network in double precision: in single, a sum's rounding turns activations on and off."""
    return NETWORKS["residual"](event_shape, n_outputs).double()


def classifier_of_images(training):
    return fo.CautiousClassifier(
        fo.Noise(2.0), event_shape=(1, 8, 8), max_steps=STEPS, batch_size=33, training=training, network=doubles
    )


def classifier_by_a_flow(training):
    return fo.CautiousClassifier(fo.NormalShell(2.0, flow=FLOW), max_steps=STEPS, batch_size=33, training=training)


def archetypes(training):
    start = fo.FlowDensity(architecture="vector", max_steps=5, random_state=0)
    return fo.DeepArchetypes(3, start, max_steps=STEPS, batch_size=33, training=training)


TRAINED = {flow: "flow_", archetypes: "heads_"}  # of others "network_"
MODELS = [
    flow,
    classifier,
    classifier_by_a_flow,
    archetypes,
    pytest.param(classifier_of_images, marks=pytest.mark.slow),
]


def fitted(make, devices, folder, resume=False):
    where = fo.Training(
        accelerator="cpu",
        devices=devices,
        strategy="ddp_fork" if devices > 1 else "auto",
        checkpoint_dir=folder,
        resume=resume,
        gradients="float32",
    )
    rows = (IMAGES, np.arange(80) % 2) if make is classifier_of_images else (X, Y)
    return make(where).set_params(random_state=0).fit(*rows)


def weights_of(model, make):
    return {name: t.double() for name, t in getattr(model, TRAINED.get(make, "network_")).state_dict().items()}


def assert_close(two, one, make, atol):
    assert two.history_.keys() == one.history_.keys()
    for name, column in one.history_.items():
        np.testing.assert_allclose(two.history_[name], column, atol=atol, err_msg=name)
    for name, weights in weights_of(one, make).items():
        np.testing.assert_allclose(weights_of(two, make)[name], weights, atol=atol, err_msg=name)
    for name in ("offset_", "held_radii_"):
        if name in vars(one):
            np.testing.assert_allclose(getattr(two, name), getattr(one, name), atol=10 * atol, err_msg=name)


@pytest.fixture
def cut(tmp_path, monkeypatch):
    """A folder that keeps the checkpoint of a training that was cut off after some steps."""
    kept = tmp_path / "cut"
    kept.mkdir()
    monkeypatch.setattr(loop, "SAVE_EVERY", CUT)
    save = loop._Loop._save

    def saving(self, file, drawn):
        save(self, file, drawn)
        if self.fabric.is_global_zero and self.state.step == CUT and file == "last.ckpt":
            shutil.copy(self.where.checkpoint_dir / file, kept / file)

    monkeypatch.setattr(loop._Loop, "_save", saving)
    monkeypatch.setattr(loop.Budget, "validation_interval", CUT)
    return kept


@pytest.mark.parametrize("make", MODELS)
def test_two_processes_train_as_one_does(make, tmp_path, cut):
    one = fitted(make, 1, tmp_path / "one")
    two = fitted(make, 2, tmp_path / "two")
    start = torch.load(cut / "last.ckpt", weights_only=True)
    assert start["state"]["step"] == CUT
    moved = max((p - start["weights"][n].double()).abs().max() for n, p in trained(two, make, start).items())
    assert moved > 1e-3  # or there would be nothing to see
    assert_close(two, one, make, atol=1e-9 if make is classifier_of_images else 1e-4)
    resumed = fitted(make, 2, cut, resume=True)
    assert_close(resumed, two, make, atol=0)


def trained(model, make, start):
    """Weights of the network by the names that they have in a checkpoint."""
    known = weights_of(model, make)
    ends = {name: next((n for n in start["weights"] if n == name or n.endswith(f".{name}")), None) for name in known}
    return {end: known[name] for name, end in ends.items() if end is not None}


def test_each_process_decodes_a_part_of_the_outliers(tmp_path, monkeypatch):
    decoded, inverse = torch.multiprocessing.get_context("fork").Array("i", [0, 0]), fo.FlowDensity._decoded_part

    def counting(self, z, c, clip):
        if ranks._sharing.processes == 2:  # in a step
            decoded[ranks._sharing.rank] += len(z)
        return inverse(self, z, c, clip)

    monkeypatch.setattr(fo.FlowDensity, "_decoded_part", counting)
    fitted(classifier_by_a_flow, 2, tmp_path)
    assert sum(decoded) % 33 == 0  # whole batches, each outlier once
    assert min(decoded) > 0
    assert abs(decoded[0] - decoded[1]) <= 1


def _with_one_bad_row(rank, rendezvous, told):
    dist.init_process_group("gloo", init_method=rendezvous, rank=rank, world_size=2)
    Z = np.zeros((10, 2))
    Z[7] = 1e308
    try:
        with ranks.sharing(rank, 2):
            fo.FlowDensity(architecture="vector", max_steps=2, random_state=0).fit(1e6 * X).decode(Z)
    except fo.errors.DivergedError as error:
        told.put((error.row, str(error)))
    dist.destroy_process_group()


def test_an_error_in_one_part_is_raised_by_all(tmp_path):
    context = torch.multiprocessing.get_context("fork")
    told = context.Queue()
    processes = [
        context.Process(target=_with_one_bad_row, args=(rank, f"file://{tmp_path / 'meet'}", told), daemon=True)
        for rank in range(2)
    ]
    for process in processes:
        process.start()
    one, other = (told.get(timeout=60) for _ in processes)
    assert one == other
    assert one[0] == 7
    assert "row 7: " in one[1]
