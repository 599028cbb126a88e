"""Reviews: who is given which, what judgements make of examples, and what was served."""

from __future__ import annotations

import math
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, select, update

from service.errors import InvalidRequest, NotFound, ServiceError
from service.store import Database, schema
from service.store import examples as stored_examples
from service.store import labels as stored_labels
from service.store.captures import CaptureBounds, CaptureState, NewCapture, store_captures
from service.store.feedback_states import quarantine
from service.store.heads import require_head, update_head
from service.store.judgements import Judged, NewJudgement, judge
from service.store.reviews import (
    LEASE_SECONDS,
    Place,
    ReviewPage,
    Sought,
    captured_inputs,
    find_captures,
    lease_reviews,
    list_reviews,
)
from service.store.served_answers import count_served
from tests.service.store.records import (
    MANY,
    add_examples,
    add_version,
    by_feedback_id,
    changed_by,
    example,
    new_head,
)
from tests.service.tiny_backbone import FINGERPRINT, vector_of
from trunkline.digest import text_digest

NOW = 1_000_000.0
BOUNDS = CaptureBounds(per_hour=1000, by_rules=1000, max_count=1000, max_bytes=10**9, days=30)


def capture(text: str, label: str = "a", margin: float = 0.5, **more: Any) -> NewCapture:
    share = (1 + margin) / 2
    answer = ((label, share), ("b" if label == "a" else "a", 1 - share))
    given: dict[str, Any] = {
        "id": uuid.uuid4().hex,
        "version": 1,
        "live": False,
        "digest": text_digest(text),
        "kind": "text",
        "reason": "random",
        "chance": 0.5,
        "answer": answer,
        "margin": margin,
        "novelty": None,
        "vector": vector_of(text),
        "fingerprint": FINGERPRINT,
        "truncated": False,
        "input": text.encode(),
        "created_at": NOW,
    }
    return NewCapture(**given | more)


def captured(connection: Connection, *new: NewCapture) -> tuple[str, list[str]]:
    """A head with captures, and their ids, oldest first."""
    head = new_head(connection)
    update_head(connection, head.uid, capture={"random_share": 0.5})
    return head.uid, more_captured(connection, head.uid, *new)


def more_captured(connection: Connection, uid: str, *new: NewCapture) -> list[str]:
    table = schema.captures.c
    last = connection.execute(select(table.number).order_by(table.number.desc())).scalar() or 0
    for item in new:
        store_captures(connection, uid, [item], BOUNDS)
    return list(
        connection.scalars(select(table.id).where(table.number > last).order_by(table.number))
    )


def said(
    name: str, text: str, label: str | None, state: CaptureState = CaptureState.CORRECTED
) -> NewJudgement:
    made = None if label is None else replace(example(text, label), source="feedback")
    return NewJudgement(name, state, made)


async def tell(
    database: Database, uid: str, *new: NewJudgement, key: str = "k1"
) -> list[Judged | ServiceError]:
    outcomes, _ = await database.write(
        judge,
        uid,
        new,
        key=key,
        now=NOW,
        max_examples=MANY,
        max_classes=MANY,
        fingerprint=FINGERPRINT,
    )
    return outcomes


def states(connection: Connection, uid: str) -> dict[str, str]:
    table = schema.captures.c
    rows = connection.execute(select(table.id, table.state).where(table.head_uid == uid))
    return {name: state for name, state in rows}


async def lease(
    database: Database, uid: str, reviewer: str, *, now: float = NOW, limit: int = 2
) -> list[str]:
    page = await database.write(
        lease_reviews, uid, Sought(), after=None, limit=limit, reviewer=reviewer, now=now
    )
    return [row.id for row in page.reviews]


async def all_pages(database: Database, uid: str, sought: Sought, **more: Any) -> list[ReviewPage]:
    pages: list[ReviewPage] = []
    after: Place | None = None
    while not pages or after is not None:
        page = await database.read(list_reviews, uid, sought, after=after, limit=2, **more)
        pages.append(page)
        after = page.after
    return pages


def digests(pages: Sequence[ReviewPage]) -> list[str]:
    return [row.digest for page in pages for row in page.reviews]


async def test_reviewers_are_given_different_items_until_their_leases_end(
    database: Database,
) -> None:
    uid, ids = await database.write(captured, *(capture(text) for text in "vwxyz"))
    newest = ids[::-1]
    assert await lease(database, uid, "one") == newest[:2]
    assert await lease(database, uid, "two") == newest[2:4]
    assert await lease(database, uid, "three") == newest[4:]
    assert await lease(database, uid, "four") == []
    later = NOW + LEASE_SECONDS - 1
    assert await lease(database, uid, "one", now=later) == newest[:2]  # leased anew
    ended = NOW + LEASE_SECONDS
    assert await lease(database, uid, "four", now=ended, limit=5) == newest[2:]
    page = await database.read(list_reviews, uid, Sought(), after=None, limit=9)
    assert [row.id for row in page.reviews] == newest
    assert page.waiting == 5


async def test_lists_are_newest_or_least_sure_first_page_by_page(database: Database) -> None:
    margins = {"v": 0.4, "w": 0.1, "x": 0.9, "y": 0.1, "z": 0.7}
    new = [capture(text, margin=margin) for text, margin in margins.items()]
    uid, _ = await database.write(captured, *new)
    newest = await all_pages(database, uid, Sought())
    assert digests(newest) == [text_digest(text) for text in "zyxwv"]
    least = await all_pages(database, uid, Sought(), least_sure=True)
    assert digests(least) == [text_digest(text) for text in "ywvzx"]
    assert [len(page.reviews) for page in least] == [2, 2, 1]


async def test_lists_have_what_is_sought(database: Database) -> None:
    uid, ids = await database.write(
        captured,
        capture("one", "a", external_id="7"),
        capture("two", "b", chance=None, reason="uncertain"),
        capture("three", "b"),
    )
    await tell(database, uid, said(ids[2], "three", "b"))

    async def found(**sought: Any) -> list[str]:
        pages = await all_pages(database, uid, Sought(**sought))
        return [row.id for page in pages for row in page.reviews]

    assert await found() == [ids[1], ids[0]]
    assert await found(predicted="b") == [ids[1]]
    assert await found(drawn=True) == [ids[0]]
    assert await found(external_ids=["7", "8"]) == [ids[0]]
    assert await found(state=None, ids=ids[1:]) == [ids[2], ids[1]]
    assert await found(state=CaptureState.CONFIRMED) == [ids[2]]
    assert await found(matches=lambda data: b"w" in data) == [ids[1]]
    pages = await all_pages(database, uid, Sought(matches=lambda data: b"o" in data))
    assert [row.id for page in pages for row in page.reviews] == [ids[1], ids[0]]


async def test_an_input_that_was_captured_twice_is_shown_and_judged_once(
    database: Database,
) -> None:
    uid, ids = await database.write(captured, capture("x", "a"), capture("x", "b"))
    assert digests(await all_pages(database, uid, Sought())) == [text_digest("x")]
    await tell(database, uid, said(ids[1], "x", "a"))
    assert await database.read(states, uid) == {ids[0]: "confirmed", ids[1]: "corrected"}
    assert await database.read(by_feedback_id, uid, "label") == {ids[1]: "a"}
    assert digests(await all_pages(database, uid, Sought())) == []


async def test_judgement_is_feedback_under_its_id_counts_once_and_is_vouched_for(
    database: Database,
) -> None:
    new = capture("x", "a", external_id="file 7", metadata={"line": "3"})
    uid, (name,) = await database.write(captured, new)
    (first,) = await tell(database, uid, said(name, "x", "a"))
    assert first == Judged(CaptureState.CONFIRMED, feedback_id=name)
    (again,) = await tell(database, uid, said(name, "x", "a"))
    assert again == Judged(CaptureState.CONFIRMED, duplicate=True)
    assert await database.read(by_feedback_id, uid, "state") == {name: "live"}
    found = await database.read(stored_examples.find_examples, uid, [text_digest("x")])
    made = found[text_digest("x")]
    assert (made.label, made.reviewer, made.external_id) == ("a", "k1", "file 7")
    assert made.metadata == {"line": "3"}
    (record,) = (await database.read(find_captures, uid, [name])).values()
    assert (record.judged_label, record.judged_by) == ("a", "k1")
    await database.write(quarantine, uid, [1])  # its copy was dropped: the label stays
    found = await database.read(stored_examples.find_examples, uid, [text_digest("x")])
    assert found[text_digest("x")].label == "a"


async def test_second_judgement_takes_the_place_of_the_first(database: Database) -> None:
    uid, (name,) = await database.write(captured, capture("x", "a"))
    await tell(database, uid, said(name, "x", "a"))
    (second,) = await tell(database, uid, said(name, "x", "b"), key="k2")
    assert second == Judged(CaptureState.CORRECTED, f"{name}.2", previous_label="a")
    (third,) = await tell(database, uid, said(name, "x", "a"))
    assert third == Judged(CaptureState.CONFIRMED, f"{name}.3", previous_label="b")
    assert await database.read(by_feedback_id, uid, "state") == {
        name: "superseded",
        f"{name}.2": "superseded",
        f"{name}.3": "live",
    }


@pytest.mark.parametrize(
    "state",
    [
        CaptureState.WAITING,
        CaptureState.SKIPPED,
        CaptureState.NONE_OF_THESE,
        CaptureState.JUNK,
    ],
)
async def test_what_a_label_made_of_the_example_is_taken_back(
    database: Database, state: CaptureState
) -> None:
    uid, ids = await database.write(captured, capture("new"), capture("old"))
    await database.write(add_examples, uid, example("old", "b"))
    await tell(database, uid, said(ids[0], "new", "a"), said(ids[1], "old", "a"))
    back = [said(ids[0], "new", None, state), said(ids[1], "old", None, state)]
    new, old = await tell(database, uid, *back)
    assert new == Judged(state, previous_label="a", deleted=text_digest("new"))
    assert old == Judged(state, previous_label="a")
    found = await database.read(
        stored_examples.find_examples, uid, [text_digest("new"), text_digest("old")]
    )
    assert {row.digest: row.label for row in found.values()} == {text_digest("old"): "b"}
    assert found[text_digest("old")].reviewer is None
    live = {"superseded"}
    assert set((await database.read(by_feedback_id, uid, "state")).values()) == live
    (again,) = await tell(database, uid, back[0])
    assert again == Judged(state, duplicate=True)
    (anew,) = await tell(database, uid, said(ids[0], "new", "b"))
    assert isinstance(anew, Judged)
    assert anew.feedback_id == f"{ids[0]}.2"


async def test_taking_back_leaves_alone_what_others_have_said_since(database: Database) -> None:
    uid, (name,) = await database.write(captured, capture("x"))
    await tell(database, uid, said(name, "x", "a"))
    await database.write(add_examples, uid, example("x", "b"))
    (found,) = await tell(database, uid, said(name, "x", None, CaptureState.WAITING))
    assert found == Judged(CaptureState.WAITING)
    examples = await database.read(stored_examples.find_examples, uid, [text_digest("x")])
    row = examples[text_digest("x")]
    assert (row.label, row.reviewer) == ("b", None)


async def test_judgement_on_a_held_out_example_counts_and_leaves_it_alone(
    database: Database,
) -> None:
    uid, (name,) = await database.write(captured, capture("x", "a"))
    await database.write(add_examples, uid, replace(example("x", "b"), held_out=True))
    (found,) = await tell(database, uid, said(name, "x", "a"))
    assert found == Judged(CaptureState.CONFIRMED, held_out=True)
    assert await database.read(by_feedback_id, uid, "state") == {}
    (found,) = await tell(database, uid, said(name, "x", None, CaptureState.WAITING))
    assert found == Judged(CaptureState.WAITING)
    examples = await database.read(stored_examples.find_examples, uid, [text_digest("x")])
    assert examples[text_digest("x")].label == "b"


async def test_judgement_that_is_refused_costs_itself_alone(database: Database) -> None:
    uid, ids = await database.write(captured, capture("x"), capture("y"))
    await database.write(add_version, uid, activate=True)  # of the labels a and b, and no more
    unknown = said("0" * 32, "z", "a")
    found = await tell(database, uid, said(ids[0], "x", "new"), unknown, said(ids[1], "y", "a"))
    assert [type(row) for row in found] == [InvalidRequest, NotFound, Judged]
    assert await database.read(states, uid) == {ids[0]: "waiting", ids[1]: "confirmed"}


async def test_input_is_kept_with_the_example_where_the_head_keeps_inputs(
    database: Database,
) -> None:
    uid, (name,) = await database.write(captured, capture("x"))
    await database.write(keep_inputs, uid)
    await tell(database, uid, said(name, "x", "a"))
    found = await database.read(stored_examples.find_examples, uid, [text_digest("x")])
    assert found[text_digest("x")].has_input
    (record,) = (await database.read(find_captures, uid, [name])).values()
    numbers = [record.number]
    assert await database.read(captured_inputs, uid, numbers, 9) == {record.number: b"x"}
    assert await database.read(captured_inputs, uid, numbers, 0) == {}


def keep_inputs(connection: Connection, uid: str) -> None:
    connection.execute(update(schema.heads).filter_by(uid=uid).values(keep_inputs=True))


async def test_live_copies_are_told_of_labels_that_others_stood_on(database: Database) -> None:
    uid, ids = await database.write(captured, capture("new"), capture("old"))
    await database.write(add_examples, uid, example("old", "b"))

    async def changed(new: NewJudgement) -> tuple[bool, bool]:
        def write(connection: Connection) -> None:
            judge(
                connection,
                uid,
                [new],
                key="",
                now=NOW,
                max_examples=MANY,
                max_classes=MANY,
                fingerprint=FINGERPRINT,
            )

        found = await changed_by(database, write)
        return uid in found.feedback, uid in found.live

    assert await changed(said(ids[0], "new", "a")) == (True, False)
    assert await changed(said(ids[1], "old", "a")) == (True, True)
    assert await changed(said(ids[1], "old", None, CaptureState.JUNK)) == (False, True)
    assert await changed(said(ids[0], "new", None, CaptureState.JUNK)) == (False, True)


async def test_what_was_served_is_counted_by_period_and_outcome(database: Database) -> None:
    day = 86_400
    uid, ids = await database.write(
        captured,
        capture("v", "a", created_at=day - 0.25),
        capture("w", "a", created_at=day + 0.25),
        capture("x", "b", created_at=day + 0.75, chance=0.1),
        capture("y", "b", created_at=day + 5, chance=None, reason="novel"),
        capture("z", "b", created_at=3 * day, version=2),
    )
    await tell(
        database,
        uid,
        said(ids[0], "v", "a"),
        said(ids[1], "w", "b"),
        said(ids[4], "z", None, CaptureState.JUNK),
    )
    span: dict[str, Any] = {"start": 0.0, "end": math.inf, "version": 0, "period": day}
    found = await database.read(count_served, uid, **span)
    told = {(row.period, row.predicted, row.state.value, row.label, row.chance) for row in found}
    assert told == {
        (0, "a", "confirmed", "a", 0.5),
        (1, "a", "corrected", "b", 0.5),
        (1, "b", "waiting", None, 0.1),
        (3, "b", "junk", None, 0.5),
    }
    assert [row.period for row in found] == sorted(row.period for row in found)
    some = await database.read(count_served, uid, **span | {"start": day, "end": day + 0.5})
    assert [row.label for row in some] == ["b"]
    some = await database.read(count_served, uid, **span | {"version": 2})
    assert [row.period for row in some] == [3]


async def test_labels_that_are_renamed_are_renamed_in_reviews(database: Database) -> None:
    uid, (name,) = await database.write(captured, capture("x", "a"))
    await tell(database, uid, said(name, "x", "a"))

    def rename(connection: Connection) -> None:
        stored_labels.change_labels(connection, require_head(connection, uid), ["a"], "z")

    await database.write(rename)
    (record,) = (await database.read(find_captures, uid, [name])).values()
    assert (record.predicted, record.judged_label) == ("z", "z")
    (again,) = await tell(database, uid, said(name, "x", "z"))
    assert again == Judged(CaptureState.CONFIRMED, duplicate=True)
