"""Shards by the workers of Ray: the same to the bit as by this process, whoever dies on the way.

What a worker does is tested without Ray too. ``FAROUT_RAY_ROWS`` sets the rows of the large test, a million unless it
is set.
"""

import contextlib
import importlib.util
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import farout as fo
from farout.base.blocks import blocks_of
from farout.cli import main
from farout.data import open_stream
from farout.errors import InvalidDataError, RunError
from farout.runs import embedding, engines, scoring
from farout.runs.embedding import ShardEmbedder, embed_shards
from farout.runs.engines import PLAIN, RayEngine, untold
from farout.runs.folder import open_run
from farout.runs.generating import ShardDrawer, generate_parts
from farout.runs.scoring import ShardScorer, rows_a_part, score_shards
from farout.runs.settings import SourceSettings
from farout.runs.shards import ShardFolder
from farout.runs.stressing import open_stressed, stress_models

try:
    import cloudpickle  # that of Ray is the same
except ImportError:
    from joblib.externals import cloudpickle  # of older releases

PART = 8192  # rows that are scored at once, and of the shards here
ROWS = 3 * PART + 100
FEW = 256  # as many, for workers in this process
SHELL = SourceSettings.from_mapping({"name": "normal", "strength": 3.0}, "test")

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray isn't installed: farout[ray]")


def rows(n, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, 1)) + 0.3 * rng.standard_normal((n, 4))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run, and rows: many as Parquet for processes of Ray, few in three formats for this one."""
    place = tmp_path_factory.mktemp("engines")
    flow = fo.FlowDensity(max_steps=5, random_state=0)
    fo.FlowDetector(flow=flow, random_state=0).fit(rows(300, 0)).save(place / "run")
    X = rows(ROWS, 1)
    table = pa.table({f"x{i}": X[:, i] for i in range(4)})
    pq.write_table(table, place / "many.parquet", row_group_size=5000)
    table = table.slice(0, 3 * FEW + 100)
    pq.write_table(table, place / "t.parquet", row_group_size=300)
    pa.csv.write_csv(table, place / "t.csv")
    np.save(place / "t.npy", X[: 3 * FEW + 100])
    return place


@pytest.fixture(scope="module")
def cluster():
    """A cluster that the tests of this module share."""
    import ray

    with engines._quiet(), RayEngine(workers=2)._cluster():
        assert ray.is_initialized()
        yield


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def few(monkeypatch):
    """Parts of few rows, in this process."""
    monkeypatch.setattr(scoring, "rows_a_part", lambda run: FEW)


def shards_in(folder):
    return {name: text for name, text in contents(folder).items() if name.startswith("part-")}


def scored(place, data, out, engine=PLAIN, writer=None, **more):
    """Score shards of one part each; ``writer`` makes another writer of the usual one."""
    run, stream = open_run(place / "run"), open_stream(place / data)

    class Changed:
        def write(self, shards, usual, told):
            engine.write(shards, usual if writer is None else writer(usual), told)

    return score_shards(run, stream, out, shard_rows=1, engine=Changed(), **more).facts()


def drawn(place, out, engine=PLAIN, n=500):
    return generate_parts(open_run(place / "run"), SHELL, n, out, seed=5, shard_rows=200, engine=engine)


# --- What a worker does ----------------------------------------------------------------------------------------------


def by_worker(writer, shards, order):
    """Have a worker of Ray write shards, in this process; gives back its answers."""
    worker = engines._Worker(cloudpickle.dumps(writer), str(shards.folder), str(Path.cwd()))
    return [worker(asdict(shards.shards[i])) for i in order]


@pytest.mark.parametrize("data", ["t.parquet", "t.csv", "t.npy"])
def test_a_worker_writes_the_same_bytes_in_any_order(data, place, tmp_path, few):
    scored(place, data, tmp_path / "plain")
    scorer = ShardScorer(open_run(place / "run"), open_stream(place / data), False)
    assert scorer.stream.seeks == (data != "t.csv")
    (tmp_path / "worker").mkdir()
    shards = ShardFolder(tmp_path / "worker", {}, 3 * FEW + 100, FEW)
    for answer in by_worker(scorer, shards, (0, 2, 3, 1)):  # one is skipped, and another comes before
        made = pickle.loads(answer["answer"])
        assert made.shard in shards.shards
    assert contents(shards.folder) == shards_in(tmp_path / "plain")


def test_a_worker_draws_the_same_outliers(place, tmp_path):
    drawn(place, tmp_path / "plain")
    drawer = ShardDrawer(open_run(place / "run"), SHELL, (), 5, None)
    (tmp_path / "worker").mkdir()
    shards = ShardFolder(tmp_path / "worker", {}, 500, 200)
    facts = [pickle.loads(answer["answer"]).facts for answer in by_worker(drawer, shards, (2, 0))]
    assert [told["rows"] for told in facts] == [100, 200]
    plain = contents(tmp_path / "plain")
    assert contents(shards.folder) == {name: plain[name] for name in ("part-00000.parquet", "part-00002.parquet")}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of photographs, and a network at hand, in a folder to be in."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(embedding, "AT_ONCE", 2)
    (tmp_path / "net_at_hand.py").write_text(
        "import torch\n\ndef colours():\n    torch.manual_seed(0)\n    return torch.nn.Conv2d(3, 4, 3)\n"
    )
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path


def embedded(data, out, engine=PLAIN):
    features = fo.Features("net_at_hand:colours", size=16, batch_size=2)
    return embed_shards(str(data), features, out, shard_rows=3, engine=engine)


def test_a_worker_embeds_the_same(photos):
    assert embedded("photos", photos / "plain") == {"rows": 8, "features": 4, "classes": ["cat", "dog"]}
    shards = ShardFolder(photos / "worker", {}, 8, 4)  # whole parts of two
    shards.folder.mkdir()
    features = fo.Features("net_at_hand:colours", size=16, batch_size=2)
    embedder = ShardEmbedder(features, embedding._inputs("photos", None, None, None, None), 2)
    answers = [pickle.loads(answer["answer"]) for answer in by_worker(embedder, shards, (1, 0))]
    assert [answer.facts for answer in answers] == [{"classes": ["dog"]}, {"classes": ["cat"]}]
    assert contents(shards.folder) == shards_in(photos / "plain")
    (photos / "photos" / "cat" / "0.png").touch()
    (answer,) = by_worker(embedder, shards, (1,))
    assert "changed while it was read" in str(pickle.loads(answer["answer"]))


def stressed(place, engine=PLAIN, n=30):
    data = fo.load_data(place / "t.npy")
    result = stress_models(
        open_stressed(place / "run"), data, engine=engine, n=n, kinds=["shell", "targeted"], n_bootstrap=20,
        random_state=0,
    )  # fmt: skip
    return {name: value for name, value in result.to_dict().items() if name != "seconds"}


class InOneWorker:
    """As workers of Ray are asked, in this process."""

    def calling(self, call, takes_gpu):
        worker = engines._Caller(cloudpickle.dumps(call), str(Path.cwd()))

        def call_all(name, blocks):
            return [engines._handed(worker.call(name, block)) for block in blocks]

        return contextlib.nullcontext(call_all)


def test_a_worker_asks_models_as_this_process_does(place, monkeypatch):
    wanted = stressed(place)
    monkeypatch.setattr("farout.runs.stressing.blocks_of", partial(blocks_of, size=100))
    found = stressed(place, InOneWorker())
    for one, other in zip(found["rows"], wanted["rows"], strict=True):
        assert (one["kind"], one["strength"], one["n"]) == (other["kind"], other["strength"], other["n"])
        assert one["auroc"] == pytest.approx(other["auroc"])  # blocks of other sizes change last digits


def test_an_error_of_a_model_in_a_worker_is_raised_here():
    def call(name, block):
        raise InvalidDataError(f"{name} takes no {block}")

    answer = engines._Caller(cloudpickle.dumps(call), str(Path.cwd())).call("m", "zeros")
    with pytest.raises(InvalidDataError, match="m takes no zeros") as raised:
        engines._handed(answer)
    assert "in call" in str(raised.value.__cause__)
    with pytest.raises(RunError, match="nowhere is no folder on the machine"):
        engines._handed(engines._Caller(cloudpickle.dumps(call), "nowhere").call("m", "zeros"))


def test_a_worker_hands_errors_back_and_leaves_nothing(place, tmp_path, few):
    X = rows(2 * FEW, 1)
    X[FEW + 5, 2] = np.nan
    np.save(tmp_path / "bad.npy", X)
    scorer = ShardScorer(open_run(place / "run"), open_stream(tmp_path / "bad.npy"), False)
    (tmp_path / "out").mkdir()
    shards = ShardFolder(tmp_path / "out", {}, len(X), FEW)
    good, bad = by_worker(scorer, shards, (0, 1))
    assert "trace" not in good
    error = pickle.loads(bad["answer"])
    assert isinstance(error, InvalidDataError)
    assert f"rows {FEW} to {2 * FEW - 1}" in str(error)
    assert "in _scored" in bad["trace"]
    assert list(contents(shards.folder)) == ["part-00000.parquet"]
    np.save(tmp_path / "bad.npy", X[:-1])  # as if another machine had another file there
    (answer,) = by_worker(scorer, shards, (1,))
    assert "changed while it was read" in str(pickle.loads(answer["answer"]))


def test_a_shard_that_kills_its_workers_is_given_up(tmp_path):
    shard = ShardFolder(tmp_path, {}, 1, 1).shards[0]
    killed = [engines._counted(tmp_path, shard) for _ in range(engines.TRIES)]
    for each in killed:
        each.__enter__()  # and never left
    with (
        pytest.raises(RunError, match=r"4 workers of Ray have died over this shard.*--workers"),
        engines._counted(tmp_path, shard),
    ):
        pass
    with engines._counted(tmp_path, shard):  # counted anew
        pass
    assert not list(tmp_path.iterdir())


def test_a_run_tells_whether_it_takes_a_gpu(place, tmp_path):
    assert open_run(place / "run").takes_gpu
    flow = fo.FlowDensity(max_steps=1, random_state=0, training=fo.Training(accelerator="cpu"))
    flow.fit(rows(50, 0)).save(tmp_path / "flow")
    assert not open_run(tmp_path / "flow").takes_gpu


def test_an_error_that_cannot_be_pickled_keeps_its_words():
    class Local(Exception):
        pass

    assert str(pickle.loads(engines._pickled(Local("no room")))) == "Local: no room"
    assert isinstance(pickle.loads(engines._pickled(RunError("no room"))), RunError)


# --- The command line, before anything is begun ----------------------------------------------------------------------


def test_what_cannot_go_by_ray_is_said_first(place, tmp_path, monkeypatch, capsys):
    words = {
        "score": ["score", str(place / "run"), str(place / "t.npy")],
        "generate": ["generate", str(place / "run")],
        "embed": ["embed", str(place / "t.npy"), "--backbone", "a:b"],
    }
    for command in words.values():
        assert main([*command, "--out", str(tmp_path / "s.parquet"), "--engine", "ray"]) == 2
        assert "give --out a folder" in capsys.readouterr().err
        for flag in (["--workers", "2"], ["--address", "auto"]):
            assert main([*command, "--out", str(tmp_path / "s"), *flag]) == 2
            assert "add --engine ray" in capsys.readouterr().err
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert main([*command, "--out", str(tmp_path / "s"), "--engine", "ray"]) == 1
        assert "pip install 'farout[ray]'" in capsys.readouterr().err
        monkeypatch.undo()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_nothing_imports_ray_unasked():
    code = (
        "import sys, farout.runs.scoring, farout.runs.generating, farout.runs.engines, farout.cli.app;"
        "farout.cli.app.make_app(); print([name for name in sys.modules if name.split('.')[0] == 'ray'])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


# --- With Ray --------------------------------------------------------------------------------------------------------


def dying(marker, times=1):
    """A writer whose process is killed so many times over the second shard, when its file is written but not there."""

    def make(usual):
        class Dying:
            takes_gpu = False

            def __call__(self, shard, path, told=untold):
                facts = usual(shard, path, told)
                died = len(marker.read_bytes()) if marker.exists() else 0
                if shard.number == 1 and died < times:
                    marker.write_bytes(b"." * (died + 1))
                    os.kill(os.getpid(), signal.SIGKILL)
                return facts

        return Dying()

    return make


@needs_ray
def test_scores_of_ray_are_those_of_one_process_though_a_worker_is_killed(place, tmp_path, cluster):
    wanted = scored(place, "many.parquet", tmp_path / "plain")
    told, marker = [], tmp_path / "died"
    found = scored(place, "many.parquet", tmp_path / "ray", RayEngine(), dying(marker), told=told.append)
    assert marker.exists()
    assert found == wanted
    assert contents(tmp_path / "ray") == contents(tmp_path / "plain")  # shards, manifest, and nothing else
    assert sum(told) == ROWS


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("ending", [".csv", ".npy"])
def test_scores_of_ray_are_those_of_one_process(ending, place, tmp_path, cluster):
    table = pq.read_table(place / "many.parquet")
    if ending == ".csv":
        pa.csv.write_csv(table, tmp_path / "many.csv")
    else:
        np.save(tmp_path / "many.npy", np.stack(table.columns, axis=1))
    shutil.copytree(place / "run", tmp_path / "run")
    found = [
        scored(tmp_path, f"many{ending}", tmp_path / name, by) for name, by in (("ray", RayEngine(2)), ("plain", PLAIN))
    ]
    assert found[0] == found[1]
    assert contents(tmp_path / "ray") == contents(tmp_path / "plain")


@needs_ray
@pytest.mark.slow
def test_outliers_of_ray_are_those_of_one_process(place, tmp_path, cluster):
    assert drawn(place, tmp_path / "ray", RayEngine(2)) == drawn(place, tmp_path / "plain")
    assert contents(tmp_path / "ray") == contents(tmp_path / "plain")
    labelled = fo.load_data("digits:train@0-2")
    source = fo.NormalShell(flow=fo.FlowDensity(event_shape=(1, 8, 8), max_steps=2, random_state=0))
    options = {"event_shape": (1, 8, 8), "max_steps": 2, "n_outliers": 50, "random_state": 0}
    fo.CautiousClassifier(source, **options).fit(labelled.X, labelled.y).save(tmp_path / "images")
    for name, engine in (("i-ray", RayEngine(2)), ("i-plain", PLAIN)):
        options = {"classes": ["0", "2"], "seed": 1, "shard_rows": 50, "engine": engine}
        generate_parts(open_run(tmp_path / "images"), SHELL, 120, tmp_path / name, **options)
    assert contents(tmp_path / "i-ray") == contents(tmp_path / "i-plain")


@needs_ray
@pytest.mark.slow
def test_features_of_ray_are_those_of_one_process(photos, cluster):
    assert embedded("photos", photos / "ray", RayEngine(2)) == embedded("photos", photos / "plain")
    assert contents(photos / "ray") == contents(photos / "plain")


@needs_ray
@pytest.mark.slow
def test_a_stress_test_by_ray_is_that_of_one_process(place, tmp_path, cluster, capsys):
    told = stressed(place, RayEngine(2), n=1000)
    assert told == stressed(place, n=1000)
    shown = []
    for more in ([], ["--engine", "ray", "--workers", "2"]):
        words = ["stress", str(place / "run"), str(place / "t.npy"), "-n", "20", "--kinds", "shell", "--json"]
        assert main([*words, "--out", str(tmp_path / "s.html"), "--force", *more]) == 0
        shown.append({name: v for name, v in json.loads(capsys.readouterr().out).items() if name != "seconds"})
    assert shown[0] == shown[1]


@needs_ray
@pytest.mark.slow
def test_a_worker_that_asks_models_and_dies_is_begun_again(place, tmp_path, cluster):
    marker = tmp_path / "died"

    def call(name, block):
        if not marker.exists() and block.sum() > 0:
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return name, float(block.sum())

    with RayEngine(2).calling(call, False) as call_all:
        found = call_all("a", [np.full(3, i) for i in range(5)])
        assert found == [("a", 3.0 * i) for i in range(5)]
        assert call_all("b", []) == []

    def dying(name, block):
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match="a: Ray gave up"), RayEngine(1).calling(dying, False) as call_all:
        call_all("a", [np.ones(1)])


@needs_ray
@pytest.mark.slow
def test_a_second_start_writes_the_shards_that_are_missing(place, tmp_path, cluster):
    wanted = scored(place, "many.parquet", tmp_path / "out")
    whole = contents(tmp_path / "out")
    kept = (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"PAR1")
    (tmp_path / "out" / "part-00003.parquet").unlink()
    assert scored(place, "many.parquet", tmp_path / "out", RayEngine()) == wanted
    assert contents(tmp_path / "out") == whole
    assert (tmp_path / "out" / "part-00000.parquet").stat().st_mtime_ns == kept
    scored(place, "many.parquet", tmp_path / "out", RayEngine(address="nowhere:1"))  # no worker is needed
    assert contents(tmp_path / "out") == whole


@needs_ray
@pytest.mark.slow
def test_a_bad_row_ends_in_the_same_words(place, tmp_path, cluster, capsys):
    X = rows(ROWS, 1)
    X[PART + 5, 2] = np.nan
    np.save(tmp_path / "bad.npy", X)
    said = []
    for name, more in (("plain", []), ("ray", ["--engine", "ray"])):
        words = ["score", str(place / "run"), str(tmp_path / "bad.npy"), "--shard-rows", str(PART), *more]
        assert main([*words, "--out", str(tmp_path / name)]) == 1
        said.append(capsys.readouterr().err)
    assert f"rows {PART} to {2 * PART - 1}" in said[0]
    assert said[0] == said[1]
    assert (tmp_path / "ray" / "part-00000.parquet").exists()
    assert not (tmp_path / "ray" / "part-00001.parquet").exists()


@needs_ray
@pytest.mark.slow
def test_a_shard_whose_workers_all_die_ends_the_job(place, tmp_path, cluster):
    with pytest.raises(RunError, match=r"part-00001\.parquet: 4 workers of Ray have died"):
        scored(place, "many.parquet", tmp_path / "out", RayEngine(), dying(tmp_path / "died", times=100))
    wanted = scored(place, "many.parquet", tmp_path / "plain")
    assert scored(place, "many.parquet", tmp_path / "out", RayEngine()) == wanted
    assert contents(tmp_path / "out") == contents(tmp_path / "plain")


MAIN = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "  # whoever runs this may ignore it
)
MAIN += "from farout.cli import main; sys.exit(main())"


def command(place, data, out, *more):
    words = ["score", place / "run", data, "--out", out, "--engine", "ray", *more]
    return [sys.executable, "-c", MAIN, *map(str, words)]


def workers_of_ray(mark):
    """Process numbers of those that write shards for a command with this mark, and the most memory of each, in MiB."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, StopIteration):  # it has ended
            marked = f"FAROUT_TEST={mark}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if marked and (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                lines = (folder / "status").read_text(encoding="utf-8").splitlines()
                found[int(folder.name)] = next(int(s.split()[1]) / 1024 for s in lines if s.startswith("VmHWM"))
    return found


@needs_ray
@pytest.mark.slow
def test_a_running_cluster_is_worked_on_and_left_running(place, tmp_path):
    """Two machines of one CPU each, as far as Ray knows; then an address where nobody answers."""
    from ray.cluster_utils import Cluster

    words = command(place, place / "many.parquet", tmp_path / "out", "--shard-rows", PART)
    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        machines.add_node(num_cpus=1)
        address = machines.address
        env = os.environ | {"RAY_ADDRESS": "nowhere:1"}  # a flag is over the environment
        told = subprocess.run([*words, "--address", address], capture_output=True, text=True, check=False, env=env)
        assert told.returncode == 0, told.stderr
        assert all(line.startswith("scoring ") for line in told.stderr.splitlines()), told.stderr
        assert all(machine.live_processes() for machine in machines.list_all_nodes())
    finally:
        machines.shutdown()
    scored(place, "many.parquet", tmp_path / "plain")
    assert shards_in(tmp_path / "out") == shards_in(tmp_path / "plain")
    env = os.environ | {"RAY_ADDRESS": address}
    told = subprocess.run([*words, "--force"], capture_output=True, text=True, check=False, env=env)
    assert told.returncode == 1
    assert f"no Ray cluster at {address}" in told.stderr
    assert "Traceback" not in told.stderr


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_ends_the_cluster_and_keeps_whole_shards(number, place, tmp_path):
    X = np.concatenate([rows(ROWS, 1)] * 20)
    np.save(tmp_path / "t.npy", X)
    out = tmp_path / "out"
    words = command(place, tmp_path / "t.npy", out, "--shard-rows", PART, "--workers", 2)
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not (out / "part-00001.parquet").exists() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(number)
        shown, said = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert not shown
    assert "shards that are whole stay" in said
    assert "Traceback" not in said
    noted = ShardFolder(out, {}, len(X), PART)
    assert 1 < len(list(out.glob("part-*.parquet"))) < len(noted.shards)


@needs_ray
@pytest.mark.slow
def test_many_rows_by_two_workers_of_bounded_memory_one_of_which_is_killed(tmp_path):
    """A million rows of 20 columns, unless FAROUT_RAY_ROWS says otherwise; each worker stays below 1 GiB."""
    n = int(os.environ.get("FAROUT_RAY_ROWS", "1000000"))
    rng = np.random.default_rng(0)
    block = (rng.standard_normal((2**16, 1)) + 0.3 * rng.standard_normal((2**16, 20))).astype(np.float32)
    fo.FlowDensity(max_steps=1, random_state=0).fit(block[:300]).save(tmp_path / "run")
    names = [f"x{i}" for i in range(20)]
    with pq.ParquetWriter(tmp_path / "t.parquet", pa.schema([(name, pa.float32()) for name in names])) as file:
        for first in range(0, n, len(block)):
            X = block[: n - first] + np.float32(first % 7 / 10)
            file.write_table(pa.table(dict(zip(names, X.T, strict=True))))
    peaks, ended = {}, threading.Event()
    out, shard_rows = tmp_path / "ray", rows_a_part(open_run(tmp_path / "run")) * max(1, n // 2**17)
    words = command(tmp_path, tmp_path / "t.parquet", out, "--workers", 2, "--shard-rows", shard_rows)

    def watch():
        killed = False
        while not ended.wait(0.05):
            peaks.update(workers_of_ray(tmp_path))
            if not killed and (out / "part-00001.parquet").exists() and peaks:
                os.kill(max(workers_of_ray(tmp_path)), signal.SIGKILL)
                killed = True

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        env = os.environ | {"FAROUT_TEST": str(tmp_path)}  # workers inherit it
        told = subprocess.run(words, capture_output=True, text=True, check=False, env=env)
    finally:
        ended.set()
        watcher.join()
    assert told.returncode == 0, told.stderr
    assert len(peaks) == 3  # of which one was killed
    print(f"peaks of workers: {peaks}, in MiB")  # shown by pytest -rP
    assert max(peaks.values()) < 1024
    plain = ["score", tmp_path / "run", tmp_path / "t.parquet", "--out", tmp_path / "plain", "--shard-rows", shard_rows]
    assert main(list(map(str, plain))) == 0
    assert pq.read_metadata(tmp_path / "plain" / "part-00000.parquet").num_rows == min(n, shard_rows)
    assert contents(out) == contents(tmp_path / "plain")
