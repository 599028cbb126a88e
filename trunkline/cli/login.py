"""`trunkline login` and `logout`: a key that need not be given with each command."""

import os
import sys
from collections.abc import Callable
from typing import Any

import click

from trunkline.cli.connection import Connection, tls_files, tls_options
from trunkline.cli.output import Failure, Output
from trunkline.cli.stored_keys import drop_key, store_key
from trunkline.clients.client import Client
from trunkline.connection.addresses import check_address

_server_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--server",
    metavar="ADDRESS",
    help="The server: HOST:PORT, https://HOST:PORT, dns:///HOST:PORT or unix:PATH "
    "(TRUNKLINE_SERVER).",
)

_json_option: Callable[[Callable[..., Any]], Callable[..., Any]] = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON, and nothing else, on standard output."
)


@click.command()
@_server_option
@tls_options(env=False)
@_json_option
@click.pass_context
def login(ctx: click.Context, /, server: str | None, as_json: bool, **files: str | None) -> None:
    """Store a key for a server, so that later commands show it.

    The key is asked for, or read from standard input; no argument takes it, as process lists show
    those. The server is asked whether it is good. It is stored in a file that only you can read,
    and shown to no other address.
    """
    before = ctx.find_object(Connection)
    assert before is not None, "every command is one of the main group's"
    address, key = check_address(server or before.server), _asked_key()
    tls = {**before.tls, **tls_files(files)}
    with Client(address, token=key, timeout=before.timeout, **tls) as client:
        me = client.who_am_i()
    out, path = Output(as_json), store_key(address, key)
    whose = "no key is asked for there as yet"
    if me.key is not None:
        whose = me.key.tenant.removeprefix("tenants/") or "an operator"
    document = {"server": address, "file": str(path), "key": me.key}
    out.result(document, f"stored in {path}: the key for {address} ({whose})")
    if os.environ.get("TRUNKLINE_TOKEN"):
        out.say("TRUNKLINE_TOKEN is set, and goes before what is stored")


@click.command()
@_server_option
@_json_option
@click.pass_context
def logout(ctx: click.Context, server: str | None, as_json: bool) -> None:
    """Forget the key that is stored for a server; the key itself stays good."""
    before = ctx.find_object(Connection)
    assert before is not None, "every command is one of the main group's"
    address = check_address(server or before.server)
    if not drop_key(address):
        raise Failure(f"no key is stored for {address}")
    Output(as_json).result({"server": address}, f"the key for {address} is stored no more")


def _asked_key() -> str:
    if sys.stdin.isatty():
        key: str = click.prompt("Key", hide_input=True, err=True)
    else:
        key = sys.stdin.readline()
    if not key.strip():
        raise Failure("no key was given")
    return key.strip()
