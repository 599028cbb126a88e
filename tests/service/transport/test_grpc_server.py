"""What a client and a handler learn of each other over gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, NoReturn

import pytest

from service.errors import InvalidRequest, QueueFull, ServiceError, Unavailable
from service.extraction import remote_connection
from service.metrics import Metrics
from service.requests.calls import Call, Calls, Handler
from service.transport.grpc_server import KEEPALIVE, GrpcServer, is_local
from service.transport.methods import OF_THE_SERVER, methods_of
from service.transport.readiness import Readiness
from tests.e2e.transports import Grpc, Refused
from trunkline.connection.channel import channel_options
from trunkline.v1 import heads_pb2


async def answer(handler: Handler, timeout: float = 60) -> Any:
    """What a client is told when this handles its request."""
    server = GrpcServer(
        "127.0.0.1:0",
        OF_THE_SERVER,
        {method.name: handler for method in methods_of(*OF_THE_SERVER)},
        Calls(Metrics(5), 60),
        Readiness(),
        max_message_bytes=1000,
    )
    await server.start()
    way = Grpc(f"127.0.0.1:{server.port}")
    try:
        return await asyncio.to_thread(way.call, "GetHead", heads_pb2.GetHeadRequest(), timeout)
    finally:
        way.close()
        await server.close()


async def refused(error: ServiceError) -> Refused:
    """How it arrives at a client when a handler raises this."""

    async def fail(*_: object) -> NoReturn:
        raise error

    with pytest.raises(Refused) as caught:
        await answer(fail)
    return caught.value


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


async def test_deadline_of_the_client_is_that_of_the_call() -> None:
    left: list[float | None] = []

    async def handle(_: object, call: Call) -> heads_pb2.GetHeadResponse:
        assert call.deadline is not None
        left.append(call.deadline - asyncio.get_running_loop().time())
        return heads_pb2.GetHeadResponse()

    await answer(handle, timeout=1000)
    assert left == [pytest.approx(1000, abs=100)]


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:50051", True),
        ("ipv4:127.8.9.10:1", True),
        ("ipv6:[::1]:50051", True),
        ("ipv6:%5B::1%5D:50051", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:50051", True),
        ("unix:", True),
        ("unix:/run/trunkline.sock", True),
        ("ipv4:192.0.2.1:50051", False),
        ("ipv4:0.0.0.0:50051", False),
        ("ipv6:[2001:db8::1]:50051", False),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50051", False),
        ("127.0.0.1:50051", False),
        ("", False),
    ],
)
def test_peer_is_local_on_loopback_and_unix_sockets_alone(peer: str, local: bool) -> None:
    assert is_local(peer) is local


@pytest.mark.parametrize("options", [channel_options("a:1"), remote_connection.OPTIONS])
def test_server_permits_the_pings_of_those_who_call_it(options: Sequence[tuple[str, int]]) -> None:
    asks, permits = dict(options), dict(KEEPALIVE)
    least = permits["grpc.http2.min_ping_interval_without_data_ms"]
    assert asks["grpc.keepalive_time_ms"] > least
    for side in (asks, permits):
        assert side["grpc.http2.ping_timeout_ms"] == side["grpc.keepalive_timeout_ms"]
        assert side["grpc.http2.max_pings_without_data"] == 0
