"""Which server runs a training: the one that queued it, until its lease has ended.

A server is named by its session, which it draws at each start; a store that one server has knows
none. What a server that has lost its claim makes is not stored.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, exists, or_, select, update

from service.errors import Aborted
from service.store import schema
from service.store.servers import clock

_SESSION = "session"


def use_session(connection: Connection, session: str | None) -> Connection:
    """Has writes on this connection be those of a server with this session; None for none."""
    connection.info[_SESSION] = session
    return connection


def session_of(connection: Connection) -> str | None:
    """Returns the session of the server that writes; None for none."""
    session: str | None = connection.info.get(_SESSION)
    return session


def check_claim(connection: Connection, claimed_by: str | None) -> None:
    """Makes sure that the server that writes is who has claimed a job.

    Raises:
        Aborted: another one is.
    """
    if claimed_by != session_of(connection):
        raise Aborted("training: another server has taken it up", retry_after=1.0)


def is_any_left(connection: Connection, unfinished: ColumnElement[bool]) -> bool:
    """Says whether there are jobs whose server is gone."""
    return bool(connection.scalar(select(exists().where(unfinished, _left(connection)))))


def claim_left(connection: Connection, unfinished: ColumnElement[bool]) -> None:
    """Claims jobs whose server is gone, but for those that another one claims just now."""
    jobs = schema.jobs
    free = select(jobs.c.id).where(unfinished, _left(connection)).with_for_update(skip_locked=True)
    ids = connection.scalars(free).all()
    claimed = update(jobs).where(jobs.c.id.in_(ids)).values(claimed_by=session_of(connection))
    connection.execute(claimed)


def _left(connection: Connection) -> ColumnElement[bool]:
    mine = schema.jobs.c.claimed_by
    if connection.dialect.name != "postgresql":
        return mine.is_not(None)  # of a server on PostgreSQL that the store was copied from
    live = select(schema.servers.c.session).where(schema.servers.c.lease_ends_at > clock())
    return or_(mine.is_(None), mine.not_in(live))
