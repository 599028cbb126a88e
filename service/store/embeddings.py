"""Embeddings: one vector per tenant, backbone or tail, and input, and per view of an input."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, delete, func, or_, select

from service.errors import StoredDataDamaged
from service.logs import get_logger
from service.store import schema
from service.store.cache_secrets import renew_secrets
from service.store.changes import changed_in
from service.store.digests import vector_checksum
from service.store.head_records import HeadRecord
from service.store.sql import insert_if_absent, select_among
from service.store.view_digests import PREFIX

_RANGES = 200  # of digests in one statement, each with two bound parameters


_VECTOR_DTYPE = "<f4"

log = get_logger(__name__)


def known_digests(
    connection: Connection,
    head: HeadRecord,
    digests: Sequence[str],
    fingerprint: str | None = None,
) -> set[str]:
    """Returns those of the digests that have a stored embedding in the head's tenant.

    Args:
        fingerprint: of the backbone or tail; None for the head's backbone.
    """
    table = schema.embeddings.c
    query = select(table.digest).where(
        table.tenant_id == head.tenant_id, table.fingerprint == (fingerprint or head.fingerprint)
    )
    return {row.digest for row in select_among(connection, query, table.digest, digests)}


def find_embeddings(
    connection: Connection,
    tenant: str,
    fingerprint: str,
    digests: Sequence[str],
    *,
    leave_out_damaged: bool = False,
) -> dict[str, NDArray[np.float32]]:
    """Returns stored embeddings of a tenant by digest; those that are missing are left out.

    Args:
        leave_out_damaged: treats damaged ones as missing, for whoever can make them anew.

    Raises:
        StoredDataDamaged: one is not what was stored.
    """
    found: dict[str, NDArray[np.float32]] = {}
    table = schema.embeddings.c
    query = (
        select(table.digest, table.vector, table.crc32)
        .join_from(schema.embeddings, schema.tenants)
        .where(schema.tenants.c.name == tenant, table.fingerprint == fingerprint)
    )
    for digest, data, checksum in select_among(connection, query, table.digest, digests):
        try:
            found[digest] = checked_vector(digest, data, checksum)
        except StoredDataDamaged as error:
            if not leave_out_damaged:
                raise
            log.warning("damaged embedding", tenant=tenant, reason=str(error))
    return found


def truncated_digests(
    connection: Connection, tenant: str, fingerprint: str, digests: Sequence[str]
) -> set[str]:
    """Returns those whose stored embedding is of a text beyond the backbone's window."""
    table = schema.embeddings.c
    query = (
        select(table.digest)
        .join_from(schema.embeddings, schema.tenants)
        .where(schema.tenants.c.name == tenant, table.fingerprint == fingerprint, table.truncated)
    )
    return {row.digest for row in select_among(connection, query, table.digest, digests)}


def store_embeddings(
    connection: Connection,
    head: HeadRecord,
    vectors: Mapping[str, NDArray[np.float32]],
    fingerprint: str | None = None,
    truncated: Container[str] = (),
) -> None:
    """Stores the embeddings (dim,) by digest that are not there yet.

    Args:
        fingerprint: of the backbone or tail that made them; None for the head's backbone.
        truncated: digests of texts that are longer than the backbone's window.
    """
    rows = [
        {
            "tenant_id": head.tenant_id,
            "fingerprint": fingerprint or head.fingerprint,
            "digest": digest,
            "vector": data,
            "truncated": digest in truncated,
            "crc32": vector_checksum(data),
        }
        for digest, vector in vectors.items()
        for data in (vector.astype(_VECTOR_DTYPE).tobytes(),)
    ]
    if rows:
        connection.execute(insert_if_absent(connection, schema.embeddings), rows)


def delete_embeddings(connection: Connection, tenant_id: int, fingerprint: str) -> None:
    """Deletes all embeddings that a tenant has of a backbone or tail."""
    connection.execute(
        delete(schema.embeddings).filter_by(tenant_id=tenant_id, fingerprint=fingerprint)
    )


def delete_unneeded(connection: Connection, head: HeadRecord, digests: Sequence[str]) -> None:
    """Deletes embeddings of inputs, and of their views, that no head of the tenant needs.

    A head needs those of its examples and captured inputs, by its backbone and by its tails.
    """
    needed = _needed(connection, head.tenant_id, digests)
    for fingerprint in _fingerprints(connection, head.tenant_id):
        gone = sorted(digest for digest, kept in needed.items() if fingerprint not in kept)
        for start in range(0, len(gone), _RANGES):
            prefixes = [digest[:PREFIX] for digest in gone[start : start + _RANGES]]
            table = schema.embeddings.c
            connection.execute(
                delete(schema.embeddings).where(
                    table.tenant_id == head.tenant_id,
                    table.fingerprint == fingerprint,
                    or_(*(and_(table.digest >= p, table.digest < f"{p}g") for p in prefixes)),
                )
            )
    if digests:
        renew_secrets(connection, head.tenant_id, digests)
    changed_in(connection).needed.setdefault(head.tenant, {}).update(needed)


def _needed(connection: Connection, tenant_id: int, digests: Sequence[str]) -> dict[str, set[str]]:
    """Returns the fingerprints under which each input is needed; all inputs are in it."""
    needed: dict[str, set[str]] = {digest: set() for digest in digests}
    heads = schema.heads.c
    for table in (schema.examples, schema.captures):
        held = table.join(schema.heads).outerjoin(
            schema.tails, schema.tails.c.head_uid == heads.uid
        )
        query = (
            select(table.c.digest, heads.fingerprint, schema.tails.c.fingerprint)
            .select_from(held)
            .where(heads.tenant_id == tenant_id)
        )
        for digest, *fingerprints in select_among(connection, query, table.c.digest, digests):
            needed[digest].update(name for name in fingerprints if name is not None)
    return needed


def _fingerprints(connection: Connection, tenant_id: int) -> Iterator[str]:
    """Yields the fingerprints that a tenant has embeddings of, with one index lookup for each."""
    table = schema.embeddings.c
    after = ""
    while True:
        query = select(func.min(table.fingerprint)).where(
            table.tenant_id == tenant_id, table.fingerprint > after
        )
        found: str | None = connection.scalar(query)
        if found is None:
            return
        yield found
        after = found


def checked_vector(digest: str, data: bytes, checksum: int | None) -> NDArray[np.float32]:
    """Decodes the stored embedding (dim,) of an input.

    Args:
        checksum: its stored checksum; None where an earlier release stored it.

    Raises:
        StoredDataDamaged: it is not what was stored.
    """
    if not is_sound(data, checksum):
        raise StoredDataDamaged.at(
            "digest",
            "the stored embedding of {value} is damaged; forget the example, and upload it again",
            value=digest,
        )
    return to_vector(data)


def is_sound(data: object, checksum: int | None) -> bool:
    """Says whether these bytes of an embedding are those that were stored, as far as is known."""
    if not isinstance(data, bytes) or len(data) % np.dtype(_VECTOR_DTYPE).itemsize:
        return False
    return checksum is None or vector_checksum(data) == checksum


def to_vector(data: bytes) -> NDArray[np.float32]:
    """Decodes a stored embedding, shape (dim,)."""
    return np.frombuffer(data, dtype=_VECTOR_DTYPE)
