"""The talk at sizes between `quick` and `full`, with several processes side by side on one GPU.

    python benchmarks/talk_long.py --out runs/talk-long [--processes 10] [--minutes 9] [--small] [--data-root FOLDER]

The experiments and sets of ``farout reproduce all --preset quick``: MNIST, judged by letters, kana and garments, but all
training rows, and the steps and seeds of `LONG`. Models come first, then rows of the two tables, seed by seed; seeds that
aren't done when the minutes are over are left out. The same command goes on where it was. The folder holds the tables,
the figures and the page; the last line is one JSON object: seconds of each part, seeds that were done, hardware.
"""

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

LONG = {
    "flow_steps": 12_000,
    "face_flow_steps": 3000,
    "toy_steps": 4000,
    "archetype_steps": 2000,
    "model_steps": 2000,
    "seeds": 3,
    "train_rows": None,
    "test_rows": None,
}
SMALL = {name: 30 for name in LONG if name.endswith("steps")} | {"seeds": 2, "train_rows": 800, "test_rows": 200}

context = None  # of a worker, which loads the data once


def begin(out: Path, sizes: dict[str, int | None], data_root: str | None) -> None:
    """Load the data in a worker."""
    global context
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    from farout.talk.run import EXPERIMENTS, open_context

    torch.set_num_threads(1)
    context = open_context(list(EXPERIMENTS), out, preset_of(sizes), data_root=data_root)


def preset_of(sizes: dict[str, int | None]):
    from farout.talk.presets import PRESETS

    return replace(PRESETS["quick"], name="long", **sizes)


def model(task: tuple) -> str:
    """Fit one of the shared models, and store it."""
    kind, *rest = task
    getattr(context, kind)(*rest)
    return " ".join(map(str, task))


def row(task: tuple[str, str]) -> str:
    """Train and test the model of one row of a table, and store what was measured."""
    from farout.talk.classifiers import classifier_of
    from farout.talk.discriminators import discriminator_of
    from farout.talk.published import CLASSIFIERS, DISCRIMINATORS
    from farout.talk.result_tables import finished, tasks_of

    table, key = task
    published, make = {
        "classifiers": (CLASSIFIERS, classifier_of),
        "discriminators": (DISCRIMINATORS, discriminator_of),
    }[table]
    finished(table, {key: tasks_of(published, context)[key]}, context, make)
    return f"{table}: {key}"


def experiment(name: str) -> str:
    """Run one experiment, so that what it stores besides shared models is there."""
    from farout.talk.run import EXPERIMENTS

    EXPERIMENTS[name](context)
    return name


def run_all(pool: ProcessPoolExecutor, work: Callable, tasks: Sequence, until: float) -> int:
    """Run the tasks side by side until a moment; return how many were done."""
    waiting = [pool.submit(work, task) for task in tasks]
    done = 0
    try:
        for future in as_completed(waiting, timeout=max(1.0, until - time.monotonic())):
            print(f"{time.strftime('%H:%M:%S')} {future.result()}", flush=True)
            done += 1
    except TimeoutError:
        print(f"out of time: {done} of {len(tasks)}", flush=True)
    return done


def whole_seeds(out: Path, sizes: dict[str, int | None], tables: dict[str, list[str]]) -> int:
    from farout.talk.table_rows import row_file

    left = [
        int(key.rpartition(" ")[2])
        for table, keys in tables.items()
        for key in keys
        if not row_file(out / "rows" / table, key).is_file()
    ]
    return min(left, default=sizes["seeds"])


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--small", action="store_true", help="A few steps, to try the script.")
    parser.add_argument("--data-root", default=os.environ.get("FAROUT_DATA"))
    options = parser.parse_args(argv)
    begun = time.monotonic()
    sizes = dict(SMALL if options.small else LONG)

    from farout.runs.provenance import Watch
    from farout.talk.published import CLASSIFIERS, DISCRIMINATORS
    from farout.talk.result_tables import tasks_of
    from farout.talk.run import EXPERIMENTS, open_context

    watch, seconds = Watch(), {}
    here = open_context(list(EXPERIMENTS), options.out, preset_of(sizes), data_root=options.data_root)
    pool = ProcessPoolExecutor(
        options.processes,
        mp_context=get_context("spawn"),
        initializer=begin,
        initargs=(options.out, sizes, options.data_root),
    )

    def part(name: str, work: Callable, tasks: Sequence, share: float = 1.0) -> None:
        at = time.monotonic()
        run_all(pool, work, tasks, begun + share * 60 * options.minutes)
        seconds[name] = round(time.monotonic() - at, 1)

    counts = here.preset.counts
    flows = [("flow",), ("flow", None, "faces"), ("toy",), ("toy", False)]
    archetypes = [("archetypes", k) for k in sorted(counts, reverse=True)]
    archetypes += [("archetypes", 3, True), ("archetypes", 3, False, "faces"), ("archetypes", 14, False, "faces")]
    part("flows", model, flows)
    part("archetypes", model, archetypes)
    tables = {
        "discriminators": list(tasks_of(DISCRIMINATORS, here)),
        "classifiers": list(tasks_of(CLASSIFIERS, here)),
    }
    rows = [(table, key) for table, keys in tables.items() for key in keys]
    rows.sort(key=lambda task: int(task[1].rpartition(" ")[2]))
    others = [name for name in EXPERIMENTS if name not in tables]
    part("experiments", experiment, others)
    part("rows", row, rows, share=0.9)
    seeds = whole_seeds(options.out, sizes, tables)
    for process in list(pool._processes.values()):  # those that came too late
        process.kill()
    print(json.dumps({"seconds": seconds, "seeds": seeds, "sizes": sizes, "made": watch.stop().__dict__}), flush=True)
    if seeds:
        page(options.out, sizes | {"seeds": seeds}, options.data_root)
        seconds["whole"] = round(time.monotonic() - begun, 1)
    print(json.dumps({"seconds": seconds, "seeds": seeds, "sizes": sizes, "made": watch.stop().__dict__}), flush=True)


def page(out: Path, sizes: dict[str, int | None], data_root: str | None) -> None:
    """The tables, the figures and the page, from what is stored."""
    from farout.talk.page import write_talk_page
    from farout.talk.run import SETTINGS, reproduce

    (out / SETTINGS).unlink()  # it names all seeds; those that aren't done are left out
    found = reproduce("all", out, preset=preset_of(sizes), data_root=data_root, tell=print)
    findings = [{"name": f.name, "text": f.text, "records": f.records} for f in found.findings]
    (out / "findings.json").write_text(json.dumps({"differences": found.differences, "findings": findings}, indent=1))
    write_talk_page(
        found.findings,
        out / "report.html",
        title="An exploration of normalizing flows for outlier generation, reproduced",
        summary="All experiments of the talk (T. Bungert, 2021), at sizes between quick and full.",
        notes=found.differences,
        settings=found.settings,
        figures=out / "figures",
    )


if __name__ == "__main__":
    main()
