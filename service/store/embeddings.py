"""Embeddings: one vector per tenant, backbone and input, and per view of an input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from sqlalchemy import Connection, Insert, Table, and_, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from models.views import RECIPE
from service.store import schema

if TYPE_CHECKING:
    from service.store.heads import HeadRecord

T = TypeVar("T")

_CHUNK = 500  # bound parameters of one IN clause
_RANGES = 200  # of digests in one statement, each with two bound parameters
_PREFIX = 32
_VECTOR_DTYPE = "<f4"
_CONTEXT = "trunkline v1 view"


def view_digest(digest: str, index: int, recipe: int = RECIPE) -> str:
    """What the embedding of an image's view is stored under.

    It begins like the image's own digest, so that all views of an image, also of older recipes, can
    be found and deleted; 128 bits of either half still tell any two apart.
    """
    hasher = blake3(f"{digest}\n{index}\n{recipe}\n".encode(), derive_key_context=_CONTEXT)
    return digest[:_PREFIX] + hasher.hexdigest()[_PREFIX:]


def known_digests(connection: Connection, head: HeadRecord, digests: Sequence[str]) -> set[str]:
    """Those of the digests that have a stored embedding in the head's tenant and backbone."""
    known: set[str] = set()
    for chunk in chunks(digests):
        known.update(
            connection.scalars(
                select(schema.embeddings.c.digest).where(
                    schema.embeddings.c.tenant_id == head.tenant_id,
                    schema.embeddings.c.fingerprint == head.fingerprint,
                    schema.embeddings.c.digest.in_(chunk),
                )
            )
        )
    return known


def find_embeddings(
    connection: Connection, tenant: str, fingerprint: str, digests: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Stored embeddings of a tenant by digest; those that are missing are left out."""
    found: dict[str, NDArray[np.float32]] = {}
    for chunk in chunks(digests):
        rows = connection.execute(
            select(schema.embeddings.c.digest, schema.embeddings.c.vector)
            .join_from(schema.embeddings, schema.tenants)
            .where(
                schema.tenants.c.name == tenant,
                schema.embeddings.c.fingerprint == fingerprint,
                schema.embeddings.c.digest.in_(chunk),
            )
        )
        found.update({digest: to_vector(data) for digest, data in rows})
    return found


def store_embeddings(
    connection: Connection, head: HeadRecord, vectors: Mapping[str, NDArray[np.float32]]
) -> None:
    """Stores the embeddings (dim,) by digest that are not there yet."""
    rows = [
        {
            "tenant_id": head.tenant_id,
            "fingerprint": head.fingerprint,
            "digest": digest,
            "vector": vector.astype(_VECTOR_DTYPE).tobytes(),
        }
        for digest, vector in vectors.items()
    ]
    if rows:
        connection.execute(_insert_if_absent(connection, schema.embeddings), rows)


def delete_unneeded(connection: Connection, head: HeadRecord, digests: Sequence[str]) -> set[str]:
    """Deletes the embeddings, and those of views, of inputs that no head of the tenant holds.

    Returns the digests of these inputs.
    """
    table = schema.embeddings.c
    needed = {digest for digest, _ in holders(connection, head, digests)}
    gone = sorted(set(digests) - needed)
    for start in range(0, len(gone), _RANGES):
        prefixes = [digest[:_PREFIX] for digest in gone[start : start + _RANGES]]
        connection.execute(
            delete(schema.embeddings).where(
                table.tenant_id == head.tenant_id,
                table.fingerprint == head.fingerprint,
                or_(*(and_(table.digest >= p, table.digest < f"{p}g") for p in prefixes)),
            )
        )
    return set(gone)


def holders(
    connection: Connection, head: HeadRecord, digests: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Digest and head name of the tenant's examples among these inputs, on the backbone."""
    for chunk in chunks(digests):
        rows = connection.execute(
            select(schema.examples.c.digest, schema.heads.c.name)
            .select_from(schema.examples.join(schema.heads))
            .where(
                schema.examples.c.digest.in_(chunk),
                schema.heads.c.tenant_id == head.tenant_id,
                schema.heads.c.fingerprint == head.fingerprint,
            )
        )
        yield from ((digest, name) for digest, name in rows)


def to_vector(data: bytes) -> NDArray[np.float32]:
    """A stored embedding, shape (dim,)."""
    return np.frombuffer(data, dtype=_VECTOR_DTYPE)


def chunks(items: Sequence[T]) -> Iterable[Sequence[T]]:
    """Parts that fit the bound parameters of one IN clause."""
    return (items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK))


def _insert_if_absent(connection: Connection, table: Table) -> Insert:
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table).on_conflict_do_nothing()
    return sqlite.insert(table).on_conflict_do_nothing()
