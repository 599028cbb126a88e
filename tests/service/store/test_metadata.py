"""Pairs of examples are kept, found, and gone with them, on both engines."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection, func, select

from service.store import Database, comparable, example_search, forgetting, schema
from service.store import examples as stored_examples
from service.store import heads as stored_heads
from service.store.example_search import Wanted
from service.store.metadata import find_metadata
from tests.service.store.records import add_examples, example, new_head
from trunkline.digest import text_digest

ONE, TWO, THREE = map(text_digest, ("one", "two", "three"))


def put(connection: Connection, uid: str) -> None:
    add_examples(
        connection,
        uid,
        replace(example("one", "a"), metadata={"site": "A", "shift": "1"}),
        replace(example("two", "b"), metadata={"site": "A"}),
        replace(example("three"), metadata={"site": "a"}),
    )


def count(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(schema.example_metadata)) or 0


async def test_pairs_find_examples_and_go_with_them(database: Database) -> None:
    head, other = await database.write(new_head), await database.write(new_head, "other")
    for uid in (head.uid, other.uid):
        await database.write(put, uid)
    for pairs, found in (
        ({"site": "A"}, [ONE, TWO]),
        ({"site": "A", "shift": "1"}, [ONE]),
        ({"site": "a"}, [THREE]),
        ({"shift": "2"}, []),
    ):
        wanted = Wanted(metadata=pairs)
        page = await database.read(
            example_search.search_examples, head.uid, wanted, after=0, limit=9
        )
        assert [one.digest for one in page.examples] == found
        assert await database.read(example_search.matching_digests, head.uid, wanted) == found
    read = await database.read(find_metadata, head.uid, [ONE, THREE])
    assert read == {ONE: {"shift": "1", "site": "A"}, THREE: {"site": "a"}}
    labelled = await database.read(comparable.state_of, head.uid, unlabelled=False)
    everything = await database.read(comparable.state_of, head.uid, unlabelled=True)
    assert (labelled.examples, everything.examples) == (2, 3)
    await database.write(stored_examples.delete_example, head.uid, ONE)
    plan = await database.read(forgetting.plan, head.uid, [TWO])
    await database.write(forgetting.forget, head.uid, plan, None)
    assert await database.read(find_metadata, head.uid, [ONE, TWO]) == {}
    assert await database.read(count) == 5
    await database.write(stored_heads.delete_head, "acme", "other")
    assert await database.read(count) == 1
