"""Tenants: what they may use, what they store, and the end of all that is theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, LargeBinary, Select, cast, delete, func, or_, select, update

from service.errors import StorageQuotaExceeded, no_tenant
from service.store import schema
from service.store.changes import changed_in
from service.store.heads import delete_head, tenant_id_of
from service.store.quotas import QUOTAS, Quotas

_DEFAULTS = "quota_defaults"
_SIZES = {
    schema.examples: (schema.examples.c.input,),
    schema.captures: (schema.captures.c.input,),
    schema.versions: (schema.versions.c.safetensors,),
    schema.members: (schema.members.c.digests, schema.members.c.labels),
    schema.tails: (schema.tails.c.safetensors,),
    schema.embeddings: (schema.embeddings.c.vector,),
}
_COUNTED = {"heads": schema.heads, "keys": schema.access_keys}
_COLUMNS = (
    *schema.tenants.c,
    *(
        select(func.count())
        .where(table.c.tenant_id == schema.tenants.c.id)
        .scalar_subquery()
        .label(name)
        for name, table in _COUNTED.items()
    ),
)


@dataclass(frozen=True, slots=True)
class TenantRecord:
    """A tenant as stored.

    Attributes:
        quotas: its own.
        heads, keys, examples, stored_bytes: what it has; keys out of use included.
    """

    id: int
    name: str
    created_at: float
    quotas: Quotas
    heads: int
    keys: int
    examples: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class Deleted:
    """What went with a tenant.

    Attributes:
        tenant: as it was.
        uids: of its heads.
        versions, feedback, trainings, embeddings, usage_hours: how many rows.
    """

    tenant: TenantRecord
    uids: tuple[str, ...]
    versions: int
    feedback: int
    trainings: int
    embeddings: int
    usage_hours: int


def get_tenant(connection: Connection, name: str) -> TenantRecord:
    """Returns a tenant.

    Raises:
        NotFound: it has neither heads, keys nor quotas, and never had.
    """
    query = select(*_COLUMNS).where(schema.tenants.c.name == name)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise no_tenant(name)
    return _tenant(row._mapping)


def list_tenants(connection: Connection, after: str, limit: int) -> list[TenantRecord]:
    """Returns tenants after `after`, by name."""
    name = schema.tenants.c.name
    query = select(*_COLUMNS).where(name > after).order_by(name).limit(limit)
    return [_tenant(row._mapping) for row in connection.execute(query)]


def own_quotas(connection: Connection) -> dict[str, Quotas]:
    """Returns the quotas of those tenants that have any of their own; a damaged name as it is."""
    table = schema.tenants.c
    columns = [table[f"quota_{name}"] for name in QUOTAS]
    any_of_them = or_(*(column.is_not(None) for column in columns))
    query = select(cast(table.name, LargeBinary), *columns).where(any_of_them)
    return {name.decode(errors="replace"): Quotas(*own) for name, *own in connection.execute(query)}


def update_quotas(
    connection: Connection, name: str, changes: Mapping[str, float | None]
) -> TenantRecord:
    """Changes a tenant's own quotas, and makes the tenant if there is none.

    Args:
        changes: by the names of `Quotas`; None for the server's default.
    """
    tenant_id = tenant_id_of(connection, name)
    if changes:
        values = {f"quota_{quota}": value for quota, value in changes.items()}
        table = schema.tenants
        connection.execute(update(table).where(table.c.id == tenant_id).values(**values))
    record = get_tenant(connection, name)
    changed_in(connection).quotas[name] = record.quotas
    return record


def delete_tenant(connection: Connection, name: str) -> Deleted:
    """Deletes a tenant with all that is its own.

    Raises:
        NotFound: there is none.
    """
    tenant = get_tenant(connection, name)
    heads = connection.execute(
        select(schema.heads.c.uid, schema.heads.c.name).filter_by(tenant_id=tenant.id)
    ).all()
    counts = {
        table.name: _count_of_heads(connection, table, tenant.id)
        for table in (schema.versions, schema.feedback, schema.jobs)
    }
    counts |= {
        table.name: _count(connection, select(table.c.id).filter_by(tenant_id=tenant.id))
        for table in (schema.embeddings, schema.usage)
    }
    # First: what is gone is not looked for head by head.
    for table in (schema.embeddings, schema.cache_secrets):
        connection.execute(delete(table).where(table.c.tenant_id == tenant.id))
    for _, head in heads:
        delete_head(connection, name, head)
    changed = changed_in(connection)
    changed.keys.update(
        connection.scalars(select(schema.access_keys.c.id).filter_by(tenant_id=tenant.id))
    )
    for table in (schema.access_keys, schema.usage):
        connection.execute(delete(table).where(table.c.tenant_id == tenant.id))
    connection.execute(delete(schema.tenants).where(schema.tenants.c.id == tenant.id))
    changed.quotas[name] = Quotas()
    changed.gone.add(name)
    return Deleted(
        tenant,
        tuple(uid for uid, _ in heads),
        counts["versions"],
        counts["feedback"],
        counts["jobs"],
        counts["embeddings"],
        counts["usage"],
    )


def use_defaults(connection: Connection, defaults: Quotas) -> Connection:
    """Has writes on this connection check against these where a tenant has none of its own."""
    connection.info[_DEFAULTS] = defaults
    return connection


def counted(connection: Connection, tenant_id: int) -> tuple[int, int]:
    """Counts a tenant's examples and stored bytes anew, as the triggers of the tables do."""
    nbytes = 0
    for table, sizes in _SIZES.items():
        query = select(func.sum(sum(func.coalesce(func.length(size), 0) for size in sizes)))
        if "tenant_id" in table.c:
            query = query.where(table.c.tenant_id == tenant_id)
        else:
            query = query.select_from(table.join(schema.heads))
            query = query.where(schema.heads.c.tenant_id == tenant_id)
        nbytes += connection.scalar(query) or 0
    return _count_of_heads(connection, schema.examples, tenant_id), nbytes


@contextmanager
def within_quotas(connection: Connection, tenant_id: int) -> Iterator[None]:
    """Refuses what a block makes a tenant store beyond its quotas; what does not grow may go on.

    Raises:
        StorageQuotaExceeded: the write is to be undone.
    """
    before = _stored(connection, tenant_id)
    yield
    row = _stored(connection, tenant_id)
    defaults: Quotas = connection.info.get(_DEFAULTS, Quotas())
    quotas = _own(row).over(defaults)
    for name in ("examples", "stored_bytes"):
        limit, value = getattr(quotas, name), row[name]
        if limit and value > max(limit, before[name]):
            raise StorageQuotaExceeded(
                f"{name}: at most {limit} of tenants/{row['name']}, would be {value}; delete "
                "some, or ask the operator for more",
                field=name,
                limit=limit,
                value=value,
                subject=f"tenants/{row['name']}",
            )


def _stored(connection: Connection, tenant_id: int) -> Mapping[Any, Any]:
    return connection.execute(select(schema.tenants).filter_by(id=tenant_id)).one()._mapping


def _count_of_heads(connection: Connection, table: Any, tenant_id: int) -> int:
    heads = select(schema.heads.c.uid).filter_by(tenant_id=tenant_id)
    return _count(connection, select(table.c.head_uid).where(table.c.head_uid.in_(heads)))


def _count(connection: Connection, rows: Select[Any]) -> int:
    return connection.scalar(select(func.count()).select_from(rows.subquery())) or 0


def _own(row: Mapping[Any, Any]) -> Quotas:
    return Quotas(*(row[f"quota_{name}"] for name in QUOTAS))


def _tenant(row: Mapping[Any, Any]) -> TenantRecord:
    return TenantRecord(
        id=row["id"],
        name=row["name"],
        created_at=row["created_at"],
        quotas=_own(row),
        heads=row["heads"],
        keys=row["keys"],
        examples=row["examples"],
        stored_bytes=row["stored_bytes"],
    )
