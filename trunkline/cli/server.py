"""The commands that run the server's own packages, such as `trunkline serve` and `check`."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from trunkline.cli.interrupts import exit_status
from trunkline.cli.output import Failure
from trunkline.values.keys import Key, NewKey
from trunkline.wire.reading import read

# Arguments, `--help` included, are the server's own to read.
_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": []}

_arguments = click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS]")


@click.command(context_settings=_PASSED_ON)
@_arguments
@click.pass_context
def serve(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Start the server: gRPC and REST."""
    _stop_at_once()
    _say_starting(arguments)
    with _from_a_checkout():
        from service.serve import serve_main
    ctx.exit(serve_main(list(arguments)))


@click.command(context_settings=_PASSED_ON)
@_arguments
@click.pass_context
def extractor(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Start the extraction service alone."""
    _stop_at_once()
    _say_starting(arguments)
    with _from_a_checkout():
        from service.extract import extractor_main
    ctx.exit(extractor_main(list(arguments)))


@click.command(context_settings=_PASSED_ON)
@_arguments
@click.pass_context
def config(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Print the settings that a server would have, and where each comes from."""
    with _from_a_checkout():
        from service.config.effective import config_main
    ctx.exit(config_main(list(arguments)))


@click.command(context_settings=_PASSED_ON)
@_arguments
@click.pass_context
def demo(ctx: click.Context, arguments: tuple[str, ...]) -> None:
    """Run the main job on real data, from an empty server to predictions and feedback."""
    try:
        with _from_a_checkout():
            from service.demo import demo_main
    except KeyboardInterrupt as interrupt:
        click.echo("stopped", err=True)
        ctx.exit(exit_status(interrupt))
    ctx.exit(demo_main(list(arguments)))


_password_file = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Has the password for PostgreSQL in its first line.",
)


@click.command()
@click.argument("data_dir", metavar="DATA_DIR")
@_password_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def check(ctx: click.Context, data_dir: str, password_file: Path | None, as_json: bool) -> None:
    """Read a server's whole store and say what is wrong with it.

    DATA_DIR may be the address of a PostgreSQL database, too. Nothing is changed, and a server may
    be running on it. Exit status: 0 if nothing is wrong, 1 if something is, 2 if it cannot be read.
    """
    with _from_a_checkout():
        from service.check import check_main
    ctx.exit(check_main(data_dir, password_file, as_json=as_json))


_data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    required=True,
    help="The server's data directory, on its machine.",
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@_data_dir
@click.option("--replace", is_flag=True, help="Replace a file of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def backup(ctx: click.Context, file: Path, data_dir: Path, replace: bool, as_json: bool) -> None:
    """Write a server's whole store into one file that only you can read.

    The server may be running: the file has what was stored when the command began. It holds
    every tenant's examples, and no key as it is shown.
    """
    with _from_a_checkout():
        from service.backup import backup_main
    ctx.exit(backup_main(file, data_dir, replace=replace, as_json=as_json))


@click.command()
@click.argument("file", type=click.Path(path_type=Path, exists=True), metavar="FILE")
@_data_dir
@click.option(
    "--move-aside", is_flag=True, help="Move a store that is there into a folder beside it."
)
@click.option(
    "--despite-findings", is_flag=True, help="Restore it although a check finds something wrong."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def restore(
    ctx: click.Context,
    file: Path,
    data_dir: Path,
    move_aside: bool,
    despite_findings: bool,
    as_json: bool,
) -> None:
    """Make a backup the store of a data directory that no server uses.

    It is copied and checked, as `trunkline check` does, before it takes its place. Exit status: 0
    if it did, 1 if not; then nothing is changed.
    """
    with _from_a_checkout():
        from service.backup import restore_main
    ctx.exit(
        restore_main(
            file,
            data_dir,
            move_aside=move_aside,
            despite_findings=despite_findings,
            as_json=as_json,
        )
    )


@click.group()
def store() -> None:
    """Move a server's store, or bring it to this release's schema."""


@store.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@_password_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def copy_store(
    ctx: click.Context, source: str, target: str, password_file: Path | None, as_json: bool
) -> None:
    """Copy a store that no server uses into an empty one, and compare them.

    FROM and TO are each a data directory or the address of a PostgreSQL database, such as
    postgresql+psycopg://trunkline@db.example.org/trunkline. Exit status: 0 if TO has all that FROM
    has, 1 if not; then TO is empty.
    """
    with _from_a_checkout():
        from service.moving import copy_main
    ctx.exit(copy_main(source, target, password_file, as_json=as_json))


@store.command("migrate")
@click.argument("place", metavar="[STORE]", envvar="TRUNKLINE_STORE")
@_password_file
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_context
def migrate_store(
    ctx: click.Context, place: str, password_file: Path | None, as_json: bool
) -> None:
    """Bring a store to this release's schema, as the first server on it would.

    STORE is a data directory or the address of a PostgreSQL database, TRUNKLINE_STORE if it is left
    out; where there is no store an empty one is made. Exit status: 0 if it has that schema, 1 if
    not, as while a server of another release has it.
    """
    with _from_a_checkout():
        from service.moving import migrate_main
    ctx.exit(migrate_main(place, password_file, as_json=as_json))


def _say_starting(arguments: tuple[str, ...]) -> None:
    """Says what takes seconds before it is begun; no log is set up by then."""
    if not {"-h", "--help"}.isdisjoint(arguments):
        return
    words = "starting: importing, then loading backbones"
    if _log_format(arguments) == "json":
        words = json.dumps({"event": words, "level": "info"})
    click.echo(words, err=True)


def _log_format(arguments: tuple[str, ...]) -> str:
    """Returns what a flag or the variable says; the file is the server's to read."""
    words = [part for argument in arguments for part in argument.split("=", 1)]
    if "--log-format" in words[:-1]:
        return words[words.index("--log-format") + 1]
    return os.environ.get("TRUNKLINE_LOG_FORMAT", "")


def key_made_in(data_dir: str, note: str, lifetime_seconds: float | None) -> NewKey:
    """Makes an operator's key in a server's own store: of a folder, or at an address."""
    with _from_a_checkout():
        from service.access.key_in_store import create_operator_key
        from service.config.store_address import store_url
        from service.errors import ServiceError
        from service.logs import configure_logging
        from service.replies.keys import key_message
    try:
        configure_logging("warning", "console")  # to standard error
        place = store_url(data_dir) if "://" in data_dir else Path(data_dir)
        record, text = create_operator_key(place, note, lifetime_seconds)
    except (ServiceError, ValueError) as error:
        raise Failure(str(error)) from error
    return NewKey(read(Key, key_message(record)), text)


def _stop_at_once() -> None:
    """Lets Ctrl-C and SIGTERM end the process until the server takes them over.

    Importing and loading take seconds, cannot be interrupted in order, and owe nobody anything.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        os.write(2, b"stopped\n")
        os._exit(0)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)


@contextmanager
def _from_a_checkout() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "service":
            raise Failure(
                "the server runs from a checkout of the repository, which this is not: "
                "clone it and install it with `pip install -e '.[server]'`"
            ) from error
        raise Failure(
            f"the server needs a package that is not installed ({error.name}): "
            "install it with `pip install -e '.[server]'` in the checkout"
        ) from error
