"""Tenants: what they are said to store is what they store."""

from __future__ import annotations

from collections.abc import Iterator

from service.check.findings import Finding, Store
from service.store.tenants import counted, list_tenants

_AT_ONCE = 100


def counts(store: Store) -> Iterator[Finding]:
    """Finds tenants whose examples or stored bytes are others than were counted."""
    after = ""
    while tenants := list_tenants(store.connection, after, _AT_ONCE):
        for tenant in tenants:
            examples, nbytes = counted(store.connection, tenant.id)
            if (examples, nbytes) != (tenant.examples, tenant.stored_bytes):
                mended = f"examples = {examples}, stored_bytes = {nbytes} WHERE id = {tenant.id}"
                yield Finding(
                    f"{examples} examples and {nbytes} bytes are stored, {tenant.examples} and "
                    f"{tenant.stored_bytes} were counted: its quotas count the latter",
                    f"stop the server, and sqlite3 trunkline.db 'UPDATE tenants SET {mended}'",  # noqa: S608
                    f"{tenant.name}/",
                )
        after = tenants[-1].name
