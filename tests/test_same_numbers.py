"""The same rows get the same numbers, whatever their order in memory, their company and the number of threads.

What is stated here is stated in docs/reliability.md: for rows of tables scores agree to 1e-9 of their spread, for
images, whose networks work in single precision, to 1e-3; decisions are the same, and so is a fit.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from spies import blobs

import farout as fo

VECTORS, IMAGES = 1e-9, 1e-3  # of the scores' spread
STEPS = 8

Y = np.arange(90) % 3
X = np.random.default_rng(0).normal(size=(90, 6)) + 4 * Y[:, None] * np.array([1, 0, 0, 1, 0, 0])
PIXELS = np.random.default_rng(1).integers(0, 256, size=(40, 64)).astype(float)


def flow(**settings):
    return fo.FlowDensity(max_steps=STEPS, random_state=0, **settings)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(6, 16), torch.nn.ReLU(), torch.nn.Linear(16, 3))


learned = {"max_steps": STEPS, "random_state": 0}
shell = {"source": fo.NormalShell(2.5, flow=flow())}
image = {"event_shape": (1, 8, 8)}
# By name: the model, whether it is given labels, and what gives numbers.
MODELS = {
    "flow": (lambda: flow(), True, "score_samples"),
    "latents": (lambda: flow(architecture="table"), False, "encode"),
    "nearest": (lambda: fo.FlowDetector(random_state=0), False, "score_samples"),
    "ratio": (lambda: fo.FlowDetector("ratio", flow(), random_state=0), True, "score_samples"),
    "discriminator": (lambda: fo.OutlierDiscriminator(**shell, **learned), False, "score_samples"),
    "classifier": (lambda: fo.CautiousClassifier(**shell, **learned), True, "predict_proba"),
    "wrapped": (lambda: fo.wrap(network(), random_state=0), True, "predict_proba"),
    "linear archetypes": (lambda: fo.ArchetypalAnalysis(3, n_init=1, random_state=0), False, "transform"),
    "deep archetypes": (lambda: fo.DeepArchetypes(3, flow(), **learned), True, "encode"),
    "image flow": (lambda: flow(**image), False, "score_samples"),
    "image discriminator": (
        lambda: fo.OutlierDiscriminator(fo.NormalShell(2.5, flow=flow()), **image, **learned),
        False,
        "score_samples",
    ),
}


def some(quick, names):
    """All of the names, the quick ones by default, the others as slow tests."""
    others = [name for name in names if name not in quick]
    return [*quick, *(pytest.param(name, marks=pytest.mark.slow) for name in others)]


def rows_of(name):
    return PIXELS if name.startswith("image") else X


def fitted(name, rows=None):
    make, labelled, _ = MODELS[name]
    rows = rows_of(name) if rows is None else rows
    return make().fit(rows, Y[: len(rows)] if labelled else None)


@pytest.fixture(scope="module")
def models():
    made = {}
    return lambda name: made.setdefault(name, None) or made.update({name: fitted(name)}) or made[name]


def numbers(model, name, rows):
    return getattr(model, MODELS[name][2])(rows)


def apart(name, found, expected):
    """The largest difference, as a share of what is allowed."""
    allowed = (IMAGES if name.startswith("image") else VECTORS) * max(float(np.std(expected)), 1e-9)
    return float(np.abs(found - expected).max()) / allowed


def forms(rows):
    """The same rows, otherwise in memory."""
    wide = np.zeros((2 * len(rows), 3 * rows.shape[1]))
    wide[::2, ::3] = rows
    locked = rows.copy()
    locked.flags.writeable = False
    return {
        "Fortran order": np.asfortranarray(rows),
        "every other row and third column of an array": wide[::2, ::3],
        "backwards": rows[::-1].copy()[::-1],
        "columns backwards": rows[:, ::-1].copy()[:, ::-1],
        "read-only": locked,
        "big-endian": rows.astype(">f8"),
        "a list": rows.tolist(),
        "a tensor": torch.from_numpy(rows),
    }


@pytest.mark.parametrize("name", some(["flow", "wrapped", "linear archetypes", "image flow"], MODELS))
def test_rows_get_the_same_numbers_in_every_form_company_and_number_of_threads(name, models):
    model, rows = models(name), rows_of(name)
    expected = numbers(model, name, rows)
    for form, given in forms(rows).items():
        if name == "linear archetypes" and form == "a tensor":
            continue  # which gives a tensor back
        assert apart(name, numbers(model, name, given), expected) <= 1, form
    alone = np.concatenate([numbers(model, name, row[None]) for row in rows[:20]])
    assert apart(name, alone, expected[:20]) <= 1, "one at a time"
    many = np.tile(rows, (1 + 3000 // len(rows), 1))
    assert apart(name, numbers(model, name, many)[-len(rows) :], expected) <= 1, "among thousands"
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert apart(name, numbers(model, name, many)[: len(rows)], expected) <= 1, "by two threads"
    finally:
        torch.set_num_threads(threads)
    for decide in ("predict", "is_inlier"):
        if hasattr(model, decide):
            together, each = getattr(model, decide), [getattr(model, decide)(row[None])[0] for row in rows[:20]]
            np.testing.assert_array_equal(together(rows)[:20], each)


@pytest.mark.parametrize(
    "name", some(["flow"], ["nearest", "classifier", "wrapped", "linear archetypes", "image flow"])
)
def test_a_fit_doesnt_depend_on_the_form_of_its_rows_nor_on_the_number_of_threads(name, models):
    rows = rows_of(name)
    expected = numbers(models(name), name, rows)
    for form in ("Fortran order", "read-only"):
        found = numbers(fitted(name, forms(rows)[form]), name, rows)
        assert apart(name, found, expected) <= 1, form
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        np.testing.assert_array_equal(numbers(fitted(name), name, rows), expected)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:WrappedClassifier. the network predicts")  # threads share the filters of warnings
@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("image")])
def test_fits_in_two_threads_at_once_give_what_one_alone_gives(name, models):
    expected = numbers(models(name), name, X)
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: numbers(fitted(name), name, X), range(2)))
    for one in found:
        np.testing.assert_array_equal(one, expected)


def test_rows_of_a_training_that_are_made_a_batch_at_a_time_are_the_same(monkeypatch):
    rows, y = blobs(100, 0)
    whole = (
        fo.FlowDensity(max_steps=5, random_state=0).fit(rows, y),
        fo.DeepArchetypes(2, flow(), **learned).fit(rows, y),
    )
    monkeypatch.setattr("farout.flows.density.KEPT", 0)
    later = (
        fo.FlowDensity(max_steps=5, random_state=0).fit(rows, y),
        fo.DeepArchetypes(2, flow(), **learned).fit(rows, y),
    )
    np.testing.assert_array_equal(later[0].score_samples(rows), whole[0].score_samples(rows))
    np.testing.assert_array_equal(later[1].encode(rows), whole[1].encode(rows))
