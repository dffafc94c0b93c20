"""The ready-made architectures by name, with their options checked."""

import difflib
import inspect
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from farout.base.unnoticed import unnoticed
from farout.base.validation import check_flag, check_number
from farout.errors import InvalidSettingError
from farout.flows.flow import Flow
from farout.flows.image import image_flow, seed_flow
from farout.flows.natural import natural_flow
from farout.flows.table import table_flow
from farout.flows.transform import Shape
from farout.flows.vector import toy_flow, vector_flow

__all__ = ["ARCHITECTURES", "MOST_WEIGHTS", "SURELY_SMALL", "build_flow", "count_weights", "resolved"]

MOST_WEIGHTS = 200_000_000  # of a ready-made flow, with what it keeps of the data; 4 GB in training
BYTES = 20  # that each takes in training: itself, its gradient, two means of Adam's, and the best so far

# Numbers of an event, times classes and one, up to which no flow has so many weights unless options ask for them. To
# count weights, torch imports its compiler, which takes a second: as long as a small fit.
SURELY_SMALL = 4096

ARCHITECTURES: dict[str, Callable[..., Flow]] = {
    "vector": vector_flow,
    "table": table_flow,
    "image": image_flow,
    "natural": natural_flow,
    "seed": seed_flow,
    "toy": toy_flow,
}
_sizes: dict[str, int] = {}  # of the flows that were asked for


def resolved(architecture: str | Callable[..., Flow], event_shape: Shape) -> str | Callable[..., Flow]:
    """The architecture that "auto" is: "vector"; for images "image", and "natural" from 3 channels on."""
    if architecture != "auto":
        return architecture
    if len(event_shape) == 1:
        return "vector"
    return "natural" if len(event_shape) == 3 and event_shape[0] >= 3 else "image"


def build_flow(
    architecture: str | Callable[..., Flow],
    options: Mapping[str, Any] | None,
    event_shape: Shape,
    n_classes: int,
    seed: int,
) -> Flow:
    """Build a flow by name, or by a function of your own, called the same way.

    Parameters
    ----------
    architecture : {"auto", "vector", "table", "image", "natural", "seed", "toy"} or callable
        A callable is called as ``architecture(event_shape, n_classes=..., seed=..., **options)``.
    options : mapping, optional
        Keyword arguments of that architecture, such as ``{"multiscale": True}``.
    event_shape : tuple of int
    n_classes : int
        0 for a flow without classes.
    seed : int

    Raises
    ------
    InvalidSettingError
        If the name, an option, the shape or the number of classes is unknown or makes no sense, the architecture
        doesn't fit the events, or a ready-made one would have more than 200 million weights.
    """
    check_number(n_classes, "n_classes", "build_flow", low=0, integer=True)
    for side in event_shape:
        check_number(side, "each number of event_shape", "build_flow", low=1, integer=True)
    architecture = resolved(architecture, event_shape)
    if isinstance(architecture, str) and architecture not in ARCHITECTURES:
        raise InvalidSettingError(
            f"architecture={architecture!r} is unknown; choose one of auto, {', '.join(ARCHITECTURES)}, or "
            "give a function."
        )
    function = ARCHITECTURES[architecture] if isinstance(architecture, str) else architecture
    chosen = dict(options or {})
    _check_options(function, chosen)
    _check_dimensions(architecture, event_shape)
    if isinstance(architecture, str):
        _check_values(architecture, chosen, per_level=len(event_shape) == 3)
        if chosen or math.prod(event_shape) * (1 + n_classes) > SURELY_SMALL:
            _require_size(_size(architecture, event_shape, n_classes, chosen), architecture, event_shape)
    flow = function(event_shape, n_classes=n_classes, seed=seed, **chosen)
    if flow.event_shape != event_shape or flow.n_classes != n_classes:
        raise InvalidSettingError(
            f"architecture: the flow is for events {flow.event_shape} and {flow.n_classes} classes; "
            f"{event_shape} and {n_classes} were asked for."
        )
    return flow


def _check_dimensions(architecture: Any, event_shape: Shape) -> None:
    needed = {"vector": 1, "table": 1, "toy": 1, "image": 3, "natural": 3, "seed": 3}.get(architecture)
    if needed is not None and needed != len(event_shape):
        kind = "vectors" if needed == 1 else "images (channels, height, width)"
        raise InvalidSettingError(
            f"architecture={architecture!r} is for {kind}, but the event shape is {event_shape}; "
            "leave architecture at 'auto', or give event_shape."
        )


def _size(architecture: str, event_shape: Shape, n_classes: int, options: Mapping[str, Any]) -> int:
    """Numbers that a ready-made flow would hold; it is counted once, since that takes as long as to build the flow."""
    key = f"{architecture} {event_shape} {n_classes} {sorted(options.items())}"
    if key not in _sizes:
        # Shapes without numbers, to count before there is anything in memory; torch imports its compiler for them.
        with unnoticed(), torch.device("meta"):
            _sizes[key] = count_weights(ARCHITECTURES[architecture](event_shape, n_classes=n_classes, **options))
    return _sizes[key]


def count_weights(flow: nn.Module) -> int:
    """Numbers that a flow holds: its parameters, and what it keeps of the data."""
    return sum(t.numel() for t in itertools.chain(flow.parameters(), flow.buffers()))


def _require_size(n: int, architecture: str, event_shape: Shape) -> None:
    if n <= MOST_WEIGHTS:
        return
    if len(event_shape) == 1:
        what = f"{event_shape[0]} columns"
        advice = "fewer columns (sklearn.decomposition.PCA), architecture='vector', or a smaller hidden in options"
    else:
        what = f"images of shape {event_shape}"
        advice = (
            "smaller images, embeddings of them by a pretrained network, architecture='image', or with that "
            "options={'multiscale': True, 'dense_hidden': 64}"
        )
    raise InvalidSettingError(
        f"architecture={architecture!r} would have {n / 1e6:,.0f} million weights for {what} and take about "
        f"{n * BYTES / 1e9:,.0f} GB in training; the limit is {MOST_WEIGHTS / 1e6:.0f} million. Choose {advice}. "
        "A function of your own as architecture has no limit."
    )


def _check_options(function: Callable[..., Flow], options: Mapping[str, Any]) -> None:
    known = [
        name
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is p.KEYWORD_ONLY and name not in ("n_classes", "seed")
    ]
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"the options are {', '.join(known) or 'none'}."
            raise InvalidSettingError(f"architecture option {name!r} is unknown; {hint}")


def _check_values(architecture: str, options: Mapping[str, Any], *, per_level: bool) -> None:
    """Values of a ready-made architecture's options, but for names, which are checked where they are looked up."""
    where = f"architecture {architecture!r}"
    for name, value in options.items():
        if name == "reversible" or (name == "multiscale" and value is not None):
            check_flag(value, name, where)
        elif name in ("n_blocks", "hidden") and per_level:
            if value is not None and (not isinstance(value, Sequence | np.ndarray) or isinstance(value, str)):
                raise InvalidSettingError(f"{where}: {name} must be one number a level, such as (4, 4); got {value!r}.")
            for number in () if value is None else value:
                check_number(number, name, where, low=1, integer=True)
        elif name in ("n_blocks", "hidden", "n_dense", "dense_hidden"):
            none_ok = name in ("hidden", "dense_hidden")
            check_number(value, name, where, low=0 if name == "n_dense" else 1, integer=True, none_ok=none_ok)
        elif name == "clamp":
            check_number(value, name, where)  # couplings have bounds of their own
