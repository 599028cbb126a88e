"""Versions of heads: weights, labels, reports, and what each knows."""

from __future__ import annotations

import json
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Row, select

from adapters import AdapterError, Head
from service.check.embeddings import usual_lengths
from service.check.findings import Finding, HeadName, Store
from service.replies.reports import report_message
from service.store import schema
from service.store.digests import weights_digest
from service.store.version_members import unpack
from service.store.versions import VersionRecord

_TRAIN = "train the head again, and activate or delete this version"


def active_versions(store: Store) -> Iterator[Finding]:
    """Finds heads whose active version is not there."""
    table, heads = schema.versions.c, store.heads_by_uid()
    lacking = store.connection.scalars(
        select(schema.heads.c.uid)
        .outerjoin(
            schema.versions,
            (table.head_uid == schema.heads.c.uid)
            & (table.version == schema.heads.c.active_version),
        )
        .where(schema.heads.c.active_version > 0, table.version.is_(None))
    ).all()
    for uid in lacking:
        head = heads[uid]
        yield Finding(
            f"the active version {head.active_version} is not there",
            "activate another version, or train the head again",
            head.resource,
            head.active_version,
        )


def weights(store: Store) -> Iterator[Finding]:
    """Finds versions whose weights cannot be read or do not fit what is stored with them."""
    table, heads, lengths = schema.versions, store.heads_by_uid(), usual_lengths(store)
    for uid, version in _versions(store):
        row = store.connection.execute(
            select(table).where(table.c.head_uid == uid, table.c.version == version)
        ).one_or_none()
        if row is not None and uid in heads:
            for words in _faults(row, lengths):
                yield Finding(words, _TRAIN, heads[uid].resource, version)


def labels(store: Store) -> Iterator[Finding]:
    """Finds labels of versions that are not in Unicode's form C, and that become one in it."""
    table, heads = schema.versions.c, store.heads_by_uid()
    for uid, version in _versions(store):
        stored = store.connection.scalar(
            select(table.labels).where(table.head_uid == uid, table.version == version)
        )
        if stored is None or uid not in heads:
            continue
        try:
            names = [str(name) for name in json.loads(stored)]
        except (ValueError, TypeError):
            continue  # `weights` names it
        yield from _spellings(heads[uid], version, names)


def members(store: Store) -> Iterator[Finding]:
    """Finds versions whose list of examples cannot be read."""
    table, heads = schema.members.c, store.heads_by_uid()
    keys = store.connection.execute(select(table.head_uid, table.version)).all()
    for done, (uid, version) in enumerate(keys):
        store.advance(done, len(keys))
        row = store.connection.execute(
            select(table.digests, table.labels).where(
                table.head_uid == uid, table.version == version
            )
        ).one_or_none()
        if row is None or uid not in heads:
            continue
        try:
            known = unpack(row.digests, row.labels)
            whole = len(row.digests) % 32 == 0 and all(len(digest) == 64 for digest in known)
        except (zlib.error, ValueError, IndexError, TypeError, UnicodeDecodeError):
            whole = False
        if not whole:
            yield Finding(
                "the list of the examples that the version knows cannot be read",
                "train the head again; to forget what it knew, delete this version",
                heads[uid].resource,
                version,
            )


def _versions(store: Store) -> Iterator[tuple[str, int]]:
    table = schema.versions.c
    keys = store.connection.execute(
        select(table.head_uid, table.version).order_by(table.head_uid, table.version)
    ).all()
    for done, (uid, version) in enumerate(keys):
        store.advance(done, len(keys))
        yield uid, version


def _faults(row: Row[Any], lengths: dict[str, int]) -> Iterator[str]:
    try:
        named = json.loads(row.labels)
        report_message("", _record(row, named))
    except (ValueError, TypeError, KeyError, AttributeError, AdapterError) as error:
        yield f"labels or report cannot be read: {type(error).__name__}: {error}"
        return
    if isinstance(row.safetensors, bytes) and weights_digest(row.safetensors) != row.digest:
        yield "the weights are not what was stored: their digest is another"
        return
    try:
        head = Head.from_safetensors(row.safetensors)
    except AdapterError as error:
        yield f"the weights cannot be read: {error}"
        return
    if list(head.labels) != named:
        yield (
            f"the {len(head.labels)} labels of the weights are not the {len(named)} of the version"
        )
    fingerprint = row.tail or row.base_fingerprint
    if head.fingerprint != fingerprint:
        yield f"the weights are of fingerprint {head.fingerprint}, the version's is {fingerprint}"
    length = lengths.get(fingerprint, 4 * head.dim)
    if length != 4 * head.dim:
        yield f"the weights take {head.dim} numbers, the stored embeddings have {length // 4}"


def _record(row: Row[Any], named: list[str]) -> VersionRecord:
    return VersionRecord(
        row.version,
        row.source,
        tuple(named),
        json.loads(row.report),
        row.example_count,
        row.created_at,
        row.backbone,
        row.base_fingerprint,
    )


def _spellings(head: HeadName, version: int, names: Sequence[str]) -> Iterator[Finding]:
    composed = {name: unicodedata.normalize("NFC", name) for name in names}
    twice = {form for form, count in Counter(composed.values()).items() if count > 1}
    joined = [name for name in names if composed[name] in twice]
    others = [name for name in names if composed[name] not in (name, *twice)]
    if joined:
        yield Finding(
            f"{len(joined)} labels look like {len(twice)}, as they differ in Unicode's form alone: "
            + ", ".join(map(ascii, joined)),
            "train the head again, which joins them, and activate the new version",
            head.resource,
            version,
        )
    if others:
        yield Finding(
            "labels are not in Unicode's form C: " + ", ".join(map(ascii, others)),
            "train the head again; a version keeps its labels as they are",
            head.resource,
            version,
        )
