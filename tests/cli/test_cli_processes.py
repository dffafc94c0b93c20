"""Commands in two processes: the run is that of one, and the first process alone writes and speaks."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sklearn.datasets import make_moons

import farout as fo

pytestmark = pytest.mark.slow

TWO = ["--devices", "2", "--accelerator", "cpu"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "-m"]


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "moons.csv"
    X, y = make_moons(303, noise=0.1, random_state=0)
    np.savetxt(path, np.c_[X, y], delimiter=",", header="a,b,label", comments="", fmt="%.6f")
    return path


def begun(*words, launcher=("-m",)):
    line = [sys.executable, *launcher, "farout", *map(str, words)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def done(*words, launcher=("-m",), code=0):
    command = begun(*words, launcher=launcher)
    out, err = command.communicate(timeout=300)
    assert command.returncode == code, err
    return out, err


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def fit(data, out, steps=120):
    return ["fit", data, "--label", "label", "--out", out, "--max-steps", steps, "--architecture", "vector"]


@pytest.fixture(scope="module")
def alone(moons, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "flow"
    said, _ = done(*fit(moons, out), "--json", "--accelerator", "cpu")
    return out, json.loads(said)


def assert_same(run, one):
    two, one = fo.load(run), fo.load(one)
    for name, column in one.history_.items():
        np.testing.assert_allclose(two.history_[name], column, atol=1e-4, err_msg=name)
    np.testing.assert_allclose(two.held_radii_, one.held_radii_, atol=1e-3)


@pytest.mark.parametrize(
    ("launcher", "flags"), [(("-m",), TWO), (TORCHRUN, ["--devices", "auto", "--accelerator", "cpu"])]
)
def test_a_run_of_two_processes_is_that_of_one(launcher, flags, moons, alone, tmp_path):
    one, facts = alone
    said, _ = done(*fit(moons, tmp_path / "flow"), *flags, "--json", launcher=launcher)
    assert json.loads(said) == facts | {"run": str(tmp_path / "flow")}  # it is said once
    assert names(tmp_path / "flow") == names(one)
    assert_same(tmp_path / "flow", one)
    _, err = done(*fit(moons, tmp_path / "flow"), *flags, launcher=launcher, code=1)
    assert "holds a finished run" in err


def test_a_terminated_run_goes_on_in_as_many_processes_as_are_asked_for(moons, alone, tmp_path):
    out = tmp_path / "flow"
    command = begun(*fit(moons, out), *TWO)
    until = time.monotonic() + 200
    while not (out / "checkpoints" / "flow" / "last.ckpt").is_file() and time.monotonic() < until:
        time.sleep(0.02)
    command.send_signal(signal.SIGTERM)
    _, err = command.communicate(timeout=200)
    assert command.returncode == 128 + signal.SIGTERM, err
    assert err.count("go on by") == 1
    _, err = done(*fit(moons, out), *TWO, code=1)
    assert "add --resume" in err
    done("fit", "--out", out, "--resume", "--devices", "1")
    assert names(out) == names(alone[0])
    assert_same(out, alone[0])


def test_a_classifier_its_flow_and_the_page_of_archetypes(moons, tmp_path):
    config = tmp_path / "few.toml"
    config.write_text("[flow]\nmax_steps = 10\n")
    one = ["train", "classifier", moons, "--label", "label", "--source", "normal", "--max-steps", "10"]
    done(*one, "--config", config, "--out", tmp_path / "one", "--accelerator", "cpu")
    done(*one, "--config", config, "--out", tmp_path / "two", *TWO)
    a, b = fo.load(tmp_path / "one"), fo.load(tmp_path / "two")
    np.testing.assert_allclose(b.history_["loss"], a.history_["loss"], atol=1e-4)
    np.testing.assert_allclose(b.offset_, a.offset_, atol=1e-4)
    words = ["archetypes", moons, "--label", "label", "--deep", "--max-steps", "10", "--no-counts", *TWO]
    said, _ = done(*words, "--config", config, "--out", tmp_path / "deep", "--json")
    assert json.loads(said)["report"] == str(tmp_path / "deep" / "report.html")
    assert {"config.json", "report.html"} <= set(names(tmp_path / "deep"))


def test_torchrun_with_one_device_is_an_error(moons, tmp_path):
    _, err = done(*fit(moons, tmp_path / "flow"), launcher=TORCHRUN, code=1)
    assert "torchrun has started 2 processes, and devices is 1" in err
    assert not (tmp_path / "flow").exists()
