"""Work that is cut off anywhere: the same command, or the one that the message advises, gives the same result.

Each command is killed before each of its operations on files, and after random times. What there is afterwards equals,
to the bit, what one go leaves, with no file beside it, and nothing needs ``--force``.
"""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

SEED, MOMENTS = int(os.environ.get("FAROUT_ATTACK_SEED", "0")), int(os.environ.get("FAROUT_ATTACK_MOMENTS", "20"))
EVERY = int(os.environ.get("FAROUT_ATTACK_EVERY", "12"))  # of so many operations one is met by a signal or a loss

FINISHED = "holds a finished run|the run is finished"
RUN_IN_PYTHON = """
import numpy as np
import farout as fo
X = np.random.default_rng(0).normal(size=(200, 3))
where = fo.Training(checkpoint_dir="out/checkpoints", resume=True)
flow = fo.FlowDensity(max_steps=24, random_state=0, training=where).fit(X)
flow.training = None
flow.save("out/run", force=True)
"""
REPRODUCTION = """
from dataclasses import replace
from farout.talk.presets import preset_named
from farout.talk.run import reproduce
reproduce("toy", "out", preset=replace(preset_named("smoke"), toy_steps=10))
"""


@dataclass(frozen=True)
class Case:
    """A command that writes to ``out``, and how it is begun again."""

    words: tuple[str, ...] = ()
    script: str | None = None
    needs: tuple[str, ...] = ()
    resumes: bool = field(default=False)

    @property
    def trial(self):
        return {"script": self.script} if self.script else {"words": list(self.words)}


PROGRESS = r"[a-z ]+ [\d ]+ rows: (?:begun|done in)"
CASES = {
    "fit": Case(("fit", "toy", "--max-steps", "60", "--out", "out"), resumes=True),
    "classifier": Case(
        ("train", "classifier", "toy", "--flow", "flow", "--source", "normal", "--max-steps", "24", "--out", "out"),
        needs=("flow",),
        resumes=True,
    ),
    "classifier-and-flow": Case(
        ("train", "classifier", "toy", "--config", "small.toml", "--out", "out"), needs=("small.toml",), resumes=True
    ),
    "detector": Case(("train", "detector", "toy", "--flow", "flow", "--out", "out"), needs=("flow",), resumes=True),
    "archetypes": Case(("archetypes", "toy:test", "-k", "3", "--counts", "2-3", "--out", "out"), resumes=True),
    "deep-archetypes": Case(
        ("archetypes", "toy:test", "--deep", "--flow", "flow", "--no-counts", "--max-steps", "12", "--out", "out"),
        needs=("flow",),
        resumes=True,
    ),
    "generate": Case(
        ("generate", "flow", "--source", "normal", "-n", "50", "--out", "out/outliers.csv", "--force"), needs=("flow",)
    ),
    "score": Case(("score", "flow", "toy:test", "--out", "out/scores.csv", "--force"), needs=("flow",)),
    "evaluate": Case(("evaluate", "out", "--inliers", "toy:test@0", "--outliers", "toy:test@1"), needs=("flow:out",)),
    "report": Case(("report", "out", "--force"), needs=("flow:out",)),
    "reproduce": Case(script=REPRODUCTION),
    "in-python": Case(script=RUN_IN_PYTHON),
}
SMALL = """
max_steps = 0
[flow]
max_steps = 16
[model]
max_steps = 16
[source]
name = "normal"
"""


class Attacker:
    """Trials of one case: a folder that is made anew for each, and the result of one go to compare with."""

    def __init__(self, folder):
        self.folder = folder
        env = os.environ | {"OMP_NUM_THREADS": "1", "MPLBACKEND": "agg", "PYTHONHASHSEED": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", Path(__file__).with_name("attacker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=env,
        )
        self.made = {}
        (folder / "prepared").mkdir()
        (folder / "prepared" / "small.toml").write_text(SMALL.replace("max_steps = 0\n", ""))

    def close(self):
        with self.process:
            self.process.stdin.close()

    def run(self, trial, place):
        self.process.stdin.write(json.dumps(trial | {"cwd": str(place), "watched": str(place / "out")}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def place(self, case):
        """A new folder with what the command reads."""
        if "flow" not in self.made:
            self.made["flow"] = True
            made = self.run({"words": ["fit", "toy", "--max-steps", "16", "--out", "flow"]}, self.folder / "prepared")
            assert made["rc"] == 0, made["stderr"]
        place = self.folder / "place"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for need in case.needs:
            name, _, target = need.partition(":")
            source = self.folder / "prepared" / name
            (shutil.copytree if source.is_dir() else shutil.copy)(source, place / (target or name))
        return place

    def in_one_go(self, name):
        if name not in self.made:
            case = CASES[name]
            place = self.place(case)
            told = self.run(case.trial, place)
            assert told["rc"] == 0, told["stderr"]
            self.made[name] = (told, contents(place / "out"))
        return self.made[name]


@pytest.fixture(scope="module")
def attacker():
    """Works in memory where it can: a kill leaves what the system has yet to write to a disk, so no trial needs one."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    with tempfile.TemporaryDirectory(prefix="farout-", dir=memory if roomy else None) as folder:
        found = Attacker(Path(folder))
        yield found
        found.close()


def contents(folder):
    """Name -> bytes of all files below a folder, less the times of day and durations that are in them."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        content = path.read_bytes()
        if path.name in ("record.json", "evaluation.json"):
            content = json.dumps(json.loads(content) | {"made": None}, sort_keys=True).encode()
        if path.suffix == ".ckpt":  # pickles of equal values differ by which objects were one
            content = repr(plain(torch.load(path, weights_only=True))).encode()
        if path.suffix == ".html":  # tells when it was made, and how
            content = b""
        found[path.relative_to(folder).as_posix()] = content
    return found | {p.relative_to(folder).as_posix() + "/": b"" for p in folder.rglob("*") if p.is_dir()}


def plain(state):
    """What a checkpoint holds, with the bytes of its tensors; without counters that belong to a process."""
    if isinstance(state, dict):
        return {name: plain(value) for name, value in state.items() if name != "buffers"}
    if isinstance(state, (list, tuple)):
        return [plain(value) for value in state]
    return (state.dtype, state.shape, state.numpy().tobytes()) if isinstance(state, torch.Tensor) else state


def go_on(attacker, case, place, first=()):
    """What a person does: the same command, or ``--resume`` first; then what the message advises."""
    if not case.resumes:
        return [attacker.run(case.trial, place)]
    resume = [*case.words[: 2 if case.words[0] == "train" else 1], "--out", "out", "--resume"]
    tried = []
    for words in (resume, list(case.words)) if "resume" in first else (list(case.words), resume):
        tried.append(attacker.run({"words": words}, place))
        if tried[-1]["rc"] == 0 or re.search(FINISHED, tried[-1]["stderr"]):
            break
        if words is resume:
            assert "leave --resume out" in tried[-1]["stderr"], tried
        else:
            assert "add --resume" in tried[-1]["stderr"], tried
    return tried


def check_recovered(attacker, name, trial, first=()):
    """Cut off the command, go on, and compare; the result of the cut-off command comes back."""
    case = CASES[name]
    _, expected = attacker.in_one_go(name)
    place = attacker.place(case)
    cut = attacker.run(case.trial | trial, place)
    tried = go_on(attacker, case, place, first)
    assert tried[-1]["rc"] == 0 or re.search(FINISHED, tried[-1]["stderr"]), (cut, tried)
    found = contents(place / "out")
    assert found.keys() == expected.keys(), (cut, tried)
    different = [path for path in found if found[path] != expected[path]]
    assert not different, (different, cut, tried)
    return cut


def moments(told, count):
    """Random times within a run, seeded."""
    chance = random.Random(SEED)
    return [chance.uniform(0.0, told["seconds"]) for _ in range(count)]


@pytest.mark.parametrize("name", ["fit", "generate"])
def test_killed_before_some_file_operations(name, attacker):
    told, _ = attacker.in_one_go(name)
    count = len(told["operations"])
    for at in sorted({1, count // 2, count - 1}):
        cut = check_recovered(attacker, name, {"at": at, "signal": signal.SIGKILL})
        assert cut["rc"] == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_before_each_file_operation(name, attacker):
    told, _ = attacker.in_one_go(name)
    assert told["operations"]
    for at in range(len(told["operations"])):
        cut = check_recovered(
            attacker, name, {"at": at, "signal": signal.SIGKILL}, ("resume",) if at % 2 and CASES[name].resumes else ()
        )
        assert cut["rc"] == -signal.SIGKILL, (at, cut)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_killed_at_random_moments(name, attacker):
    told, _ = attacker.in_one_go(name)
    for after in moments(told, MOMENTS):
        check_recovered(attacker, name, {"after": after, "signal": signal.SIGKILL})


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].words])
def test_interrupted_at_random_moments(name, number, attacker):
    told, _ = attacker.in_one_go(name)
    for after in moments(told, MOMENTS)[: max(1, MOMENTS // 4)]:
        cut = check_recovered(attacker, name, {"after": after, "signal": number})
        check_manners(cut, number)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].words])
def test_interrupted_before_many_file_operations(name, number, attacker):
    told, _ = attacker.in_one_go(name)
    for at in range((SEED + number) % EVERY, len(told["operations"]), EVERY):
        cut = check_recovered(attacker, name, {"at": at, "signal": number})
        check_manners(cut, number)


def check_manners(cut, number):
    """One message, the status that shells know, no traceback; or the command was done already."""
    assert cut["rc"] in (0, 128 + number, -number), cut
    if cut["rc"] == 128 + number:
        word = "interrupted" if number == signal.SIGINT else "terminated"
        assert re.fullmatch(rf"((warning: |{PROGRESS}).*\n)*error: {word}; .*\n", cut["stderr"]), cut
    else:
        assert "Traceback" not in cut["stderr"], cut
    assert cut["rc"] != -number or not cut["operations"], cut  # it died before it had begun, or told


@pytest.mark.parametrize("name", ["fit"])
def test_interrupted_in_a_step(name, attacker):
    for number in (signal.SIGINT, signal.SIGTERM):
        cut = check_recovered(attacker, name, {"after": 0.6 * attacker.in_one_go(name)[0]["seconds"], "signal": number})
        check_manners(cut, number)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CASES if CASES[name].words and "flow:out" not in CASES[name].needs])
def test_a_folder_that_vanishes_is_made_anew_or_told_in_one_message(name, attacker):
    told, _ = attacker.in_one_go(name)
    for at in range(1 + SEED % EVERY, len(told["operations"]), EVERY):
        cut = check_recovered(attacker, name, {"at": at, "vanish": True})
        assert cut["rc"] in (0, 1), cut
        assert len(re.findall(rf"^(?!warning: |{PROGRESS}).", cut["stderr"], re.MULTILINE)) == cut["rc"], cut


@pytest.mark.parametrize("name", ["fit", "generate", pytest.param("reproduce", marks=pytest.mark.slow), "in-python"])
@pytest.mark.parametrize("size", [900, 20_000])
def test_a_full_disk_is_told_in_one_message_and_left_behind(name, size, attacker):
    cut = check_recovered(attacker, name, {"file_size": size})
    if cut["rc"]:
        assert re.search("File too large|too large", cut["stderr"]), cut
        assert len(re.findall(rf"^(?!{PROGRESS}).", cut["stderr"], re.MULTILINE)) == 1, cut
