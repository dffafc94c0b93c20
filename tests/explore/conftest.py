"""Runs to explore: of images and of a table, with classes and without, made by the commands in a few steps."""

import contextlib
import subprocess
import sys

import pyarrow.csv
import pytest
from people_table import people

from farout.cli import main
from farout.explore.explorer import Explorer
from farout.runs.folder import open_run

STEPS = ["--max-steps", "10"]


@pytest.fixture(scope="package")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    pyarrow.csv.write_csv(people(), folder / "people.csv")
    flow, deep = str(folder / "flow"), str(folder / "deep")
    made = [
        ["fit", "digits:train@0-2", "--out", flow, *STEPS],
        ["train", "classifier", "digits:train@0-2", "--flow", flow, "--strength", "3", "--out", str(folder / "clf")],
        ["archetypes", "digits:train@0-2", "-k", "3", "--counts", "none", "--deep", "--flow", flow, "--out", deep],
        ["train", "detector", str(folder / "people.csv"), "--out", str(folder / "people")],
    ]
    for words in made[:3]:
        assert main(words if words[0] == "fit" else [*words, *STEPS]) == 0
    assert main(made[3]) == 0
    assert main(["archetypes", "digits:train@0-2", "-k", "4", "--counts", "none", "--out", str(folder / "linear")]) == 0
    return folder


@pytest.fixture(scope="package")
def explored(runs):
    """Explorers of the runs, by name."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = Explorer(open_run(runs / name))
        return made[name]

    return of


@contextlib.contextmanager
def command(run):
    """``farout explore`` in a process of its own: its address, and the process."""
    words = [sys.executable, "-m", "farout", "explore", str(run), "--no-browser"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = process.stdout.readline().strip()
            assert address, process.stderr.read()
            yield address, process
        finally:
            process.kill()


@pytest.fixture(scope="package")
def served(runs):
    """Addresses of the pages of runs, by name; each is served once."""
    with contextlib.ExitStack() as stack:
        made = {}

        def of(name):
            if name not in made:
                made[name] = stack.enter_context(command(runs / name))[0]
            return made[name]

        yield of


@pytest.fixture
def started(runs):
    """A page that is served for one test alone."""
    with contextlib.ExitStack() as stack:
        yield lambda name: stack.enter_context(command(runs / name))
