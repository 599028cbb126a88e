"""Embeddings: there for each example, as long as the others, and made of numbers."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sqlalchemy import func, select

from service.check.findings import Finding, Store
from service.store import schema
from service.store.embeddings import is_sound, to_vector
from service.store.example_sets import without_embedding

_ROWS = 256
_SHOWN = 3
_NUMBER = np.dtype(np.float32).itemsize
_AGAIN = "forget the example, upload it again, and train the head again"


def usual_lengths(store: Store) -> dict[str, int]:
    """Returns how many bytes most embeddings of a fingerprint have."""
    table = schema.embeddings.c
    length = func.length(table.vector)
    rows = store.connection.execute(
        select(table.fingerprint, length).group_by(table.fingerprint, length).order_by(func.count())
    )
    return {fingerprint: bytes_ for fingerprint, bytes_ in rows.all()}


def vectors(store: Store) -> Iterator[Finding]:
    """Finds embeddings of an odd length, with numbers that are not finite, and other bytes."""
    table, usual, after = schema.embeddings.c, usual_lengths(store), 0
    last = store.connection.scalar(select(func.max(table.id))) or 0
    query = (
        select(
            table.id,
            table.fingerprint,
            table.digest,
            table.vector,
            table.crc32,
            schema.tenants.c.name,
        )
        .join_from(schema.embeddings, schema.tenants)
        .order_by(table.id)
        .limit(_ROWS)
    )
    while rows := store.connection.execute(query.where(table.id > after)).all():
        for _, fingerprint, digest, vector, checksum, tenant in rows:
            if len(vector) % _NUMBER:
                words = f"has {len(vector)} bytes, which are no whole numbers"
            elif len(vector) != usual[fingerprint]:
                words = f"has {len(vector)} bytes, others have {usual[fingerprint]}"
            elif not np.isfinite(to_vector(vector)).all():
                words = "holds a number that is not finite"
            elif not is_sound(vector, checksum):
                words = "is not what was stored: its checksum is another"
            else:
                continue
            yield from _of_input(store, tenant, digest, f"its embedding {words}")
        after = rows[-1][0]
        store.advance(after, last)


def missing(store: Store) -> Iterator[Finding]:
    """Finds examples without an embedding by their head's backbone."""
    heads = store.heads()
    for done, head in enumerate(heads):
        store.advance(done, len(heads))
        lacking = list(without_embedding(store.connection, head.uid, head.fingerprint))
        if lacking:
            shown = ", ".join(lacking[:_SHOWN]) + (", …" if len(lacking) > _SHOWN else "")
            yield Finding(
                f"examples without an embedding, which no training takes: {len(lacking)} ({shown})",
                "upload them again",
                head.resource,
                digest=lacking[0],
            )


def _of_input(store: Store, tenant: str, digest: str, words: str) -> Iterator[Finding]:
    """Names the heads that have the input as an example, or its tenant if none has."""
    examples, heads, tenants = schema.examples.c, schema.heads.c, schema.tenants.c
    rows = store.connection.execute(
        select(heads.name, examples.label)
        .select_from(schema.examples.join(schema.heads).join(schema.tenants))
        .where(tenants.name == tenant, examples.digest == digest)
    ).all()
    for name, label in rows:
        yield Finding(words, _AGAIN, f"{tenant}/{name}", digest=digest, label=label)
    if not rows:
        remedy = "nothing learns from it; deleting the tenant's heads deletes it"
        yield Finding(words, remedy, f"{tenant}/", digest=digest)
