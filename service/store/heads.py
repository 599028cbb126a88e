"""Tenants and heads."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from service.errors import AlreadyExists, NotFound, StoredDataDamaged, no_head, no_tenant
from service.store import schema
from service.store.changes import changed_in
from service.store.embeddings import delete_embeddings, delete_unneeded
from service.store.head_records import HeadRecord
from service.store.tails import delete_unused_tails
from trunkline.resources import HeadName

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
    schema.versions.c.tail,
    schema.heads.c.capture,
)
_HEADS = (
    select(*_HEAD_COLUMNS)
    .join_from(schema.heads, schema.tenants)
    .outerjoin(
        schema.versions,
        and_(
            schema.versions.c.head_uid == schema.heads.c.uid,
            schema.versions.c.version == schema.heads.c.active_version,
        ),
    )
)


_OWNED = (
    *(schema.jobs, schema.feedback, schema.captures, schema.examples),
    *(schema.members, schema.versions),
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
    capture: dict[str, Any] | None = None,
    by_tenant: bool = False,
) -> HeadRecord:
    """Stores a new head, and its tenant with the first one.

    Args:
        capture: what of its traffic is kept; None for nothing.
        by_tenant: whether a key of the tenant's own makes it: then the tenant is there, unless it
            was deleted since the call began.

    Raises:
        NotFound: the tenant was deleted.
        AlreadyExists: the tenant has a head of this name.
    """
    if find_head(connection, tenant, name) is not None:
        raise AlreadyExists(
            f"head: tenants/{tenant}/heads/{name} exists already", field="head_id", value=name
        )
    now = time.time()
    if by_tenant and _tenant_id(connection, tenant) is None:
        raise no_tenant(tenant)
    tenant_id = tenant_id_of(connection, tenant)
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
            capture=None if capture is None else json.dumps(capture),
        )
    )
    return get_head(connection, tenant, name)


def tenant_id_of(connection: Connection, tenant: str) -> int:
    """Returns the number of a tenant's row, and makes it if it has none."""
    known = _tenant_id(connection, tenant)
    if known is not None:
        return known
    row = insert(schema.tenants).values(name=tenant, created_at=time.time())
    return _primary_key(connection.execute(row).inserted_primary_key)


def _tenant_id(connection: Connection, tenant: str) -> int | None:
    known: int | None = connection.scalar(select(schema.tenants.c.id).filter_by(name=tenant))
    return known


def update_head(
    connection: Connection,
    uid: str,
    *,
    policy: str | None = None,
    allow_new_labels: bool | None = None,
    spec: dict[str, Any] | None = None,
    capture: dict[str, Any] | None = None,
) -> HeadRecord:
    """Changes what is given about a head.

    Args:
        capture: what of its traffic is kept from now on; empty for nothing.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    values = {
        "policy": policy,
        "allow_new_labels": allow_new_labels,
        "spec": None if spec is None else json.dumps(spec),
    }
    changed: dict[str, Any] = {name: value for name, value in values.items() if value is not None}
    if capture is not None:
        changed["capture"] = json.dumps(capture) if capture else None
    if changed:
        connection.execute(update(schema.heads).where(schema.heads.c.uid == uid).values(**changed))
    head = require_head(connection, uid)
    changed_in(connection).note_head(head)
    return head


def move_head(connection: Connection, uid: str, backbone: str, fingerprint: str) -> HeadRecord:
    """Binds a head to another backbone; embeddings of the last one go, unless others need them.

    Its versions stay, but only one that is added from now on can be activated.

    Raises:
        NotFound: the head was deleted meanwhile.
    """
    left = require_head(connection, uid)
    table = schema.heads
    connection.execute(
        update(table).where(table.c.uid == uid).values(backbone=backbone, fingerprint=fingerprint)
    )
    others = (
        select(func.count())
        .select_from(table)
        .where(table.c.tenant_id == left.tenant_id, table.c.fingerprint == left.fingerprint)
    )
    if not connection.scalar(others):
        delete_embeddings(connection, left.tenant_id, left.fingerprint)
    changed_in(connection).note_head(left)
    return require_head(connection, uid)


def find_head(connection: Connection, tenant: str, name: str) -> HeadRecord | None:
    """Returns the head of this name, or None."""
    query = _HEADS.where(schema.tenants.c.name == tenant, schema.heads.c.name == name)
    row = connection.execute(query).one_or_none()
    return None if row is None else _head(row._mapping)


def get_head(connection: Connection, tenant: str, name: str) -> HeadRecord:
    """Returns the head of this name.

    Raises:
        NotFound: there is none.
    """
    head = find_head(connection, tenant, name)
    if head is None:
        raise no_head(HeadName(tenant, name))
    return head


def require_head(connection: Connection, uid: str) -> HeadRecord:
    """Returns the head with this uid.

    Raises:
        NotFound: it was deleted meanwhile.
    """
    row = connection.execute(_HEADS.where(schema.heads.c.uid == uid)).one_or_none()
    if row is None:
        raise NotFound("head: it was deleted meanwhile", field="head", value=uid)
    return _head(row._mapping)


def list_heads(
    connection: Connection,
    tenant: str | None,
    after: str,
    limit: int,
    visible: Sequence[str] = (),
) -> list[HeadRecord]:
    """Returns heads of a tenant, or of all (None), by tenant and name.

    Args:
        after: the last head before them as `HeadRecord.short`; "" for none.
        visible: patterns of the ids of those that are wanted; empty for all.
    """
    tenants, heads = schema.tenants.c, schema.heads.c
    before, _, name = after.rpartition("/")
    if tenant is None:
        # The first condition is what the index on tenants takes.
        later = and_(tenants.name >= before, or_(tenants.name > before, heads.name > name))
    else:
        later = and_(tenants.name == tenant, heads.name > name)
    query = _HEADS.where(later, *matching(visible)).order_by(tenants.name, heads.name).limit(limit)
    return [_head(row._mapping) for row in connection.execute(query)]


def matching(patterns: Sequence[str]) -> list[ColumnElement[bool]]:
    """Returns conditions that only heads fulfil whose ids match a pattern.

    Args:
        patterns: ids, or beginnings of ids that end with ``*``; empty for all heads.
    """
    name = schema.heads.c.name
    ways = [
        # LIKE would take capitals for small letters, and "_" for any letter.
        func.substr(name, 1, len(pattern) - 1) == pattern[:-1]
        if pattern.endswith("*")
        else name == pattern
        for pattern in patterns
    ]
    return [or_(*ways)] if ways else []


def delete_head(connection: Connection, tenant: str, name: str) -> HeadRecord:
    """Deletes a head with all that is its own, and embeddings that no other head needs."""
    head = get_head(connection, tenant, name)
    held = select(schema.examples.c.digest).where(schema.examples.c.head_uid == head.uid)
    captured = select(schema.captures.c.digest).where(schema.captures.c.head_uid == head.uid)
    digests = connection.scalars(held.union(captured)).all()
    for table in _OWNED:
        connection.execute(delete(table).where(table.c.head_uid == head.uid))
    delete_unused_tails(connection, head)
    delete_unneeded(connection, head, digests)
    connection.execute(delete(schema.heads).where(schema.heads.c.uid == head.uid))
    changed_in(connection).note_head(head)
    return head


def _head(values: Mapping[Any, Any]) -> HeadRecord:
    try:
        spec, capture = dict(json.loads(values["spec"])), values["capture"]
        kept = None if capture is None else dict(json.loads(capture))
        return HeadRecord(**{**values, "spec": spec, "capture": kept})
    except (ValueError, TypeError) as error:
        resource = f"tenants/{values['tenant']}/heads/{values['name']}"
        raise StoredDataDamaged(
            f"head: the stored spec of {resource} cannot be read: {error}",
            field="head",
            value=resource,
        ) from error


def _primary_key(key: Any) -> int:
    return int(key[0])
