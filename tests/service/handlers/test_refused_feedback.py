"""Feedback that is refused when it is stored, over the API."""

from __future__ import annotations

from tests.service.server import HEAD, LABELS, InProcessServer
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2


async def test_feedback_on_a_held_out_example_fails_alone_and_is_not_acknowledged(
    server: InProcessServer,
) -> None:
    await server.create()
    await server.add(LABELS)
    test = heads_pb2.NewExample(input=common_pb2.Input(text="red test"), label="red", held_out=True)
    await server.add_rows(test)
    response = await server.feedback({"red one": "blue", "red test": "blue", "": "blue"})
    assert [(error.row, error.code, error.field) for error in response.errors] == [
        (1, "FAILED_PRECONDITION", "input"),
        (2, "INVALID_ARGUMENT", "text"),
    ]
    assert [bool(item) for item in response.ids] == [True, False, False]
    assert list(response.duplicates) == [False] * 3
    request = heads_pb2.ListFeedbackRequest(head=HEAD)
    (listed,) = (await server.ask("ListFeedback", request)).feedback
    assert listed.digest == text_digest("red one")
    registry = server.application.metrics.registry
    assert registry.get_sample_value("trunkline_feedback_total", {"tenant": "acme"}) == 1
