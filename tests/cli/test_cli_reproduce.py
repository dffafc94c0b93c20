"""``farout reproduce``: page, tables, messages; the talk's own data in their publishers' files; the smoke run."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from idx_files import write_idx
from PIL import Image

from farout.cli import main
from farout.data.catalogue import FERG_PEOPLE
from farout.data.faces import EXPRESSIONS
from farout.talk.differences import differences
from farout.talk.presets import PRESETS
from farout.talk.run import EXPERIMENTS, open_context

RNG = np.random.default_rng(0)
TINY = {
    "flow_steps": 4,
    "face_flow_steps": 3,
    "toy_steps": 20,
    "archetype_steps": 2,
    "model_steps": 2,
    "seeds": 1,
    "table_rows": 2,
    "counts": (2, 3),
    "sample_rows": 2,
    "simulations": 50,
}


@pytest.fixture
def tiny(monkeypatch):
    """All presets in a few steps."""
    for name, preset in list(PRESETS.items()):
        monkeypatch.setitem(PRESETS, name, replace(preset, **TINY, train_rows=150, test_rows=40))


def put_idx(folder, prefix, n, first_label=0):
    """Images and labels as MNIST and its kin are given out; the class is a bar at its own height."""
    labels = (np.arange(n) % 3 + first_label).astype(np.uint8)
    images = RNG.integers(0, 60, (n, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[6 * label : 6 * label + 4] = 230
    write_idx(folder / f"{prefix}-images-idx3-ubyte.gz", images)
    write_idx(folder / f"{prefix}-labels-idx1-ubyte.gz", labels)


@pytest.fixture
def talks_data(no_sets, tmp_path):
    """The talk's sets, small, in the folders and under the names that their publishers give them."""
    root = tmp_path / "data"
    for split, n in (("train", 60), ("test", 30)):
        put_idx(root / "emnist" / "gzip", f"emnist-digits-{split}", n)
        put_idx(root / "emnist" / "gzip", f"emnist-letters-{split}", n, first_label=1)
    for name in ("FashionMNIST/raw", "KMNIST/raw"):
        for prefix, n in (("train", 45), ("t10k", 15)):
            put_idx(root / name, prefix, n)
    for who, person in enumerate(FERG_PEOPLE):
        for mood, expression in enumerate(EXPRESSIONS):
            folder = root / "ferg" / "FERG_DB_256" / person / f"{person}_{expression}"
            folder.mkdir(parents=True)
            for k in range(2):
                pixels = RNG.integers(0, 99, (64, 64, 3), dtype=np.uint8)
                pixels[:32, :32] = (20 + 30 * who, 20 + 30 * mood, 100 * k)
                Image.fromarray(pixels).save(folder / f"{folder.name}_{k}.png", compress_level=1)
    return root


@pytest.mark.slow
def test_the_full_preset_reads_the_talks_own_data_sets(talks_data, tiny, tmp_path, capsys):
    words = ["--preset", "full", "--data-root", str(talks_data), "--json"]
    assert main(["reproduce", "classifiers", *words, "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    (table,) = found["findings"]
    cells = {(r["row"], r["set"], r["metric"]): r for r in table["records"]}
    letters = cells["none", "emnist-letters", "auroc"]
    assert (letters["stands_for"], letters["judged_by"]) == ("letters", "emnist-letters:train")
    assert (letters["published"], letters["n_in"], letters["n_out"]) == (0.89, 30, 40)
    assert cells["none", "kmnist", "auroc"]["judged_by"] == "kmnist:train"
    assert "inliers emnist-digits, 60 rows for training and 30" in found["differences"][0]

    assert main(["reproduce", "sigma", *words, "--out", str(tmp_path / "out")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "Faces: ferg-people, 67 rows" in " ".join(found["differences"])
    assert {p.name for p in (tmp_path / "out" / "figures").iterdir()} >= {"sigma-1.png", "sigma-2.png"}


def test_without_ferg_the_full_preset_takes_the_drawn_faces_and_says_so(talks_data, tiny, tmp_path):
    full = PRESETS["full"]
    with_ferg = open_context(["sigma"], tmp_path / "out", full, data_root=talks_data)
    (talks_data / "ferg").rename(tmp_path / "elsewhere")
    without = open_context(["sigma"], tmp_path / "out", full, data_root=talks_data)
    assert (with_ferg.faces.name, without.faces.name) == ("ferg-people", "faces")
    assert "Faces: faces, 150 rows (the talk: FERG" in " ".join(differences(without, ["sigma"]))


def test_a_table_on_the_page_and_on_the_screen(tiny, tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--preset", "smoke", "--inliers", "digits@0-4", "--outliers", "digits@7,9,small-faces"]
    assert main(["reproduce", "discriminators", *words, "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"trained on +digits@7,9 +talk: letters +small-faces +talk: fashion", shown)
    assert f"report: {out / 'discriminators.html'}" in shown
    page = (out / "discriminators.html").read_text()
    assert '<a href="#discriminators">' in page
    assert "<li>Data: inliers digits@0-4, 150 rows" in page
    csv = (out / "discriminators.csv").read_text()
    mean = float(re.search(r"real letters,\"digits@7,9\",letters,[^,\"]*\"?[^\"]*\"?,auroc,([\d.]+)", csv)[1])
    assert f'<td class="num">{mean:.3f}</td><td class="num">0.81</td>' in page


def test_absent_data_is_told_at_once(no_sets, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["reproduce", "all", "--data-root", str(tmp_path), "--out", str(out)]) == 1
    message = capsys.readouterr().err
    assert "the data set mnist was not found" in message
    assert "farout data download mnist" in message
    assert not out.exists()


def test_an_unknown_experiment_is_wrong_use(capsys):
    assert main(["reproduce", "table"]) == 2
    assert "choose all or one of toy, mapping, sigma" in capsys.readouterr().err


def test_an_interruption_says_how_to_go_on(tiny, tmp_path, capsys, monkeypatch):
    def interrupted(context):
        raise KeyboardInterrupt

    monkeypatch.setitem(EXPERIMENTS, "extremal", interrupted)
    assert main(["reproduce", "extremal", "--preset", "smoke", "--out", str(tmp_path / "out")]) == 130
    assert "the same command goes on from here" in capsys.readouterr().err


def test_help_names_every_experiment(capsys):
    assert main(["reproduce", "--help"]) == 0
    shown = capsys.readouterr().out
    for name in EXPERIMENTS:
        assert name in " ".join(shown.replace("│", " ").split())


@pytest.mark.slow
def test_the_smoke_run_of_all(tmp_path, capsys):
    """The command of the documentation, in the minutes that it promises."""
    everything_twice(tmp_path / "out", capsys)


@pytest.mark.slow
def test_everything_in_a_few_steps_and_again(tiny, tmp_path, capsys):
    everything_twice(tmp_path / "out", capsys)


def everything_twice(out, capsys):
    """One page of all experiments; the second time nothing is fitted or judged anew, and the same comes out."""
    words = ["reproduce", "all", "--preset", "smoke", "--out", str(out)]
    assert main(words) == 0
    shown = capsys.readouterr().out
    page = (out / "report.html").read_text()
    for name in EXPERIMENTS:
        assert f'<a href="#{name}">' in page
        assert f'<section id="{name}">' in page
    assert page.count("<svg") >= 18
    assert {p.stem for p in out.glob("*.csv")} >= {"discriminators", "classifiers"}
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert main(words) == 0
    assert capsys.readouterr().out == shown
    changed = [str(p) for p, content in before.items() if p.read_bytes() != content]
    assert changed == []
