"""``farout archetypes``: linear and deep, the page, what is refused, interruption."""

import json
import tomllib
from dataclasses import replace

import numpy as np
import pytest

import farout as fo
from farout.base import training
from farout.cli import main
from farout.runs import archetypes as experiment

QUICK = ["--counts", "2-3"]


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "linear"
    assert main(["archetypes", "digits:train@0-3", "-k", "4", "--out", str(out), *QUICK]) == 0
    return out


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "flow"
    assert main(["fit", "toy", "--out", str(out), "--max-steps", "20"]) == 0
    return out


def headings(page):
    return [line[4:-5] for line in page.read_text().splitlines() if line.startswith("<h2>")]


def test_a_linear_run_holds_model_settings_comparison_and_page(linear):
    assert {p.name for p in linear.iterdir()} == {
        "config.json",
        "model.safetensors",
        "settings.toml",
        "record.json",
        "counts.json",
        "report.html",
    }
    kept = tomllib.loads((linear / "settings.toml").read_text())
    assert kept["archetypes"] == {"n_archetypes": 4, "deep": False, "counts": "2-3"}
    assert fo.load(linear).archetypes_.shape == (4, 64)
    assert headings(linear / "report.html")[:3] == ["The archetypes", "Data as mixtures", "How many archetypes"]


def test_the_report_draws_the_comparison_again_without_fitting(linear, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment, "explained_by_count", None)
    page = tmp_path / "again.html"
    assert main(["report", str(linear), "--out", str(page)]) == 0
    assert page.read_text() == (linear / "report.html").read_text()


def test_a_deep_run_starts_from_a_flow_and_says_what_came_out(flow, tmp_path, capsys):
    out = tmp_path / "deep"
    words = ["archetypes", "toy", "-k", "3", "--deep", "--flow", str(flow), "--out", str(out), "--max-steps", "5"]
    capsys.readouterr()
    assert main([*words, "--no-counts", "--frozen", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["model"], shown["archetypes"], shown["classes"]) == ("DeepArchetypes", 3, [0, 1, 2])
    assert shown["mse_plain"] > 0
    assert shown["mse_with_nullspace"] > 0
    assert [row["archetype"] for row in shown["hull"]] == [1, 2, 3]
    assert shown["report"] == str(out / "report.html")
    assert not (out / "counts.json").exists()
    model = fo.load(out)
    assert model.joint is False
    assert model.max_steps == 5
    found = headings(out / "report.html")
    for heading in (
        "Inliers and outliers by concentration",
        "Are the archetypes on the hull?",
        "Reconstruction from archetype weights",
    ):
        assert heading in found
    assert "What the flow makes of growing strength" in found, "the flow's own part"
    assert main(["generate", str(out), "-n", "5", "--out", str(tmp_path / "o.npz")]) == 0


def test_facts_are_aligned_and_the_last_line_is_what_to_try_next(linear, tmp_path, capsys):
    out = tmp_path / "r"
    capsys.readouterr()
    assert main(["archetypes", "digits:test@0-1", "--out", str(out), "--no-counts", "--verbose"]) == 0
    said = capsys.readouterr()
    facts = dict(line.split(None, 1) for line in said.out.splitlines() if not line.startswith("explained"))
    assert facts["archetypes"] == "3"
    assert "explained variance" in said.out
    assert said.err.splitlines()[-1] == "next: farout archetypes digits:test@0-1 -k 3 --deep --out RUN"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--bias"], "archetypes.bias has no meaning for linear archetypes"),
        (["--frozen"], "archetypes.joint"),
        (["--no-labels"], "archetypes.labels"),
        (["--loss", "author"], "archetypes.loss"),
        (["--flow", "runs/flow"], "--flow"),
        (["--precision", "bf16-mixed"], "--precision"),
        (["--counts", "many"], "archetypes.counts = 'many' can't be used: expected a range such as 2-12"),
        (["-k", "0"], "n_archetypes"),
    ],
)
def test_what_linear_archetypes_can_not_use_is_refused(words, said, tmp_path, capsys):
    assert main(["archetypes", "toy", "--out", str(tmp_path / "r"), *words]) == 1
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_wrong_use_is_told_apart(tmp_path, capsys):
    out = ["--out", str(tmp_path / "r")]
    assert main(["archetypes", "toy", *out, "--counts", "2-3", "--no-counts"]) == 2
    assert main(["archetypes", *out]) == 2
    assert main(["archetypes", "toy", *out, "--head", "round"]) == 2


def test_nothing_is_replaced_without_force(linear, capsys):
    before = (linear / "model.safetensors").read_bytes()
    assert main(["archetypes", "digits:test@0-1", "--out", str(linear), *QUICK]) == 1
    assert "--force" in capsys.readouterr().err
    assert (linear / "model.safetensors").read_bytes() == before


def test_settings_of_a_run_give_the_same_run(linear, tmp_path):
    out = tmp_path / "r"
    assert main(["archetypes", "--config", str(linear / "settings.toml"), "--out", str(out), "--no-counts"]) == 0
    assert (out / "model.safetensors").read_bytes() == (linear / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_an_interrupted_deep_run_goes_on_with_resume(flow, tmp_path, monkeypatch, capsys):
    out = tmp_path / "r"
    words = ["archetypes", "toy", "--deep", "--flow", str(flow), "--out", str(out), "--max-steps", "120", "--no-counts"]
    whole = training._Loop._step

    def taken(self):
        if self.state.step == 110:
            raise KeyboardInterrupt
        whole(self)

    with monkeypatch.context() as patched:
        patched.setattr(training._Loop, "_step", taken)
        assert main(words) == 130
    assert f"farout archetypes --out {out} --resume" in capsys.readouterr().err
    assert main(["archetypes", "--out", str(out), "--resume"]) == 0
    steps = fo.load(out).history_["step"]
    assert steps == sorted(steps)
    assert steps[-1] >= 119


@pytest.mark.slow
def test_an_interruption_after_the_fit_is_resumed(tmp_path, monkeypatch, capsys):
    def interrupted(run, data_root=None):
        raise KeyboardInterrupt

    out = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "compare_counts", interrupted)
        assert main(["archetypes", "toy:test", "--out", str(out)]) == 130
        patch.setattr(experiment.ArchetypalAnalysis, "fit", interrupted)  # again, earlier
        assert main(["archetypes", "--out", str(out), "--resume"]) == 130
    assert capsys.readouterr().err.count(f"farout archetypes --out {out} --resume") == 2
    assert main(["archetypes", "--out", str(out), "--resume"]) == 0
    names = ["config.json", "counts.json", "model.safetensors", "record.json", "report.html", "settings.toml"]
    assert sorted(path.name for path in out.iterdir()) == names


def test_a_page_that_fails_leaves_the_run_finished(tmp_path, monkeypatch, capsys):
    def failing(run, data_root=None):
        raise OSError(28, "No space left on device", "counts.json")

    out = tmp_path / "r"
    with monkeypatch.context() as patch:
        patch.setattr(experiment, "compare_counts", failing)
        assert main(["archetypes", "toy:test", "--out", str(out)]) == 1
    assert "No space left" in capsys.readouterr().err
    assert main(["report", str(out)]) == 0


def test_linear_archetypes_give_no_scores_and_say_so(linear, capsys):
    assert main(["score", str(linear), "digits"]) == 1
    told = capsys.readouterr().err
    assert "ArchetypalAnalysis" in told
    assert told.count("\n") == 1


def test_the_help_opens_with_an_example(capsys):
    assert main(["archetypes", "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0].startswith("Usage: farout archetypes")
    assert lines[1].startswith("Example: farout archetypes")


@pytest.fixture(scope="module")
def deep(flow, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "deep"
    words = ["archetypes", "toy", "-k", "3", "--deep", "--flow", str(flow), "--out", str(out), "--max-steps", "5"]
    assert main([*words, "--no-counts"]) == 0
    return out


@pytest.mark.parametrize(
    ("options", "lowest"),
    [
        (["--source", "archetypal", "--beyond", "1"], -0.34),
        (["--source", "archetypal", "--concentration", "7,0.3,0.3"], 0.0),
        (["--source", "nullspace", "--w", "own"], 0.0),
        (["--source", "nullspace", "--w", "normal", "--slides"], 0.0),
    ],
)
def test_outliers_of_a_deep_run_come_with_their_weights(deep, tmp_path, options, lowest):
    out = tmp_path / "outliers.npz"
    assert main(["generate", str(deep), *options, "-n", "40", "--out", str(out)]) == 0
    kept = np.load(out)
    assert kept["x"].shape == (40, 2)
    assert kept["weights"].shape == (40, 3)
    assert kept["weights"].min() >= lowest
    again = fo.load_data(str(out))
    assert again.X.shape == (40, 2)


def test_models_train_on_the_archetypes_of_a_run_or_make_their_own(deep, flow, tmp_path, monkeypatch):
    budget = fo.DeepArchetypes._budget
    monkeypatch.setattr(fo.DeepArchetypes, "_budget", lambda self, n: replace(budget(self, n), max_steps=3))
    words = ["train", "classifier", "toy", "--max-steps", "3", "--source", "archetypal", "--concentration", "0.5"]
    assert main([*words, "--flow", str(deep), "--out", str(tmp_path / "of_run")]) == 0
    source = fo.load(tmp_path / "of_run").source_
    assert source.concentration == 0.5
    assert np.array_equal(source.base_.archetypes_, fo.load(deep).archetypes_)
    words = ["train", "discriminator", "toy", "--max-steps", "3", "--source", "nullspace", "-k", "2"]
    assert main([*words, "--flow", str(flow), "--out", str(tmp_path / "own")]) == 0
    assert fo.load(tmp_path / "own").source_.base_.n_archetypes == 2
    assert main(["generate", str(tmp_path / "own"), "--source", "nullspace", "--out", str(tmp_path / "o.npz")]) == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "FLOW", "--source", "archetypal"], "holds no deep archetypes to draw from"),
        (
            ["generate", "DEEP", "--source", "archetypal", "--w", "own"],
            "--w has no meaning for the source",
        ),
        (["generate", "DEEP", "--source", "nullspace", "--strength", "2"], "--strength has no meaning"),
        (["generate", "DEEP", "--concentration", "1"], "--concentration has no meaning for the source 'normal'"),
        (
            ["generate", "DEEP", "--source", "archetypal", "--concentration", "few"],
            "few: 'few' is not a number",
        ),
        (["generate", "DEEP", "--source", "archetypal", "--concentration", "1,2"], "3 of them"),
        (["train", "classifier", "toy", "--source", "archetypal", "-k", "5", "--flow", "DEEP"], "has 3 archetypes"),
    ],
)
def test_sources_say_what_is_wrong(deep, flow, tmp_path, capsys, words, message):
    words = [{"FLOW": str(flow), "DEEP": str(deep)}.get(w, w) for w in words]
    assert main([*words, "--out", str(tmp_path / "out.npz")]) == 1
    assert message in capsys.readouterr().err
