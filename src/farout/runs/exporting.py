"""Runs as ONNX files."""

from pathlib import Path
from typing import Any

from farout.errors import InvalidSettingError
from farout.flows.density import FlowDensity
from farout.runs.folder import Run

__all__ = ["export_run", "targets_of"]


def targets_of(run: Run, out: Path) -> list[Path]:
    """The files that an export of a run writes: one, and of a flow a second one, which decodes.

    Raises
    ------
    InvalidSettingError
        If nothing of the run can be exported.
    """
    if not hasattr(run.model, "to_onnx"):
        raise InvalidSettingError(
            f"{run.path}: this {run.kind} can't be exported; give a run of `farout fit` or `farout train`."
        )
    return [out, out.with_name(f"{out.stem}-decode{out.suffix}")] if isinstance(run.model, FlowDensity) else [out]


def export_run(run: Run, targets: list[Path], *, encoded: bool = False) -> dict[str, Any]:
    """Write the files of `targets_of`; gives what there is to say of them, in plain values.

    Raises
    ------
    InvalidSettingError
        If the model can't be exported; the message names what and says what to do.
    """
    for path, decode in zip(targets, (False, True), strict=False):
        run.model.to_onnx(path, encoded=encoded, **({"decode": True} if decode else {}))
    names = ("out", "decode")
    return {name: str(path) for name, path in zip(names, targets, strict=False)} | {
        "model": run.kind,
        "bytes": sum(part.stat().st_size for path in targets for part in path.parent.glob(f"{path.name}*")),
    }
