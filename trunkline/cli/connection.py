"""What every command that talks to a server has in common: its options, its client, its output."""

import functools
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import click

from trunkline.cli.output import Failure, Output, echo
from trunkline.cli.stored_keys import stored_key
from trunkline.clients.client import Client
from trunkline.connection.addresses import other_port, suggested_address
from trunkline.connection.unreachable import NO_SUCH_HOST, NO_TLS
from trunkline.errors import InvalidArgument
from trunkline.resources import HeadName, InvalidName, TenantName

Command = Callable[..., Any]

_PROBE_SECONDS = 2.0
_TLS_FILES = {
    "ca": "Whose certificates the server may have, in PEM; by default those the system trusts",
    "client_cert": "The certificate to show the server, in PEM",
    "client_key": "The key of that certificate, in PEM",
}


@dataclass(frozen=True)
class Connection:
    """Where the server is, what to show it, and how long to wait for it (seconds).

    `tls` are the files of TLS that were named, by the client's names for them.
    """

    server: str
    token: str | None
    timeout: float
    tls: Mapping[str, str]


def name_argument(
    parameter: str, read: Callable[[str], object], metavar: str, *, required: bool = True
) -> Callable[[Command], Command]:
    """Makes an argument that is a name; one that `read` does not take is a mistake of usage.

    One that is not required is None if it is not given.
    """

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> object:
        try:
            return None if value is None else read(value)
        except InvalidName as error:
            words = f"{error}, a file or folder; {metavar} comes first"
            if not os.path.exists(str(value)):
                words = str(error)
            raise click.BadParameter(words, ctx, param) from error

    return click.argument(parameter, callback=callback, metavar=metavar, required=required)


head_argument = name_argument("head", lambda text: HeadName.read(text).short, "TENANT/HEAD")
tenant_argument = name_argument("tenant", lambda text: TenantName.read(text).tenant, "TENANT")
optional_tenant_argument = name_argument(
    "tenant", lambda text: TenantName.read(text).tenant, "[TENANT]", required=False
)
version_option = click.option(
    "--version", type=click.IntRange(min=1), help="The version (default: the active one)."
)


def server_options(
    *, default_server: str | None, default_timeout: float | None, env: bool
) -> Callable[[Command], Command]:
    """Makes `--server`, `--token`, `--timeout` and the files of TLS.

    Before the command they have defaults, and variables of the environment.
    """
    server = click.option(
        "--server",
        metavar="ADDRESS",
        default=default_server,
        envvar="TRUNKLINE_SERVER" if env else None,
        show_default=env,
        show_envvar=env,
        help="The server: HOST:PORT, https://HOST:PORT, dns:///HOST:PORT or unix:PATH "
        "(TRUNKLINE_SERVER).",
    )
    token = click.option(
        "--token",
        metavar="TOKEN",
        envvar="TRUNKLINE_TOKEN" if env else None,
        show_envvar=env,
        help="The token to show the server (better: TRUNKLINE_TOKEN, which no process list shows).",
    )
    timeout = click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=default_timeout,
        show_default=env,
        help="How long to wait for one answer.",
    )
    return lambda function: server(token(timeout(tls_options(env=env)(function))))


def tls_options(*, env: bool) -> Callable[[Command], Command]:
    """Makes `--ca`, `--client-cert` and `--client-key`; `tls_files` takes them up."""
    ca, cert, key = (
        click.option(
            f"--{name.replace('_', '-')}",
            metavar="FILE",
            envvar=f"TRUNKLINE_{name.upper()}" if env else None,
            show_envvar=env,
            help=f"{text} (TRUNKLINE_{name.upper()}).",
        )
        for name, text in _TLS_FILES.items()
    )
    return lambda function: ca(cert(key(function)))


def client_command(function: Command) -> Command:
    """Gives a command `--server`, `--token`, `--timeout`, the files of TLS and `--json`.

    The function is called with a connected client and the output, then with its own parameters.
    """

    @server_options(default_server=None, default_timeout=None, env=False)
    @click.option(
        "--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output."
    )
    @functools.wraps(function)
    def command(
        server: str | None,
        token: str | None,
        timeout: float | None,
        as_json: bool,
        **parameters: Any,
    ) -> Any:
        before = click.get_current_context().find_object(Connection)
        assert before is not None, "every command is one of the main group's"
        address = server or before.server
        shown = token or before.token or stored_key(address)
        tls = {**before.tls, **tls_files(parameters)}
        try:
            client = Client(address, token=shown, timeout=timeout or before.timeout, **tls)
            with closed_in_order(client), _retries_on_stderr():
                return function(client, Output(as_json), **parameters)
        except InvalidArgument as error:
            if error.field != "server":
                raise
            known = error.reason in (NO_SUCH_HOST, NO_TLS)
            raise Failure(error.message + ("" if known else _answers(address, tls))) from error

    return command


@contextmanager
def closed_in_order(client: Client) -> Iterator[Client]:
    """Closes the client when the block ends, unless a signal has (see `end_at_once`)."""
    with ExitStack() as stack:
        stack.enter_context(client)
        try:
            yield client
        except KeyboardInterrupt:
            stack.pop_all()
            raise


def tls_files(parameters: dict[str, Any]) -> dict[str, str]:
    """Takes the files of TLS out of a command's parameters, and returns those that were named."""
    files = {name: parameters.pop(name) for name in _TLS_FILES}
    return {name: path for name, path in files.items() if path}


def _answers(address: str, tls: Mapping[str, str]) -> str:
    """Says whether a server runs where one would be that was meant by a wrong address."""
    meant = suggested_address(address)
    meant = other_port(meant) if meant == address else meant
    if meant is None:
        return ""
    with Client(meant, timeout=_PROBE_SECONDS, **tls) as client:
        if client.ready():
            return f" (a server answers at {meant})"
    return f" (no server answers at {meant}; `trunkline serve` starts one)"


@contextmanager
def _retries_on_stderr() -> Iterator[None]:
    """Prints what the client says of its retries on standard error while a command runs."""
    logger = logging.getLogger("trunkline")
    handler, level = _Stderr(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


class _Stderr(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        echo(record.getMessage(), err=True)
