"""Every reader ends in an answer or in its own error, whatever the bytes, and runs nothing on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZER = Path(__file__).with_name("fuzzing.py")
SEED = int(os.environ.get("FAROUT_FUZZ_SEED", "0"))
COUNT = int(os.environ.get("FAROUT_FUZZ_COUNT", "0"))  # inputs a reader in the long test; 0: as below
MOST_MEGABYTES = 600  # that reading takes beside what whole files take: 256 MiB are unpacked of any, and made into rows


FRUGAL = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}  # of address space
LONG = {
    **dict.fromkeys(("idx", "npy", "toml"), 40_000),
    **dict.fromkeys(("npz", "parquet", "sentences"), 20_000),
    "csv": 12_000,
    "records": 8_000,
    "images": 6_000,
    "runs": 4_000,
    "checkpoints": 2_000,
}


def fuzz(tmp_path, kinds: str, count: int, seed: int) -> dict:
    progress = tmp_path / "progress"
    progress.touch()
    done = subprocess.run(
        [sys.executable, FUZZER, kinds, str(count), str(seed)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **FRUGAL, "FUZZ_PROGRESS": str(progress)},
    )
    assert done.returncode == 0, f"died at {progress.read_text()} of seed {seed}: {done.stderr[-3000:]}"
    return json.loads(done.stdout)


def check(report: dict) -> None:
    for kind, found in report.items():
        told = "\n".join(found["failures"])
        assert not found["failures"], f"{found['ends']}; repeat one by fuzzing.py KIND 1 {SEED} NUMBER:\n{told}"
        assert found["megabytes"] < MOST_MEGABYTES, kind
        # Most are refused, and many are read: else the mutants would only try the outermost check.
        assert found["ends"]["answer"] > 0.03 * sum(found["ends"].values()), found["ends"]


def test_some(tmp_path):
    kinds = "idx,npy,npz,csv,parquet,sentences,toml,images:60,runs:20,records:50,checkpoints:20"
    check(fuzz(tmp_path, kinds, 60, SEED))


@pytest.mark.slow
@pytest.mark.parametrize("kind", LONG)
def test_many(tmp_path, kind):
    check(fuzz(tmp_path, kind, COUNT or LONG[kind], SEED + 1))
