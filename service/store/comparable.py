"""Examples that an input is compared with: their digests, and whether these are still the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, func, select

from service.store import schema
from service.store.sql import select_among


class State(NamedTuple):
    """What differs once an example has come or gone: how many there are, and the newest's id.

    A label that is given or taken away is told of as a change of what live copies are built on.
    """

    examples: int
    newest: int


class Named(NamedTuple):
    """What a labelled example is called."""

    label: str
    external_id: str | None


def state_of(connection: Connection, uid: str, *, unlabelled: bool) -> State:
    """Returns the state of a head's labelled examples, or of all."""
    table = schema.examples.c
    query = select(func.count(), func.coalesce(func.max(table.id), 0))
    count, newest = connection.execute(query.where(*_which(uid, unlabelled))).one()
    return State(count, newest)


def digests_after(
    connection: Connection, uid: str, after: str, limit: int, *, unlabelled: bool
) -> list[str]:
    """Returns digests above `after` of a head's labelled examples, or of all, in their order."""
    table = schema.examples.c
    query = select(table.digest).where(*_which(uid, unlabelled), table.digest > after)
    return list(connection.scalars(query.order_by(table.digest).limit(limit)))


def labelled_among(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, Named]:
    """Returns what those of a head's examples are called that have a label, by digest."""
    table = schema.examples.c
    query = select(table.digest, table.label, table.external_id).where(*_which(uid, False))
    rows = select_among(connection, query, table.digest, digests)
    return {digest: Named(label, name) for digest, label, name in rows}


def _which(uid: str, unlabelled: bool) -> list[ColumnElement[bool]]:
    table = schema.examples.c
    found: list[ColumnElement[bool]] = [table.head_uid == uid]
    return found if unlabelled else [*found, table.label.is_not(None)]
