"""Fine-tuned tails."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import select

from models import ModelError
from models.tails import read_tail, tail_fingerprint
from service.check.findings import Finding, Store
from service.store import schema

_TUNE = "tune the head again, or activate a version on the backbone itself"


def tails(store: Store) -> Iterator[Finding]:
    """Finds tails that cannot be read or are not what their fingerprint says."""
    table, heads = schema.tails.c, store.heads_by_uid()
    keys = store.connection.execute(select(table.head_uid, table.fingerprint)).all()
    for done, (uid, fingerprint) in enumerate(keys):
        store.advance(done, len(keys))
        data = store.connection.scalar(
            select(table.safetensors).where(table.head_uid == uid, table.fingerprint == fingerprint)
        )
        if data is None or uid not in heads:
            continue
        if tail_fingerprint(data) != fingerprint:
            yield Finding(f"tail {fingerprint} holds other bytes", _TUNE, heads[uid].resource)
            continue
        try:
            read_tail(data)
        except ModelError as error:
            words = f"tail {fingerprint} cannot be read: {error}"
            yield Finding(words, _TUNE, heads[uid].resource)


def missing(store: Store) -> Iterator[Finding]:
    """Finds versions whose tail is not there."""
    versions, table, heads = schema.versions.c, schema.tails.c, store.heads_by_uid()
    rows = store.connection.execute(
        select(versions.head_uid, versions.version, versions.tail)
        .outerjoin(
            schema.tails,
            (table.head_uid == versions.head_uid) & (table.fingerprint == versions.tail),
        )
        .where(versions.tail.is_not(None), table.fingerprint.is_(None))
    ).all()
    for uid, version, fingerprint in rows:
        words = f"tail {fingerprint}, which the version runs on, is not there"
        yield Finding(words, _TUNE, heads[uid].resource, version)
