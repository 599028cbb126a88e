"""The command that is likely to come next, said after each one to a person at a terminal."""

import os
import shlex
import sys

import click
from click.core import ParameterSource

from trunkline.cli.output import Output

_DIGITS = 16


def next_step(out: Output, *words: str) -> None:
    """Says the next command on standard error, in a line that can be pasted; in a terminal only.

    `words` follow `trunkline`; what the person has to fill in is in capitals, as in the help. A
    `--server` that was given on the command line is repeated, a token never is. Nothing is said
    where standard output or standard error is no terminal, with `--json`, and of words with
    characters that no terminal can show.
    """
    if out.as_json or not (sys.stdout.isatty() and sys.stderr.isatty()):
        return
    line = shlex.join(["trunkline", *_server(), *words])
    if line.isprintable():
        click.echo(f"next: {line}", err=True)


def next_after_version(
    out: Output, head: str, version: int | None, *inputs: str, active: bool
) -> None:
    """Says what to do with a new version: ask it, by default about a PATH, or let it answer."""
    if active:
        next_step(out, "predict", head, *(inputs or ("PATH",)))
    elif version is not None:
        next_step(out, "heads", "activate", head, str(version))


def example_word(digest: str, external_id: str | None) -> str:
    """Returns what to name an example by in a command: its name, or the beginning of its digest.

    A name that would be taken for an option or for a file that is there is not used.
    """
    if external_id and external_id[0] != "-" and not os.path.exists(external_id):
        return external_id
    return digest[:_DIGITS]


def _server() -> list[str]:
    """Returns the option that names the server, where it was given before or after the command."""
    context = click.get_current_context()
    for known in (context, context.find_root()):
        if known.get_parameter_source("server") is ParameterSource.COMMANDLINE:
            return ["--server", known.params["server"]]
    return []
