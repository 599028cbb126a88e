"""Live copies under load: every caller gets a reply, whatever others send and whatever fails."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
import pytest

from service.concurrency.tenant_threads import TenantThreads
from service.errors import StoreFailed
from service.live import LiveCopies, live_copy, steps
from service.live.cache import ENTRY_BYTES, LiveCache, Snapshot
from service.live.status import LiveState, LiveStatus
from service.metrics import Metrics
from service.serving.head_cache import LoadedHead
from service.store import live_outcomes
from service.store.live_set import LiveSet
from tests.service.learning_head import (
    GATED,
    IMMEDIATE,
    LearningHead,
    OpenLearningHead,
    Vector,
    around,
    states,
    strangers,
    unlike,
)
from tests.service.waiting import Changes
from trunkline.v1 import heads_pb2

FEEDERS = 4
SENT = 500
"""By each feeder, if nobody stops it: far more than comes while a few predictions are made."""


@asynccontextmanager
async def fed(head: LearningHead, inputs: Callable[[int, int], Vector]) -> AsyncIterator[None]:
    """A head that is sent feedback all the time, until the end of the block."""
    done = asyncio.Event()

    async def feed(feeder: int) -> None:
        for i in range(SENT):
            if done.is_set():
                return
            await head.send([inputs(feeder, i)], ("red", "blue")[i % 2])

    await head.send(strangers(1), "red")
    feeding = [asyncio.create_task(feed(feeder)) for feeder in range(FEEDERS)]
    try:
        yield
        assert not any(task.done() for task in feeding), "the replies came when all was sent"
    finally:
        done.set()
        await asyncio.gather(*feeding)


def always_new(feeder: int, i: int) -> Vector:
    return strangers(1, seed=1000 * (feeder + 1) + i)[0]


def always_the_same(feeder: int, i: int) -> Vector:
    return strangers(1, seed=1000 * (feeder + 1))[0]


@pytest.mark.parametrize("inputs", [always_new, always_the_same])
@pytest.mark.parametrize("values", [{}, {"live_cache_bytes": 0}])
async def test_every_prediction_is_live_and_returns_while_feedback_never_ends(
    open_learning_head: OpenLearningHead,
    inputs: Callable[[int, int], Vector],
    values: dict[str, Any],
) -> None:
    async with open_learning_head(IMMEDIATE, **values) as head, fed(head, inputs):
        for _ in range(15):
            assert (await head.predict(strangers(2))).live
            assert (await head.live()).state == heads_pb2.LIVE_STATE_SERVING


async def test_copy_is_dropped_and_promoted_while_feedback_never_ends(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head, fed(head, always_new):
        assert (await head.drop()).quarantined
        await head.send(strangers(2, seed=99), "red")
        assert (await head.promote()).head.active_version == 2


async def test_what_is_sent_at_once_is_learned_in_slices(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = live_copy.LiveCopy.learn
    sizes: list[int] = []

    def watched(self: live_copy.LiveCopy, feedback: Sequence[Any]) -> live_copy.Learned:
        learned = learn(self, feedback)
        sizes.append(len(learned.scores))  # fewer than were given where a choice is due
        return learned

    monkeypatch.setattr(live_copy.LiveCopy, "learn", watched)
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(100), "red")
        assert (await head.live()).scored == 100
        assert sum(sizes) == 100
        assert max(sizes) == steps.SLICE


async def test_tenants_take_turns_however_much_one_of_them_wants() -> None:
    threads, gate = TenantThreads(1, "threads"), threading.Event()
    order: list[str] = []
    first = asyncio.create_task(threads.run("greedy", gate.wait))
    await asyncio.sleep(0)
    more = [asyncio.create_task(threads.run("greedy", order.append, "greedy")) for _ in range(9)]
    await asyncio.sleep(0)
    other = asyncio.create_task(threads.run("modest", order.append, "modest"))
    await asyncio.sleep(0)
    more.pop().cancel()
    gate.set()
    await asyncio.gather(first, other, *more)
    assert order.index("modest") <= 1
    assert len(order) == 9
    with pytest.raises(ZeroDivisionError):
        await threads.run("greedy", lambda: 1 // 0)
    await threads.close()


async def test_predictions_of_others_return_while_a_copy_is_made_anew(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, begun, may_end = steps._build, threading.Event(), threading.Event()

    def slow(stored: LiveSet, *rest: Any) -> live_copy.LiveCopy:
        if stored.head.tenant == "slow":
            begun.set()
            assert may_end.wait(60)
        return build(stored, *rest)

    monkeypatch.setattr(steps, "_build", slow)
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(2), "red")
        assert (await head.predict(strangers(2))).live
        slow_heads = [await _trained(head, f"tenants/slow/heads/h{i}") for i in range(3)]
        for slow_head in slow_heads:
            await slow_head.send(strangers(1), "red")
        waiting = [asyncio.create_task(item.predict(strangers(1))) for item in slow_heads]
        await asyncio.to_thread(begun.wait, 60)
        for seed in range(5):
            await head.send(strangers(20, seed), "blue")
            assert (await head.predict(strangers(2))).live
        assert not any(task.done() for task in waiting)
        may_end.set()
        groups = await asyncio.gather(*waiting)
        assert all(group.live for group in groups)


async def test_client_who_leaves_takes_no_copy_from_others_who_wait_for_it(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, may_end = steps._build, threading.Event()
    serving, waits, changes = LiveCopies.serving, 0, Changes()

    def slow(*args: Any) -> live_copy.LiveCopy:
        assert may_end.wait(60)
        return build(*args)

    async def counted(self: LiveCopies, loaded: LoadedHead) -> LoadedHead:
        nonlocal waits
        waits += 1
        changes.notify()
        return await serving(self, loaded)

    monkeypatch.setattr(steps, "_build", slow)
    monkeypatch.setattr(LiveCopies, "serving", counted)
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(2), "red")
        leaves, stays = (asyncio.create_task(head.predict(strangers(2))) for _ in range(2))
        await changes.until(lambda: waits == 2)
        leaves.cancel()
        await asyncio.wait([leaves])
        may_end.set()
        await asyncio.wait([stays])
        assert leaves.cancelled()
        assert not stays.cancelled()
        assert stays.result().live
        assert (await head.predict(strangers(2))).live


async def _trained(like: LearningHead, name: str) -> LearningHead:
    head = LearningHead(like.server, name)
    await like.server.create(name, spec=heads_pb2.HeadSpec(family="ridge"), policy=IMMEDIATE)
    await head.add(around("red", 5, seed=1), "red")
    await head.add(around("blue", 5, seed=2), "blue")
    await like.server.train(name)
    return head


async def test_what_fails_once_is_tried_again_by_the_next_who_asks(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(3)
        other = await unlike(head, inputs)
        store, failed = live_outcomes.store_scores, asyncio.Event()
        loop = asyncio.get_running_loop()

        def busy_once(*args: Any) -> bool:
            if not failed.is_set():
                loop.call_soon_threadsafe(failed.set)
                raise StoreFailed("the store is busy")
            return store(*args)

        monkeypatch.setattr(live_outcomes, "store_scores", busy_once)
        for vector in inputs:  # each time anew: what was learned in between ends the waiting
            failed.clear()
            await head.send([vector], other)
            await failed.wait()
            await head.live()  # may still be told of the failure, if it was waiting for that step
            assert (await head.predict(inputs)).live
        assert await head.labels(inputs) == [other] * 3


async def test_what_keeps_failing_is_not_tried_for_every_prediction(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        tries: list[int] = []

        def fails(self: live_copy.LiveCopy, feedback: Sequence[Any]) -> live_copy.Learned:
            tries.append(len(feedback))
            raise RuntimeError("always")

        monkeypatch.setattr(live_copy.LiveCopy, "learn", fails)
        await head.send(strangers(2), "red")
        for _ in range(100):
            assert not (await head.predict(strangers(1))).live
        assert 2 <= len(tries) < 20
        assert (await head.live()).state == heads_pb2.LIVE_STATE_UNAVAILABLE


async def test_feedback_of_a_gated_head_is_learned_after_a_crash_without_anybody_asking(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(live_copy.LiveCopy, "learn", None)
        async with open_learning_head(GATED) as head:
            await head.send(strangers(3), "red")
            await head.live()
            assert not any(item.HasField("active_right") for item in await head.feedback())
    async with open_learning_head() as head:
        (leftovers,) = [t for t in asyncio.all_tasks() if t.get_name() == "live-leftovers"]
        await leftovers
        assert all(item.HasField("active_right") for item in await head.feedback())


async def test_copy_that_is_stale_is_made_anew_and_scores_as_before(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = steps._build
    built: list[int] = []

    def watched(stored: LiveSet, *rest: Any) -> live_copy.LiveCopy:
        built.append(len(stored.feedback))
        return build(stored, *rest)

    probes = around("red", 10, seed=5) + strangers(10)
    monkeypatch.setattr(steps, "_build", watched)
    async with open_learning_head(IMMEDIATE) as head:
        with monkeypatch.context() as patched:
            patched.setattr(live_copy, "REFRESH_UPDATES", 4)
            for i, vector in enumerate(strangers(13)):
                await head.send([vector], ("red", "blue")[i % 3 == 0])
                await head.live()
        assert len(built) == 4
        before, live = await head.probabilities(probes), await head.live()
        assert (live.scored, live.example_count) == (13, 53)
    async with open_learning_head() as head:
        np.testing.assert_allclose(await head.probabilities(probes), before, atol=1e-6)
        assert await head.live() == live


async def test_activation_and_rollback_survive_a_restart(
    open_learning_head: OpenLearningHead,
) -> None:
    inputs = strangers(6)
    async with open_learning_head(IMMEDIATE) as head:
        first = await head.probabilities(inputs)
        await head.send(inputs, await unlike(head, inputs))
        await head.promote()
        second = await head.probabilities(inputs)
    async with open_learning_head() as head:
        np.testing.assert_array_equal(await head.probabilities(inputs), second)
        await head.activate(1)
    async with open_learning_head() as head:
        np.testing.assert_array_equal(await head.probabilities(inputs), first)
        assert (await head.head()).active_version == 1
        assert set(states(await head.feedback())) == {heads_pb2.FEEDBACK_STATE_QUARANTINED}
        await head.activate(2)
    async with open_learning_head() as head:
        np.testing.assert_array_equal(await head.probabilities(inputs), second)
        assert set(states(await head.feedback())) == {heads_pb2.FEEDBACK_STATE_LEARNED}


async def test_entries_that_were_used_longest_ago_go_first_and_those_in_use_stay() -> None:
    entries = LiveCache(3 * ENTRY_BYTES, Metrics(1))
    oldest = entries.open("a", "acme")
    status = LiveStatus(LiveState.IDLE, 0.05, "", 1)
    with entries.using(oldest):
        for uid in ("b", "c", "d", "e"):
            entry = entries.open(uid, "acme")
            entry.snapshot = Snapshot(entry.revision, status)
            with entries.using(entry):
                entries.open("b", "acme")
        assert {entry.uid for entry in entries} == {"a", "b", "e"}


async def test_nothing_of_deleted_heads_stays_in_memory(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(1), "red")
        assert (await head.predict(strangers(1))).live
        held = head.server.application.metrics.registry.get_sample_value
        assert held("trunkline_live_cache_bytes")
        await head.server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=head.name))
        assert held("trunkline_live_cache_bytes") == 0


async def test_copy_keeps_nothing_of_the_request_that_had_it_made(
    open_learning_head: OpenLearningHead,
) -> None:
    class Body:
        """What a request holds."""

    asked: ContextVar[Body] = ContextVar("asked")

    async with open_learning_head(IMMEDIATE) as head:
        await head.predict(strangers(1))  # what is counted is stored later, in this context
        body = Body()
        asking = asked.set(body)
        await head.send(strangers(1), "red")
        assert (await head.predict(strangers(1))).live
        asked.reset(asking)
        left = weakref.ref(body)
        del body, asking
        gc.collect()
        assert left() is None


async def test_who_waits_for_a_copy_when_the_server_closes_does_not_wait_for_ever(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_end, close = threading.Event(), threading.Event(), TenantThreads.close

    def slow(*args: Any) -> None:
        begun.set()
        assert may_end.wait(60)

    async def closing(self: TenantThreads) -> None:
        may_end.set()
        await close(self)

    monkeypatch.setattr(steps, "_build", slow)
    monkeypatch.setattr(TenantThreads, "close", closing)
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(1), "red")
        waiting = asyncio.create_task(head.predict(strangers(1)))
        await asyncio.to_thread(begun.wait, 60)
    with pytest.raises(asyncio.CancelledError):
        await waiting
