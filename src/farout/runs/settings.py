"""Settings of a run: checked by pydantic, to and from TOML, and the one place for type, default and help of a flag.

The commands of `farout.cli` are made from these classes. Nothing heavy is imported, so that ``--help`` stays quick.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import tomli_w
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from farout.base.reading import reading
from farout.outliers.registry import SOURCES, default_source, options_of, parsed

__all__ = [
    "FLAG",
    "OLD_NAMES",
    "ArchetypeSettings",
    "ArchetypesSettings",
    "ClassifierSettings",
    "DetectorSettings",
    "DiscriminatorSettings",
    "FitSettings",
    "FlowSettings",
    "RunSettings",
    "SourceSettings",
    "TrainSettings",
    "TrainingSettings",
    "invalid",
    "layered",
    "parse_counts",
    "read_settings",
    "settings_of",
]

FLAG = "flag"  # key of a field's json_schema_extra that holds what the command line adds to it
MOST_SETTINGS = 2**19
"""Bytes of a settings file; those that runs write have some thousand."""
_DEEPEST = 10  # sections, lists and parts of a key within each other: tomllib takes the square of it in time
_NO_KEYS = re.compile(  # comments and texts
    r'#[^\n]*|"{3}(?:\\.|[^\\])*?"{3}|"(?:\\.|[^"\\\n])*+"' r"|'{3}.*?'{3}|'[^'\n]*+'", re.DOTALL
)
_LONG_KEY = re.compile(rf"(?<![\w-])(?:[\w-]++\s*+\.\s*+){{{_DEEPEST}}}")
GENERATED = tuple(name for name, source in SOURCES.items() if source.needs != "data")
OLD_NAMES = {"auxiliary_weight": "kind_weight", "one_vs_rest": "mismatched"}
"""Settings of models, and what they were called before."""


def setting(
    default: Any,
    help: str,
    *flags: str,
    panel: str | None = None,
    metavar: str | None = None,
    shown: str | None = None,
    several: bool = False,
    choices: Sequence[str] = (),
    **checks: Any,
) -> Any:
    """A field that is a flag too.

    Parameters
    ----------
    default : object
    help : str
    *flags : str
        Names on the command line; made from the field's name when omitted.
    panel : str, optional
        Heading in the help.
    metavar : str, optional
        What stands for the value in the help.
    shown : str, optional
        What the help tells of the default, where that is a rule.
    several : bool
        Whether several values may follow the flag; they are joined by commas.
    choices : sequence of str
        Values, where the type doesn't tell them.
    **checks
        Of pydantic, such as ``gt=0``.
    """
    flag: dict[str, Any] = {"flags": flags, "panel": panel, "metavar": metavar, "shown": shown, "several": several}
    flag["choices"] = tuple(choices)
    return Field(default, description=help, json_schema_extra={FLAG: flag}, **checks)


def invalid(text: str) -> Exception:
    """The error for settings; `farout.errors` is imported only now, since it brings scikit-learn along."""
    from farout.errors import InvalidSettingError

    return InvalidSettingError(text)


def parse_counts(text: str) -> tuple[int, ...]:
    """Numbers of archetypes as they are written: a range ``low-high``, a list, or ``none``.

    Parameters
    ----------
    text : str

    Returns
    -------
    tuple of int
        Ascending, each once; empty for "none".

    Raises
    ------
    ValueError
        If it is none of these, or if a number is below 1.

    Examples
    --------
    >>> parse_counts("2-5"), parse_counts("3,10"), parse_counts("none")
    ((2, 3, 4, 5), (3, 10), ())
    """
    if text.strip() == "none":
        return ()
    ends = [part.strip() for part in text.split("-")]
    listed = [part.strip() for part in text.split(",")]
    found: set[int] = set()
    if len(ends) == 2 and all(map(str.isdecimal, ends)):
        found = set(range(int(ends[0]), int(ends[1]) + 1))
    elif all(map(str.isdecimal, listed)):
        found = set(map(int, listed))
    if not found or min(found) < 1:
        raise ValueError("a range such as 2-12, a list such as 3,5,10, or none")
    return tuple(sorted(found))


def _counts(text: str) -> str:
    parse_counts(text)
    return text


def _generated(name: str) -> str:
    if name not in GENERATED:
        raise ValueError(f"one of {', '.join(GENERATED)}")
    return name


class _Section(BaseModel):
    """Strict, closed and frozen: a typing error in a settings file never passes in silence."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


_STEPS = "from the count of rows"
_TRAINING, _DATA, _OUTLIERS, _DEEP = "Training", "Data", "Outliers", "Deep archetypes"
Auto = Literal["auto"]


class FlowSettings(_Section):
    """``[flow]``: the parameters of `farout.FlowDensity` of the same names."""

    max_steps: int | None = setting(None, "Gradient steps of the flow.", shown=_STEPS, gt=0)
    batch_size: int | None = setting(None, "Rows a step.", shown="128; 64 of grey images, 32 of colour images", gt=0)
    learning_rate: float | None = setting(None, "Peak of the schedule.", shown="0.002; 0.005 for images", gt=0)
    architecture: Literal["auto", "vector", "table", "image", "natural", "seed", "toy"] = setting(
        "auto", "Kind of flow; auto: by the data."
    )
    noise: float | None = setting(
        None, "Noise added in training, in model units.", shown="0.02; 0.002 for colour images", ge=0
    )
    options: dict[str, Any] = Field(default_factory=dict)
    class_dropout: float = Field(default=0.1, ge=0, lt=1)
    weight_decay: float = Field(default=1e-5, ge=0)
    validation_fraction: float = Field(default=0.05, ge=0, lt=1)
    patience: int = Field(default=10, gt=0)


class TrainingSettings(_Section):
    """``[training]``: where and how the fit runs, as in `farout.Training`."""

    accelerator: str = setting("auto", "Kind of device: auto, cpu, gpu or mps.", panel=_TRAINING)
    devices: int | Auto = setting(1, "How many devices, or auto.", panel=_TRAINING, metavar="N|auto")
    num_nodes: int = setting(1, "On how many machines; see the guide on several GPUs.", panel=_TRAINING, ge=1)
    precision: str = setting("32-true", "Such as bf16-mixed.", panel=_TRAINING)
    gradients: str = setting("auto", "Of a flow's subnets: auto, float32 or bfloat16.", panel=_TRAINING)
    compile: bool | Auto = "auto"
    tensorboard: bool = setting(False, "Write a TensorBoard log to RUN/log.", panel=_TRAINING)
    keep_checkpoints: bool = setting(False, "Keep RUN/checkpoints once done.", panel=_TRAINING)


class SourceSettings(BaseModel):
    """``[source]``: where outliers come from, and the options of that source, by `farout.outliers.registry`.

    Without a name it is "recommended", or "normal" where options are given.

    Examples
    --------
    >>> SourceSettings.model_validate({"name": "gumbel", "strength": "2-4"}).options
    {'strength': (2.0, 4.0)}
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = setting("recommended", "Where outliers come from.", "--source", panel=_OUTLIERS, choices=tuple(SOURCES))

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "settings") -> Self:
        """Check plain values, as `RunSettings.from_mapping` does."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise invalid(f"{where}: {error.errors()[0]['ctx']['error']}.") from error

    @property
    def options(self) -> dict[str, Any]:
        """Those that were given, as the source's constructor takes them."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _parse(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            raise ValueError(f"source = {values!r} can't be used: expected a section, such as [source]")
        given = {key: value for key, value in values.items() if key != "name"}
        for key in given:
            if key not in options_of():
                raise ValueError(_unknown(f"source.{key}", ["name", *options_of()]))
        name = values.get("name") or default_source(given)
        if not isinstance(name, str) or name not in SOURCES:
            raise ValueError(f"source = {name!r} can't be used: expected one of {', '.join(SOURCES)}")
        return {"name": name} | parsed(name, given)


class _Exposed(_Section):
    """What the two models share that are trained on outliers."""

    max_steps: int | None = setting(None, "Gradient steps of the model.", shown=_STEPS, gt=0)
    batch_size: int = setting(128, "Rows a step.", gt=0)
    learning_rate: float = setting(3e-3, "Peak of the schedule.", gt=0)
    n_outliers: Annotated[int, Field(ge=0)] | Auto = setting(
        "auto",
        "Distinct outliers, generated once; 0: fresh ones each step.",
        shown="up to 10000 for images, else 0",
        metavar="N|auto",
    )
    network: Literal["small", "residual", "wide", "resnet18"] | None = setting(
        None, "Network for images.", shown="residual for colour, small for grey"
    )
    augmentation: Literal["auto", "affine", "crop", "crop-flip", "none"] = setting(
        "auto", "Move images a little, inliers and outliers alike.", shown="as the images allow"
    )
    auxiliary_weight: Annotated[float, Field(ge=0)] | Auto = setting(
        "auto",
        "Weight of an auxiliary task: to tell the kinds of outliers apart.",
        shown="0.5 for images, else 0",
        metavar="WEIGHT|auto",
    )
    rotations: bool | Auto = setting(
        "auto", "Whether that task tells rotations of images too.", shown="for colour, where they differ"
    )
    distance_aware: bool | Auto = setting("auto", "Whether rows far from training rows score lower.", shown="yes")
    contamination: float = setting(0.05, "Share of inliers that the threshold gives up.", gt=0, le=0.5)


class ClassifierModel(_Exposed):
    """``[model]`` of a classifier: parameters of `farout.CautiousClassifier`."""

    beta: Annotated[float, Field(ge=0)] | Auto = setting(
        "auto",
        "Weight of the outliers; 0 is a plain classifier.",
        shown="1 for grey images, else 0.3",
        metavar="WEIGHT|auto",
    )


class DiscriminatorModel(_Exposed):
    """``[model]`` of a discriminator: parameters of `farout.OutlierDiscriminator`."""

    score: Literal["max", "random"] = setting("max", "Which class's log-odds is the score of a row.")
    one_vs_rest: bool | Auto = setting(
        "auto", "Whether a row is an outlier of all classes but its own.", shown="for images"
    )


class DetectorModel(_Section):
    """``[model]`` of a detector: parameters of `farout.FlowDetector`."""

    score: Literal["auto", "likelihood", "ratio", "typicality", "nearest"] = setting("auto", "What the score is.")
    contamination: float = setting(0.05, "Share of inliers that the threshold gives up.", gt=0, le=0.5)


class ArchetypesSettings(_Section):
    """``[archetypes]``: parameters of `farout.ArchetypalAnalysis` or, with ``deep``, of `farout.DeepArchetypes`.

    All but ``n_archetypes``, ``deep`` and ``counts`` are for deep ones alone; None leaves them to the estimator.
    """

    n_archetypes: int = setting(3, "How many archetypes.", "-k", "--n-archetypes", gt=0)
    counts: Annotated[str, AfterValidator(_counts)] = setting(
        "2-12",
        "Numbers of archetypes to compare by explained variance: a range, a list, or none.",
        metavar="RANGE|N...",
        several=True,
    )
    deep: bool = setting(False, "In the latent space of a flow, so that mixtures are data.", "--deep", panel=_DEEP)
    labels: bool | None = setting(None, "Whether labels are used.", shown="where there are some", panel=_DEEP)
    joint: bool | None = setting(
        None, "Whether the flow is trained too.", "--joint/--frozen", shown="joint", panel=_DEEP
    )
    head: Literal["softmax", "simplex"] | None = setting(
        None, "What gives weights: softmax, or projection onto the simplex.", shown="softmax", panel=_DEEP
    )
    bias: bool | None = setting(None, "Whether the heads have a bias.", shown="no", panel=_DEEP)
    positions: Literal["fixed", "learned"] | None = setting(
        None, "Of the archetypes: a regular simplex, or learned.", shown="fixed", panel=_DEEP
    )
    loss: Literal["free", "author"] | None = setting(
        None, "free: of no batch size; author: the talk's form and weights.", shown="free", panel=_DEEP
    )
    max_steps: int | None = setting(None, "Gradient steps, after the flow's.", shown=_STEPS, gt=0, panel=_DEEP)
    batch_size: int | None = setting(None, "Rows a step.", shown="128", gt=0, panel=_DEEP)
    learning_rate: float | None = setting(None, "Peak of the schedule.", shown="0.001", gt=0, panel=_DEEP)


class RunSettings(_Section):
    """What every run has: its data and its seed. ``flagged`` names the sections that its command has flags for."""

    flagged: ClassVar[tuple[str, ...]] = ("training",)

    data: str = setting(
        ..., "A named set, a file or a folder: NAME[:SPLIT][@CLASSES], such as mnist:train@0-6, scans.npz, photos/."
    )
    label: str | None = setting(
        None,
        "Column of .csv and .parquet, or key of .npz, that holds the classes of normal data.",
        panel=_DATA,
        metavar="COLUMN",
    )
    anomaly: str | None = setting(
        None,
        "Column or key that marks anomalies: those rows are left out of training, and used to evaluate.",
        panel=_DATA,
        metavar="COLUMN",
    )
    image_size: int | None = setting(None, "Side to bring the images of a folder to, in pixels.", panel=_DATA, gt=0)
    seed: int = setting(0, "The same seed gives the same result.", ge=0)
    drop: list[str] = setting(
        [], "Columns of a table to leave out, such as an id.", panel=_DATA, metavar="COLUMN...", shown="none"
    )
    rows: Annotated[int, Field(gt=0)] | Literal["all"] | None = setting(
        None,
        "Rows to train on, drawn at random; all: every row.",
        panel=_DATA,
        metavar="N|all",
        shown="all; of data above 1 GiB as many as take 128 MiB, up to a million",
    )
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
            raise invalid(f"{where}: {_explain(cls, error)}") from error

    def to_toml(self) -> str:
        """All settings as TOML, defaults included; what is not set (None) is left out.

        Raises
        ------
        InvalidSettingError
            If that is more than `read_settings` reads: the names of thousands of columns.

        Examples
        --------
        >>> print(FitSettings(data="digits", seed=7).to_toml().splitlines()[:2])
        ['data = "digits"', 'seed = 7']
        """
        text = tomli_w.dumps(self.to_dict())
        if len(text.encode("utf-8", "replace")) > MOST_SETTINGS:
            raise invalid(
                f"the settings take more than {MOST_SETTINGS} bytes, with {len(self.drop)} columns to drop; leave "
                "those out of the file of data instead."
            )
        return text

    def to_dict(self) -> dict[str, Any]:
        """Plain nested values without those that are None."""
        return self.model_dump(exclude_none=True)


class FitSettings(RunSettings):
    """Settings of ``farout fit``."""

    flagged: ClassVar[tuple[str, ...]] = ("flow", "training")


_MEANS = setting(
    None, "classes: two values such as 0 and 1 are classes of normal, and not marks of anomalies.", panel=_DATA
)


class TrainSettings(RunSettings):
    """What the settings of ``farout train`` share; ``flow_run`` is the run folder of a flow to use as it is."""

    kind: str
    flow_run: str | None = setting(
        None, "Run of a fitted flow to use as it is; else one is fitted.", "--flow", metavar="RUN"
    )


class ClassifierSettings(TrainSettings):
    """Settings of ``farout train classifier``."""

    flagged: ClassVar[tuple[str, ...]] = ("model", "source", "training")

    kind: Literal["classifier"] = "classifier"
    source: SourceSettings = Field(default_factory=SourceSettings)
    model: ClassifierModel = Field(default_factory=ClassifierModel)


class DiscriminatorSettings(TrainSettings):
    """Settings of ``farout train discriminator``."""

    flagged: ClassVar[tuple[str, ...]] = ("model", "source", "training")

    kind: Literal["discriminator"] = "discriminator"
    label_means: Literal["classes"] | None = _MEANS
    source: SourceSettings = Field(default_factory=SourceSettings)
    model: DiscriminatorModel = Field(default_factory=DiscriminatorModel)


class DetectorSettings(TrainSettings):
    """Settings of ``farout train detector``, which learns from no outliers."""

    flagged: ClassVar[tuple[str, ...]] = ("model", "flow", "training")

    kind: Literal["detector"] = "detector"
    label_means: Literal["classes"] | None = _MEANS
    model: DetectorModel = Field(default_factory=DetectorModel)
    check_source: Annotated[str, AfterValidator(_generated)] | None = setting(
        None,
        "Tell how well outliers of this source are told from held-out inliers.",
        choices=GENERATED,
        panel=_OUTLIERS,
    )


class ArchetypeSettings(RunSettings):
    """Settings of ``farout archetypes``; ``flow_run`` is the run folder of a flow to start from."""

    flagged: ClassVar[tuple[str, ...]] = ("archetypes", "training")

    flow_run: str | None = setting(
        None,
        "Run of a fitted flow to start from; else one is fitted.",
        "--flow",
        metavar="RUN",
        panel=_DEEP,
    )
    archetypes: ArchetypesSettings = Field(default_factory=ArchetypesSettings)


_KINDS: dict[str, type[TrainSettings]] = {
    "classifier": ClassifierSettings,
    "discriminator": DiscriminatorSettings,
    "detector": DetectorSettings,
}


def settings_of(values: Mapping[str, Any], where: str) -> RunSettings:
    """The settings that a run folder keeps, of the class of their command.

    Raises
    ------
    InvalidSettingError
        As `RunSettings.from_mapping` does.
    """
    cls: type[RunSettings] = ArchetypeSettings if "archetypes" in values else FitSettings
    if "kind" in values:
        if not isinstance(values["kind"], str) or values["kind"] not in _KINDS:
            raise invalid(f"{where}: kind = {values['kind']!r} can't be used: expected one of {', '.join(_KINDS)}.")
        cls = _KINDS[values["kind"]]
    return cls.from_mapping(values, where)


def read_settings(path: str | Path) -> dict[str, Any]:
    """The values of a TOML file; names that settings had before become those of today.

    Parameters
    ----------
    path : path

    Returns
    -------
    dict

    Raises
    ------
    InvalidSettingError
        If the file isn't there, has more than `MOST_SETTINGS` bytes, or is no TOML: with the line.
    """
    file = Path(path)
    if not file.exists():
        raise invalid(f"no settings file {path}; check the path given as --config.")
    error = type(invalid(""))
    with reading(f"the settings file {path}", "text", "check what it is, and its rights", error=error):
        with file.open("rb") as stream:
            content = stream.read(MOST_SETTINGS + 1)
        text = content.decode("utf-8").replace("\r\n", "\n")
    if len(content) > MOST_SETTINGS:
        raise invalid(f"{path} has more than {MOST_SETTINGS} bytes, and settings have some hundred; check the path.")
    _check_nesting(text, path)
    with reading(path, "TOML", "see https://toml.io", error=error):
        values = tomllib.loads(text)
    model = values.get("model")
    if isinstance(model, dict):
        values["model"] = {_today(key): value for key, value in model.items()}
    if values.get("kind") == "detector":
        values.pop("source", None)  # an earlier version wrote one down, and didn't use it
    return values


def _check_nesting(text: str, path: str | Path) -> None:
    """Refuse what is nested deeper than settings are, before a parser takes minutes or its stack runs over."""
    bare = _NO_KEYS.sub("s", text)
    depth = deepest = 0
    for mark in re.findall(r"[][{}]", bare):
        depth = max(depth + (1 if mark in "[{" else -1), 0)
        deepest = max(deepest, depth)
    if deepest > _DEEPEST or _LONG_KEY.search(bare):
        raise invalid(f"{path} is nested more than {_DEEPEST} deep, and settings are so twice at most; check the path.")


def _today(name: str) -> str:
    return next((new for new, old in OLD_NAMES.items() if old == name), name)


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


def _explain(cls: type[BaseModel], error: ValidationError) -> str:
    """The first failure as one sentence in plain words: key, value, what is expected."""
    errors = error.errors(include_url=False)
    first = errors[0]
    path = _path(cls, first["loc"])
    key = ".".join(path)
    if first["type"] == "extra_forbidden":
        return _unknown(key, sorted(_section(cls, path[:-1]).model_fields)) + "."
    if first["type"] == "missing":
        return f"the setting {key!r} is missing; add it to the file or give it on the command line."
    reason = first.get("ctx", {}).get("error")
    if reason is not None and _is_section(cls.model_fields[path[0]].annotation) and len(path) == 1:
        return f"{reason}."  # of a section as a whole, which says its own key and value
    # A value that may be of several types fails once for each.
    expected = [_expected(e) for e in errors if _path(cls, e["loc"]) == path]
    return f"{key} = {first['input']!r} can't be used: expected {' or '.join(dict.fromkeys(expected))}."


def _expected(error: Any) -> str:
    """What pydantic expected, in our words."""
    kind, context = error["type"], error.get("ctx", {})
    words = {
        "int": "an integer",
        "float": "a number",
        "bool": "true or false",
        "string": "a text",
        "list": "a list",
        "dict": "a section",
        "model": "a section",
        "literal": str(context.get("expected", "")).replace("'", ""),
        "greater_than": f"more than {context.get('gt')}",
        "greater_than_equal": f"{context.get('ge')} or more",
        "less_than": f"less than {context.get('lt')}",
        "less_than_equal": f"{context.get('le')} or less",
    }
    for name in (kind, kind.split("_")[0]):
        if name in words:
            return words[name]
    return str(context.get("error", "another value"))


def _unknown(key: str, known: Sequence[str]) -> str:
    near = get_close_matches(key.rpartition(".")[2], known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown setting {key!r}; {hint}The settings here are: {', '.join(known)}"


def _path(cls: type[BaseModel], where: Sequence[Any]) -> list[str]:
    """The keys of a failure; names of types, which follow the key for a value of several types, are left out."""
    path: list[str] = []
    for part in map(str, where):
        fields = _section(cls, path).model_fields
        path.append(part)
        if part not in fields or not _is_section(fields[part].annotation):
            break
    return path


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _section(cls: type[BaseModel], path: Sequence[str]) -> type[BaseModel]:
    for part in path:
        found: Any = cls.model_fields[part].annotation
        cls = found if _is_section(found) else cls
    return cls
