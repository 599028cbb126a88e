"""What callers call their examples."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from service.store import schema
from service.store.sql import select_among


def find_external_ids(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, str]:
    """Returns the external ids of a head's examples by digest; those without one are left out."""
    table = schema.examples.c
    query = select(table.digest, table.external_id).where(
        table.head_uid == uid, table.external_id.is_not(None)
    )
    rows = select_among(connection, query, table.digest, digests)
    return {row.digest: row.external_id for row in rows}
