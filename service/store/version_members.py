"""What versions know: the examples they were trained on, and what their base knew."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Set

from sqlalchemy import Connection, delete, insert, select

from service.store import schema
from service.store.label_forms import read_json

_DIGEST = 32  # bytes


def pack(labels: Mapping[str, str]) -> tuple[bytes, bytes]:
    """Packs a label per digest (64 hexadecimal digits).

    Returns:
        The digests, 32 bytes each and one after the other, and the labels in their order.
    """
    names = sorted(set(labels.values()))
    index = {name: i for i, name in enumerate(names)}
    indices = b"".join(index[label].to_bytes(4, "little") for label in labels.values())
    head = json.dumps(names).encode()
    packed = zlib.compress(len(head).to_bytes(4, "little") + head + indices)
    return bytes.fromhex("".join(labels)), packed


def unpack(digests: bytes, packed: bytes) -> dict[str, str]:
    """Returns the labels by digest that `pack` was given, in order and in their normal form.

    Further digests are ignored.
    """
    data = zlib.decompress(packed)
    size = int.from_bytes(data[:4], "little")
    names = read_json(data[4 : 4 + size].decode())
    indices = memoryview(data)[4 + size :].cast("B")
    return {
        digests[_DIGEST * i : _DIGEST * (i + 1)].hex(): names[
            int.from_bytes(indices[4 * i : 4 * i + 4], "little")
        ]
        for i in range(len(indices) // 4)
    }


def store_members(
    connection: Connection, uid: str, version: int, labels: Mapping[str, str], base: int | None
) -> None:
    """Records what a new version knows.

    Args:
        labels: labels of the examples it was trained on, by digest.
        base: the version whose front and novelty bank it carries, and so all that one knows.
    """
    digests, packed = pack(labels)
    known = digests if base is None else _digests(connection, uid, base)
    inherited = _split(known) - _split(digests)
    connection.execute(
        insert(schema.members).values(
            head_uid=uid,
            version=version,
            digests=digests + b"".join(sorted(inherited)),
            labels=packed,
        )
    )


def members_of(connection: Connection, uid: str, version: int) -> dict[str, str]:
    """Returns labels by digest of what a version was trained on; empty for an imported one."""
    table = schema.members.c
    row = connection.execute(
        select(table.digests, table.labels).where(table.head_uid == uid, table.version == version)
    ).one_or_none()
    return {} if row is None else unpack(row.digests, row.labels)


def known_among(
    connection: Connection, uid: str, digests: Set[str], after: int = 0
) -> dict[int, set[str]]:
    """Returns which of these digests each version with a number above `after` knows.

    That is the examples that it was trained on, and those that its base knew. Imported versions
    are left out: nobody can say what they know.
    """
    table = schema.members.c
    wanted = {bytes.fromhex(digest) for digest in digests}
    rows = connection.execute(
        select(table.version, table.digests)
        .where(table.head_uid == uid, table.version > after)
        .order_by(table.version)
    )
    return {version: {raw.hex() for raw in _split(known) & wanted} for version, known in rows}


def delete_members(connection: Connection, uid: str, version: int) -> None:
    """Deletes the record of what a version knew."""
    connection.execute(delete(schema.members).filter_by(head_uid=uid, version=version))


def _digests(connection: Connection, uid: str, version: int) -> bytes:
    return (
        connection.scalar(select(schema.members.c.digests).filter_by(head_uid=uid, version=version))
        or b""
    )


def _split(digests: bytes) -> set[bytes]:
    return {digests[i : i + _DIGEST] for i in range(0, len(digests), _DIGEST)}
