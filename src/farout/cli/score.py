"""``farout score``: a score, a p-value and a decision for each row."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["score"]

Model = Annotated[
    Path, typer.Argument(metavar="RUN", help="A run folder, or an ONNX file of farout export.", show_default=False)
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        "-o",
        show_envvar=False,
        help="File to write: .csv or .parquet; or a folder, for shards of Parquet. Without it, CSV to stdout.",
        show_default=False,
    ),
]
ShardRows = Annotated[int | None, o.shard_rows("about 500000; in multiples of 8192, or of fewer wide rows")]
BatchRows = Annotated[
    int | None,
    typer.Option(
        "--batch-rows",
        show_envvar=False,
        min=1,
        help="Rows to read at once, of files and folders that can be streamed. [default: all; above 1 GiB as many as "
        "take 16 MiB]",
        show_default=False,
    ),
]
Explain = Annotated[
    bool,
    typer.Option(
        "--explain",
        show_envvar=False,
        help="Also tell which columns make a row unusual: top_column, and share_NAME for each column.",
        show_default=False,
    ),
]


def score(
    run: Model,
    data: o.Data,
    out: Out = None,
    explain: Explain = False,
    shard_rows: ShardRows = None,
    batch_rows: BatchRows = None,
    engine: o.EngineName = "plain",
    workers: o.Workers = None,
    address: o.Address = None,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    anomaly: o.Anomaly = None,
    image_size: o.ImageSize = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout score runs/clf letters --out scores.csv

    Score data, one line a row: row (its position, counted from 0), file (its path, for a folder of images), score
    (higher is more normal), p_value, decision (+1 or -1), the predicted class of a classifier, and the label where the
    data has one. Named sets give their test split.
    With --explain, top_column is the column that has most to do with how unusual the row is, and share_NAME the share
    of each column, with a sum of 1; it takes as long as to score 34 times as many rows.
    Labels, marks of anomalies and the size of images are read as in training, unless they are given.
    Data above 1 GiB are read and scored a part at a time. In a folder, each shard is a file part-00000.parquet, and
    _manifest.json tells what was scored; a command that was interrupted is given again and goes on with the shards that
    are missing. With --engine ray, workers on all CPUs, GPUs or machines of a Ray cluster score the shards.
    """
    from farout.runs.generating import check_target, write_file
    from farout.runs.loading import numbered, open_test_stream
    from farout.runs.scoring import (
        ScoreSummary,
        ScoreTable,
        check_explains,
        check_scores,
        csv_lines,
        open_scored,
        score_parts,
        score_shards,
        write_scores,
    )
    from farout.runs.shards import check_place, check_shard_target, is_shard_target

    sharded = out is not None and is_shard_target(out)
    if out is not None:
        check_place(out, data)
    if out is not None and sharded:
        check_shard_target(out, force)
    elif out is not None:
        check_target(out, force, (".csv", ".parquet"))
    o.require_shards(shard_rows, sharded)
    by = o.engine_of(engine, workers, address, sharded)
    with console.stage(f"opening {run}"):
        loaded = open_scored(run)
    check_scores(loaded)
    if explain:
        check_explains(loaded)
    stream = open_test_stream(
        data,
        data_root,
        label,
        image_size,
        anomaly,
        run=loaded,
        at_once=batch_rows,
        streamed=sharded,
        show=console.talks,
    )
    summary = ScoreSummary()
    advice = o.SHARDS_STAY if sharded else None
    if out is not None and sharded:
        o.tell_kept(out, force)
    with console.advising(advice), console.work() as begins, contextlib.ExitStack() as waits:
        if sharded:
            begins(f"scoring {numbered(len(stream))} rows")
        advance = waits.enter_context(console.stage(f"scoring {len(stream)} rows", total=len(stream)))

        def counted() -> Iterator[ScoreTable]:
            for part in score_parts(loaded, stream, explain=explain):
                summary.add(part)
                advance(len(part.score))
                yield part

        if out is None and as_json:
            parts = list(counted())
        elif out is None:
            for text in csv_lines(counted()):
                console.result(text.rstrip("\n"))
            return
        elif sharded:
            summary = score_shards(
                loaded, stream, out, explain=explain, shard_rows=shard_rows, force=force, engine=by, told=advance
            )
        else:
            write_file(out, lambda path: write_scores(counted(), path, out.suffix))
    if out is None:
        console.json(summary.facts() | {name: v.tolist() for name, v in ScoreTable.joined(parts).columns().items()})
        return
    shards = o.facts_of_shards(out) if sharded else {}
    (console.json if as_json else console.facts)({"out": str(out)} | summary.facts() | shards)
    further = f"stress {run} DATA" if run.is_file() else f"evaluate {run} --inliers DATA --outliers {data}"
    console.next(f"farout {further}")
