"""Runs to explore: of images and of a table, with classes and without, made by the commands in a few steps."""

import datetime

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest

from farout.cli import main
from farout.explore.explorer import Explorer
from farout.runs.folder import open_run

STEPS = ["--max-steps", "10"]


def people(n=300, seed=0):
    """A table of numbers, categories, dates and missing cells, one name of which is no text for a page."""
    rng = np.random.default_rng(seed)
    age = rng.integers(18, 80, n)
    debt = np.round(rng.normal(1000, 300, n), 1)
    return pa.table(
        {
            "age": age,
            "income": np.round(600 * age + rng.normal(0, 4000, n), 2),
            "<b>city</b>": rng.choice(["Bern", "Basel", "<i>Genf</i>"], n, p=[0.5, 0.4, 0.1]),
            "since": [datetime.date(2020, 1, 1) + datetime.timedelta(days=int(d)) for d in rng.integers(0, 900, n)],
            "debt": pa.array(debt, mask=rng.random(n) < 0.1),
        }
    )


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
