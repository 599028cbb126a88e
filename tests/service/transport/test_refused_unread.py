"""Who shows no good key is refused before anything that it sends is read, and holds no room."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.types import Message, Scope

from service.access.authentication import NoKeys, SharedKey
from service.access.caller import Caller, Role
from service.transport import receiving
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from service.transport.rest_guard import RestGuard
from tests.raw_http2 import RawHttp2
from tests.service.transport.grpc_serving import GET_HEAD, read_all, serving
from tests.service.transport.open_backend import open_backend
from tests.service.transport.port_limits import HANGS_SECONDS, LIMITS

KEY = "a long enough secret"
UPLOAD = "/trunkline.v1.HeadService/AddExamples"
WATCH = "/trunkline.v1.HeadService/TrainHead"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
UNKNOWN = "/trunkline.v1.HeadService/Nothing"
UNAUTHENTICATED = b"\x0bgrpc-status\x0216"


@pytest.fixture
async def budget(monkeypatch: pytest.MonkeyPatch) -> ReceivingBudget:
    """All of whose room others hold: whoever asks for some waits for ever."""
    monkeypatch.setattr(receiving, "PROMPT_SECONDS", 3600)
    monkeypatch.setattr(receiving, "WAIT_SECONDS", 3600)
    held = ReceivingBudget(LIMITS.max_message_bytes, 3600)
    await held.open().take(LIMITS.max_message_bytes)
    return held


@pytest.mark.parametrize("path", [GET_HEAD, UPLOAD, WATCH, REFLECTION, UNKNOWN])
@pytest.mark.parametrize("shown", [{}, {"authorization": b"Bearer nonsense"}])
async def test_half_a_message_over_grpc_waits_for_nothing(
    path: str, shown: Mapping[str, bytes], budget: ReceivingBudget
) -> None:
    async with serving(read_all, budget=budget, authentication=SharedKey(KEY)) as address:
        with RawHttp2(address) as raw:
            stream = raw.open(path, shown)
            raw.send(stream, b"x" * 100, announced=900)
            told = await asyncio.to_thread(raw.wait_for_end, stream)
    assert UNAUTHENTICATED in told
    assert budget.held == LIMITS.max_message_bytes


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/tenants/acme/heads/x:predict", {"content-type": "application/json"}),
        ("/v1/tenants/acme/heads/x:predict", {"content-type": "application/x-pickle"}),
        ("/v1/tenants/acme/heads/x:predict", {"content-length": "99999999999"}),
        ("/v1/tenants/acme/heads/x:predict", {"content-encoding": "gzip"}),
        ("/predict", {}),
        ("/metrics", {}),
        ("/nothing", {}),
        ("/" + "x" * 9000, {}),
    ],
)
async def test_body_over_rest_is_not_asked_for(
    path: str, headers: Mapping[str, str], budget: ReceivingBudget
) -> None:
    async def inside(*_: Any) -> None:
        raise AssertionError("it got through")

    backend = open_backend(authentication=SharedKey(KEY))
    guard = RestGuard(inside, 10**6, budget, backend, loopback_only=False)
    assert await _status(guard, path, headers) == 401


class _OfAcme(NoKeys):
    """Knows whoever asks as one of acme's, who predicts."""

    required = True

    async def caller(self, shown: object, before: Caller | None = None) -> Caller:
        return Caller(frozenset({Role.PREDICT}), "acme", ("x",), "k")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/tenants/beta/heads/x:predict", 404),
        ("/v1/tenants/acme/heads/y:predict", 404),
        ("/v1/tenants/beta:embed", 404),
        ("/v1/tenants/acme/heads/x:update", 403),
        ("/v1/keys/0:revoke", 403),
        ("/v1/backbones:load", 403),
    ],
)
async def test_path_that_suffices_is_refused_with_its_body_unread(
    path: str, status: int, budget: ReceivingBudget
) -> None:
    backend = open_backend(authentication=_OfAcme())
    guard = RestGuard(rest_app(backend), 10**6, budget, backend, loopback_only=False)
    assert await _status(guard, path, {"content-type": "application/json"}) == status


async def test_known_methods_are_told_from_others_by_a_key_alone(budget: ReceivingBudget) -> None:
    shown = {"authorization": f"Bearer {KEY}".encode()}
    async with serving(read_all, budget=budget, authentication=SharedKey(KEY)) as address:
        with RawHttp2(address) as raw:
            told = await asyncio.to_thread(raw.wait_for_end, raw.open(UNKNOWN, shown))
    assert b"\x0bgrpc-status\x0212" in told


async def _status(guard: RestGuard, path: str, headers: Mapping[str, str]) -> int:
    """How a request is answered whose body must not be read, and with what, if it is 401."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("it was read")

    async def send(message: Message) -> None:
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "query_string": b"key=" + KEY.encode(),
        "headers": [(b"host", b"localhost"), *given],
    }
    async with asyncio.timeout(HANGS_SECONDS):
        await guard(scope, receive, send)
    status: int = sent[0]["status"]
    assert ((b"www-authenticate", b"Bearer") in sent[0]["headers"]) == (status == 401)
    return status
