"""Which process is the first, how rows are split and come together, and who writes."""

import os
import subprocess
import sys

import pytest
import torch

from farout.base import ranks
from farout.base.training import Training

SCRIPT = """
import os, sys
import numpy as np
import farout as fo

if __name__ == "__main__":
    X = np.random.default_rng(0).standard_normal((60, 2))
    where = fo.Training(accelerator="cpu", devices=2)
    flow = fo.FlowDensity(architecture="vector", max_steps=2, training=where).fit(X)  # of a random seed
    flow.save("run")
    score = float(fo.load("run").score_samples(X[:1])[0])
    with open(f"told{os.environ['LOCAL_RANK']}", "w") as file:
        file.write(f"{flow.seed_} {score}")
    try:
        flow.save("run")
    except fo.errors.RunError as error:
        with open(f"refused{os.environ['LOCAL_RANK']}", "w") as file:
            file.write(str(error))
"""


@pytest.mark.parametrize(
    ("variables", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "4", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0", "SLURM_PROCID": "1"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_the_first_process_is_told_by_what_launchers_set(variables, first, monkeypatch):
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks.first_process() is first


@pytest.mark.parametrize(
    ("asked", "several"),
    [
        ({}, False),
        ({"devices": "1,"}, False),
        ({"devices": 2}, True),
        ({"devices": "0,2"}, True),
        ({"devices": "auto"}, True),
        ({"num_nodes": 2}, True),
    ],
)
def test_settings_for_several_processes(asked, several):
    assert Training(**asked).several is several


@pytest.mark.parametrize(("n", "processes"), [(6, 2), (7, 2), (7, 3), (5, 4), (3, 3)])
def test_rows_are_split_without_doubles_and_come_together_in_order(n, processes, monkeypatch):
    rows = torch.arange(2.0 * n).reshape(n, 2)
    parts = []
    for rank in range(processes):
        with ranks.sharing(rank, processes):
            parts.append(ranks.own(rows))
    assert len({len(part) for part in parts}) == 1
    monkeypatch.setattr(
        ranks.dist, "all_gather", lambda into, _: [t.copy_(p) for t, p in zip(into, parts, strict=True)]
    )
    seen = torch.zeros(n)
    for rank, part in enumerate(parts):
        with ranks.sharing(rank, processes):
            assert len(ranks.own(rows)) == len(part)
            given = part.clone().requires_grad_()
            together = ranks.joint(given)
        torch.testing.assert_close(together, rows)
        together.sum().backward()
        assert set(given.grad.unique().tolist()) <= {0.0, float(processes)}
        seen[part[given.grad[:, 0] > 0][:, 0].long() // 2] += 1
    assert seen.tolist() == [1.0] * n  # each row has its gradient in one process


def test_alone_nothing_is_split():
    rows = torch.ones(3, 2)
    with ranks.sharing(0, 1):
        assert ranks.own(rows) is rows
        assert ranks.joint(rows) is rows


@pytest.mark.slow
def test_a_script_in_two_processes_has_one_seed_and_one_run(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "script.py"]
    ended = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "told0").read_text() == (tmp_path / "told1").read_text()
    assert "holds a run already" in (tmp_path / "refused0").read_text()
    assert "the first process couldn't write it" in (tmp_path / "refused1").read_text()
