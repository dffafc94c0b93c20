"""Fixtures shared by all tests."""

import functools
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Tests run side by side; more threads than cores only wait for each other. Before NumPy and its kin look at it, and for
# the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from hypothesis import settings

from farout.detectors.flow_detector import TABLE_FLOW

os.environ.setdefault("MPLBACKEND", "agg")  # no windows
settings.register_profile("farout", deadline=None)  # a machine may be busy: no test asks how long it takes
settings.load_profile("farout")

pytest_plugins = ["browser"]  # tests/browser.py: a page in Chromium

# Doctests are looked for in every module; those of the page in the browser import Panel, which is an extra.
collect_ignore = [] if importlib.util.find_spec("panel") else ["src/farout/explore"]

if (
    sys.platform == "win32"
):  # these send signals, set limits of memory, or make pipes and links as POSIX systems have them
    collect_ignore += [
        "tests/base/test_files.py",
        "tests/base/test_training_process.py",
        "tests/base/test_training_processes.py",
        "tests/base/test_training_resume.py",
        "tests/data/test_limits.py",
        "tests/fuzz",
        "tests/memory_use.py",
        "tests/reliability",
        "tests/talk/test_reproduce.py",
        "tests/test_memory.py",
    ]

LONGEST = (
    "test_photographs_with_classes_held_out",
    "test_the_smoke_run_of_all",
    "test_everything_in_a_few_steps_and_again",
)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Torch too, where OMP_NUM_THREADS says otherwise."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def callbacks_looked_for_once() -> Iterator[None]:
    """Lightning reads the metadata of all that is installed before each training, for callbacks: a seventh of the time
    of the short ones. Nothing is installed while tests run.
    """
    place = "lightning_fabric.fabric._load_external_callbacks"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, functools.cache(pkgutil.resolve_name(place)))
        yield


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Figures of pyplot, which an example or a test left open, go with it."""
    yield
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is not None:
        pyplot.close("all")


@pytest.fixture
def in_page_style() -> Iterator[None]:
    """Plots are drawn as those of farout's own pages."""
    from farout.plots.style import page_style

    with page_style():
        yield


TABLE_STEPS = TABLE_FLOW["max_steps"]  # those that users have
CHOICES = {
    "farout.outliers.trials.LEAST_STEPS": 15,
    "farout.outliers.trials.MOST_STEPS": 15,
    "farout.networks.vector.STEPS": 4,
    "farout.outliers.critic.STEPS": 40,
    "farout.detectors.forest.TREES": 10,
}


@pytest.fixture(autouse=True, scope="session")
def short_choices() -> Iterator[pytest.MonkeyPatch]:
    """Trials that choose sources and networks, and flows that detectors fit by themselves, take a few steps, and
    forests have a few trees: most tests do not ask what comes out.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, steps in CHOICES.items():
            patch.setattr(name, steps)
        patch.setitem(TABLE_FLOW, "max_steps", 30)  # the flow that a detector of tables fits by itself
        yield patch


@pytest.fixture(scope="module")
def whole_choices() -> Iterator[None]:
    """As many steps as users have, for the tests of a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("farout.outliers.trials.LEAST_STEPS", 60)
        patch.setattr("farout.outliers.trials.MOST_STEPS", 300)
        patch.setattr("farout.networks.vector.STEPS", 150)
        patch.setattr("farout.outliers.critic.STEPS", 300)
        patch.setattr("farout.detectors.forest.TREES", 100)
        patch.setitem(TABLE_FLOW, "max_steps", TABLE_STEPS)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest tests first, then files with slow ones, or one core would wait minutes for them at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (item.name not in LONGEST, item.path not in slow))


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real image sets, or a skip that says what is missing."""
    root = os.environ.get("FAROUT_DATA")
    if not root or not Path(root).is_dir():
        pytest.skip("real image sets are absent: set FAROUT_DATA to the folder that holds mnist/ and others")
    return Path(root)


@pytest.fixture
def no_sets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No data set can be found outside the folder a test gives; returns the user's cache folder."""
    cache = tmp_path / "cache"
    monkeypatch.delenv("FAROUT_DATA", raising=False)
    monkeypatch.setattr("farout.data.locate.pooch.os_cache", lambda name: cache)
    monkeypatch.setattr("farout.data.locate._SYSTEM_FOLDERS", (tmp_path / "system",))
    return cache
