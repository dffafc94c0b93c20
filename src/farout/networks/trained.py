"""A trained network as it came: copied for inference, given inputs as in its training, its outputs read as logits."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor, nn

from farout.base.process import seeded, suitable_threads
from farout.errors import InvalidDataError, InvalidSettingError
from farout.networks.features import with_features

__all__ = [
    "TrainedNetwork",
    "as_logits",
    "check_inputs",
    "has_energy",
    "inference_copy",
    "kind_of_outputs",
    "on_device",
    "scale_of_pixels",
]

Shape = tuple[int, ...]
Floats = NDArray[np.float64]

BYTES, DARK = 255.0, 128.0  # the brightest byte; images whose brightest pixel is darker may be on another scale
ALONE = 4  # rows of a few that the network is asked about one by one
APART = 0.05  # of the outputs' spread: half precision and other orders of sums move outputs by less
LEAST = 1e-45  # probability that stands for 0, whose logarithm would be infinite: the least of single precision
NORMALIZED = 0.02  # how far a sum of probabilities of half precision may be from 1
# How a network says that an input doesn't fit.
REFUSALS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError)


# --- the network -----------------------------------------------------------------------------------------------------


def inference_copy(network: Any, where: str, device: Any = None) -> nn.Module:
    """A copy of a trained network in evaluation mode, without gradients; the network itself stays as it is.

    Parameters
    ----------
    network : Module
    where : str
        Who asks, for messages.
    device : str or device, optional
        None: where the network is.

    Raises
    ------
    InvalidSettingError
        If it is no module, can't be copied or brought to the device, or has no weights yet.
    """
    if not isinstance(network, nn.Module):
        found = f"the class {network.__name__}" if isinstance(network, type) else f"{type(network).__name__}"
        raise InvalidSettingError(f"{where}: network must be a trained torch module (torch.nn.Module); got {found}.")
    network = _plain(network)
    weights = [*network.parameters(), *network.buffers()]
    if any(nn.parameter.is_lazy(w) or w.is_meta for w in weights):
        raise InvalidSettingError(
            f"{where}: network has parameters without values (of a lazy layer, or on the device 'meta'): it isn't "
            "trained. Load its weights first."
        )
    # Results of a forward pass that modules keep (weight_norm, caches) are no leaves, which deepcopy doesn't take.
    kept = [v for m in network.modules() for v in (*vars(m).values(), *m.buffers(recurse=False))]
    memo: dict[int, Any] = {id(v): v.detach().clone() for v in kept if isinstance(v, Tensor) and not v.is_leaf}
    try:
        with torch.no_grad():  # a copy of a script remembers otherwise that it was computed
            made = copy.deepcopy(network, memo)
    except Exception as error:  # whatever a network of one's own raises
        raise InvalidSettingError(
            f"{where}: the {type(network).__name__} can't be copied ({type(error).__name__}: {error}); give one that "
            "copy.deepcopy takes."
        ) from error
    with contextlib.suppress(NotImplementedError):  # exported programs have one mode
        made.eval()
    for parameter in made.parameters():  # all at once, a script can't
        parameter.requires_grad_(False)
    return made if device is None else on_device(made, device, where)


def _plain(network: nn.Module) -> nn.Module:
    """The network inside of a compiled or parallel one, whose layers can be tapped."""
    if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
        return _plain(network.module)
    inner = getattr(network, "_orig_mod", None)  # of torch.compile
    return _plain(inner) if isinstance(inner, nn.Module) else network


def on_device(network: nn.Module, device: Any, where: str) -> nn.Module:
    """The network, moved."""
    try:
        return network.to(torch.device(device))
    except (RuntimeError, AssertionError, TypeError, ValueError, NotImplementedError) as error:
        said = str(error).splitlines()[0]
        raise InvalidSettingError(f"{where}: device={device!r} can't be used: {said}; give 'cpu' or None.") from error


class TrainedNetwork:
    """Asks a trained network about rows.

    Batches have at least two rows, since some networks squeeze a batch of one away. torch's generators go on as if
    nothing had been drawn, and autocasting around the call has no effect.

    Parameters
    ----------
    module : Module
        In evaluation mode.
    event_shape : tuple of int
        What the rows of an input are brought to.
    inputs : None, "unit", pair or callable
        See `check_inputs`.
    scale : float
        Of pixels; see `scale_of_pixels`.
    batch_size : int
    where : str
        For messages.
    """

    def __init__(
        self, module: nn.Module, event_shape: Shape, inputs: Any, scale: float, batch_size: int, where: str
    ) -> None:
        self.module, self.event_shape, self.inputs, self.scale = module, event_shape, inputs, scale
        self.batch_size, self.where = batch_size, where
        weights = [*module.parameters(), *module.buffers()]
        self.device = weights[0].device if weights else torch.device("cpu")
        self.dtype = next((w.dtype for w in weights if w.is_floating_point()), torch.float32)
        # Half precision would round what is still to be scaled, and numbers of words.
        self.precise = self.dtype if self.dtype == torch.float64 else torch.float32
        if isinstance(inputs, Sequence) and not isinstance(inputs, str):
            broadcast = (-1, *[1] * (len(event_shape) - 1))
            pair = (torch.tensor(_numbers(v), dtype=self.precise, device=self.device) for v in inputs)
            self.mean, self.std = (v.reshape(broadcast) for v in pair)

    def outputs(self, X: NDArray[Any], places: NDArray[np.int64] | None = None) -> Floats:
        """What the network gives for rows (n, d), of shape (n, m)."""
        return self.outputs_and_features(X, None, places)[0]

    def outputs_and_features(
        self,
        X: NDArray[Any],
        layer: str | None,
        places: NDArray[np.int64] | None = None,
        advance: Callable[[int], Any] | None = None,
    ) -> tuple[Floats, Floats]:
        """The same, and what the linear layer of that name was given, of shape (n, k); k is 0 without a layer.

        Parameters
        ----------
        X : ndarray of shape (n, d)
        layer : str or None
        places : int64 ndarray of shape (n,), optional
            Numbers of the rows in what the user gave, for messages.
        advance : callable, optional
            Called with the number of rows after each batch.
        """
        places = np.arange(len(X)) if places is None else places
        tapped = None if layer is None else self.module.get_submodule(layer)
        outputs, features = [], []
        for start in range(0, len(X), self.batch_size):
            rows = X[start : start + self.batch_size]
            with self._inferring(X.shape[1]):
                given, found = self._answer(rows if len(rows) > 1 else np.repeat(rows, 2, axis=0), tapped)
                outputs.append(given[: len(rows)].cpu().double().numpy())
                features.append(found[: len(rows)].cpu().double().numpy())
            self._require_finite(outputs[-1], places[start:], "")
            self._require_finite(features[-1], places[start:], " as a feature")
            if advance is not None:
                advance(len(rows))
        return np.concatenate(outputs), np.concatenate(features)

    @contextlib.contextmanager
    def _inferring(self, n_features: int) -> Iterator[None]:
        autocast = torch.autocast(self.device.type, enabled=False)
        with seeded(0, self.device), suitable_threads(n_features), torch.no_grad(), autocast:
            yield

    def _answer(self, rows: NDArray[Any], tapped: nn.Module | None) -> tuple[Tensor, Tensor]:
        # A copy: a network may work in place.
        events = torch.tensor(np.ascontiguousarray(rows), dtype=self.precise).reshape(-1, *self.event_shape)
        events = events.to(self.device)
        if isinstance(tapped, nn.Linear):
            return with_features(self._forward, tapped, events)
        return self._forward(events), torch.empty(len(rows), 0)

    def _forward(self, events: Tensor) -> Tensor:
        given = self._inputs(events)
        try:
            if isinstance(given, Mapping):
                made = self.module(**given)
            else:
                made = self.module(*given) if isinstance(given, tuple | list) else self.module(given)
        except REFUSALS as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise InvalidSettingError(
                f"{self.where}: the network can't take {_shown(given)} (from rows of shape {self.event_shape}): "
                f"{type(error).__name__}: {error}. Images need event_shape=(channels, height, width), and inputs=a "
                "function turns rows into anything else."
            ) from error
        return self._output(made, events.shape[0])

    def _inputs(self, events: Tensor) -> Any:
        if not callable(self.inputs):
            if self.inputs is not None:
                events = events / self.scale
            if hasattr(self, "mean"):
                events = (events - self.mean) / self.std
            return events.to(self.dtype)
        try:
            given = self.inputs(events)
        except REFUSALS as error:
            raise InvalidSettingError(
                f"{self.where}: inputs, a function of yours, can't take {_shown(events)}: "
                f"{type(error).__name__}: {error}."
            ) from error
        if isinstance(given, Mapping):
            parts: dict[Any, Any] = dict(given)
        else:
            parts = dict(enumerate(given)) if isinstance(given, tuple | list) else {"": given}
        tensors = [v for v in parts.values() if isinstance(v, Tensor)]
        if not any(v.ndim and v.shape[0] == events.shape[0] for v in tensors):
            found = _shown(given) if tensors else type(given).__name__
            raise InvalidSettingError(
                f"{self.where}: inputs, a function of yours, made {found} of {len(events)} rows; it must give a tensor "
                "with one input a row, or a dict or tuple with such a tensor."
            )
        parts = {name: self._cast(value) for name, value in parts.items()}
        if isinstance(given, Mapping):
            return parts
        return list(parts.values()) if isinstance(given, tuple | list) else parts[""]

    def _cast(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        return value.to(self.device, self.dtype if value.is_floating_point() else value.dtype)

    def _output(self, made: Any, n: int) -> Tensor:
        """The outputs as (n, m), from a tensor or from what holds one."""
        if isinstance(made, Mapping) and "logits" not in made and len(made) == 1:
            (found,) = made.values()
        elif isinstance(made, Mapping):
            found = made.get("logits")
        elif not isinstance(made, Tensor) and hasattr(made, "logits"):
            found = made.logits
        else:
            found = made[0] if isinstance(made, tuple | list) and made else made
        if not isinstance(found, Tensor) or found.layout != torch.strided:
            parts = f" with {', '.join(map(str, made))}" if isinstance(made, Mapping) else ""
            raise InvalidSettingError(
                f"{self.where}: the network gives a {type(made).__name__}{parts}; it must give a dense tensor of "
                "shape (n, n_classes), or something that has one as 'logits' or first."
            )
        while found.ndim > 2 and found.shape[-1] == 1:  # maps of one pixel
            found = found[..., 0]
        if found.ndim == 1 and found.shape[0] == n:
            found = found[:, None]
        if found.ndim != 2 or found.shape[0] != n or not found.shape[1]:
            raise InvalidSettingError(
                f"{self.where}: the network must give one output a class, shape (n, n_classes); for {n} rows it gave "
                f"shape {tuple(found.shape)}."
            )
        if not found.is_floating_point():
            raise InvalidSettingError(
                f"{self.where}: the network gives {found.dtype}; it must give logits or probabilities, not classes: "
                "leave out argmax."
            )
        return found

    def _require_finite(self, outputs: Floats, places: NDArray[np.int64], what: str) -> None:
        bad = ~np.isfinite(outputs).all(axis=1)
        if bad.any():
            row = int(bad.argmax())
            raise InvalidDataError(
                f"{self.where}: the network gives {outputs[row][~np.isfinite(outputs[row])][0]}{what} for row "
                f"{places[row]}; check its weights, and that inputs= scales rows as in its training, so that "
                "nothing overflows."
            )

    def feature_layer(self, X: NDArray[Any]) -> str | None:
        """Name of the linear layer that gives the outputs; None without one.

        Of those called with as many outputs it is the last whose result is what the network gives, or else the last.
        """
        called: dict[str, Tensor] = {}
        layers = {name: m for name, m in self.module.named_modules() if isinstance(m, nn.Linear)}
        hooks = [m.register_forward_hook(_noting(called, name)) for name, m in layers.items()]
        try:
            outputs = self.outputs(X[:2])
        finally:
            for hook in hooks:
                hook.remove()
        fitting = {  # the last call must be about all rows
            name: made
            for name, made in called.items()
            if layers[name].out_features == outputs.shape[1] and made.numel() % outputs.size == 0
        }
        same = [name for name, made in fitting.items() if made.numel() == outputs.size and _alike(made, outputs)]
        return next(reversed(same or list(fitting)), None)

    def require_rows_apart(self, X: NDArray[Any], places: NDArray[np.int64]) -> None:
        """Raise if what the network gives for a row depends on the rows beside it, or on chance.

        ``X`` are a few rows, and ``places`` their numbers.
        """
        together = self.outputs(X, places)
        alone = np.concatenate([self.outputs(X[i : i + 1], places[i:]) for i in range(len(X))[-ALONE:]])
        allowed = max(APART, 4 * torch.finfo(self.dtype).eps ** 0.5) * together.std()
        if (np.abs(alone - together[-ALONE:]) > allowed + 1e-3 * np.abs(together).max() + 1e-9).any():
            modules = self.module.modules()
            norms = {type(m).__name__ for m in modules if getattr(m, "track_running_stats", True) is False}
            norms = {name for name in norms if name.startswith("BatchNorm")}
            cause = f"{', '.join(sorted(norms))} without running statistics" if norms else "dropout or noise in forward"
            raise InvalidSettingError(
                f"{self.where}: the network gives other outputs for a row alone than for it among others, in "
                f"evaluation mode too ({cause}?); such a row has no score of its own. Give a network whose evaluation "
                "mode is deterministic, row by row."
            )


def _noting(called: dict[str, Tensor], name: str) -> Callable[..., None]:
    def note(_: nn.Module, given: tuple[Any, ...], made: Tensor) -> None:
        if given:  # with_features can't catch what is given by name
            called.pop(name, None)
            called[name] = made.clone()

    return note


def _alike(made: Tensor, outputs: Floats) -> bool:
    return np.array_equal(made.detach().cpu().double().numpy().reshape(outputs.shape), outputs)


def _shown(given: Any) -> str:
    if isinstance(given, Tensor):
        return f"inputs of shape {tuple(given.shape)}, {str(given.dtype).removeprefix('torch.')}"
    items = given.items() if isinstance(given, Mapping) else enumerate(given)
    return "; ".join(f"{name}: {_shown(v)}" for name, v in items if isinstance(v, Tensor))


# --- its inputs ------------------------------------------------------------------------------------------------------


def check_inputs(inputs: Any, where: str) -> None:
    """Raise unless ``inputs`` says how rows are turned into inputs.

    None: as they come. "unit": images to [0, 1]. A pair (mean, std), each one number or one a channel (of images, for
    pixels in [0, 1]) or a column (of vectors). Or a function of a float tensor (n, *event_shape).
    """
    if inputs is None or callable(inputs) or (isinstance(inputs, str) and inputs == "unit"):
        return
    wanted = "None, 'unit', a pair (mean, std) or a function of a tensor"
    if not isinstance(inputs, tuple | list) or len(inputs) != 2:
        raise InvalidSettingError(f"{where}: inputs must be {wanted}; got {inputs!r:.80}.")
    try:
        mean, std = (_numbers(part) for part in inputs)
    except (ValueError, TypeError, RuntimeError) as error:
        raise InvalidSettingError(f"{where}: inputs must be {wanted}; its pair isn't numbers: {error}.") from error
    if not (np.isfinite(mean).all() and np.isfinite(std).all() and (std > 0).all()):
        raise InvalidSettingError(
            f"{where}: inputs=(mean, std) must be finite, and std above 0; got {inputs!r:.80}. For a constant column, "
            "give a std of 1."
        )


def _numbers(value: Any) -> Floats:
    value = value.detach().cpu() if isinstance(value, Tensor) else value
    return np.asarray(value, dtype=np.float64).reshape(-1)


def scale_of_pixels(inputs: Any, X: NDArray[Any], event_shape: Shape, where: str) -> float:
    """What rows are divided by before anything else: 255 for images of bytes, else 1.

    Raises
    ------
    InvalidSettingError
        If there are not as many means or deviations as channels or columns, or the scale of the pixels can't be told.
    """
    if inputs is None or callable(inputs):
        return 1.0
    low, high = float(X.min()), float(X.max())
    pair = [] if isinstance(inputs, str) else [_numbers(v) for v in inputs]
    for name, values in zip(("mean", "std"), pair, strict=False):
        if len(values) not in (1, event_shape[0]):
            kind = "column" if len(event_shape) == 1 else "channel"
            raise InvalidSettingError(
                f"{where}: inputs=(mean, std) has {len(values)} numbers as {name}, and rows have the shape "
                f"{event_shape}; give one number, or {event_shape[0]}, one a {kind}."
            )
    if pair and len(event_shape) == 1:
        of_bytes = low >= 0 and DARK <= high <= BYTES and not (X[:100] % 1).any()
        of_pixels = len(pair[0]) == len(pair[1]) == 1 < X.shape[1] and 0 <= pair[0][0] <= 1 and pair[1][0] <= 1
        if of_bytes and of_pixels:
            raise InvalidSettingError(
                f"{where}: rows look like images of bytes, in [{low:g}, {high:g}], and inputs=(mean, std) like those "
                "of pixels in [0, 1]; give event_shape=(channels, height, width), or inputs=a function such as "
                "lambda x: (x / 255 - mean) / std."
            )
        return 1.0
    if pair and max(v.max() for v in pair) > 1:
        raise InvalidSettingError(
            f"{where}: inputs=(mean, std) of images are of pixels in [0, 1], and here one is above 1; divide both by "
            "255."
        )
    if low < 0 or high > BYTES or 1 < high < DARK:
        raise InvalidSettingError(
            f"{where}: pixels lie in [{low:g}, {high:g}], and inputs={'(mean, std)' if pair else repr(inputs)} is for "
            "images in [0, 1] or of bytes, 0 to 255; give inputs=a function that scales them as in training, such as "
            f"lambda x: x / {high:g}."
        )
    return BYTES if high > 1 else 1.0


# --- its outputs -----------------------------------------------------------------------------------------------------


def kind_of_outputs(outputs: Floats, where: str) -> str:
    """Whether outputs of shape (n, m) are "logits" or "probabilities"; there must be many rows.

    Raises
    ------
    InvalidSettingError
        If they are in [0, 1] and don't sum to 1, which neither is likely to.
    """
    if outputs.min() < 0 or outputs.max() > 1:
        return "logits"
    if outputs.shape[1] == 1 or np.abs(outputs.sum(axis=1) - 1).max() < NORMALIZED:
        return "probabilities"
    raise InvalidSettingError(
        f"{where}: all outputs of the network lie in [0, 1], and those of a row don't sum to 1 (row 0: "
        f"{outputs[0].sum():.3g}): neither logits, it seems, nor probabilities of classes that exclude each other. "
        "Give a network without its last sigmoid, or outputs='logits' if that is what they are."
    )


def as_logits(outputs: Floats, kind: str) -> Floats:
    """Logits of all classes, of shape (n, max(m, 2)); of a single output, ``z``, they are ``-z/2`` and ``z/2``.

    Examples
    --------
    >>> as_logits(np.array([[3.0]]), "logits").tolist(), np.exp(as_logits(np.array([[0.9]]), "probabilities")).tolist()
    ([[-1.5, 1.5]], [[0.09999999999999998, 0.9]])
    """
    if kind == "logits":
        return outputs if outputs.shape[1] > 1 else np.hstack([-outputs / 2, outputs / 2])
    both = outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])
    logs: Floats = np.log(both.clip(min=LEAST))
    return logs


def has_energy(outputs: Floats, kind: str) -> bool:
    """Whether ``logsumexp`` of the logits tells anything: it is 0 for (log) probabilities."""
    return kind == "logits" and bool(np.abs(logsumexp(as_logits(outputs, kind), axis=1)).max() > NORMALIZED)
