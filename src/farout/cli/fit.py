"""``farout fit``: a flow from data."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from farout.cli import options as o
from farout.cli.console import console

__all__ = ["fit", "layers", "overrides", "started"]


def fit(
    out: o.RunOut,
    data: o.Data = None,
    resume: o.Resume = False,
    force: o.Force = False,
    config: o.Config = None,
    max_steps: o.MaxSteps = None,
    batch_size: o.BatchSize = None,
    learning_rate: o.LearningRate = None,
    architecture: o.Architecture = None,
    noise: o.Noise = None,
    seed: o.Seed = None,
    data_root: o.DataRoot = None,
    label: o.Label = None,
    image_size: o.ImageSize = None,
    precision: o.Precision = None,
    accelerator: o.Accelerator = None,
    devices: o.Devices = None,
    tensorboard: o.Tensorboard = None,
    keep_checkpoints: o.KeepCheckpoints = None,
    as_json: o.Json = False,
) -> None:
    """Example: farout fit mnist:train --out runs/flow

    Fit a normalizing flow to data of the normal kind. Named sets give their train split. An interrupted fit goes on
    by: farout fit --out runs/flow --resume
    """
    from farout.runs.fitting import describe, fit_flow
    from farout.runs.settings import FitSettings

    flags = overrides(data, label, image_size, seed, precision, accelerator, devices, tensorboard, keep_checkpoints)
    flags["flow"] = {
        "max_steps": max_steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "architecture": architecture,
        "noise": noise,
    }
    settings = FitSettings.from_mapping(*layers(flags, config, out, resume))
    console.message(f"fitting a flow on {settings.data}")
    with started("fit", out, data_root):
        run = fit_flow(settings, out, data_root=data_root, resume=resume, force=force, verbose=console.talks)
    (console.json if as_json else console.facts)(describe(run))
    console.next(f"farout generate {out} --source gumbel --strength 2.5 -n 1000 --out outliers.npz")


def overrides(
    data: str | None,
    label: str | None,
    image_size: int | None,
    seed: int | None,
    precision: str | None,
    accelerator: str | None,
    devices: int | None,
    tensorboard: bool | None,
    keep_checkpoints: bool | None,
) -> dict[str, Any]:
    """What flags and environment say of the settings that fit and train share; None where they say nothing."""
    return {
        "data": data,
        "label": label,
        "image_size": image_size,
        "seed": seed,
        "training": {
            "precision": precision,
            "accelerator": accelerator,
            "devices": devices,
            "tensorboard": tensorboard,
            "keep_checkpoints": keep_checkpoints,
        },
    }


def layers(flags: dict[str, Any], config: Path | None, out: Path, resume: bool) -> tuple[dict[str, Any], str]:
    """Flags over a file: that of ``--config``, or the one of the run that is resumed; and what to call them."""
    from farout.errors import InvalidSettingError
    from farout.runs.folder import unfinished_settings
    from farout.runs.settings import layered, read_toml

    if not resume:
        if config is None and flags["data"] is None:
            raise typer.BadParameter("DATA is missing: a named set, a file or a folder")
        return layered({} if config is None else read_toml(config), flags), str(config or "command line")
    if config is not None:
        raise InvalidSettingError("--resume goes on with the run's own settings; leave --config out.")
    before = unfinished_settings(out)
    after = layered(before, flags)
    changed = [k for k in after if k != "training" and after[k] != before.get(k) and after[k] != {}]
    if changed:
        raise InvalidSettingError(
            f"--resume goes on with the run's own settings, and {', '.join(changed)} would change; "
            f"leave those flags out, or begin again by --force."
        )
    return after, str(out)


@contextlib.contextmanager
def started(command: str, out: Path, data_root: Path | None) -> Iterator[None]:
    """Around the work on a run: an interruption says how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        if (out / "checkpoints" / "settings.toml").is_file():
            root = "" if data_root is None else f" --data-root {data_root}"
            console.error(f"interrupted; go on by: farout {command} --out {out}{root} --resume")
        else:
            console.error("interrupted before the first checkpoint; nothing was kept.")
        raise typer.Exit(130) from None
