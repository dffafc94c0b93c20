"""The README's example prints what the README says, and its commands are ones that exist."""

import contextlib
import io
import re
from pathlib import Path

import pytest
import torch
from PIL import Image

import farout as fo

README = Path(__file__).parents[1].joinpath("README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


@pytest.fixture(scope="module")
def example():
    """The namespace that the first example leaves, and what it printed."""
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "import farout" in text]
    printed, names = io.StringIO(), {}
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return names, printed.getvalue()


def test_the_example_prints_what_the_readme_shows(example):
    (shown,) = [text for kind, text in BLOCKS if kind == "text"]
    _, printed = example
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", shown)
    # Other processors round differently, and training carries it on: a few hundredths, a few nats.
    for ours, theirs in zip(NUMBER.findall(printed), NUMBER.findall(shown), strict=True):
        assert float(ours) == pytest.approx(float(theirs), rel=0.1, abs=3 if float(theirs).is_integer() else 0.04)


def test_the_example_is_about_15_lines(example):
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "import farout" in text]
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


def test_the_loop_of_your_own_reaches_the_network(example):
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "source.batches" in text]
    names, _ = example
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 7))
    x = torch.tensor(names["train"].X[:64]).reshape(-1, 1, 8, 8)
    loader = [(x, torch.tensor(names["train"].y[:64]))]
    exec(code, names | {"torch": torch, "network": network, "loader": loader, "fo": fo})
    assert all(p.grad is not None and bool(p.grad.abs().sum() > 0) for p in network.parameters())


def test_a_network_of_your_own_is_wrapped(example):
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "fo.wrap" in text]
    data, _ = example
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 3))
    names = {"names": list("abc"), "X": data["train"].X, "X_new": data["test"].X}
    exec(code, {"fo": fo, "network": network, **names}, found := {})
    assert set(found["clf"].predict(data["test"].X)) <= {*"abc"}


def test_the_pictures_of_the_text_can_be_drawn(example):
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "fo.plots" in text]
    exec(code, example[0])


def test_the_archetypes_are_those_of_the_text(example):
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "DeepArchetypes" in text]
    names, _ = example
    exec(code, names | (found := {"fo": fo}), found)
    assert found["weights"].shape == (len(names["test"]), 3)
    assert found["outliers"].weights.min() < 0


def test_photographs_go_through_a_backbone(tmp_path, monkeypatch):
    (code,) = [text for kind, text in BLOCKS if kind == "python" and "fo.Features" in text]
    for i, name in enumerate(["cats", "dogs"] * 4):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30 + i, 40), (200 * (i % 2), 20 * i, 100)).save(tmp_path / "photos" / name / f"{i}.png")
    (tmp_path / "nets_of_the_readme.py").write_text(
        "import torch\n\ndef make():\n    return torch.nn.Conv2d(3, 4, 3)\n"
    )
    monkeypatch.chdir(tmp_path)
    quick = "fo.CautiousClassifier(fo.NormalShell(flow=fo.FlowDensity(max_steps=3)), max_steps=3)"
    found = {"fo": fo}
    exec(code.replace("timm:resnet50", "nets_of_the_readme:make").replace("fo.CautiousClassifier()", quick), found)
    assert found["labels"].tolist() == ["cats"] * 4 + ["dogs"] * 4
    assert set(found["model"].predict(found["photos"])) <= {"cats", "dogs"}
    assert (tmp_path / "known").is_dir()


def test_the_commands_exist():
    text = "".join(block for kind, block in BLOCKS if kind == "")
    commands = {line.split()[1] for line in text.splitlines() if line.startswith("farout ")}
    assert commands == {
        "data",
        "doctor",
        "fit",
        "generate",
        "train",
        "score",
        "evaluate",
        "report",
        "archetypes",
        "reproduce",
        "stress",
        "embed",
    }
