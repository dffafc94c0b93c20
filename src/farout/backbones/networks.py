"""Pretrained networks: where a backbone comes from, what it is told apart by, and how it turns a batch into vectors."""

import contextlib
import copy
import difflib
import hashlib
import importlib
import inspect
import os
import random
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from farout.backbones.inputs import Kind
from farout.backbones.preparation import Preparation
from farout.base.process import seeded
from farout.errors import DataNotFoundError, InvalidDataError, InvalidSettingError

__all__ = ["SentenceNetwork", "TorchNetwork", "checked", "is_sentence_network", "network_of"]

SENTENCES = ("st", "sentence-transformers")
_SIMPLE = (bool, int, float, str, bytes, tuple, type(None))


# --- where a backbone comes from -------------------------------------------------------------------------------------


def network_of(backbone: Any, where: str, *, show: bool = False) -> nn.Module:
    """A network of its own: loaded by name, or a copy of the one given, for inference.

    Parameters
    ----------
    backbone : str or Module
        A name: "timm:NAME" or "st:NAME" (also "sentence-transformers:NAME") for a pretrained network,
        "package.module:function" for what a function of one's own returns.
    where : str
        For messages.
    show : bool
        Let libraries show their downloads on stderr.

    Raises
    ------
    InvalidSettingError
        If the name is of no known kind, its library isn't installed, or the module can't be copied.
    DataNotFoundError
        If the library can't load it.
    """
    if not isinstance(backbone, nn.Module | str):
        raise InvalidSettingError(
            f"{where}: backbone must be a torch module or a name such as 'timm:resnet50' or 'st:all-MiniLM-L6-v2'; got "
            f"{backbone!r:.80}."
        )
    module = _named(backbone, where, show) if isinstance(backbone, str) else _copied(backbone, where)
    return module.eval().requires_grad_(False)


def _copied(module: nn.Module, where: str) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # whatever a network of one's own raises
        raise InvalidSettingError(
            f"{where}: the {type(module).__name__} can't be copied ({error}); give one that copy.deepcopy takes."
        ) from error


def _named(name: str, where: str, show: bool) -> nn.Module:
    source, mark, rest = name.partition(":")
    if mark and rest and source == "timm":
        return _from_timm(rest, where, show)
    if mark and rest and source in SENTENCES:
        return _from_sentence_transformers(rest, where, show)
    if mark and rest and all(part.isidentifier() for part in source.split(".")):
        return _from_function(source, rest, where)
    raise InvalidSettingError(
        f"{where}: backbone={name!r} is of no known kind; give 'timm:NAME', 'st:NAME' (sentence-transformers) or "
        "'package.module:function' for a network of your own."
    )


def _from_timm(name: str, where: str, show: bool) -> nn.Module:
    timm = _imported("timm", "timm", "timm", where)
    try:
        with _unnoticed(show):
            model: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)  # without the classifier
    except Exception as error:
        known = [] if ":" in name else timm.list_models()
        if known and name.partition(".")[0] not in known:
            near = difflib.get_close_matches(name, known, n=1)
            meant = f"; did you mean 'timm:{near[0]}'?" if near else "; timm.list_models(pretrained=True) lists all."
            raise InvalidSettingError(f"{where}: timm knows no model {name!r}{meant}") from error
        raise _not_loaded(f"timm:{name}", "timm:local-dir:FOLDER", error, where) from error
    return model


def _from_sentence_transformers(name: str, where: str, show: bool) -> nn.Module:
    library = _imported("sentence_transformers", "sentence-transformers", "sentences", where)
    try:
        with _unnoticed(show):
            model: nn.Module = library.SentenceTransformer(name, device="cpu")
    except Exception as error:
        raise _not_loaded(f"st:{name}", "st:FOLDER", error, where) from error
    return model


def _not_loaded(name: str, local: str, error: Exception, where: str) -> DataNotFoundError:
    return DataNotFoundError(
        f"{where}: the backbone {name!r} can't be loaded ({_reason(error)}); check its name and connection, or give "
        f"a folder that holds it, as {local!r}."
    )


def _from_function(path: str, function: str, where: str) -> nn.Module:
    folder = os.getcwd()
    added = folder not in sys.path  # the command's own script lies elsewhere, and a network mostly beside the data
    if added:
        sys.path.insert(0, folder)
    try:
        found: Any = importlib.import_module(path)
        for part in function.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise InvalidSettingError(
            f"{where}: backbone='{path}:{function}' can't be found ({error}); give 'package.module:function', where "
            "the module lies in the folder you are in or in an installed package."
        ) from error
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)
    made = found if isinstance(found, nn.Module) else found() if callable(found) else None
    if not isinstance(made, nn.Module):
        raise InvalidSettingError(
            f"{where}: '{path}:{function}' must be a torch module, or a function without arguments that makes one; it "
            f"{'gave' if callable(found) else 'is'} {type(made if callable(found) else found).__name__}."
        )
    return _copied(made, where)  # it may be one that others use too


def _imported(module: str, package: str, extra: str, where: str) -> Any:
    """A library of an optional extra; it may draw random numbers or change warnings as it is imported."""
    try:
        with _unnoticed(show=True):
            return importlib.import_module(module)
    except Exception as error:  # a broken library raises anything: torchvision, which timm needs, a RuntimeError
        if isinstance(error, ModuleNotFoundError) and error.name == module:
            raise InvalidSettingError(
                f"{where}: {package} isn't installed, which this backbone needs: pip install 'farout[{extra}]'."
            ) from error
        reason = _reason(error)
        fitting = f"a build of {'torchvision' if 'torchvision' in reason else 'what it needs'} that fits"
        raise InvalidSettingError(
            f"{where}: {package} is installed, but its import fails ({reason}); install {fitting} torch "
            f"{torch.__version__}."
        ) from error


def _reason(error: BaseException) -> str:
    """The first line of the first error of a chain."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


@contextlib.contextmanager
def _unnoticed(show: bool) -> Iterator[None]:
    """Leave random states and warnings as they are, whatever a library does; without ``show``, no bars of its own."""
    own, numpy_state = random.getstate(), np.random.get_state()  # noqa: NPY002
    with contextlib.ExitStack() as stack:
        if not show:
            stack.enter_context(_without_bars())
        stack.enter_context(seeded(0))
        stack.enter_context(warnings.catch_warnings())
        try:
            yield
        finally:
            random.setstate(own)
            np.random.set_state(numpy_state)  # noqa: NPY002


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Switch off the progress bars of Hugging Face's libraries, those that are imported, for a while."""
    hub, transformers = (sys.modules.get(name) for name in ("huggingface_hub.utils", "transformers.utils.logging"))
    with contextlib.ExitStack() as stack:
        if hub is not None and not hub.are_progress_bars_disabled():
            hub.disable_progress_bars()
            stack.callback(hub.enable_progress_bars)
        if transformers is not None and transformers.is_progress_bar_enabled():
            transformers.disable_progress_bar()
            stack.callback(transformers.enable_progress_bar)
        yield


def is_sentence_network(module: nn.Module) -> bool:
    """Whether it is a SentenceTransformer."""
    library = sys.modules.get("sentence_transformers")
    return library is not None and isinstance(module, library.SentenceTransformer)


# --- what it does ----------------------------------------------------------------------------------------------------


class TorchNetwork:
    """A torch module, whole or up to one of its layers.

    Parameters
    ----------
    module : Module
        On ``device``, for inference.
    device : device
    where : str
        For messages.
    layer : str or None
        Dotted name of the layer whose output is taken; of the last call, where it is called several times.
    preparation : Preparation or None
        Of pictures; None for rows, which the module takes as they are.
    """

    def __init__(
        self, module: nn.Module, device: torch.device, where: str, layer: str | None, preparation: Preparation | None
    ) -> None:
        self.module, self.device, self.where, self.layer, self.preparation = module, device, where, layer, preparation
        self.kind: Kind = "rows" if preparation is None else "pictures"
        self.tapped = None if layer is None else self._found(layer)
        floating = (p.dtype for p in module.parameters() if p.is_floating_point())
        self.dtype = next(floating, torch.float32)

    def _found(self, layer: str) -> nn.Module:
        try:
            return self.module.get_submodule(layer)
        except AttributeError as error:
            names = [name for name, _ in self.module.named_modules() if name]
            near = difflib.get_close_matches(layer, names, n=1)
            meant = f"did you mean {near[0]!r}? " if near else ""
            raise InvalidSettingError(
                f"{self.where}: the network has no layer {layer!r}; {meant}its first are: {', '.join(names[:20])}. "
                "module.named_modules() gives all."
            ) from error

    def __call__(self, batch: Sequence[Any]) -> NDArray[np.float32]:
        """Features (n, d) of a batch: uint8 arrays that `Preparation.pixels` made, or rows."""
        inputs = torch.from_numpy(np.stack(batch)).to(self.device)
        autocast = torch.autocast(self.device.type, enabled=False)
        # Seeded, so that a network which draws, even for inference, gives the same features and leaves no trace.
        with seeded(0, self.device), torch.no_grad(), autocast:
            if self.preparation is not None:
                inputs = self.preparation.tensor(inputs)
            out = self._output(inputs.to(self.dtype))
            return _pooled(out, len(batch), self._what(), self.where).float().cpu().numpy()

    def _output(self, inputs: Tensor) -> Any:
        outputs: list[Any] = []
        hook = None if self.tapped is None else self.tapped.register_forward_hook(lambda *a: outputs.append(a[2]))
        try:
            whole = self.module(inputs)
        except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            given = "rows" if self.preparation is None else "pictures"
            raise InvalidSettingError(
                f"{self.where}: the network can't take {given} of shape {tuple(inputs.shape)}: {error}. "
                + (
                    "Give rows as it wants them, and flattened pictures as (n, height, width)."
                    if self.preparation is None
                    else "Set size and channels as it wants."
                )
            ) from error
        finally:
            if hook is not None:
                hook.remove()
        if hook is not None and not outputs:
            raise InvalidSettingError(
                f"{self.where}: the layer {self.layer!r} isn't called by the network; name another."
            )
        return whole if hook is None else outputs[-1]

    def _what(self) -> str:
        return "the network's output" if self.layer is None else f"the output of layer {self.layer!r}"

    def fingerprint(self) -> str:
        """A hash of all that its features follow from, beside their inputs."""
        return _fingerprint(self.module, repr((self.kind, self.layer, self.preparation)))


class SentenceNetwork:
    """A SentenceTransformer: its own tokenizer, pooling and normalization.

    Parameters
    ----------
    model : SentenceTransformer
    device : device
    """

    kind: Kind = "sentences"

    def __init__(self, model: Any, device: torch.device) -> None:
        self.model, self.device = model, device

    def __call__(self, batch: Sequence[Any]) -> NDArray[np.float32]:
        """Features (n, d) of sentences."""
        with seeded(0, self.device), torch.autocast(self.device.type, enabled=False):
            found = self.model.encode(
                list(batch),
                batch_size=len(batch),
                show_progress_bar=False,
                convert_to_numpy=True,
                device=self.device.type,
            )
        return np.asarray(found, dtype=np.float32)

    def fingerprint(self) -> str:
        """A hash of all that its features follow from, beside the sentences."""
        tokenizer: Any = getattr(self.model, "tokenizer", None)
        words = sorted(tokenizer.get_vocab().items()) if hasattr(tokenizer, "get_vocab") else []
        return _fingerprint(self.model, repr((self.model.max_seq_length, self.model.prompts, words)))


def _pooled(out: Any, n: int, what: str, where: str) -> Tensor:
    """Vectors (n, d): maps (n, channels, height, width) and tokens (n, tokens, d) are averaged."""
    if isinstance(out, list | tuple) and len(out) == 1:
        out = out[0]
    if not isinstance(out, Tensor):
        parts = f" with {', '.join(map(str, out))}" if isinstance(out, Mapping) else ""
        raise InvalidSettingError(
            f"{where}: {what} is a {type(out).__name__}{parts}, no tensor; name a layer whose output is one tensor."
        )
    if not out.ndim or len(out) != n or not out.is_floating_point():
        raise InvalidSettingError(
            f"{where}: {what} for {n} input(s) has shape {tuple(out.shape)} and type {out.dtype}; it must be floats "
            "with one vector, map or list of tokens for each."
        )
    if out.ndim == 1:
        return out[:, None]
    if out.ndim == 2:
        return out
    return out.float().mean(dim=1) if out.ndim == 3 else out.float().flatten(2).mean(dim=2)


def checked(features: NDArray[np.float32], numbers: Sequence[int], where: str) -> NDArray[np.float32]:
    """Features, if all are finite; ``numbers`` are those of their inputs, for the message."""
    broken = ~np.isfinite(features).all(axis=1)
    if broken.any():
        raise InvalidDataError(
            f"{where}: the features of input {numbers[int(broken.argmax())]} (counted from 0) aren't finite; the "
            "network overflows on it: check mean, std and the weights."
        )
    return features


def _fingerprint(module: nn.Module, settings: str) -> str:
    """A hash of weights, of plain attributes, and of the code of a module's classes (torch's own aside)."""
    digest = hashlib.blake2b(digest_size=16)

    def add(*parts: Any) -> None:
        digest.update("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass") + b"\x1e")

    add(settings)
    classes = {type(part) for part in module.modules()}
    for cls in sorted(classes, key=lambda c: (c.__module__, c.__qualname__)):
        add(cls.__module__, cls.__qualname__)
        if not cls.__module__.startswith("torch."):
            with contextlib.suppress(OSError, TypeError):  # made in a shell, say
                add(inspect.getsource(cls))
    for name, part in module.named_modules():
        plain = {k: v for k, v in vars(part).items() if k != "training" and _is_simple(v)}
        add(name, type(part).__qualname__, sorted(plain.items()))
    for tensors in (module.named_parameters(), module.named_buffers()):
        for name, tensor in tensors:
            add(name, tensor.dtype, tuple(tensor.shape))
            if tensor.numel():
                digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _is_simple(value: Any) -> bool:
    return isinstance(value, _SIMPLE) and (not isinstance(value, tuple) or all(map(_is_simple, value)))
