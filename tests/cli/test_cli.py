"""The command line: the journey of a user, streams, exit codes, layers of settings, interruption and resuming."""

import contextlib
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

import farout as fo
from farout.cli import main
from farout.cli.options import _spread

TINY = ["--max-steps", "20"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A flow and a classifier on the toy set, made by the commands themselves."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(["fit", "toy", "--out", str(folder / "flow"), *TINY, "--seed", "1"]) == 0
    words = ["train", "classifier", "toy", "--flow", str(folder / "flow"), "--out", str(folder / "clf"), *TINY]
    assert main([*words, "--strength", "3"]) == 0
    return folder


def run_process(*words, env=None):
    return subprocess.run(
        [sys.executable, "-m", "farout", *words],
        capture_output=True,
        text=True,
        env=os.environ | (env or {}),
        check=False,
    )


def test_a_run_folder_holds_model_settings_and_record_alone(runs):
    names = {p.name for p in (runs / "flow").iterdir()}
    assert names == {"config.json", "model.safetensors", "settings.toml", "record.json"}
    settings = tomllib.loads((runs / "flow" / "settings.toml").read_text())
    assert settings["data"] == "toy"
    assert settings["seed"] == 1
    assert settings["flow"]["max_steps"] == 20
    assert json.loads((runs / "flow" / "record.json").read_text())["rows"] == 2400
    assert fo.load(runs / "flow").max_steps == 20


def test_a_run_does_not_remember_where_it_was_made(runs):
    for name in ("flow", "clf"):
        assert str(runs) not in (runs / name / "config.json").read_text()


def test_the_flow_of_a_run_is_used_as_it_is(runs):
    flow, clf = fo.load(runs / "flow"), fo.load(runs / "clf")
    X = fo.load_data("toy").take([3, 5])
    np.testing.assert_array_equal(clf.source_.flow_.score_samples(X), flow.score_samples(X))
    assert clf.source_.strength == 3.0


def test_generate_writes_what_the_python_face_gives(runs, tmp_path):
    out = tmp_path / "o.npz"
    words = ["generate", str(runs / "flow"), "--source", "gumbel", "--strength", "2-4", "-n", "50", "--seed", "5"]
    assert main([*words, "--out", str(out)]) == 0
    flow = fo.load(runs / "flow")
    same = fo.GumbelShell(strength=(2, 4), flow=flow).fit(np.zeros((1, 2))).sample(50, random_state=5)
    with np.load(out) as file:
        assert sorted(file.files) == ["event_shape", "sigma", "source", "strength", "tail", "x", "y"]
        np.testing.assert_array_equal(file["x"], same.x)
        np.testing.assert_array_equal(file["y"], same.y)
        assert file["event_shape"].tolist() == [2]
        assert set(file["source"].tolist()) == {"GumbelShell"}
        assert file["strength"].min() >= 2
        assert file["strength"].max() <= 4


def test_generate_takes_and_tells_a_tail_probability(runs, tmp_path, capsys):
    out = tmp_path / "o.npz"
    assert main(["generate", str(runs / "flow"), "--tail", "0.05", "-n", "400", "--out", str(out), "--json"]) == 0
    shown, arrays = json.loads(capsys.readouterr().out), np.load(out)
    assert shown["source"] == "normal"
    same = fo.NormalShell(tail=0.05, flow=fo.load(runs / "flow")).fit(np.empty((0, 2))).sample(400, random_state=0)
    np.testing.assert_array_equal(arrays["x"], same.x)
    assert shown["tail_median"] == np.median(same.tail)
    assert shown["sigma_median"] == pytest.approx(np.median(arrays["sigma"]))
    assert arrays["tail"].shape == (400,)
    far = ["generate", str(runs / "flow"), "--strength", "30", "-n", "9", "--out", str(out), "--force", "--json"]
    assert main(far) == 0
    shown = json.loads(capsys.readouterr().out)
    assert 0 < shown["tail_below"] < 1 / 120, "the flow held out 120 rows"
    assert main(["generate", str(runs / "flow"), "--tail", "1e-9", "--out", str(out), "--force"]) == 1
    assert "more than 120 held-out rows can tell" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_generated_tables_are_data_again(runs, tmp_path, ending):
    out = tmp_path / f"o.{ending}"
    assert main(["generate", str(runs / "flow"), "-n", "9", "--classes", "0", "2", "--out", str(out)]) == 0
    data = fo.load_data(out)
    assert data.X.shape == (9, 2)
    assert data.classes == (0, 2)
    if ending == "parquet":
        assert pyarrow.parquet.read_schema(out).names == ["x1", "x2", "label"]


def test_class_covariance_reads_the_training_data_again(runs, tmp_path):
    out = tmp_path / "o.npz"
    words = ["generate", str(runs / "flow"), "--covariance", "class", "-n", "20", "--out", str(out)]
    assert main(words) == 0
    assert np.isfinite(np.load(out)["x"]).all()


def test_score_gives_one_line_a_row(runs, tmp_path, capsys):
    out = tmp_path / "s.csv"
    assert main(["score", str(runs / "clf"), "toy", "--out", str(out)]) == 0
    lines = list(csv.DictReader(out.read_text().splitlines()))
    test = fo.load_data("toy:test")
    clf = fo.load(runs / "clf")
    assert list(lines[0]) == ["row", "score", "p_value", "decision", "predicted", "label"]
    assert [int(line["row"]) for line in lines] == list(range(len(test)))
    np.testing.assert_array_equal([float(line["score"]) for line in lines], clf.score_samples(test))
    np.testing.assert_array_equal([int(line["decision"]) for line in lines], clf.is_inlier(test))
    np.testing.assert_array_equal([float(line["p_value"]) for line in lines], clf.p_values(test))
    np.testing.assert_array_equal([int(line["predicted"]) for line in lines], clf.predict(test))
    np.testing.assert_array_equal([int(line["label"]) for line in lines], test.y)
    capsys.readouterr()
    assert main(["score", str(runs / "clf"), "toy"]) == 0
    assert capsys.readouterr().out == out.read_text()


def table_with_a_planted_column(path, n, seed, *, size=0.0):
    """A CSV of four columns that go together; ``size`` moves one of each row, which comes back, by as many sd."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 1)) + 0.5 * rng.normal(size=(n, 4))
    column = rng.integers(4, size=n)
    X[np.arange(n), column] += size
    names = ("width", "a, b", "share_x", "score")
    pa.csv.write_csv(pa.table(dict(zip(names, X.T, strict=True))), path)
    return np.array(names)[column]


def test_score_explains_by_the_names_of_columns(tmp_path, capsys):
    table_with_a_planted_column(tmp_path / "normal.csv", 60, 0)
    planted = table_with_a_planted_column(tmp_path / "strange.csv", 40, 1, size=15.0)
    run, out = str(tmp_path / "run"), tmp_path / "s.csv"
    assert main(["train", "detector", str(tmp_path / "normal.csv"), "--out", run]) == 0
    capsys.readouterr()
    assert main(["score", run, str(tmp_path / "strange.csv"), "--explain", "--out", str(out)]) == 0
    assert "columns of outliers" in capsys.readouterr().out
    lines = list(csv.DictReader(out.read_text().splitlines()))
    shares = [name for name in lines[0] if name.startswith("share_")]
    assert list(lines[0]) == ["row", "score", "p_value", "decision", "top_column", *shares]
    assert shares == ["share_width", "share_a, b", "share_share_x", "share_score"]
    found = np.array([[float(line[name]) for name in shares] for line in lines])
    np.testing.assert_array_equal(found, fo.load(run).explain(fo.load_data(str(tmp_path / "strange.csv"))))
    assert (np.array([line["top_column"] for line in lines]) == planted).mean() > 0.95
    assert main(["score", run, str(tmp_path / "strange.csv"), "--explain", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["top_column"] == [line["top_column"] for line in lines]
    assert told["share_width"] == found[:, 0].tolist()
    assert len(told["columns_of_outliers"]) == 4
    page = tmp_path / "r.html"
    sets = ["--inliers", str(tmp_path / "normal.csv"), "--outliers", str(tmp_path / "strange.csv")]
    assert main(["evaluate", run, *sets]) == 0
    assert main(["report", run, "--out", str(page)]) == 0
    strangest = int(np.argmin([float(line["score"]) for line in lines]))
    assert f"strange.csv, no. {strangest}: {planted[strangest]}" in page.read_text()


def test_models_are_stressed_with_the_names_of_their_columns(runs, tmp_path, capsys):
    words = ["stress", str(runs / "clf"), "toy", "-n", "20", "--kinds", "shell", "--out", str(tmp_path / "s.html")]
    capsys.readouterr()
    assert main(words) == 0
    assert "feature names" not in capsys.readouterr().err


def test_what_cannot_be_explained_is_said_before_anything_is_scored(runs, tmp_path, capsys):
    assert main(["score", str(runs / "flow"), "toy", "--explain"]) == 1
    assert "holds a FlowDensity" in capsys.readouterr().err


def test_evaluate_keeps_the_table_and_report_shows_it(runs, tmp_path, capsys):
    out = tmp_path / "far.npz"
    np.savez(out, X=np.random.default_rng(0).uniform(-20, 20, size=(100, 2)))
    words = ["evaluate", str(runs / "clf"), "--inliers", "toy:test", "--outliers", str(out), "toy:train", "--json"]
    capsys.readouterr()
    assert main(words) == 0
    said = capsys.readouterr()
    table = json.loads(said.out)
    assert list(table["outliers"]) == [str(out), "toy:train"]
    assert table["outliers"][str(out)]["n_out"] == 100
    assert table["accuracy"] > 0.5
    assert "toy:train shares rows with toy" in said.err
    clf, test = fo.load(runs / "clf"), fo.load_data("toy:test")
    far = {"far": clf.score_samples(pa.table(dict(zip(test.feature_names, np.load(out)["X"].T, strict=True))))}
    same = fo.evaluate(clf.score_samples(test), far, n_bootstrap=0)
    assert table["outliers"][str(out)]["auroc"] == same["far"].auroc
    page = tmp_path / "new" / "r.html"
    assert main(["report", str(runs / "clf"), "--out", str(page)]) == 0
    text = page.read_text()
    headings = ["What it gets wrong", "Results", "Outliers it was trained on", "Scores, threshold and its price"]
    headings += ["Can its probabilities be trusted?", "What the flow learned", "Map of latent space", "About this run"]
    assert [heading for heading in headings if f"<h2>{heading}</h2>" not in text] == []
    assert "far.npz" in text
    assert "toy:train shares rows with toy" in text, "the warning is in the page itself"
    assert f"farout evaluate {runs / 'clf'} --inliers toy:test" in re.sub("<[^>]*>", "", text)


def test_the_page_in_a_run_is_replaced_and_no_other_file(runs, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "page.html"
    shutil.copytree(runs / "flow", run)
    page = run / "report.html"
    assert main(["report", str(run)]) == 0
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", "old</body>"), encoding="utf-8")
    assert main(["report", str(run)]) == 0
    assert "old</body>" not in page.read_text(encoding="utf-8")
    shutil.copy(page, out)
    page.write_text("mine")
    for words in (["report", str(run)], ["report", str(run), "--out", str(out)]):
        capsys.readouterr()
        assert main(words) == 1
        assert "add --force" in capsys.readouterr().err
    assert page.read_text() == "mine"
    assert main(["report", str(run), "--force"]) == 0


def test_report_of_a_flow_needs_no_evaluation(runs, tmp_path):
    page = tmp_path / "r.html"
    assert main(["report", str(runs / "flow"), "--out", str(page)]) == 0
    assert "farout train classifier toy" in page.read_text()


@pytest.mark.parametrize("kind", ["discriminator", "detector"])
def test_detectors_train_score_and_evaluate(runs, tmp_path, capsys, kind):
    out = tmp_path / "run"
    words = ["train", kind, "toy:test", "--flow", str(runs / "flow"), "--out", str(out)]
    assert main([*words, *(TINY if kind == "discriminator" else [])]) == 0
    assert "optimistic" not in capsys.readouterr().err
    assert main(["score", str(out), "toy:train", "--json"]) == 0
    scored = json.loads(capsys.readouterr().out)
    assert "predicted" not in scored
    assert scored["rows"] == len(scored["score"]) == 2400


def test_a_threshold_on_rows_that_the_flow_has_seen_is_warned_of(runs, tmp_path, capsys):
    assert main(["train", "detector", "toy", "--flow", str(runs / "flow"), "--out", str(tmp_path / "d")]) == 0
    assert "too optimistic" in capsys.readouterr().err


def test_real_outliers_may_be_several_sets(tmp_path, runs):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).uniform(-9, 9, size=(30, 2)))
    files = [str(tmp_path / f"{name}.npy") for name in "ab"]
    words = ["train", "classifier", "toy", "--source", "real", "--outliers", *files, "--out", str(tmp_path / "r")]
    assert main([*words, *TINY]) == 0
    assert fo.load(tmp_path / "r").source_.outliers_.shape == (60, 2)


def test_several_values_follow_one_flag():
    spread = _spread(["RUN", "--outliers", "a", "b", "--json", "c", "--outliers", "d", "--", "e"], {"--outliers"})
    assert spread == ["RUN", "--outliers", "a", "--outliers", "b", "--json", "c", "--outliers", "d", "--", "e"]


def test_flag_over_environment_over_file_over_default(tmp_path, monkeypatch):
    file = tmp_path / "s.toml"
    file.write_text('data = "toy"\nseed = 7\n[flow]\nmax_steps = 3\nbatch_size = 50\nnoise = 0.2\n')
    monkeypatch.setenv("FAROUT_FIT_MAX_STEPS", "4")
    monkeypatch.setenv("FAROUT_FIT_BATCH_SIZE", "60")
    assert main(["fit", "--config", str(file), "--out", str(tmp_path / "r"), "--batch-size", "70"]) == 0
    kept = tomllib.loads((tmp_path / "r" / "settings.toml").read_text())
    assert kept["seed"] == 7
    assert kept["flow"]["noise"] == 0.2
    assert kept["flow"]["max_steps"] == 4
    assert kept["flow"]["batch_size"] == 70
    assert kept["flow"]["patience"] == 10


def test_settings_of_a_run_give_the_same_run(runs, tmp_path):
    assert main(["fit", "--config", str(runs / "flow" / "settings.toml"), "--out", str(tmp_path / "r")]) == 0
    same = (tmp_path / "r" / "model.safetensors").read_bytes()
    assert same == (runs / "flow" / "model.safetensors").read_bytes()


def test_nothing_is_replaced_without_force(runs, tmp_path, capsys):
    out = tmp_path / "r"
    assert main(["fit", "toy", "--out", str(out), *TINY]) == 0
    before = (out / "model.safetensors").read_bytes()
    assert main(["fit", "toy", "--out", str(out), *TINY, "--seed", "9"]) == 1
    assert "--force" in capsys.readouterr().err
    assert (out / "model.safetensors").read_bytes() == before
    assert main(["fit", "toy", "--out", str(out), *TINY, "--seed", "9", "--force"]) == 0
    assert (out / "model.safetensors").read_bytes() != before


def test_a_failure_under_force_leaves_the_old_run(tmp_path, capsys):
    out = tmp_path / "r"
    assert main(["fit", "toy", "--out", str(out), *TINY]) == 0
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    assert main(["fit", "toy", "--out", str(out), "--max-steps", "-1", "--force"]) == 1
    assert {p.name: p.read_bytes() for p in out.iterdir()} == before


@contextlib.contextmanager
def interrupted_at(step):
    """Ctrl-C at a step of training."""
    from farout.base import training

    whole = training._Loop._step

    def taken(self):
        if self.state.step == step:
            raise KeyboardInterrupt
        whole(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training._Loop, "_step", taken)
        yield


def test_an_interrupted_run_goes_on_with_resume(tmp_path, capsys):
    out = tmp_path / "r"
    words = ["fit", "toy", "--out", str(out), "--max-steps", "120"]
    with interrupted_at(110):
        assert main(words) == 130
    assert f"farout fit --out {out} --resume" in capsys.readouterr().err
    assert {p.name for p in out.iterdir()} == {"checkpoints"}
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "--resume" in said
    assert "--force" in said
    assert main(["score", str(out), "toy"]) == 1
    assert "unfinished" in capsys.readouterr().err
    assert main(["fit", "--out", str(out), "--resume", "--max-steps", "130"]) == 1
    assert "flow would change" in capsys.readouterr().err
    with interrupted_at(50):  # never comes: training goes on from step 100
        assert main(["fit", "--out", str(out), "--resume"]) == 0
    assert not (out / "checkpoints").exists()
    steps = fo.load(out).history_["step"]
    assert steps == sorted(steps)
    assert steps[-1] >= 119


def test_an_interruption_before_the_first_checkpoint_leaves_nothing(tmp_path, monkeypatch, capsys):
    def fit(self, X, y):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fo.FlowDensity, "fit", fit)
        assert main(["fit", "toy", "--out", str(tmp_path / "a" / "r"), "--max-steps", "20"]) == 130
    assert "nothing was kept" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_nothing_to_resume_is_said(runs, tmp_path, capsys):
    assert main(["fit", "--out", str(tmp_path / "none"), "--resume"]) == 1
    assert "no interrupted run" in capsys.readouterr().err
    assert main(["fit", "--out", str(runs / "flow"), "--resume"]) == 1
    assert "finished" in capsys.readouterr().err


def test_checkpoints_stay_when_asked_for(tmp_path):
    out = tmp_path / "r"
    assert main(["fit", "toy", "--out", str(out), *TINY, "--keep-checkpoints"]) == 0
    assert [p.name for p in (out / "checkpoints" / "flow").glob("last.ckpt")] == ["last.ckpt"]
    assert main(["score", str(out), "toy"]) == 0  # no longer "unfinished"


def test_messages_come_when_asked_for_and_end_in_the_next_command(runs, tmp_path, capsys):
    out = tmp_path / "o.npz"
    assert main(["generate", str(runs / "flow"), "--out", str(out), "--verbose"]) == 0
    assert capsys.readouterr().err.splitlines()[-1].startswith("next: farout train classifier toy --flow")
    assert main(["generate", str(runs / "flow"), "--out", str(out), "--force"]) == 0
    assert capsys.readouterr().err == ""


def test_data_list_and_show(capsys):
    assert main(["data", "list", "--json"]) == 0
    sets = {s["name"]: s for s in json.loads(capsys.readouterr().out)}
    assert sets["digits"]["found"]
    assert main(["data", "list"]) == 0
    assert "digits" in capsys.readouterr().out
    assert main(["data", "show", "digits:test@0-6", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["rows"] == sum(shown["rows_a_class"].values()) == 253
    assert shown["event_shape"] == [1, 8, 8]


COMMANDS = [
    [],
    ["demo"],
    ["fit"],
    ["archetypes"],
    ["reproduce"],
    ["generate"],
    ["train"],
    ["train", "classifier"],
    ["train", "discriminator"],
    ["train", "detector"],
    ["score"],
    ["evaluate"],
    ["report"],
    ["data"],
    ["data", "list"],
    ["data", "download"],
    ["data", "show"],
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_help_opens_with_an_example(command, capsys):
    assert main([*command, "--help"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert lines[0].startswith("Usage: farout")
    assert lines[1].startswith(f"Example: farout {' '.join(command)}".rstrip())


def test_streams_and_exit_codes_of_a_real_process(runs):
    ok = run_process("score", str(runs / "clf"), "toy", "--json")
    assert (ok.returncode, ok.stderr) == (0, "")
    assert json.loads(ok.stdout)["rows"] == 600
    failed = run_process("score", str(runs / "absent"), "toy")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: ")
    assert failed.stderr.count("\n") == 1
    assert "no such run folder" in failed.stderr


def test_a_traceback_is_for_debug_alone(runs, capsys):
    assert main(["score", str(runs / "absent"), "toy", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert main(["score", str(runs / "absent"), "toy"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_is_one_line_too(runs, monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise KeyError("oops")

    monkeypatch.setattr("farout.runs.folder.load", broken)
    assert main(["score", str(runs / "flow"), "toy"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: unexpected KeyError: 'oops'")
    assert told.count("\n") == 1


def test_a_disk_that_refuses_is_one_line(runs, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["score", str(runs / "clf"), "toy", "--out", str(tmp_path / "file" / "s.csv")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert str(tmp_path / "file") in told


def test_colour_is_for_terminals_without_no_color(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert main(["fit", "minst", "--out", "absent"]) == 1
    assert "\x1b[" in capsys.readouterr().err
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["fit", "minst", "--out", "absent"]) == 1
    assert "\x1b[3" not in capsys.readouterr().err


def test_light_imports_stay_light():
    code = "import sys, {}; print(sorted({{'matplotlib','typer','lightning','torch','sklearn'}} & set(sys.modules)))"
    found = {}
    for module in ("farout", "farout.cli"):
        done = subprocess.run([sys.executable, "-c", code.format(module)], capture_output=True, text=True, check=True)
        found[module] = done.stdout.strip()
    assert found == {"farout": "[]", "farout.cli": "['typer']"}


def test_scoring_does_without_torch_s_compiler(runs, tmp_path):
    words = ["score", str(runs / "flow"), "toy", "--out", str(tmp_path / "s.csv")]
    code = f"import sys; from farout.cli import main; main({words!r}); print('torch._dynamo' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_flow_alone_scores_as_a_detector_would_without_threshold(runs, tmp_path, capsys):
    out = tmp_path / "s.csv"
    assert main(["score", str(runs / "flow"), "toy", "--out", str(out)]) == 0
    assert out.read_text().splitlines()[0] == "row,score,label"
    capsys.readouterr()
    sets = ["--inliers", "toy", "--outliers", str(runs.parent / "far.npz"), "--json"]
    np.savez(runs.parent / "far.npz", X=np.full((20, 2), 40.0) + np.arange(40).reshape(20, 2) / 40)
    assert main(["evaluate", str(runs / "flow"), *sets]) == 0
    assert len(json.loads(capsys.readouterr().out)["outliers"]) == 1


def test_a_detector_is_checked_on_outliers_of_a_source(tmp_path, capsys):
    command = ["train", "detector", "toy", "--out", str(tmp_path / "det"), "--max-steps", "60", "--json"]
    assert main([*command, "--check-source", "normal"]) == 0
    assert json.loads(capsys.readouterr().out)["auroc_on_generated"] > 0.6


@pytest.mark.parametrize(("source", "options"), [("collage", {"quantile": 0.3}), ("boundary", {"beyond": 1.5})])
def test_sources_from_real_rows_read_what_the_run_was_trained_on(runs, tmp_path, capsys, source, options):
    flags = [text for k, v in options.items() for text in (f"--{k}", str(v))]
    words = ["generate", str(runs / "flow"), "--source", source, *flags, "-n", "40", "--seed", "3", "--json"]
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "o.npz")]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["strength_min"] == options.get("beyond")
    flow, data = fo.load(runs / "flow"), fo.load_data("toy:train")
    kind = {"collage": fo.Collage, "boundary": fo.Boundary}[source]
    expected = kind(flow=flow, random_state=3, **options).fit(data.X, data.y).sample(40, random_state=3)
    with np.load(tmp_path / "o.npz") as made:
        np.testing.assert_array_equal(made["x"], expected.x)
        assert made["y"].tolist() == expected.y.tolist()


def test_training_on_collages_that_are_made_once(runs, tmp_path):
    words = ["train", "classifier", "toy", "--flow", str(runs / "flow"), "--source", "collage", "--n-outliers", "50"]
    assert main([*words, "--max-steps", "3", "--out", str(tmp_path / "clf")]) == 0
    model = fo.load(tmp_path / "clf")
    assert (type(model.source_).__name__, model.n_outliers) == ("Collage", 50)


def test_what_the_models_learn_besides_can_be_set_from_the_command_line(tmp_path):
    flow, shell = ["--flow", str(tmp_path / "flow")], ["--source", "normal", "--max-steps", "2", "--n-outliers", "20"]
    assert main(["fit", "digits:train@0-2", "--max-steps", "5", "--out", str(tmp_path / "flow")]) == 0
    words = ["digits:train@0-2", *flow, *shell]
    flags = ["--auxiliary-weight", "0.25", "--no-distance-aware"]
    assert main(["train", "classifier", *words, *flags, "--out", str(tmp_path / "clf")]) == 0
    model = fo.load(tmp_path / "clf")
    assert (model.auxiliary_weight, model.distance_aware, hasattr(model, "reference_")) == (0.25, False, False)
    assert main(["train", "discriminator", *words, "--no-one-vs-rest", "--out", str(tmp_path / "disc")]) == 0
    model = fo.load(tmp_path / "disc")
    assert (model.one_vs_rest, model.auxiliary_weight, hasattr(model, "reference_")) == (False, "auto", True)
    turned = ["generate", str(tmp_path / "flow"), "--source", "turned", "--quantile", "0.3", "-n", "30"]
    assert main([*turned, "--out", str(tmp_path / "o.npz")]) == 0
    with np.load(tmp_path / "o.npz") as made:
        assert made["x"].shape == (30, 64)


def test_a_detector_of_rows_without_labels_is_the_one_of_python(tmp_path):
    rows = np.random.default_rng(0).gamma(2.0, size=(300, 4))
    rows[:, 2] = 7.0  # a constant column
    np.save(tmp_path / "rows.npy", rows)
    words = ["train", "detector", str(tmp_path / "rows.npy"), "--out", str(tmp_path / "run"), "--seed", "3"]
    assert main(words) == 0
    rows = fo.load_data(tmp_path / "rows.npy").X
    made, same = fo.load(tmp_path / "run"), fo.FlowDetector(random_state=3).fit(rows)
    assert made.score_ == "nearest"
    np.testing.assert_array_equal(made.score_samples(rows), same.score_samples(rows))
