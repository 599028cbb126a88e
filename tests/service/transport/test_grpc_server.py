"""What a client and a handler learn of each other over gRPC."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from service.errors import InvalidRequest, QueueFull, ServiceError, Unavailable
from service.extraction import remote_connection
from service.requests.call import Call
from service.transport.grpc_calls import is_local
from service.transport.grpc_server import KEEPALIVE
from service.transport.readiness import Readiness
from tests.raw_http2 import RawHttp2
from tests.service.transport.grpc_serving import (
    answer,
    ask,
    get_head,
    refused,
    serving,
)
from tests.service.transport.port_limits import LIMITS
from trunkline.connection.channel import channel_options
from trunkline.v1 import heads_pb2, heads_pb2_grpc


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
def test_server_permits_the_pings_of_those_who_call_it(options: Sequence[tuple[str, Any]]) -> None:
    asks, permits = dict(options), dict(KEEPALIVE)
    least = permits["grpc.http2.min_ping_interval_without_data_ms"]
    assert asks["grpc.keepalive_time_ms"] > least
    for side in (asks, permits):
        assert side["grpc.http2.ping_timeout_ms"] == side["grpc.keepalive_timeout_ms"]
        assert side["grpc.http2.max_pings_without_data"] == 0


@pytest.mark.parametrize("address", ["127.0.0.1:0", "unix"])
async def test_path_that_is_no_utf_8_costs_nobody_else_a_call(address: str, tmp_path: Path) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def handle(*_: object) -> heads_pb2.GetHeadResponse:
        begun.set()
        await goes_on.wait()
        return heads_pb2.GetHeadResponse()

    def attack(address: str) -> None:
        with RawHttp2(address) as raw:
            raw.wait_for_end(raw.open(b"/x\xff"))

    readiness = Readiness()
    readiness.set_extractor_ready(True)
    listens = address if address != "unix" else f"unix:{tmp_path}/socket"
    async with serving(handle, readiness=readiness, listens=listens) as address:
        for _ in range(3):
            begun.clear()
            goes_on.clear()
            under_way = asyncio.create_task(ask(address))
            await begun.wait()
            await asyncio.to_thread(attack, address)
            goes_on.set()
            await under_way
            await listening(address)
            await ask(address)
        for _ in range(3):
            await asyncio.to_thread(attack, address)
            await listening(address)
            await ask(address)
        async with grpc.aio.insecure_channel(address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            state = await stub.Check(health_pb2.HealthCheckRequest())
        assert state.status == health_pb2.HealthCheckResponse.SERVING


async def listening(address: str) -> None:
    """Waits until a connection is taken there."""
    async with grpc.aio.insecure_channel(address) as channel:
        await channel.channel_ready()


async def test_metadata_that_is_no_utf_8_is_a_line_a_second_without_its_value(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def flood(address: str) -> None:
        with RawHttp2(address) as raw:
            for _ in range(20):
                stream = raw.open("/trunkline.v1.HeadService/GetHead", {"x-y": b"\xff" * 100})
                raw.send(stream, b"")
                raw.finish(stream)
                raw.wait_for_end(stream)

    with capture_logs() as logs:
        async with serving(get_head) as address:
            await asyncio.to_thread(flood, address)
    lines = [line for line in logs if "UTF-8" in line["event"]]
    assert 1 <= len(lines) < 20
    assert not caplog.records


async def test_reply_that_reaches_nobody_is_a_line_and_no_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    logger = logging.getLogger("grpc._cython.cygrpc")
    with capture_logs() as logs:
        async with serving(get_head):
            for error in (
                import_module("grpc._cython.cygrpc").ExecuteBatchError("Failed"),
                ValueError("unforeseen"),
            ):
                try:
                    raise error
                except Exception:
                    logger.exception("raised by servicer method")
    assert [line["event"] for line in logs] == ["reply not delivered: the client has left"]
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


async def test_client_whose_connection_has_aged_makes_another_and_loses_no_call() -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def handle(*_: object) -> heads_pb2.GetHeadResponse:
        begun.set()
        await goes_on.wait()
        return heads_pb2.GetHeadResponse()

    async with (
        serving(handle, replace(LIMITS, age_seconds=0.2)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub = heads_pb2_grpc.HeadServiceStub(channel)
        early = stub.GetHead(heads_pb2.GetHeadRequest())
        await begun.wait()
        while channel.get_state() is grpc.ChannelConnectivity.READY:
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert not early.done()
        late = stub.GetHead(heads_pb2.GetHeadRequest())
        goes_on.set()
        assert await early == await late == heads_pb2.GetHeadResponse()
