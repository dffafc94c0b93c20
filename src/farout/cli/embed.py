"""``farout embed``: features of a pretrained network, to a file that is DATA again."""

import contextlib
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["embed"]

Source = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="A folder of pictures by class; a .csv, .parquet or .txt of sentences; images as NAME[:SPLIT][@CLASSES].",
        show_default=False,
    ),
]
Backbone = Annotated[
    str,
    o.option(
        "--backbone",
        help="timm:NAME, st:NAME (sentence-transformers), or package.module:function of your own.",
        metavar="NAME",
    ),
]
Out = Annotated[Path, o.option("--out", "-o", help="File to write: .npz; or a folder, for shards of Parquet.")]
ShardRows = Annotated[int | None, o.shard_rows("as many as take 64 MiB; in multiples of about 1024")]
Column = Annotated[
    str | None,
    o.option(
        "--column", help="Column of the sentences. [default: the only one of text]", panel="Data", metavar="COLUMN"
    ),
]
Layer = Annotated[
    str | None,
    o.option("--layer", help="Layer to tap, such as layer3.0.conv1. [default: the output]", panel="Network"),
]
Size = Annotated[
    list[int] | None,
    o.option(
        "--size", help="Side, or height and width. [default: the network's, or 224]", panel="Network", metavar="N..."
    ),
]
Channels = Annotated[
    int | None,
    o.option("--channels", help="1 (grey) or 3. [default: the network's, or 3]", panel="Network", metavar="1|3"),
]
Mean = Annotated[
    list[float] | None,
    o.option(
        "--mean",
        help="The network sees (x - mean) / std, x in [0, 1]. [default: the network's, or ImageNet's]",
        panel="Network",
        metavar="X...",
    ),
]
Std = Annotated[list[float] | None, o.option("--std", help="See --mean.", panel="Network", metavar="X...")]
Crop = Annotated[
    float | None,
    o.option(
        "--crop",
        help="Share of the short side to keep. [default: the network's, or 0.875]",
        panel="Network",
        metavar="X",
    ),
]
Interpolation = Annotated[
    Literal["nearest", "bilinear", "bicubic", "lanczos"] | None,
    o.option("--interpolation", help="Of resizing. [default: the network's, or bilinear]", panel="Network"),
]
Normalize = Annotated[bool, o.option("--normalize", help="Scale features to unit length.")]
BatchSize = Annotated[int, o.option("--batch-size", help="Inputs at once. [default: 64]", min=1)]
Cache = Annotated[
    Path | None,
    o.option(
        "--cache", help="Folder of features to look up and to add to; a run cut off goes on there.", metavar="DIR"
    ),
]
Accelerator = Annotated[Literal["auto", "cpu", "gpu"], o.option("--accelerator", help="[default: auto]")]


def embed(
    data: Source,
    backbone: Backbone,
    out: Out,
    column: Column = None,
    label: o.Label = None,
    anomaly: o.Anomaly = None,
    data_root: o.DataRoot = None,
    layer: Layer = None,
    size: Size = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    crop: Crop = None,
    interpolation: Interpolation = None,
    normalize: Normalize = False,
    batch_size: BatchSize = 64,
    cache: Cache = None,
    accelerator: Accelerator = "auto",
    shard_rows: ShardRows = None,
    engine: o.EngineName = "plain",
    workers: o.Workers = None,
    address: o.Address = None,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout embed photos/ --backbone timm:resnet50 --out features.npz

    Turn pictures of any size, or sentences, into what a pretrained network makes of them. Labels are kept, so that the
    .npz is DATA again: X (n, d), y, anomaly (for --anomaly anomaly), the pictures' file names, and the backbone.
    timm: needs the extra farout[timm], st: needs farout[sentences].
    In a folder, each shard is a file part-00000.parquet, and the folder is DATA again; a command that was interrupted
    is given again and goes on with the shards that are missing. With --engine ray, workers on all CPUs, GPUs or
    machines of a Ray cluster compute the shards.
    """
    from farout.backbones.features import Features
    from farout.runs import embedding
    from farout.runs.shards import check_place, check_shard_target, is_shard_target

    sharded = is_shard_target(out)
    check_place(out, data)
    if sharded:
        check_shard_target(out, force)
        if cache is not None:
            raise typer.BadParameter("--cache is for a file; in a folder whole shards stay: leave it out")
    o.require_shards(shard_rows, sharded)
    by = o.engine_of(engine, workers, address, sharded)

    features = Features(
        backbone,
        layer=layer,
        size=_one_or(size),
        channels=channels,
        mean=_one_or(mean),
        std=_one_or(std),
        crop=crop,
        interpolation=interpolation,
        normalize=normalize,
        batch_size=batch_size,
        cache=cache,
        accelerator=accelerator,
        verbose=console.talks,
    )
    if sharded:
        o.tell_kept(out, force)
        with console.advising(o.SHARDS_STAY), contextlib.redirect_stdout(sys.stderr), console.work() as begins:
            begins(f"embedding {data}")
            facts = embedding.embed_shards(
                data, features, out, column=column, label=label, anomaly=anomaly, data_root=data_root,
                shard_rows=shard_rows, force=force, engine=by,
            )  # fmt: skip
        shards = o.facts_of_shards(out)
        _show(out, backbone, facts["rows"], facts["features"], facts["classes"], as_json, shards)
        return
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a network of one's own may print; stdout is for results
            found = embedding.embed(
                data, features, out, column=column, label=label, anomaly=anomaly, data_root=data_root, force=force
            )
    except KeyboardInterrupt:
        if cache is None:
            raise
        raise console.interrupted(f"what was computed is in {cache}; give the same command to go on.") from None
    classes = None if found.y is None else sorted(set(found.y.tolist()))
    _show(out, backbone, len(found.X), found.X.shape[1], classes, as_json)


def _show(
    out: Path,
    backbone: str,
    rows: int,
    features: int,
    classes: list[Any] | None,
    as_json: bool,
    shards: dict[str, Any] | None = None,
) -> None:
    shown: dict[str, Any] = {
        "out": str(out),
        "rows": rows,
        "features": features,
        "backbone": backbone,
        "classes": classes if as_json or classes is None or len(classes) <= 20 else len(classes),
    }
    (console.json if as_json else console.facts)(shown | (shards or {}))
    console.next(f"farout train {'detector' if classes is None else 'classifier'} {out} --out RUN")


def _one_or(values: list[Any] | None) -> Any:
    """One value, several as a tuple, or None."""
    return None if not values else values[0] if len(values) == 1 else tuple(values)
