"""Examples, their embeddings, and feedback."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, event, func, select

from service.errors import LimitExceeded, NotFound
from service.store import Database, example_sets, head_summaries, open_database, schema
from service.store import embeddings as stored_embeddings
from service.store import examples as stored
from service.store import heads as stored_heads
from service.store import kept_inputs as stored_inputs
from service.store.feedback import store_feedback
from service.store.upgrade import migrate
from service.store.view_digests import view_digest
from tests.service.store.records import (
    MANY,
    add_examples,
    by_feedback_id,
    changed_by,
    example,
    feedback,
    new_head,
)
from tests.service.tiny_backbone import DIM, FINGERPRINT, vector_of
from trunkline.digest import text_digest


def labels(connection: Connection, uid: str) -> dict[str, str | None]:
    found = stored.list_examples(connection, uid, after=0, limit=MANY, label=None)
    return {record.digest: record.label for record in found}


def embeddings_stored(connection: Connection) -> int:
    return connection.scalar(select(func.count()).select_from(schema.embeddings)) or 0


async def test_examples_survive_reopening(tmp_path: Path) -> None:
    database = open_database(tmp_path)
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x", "a"), example("y", "b"))
    database.close()
    again = open_database(tmp_path)
    found = await again.read(example_sets.training_set, head.uid)
    again.close()
    assert found.labels == ["a", "b"]
    np.testing.assert_array_equal(found.embeddings, np.stack([vector_of("x"), vector_of("y")]))


async def test_last_label_of_an_input_wins(database: Database) -> None:
    head = await database.write(new_head)
    changes = [
        await database.write(add_examples, head.uid, example("x", "a")),
        await database.write(add_examples, head.uid, example("x", "b")),
        await database.write(add_examples, head.uid, example("x", "b")),
    ]
    assert changes == [["added"], ["updated"], ["unchanged"]]
    assert await database.read(labels, head.uid) == {text_digest("x"): "b"}


async def test_last_label_wins_within_one_upload(database: Database) -> None:
    head = await database.write(new_head)
    rows = [example("x", "a"), example("x", "b"), example("x", "a")]
    assert await database.write(add_examples, head.uid, *rows) == ["added", "updated", "updated"]
    assert await database.read(labels, head.uid) == {text_digest("x"): "a"}


async def test_upload_without_a_label_takes_none_away(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x", "a"))
    assert await database.write(add_examples, head.uid, example("x")) == ["unchanged"]
    assert await database.read(labels, head.uid) == {text_digest("x"): "a"}


async def test_unlabelled_example_waits_for_its_label(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"))
    assert (await database.read(example_sets.training_set, head.uid)).labels == []
    assert await database.write(add_examples, head.uid, example("x", "a")) == ["updated"]
    assert (await database.read(example_sets.training_set, head.uid)).labels == ["a"]


async def test_example_beyond_the_limit_is_refused_and_nothing_is_stored(
    database: Database,
) -> None:
    head = await database.write(new_head)
    rows = [example(text, "a") for text in "abc"]
    with pytest.raises(LimitExceeded, match="at most 2 per head, would be 3"):
        await database.write(stored.store_examples, head.uid, rows, max_examples=2)
    assert await database.read(labels, head.uid) == {}
    await database.write(stored.store_examples, head.uid, rows[:2], max_examples=2)
    relabelled = [example("a", "z"), example("b", "z")]
    found = await database.write(stored.store_examples, head.uid, relabelled, max_examples=2)
    assert found.changes == ["updated", "updated"]


async def test_example_of_a_deleted_head_is_refused(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(stored_heads.delete_head, "acme", "defects")
    with pytest.raises(NotFound):
        await database.write(add_examples, head.uid, example("x", "a"))


async def test_examples_are_listed_in_the_order_they_came(database: Database) -> None:
    head = await database.write(new_head)
    for text in "cab":
        await database.write(add_examples, head.uid, example(text, text))
    first = await database.read(stored.list_examples, head.uid, after=0, limit=2, label=None)
    rest = await database.read(
        stored.list_examples, head.uid, after=first[-1].id, limit=2, label=None
    )
    assert [record.label for record in first + rest] == ["c", "a", "b"]
    only = await database.read(stored.list_examples, head.uid, after=0, limit=9, label="a")
    assert [record.digest for record in only] == [text_digest("a")]


async def test_label_can_be_changed_and_taken_away(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x", "a"))
    await database.write(stored.update_label, head.uid, text_digest("x"), "b")
    assert await database.read(labels, head.uid) == {text_digest("x"): "b"}
    await database.write(stored.update_label, head.uid, text_digest("x"), None)
    assert await database.read(labels, head.uid) == {text_digest("x"): None}
    with pytest.raises(NotFound):
        await database.write(stored.update_label, head.uid, text_digest("y"), "b")


async def test_kept_input_stays_when_the_input_is_sent_again_without(database: Database) -> None:
    head = await database.write(new_head)
    digests = [text_digest("x"), text_digest("y")]
    await database.write(add_examples, head.uid, example("x", keep=True), example("y"))
    await database.write(add_examples, head.uid, example("x", "a"))
    assert await database.read(stored_inputs.kept_digests, head.uid, digests) == {text_digest("x")}
    await database.write(add_examples, head.uid, example("y", keep=True))
    assert await database.read(stored_inputs.kept_digests, head.uid, digests) == set(digests)


async def test_embedding_is_known_to_other_heads_of_the_tenant_and_to_no_other_tenant(
    database: Database,
) -> None:
    one = await database.write(new_head, "one")
    two = await database.write(new_head, "two")
    foreign = await database.write(new_head, "one", "bolt")
    other = await database.write(new_head, "three", fingerprint="0" * 64)
    await database.write(add_examples, one.uid, example("x"))
    digest = text_digest("x")
    assert await database.read(stored_embeddings.known_digests, two, [digest]) == {digest}
    assert await database.read(stored_embeddings.known_digests, foreign, [digest]) == set()
    assert await database.read(stored_embeddings.known_digests, other, [digest]) == set()
    found = await database.read(stored_embeddings.find_embeddings, "acme", FINGERPRINT, [digest])
    np.testing.assert_array_equal(found[digest], vector_of("x"))
    assert (
        await database.read(stored_embeddings.find_embeddings, "bolt", FINGERPRINT, [digest]) == {}
    )


async def test_thousands_of_digests_can_be_asked_for(database: Database) -> None:
    head = await database.write(new_head)
    rows = [example(str(i)) for i in range(1200)]
    await database.write(add_examples, head.uid, *rows)
    digests = [row.digest for row in rows] + ["0" * 64]
    assert len(await database.read(stored_embeddings.known_digests, head, digests)) == 1200


async def test_deleted_example_takes_its_embedding_along_unless_another_needs_it(
    database: Database,
) -> None:
    one = await database.write(new_head, "one")
    two = await database.write(new_head, "two")
    await database.write(add_examples, one.uid, example("x"), example("y"))
    await database.write(add_examples, two.uid, example("x"))
    await database.write(stored.delete_example, one.uid, text_digest("y"))
    assert await database.read(embeddings_stored) == 1
    await database.write(stored.delete_example, one.uid, text_digest("x"))
    assert await database.read(embeddings_stored) == 1
    await database.write(stored.delete_example, two.uid, text_digest("x"))
    assert await database.read(embeddings_stored) == 0
    with pytest.raises(NotFound):
        await database.write(stored.delete_example, two.uid, text_digest("x"))


async def test_deleted_head_takes_embeddings_along_that_no_other_head_needs(
    database: Database,
) -> None:
    one = await database.write(new_head, "one")
    two = await database.write(new_head, "two")
    other = await database.write(new_head, "other", "bolt")
    await database.write(add_examples, one.uid, example("shared"), example("own"))
    await database.write(add_examples, two.uid, example("shared"))
    await database.write(add_examples, other.uid, example("own"))
    await database.write(stored_heads.delete_head, "acme", "one")
    digests = [text_digest("shared"), text_digest("own")]
    assert await database.read(stored_embeddings.known_digests, two, digests) == {
        text_digest("shared")
    }
    assert await database.read(stored_embeddings.known_digests, other, digests) == {
        text_digest("own")
    }


async def test_feedback_is_an_example_with_the_right_label(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x", "wrong"))
    rows = [feedback("1", "x", "right"), feedback("2", "y", "right")]
    known = await database.write(store_feedback, head.uid, rows, max_examples=9)
    assert known.duplicates == [False, False]
    found = await database.read(stored.list_examples, head.uid, after=0, limit=9, label=None)
    assert [(record.label, record.source) for record in found] == [("right", "feedback")] * 2
    assert (await database.read(head_summaries.count, head.uid)).feedback == 2


async def test_repeated_feedback_id_is_acknowledged_and_learned_once(database: Database) -> None:
    head = await database.write(new_head)
    rows = [feedback("1", "x", "a"), feedback("1", "x", "a")]
    stored_rows = await database.write(store_feedback, head.uid, rows, max_examples=9)
    assert stored_rows.duplicates == [False, True]
    again = [feedback("1", "x", "a")]
    stored_rows = await database.write(store_feedback, head.uid, again, max_examples=9)
    assert stored_rows.duplicates == [True]
    assert await database.read(labels, head.uid) == {text_digest("x"): "a"}
    assert (await database.read(head_summaries.count, head.uid)).feedback == 1


async def test_same_feedback_id_of_another_head_is_another_feedback(database: Database) -> None:
    for tenant in ("acme", "bolt"):
        head = await database.write(new_head, tenant=tenant)
        rows = [feedback("1", "x", "a")]
        stored_rows = await database.write(store_feedback, head.uid, rows, max_examples=9)
        assert stored_rows.duplicates == [False]


def columns(connection: Connection, uid: str, text: str, *names: str) -> tuple[Any, ...]:
    table = schema.examples.c
    query = select(*(table[name] for name in names))
    row = connection.execute(query.where(table.head_uid == uid, table.digest == text_digest(text)))
    return tuple(row.one())


async def test_feedback_changes_the_label_that_counts_and_neither_the_uploaded_one_nor_the_weight(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, replace(example("x", "a"), weight=3.0))
    await database.write(store_feedback, head.uid, [feedback("1", "x", "b")], max_examples=9)
    found = await database.read(columns, head.uid, "x", "label", "own_label", "source", "weight")
    assert found == ("b", "a", "feedback", 3.0)
    await database.write(store_feedback, head.uid, [feedback("2", "y", "b")], max_examples=9)
    assert await database.read(columns, head.uid, "y", "label", "own_label") == ("b", None)


@pytest.mark.parametrize("how", ["upload", "same upload", "update", "delete"])
async def test_later_label_of_its_owner_supersedes_feedback(database: Database, how: str) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x", "a"), example("y", "a"))
    rows = [feedback("1", "x", "b"), feedback("2", "y", "b")]
    await database.write(store_feedback, head.uid, rows, max_examples=9)
    if how == "update":
        await database.write(stored.update_label, head.uid, text_digest("x"), "c")
    elif how == "delete":
        await database.write(stored.delete_example, head.uid, text_digest("x"))
    else:
        label = "b" if how == "same upload" else "c"
        await database.write(add_examples, head.uid, example("x", label))
    states = await database.read(by_feedback_id, head.uid, "state")
    assert states == {"1": "superseded", "2": "live"}
    if how != "delete":
        label, own, source = await database.read(
            columns, head.uid, "x", "label", "own_label", "source"
        )
        assert own == label
        assert source == "upload"


async def test_upload_without_a_label_leaves_feedback_in_force(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(store_feedback, head.uid, [feedback("1", "x", "b")], max_examples=9)
    assert await database.write(add_examples, head.uid, example("x")) == ["unchanged"]
    assert await database.read(by_feedback_id, head.uid, "state") == {"1": "live"}
    assert await database.read(labels, head.uid) == {text_digest("x"): "b"}


async def test_held_out_examples_are_for_testing_only(database: Database) -> None:
    head = await database.write(new_head)
    tests = [replace(example(text, "a"), held_out=True) for text in "xy"]
    await database.write(add_examples, head.uid, *tests, example("z", "b"), example("w"))
    training = await database.read(example_sets.training_set, head.uid)
    testing = await database.read(example_sets.held_out_set, head.uid)
    assert training.members == {text_digest("z"): "b"}
    assert testing.members == {text_digest("x"): "a", text_digest("y"): "a"}
    assert await database.read(example_sets.label_counts, head.uid) == {"b": 1}
    counts = await database.read(head_summaries.count, head.uid)
    assert (counts.labelled, counts.held_out) == (3, 2)
    assert await database.write(add_examples, head.uid, example("x", "b")) == ["updated"]
    assert len((await database.read(example_sets.training_set, head.uid)).labels) == 2


async def test_weight_stays_until_another_one_is_given(database: Database) -> None:
    head = await database.write(new_head)
    heavy = replace(example("x", "a"), weight=2.5)
    assert await database.write(add_examples, head.uid, heavy, example("y", "a")) == ["added"] * 2
    assert await database.write(add_examples, head.uid, example("x", "a")) == ["unchanged"]
    found = await database.read(example_sets.training_set, head.uid)
    assert found.weights.tolist() == [2.5, 1.0]
    light = replace(example("x", "a"), weight=0.5)
    assert await database.write(add_examples, head.uid, light) == ["updated"]
    left = (await database.read(example_sets.training_set, head.uid)).without({text_digest("y")})
    assert (left.weights.tolist(), left.labels) == ([0.5], ["a"])
    assert left.embeddings.shape == (1, DIM)


async def test_views_go_with_the_last_example_of_their_input(database: Database) -> None:
    one = await database.write(new_head, "one")
    two = await database.write(new_head, "two")
    digest = text_digest("x")
    views = {view_digest(digest, i): vector_of(f"v{i}") for i in (0, 7)}
    await database.write(add_examples, one.uid, replace(example("x"), views=views))
    await database.write(add_examples, two.uid, example("x"))
    assert await database.read(embeddings_stored) == 3
    changed = await changed_by(database, stored.delete_example, one.uid, digest)
    assert changed.needed == {"acme": {digest: {FINGERPRINT}}}
    assert await database.read(embeddings_stored) == 3
    await database.write(stored_heads.delete_head, "acme", "two")
    assert await database.read(embeddings_stored) == 0


async def test_views_of_an_example_that_was_deleted_meanwhile_are_not_stored(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"))
    views = {text_digest(text): {"a" + text_digest(text)[1:]: vector_of("v")} for text in "xy"}
    await database.write(stored.store_views, head.uid, views)
    assert await database.read(embeddings_stored) == 2


async def test_newest_examples_without_a_label_are_found_first(database: Database) -> None:
    head = await database.write(new_head)
    held = replace(example("h"), held_out=True)
    await database.write(add_examples, head.uid, *map(example, "abc"), example("l", "a"), held)
    digests, vectors = await database.read(example_sets.unlabelled_set, head.uid, 2)
    assert digests == [text_digest("c"), text_digest("b")]
    np.testing.assert_array_equal(vectors, np.stack([vector_of("c"), vector_of("b")]))


UPLOADS = st.lists(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from([None, "1", "2"])),
        min_size=1,
        max_size=5,
    ),
    max_size=6,
)


@given(UPLOADS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
def test_any_uploads_leave_each_input_once_with_its_last_label(
    uploads: list[list[tuple[str, str | None]]],
) -> None:
    engine = create_engine("sqlite://")
    event.listen(engine, "connect", lambda c, _: c.execute("PRAGMA foreign_keys=ON"))
    migrate(engine)
    expected: dict[str, str | None] = {}
    with engine.begin() as connection:
        head = new_head(connection)
        for upload in uploads:
            rows = [example(text, label) for text, label in upload]
            changes = add_examples(connection, head.uid, *rows)
            for (text, label), change in zip(upload, changes, strict=True):
                known = text_digest(text) in expected
                before = expected.get(text_digest(text))
                expected[text_digest(text)] = label or before
                assert (change == "added") == (not known)
                assert (change == "updated") == (known and label not in (None, before))
        assert labels(connection, head.uid) == expected
        assert embeddings_stored(connection) == len(expected)
        counts = head_summaries.count(connection, head.uid)
        assert counts.examples == len(expected)
        assert counts.labelled == sum(label is not None for label in expected.values())
        assert sum(example_sets.label_counts(connection, head.uid).values()) == counts.labelled
    engine.dispose()
