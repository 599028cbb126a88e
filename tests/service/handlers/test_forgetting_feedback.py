"""Forgetting where a head has learned from feedback: what was inherited, and what stays live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from service.live.live_copy import Learned, LiveCopy
from service.store.live_set import LiveFeedback
from service.store.sqlite import SqliteDatabase
from tests.service.learning_head import (
    IMMEDIATE,
    MANUAL,
    LearningHead,
    OpenLearningHead,
    Vector,
    around,
)
from tests.service.server import HEAD
from tests.service.tail_heads import database_of
from tests.service.tiny_backbone import FINGERPRINT
from trunkline.digest import embedding_digest
from trunkline.v1 import heads_pb2

LIVE = heads_pb2.FEEDBACK_STATE_LIVE
PROBES = around("red", 10, seed=5) + around("blue", 10, seed=6)
MEMBER = around("red", 20, seed=1)[0]
"""One of the examples that the head was trained on."""


def digest_of(vector: Vector) -> str:
    return embedding_digest(FINGERPRINT, vector.tobytes())


async def forget(head: LearningHead, *vectors: Vector) -> heads_pb2.ForgetExamplesResponse:
    return await head.server.forget(*map(digest_of, vectors))


async def delete(head: LearningHead, vector: Vector) -> None:
    assert not (await head.server.delete(digest_of(vector))).errors


async def unlabel(head: LearningHead, vector: Vector) -> None:
    rows = [heads_pb2.ExampleUpdate(digest=digest_of(vector))]
    request = heads_pb2.UpdateExamplesRequest(head=HEAD, updates=rows)
    assert not (await head.server.ask("UpdateExamples", request)).errors


async def send_both(head: LearningHead, count: int, seed: int, *, swapped: bool = False) -> None:
    for label, other in (("red", "blue"), ("blue", "red")):
        await head.send(around(label, count, seed, spread=0.5), other if swapped else label)


@pytest.mark.parametrize("take_away", [delete, unlabel])
async def test_version_is_gone_whose_base_knew_an_example_that_it_does_not_stand_on(
    open_learning_head: OpenLearningHead, take_away: object
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        assert callable(take_away)
        await take_away(head, MEMBER)
        await send_both(head, 5, seed=31)
        await head.promote()
        await send_both(head, 5, seed=32)
        assert (await head.promote()).head.active_version == 3
        reply = await forget(head, MEMBER)
        assert (list(reply.deleted_versions), reply.version) == ([1, 2, 3], 4)
        described = await head.head()
        assert described.active_version == 4
        report = await head.server.report()
        assert report.example_count == 39 + 20
        assert list((await forget(head, PROBES[0])).deleted_versions) == []


async def test_version_after_a_change_in_the_stream_knows_what_its_base_knew(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(MANUAL, drift_delta=0.2) as head:
        await send_both(head, 20, seed=41)
        for seed in range(50, 90):
            await send_both(head, 2, seed, swapped=True)
            if (live := await head.live()).drift.detected:
                break
        assert live.drift.detected
        await send_both(head, 5, seed=95, swapped=True)
        promoted = await head.promote()
        assert promoted.head.active_version == 2
        count = (await head.server.report()).example_count
        reply = await forget(head, MEMBER)
        assert (list(reply.deleted_versions), reply.version) == ([1, 2], 3)
        assert (await head.server.report()).example_count == count


async def test_forgetting_takes_no_live_feedback_past_the_gate(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(MANUAL) as head:
        unrelated = around("red", 1, seed=77)
        await head.add(unrelated, "red")
        await head.server.train()
        before, answers = await head.probabilities(PROBES), await head.labels(PROBES)
        await send_both(head, 30, seed=8, swapped=True)
        await head.send(around("red", 20, seed=1)[:15], "blue")  # corrections of members, too
        await head.send([around("red", 20, seed=1)[1]], "red")
        await head.add(around("blue", 30, seed=9), "red")  # for the next training
        sent = [item.id for item in await head.feedback(LIVE)]
        reply = await forget(head, *unrelated)
        assert (list(reply.deleted_versions), reply.version) == ([2], 3)
        assert await head.labels(PROBES) == answers
        np.testing.assert_allclose(await head.probabilities(PROBES), before, atol=0.05)
        assert [item.id for item in await head.feedback(LIVE)] == sent
        assert (await head.server.report()).example_count == 40
        live = await head.live()
        assert (live.base_version, live.feedback_count) == (3, len(sent))


async def test_live_copy_is_as_if_forgotten_feedback_had_never_come(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        kept = around("red", 10, seed=21) + around("blue", 10, seed=22)
        labels = ["blue", "red"] * 10
        secret = around("red", 6, seed=23)

        async def state(vectors: Sequence[Vector]) -> tuple[object, ...]:
            live = await head.live()
            counts = (live.feedback_count, live.scored, live.live_right, live.evidence_better)
            return (*counts, (await head.probabilities(vectors)).tolist())

        for vector, label in zip(kept, labels, strict=True):
            await head.send([vector], label)
        never = await state(PROBES)
        await head.send(secret, "blue")
        assert await state(PROBES) != never
        reply = await forget(head, *secret)
        assert (reply.forgotten, list(reply.deleted_versions), reply.version) == (6, [], 1)
        found = await state(PROBES)
        assert found[:4] == never[:4]
        np.testing.assert_allclose(np.array(found[4]), np.array(never[4]), atol=1e-6)


@pytest.mark.sqlite_file
async def test_forgetting_is_not_over_before_what_learns_the_example_has_ended(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    begun, may_end, outdated = threading.Event(), threading.Event(), asyncio.Event()
    learn, checkpoint = LiveCopy.learn, SqliteDatabase.checkpoint

    def slow(self: LiveCopy, feedback: Sequence[LiveFeedback]) -> Learned:
        begun.set()
        assert may_end.wait(60)
        order.append("learned")
        return learn(self, feedback)

    async def last(self: SqliteDatabase) -> None:
        order.append("forgotten")
        await checkpoint(self)

    monkeypatch.setattr(LiveCopy, "learn", slow)
    async with open_learning_head(IMMEDIATE) as head:
        secret = around("red", 1, seed=23)
        await head.send(secret, "blue")
        await asyncio.to_thread(begun.wait, 60)
        database_of(head.server).follow(lambda changed: outdated.set() if changed.live else None)
        monkeypatch.setattr(SqliteDatabase, "checkpoint", last)
        forgetting = asyncio.create_task(forget(head, *secret))
        await outdated.wait()
        for _ in range(3):
            await head.examples()
        may_end.set()
        assert (await forgetting).forgotten == 1
        assert order == ["learned", "forgotten"]
        assert (await head.live()).feedback_count == 0
