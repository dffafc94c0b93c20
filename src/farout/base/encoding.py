"""Models as JSON values and named tensors, and back: what a run folder holds.

None, booleans, ints, text and lists stand for themselves; everything else is an object with one telling key. All
come back as they were, but for NumPy scalars, which come back as Python's (dates stay NumPy's).
"""

import dataclasses
import importlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from farout.base.reading import SMALL, quiet
from farout.columns import from_bytes, is_frame, library_of, to_bytes
from farout.errors import RunError

__all__ = ["Reader", "Writer", "fitted_state", "in_order", "lay_out_as_saved"]

_BYTES_A_CHARACTER = 256  # of an array's text: four, and as much again as its longest word may have been longer


def fitted_state(model: Any) -> dict[str, Any]:
    """Fitted attributes by name: those that end in an underscore, as scikit-learn has it."""
    return {k: v for k, v in vars(model).items() if k.endswith("_") and not k.startswith("_")}


def in_order(value: Any) -> Any:
    """Arrays, alone or in dicts and lists, in the order in memory that loaded ones have: the same sums, to the bit."""
    if isinstance(value, np.ndarray):
        return value if value.flags.c_contiguous else np.ascontiguousarray(value)
    if type(value) is dict:
        return {name: in_order(part) for name, part in value.items()}
    return [in_order(part) for part in value] if type(value) is list else value


class Writer:
    """Turns a model into JSON values, and collects its tensors by path."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._seen: dict[int, str] = {}
        self._alive: list[Any] = []  # ids stay unique only while their objects live

    def encode(self, value: Any, path: str) -> Any:
        """The JSON value of ``value``; what a run folder can't hold, such as a function, becomes a note of that."""
        if isinstance(value, np.datetime64 | np.timedelta64):  # an item of nanoseconds would be a bare int
            return {"moment": self.encode(np.asarray(value), path)}
        if isinstance(value, np.generic):
            return self.encode(value.item(), path)
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}  # JSON has neither NaN nor infinity
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, np.ndarray):
            return self._array(value, path)
        if isinstance(value, Tensor):
            return {"tensor": self._kept(value.detach().cpu().contiguous().clone(), path)}
        if isinstance(value, list | tuple):
            items = [self.encode(v, f"{path}.{i}") for i, v in enumerate(value)]
            return items if isinstance(value, list) else {"tuple": items}
        if isinstance(value, Mapping):
            return self._mapping(value, path)
        if hasattr(value, "_networks") and hasattr(value, "get_params"):
            return self._model(value, path)
        return self._other(value, path)

    def _mapping(self, value: Mapping[Any, Any], path: str) -> Any:
        if all(isinstance(k, str) for k in value):
            return {"dict": {str(k): self.encode(v, f"{path}.{k}") for k, v in value.items()}}
        # JSON's keys are text: others are kept as pairs.
        return {"items": [[self.encode(k, f"{path}.key"), self.encode(v, f"{path}.{k}")] for k, v in value.items()]}

    def _other(self, value: Any, path: str) -> Any:
        if isinstance(value, Path):
            return {"path": str(value)}
        if isinstance(value, bytes):
            return {"bytes": value.hex()}
        if is_frame(value):
            content = np.frombuffer(to_bytes(value), dtype=np.uint8)
            return {"frame": self._array(content, path), "library": library_of(value)}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            return {"class": type(value).__name__, "fields": self._mapping(fields, path)["dict"]}
        return {"own": type(value).__name__}

    def _array(self, value: np.ndarray[Any, Any], path: str) -> Any:
        shape = list(value.shape)
        if value.dtype.kind in "OUS":
            items = [self.encode(v, f"{path}.{i}") for i, v in enumerate(value.ravel().tolist())]
            return {"items_of": items, "dtype": value.dtype.str, "shape": shape}
        if value.dtype.kind in "mM":
            native = value.astype(value.dtype.newbyteorder("="))
            return {"moments": self._array(native.view(np.int64), path), "dtype": native.dtype.str[1:]}
        if value.dtype.kind not in "biufc":
            raise RunError(f"{path}: an array of type {value.dtype} can't be saved; convert it to numbers or text.")
        # A copy in the machine's byte order: torch takes no other, and none that is read-only or runs backwards.
        native = np.array(value, dtype=value.dtype.newbyteorder("="), order="C")
        return {"array": self._kept(torch.from_numpy(native), path)}

    def _kept(self, tensor: Tensor, path: str) -> str:
        """The name under which a tensor is kept."""
        name = path
        while name in self.tensors:
            name += "'"
        self.tensors[name] = tensor
        return name

    def _model(self, model: Any, path: str) -> Any:
        if id(model) in self._seen:
            return {"same": self._seen[id(model)]}
        self._seen[id(model)] = path
        self._alive.append(model)
        params, state = model.get_params(deep=False), fitted_state(model)
        networks = [name for name in model._networks if name in state]
        for name in networks:
            module: nn.Module = state.pop(name)
            for key, tensor in module.state_dict().items():
                if not isinstance(tensor, Tensor):
                    raise RunError(
                        f"{path}/{name}: the network keeps a {type(tensor).__name__} as {key!r} among its weights, and "
                        "a run folder holds tensors alone; save the network itself by its own means."
                    )
                self.tensors[f"{path}/{name}/{key}"] = tensor.detach().cpu().contiguous().clone()
        return {
            "class": type(model).__name__,
            "params": {k: self.encode(v, f"{path}/{k}") for k, v in params.items()},
            "fitted": {k: self.encode(v, f"{path}/{k}") for k, v in state.items()},
            "networks": networks,
        }


class Reader:
    """Rebuilds models from JSON values and tensors.

    Parameters
    ----------
    tensors : mapping of str to Tensor
    given : mapping of str to any
        What the run folder couldn't hold, by the name of its parameter.
    """

    def __init__(self, tensors: Mapping[str, Tensor], given: Mapping[str, Any]) -> None:
        self.tensors = tensors
        self.given = given
        self.used: set[str] = set()
        self._made: dict[str, Any] = {}
        self._kinds: dict[str, Callable[[Any, str], Any]] = {
            "float": lambda v, _: float(v["float"]),
            "path": lambda v, _: Path(v["path"]),
            "bytes": lambda v, _: bytes.fromhex(v["bytes"]),
            "tuple": lambda v, path: tuple(self.decode(v["tuple"], path)),
            "dict": lambda v, path: {k: self.decode(x, f"{path}.{k}") for k, x in v["dict"].items()},
            "items": lambda v, path: {self.decode(k, path): self.decode(x, f"{path}.{k}") for k, x in v["items"]},
            "frame": lambda v, path: from_bytes(self.decode(v["frame"], path).tobytes(), v["library"]),
            "items_of": self._items,
            "array": lambda v, _: self.tensors[v["array"]].numpy(),
            "tensor": lambda v, _: self.tensors[v["tensor"]],
            "moments": lambda v, path: self.decode(v["moments"], path).view(_checked_type(v["dtype"], "mM")),
            "moment": lambda v, path: self.decode(v["moment"], path)[()],
            "same": lambda v, _: self._made[v["same"]],
            "own": lambda v, path: self._own(path, v["own"]),
            "fields": self._record,
            "params": self._model,
        }

    def decode(self, value: Any, path: str) -> Any:
        """The value that ``Writer.encode`` was given.

        Raises
        ------
        RunError
            If a class is unknown, weights don't fit, or something of the user's own is needed and wasn't given.
        """
        if isinstance(value, list):
            return [self.decode(v, f"{path}.{i}") for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        for kind, make in self._kinds.items():
            if kind in value:
                return make(value, path)
        raise RunError(f"This run holds an object at {path or 'its top'} that this farout doesn't know; update farout.")

    def _items(self, value: dict[str, Any], path: str) -> Any:
        items = self.decode(value["items_of"], path)
        dtype = _checked_type(value["dtype"], "OUS")
        if len(items) * dtype.itemsize > SMALL and dtype.itemsize > _BYTES_A_CHARACTER * max(map(len, items)):
            raise RunError(f"This run holds text at {path} that takes {dtype.itemsize} bytes a word; copy it again.")
        if min(value["shape"], default=0) < 0:
            raise RunError(f"This run holds an array at {path} of a negative size; copy it again.")
        flat = np.empty(len(items), dtype=dtype)
        flat[:] = items
        return flat.reshape(value["shape"])

    def _record(self, value: dict[str, Any], path: str) -> Any:
        cls = _public_class(value["class"])
        if not dataclasses.is_dataclass(cls):
            raise _unknown(value["class"])
        return cls(**{k: self.decode(v, f"{path}.{k}") for k, v in value["fields"].items()})

    def _model(self, value: dict[str, Any], path: str) -> Any:
        cls = _public_class(value["class"])
        networks = getattr(cls, "_networks", None)
        if networks is None:
            raise _unknown(value["class"])
        # Nothing but what `fit` makes is set: a name such as "predict" would take the place of a method.
        strange = [k for k in value["fitted"] if not k.endswith("_") or k.startswith("_") or hasattr(cls, k)]
        strange += [name for name in value["networks"] if name not in networks]
        if strange:
            raise RunError(f"This run's {value['class']} holds {strange[0]!r}, which no fit makes; copy it again.")
        params = {k: self.decode(v, f"{path}/{k}") for k, v in value["params"].items()}
        model = cls(**params)
        self._made[path] = model
        for k, v in value["fitted"].items():
            setattr(model, k, self.decode(v, f"{path}/{k}"))
        for name in value["networks"]:
            setattr(model, name, self._network(model, name, f"{path}/{name}/"))
        if value["networks"]:
            model._to_device()
        return model

    def _network(self, model: Any, name: str, prefix: str) -> nn.Module:
        state = {k.removeprefix(prefix): t for k, t in self.tensors.items() if k.startswith(prefix)}
        module: nn.Module = model._build(name)
        try:
            module.load_state_dict(state, assign=True)  # in the precision that they were saved in
        except RuntimeError as error:
            raise RunError(
                f"The saved weights don't fit the network {name} of this {type(model).__name__}; give the network that "
                f"it was trained with: {error}"
            ) from error
        return module.eval()

    def _own(self, path: str, kind: str) -> Any:
        name = path.rsplit("/", 1)[-1]
        if name in self.given:
            self.used.add(name)
            return self.given[name]
        if name == "random_state":  # a generator: it has done its work in fit
            return None
        raise RunError(
            f"This run was made with a {name} of your own (a {kind}), which a run folder can't hold; "
            f"give it again: farout.load(path, {name}=...)."
        )


def _public_class(name: Any) -> type:
    """A class by its public name; nothing outside farout's own names is ever looked up."""
    farout = importlib.import_module("farout")
    found = getattr(farout, name) if isinstance(name, str) and name in farout.__all__ else None
    if not isinstance(found, type):
        raise _unknown(name)
    return found


def _checked_type(name: Any, kinds: str) -> np.dtype[Any]:
    """A type of arrays by name, of the kinds that are written so."""
    with quiet():  # NumPy warns of names that it once had
        found = np.dtype(name) if isinstance(name, str) else None
    if found is None or found.kind not in kinds:
        raise RunError(f"This run holds an array of type {name!r:.80}, which isn't written so; copy the run again.")
    return found


def _unknown(name: Any) -> RunError:
    return RunError(f"This run holds a {name}, which this farout doesn't know as a model; update farout.")


def lay_out_as_saved(module: nn.Module) -> None:
    """Bring tensors of a module into the order in memory that a loaded one's have: the same results, to the bit."""
    for tensor in (*module.parameters(), *module.buffers()):
        # A copy: strides along sides of length 1 say nothing, and still choose how convolutions are computed.
        tensor.data = tensor.data.clone(memory_format=torch.contiguous_format)
