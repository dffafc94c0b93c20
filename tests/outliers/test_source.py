"""What every source gives: clean inliers on the outliers' path, and endless batches for a torch loop."""

import itertools

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader

import farout as fo
from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.extremal import NormalShell
from farout.outliers.real import RealOutliers
from farout.outliers.source import Schedule


@pytest.fixture(scope="module")
def images():
    X, y = load_digits(return_X_y=True)
    X, y = X[y < 3][:200], y[y < 3][:200]
    options = {"n_blocks": (1, 1), "hidden": (4, 4), "n_dense": 1, "dense_hidden": 16}
    flow = FlowDensity(event_shape=(1, 8, 8), options=options, max_steps=20, random_state=0).fit(X, y)
    return X, y, NormalShell(strength=3.0, flow=flow).fit(X, y)


def test_clean_inliers_carry_the_noise_of_the_samples(flow, blobs):
    X, y = blobs
    source = NormalShell(flow=flow).fit(X, y)
    noise = np.concatenate([source.process_inliers(X, y, random_state=s) - X for s in range(20)])
    np.testing.assert_allclose(noise.std(axis=0), 0.02 * X.std(axis=0), rtol=0.05)
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.0012 * X.std())


def test_clean_images_stay_in_range_and_lie_on_the_path_of_the_outliers(images):
    X, y, source = images
    cleaned = source.process_inliers(X, y, random_state=0)
    assert cleaned.shape == X.shape
    assert (cleaned.min(), cleaned.max()) == (0, 16), "clipped to the range of the data, on both sides"
    inside = (X > 4) & (X < 12)
    # Gaussian noise of .02 of the half range, and a grey level's width of dequantisation
    assert (cleaned - X)[inside].std() == pytest.approx(np.sqrt((0.02 * 8) ** 2 + 1 / 12), rel=0.05)
    outliers = source.sample(100, random_state=0).x
    assert (outliers.min(), outliers.max()) == (0, 16)
    assert outliers.dtype == cleaned.dtype


def test_cleaning_is_decided_by_its_seed(images):
    X, y, source = images
    one, same, other = (source.process_inliers(X[:5], y[:5], random_state=s) for s in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_batches_are_events_with_class_indices(images):
    _, _, source = images
    stream = iter(source.batches(32, random_state=0))
    for x, labels in itertools.islice(stream, 3):
        assert (x.shape, x.dtype) == ((32, 1, 8, 8), torch.float32)
        assert (labels.shape, labels.dtype) == ((32,), torch.int64)
        assert set(labels.tolist()) == {0, 1, 2}


def test_batch_labels_are_positions_among_the_classes(flow, blobs):
    source = NormalShell(flow=flow).fit(*blobs)
    dataset = source.batches(1000, random_state=0)
    x, labels = next(iter(dataset))
    np.testing.assert_allclose(labels.bincount() / 1000, [1 / 2, 1 / 3, 1 / 6], atol=0.06)
    again = source.sample(1000, random_state=np.random.default_rng([0, 0, 0]))
    np.testing.assert_allclose(x, again.x, rtol=1e-6)
    assert np.array(["a", "b", "c"])[labels].tolist() == again.y.tolist()


def test_batches_without_classes_have_index_minus_one(plain_flow, blobs):
    _, labels = next(iter(NormalShell(flow=plain_flow).fit(blobs[0]).batches(5, random_state=0)))
    assert labels.tolist() == [-1] * 5


def test_batches_go_on_past_their_chunk_and_never_repeat(flow, blobs):
    stream = iter(NormalShell(flow=flow).fit(*blobs).batches(600, random_state=0))
    rows = torch.cat([x for x, _ in itertools.islice(stream, 4)])
    assert len(rows) == 2400
    assert len(rows.unique(dim=0)) == 2400


def test_the_same_seed_gives_the_same_stream_and_each_pass_its_own(flow, blobs):
    source = NormalShell(flow=flow).fit(*blobs)
    first, same, other = (source.batches(4, random_state=s) for s in (0, 0, 1))
    a, b, c, second_pass = (next(iter(s))[0] for s in (first, same, other, first))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)
    assert not torch.equal(a, second_pass)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_workers_and_passes_of_a_loader_have_their_own_draws(flow, blobs):
    dataset = NormalShell(flow=flow).fit(*blobs).batches(4, random_state=0)

    def passes():
        generator = torch.Generator().manual_seed(0)
        begun = "spawn" if torch.cuda.is_available() else None  # forked processes can't use a GPU
        loader = DataLoader(dataset, batch_size=None, num_workers=2, generator=generator, multiprocessing_context=begun)
        return [[x for x, _ in itertools.islice(loader, 4)] for _ in range(2)]

    drawn = passes()
    batches = [x for one in drawn for x in one]
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(batches, 2))
    assert all(x.shape == (4, 4) and x.dtype == torch.float32 for x in batches)
    assert all(torch.equal(a, b) for a, b in zip(batches, itertools.chain(*passes()), strict=True))


def test_a_schedule_follows_the_progress_that_a_loop_sets(flow, blobs):
    source = NormalShell(strength=Schedule(8.0, 1.0), flow=flow).fit(*blobs)
    radii = []
    for progress in (0.0, 1.0):
        dataset = source.batches(1024, random_state=0)
        dataset.progress = progress
        x, y = next(iter(dataset))
        radii.append(np.linalg.norm(flow.encode(x.numpy(), np.array(["a", "b", "c"])[y]), axis=1).mean())
    assert radii[0] / radii[1] == pytest.approx(8, rel=0.1)


def test_a_batch_holds_at_least_one(flow, blobs):
    with pytest.raises(
        InvalidSettingError, match=r"NormalShell\.batches: batch_size must be a whole number of 1 or more"
    ):
        NormalShell(flow=flow).fit(*blobs).batches(0)


def test_real_images_come_as_events_too(images):
    X, y, _ = images
    source = RealOutliers(X.reshape(-1, 1, 8, 8)[:10]).fit(X, y)
    x, _ = next(iter(source.batches(3, random_state=0)))
    assert x.shape == (3, 1, 8, 8)


def test_a_schedule_is_a_straight_line():
    assert [Schedule(4.0, 2.0).at(p) for p in (0.0, 0.5, 1.0)] == [4.0, 3.0, 2.0]


@pytest.mark.parametrize("n", [2.5, "3", None, True])
def test_numbers_of_outliers_are_whole_numbers(flow, blobs, n):
    source = NormalShell(2.5, flow=flow).fit(*blobs)
    for ask in (source.sample, source.batches, flow.sample):
        with pytest.raises(InvalidSettingError, match="must be a whole number of 1 or more"):
            ask(n)
    with pytest.raises(InvalidSettingError, match="distinct must be a whole number"):
        source.batches(distinct=2.5)


@pytest.mark.filterwarnings("ignore:A column-vector y:sklearn.exceptions.DataConversionWarning")
def test_classes_to_draw_for_may_stand_in_a_column(flow, blobs):
    out = NormalShell(2.5, flow=flow).fit(*blobs).sample(2, [["a"], ["b"]], random_state=0)
    assert out.y.tolist() == ["a", "b"]


def test_a_truth_value_is_no_strength(flow, blobs):
    with pytest.raises(InvalidSettingError, match="strength must be a number above 0"):
        NormalShell(True, flow=flow).fit(*blobs)


def test_a_loaded_source_makes_the_same_outliers_to_the_bit(flow, blobs, tmp_path):
    """Matrices that the training leaves in another order in memory are read in that order too."""
    source = NormalShell(2.5, flow=flow).fit(*blobs)
    source.save(tmp_path / "run")
    one, same = (s.sample(50, random_state=0).x for s in (source, fo.load(tmp_path / "run")))
    np.testing.assert_array_equal(one, same)
