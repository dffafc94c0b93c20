"""Options of commands: those that several share, those made from settings, and those that take several values."""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

from farout.cli.console import console
from farout.outliers.registry import DEFAULT_RULE, SOURCES, Source, options_of

if TYPE_CHECKING:
    from farout.runs.engines import Engine
    from farout.runs.settings import RunSettings

__all__ = [
    "ANYWHERE",
    "Address",
    "Anomaly",
    "Data",
    "DataRoot",
    "EngineName",
    "Flag",
    "Force",
    "Group",
    "ImageSize",
    "Json",
    "Label",
    "RunArgument",
    "Seed",
    "SHARDS_STAY",
    "SeveralValues",
    "Workers",
    "engine_of",
    "option",
    "require_shards",
    "sets_of",
    "settings_flags",
    "shard_rows",
    "source_flags",
    "with_flags",
]

ANYWHERE = "Anywhere: --debug (tracebacks), --verbose (a line a stage without a terminal), --quiet."


class Group(TyperGroup):
    """A group of commands which shows its help when nothing is asked of it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return list(super().parse_args(ctx, args or ["--help"]))


class SeveralValues(TyperCommand):
    """A command whose repeatable options take several values after one flag: ``--outliers letters kana``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        flags = {flag for p in self.params if getattr(p, "multiple", False) for flag in p.opts}
        return list(super().parse_args(ctx, _spread(args, flags)))


def _spread(args: list[str], flags: set[str]) -> list[str]:
    """Repeat a flag before each of its values, up to the next word that begins with a dash."""
    spread: list[str] = []
    flag, first = None, False
    for i, word in enumerate(args):
        if word == "--":
            return spread + args[i:]
        if word.startswith("-"):
            flag, first = (word, True) if word in flags else (None, False)
            spread.append(word)
        elif flag is None or first:
            spread.append(word)
            first = False
        else:
            spread += [flag, word]
    return spread


def sets_of(values: Sequence[str]) -> list[str]:
    """DATA of a flag, one by one: several words, or one with commas; numbers after a comma go on with its classes.

    Examples
    --------
    >>> sets_of(["digits@7,8-9,letters", "kana"])
    ['digits@7,8-9', 'letters', 'kana']
    """
    found: list[str] = []
    for value in values:
        parts = [value] if Path(value).exists() else value.split(",")
        for i, part in enumerate(p.strip() for p in parts):
            if i and "@" in found[-1] and part.replace("-", "").isdecimal():
                found[-1] += f",{part}"
            elif part:
                found.append(part)
    return found


def option(*flags: str, help: str, panel: str | None = None, metavar: str | None = None, **more: Any) -> Any:
    """An option whose help tells its default itself."""
    return typer.Option(
        *flags, help=help, rich_help_panel=panel, metavar=metavar, show_default=False, show_envvar=False, **more
    )


def shard_rows(usual: str) -> Any:
    """``--shard-rows``, for results that go to a folder."""
    return option("--shard-rows", help=f"Rows of a shard, where --out is a folder. [default: {usual}]", min=1)


SHARDS_STAY = "shards that are whole stay; give the same command again to go on with the others."


def require_shards(shard_rows: int | None, sharded: bool) -> None:
    """Refuse ``--shard-rows`` where nothing is written in shards."""
    if shard_rows is not None and not sharded:
        raise typer.BadParameter("--shard-rows is for shards: give --out a folder, or leave it out")


def tell_kept(out: Path, force: bool = False) -> None:
    """Say how many shards of an earlier command are kept in a folder, where there are some."""
    from farout.errors import RunError
    from farout.runs.shards import read_manifest

    try:
        found = None if force else read_manifest(out)
    except RunError:  # the command itself says what to do
        found = None
    if found is not None and found["shards"]:
        console.note(f"{len(found['shards'])} shards in {out} are whole already")


def facts_of_shards(out: Path) -> dict[str, Any]:
    """What is told of a folder of shards that is whole: their number, and rows of each but the last."""
    from farout.runs.shards import read_manifest

    found = read_manifest(out) or {"shards": [], "shard_rows": 0}
    return {"shards": len(found["shards"]), "rows_a_shard": found["shard_rows"]}


EngineName = Annotated[
    Literal["plain", "ray"],
    option(
        "--engine",
        help="Who works: this process (plain), or workers of Ray (ray). [default: plain]",
        panel="Ray",
    ),
]
Workers = Annotated[
    int | None,
    option("--workers", help="Number of Ray's workers. [default: as many as GPUs or CPUs]", panel="Ray", min=1),
]
Address = Annotated[
    str | None,
    option(
        "--address",
        help="Of a running Ray cluster, or auto. [default: RAY_ADDRESS, or this machine alone]",
        panel="Ray",
    ),
]


def engine_of(name: str, workers: int | None, address: str | None, sharded: bool = True) -> "Engine":
    """The engine that is asked for; refused where nothing is written in shards, or Ray isn't installed."""
    from farout.runs.engines import PLAIN, RayEngine

    if name == "plain":
        for flag, value in (("--workers", workers), ("--address", address)):
            if value is not None:
                raise typer.BadParameter(f"{flag} is for Ray: add --engine ray, or leave it out")
        return PLAIN
    if not sharded:
        raise typer.BadParameter("--engine ray writes shards: give --out a folder, or leave it out")
    return RayEngine(workers, address)


Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA", help="A named set, a file, a folder or a URL: NAME[:SPLIT][@CLASSES].", show_default=False
    ),
]
RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
Force = Annotated[bool, option("--force", help="Replace what is there.")]
Json = Annotated[bool, option("--json", help="Results as JSON.")]
Seed = Annotated[int, option("--seed", help="The same seed gives the same result. [default: 0]")]
DataRoot = Annotated[
    Path | None,
    option("--data-root", help="Folder of named sets, looked in before $FAROUT_DATA.", panel="Data", metavar="DIR"),
]
Label = Annotated[
    str | None,
    option(
        "--label",
        help="Column or key of the labels, in files.",
        panel="Data",
        metavar="COLUMN",
    ),
]
Anomaly = Annotated[
    str | None,
    option(
        "--anomaly",
        help="Column or key that marks anomalies, in files.",
        panel="Data",
        metavar="COLUMN",
    ),
]
ImageSize = Annotated[
    int | None,
    option("--image-size", help="Side to bring images of folders to.", panel="Data"),
]


@dataclass(frozen=True)
class Flag:
    """A flag that was made from a setting.

    Attributes
    ----------
    name : str
        Of the command's parameter.
    keys : tuple of str
        Where its value goes in nested settings.
    annotation : object
        For typer.
    joined : bool
        Whether it takes several values, which are one text in the settings.
    """

    name: str
    keys: tuple[str, ...]
    annotation: Any
    joined: bool = False


def with_flags(flags: Sequence[Flag]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command of a function ``(asked, **own options)``.

    Parameters
    ----------
    flags : sequence of Flag
        The function gets their values in ``asked``, nested as settings are; None where nothing is said.
    """

    def decorate(act: Callable[..., None]) -> Callable[..., None]:
        def command(**words: Any) -> None:
            asked: dict[str, Any] = {}
            for flag in flags:
                value, section = words.pop(flag.name), asked
                for key in flag.keys[:-1]:
                    section = section.setdefault(key, {})
                section[flag.keys[-1]] = (",".join(value) or None) if flag.joined and value is not None else value
            act(asked, **words)

        keyword = inspect.Parameter.KEYWORD_ONLY
        own = [p.replace(kind=keyword) for p in list(inspect.signature(act, eval_str=True).parameters.values())[1:]]
        made = [inspect.Parameter(f.name, keyword, default=None, annotation=f.annotation) for f in flags]
        command.__signature__ = inspect.Signature(own + made)  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in own + made}
        command.__name__, command.__doc__ = act.__name__, act.__doc__
        return command

    return decorate


def settings_flags(cls: "type[RunSettings]") -> list[Flag]:
    """A flag for each setting of ``cls`` and of the sections that ``cls.flagged`` names, with its help and default."""
    from farout.runs.settings import FLAG

    sections: list[tuple[tuple[str, ...], Any]] = [((), cls)]
    sections += [((name,), cls.model_fields[name].annotation) for name in cls.flagged]
    made = []
    for path, section in sections:
        if path == ("source",):
            made += source_flags(SOURCES)
            continue
        for name, field in section.model_fields.items():
            told = field.json_schema_extra or {}
            if FLAG in told:
                made.append(_flag((*path, name), field, told[FLAG]))
    return made


def source_flags(sources: Mapping[str, Source]) -> list[Flag]:
    """``--source``, and a flag for each option that one of these sources has, from the registry."""
    told = "; ".join(f"{source.name}: {source.help}" for source in sources.values())
    choice = option("--source", help=f"{told}. [default: {DEFAULT_RULE}]", panel="Outliers")
    made = [Flag("source", ("source", "name"), Annotated[Literal[tuple(sources)] | None, choice])]
    for name, found in options_of(sources).items():
        first = found[0][1]
        texts = {o.help: f"{o.help}{'' if o.default is None else f' [default: {_word(o.default)}]'}" for _, o in found}
        help = ". ".join(
            f"Of {', '.join(source.name for source, o in found if o.help == text)}: {texts[text]}" for text in texts
        )
        kinds = {"choice": Literal[first.choices], "switch": bool, "specs": list[str], "numbers": list[str]}
        kind: Any = kinds.get(first.kind, str)
        metavar = {"specs": "DATA...", "range": "X|LOW-HIGH", "number": "X", "numbers": "X...", "count": "K"}
        flags = first.flags or _names(name, kind)
        told_by = option(*flags, help=help, panel="Outliers", metavar=metavar.get(first.kind))
        made.append(Flag(name, ("source", name), Annotated[kind | None, told_by], joined=first.kind == "numbers"))
    return made


def _flag(keys: tuple[str, ...], field: Any, told: Any) -> Flag:
    name = keys[-1]
    if name == "data":
        argument = typer.Argument(metavar="DATA", help=field.description, show_default=False)
        return Flag(name, keys, Annotated[str | None, argument])
    shown = told["shown"] or (None if field.default is None else _word(field.default))
    help = field.description + (f" [default: {shown}]" if shown else "")
    more: dict[str, Any] = {}
    parts = [part for part in _parts(field.annotation) if part is not type(None)]
    kind: Any = bool if bool in parts else parts[0]
    if told["choices"]:
        kind = Literal[tuple(told["choices"])]
    elif told["several"] or kind == list[str]:
        kind = list[str]
    elif len(parts) > 1 and kind is not bool:  # a number or a word
        kind, more = str, {"parser": _reader(parts)}
    flags = told["flags"] or _names(name, kind)
    made = option(*flags, help=help, panel=told["panel"], metavar=told["metavar"], **more)
    return Flag(name, keys, Annotated[kind | None, made], joined=told["several"])


def _names(name: str, kind: Any) -> tuple[str, ...]:
    flag = name.replace("_", "-")
    return (f"--{flag}/--no-{flag}",) if kind is bool else (f"--{flag}",)


def _parts(annotation: Any) -> list[Any]:
    """The types that a value may have, without what pydantic checks besides."""
    if get_origin(annotation) is Annotated:
        return _parts(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [part for one in get_args(annotation) for part in _parts(one)]
    return [annotation]


def _reader(parts: Sequence[Any]) -> Callable[[str], Any]:
    """Reads a word of the command line as a number or one of several words; bounds are left to settings."""
    number = next(part for part in parts if part in (int, float))
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]

    def read(text: str) -> Any:
        if text in words:
            return text
        try:
            return number(text)
        except ValueError:
            what = "an integer" if number is int else "a number"
            raise ValueError(f"{text!r} is neither {what} nor {' nor '.join(words)}") from None

    return read


def _word(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else f"{value}"
