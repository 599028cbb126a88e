"""What tenants store is counted as it was stored before there were counts, and from then on."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from service.store import Database, open_database
from service.store.tenants import counted, get_tenant
from tests.service.store.earlier_stores import store_of
from tests.service.store.test_changes import filled, forget
from tests.service.tiny_backbone import DIM
from trunkline.digest import text_digest


async def test_what_earlier_releases_stored_is_counted_by_the_upgrade(tmp_path: Path) -> None:
    with store_of("0009", tmp_path) as connection:
        fill(connection)
    database = open_database(tmp_path)
    try:
        acme = await database.read(get_tenant, "acme")
        other = await database.read(get_tenant, "other")
    finally:
        database.close()
    assert (acme.examples, acme.stored_bytes) == (2, 4 * DIM + 5)
    assert (other.examples, other.stored_bytes) == (0, 0)


def fill(connection: Connection) -> None:
    """Two examples, one of them with its input, and one embedding."""
    for statement in (
        "INSERT INTO tenants (id, name, created_at) VALUES (1, 'acme', 0), (2, 'other', 0)",
        "INSERT INTO heads (uid, tenant_id, name, backbone, fingerprint, spec, keep_inputs, "
        "active_version, last_version, created_at) "
        "VALUES ('h', 1, 'x', 'b', 'f', '{}', 1, 0, 0, 0)",
        "INSERT INTO examples (head_uid, digest, kind, source, input, created_at) VALUES "
        "('h', 'd1', 'text', 'upload', x'0102030405', 0), ('h', 'd2', 'text', 'upload', NULL, 0)",
        "INSERT INTO embeddings (tenant_id, fingerprint, digest, vector) "
        f"VALUES (1, 'f', 'd1', zeroblob({4 * DIM}))",
    ):
        connection.execute(text(statement))


async def test_counts_are_those_of_a_count_whatever_is_written(database: Database) -> None:
    head = await database.write(filled)
    for forgotten in ("a", "b"):
        acme = await database.read(get_tenant, "acme")
        assert (acme.examples, acme.stored_bytes) == await database.read(counted, acme.id)
        assert acme.stored_bytes > 0
        await database.write(forget, head, text_digest(forgotten))
