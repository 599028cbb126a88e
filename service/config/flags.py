"""Settings as flags of a command line: what is given, and the help."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from click.core import ParameterSource
from pydantic.fields import FieldInfo

from service.config.environment import PREFIX
from service.config.groups import grouped
from service.config.sources import MIB, Settings, load_settings
from service.errors import InvalidSettings

S = TypeVar("S", bound=Settings)

FILE = click.Option(
    ["--config"],
    metavar="FILE",
    help="A TOML file of settings, whose keys are the flags' names with `_` for `-`. A flag wins "
    f"over the environment, and the environment over the file.  [env var: {PREFIX}CONFIG]",
)
_METAVARS = {int: "INTEGER", float: "NUMBER", Path: "PATH", str: "TEXT"}
_UNITS = {"bytes": "BYTES", "seconds": "SECONDS", "ms": "MILLISECONDS"}
_LOWER, _UPPER = {"ge": ">={}", "gt": ">{}"}, {"le": "<={}", "lt": "<{}"}
_BOTH = {"ge": "{}<=", "gt": "{}<"}
"""The lower bound where there is an upper one, too."""


def parse_settings(cls: type[S], program: str, args: Sequence[str], about: str = "") -> S:
    """Reads settings from the command line, before the environment and the file.

    Raises:
        InvalidSettings: naming every field at fault.
        click.exceptions.Exit: the help was asked for, and is printed.
    """
    return load_settings(cls, **read_flags(cls, program, args, about))


def read_flags(
    cls: type[Settings],
    program: str,
    args: Sequence[str],
    about: str = "",
    more: Sequence[click.Option] = (),
) -> dict[str, Any]:
    """Reads the flags that are given, by the names of their settings; values are not checked yet.

    ``--config`` is left in the environment, where settings find it and processes inherit it.

    Args:
        program: the command, as its help names it.
        about: what its help says first.
        more: options besides those of settings.

    Raises:
        InvalidSettings: there is no such flag, or one lacks its value.
        click.exceptions.Exit: the help was asked for, and is printed.
    """
    command = _Command(
        program,
        params=[FILE, *more, *(_option(name, field) for name, field in cls.model_fields.items())],
        help=about,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    try:
        with command.make_context(program, list(args)) as ctx:
            given = {
                name: value
                for name, value in ctx.params.items()
                if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE
            }
    except click.UsageError as error:
        raise InvalidSettings(error.format_message()) from error
    path = given.pop("config", None)
    if path is not None:
        os.environ[f"{PREFIX}CONFIG"] = path
    return given


def flag_of(setting: str) -> str:
    """Returns the flag of a setting."""
    return f"--{setting.replace('_', '-')}"


class _Command(click.Command):
    """A command whose help shows settings in their groups."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes them."""
        records = {
            param.name: record
            for param in self.get_params(ctx)
            if param.name is not None and (record := param.get_help_record(ctx)) is not None
        }
        settings = [param.name for param in self.params if isinstance(param, _Flag) and param.name]
        others = [name for name in records if name not in settings]
        for title, names in (("Options", others), *grouped(settings)):
            with formatter.section(title):
                formatter.write_dl([records[name] for name in names])


class _Flag(click.Option):
    """The flag of a setting."""


def _option(name: str, field: FieldInfo) -> _Flag:
    flag, help_text = flag_of(name), f"{_words(field)}  [{'; '.join(_facts(name, field))}]"
    if field.annotation is bool:
        return _Flag([f"{flag}/--no-{flag[2:]}"], default=None, help=help_text)
    several = get_origin(field.annotation) is tuple
    return _Flag([flag], type=str, multiple=several, metavar=_metavar(name, field), help=help_text)


def _words(field: FieldInfo) -> str:
    return " ".join((field.description or "").split()).replace("``", "`")


def _facts(name: str, field: FieldInfo) -> list[str]:
    """Returns the variable, the default and the range, as click writes them."""
    default = shown(name, field.get_default(call_default_factory=True))
    lower, upper = _bound(field, _BOTH), _bound(field, _UPPER)
    if not upper:
        lower, upper = "", _bound(field, _LOWER)
    limits = [f"{lower}x{upper}"] if upper else []
    return [f"env var: {PREFIX}{name.upper()}", f"default: {default}", *limits]


def _bound(field: FieldInfo, words: Mapping[str, str]) -> str:
    found = (
        text.format(limit)
        for name, text in words.items()
        for one in field.metadata
        if (limit := getattr(one, name, None)) is not None
    )
    return next(found, "")


def shown(name: str, value: object) -> str:
    """Returns a setting's value as people read it."""
    if value is None or value in ((), []):
        return "none"
    if isinstance(value, (tuple, list)):
        return ",".join(map(str, value))
    if isinstance(value, bool):
        return str(value).lower()
    if name.endswith("_bytes") and isinstance(value, int) and value and value % MIB == 0:
        return f"{value} ({value // MIB} MiB)"
    return str(value)


def _metavar(name: str, field: FieldInfo) -> str:
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not type(None))
    if get_origin(kind) is Literal:
        return f"[{'|'.join(get_args(kind))}]"
    if get_origin(kind) is tuple:
        return "NAME[,NAME]"
    assert isinstance(kind, type)
    return _UNITS.get(name.rpartition("_")[2], _METAVARS[kind])
