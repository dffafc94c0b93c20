"""The tables of docs/scale.md: a cost model fitted to what scale.py printed, and what it foretells.

    python benchmarks/cost_model.py             # prints the tables
    python benchmarks/cost_model.py --write     # and puts them into docs/scale.md

A worker takes ``ready + calls * each call + rows * each row`` seconds, and ``fixed + rows at once * bytes a row``
bytes. A job's shards end with the last of them, or when its driver has noted all, if that takes longer; then the driver
reads all scores once, for the summary.
"""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

DOCS = Path(__file__).resolve().parents[1] / "docs"
CPU, GPU = DOCS / "results" / "scale-cpu.jsonl", DOCS / "results" / "scale-gpu.jsonl"
CORES = 16  # of a machine, as the lent one with the GPU has; each has a worker
SHARD = 500_000  # rows, as `farout score` takes
PART = 8192  # rows that it scores at once
MACHINES = (1, 10, 100)
TABLE_ROWS, WIDE, NARROW = 10**9, (100,), (20,)
PHOTOGRAPHS, PHOTOGRAPH, PHOTOGRAPH_SHARD = 10**8, (3, 375, 500), 10_000
SCORES = ("score flow", "score classifier", "score detector")
NAMES = {(20,): "20 numbers", (100,): "100 numbers", (1, 28, 28): "1x28x28", PHOTOGRAPH: "JPEG, 500x375"}


@dataclass(frozen=True)
class Line:
    """Seconds of a verb: ``call`` whatever its rows, and ``row`` for each."""

    call: float
    row: float

    def seconds(self, rows: float, calls: float = 1) -> float:
        return calls * self.call + rows * self.row


class Measured:
    """What a file of lines that scale.py printed says.

    Parameters
    ----------
    path : Path
    clock : {"cpu_seconds", "seconds"}
        Seconds of the CPU are those of a machine that has nothing else to do.
    """

    def __init__(self, path: Path, clock: str) -> None:
        self.path, self.clock = path, clock
        self.lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    def found(self, what: str, shape: Sequence[int], key: str) -> list[dict[str, Any]]:
        """Lines of a verb and a shape that tell something."""
        same = [x for x in self.lines if x.get("what") == what and x["shape"] == list(shape) and key in x]
        if not same:
            raise SystemExit(f"{self.path}: no {key} of {what!r}, {list(shape)}; run benchmarks/scale.py again")
        return same

    def has(self, what: str, shape: Sequence[int]) -> bool:
        return any(x.get("what") == what and x["shape"] == list(shape) for x in self.lines)

    def one(self, what: str, shape: Sequence[int], key: str) -> float:
        return float(self.found(what, shape, key)[-1][key])

    def line(self, what: str, shape: Sequence[int]) -> Line:
        """The line through the seconds of several numbers of rows; through one and nothing, if there is one alone."""
        same = self.found(what, shape, self.clock)
        rows, seconds = [x["rows"] for x in same], [x[self.clock] for x in same]
        if len(same) == 1:
            return Line(0.0, seconds[0] / rows[0])
        row, call = np.polyfit(rows, seconds, 1)
        if row <= 0:
            raise SystemExit(f"{self.path}: {what!r}, {list(shape)}: more rows took less time; measure more of them")
        return Line(max(0.0, float(call)), float(row))

    def a_shard(self) -> float:
        """Seconds that a shard of nothing takes, with its note in the manifest."""
        return self.line("shards", NARROW).row


# --- the model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """Shards that workers take one after the other, each of whom begins once.

    ``note`` is the driver's seconds for a shard.
    """

    rows: int
    shard: int
    note: float
    after: float = 0.0

    def seconds(self, workers: int, ready: float, shard_seconds: float) -> float:
        """Until the driver has the summary."""
        shards = ceil(self.rows / self.shard)
        return max(ready + ceil(shards / workers) * shard_seconds, self.note * shards) + self.after


# --- numbers for people ----------------------------------------------------------------------------------------------


def told(seconds: float) -> str:
    """A time, of two digits.

    Examples
    --------
    >>> told(0.042), told(75), told(7200), told(2e6), told(1e9)
    ('42 ms', '75 s', '2 h', '23 d', '32 years')
    """
    for unit, size, most in (("ms", 1e-3, 1), ("s", 1, 100), ("min", 60, 6000), ("h", 3600, 172_800)):
        if seconds < most:
            return f"{rounded(seconds / size)} {unit}"
    days = seconds / 86_400
    return f"{rounded(days)} d" if days < 1000 else f"{rounded(days / 365)} years"


def size(number: float) -> str:
    """Bytes, of two digits."""
    for unit, least in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if number >= least:
            return f"{rounded(number / least)} {unit}"
    return f"{number:.0f} B"


def rounded(number: float) -> str:
    """Two digits, without an exponent; a space between thousands."""
    text = f"{float(f'{number:.2g}'):,f}".replace(",", " ").rstrip("0").rstrip(".")
    return text or "0"


def rows_of(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A Markdown table; the first ``left`` columns are text."""
    rule = ["---" if i < left else "---:" for i in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


# --- tables ----------------------------------------------------------------------------------------------------------


def where(measured: Measured) -> str:
    """When, where and how, for each run of scale.py."""
    return "\n".join(
        f"- `{x['command']}`: {x['hardware']}; {x['versions']}; {x['date']}" for x in measured.lines if "command" in x
    )


def one_core(cpu: Measured) -> str:
    verbs = [
        ("train a flow (rows seen)", "fit flow, rows seen in training"),
        ("score by a flow", "score flow"),
        ("score by a classifier", "score classifier"),
        ("score by a detector", "score detector"),
        ("generate, normal shell", "generate"),
        ("read Parquet", "read parquet"),
        ("read CSV", "read csv"),
        ("learn the types of a CSV file", "open csv"),
        ("read .npy", "read npy"),
        ("decode a photograph", "decode"),
        ("embed a photograph (ResNet-50)", "embed"),
    ]
    rows = []
    for name, what in verbs:
        for shape, shown in NAMES.items():
            if cpu.has(what, shape):
                line = cpu.line(what, shape)
                rows.append([name, shown, told_small(line.row), rounded(1 / line.row), short(line.call)])
    return rows_of(["verb", "a row", "a row takes", "rows a second", "a call takes"], rows, 2)


def short(seconds: float) -> str:
    """A time that may be too short to tell."""
    return told(seconds) if seconds >= 1e-3 else "-"


def told_small(seconds: float) -> str:
    """A short time, of two digits."""
    return f"{rounded(seconds * 1e6)} µs" if seconds < 1e-3 else told(seconds)


def fits(cpu: Measured) -> str:
    rows = []
    for name in ("detector", "classifier"):
        for shape in filter(lambda shape: cpu.has(f"fit {name}", shape), NAMES):
            n, seconds = (cpu.one(f"fit {name}", shape, key) for key in ("rows", cpu.clock))
            rows.append([f"fit a {name}", NAMES[shape], rounded(n), told(seconds)])
    return rows_of(["verb", "a row", "rows", "takes"], rows, 2)


def workers(cpu: Measured) -> str:
    rows = []
    for x in cpu.lines:
        if "fixed_bytes" in x:
            fixed, each, part = x["fixed_bytes"], x["bytes_a_row"], x["part"]
            ready = told(x["ready_seconds"]) if "ready_seconds" in x else "-"
            name = [x["what"], NAMES[tuple(x["shape"])], ready, size(fixed)]
            rows.append([*name, size(each) if each else "-", f"{part}", size(fixed + part * each)])
    head = ["worker", "a row", "first answer after", "memory then", "bytes a row more", "rows of a part", "with a part"]
    return rows_of(head, rows, 2)


def on_gpu(gpu: Measured) -> str:
    rows = []
    for what in ("fit flow, rows seen in training", *SCORES, "generate"):
        for shape, shown in NAMES.items():
            if gpu.has(what, shape):
                line = gpu.line(what, shape)
                rows.append([what, shown, told_small(line.row), rounded(1 / line.row)])
    return rows_of(["verb", "a row", "a row takes", "rows a second"], rows, 2)


def foretold(cpu: Measured) -> str:
    """The model's time of a command beside the measured one."""
    rows = []
    for shape in (NARROW, WIDE):
        measured = {
            x["rows"]: x[cpu.clock] for x in cpu.found("farout score", shape, cpu.clock)
        }  # the last of each size
        for n, found in measured.items():
            seconds = cpu.one("score flow", shape, "ready_seconds") + cpu.line("read parquet", shape).seconds(n)
            seconds += cpu.line("score flow", shape).seconds(n, ceil(n / PART))
            rows.append([NAMES[shape], rounded(n), told(seconds), told(found)])
    return rows_of(["a row", "rows", "foretold", "measured"], rows, 2)


def many_rows(cpu: Measured, gpu: Measured) -> str:
    """Rows of a table, on machines with a worker a core, and on those with a GPU."""
    reading, summary = cpu.line("read parquet", WIDE), TABLE_ROWS * cpu.line("read scores", WIDE).row
    rows = []
    for place, workers in ((f"{CORES} cores", CORES), ("a GPU", 1)):
        for what in (*SCORES, "generate"):
            line = cpu.line(what, WIDE)
            seconds = line.seconds(SHARD, ceil(SHARD / PART))
            if workers == 1:  # measured for fewer columns: as much dearer a column as on the CPU
                seconds = gpu.line(what, NARROW).seconds(SHARD) * line.row / cpu.line(what, NARROW).row
            drawn = what == "generate"
            job = Job(TABLE_ROWS, SHARD, cpu.a_shard(), 0.0 if drawn else summary)
            seconds += 0.0 if drawn else reading.seconds(SHARD)
            ready = cpu.one(what, WIDE, "ready_seconds")
            times = [told(job.seconds(workers * m, ready, seconds)) for m in MACHINES]
            rows.append([f"{what}, {place} each", *times])
    return rows_of(["1e9 rows of 100 numbers", *map(on, MACHINES)], rows)


def on(machines: int) -> str:
    return f"{machines} machine{'s' if machines > 1 else ''}"


def many_photographs(cpu: Measured) -> str:
    job = Job(PHOTOGRAPHS, PHOTOGRAPH_SHARD, cpu.a_shard())
    rows = []
    for name, what in (("decode alone", "decode"), ("decode, and ResNet-50 on the CPU", "embed")):
        seconds = cpu.line(what, PHOTOGRAPH).seconds(PHOTOGRAPH_SHARD)
        rows.append([name, *(told(job.seconds(CORES * m, 0.0, seconds)) for m in MACHINES)])
    photo = cpu.one("file jpg", PHOTOGRAPH, "bytes") / cpu.one("file jpg", PHOTOGRAPH, "rows")
    features = cpu.one("features", PHOTOGRAPH, "bytes_a_row")
    for name, each in (("JPEG files that each reads", photo), ("features that each writes", features)):
        rows.append([name, *(size(PHOTOGRAPHS * each / m) for m in MACHINES)])
    return rows_of([f"1e8 photographs, {CORES} cores each", *map(on, MACHINES)], rows)


def formats(cpu: Measured) -> str:
    """Bytes of one file of all the rows, what one core takes to read it, and what it takes at least, however many do.

    A text file can't be entered in the middle: a worker reads past the rows of others. Its types are learnt before, by
    the driver, in a pass of its own. A worker enters the others at its shard.
    """
    rows = []
    for ending in ("npy", "parquet", "csv", "csv.gz"):
        n = cpu.one(f"file {ending}", WIDE, "rows")
        once = TABLE_ROWS * (cpu.line(f"read {ending}", WIDE).row)
        types = TABLE_ROWS * cpu.line(f"open {ending}", WIDE).row if "csv" in ending else 0.0
        least = types + (once if "csv" in ending else once * SHARD / TABLE_ROWS)
        space = size(TABLE_ROWS * cpu.one(f"file {ending}", WIDE, "bytes") / n)
        rows.append([f".{ending}", space, told(types + once), told_small(least)])
    return rows_of(["one file", "bytes", "one core reads it in", "at least, by any number of workers"], rows)


def many_shards(cpu: Measured) -> str:
    counts = (100, 2000, 10_000, 100_000)
    return rows_of(["shards", "files and manifest take"], [[rounded(n), told(cpu.a_shard() * n)] for n in counts])


def machine(cpu: Measured) -> str:
    """What the workers of one machine need, together."""
    parquet = cpu.one("file parquet", WIDE, "bytes") / cpu.one("file parquet", WIDE, "rows")
    rows = []
    for what in SCORES:
        fixed, each = (cpu.one(what, WIDE, key) for key in ("fixed_bytes", "bytes_a_row"))
        row = cpu.line(what, WIDE).row + cpu.line("read parquet", WIDE).row
        rows.append(
            [what, size(CORES * (fixed + PART * each)), rounded(CORES / row), f"{size(CORES / row * parquet)}/s"]
        )
    return rows_of([f"{CORES} workers, 100 numbers a row", "memory", "rows a second", "read from Parquet"], rows)


def tables(cpu: Measured, gpu: Measured) -> dict[str, str]:
    """All of them, by name."""
    return {
        "where": where(cpu),
        "one core": one_core(cpu),
        "fits": fits(cpu),
        "workers": workers(cpu),
        "machine": machine(cpu),
        "gpu": on_gpu(gpu),
        "foretold": foretold(cpu),
        "rows": many_rows(cpu, gpu),
        "photographs": many_photographs(cpu),
        "formats": formats(cpu),
        "shards": many_shards(cpu),
    }


def filled(page: str, made: dict[str, str]) -> str:
    """A page with each table between its marks."""
    for name, text in made.items():
        mark = re.compile(rf"(<!-- cost_model: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if len(mark.findall(page)) != 1:
            raise SystemExit(f"docs/scale.md: '<!-- cost_model: {name} -->' and its end aren't there once")
        page = mark.sub(lambda m: f"{m[1]}\n{text}\n\n{m[2]}", page)  # noqa: B023
    return page


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", type=Path, default=CPU, help="lines of scale.py, of one core")
    parser.add_argument("--gpu", type=Path, default=GPU, help="lines of scale.py, of a GPU")
    parser.add_argument("--page", type=Path, default=DOCS / "scale.md")
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    options = parser.parse_args(argv)
    made = tables(Measured(options.cpu, "cpu_seconds"), Measured(options.gpu, "seconds"))
    for name, text in made.items():
        print(f"{name}\n\n{text}\n")
    if options.write:
        page = filled(options.page.read_text(encoding="utf-8"), made)
        options.page.write_text(page, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
