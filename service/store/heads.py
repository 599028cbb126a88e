"""Tenants, heads and their versions."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, case, delete, func, insert, select, update

from service.errors import AlreadyExists, NotFound
from service.store import schema
from service.store.embeddings import delete_unneeded
from service.store.feedback_states import FeedbackState, settle
from service.store.members import members_of, store_members


@dataclass(frozen=True, slots=True)
class HeadRecord:
    """A head as stored; `tenant` and `name` are the parts of its resource name."""

    uid: str
    tenant_id: int
    tenant: str
    name: str
    backbone: str
    fingerprint: str
    spec: dict[str, Any]
    keep_inputs: bool
    active_version: int
    created_at: float
    policy: str
    allow_new_labels: bool
    drift_feedback_id: int | None
    drift_at: float | None

    @property
    def resource(self) -> str:
        """``tenants/{tenant}/heads/{name}``."""
        return f"tenants/{self.tenant}/heads/{self.name}"


@dataclass(frozen=True, slots=True)
class HeadCounts:
    """How much is stored for a head."""

    examples: int
    labelled: int
    feedback: int
    held_out: int = 0
    quarantined: int = 0


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version without its weights."""

    version: int
    source: str
    labels: tuple[str, ...]
    report: dict[str, Any]
    example_count: int
    created_at: float


_HEAD_COLUMNS = (
    schema.heads.c.uid,
    schema.heads.c.tenant_id,
    schema.tenants.c.name.label("tenant"),
    schema.heads.c.name,
    schema.heads.c.backbone,
    schema.heads.c.fingerprint,
    schema.heads.c.spec,
    schema.heads.c.keep_inputs,
    schema.heads.c.active_version,
    schema.heads.c.created_at,
    schema.heads.c.policy,
    schema.heads.c.allow_new_labels,
    schema.heads.c.drift_feedback_id,
    schema.heads.c.drift_at,
)
_HEADS = select(*_HEAD_COLUMNS).join_from(schema.heads, schema.tenants)

_VERSION_COLUMNS = (
    schema.versions.c.version,
    schema.versions.c.source,
    schema.versions.c.labels,
    schema.versions.c.report,
    schema.versions.c.example_count,
    schema.versions.c.created_at,
)


def create_head(
    connection: Connection,
    *,
    tenant: str,
    name: str,
    backbone: str,
    fingerprint: str,
    spec: dict[str, Any],
    keep_inputs: bool,
    policy: str = "gated",
    allow_new_labels: bool = False,
) -> HeadRecord:
    """Stores a new head, and its tenant with the first one.

    Raises:
        AlreadyExists: the tenant has a head of this name.
    """
    if find_head(connection, tenant, name) is not None:
        raise AlreadyExists(
            f"head: tenants/{tenant}/heads/{name} exists already", field="head_id", value=name
        )
    now = time.time()
    tenant_id = connection.scalar(select(schema.tenants.c.id).filter_by(name=tenant))
    if tenant_id is None:
        created = connection.execute(insert(schema.tenants).values(name=tenant, created_at=now))
        tenant_id = _primary_key(created.inserted_primary_key)
    connection.execute(
        insert(schema.heads).values(
            uid=uuid.uuid4().hex,
            tenant_id=tenant_id,
            name=name,
            backbone=backbone,
            fingerprint=fingerprint,
            spec=json.dumps(spec),
            keep_inputs=keep_inputs,
            active_version=0,
            last_version=0,
            created_at=now,
            policy=policy,
            allow_new_labels=allow_new_labels,
        )
    )
    return get_head(connection, tenant, name)


def update_head(
    connection: Connection,
    uid: str,
    *,
    policy: str | None = None,
    allow_new_labels: bool | None = None,
    spec: dict[str, Any] | None = None,
) -> HeadRecord:
    """Changes what is given about a head.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    values = {
        "policy": policy,
        "allow_new_labels": allow_new_labels,
        "spec": None if spec is None else json.dumps(spec),
    }
    changed = {name: value for name, value in values.items() if value is not None}
    if changed:
        connection.execute(update(schema.heads).where(schema.heads.c.uid == uid).values(**changed))
    return require_head(connection, uid)


def find_head(connection: Connection, tenant: str, name: str) -> HeadRecord | None:
    """The head of this name, or None."""
    query = _HEADS.where(schema.tenants.c.name == tenant, schema.heads.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _head(row._mapping)


def get_head(connection: Connection, tenant: str, name: str) -> HeadRecord:
    """The head of this name.

    Raises:
        NotFound: there is none.
    """
    head = find_head(connection, tenant, name)
    if head is None:
        raise NotFound(
            f"head: there is no tenants/{tenant}/heads/{name}",
            field="head",
            value=f"tenants/{tenant}/heads/{name}",
        )
    return head


def require_head(connection: Connection, uid: str) -> HeadRecord:
    """The head with this uid.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    row = connection.execute(_HEADS.where(schema.heads.c.uid == uid)).one_or_none()
    if row is None:
        raise NotFound("head: it was deleted meanwhile", field="head", value=uid)
    return _head(row._mapping)


def list_heads(
    connection: Connection, tenant: str, after: str, limit: int
) -> list[tuple[HeadRecord, HeadCounts]]:
    """Heads of a tenant by name, those after `after` first."""
    query = (
        _HEADS.where(schema.tenants.c.name == tenant, schema.heads.c.name > after)
        .order_by(schema.heads.c.name)
        .limit(limit)
    )
    heads = [_head(row._mapping) for row in connection.execute(query)]
    return [(head, count(connection, head.uid)) for head in heads]


def count(connection: Connection, uid: str) -> HeadCounts:
    """Counts what is stored for a head."""
    example, feedback = schema.examples.c, schema.feedback.c
    held_out = example.held_out & example.label.is_not(None)
    examples, labelled, tests = connection.execute(
        select(func.count(), func.count(example.label), func.count(case((held_out, 1)))).where(
            example.head_uid == uid
        )
    ).one()
    in_quarantine = case((feedback.state == FeedbackState.QUARANTINED, 1))
    total, quarantined = connection.execute(
        select(func.count(), func.count(in_quarantine))
        .select_from(schema.feedback)
        .where(feedback.head_uid == uid)
    ).one()
    return HeadCounts(examples, labelled, total, tests, quarantined)


def delete_head(connection: Connection, tenant: str, name: str) -> HeadRecord:
    """Deletes a head with all that is its own, and embeddings that no other head needs."""
    head = get_head(connection, tenant, name)
    held = select(schema.examples.c.digest).where(schema.examples.c.head_uid == head.uid)
    digests = connection.scalars(held).all()
    owned = (schema.jobs, schema.feedback, schema.examples, schema.members, schema.versions)
    for table in owned:
        connection.execute(delete(table).where(table.c.head_uid == head.uid))
    delete_unneeded(connection, head, digests)
    connection.execute(delete(schema.heads).where(schema.heads.c.uid == head.uid))
    return head


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
) -> int:
    """Stores a version with its weights and, if asked, makes it the active one, in one step.

    Live feedback that the new version does not know stays live: it came while the version was made.

    Args:
        members: what it was trained on, labels by digest; None for a version that was made
            elsewhere.
        base: the version that it moved on from, and whose front and novelty bank it carries.
    """
    require_head(connection, uid)
    version: int | None = connection.scalar(
        update(schema.heads)
        .where(schema.heads.c.uid == uid)
        .values(last_version=schema.heads.c.last_version + 1)
        .returning(schema.heads.c.last_version)
    )
    assert version is not None
    connection.execute(
        insert(schema.versions).values(
            head_uid=uid,
            version=version,
            source=source,
            labels=json.dumps(labels),
            report=json.dumps(report),
            example_count=example_count,
            safetensors=safetensors,
            created_at=time.time(),
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
        unknown: what becomes of live feedback that the version does not know; see `settle`.
        learned: labels by digest of what feedback the version has learned; None: of all that it
            was trained on.
    """
    get_version(connection, uid, version)
    if require_head(connection, uid).active_version == version:
        return
    connection.execute(
        update(schema.heads)
        .where(schema.heads.c.uid == uid)
        .values(active_version=version, drift_feedback_id=None, drift_at=None)
    )
    members = members_of(connection, uid, version) if learned is None else learned
    settle(connection, uid, version, members, unknown)


def get_version(connection: Connection, uid: str, version: int) -> VersionRecord:
    """A version without its weights.

    Raises:
        NotFound: the head has no such version.
    """
    query = select(*_VERSION_COLUMNS).where(
        schema.versions.c.head_uid == uid, schema.versions.c.version == version
    )
    row = connection.execute(query).one_or_none()
    if row is None:
        raise NotFound(
            f"version: the head has no version {version}", field="version", value=version
        )
    return _version(row._mapping)


def get_weights(connection: Connection, uid: str, version: int) -> bytes:
    """A version's safetensors file."""
    get_version(connection, uid, version)
    weights: bytes = connection.execute(
        select(schema.versions.c.safetensors).where(
            schema.versions.c.head_uid == uid, schema.versions.c.version == version
        )
    ).scalar_one()
    return weights


def list_versions(connection: Connection, uid: str, before: int, limit: int) -> list[VersionRecord]:
    """Versions older than `before`, newest first."""
    query = (
        select(*_VERSION_COLUMNS)
        .where(schema.versions.c.head_uid == uid, schema.versions.c.version < before)
        .order_by(schema.versions.c.version.desc())
        .limit(limit)
    )
    return [_version(row._mapping) for row in connection.execute(query)]


def _head(values: Mapping[Any, Any]) -> HeadRecord:
    return HeadRecord(**{**values, "spec": json.loads(values["spec"])})


def _version(values: Mapping[Any, Any]) -> VersionRecord:
    return VersionRecord(
        **{
            **values,
            "labels": tuple(json.loads(values["labels"])),
            "report": json.loads(values["report"]),
        }
    )


def _primary_key(key: Any) -> int:
    return int(key[0])
