"""``farout export``: a run as an ONNX file, for services without Python."""

from pathlib import Path
from typing import Annotated

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["export"]

Out = Annotated[
    Path | None, o.option("--out", "-o", help="File to write. [default: model.onnx in the run]", metavar="FILE.onnx")
]
Encoded = Annotated[
    bool,
    o.option("--encoded", help="Of a run on text, dates or missing cells: take rows that are encoded outside."),
]


def export(
    run: o.RunArgument,
    out: Out = None,
    encoded: Encoded = False,
    force: o.Force = False,
    as_json: o.Json = False,
) -> None:
    """Example: farout export runs/clf --out model.onnx

    Write the whole model as one ONNX graph: float32 rows as they come, any number of them, give score, p_value,
    decision (+1 or -1) and, of a classifier, probabilities. Names of columns, classes and the threshold are in its
    metadata. The graph is checked on a few rows before it is written; above 1 GiB, its numbers are in a second file.
    Of a flow two files are written: one gives latents and log-likelihoods of rows, the other, NAME-decode.onnx, rows of
    latents at a strength. `farout score` and `farout stress` take the file in place of a run.
    """
    from farout.runs.exporting import export_run, targets_of
    from farout.runs.folder import open_run
    from farout.runs.generating import check_target

    with console.stage(f"opening {run}"):
        loaded = open_run(run)
    targets = targets_of(loaded, run / "model.onnx" if out is None else out)
    for path in targets:
        check_target(path, force, (".onnx",))
    with console.stage(f"exporting the {loaded.kind}"):
        told = export_run(loaded, targets, encoded=encoded)
    (console.json if as_json else console.facts)(told)
    console.next(f"farout score {targets[0]} DATA")
