"""Settings of a run: checked by pydantic, to and from TOML; an unknown key names the nearest known one."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from farout.errors import InvalidSettingError

__all__ = [
    "ArchetypeSettings",
    "ArchetypesSettings",
    "FitSettings",
    "FlowSettings",
    "ModelSettings",
    "RunSettings",
    "SourceSettings",
    "TrainSettings",
    "TrainingSettings",
    "layered",
    "parse_concentration",
    "parse_strength",
    "read_toml",
]


class _Section(BaseModel):
    """Strict, closed and frozen: a typing error in a settings file never passes in silence."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FlowSettings(_Section):
    """``[flow]``: the parameters of `farout.FlowDensity` of the same names."""

    architecture: str = "auto"
    options: dict[str, Any] = Field(default_factory=dict)
    noise: float = 0.02
    class_dropout: float = 0.1
    max_steps: int | None = None
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 1e-5
    validation_fraction: float = 0.05
    patience: int = 10


class TrainingSettings(_Section):
    """``[training]``: where and how the fit runs, as in `farout.Training`."""

    accelerator: str = "auto"
    devices: int | str = 1
    precision: str = "32-true"
    tensorboard: bool = False
    keep_checkpoints: bool = False


class SourceSettings(_Section):
    """``[source]``: where outliers come from.

    ``strength`` of normal and gumbel is a number, such as 2.5, or a range, such as "2-4"; ``law`` is for gumbel alone,
    and ``outliers``, a list of DATA, for real alone. archetypal and nullspace have a ``concentration``, a number or one
    for each archetype, such as "7,0.3,0.3", and ``n_archetypes`` where they make their own; ``beyond``, a number or a
    range, is for archetypal, ``w`` and ``exact`` are for nullspace. collage, turned and boundary have a ``quantile``;
    boundary has ``beyond``, a number, as well. Without a name, it is normal where a strength, law or covariance is
    given, and recommended else.
    """

    name: Literal[
        "recommended", "normal", "gumbel", "real", "archetypal", "nullspace", "collage", "turned", "boundary"
    ] = "recommended"
    strength: str | float | int | None = None
    law: Literal["exact", "author"] | None = None
    covariance: Literal["identity", "class"] | None = None
    outliers: list[str] = Field(default_factory=list)
    concentration: str | float | int | None = None
    beyond: str | float | int | None = None
    n_archetypes: int | None = None
    w: Literal["fitted", "normal", "own"] | None = None
    exact: bool | None = None
    quantile: float | None = None

    @model_validator(mode="before")
    @classmethod
    def _name(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("name") is None:
            shell = any(values.get(key) is not None for key in ("strength", "law", "covariance"))
            return {**values, "name": "normal" if shell else "recommended"}
        return values


class ModelSettings(_Section):
    """``[model]``: parameters of a classifier, discriminator or detector; which of them it has, depends on it."""

    beta: float | None = None
    score: str | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    n_outliers: int | None = None
    augmentation: Literal["affine"] | None = None
    kind_weight: float | None = None
    distance_aware: bool | None = None
    mismatched: bool | None = None
    contamination: float | None = None


class ArchetypesSettings(_Section):
    """``[archetypes]``: parameters of `farout.ArchetypalAnalysis` or, with ``deep``, of `farout.DeepArchetypes`.

    All but ``n_archetypes``, ``deep`` and ``counts`` are for deep ones alone. ``labels`` says whether labels are used
    where the data have them. ``counts``: numbers of archetypes to compare, such as "2-12" or "3,5,10", or "none".
    """

    n_archetypes: int = 3
    deep: bool = False
    counts: str = "2-12"
    labels: bool | None = None
    joint: bool | None = None
    head: Literal["softmax", "simplex"] | None = None
    bias: bool | None = None
    positions: Literal["fixed", "learned"] | None = None
    loss: Literal["free", "author"] | None = None
    max_steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None


class RunSettings(_Section):
    """What every run has: its data and its seed."""

    data: str
    label: str | None = None
    image_size: int | None = None
    seed: int = 0
    flow: FlowSettings = Field(default_factory=FlowSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "settings") -> Self:
        """Check plain values, such as those of a TOML file.

        Parameters
        ----------
        values : mapping
            Nested as the sections are.
        where : str
            For messages: the file or "command line".

        Returns
        -------
        RunSettings

        Raises
        ------
        InvalidSettingError
            If a key is unknown or a value of the wrong type: key, value, and what was expected.

        Examples
        --------
        >>> FitSettings.from_mapping({"data": "digits", "flow": {"max_steps": 300}}).flow.max_steps
        300
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InvalidSettingError(f"{where}: {_explain(cls, error)}") from error

    def to_toml(self) -> str:
        """All settings as TOML, defaults included; what is not set (None) is left out.

        Examples
        --------
        >>> print(FitSettings(data="digits", seed=7).to_toml().splitlines()[:2])
        ['data = "digits"', 'seed = 7']
        """
        return tomli_w.dumps(self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values without those that are None."""
        return self.model_dump(exclude_none=True)


class FitSettings(RunSettings):
    """Settings of ``farout fit``."""


class TrainSettings(RunSettings):
    """Settings of ``farout train``; ``flow_run`` is the run folder of a flow to use as it is."""

    kind: Literal["classifier", "discriminator", "detector"]
    flow_run: str | None = None
    source: SourceSettings = Field(default_factory=SourceSettings)
    model: ModelSettings = Field(default_factory=ModelSettings)


class ArchetypeSettings(RunSettings):
    """Settings of ``farout archetypes``; ``flow_run`` is the run folder of a flow to start from."""

    flow_run: str | None = None
    archetypes: ArchetypesSettings = Field(default_factory=ArchetypesSettings)


def read_toml(path: str | Path) -> dict[str, Any]:
    """The values of a TOML file.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict

    Raises
    ------
    InvalidSettingError
        If the file isn't there or is no TOML: with the line.
    """
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidSettingError(f"no settings file {path}; check the path given as --config.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingError(f"the settings file {path} can't be read: {error}.") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettingError(f"{path} is no valid TOML: {error}; see https://toml.io.") from error


def layered(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Lay settings over each other: later ones win, section by section, and None never does.

    Examples
    --------
    >>> layered({"seed": 1, "flow": {"noise": 0.1}}, {"seed": None, "flow": {"max_steps": 5}})
    {'seed': 1, 'flow': {'noise': 0.1, 'max_steps': 5}}
    """
    result: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            below = result.get(key)
            if isinstance(value, Mapping):
                result[key] = layered(below if isinstance(below, Mapping) else {}, value)
            elif value is not None:
                result[key] = value
    return result


def parse_strength(text: str | float) -> float | tuple[float, float]:
    """A strength as it is written: a number, or a range ``low-high``.

    Parameters
    ----------
    text : str or float

    Returns
    -------
    float or (float, float)

    Raises
    ------
    InvalidSettingError
        If it is neither.

    Examples
    --------
    >>> parse_strength("2.5"), parse_strength("2-4")
    (2.5, (2.0, 4.0))
    """
    parts = [part.strip() for part in str(text).split("-")]
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if not 1 <= len(numbers) <= 2:
        raise InvalidSettingError(
            f"strength: {text!r} is neither a number above 0, such as 2.5, nor a range, such as 2-4."
        )
    return numbers[0] if len(numbers) == 1 else (numbers[0], numbers[1])


def parse_concentration(text: str | float) -> float | list[float]:
    """A Dirichlet concentration as it is written: a number, or one for each archetype.

    Parameters
    ----------
    text : str or float

    Returns
    -------
    float or list of float

    Raises
    ------
    InvalidSettingError
        If it is neither.

    Examples
    --------
    >>> parse_concentration("0.3"), parse_concentration("7,0.3,0.3")
    (0.3, [7.0, 0.3, 0.3])
    """
    try:
        numbers = [float(part) for part in str(text).split(",")]
    except ValueError as error:
        raise InvalidSettingError(
            f"concentration: {text!r} is neither a number above 0, such as 0.3, nor one for each archetype, such as "
            "7,0.3,0.3."
        ) from error
    return numbers[0] if len(numbers) == 1 else numbers


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    """The first failure as one sentence: key, value, what is expected."""
    first = error.errors(include_url=False)[0]
    # The parts of a union follow the key as names of types; a key of a settings file comes before them.
    path = [str(part) for part in first["loc"] if str(part) not in ("str", "int", "float")]
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        known = sorted(_keys(cls, path[:-1]))
        near = get_close_matches(path[-1], known, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? " if near else ""
        return f"unknown setting {key!r}; {hint}The settings here are: {', '.join(known)}."
    if first["type"] == "missing":
        return f"the setting {key!r} is missing; add it to the file or give it on the command line."
    expected = first["msg"].removeprefix("Input should be ")
    return f"{key} = {first['input']!r} can't be used: expected {expected}."


def _keys(cls: type[BaseModel], path: list[str]) -> set[str]:
    """The keys that a section knows."""
    for part in path:
        section = cls.model_fields[part].annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            cls = section
    return set(cls.model_fields)
