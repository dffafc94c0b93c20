"""Rows a second that one process and workers of Ray score, of Parquet.

    python benchmarks/ray_engine.py [--rows 10000000] [--columns 20] [--model flow] [--workers 1 2] [--steps 300]
                                    [--runs 3]

Needs `pip install '.[ray]'`. One JSON object a line: engine, workers, rows, rows a second from the first answer on,
seconds of all with the start of the cluster, MiB of the largest worker, whether the manifest, with the check sums of
shards, is that of one process. Figures are those of the quickest run. Rows are drawn, and the model is fitted to few of
them: what is measured is arithmetic, not quality.
"""

import argparse
import json
import shutil
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import farout as fo
from farout.data import open_stream
from farout.runs.engines import PLAIN, Engine, RayEngine
from farout.runs.folder import open_run
from farout.runs.scoring import score_shards
from farout.runs.shards import MANIFEST


def write_rows(path: Path, rows: int, columns: int) -> np.ndarray:
    """Write rows as Parquet, in groups of 65 536; gives back the first."""
    rng = np.random.default_rng(0)
    names = [f"x{i}" for i in range(columns)]
    block = (rng.standard_normal((2**16, 1)) + 0.3 * rng.standard_normal((2**16, columns))).astype(np.float32)
    with pq.ParquetWriter(path, pa.schema([(name, pa.float32()) for name in names])) as file:
        for first in range(0, rows, len(block)):
            X = block[: rows - first] + np.float32(first / rows)
            file.write_table(pa.table(dict(zip(names, X.T, strict=True))))
    return block


class Peak:
    """The most memory that a process of Ray's workers had meanwhile, in MiB."""

    def __enter__(self) -> "Peak":
        self.most, self.ended = 0.0, threading.Event()
        self.watcher = threading.Thread(target=self.watch)
        self.watcher.start()
        return self

    def watch(self) -> None:
        while not self.ended.wait(0.2):
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    if (folder / "cmdline").read_bytes().startswith(b"ray::MapWorker"):
                        lines = (folder / "status").read_text(encoding="utf-8").splitlines()
                        self.most = max(
                            [self.most, *(int(s.split()[1]) / 1024 for s in lines if s.startswith("VmHWM"))]
                        )
                except OSError:  # it has ended
                    continue

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.watcher.join()


def measure(place: Path, engine: Engine, shard_rows: int) -> tuple[float, float, float]:
    """Rows a second after the first answer, seconds of all, MiB of the largest worker."""
    run, stream = open_run(place / "run"), open_stream(place / "rows.parquet")
    answers: list[tuple[float, int]] = []
    shutil.rmtree(place / "out", ignore_errors=True)
    begun = time.perf_counter()
    with Peak() as peak:
        score_shards(
            run, stream, place / "out", shard_rows=shard_rows, engine=engine,
            told=lambda rows: answers.append((time.perf_counter(), rows)),
        )  # fmt: skip
    whole = time.perf_counter() - begun
    return sum(rows for _, rows in answers[1:]) / (answers[-1][0] - answers[0][0]), whole, peak.most


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--columns", type=int, default=20)
    parser.add_argument("--model", choices=("flow", "detector"), default="flow")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--runs", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sample = write_rows(place / "rows.parquet", asked.rows, asked.columns)[:5000]
        flow = fo.FlowDensity(max_steps=asked.steps, random_state=0)
        model = flow if asked.model == "flow" else fo.FlowDetector(flow=flow, random_state=0)
        model.fit(sample).save(place / "run")
        manifest = ""  # of one process
        shard_rows = max(8192, min(2**18, asked.rows // 16))
        engines: list[tuple[int, Engine]] = [(0, PLAIN), *((n, RayEngine(n)) for n in asked.workers)]
        for workers, engine in engines:
            rate, whole, peak = max(measure(place, engine, shard_rows) for _ in range(asked.runs))
            found = (place / "out" / MANIFEST).read_text(encoding="utf-8")
            manifest = manifest or found
            told = {
                "model": asked.model,
                "engine": "ray" if workers else "plain",
                "workers": workers or 1,
                "rows": asked.rows,
                "rows_a_second": round(rate),
                "seconds": round(whole, 1),
                "worker_MiB": round(peak) or None,
                "equal": found == manifest,
            }
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
