"""Tenants: what they are said to store is what they store."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from service.check.findings import Finding, Store
from service.store import schema
from service.store.tenants import counted


def counts(store: Store) -> Iterator[Finding]:
    """Finds tenants whose examples or stored bytes are others than were counted."""
    table = schema.tenants.c
    client = "psql -c" if store.folder is None else "sqlite3 trunkline.db"
    query = select(table.id, table.name, table.examples, table.stored_bytes).order_by(table.id)
    for tenant in store.connection.execute(query).all():  # by id: a name may be damaged
        examples, nbytes = counted(store.connection, tenant.id)
        if (examples, nbytes) != (tenant.examples, tenant.stored_bytes):
            mended = f"examples = {examples}, stored_bytes = {nbytes} WHERE id = {tenant.id}"
            yield Finding(
                f"{examples} examples and {nbytes} bytes are stored, {tenant.examples} and "
                f"{tenant.stored_bytes} were counted: its quotas count the latter",
                f"stop the server, and {client} 'UPDATE tenants SET {mended}'",  # noqa: S608
                f"{tenant.name}/",
            )
