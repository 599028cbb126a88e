"""Live copies of a stream that changes."""

from __future__ import annotations

import pytest

from tests.service.learning_head import IMMEDIATE, LearningHead, OpenLearningHead, around, strangers
from trunkline.v1 import heads_pb2, prediction_pb2

SWAPPED = {"red": "blue", "blue": "red"}


async def drifted(head: LearningHead) -> heads_pb2.LiveCopy:
    """The live copy just after its head was seen to need other labels than before."""
    for label in ("red", "blue"):
        await head.send(around(label, 40, seed=41, spread=0.5), label)
    assert not (await head.live()).drift.detected
    for seed in range(50, 80):
        for label in ("red", "blue"):
            await head.send(around(label, 2, seed, spread=0.5), SWAPPED[label])
        if (live := await head.live()).drift.detected:
            return live
    raise AssertionError("no change was detected")


async def test_drift_is_detected_and_the_copy_stands_on_what_came_after_it(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE, drift_delta=0.2) as head:
        live = await drifted(head)
        assert live.drift.time.seconds > 0
        assert live.example_count == live.feedback_count < 200
        for label in ("red", "blue"):
            await head.send(around(label, 20, seed=90, spread=0.5), SWAPPED[label])
            assert set(await head.labels(around(label, 9, 91, 0.5))) == {SWAPPED[label]}
        registry = head.server.application.metrics.registry
        found = {
            name: registry.get_sample_value(f"trunkline_{name}", {"tenant": "acme"})
            for name in ("drifts_total", "live_drifted", "last_drift_time_seconds")
        }
        assert found["drifts_total"] == found["live_drifted"] == 1
        assert found["last_drift_time_seconds"] == pytest.approx(live.drift.time.seconds, abs=60)
        await head.drop()
        await head.live()
        assert registry.get_sample_value("trunkline_live_drifted", {"tenant": "acme"}) == 0
        await head.send(strangers(1), "red")
        live = await head.live()
        assert (live.example_count, live.drift.detected) == (41, False)


async def test_nothing_is_accepted_of_what_stands_on_a_changed_stream(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE, drift_delta=0.2) as head:
        await head.update(decide=heads_pb2.Decide(precision=0.5, confidence=0.5))
        rows = around("red", 5, 91, 0.5)
        accept, review = prediction_pb2.DECISION_ACCEPT, prediction_pb2.DECISION_REVIEW
        await head.send(around("red", 1, seed=40), "red")
        before = await head.predict(rows)
        assert (before.live, list(before.decisions)) == (True, [accept] * 5)
        await drifted(head)
        after = await head.predict(rows)
        assert (after.live, list(after.decisions)) == (True, [review] * 5)
        await head.server.train()
        assert list((await head.predict(rows)).decisions) == [accept] * 5


async def test_version_that_is_trained_after_a_change_is_followed_from_its_own_examples(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE, drift_delta=0.2) as head:
        await drifted(head)
        training = await head.server.train()
        trained_on = (await head.server.report()).example_count
        await head.send(around("red", 1, seed=92), "blue")
        live = await head.live()
        assert live.base_version == training.version == 2
        assert not live.drift.detected
        assert (live.feedback_count, live.example_count) == (1, trained_on + 1)
    async with open_learning_head(drift_delta=0.2) as head:
        assert await head.live() == live
