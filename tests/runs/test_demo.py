"""The demo in small: all parts are made, and the page tells what came out."""

import json

import numpy as np
import pytest

from farout.cli import main
from farout.errors import RunError
from farout.runs import demo


@pytest.fixture
def small(monkeypatch):
    whole = demo.run_demo
    monkeypatch.setattr(demo, "run_demo", lambda *a, **k: whole(*a, **k, flow_steps=20, model_steps=20))


def test_the_demo_makes_runs_outliers_and_a_page(small, tmp_path, capsys):
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--json"]) == 0
    models = json.loads(capsys.readouterr().out)["models"]
    assert list(models) == ["plain classifier", "cautious classifier", "discriminator", "flow detector"]
    assert all(table["outliers"]["digits:all@7-9"]["n_out"] == 533 for table in models.values())
    assert {p.name for p in out.iterdir()} == {
        "flow",
        "plain",
        "cautious",
        "discriminator",
        "detector",
        "outliers.npz",
        "report.html",
    }
    with np.load(out / "outliers.npz") as file:
        assert file["x"].shape == (1000, 64)
        assert set(file["y"].tolist()) == set(range(7))
    page = (out / "report.html").read_text()
    assert f"{models['cautious classifier']['outliers']['digits:all@7-9']['auroc']:.3f}" in page
    assert main(["demo", "--out", str(out)]) == 1
    assert "--force" in capsys.readouterr().err
    assert main(["report", str(out / "cautious")]) == 0


def test_a_demo_that_was_cut_off_is_begun_again_and_nothing_else_is_lost(tmp_path, monkeypatch):
    def killed(*args, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(demo, "fit_flow", killed)
    for _ in range(2):  # the second one isn't refused
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(tmp_path / "demo")
    (tmp_path / "runs" / "flow").mkdir(parents=True)
    (tmp_path / "runs" / "outliers.npz").write_text("mine")
    for force in (False, True):
        with pytest.raises(RunError, match="holds files"):
            demo.run_demo(tmp_path / "runs", force=force)
    assert (tmp_path / "runs" / "outliers.npz").read_text() == "mine"


@pytest.mark.parametrize(("after", "verb"), [(0.97, "raised"), (0.80, "lowered"), (0.902, "left unchanged")])
def test_the_summary_says_what_came_out(after, verb):
    from farout.evaluation import Evaluation, EvaluationRow

    def table(auroc):
        row = EvaluationRow(auroc=auroc, ap_in=0.5, ap_out=0.5, fpr95=0.5, n_in=1, n_out=1)
        return Evaluation(((demo.UNSEEN, row),), accuracy=0.9)

    text = demo._summary({"plain classifier": table(0.9), "cautious classifier": table(after)})
    assert verb in text
    assert f"{after:.3f}" in text
