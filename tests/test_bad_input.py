"""Bad input through the real entry: one clear message, exit code 1 or 2, no traceback, nothing half-written left."""

import gzip
import json
import shutil
import struct

import numpy as np
import pytest

from farout.cli import main

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 3))
Y = np.arange(60) % 3


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A flow and a classifier on a small labelled table, and files of every kind of trouble."""
    folder = tmp_path_factory.mktemp("good")
    np.savez(folder / "good.npz", X=X, y=Y)
    assert main(["fit", f"{folder}/good.npz", "--out", f"{folder}/flow", "--max-steps", "3"]) == 0
    words = ["train", "classifier", f"{folder}/good.npz", "--flow", f"{folder}/flow", "--out", f"{folder}/clf"]
    assert main([*words, "--max-steps", "3"]) == 0
    _write_bad_data(folder)
    _write_bad_runs(folder)
    return folder


def _write_bad_data(folder):
    holes, endless, constant = X.copy(), X.copy(), X.copy()
    holes[4, 1], endless[5, 2], constant[:, 1:] = np.nan, np.inf, 7.0
    np.savez(folder / "nan.npz", X=holes, y=Y)
    np.savez(folder / "inf.npz", X=endless, y=Y)
    np.savez(folder / "constant.npz", X=constant, y=Y)
    np.savez(folder / "one_class.npz", X=X, y=np.zeros(60, int))
    np.savez(folder / "unseen.npz", X=X, y=Y + 7)
    np.savez(folder / "wide.npz", X=RNG.normal(size=(60, 5)), y=Y)
    np.savez(folder / "pickled.npz", X=np.array([object()]), y=np.zeros(1))
    np.savez(folder / "unlabelled.npz", X=X)
    np.savez(folder / "odd.npz", X=RNG.random((20, 7, 7)))
    (folder / "empty.csv").write_text("")
    (folder / "empty.npz").write_text("")
    (folder / "text.csv").write_text("a,b,label\n1,2,0\n3,?,1\n5,6,0\n")
    whole = struct.pack(">IIII", 0x803, 10, 4, 4) + bytes(160)
    (folder / "cut-images-idx3-ubyte").write_bytes(whole[:100])
    (folder / "cut-images-idx3-ubyte.gz").write_bytes(gzip.compress(whole)[:-12])
    (folder / "settings.toml").write_text('data = "toy"\n[flow]\nmax_step = 3\n')
    (folder / "typed.toml").write_text('data = "toy"\nseed = "one"\n')


def _write_bad_runs(folder):
    for name in ("tampered", "truncated", "newer", "foreign", "halved", "weightless", "older"):
        shutil.copytree(folder / "flow", folder / name)
    config = json.loads((folder / "flow" / "config.json").read_text())
    tampered = (folder / "tampered" / "config.json").read_text().replace('"max_steps": 3', '"max_steps": 4')
    (folder / "tampered" / "config.json").write_text(tampered)
    (folder / "newer" / "config.json").write_text(json.dumps(config | {"format_version": 99}))
    (folder / "older" / "config.json").write_text(json.dumps(config | {"format_version": 1}))
    (folder / "foreign" / "config.json").write_text('{"model_type": "bert"}')
    half = (folder / "halved" / "config.json").read_text()
    (folder / "halved" / "config.json").write_text(half[: len(half) // 2])
    weights = (folder / "truncated" / "model.safetensors").read_bytes()
    (folder / "truncated" / "model.safetensors").write_bytes(weights[:-50])
    (folder / "weightless" / "model.safetensors").unlink()


FIT = "fit {good}/{name} --out {out}/run --max-steps 3"
TRAIN = "train classifier {good}/{name} --out {out}/run --max-steps 3"
SCORE = "score {good}/clf {good}/{name} --out {out}/s.csv"
OPENS = "score {good}/{name} {good}/good.npz --out {out}/s.csv"

# name of the case: (command, exit code, what the message must say)
CASES = {
    "NaN in fit": (FIT.replace("{name}", "nan.npz"), 1, ["NaN", "row 4", "column 1"]),
    "infinity in fit": (FIT.replace("{name}", "inf.npz"), 1, ["infinity", "row 5", "column 2"]),
    "NaN in train": (TRAIN.replace("{name}", "nan.npz"), 1, ["NaN", "row 4"]),
    "NaN in score": (SCORE.replace("{name}", "nan.npz"), 1, ["NaN", "row 4"]),
    "one class": (TRAIN.replace("{name}", "one_class.npz"), 1, ["1 class only", "at least 2"]),
    "no labels": (TRAIN.replace("{name}", "unlabelled.npz"), 1, ["y", "label"]),
    # One constant column is fine: a flow leaves it out.
    "constant columns but one": (
        FIT.replace("{name}", "constant.npz"),
        1,
        ["1 of them not constant", "at least 2 that vary"],
    ),
    "odd sides": (FIT.replace("{name}", "odd.npz"), 1, ["even", "(1, 7, 7)"]),
    "unseen labels in train": (
        "train classifier {good}/unseen.npz --flow {good}/flow --out {out}/run",
        1,
        ["unseen in training", "7, 8, 9", "0, 1, 2"],
    ),
    "unseen labels in evaluate": (
        "evaluate {good}/clf --inliers {good}/unseen.npz --outliers {good}/good.npz",
        1,
        ["unseen in training", "7, 8, 9"],
    ),
    "unknown class in generate": (
        "generate {good}/flow --classes 5 --out {out}/o.npz",
        1,
        ["5", "0, 1, 2"],
    ),
    "wrong shape in score": (SCORE.replace("{name}", "wide.npz"), 1, ["(5,)", "(3,)"]),
    "wrong shape in evaluate": (
        "evaluate {good}/clf --inliers {good}/good.npz --outliers {good}/wide.npz",
        1,
        ["(5,)", "(3,)"],
    ),
    "wrong shape for a flow": (
        "train classifier {good}/wide.npz --flow {good}/flow --out {out}/run",
        1,
        ["(5,)", "(3,)"],
    ),
    "empty csv": (FIT.replace("{name}", "empty.csv"), 1, ["empty.csv is empty"]),
    "empty npz": (FIT.replace("{name}", "empty.npz"), 1, ["empty.npz is empty"]),
    "truncated IDX": (FIT.replace("{name}", "cut-images-idx3-ubyte"), 1, ["cut-images-idx3-ubyte"]),
    "truncated gzipped IDX": (FIT.replace("{name}", "cut-images-idx3-ubyte.gz"), 1, ["cut-images-idx3-ubyte.gz"]),
    "a mark for missing in a csv": (FIT.replace("{name}", "text.csv"), 1, ["'b'", "text.csv", "'?'", "empty"]),
    "pickled objects": (FIT.replace("{name}", "pickled.npz"), 1, ["Python objects"]),
    "missing file": (FIT.replace("{name}", "absent.npz"), 1, ["absent.npz"]),
    "missing set": ("fit kmnist --data-root {out} --out {out}/run", 1, ["kmnist", "not found", "farout data download"]),
    "misspelt set": ("fit minst --out {out}/run", 1, ["did you mean mnist?"]),
    "unknown split": ("fit toy:tests --out {out}/run", 1, ["'tests'", "train, test, all"]),
    "unknown class in DATA": ("fit toy@9 --out {out}/run", 1, ["9", "0, 1, 2"]),
    "unknown command": ("fitt toy", 2, ["No such command", "fit"]),
    "unknown option": ("fit toy --max-step 3 --out {out}/run", 2, ["--max-step", "--max-steps"]),
    "wrong type of an option": ("fit toy --max-steps many --out {out}/run", 2, ["--max-steps", "integer"]),
    "wrong choice": ("generate {good}/flow --source gumble --out {out}/o.npz", 2, ["gumble", "gumbel"]),
    "missing option": ("fit toy", 2, ["--out"]),
    "missing argument": ("fit --out {out}/run", 2, ["DATA"]),
    "no such strength": ("generate {good}/flow --strength big --out {out}/o.npz", 1, ["'big'"]),
    "negative strength": ("generate {good}/flow --strength 0 --out {out}/o.npz", 1, ["strength", "above 0"]),
    "backward range": ("generate {good}/flow --strength 4-2 --out {out}/o.npz", 1, ["backwards"]),
    "meaningless option": ("generate {good}/flow --law author --out {out}/o.npz", 1, ["--law", "normal"]),
    "quantile of a shell": ("generate {good}/flow --quantile 0.2 --out {out}/o.npz", 1, ["--quantile", "normal"]),
    "no such quantile": ("generate {good}/flow --source collage --quantile 1 --out {out}/o.npz", 1, ["quantile", "1"]),
    "range of a boundary": (
        "generate {good}/flow --source boundary --beyond 1-2 --out {out}/o.npz",
        1,
        ["--beyond 1-2", "one number"],
    ),
    "boundary from inside": (
        "generate {good}/flow --source boundary --beyond 0.5 --out {out}/o.npz",
        1,
        ["beyond", "1 (on the boundary) or more"],
    ),
    "fewer than no outliers": (TRAIN.replace("{name}", "good.npz") + " --n-outliers -1", 1, ["n_outliers = -1", "0"]),
    "real without outliers": (TRAIN.replace("{name}", "good.npz") + " --source real", 1, ["--outliers"]),
    "outliers of another shape": (
        TRAIN.replace("{name}", "good.npz") + " --source real --outliers {good}/wide.npz",
        1,
        ["--outliers", "(5,)", "(3,)"],
    ),
    "negative steps": ("fit toy --max-steps -3 --out {out}/run", 1, ["max_steps", "-3"]),
    "negative beta": (TRAIN.replace("{name}", "good.npz") + " --beta -1", 1, ["beta", "-1"]),
    "unknown setting": ("fit --config {good}/settings.toml --out {out}/run", 1, ["flow.max_step", "'max_steps'"]),
    "setting of a wrong type": ("fit --config {good}/typed.toml --out {out}/run", 1, ["seed = 'one'", "integer"]),
    "no settings file": ("fit --config {good}/absent.toml --out {out}/run", 1, ["absent.toml"]),
    "no run": ("score {out} {good}/good.npz", 1, ["no run folder"]),
    "absent run": ("report {out}/absent", 1, ["no such run folder"]),
    "folder of runs": ("report {good}", 1, ["holds some", "clf"]),
    "tampered run": (OPENS.replace("{name}", "tampered"), 1, ["changed after it was saved"]),
    "truncated weights": (OPENS.replace("{name}", "truncated"), 1, ["truncated or changed"]),
    "truncated config": (OPENS.replace("{name}", "halved"), 1, ["truncated or changed"]),
    "missing weights": (OPENS.replace("{name}", "weightless"), 1, ["model.safetensors is missing"]),
    "newer run": (OPENS.replace("{name}", "newer"), 1, ["version 99", "Update farout"]),
    "run of the first format": (OPENS.replace("{name}", "older"), 1, ["in format 1", "train again"]),
    "foreign folder": (OPENS.replace("{name}", "foreign"), 1, ["wasn't written by farout"]),
    "run over other files": ("fit toy --out {good} --max-steps 3", 1, ["holds files that are no run"]),
    "run over a file": ("fit toy --out {good}/good.npz --max-steps 3", 1, ["is a file"]),
    "unknown ending": ("generate {good}/flow --out {out}/o.xls", 1, ["o.xls", ".npz"]),
    "outliers to a folder": ("generate {good}/flow --out {good}/flow", 1, ["no shards", "empty folder"]),
    "scores over a file": ("score {good}/clf {good}/good.npz --out {good}/text.csv", 1, ["exists", "--force"]),
    "demo over other files": ("demo --out {good}", 1, ["holds files", "--out"]),
    "report to no page": ("report {good}/flow --out {out}/r.pdf", 1, [".html"]),
    "unknown set to download": ("data download minst", 1, ["did you mean mnist?"]),
    "option without a meaning": ("fit toy --label y --out {out}/run", 1, ["label", "toy"]),
}


def contents(folder):
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(("command", "code", "said"), CASES.values(), ids=CASES)
def test_bad_input(good, tmp_path, capsys, command, code, said):
    out = tmp_path / "out"
    out.mkdir()
    before = contents(good)
    capsys.readouterr()
    assert main(command.format(good=good, out=out).split()) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert told.err.count("\n") == 1, told.err
    assert "Traceback" not in told.err
    assert "unexpected" not in told.err
    for part in said:
        assert part in told.err
    assert not list(out.iterdir())
    assert contents(good) == before
