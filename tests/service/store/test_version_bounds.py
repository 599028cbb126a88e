"""Which versions of a head stay when others are made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, select, text

from service.errors import LimitExceeded, NotFound, PreconditionFailed
from service.store import Database, schema
from service.store import heads as stored_heads
from service.store import versions as stored_versions
from service.store.head_records import HeadRecord
from service.store.sqlite import SqliteDatabase
from service.store.version_bounds import delete_version, pin_version, remove_oldest
from tests.service.store.earlier_stores import store_of
from tests.service.store.records import add_version, new_head

MOST = 4


def made(connection: Connection, uid: str, *, activate: bool = True) -> tuple[int, ...]:
    version = add_version(connection, uid, activate=activate)
    return remove_oldest(connection, uid, version, MOST)


def there(connection: Connection, uid: str) -> set[int]:
    return {row.version for row in stored_versions.list_versions(connection, uid, 10**6, 10**6)}


def pin(connection: Connection, head: HeadRecord, version: int, *, pinned: bool = True) -> None:
    pin_version(connection, head, version, pinned=pinned, most=None)


async def test_oldest_version_goes_once_there_are_too_many(database: Database) -> None:
    head = await database.write(new_head)
    for _ in range(MOST):
        assert await database.write(made, head.uid) == ()
    assert await database.write(made, head.uid) == (1,)
    assert await database.read(there, head.uid) == {2, 3, 4, 5}


async def test_without_a_bound_all_versions_stay(database: Database) -> None:
    head = await database.write(new_head)
    versions = [await database.write(add_version, head.uid, activate=True) for _ in range(20)]
    assert await database.write(remove_oldest, head.uid, versions[-1], None) == ()
    assert len(await database.read(there, head.uid)) == 20


async def test_active_the_one_before_it_and_pinned_versions_stay(database: Database) -> None:
    head = await database.write(new_head)
    for _ in range(MOST):
        await database.write(made, head.uid)
    await database.write(stored_versions.activate_version, head.uid, 2)
    await database.write(stored_versions.activate_version, head.uid, 1)
    await database.write(pin, head, 3)
    assert await database.write(made, head.uid, activate=False) == (4,)
    assert await database.read(there, head.uid) == {1, 2, 3, 5}


async def test_version_before_one_that_was_forgotten_is_what_a_rollback_goes_to(
    database: Database,
) -> None:
    head = await database.write(new_head)
    for _ in range(3):
        await database.write(made, head.uid)
    await database.write(stored_versions.activate_version, head.uid, 1)
    await database.write(stored_versions.activate_version, head.uid, 3)
    head = await database.read(stored_heads.require_head, head.uid)
    await database.write(stored_versions.delete_versions, head, (3,))
    for _ in range(2):
        await database.write(made, head.uid, activate=False)
    await database.write(stored_versions.activate_version, head.uid, 5)
    assert await database.write(made, head.uid, activate=False) == (2,)
    assert await database.read(there, head.uid) == {1, 4, 5, 6}


async def test_version_is_made_though_none_may_go(database: Database) -> None:
    head = await database.write(new_head)
    for version in range(1, MOST + 1):
        await database.write(made, head.uid)
        await database.write(pin, head, version)
    assert await database.write(made, head.uid) == ()
    assert len(await database.read(there, head.uid)) == MOST + 1


async def test_all_beyond_a_bound_that_is_new_go_at_once(database: Database) -> None:
    head = await database.write(new_head)
    for _ in range(10):
        await database.write(add_version, head.uid, activate=True)
    assert await database.write(made, head.uid) == (1, 2, 3, 4, 5, 6, 7)


async def test_pins_leave_room_within_the_bound(database: Database) -> None:
    head = await database.write(new_head)
    for _ in range(MOST):
        await database.write(made, head.uid)
    await database.write(pin_version, head, 2, pinned=True, most=MOST)
    await database.write(pin_version, head, 2, pinned=True, most=MOST)
    with pytest.raises(LimitExceeded, match="at most 1 versions of a head, 1 are"):
        await database.write(pin_version, head, 3, pinned=True, most=MOST)
    await database.write(pin_version, head, 2, pinned=False, most=MOST)
    await database.write(pin_version, head, 3, pinned=True, most=MOST)


async def test_active_and_pinned_versions_are_not_deleted(database: Database) -> None:
    head = await database.write(new_head)
    for _ in range(3):
        await database.write(made, head.uid)
    await database.write(pin, head, 1)
    head = await database.read(stored_heads.require_head, head.uid)
    for version, why in ((3, "is the active one"), (1, "is pinned")):
        with pytest.raises(PreconditionFailed, match=why):
            await database.write(delete_version, head, version)
    with pytest.raises(NotFound):
        await database.write(delete_version, head, 9)
    await database.write(delete_version, head, 2)
    assert await database.read(there, head.uid) == {1, 3}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    with store_of("head", tmp_path_factory.mktemp("store")) as connection:
        yield connection


@settings(max_examples=40)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["make", "make inactive", "activate", "pin", "unpin"]),
            st.integers(0, 9),
        ),
        max_size=20,
    )
)
def test_whatever_was_done_what_must_stay_stays_within_the_bound(
    store: Connection, steps: list[tuple[str, int]]
) -> None:
    undone = store.begin_nested()
    head, history = new_head(store), [0]
    for step, which in steps:
        if step.startswith("make"):
            made(store, head.uid, activate=step == "make")
        elif numbers := sorted(there(store, head.uid)):
            change(store, head, step, numbers[which % len(numbers)])
        head = stored_heads.require_head(store, head.uid)
        if head.active_version != history[-1]:
            history.append(head.active_version)
        kept = there(store, head.uid)
        assert len(kept) <= MOST
        assert {version for version in history[-2:] if version} | pinned(store) <= kept
    undone.rollback()


def change(connection: Connection, head: HeadRecord, step: str, version: int) -> None:
    if step == "activate":
        stored_versions.activate_version(connection, head.uid, version)
        return
    try:
        pin_version(connection, head, version, pinned=step == "pin", most=MOST)
    except LimitExceeded:
        assert len(pinned(connection)) == MOST - 3


def pinned(connection: Connection) -> set[int]:
    table = schema.versions.c
    return set(connection.scalars(select(table.version).where(table.pinned)))


def test_store_of_an_earlier_release_keeps_what_was_most_likely_active_before(
    tmp_path: Path,
) -> None:
    with store_of("0009", tmp_path) as connection:
        connection.execute(text("INSERT INTO tenants VALUES (1, 'acme', 0)"))
        connection.execute(
            text(
                "INSERT INTO heads (uid, tenant_id, name, backbone, fingerprint, spec, "
                "keep_inputs, active_version, last_version, created_at) "
                "VALUES ('u', 1, 'defects', 'tiny/text', 'f', '{}', 0, 3, 4, 0)"
            )
        )
        for version in (1, 2, 3, 4):
            connection.execute(
                text(
                    "INSERT INTO versions (head_uid, version, source, labels, report, "
                    "example_count, safetensors, created_at, backbone, base_fingerprint) "
                    f"VALUES ('u', {version}, 'import', '[]', '{{}}', 0, x'00', 0, 'b', 'f')"
                )
            )
    database = SqliteDatabase(tmp_path)
    try:
        with database._read_engine.begin() as connection:
            previous = connection.scalar(select(schema.heads.c.previous_version))
            assert (previous, pinned(connection)) == (2, set())
    finally:
        database.close()
