"""A request is counted before it is built: small bytes must not become much memory."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from service.access.authentication import NoKeys
from service.errors import InvalidRequest
from service.requests.calls import Calls
from service.transport.backend import Backend
from service.transport.message_parts import SMALL_BYTES, check_json, check_message, most_parts
from service.transport.rest import rest_app
from tests.e2e.transports import Grpc, Refused
from tests.service.server import HEAD
from tests.service.transport.counted import Counted, grpc_server
from tests.service.transport.open_backend import as_anyone
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2

MANY = SMALL_BYTES
PATH = f"/v1/{HEAD}/examples:delete"


def check(message: Message, most: int) -> None:
    check_message(message.SerializeToString(), message.DESCRIPTOR, most)


def refusal(message: Message, most: int) -> InvalidRequest:
    with pytest.raises(InvalidRequest, match=f"at most {most} parts") as caught:
        check(message, most)
    return caught.value


@pytest.mark.parametrize(
    "message",
    [
        extraction_pb2.EmbedRequest(inputs=[common_pb2.Input()] * MANY),
        heads_pb2.DeleteExamplesRequest(digests=[""] * MANY),
        heads_pb2.CreateHeadRequest(
            spec=heads_pb2.HeadSpec(class_weights={str(number): 1.0 for number in range(MANY)})
        ),
    ],
    ids=["messages", "strings", "entries"],
)
def test_at_the_bound_is_read_and_beyond_it_refused_with_limit_and_count(message: Any) -> None:
    check(message, MANY)
    error = refusal(message, MANY - 1)
    assert (error.field, error.limit) == ("request", MANY - 1)


def test_many_bytes_in_few_parts_are_read() -> None:
    inputs = [common_pb2.Input(image=b"\x0a\x00" * MANY)] * 3
    check(extraction_pb2.EmbedRequest(tenant="\n\0" * MANY, inputs=inputs), 3)
    text = json.dumps({"inputs": [{"text": '{[,"\\' * MANY}, {"text": "\\" * MANY}]})
    check_json(text, 5)
    with pytest.raises(InvalidRequest, match=r"body: at most 4 values"):
        check_json(text, 4)


@given(st.binary(max_size=200))
def test_whatever_the_bytes_are_counting_them_ends(data: bytes) -> None:
    check_message(data + b"\x0a" * SMALL_BYTES, heads_pb2.AddExamplesRequest.DESCRIPTOR, 10**6)


def test_most_rows_of_the_fullest_kind_are_within_the_bound() -> None:
    rows = 1024
    example = heads_pb2.NewExample(
        input=common_pb2.Input(
            pixels=common_pb2.Tensor(dtype="uint8", shape=[8, 8, 3], data=b"0" * 192)
        ),
        label="l",
        group="g",
    )
    check(heads_pb2.AddExamplesRequest(head=HEAD, examples=[example] * rows), most_parts(rows))
    pixels = {"dtype": "uint8", "shape": [8, 8, 3], "data": "0" * 256}
    row = {"input": {"pixels": pixels}, "label": "l", "group": "g"}
    check_json(json.dumps({"head": HEAD, "examples": [row] * rows}), most_parts(rows))
    updates = [{"digest": "0" * 64, "label": "l", "remove_label": False}] * 10_000
    check_json(json.dumps({"head": HEAD, "updates": updates}), most_parts(1))


async def test_request_of_many_parts_is_refused_over_both_transports_and_the_next_is_answered() -> (
    None
):
    backend = Backend(max_parts=MANY)
    async with grpc_server(answer, Calls(Counted(), 60)) as server:
        backend.attach({"DeleteExamples": answer}, Calls(Counted(), 60), NoKeys())
        grpc_way = Grpc(f"127.0.0.1:{server.port}")
        many = heads_pb2.DeleteExamplesRequest(head=HEAD, digests=[""] * MANY)
        with pytest.raises(Refused, match="at most 50000 parts") as refused:
            await asyncio.to_thread(grpc_way.call, "DeleteExamples", many)
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "request")
        few = heads_pb2.DeleteExamplesRequest(head=HEAD)
        await asyncio.to_thread(grpc_way.call, "DeleteExamples", few)
        grpc_way.close()
    transport = httpx.ASGITransport(as_anyone(rest_app(backend)), client=("127.0.0.1", 50_000))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as http:
        for digests, status in (([""] * (MANY + 1), 400), ([], 200)):
            reply = await http.request("POST", PATH, json={"digests": digests})
            assert reply.status_code == status
            assert status == 200 or reply.json()["limit"] == str(MANY)


async def answer(*_: object) -> heads_pb2.DeleteExamplesResponse:
    return heads_pb2.DeleteExamplesResponse()
