"""What tenants used, by the hour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields

from sqlalchemy import Connection, delete, insert, select, update

from service.store import schema

HOUR = 3600

Amounts = Mapping[tuple[str, int], "Used"]
"""What was used, by tenant and hour."""


@dataclass(slots=True)
class Used:
    """What was used.

    Attributes:
        rows: that were computed, views included.
        cached_rows: whose embedding was in memory.
        cost: units.
        device_seconds: share of the time of forward passes.
        input_bytes: of the inputs that were sent.
    """

    rows: int = 0
    cached_rows: int = 0
    cost: float = 0.0
    device_seconds: float = 0.0
    input_bytes: int = 0

    def __iadd__(self, more: Used) -> Used:
        for name, value in zip(_AMOUNTS, astuple(more), strict=True):
            setattr(self, name, getattr(self, name) + value)
        return self


_AMOUNTS = tuple(field.name for field in fields(Used))


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """What a tenant used within an hour, which begins at `hour`; `id` orders them."""

    id: int
    tenant: str
    hour: int
    used: Used


def add_usage(connection: Connection, amounts: Amounts, keep_from: int = 0) -> None:
    """Adds what was used, and deletes what is older than wanted.

    A tenant is counted that has a row: from its first head, key or quota on.

    Args:
        keep_from: the first hour that is kept.
    """
    table = schema.usage
    names = sorted({tenant for tenant, _ in amounts})
    found = select(schema.tenants.c.name, schema.tenants.c.id)
    ids = {name: number for name, number in connection.execute(found) if name in names}
    for (tenant, hour), used in amounts.items():
        if tenant not in ids:
            continue
        values = dict(zip(_AMOUNTS, astuple(used), strict=True))
        more = {name: table.c[name] + value for name, value in values.items()}
        mine = (table.c.tenant_id == ids[tenant], table.c.hour == hour)
        if not connection.execute(update(table).where(*mine).values(**more)).rowcount:
            row = {"tenant_id": ids[tenant], "hour": hour}
            connection.execute(insert(table).values(**row, **values))
    connection.execute(delete(table).where(table.c.hour < keep_from))


def list_usage(
    connection: Connection, tenant: str | None, begin: int, end: int, after: int, limit: int
) -> list[UsageRecord]:
    """Returns what was used in the hours that begin in a time, in the order of their first use.

    Args:
        tenant: whose; None for that of all.
        begin, end: seconds since 1970; `end` is not included.
        after: `id` of the last record of the page before.
    """
    table = schema.usage
    query = (
        select(table, schema.tenants.c.name)
        .join_from(table, schema.tenants)
        .where(table.c.id > after, table.c.hour >= begin, table.c.hour < end)
        .order_by(table.c.id)
        .limit(limit)
    )
    if tenant is not None:
        query = query.where(schema.tenants.c.name == tenant)
    return [
        UsageRecord(row["id"], row["name"], row["hour"], Used(*(row[name] for name in _AMOUNTS)))
        for row in (found._mapping for found in connection.execute(query))
    ]
