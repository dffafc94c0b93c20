"""``farout generate``: outliers to a file."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from farout.cli import options as o
from farout.cli.console import console
from farout.outliers.registry import SOURCES

__all__ = ["generate"]

Number = Annotated[int, typer.Option("-n", "--number", show_envvar=False, min=1, help="How many.")]
Out = Annotated[
    Path,
    typer.Option(
        "--out",
        "-o",
        show_envvar=False,
        help="File to write: .npz; .csv or .parquet for tables; or a folder, for shards.",
        show_default=False,
    ),
]
Classes = Annotated[
    list[str] | None,
    typer.Option(
        "--classes",
        show_envvar=False,
        metavar="CLASS...",
        help="Classes to draw for, such as 3 5 or 0-6.",
        show_default="as in training",
    ),
]


ShardRows = Annotated[int | None, o.shard_rows("as many as take 32 MiB, up to 524288")]


@o.with_flags(o.source_flags({name: source for name, source in SOURCES.items() if source.needs != "data"}))
def generate(
    asked: dict[str, Any],
    run: o.RunArgument,
    out: Out,
    n: Number = 1000,
    classes: Classes = None,
    shard_rows: ShardRows = None,
    engine: o.EngineName = "plain",
    workers: o.Workers = None,
    address: o.Address = None,
    seed: o.Seed = 0,
    data_root: o.DataRoot = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout generate runs/flow --source gumbel --strength 2.5 -n 1000 --out outliers.npz

    Draw outliers from the flow of a run or, with --source archetypal or nullspace, from its deep archetypes;
    recommended, collage, turned and boundary start from the rows that the run was trained on, which are read again. The
    .npz holds x (n, d), y, strength, source and event_shape, of shells sigma and tail, and of archetypes the weights
    (n, k).
    In a folder, shard part-00007 is drawn from the seed and its number alone, and _manifest.json tells what was drawn;
    a command that was interrupted is given again and goes on with the shards that are missing. A .csv or .parquet above
    128 MiB is drawn in such parts too. With --engine ray, workers of a Ray cluster draw the shards.
    """
    from farout.runs.folder import open_run
    from farout.runs.generating import (
        check_outliers_target,
        generate_outliers,
        generate_parts,
        must_be_parted,
        outlier_facts,
        write_outliers,
    )
    from farout.runs.loading import numbered
    from farout.runs.settings import SourceSettings, layered
    from farout.runs.shards import is_shard_target

    check_outliers_target(out, force)
    o.require_shards(shard_rows, is_shard_target(out))
    by = o.engine_of(engine, workers, address, is_shard_target(out))
    settings = SourceSettings.from_mapping(layered(asked["source"]), "command line")
    with console.stage(f"opening {run}"):
        loaded = open_run(run)
    check_outliers_target(out, force, loaded)
    common: dict[str, Any] = {"classes": classes or (), "seed": seed, "data_root": data_root}
    sharded = is_shard_target(out)
    if sharded:
        o.tell_kept(out, force)
    with (
        console.advising(o.SHARDS_STAY if sharded else None),
        console.work() as begins,
        contextlib.ExitStack() as waits,
    ):
        if sharded:
            begins(f"generating {numbered(n)} outliers")
        name = f"generating {n} outliers, source {settings.name}"
        advance = waits.enter_context(console.stage(name, total=n))
        if must_be_parted(loaded, n, out):
            common |= {"shard_rows": shard_rows, "force": force, "engine": by, "told": advance}
            facts = generate_parts(loaded, settings, n, out, **common)
        else:
            drawn = generate_outliers(loaded, settings, n, **common)
            write_outliers(drawn, out, loaded, force=force)
            facts = outlier_facts(drawn)
            advance(n)
    shown: dict[str, Any] = {"out": str(out), "rows": facts.pop("rows"), "event_shape": list(loaded.event_shape)}
    shards = o.facts_of_shards(out) if sharded else {}
    (console.json if as_json else console.facts)(shown | {"source": settings.name} | facts | shards)
    data = loaded.record.spec if loaded.record is not None else "DATA"
    console.next(f"farout train classifier {data} --flow {run} --source {settings.name} --out RUN")
