"""How commands fail: one line on standard error, and with `--json` one on standard output, too."""

import errno
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import click

from trunkline.cli.interrupts import end_at_once, exit_status, signals_interrupt
from trunkline.cli.output import Failure, described, document_printed, echo
from trunkline.cli.tables import terminal_width, wrapped
from trunkline.errors import (
    Cancelled,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    TrunklineError,
    Unknown,
)
from trunkline.labels import visible

_AS_JSON = "trunkline.as_json"
_OS_CODES: dict[type[OSError], str] = {
    FileNotFoundError: NotFound.code,
    PermissionError: PermissionDenied.code,
}


class ErrorsAsLines(click.Group):
    """A group whose commands end with words, never a traceback, where the client or a user ends.

    With `--json` among the arguments standard output gets the error as JSON, unless the command has
    printed its document before.
    """

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        as_json = "--json" in _options(args)
        with _told(as_json):
            context = super().make_context(info_name, args, parent, **extra)
        context.meta[_AS_JSON] = as_json
        return context

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with _told(ctx.meta[_AS_JSON]), signals_interrupt():
                return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            _say_interrupted(ctx, interrupt)
        except click.Abort as abort:  # that is what click makes of one where it asks a question
            if isinstance(abort.__context__, KeyboardInterrupt):
                _say_interrupted(ctx, abort.__context__)
            raise Failure("the input ended before an answer: it was not done") from abort


def _say_interrupted(ctx: click.Context, interrupt: KeyboardInterrupt) -> NoReturn:
    """Prints what is done and how to go on, and ends the program."""
    lines = _notes(interrupt)
    for line in ["interrupted" + ":" * bool(lines), *lines]:
        if line.startswith(" "):
            click.echo(visible(line), err=True)  # a command, to be pasted
        else:
            echo(line, err=True)
    end_at_once(interrupt)
    ctx.exit(exit_status(interrupt))


def _notes(interrupt: BaseException) -> list[str]:
    return [line for note in getattr(interrupt, "__notes__", []) for line in note.split("\n")]


def error_line(error: BaseException) -> str:
    """Returns an error as a line of JSON: `{"error": …}` with what is known of it."""
    return json.dumps({"error": {name: value for name, value in _known(error).items() if value}})


def _known(error: BaseException) -> dict[str, object]:
    match error:
        case TrunklineError():
            names = ("reason", "field", "limit", "value", "request_id", "retry_after")
            known = {name: getattr(error, name) for name in names}
            return {"code": error.code, "message": error.message} | known
        case click.UsageError():
            field = getattr(error, "option_name", None) or _parameter(error)
            return {
                "code": InvalidArgument.code,
                "message": error.format_message(),
                "field": field,
            }
        case click.ClickException():
            cause = error.__cause__
            code = error.code if isinstance(error, Failure) else Unknown.code
            known = _known(cause) if isinstance(cause, TrunklineError) else {"code": code}
            return known | {"message": error.format_message()}
        case OSError():
            code = _OS_CODES.get(type(error), Unknown.code)
            return {"code": code, "message": _words(error), "value": str(error.filename or "")}
        case KeyboardInterrupt():
            words = "; ".join(map(str.strip, _notes(error))).replace(":; ", ": ")
            message = "interrupted" + (f": {words}" if words else "")
            return {"code": Cancelled.code, "message": message}
    return {"code": Cancelled.code, "message": "interrupted, or answered with no"}


def _words(error: TrunklineError | OSError) -> str:
    if isinstance(error, TrunklineError):
        return described(error)
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def _parameter(error: click.UsageError) -> str | None:
    """Returns the option, or the argument by its name, that a mistake of usage is about."""
    parameter = error.param if isinstance(error, click.BadParameter) else None
    if isinstance(parameter, click.Option):
        return parameter.opts[0]
    return parameter.name if parameter else None


def _options(args: Sequence[str]) -> Sequence[str]:
    return args[: args.index("--")] if "--" in args else args


@contextmanager
def _told(as_json: bool) -> Iterator[None]:
    """Prints what fails inside as JSON, if asked to, and lets click print it as a line."""
    try:
        yield
    except (TrunklineError, OSError) as error:
        if isinstance(error, OSError) and error.errno == errno.EPIPE:
            raise  # the reader of the output has left: click's business
        _print(as_json, error)
        raise Failure(_words(error)) from error
    except click.UsageError as error:
        _print(as_json, error)
        raise _folded(error) from error
    except (click.ClickException, click.Abort, KeyboardInterrupt) as error:
        _print(as_json, error)
        raise


def _folded(error: click.UsageError) -> click.UsageError:
    """Returns the error with its words in lines that the terminal has room for."""
    begin = "Error: "
    lines = f"{begin}{error.format_message()}".split("\n")
    width = terminal_width(sys.stderr)
    words = "\n".join(piece for line in lines for piece in wrapped(visible(line), width))
    return click.UsageError(words.removeprefix(begin), error.ctx)


def _print(as_json: bool, error: BaseException) -> None:
    if as_json and not document_printed():
        with suppress(OSError):  # of standard output itself, perhaps: the words must come through
            click.echo(error_line(error))
