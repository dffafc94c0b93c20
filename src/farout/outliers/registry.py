"""Registry of the outlier sources: names, classes, options and help, for settings and commands.

It imports nothing of farout, so that ``farout --help`` can read it quickly.
"""

import importlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["DEFAULT_RULE", "SOURCES", "Option", "Source", "default_source", "options_of", "parsed"]

Kind = Literal["number", "range", "numbers", "count", "choice", "switch", "specs"]

_EXPECTED = {
    "number": "one number, such as 1.5",
    "range": "a number, such as 2.5, or a range, such as 2-4",
    "numbers": "a number, such as 0.3, or one for each archetype, such as 7,0.3,0.3",
    "count": "an integer above 0",
    "switch": "true or false",
    "specs": "a list of DATA",
}
# A dash that ends a number; that of 1e-3 doesn't.
_BETWEEN: dict[str, str] = {"range": r"(?<=[\d.])\s*-", "numbers": ","}


@dataclass(frozen=True)
class Option:
    """A parameter of a source that settings and commands can set.

    Attributes
    ----------
    name : str
        The constructor's parameter; ``strength`` is ``--strength`` on the command line.
    kind : str
        How its text is read.
    help : str
    default : object
        The constructor's.
    choices : tuple of str
        Of kind "choice".
    flags : tuple of str
        On the command line, where they aren't made from the name.
    rows_for : str
        The choice for which training rows are needed again when generating.
    """

    name: str
    kind: Kind
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    rows_for: str | None = None

    def parse(self, value: Any) -> Any:
        """The value for the constructor, from a text or a value of a settings file.

        Raises
        ------
        ValueError
            If it can't be used: what was expected.

        Examples
        --------
        >>> Option("strength", "range", "").parse("2-4"), Option("strength", "range", "").parse(3)
        ((2.0, 4.0), 3.0)
        """
        try:
            return self._parse(value)
        except (TypeError, ValueError):
            expected = _EXPECTED.get(self.kind) or f"one of {', '.join(self.choices)}"
            raise ValueError(f"{value!r} is not {expected}") from None

    def _parse(self, value: Any) -> Any:
        if self.kind == "choice":
            return self.choices[self.choices.index(value)]
        if self.kind == "switch":
            if not isinstance(value, bool):
                raise TypeError
            return value
        if self.kind == "specs":
            if isinstance(value, str) or not all(isinstance(v, str) for v in value):
                raise TypeError
            return list(value)
        numbers = _numbers(value, _BETWEEN.get(self.kind))
        if self.kind == "count":
            if numbers[0] < 1 or numbers[0] % 1:
                raise ValueError
            return int(numbers[0])
        if self.kind == "range" and len(numbers) > 2:
            raise ValueError
        return numbers[0] if len(numbers) == 1 else tuple(numbers) if self.kind == "range" else numbers


def _numbers(value: Any, between: str | None) -> list[float]:
    """Finite numbers of a text, a number, or a list."""
    if isinstance(value, bool):
        raise TypeError
    parts: Any = re.split(between, value) if isinstance(value, str) and between else value
    listed = parts if isinstance(parts, list | tuple) and between else [parts]
    numbers = [float(part) for part in listed]
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError
    return numbers


@dataclass(frozen=True)
class Source:
    """A source by its name.

    Attributes
    ----------
    name : str
    path : str
        "module:Class".
    help : str
        One line.
    needs : {"flow", "rows", "archetypes", "data"}
        What it stands on: a fitted flow alone; a flow and training rows, which are read again when generating; deep
        archetypes; outliers that are there already.
    options : tuple of Option
    without_flow : tuple of {"vectors", "images"}
        On what data it can do without a flow.
    kinds : tuple of {"vectors", "images"}
        The data it is for.
    """

    name: str
    path: str
    help: str
    needs: Literal["flow", "rows", "archetypes", "data"]
    options: tuple[Option, ...] = ()
    without_flow: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ("vectors", "images")

    def load(self) -> Any:
        """Its class."""
        module, name = self.path.split(":")
        return getattr(importlib.import_module(module), name)

    def needs_rows(self, given: Mapping[str, Any]) -> bool:
        """Whether training rows are needed to fit it on a fitted flow, with these options."""
        return self.needs == "rows" or any(
            o.rows_for is not None and given.get(o.name) == o.rows_for for o in self.options
        )


# fmt: off
_STRENGTH = Option("strength", "range", "distance in sigma, a number or a range such as 2-4", 2.5)
_TAIL = Option("tail", "range", "in place of --strength: probability that a held-out row lies as far out, such as 1e-3")
_COVARIANCE = Option("covariance", "choice", "class: shaped as each class's latents are", "identity",
                     ("identity", "class"), rows_for="class")
_LAW = Option("law", "choice", "distribution of the radius", "exact", ("exact", "author"))
_WEIGHTS = Option("concentration", "numbers", "of the Dirichlet distribution, below 1 for outliers; one or k", 0.3)
_PAST = Option("beyond", "range", "steps past the hull, such as 1 or 0.5-2", 0.0)
_COUNT = Option("n_archetypes", "count", "archetypes to fit, where --flow is no run of archetypes", 3,
                flags=("--n-archetypes", "-k"))
_PART = Option("w", "choice", "nullspace part: as in training, from N(0, I), or a row's own", "fitted",
               ("fitted", "normal", "own"), rows_for="own")
_EXACT = Option("exact", "switch", "encoding gives the weights back, or the talk's form", True,
                flags=("--exact/--slides",))
_QUANTILE = Option("quantile", "number", "share of inliers that the rule would call outliers", 0.1)
_WALK = Option("beyond", "number", "distance as a multiple of that to the boundary, 1 or more", 1.0)
_BUDGET = Option("budget", "number", "seconds for the trials that choose, on tables", 20.0)
_CHANCE = Option("chance", "number", "probability that a column comes from the second row", 0.5)
_PARTNER = Option("partner", "choice", "class of the second row", "any", ("any", "same", "other"))
_BLOCK = Option("block", "count", "neighbouring columns that are exchanged together", 1)
_SPACE = Option("space", "choice", "what is exchanged: columns or pixels of the data, or latents", "data",
                ("data", "latent"))
_SHARE = Option("share", "number", "share of an image that is replaced", 0.4)
_KEPT = Option("quantile", "number", "share of inliers that the rule would call outliers; no rule when omitted")
_NOISE = Option("distribution", "choice", "distribution of each column", "normal", ("normal", "uniform"))
_SETS = Option("outliers", "specs", "outlier sets, one or several after one flag")

_ALL = (
    Source("recommended", "farout.outliers.recommended:Recommended",
           "tables: chosen by trials on your rows; grey images: turned, collage, normal; colour: salient, scrambled",
           "rows", (_BUDGET,), without_flow=("vectors", "images")),
    Source("normal", "farout.outliers.extremal:NormalShell",
           "a wider normal distribution in latent space", "flow", (_STRENGTH, _TAIL, _COVARIANCE)),
    Source("gumbel", "farout.outliers.extremal:GumbelShell",
           "the radius of the largest of many normal points", "flow", (_STRENGTH, _TAIL, _LAW, _COVARIANCE)),
    Source("exchange", "farout.outliers.exchange:Exchange",
           "rows whose columns are exchanged with another row's", "rows", (_CHANCE, _PARTNER, _BLOCK, _SPACE),
           without_flow=("vectors", "images")),
    Source("noise", "farout.outliers.noise:Noise",
           "every column on its own, wider than the data", "rows", (_STRENGTH, _NOISE),
           without_flow=("vectors",), kinds=("vectors",)),
    Source("real", "farout.outliers.real:RealOutliers", "outliers that you have", "data", (_SETS,)),
    Source("archetypal", "farout.outliers.archetypal:Archetypal",
           "mixtures of deep archetypes", "archetypes", (_WEIGHTS, _PAST, _COUNT)),
    Source("nullspace", "farout.outliers.nullspace:Nullspace",
           "mixtures of archetypes with a random nullspace part", "archetypes", (_WEIGHTS, _PART, _EXACT, _COUNT)),
    Source("collage", "farout.outliers.collage:Collage", "parts of training rows put together", "rows", (_QUANTILE,)),
    Source("turned", "farout.outliers.turned:Turned", "training images, turned or mirrored", "rows", (_QUANTILE,),
           without_flow=("images",), kinds=("images",)),
    Source("salient", "farout.outliers.salient:Salient",
           "training images in which what their class rests on is replaced", "rows", (_SPACE, _SHARE, _KEPT),
           without_flow=("images",), kinds=("images",)),
    Source("scrambled", "farout.outliers.scrambled:Scrambled",
           "training images with random phases: textures that show nothing", "rows", (_KEPT,),
           without_flow=("images",), kinds=("images",)),
    Source("boundary", "farout.outliers.boundary:Boundary",
           "training rows moved past the boundary of normal data", "rows", (_QUANTILE, _WALK)),
    Source("walk", "farout.outliers.walk:Walk",
           "walks from between neighbouring classes down the flow's density", "rows", (_QUANTILE,)),
)
# fmt: on

SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
"""Every source that has a name in settings and commands."""


DEFAULT_RULE = "recommended, or normal where other options are given"


def default_source(given: Mapping[str, Any]) -> str:
    """The name that is meant where none is given: "recommended", or "normal" where an option isn't one of its own.

    Examples
    --------
    >>> default_source({}), default_source({"strength": 3.0}), default_source({"budget": 2.0})
    ('recommended', 'normal', 'recommended')
    """
    own = {option.name for option in SOURCES["recommended"].options}
    asked = {name for name, value in given.items() if value not in (None, [])}
    return "recommended" if asked <= own else "normal"


def options_of(sources: Mapping[str, Source] = SOURCES) -> dict[str, list[tuple[Source, Option]]]:
    """Each option's name, with the sources that have it."""
    found: dict[str, list[tuple[Source, Option]]] = {}
    for source in sources.values():
        for option in source.options:
            found.setdefault(option.name, []).append((source, option))
    return found


def parsed(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options for the constructor of the source called ``name``, checked.

    Raises
    ------
    ValueError
        If an option has no meaning for the source, or a value can't be used.

    Examples
    --------
    >>> parsed("gumbel", {"strength": "2-4", "law": None})
    {'strength': (2.0, 4.0)}
    """
    mine = {option.name: option for option in SOURCES[name].options}
    values: dict[str, Any] = {}
    for key, value in given.items():
        if value in (None, []):
            continue
        flag = f"--{key.replace('_', '-')}"
        if key not in mine:
            known = ", ".join(mine) or "none"
            raise ValueError(f"{flag} has no meaning for the source {name!r}, whose options are: {known}")
        try:
            values[key] = mine[key].parse(value)
        except ValueError as error:
            raise ValueError(f"{flag} {value}: {error}") from None
    return values
