"""From settings to outlier sources."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from farout.archetypes.deep import DeepArchetypes
from farout.runs.settings import SourceSettings, parse_concentration, parse_strength
from farout.data import Dataset
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.archetypal import Archetypal
from farout.outliers.boundary import Boundary
from farout.outliers.collage import Collage
from farout.outliers.extremal import GumbelShell, NormalShell
from farout.outliers.nullspace import Nullspace
from farout.outliers.real import RealOutliers
from farout.outliers.recommended import Recommended
from farout.outliers.source import OutlierSource
from farout.outliers.turned import Turned

__all__ = ["make_source"]

DEFAULT_STRENGTH, DEFAULT_CONCENTRATION, DEFAULT_ARCHETYPES = 2.5, 0.3, 3
_MEANT: dict[str, set[str]] = {
    "recommended": set(),
    "normal": {"strength", "covariance"},
    "gumbel": {"strength", "covariance", "law"},
    "real": {"outliers"},
    "archetypal": {"concentration", "beyond", "n_archetypes"},
    "nullspace": {"concentration", "w", "exact", "n_archetypes"},
    "collage": {"quantile"},
    "turned": {"quantile"},
    "boundary": {"quantile", "beyond"},
}
_OPTIONS = sorted(set().union(*_MEANT.values()))


def make_source(
    settings: SourceSettings,
    flow: FlowDensity | None,
    real: Sequence[Dataset] = (),
    archetypes: DeepArchetypes | None = None,
) -> OutlierSource:
    """The outlier source that the settings ask for, unfitted.

    Parameters
    ----------
    settings : SourceSettings
    flow : FlowDensity or None
        What the source stands on; "real" needs none.
    real : sequence of Dataset
        The outliers of "real".
    archetypes : DeepArchetypes, optional
        What "archetypal" and "nullspace" stand on; without, they fit some, from the flow on.

    Returns
    -------
    OutlierSource

    Raises
    ------
    InvalidSettingError
        If an option has no meaning for the source.

    Examples
    --------
    >>> make_source(SourceSettings(name="gumbel", strength="2-4"), None).strength
    (2.0, 4.0)
    """
    for option in _OPTIONS:
        if getattr(settings, option) not in (None, []) and option not in _MEANT[settings.name]:
            flag = option.replace("_", "-")
            raise InvalidSettingError(f"--{flag} has no meaning for the source {settings.name!r}; leave it out.")
    makers: dict[str, Callable[[], OutlierSource]] = {
        "recommended": lambda: Recommended(flow),
        "real": lambda: RealOutliers(_stacked(real)),
        "normal": lambda: NormalShell(_strength(settings), flow, settings.covariance or "identity"),
        "gumbel": lambda: GumbelShell(
            _strength(settings), settings.law or "exact", flow, settings.covariance or "identity"
        ),
        "archetypal": lambda: Archetypal(
            beyond=parse_strength(settings.beyond or 0.0), **_archetype_options(settings, flow, archetypes)
        ),
        "nullspace": lambda: Nullspace(
            w=settings.w or "fitted",
            exact=settings.exact is not False,
            **_archetype_options(settings, flow, archetypes),
        ),
        "collage": lambda: Collage(flow, **_row_options(settings)),
        "turned": lambda: Turned(flow, **_row_options(settings)),
        "boundary": lambda: Boundary(flow, **_row_options(settings), **_beyond(settings)),
    }
    return makers[settings.name]()


def _strength(settings: SourceSettings) -> float | tuple[float, float]:
    return parse_strength(DEFAULT_STRENGTH if settings.strength is None else settings.strength)


def _archetype_options(
    settings: SourceSettings, flow: FlowDensity | None, archetypes: DeepArchetypes | None
) -> dict[str, Any]:
    """What the two sources from archetypes share: fitted archetypes, or how many to fit."""
    asked = DEFAULT_CONCENTRATION if settings.concentration is None else settings.concentration
    concentration = parse_concentration(asked)
    if archetypes is None:
        k = settings.n_archetypes or DEFAULT_ARCHETYPES
        return {"concentration": concentration, "n_archetypes": k, "flow": flow}
    if settings.n_archetypes not in (None, int(archetypes.n_archetypes)):
        raise InvalidSettingError(
            f"--n-archetypes {settings.n_archetypes}: the run of --flow has {archetypes.n_archetypes} archetypes; "
            "leave it out, or give the run of a plain flow."
        )
    return {"concentration": concentration, "base": archetypes}


def _row_options(settings: SourceSettings) -> dict[str, Any]:
    """What the sources from real rows share."""
    return {} if settings.quantile is None else {"quantile": settings.quantile}


def _beyond(settings: SourceSettings) -> dict[str, Any]:
    if settings.beyond is None:
        return {}
    beyond = parse_strength(settings.beyond)
    if isinstance(beyond, tuple):
        raise InvalidSettingError(f"--beyond {settings.beyond}: boundary takes one number, 1 or more.")
    return {"beyond": beyond}


def _stacked(real: Sequence[Dataset]) -> np.ndarray[Any, Any]:
    if not real:
        raise InvalidSettingError("the source 'real' needs outliers; give some by --outliers DATA.")
    widths = {data.X.shape[1] for data in real}
    if len(widths) > 1:
        shapes = ", ".join(f"{data.name}: {data.event_shape}" for data in real)
        raise InvalidDataError(f"the sets of real outliers differ in shape ({shapes}); give sets of one shape.")
    return np.concatenate([data.X for data in real])
