"""What proxies say of a request counts from named addresses alone."""

from __future__ import annotations

from typing import Any

import grpc
import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from service.requests.call import Call
from service.transport.http_server import http_config
from service.transport.rest import rest_app
from tests.service.transport.grpc_serving import GET_HEAD, serving
from tests.service.transport.open_backend import as_anyone, open_backend
from tests.service.transport.port_limits import LIMITS
from trunkline.v1 import heads_pb2

SAID = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    assert request.client is not None
    await JSONResponse([request.client.host, request.url.scheme])(scope, receive, send)


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        *(((), "127.0.0.1", False), ((), "10.0.0.1", False)),
        *((("10.0.0.1",), "10.0.0.1", True), (("10.0.0.0/24",), "10.0.0.7", True)),
        *((("10.0.0.1",), "127.0.0.1", False), (("::1",), "::1", True)),
    ],
)
async def test_proxy_is_believed_if_the_settings_name_it(
    trusted: tuple[str, ...],
    peer: str,
    believed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")  # uvicorn's own, which must not count
    config = http_config(who, LIMITS, trusted_proxies=trusted)
    config.load()
    transport = httpx.ASGITransport(config.loaded_app, client=(peer, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
        found = (await client.get("/", headers=SAID)).json()
    assert found == (["203.0.113.9", "https"] if believed else [peer, "http"])


@pytest.mark.parametrize(
    "header",
    ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"],
)
async def test_request_through_a_proxy_on_this_machine_is_not_its_own(header: str) -> None:
    seen = []

    async def note(_: Any, call: Call) -> heads_pb2.GetHeadResponse:
        seen.append(call.local)
        return heads_pb2.GetHeadResponse()

    said: list[dict[str, str]] = [{}, {header: "127.0.0.1"}]
    transport = httpx.ASGITransport(as_anyone(rest_app(open_backend({"GetHead": note}))))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost/v1") as client:
        for headers in said:
            answer = await client.get("/tenants/acme/heads/mood", headers=headers)
            assert answer.status_code == 200
    async with serving(note) as address, grpc.aio.insecure_channel(address) as channel:
        for headers in said:
            call: Any = channel.unary_unary(GET_HEAD)
            await call(b"", metadata=tuple(headers.items()))
    assert seen == [True, False, True, False]
