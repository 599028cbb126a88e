"""Tails in the store, and data of before there were any."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, select

from models.tails import tail_fingerprint
from service.errors import Aborted, FingerprintMismatch, NotFound
from service.store import Database, example_sets, open_database, schema
from service.store import embeddings as stored_embeddings
from service.store import examples as stored_examples
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store import tails as stored_tails
from service.store import versions as stored_versions
from service.store.jobs import JobState, Move, NewVersion
from service.store.tails import NewTail
from tests.service.store.earlier_stores import store_of
from tests.service.store.records import (
    add_examples,
    add_version,
    changed_by,
    example,
    new_head,
)
from tests.service.tiny_backbone import FINGERPRINT, vector_of
from trunkline.digest import text_digest

OTHER = "0" * 64
DIGESTS = [text_digest(text) for text in ("a", "b")]


def tail(name: str = "one") -> NewTail:
    vectors = {digest: np.ones(4, np.float32) for digest in DIGESTS}
    data = b"weights of " + name.encode()
    return NewTail(tail_fingerprint(data), "tail", ("one", "two"), data, vectors)


ONE, TWO = tail("one").fingerprint, tail("two").fingerprint


def trained(
    connection: Connection, uid: str, new: NewTail | None, move: Move | None = None
) -> stored_jobs.JobRecord | None:
    job = stored_jobs.start_job(
        connection, uid, {"family": "ridge"}, True, None if move is None else move.backbone
    )
    members = dict.fromkeys(DIGESTS, "label")
    version = NewVersion(("a", "b"), {"family": "ridge"}, b"weights", members, new)
    return stored_jobs.finish_with_version(connection, job, version, move)


async def head_with_examples(database: Database, name: str = "defects") -> str:
    head = await database.write(new_head, name)
    await database.write(add_examples, head.uid, example("a", "a", keep=True), example("b", "b"))
    return head.uid


def embeddings(connection: Connection) -> set[tuple[str, str]]:
    table = schema.embeddings.c
    return {(row[0], row[1]) for row in connection.execute(select(table.fingerprint, table.digest))}


async def test_version_with_its_tail_and_features_is_stored_at_once(database: Database) -> None:
    uid = await head_with_examples(database)
    job = await database.write(trained, uid, tail())
    assert job is not None
    assert (job.state, job.version) == (JobState.SUCCEEDED, 1)
    version = await database.read(stored_versions.get_version, uid, 1)
    assert version.tail is not None
    assert (version.tail.strategy, version.tail.blocks) == ("tail", ("one", "two"))
    assert (version.backbone, version.base_fingerprint) == ("tiny/text", FINGERPRINT)
    head = await database.read(stored_heads.require_head, uid)
    assert (head.tail, head.active_fingerprint) == (tail().fingerprint, tail().fingerprint)
    assert await database.read(stored_tails.get_tail, uid, tail().fingerprint) == tail().data
    found = await database.read(example_sets.training_set, uid, head.active_fingerprint)
    np.testing.assert_array_equal(found.embeddings, np.ones((2, 4)))
    plain = await database.read(example_sets.training_set, uid)
    np.testing.assert_array_equal(plain.embeddings[0], vector_of("a"))


async def test_features_of_an_example_that_was_deleted_meanwhile_are_not_stored(
    database: Database,
) -> None:
    uid = await head_with_examples(database)
    await database.write(stored_examples.delete_example, uid, DIGESTS[0])
    await database.write(trained, uid, tail())
    assert await database.read(embeddings) == {
        (FINGERPRINT, DIGESTS[1]),
        (tail().fingerprint, DIGESTS[1]),
    }


async def test_deleted_example_leaves_no_embedding_by_any_tail(database: Database) -> None:
    uid = await head_with_examples(database)
    for name in ("one", "two"):
        await database.write(trained, uid, tail(name))
    changed = await changed_by(database, stored_examples.delete_example, uid, DIGESTS[0])
    assert changed.needed == {"acme": {DIGESTS[0]: set()}}
    left = {digest for _, digest in await database.read(embeddings)}
    assert left == {DIGESTS[1]}


async def test_example_that_another_head_holds_keeps_what_that_needs(database: Database) -> None:
    one = await head_with_examples(database, "one")
    two = await head_with_examples(database, "two")
    await database.write(trained, one, tail("one"))
    await database.write(trained, two, tail("two"))
    changed = await changed_by(database, stored_examples.delete_example, one, DIGESTS[0])
    assert changed.needed == {"acme": {DIGESTS[0]: {FINGERPRINT, TWO}}}
    left = {name for name, digest in await database.read(embeddings) if digest == DIGESTS[0]}
    assert left == {FINGERPRINT, TWO}


async def test_tail_goes_with_the_last_version_that_runs_on_it(database: Database) -> None:
    uid = await head_with_examples(database)
    for name in ("one", "one", "two"):
        await database.write(trained, uid, tail(name))
    head = await database.read(stored_heads.require_head, uid)
    assert await database.write(stored_versions.delete_versions, head, (1, 3)) == (TWO,)
    assert await database.read(stored_tails.get_tail, uid, ONE)
    with pytest.raises(NotFound):
        await database.read(stored_tails.get_tail, uid, TWO)
    assert {name for name, _ in await database.read(embeddings)} == {FINGERPRINT, ONE}


async def test_same_tail_of_another_head_stays_with_its_embeddings(database: Database) -> None:
    one = await head_with_examples(database, "one")
    two = await head_with_examples(database, "two")
    for uid in (one, two):
        await database.write(trained, uid, tail())
    head = await database.read(stored_heads.require_head, one)
    assert await database.write(stored_versions.delete_versions, head, (1,)) == ()
    with pytest.raises(NotFound):
        await database.read(stored_tails.get_tail, one, tail().fingerprint)
    assert await database.read(stored_tails.get_tail, two, tail().fingerprint)
    assert len(await database.read(embeddings)) == 4


async def test_same_tail_of_another_tenant_keeps_no_embeddings_of_this_one(
    database: Database,
) -> None:
    one = await head_with_examples(database)
    other = await database.write(new_head, tenant="bolt")
    await database.write(add_examples, other.uid, example("a", "a"), example("b", "b"))
    for uid in (one, other.uid):
        await database.write(trained, uid, tail())
    head = await database.read(stored_heads.require_head, one)
    name = tail().fingerprint
    assert await database.write(stored_versions.delete_versions, head, (1,)) == (name,)
    find = stored_embeddings.find_embeddings
    assert await database.read(find, "acme", name, DIGESTS) == {}
    assert (await database.read(find, "bolt", name, DIGESTS)).keys() == set(DIGESTS)


async def test_head_moves_with_the_version_and_old_versions_stay_behind(
    database: Database,
) -> None:
    uid = await head_with_examples(database)
    await database.write(add_version, uid, activate=True)
    vectors = {digest: np.zeros(4, np.float32) for digest in DIGESTS}
    move = Move("tiny/other", OTHER)
    assert await database.write(trained, uid, None, move) is None, "examples lack embeddings"
    head = await database.read(stored_heads.require_head, uid)
    assert (head.backbone, head.fingerprint) == ("tiny/text", FINGERPRINT)
    await database.write(stored_examples.store_vectors, uid, OTHER, vectors)
    job = await database.write(trained, uid, None, move)
    assert job is not None
    head = await database.read(stored_heads.require_head, uid)
    assert (head.backbone, head.fingerprint, head.active_version) == ("tiny/other", OTHER, 2)
    assert {name for name, _ in await database.read(embeddings)} == {OTHER}
    with pytest.raises(FingerprintMismatch) as caught:
        await database.write(stored_versions.activate_version, uid, 1)
    assert (caught.value.limit, caught.value.value) == (OTHER, FINGERPRINT)
    new = example("c", "a")
    with pytest.raises(Aborted, match="has moved"):
        await database.write(
            stored_examples.store_examples, uid, [new], max_examples=9, fingerprint=FINGERPRINT
        )


async def test_embeddings_that_other_heads_need_stay_when_one_moves(database: Database) -> None:
    uid = await head_with_examples(database)
    await head_with_examples(database, "other")
    vectors = {digest: np.zeros(4, np.float32) for digest in DIGESTS}
    await database.write(stored_examples.store_vectors, uid, OTHER, vectors)
    await database.write(trained, uid, None, Move("tiny/other", OTHER))
    assert {name for name, _ in await database.read(embeddings)} == {FINGERPRINT, OTHER}
    assert await database.read(stored_embeddings.find_embeddings, "acme", FINGERPRINT, DIGESTS)


async def test_data_of_before_there_were_tails_is_taken_over(tmp_path: Path) -> None:
    with store_of("0002", tmp_path):
        pass
    with sqlite3.connect(tmp_path / "trunkline.db") as old:
        old.executescript(
            f"""
            INSERT INTO tenants (id, name, created_at) VALUES (1, 'acme', 0);
            INSERT INTO heads (uid, tenant_id, name, backbone, fingerprint, spec, keep_inputs,
                active_version, last_version, created_at)
            VALUES ('u', 1, 'defects', 'tiny/text', '{FINGERPRINT}', '{{"family": "ridge"}}', 1,
                1, 2, 0);
            INSERT INTO versions VALUES ('u', 1, 'training', '["a", "b"]', '{{}}', 4, x'77', 0);
            INSERT INTO versions VALUES ('u', 2, 'import', '["a", "b"]', '{{}}', 0, x'78', 0);
            INSERT INTO jobs VALUES ('j', 'u', 'queued', '{{"family": "ridge"}}', 1, 0, '', '', 0,
                NULL);
            """
        )
    database = open_database(tmp_path)
    try:
        for number, data in ((1, b"w"), (2, b"x")):
            version = await database.read(stored_versions.get_version, "u", number)
            found = (version.backbone, version.base_fingerprint, version.tail)
            assert found == ("tiny/text", FINGERPRINT, None)
            assert await database.read(stored_versions.get_weights, "u", number) == data
        head = await database.read(stored_heads.get_head, "acme", "defects")
        assert (head.active_version, head.tail) == (1, None)
        (job,) = await database.read(stored_jobs.unfinished_jobs)
        assert (job.id, job.backbone) == ("j", None)
        await database.write(stored_versions.activate_version, "u", 2)
    finally:
        database.close()
