"""What a client and a handler learn of each other over gRPC."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from structlog.testing import capture_logs

from service.errors import InvalidRequest, QueueFull, ServiceError, Unavailable
from service.extraction import remote_connection
from service.metrics import Metrics
from service.requests.calls import Call, Calls, Handler
from service.transport import receiving
from service.transport.grpc_calls import is_local
from service.transport.grpc_server import KEEPALIVE, GrpcServer
from service.transport.limits import TransportLimits
from service.transport.methods import OF_THE_SERVER, methods_of
from service.transport.open_calls import MAX_PROBES
from service.transport.readiness import Readiness
from service.transport.receiving import ReceivingBudget
from tests.e2e.transports import Grpc, Refused
from tests.raw_http2 import MAX_CONCURRENT_STREAMS, RawHttp2
from tests.service.transport.port_limits import HANGS_SECONDS, LIMITS, MIB
from trunkline.connection.channel import channel_options
from trunkline.v1 import heads_pb2


@asynccontextmanager
async def serving(
    handler: Handler,
    limits: TransportLimits = LIMITS,
    budget: ReceivingBudget | None = None,
    readiness: Readiness | None = None,
    listens: str = "127.0.0.1:0",
) -> AsyncIterator[str]:
    """A server in which this handles every request; gives its address."""
    server = GrpcServer(
        listens,
        OF_THE_SERVER,
        {method.name: handler for method in methods_of(*OF_THE_SERVER)},
        Calls(Metrics(5), 60),
        readiness or Readiness(),
        limits,
        budget or ReceivingBudget(100 * MIB, 60),
    )
    await server.start()
    try:
        async with asyncio.timeout(HANGS_SECONDS):
            yield listens if listens.startswith("unix:") else f"127.0.0.1:{server.port}"
    finally:
        await server.close()


async def ask(address: str, timeout: float = 60) -> Any:
    """The reply to a request on a connection of its own."""
    way = Grpc(address)
    try:
        return await asyncio.to_thread(way.call, "GetHead", heads_pb2.GetHeadRequest(), timeout)
    finally:
        way.close()


async def answer(handler: Handler, timeout: float = 60) -> Any:
    """What a client is told when this handles its request."""
    async with serving(handler) as address:
        return await ask(address, timeout)


async def get_head(*_: object) -> heads_pb2.GetHeadResponse:
    return heads_pb2.GetHeadResponse()


async def read_all(given: Any, _: Call) -> Any:
    """Answers either kind of request."""
    if not isinstance(given, AsyncIterator):
        return heads_pb2.GetHeadResponse()
    async for _message in given:
        pass
    return heads_pb2.AddExamplesResponse()


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


GET_HEAD = "/trunkline.v1.HeadService/GetHead"
UPLOAD = "/trunkline.v1.HeadService/AddExamples"
WATCH = "/trunkline.v1.HeadService/TrainHead"
EXHAUSTED, LATE = b"\x0bgrpc-status\x018", b"\x0bgrpc-status\x014"
SLOT = LIMITS.max_message_bytes + 8 * MIB
"""What a message counts as until it is complete."""


async def test_unfinished_messages_are_refused_with_a_hint_and_a_polite_client_is_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 0.2)
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    budget = ReceivingBudget(4 * SLOT, 3600)
    async with serving(read_all, budget=budget) as address:
        with ExitStack() as stack:
            ends = []
            for path in (GET_HEAD, UPLOAD, GET_HEAD) * 3:
                raw = stack.enter_context(RawHttp2(address))
                stream = raw.open(path)
                raw.send(stream, b"x" * 100, announced=1000)
                ends.append(asyncio.create_task(asyncio.to_thread(raw.wait_for_end, stream)))
            assert await ask(address) == heads_pb2.GetHeadResponse()
            for _, end in zip(range(6), asyncio.as_completed(ends), strict=False):
                told = await end  # the other three are late, and may be
                assert EXHAUSTED in told
                assert b"max_receiving_bytes" in told
            assert budget.held == budget.late == 3 * SLOT
        await asyncio.gather(*ends, return_exceptions=True)


async def test_health_is_told_while_others_hold_all_the_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 3600)
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    budget = ReceivingBudget(SLOT, 3600)
    held = budget.open()
    await held.take(SLOT)
    async with (
        serving(read_all, budget=budget) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        assert (await stub.Check(health_pb2.HealthCheckRequest())).status
        assert (await stub.List(health_pb2.HealthListRequest())).statuses
        assert (await stub.Watch(health_pb2.HealthCheckRequest()).read()).status
    held.close()


@pytest.mark.parametrize("path", [GET_HEAD, UPLOAD, WATCH])
async def test_call_that_stalls_ends_in_its_time(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 0.0)

    budget = ReceivingBudget(4 * SLOT, 0.05)
    async with serving(read_all, budget=budget) as address:
        with RawHttp2(address) as raw:
            told = await asyncio.to_thread(raw.wait_for_end, raw.open(path))
    assert LATE in told
    assert b"body_timeout_seconds" in told
    assert (budget.held, budget.late) == (0, 0)


async def test_calls_beyond_their_number_are_refused_with_a_hint() -> None:
    begun = asyncio.Event()

    async def watch(*_: object) -> AsyncIterator[heads_pb2.TrainHeadResponse]:
        begun.set()
        yield heads_pb2.TrainHeadResponse()
        await asyncio.Event().wait()

    async with serving(watch, replace(LIMITS, max_calls=1)) as address:
        with RawHttp2(address) as raw:
            stream = raw.open(WATCH)
            raw.send(stream, b"")
            raw.finish(stream)
            await begun.wait()
            with pytest.raises(Refused) as caught:
                await ask(address)
    assert (caught.value.code, caught.value.field) == ("RESOURCE_EXHAUSTED", "calls")
    assert caught.value.retry_after
    assert caught.value.request_id


async def test_streams_that_last_leave_half_of_the_calls_to_others_and_probes_pass() -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def wait(request: object, call: Call) -> heads_pb2.GetHeadResponse:
        begun.set()
        await goes_on.wait()
        return heads_pb2.GetHeadResponse()

    async with (
        serving(wait, replace(LIMITS, max_calls=4)) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        health: Any = health_pb2_grpc.HealthStub(channel)
        watches = [health.Watch(health_pb2.HealthCheckRequest()) for _ in range(2)]
        for watch in watches:
            await watch.read()
        refused = health.Watch(health_pb2.HealthCheckRequest())
        with pytest.raises(grpc.aio.AioRpcError, match=r"at most 2 streams.*half of max_calls"):
            await refused.read()
        others = []
        for _ in range(2):
            begun.clear()
            others.append(asyncio.create_task(ask(address)))
            await begun.wait()
        with pytest.raises(Refused, match="at most 4 calls"):
            await ask(address)
        await health.Check(health_pb2.HealthCheckRequest())
        goes_on.set()
        await asyncio.gather(*others)
        watches[0].cancel()
        await ask(address)


async def test_unread_probes_of_a_connection_are_bounded_and_another_passes() -> None:
    path = "/grpc.health.v1.Health/Check"
    async with serving(get_head, replace(LIMITS, max_calls=4096)) as address:
        with RawHttp2(address, window=0) as raw:
            for _ in range(MAX_PROBES + 1):
                stream = raw.open(path)
                raw.send(stream, b"")
                raw.finish(stream)
            told = await asyncio.to_thread(raw.wait_for_end, stream)  # an error has no message
            assert EXHAUSTED in told
        async with grpc.aio.insecure_channel(address) as channel:
            await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())


@pytest.mark.parametrize(("max_calls", "streams"), [(4096, 128), (256, 16)])
async def test_one_connection_has_a_small_part_of_all_calls(max_calls: int, streams: int) -> None:
    async with serving(get_head, replace(LIMITS, max_calls=max_calls)) as address:
        with RawHttp2(address) as raw:
            await asyncio.to_thread(raw.wait_for_end, raw.open("/none/None"))
            assert raw.settings[MAX_CONCURRENT_STREAMS] == streams


@pytest.mark.parametrize("path", [GET_HEAD, WATCH])
async def test_connection_that_does_not_read_a_reply_is_closed(path: str) -> None:
    large = heads_pb2.GetHeadResponse(head=heads_pb2.Head(name="x" * 1_000_000))

    async def reply(*_: object) -> heads_pb2.GetHeadResponse:
        return large

    async def replies(*_: object) -> AsyncIterator[heads_pb2.GetHeadResponse]:
        yield large

    handler = reply if path == GET_HEAD else replies
    async with serving(handler, replace(LIMITS, body_seconds=0.1)) as address:
        with RawHttp2(address, window=0) as raw:
            stream = raw.open(path)
            raw.send(stream, b"")
            raw.finish(stream)
            # Nothing else in grpcio ends it: the connection goes.
            await asyncio.to_thread(raw.wait_until_closed)


async def test_connections_of_many_unread_replies_are_looked_for_once_and_not_on_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads: list[int] = []
    look = psutil.Process.net_connections

    def counted(process: psutil.Process, kind: str) -> Any:
        threads.append(threading.get_ident())
        return look(process, kind)

    monkeypatch.setattr(psutil.Process, "net_connections", counted)
    async with serving(get_head, replace(LIMITS, body_seconds=0.2, max_calls=4096)) as address:
        with RawHttp2(address, window=0) as one, RawHttp2(address, window=0) as other:
            for _, raw in itertools.product(range(45), (one, other)):
                stream = raw.open(GET_HEAD)
                raw.send(stream, b"")
                raw.finish(stream)
            for raw in (one, other):
                await asyncio.to_thread(raw.wait_until_closed)
    assert 1 <= len(threads) <= 10, "not once for each of 90 calls"
    assert threading.get_ident() not in threads


async def test_watcher_of_health_that_does_not_read_keeps_nothing_from_others() -> None:
    readiness = Readiness()
    async with (
        serving(get_head, readiness=readiness) as address,
        grpc.aio.insecure_channel(address) as channel,
    ):
        stub: Any = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        state = health_pb2.HealthCheckResponse
        assert (await watch.read()).status == state.NOT_SERVING
        with RawHttp2(address, window=0) as raw:
            stream = raw.open("/grpc.health.v1.Health/Watch")
            raw.send(stream, b"")
            raw.finish(stream)
            await stub.Check(health_pb2.HealthCheckRequest())
            readiness.set_extractor_ready(True)
            assert (await watch.read()).status == state.SERVING
            listed = await stub.List(health_pb2.HealthListRequest())
            assert {entry.status for entry in listed.statuses.values()} == {state.SERVING}
            unknown = stub.Watch(health_pb2.HealthCheckRequest(service="none"))
            assert (await unknown.read()).status == state.SERVICE_UNKNOWN
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub.Check(health_pb2.HealthCheckRequest(service="none"))
            assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_connection_that_does_not_speak_http2_is_closed() -> None:
    async with serving(get_head, replace(LIMITS, head_seconds=1.0)) as address:
        host, _, port = address.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            await reader.read()  # to the end; grpcio greets whom it takes
        finally:
            writer.close()


async def test_connection_without_a_call_is_closed() -> None:
    async with serving(get_head, replace(LIMITS, idle_seconds=1.0)) as address:
        with RawHttp2(address) as raw:
            await asyncio.to_thread(raw.wait_until_closed)


async def test_connection_beyond_their_number_is_closed_and_open_ones_are_served() -> None:
    async with serving(get_head, replace(LIMITS, max_connections=2)) as address:
        with RawHttp2(address) as first, RawHttp2(address) as second:
            for raw in (first, second):
                await asyncio.to_thread(raw.wait_for_end, raw.open("/none/None"))
            with RawHttp2(address) as third:
                await asyncio.to_thread(third.wait_until_closed)
            for raw in (first, second):
                stream = raw.open(GET_HEAD)
                raw.send(stream, b"")
                raw.finish(stream)
                assert b"x-request-id" in await asyncio.to_thread(raw.wait_for_end, stream)
        assert await ask(address) == heads_pb2.GetHeadResponse(), "there is room again"


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
