"""Which versions of a head stay: pins, deletions, and a bound on how many there are."""

from __future__ import annotations

from sqlalchemy import Connection, func, select, update

from service.errors import LimitExceeded, PreconditionFailed
from service.logs import get_logger
from service.store import schema
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.versions import VersionRecord, delete_versions, get_version

FEWEST = 3
"""The smallest bound: the active version, the one before it, and a new one."""

log = get_logger(__name__)


def remove_oldest(connection: Connection, uid: str, made: int, most: int | None) -> tuple[int, ...]:
    """Removes the oldest versions beyond a bound, once another was made; returns their numbers.

    Never that one, the active one, from which a live copy moves on, the one that was active before
    and pinned ones. Where these alone are too many, there are more than the bound says: what was
    made is not lost for it.

    Args:
        made: number of the version that was made.
        most: how many there may be; None for any number.
    """
    if most is None:
        return ()
    head, table = require_head(connection, uid), schema.versions.c
    kept = {made, head.active_version, _previous(connection, uid)}
    rows = connection.execute(
        select(table.version, table.pinned).where(table.head_uid == uid).order_by(table.version)
    ).all()
    removable = [version for version, pinned in rows if not pinned and version not in kept]
    removed = tuple(removable[: max(0, len(rows) - most)])
    if removed:
        delete_versions(connection, head, removed)
    if len(rows) - len(removed) > most:
        left = len(rows) - len(removed)
        log.warning("more versions than the bound", head=head.resource, versions=left, bound=most)
    return removed


def pin_version(
    connection: Connection, head: HeadRecord, version: int, *, pinned: bool, most: int | None
) -> VersionRecord:
    """Keeps a version from being removed and deleted, or lets go of it; returns it.

    Args:
        most: how many versions there may be; None for any number.

    Raises:
        NotFound: the head has no such version.
        LimitExceeded: with one more pinned, there would be no room within the bound for the active
            version, the one before it and a new one.
    """
    table = schema.versions
    stored = get_version(connection, head.uid, version)
    if pinned and not stored.pinned and most is not None:
        of_head = table.c.head_uid == head.uid, table.c.pinned
        there = connection.scalar(select(func.count()).select_from(table).where(*of_head))
        if there is not None and there >= most - FEWEST:
            raise LimitExceeded(
                f"pinned: at most {most - FEWEST} versions of a head, {there} are: of the {most} "
                "that it may have, one is active, one was before it, and one is to come",
                field="pinned",
                limit=most - FEWEST,
                value=there,
            )
    connection.execute(
        update(table)
        .where(table.c.head_uid == head.uid, table.c.version == version)
        .values(pinned=pinned)
    )
    return get_version(connection, head.uid, version)


def delete_version(connection: Connection, head: HeadRecord, version: int) -> None:
    """Deletes a version, and its tail unless another runs on it.

    Raises:
        NotFound: the head has no such version.
        PreconditionFailed: it is active, or pinned.
    """
    stored = get_version(connection, head.uid, version)
    why = ""
    if version == head.active_version:
        why = "is the active one, from which the live copy moves on; activate another one first"
    elif stored.pinned:
        why = "is pinned; unpin it first"
    if why:
        raise PreconditionFailed(
            f"version: {version} of {head.resource} {why}",
            field="version",
            limit="a version that is neither active nor pinned",
            value=version,
        )
    delete_versions(connection, head, (version,))


def _previous(connection: Connection, uid: str) -> int:
    previous: int | None = connection.scalar(
        select(schema.heads.c.previous_version).where(schema.heads.c.uid == uid)
    )
    return previous or 0
