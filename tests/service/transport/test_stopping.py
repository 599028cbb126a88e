"""What calls are told that a stopping server does not bring to their end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from typing import Any

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.access.authentication import NoKeys
from service.requests import calls
from service.requests.call import Call
from service.requests.calls import Calls
from service.transport import receiving
from service.transport.backend import Backend
from service.transport.last_answers import LastAnswers
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from tests.e2e.transports import METHODS, Refused, refusal
from tests.service.server import HEAD
from tests.service.transport.counted import Counted, grpc_server
from tests.service.transport.open_backend import as_anyone
from tests.service.transport.port_limits import HANGS_SECONDS, MIB
from tests.service.waiting import Changes
from trunkline.v1 import heads_pb2


def assert_told(told: Refused) -> None:
    """It says when to come again, and under which id the log has it."""
    assert (told.code, told.message) == ("UNAVAILABLE", "the server is shutting down")
    assert told.retry_after == pytest.approx(1.0)
    assert told.request_id


async def end_of(call: Any) -> Refused:
    """What a call that still runs is told in the end."""
    with pytest.raises(grpc.RpcError) as caught:
        await read_to_the_end(call)
    return refusal(caught.value)


async def read_to_the_end(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


class Room(ReceivingBudget):
    """Room for so many bytes, also of health, which lets a test wait until it was asked for."""

    def __init__(self, most: int) -> None:
        super().__init__(most, 3600)
        self._times = 0
        self._changes = Changes()

    def take_at_once(self, nbytes: int, connection: Hashable) -> bool:
        self._times += 1
        self._changes.notify()
        return super().take_at_once(nbytes, connection)

    def beside(self, most: int, what: str) -> ReceivingBudget:
        return self

    async def asked(self, times: int) -> None:
        """Waits until requests have asked for room so often."""
        await self._changes.until(lambda: self._times >= times)


class Stopped:
    """A server that stops as soon as a call has reached its handler.

    Attributes:
        inside: set when the call has.
    """

    def __init__(self, method: str) -> None:
        self.method = METHODS[method]
        self.metrics = Counted()
        self.calls = Calls(self.metrics, 60)
        self.inside = asyncio.Event()

    async def wait(self, request: Any, call: Call) -> Any:
        self.inside.set()
        await asyncio.Event().wait()

    async def watch(self, request: Any, call: Call) -> AsyncIterator[Any]:
        yield heads_pb2.TrainHeadResponse()
        self.inside.set()
        await asyncio.Event().wait()

    async def stop(self, request: Any, call: Call) -> AsyncIterator[Any]:
        """Has the server stop while the first message is on its way."""
        self.inside.set()
        self.calls.drain()
        yield heads_pb2.TrainHeadResponse()
        await asyncio.Event().wait()

    async def read(self, stream: AsyncIterator[Any], call: Call) -> Any:
        async for _ in stream:
            self.inside.set()
        return heads_pb2.AddExamplesResponse(added=1)


async def told_at_the_end(stopped: Stopped, handler: Any, *, dropped: bool, more: bool) -> Refused:
    """What a client is told: when the server drains, or when it drops what is left."""
    async with (
        grpc_server(handler, stopped.calls) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        make: Any = channel.stream_stream(stopped.method.path)
        call = make(timeout=60)
        await call.write(stopped.method.request().SerializeToString())
        if not more:
            await call.done_writing()
        await stopped.inside.wait()
        stopped.calls.drain()
        if dropped:
            assert not await stopped.calls.wait_until_idle(0)
            assert stopped.calls.drop() == 1
        told = await end_of(call)
    assert stopped.metrics.codes == ["UNAVAILABLE"]
    return told


@pytest.mark.parametrize("sending", [True, False])
async def test_watcher_is_told_at_once_when_the_server_stops(sending: bool) -> None:
    """Also while a message is on its way to it."""
    stopped = Stopped("TrainHead")
    handler = stopped.stop if sending else stopped.watch
    assert_told(await told_at_the_end(stopped, handler, dropped=False, more=False))


async def test_upload_is_told_at_once_when_the_server_stops() -> None:
    stopped = Stopped("AddExamples")
    assert_told(await told_at_the_end(stopped, stopped.read, dropped=False, more=True))


@pytest.mark.parametrize("method", ["Predict", "AddExamples"])
async def test_call_that_does_not_end_in_time_is_told_so(method: str) -> None:
    stopped = Stopped(method)
    assert_told(await told_at_the_end(stopped, stopped.wait, dropped=True, more=False))


async def test_upload_whose_last_message_is_read_gets_its_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(calls, "LAST_MESSAGE_SECONDS", 60)  # however slow this machine is
    stopped = Stopped("AddExamples")
    async with (
        grpc_server(stopped.read, stopped.calls) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        make: Any = channel.stream_unary(
            stopped.method.path, None, heads_pb2.AddExamplesResponse.FromString
        )
        call = make(timeout=60)
        await call.write(heads_pb2.AddExamplesRequest().SerializeToString())
        await stopped.inside.wait()
        stopped.calls.drain()
        await call.done_writing()
        assert (await call).added == 1


async def test_streams_of_health_and_reflection_are_told_too() -> None:
    stopped = Stopped("GetHead")
    async with grpc_server(stopped.wait, stopped.calls) as server:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING
        stub: Any = reflection_pb2_grpc.ServerReflectionStub
        reflected = stub(channel).ServerReflectionInfo()
        await reflected.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        assert (await reflected.read()).list_services_response.service
        stopped.calls.drain()
        assert_told(await end_of(reflected))
        ends = asyncio.create_task(end_of(watch))
    told = await ends
    assert_told(told)
    await channel.close()


@pytest.mark.parametrize("late", [False, True])
async def test_calls_whose_message_has_not_arrived_are_told_too(
    late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those that wait for room, and those that come while the server stops already."""
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 3600)
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    stopped = Stopped("GetHead")
    budget = Room(1_000_000 + 8 * MIB)
    paths = (METHODS["Predict"].path, METHODS["TrainHead"].path, "/grpc.health.v1.Health/Check")
    async with grpc_server(stopped.wait, stopped.calls, budget=budget) as server:
        channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
        if late:
            stopped.calls.drain()
        silent: list[Any] = [channel.stream_stream(path)(timeout=60) for path in paths]
        ends = [asyncio.create_task(end_of(call)) for call in silent]
        async with asyncio.timeout(HANGS_SECONDS):
            await budget.asked(len(paths))
    for told in await asyncio.gather(*ends):
        assert_told(told)
    await channel.close()


async def test_clients_that_never_pause_are_told_nothing_but_that_it_stops() -> None:
    """Neither is a call cut off that is on its way while the port is closed."""
    metrics = Counted()
    account = Calls(metrics, 60)

    async def handle(request: Any, call: Call) -> Any:
        return heads_pb2.GetHeadResponse()

    async def hammer(port: int) -> Refused:
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
        ) as channel:
            stub: Any = channel.unary_unary(METHODS["GetHead"].path)
            while True:
                try:
                    await stub(b"", timeout=60)
                except grpc.RpcError as error:
                    told = refusal(error)
                    if "failed to connect" in told.message:
                        return told  # the port is closed
                    assert_told(told)

    async with grpc_server(handle, account) as server:
        clients = [asyncio.create_task(hammer(server.port)) for _ in range(8)]
        await metrics.until(100)
        account.drain()
        await metrics.until(len(metrics.codes) + 20)
    assert {told.code for told in await asyncio.gather(*clients)} == {"UNAVAILABLE"}
    assert set(metrics.codes) == {"OK", "UNAVAILABLE"}


@pytest.fixture
def backend() -> Backend:
    return Backend()


def rest_client(backend: Backend) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(LastAnswers(as_anyone(rest_app(backend)), backend))
    return httpx.AsyncClient(transport=transport, base_url="http://localhost/v1")


async def test_answers_of_a_stopping_server_are_the_last_of_their_connections(
    backend: Backend,
) -> None:
    account = Calls(Counted(), 60)
    begun, end = asyncio.Event(), asyncio.Event()

    async def get(request: Any, call: Call) -> heads_pb2.GetHeadResponse:
        begun.set()
        await end.wait()
        return heads_pb2.GetHeadResponse()

    backend.attach({"GetHead": get}, account, NoKeys())
    async with rest_client(backend) as client:
        first = asyncio.create_task(client.get(f"/{HEAD}"))
        await begun.wait()
        account.drain()
        end.set()
        answered, refused = await first, await client.get(f"/{HEAD}")
        unknown = await client.get("/nothing")
    assert answered.status_code == 200
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["request_id"]
    for answer in (answered, refused, unknown):
        assert answer.headers["connection"] == "close"


async def test_answers_of_a_server_that_goes_on_keep_their_connections(backend: Backend) -> None:
    async def get(request: Any, call: Call) -> heads_pb2.GetHeadResponse:
        return heads_pb2.GetHeadResponse()

    backend.attach({"GetHead": get}, Calls(Counted(), 60), NoKeys())
    async with rest_client(backend) as client:
        assert "connection" not in (await client.get(f"/{HEAD}")).headers


async def test_rest_request_that_does_not_end_in_time_is_told_so(backend: Backend) -> None:
    account = Calls(Counted(), 60)
    begun = asyncio.Event()

    async def get(request: Any, call: Call) -> None:
        begun.set()
        await asyncio.Event().wait()

    backend.attach({"GetHead": get}, account, NoKeys())
    async with rest_client(backend) as client:
        first = asyncio.create_task(client.get(f"/{HEAD}"))
        await begun.wait()
        account.drain()
        account.drop()
        answer = await first
    assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
    assert (answer.headers["retry-after"], answer.headers["connection"]) == ("1", "close")
    assert await account.wait_until_idle(60)
