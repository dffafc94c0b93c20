"""A run folder: ``config.json`` and ``model.safetensors``, with a format version and check sums; no pickle.

Everything a model is goes into the two files: its parameters and fitted attributes as JSON, its arrays and
network weights as named tensors. Models inside models (a source in a classifier, a flow in a source) are
written in place, and one that is shared is written once.
"""

import contextlib
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load as parse
from safetensors.torch import load_file, save
from torch import Tensor

from farout.base.encoding import Reader, Writer, fitted_state
from farout.base.files import beside, locked, put
from farout.base.process import recording_gradients
from farout.base.reading import PARSER_ERRORS, parse_json, reading, said
from farout.errors import InvalidSettingError, NotFittedError, RunError

__all__ = ["FORMAT_VERSION", "is_unfinished", "load", "read_config", "save_model"]

FORMAT = "farout-run"
FORMAT_VERSION = 3
CONFIG, WEIGHTS = "config.json", "model.safetensors"
MARK = {"format": FORMAT}  # in the weights' header: tells an unfinished run from someone else's file


def save_model(model: Any, path: str | Path, *, force: bool = False) -> Path:
    """Write a run folder from which `load` gives back the same model; see `Estimator.save`.

    Parameters
    ----------
    model : Estimator
        Fitted. Its fitted attributes end in an underscore; those that are torch modules stand in ``_networks``, and
        ``_build(name)`` makes each anew, untrained.
    path : path
    force : bool, default=False
    """
    folder = Path(path)
    if not fitted_state(model):
        raise NotFittedError(f"This {type(model).__name__} isn't fitted yet: call fit before save.")
    _require_free(folder, force)
    writer = Writer()
    encoded = writer.encode(model, "")
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder, "run"):
            _require_free(folder, force)  # again: another process may have been there first
            _write(folder, writer, encoded)
    except BaseException:
        if new:
            with contextlib.suppress(OSError):  # someone else's file came into it meanwhile
                folder.rmdir()
        raise
    return folder


def _require_free(folder: Path, force: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; a run is a folder: choose another name.")
    taken = (folder / CONFIG).exists() or ((folder / WEIGHTS).exists() and not is_unfinished(folder))
    if taken and not force:
        raise RunError(f"{folder} holds a run already; choose another folder, or force=True to replace it.")


def is_unfinished(folder: Path) -> bool:
    """Whether ``save`` was cut off here between its two files: weights of ours, and no configuration."""
    if (folder / CONFIG).exists() or not (folder / WEIGHTS).is_file():
        return False
    try:
        with safetensors.safe_open(folder / WEIGHTS, "pt") as file:
            return bool(file.metadata() == MARK)
    except (safetensors.SafetensorError, OSError):
        return False


def _write(folder: Path, writer: Writer, model: Any) -> None:
    """Both files beside their places first, then into place, the configuration last: it makes the run whole."""
    config = {"format": FORMAT, "format_version": FORMAT_VERSION, "model": model}
    with beside(folder / WEIGHTS) as weights, beside(folder / CONFIG) as text:
        # Its `save_file` has a temporary file of its own, which a kill would leave behind.
        weights.write_bytes(save(writer.tensors, metadata=MARK))
        config["weights_sha256"] = _sha256(weights)
        config["checksum"] = _checksum(config)
        text.write_text(
            json.dumps(config, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8", newline="\n"
        )
        (folder / CONFIG).unlink(missing_ok=True)  # of the run that is replaced: it would describe other weights
        put(weights, folder / WEIGHTS)
        put(text, folder / CONFIG)


def load(path: str | Path, **given: Any) -> Any:
    """Load a model from a run folder.

    Parameters
    ----------
    path : path
        A folder that ``save`` wrote.
    **given
        What a run folder can't hold: a network or function of your own, under the name of the parameter that it
        was given as, such as ``network=``.

    Returns
    -------
    The model, of the class that was saved.

    Raises
    ------
    RunError
        If the folder is no run, was written in another format, was truncated or changed, or asks for nothing under a
        name that was given.
    """
    folder = Path(path)
    config = read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise RunError(f"{folder}: {WEIGHTS} is missing; copy the whole run folder, or train again.")
    if _sha256(weights) != config.get("weights_sha256"):
        raise RunError(
            f"{weights} isn't the file that was saved (its check sum differs): it was truncated or changed, or "
            "saving over an older run was cut off. Copy the run again, or save or train it again with force."
        )
    broken = reading(weights, "safetensors", "copy the run again", error=RunError, also=(safetensors.SafetensorError,))
    with recording_gradients():  # weights that are made in torch's inference mode stay of it
        with broken:
            tensors = _tensors(weights)
        return _decode(config, Reader(tensors, given), folder)


def _tensors(weights: Path) -> dict[str, Tensor]:
    """The tensors of a file, each where torch would put it.

    In the file they lie at any multiple of 8 bytes, and on some CPUs the last digits of a product depend on that.
    """
    found = parse(weights.read_bytes()) if sys.platform == "win32" else load_file(weights)  # no file in use is replaced
    return {name: found.pop(name).clone() for name in list(found)}


def _decode(config: Mapping[str, Any], reader: Reader, folder: Path) -> Any:
    try:
        model = reader.decode(config["model"], "")
    except RunError:
        raise
    except PARSER_ERRORS as error:  # whatever a value that was changed leads to, down to the networks
        if reader.given and isinstance(error, InvalidSettingError):  # it is about what the caller gave
            raise
        raise RunError(
            f"{folder / CONFIG} doesn't describe a model ({type(error).__name__}: {said(error)}). Copy the run again, "
            "or train again."
        ) from error
    if not hasattr(model, "_networks"):
        raise RunError(f"{folder / CONFIG} holds a {type(model).__name__}, which is no model. Copy the run again.")
    unused = reader.given.keys() - reader.used
    if unused:
        raise RunError(f"{folder} has no parameter of your own called {', '.join(sorted(unused))}; leave it out.")
    return model


def read_config(path: str | Path) -> dict[str, Any]:
    """The checked contents of a run's ``config.json``; errors as in ``load``."""
    file = Path(path) / CONFIG
    if is_unfinished(Path(path)):
        raise RunError(f"{path} holds an unfinished run: saving was cut off before {CONFIG}. Save or train it again.")
    if not file.is_file():
        raise RunError(f"{path} is no run folder: it has no {CONFIG}. Make one with `farout fit` or `.save()`.")
    config = parse_json(file, "JSON", "it was truncated or changed: copy the run again", RunError)
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise RunError(f"{file} wasn't written by farout; give a folder made by `farout fit` or `.save()`.")
    version = config.get("format_version")
    if version in range(1, FORMAT_VERSION):
        raise RunError(
            f"{file} was written by an earlier farout, in format {version}, and this farout reads {FORMAT_VERSION}; "
            "train again with the command or the fit that made it, or load it with the farout of then."
        )
    if version != FORMAT_VERSION:
        raise RunError(f"{file} has format version {version}; this farout reads {FORMAT_VERSION}. Update farout.")
    with reading(file, "JSON", "it was changed: copy the run again", error=RunError):
        found = _checksum(config)  # which walks down it again
    if config.get("checksum") != found:
        raise RunError(f"{file} was changed after it was saved (its check sum differs). Copy the run again.")
    return config


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(config: Mapping[str, Any]) -> str:
    content = {k: v for k, v in config.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
