"""Which examples a version knew and under which labels, packed for the store."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select

from service.store import schema


def pack(labels: Mapping[str, str]) -> bytes:
    """Packs a label per digest (64 hexadecimal digits) into about 35 bytes each."""
    names = sorted(set(labels.values()))
    index = {name: i for i, name in enumerate(names)}
    digests = b"".join(bytes.fromhex(digest) for digest in labels)
    indices = b"".join(index[label].to_bytes(4, "little") for label in labels.values())
    head = json.dumps(names).encode()
    return zlib.compress(len(head).to_bytes(4, "little") + head + digests + indices)


def unpack(packed: bytes) -> dict[str, str]:
    """The labels by digest that `pack` was given, in the same order."""
    data = zlib.decompress(packed)
    size = int.from_bytes(data[:4], "little")
    names = json.loads(data[4 : 4 + size])
    rows = memoryview(data)[4 + size :]
    count = len(rows) // 36
    digests, indices = rows[: 32 * count], rows[32 * count :]
    return {
        digests[32 * i : 32 * i + 32].hex(): names[
            int.from_bytes(indices[4 * i : 4 * i + 4], "little")
        ]
        for i in range(count)
    }


def store_members(
    connection: Connection, uid: str, version: int, labels: Mapping[str, str]
) -> None:
    """Notes what a new version knows."""
    connection.execute(
        insert(schema.members).values(head_uid=uid, version=version, packed=pack(labels))
    )


def members_of(connection: Connection, uid: str, version: int) -> dict[str, str]:
    """Labels by digest of what a version knew; empty for an imported one."""
    packed = connection.scalar(
        select(schema.members.c.packed).filter_by(head_uid=uid, version=version)
    )
    return {} if packed is None else unpack(packed)


def versions_that_knew(connection: Connection, uid: str, digests: set[str]) -> list[int]:
    """Versions of a head that knew one of these examples."""
    rows = connection.execute(
        select(schema.members.c.version, schema.members.c.packed)
        .filter_by(head_uid=uid)
        .order_by(schema.members.c.version)
    )
    return [version for version, packed in rows if not digests.isdisjoint(unpack(packed))]


def delete_members(connection: Connection, uid: str, version: int | None = None) -> None:
    """Forgets what a version knew, or what all of a head's versions knew."""
    statement = delete(schema.members).where(schema.members.c.head_uid == uid)
    if version is not None:
        statement = statement.where(schema.members.c.version == version)
    connection.execute(statement)
