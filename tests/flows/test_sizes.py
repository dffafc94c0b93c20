"""How large flows become by default, counted without building them, and the error for those that are too large."""

import contextlib
import math

import numpy as np
import pytest
import torch

import farout as fo
from farout.errors import InvalidSettingError
from farout.flows.architectures import ARCHITECTURES, MOST_WEIGHTS, SURELY_SMALL, build_flow, count_weights
from farout.flows.vector import DENSE_WEIGHTS, vector_flow


def counted(shape, architecture="auto", **options):
    with torch.device("meta"):
        return count_weights(build_flow(architecture, options, shape, n_classes=10, seed=0))


@pytest.mark.parametrize("side", [48, 64, 96, 128, 160, 224, 250, 256, 512])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_of_any_size_get_a_flow_of_bounded_size(channels, side):
    assert counted((channels, side, side)) < 1.1 * DENSE_WEIGHTS


@pytest.mark.parametrize("architecture", ["vector", "table"])
@pytest.mark.parametrize("columns", [2, 1280, 5000, 10_000])
def test_vectors_of_any_length_get_a_flow_of_bounded_size(columns, architecture):
    kept = columns**2 if architecture == "table" else 0
    assert counted((columns,), architecture) - kept < 1.1 * DENSE_WEIGHTS


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (3, 224, 224)])
def test_weights_of_an_image_flow_don_t_grow_with_the_square_of_its_size(shape):
    assert counted(shape) < 5_000_000


def test_60_000_columns():
    assert counted((60_000,)) < 1.1 * DENSE_WEIGHTS


@pytest.mark.parametrize(
    ("shape", "architecture", "options"),
    [
        ((1, 28, 28), "image", {"n_blocks": (4, 4), "hidden": (16, 32), "n_dense": 0, "multiscale": False}),
        ((3, 32, 32), "image", {"n_blocks": (4, 4), "hidden": (24, 64), "n_dense": 0, "multiscale": False}),
        ((3, 32, 32), "natural", {"n_blocks": (4, 4, 4), "hidden": (32, 64, 96)}),
        ((1280,), "vector", {"hidden": 512}),
        ((100,), "vector", {"hidden": 200}),
        ((1280,), "table", {"hidden": 256}),
    ],
)
def test_usual_sizes_are_what_they_were(shape, architecture, options):
    with torch.device("meta"):
        flows = [build_flow(architecture, given, shape, n_classes=3, seed=0) for given in ({}, options)]
    shapes = [{name: t.shape for name, t in flow.state_dict().items()} for flow in flows]
    assert shapes[0] == shapes[1]


def test_large_images_are_split_level_by_level():
    flow = build_flow("auto", {"n_dense": 1}, (1, 96, 96), n_classes=0, seed=0)
    x = torch.randn(2, 1, 96, 96, generator=torch.Generator().manual_seed(0))
    z, _ = flow.encode(x)
    torch.testing.assert_close(flow.decode(z)[0], x, atol=1e-4, rtol=1e-4)
    assert sum(type(m).__name__ == "MultiScale" for m in flow.modules()) == 2


@pytest.mark.parametrize("architecture", ["image", "natural"])
def test_large_images_are_fitted(architecture):
    X = np.random.default_rng(0).integers(0, 256, (12, 3, 48, 48)).astype(np.float32)
    settings = {"max_steps": 2, "batch_size": 4, "random_state": 0}
    if architecture == "image":
        settings["options"] = {"n_dense": 1, "dense_hidden": 16}
    flow = fo.FlowDensity((3, 48, 48), architecture, **settings).fit(X)
    np.testing.assert_allclose(flow.decode(flow.encode(X)), X.reshape(12, -1), atol=0.1)


TOO_LARGE = {
    "the author's, for photographs": ((3, 224, 224), "seed", {}, "smaller images, embeddings"),
    "wide dense blocks": ((3, 224, 224), "image", {"n_dense": 4, "dense_hidden": 4000}, "smaller images, embeddings"),
    "all of a photograph": (
        (3, 224, 224),
        "image",
        {"multiscale": False, "n_dense": 2, "dense_hidden": 384},
        "'multiscale': True",
    ),
    "a covariance of 60 000 columns": ((60_000,), "table", {}, "sklearn.decomposition.PCA"),
    "wide subnets": ((60_000,), "vector", {"hidden": 512}, "a smaller hidden"),
}


@pytest.mark.parametrize("case", TOO_LARGE)
def test_what_is_too_large_is_an_error_before_it_is_built(case):
    shape, architecture, options, advice = TOO_LARGE[case]
    with pytest.raises(InvalidSettingError, match=rf"million weights .* GB in training; the limit is 200.*{advice}"):
        build_flow(architecture, options, shape, n_classes=0, seed=0)


def test_a_model_says_it_before_it_trains():
    X = np.random.default_rng(0).random((4, 15_000), dtype=np.float32)
    with pytest.raises(InvalidSettingError, match=r"architecture='table' would have 2\d\d million weights"):
        fo.FlowDetector().fit(X)
    with pytest.raises(InvalidSettingError, match=r"architecture='seed' would have 35\d million weights"):
        fo.FlowDensity((3, 224, 224), architecture="seed").fit(np.zeros((4, 3, 224, 224), dtype=np.float32))


def test_a_function_of_ones_own_has_no_limit(monkeypatch):
    monkeypatch.setattr("farout.flows.architectures.MOST_WEIGHTS", 10)

    def own(event_shape, *, n_classes, seed):
        return vector_flow(event_shape, n_classes=n_classes, seed=seed)

    assert count_weights(build_flow(own, None, (4,), n_classes=0, seed=0)) > 10
    with pytest.raises(InvalidSettingError, match="no limit"):
        build_flow("vector", {"hidden": 8}, (4,), n_classes=0, seed=0)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(
    ("shape", "n_classes"),
    [
        *(((4096,), 0), ((2048,), 1), ((64,), 63), ((2,), 2047)),
        *(((1, 64, 64), 0), ((4, 32, 32), 0), ((16, 16, 16), 0), ((64, 8, 8), 0), ((256, 4, 4), 0)),
        *(((1024, 2, 2), 0), ((512, 2, 2), 1), ((1, 8, 8), 63), ((1, 4, 1024), 0)),
    ],
)
def test_what_is_surely_small_is(shape, n_classes, architecture):
    assert math.prod(shape) * (1 + n_classes) == SURELY_SMALL
    with torch.device("meta"), contextlib.suppress(InvalidSettingError):  # where it isn't for such events
        assert count_weights(build_flow(architecture, None, shape, n_classes, seed=0)) < MOST_WEIGHTS


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        (
            (1, 8, 8),
            {"n_blocks": 2},
            r"'image': n_blocks must be one number a level, such as \(4, 4\); got 2",
        ),
        ((1, 8, 8), {"hidden": (8, 0)}, "hidden must be a whole number of 1 or more; got 0"),
        ((1, 8, 8), {"n_dense": -1}, "n_dense must be a whole number of 0 or more; got -1"),
        ((1, 8, 8), {"multiscale": "no"}, "multiscale must be True or False; got 'no'"),
        ((4,), {"n_blocks": (2, 2)}, r"architecture 'vector': n_blocks must be a whole number .*; got \(2, 2\)"),
        ((4,), {"hidden": "wide"}, "hidden must be a whole number .*; got 'wide'"),
        ((4,), {"reversible": "yes"}, "reversible must be True or False; got 'yes'"),
        ((4,), {"reversible": np.array([1, 2])}, "reversible must be True or False; got array"),
        ((4,), {"clamp": "a"}, "clamp must be a finite number; got 'a'"),
        ((4,), {"clamp": None}, "clamp must be a finite number; got None"),
    ],
)
def test_values_of_options_that_make_no_sense(shape, options, message):
    with pytest.raises(InvalidSettingError, match=message):
        build_flow("auto", options, shape, n_classes=0, seed=0)


def test_weights_are_counted_once_for_each_setting(monkeypatch):
    counted = []
    monkeypatch.setattr(
        "farout.flows.architectures.count_weights", lambda flow: counted.append(count_weights(flow)) or 0
    )
    for hidden in (37, 37, 38):
        build_flow("vector", {"hidden": hidden}, (5,), n_classes=0, seed=0)
    assert len(counted) == 2
    assert counted[0] < counted[1]
