"""What a check looks at, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, select

from service.store import schema
from trunkline.values.notices import Notice

BACKUP = "go back to a backup"
RESTORE = "go back to a backup, or save what can be read: sqlite3 trunkline.db .recover"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, where, and what to do about it.

    Attributes:
        head: its resource in short, `tenant/head`; empty where none is meant.
        version: 0 where none is meant.
        digest: digest of an example's input.
        label: label of that example.
        check: the name of the check that found it.
    """

    words: str
    remedy: str
    head: str = ""
    version: int = 0
    digest: str = ""
    label: str | None = None
    check: str = ""


class HeadName(NamedTuple):
    """A head, and its names."""

    uid: str
    tenant_id: int
    tenant: str
    name: str
    fingerprint: str
    active_version: int

    @property
    def resource(self) -> str:
        """``tenant/head``."""
        return f"{self.tenant}/{self.name}"


@dataclass(frozen=True)
class Store:
    """A store that is being checked.

    Attributes:
        folder: the data directory; None for a store in PostgreSQL.
        advance: is told how much of how much was looked at.
        notices: what could not be looked at, for the checks to add to.
    """

    connection: Connection
    folder: Path | None
    advance: Callable[[int, int], None] = lambda done, total: None
    notices: list[Notice] = field(default_factory=list)

    def heads(self) -> list[HeadName]:
        """Returns all heads, by tenant and name."""
        heads, tenants = schema.heads.c, schema.tenants.c
        rows = self.connection.execute(
            select(
                heads.uid,
                heads.tenant_id,
                tenants.name,
                heads.name,
                heads.fingerprint,
                heads.active_version,
            )
            .join_from(schema.heads, schema.tenants)
            .order_by(tenants.name, heads.name)
        )
        return [HeadName(*row) for row in rows]

    def heads_by_uid(self) -> Mapping[str, HeadName]:
        """Returns all heads by their uids."""
        return {head.uid: head for head in self.heads()}


Look = Callable[[Store], Iterator[Finding]]
"""Yields what is wrong. Each statement is a transaction of its own and is read to its end, so that
no checkpoint of a running server waits for a check; what is large is read row by row."""


class Check(NamedTuple):
    """A kind of fault.

    Attributes:
        needs_schema: whether it reads the tables of this release.
        of_files: whether it is about SQLite, or files beside it.
    """

    name: str
    look: Look
    needs_schema: bool = True
    of_files: bool = False
