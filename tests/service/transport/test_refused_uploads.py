"""An upload that is refused is read to its end first: a proxy may lose an answer amid it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.errors import Unavailable
from service.requests.call import Call
from service.transport import grpc_calls
from tests.raw_http2 import RawHttp2
from tests.service.transport.grpc_serving import GET_HEAD, get_head, serving

UPLOAD = "/trunkline.v1.HeadService/AddExamples"
UNAVAILABLE = b"\x0bgrpc-status\x0214"


async def refuse(given: Any, call: Call) -> Any:
    """Refuses uploads before they are read; answers everything else."""
    if call.method == "AddExamples":
        raise Unavailable("the store is away", retry_after=1.0)
    return await get_head()


async def test_stream_of_an_upload_that_is_refused_is_not_broken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_calls, "REST_SECONDS", 60)  # however slow this machine is
    async with serving(refuse) as address:
        with RawHttp2(address) as raw:
            upload, other = raw.open(UPLOAD), raw.open(GET_HEAD)
            raw.send(upload, b"")
            raw.send(other, b"")
            raw.finish(other)
            await asyncio.to_thread(raw.wait_for_end, other)
            raw.finish(upload)
            told = await asyncio.to_thread(raw.wait_for_end, upload)
    assert UNAVAILABLE in told
    assert upload not in raw.resets


async def test_upload_that_does_not_end_is_refused_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(grpc_calls, "REST_SECONDS", 0.01)
    async with serving(refuse) as address:
        with RawHttp2(address) as raw:
            upload = raw.open(UPLOAD)
            raw.send(upload, b"")
            assert UNAVAILABLE in await asyncio.to_thread(raw.wait_for_end, upload)
