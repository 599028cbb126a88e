"""What a gRPC port bounds: messages, calls, connections and the time of each."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from service.requests.call import Call
from service.transport import receiving
from service.transport.open_calls import MAX_PROBES
from service.transport.readiness import Readiness
from service.transport.receiving import ReceivingBudget
from tests.e2e.transports import Refused
from tests.raw_http2 import MAX_CONCURRENT_STREAMS, RawHttp2
from tests.service.transport.grpc_serving import (
    GET_HEAD,
    ask,
    get_head,
    read_all,
    serving,
)
from tests.service.transport.port_limits import LIMITS, MIB
from trunkline.v1 import heads_pb2, heads_pb2_grpc

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
        async with grpc.aio.insecure_channel(address) as channel:
            get = heads_pb2_grpc.HeadServiceStub(channel).GetHead
            # The server hears of the connections' end when it does: until then this one waits.
            reply = await get(heads_pb2.GetHeadRequest(), wait_for_ready=True, timeout=60)
            assert reply == heads_pb2.GetHeadResponse(), "there is room again"
