"""Run folders that are foreign, newer, truncated, tampered with, taken, or cut off while being written."""

import contextlib
import hashlib
import json
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_blobs

import farout as fo
from farout.base import files, persistence
from farout.base.persistence import is_unfinished
from farout.errors import NotFittedError, RunError

X, Y = make_blobs(240, centers=2, random_state=0)  # enough rows for the flow to be trained


@pytest.fixture(scope="module")
def flow():
    return fo.FlowDensity(max_steps=2, random_state=0).fit(X, Y)


@pytest.fixture
def run(flow, tmp_path):
    return flow.save(tmp_path / "run")


def rewrite(run, change, *, sign=True):
    """Change the configuration; ``sign`` renews its check sum, as a forger would."""
    file = run / "config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    change(config)
    if sign:
        content = {k: v for k, v in config.items() if k != "checksum"}
        config["checksum"] = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    file.write_text(json.dumps(config), encoding="utf-8")


def weights(run, change):
    file = run / "model.safetensors"
    file.write_bytes(change(file.read_bytes()))


def flip(data):
    return data[:-3] + bytes([data[-3] ^ 1]) + data[-2:]


def put(*keys, value):
    def change(config):
        for key in keys[:-1]:
            config = config[key]
        config[keys[-1]] = value

    return change


BROKEN = {
    "no folder": (lambda r: [p.unlink() for p in r.iterdir()], "is no run folder: it has no config.json"),
    "no weights": (lambda r: (r / "model.safetensors").unlink(), "model.safetensors is missing"),
    "truncated weights": (lambda r: weights(r, lambda b: b[:-9]), r"isn't the file that was saved .* truncated"),
    "a changed bit": (lambda r: weights(r, flip), "isn't the file that was saved"),
    "empty weights": (lambda r: weights(r, lambda b: b""), "isn't the file that was saved"),
    "truncated config": (lambda r: (r / "config.json").write_text('{"format": '), "can't be read as JSON"),
    "binary config": (lambda r: (r / "config.json").write_bytes(b"\xff\xfe\x00"), "can't be read as JSON"),
    "someone else's config": (lambda r: (r / "config.json").write_text('{"lr": 1}'), "wasn't written by farout"),
    "a list": (lambda r: (r / "config.json").write_text("[]"), "wasn't written by farout"),
    "newer": (lambda r: rewrite(r, put("format_version", value=99)), "version 99; this farout reads 3. Update"),
    "the first format": (
        lambda r: rewrite(r, put("format_version", value=1)),
        "written by an earlier farout, in format 1, and this farout reads 3; train again with",
    ),
    "the second format": (
        lambda r: rewrite(r, put("format_version", value=2)),
        "written by an earlier farout, in format 2, and this farout reads 3; train again with",
    ),
    "no version": (lambda r: rewrite(r, lambda c: c.pop("format_version")), "version None; this farout reads 3"),
    "an edited value": (
        lambda r: rewrite(r, put("model", "params", "max_steps", value=9), sign=False),
        "was changed after it was saved",
    ),
    "a foreign class": (lambda r: rewrite(r, put("model", "class", value="os.system")), "holds a os.system"),
    "no model": (
        lambda r: rewrite(r, put("model", value={"class": "Training", "fields": {}})),
        "holds a Training, which is no model",
    ),
    "an unknown parameter": (
        lambda r: rewrite(r, put("model", "params", "depth", value=3)),
        "doesn't describe a model",
    ),
    "no model at all": (lambda r: rewrite(r, lambda c: c.pop("model")), "doesn't describe a model"),
    "a missing tensor": (
        lambda r: rewrite(r, put("model", "fitted", "shift_", value={"array": "nowhere"})),
        "doesn't describe a model",
    ),
    "another architecture": (
        lambda r: rewrite(r, put("model", "params", "options", value={"dict": {"hidden": 7}})),
        "weights don't fit the network flow_ of this FlowDensity",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_runs(case, run):
    damage, message = BROKEN[case]
    damage(run)
    with pytest.raises(RunError, match=message):
        fo.load(run)


def test_weights_that_are_no_safetensors(run):
    weights(run, lambda b: b"\xff" * 20)
    rewrite(run, put("weights_sha256", value=hashlib.sha256(b"\xff" * 20).hexdigest()))
    with pytest.raises(RunError, match="can't be read as safetensors"):
        fo.load(run)


@pytest.mark.parametrize(
    "model",
    [fo.FlowDensity(), fo.FlowDetector(), fo.OutlierDiscriminator(), fo.CautiousClassifier(), fo.NormalShell()],
    ids=lambda m: type(m).__name__,
)
def test_an_unfitted_model(model, tmp_path):
    with pytest.raises(NotFittedError, match=f"This {type(model).__name__} isn't fitted yet"):
        model.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_an_existing_run_is_replaced_only_by_force(run, flow):
    before = (run / "config.json").read_bytes()
    other = fo.FlowDensity(max_steps=3, random_state=1).fit(X, Y)
    with pytest.raises(RunError, match="holds a run already; choose another folder, or force=True"):
        other.save(run)
    assert (run / "config.json").read_bytes() == before
    other.save(run, force=True)
    np.testing.assert_array_equal(fo.load(run).score_samples(X), other.score_samples(X))


def test_weights_of_someone_else_are_not_overwritten(flow, tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"precious")
    with pytest.raises(RunError, match="force=True"):
        flow.save(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == b"precious"


def test_a_file_is_no_folder(flow, tmp_path):
    (tmp_path / "run").write_text("x")
    with pytest.raises(RunError, match="is a file; a run is a folder"):
        flow.save(tmp_path / "run", force=True)


@pytest.mark.parametrize("when", ["weights", "config"])
def test_a_write_that_fails_leaves_nothing_new(when, flow, tmp_path, monkeypatch):
    break_writing(when, monkeypatch)
    with pytest.raises(OSError, match="disk full"):
        flow.save(tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("when", ["weights", "config"])
def test_a_write_that_fails_leaves_the_old_run_whole(when, run, flow, monkeypatch):
    other = fo.FlowDensity(max_steps=3, random_state=1).fit(X, Y)
    with monkeypatch.context() as patch:
        break_writing(when, patch)
        with pytest.raises(OSError, match="disk full"):
            other.save(run, force=True)
    assert sorted(p.name for p in run.iterdir()) == ["config.json", "model.safetensors"]
    np.testing.assert_array_equal(fo.load(run).score_samples(X), flow.score_samples(X))


class Crash(BaseException):
    """The machine goes down: nothing is tidied up."""


@pytest.mark.parametrize("before", ["fresh", "replaced"])
def test_a_crash_between_the_two_files_is_told_and_can_be_mended(before, flow, tmp_path, monkeypatch):
    run, new = tmp_path / "run", fo.FlowDensity(max_steps=3, random_state=1).fit(X, Y)
    if before == "replaced":
        flow.save(run)
    moved, put = [], persistence.put

    def crash_on_the_second(temporary, path):
        if moved:
            raise Crash
        moved.append(path.name)
        put(temporary, path)

    with monkeypatch.context() as patch:
        patch.setattr(persistence, "put", crash_on_the_second)
        with pytest.raises(Crash):
            new.save(run, force=before == "replaced")
    assert moved == ["model.safetensors"]
    assert is_unfinished(run)
    with pytest.raises(RunError, match=r"unfinished run: saving was cut off.*again"):
        fo.load(run)
    new.save(run)
    np.testing.assert_array_equal(fo.load(run).score_samples(X), new.score_samples(X))


def test_both_files_and_their_moves_reach_the_disk_in_order(flow, tmp_path, monkeypatch):
    events, replace, fsync = [], persistence.Path.replace, files.os.fsync
    monkeypatch.setattr(persistence.Path, "replace", lambda a, b: (events.append(b.name), replace(a, b)))
    monkeypatch.setattr(files.os, "fsync", lambda handle: (events.append("sync"), fsync(handle)))
    flow.save(tmp_path / "run")
    assert events == ["sync", "model.safetensors", "sync", "sync", "config.json", "sync"]


def break_writing(when, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(persistence, "save" if when == "weights" else "_checksum", fail)


def test_a_value_that_no_run_can_hold(flow, tmp_path):
    model = fo.FlowDetector(flow=flow, random_state=0).fit(X, Y)
    model.records_ = np.zeros(2, dtype=[("a", "f8")])
    with pytest.raises(RunError, match="records_: an array of type"):
        model.save(tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "value",
    [
        {"bytes": "zz"},
        {"float": "abc"},
        {"items_of": ["a"], "dtype": "<U400000000", "shape": [1]},
        {"items_of": [1], "dtype": "O", "shape": [-2]},
        {"items_of": [1], "dtype": "<f8", "shape": [1]},
        {"moments": {"array": "/x"}, "dtype": "O"},
        {"dict": []},
        {"class": "Popen", "params": {}, "fitted": {}, "networks": []},
        {"class": "os.system", "fields": {}},
    ],
    ids=str,
)
def test_values_that_no_run_holds(run, value):
    rewrite(run, put("model", "fitted", "history_", value=value))
    with pytest.raises(RunError):
        fo.load(run)


def test_a_name_of_a_type_that_numpy_warns_of_brings_no_warning(run):
    rewrite(run, put("model", "fitted", "history_", value={"items_of": ["a"], "dtype": "a1", "shape": [1]}))
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with contextlib.suppress(RunError):
            fo.load(run)
    assert not told


@pytest.mark.parametrize("shape", [{"tuple": [-2]}, {"tuple": [10**15]}, {"tuple": [0]}], ids=str)
def test_sizes_that_no_network_has(run, shape):
    rewrite(run, put("model", "fitted", "event_shape_", value=shape))
    with pytest.raises(RunError, match=r"doesn't describe a model|weights don't fit"):
        fo.load(run)


@pytest.mark.parametrize("name", ["fit", "_networks", "__class__", "score_samples", "n_rows"])
def test_nothing_takes_the_place_of_a_method(run, name):
    rewrite(run, put("model", "fitted", name, value=1))
    with pytest.raises(RunError, match="which no fit makes"):
        fo.load(run)


def test_brackets_without_end(run):
    (run / "config.json").write_text("[" * 200_000)
    with pytest.raises(RunError, match=r"can't be read as JSON \(maximum recursion depth"):
        fo.load(run)
