"""What examples belong to is kept, and reaches trainings and live copies."""

from __future__ import annotations

from dataclasses import replace

from service.store import Database, example_sets
from service.store import examples as stored_examples
from tests.service.store.records import add_examples, example, new_head


async def test_a_group_stays_until_another_or_none_is_given(database: Database) -> None:
    head = await database.write(new_head)

    async def put(group: str | None) -> tuple[list[str], str | None]:
        item = replace(example("one", "a"), group=group)
        changes = await database.write(add_examples, head.uid, item)
        found = await database.read(
            stored_examples.list_examples, head.uid, after=0, limit=9, label=None
        )
        return changes, found[0].group

    assert await put("scene") == (["added"], "scene")
    assert await put(None) == (["unchanged"], "scene")
    assert await put("scene") == (["unchanged"], "scene")
    assert await put("other") == (["updated"], "other")
    assert await put("") == (["updated"], None)


async def test_groups_come_with_the_training_set(database: Database) -> None:
    head = await database.write(new_head)
    named = replace(example("one", "a"), group="scene")
    await database.write(add_examples, head.uid, named, example("two", "b"))
    found = await database.read(example_sets.training_set, head.uid)
    assert found.groups == ["scene", None]
    assert found.without({named.digest}).groups == [None]
