"""The main job through the handlers, without a transport: create, add, train, predict."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import adapters
from service.errors import (
    AlreadyExists,
    FingerprintMismatch,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
)
from service.requests.tensors import from_tensor
from tests.service.server import (
    HEAD,
    LABELS,
    InProcessServer,
    StartServer,
    best,
    import_request,
    texts,
    weights,
)
from tests.service.tiny_backbone import DIM, FINGERPRINT, vector_of
from trunkline.digest import text_digest
from trunkline.resources import InvalidName
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2


async def test_head_learns_its_examples_and_predicts_them(server: InProcessServer) -> None:
    await server.create()
    added = await server.add(LABELS)
    assert (added.added, added.failed) == (4, 0)
    training = await server.train()
    assert training.state == heads_pb2.TRAINING_STATE_SUCCEEDED, training
    assert (training.version, training.progress) == (1, 1.0)
    response = await server.predict(*texts(*LABELS))
    assert best(response) == list(LABELS.values())
    assert list(response.digests) == [text_digest(text) for text in LABELS]
    (group,) = response.predictions
    probabilities = from_tensor(group.probabilities, field="p", dtypes=("float32",))
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    report = (
        await server.ask(
            "GetHeadReport", heads_pb2.GetHeadReportRequest(name=f"{HEAD}/versions/active")
        )
    ).report
    assert (report.example_count, report.fingerprint) == (4, FINGERPRINT)
    assert report.train_seconds > 0


async def test_what_is_stored_survives_a_restart(start_server: StartServer) -> None:
    async with start_server() as server:
        await server.create()
        await server.add(LABELS)
        await server.train()
        before = await server.predict(*texts("red one", "something new"))
    async with start_server() as server:
        after = await server.predict(*texts("red one", "something new"))
        assert after.predictions == before.predictions
        head = (await server.ask("GetHead", heads_pb2.GetHeadRequest(name=HEAD))).head
        assert (head.active_version, head.labelled_count) == (1, 4)
        assert list(head.labels) == ["blue", "red"]


async def test_unfinished_training_is_taken_up_by_the_next_server(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await server.create()
        await server.add(LABELS)
        request = heads_pb2.TrainHeadRequest(head=HEAD)
        stream = server.application.handlers["TrainHead"](
            request, server.call("TrainHead", request)
        )
        first = (await anext(stream)).training
        await stream.aclose()
    async with start_server() as server:
        name = heads_pb2.GetTrainingRequest(name=first.name)
        found = (await server.ask("GetTraining", name)).training
        if found.state != heads_pb2.TRAINING_STATE_SUCCEEDED:
            joined = await server.train()
            assert joined.name == first.name
            assert joined.state == heads_pb2.TRAINING_STATE_SUCCEEDED
        assert (await server.predict(*texts("red one"))).predictions[0].version == 1


async def test_trainings_of_a_head_that_overlap_are_one(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    first, second = await asyncio.gather(server.train(), server.train())
    assert first.name == second.name
    versions = await server.ask("ListHeadVersions", heads_pb2.ListHeadVersionsRequest(head=HEAD))
    assert len(versions.versions) == 1


async def test_cancelled_training_makes_no_version_and_the_head_can_be_trained_again(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    request = heads_pb2.TrainHeadRequest(head=HEAD)
    stream = server.application.handlers["TrainHead"](request, server.call("TrainHead", request))
    first = (await anext(stream)).training
    cancel = heads_pb2.CancelTrainingRequest(name=first.name)
    cancelled = (await server.ask("CancelTraining", cancel)).training
    await stream.aclose()
    assert cancelled.state == heads_pb2.TRAINING_STATE_CANCELLED
    with pytest.raises(PreconditionFailed):
        await server.predict(*texts("red one"))
    again = await server.train()
    assert (again.state, again.version) == (heads_pb2.TRAINING_STATE_SUCCEEDED, 1)


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ({}, "classes"),
        ({"a": "x", "b": "x"}, "classes"),
        ({"a": "x", "b": "x", "c": None, "d": None}, "classes"),
    ],
)
async def test_head_that_cannot_be_learned_is_refused_before_a_job_is_made(
    server: InProcessServer, labels: dict[str, str | None], field: str
) -> None:
    await server.create()
    if labels:
        await server.add(labels)
    with pytest.raises(PreconditionFailed) as caught:
        await server.train()
    assert caught.value.field == field
    assert (await server.ask("GetHead", heads_pb2.GetHeadRequest(name=HEAD))).head.training == ""


async def test_bad_rows_of_an_upload_fail_alone_and_are_counted_over_the_stream(
    server: InProcessServer,
) -> None:
    await server.create()
    rows = {"one": "a", "bad": "a", "two": " padded ", "three": "b"}
    response = await server.add(rows)
    assert (response.added, response.failed) == (2, 2)
    assert [(error.row, error.field) for error in response.errors] == [(1, "text"), (2, "label")]


async def test_inputs_that_were_sent_need_not_be_sent_again(server: InProcessServer) -> None:
    await server.create()
    await server.add({"known": "a"})
    digests = [text_digest("new"), text_digest("known"), text_digest("new")]
    request = heads_pb2.FindMissingInputsRequest(head=HEAD, digests=digests)
    assert list((await server.ask("FindMissingInputs", request)).missing) == [text_digest("new")]
    asked = len(server.backbone.batches)
    await server.add({"known": "b"})
    assert len(server.backbone.batches) == asked


async def test_feedback_changes_what_the_next_training_learns(server: InProcessServer) -> None:
    await server.create()
    await server.add(LABELS)
    await server.train()
    rows = [
        prediction_pb2.Feedback(id="f1", input=common_pb2.Input(text="red one"), label="blue"),
        prediction_pb2.Feedback(
            input=common_pb2.Input(digest=text_digest("red two")), label="blue"
        ),
        prediction_pb2.Feedback(id="no good", input=common_pb2.Input(text="x"), label="blue"),
        prediction_pb2.Feedback(input=common_pb2.Input(digest="0" * 64), label="blue"),
    ]
    request = prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=rows)
    response = await server.ask("SendFeedback", request)
    assert response.ids[0] == "f1"
    assert response.ids[1]
    assert [error.row for error in response.errors] == [2, 3]
    assert [error.code for error in response.errors] == ["INVALID_ARGUMENT", "NOT_FOUND"]
    again = await server.ask("SendFeedback", request)
    assert list(again.duplicates)[:1] == [True]
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    sources = {example.digest: (example.label, example.source) for example in listed.examples}
    assert sources[text_digest("red one")] == ("blue", "feedback")


async def test_all_bad_feedback_is_answered_row_by_row(server: InProcessServer) -> None:
    await server.create()
    rows = [prediction_pb2.Feedback(input=common_pb2.Input(), label="x")]
    request = prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=rows)
    assert [error.row for error in (await server.ask("SendFeedback", request)).errors] == [0]


async def test_imported_weights_predict_and_come_out_again(server: InProcessServer) -> None:
    imported = await server.ask("ImportHead", import_request())
    assert (imported.head.active_version, imported.version.source) == (1, "import")
    assert best(await server.predict(*texts("anything"))) == ["yes"]
    exported = await server.ask("ExportHead", heads_pb2.ExportHeadRequest(name=HEAD))
    head = adapters.Head.from_safetensors(exported.safetensors)
    assert (head.labels, head.fingerprint) == (("no", "yes"), FINGERPRINT)
    again = await server.ask("ImportHead", import_request(safetensors=exported.safetensors))
    assert again.version.version == 2


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"fingerprint": "0" * 64}, FingerprintMismatch),
        ({"backbone": "nonesuch"}, PreconditionFailed),
        ({"safetensors": b"junk"}, adapters.InvalidWeights),
        ({"safetensors": b""}, adapters.InvalidWeights),
        ({"safetensors": weights(dim=DIM + 1)}, adapters.InvalidWeights),
        ({"labels": ["only one"]}, adapters.InvalidWeights),
        ({"labels": ["yes", "yes"]}, adapters.InvalidWeights),
        ({"labels": ["yes", " no"]}, InvalidRequest),
        ({"labels": []}, adapters.InvalidWeights),
        ({"head_id": "not ok"}, InvalidName),
        ({"parent": "acme"}, InvalidName),
    ],
)
async def test_weights_that_make_no_head_are_refused_and_change_nothing(
    server: InProcessServer, values: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        await server.ask("ImportHead", import_request(**values))
    listed = await server.ask("ListHeads", heads_pb2.ListHeadsRequest(parent="tenants/acme"))
    assert list(listed.heads) == []


async def test_imported_version_takes_over_at_once_unless_it_is_only_stored(
    server: InProcessServer,
) -> None:
    await server.ask("ImportHead", import_request(labels=["old no", "old yes"]))
    assert best(await server.predict(*texts("x"))) == ["old yes"]
    await server.ask("ImportHead", import_request(labels=["a", "b"], activate=False))
    assert best(await server.predict(*texts("x"))) == ["old yes"]
    await server.ask("ImportHead", import_request(labels=["new no", "new yes"]))
    assert best(await server.predict(*texts("x"))) == ["new yes"]


async def test_earlier_version_answers_again_once_it_is_activated(server: InProcessServer) -> None:
    await server.ask("ImportHead", import_request(labels=["old no", "old yes"]))
    await server.ask("ImportHead", import_request(labels=["new no", "new yes"]))
    assert best(await server.predict(*texts("x"))) == ["new yes"]
    assert best(await server.predict(*texts("x"), version=1)) == ["old yes"]
    request = heads_pb2.ActivateHeadVersionRequest(name=f"{HEAD}/versions/1")
    assert (await server.ask("ActivateHeadVersion", request)).head.active_version == 1
    assert best(await server.predict(*texts("x"))) == ["old yes"]


async def test_heads_are_made_listed_and_deleted(server: InProcessServer) -> None:
    for name in "cab":
        await server.create(f"tenants/acme/heads/{name}")
    with pytest.raises(AlreadyExists):
        await server.create("tenants/acme/heads/a")
    names: list[str] = []
    token = ""
    while True:
        request = heads_pb2.ListHeadsRequest(parent="tenants/acme", page_size=2, page_token=token)
        page = await server.ask("ListHeads", request)
        names += [head.name.rsplit("/", 1)[1] for head in page.heads]
        token = page.next_page_token
        if not token:
            break
    assert names == ["a", "b", "c"]
    gone = heads_pb2.DeleteHeadRequest(name="tenants/acme/heads/b")
    await server.ask("DeleteHead", gone)
    with pytest.raises(NotFound):
        await server.ask("DeleteHead", gone)


async def test_examples_are_relabelled_and_deleted_row_by_row(server: InProcessServer) -> None:
    await server.create()
    await server.add({"x": "a", "y": "a"})
    updates = [
        heads_pb2.ExampleUpdate(digest=text_digest("x"), label="b"),
        heads_pb2.ExampleUpdate(digest="0" * 64, label="b"),
        heads_pb2.ExampleUpdate(digest=text_digest("y")),
    ]
    request = heads_pb2.UpdateExamplesRequest(head=HEAD, updates=updates)
    updated = await server.ask("UpdateExamples", request)
    assert (updated.updated, [error.row for error in updated.errors]) == (2, [1])
    deleted = await server.delete("0" * 64, text_digest("x"))
    assert (deleted.deleted, [error.row for error in deleted.errors]) == (1, [0])
    head = (await server.ask("GetHead", heads_pb2.GetHeadRequest(name=HEAD))).head
    assert (head.example_count, head.labelled_count) == (1, 0)


async def test_embedding_of_a_failed_row_is_zero_and_named(server: InProcessServer) -> None:
    request = extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts("a", "bad", "b"))
    response = await server.ask("Embed", request)
    matrix = from_tensor(response.embeddings, field="e", dtypes=("float32",))
    wanted = [vector_of("a"), np.zeros(DIM, np.float32), vector_of("b")]
    np.testing.assert_array_equal(matrix, np.stack(wanted))
    assert [error.row for error in response.errors] == [1]


async def test_digests_are_taken_in_either_case(server: InProcessServer) -> None:
    await server.create()
    await server.add({"red one": "red", "blue one": "blue"})
    known, other = (text_digest(text).upper() for text in ("red one", "blue one"))
    missing = heads_pb2.FindMissingInputsRequest(head=HEAD, digests=[known, "F" * 64])
    assert list((await server.ask("FindMissingInputs", missing)).missing) == ["F" * 64]
    update = heads_pb2.ExampleUpdate(digest=known, label="blue")
    updates = heads_pb2.UpdateExamplesRequest(head=HEAD, updates=[update])
    assert (await server.ask("UpdateExamples", updates)).updated == 1
    assert (await server.delete(known)).deleted == 1
    assert (await server.forget(other)).forgotten == 1
