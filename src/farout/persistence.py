"""A run folder: ``config.json`` and ``model.safetensors``, with a format version and check sums; no pickle.

Everything a model is goes into the two files: its parameters and fitted attributes as JSON, its arrays and
network weights as named tensors. Models inside models (a source in a classifier, a flow in a source) are
written in place, and one that is shared is written once.
"""

import dataclasses
import hashlib
import importlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from farout.errors import NotFittedError, RunError

__all__ = ["FORMAT_VERSION", "Persistent", "load", "read_config", "write_atomically"]

FORMAT = "farout-run"
FORMAT_VERSION = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


class Persistent:
    """What can be saved: an estimator whose fitted attributes end in an underscore.

    A subclass with networks names them in ``_networks`` and rebuilds each, untrained, by ``_build(name)``.
    """

    _networks: tuple[str, ...] = ()

    def _build(self, name: str) -> nn.Module:
        raise RunError(f"{type(self).__name__} has no network called {name}.")

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write a run folder from which ``farout.load`` gives back the same model, bit for bit.

        Parameters
        ----------
        path : path
            The folder; made when it isn't there.
        force : bool, default=False
            Replace a run that is there already.

        Returns
        -------
        Path

        Raises
        ------
        NotFittedError
            If the model isn't fitted.
        RunError
            If a run is there already and ``force`` is False.
        """
        folder = Path(path)
        if not any(k.endswith("_") and not k.startswith("_") for k in vars(self)):
            raise NotFittedError(f"This {type(self).__name__} isn't fitted yet: call fit before save.")
        if (folder / CONFIG).exists() and not force:
            raise RunError(f"{folder} holds a run already; choose another folder, or force=True to replace it.")
        writer = _Writer()
        model = writer.encode(self, "")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / WEIGHTS, lambda p: save_file(writer.tensors, p))
        config = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "weights_sha256": _sha256(folder / WEIGHTS),
            "model": model,
        }
        config["checksum"] = _checksum(config)
        text = json.dumps(config, indent=1, ensure_ascii=False)
        write_atomically(folder / CONFIG, lambda p: p.write_text(text, encoding="utf-8"))
        return folder


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
        If the folder is no run, was written by a newer farout, or was truncated or changed.
    """
    folder = Path(path)
    config = read_config(folder)
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise RunError(f"{folder}: {WEIGHTS} is missing; copy the whole run folder, or train again.")
    if _sha256(weights) != config["weights_sha256"]:
        raise RunError(
            f"{weights} isn't the file that was saved (its check sum differs): it was truncated or changed. "
            "Copy the run again, or train again."
        )
    try:
        tensors = load_file(weights)
    except safetensors.SafetensorError as error:
        raise RunError(f"{weights} is no safetensors file: {error}.") from error
    return _Reader(tensors, given).decode(config["model"], "")


def read_config(path: str | Path) -> dict[str, Any]:
    """The checked contents of a run's ``config.json``; errors as in ``load``."""
    file = Path(path) / CONFIG
    if not file.is_file():
        raise RunError(f"{path} is no run folder: it has no {CONFIG}. Make one with `farout fit` or `.save()`.")
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{file} is no JSON ({error}): it was truncated or changed.") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise RunError(f"{file} wasn't written by farout; give a folder made by `farout fit` or `.save()`.")
    version = config.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise RunError(f"{file} has format version {version}; this farout reads up to {FORMAT_VERSION}. Update farout.")
    if config.get("checksum") != _checksum(config):
        raise RunError(f"{file} was changed after it was saved (its check sum differs). Copy the run again.")
    return config


def write_atomically(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside ``path`` and move into place, so that a file is there whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        temporary.chmod(0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


class _Writer:
    """Turns a model into JSON values, and collects its tensors by path."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._seen: dict[int, str] = {}
        self._alive: list[Any] = []  # ids stay unique only while their objects live

    def encode(self, value: Any, path: str) -> Any:
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Path):
            return str(value)
        if isinstance(value, np.generic):
            return self.encode(value.item(), path)
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, list | tuple):
            items = [self.encode(v, f"{path}.{i}") for i, v in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, Mapping):
            return {"dict": {str(k): self.encode(v, f"{path}.{k}") for k, v in value.items()}}
        if isinstance(value, Persistent):
            return self._model(value, path)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return {"class": type(value).__name__, "fields": self.encode(fields, path)["dict"]}
        return {"own": repr(type(value).__name__)}

    def _array(self, value: np.ndarray[Any, Any], path: str) -> Any:
        if value.dtype.kind in "OUS":
            return {"texts": [v if isinstance(v, str | int | float) else str(v) for v in value.tolist()]}
        self.tensors[path] = torch.from_numpy(np.ascontiguousarray(value))
        return {"array": path}

    def _model(self, model: Persistent, path: str) -> Any:
        if id(model) in self._seen:
            return {"same": self._seen[id(model)]}
        self._seen[id(model)] = path
        self._alive.append(model)
        get_params: Callable[..., dict[str, Any]] = model.get_params  # type: ignore[attr-defined]
        params, state = get_params(deep=False), _fitted_state(model)
        networks = [name for name in model._networks if name in state]
        for name in networks:
            module: nn.Module = state.pop(name)
            for key, tensor in module.state_dict().items():
                self.tensors[f"{path}/{name}/{key}"] = tensor.detach().cpu().contiguous().clone()
        return {
            "class": type(model).__name__,
            "params": {k: self.encode(v, f"{path}/{k}") for k, v in params.items()},
            "fitted": {k: self.encode(v, f"{path}/{k}") for k, v in state.items()},
            "networks": networks,
        }


class _Reader:
    """The way back from JSON values and tensors to models."""

    def __init__(self, tensors: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
        self.tensors = tensors
        self.given = given
        self._made: dict[str, Any] = {}

    def decode(self, value: Any, path: str) -> Any:
        if isinstance(value, list):
            return [self.decode(v, f"{path}.{i}") for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "tuple" in value:
            return tuple(self.decode(value["tuple"], path))
        if "dict" in value:
            return {k: self.decode(v, f"{path}.{k}") for k, v in value["dict"].items()}
        if "texts" in value:
            return np.array(value["texts"])
        if "array" in value:
            return self.tensors[value["array"]].numpy()
        if "same" in value:
            return self._made[value["same"]]
        if "own" in value:
            return self._given(path, value["own"])
        if "fields" in value:
            fields = {k: self.decode(v, path) for k, v in value["fields"].items()}
            return _public_class(value["class"])(**fields)
        return self._model(value, path)

    def _model(self, value: dict[str, Any], path: str) -> Any:
        cls = _public_class(value["class"])
        params = {k: self.decode(v, f"{path}/{k}") for k, v in value["params"].items()}
        model = cls(**params)
        self._made[path] = model
        for k, v in value["fitted"].items():
            setattr(model, k, self.decode(v, f"{path}/{k}"))
        for name in value["networks"]:
            setattr(model, name, self._network(model, name, f"{path}/{name}/"))
        return model

    def _network(self, model: Persistent, name: str, prefix: str) -> nn.Module:
        module = model._build(name)
        state = {k.removeprefix(prefix): t for k, t in self.tensors.items() if k.startswith(prefix)}
        dtype = next((t.dtype for t in state.values() if t.is_floating_point()), torch.float32)
        module = module.to(dtype)
        try:
            module.load_state_dict(state)
        except RuntimeError as error:
            raise RunError(f"The saved weights don't fit the network {name}: {error}") from error
        return module.eval()

    def _given(self, path: str, kind: str) -> Any:
        name = path.rsplit("/", 1)[-1]
        if name in self.given:
            return self.given[name]
        if name == "random_state":  # a generator: it has done its work in fit
            return None
        raise RunError(
            f"This run was made with a {name} of your own (a {kind}), which a run folder can't hold; "
            f"give it again: farout.load(path, {name}=...)."
        )


def _fitted_state(model: Any) -> dict[str, Any]:
    """Fitted attributes by name: those that end in an underscore, as scikit-learn has it."""
    return {k: v for k, v in vars(model).items() if k.endswith("_") and not k.startswith("_")}


def _public_class(name: str) -> Any:
    """A class by its public name; nothing outside farout's own names is ever looked up."""
    farout = importlib.import_module("farout")
    if name not in farout.__all__:
        raise RunError(f"This run holds a {name}, which this farout doesn't know; update farout.")
    return getattr(farout, name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _checksum(config: Mapping[str, Any]) -> str:
    content = {k: v for k, v in config.items() if k != "checksum"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
