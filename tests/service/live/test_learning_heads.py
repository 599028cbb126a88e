"""Live copies through the application's handlers: what feedback does, and what it cannot do."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import adapters
from adapters import FAMILIES
from adapters.calibration import fit_temperature
from service.errors import InvalidRequest, NotFound, PreconditionFailed
from service.live import live_copy
from service.store import heads as stored_heads
from tests.service.learning_head import (
    CENTRES,
    GATED,
    IMMEDIATE,
    MANUAL,
    OpenLearningHead,
    around,
    states,
    strangers,
    unlike,
)
from tests.service.server import HEAD
from tests.service.tail_heads import database_of
from trunkline.v1 import heads_pb2

LEARNED = heads_pb2.FEEDBACK_STATE_LEARNED
QUARANTINED = heads_pb2.FEEDBACK_STATE_QUARANTINED


@pytest.mark.parametrize("family", FAMILIES)
async def test_very_next_prediction_shows_what_was_learned(
    open_learning_head: OpenLearningHead, family: str
) -> None:
    async with open_learning_head(IMMEDIATE, family=family) as head:
        inputs = strangers(10)
        before = await head.predict(inputs)
        assert (before.live, before.version) == (False, 1)
        other = await unlike(head, inputs)
        for vector in inputs[:5]:
            assert not (await head.send([vector], other)).errors
        after = await head.predict(inputs)
        assert (after.live, after.version) == (True, 1)
        assert await head.labels(inputs) == [other] * 10


async def test_immediate_copy_is_the_one_that_training_on_everything_makes(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        probes = around("red", 20, seed=5) + strangers(5)
        for seed in (11, 12):
            await head.send(around("red", 5, seed), "red")
            await head.send(around("blue", 5, seed), "blue")
        live = await head.live()
        assert (live.state, live.base_version) == (heads_pb2.LIVE_STATE_SERVING, 1)
        assert (live.example_count, live.feedback_count, live.scored) == (60, 20, 20)
        assert list(live.labels) == ["blue", "red"]
        learned = await head.probabilities(probes)
        await head.drop()
        assert not (await head.predict(probes)).live
        assert np.abs(await head.probabilities(probes) - learned).max() > 0


async def test_gated_head_answers_as_before_until_its_copy_is_shown_to_be_better(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(GATED, family="lda") as head:
        await head.update(allow_new_labels=True)
        green = [vector + CENTRES["green"] for vector in around("green", 30, seed=4)]
        before = await head.probabilities(green)
        await head.send(green[:4], "green")
        live = await head.live()
        assert live.state == heads_pb2.LIVE_STATE_LEARNING
        assert (live.scored, live.active_right) == (4, 0)
        assert live.evidence_better > live.evidence_worse
        np.testing.assert_array_equal(await head.probabilities(green), before)
        assert not (await head.predict(green)).live
        for vector in green[4:]:
            await head.send([vector], "green")
            if (await head.head()).active_version == 2:
                break
        described = await head.head()
        assert described.active_version == 2
        assert described.live.state == heads_pb2.LIVE_STATE_IDLE
        assert list(described.labels) == ["blue", "green", "red"]
        assert set(await head.labels(green)) == {"green"}
        assert {item.state for item in await head.feedback()} == {LEARNED}
        request = heads_pb2.GetHeadVersionRequest(name=f"{HEAD}/versions/2")
        version = (await head.server.ask("GetHeadVersion", request)).version
        assert (version.source, version.active) == ("feedback", True)
        assert version.example_count == 40 + described.feedback_count


async def test_copy_that_would_forget_the_stored_examples_is_held_back(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(GATED) as head:
        lies = around("red", 40, seed=21, spread=0.5)
        for start in range(0, 40, 4):
            await head.send(lies[start : start + 4], "blue")
        live = await head.live()
        assert live.state == heads_pb2.LIVE_STATE_HELD_BACK
        assert live.live_leave_one_out < live.active_leave_one_out - 0.01
        assert "stored examples" in live.reason
        assert (await head.head()).active_version == 1
        assert set(await head.labels(lies)) == {"red"}


async def test_copy_that_is_shown_to_be_worse_is_dropped_and_its_feedback_quarantined(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(GATED, family="logistic") as head:
        # Many lies at once, before the copy has believed one of them, and then the truth.
        await head.send(around("red", 60, seed=31, spread=0.7), "blue")
        for vector in around("red", 40, seed=32, spread=0.7):
            await head.send([vector], "red")
            if (await head.head()).quarantined_count:
                break
        described = await head.head()
        assert described.active_version == 1
        assert 60 < described.quarantined_count < 100
        assert {item.state for item in await head.feedback()} == {QUARANTINED}
        assert described.live.state == heads_pb2.LIVE_STATE_IDLE
        assert len(await head.examples()) == 40


async def test_manual_copy_neither_serves_nor_takes_over_until_it_is_promoted(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(MANUAL) as head:
        inputs = strangers(30, spread=2.0)
        other = await unlike(head, inputs)
        before = await head.probabilities(inputs)
        await head.send(inputs, other)
        live = await head.live()
        assert live.state == heads_pb2.LIVE_STATE_LEARNING
        assert live.evidence_better >= 1 / live.error_rate
        np.testing.assert_array_equal(await head.probabilities(inputs), before)
        predicted = await head.live()
        promoted = await head.promote()
        assert (promoted.version.version, promoted.version.source) == (2, "feedback")
        request = heads_pb2.GetHeadReportRequest(name=f"{HEAD}/versions/2")
        report = (await head.server.ask("GetHeadReport", request)).report
        assert (report.example_count, report.estimate.method) == (70, "leave-one-out")
        assert [item.examples for item in report.evaluation.classes] == (
            [20, 50] if other == "red" else [50, 20]
        )
        (online,) = [point for point in report.online if point.feedback == 30] or report.online[-1:]
        assert sum(point.scored for point in report.online) == 30
        assert predicted.scored == 30
        assert online.live_accuracy > online.active_accuracy == 0
        assert promoted.head.active_version == 2
        assert set(await head.labels(inputs)) == {other}


async def test_promoted_version_is_calibrated_on_what_it_stands_on(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        base = await head.server.exported()
        doubtful = around("red", 15, seed=21)
        await head.send(doubtful, "blue")
        await head.promote()
        promoted = await head.server.exported()
    vectors = np.stack([*around("red", 20, seed=1), *around("blue", 20, seed=2), *doubtful])
    labels = ["red"] * 20 + ["blue"] * 35
    logits = adapters.live_head(base, vectors, labels).held_out_logits(
        vectors, labels, np.ones(len(labels))
    )
    fitted = fit_temperature(logits, base.class_indices(labels))
    assert promoted.temperature == pytest.approx(fitted, rel=1e-3)
    assert promoted.temperature > 1.5 * base.temperature


async def test_rollback_brings_the_old_answers_back_at_once(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(MANUAL) as head:
        inputs = strangers(6)
        before = await head.probabilities(inputs)
        await head.send(inputs, await unlike(head, inputs))
        await head.promote()
        await head.activate(1)
        np.testing.assert_array_equal(await head.probabilities(inputs), before)
        assert set(states(await head.feedback())) == {QUARANTINED}


@pytest.mark.parametrize("family", FAMILIES)
async def test_copy_is_the_same_after_a_restart(
    open_learning_head: OpenLearningHead, family: str
) -> None:
    probes = around("red", 10, seed=5) + strangers(10)
    async with open_learning_head(IMMEDIATE, family=family) as head:
        for start in range(0, 8, 2):
            await head.send(strangers(8)[start : start + 2], "red")
        await head.send(around("blue", 4, seed=6), "blue")
        await head.send(around("red", 20, seed=1)[:2], "blue")  # corrections of members
        before = await head.probabilities(probes)
        live = await head.live()
    async with open_learning_head(family=family) as head:
        tolerance = 1e-3 if family == "logistic" else 1e-6
        np.testing.assert_allclose(await head.probabilities(probes), before, atol=tolerance)
        assert await head.live() == live


async def test_feedback_that_was_acknowledged_but_not_learned_is_learned_after_a_crash(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = strangers(6)

    def crash(self: live_copy.LiveCopy, feedback: object) -> None:
        raise RuntimeError("power cut")

    async with open_learning_head(IMMEDIATE) as head:
        other = await unlike(head, inputs)
        monkeypatch.setattr(live_copy.LiveCopy, "learn", crash)
        assert not (await head.send(inputs, other)).errors
        assert not (await head.predict(inputs)).live
        live = await head.live()
        assert live.state == heads_pb2.LIVE_STATE_UNAVAILABLE
        assert "learning failed" in live.reason
        assert not any(item.HasField("active_right") for item in await head.feedback())
        metrics = head.server.application.metrics.registry
        failures = metrics.get_sample_value("trunkline_live_failures_total", {"tenant": "acme"})
        assert failures is not None
        assert failures >= 1
    monkeypatch.undo()
    async with open_learning_head() as head:
        assert set(await head.labels(inputs)) == {other}
        live = await head.live()
        assert (live.feedback_count, live.scored, live.active_right) == (6, 6, 0)


async def test_copy_that_failed_is_made_anew_with_the_next_feedback(
    open_learning_head: OpenLearningHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(6)
        other = await unlike(head, inputs)
        with monkeypatch.context() as broken:
            broken.setattr(live_copy.LiveCopy, "learn", None)
            await head.send(inputs[:3], other)
            assert not (await head.predict(inputs)).live
        await head.send(inputs[3:], other)
        assert set(await head.labels(inputs)) == {other}
        assert (await head.live()).scored == 6


async def test_change_of_policy_takes_effect_at_once(open_learning_head: OpenLearningHead) -> None:
    async with open_learning_head(MANUAL) as head:
        inputs = strangers(4)
        await head.send(inputs, "red")
        assert not (await head.predict(inputs)).live
        described = await head.update(policy=IMMEDIATE)
        assert described.live.state == heads_pb2.LIVE_STATE_SERVING
        assert (await head.predict(inputs)).live
        await head.update(policy=MANUAL)
        assert not (await head.predict(inputs)).live
        with pytest.raises(InvalidRequest) as caught:
            await head.update(policy=7)
        assert caught.value.field == "policy"


async def test_nothing_to_promote_or_drop_is_an_error_that_says_so(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        for wanted in (head.promote, head.drop):
            with pytest.raises(PreconditionFailed) as caught:
                await wanted()
            assert caught.value.field == "head"


async def test_concurrent_predictions_each_see_one_version(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(MANUAL) as head:
        inputs = strangers(20)
        await head.send(inputs, await unlike(head, inputs))
        await head.promote()
        expected: dict[int, Any] = {}
        for version in (1, 2):
            await head.activate(version)
            expected[version] = (await head.predict(inputs)).probabilities
        assert expected[1] != expected[2]

        async def switch() -> None:
            for _ in range(10):
                for version in (1, 2):
                    await head.activate(version)

        switching = asyncio.create_task(switch())
        while not switching.done():
            group = await head.predict(inputs)
            assert group.probabilities == expected[group.version]
            await asyncio.sleep(0)  # a prediction from memory waits for nothing
        await switching


async def test_predictions_while_feedback_comes_see_whole_states_of_the_copy(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(12)
        sent = asyncio.gather(*(head.send([vector], "red") for vector in inputs))
        groups = await asyncio.gather(*(head.predict(inputs) for _ in range(12)))
        await sent
        assert {len(group.rows) for group in groups} == {12}
        live = await head.live()
        assert (live.feedback_count, live.scored, live.example_count) == (12, 12, 52)


async def test_copies_larger_than_their_memory_still_learn(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE, live_cache_bytes=0) as head:
        inputs = strangers(6)
        other = await unlike(head, inputs)
        for vector in inputs:
            await head.send([vector], other)
        assert set(await head.labels(inputs)) == {other}
        assert (await head.live()).scored == 6
        registry = head.server.application.metrics.registry
        assert registry.get_sample_value("trunkline_live_copies") == 0


async def test_deleted_head_leaves_nothing_behind_for_one_of_the_same_name(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(4), "red")
        await head.live()
        await head.server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
        await head.server.create()
        live = await head.live()
        assert (live.state, live.base_version) == (heads_pb2.LIVE_STATE_IDLE, 0)
        assert await head.feedback() == []


async def test_prediction_that_meets_the_deletion_of_its_head_is_not_answered_by_the_old_version(
    open_learning_head: OpenLearningHead,
) -> None:
    """The copy is made anew for each prediction, and the head is gone when it is."""
    async with open_learning_head(IMMEDIATE, live_cache_bytes=0) as head:
        inputs = strangers(4)
        await head.send(inputs, await unlike(head, inputs))
        assert (await head.predict(inputs)).live
        await database_of(head.server).write(stored_heads.delete_head, *HEAD.split("/")[1::2])
        with pytest.raises(NotFound, match=HEAD):
            await head.predict(inputs)
