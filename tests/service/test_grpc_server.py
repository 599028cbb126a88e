"""What a client of the gRPC transport learns of an error."""

from __future__ import annotations

import asyncio
from typing import NoReturn

import pytest

from service.application import Readiness
from service.calls import Calls
from service.errors import InvalidRequest, QueueFull, ServiceError, Unavailable
from service.grpc_server import GrpcServer
from service.methods import OF_THE_SERVER, methods_of
from service.metrics import Metrics
from tests.e2e.transports import Grpc, Refused
from trunkline.v1 import heads_pb2


async def refused(error: ServiceError) -> Refused:
    """How it arrives at a client when a handler raises this."""

    async def fail(*_: object) -> NoReturn:
        raise error

    server = GrpcServer(
        "127.0.0.1:0",
        OF_THE_SERVER,
        {method.name: fail for method in methods_of(*OF_THE_SERVER)},
        Calls(Metrics(5), 60),
        Readiness(),
        max_message_bytes=1000,
    )
    await server.start()
    way = Grpc(f"127.0.0.1:{server.port}")
    try:
        with pytest.raises(Refused) as caught:
            await asyncio.to_thread(way.call, "GetHead", heads_pb2.GetHeadRequest())
        return caught.value
    finally:
        way.close()
        await server.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (QueueFull("rows: at most 4", retry_after=0.5), "RESOURCE_EXHAUSTED"),
        (Unavailable("the server is starting", retry_after=1.0), "UNAVAILABLE"),
    ],
)
async def test_time_after_which_to_retry_arrives_as_it_was_named(
    error: ServiceError, code: str
) -> None:
    found = await refused(error)
    assert (found.code, found.message) == (code, error.message)
    assert found.retry_after == pytest.approx(error.retry_after)


async def test_error_of_many_words_arrives_cut_and_with_its_details() -> None:
    found = await refused(InvalidRequest("m" * 10_000, field="text", limit=5, value="v" * 10_000))
    assert (found.code, found.message) == ("INVALID_ARGUMENT", "m" * 1000)
    assert (found.field, found.limit, found.value) == ("text", "5", "v" * 100)
    assert found.request_id
    assert found.retry_after is None
