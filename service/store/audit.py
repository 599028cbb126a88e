"""The audit log: what was changed, and who was refused. Rows are added; old ones go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from service.store import schema


@dataclass(frozen=True, slots=True)
class AuditRow:
    """One call, with nothing of what it carries.

    Attributes:
        at: when it ended, in seconds since 1970.
        key: id of the key that was shown; "" where none was, or none that is good.
        tenant: the key's; of a key without one, that which the request names.
        resource: the name that the request gives, or "".
        outcome: a gRPC code, such as ``OK`` or ``PERMISSION_DENIED``.
        transport: ``grpc``, ``rest``, or ``store`` for what was done on the store itself.
        peer: address of the client.
        dropped: how many refusals before it were not kept, as too many came at once.
    """

    at: float
    key: str
    tenant: str
    method: str
    resource: str
    outcome: str
    request_id: str
    transport: str
    peer: str
    dropped: int = 0


@dataclass(frozen=True, slots=True)
class StoredAuditRow:
    """A row and its number, by which lists are ordered."""

    number: int
    row: AuditRow


def add_audit_rows(connection: Connection, rows: Sequence[AuditRow]) -> None:
    """Adds rows."""
    connection.execute(insert(schema.audit), [asdict(row) for row in rows])


def list_audit_rows(
    connection: Connection,
    *,
    tenant: str | None,
    key: str | None = None,
    method: str | None = None,
    since: float | None = None,
    until: float | None = None,
    before: int = 0,
    limit: int,
) -> list[StoredAuditRow]:
    """Returns rows, the newest first.

    Args:
        tenant: whose; None for all.
        since, until: seconds since 1970, from the one up to the other; None for no bound.
        before: number of the last row of the page before; 0 for the first page.
    """
    columns = schema.audit.c
    query = select(*columns)
    for column, wanted in ((columns.tenant, tenant), (columns.key, key), (columns.method, method)):
        if wanted is not None:
            query = query.where(column == wanted)
    if since is not None:
        query = query.where(columns.at >= since)
    if until is not None:
        query = query.where(columns.at < until)
    if before:
        query = query.where(columns.number < before)
    query = query.order_by(columns.number.desc()).limit(limit)
    return [_record(row._mapping) for row in connection.execute(query)]


def delete_audit_rows(connection: Connection, before: float, limit: int) -> int:
    """Deletes rows that are older than a time, at most so many; returns how many.

    Args:
        before: seconds since 1970.
    """
    columns = schema.audit.c
    oldest = select(columns.number).where(columns.at < before).order_by(columns.at).limit(limit)
    return connection.execute(
        delete(schema.audit).where(columns.number.in_(oldest.scalar_subquery()))
    ).rowcount


def _record(row: Any) -> StoredAuditRow:
    values = dict(row)
    return StoredAuditRow(values.pop("number"), AuditRow(**values))
