"""From settings to outlier sources."""

import inspect
from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pyarrow as pa

from farout.archetypes.deep import DeepArchetypes
from farout.data import Dataset
from farout.errors import InvalidDataError, InvalidSettingError
from farout.flows.density import FlowDensity
from farout.outliers.registry import SOURCES
from farout.outliers.source import OutlierSource
from farout.runs.settings import SourceSettings

__all__ = ["make_source"]


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
        If the archetypes are not as many as asked for, or "real" has no outliers.

    Examples
    --------
    >>> make_source(SourceSettings.model_validate({"name": "gumbel", "strength": "2-4"}), None).strength
    (2.0, 4.0)
    """
    source, options = SOURCES[settings.name], settings.options
    make: Any = source.load()
    if source.needs == "data":
        return cast(OutlierSource, make(_stacked(real)))
    stands_on: dict[str, Any] = {"flow": flow} if "flow" in inspect.signature(make).parameters else {}
    if source.needs == "archetypes" and archetypes is not None:
        asked = options.pop("n_archetypes", None)
        if asked not in (None, int(archetypes.n_archetypes)):
            raise InvalidSettingError(
                f"--n-archetypes {asked}: the run of --flow has {archetypes.n_archetypes} archetypes; leave it out, or "
                "give the run of a plain flow."
            )
        stands_on = {"base": archetypes}
    return cast(OutlierSource, make(**stands_on, **options))


def _stacked(real: Sequence[Dataset]) -> Any:
    if not real:
        raise InvalidSettingError("the source 'real' needs outliers; give some by --outliers DATA.")
    if any(data.frame is not None and not np.isfinite(data.X).all() for data in real):  # text, dates, missing cells
        return pa.concat_tables([data.frame for data in real], promote_options="permissive")
    widths = {data.X.shape[1] for data in real}
    if len(widths) > 1:
        shapes = ", ".join(f"{data.name}: {data.event_shape}" for data in real)
        raise InvalidDataError(f"the sets of real outliers differ in shape ({shapes}); give sets of one shape.")
    return np.concatenate([data.X for data in real])
