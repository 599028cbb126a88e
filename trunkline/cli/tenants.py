"""`trunkline tenants …` and `usage`: what tenants may use, what they used, and their end."""

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from trunkline.cli.connection import client_command, optional_tenant_argument, tenant_argument
from trunkline.cli.output import Output, confirm
from trunkline.clients.client import Client
from trunkline.values.tenants import Quotas, Tenant

DEFAULT = "default"
_NONE = "-"
_NAMES = tuple(field.name for field in fields(Quotas))


if TYPE_CHECKING:
    _Type = click.ParamType[object]
else:
    _Type = click.ParamType  # generic from click 8.4 on only


class _Quota(_Type):
    """A number, or the word for the server's own."""

    name = "number"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self._kind = kind

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> object:
        if value == DEFAULT:
            return value
        try:
            return self._kind(str(value))
        except ValueError:
            return self.fail(f"{value!r} is neither a number nor {DEFAULT!r}", param, ctx)


@click.group()
def tenants() -> None:
    """List and show tenants, say what they may use, and delete them."""


@tenants.command("list")
@client_command
def list_tenants(client: Client, out: Output) -> None:
    """List tenants by name; of operators."""
    out.listing(
        "tenants",
        client.list_tenants(),
        {
            "tenant": _id,
            "heads": lambda row: row.heads,
            "examples": lambda row: row.examples,
            "bytes": lambda row: row.stored_bytes,
            "keys": lambda row: row.keys,
            "own quotas": lambda row: _own(row) or _NONE,
        },
    )


@tenants.command()
@tenant_argument
@client_command
def show(client: Client, out: Output, tenant: str) -> None:
    """Show what a tenant stores, and what it may use."""
    _print(out, client.get_tenant(tenant))


@tenants.command("set")
@tenant_argument
@click.option("--cost-per-second", type=_Quota(float), help="Cost units that come in a second.")
@click.option("--cost-burst", type=_Quota(float), help="Cost units that are kept for later.")
@click.option("--rows-in-flight", type=_Quota(int), help="Rows inside the pipeline at a time.")
@click.option("--examples", type=_Quota(int), help="Examples of all heads.")
@click.option(
    "--stored-bytes", type=_Quota(int), help="Bytes of inputs, embeddings, weights and tails."
)
@client_command
def set_quotas(client: Client, out: Output, tenant: str, **quotas: float | str | None) -> None:
    """Say what a tenant may use: a number, 0 for no bound, or 'default' for the server's own.

    A cost unit is what an image of 224 x 224 pixels takes. A tenant that is not there yet is made.
    """
    given = {name: value for name, value in quotas.items() if value is not None}
    if not given:
        raise click.UsageError("Nothing is to be set: give at least one option.")
    numbers = {name: value for name, value in given.items() if not isinstance(value, str)}
    values = Quotas(**numbers)  # type: ignore[arg-type]
    defaults = [name for name in given if name not in numbers]
    _print(out, client.update_tenant(tenant, values, defaults=defaults))


@tenants.command()
@tenant_argument
@click.option("--yes", is_flag=True, help="Do not ask whether it is meant.")
@client_command
def delete(client: Client, out: Output, tenant: str, yes: bool) -> None:
    """Delete a tenant with all that is its own, for good: heads, examples, feedback, keys."""
    confirm(f"Delete the tenant {tenant} with all that it has? There is no way back.", yes=yes)
    gone = client.delete_tenant(tenant)
    had = gone.tenant
    out.result(
        gone,
        f"deleted {tenant}: {had.heads:,} heads, {gone.versions:,} versions, {had.examples:,} "
        f"examples, {gone.embeddings:,} embeddings, {gone.feedback:,} items of feedback, "
        f"{gone.trainings:,} trainings, {had.keys:,} keys, {gone.usage_hours:,} hours of usage; "
        f"{had.stored_bytes:,} bytes",
    )


@click.command()
@optional_tenant_argument
@click.option(
    "--days",
    type=click.IntRange(1, 36_500),
    default=1,
    show_default=True,
    help="How many days back.",
)
@client_command
def usage(client: Client, out: Output, tenant: str | None, days: int) -> None:
    """Say what a tenant used by the hour, or all tenants that may be seen."""
    start = datetime.now(UTC) - timedelta(days=days)
    out.listing(
        "usage",
        client.get_usage(tenant, start=start),
        {
            "tenant": lambda row: row.tenant.removeprefix("tenants/"),
            "hour": lambda row: f"{row.hour:%Y-%m-%d %H:%M}",
            "rows": lambda row: row.rows,
            "cached": lambda row: row.cached_rows,
            "cost": lambda row: row.cost,
            "device s": lambda row: row.device_seconds,
            "bytes": lambda row: row.input_bytes,
        },
    )


def _print(out: Output, tenant: Tenant) -> None:
    if out.as_json:
        out.document({"tenant": tenant})
        return
    out.facts(
        {
            "tenant": _id(tenant),
            "made": tenant.create_time,
            "heads": tenant.heads,
            "keys": tenant.keys,
            "examples": _of(tenant.examples, tenant.quotas.examples),
            "stored bytes": _of(tenant.stored_bytes, tenant.quotas.stored_bytes),
            "cost per second": _bound(tenant.quotas.cost_per_second),
            "cost burst": _bound(tenant.quotas.cost_burst),
            "rows in flight": _bound(tenant.quotas.rows_in_flight),
            "set for it alone": _own(tenant) or _NONE,
        }
    )


def _of(value: int, limit: int | None) -> str:
    return f"{value:,} of {limit:,}" if limit else f"{value:,}"


def _bound(limit: float | None) -> str:
    return f"{limit:,.12g}" if limit else "no bound"


def _own(tenant: Tenant) -> str:
    own = ((name, getattr(tenant.own_quotas, name)) for name in _NAMES)
    return ", ".join(f"{name} {value:,.12g}" for name, value in own if value is not None)


def _id(tenant: Tenant) -> str:
    return tenant.name.removeprefix("tenants/")
