"""What people meet at the command line: bare words, lists, help, completion, pipes, signals, stages, exit codes."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import farout as fo
from farout.cli import main
from farout.cli.options import sets_of, settings_flags
from farout.outliers.registry import SOURCES, options_of
from farout.runs.settings import ArchetypeSettings, ClassifierSettings, DetectorSettings, FitSettings

PYDANTIC = ("validation error", "Input should", "pydantic", "type=", "[type")


@pytest.fixture(scope="module")
def flow(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "flow"
    assert main(["fit", "toy", "--out", str(out), "--max-steps", "5"]) == 0
    return out


@pytest.mark.parametrize("words", [[], ["train"], ["data"]])
def test_bare_words_show_the_help(words, capsys):
    assert main(words) == 0
    told = capsys.readouterr()
    assert told.out.strip().startswith("Usage: farout")
    assert told.err == ""


def flags_of(command, capsys):
    assert main([*command, "--help"]) == 0
    return set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))


def test_a_detector_has_no_flags_of_outliers(capsys):
    flags = flags_of(["train", "detector"], capsys)
    unused = {"--source", *(f"--{name.replace('_', '-')}" for name in options_of()), "--beta", "--n-outliers"}
    assert not flags & unused
    assert {"--check-source", "--max-steps", "--architecture", "--anomaly"} <= flags


@pytest.mark.parametrize("command", [["train", "classifier"], ["train", "discriminator"], ["generate"]])
def test_options_of_sources_are_those_of_the_registry(command, capsys):
    flags = flags_of(command, capsys)
    names = {name for name in options_of() if command != ["generate"] or name != "outliers"}
    assert {f"--{name.replace('_', '-')}" for name in names} <= flags


@pytest.mark.parametrize("cls", [FitSettings, ClassifierSettings, DetectorSettings, ArchetypeSettings])
def test_every_setting_with_a_flag_has_help_and_a_name_of_its_own(cls):
    flags = settings_flags(cls)
    assert len({flag.name for flag in flags}) == len(flags)
    for flag in flags:
        (told,) = flag.annotation.__metadata__
        assert told.help


def test_defaults_in_the_help_are_those_of_the_settings(capsys):
    assert main(["train", "classifier", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for default in ("0.05", "0.003", "1.0", "up to 10000 for images, else 0", "0.5 for images, else 0", "0.3"):
        assert re.search(rf"\[\s*default:\s*{re.escape(default)}\s*\]", text), default


@pytest.mark.parametrize(
    ("values", "sets"),
    [
        (["a", "b"], ["a", "b"]),
        (["a,b"], ["a", "b"]),
        (["digits@7,8-9,letters", "kana"], ["digits@7,8-9", "letters", "kana"]),
        (["faces@joy"], ["faces@joy"]),
        (["digits@7", "8.csv"], ["digits@7", "8.csv"]),
    ],
)
def test_lists_are_written_with_spaces_or_commas(values, sets):
    assert sets_of(values) == sets


def test_a_file_with_a_comma_in_its_name_is_one_set(tmp_path):
    (tmp_path / "a,b.csv").write_text("")
    assert sets_of([str(tmp_path / "a,b.csv")]) == [str(tmp_path / "a,b.csv")]


@pytest.mark.parametrize("classes", [["0", "2"], ["0,2"]])
def test_classes_are_lists_like_others(flow, tmp_path, classes):
    out = tmp_path / "o.npz"
    assert main(["generate", str(flow), "-n", "8", "--classes", *classes, "--out", str(out)]) == 0
    assert set(np.load(out)["y"].tolist()) == {0, 2}


@pytest.mark.parametrize("counts", [["2", "4"], ["2,4"]])
def test_counts_are_lists_like_others(tmp_path, counts):
    out = tmp_path / "r"
    assert main(["archetypes", "digits:test@0", "-k", "2", "--out", str(out), "--counts", *counts]) == 0
    assert json.loads((out / "counts.json").read_text())["counts"] == [2, 4]


def test_outlier_sets_are_lists_like_others(flow, tmp_path, capsys):
    for name in "ab":
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).normal(size=(20, 2)))
    sets = [str(tmp_path / f"{name}.npy") for name in "ab"]
    for words in (sets, [",".join(sets)]):
        assert main(["evaluate", str(flow), "--inliers", "toy", "--outliers", *words, "--json"]) == 0
        assert list(json.loads(capsys.readouterr().out)["outliers"]) == sets


def test_train_and_generate_have_one_default_source(flow, tmp_path, capsys):
    words = ["toy", "--flow", str(flow), "--max-steps", "2"]
    for options, name, source in ([], "recommended", "Recommended"), (["--strength", "3"], "normal", "NormalShell"):
        out = tmp_path / name
        assert main(["train", "classifier", *words, *options, "--out", str(out)]) == 0
        assert type(fo.load(out).source_).__name__ == source
        capsys.readouterr()
        assert main(["generate", str(flow), *options, "-n", "5", "--out", f"{out}.npz", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["source"] == name


def test_devices_may_be_auto(tmp_path):
    out = tmp_path / "r"
    words = ["fit", "toy", "--out", str(out), "--max-steps", "2", "--devices", "auto", "--accelerator", "cpu"]
    assert main(words) == 0
    assert 'devices = "auto"' in (out / "settings.toml").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ["fit", "toy", "--max-steps", "0"],
        ["fit", "toy", "--noise", "-1"],
        ["fit", "toy", "--seed", "-1"],
        ["train", "classifier", "toy", "--contamination", "2"],
        ["train", "classifier", "toy", "--strength", "zwei"],
        ["train", "classifier", "toy", "--source", "boundary", "--beyond", "1-2"],
        ["train", "classifier", "toy", "--law", "author"],
        ["train", "classifier", "toy", "--source", "real"],
        ["train", "classifier", "toy", "--source", "real", "--outliers", "absent.csv"],
        ["train", "classifier", "toy", "--strength", "4-2"],
        ["train", "discriminator", "toy", "--source", "gumbel", "--law", "author", "--strength", "0.5"],
        ["archetypes", "toy", "--counts", "few"],
        ["archetypes", "digits:test@0", "--counts", "500-600"],
    ],
    ids=" ".join,
)
def test_settings_are_checked_before_anything_is_trained(words, tmp_path, capsys, monkeypatch):
    import farout.base.training
    from farout.archetypes.linear import ArchetypalAnalysis

    def trained(*args, **kwargs):
        pytest.fail("training began")

    monkeypatch.setattr(farout.base.training._Loop, "run", trained)
    monkeypatch.setattr(ArchetypalAnalysis, "fit", trained)
    assert main([*words, "--out", str(tmp_path / "r")]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: ")
    assert told.count("\n") == 1
    assert not [word for word in PYDANTIC if word in told]
    assert not list(tmp_path.iterdir())


def test_images_to_a_table_are_refused_before_they_are_made(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    assert main(["fit", "digits:test@0-1", "--out", str(run), "--max-steps", "2"]) == 0
    monkeypatch.setattr("farout.runs.generating.make_source", None)
    assert main(["generate", str(run), "--out", str(tmp_path / "o.csv")]) == 1
    assert "images don't fit a table" in capsys.readouterr().err


def test_sets_are_checked_before_they_are_loaded(flow, capsys, monkeypatch):
    monkeypatch.setattr("farout.runs.loading.load_data", None)
    assert main(["evaluate", str(flow), "--inliers", "toy", "--outliers", "a", "a"]) == 1
    assert "each set once" in capsys.readouterr().err


def test_each_wait_is_one_line_in_a_log(flow, tmp_path, capsys):
    capsys.readouterr()
    assert main(["score", str(flow), "toy", "--out", str(tmp_path / "s.csv"), "--verbose"]) == 0
    said = capsys.readouterr().err
    for wait in (f"opening {flow}", "loading toy", "scoring 600 rows"):
        assert wait in said
    assert main(["generate", str(flow), "-n", "5", "--out", str(tmp_path / "o.npz"), "--verbose"]) == 0
    assert "generating 5 outliers, source recommended" in capsys.readouterr().err


@pytest.mark.parametrize("quiet", [False, True])
def test_long_work_says_what_it_does_without_a_terminal_too(quiet, tmp_path, capsys):
    more = ["--quiet"] if quiet else []
    np.savez(tmp_path / "a.npz", X=np.random.default_rng(0).normal(size=(1234, 2)))
    data, run = str(tmp_path / "a.npz"), str(tmp_path / "run")
    work = {
        "training a detector on 1 234 rows": ["train", "detector", data, "--out", run, "--max-steps", "2"],
        "stressing run with 1 234 rows": ["stress", run, data, "-n", "20", "--kinds", "shell"],
        "finding archetypes of 1 234 rows": ["archetypes", data, "-k", "3", "--no-counts", "--out", f"{tmp_path}/aa"],
    }
    for begins, words in work.items():
        capsys.readouterr()
        assert main([*words, *more]) == 0
        said = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
        if quiet:
            assert said == []
        else:
            first, last = said
            assert first == f"{begins}: begun; --verbose shows progress"
            assert re.fullmatch(rf"{begins}: done in \d.*", last)


@pytest.mark.parametrize(("rows", "held"), [(71, 18), (75, 19)])
def test_too_few_rows_for_p_values_of_a_twentieth_are_told(rows, held, tmp_path, capsys):
    np.savez(tmp_path / "few.npz", X=np.random.default_rng(0).normal(size=(rows, 2)))
    run = tmp_path / "run"
    assert main(["train", "detector", str(tmp_path / "few.npz"), "--max-steps", "2", "--out", str(run)]) == 0
    told = capsys.readouterr().err
    kept = json.loads((run / "record.json").read_text())["warnings"]
    assert len(fo.load(run).calibration_scores_) == held
    if held < 19:
        assert f"set by {held} held-out rows, so that no p-value is below 0.053; p-values of 0.05 need 19" in told
        assert [f"warning: {text}" in told for text in kept] == [True]
    else:
        assert kept == []


def test_a_warning_is_told_once_in_each_command(capsys):
    from farout.cli.console import Console

    console = Console()
    for _ in range(2):
        console.take_common_flags([])
        console.warn("mind the gap")
        console.warn("mind the gap")
    assert capsys.readouterr().err == 2 * "warning: mind the gap\n"


def test_evaluate_and_score_remember_label_and_size_of_images(tmp_path, capsys):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(12):
            pixels = rng.integers(0, 255, (12, 12), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    photos, run = str(tmp_path / "photos"), str(tmp_path / "run")
    assert main(["fit", photos, "--image-size", "8", "--out", run, "--max-steps", "2"]) == 0
    assert main(["evaluate", run, "--inliers", photos, "--outliers", photos]) == 0
    rows = rng.normal(size=(40, 3))
    text = "\n".join(f"{a},{b},{c},{k % 2 + 5}" for k, (a, b, c) in enumerate(rows))
    (tmp_path / "t.csv").write_text(f"a,b,c,kind\n{text}\n")
    (tmp_path / "u.csv").write_text("b,c,a\n1,2,3\n2,3,4\n")
    run = str(tmp_path / "table")
    assert main(["fit", str(tmp_path / "t.csv"), "--label", "kind", "--out", run, "--max-steps", "2"]) == 0
    capsys.readouterr()
    assert main(["score", run, str(tmp_path / "t.csv")]) == 0
    assert capsys.readouterr().out.startswith("row,score,label\n")
    assert main(["score", run, str(tmp_path / "u.csv")]) == 0, "a file without labels is as good"
    assert capsys.readouterr().out.startswith("row,score\n")


def farout(*words, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "farout", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def test_a_reader_that_leaves_is_no_error(flow, tmp_path):
    np.save(tmp_path / "many.npy", np.random.default_rng(0).normal(size=(20_000, 2)))
    with farout("score", str(flow), str(tmp_path / "many.npy")) as process:
        assert process.stdout.readline() == "row,score\n"
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_sigterm_says_how_to_go_on(tmp_path):
    out = tmp_path / "r"
    process = farout("fit", "toy", "--out", str(out), "--max-steps", "1000000")
    end = time.monotonic() + 60
    while not list(out.glob("checkpoints/flow/*.ckpt")) and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.2)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 143, said
    assert f"terminated; go on by: farout fit --out {out} --resume" in said
    assert {p.name for p in out.iterdir()} == {"checkpoints"}


def test_shells_complete_commands_and_choices():
    def completed(words):
        env = os.environ | {"_FAROUT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": "-1"}
        env["COMP_CWORD"] = str(len(words.split(" ")) - 1)
        done = subprocess.run([sys.executable, "-m", "farout"], capture_output=True, text=True, env=env, check=False)
        return done.stdout.split()

    assert "evaluate" in completed("farout ev")
    assert set(completed("farout train classifier --source ")) == set(SOURCES)


def test_completion_can_be_shown_and_installed(capsys):
    assert {"--install-completion", "--show-completion"} <= flags_of([], capsys)


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request):
    """A signal to be stopped by, as a process in the foreground hears it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield request.param
    signal.signal(signal.SIGINT, before)


def test_an_error_that_a_library_makes_of_an_interruption_is_none(number, monkeypatch, capsys):
    from farout.cli import entry

    def swallow():
        try:
            signal.raise_signal(number)
        except KeyboardInterrupt:
            raise ValueError("could not determine the shape of object type") from None

    monkeypatch.setattr(entry, "make_app", swallow)
    assert main(["data", "list"]) == 128 + number
    assert re.fullmatch(r"error: (interrupted|terminated); nothing was written.\n", capsys.readouterr().err)


def test_a_command_may_be_interrupted_before_it_is_known(number, monkeypatch, capsys):
    from farout.cli import entry

    monkeypatch.setattr(entry, "make_app", lambda: signal.raise_signal(number))
    assert main(["data", "list"]) == 128 + number
    assert "nothing was written" in capsys.readouterr().err


def test_an_interruption_that_a_finalizer_swallows_is_asked_again(number, monkeypatch, capsys):
    from farout.cli import entry

    class Last:
        def __del__(self):
            signal.raise_signal(number)

    def work():
        Last()
        for _ in range(1000):
            time.sleep(0.01)
        raise AssertionError("nobody stopped this")

    monkeypatch.setattr(entry, "make_app", work)
    assert main(["data", "list"]) == 128 + number
    assert re.fullmatch(r"error: (interrupted|terminated); nothing was written.\n", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["trian"], r"No such command 'trian'. Did you mean 'train'\? Help: farout --help"),
        (["generate", "run", "--source", "nrmal", "--out", "x.csv"], "'--source'.*'nrmal' is not one of .*'normal'"),
        (["fit", "toy", "--max-steps", "many", "--out", "x"], "'--max-steps'.*integer"),
    ],
)
def test_a_wrong_word_is_told_plainly(words, told, capsys):
    assert main(words) == 2
    said = capsys.readouterr().err
    assert re.search(told, said)
    assert not any(text in said for text in (*PYDANTIC, "Value error", "?."))
