"""What is stored is checked when it is read: one changed bit is an error that says where."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from service.errors import StoredDataDamaged
from service.store import Database, open_database, schema
from service.store.versions import get_weights
from tests.service.server import HEAD, InProcessServer, StartServer, best, texts
from tests.service.store.earlier_stores import store_of
from tests.service.store.records import add_version, new_head
from tests.service.tail_heads import MANY, database_of, tail_head, tuned
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2

OTHER = "tenants/acme/heads/other"
LABELS = {f"{colour} {i}": colour for i in range(8) for colour in ("red", "blue")}


def flip(connection: Connection, table: str, column: str, where: str = "true") -> None:
    """Changes one bit in the midst of a stored value, as a disk may."""
    query = f"SELECT rowid, {column} FROM {table} WHERE {where} ORDER BY rowid LIMIT 1"
    row, data = connection.exec_driver_sql(query).one()
    at = len(data) - max(1, len(data) // 8)
    changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    connection.exec_driver_sql(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (changed, row))


async def damage(server: InProcessServer, *what: str) -> None:
    """Damages the store, and has the server read the heads anew."""
    await database_of(server).write(flip, *what)
    for name in (HEAD, OTHER):
        await server.ask("UpdateHead", heads_pb2.UpdateHeadRequest(name=name))


@pytest.fixture
async def two_heads(server: InProcessServer) -> InProcessServer:
    """Two heads with two versions each."""
    for name in (HEAD, OTHER):
        await server.create(name, policy=heads_pb2.FEEDBACK_POLICY_IMMEDIATE)
        await server.add(LABELS, name)
        for _ in range(2):
            await server.train(name, spec=heads_pb2.HeadSpec(family="ridge", l2=1.0))
    return server


async def test_one_changed_bit_in_weights_is_an_error_that_names_head_and_version(
    two_heads: InProcessServer,
) -> None:
    uid = await database_of(two_heads).read(_uid, "defects")
    await damage(two_heads, "versions", "safetensors", f"head_uid = '{uid}' AND version = 2")
    export = heads_pb2.ExportHeadRequest(name=HEAD, version=2)
    asks: list[Callable[[], Awaitable[Any]]] = [
        lambda: two_heads.predict(*texts("red 1")),
        lambda: two_heads.predict(*texts("red 1"), version=2),
        lambda: two_heads.ask("ExportHead", export),
    ]
    for ask in asks:
        with pytest.raises(StoredDataDamaged, match=f"{HEAD}, version 2, are damaged"):
            await ask()
    both = await two_heads.predict(*texts("red 1", "red 1"), heads=[HEAD, OTHER])
    assert [error.row for error in both.errors] == [0]
    assert (best(await two_heads.predict(*texts("blue 1"), head=OTHER))) == ["blue"]


async def test_going_back_to_a_sound_version_serves_again(two_heads: InProcessServer) -> None:
    uid = await database_of(two_heads).read(_uid, "defects")
    await damage(two_heads, "versions", "safetensors", f"head_uid = '{uid}' AND version = 2")
    request = heads_pb2.ActivateHeadVersionRequest(name=f"{HEAD}/versions/1")
    await two_heads.ask("ActivateHeadVersion", request)
    assert best(await two_heads.predict(*texts("blue 1", "red 1"))) == ["blue", "red"]
    assert (await two_heads.train(spec=heads_pb2.HeadSpec(family="ridge", l2=1.0))).version == 3


async def test_one_changed_bit_in_a_tail_is_an_error_that_names_head_and_version(
    server: InProcessServer,
) -> None:
    await tail_head(server)
    await database_of(server).write(flip, "tails", "safetensors")
    response = await server.predict(*texts("a new text"))
    (error,) = response.errors
    assert f"of {HEAD}, which version 1 runs on, is damaged" in error.message
    with pytest.raises(StoredDataDamaged, match="which version 1 runs on"):
        await server.ask("ExportHead", heads_pb2.ExportHeadRequest(name=HEAD))


async def test_damaged_embedding_fails_a_training_and_is_made_anew_for_a_prediction(
    two_heads: InProcessServer,
) -> None:
    await damage(two_heads, "embeddings", "vector")
    training = await two_heads.train()
    assert training.state == heads_pb2.TRAINING_STATE_FAILED
    assert training.error_message.startswith("digest: the stored embedding of ")
    assert best(await two_heads.predict(*texts(*LABELS))) == list(LABELS.values())


async def test_damaged_kept_input_is_an_error_and_never_taken_for_another(
    start_server: StartServer, tmp_path: Path
) -> None:
    async with start_server(data_dir=tmp_path / "data") as server:
        await server.create(keep_inputs=True)
        await server.add({"red one": "red", "red two": "blue"})
        await database_of(server).write(flip, "examples", "input")
        await database_of(server).write(lambda c: c.exec_driver_sql("DELETE FROM embeddings"))
    async with start_server(data_dir=tmp_path / "data") as server:
        named = [common_pb2.Input(digest=text_digest(text)) for text in ("red one", "red two")]
        request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=named)
        response = await server.ask("Embed", request)
        (error,) = response.errors
        assert (error.row, error.message.split(";")[0]) == (
            0,
            f"digest: the kept input {text_digest('red one')} is damaged",
        )


async def test_versions_of_an_earlier_release_get_their_digests_by_migrating(
    tmp_path: Path,
) -> None:
    with store_of("0007", tmp_path) as connection:
        connection.exec_driver_sql(
            "INSERT INTO tenants (id, name, created_at) VALUES (1, 'acme', 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO heads (uid, tenant_id, name, backbone, fingerprint, spec, keep_inputs, "
            "active_version, last_version, created_at) "
            "VALUES ('one', 1, 'defects', 'tiny/text', 'abc', '{}', 1, 1, 1, 0)"
        )
        connection.exec_driver_sql(
            "INSERT INTO versions (head_uid, version, source, labels, report, example_count, "
            "safetensors, created_at, backbone, base_fingerprint) "
            "VALUES ('one', 1, 'training', '[]', '{}', 0, ?, 0, 'tiny/text', 'abc')",
            (b"\x02\0\0\0\0\0\0\0{}weights",),
        )
        connection.exec_driver_sql(
            "INSERT INTO embeddings (tenant_id, fingerprint, digest, vector, truncated) "
            "VALUES (1, 'abc', 'one', ?, 0)",
            (b"\0" * 16,),
        )
    database = open_database(tmp_path)
    try:
        assert (await database.read(get_weights, "one", 1)).endswith(b"weights")
        await database.write(flip, "versions", "safetensors")
        with pytest.raises(StoredDataDamaged, match="tenants/acme/heads/defects, version 1"):
            await database.read(get_weights, "one", 1)
    finally:
        await asyncio.to_thread(database.close)


async def test_weights_of_every_new_version_have_a_digest(database: Database) -> None:
    def store(connection: Connection) -> str:
        head = new_head(connection)
        add_version(connection, head.uid, activate=True)
        return head.uid

    uid = await database.write(store)
    assert await database.read(get_weights, uid, 1) == b"w"


async def test_damaged_weights_take_no_other_head_down_at_the_next_start(
    start_server: StartServer, tmp_path: Path
) -> None:
    async with start_server(data_dir=tmp_path / "data") as server:
        for name in (HEAD, OTHER):
            await server.create(name, keep_inputs=True)
            await server.add(MANY, name)
            await tuned(server, head=name)
        uid = await database_of(server).read(_uid, "defects")
        await database_of(server).write(flip, "versions", "safetensors", f"head_uid = '{uid}'")
    async with start_server(data_dir=tmp_path / "data") as server:
        assert best(await server.predict(*texts("red 1"), head=OTHER)) == ["red"]
        with pytest.raises(StoredDataDamaged):
            await server.predict(*texts("red 1"))


def _uid(connection: Connection, name: str) -> str:
    found = connection.scalar(select(schema.heads.c.uid).where(schema.heads.c.name == name))
    return str(found)
