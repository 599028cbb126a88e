"""Versions of heads, with their weights and reports."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select, update

from service.errors import FingerprintMismatch, NotFound, StoredDataDamaged
from service.store import schema
from service.store.changes import changed_in
from service.store.digests import weights_digest
from service.store.embeddings import truncated_digests
from service.store.feedback_states import FeedbackState, update_feedback
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.label_forms import read_json, with_normal_labels
from service.store.tails import TailRecord, delete_unused_tails
from service.store.version_members import delete_members, members_of, store_members


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version without its weights.

    Attributes:
        backbone: the backbone that it was trained for.
        base_fingerprint: fingerprint of that backbone.
        tail: the fine-tuned blocks it runs on; None for the backbone's own.
        pinned: whether it stays until it is unpinned.
    """

    version: int
    source: str
    labels: tuple[str, ...]
    report: dict[str, Any]
    example_count: int
    created_at: float
    backbone: str
    base_fingerprint: str
    tail: TailRecord | None = None
    pinned: bool = False


_VERSIONS = select(
    schema.versions.c.version,
    schema.versions.c.source,
    schema.versions.c.labels,
    schema.versions.c.report,
    schema.versions.c.example_count,
    schema.versions.c.created_at,
    schema.versions.c.backbone,
    schema.versions.c.base_fingerprint,
    schema.versions.c.tail,
    schema.versions.c.pinned,
    schema.tails.c.strategy,
    schema.tails.c.blocks,
    schema.tails.c.size,
).join_from(
    schema.versions,
    schema.tails,
    and_(
        schema.tails.c.head_uid == schema.versions.c.head_uid,
        schema.tails.c.fingerprint == schema.versions.c.tail,
    ),
    isouter=True,
)


def add_version(
    connection: Connection,
    uid: str,
    *,
    source: str,
    labels: tuple[str, ...],
    report: dict[str, Any],
    example_count: int,
    safetensors: bytes,
    activate: bool,
    members: Mapping[str, str] | None = None,
    base: int | None = None,
    tail: str | None = None,
) -> int:
    """Stores a version with its weights and, if asked, makes it the active one, in one step.

    Live feedback that the new version does not know stays live: it came while the version was made.

    Args:
        members: what it was trained on, labels by digest; None for a version that was made
            elsewhere.
        base: the version that it moved on from, and whose front and novelty bank it carries.
        tail: fingerprint of the stored tail that it runs on.
    """
    head = require_head(connection, uid)
    version: int | None = connection.scalar(
        update(schema.heads)
        .where(schema.heads.c.uid == uid)
        .values(last_version=schema.heads.c.last_version + 1)
        .returning(schema.heads.c.last_version)
    )
    assert version is not None
    known = sorted(members or ())
    truncated = truncated_digests(connection, head.tenant, head.fingerprint, known)
    connection.execute(
        insert(schema.versions).values(
            head_uid=uid,
            version=version,
            source=source,
            labels=json.dumps(labels),
            report=json.dumps(report | {"truncated_count": len(truncated)}),
            example_count=example_count,
            safetensors=safetensors,
            created_at=time.time(),
            backbone=head.backbone,
            base_fingerprint=head.fingerprint,
            tail=tail,
            digest=weights_digest(safetensors),
        )
    )
    if members is not None:
        store_members(connection, uid, version, members, base)
    if activate:
        activate_version(connection, uid, version, unknown=FeedbackState.LIVE)
    return version


def activate_version(
    connection: Connection,
    uid: str,
    version: int,
    *,
    unknown: FeedbackState = FeedbackState.QUARANTINED,
    learned: Mapping[str, str] | None = None,
) -> None:
    """Makes a stored version the active one; nothing changes if it is already.

    Args:
        unknown: what becomes of live feedback that the version does not know, as in
            `update_feedback`.
        learned: labels by digest of what feedback the version has learned; None: of all that it
            was trained on.

    Raises:
        NotFound: the head has no such version.
        FingerprintMismatch: the head has moved on to another backbone since.
    """
    stored, head = get_version(connection, uid, version), require_head(connection, uid)
    if stored.base_fingerprint != head.fingerprint:
        raise FingerprintMismatch(
            f"version: {version} was trained for {stored.backbone} with fingerprint "
            f"{stored.base_fingerprint}, the head is bound to {head.backbone} with "
            f"{head.fingerprint} now",
            field="version",
            limit=head.fingerprint,
            value=stored.base_fingerprint,
        )
    if head.active_version == version:
        return
    set_active(connection, head, version, drift_feedback_id=None, drift_at=None)
    members = members_of(connection, uid, version) if learned is None else learned
    update_feedback(connection, uid, version, members, unknown)


def set_active(connection: Connection, head: HeadRecord, version: int, **values: Any) -> None:
    """Notes which version is active, and, unless it is none (0), which one was before.

    Args:
        values: what else changes in the head's row.
    """
    if version and head.active_version:
        values["previous_version"] = head.active_version
    table = schema.heads
    connection.execute(
        update(table).where(table.c.uid == head.uid).values(active_version=version, **values)
    )
    changed_in(connection).note_head(head)


def get_version(connection: Connection, uid: str, version: int) -> VersionRecord:
    """Returns a version without its weights.

    Raises:
        NotFound: the head has no such version.
    """
    query = _VERSIONS.where(schema.versions.c.head_uid == uid, schema.versions.c.version == version)
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound.at("version", "the head has no version {value}", value=version)
    return _version(row._mapping)


def get_weights(connection: Connection, uid: str, version: int) -> bytes:
    """Returns a version's safetensors file, its labels in their normal form.

    Raises:
        NotFound: the head has no such version.
        StoredDataDamaged: it is not what was stored.
    """
    get_version(connection, uid, version)
    table = schema.versions.c
    weights, digest = connection.execute(
        select(table.safetensors, table.digest).where(
            table.head_uid == uid, table.version == version
        )
    ).one()
    if not isinstance(weights, bytes) or weights_digest(weights) != digest:
        resource = require_head(connection, uid).resource
        raise StoredDataDamaged(
            f"head: the stored weights of {resource}, version {version}, are damaged; activate "
            "another version, or train the head again",
            field="head",
            value=f"{resource}/versions/{version}",
        )
    return with_normal_labels(weights)


def list_versions(connection: Connection, uid: str, before: int, limit: int) -> list[VersionRecord]:
    """Returns versions older than `before`, newest first."""
    query = (
        _VERSIONS.where(schema.versions.c.head_uid == uid, schema.versions.c.version < before)
        .order_by(schema.versions.c.version.desc())
        .limit(limit)
    )
    return [_version(row._mapping) for row in connection.execute(query)]


def delete_versions(
    connection: Connection, head: HeadRecord, versions: tuple[int, ...]
) -> tuple[str, ...]:
    """Deletes versions with what they knew and the tails that nothing else runs on.

    Returns the fingerprints of the tails that the tenant has no longer.
    """
    if head.active_version in versions:
        set_active(connection, head, 0, drift_feedback_id=None, drift_at=None)
    for version in versions:
        delete_members(connection, head.uid, version)
        connection.execute(delete(schema.versions).filter_by(head_uid=head.uid, version=version))
    return delete_unused_tails(connection, head)


def _version(values: Mapping[Any, Any]) -> VersionRecord:
    fields = dict(values)
    tail, strategy, blocks, size = (
        fields.pop(name) for name in ("tail", "strategy", "blocks", "size")
    )
    record = TailRecord(tail, strategy, tuple(json.loads(blocks)), size) if tail else None
    fields |= {
        "labels": tuple(dict.fromkeys(read_json(fields["labels"]))),
        "report": read_json(fields["report"]),
        "tail": record,
    }
    return VersionRecord(**fields)
