"""What changes labels says so: uploads, updates and feedback, over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.service.earlier_labels import COMPOSED, DECOMPOSED
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

Told = tuple[int, str, str, str]


def row(text: str, label: str | None = None, *, held_out: bool = False) -> heads_pb2.NewExample:
    return heads_pb2.NewExample(input=common_pb2.Input(text=text), label=label, held_out=held_out)


async def upload(
    server: InProcessServer, *messages: list[heads_pb2.NewExample], overwrite: bool = False
) -> heads_pb2.AddExamplesResponse:
    async def stream() -> AsyncIterator[heads_pb2.AddExamplesRequest]:
        for rows in messages:
            yield heads_pb2.AddExamplesRequest(head=HEAD, examples=rows, overwrite=overwrite)

    handler = server.application.handlers["AddExamples"]
    reply: heads_pb2.AddExamplesResponse = await handler(stream(), server.call("AddExamples", None))
    return reply


def told(reply: heads_pb2.AddExamplesResponse) -> list[Told]:
    counts = {item.change: item.rows for item in reply.change_counts}
    assert sum(counts.values()) == len(reply.changes)
    return [
        (item.row, _name(item.change), item.from_label, item.to_label) for item in reply.changes
    ]


def _name(change: heads_pb2.UploadChange.ValueType) -> str:
    return heads_pb2.UploadChange.Name(change).removeprefix("UPLOAD_CHANGE_")


async def label_of(server: InProcessServer, text: str) -> str:
    listed = await server.ask("ListExamples", heads_pb2.ListExamplesRequest(head=HEAD))
    labels: dict[str, str] = {item.digest: item.label for item in listed.examples}
    return labels[text_digest(text)]


async def test_upload_tells_what_it_changes_by_row_and_reason(server: InProcessServer) -> None:
    await server.create()
    await server.add({**LABELS, "test": "red"})
    assert told(await upload(server, [row("red one", "red")])) == []
    await server.feedback({"red one": "blue", "red two": "blue"})
    reply = await upload(
        server,
        [row("red one", "red"), row("red two", "green"), row("blue one", "green")],
        [row("new", "red"), row("blue two"), row("test", "red", held_out=True)],
        [row("new", DECOMPOSED), row("new", COMPOSED), row("red one", "red")],
    )
    assert told(reply) == [
        (0, "CORRECTION_KEPT", "red", "blue"),
        (1, "CORRECTION_REPLACED", "blue", "green"),
        (2, "LABEL_REPLACED", "blue", "green"),
        (5, "HELD_OUT", "", ""),
        (6, "ROW_CONTRADICTED", "red", COMPOSED),
        (7, "ROW_REPEATED", "", ""),
        (8, "ROW_REPEATED", "", ""),
    ]
    assert reply.changes[1].digest == text_digest("red two")
    assert await label_of(server, "red one") == "blue"
    overwritten = await upload(server, [row("red one", "red")], overwrite=True)
    assert told(overwritten) == [(0, "CORRECTION_REPLACED", "blue", "red")]
    assert await label_of(server, "red one") == "red"
    listed = await server.ask("ListFeedback", heads_pb2.ListFeedbackRequest(head=HEAD))
    assert {item.state for item in listed.feedback} == {heads_pb2.FEEDBACK_STATE_SUPERSEDED}


async def test_correction_outlives_an_upload_that_repeats_itself_and_a_training(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    await server.feedback({"red one": "blue"})
    await server.train()
    reply = await server.add(LABELS)
    assert (reply.updated, reply.unchanged) == (0, 4)
    assert told(reply) == [(0, "CORRECTION_KEPT", "red", "blue")]
    assert await label_of(server, "red one") == "blue"
    (listed,) = (
        await server.ask("ListFeedback", heads_pb2.ListFeedbackRequest(head=HEAD))
    ).feedback
    assert listed.state == heads_pb2.FEEDBACK_STATE_LEARNED


async def test_changes_beyond_those_that_are_named_are_counted(
    server: InProcessServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.replies.uploads.MAX_NAMED_CHANGES", 2)
    await server.create()
    await server.add(LABELS)
    reply = await server.add(dict.fromkeys(LABELS, "green"))
    assert [item.row for item in reply.changes] == [0, 1]
    (count,) = reply.change_counts
    assert (_name(count.change), count.rows) == ("LABEL_REPLACED", 4)


async def test_update_tells_repeated_rows_and_corrections_that_it_replaces(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    await server.feedback({"red one": "blue"})
    updates = [
        heads_pb2.ExampleUpdate(digest=text_digest(text), label=label)
        for text, label in (
            ("red one", "red"),
            ("red two", "blue"),
            ("red two", "green"),
            ("no", "red"),
        )
    ]
    reply = await server.ask(
        "UpdateExamples", heads_pb2.UpdateExamplesRequest(head=HEAD, updates=updates)
    )
    assert (reply.updated, reply.repeated, reply.corrections_replaced) == (3, 1, 1)
    assert [error.row for error in reply.errors] == [3]
    assert await label_of(server, "red two") == "green"


async def send(
    server: InProcessServer, *rows: tuple[str, str, str]
) -> prediction_pb2.SendFeedbackResponse:
    feedback = [
        prediction_pb2.Feedback(id=name, input=common_pb2.Input(text=text), label=label)
        for name, text, label in rows
    ]
    request = prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=feedback)
    reply: prediction_pb2.SendFeedbackResponse = await server.ask("SendFeedback", request)
    return reply


async def test_feedback_id_with_another_label_or_input_exists_already_also_after_a_restart(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await server.create()
        await server.add(LABELS)
        first = await send(
            server,
            ("one", "red one", COMPOSED),
            ("one", "red one", DECOMPOSED),
            ("one", "red one", "blue"),
            ("one", "red two", COMPOSED),
            ("two", "red one", "blue"),
        )
        assert list(first.duplicates) == [False, True, False, False, False]
        assert list(first.ids) == ["one", "one", "", "", "two"]
        assert list(first.previous_labels) == ["red", "", "", "", COMPOSED]
        errors = [(e.row, e.code, e.field, e.value) for e in first.errors]
        assert errors == [(row, "ALREADY_EXISTS", "id", "one") for row in (2, 3)]
    async with start_server() as server:
        # That "two" has superseded it changes nothing about what "one" said.
        again = await send(
            server, ("one", "red one", DECOMPOSED), ("one", "red one", "red"), ("two", "x", "blue")
        )
        assert list(again.duplicates) == [True, False, False]
        assert [(e.row, e.code) for e in again.errors] == [
            (1, "ALREADY_EXISTS"),
            (2, "ALREADY_EXISTS"),
        ]
        assert await label_of(server, "red one") == "blue"
        await server.forget(text_digest("red one"))
        late = await send(server, ("one", "red one", COMPOSED))
        assert list(late.duplicates) == [True]
        assert (await server.head()).example_count == 3


async def test_known_feedback_is_a_duplicate_where_its_label_would_be_refused_by_now(
    server: InProcessServer,
) -> None:
    await server.create(allow_new_labels=True)
    await server.add(LABELS)
    await server.train()
    assert not (await send(server, ("one", "red one", "green"))).errors
    await server.ask("UpdateHead", heads_pb2.UpdateHeadRequest(name=HEAD, allow_new_labels=False))
    reply = await send(server, ("one", "red one", "green"), ("two", "red one", "green"))
    assert list(reply.duplicates) == [True, False]
    assert [(error.row, error.code) for error in reply.errors] == [(1, "INVALID_ARGUMENT")]
