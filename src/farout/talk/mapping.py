"""Experiment: the flow's map between data and latent space, shown as deformed grids in 2-d."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from farout.talk.context import Context, Figure, Finding

__all__ = ["mapping"]

SHOWN = 700
LINES, POINTS = 13, 240  # of each family of lines

Array = NDArray[Any]


def mapping(context: Context) -> Finding:
    """Decodes a grid of latent space and encodes a grid of data space."""
    data, flow = context.toy(classes=False)
    shown = context.some(data, SHOWN, context.seed).X
    of_latent, of_data = _grid(3.0), _grid(float(np.ceil(np.abs(shown).max())))
    figure = Figure(
        "mapping",
        {
            "from_latent": {"latent": of_latent, "data": [_mapped(flow.decode, lines) for lines in of_latent]},
            "from_data": {"data": of_data, "latent": [_mapped(flow.encode, lines) for lines in of_data]},
            "data": shown,
            "latents": flow.encode(shown),
        },
        "The map of the whole mixture, by a flow without classes. The thick lines go through the middle of each grid.",
        "Grids of latent and of data space, each regular in its own space and deformed in the other, with the data",
    )
    back = flow.decode(flow.encode(shown)) - shown
    return Finding(
        "mapping",
        "The map between data and latent space",
        "The flow bends a regular grid of latent space (left top) around the three clusters of the data, and a regular "
        "grid of data space (right bottom) into one round cluster. The map is exactly invertible: encoding and "
        f"decoding changes no coordinate of the data by more than {max(np.abs(back).max(), 1e-16):.0e}.",
        [figure],
    )


def _grid(reach: float) -> list[Array]:
    """Two families of lines, with the first or the second coordinate fixed, each of shape (lines, points, 2)."""
    fixed, along = np.linspace(-reach, reach, LINES), np.linspace(-reach, reach, POINTS)
    first = np.stack([np.column_stack([np.full(POINTS, at), along]) for at in fixed])
    return [first, first[..., ::-1].copy()]


def _mapped(function: Any, lines: Array) -> Array:
    there: Array = function(lines.reshape(-1, 2)).reshape(lines.shape)
    return there
