"""`trunkline keys …` and `whoami`: who may call the server, and what for."""

import os
import re
from pathlib import Path

import click

from trunkline.cli.connection import client_command, name_argument
from trunkline.cli.output import Failure, Output, confirm
from trunkline.cli.server import key_made_in
from trunkline.clients.client import Client
from trunkline.resources import InvalidName, KeyName, TenantName
from trunkline.values.keys import Key, NewKey, Role, WhoAmI

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION = re.compile(r"([0-9]+)([smhd])")
_FIRST = "This is the first key of the server. From now on every call needs one. Make it?"
_NEVER = "-"


def _seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Reads a time such as 90d."""
    match = _DURATION.fullmatch(value or "")
    if value is None:
        return None
    if match is None or not int(match[1]):
        raise click.BadParameter(f"{value!r} is no number of s, m, h or d, such as 90d", ctx, param)
    return float(int(match[1]) * _UNITS[match[2]])


def _tenant(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else TenantName.read(value).tenant
    except InvalidName as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _folder_or_address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and "://" not in value:
        click.Path(file_okay=False, exists=True).convert(value, param, ctx)
    return value


def _new_file(ctx: click.Context, param: click.Parameter, value: str | None) -> Path | None:
    """Takes a path where nothing is yet: a key that cannot be written down would be lost."""
    if value is not None and Path(value).exists():
        raise Failure(f"{value} exists already")
    return None if value is None else Path(value)


_key_argument = name_argument("key", lambda text: KeyName.read(text).key, "KEY")
_tenant_option = click.option("--tenant", callback=_tenant, metavar="TENANT", help="Whose keys.")


@click.group()
def keys() -> None:
    """Make, list, show, rotate and revoke keys: who may call the server, and what for."""


@keys.command()
@click.option(
    "--tenant",
    callback=_tenant,
    metavar="TENANT",
    help="Whose key it is (default: the caller's own; of an operator: none, which may do all, or "
    "with --role metrics read /metrics alone).",
)
@click.option(
    "--role",
    "roles",
    multiple=True,
    type=click.Choice([role.value for role in Role if role is not Role.OPERATE]),
    help="What it is for (repeatable).",
)
@click.option(
    "--head",
    "heads",
    multiple=True,
    metavar="PATTERN",
    help="A head that it is good for, or 'prefix-*' (repeatable; default: all of the tenant).",
)
@click.option("--note", default="", metavar="TEXT", help="What it is for, for people to read.")
@click.option(
    "--expires-in",
    "lifetime",
    callback=_seconds,
    metavar="TIME",
    help="Such as 90d (default: never).",
)
@click.option(
    "--output",
    callback=_new_file,
    metavar="FILE",
    help="Write the key into a new file that only you can read, instead of showing it.",
)
@click.option(
    "--data-dir",
    callback=_folder_or_address,
    metavar="DIR",
    help="Make an operator's key in a server's own store, without asking the server. May be "
    "the address of a PostgreSQL database, too.",
)
@click.option("--yes", is_flag=True, help="Do not ask whether the first key is meant.")
@client_command
def create(
    client: Client,
    out: Output,
    tenant: str | None,
    roles: tuple[str, ...],
    heads: tuple[str, ...],
    note: str,
    lifetime: float | None,
    output: Path | None,
    data_dir: str | None,
    yes: bool,
) -> None:
    """Make a key, and show it this once.

    The first key of a server must be an operator's (without --tenant). On loopback it is what makes
    every call need a key.
    """
    if data_dir is not None:
        if tenant or roles or heads:
            raise click.UsageError("--data-dir makes an operator's key; leave out the others.")
        _show(out, key_made_in(data_dir, note, lifetime), output)
        return
    if not client.who_am_i().keys_required:
        confirm(_FIRST, yes=yes)
    made = client.create_key(tenant, roles, heads=heads, note=note, lifetime_seconds=lifetime)
    _show(out, made, output)


@keys.command("list")
@_tenant_option
@client_command
def list_keys(client: Client, out: Output, tenant: str | None) -> None:
    """List keys, oldest first: a tenant's, or all that may be seen."""
    out.listing(
        "keys",
        client.list_keys(tenant),
        {
            "key": _id,
            "tenant": lambda row: row.tenant.removeprefix("tenants/") or _NEVER,
            "roles": lambda row: row.roles,
            "heads": lambda row: row.heads or _NEVER,
            "state": _state,
            "used": lambda row: row.last_use_time,
            "note": lambda row: row.note or _NEVER,
        },
    )


@keys.command()
@_key_argument
@client_command
def show(client: Client, out: Output, key: str) -> None:
    """Show a key, without its text."""
    _print_key(out, client.get_key(key))


@keys.command()
@_key_argument
@click.option(
    "--overlap",
    callback=_seconds,
    metavar="TIME",
    help="How long the old key is good beside the new one (default: 1d).",
)
@click.option(
    "--output",
    callback=_new_file,
    metavar="FILE",
    help="Write the key into a new file that only you can read, instead of showing it.",
)
@client_command
def rotate(
    client: Client, out: Output, key: str, overlap: float | None, output: Path | None
) -> None:
    """Make a key that may do what another may, which goes on for a while."""
    _show(out, client.rotate_key(key, overlap_seconds=overlap), output)


@keys.command()
@_key_argument
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def revoke(client: Client, out: Output, key: str, yes: bool) -> None:
    """Take a key out of use, for good and at once."""
    confirm(f"Revoke the key {key}? Whoever uses it is refused at once.", yes=yes)
    revoked = client.revoke_key(key)
    out.result({"key": revoked}, f"revoked {_id(revoked)}")


@click.command()
@client_command
def whoami(client: Client, out: Output) -> None:
    """Say whose key is shown, and what it may do."""
    me = client.who_am_i()
    if out.as_json or me.key is not None:
        _print_me(out, me)
    else:
        out.result(me, "no key is asked for: whoever reaches the server may do everything")


def _print_me(out: Output, me: WhoAmI) -> None:
    if out.as_json or me.key is None:
        out.document(me)
    else:
        out.facts(_facts(me.key))


def _print_key(out: Output, key: Key) -> None:
    if out.as_json:
        out.document({"key": key})
    else:
        out.facts(_facts(key))


def _facts(key: Key) -> dict[str, object]:
    return {
        "key": _id(key),
        "tenant": key.tenant.removeprefix("tenants/") or "all",
        "roles": key.roles,
        "heads": key.heads or "all",
        "note": key.note or None,
        "state": _state(key),
        "made": key.create_time,
        "expires": key.expire_time,
        "used": key.last_use_time,
    }


def _show(out: Output, made: NewKey, output: Path | None) -> None:
    if output is not None:
        _write(output, made.text)
    document: dict[str, object] = {"key": made.key}
    if made.rotated is not None:
        document["rotated"] = made.rotated
    if output is None:
        document["text"] = made.text
    out.result(document, str(output) if output else made.text)
    if output is None:
        out.say("This is shown once. Keep it where only its bearer can read it.")
    if made.rotated is not None and made.rotated.expire_time is not None:
        until = made.rotated.expire_time
        out.say(f"The old key, {_id(made.rotated)}, is good until {until:%Y-%m-%d %H:%M:%S} UTC.")


def _write(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"{text}\n")


def _id(key: Key) -> str:
    return key.name.removeprefix("keys/")


def _state(key: Key) -> str:
    if key.revoke_time is not None:
        return "revoked"
    return "in use" if key.expire_time is None else f"until {key.expire_time:%Y-%m-%d %H:%M}"
