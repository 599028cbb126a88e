"""What callers call their examples is kept, found, and gone with them."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Connection

from service.store import Database, forgetting
from service.store import examples as stored_examples
from service.store.example_rules import Noted, UploadChange
from service.store.external_ids import find_external_ids
from tests.service.store.records import MANY, example, new_head
from trunkline.digest import text_digest


def put(
    connection: Connection, uid: str, name: str | None, text: str = "one"
) -> tuple[list[str], list[Noted]]:
    item = replace(example(text, "a"), external_id=name)
    stored = stored_examples.store_examples(connection, uid, [item], max_examples=MANY)
    return list(stored.changes), stored.noted[0]


def names(connection: Connection, uid: str) -> dict[str, str]:
    return find_external_ids(connection, uid, [text_digest("one"), text_digest("two")])


async def test_a_name_stays_until_another_or_none_is_given(database: Database) -> None:
    head = await database.write(new_head)
    one, renamed = text_digest("one"), [Noted(UploadChange.EXTERNAL_ID)]
    assert await database.write(put, head.uid, None) == (["added"], [])
    assert await database.read(names, head.uid) == {}
    assert await database.write(put, head.uid, "a/1.jpg") == (["unchanged"], [])
    assert await database.write(put, head.uid, None) == (["unchanged"], [])
    assert await database.read(names, head.uid) == {one: "a/1.jpg"}
    assert await database.write(put, head.uid, "b/1.jpg") == (["unchanged"], renamed)
    assert await database.read(names, head.uid) == {one: "b/1.jpg"}
    assert await database.write(put, head.uid, "") == (["unchanged"], renamed)
    assert await database.read(names, head.uid) == {}


async def test_examples_are_found_by_their_names_page_by_page(database: Database) -> None:
    head, other = await database.write(new_head), await database.write(new_head, "other")
    await database.write(put, other.uid, "a/1.jpg")
    for text in ("one", "two", "three"):
        await database.write(put, head.uid, "a/1.jpg" if text != "two" else "a/1.jpg2", text)
    found = await database.read(
        stored_examples.list_examples,
        head.uid,
        after=0,
        limit=1,
        label=None,
        external_ids=["a/1.jpg", "unknown"],
    )
    assert [row.digest for row in found] == [text_digest("one")]
    found = await database.read(
        stored_examples.list_examples,
        head.uid,
        after=found[0].id,
        limit=9,
        label=None,
        external_ids=["a/1.jpg"],
    )
    assert [(row.digest, row.external_id) for row in found] == [(text_digest("three"), "a/1.jpg")]


async def test_a_name_goes_with_its_example(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(put, head.uid, "a/1.jpg")
    await database.write(put, head.uid, "a/2.jpg", "two")
    await database.write(stored_examples.delete_example, head.uid, text_digest("one"))
    assert await database.read(names, head.uid) == {text_digest("two"): "a/2.jpg"}
    wanted = await database.read(forgetting.plan, head.uid, [text_digest("two")])
    await database.write(forgetting.forget, head.uid, wanted, None)
    assert await database.read(names, head.uid) == {}
    await database.write(put, head.uid, None)
    assert await database.read(names, head.uid) == {}
