"""``farout data``: which sets there are, where they are, and what is in one."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from farout.cli import options as o
from farout.cli.console import aligned, console

__all__ = ["make_app"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="Such as mnist.", show_default=False)]


def make_app() -> typer.Typer:
    """The group of the three commands."""
    app = typer.Typer(
        help="Example: farout data list\n\nWhich data sets there are, and where.",
        cls=o.Group,
        rich_markup_mode="markdown",
    )
    app.command("list", short_help="What is found where, and where to get the rest.", epilog=o.ANYWHERE)(show_list)
    app.command("download", short_help="Get a set from its publisher.", epilog=o.ANYWHERE)(download)
    app.command("show", short_help="Rows, shape, range and classes of DATA.", epilog=o.ANYWHERE)(show)
    return app


def show_list(data_root: o.DataRoot = None, as_json: o.Json = False) -> None:
    """Example: farout data list --data-root ~/data

    The named sets: what is found where and, for what is missing, who gives it out and where to put it.
    """
    from farout.data import list_data

    sets = list_data(data_root)
    if as_json:
        console.json([asdict(info) | {"folder": None if info.folder is None else str(info.folder)} for info in sets])
        return
    found = [[i.name, "/".join(i.splits), i.where or "", i.description] for i in sets if i.found]
    console.result(aligned(["found", "splits", "where", "what"], found))
    missing = [i for i in sets if not i.found]
    if missing:
        rows = [
            [i.name, f"farout data download {i.name}" if i.downloadable else i.publisher, str(i.folder), i.licence]
            for i in missing
        ]
        console.result("\n" + aligned(["missing", "from", "to put into", "licence"], rows))
    console.next("farout data show digits")


def download(name: Name, data_root: o.DataRoot = None, as_json: o.Json = False) -> None:
    """Example: farout data download mnist --data-root ~/data

    Get a named set from its publisher, each file checked by its published hash.
    """
    from farout.data import download_data

    folder = download_data(name, data_root=data_root, progress=console.talks)
    if as_json:
        console.json({"name": name, "folder": str(folder)})
    else:
        console.result(str(folder))
    console.next(f"farout fit {name} --out runs/{name}")


def show(
    data: o.Data,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    image_size: o.ImageSize = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout data show mnist:test@0-6

    What is in a named set, a file or a folder: rows, shape, range, and rows a class.
    """
    import numpy as np

    from farout.data import load_data

    found = load_data(data, data_root=data_root, label=label, image_size=image_size)
    finite = np.isfinite(found.X)
    shown: dict[str, Any] = {
        "data": found.name,
        "rows": len(found),
        "event_shape": list(found.event_shape),
        "lowest": float(found.X[finite].min()) if finite.any() else None,
        "highest": float(found.X[finite].max()) if finite.any() else None,
        "not_finite": int((~finite).sum()),
        "grey_levels": found.levels,
    }
    if found.frame is not None:
        shown["missing"] = sum(column.null_count for column in found.frame.columns)
        shown["columns"] = {field.name: str(field.type) for field in found.frame.schema}
    counts = {} if found.y is None else {str(c): int((found.y == c).sum()) for c in found.classes}
    if as_json:
        console.json(shown | {"rows_a_class": counts or None})
    else:
        if found.frame is not None:
            shown["columns"] = [f"{name}: {kind}" for name, kind in shown["columns"].items()]
        console.facts(shown | {"rows_a_class": [f"{c}: {n}" for c, n in counts.items()] or None})
