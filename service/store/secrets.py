"""Secrets that servers which share a store have in common."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select

from service.store import schema


def kept_secret(connection: Connection, name: str, made: bytes) -> bytes:
    """Returns the secret of a name, which is this one from now on if there is none yet."""
    table = schema.secrets
    kept: bytes | None = connection.scalar(select(table.c.value).filter_by(name=name))
    if kept is not None:
        return kept
    connection.execute(insert(table).values(name=name, value=made))
    return made
