"""The changes that servers which share a store tell one another, as rows in it.

Numbers rise in the order of the commits: PostgreSQL gives them out under a lock that is held until
then, so that no lower one appears after a higher one. The oldest rows go, so that a server may have
missed some: then it is told that nothing it holds is to be trusted.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, text

from service.store import schema
from service.store.changes import Changed
from service.store.quotas import Quotas
from service.store.tenants import own_quotas

KEPT = 10_000
"""Rows that stay for servers that are slow to read them: a few MB."""
TRIM_EVERY = 100
"""Rows after which old ones are looked for."""

CHANGES = "trunkline_changes"
"""PostgreSQL's channel that says that there are changes to read."""
_TURN = text("LOCK TABLE secrets IN SHARE UPDATE EXCLUSIVE MODE")
"""Lets one transaction at a time number its change. The table stands for the lock alone: it is not
written, so that no VACUUM holds it; and unlike an advisory lock, this one takes no snapshot."""

_SETS = ("heads", "live", "keys", "trainings", "gone", "outdated")


def append_change(connection: Connection, server: str, changed: Changed) -> None:
    """Notes what a write has changed, as its last step: others wait for it until the commit.

    Args:
        server: the name of who writes.
    """
    if connection.dialect.name == "postgresql":
        take_turn(connection)
        notify(connection, CHANGES)
    number = connection.execute(
        insert(schema.changes).values(server=server, changed=_packed(changed), at=time.time())
    ).inserted_primary_key[0]  # type: ignore[index]  # there is one
    if number % TRIM_EVERY == 0:
        table = schema.changes
        connection.execute(delete(table).where(table.c.number <= number - KEPT))


def take_turn(connection: Connection) -> None:
    """Has no other transaction on PostgreSQL note a change until this one has ended.

    Whoever loses against others again and again calls it first, and sees all that they have done.
    """
    connection.execute(_TURN)


def last_change(connection: Connection) -> int:
    """Returns the number of the newest row; 0 for none."""
    return connection.scalar(select(func.max(schema.changes.c.number))) or 0


def notify(connection: Connection, channel: str) -> None:
    """Tells who listens on a channel of PostgreSQL, once this is committed."""
    connection.execute(select(func.pg_notify(channel, "")))


def changes_after(connection: Connection, number: int) -> tuple[list[Changed], int]:
    """Returns what was changed after a row, oldest first, and the number of the newest row."""
    table = schema.changes.c
    found = connection.execute(
        select(table.number, table.changed).where(table.number >= number).order_by(table.number)
    ).all()
    rows = [row for row in found if row.number > number]
    if not rows:
        return [], number
    try:
        changes = [_unpacked(row.changed) for row in rows]
    except (ValueError, TypeError, AttributeError):  # damaged: as if it had been missed
        changes = []
    # A transaction that was rolled back leaves a gap in PostgreSQL's numbers, which says nothing.
    # The oldest rows go first: none was missed if that is there up to which all was read.
    if not changes or found[0].number not in (number, number + 1):
        changes = [_everything(connection)]
    return changes, rows[-1].number


def clear_changes(connection: Connection) -> None:
    """Deletes all rows but the newest, by which numbers go on: no server holds anything yet."""
    newest = last_change(connection)
    connection.execute(delete(schema.changes).where(schema.changes.c.number < newest))


def _everything(connection: Connection) -> Changed:
    """Returns the change of whoever has missed some, with the values that memory holds."""
    return Changed(
        everything=True,
        keys=set(connection.scalars(select(schema.access_keys.c.id))),
        quotas=own_quotas(connection),
    )


def _packed(changed: Changed) -> str:
    facts: dict[str, Any] = {name: sorted(getattr(changed, name)) for name in _SETS}
    facts["outdated"] = sorted(changed.outdated | changed.needed.keys())
    facts["feedback"] = changed.feedback
    facts["tails"] = {tenant: sorted(tails) for tenant, tails in changed.tails.items()}
    facts["quotas"] = {tenant: asdict(quotas) for tenant, quotas in changed.quotas.items()}
    return json.dumps({name: value for name, value in facts.items() if value})


def _unpacked(text: str) -> Changed:
    facts: dict[str, Any] = json.loads(text)
    sets: dict[str, Any] = {name: set(facts.get(name, ())) for name in _SETS}
    return Changed(
        **sets,
        feedback=facts.get("feedback", {}),
        tails={tenant: set(tails) for tenant, tails in facts.get("tails", {}).items()},
        quotas={tenant: Quotas(**quotas) for tenant, quotas in facts.get("quotas", {}).items()},
    )
