"""Forgetting examples for good, in one transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence, Set
from dataclasses import dataclass

from sqlalchemy import Connection, Table, delete, select, update

from service.errors import Aborted
from service.store import schema
from service.store.captures import delete_captures
from service.store.changes import changed_in
from service.store.embeddings import delete_unneeded
from service.store.feedback_states import FeedbackState
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.jobs import NewVersion
from service.store.sql import execute_among, select_among
from service.store.version_members import known_among
from service.store.versions import activate_version, add_version, delete_versions


@dataclass(frozen=True, slots=True)
class Plan:
    """What forgetting takes.

    Attributes:
        known: those of the digests that the head knows in some way.
        versions: numbers of the versions that know one of them.
        active_version: the version that answered; 0 for none.
        last_version: the newest version that was asked.
    """

    known: frozenset[str]
    versions: tuple[int, ...]
    active_version: int
    last_version: int

    @property
    def refit(self) -> bool:
        """Whether the active version knows one of them, so that another has to take over."""
        return self.active_version in self.versions


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What forgetting did.

    Attributes:
        versions: numbers of the versions that knew an example and are gone.
        active_version: the version that answers now; 0 for none.
        held_by: names of the tenant's other heads that still have one of the examples.
        tails: fingerprints of tails that had learned from an example and are gone.
    """

    versions: tuple[int, ...]
    active_version: int
    held_by: tuple[str, ...]
    tails: tuple[str, ...]


def plan(connection: Connection, uid: str, digests: Sequence[str]) -> Plan:
    """Finds out what forgetting these examples takes."""
    head = require_head(connection, uid)
    by_version = known_among(connection, uid, set(digests))
    known = _among(connection, schema.examples, uid, digests)
    known |= _among(connection, schema.feedback, uid, digests)
    known |= _among(connection, schema.captures, uid, digests)
    return Plan(
        frozenset(known.union(*by_version.values())),
        tuple(version for version, found in by_version.items() if found),
        head.active_version,
        max(by_version, default=0),
    )


def forget(connection: Connection, uid: str, wanted: Plan, new: NewVersion | None) -> Forgotten:
    """Deletes examples, versions that knew one with their tails, and what feedback said of them.

    Other live feedback stays live. It is scored anew if a live copy may have learned one of them.

    Args:
        wanted: what was planned.
        new: made without them; takes over. None if none is needed, or can be made.

    Raises:
        NotFound: the head was deleted meanwhile.
        Aborted: another version has taken over meanwhile.
    """
    head = require_head(connection, uid)
    if head.active_version != wanted.active_version:
        raise Aborted("examples: the head was changed meanwhile; ask again", field="head")
    digests = sorted(wanted.known)
    # Versions never change, so those that the plan has asked need not be asked again.
    newer = known_among(connection, uid, wanted.known, after=wanted.last_version)
    versions = (*wanted.versions, *(version for version, found in newer.items() if found))
    _redact_feedback(connection, uid, digests)
    _redact_reports(connection, uid, wanted.known)
    examples = schema.examples
    execute_among(
        connection, delete(examples).where(examples.c.head_uid == uid), examples.c.digest, digests
    )
    delete_captures(connection, uid, digests)
    tails = delete_versions(connection, head, versions)
    delete_unneeded(connection, head, digests)
    heads = schema.heads
    connection.execute(
        update(heads).where(heads.c.uid == uid).values(forgettings=heads.c.forgettings + 1)
    )
    changed_in(connection).live.add(uid)
    if new is not None:
        _take_over(connection, uid, new)
    return Forgotten(
        versions=versions,
        active_version=require_head(connection, uid).active_version,
        held_by=tuple(sorted(_held_by(connection, head, digests))),
        tails=tails,
    )


def _redact_feedback(connection: Connection, uid: str, digests: Sequence[str]) -> None:
    table = schema.feedback
    live = _among(connection, table, uid, digests, state=FeedbackState.LIVE)
    redacted = update(table).values(digest="", label="", state=FeedbackState.SUPERSEDED)
    execute_among(connection, redacted.where(table.c.head_uid == uid), table.c.digest, digests)
    if live:
        connection.execute(
            update(table)
            .where(table.c.head_uid == uid, table.c.state == FeedbackState.LIVE)
            .values(active_right=None, live_right=None)
        )


def _redact_reports(connection: Connection, uid: str, digests: Set[str]) -> None:
    """Takes digests out of what reports of versions name that were not trained on them."""
    table = schema.versions
    for row in connection.execute(select(table.c.version, table.c.report).filter_by(head_uid=uid)):
        report = json.loads(row.report)
        seen = report.get("seen_held_out", ())
        left = [digest for digest in seen if digest not in digests]
        if len(left) < len(seen):
            changed = json.dumps(report | {"seen_held_out": left})
            connection.execute(
                update(table).filter_by(head_uid=uid, version=row.version).values(report=changed)
            )


def _take_over(connection: Connection, uid: str, new: NewVersion) -> None:
    """Activates a version that was made of the last one's examples: it learned no live feedback."""
    version = add_version(
        connection,
        uid,
        source="training",
        labels=new.labels,
        report=new.report,
        example_count=len(new.members),
        safetensors=new.safetensors,
        activate=False,
        members=new.members,
    )
    activate_version(connection, uid, version, unknown=FeedbackState.LIVE, learned={})


def _among(
    connection: Connection, table: Table, uid: str, digests: Sequence[str], **values: str
) -> set[str]:
    query = select(table.c.digest).filter_by(head_uid=uid, **values)
    return {row.digest for row in select_among(connection, query, table.c.digest, digests)}


def _held_by(connection: Connection, head: HeadRecord, digests: Sequence[str]) -> set[str]:
    """Returns the names of the tenant's heads that have one of them, whatever their backbone."""
    found: set[str] = set()
    for table in (schema.examples, schema.captures):
        query = (
            select(schema.heads.c.name)
            .select_from(table.join(schema.heads))
            .where(schema.heads.c.tenant_id == head.tenant_id)
            .distinct()
        )
        found.update(row.name for row in select_among(connection, query, table.c.digest, digests))
    return found
