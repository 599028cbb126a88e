"""A client that leaves, at whatever moment, is counted as one that left, and as nothing else."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from starlette.types import Message, Scope

from service.access.authentication import NoKeys
from service.requests import calls
from service.requests.call import Call
from service.requests.calls import Calls
from service.transport.backend import Backend
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from service.transport.rest_guard import RestGuard
from tests.e2e.transports import METHODS
from tests.service.server import HEAD
from tests.service.transport.counted import Counted, grpc_server
from trunkline.v1 import heads_pb2

FORM = (
    b'--sep\r\nContent-Disposition: form-data; name="text"\r\n\r\nhello\r\n'
    b'--sep\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\nhalf of'
)
JSON = b'{"inputs": [{"text": "hello"'


class Gone:
    """A client over ASGI that sends this much of a body and leaves."""

    def __init__(self, *chunks: bytes, whole: bool = False) -> None:
        self._messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks
        ]
        if whole:
            self._messages[-1]["more_body"] = False
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        return self._messages.pop(0) if self._messages else {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)


async def ask(client: Gone, content_type: str, *more: tuple[bytes, bytes]) -> list[str]:
    """The codes that are counted for it."""
    metrics = Counted()
    backend = Backend()

    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    backend.attach({"Predict": never}, Calls(metrics, 60), NoKeys())
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": f"/v1/{HEAD}:predict",
        "raw_path": f"/v1/{HEAD}:predict".encode(),
        "query_string": b"",
        "headers": [
            (b"host", b"localhost"),
            (b"content-type", content_type.encode()),
            *more,
        ],
        "client": ("127.0.0.1", 50_000),
    }
    await RestGuard(
        rest_app(backend), 1_000_000, ReceivingBudget(10**7, 60), backend, loopback_only=True
    )(scope, client.receive, client.send)
    return metrics.codes


@pytest.mark.parametrize(
    ("chunks", "content_type"),
    [
        ([], "application/json"),
        ([JSON], "application/json"),
        ([JSON, b', {"text": "more"'], "application/json"),
        ([FORM], "multipart/form-data; boundary=sep"),
        ([FORM[:20]], "multipart/form-data; boundary=sep"),
    ],
)
async def test_client_that_leaves_while_it_sends_its_body_is_cancelled(
    chunks: list[bytes], content_type: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = Gone(*chunks)
    assert await ask(client, content_type) == ["CANCELLED"]
    assert client.sent[0]["status"] == 499
    logged = capsys.readouterr()
    assert "Traceback" not in logged.out + logged.err


async def test_client_that_leaves_in_a_packed_body_is_cancelled() -> None:
    packed = gzip.compress(JSON * 1000)
    client = Gone(packed[:20], packed[20:-8])
    assert await ask(client, "application/json", (b"content-encoding", b"gzip")) == ["CANCELLED"]


async def test_client_that_leaves_while_its_request_is_handled_is_cancelled() -> None:
    client = Gone(JSON + b"}]}", whole=True)
    assert await ask(client, "application/json") == ["CANCELLED"]


async def left(method: str, handler: Any, requests: int) -> list[str]:
    """The codes that are counted for a client that cancels its call, or whose connection goes."""
    metrics = Counted()
    known = METHODS[method]
    message = known.request().SerializeToString()
    for abrupt in (False, True):
        arrived = asyncio.Event()

        async def handle(request: Any, call: Call, arrived: asyncio.Event = arrived) -> Any:
            return await handler(request, arrived)

        async def stream(
            request: Any, call: Call, arrived: asyncio.Event = arrived
        ) -> AsyncIterator[Any]:
            async for reply in handler(request, arrived):
                yield reply

        one = stream if known.server_streaming else handle
        async with (
            grpc_server(one, Calls(metrics, 60)) as server,
            grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        ):
            make: Any = channel.stream_stream(known.path)
            call = make()
            for _ in range(requests):
                await call.write(message)
            if not known.client_streaming:
                await call.done_writing()
            await arrived.wait()
            if abrupt:
                await channel.close()
            else:
                call.cancel()
            await metrics.until(2 if abrupt else 1)
    return metrics.codes


async def test_client_that_leaves_a_request_is_cancelled() -> None:
    async def wait(request: Any, arrived: asyncio.Event) -> None:
        arrived.set()
        await asyncio.Event().wait()

    assert await left("GetHead", wait, 1) == ["CANCELLED", "CANCELLED"]


@pytest.mark.parametrize("requests", [1, 2])
async def test_client_that_leaves_within_its_stream_is_cancelled(
    requests: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its messages are not taken for the whole stream."""
    monkeypatch.setattr(calls, "LEFT_SECONDS", 600)  # however slow this machine is

    async def read(stream: AsyncIterator[Any], arrived: asyncio.Event) -> Any:
        for _ in range(requests):
            await anext(stream)
        arrived.set()
        async for _ in stream:
            pass
        return heads_pb2.AddExamplesResponse()

    assert await left("AddExamples", read, requests) == ["CANCELLED", "CANCELLED"]


@pytest.mark.parametrize("busy", [True, False])
async def test_client_that_leaves_a_stream_of_replies_is_cancelled(busy: bool) -> None:
    async def replies(request: Any, arrived: asyncio.Event) -> AsyncIterator[Any]:
        yield heads_pb2.TrainHeadResponse()
        arrived.set()
        while busy:
            yield heads_pb2.TrainHeadResponse()
        await asyncio.Event().wait()

    assert await left("TrainHead", replies, 1) == ["CANCELLED", "CANCELLED"]
