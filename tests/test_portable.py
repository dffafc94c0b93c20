"""Written on Linux, for Windows and macOS too: what of that can be tested here."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS = [*sorted((ROOT / "src" / "farout").rglob("*.py")), ROOT / ".ci" / "lock.py"]
TREES = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in SCRIPTS}


def calls(tree):
    """Each call of a file: its line, the name that is called, the names of keywords, and positional texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute | ast.Name):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id
            texts = [a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)]
            yield node.lineno, name, {keyword.arg for keyword in node.keywords}, texts


def test_text_files_have_an_encoding_and_line_ends_of_their_own():
    """Without, Windows takes its own encoding, and writes line ends that change check sums."""
    lacking = []
    for file, tree in TREES.items():
        for line, name, given, texts in calls(tree):
            written = name == "open" and any(not set(text) - set("wxa+t") for text in texts)
            if (written or name in ("read_text", "write_text")) and "encoding" not in given:
                lacking.append(f"{file}:{line}: encoding")
            if (written or name == "write_text") and "newline" not in given:
                lacking.append(f"{file}:{line}: newline")
    assert lacking == []


def test_paths_that_are_written_down_have_slashes():
    """A path within a folder is the same text on every system."""
    lacking = []
    for file, tree in TREES.items():
        values = [n.value for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "as_posix"]
        posix = {n.func for n in values if isinstance(n, ast.Call)}
        relative = {n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and n.attr == "relative_to"}
        lacking += [f"{file}:{n.lineno}" for n in relative - posix]
    assert lacking == []


# What Windows hasn't is taken away, once other packages, which look at the platform too, are there.
WINDOWS = """
import importlib, json, pkgutil, sys
import lightning, matplotlib.pyplot, pooch, pyarrow.parquet, rich.console, safetensors.torch, scipy.stats
import sklearn.datasets, sklearn.ensemble, torch, typer, zipfile
import torch._dynamo, torch.utils.data, torch.utils.tensorboard

import os, signal, subprocess, multiprocessing
sys.platform = "win32"
for name in ("fcntl", "resource", "termios", "pwd", "grp"):
    sys.modules[name] = None
for name in ("SIGHUP", "SIGKILL", "SIGUSR1"):
    delattr(signal, name)
for name in ("sysconf", "sched_getaffinity", "fork", "getuid"):
    if hasattr(os, name):
        delattr(os, name)

import farout
skipped = "farout.explore", "farout.__main__"  # Panel is an extra, and __main__ runs
names = [m.name for m in pkgutil.walk_packages(farout.__path__, "farout.") if not m.name.startswith(skipped)]
for name in names:
    importlib.import_module(name)
from farout.base import files, reading
assert not hasattr(files, "fcntl") and len(names) > 100
assert reading.free_memory() > 0

from farout.cli import main
flow = ["--max-steps", "2", "--seed", "0"]
codes = [
    main(["fit", "toy", "--out", "flow", *flow]),
    main(["train", "detector", "toy", "--flow", "flow", "--out", "det"]),
    main(["train", "detector", "toy", "--flow", "flow", "--out", "det", "--force"]),
    main(["score", "det", "toy:test", "--out", "scores.csv"]),
    main(["report", "det"]),
]
model = farout.load("det")
model.save("det", force=True)
again = farout.load("det")
X = farout.load_data("toy:test").X
assert (again.score_samples(X) == model.score_samples(X)).all()
print(json.dumps(codes))
"""


@pytest.mark.slow
def test_without_what_windows_lacks_all_modules_import_and_runs_are_made(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [0] * 5
    made = [path for path in sorted(tmp_path.rglob("*")) if path.is_file()]
    assert {"config.json", "model.safetensors", "report.html", "scores.csv"} <= {path.name for path in made}
    for path in made:
        assert not set(path.name) & set('<>:"|?*\\'), f"{path.name}: no name for a file on Windows"
        if path.suffix in (".json", ".toml", ".csv", ".html"):
            assert b"\r\n" not in path.read_bytes()


NARROW = """
import sys
from farout.cli.console import console, showing_all
with showing_all():
    console.result("Zürich \u2264 1")
    console.json({"Zürich": "\u2264 \U0001f600"})
assert sys.stdout.errors == "strict"
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_what_stdout_can_not_show_is_no_error_and_json_stays_json(encoding):
    environment = {"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", NARROW], capture_output=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    first, rest = done.stdout.decode(encoding).split("\n", 1)
    assert first == {"ascii": "Z\\xfcrich \\u2264 1", "cp1252": "Zürich \\u2264 1", "utf-8": "Zürich ≤ 1"}[encoding]
    assert json.loads(rest) == {"Zürich": "≤ \U0001f600"}
    helped = subprocess.run(
        [sys.executable, "-m", "farout", "--help"], capture_output=True, env=environment, check=False
    )
    assert helped.returncode == 0, helped.stderr
