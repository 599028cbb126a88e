"""The log of feedback: what is refused, how long it is kept, and what it says of the head."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, insert, select

from service.errors import Aborted, AlreadyExists, InvalidRequest, PreconditionFailed
from service.store import Database, schema
from service.store import example_sets as sets
from service.store import feedback as stored
from service.store import heads as stored_heads
from service.store.feedback import store_feedback
from service.store.feedback_states import FeedbackState, update_feedback
from service.store.head_records import HeadRecord
from service.store.live_outcomes import Score, drop_live, store_scores
from service.store.online_accuracy import online_accuracy
from tests.service.store.records import (
    add_examples,
    add_version,
    by_feedback_id,
    example,
    feedback,
    new_head,
)
from trunkline.digest import text_digest


async def test_feedback_on_a_held_out_example_is_refused_alone_and_leaves_it_as_it_is(
    database: Database,
) -> None:
    head = await database.write(new_head)
    held_out = replace(example("x", "a"), held_out=True)
    await database.write(add_examples, head.uid, held_out, example("y", "a"))
    rows = [feedback("1", "x", "b"), feedback("2", "y", "b")]
    found = await database.write(store_feedback, head.uid, rows, max_examples=9)
    assert found.duplicates == [False, False]
    assert (list(found.errors), found.added) == ([0], 1)
    error = found.errors[0]
    assert isinstance(error, PreconditionFailed)
    assert (error.field, error.value) == ("input", text_digest("x"))
    testing = await database.read(sets.held_out_set, head.uid)
    assert testing.members == {text_digest("x"): "a"}
    assert await database.read(by_feedback_id, head.uid, "state") == {"2": "live"}


async def test_id_twice_in_one_request_with_two_labels_counts_once_and_the_first_label_stands(
    database: Database,
) -> None:
    head = await database.write(new_head)
    rows = [feedback("1", "x", "a"), feedback("2", "y", "a"), feedback("1", "x", "b")]
    found = await database.write(store_feedback, head.uid, rows, max_examples=9)
    assert (found.duplicates, found.added) == ([False, False, False], 2)
    assert [type(error) for error in found.errors.values()] == [AlreadyExists]
    assert await database.read(by_feedback_id, head.uid, "label") == {"1": "a", "2": "a"}
    training = await database.read(sets.training_set, head.uid)
    assert training.members == {text_digest("x"): "a", text_digest("y"): "a"}


async def test_same_id_is_new_to_every_head_and_tenant(database: Database) -> None:
    heads = [
        await database.write(new_head),
        await database.write(new_head, "other"),
        await database.write(new_head, tenant="bolt"),
    ]
    for head in heads:
        row = feedback("1", "x", "a")
        found = await database.write(store_feedback, head.uid, [row], max_examples=9)
        assert (found.duplicates, found.added) == ([False], 1)
    for head in heads:
        assert await database.read(by_feedback_id, head.uid, "label") == {"1": "a"}


async def test_room_for_classes_is_looked_at_again_when_feedback_is_stored(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_version, head.uid, activate=True)
    await database.write(stored_heads.update_head, head.uid, allow_new_labels=True)
    limits: dict[str, Any] = {"max_examples": 9, "max_classes": 3}
    first = [feedback("1", "x", "new"), feedback("2", "y", "other"), feedback("3", "z", "new")]
    found = await database.write(store_feedback, head.uid, first, **limits)
    assert list(found.errors) == [1]
    assert isinstance(found.errors[1], InvalidRequest)
    later = [feedback("4", "v", "third"), feedback("5", "w", "new"), feedback("6", "u", "a")]
    found = await database.write(store_feedback, head.uid, later, **limits)
    assert list(found.errors) == [0]
    await database.write(stored_heads.update_head, head.uid, allow_new_labels=False)
    found = await database.write(store_feedback, head.uid, [feedback("7", "t", "new")], **limits)
    assert list(found.errors) == [0]
    assert set(await database.read(by_feedback_id, head.uid, "state")) == {"1", "3", "5", "6"}


async def test_superseded_feedback_is_kept_up_to_a_number_newest_first(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored, "KEPT_SUPERSEDED", 3)
    head = await database.write(new_head)
    other = await database.write(new_head, "other")
    await database.write(store_feedback, other.uid, [feedback("o", "x", "a")], max_examples=9)
    await database.write(store_feedback, head.uid, [feedback("kept", "y", "a")], max_examples=9)
    for i in range(9):
        row = feedback(str(i), "x", "ab"[i % 2])
        await database.write(store_feedback, head.uid, [row], max_examples=9)
    assert await database.read(by_feedback_id, head.uid, "state") == {
        "kept": "live",
        "5": "superseded",
        "6": "superseded",
        "7": "superseded",
        "8": "live",
    }
    assert await database.read(by_feedback_id, other.uid, "state") == {"o": "live"}


async def test_one_learned_label_of_an_input_is_kept(database: Database) -> None:
    head = await database.write(new_head)
    for number, label in enumerate(("a", "b", "a")):
        row = feedback(str(number), "x", label)
        await database.write(store_feedback, head.uid, [row], max_examples=9)
        knows = {text_digest("x"): label}
        await database.write(update_feedback, head.uid, number + 1, knows, FeedbackState.LIVE)
    assert await database.read(by_feedback_id, head.uid, "state") == {
        "0": "superseded",
        "1": "superseded",
        "2": "learned",
    }


def live_rights(connection: Connection, uid: str) -> dict[int, bool | None]:
    table = schema.feedback.c
    rows = connection.execute(select(table.id, table.live_right).where(table.head_uid == uid))
    return {feedback_id: right for feedback_id, right in rows}


async def test_change_in_the_stream_of_a_head_takes_no_scores_of_another(
    database: Database,
) -> None:
    one, two = [await database.write(new_head, name) for name in ("one", "two")]
    for head in (one, two):
        await database.write(add_version, head.uid, activate=True)
        rows = [feedback("1", "x", "b"), feedback("2", "y", "b")]
        await database.write(store_feedback, head.uid, rows, max_examples=9)
        scores = [Score(i, True, True) for i in await database.read(live_rights, head.uid)]
        await database.write(store_scores, head.uid, 1, scores, None)
    first, second = await database.read(live_rights, one.uid)
    assert await database.write(store_scores, one.uid, 1, [], second)
    assert await database.read(live_rights, one.uid) == {first: True, second: None}
    assert list((await database.read(live_rights, two.uid)).values()) == [True, True]


async def test_scores_of_whoever_is_first_stay(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_version, head.uid, activate=True)
    rows = [feedback("1", "x", "b"), feedback("2", "y", "b")]
    await database.write(store_feedback, head.uid, rows, max_examples=9)
    first, second = await database.read(live_rights, head.uid)
    mine = [Score(first, True, True), Score(second, True, False)]
    assert await database.write(store_scores, head.uid, 1, mine[:1], None)
    assert await database.write(store_scores, head.uid, 1, mine, None), "as the other has scored it"
    other = [Score(first, True, False), Score(second, True, True)]
    assert not await database.write(store_scores, head.uid, 1, other, None)
    assert await database.read(live_rights, head.uid) == {first: True, second: False}


async def test_copy_that_was_dropped_elsewhere_takes_no_later_feedback_with_it(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_version, head.uid, activate=True)
    await database.write(store_feedback, head.uid, [feedback("1", "x", "b")], max_examples=9)
    (first,) = await database.read(live_rights, head.uid)
    assert await database.write(drop_live, head.uid, 1, through=first) == 1
    await database.write(store_feedback, head.uid, [feedback("2", "y", "b")], max_examples=9)
    with pytest.raises(Aborted, match="dropped meanwhile"):
        await database.write(drop_live, head.uid, 1, through=first)
    states = await database.read(by_feedback_id, head.uid, "state")
    assert states == {"1": "quarantined", "2": "live"}


def score(connection: Connection, head: HeadRecord, rights: list[tuple[bool, bool | None]]) -> None:
    rows = [
        {
            "head_uid": head.uid,
            "feedback_id": str(i),
            "digest": "",
            "label": "",
            "active_version": 1,
            "created_at": 100.0 + i,
            "active_right": active,
            "live_right": live,
        }
        for i, (active, live) in enumerate(rights)
    ]
    connection.execute(insert(schema.feedback), rows)


@pytest.mark.parametrize("count", [0, 1, 7, 50, 51, 120])
async def test_online_accuracy_is_that_of_equal_stretches(database: Database, count: int) -> None:
    head = await database.write(new_head)
    other = await database.write(new_head, "other")
    rights: list[tuple[bool, bool | None]] = [(i % 3 == 0, i % 5 != 0) for i in range(count)]
    await database.write(score, other, [(True, True)] * 3)
    await database.write(score, head, [(True, None), *rights])
    points = await database.read(online_accuracy, head.uid)
    size = -(-count // 50)
    assert len(points) == (-(-count // size) if count else 0)
    for i, point in enumerate(points):
        part = rights[i * size : (i + 1) * size]
        assert (point.scored, point.feedback) == (len(part), i * size + len(part))
        assert point.active_accuracy == Counter(a for a, _ in part)[True] / len(part)
        assert point.live_accuracy == Counter(b for _, b in part)[True] / len(part)
        assert point.time == 100.0 + point.feedback
