"""Calls to an extraction server: how long they may take, and what its errors become."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

from service.errors import QueueFull, Unavailable
from service.extraction.remote_connection import RemoteConnection
from trunkline.v1 import extraction_pb2

REQUEST = extraction_pb2.ListBackbonesRequest()
REPLY = extraction_pb2.ListBackbonesResponse


@pytest.fixture
async def link(tmp_path: Path) -> AsyncIterator[RemoteConnection]:
    """One to a server that is not there; the tests answer in its place."""
    made = RemoteConnection(
        f"unix:{tmp_path}/nobody", timeout_seconds=60, on_readiness=lambda _: None
    )
    yield made
    await made.close()


async def test_call_ends_at_the_callers_deadline_or_after_the_links_time(
    link: RemoteConnection,
) -> None:
    given: list[float] = []

    async def answer(request: Any, *, timeout: float, metadata: object) -> REPLY:
        given.append(timeout)
        return REPLY()

    now = asyncio.get_running_loop().time()
    for deadline in (None, now + 1000, now + 10, now - 1):
        await link.call(answer, REQUEST, REPLY, deadline)
    assert given[:2] == [60, 60]
    assert 0 < given[2] <= 10
    assert given[3] == 0


def failure(code: grpc.StatusCode, *details: Any) -> grpc.aio.AioRpcError:
    status = status_pb2.Status(code=code.value[0], message="no")
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", status.SerializeToString()))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), trailing, "no")


async def test_full_server_is_passed_on_with_its_facts_and_the_time_it_names(
    link: RemoteConnection,
) -> None:
    facts = error_details_pb2.ErrorInfo(metadata={"field": "inputs", "limit": "9", "value": "10"})
    delay = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=7))

    async def refuse(request: Any, *, timeout: float, metadata: object) -> REPLY:
        raise failure(grpc.StatusCode.RESOURCE_EXHAUSTED, facts, delay)

    with pytest.raises(QueueFull, match="extractor: no") as caught:
        await link.call(refuse, REQUEST, REPLY, None)
    error = caught.value
    assert (error.field, error.limit, error.value, error.retry_after) == ("inputs", "9", "10", 7)


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED])
async def test_server_that_goes_away_during_a_call_is_to_be_asked_again(
    link: RemoteConnection, code: grpc.StatusCode
) -> None:
    async def break_off(request: Any, *, timeout: float, metadata: object) -> REPLY:
        raise failure(code)

    with pytest.raises(Unavailable, match="try again later") as caught:
        await link.call(break_off, REQUEST, REPLY, None)
    assert caught.value.retry_after == 1
