"""The command that is likely to come next, said after each one to a person at a terminal."""

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


def digits(digest: str) -> str:
    """Returns the beginning of a digest, enough to name an example by."""
    return digest[:_DIGITS]


def _server() -> list[str]:
    """Returns the option that names the server, where it was given before or after the command."""
    context = click.get_current_context()
    for known in (context, context.find_root()):
        if known.get_parameter_source("server") is ParameterSource.COMMANDLINE:
            return ["--server", known.params["server"]]
    return []
