"""Labels of a head are renamed, merged and deleted in all that is stored of it, over the API."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import AlreadyExists, InvalidRequest, NotFound, PreconditionFailed
from tests.service.server import HEAD, LABELS, InProcessServer, best, import_request, texts
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

FOUR = {**LABELS, "green one": "green", "green two": "green"}
KEEP, DELETE = heads_pb2.EXAMPLES_OF_LABEL_KEEP, heads_pb2.EXAMPLES_OF_LABEL_DELETE
SUCCEEDED = heads_pb2.TRAINING_STATE_SUCCEEDED


async def trained(server: InProcessServer, labels: dict[str, str], **spec: Any) -> None:
    await server.create(spec=heads_pb2.HeadSpec(family="ridge", **spec))
    await server.add(labels)
    assert (await server.train()).state == SUCCEEDED


async def rename(server: InProcessServer, old: str, new: str) -> heads_pb2.RenameLabelResponse:
    request = heads_pb2.RenameLabelRequest(head=HEAD, label=old, new_label=new)
    reply: heads_pb2.RenameLabelResponse = await server.ask("RenameLabel", request)
    return reply


async def merge(
    server: InProcessServer, labels: list[str], into: str
) -> heads_pb2.MergeLabelsResponse:
    request = heads_pb2.MergeLabelsRequest(head=HEAD, labels=labels, into=into)
    reply: heads_pb2.MergeLabelsResponse = await server.ask("MergeLabels", request)
    return reply


async def delete(
    server: InProcessServer, label: str, examples: Any = DELETE
) -> heads_pb2.DeleteLabelResponse:
    request = heads_pb2.DeleteLabelRequest(head=HEAD, label=label, examples=examples)
    reply: heads_pb2.DeleteLabelResponse = await server.ask("DeleteLabel", request)
    return reply


async def counts(server: InProcessServer) -> dict[str, tuple[int, int, int, bool]]:
    listed = await server.ask("ListLabels", heads_pb2.ListLabelsRequest(head=HEAD))
    return {
        row.label: (row.example_count, row.held_out_count, row.feedback_count, row.active)
        for row in listed.labels
    }


async def labels_of_examples(server: InProcessServer) -> dict[str, str]:
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    return {row.digest: row.label for row in listed.examples}


async def until_trained(server: InProcessServer, training: heads_pb2.Training) -> None:
    """Joins the training, if it has not ended."""
    asked = heads_pb2.GetTrainingRequest(name=training.name)
    state = (await server.ask("GetTraining", asked)).training.state
    if state in (heads_pb2.TRAINING_STATE_QUEUED, heads_pb2.TRAINING_STATE_RUNNING):
        joined = await server.train()
        assert joined.name == training.name
        state = joined.state
    assert state == SUCCEEDED


async def test_labels_are_counted_by_use(server: InProcessServer) -> None:
    await trained(server, LABELS)
    held = heads_pb2.NewExample(input=common_pb2.Input(text="x"), label="red", held_out=True)
    await server.add_rows(held)
    await server.add({"green one": "green"})
    await server.feedback({"new": "blue"})
    assert await counts(server) == {
        "blue": (3, 0, 1, True),
        "green": (1, 0, 0, False),
        "red": (2, 1, 0, True),
    }


async def test_renamed_label_is_renamed_everywhere_and_nothing_else_changes(
    server: InProcessServer,
) -> None:
    await trained(server, LABELS, class_weights={"red": 2.0, "blue": 1.0})
    held = heads_pb2.NewExample(input=common_pb2.Input(text="x"), label="red", held_out=True)
    await server.add_rows(held)
    await server.feedback({"new": "red"})
    before = await server.predict(*texts("red one", "blue one", "other"))
    report = await server.report()
    reply = await rename(server, "red", "crimson")
    assert (reply.changes.examples, reply.changes.feedback) == (4, 1)
    assert (reply.version.version, reply.version.source) == (2, "rename")
    assert list(reply.version.labels) == ["blue", "crimson"]
    assert dict(reply.head.spec.class_weights) == {"crimson": 2.0, "blue": 1.0}
    assert await counts(server) == {"blue": (2, 0, 0, True), "crimson": (3, 1, 1, True)}
    after = await server.predict(*texts("red one", "blue one", "other"))
    assert best(after)[:2] == ["crimson", "blue"]
    assert after.predictions[0].probabilities == before.predictions[0].probabilities
    renamed = await server.report()
    assert [row.label for row in renamed.classes] == ["blue", "crimson"]
    assert dict(renamed.spec.class_weights) == {"crimson": 2.0, "blue": 1.0}
    assert renamed.estimate == report.estimate


async def test_feedback_counts_on_after_a_rename(server: InProcessServer) -> None:
    await trained(server, LABELS)
    await server.feedback({"new": "red", "newer": "blue"})
    before = (await server.head()).live
    await rename(server, "red", "crimson")
    live = (await server.head()).live
    assert (live.state, live.base_version) == (before.state, 2)
    assert (live.feedback_count, live.scored) == (before.feedback_count, before.scored)
    assert (live.active_right, live.live_right) == (before.active_right, before.live_right)
    assert list(live.labels) == ["blue", "crimson"]


async def test_next_training_and_promotion_know_the_new_name_alone(
    server: InProcessServer,
) -> None:
    await trained(server, LABELS)
    await server.feedback({"new": "red"})
    await rename(server, "red", "crimson")
    await server.ask("PromoteLiveCopy", heads_pb2.PromoteLiveCopyRequest(head=HEAD))
    assert list((await server.head()).labels) == ["blue", "crimson"]
    assert (await server.train()).state == SUCCEEDED
    assert list((await server.head()).labels) == ["blue", "crimson"]


async def test_earlier_version_keeps_its_labels_and_activating_it_says_so(
    server: InProcessServer,
) -> None:
    await trained(server, LABELS)
    await rename(server, "red", "crimson")
    reply = await server.ask(
        "ActivateHeadVersion",
        heads_pb2.ActivateHeadVersionRequest(name=f"{HEAD}/versions/1"),
    )
    assert (list(reply.labels_lost), list(reply.labels_gained)) == (["crimson"], ["red"])
    assert best(await server.predict(*texts("red one"))) == ["red"]


async def test_imported_version_is_renamed_in_and_cannot_lose_a_label(
    server: InProcessServer,
) -> None:
    await server.ask("ImportHead", import_request())
    assert (await rename(server, "yes", "ja")).version.version == 2
    assert best(await server.predict(*texts("a"))) == ["ja"]
    for change in (merge(server, ["no"], "ja"), delete(server, "no")):
        with pytest.raises(PreconditionFailed, match="made elsewhere"):
            await change
    assert (await server.head()).active_version == 2


async def test_merged_labels_are_one_and_a_training_takes_over(server: InProcessServer) -> None:
    await trained(server, FOUR, class_weights={"green": 3.0, "red": 2.0})
    await server.feedback({"new": "green"})
    reply = await merge(server, ["red", "green"], "warm")
    assert (reply.changes.examples, reply.changes.feedback) == (5, 1)
    assert dict(reply.head.spec.class_weights) == {"warm": 2.0}
    await until_trained(server, reply.training)
    head = await server.head()
    assert (head.active_version, list(head.labels)) == (2, ["blue", "warm"])
    assert await counts(server) == {"blue": (2, 0, 0, True), "warm": (5, 0, 1, True)}


async def test_deleted_label_takes_its_examples_along_or_leaves_them_without(
    server: InProcessServer,
) -> None:
    await trained(server, FOUR)
    reply = await delete(server, "green", DELETE)
    assert (reply.changes.examples, reply.changes.examples_deleted) == (0, 2)
    await until_trained(server, reply.training)
    assert list((await server.head()).labels) == ["blue", "red"]
    assert (await server.head()).example_count == 4
    await server.add({"green one": "green", "green two": "green"})
    reply = await delete(server, "green", KEEP)
    assert (reply.changes.examples, reply.changes.examples_deleted) == (2, 0)
    await until_trained(server, reply.training)
    assert (await labels_of_examples(server))[text_digest("green one")] == ""
    assert (await server.head()).example_count == 6


async def test_feedback_on_a_deleted_label_counts_no_longer(server: InProcessServer) -> None:
    await trained(server, {**FOUR, "red three": "red"})
    await server.feedback({"red one": "green"})
    reply = await delete(server, "green", KEEP)
    assert reply.changes.feedback == 1
    await until_trained(server, reply.training)
    assert (await labels_of_examples(server))[text_digest("red one")] == ""
    assert "green" not in await counts(server)


async def test_what_would_leave_one_class_changes_nothing(server: InProcessServer) -> None:
    await trained(server, LABELS)
    before = await counts(server)
    for change in (merge(server, ["red"], "blue"), delete(server, "red", DELETE)):
        with pytest.raises(PreconditionFailed, match="at least 2"):
            await change
    assert await counts(server) == before
    assert not (await server.head()).training


async def test_head_without_a_version_has_its_labels_changed_and_no_training(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    assert not (await rename(server, "red", "crimson")).HasField("version")
    assert not (await merge(server, ["crimson"], "blue")).HasField("training")
    assert await counts(server) == {"blue": (4, 0, 0, False)}


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("green", "lime", NotFound, "no label 'green'"),
        ("Redd", "lime", NotFound, "no label 'Redd'; 'red' may be meant"),
        ("red", "blue", AlreadyExists, "merge the two"),
        ("red", "", InvalidRequest, "new_label: from 1"),
        ("red", " x", InvalidRequest, "new_label: must have no control"),
    ],
)
async def test_rename_that_makes_no_sense_is_refused(
    server: InProcessServer, old: str, new: str, error: type[Exception], words: str
) -> None:
    await trained(server, LABELS)
    with pytest.raises(error, match=words):
        await rename(server, old, new)
    assert (await server.head()).active_version == 1


async def test_merge_and_deletion_that_make_no_sense_are_refused(server: InProcessServer) -> None:
    await trained(server, FOUR)
    with pytest.raises(NotFound, match="no label 'grey'"):
        await merge(server, ["red", "grey"], "blue")
    with pytest.raises(InvalidRequest, match="labels: needs one"):
        await merge(server, ["red"], "red")
    with pytest.raises(InvalidRequest, match="examples: must say"):
        await delete(server, "red", heads_pb2.EXAMPLES_OF_LABEL_UNSPECIFIED)
    assert (await server.head()).active_version == 1


async def test_label_cannot_change_while_the_head_is_trained(server: InProcessServer) -> None:
    await trained(server, FOUR)
    handler = server.application.handlers["TrainHead"]
    request = heads_pb2.TrainHeadRequest(head=HEAD)
    stream = handler(request, server.call("TrainHead", request))
    await anext(stream)
    with pytest.raises(PreconditionFailed, match="being trained"):
        await rename(server, "red", "crimson")
    async for _ in stream:
        pass
    assert (await rename(server, "red", "crimson")).version.version == 3


async def test_prediction_by_an_immediate_head_shows_the_new_name_at_once(
    server: InProcessServer,
) -> None:
    await server.create(policy=heads_pb2.FEEDBACK_POLICY_IMMEDIATE)
    await server.add(LABELS)
    await server.train()
    await server.feedback({"new": "red"})
    assert best(await server.predict(*texts("new"))) == ["red"]
    await rename(server, "red", "crimson")
    response: prediction_pb2.PredictResponse = await server.predict(*texts("new"))
    assert best(response) == ["crimson"]
