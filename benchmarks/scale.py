"""What each verb costs on this machine: what docs/scale.md's cost model (cost_model.py) is fitted to.

    python benchmarks/scale.py [--parts tables files commands shards images photographs] [--columns 20 100]
        [--rows 200000] [--images 20000] [--photographs 64] [--steps 300] [--accelerator cpu|gpu]

Prints a JSON object a line. The first says where and when. Then, for each verb and shape of a row:

- how many seconds (of the clock, and of the CPU) it takes for a number of rows, and for a quarter of it, so that what
  each call takes whatever its rows can be told from what each row takes; the best of two runs, after one that isn't
  counted;
- what a worker takes, a process of its own that loads the run and is given one row, then a part of rows: seconds until
  its first answer, its memory then, and bytes more a row.

Data are drawn, so that no download is needed: what is measured is arithmetic, not quality. The backbone of photographs
is a ResNet-50 of timm with random weights; without timm they are left out. For figures of one core, set
OMP_NUM_THREADS=1 and begin it by ``taskset -c 0``.
"""

import argparse
import gzip
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from memory_use import peak

PART = 8192  # rows that `farout score` scores at once
TRAINED_ON = 50_000
BATCH = {1: 128, 3: 64}  # rows a training step, of vectors and of images


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def timed(what: str, shape: tuple[int, ...], rows: int, work: Callable[[], object], runs: int = 3) -> None:
    """Print how long the work takes."""
    best = best_cpu = float("inf")
    for i in range(runs):
        begun, begun_cpu = time.perf_counter(), time.process_time()
        work()
        if i or runs == 1:
            best = min(best, time.perf_counter() - begun)
            best_cpu = min(best_cpu, time.process_time() - begun_cpu)
    say(what=what, shape=shape, rows=rows, seconds=round(best, 4), cpu_seconds=round(best_cpu, 4))


def by_size(what: str, shape: tuple[int, ...], rows: int, work: Callable[[int], object]) -> None:
    """Print how long the work takes for that many rows, and for a quarter."""
    for n in (max(1, rows // 4), rows):
        timed(what, shape, n, lambda: work(n))  # noqa: B023


def table(n: int, d: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.exp(0.3 * rng.normal(size=(n, 4)) @ rng.normal(size=(4, d))) + 0.1 * rng.normal(size=(n, d))


# --- workers ---------------------------------------------------------------------------------------------------------


def child(*words: str | Path) -> tuple[str, float, float]:
    """What a Python process prints, and its seconds of the clock and of the CPU."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, words)], check=True, capture_output=True, text=True)
    seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return done.stdout, seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def worker(what: str, shape: tuple[int, ...], model: Any, X: np.ndarray | None, folder: Path) -> None:
    """Print what a process takes that scores rows with a saved model, or draws from it where none are given."""
    run, rows = folder / f"{what}, {len(shape)}, {shape[-1]}", folder / "worker.npy"
    model.save(run)
    if X is not None:
        np.save(rows, X[:PART])
    told, _, _ = child(__file__, "--worker", run, *([] if X is None else [rows]))
    say(what=what, shape=shape, part=PART if X is None else len(X[:PART]), **json.loads(told))


def be_worker(run: Path, data: Path | None) -> None:
    """Be that process."""
    begun = time.process_time()
    import farout as fo

    model = fo.load(run)
    rows = None if data is None else np.load(data, mmap_mode="r")
    n = PART if rows is None else len(rows)
    peaks = []
    for k in (1, n):
        _ = model.sample(k, random_state=0) if rows is None else model.score_samples(np.array(rows[:k]))
        if k == 1:
            ready = time.process_time() - begun
        peaks.append(peak())
    say(ready_seconds=round(ready, 2), fixed_bytes=peaks[0], bytes_a_row=round((peaks[1] - peaks[0]) / n))


# --- parts -----------------------------------------------------------------------------------------------------------


def tables(columns: int, rows: int, steps: int, accelerator: str, folder: Path) -> None:
    import farout as fo

    where, shape = fo.Training(accelerator=accelerator), (columns,)
    X = table(max(rows, TRAINED_ON), columns)
    y = (X[:, 0] > np.median(X[:, 0])).astype(int)
    train, y, X = X[:TRAINED_ON], y[:TRAINED_ON], X[:rows]

    def new_flow() -> Any:
        return fo.FlowDensity(max_steps=steps, batch_size=BATCH[1], random_state=0, training=where)

    flow = new_flow()
    timed("fit flow, rows seen in training", shape, steps * BATCH[1], lambda: flow.fit(train), runs=1)
    by_size("score flow", shape, rows, lambda n: flow.score_samples(X[:n]))
    worker("score flow", shape, flow, X, folder)
    shell = fo.NormalShell(2.5, flow=flow).fit(train)
    by_size("generate", shape, rows, lambda n: shell.sample(n, random_state=0))
    worker("generate", shape, shell, None, folder)
    detector = fo.FlowDetector(flow=new_flow(), random_state=0)
    timed("fit detector", shape, len(train), lambda: detector.fit(train), runs=1)
    by_size("score detector", shape, rows, lambda n: detector.score_samples(X[:n]))
    worker("score detector", shape, detector, X, folder)
    clf = fo.CautiousClassifier(shell, max_steps=steps, random_state=0, training=where)
    timed("fit classifier", shape, len(train), lambda: clf.fit(train, y), runs=1)
    by_size("score classifier", shape, rows, lambda n: clf.score_samples(X[:n]))
    worker("score classifier", shape, clf, X, folder)


def images(rows: int, steps: int, accelerator: str, folder: Path) -> None:
    import farout as fo

    where, shape = fo.Training(accelerator=accelerator), (1, 28, 28)
    rng = np.random.default_rng(0)
    P = rng.integers(0, 256, size=(max(rows, 10_000), 784)).astype(np.uint8)
    z = rng.integers(0, 10, size=10_000)
    train, P = P[:10_000], P[:rows]
    flow = fo.FlowDensity(event_shape=shape, max_steps=steps, batch_size=BATCH[3], random_state=0, training=where)
    timed("fit flow, rows seen in training", shape, steps * BATCH[3], lambda: flow.fit(train, z), runs=1)
    by_size("score flow", shape, rows, lambda n: flow.score_samples(P[:n]))
    worker("score flow", shape, flow, P, folder)
    shell = fo.NormalShell(2.5, flow=flow).fit(train, z)
    by_size("generate", shape, rows, lambda n: shell.sample(n, random_state=0))
    clf = fo.CautiousClassifier(shell, event_shape=shape, max_steps=steps, random_state=0, training=where)
    timed("fit classifier", shape, len(train), lambda: clf.fit(train, z), runs=1)
    by_size("score classifier", shape, rows, lambda n: clf.score_samples(P[:n]))
    worker("score classifier", shape, clf, P, folder)


def files(columns: int, rows: int, folder: Path) -> None:
    """Files of a table, and reading them in parts."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    from farout.data import open_stream

    shape, X = (columns,), table(rows, columns)
    names = [f"c{i}" for i in range(columns)]
    frame = pa.table(dict(zip(names, X.T, strict=True)))
    paths = {ending: folder / f"rows.{ending}" for ending in ("parquet", "csv", "csv.gz", "npy")}
    pq.write_table(frame, paths["parquet"], row_group_size=2**16)
    pyarrow.csv.write_csv(frame, paths["csv"])
    paths["csv.gz"].write_bytes(gzip.compress(paths["csv"].read_bytes(), 6))
    np.save(paths["npy"], X)
    for ending, path in paths.items():
        say(what=f"file {ending}", shape=shape, rows=rows, bytes=path.stat().st_size)
        stream = open_stream(path)
        timed(f"open {ending}", shape, rows, lambda: open_stream(path), runs=2)  # noqa: B023
        timed(f"read {ending}", shape, rows, lambda: [len(part) for part in stream.batches(PART)])  # noqa: B023


def commands(columns: int, rows: int, steps: int, folder: Path) -> None:
    """A command from start to end, which the cost model must foretell, of that many rows and of twenty times as many.

    It scores by a flow, the quickest model, so that all around it has the most say.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    import farout as fo
    from farout.runs.scoring import read_shard

    shape, X = (columns,), table(rows, columns)
    flow = fo.FlowDensity(max_steps=steps, batch_size=BATCH[1], random_state=0).fit(X)
    run = flow.save(folder / f"flow of {columns}")
    frame = pa.table({f"c{i}": column for i, column in enumerate(X.T)})
    for times in (1, 20):
        data, out, n = folder / "scored.parquet", folder / f"scores {columns} {times}", rows * times
        pq.write_table(pa.concat_tables([frame] * times), data, row_group_size=2**16)
        _, seconds, cpu = child("-m", "farout", "score", run, data, "--out", out)
        say(what="farout score", shape=shape, rows=n, seconds=round(seconds, 2), cpu_seconds=round(cpu, 2))
        timed("read scores", shape, n, lambda: read_shard(out / "part-00000.parquet"))  # noqa: B023


def shards(folder: Path) -> None:
    """Shards of a row each: what is left is their files, and the manifest."""
    import farout as fo

    run = fo.FlowDensity(max_steps=3, random_state=0).fit(table(300, 20)).save(folder / "few steps")
    drawing = ["-m", "farout", "generate", run, "--source", "normal", "--strength", "2.5", "--shard-rows", "1"]
    for n in (1, 1000, 4000):
        _, seconds, cpu = child(*drawing, "-n", str(n), "--out", folder / f"drawn{n}")
        say(what="shards", shape=(20,), rows=n, seconds=round(seconds, 2), cpu_seconds=round(cpu, 2))


def photographs(n: int, accelerator: str, folder: Path) -> None:
    """Decoding of JPEGs of usual size, and the features of a ResNet-50 for them."""
    if importlib.util.find_spec("timm") is None:
        say(what="photographs", missing="timm")
        return
    import timm
    from PIL import Image

    import farout as fo

    rng, photos = np.random.default_rng(0), []
    for i in range(n):  # clouds with a little grain compress about as photographs do
        cloud = Image.fromarray(rng.integers(0, 256, (12, 16, 3)).astype(np.uint8)).resize((500, 375), Image.BICUBIC)
        grain = np.asarray(cloud) + rng.normal(0, 12, (375, 500, 3))
        photos.append(folder / f"{i}.jpg")
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(photos[-1], quality=90)
    say(what="file jpg", shape=(3, 375, 500), rows=n, bytes=sum(path.stat().st_size for path in photos))
    backbone = timm.create_model("resnet50", pretrained=False, num_classes=0)
    features = fo.Features(backbone, accelerator=accelerator, batch_size=16).fit(photos[:2])
    say(what="features", shape=(3, 375, 500), bytes_a_row=int(features.transform(photos[:1]).nbytes))

    def decode(k: int) -> None:
        for path in photos[:k]:
            with Image.open(path) as opened:
                opened.convert("RGB").resize((256, 256), Image.BICUBIC)

    by_size("decode", (3, 375, 500), n, decode)
    by_size("embed", (3, 375, 500), n, lambda k: features.transform(photos[:k]))
    say(what="embed", shape=(3, 375, 500), part=16, fixed_bytes=peak(), bytes_a_row=0)


def main(argv: Sequence[str] | None = None) -> None:
    parts = ("tables", "files", "commands", "shards", "images", "photographs")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts)
    parser.add_argument("--columns", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--photographs", type=int, default=64)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--accelerator", choices=("auto", "cpu", "gpu"), default="auto")
    parser.add_argument("--worker", type=Path, nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        be_worker(options.worker[0], options.worker[1] if len(options.worker) > 1 else None)
        return
    from farout.runs.provenance import Watch

    say(**Watch().stop().__dict__ | {"command": " ".join(["python benchmarks/scale.py", *(argv or sys.argv[1:])])})
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for columns in options.columns:
            if "tables" in options.parts:
                tables(columns, options.rows, options.steps, options.accelerator, folder)
            if "files" in options.parts:
                files(columns, options.rows, folder)
            if "commands" in options.parts:
                commands(columns, options.rows, options.steps, folder)
        if "shards" in options.parts:
            shards(folder)
        if "images" in options.parts:
            images(options.images, options.steps, options.accelerator, folder)
        if "photographs" in options.parts:
            photographs(options.photographs, options.accelerator, folder)


if __name__ == "__main__":
    main()
