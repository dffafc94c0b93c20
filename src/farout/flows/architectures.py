"""The ready-made architectures by name, with their options checked."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from farout.errors import InvalidSettingError
from farout.flows.flow import Flow
from farout.flows.image import image_flow, seed_flow
from farout.flows.table import table_flow
from farout.flows.transform import Shape
from farout.flows.vector import toy_flow, vector_flow

__all__ = ["ARCHITECTURES", "build_flow"]

ARCHITECTURES: dict[str, Callable[..., Flow]] = {
    "vector": vector_flow,
    "table": table_flow,
    "image": image_flow,
    "seed": seed_flow,
    "toy": toy_flow,
}


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
    architecture : {"auto", "vector", "table", "image", "seed", "toy"} or callable
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
        If the name or an option is unknown, or the architecture doesn't fit the events.
    """
    if architecture == "auto":
        architecture = "vector" if len(event_shape) == 1 else "image"
    if isinstance(architecture, str) and architecture not in ARCHITECTURES:
        raise InvalidSettingError(
            f"architecture={architecture!r} is unknown; choose one of auto, {', '.join(ARCHITECTURES)}, or "
            "give a function."
        )
    function = ARCHITECTURES[architecture] if isinstance(architecture, str) else architecture
    chosen = dict(options or {})
    _check_options(function, chosen)
    _check_dimensions(architecture, event_shape)
    flow = function(event_shape, n_classes=n_classes, seed=seed, **chosen)
    if flow.event_shape != event_shape or flow.n_classes != n_classes:
        raise InvalidSettingError(
            f"architecture: the flow is for events {flow.event_shape} and {flow.n_classes} classes; "
            f"{event_shape} and {n_classes} were asked for."
        )
    return flow


def _check_dimensions(architecture: Any, event_shape: Shape) -> None:
    needed = {"vector": 1, "table": 1, "toy": 1, "image": 3, "seed": 3}.get(architecture)
    if needed is not None and needed != len(event_shape):
        kind = "vectors" if needed == 1 else "images (channels, height, width)"
        raise InvalidSettingError(
            f"architecture={architecture!r} is for {kind}, but the event shape is {event_shape}; "
            "leave architecture at 'auto', or give event_shape."
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
