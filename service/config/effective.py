"""``trunkline config``: the settings that a server would have, and where each comes from."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from service.config.environment import PREFIX, is_service_link, unknown_variables
from service.config.extractor_settings import StandaloneExtractorSettings
from service.config.flags import flag_of, read_flags, shown
from service.config.groups import grouped
from service.config.server_settings import ServerSettings
from service.config.sources import Settings, load_settings
from service.errors import InvalidSettings
from trunkline.cli.output import Output

ABOUT = """Print the settings that `trunkline serve` would have, and where each comes from.

`trunkline config extractor` prints those of `trunkline extractor`. Both take the flags of their
command, the environment and the file as it does. Nothing is started, and nothing is written.
"""
AS_JSON = click.Option(["--json", "as_json"], is_flag=True, help="Print one JSON document.")
PROGRAMS: dict[str, type[Settings]] = {
    "serve": ServerSettings,
    "extractor": StandaloneExtractorSettings,
}


@dataclass(frozen=True)
class Effective:
    """A setting, and where it comes from.

    Attributes:
        value: a JSON value.
        source: what said it.
        name: of the flag or the variable, or the file's path; empty for a default.
    """

    setting: str
    value: Any
    source: Literal["flag", "variable", "file", "default"]
    name: str


def config_main(args: list[str]) -> int:
    """Prints the settings; returns the exit status."""
    program = args.pop(0) if args and args[0] in PROGRAMS else "serve"
    cls = PROGRAMS[program]
    usage = "trunkline config [serve|extractor]"
    try:
        flags = read_flags(cls, usage, args, ABOUT, [AS_JSON])
        out = Output(flags.pop("as_json", False))
        settings = load_settings(cls, **flags)
    except InvalidSettings as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = list(_effective(settings, flags))
    known = ServerSettings.model_fields | StandaloneExtractorSettings.model_fields
    for variable, near in unknown_variables(known, os.environ):
        meant = f", {near} may be meant" if near else ""
        out.say(f"warning: {variable} is the variable of no setting{meant}")
    if out.as_json:
        values = {
            row.setting: {"value": row.value, "source": row.source, "name": row.name}
            for row in rows
        }
        out.document({"command": program, "settings": values})
    else:
        out.rows(
            rows,
            {
                "setting": lambda row: row.setting,
                "value": lambda row: shown(row.setting, row.value),
                "from": lambda row: row.name or row.source,
            },
        )
    return 0


def _effective(settings: Settings, flags: Collection[str]) -> Iterator[Effective]:
    values = settings.model_dump(mode="json")  # in which passwords are masked
    variables = {
        name.upper(): name for name, value in os.environ.items() if not is_service_link(name, value)
    }
    path = os.environ.get(f"{PREFIX}CONFIG", "")
    in_file = tomllib.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    for _, names in grouped(values):
        for name in names:
            variable = f"{PREFIX}{name.upper()}"
            if name in flags:
                yield Effective(name, values[name], "flag", flag_of(name))
            elif variable in variables:
                yield Effective(name, values[name], "variable", variables[variable])
            elif name in in_file:
                yield Effective(name, values[name], "file", path)
            else:
                yield Effective(name, values[name], "default", "")
