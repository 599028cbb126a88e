"""`trunkline audit`: what was changed and who was refused."""

import re
from datetime import UTC, datetime, timedelta
from itertools import islice

import click

from trunkline.cli.connection import client_command
from trunkline.cli.output import Output
from trunkline.clients.client import Client
from trunkline.resources import InvalidName, KeyName, TenantName
from trunkline.values.audit import AuditEntry

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_SHOWN_OF_KEY = 8


def _time(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Reads a time, or how long it is ago."""
    if value is None:
        return None
    if ago := _AGO.fullmatch(value):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        time = datetime.fromisoformat(value)
    except ValueError as error:
        words = f"{value!r} is no time such as 2026-11-30, 2026-11-30T09:00 or 24h (ago)"
        raise click.BadParameter(words, ctx, param) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _tenant(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else TenantName.read(value).tenant
    except InvalidName as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _key(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    try:
        return None if value is None else KeyName.read(value).key
    except InvalidName as error:
        raise click.BadParameter(str(error), ctx, param) from error


@click.command()
@click.argument("tenant", required=False, callback=_tenant, metavar="[TENANT]")
@click.option(
    "--since", callback=_time, metavar="TIME", help="From a time in UTC on, or 24h ago, 7d ago."
)
@click.option("--until", callback=_time, metavar="TIME", help="Before a time.")
@click.option("--key", callback=_key, metavar="KEY", help="What this key did: its id.")
@click.option("--method", metavar="METHOD", help="Such as DeleteHead.")
@click.option(
    "--limit",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Rows to show; 0 for all.",
)
@client_command
def audit(
    client: Client,
    out: Output,
    tenant: str | None,
    since: datetime | None,
    until: datetime | None,
    key: str | None,
    method: str | None,
    limit: int,
) -> None:
    """Show what was changed and who was refused, newest first: of a tenant, or of all."""
    found = client.audit(tenant, since=since, until=until, key=key, method=method)
    out.listing(
        "entries",
        islice(found, limit or None),
        {
            "time": lambda row: f"{row.time:%Y-%m-%d %H:%M:%S}",
            "key": lambda row: row.key.removeprefix("keys/")[:_SHOWN_OF_KEY] or "-",
            "method": lambda row: row.method or "-",
            "resource": _resource,
            "outcome": lambda row: row.outcome,
            "from": lambda row: row.peer or row.transport,
        },
    )


def _resource(row: AuditEntry) -> str:
    name = row.resource.removeprefix("tenants/").replace("/heads/", "/") or "-"
    return f"{name} (+{row.dropped} refusals not kept)" if row.dropped else name
