"""What servers that share a store tell one another, in order and without a gap."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from service.store import Database, change_feed, schema
from service.store.change_feed import append_change, changes_after, clear_changes, last_change
from service.store.changes import Changed
from service.store.quotas import Quotas
from service.store.tenants import update_quotas

CHANGES = [
    Changed(heads={"tenants/acme/heads/a"}, live={"uid"}),
    Changed(feedback={"uid": "acme"}, tails={"acme": {"f" * 64}}),
    Changed(keys={"k1", "k2"}, quotas={"acme": Quotas(examples=3)}, gone={"beta"}),
]


async def test_changes_are_read_as_they_were_noted_from_where_a_server_stands(
    database: Database,
) -> None:
    for changed in CHANGES:
        await database.write(append_change, "other", changed)
    assert await database.read(changes_after, 0) == (CHANGES, 3)
    assert await database.read(changes_after, 2) == (CHANGES[2:], 3)
    assert await database.read(changes_after, 3) == ([], 3)


async def test_digests_of_what_was_deleted_are_not_noted(database: Database) -> None:
    digest = "d" * 64
    await database.write(append_change, "other", Changed(needed={"acme": {digest: set()}}))
    changes, _ = await database.read(changes_after, 0)
    assert changes == [Changed(outdated={"acme"})]


async def test_server_that_missed_changes_is_told_to_trust_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change_feed, "KEPT", 2)
    monkeypatch.setattr(change_feed, "TRIM_EVERY", 2)
    await database.write(update_quotas, "acme", {"examples": 3})
    for changed in CHANGES + CHANGES[:1]:
        await database.write(append_change, "other", changed)
    changes, number = await database.read(changes_after, 1)
    (changed,) = changes
    assert number == 4
    assert (changed.everything, changed.quotas) == (True, {"acme": Quotas(examples=3)})
    assert await database.read(changes_after, 2) == ([CHANGES[2], CHANGES[0]], 4)


async def test_damaged_change_is_as_one_that_was_missed(database: Database) -> None:
    await database.write(append_change, "other", CHANGES[0])
    await database.write(damage)
    changes, number = await database.read(changes_after, 0)
    assert ([changed.everything for changed in changes], number) == ([True], 1)


def damage(connection: Connection) -> None:
    connection.execute(update(schema.changes).values(changed='{"tails": 3}'))


async def test_numbers_go_on_after_a_start(database: Database) -> None:
    await database.write(append_change, "other", CHANGES[0])
    await database.write(append_change, "other", CHANGES[1])
    await database.write(clear_changes)
    assert await database.read(last_change) == 2
    await database.write(append_change, "other", CHANGES[2])
    assert await database.read(changes_after, 2) == (CHANGES[2:], 3)
