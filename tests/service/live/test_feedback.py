"""What becomes of feedback: live, learned, in quarantine, superseded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.errors import InvalidRequest, PreconditionFailed
from tests.service.learning_head import (
    IMMEDIATE,
    LearningHead,
    OpenLearningHead,
    around,
    states,
    strangers,
    unlike,
)
from tests.service.server import HEAD, InProcessServer, import_request
from trunkline.v1 import heads_pb2

LEARNED = heads_pb2.FEEDBACK_STATE_LEARNED
LIVE = heads_pb2.FEEDBACK_STATE_LIVE
QUARANTINED = heads_pb2.FEEDBACK_STATE_QUARANTINED
SUPERSEDED = heads_pb2.FEEDBACK_STATE_SUPERSEDED


async def test_feedback_that_an_activated_version_does_not_know_is_quarantined(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(6)
        before = await head.probabilities(inputs)
        await head.send(inputs[:3], await unlike(head, inputs))
        await head.promote()
        await head.send(inputs[3:], await unlike(head, around("red", 1, seed=3)))
        await head.activate(1)
        assert states(await head.feedback()) == [QUARANTINED] * 6
        np.testing.assert_array_equal(await head.probabilities(inputs), before)


async def test_quarantined_feedback_stays_out_of_trainings_until_it_is_released(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
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


async def test_released_correction_of_a_training_example_is_learned_by_the_copy_that_serves(
    open_learning_head: OpenLearningHead,
) -> None:
    probes = around("red", 10, seed=5) + strangers(5)
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(around("red", 20, seed=1)[:5], "blue")
        await head.drop()
        await head.send(strangers(3), "red")
        before = await head.predict(probes), await head.probabilities(probes)
        assert (await head.release(all=True)).released == 5
        after = await head.predict(probes), await head.probabilities(probes)
        assert before[0].live
        assert after[0].live
        assert np.abs(after[1] - before[1]).max() > 0.01
    async with open_learning_head() as head:
        np.testing.assert_allclose(await head.probabilities(probes), after[1], atol=1e-6)


async def test_example_gets_its_own_label_back_when_feedback_is_quarantined(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        vector = around("red", 20, seed=1)[0]
        before = await head.examples()
        await head.send([vector], "blue")
        assert sorted((await head.examples()).values()).count("blue") == 21
        await head.drop()
        assert await head.examples() == before


async def test_new_label_makes_a_class_only_where_the_head_allows_it(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
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
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE, max_classes=3) as head:
        await head.update(allow_new_labels=True)
        vector = around("green", 2, seed=4)
        assert not (await head.send(vector[:1], "green")).errors
        (error,) = (await head.send(vector[1:], "yellow")).errors
        assert (error.code, error.value) == ("INVALID_ARGUMENT", "yellow")


async def test_repeated_feedback_is_acknowledged_and_learned_once(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(3)
        first = await head.send(inputs, "red", ids=["a", "b", "c"])
        assert list(first.duplicates) == [False] * 3
        learned = await head.probabilities(inputs)
        again = await head.send(inputs, "red", ids=["a", "b", "c"])
        assert list(again.duplicates) == [True] * 3
        other = await head.send(inputs, "blue", ids=["a", "b", "c"])
        assert [error.code for error in other.errors] == ["ALREADY_EXISTS"] * 3
        np.testing.assert_array_equal(await head.probabilities(inputs), learned)
        # The same said again under other ids adds nothing.
        await head.send(inputs, "red")
        np.testing.assert_array_equal(await head.probabilities(inputs), learned)
        assert (await head.live()).feedback_count == 3


async def test_later_feedback_takes_the_place_of_earlier_feedback_on_the_same_input(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(4)
        await head.send(inputs, "red")
        await head.send(inputs, "blue")
        assert set(await head.labels(inputs)) == {"blue"}
        assert states(await head.feedback()) == [SUPERSEDED] * 4 + [LIVE] * 4
        assert (await head.live()).feedback_count == 4
        await head.drop()
        assert len(await head.examples()) == 40


async def test_label_set_by_hand_takes_the_place_of_feedback(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(4)
        reply = await head.send(inputs, "red")
        updates = [heads_pb2.ExampleUpdate(digest=d, label="blue") for d in reply.digests]
        request = heads_pb2.UpdateExamplesRequest(head=HEAD, updates=updates)
        await head.server.ask("UpdateExamples", request)
        assert states(await head.feedback()) == [SUPERSEDED] * 4
        assert not (await head.predict(inputs)).live
        assert (await head.live()).state == heads_pb2.LIVE_STATE_IDLE


async def test_example_that_is_deleted_leaves_the_copy(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(4)
        reply = await head.send(inputs, "red")
        assert (await head.live()).example_count == 44
        await head.server.delete(*reply.digests[:3])
        assert (await head.live()).example_count == 41


async def test_training_learns_live_feedback_and_keeps_what_came_while_it_ran(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        inputs = strangers(8)
        await head.send(inputs[:4], "red")
        training = await head.server.train()
        assert training.version == 2
        assert states(await head.feedback()) == [LEARNED] * 4
        await head.send(inputs[4:], "red")
        assert (await head.live()).base_version == 2
        waiting = await head.server.train(activate=False)
        assert waiting.version == 3
        assert states(await head.feedback()) == [LEARNED] * 4 + [LIVE] * 4
        await head.activate(3)
        assert states(await head.feedback()) == [LEARNED] * 8


async def test_head_that_was_imported_keeps_feedback_for_the_next_training(
    server: InProcessServer,
) -> None:
    await server.ask("ImportHead", import_request())
    head = LearningHead(server)
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


async def test_version_whose_examples_are_not_stored_is_not_replaced_by_feedback_alone(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head() as trained:
        probes = around("red", 5, seed=5) + around("blue", 5, seed=6)
        before = await trained.probabilities(probes)
        export = heads_pb2.ExportHeadRequest(name=HEAD)
        file = (await trained.server.ask("ExportHead", export)).safetensors
        copied = import_request(head_id="copied", safetensors=file, labels=[])
        await trained.server.ask("ImportHead", copied)
        head = LearningHead(trained.server, "tenants/acme/heads/copied")
        await head.update(policy=IMMEDIATE)
        for vector, label in zip(strangers(4), ("red", "blue") * 2, strict=True):
            await head.send([vector], label)
        assert not (await head.predict(probes)).live
        np.testing.assert_array_equal(await head.probabilities(probes), before)
        live = await head.live()
        assert live.state == heads_pb2.LIVE_STATE_UNAVAILABLE
        assert "none of the examples" in live.reason


async def test_rollback_takes_back_wrong_labels_for_whatever_learns_next(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        members = around("red", 20, seed=1)
        probes = around("red", 20, seed=8, spread=0.5)
        own = await head.examples()
        await head.send(members[:15], "blue")
        await head.send(members[15:16], "red")  # right, but as live as the wrong ones
        await head.promote()
        wrong = await head.examples()
        assert "red" not in await head.labels(probes)
        await head.activate(1)
        assert await head.examples() == own
        assert states(await head.feedback()) == [QUARANTINED] * 15 + [LEARNED]
        await head.send(around("red", 1, seed=9), "red")
        assert set(await head.labels(probes)) == {"red"}
        await head.server.train()
        assert set(await head.labels(probes)) == {"red"}
        await head.activate(2)
        assert {digest: (await head.examples())[digest] for digest in own} == wrong
        assert states(await head.feedback()) == [LEARNED] * 16 + [QUARANTINED]
        assert "red" not in await head.labels(probes)


async def test_rollback_leaves_feedback_that_was_released_as_it_is(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(3), "red", ids=["a", "b", "c"])
        await head.drop()
        await head.release(ids=["a", "b"])
        assert (await head.server.train()).version == 2
        await head.activate(1)
        assert states(await head.feedback()) == [LEARNED, LEARNED, QUARANTINED]
        assert len(await head.examples()) == 42


async def test_what_feedback_has_taught_is_not_novel_to_the_live_copy(
    server: InProcessServer,
) -> None:
    spec = heads_pb2.HeadSpec(family="ridge", novelty=heads_pb2.Novelty(abstain=True))
    await server.create(spec=spec, policy=IMMEDIATE, allow_new_labels=True)
    head = LearningHead(server)
    await head.add(around("red", 30, seed=1, spread=0.1), "red")
    await head.add(around("blue", 30, seed=2, spread=0.1), "blue")
    await server.train()
    green, other = around("green", 12, seed=4, spread=0.1), strangers(5)
    assert all((await head.predict(green)).novel)
    await head.send(green, "green")
    assert not any((await head.predict(green)).novel)
    assert all((await head.predict(other)).novel)
    assert await head.labels(green) == ["green"] * 12
    promoted = await head.promote()
    assert promoted.version.version == 2
    assert not all((await head.predict(green)).novel)


async def test_feedback_is_listed_in_pages_and_by_state(
    open_learning_head: OpenLearningHead,
) -> None:
    async with open_learning_head(IMMEDIATE) as head:
        await head.send(strangers(5), "red", ids=list("abcde"))
        await head.live()
        listed: list[str] = []
        token = ""
        while True:
            request = heads_pb2.ListFeedbackRequest(head=HEAD, page_size=2, page_token=token)
            page = await head.server.ask("ListFeedback", request)
            assert all(item.HasField("active_right") for item in page.feedback)
            listed += [item.id for item in page.feedback]
            token = page.next_page_token
            if not token:
                break
        assert listed == list("abcde")
        assert await head.feedback(QUARANTINED) == []
        unknown = heads_pb2.ListFeedbackRequest(head=HEAD, state=9)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequest) as caught:
            await head.server.ask("ListFeedback", unknown)
        assert caught.value.field == "state"


@pytest.mark.parametrize(
    ("values", "value"),
    [({}, 0), ({"ids": ["a"], "all": True}, 1), ({"ids": ["a"] * 10_001}, 10_001)],
)
async def test_release_of_nothing_or_of_everything_and_more_is_refused(
    open_learning_head: OpenLearningHead, values: dict[str, Any], value: int
) -> None:
    async with open_learning_head() as head:
        with pytest.raises(InvalidRequest) as caught:
            await head.release(**values)
        assert (caught.value.field, caught.value.value) == ("ids", value)
