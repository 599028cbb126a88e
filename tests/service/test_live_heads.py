"""Live copies through the application's handlers: what feedback does, and what it cannot do."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from adapters import FAMILIES
from service.errors import InvalidRequest, PreconditionFailed
from service.inputs import from_tensor
from service.live import learning
from tests.service.house import HEAD, House, import_request
from tests.service.live_house import (
    CENTRES,
    GATED,
    IMMEDIATE,
    MANUAL,
    LiveHouse,
    OpenLive,
    Vector,
    around,
    vector_input,
)
from trunkline.v1 import heads_pb2, prediction_pb2

LEARNED = heads_pb2.FEEDBACK_STATE_LEARNED
LIVE = heads_pb2.FEEDBACK_STATE_LIVE
QUARANTINED = heads_pb2.FEEDBACK_STATE_QUARANTINED
SUPERSEDED = heads_pb2.FEEDBACK_STATE_SUPERSEDED


def strangers(count: int, seed: int = 7, distance: float = 9.0) -> list[Vector]:
    """Embeddings unlike both classes, so that feedback alone decides about them."""
    noise = np.random.default_rng(seed).normal(scale=0.1, size=(count, 4))
    return list((noise + np.array([0, 0, distance, 0])).astype(np.float32))


async def unlike(head: LiveHouse, vectors: list[Vector]) -> str:
    """The label that the head does not give to these."""
    return {"red": "blue", "blue": "red"}[(await head.labels(vectors))[0]]


def states(feedback: list[heads_pb2.FeedbackRecord]) -> list[heads_pb2.FeedbackState.ValueType]:
    return [item.state for item in feedback]


@pytest.mark.parametrize("family", FAMILIES)
async def test_very_next_prediction_shows_what_was_learned(
    open_live: OpenLive, family: str
) -> None:
    async with open_live(IMMEDIATE, family=family) as head:
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
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
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
    open_live: OpenLive,
) -> None:
    async with open_live(GATED, family="lda") as head:
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
        version = (await head.house.ask("GetHeadVersion", request)).version
        assert (version.source, version.active) == ("feedback", True)
        assert version.example_count == 40 + described.feedback_count


async def test_copy_that_would_forget_the_stored_examples_is_held_back(
    open_live: OpenLive,
) -> None:
    async with open_live(GATED) as head:
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
    open_live: OpenLive,
) -> None:
    async with open_live(GATED, family="logistic") as head:
        # Many lies at once, before the copy has believed one of them, and then the truth.
        await head.send(around("red", 60, seed=31, spread=0.3), "blue")
        for vector in around("red", 40, seed=32, spread=0.3):
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
    open_live: OpenLive,
) -> None:
    async with open_live(MANUAL) as head:
        inputs = strangers(30)
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
        report = (await head.house.ask("GetHeadReport", request)).report
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


async def test_rollback_brings_the_old_answers_back_at_once(open_live: OpenLive) -> None:
    async with open_live(MANUAL) as head:
        inputs = strangers(6)
        before = await head.probabilities(inputs)
        await head.send(inputs, await unlike(head, inputs))
        await head.promote()
        await head.activate(1)
        np.testing.assert_array_equal(await head.probabilities(inputs), before)
        assert set(states(await head.feedback())) == {LEARNED}


async def test_feedback_that_an_activated_version_does_not_know_is_quarantined(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(6)
        before = await head.probabilities(inputs)
        await head.send(inputs[:3], await unlike(head, inputs))
        await head.promote()
        await head.send(inputs[3:], await unlike(head, around("red", 1, seed=3)))
        await head.activate(1)
        assert states(await head.feedback()) == [LEARNED] * 3 + [QUARANTINED] * 3
        np.testing.assert_array_equal(await head.probabilities(inputs), before)


async def test_quarantined_feedback_stays_out_of_trainings_until_it_is_released(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(4)
        await head.send(inputs, "red", ids=["a", "b", "c", "d"])
        assert len(await head.examples()) == 44
        dropped = await head.drop()
        assert (dropped.quarantined, dropped.head.quarantined_count) == (4, 4)
        assert len(await head.examples()) == 40
        released = await head.release(ids=["b", "nonesuch", "d"])
        assert released.released == 2
        assert [(error.row, error.code) for error in released.errors] == [(1, "NOT_FOUND")]
        assert len(await head.examples()) == 42
        assert [item.id for item in await head.feedback(QUARANTINED)] == ["a", "c"]
        assert (await head.live()).state == heads_pb2.LIVE_STATE_IDLE
        assert (await head.release(all=True)).released == 2
        assert len(await head.examples()) == 44


async def test_example_gets_its_own_label_back_when_feedback_is_quarantined(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        vector = around("red", 20, seed=1)[0]
        before = await head.examples()
        await head.send([vector], "blue")
        assert sorted((await head.examples()).values()).count("blue") == 21
        await head.drop()
        assert await head.examples() == before


async def test_new_label_makes_a_class_only_where_the_head_allows_it(open_live: OpenLive) -> None:
    async with open_live(IMMEDIATE) as head:
        green = around("green", 8, seed=4, spread=0.3)
        reply = await head.send(green, "green")
        assert [error.code for error in reply.errors] == ["INVALID_ARGUMENT"] * 8
        assert {(error.field, error.value) for error in reply.errors} == {("label", "green")}
        assert "blue, red" in reply.errors[0].message
        assert (await head.head()).feedback_count == 0
        assert (await head.update(allow_new_labels=True)).allow_new_labels
        assert not (await head.send(green, "green")).errors
        assert list((await head.live()).labels) == ["blue", "green", "red"]
        assert set(await head.labels(green)) == {"green"}


async def test_new_labels_stop_where_a_head_would_have_too_many_classes(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE, max_classes=3) as head:
        await head.update(allow_new_labels=True)
        vector = around("green", 2, seed=4)
        assert not (await head.send(vector[:1], "green")).errors
        (error,) = (await head.send(vector[1:], "yellow")).errors
        assert (error.code, error.value) == ("INVALID_ARGUMENT", "yellow")


@pytest.mark.parametrize("family", FAMILIES)
async def test_copy_is_the_same_after_a_restart(open_live: OpenLive, family: str) -> None:
    probes = around("red", 10, seed=5) + strangers(10)
    async with open_live(IMMEDIATE, family=family) as head:
        for start in range(0, 8, 2):
            await head.send(strangers(8)[start : start + 2], "red")
        await head.send(around("blue", 4, seed=6), "blue")
        await head.send(around("red", 20, seed=1)[:2], "blue")  # corrections of members
        before = await head.probabilities(probes)
        live = await head.live()
    async with open_live(family=family) as head:
        tolerance = 1e-3 if family == "logistic" else 1e-6
        np.testing.assert_allclose(await head.probabilities(probes), before, atol=tolerance)
        assert await head.live() == live


async def test_feedback_that_was_acknowledged_but_not_learned_is_learned_after_a_crash(
    open_live: OpenLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = strangers(6)

    def crash(self: learning.LiveCopy, feedback: object) -> None:
        raise RuntimeError("power cut")

    async with open_live(IMMEDIATE) as head:
        other = await unlike(head, inputs)
        monkeypatch.setattr(learning.LiveCopy, "learn", crash)
        assert not (await head.send(inputs, other)).errors
        assert not (await head.predict(inputs)).live
        live = await head.live()
        assert live.state == heads_pb2.LIVE_STATE_UNAVAILABLE
        assert "learning failed" in live.reason
        assert not any(item.HasField("active_right") for item in await head.feedback())
        metrics = head.house.application.metrics.registry
        failures = metrics.get_sample_value("trunkline_live_failures_total", {"tenant": "acme"})
        assert failures == 1
    monkeypatch.undo()
    async with open_live() as head:
        assert set(await head.labels(inputs)) == {other}
        live = await head.live()
        assert (live.feedback_count, live.scored, live.active_right) == (6, 6, 0)


async def test_copy_that_failed_is_made_anew_with_the_next_feedback(
    open_live: OpenLive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(6)
        other = await unlike(head, inputs)
        with monkeypatch.context() as broken:
            broken.setattr(learning.LiveCopy, "learn", None)
            await head.send(inputs[:3], other)
            assert not (await head.predict(inputs)).live
        await head.send(inputs[3:], other)
        assert set(await head.labels(inputs)) == {other}
        assert (await head.live()).scored == 6


async def test_repeated_feedback_is_acknowledged_and_learned_once(open_live: OpenLive) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(3)
        first = await head.send(inputs, "red", ids=["a", "b", "c"])
        assert list(first.duplicates) == [False] * 3
        learned = await head.probabilities(inputs)
        again = await head.send(inputs, "blue", ids=["a", "b", "c"])
        assert list(again.duplicates) == [True] * 3
        np.testing.assert_array_equal(await head.probabilities(inputs), learned)
        # The same said again under other ids adds nothing.
        await head.send(inputs, "red")
        np.testing.assert_array_equal(await head.probabilities(inputs), learned)
        assert (await head.live()).feedback_count == 3


async def test_later_feedback_takes_the_place_of_earlier_feedback_on_the_same_input(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(4)
        await head.send(inputs, "red")
        await head.send(inputs, "blue")
        assert set(await head.labels(inputs)) == {"blue"}
        assert states(await head.feedback()) == [SUPERSEDED] * 4 + [LIVE] * 4
        assert (await head.live()).feedback_count == 4
        await head.drop()
        assert len(await head.examples()) == 40


async def test_label_set_by_hand_takes_the_place_of_feedback(open_live: OpenLive) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(4)
        reply = await head.send(inputs, "red")
        updates = [heads_pb2.ExampleUpdate(digest=d, label="blue") for d in reply.digests]
        request = heads_pb2.UpdateExamplesRequest(head=HEAD, updates=updates)
        await head.house.ask("UpdateExamples", request)
        assert states(await head.feedback()) == [SUPERSEDED] * 4
        assert not (await head.predict(inputs)).live
        assert (await head.live()).state == heads_pb2.LIVE_STATE_IDLE


async def test_example_that_is_deleted_leaves_the_copy(open_live: OpenLive) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(4)
        reply = await head.send(inputs, "red")
        assert (await head.live()).example_count == 44
        delete = heads_pb2.DeleteExamplesRequest(head=HEAD, digests=reply.digests[:3])
        await head.house.ask("DeleteExamples", delete)
        assert (await head.live()).example_count == 41


async def test_training_learns_live_feedback_and_keeps_what_came_while_it_ran(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(8)
        await head.send(inputs[:4], "red")
        training = await head.house.train()
        assert training.version == 2
        assert states(await head.feedback()) == [LEARNED] * 4
        await head.send(inputs[4:], "red")
        assert (await head.live()).base_version == 2
        waiting = await head.house.train(activate=False)
        assert waiting.version == 3
        assert states(await head.feedback()) == [LEARNED] * 4 + [LIVE] * 4
        await head.activate(3)
        assert states(await head.feedback()) == [LEARNED] * 8


async def test_change_of_policy_takes_effect_at_once(open_live: OpenLive) -> None:
    async with open_live(MANUAL) as head:
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


async def test_head_that_was_imported_keeps_feedback_for_the_next_training(house: House) -> None:
    await house.ask("ImportHead", import_request())
    head = LiveHouse(house)
    await head.update(policy=IMMEDIATE)
    reply = await head.send(around("red", 2, seed=1), "yes")
    assert not reply.errors
    assert (await head.predict(around("red", 1, seed=2))).live is False
    live = await head.live()
    assert live.state == heads_pb2.LIVE_STATE_UNAVAILABLE
    assert "cannot be followed" in live.reason
    assert states(await head.feedback()) == [LIVE] * 2
    with pytest.raises(PreconditionFailed, match="no live copy"):
        await head.promote()


async def test_nothing_to_promote_or_drop_is_an_error_that_says_so(open_live: OpenLive) -> None:
    async with open_live(IMMEDIATE) as head:
        for wanted in (head.promote, head.drop):
            with pytest.raises(PreconditionFailed) as caught:
                await wanted()
            assert caught.value.field == "head"


async def test_concurrent_predictions_each_see_one_version(open_live: OpenLive) -> None:
    async with open_live(MANUAL) as head:
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
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        inputs = strangers(12)
        sent = asyncio.gather(*(head.send([vector], "red") for vector in inputs))
        groups = await asyncio.gather(*(head.predict(inputs) for _ in range(12)))
        await sent
        assert {len(group.rows) for group in groups} == {12}
        live = await head.live()
        assert (live.feedback_count, live.scored, live.example_count) == (12, 12, 52)


async def test_copies_larger_than_their_memory_still_learn(open_live: OpenLive) -> None:
    async with open_live(IMMEDIATE, live_cache_bytes=1 << 20) as head:
        cache = head.house.application._live  # its bound alone is of interest
        object.__setattr__(cache._settings, "live_cache_bytes", 1)
        inputs = strangers(6)
        other = await unlike(head, inputs)
        for vector in inputs:
            await head.send([vector], other)
        assert set(await head.labels(inputs)) == {other}
        assert (await head.live()).scored == 6
        registry = head.house.application.metrics.registry
        assert registry.get_sample_value("trunkline_live_copies") == 0


async def test_deleted_head_leaves_nothing_behind_for_one_of_the_same_name(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        await head.send(strangers(4), "red")
        await head.live()
        await head.house.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
        await head.house.create()
        live = await head.live()
        assert (live.state, live.base_version) == (heads_pb2.LIVE_STATE_IDLE, 0)
        assert await head.feedback() == []


async def test_drift_is_detected_and_the_copy_stands_on_what_came_after_it(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE, drift_delta=0.2) as head:
        for label in ("red", "blue"):
            await head.send(around(label, 40, seed=41, spread=0.5), label)
        assert not (await head.live()).drift.detected
        swapped = {"red": "blue", "blue": "red"}
        for seed in range(50, 80):
            for label in ("red", "blue"):
                await head.send(around(label, 2, seed, spread=0.5), swapped[label])
            if (live := await head.live()).drift.detected:
                break
        assert live.drift.detected
        assert live.drift.time.seconds > 0
        assert live.example_count == live.feedback_count < 200
        for label in ("red", "blue"):
            await head.send(around(label, 20, seed=90, spread=0.5), swapped[label])
            assert set(await head.labels(around(label, 9, 91, 0.5))) == {swapped[label]}
        registry = head.house.application.metrics.registry
        assert registry.get_sample_value("trunkline_drifts_total", {"tenant": "acme"}) == 1


async def test_feedback_is_listed_in_pages_and_by_state(open_live: OpenLive) -> None:
    async with open_live(IMMEDIATE) as head:
        await head.send(strangers(5), "red", ids=list("abcde"))
        await head.live()
        listed: list[str] = []
        token = ""
        while True:
            request = heads_pb2.ListFeedbackRequest(head=HEAD, page_size=2, page_token=token)
            page = await head.house.ask("ListFeedback", request)
            assert all(item.HasField("active_right") for item in page.feedback)
            listed += [item.id for item in page.feedback]
            token = page.next_page_token
            if not token:
                break
        assert listed == list("abcde")
        assert await head.feedback(QUARANTINED) == []
        unknown = heads_pb2.ListFeedbackRequest(head=HEAD, state=9)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest) as caught:
            await head.house.ask("ListFeedback", unknown)
        assert caught.value.field == "state"


@pytest.mark.parametrize(
    ("values", "value"),
    [({}, 0), ({"ids": ["a"], "all": True}, 1), ({"ids": ["a"] * 10_001}, 10_001)],
)
async def test_release_of_nothing_or_of_everything_and_more_is_refused(
    open_live: OpenLive, values: dict[str, Any], value: int
) -> None:
    async with open_live() as head:
        with pytest.raises(InvalidRequest) as caught:
            await head.release(**values)
        assert (caught.value.field, caught.value.value) == ("ids", value)


async def predict_with(head: LiveHouse, **values: Any) -> prediction_pb2.PredictResponse:
    rows = map(vector_input, around("red", 3, seed=8))
    return await head.house.predict(*rows, **values)


async def test_sets_of_classes_come_at_the_level_that_is_asked_for(open_live: OpenLive) -> None:
    async with open_live() as head:
        (plain,) = (await predict_with(head)).predictions
        assert not plain.HasField("set_sizes")
        sizes = []
        for level in (0.01, 0.9, 0.999):
            (group,) = (await predict_with(head, conformal_level=level)).predictions
            row_sizes = from_tensor(group.set_sizes, field="s", dtypes=("uint32",))
            indices = from_tensor(group.set_indices, field="i", dtypes=("uint32",))
            assert row_sizes.sum() == len(indices)
            sizes.append(int(row_sizes.sum()))
        assert sizes == sorted(sizes)
        assert sizes[-1] == 6


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, float("nan")])
async def test_level_that_is_no_probability_is_refused(open_live: OpenLive, level: float) -> None:
    async with open_live() as head:
        with pytest.raises(InvalidRequest) as caught:
            await predict_with(head, conformal_level=level)
        assert caught.value.field == "conformal_level"
        assert caught.value.limit == "above 0, below 1"


async def test_sets_of_a_head_without_held_out_scores_are_refused(house: House) -> None:
    await house.ask("ImportHead", import_request())
    head = LiveHouse(house)
    with pytest.raises(PreconditionFailed) as caught:
        await predict_with(head, conformal_level=0.9)
    assert caught.value.field == "conformal_level"
    reply = await predict_with(head, conformal_level=0.9, heads=[HEAD, "", HEAD])
    assert [error.code for error in reply.errors] == ["FAILED_PRECONDITION"] * 3


async def test_novel_rows_are_marked_and_the_reply_says_whether_the_head_abstains(
    open_live: OpenLive,
) -> None:
    async with open_live(IMMEDIATE) as head:
        (plain,) = (await predict_with(head)).predictions
        assert (plain.HasField("novelty"), list(plain.novel)) == (False, [])
        await head.update(
            spec=heads_pb2.HeadSpec(
                family="ridge", novelty=heads_pb2.Novelty(false_alarm_rate=0.2, abstain=True)
            )
        )
        await head.house.train()
        vectors = [around("red", 1, seed=8, spread=0.1)[0], -strangers(1)[0]]
        group = await head.predict(vectors)
        novelty = from_tensor(group.novelty, field="n", dtypes=("float32",))
        assert group.abstains
        assert list(group.novel) == [bool(value > 1) for value in novelty] == [False, True]
        await head.send(strangers(2), "red")
        assert list((await head.predict(vectors)).novel) == [False, True]
