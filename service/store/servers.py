"""The servers that share a store in PostgreSQL: their leases, and what each has confirmed.

Leases are counted by the clock of the database. Each function is one transaction, READ COMMITTED.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from service.store import schema
from service.store.change_feed import last_change, notify

LEASE_SECONDS = 20.0
KEPT_SECONDS = 3600.0
"""Time after the end of its lease in which a server's row stays, for people to look at."""
SERVERS = "trunkline_servers"
"""The channel that says that a server has confirmed a change, or has gone."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A server that has not confirmed a change.

    Attributes:
        seconds: what is left of its lease.
    """

    name: str
    seconds: float


def register(connection: Connection, name: str, session: str) -> None:
    """Gives a server a lease, and ends that of an earlier one of its name."""
    table = schema.servers
    now = clock()
    values = {
        "session": session,
        "started_at": now,
        "lease_ends_at": now + LEASE_SECONDS,
        "confirmed": last_change(connection),
    }
    statement = insert(table).values(name=name, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_=values))
    connection.execute(delete(table).where(table.c.lease_ends_at < now - KEPT_SECONDS))
    notify(connection, SERVERS)


def renew(connection: Connection, name: str, session: str) -> bool:
    """Renews a server's lease; returns whether it had one: it may have ended."""
    table = schema.servers
    renewed = connection.execute(
        update(table)
        .where(table.c.name == name, table.c.session == session)
        .values(lease_ends_at=clock() + LEASE_SECONDS)
    )
    return renewed.rowcount == 1


def release(connection: Connection, name: str, session: str) -> None:
    """Ends a server's lease, which holds nothing any more."""
    table = schema.servers
    connection.execute(delete(table).where(table.c.name == name, table.c.session == session))
    notify(connection, SERVERS)


def confirm(connection: Connection, name: str, session: str, number: int) -> None:
    """Notes that a server knows all changes up to this one, if another one waits for that.

    Losing it costs time alone, so the disk is not waited for.
    """
    connection.execute(text("SET LOCAL synchronous_commit = off"))
    mine, changes = schema.servers, schema.changes.c
    of_others = select(changes.number).where(
        changes.number > mine.c.confirmed, changes.number <= number, changes.server != name
    )
    confirmed = connection.execute(
        update(mine)
        .where(mine.c.name == name, mine.c.session == session, exists(of_others))
        .values(confirmed=number)
    )
    if confirmed.rowcount:
        notify(connection, SERVERS)


def behind(connection: Connection, name: str, number: int) -> list[Behind]:
    """Returns the other servers that have a lease and have not confirmed a change."""
    table = schema.servers.c
    left = table.lease_ends_at - clock()
    rows = connection.execute(
        select(table.name, left.label("seconds")).where(
            table.name != name, table.confirmed < number, left > 0
        )
    )
    return [Behind(row.name, row.seconds) for row in rows]


def live(connection: Connection) -> list[str]:
    """Returns the names of the servers that have a lease."""
    table = schema.servers.c
    query = select(table.name).where(table.lease_ends_at > clock()).order_by(table.name)
    return list(connection.scalars(query))


def clock() -> ColumnElement[float]:
    """The time by the clock of the database, in seconds since 1970."""
    return func.extract("epoch", func.clock_timestamp()).cast(schema.servers.c.started_at.type)
