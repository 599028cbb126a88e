"""Lines that a person types, or a pipe brings."""

import sys
from contextlib import suppress

import click

from trunkline.cli.output import Output

_PROMPT = "> "


def read_line(out: Output) -> str | None:
    """Returns the next line that is text, without white space around it; None at the end."""
    # The library that edits lines shows its prompt on standard output: not where JSON goes.
    edited = sys.stdin.isatty() and sys.stdout.isatty() and not out.as_json
    while True:
        try:
            line = _edited_line() if edited else _plain_line(out)
        except UnicodeDecodeError as error:
            out.say(f"an answer must be {error.encoding} text: {error.reason}")
        else:
            return line if line is None else line.strip()


def _edited_line() -> str | None:
    with suppress(ImportError):  # not every Python has it
        import readline  # noqa: F401  `input` edits lines with it
    try:
        return input(_PROMPT)
    except EOFError:
        click.echo(err=True)
        return None


def _plain_line(out: Output) -> str | None:
    click.echo(_PROMPT, nl=False, err=True)
    encoding = sys.stdin.encoding
    # As bytes: a text stream that meets a wrong one loses the good lines around it.
    line = sys.stdin.buffer.readline()
    if not (line and sys.stdin.isatty()):
        # No terminal has shown it, or ended the line.
        out.say(line.decode(encoding, errors="replace").strip())
    return line.decode(encoding) if line else None
