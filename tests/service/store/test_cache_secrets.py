"""Secrets of a shared cache end with what was sealed with them."""

from __future__ import annotations

import pytest

from models.tails import tail_fingerprint
from service.errors import NotFound
from service.store import Database
from service.store import examples as stored_examples
from service.store import forgetting as stored_forgetting
from service.store import heads as stored_heads
from service.store import tenants as stored_tenants
from service.store.cache_secrets import CacheSecrets, find_secrets, make_secrets, slot_of
from service.store.tails import NewTail, store_tail
from service.store.view_digests import view_digest
from tests.service.store.records import add_examples, example, new_head
from trunkline.digest import text_digest

X, Y = map(text_digest, ("x", "y"))


async def secrets_of(database: Database, tenant: str = "acme") -> CacheSecrets:
    return await database.write(make_secrets, tenant)


def renewed(before: CacheSecrets, after: CacheSecrets) -> set[int]:
    assert before.tag == after.tag
    pairs = enumerate(zip(before.slots, after.slots, strict=True))
    return {slot for slot, (old, new) in pairs if old != new}


async def test_secrets_are_made_once_for_each_tenant_and_for_none_that_is_not(
    database: Database,
) -> None:
    await database.write(new_head)
    await database.write(new_head, "defects", "bolt")
    assert await database.read(find_secrets, "acme") is None
    ours = await secrets_of(database)
    assert await secrets_of(database) == ours == await database.read(find_secrets, "acme")
    theirs = await secrets_of(database, "bolt")
    assert not set(ours.slots) & set(theirs.slots)
    assert len(set(ours.slots)) == len(ours.slots)
    for ask in (database.read(find_secrets, "nobody"), database.write(make_secrets, "nobody")):
        with pytest.raises(NotFound):
            await ask


async def test_deletion_renews_the_secret_of_the_example_and_its_views_alone(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"), example("y"))
    before = await secrets_of(database)
    await database.write(stored_examples.delete_example, head.uid, X)
    after = await secrets_of(database)
    assert renewed(before, after) == {slot_of(X)} == {slot_of(view_digest(X, 3))}


async def test_forgetting_renews_the_secret_of_each_input(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"), example("y"))
    before = await secrets_of(database)
    plan = await database.read(stored_forgetting.plan, head.uid, [X, Y])
    await database.write(stored_forgetting.forget, head.uid, plan, None)
    assert renewed(before, await secrets_of(database)) == {slot_of(X), slot_of(Y)}


async def test_a_tail_that_goes_renews_all_as_it_may_have_embedded_anything(
    database: Database,
) -> None:
    head = await database.write(new_head)
    tail = NewTail(tail_fingerprint(b"weights"), "tail", ("one",), b"weights", {})
    await database.write(store_tail, head, tail)
    before = await secrets_of(database)
    await database.write(stored_heads.delete_head, "acme", "defects")
    assert len(renewed(before, await secrets_of(database))) == len(before.slots)


async def test_tenant_of_the_same_name_has_other_secrets(database: Database) -> None:
    await database.write(new_head)
    before = await secrets_of(database)
    await database.write(stored_tenants.delete_tenant, "acme")
    with pytest.raises(NotFound):
        await database.read(find_secrets, "acme")
    await database.write(new_head)
    after = await secrets_of(database)
    assert after.tag != before.tag
    assert not set(before.slots) & set(after.slots)
