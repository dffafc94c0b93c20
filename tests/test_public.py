"""The public names: all there, documented with examples, and quick to import."""

import ast
import inspect
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from sklearn.base import BaseEstimator

import farout as fo
from farout.version import own_version

# What checks and people outside the repository call; a name here never goes away.
PROMISED = {
    "FlowDensity",
    "NormalShell",
    "GumbelShell",
    "Mixture",
    "RealOutliers",
    "Archetypal",
    "Nullspace",
    "Collage",
    "Boundary",
    "Recommended",
    "Turned",
    "Walk",
    "ArchetypalAnalysis",
    "DeepArchetypes",
    "FlowDetector",
    "OutlierDiscriminator",
    "CautiousClassifier",
    "evaluate",
    "load",
    "wrap",
    "stress_test",
    "plots",
}
HEAVY = ("matplotlib", "typer", "lightning", "timm", "panel", "bokeh", "onnx", "torch", "sklearn", "numpy")


def test_promised_names_are_there():
    assert set(fo.__all__) >= PROMISED
    assert len(fo.__all__) == len(set(fo.__all__))


@pytest.mark.parametrize("name", fo.__all__)
def test_a_public_name_is_documented_under_its_own_name(name):
    thing = getattr(fo, name)
    assert thing.__name__.removeprefix("farout.") == name
    assert len(inspect.getdoc(thing).splitlines()[0]) > 15


@pytest.mark.parametrize("name", [n for n in fo.__all__ if inspect.isclass(getattr(fo, n))])
def test_every_parameter_is_documented_and_shown_in_an_example(name):
    cls = getattr(fo, name)
    if not issubclass(cls, BaseEstimator):
        pytest.skip("not an estimator")
    text = inspect.getdoc(cls)
    described = re.split(r"\n\n\w+\n---", text.split("Parameters\n----------\n")[1])[0]  # up to the next section
    assert [p for p in cls._get_param_names() if f"{p} :" not in described and f"{p}," not in described] == []
    assert ">>> " in text.split("Examples\n--------\n")[1]
    assert "fit" in vars(cls) or any("fit" in vars(base) for base in cls.__mro__)


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="module 'farout' has no attribute 'FlowDensitty'"):
        fo.FlowDensitty  # noqa: B018


def test_every_public_name_is_seen_by_dir_and_by_type_checkers():
    assert set(dir(fo)) == {*fo.__all__, "__version__"}
    tree = ast.parse(Path(fo.__file__).read_text(encoding="utf-8"))
    seen = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {n.asname: i.module for i in seen.body if isinstance(i, ast.ImportFrom) for n in i.names}
    assert homes == fo._HOMES | dict.fromkeys(fo._PACKAGES, "farout")


def test_the_version_is_that_of_the_project():
    project = Path(__file__).parents[1] / "pyproject.toml"
    assert own_version() == fo.__version__ == tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]


def test_the_version_of_a_source_tree_that_is_not_installed():
    folder = Path(fo.__file__).parents[1]
    code = f"import sys; sys.path.insert(0, {str(folder)!r}); import farout; print(farout.__version__)"
    done = subprocess.run([sys.executable, "-S", "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fo.__version__


SCRIPTS = {
    "right.py": """
import numpy as np
import farout as fo

X = np.zeros((5, 2))
flow = fo.FlowDensity(max_steps=3, random_state=0).fit(X)
clf = fo.CautiousClassifier(source=fo.GumbelShell(strength=2.5, law="exact"), beta=1.0)
table = fo.evaluate(flow.score_samples(X), {"letters": [0.0]})
print(fo.__version__, table["letters"].auroc, table.to_frame(), clf)
""",
    "name.py": "import farout as fo\n\nfo.FlowDensitty()\n",
    "parameter.py": "import farout as fo\n\nfo.FlowDensity(max_step=3)\nfo.GumbelShell(strenght=2.5)\n",
}
# What farout stands on is left out, to be quick: only farout's own names and parameters are in question.
MYPY = """
[mypy]
strict = true
follow_imports = silent
[mypy-torch.*,numpy.*,sklearn.*,scipy.*,narwhals.*,pyarrow.*,lightning.*,PIL.*,safetensors.*,rich.*,pydantic.*,pooch.*]
follow_imports = skip
"""


def test_a_type_checker_sees_what_is_misspelt_in_a_users_script(tmp_path):
    for name, script in SCRIPTS.items():
        (tmp_path / name).write_text(script)
    (tmp_path / "mypy.ini").write_text(MYPY)
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(tmp_path / "cache"), *SCRIPTS]
    source = str(Path(fo.__file__).parents[1])
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=tmp_path, env={**os.environ, "MYPYPATH": source}
    )
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert len(errors) == 3, done.stdout + done.stderr
    for part in ("name.py:3: error: Module has no attribute", "parameter.py:3", "parameter.py:4"):
        assert any(line.startswith(part) for line in errors), errors
    assert all(word in done.stdout for word in ('"max_steps"?', '"strength"?'))


def test_importing_farout_imports_nothing_heavy():
    code = f"import sys, farout; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_using_a_detector_imports_neither_matplotlib_nor_the_command_line():
    code = "import sys, farout; farout.CautiousClassifier(); print([m for m in ('matplotlib', 'typer', 'lightning') "
    done = subprocess.run(
        [sys.executable, "-c", code + "if m in sys.modules])"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
