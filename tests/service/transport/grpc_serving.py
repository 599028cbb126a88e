"""A gRPC server of one handler, and calls to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import pytest

from service.access.authentication import Authentication, NoKeys
from service.errors import ServiceError
from service.metrics import Metrics
from service.requests.call import Call
from service.requests.calls import Calls, Handler
from service.tls import Certificates
from service.transport.grpc_server import GrpcServer
from service.transport.limits import TransportLimits
from service.transport.methods import OF_THE_SERVER, methods_of
from service.transport.readiness import Readiness
from service.transport.receiving import ReceivingBudget
from tests.e2e.transports import Grpc, Refused
from tests.service.transport.port_limits import HANGS_SECONDS, LIMITS, MIB
from trunkline.v1 import heads_pb2


@asynccontextmanager
async def serving(
    handler: Handler,
    limits: TransportLimits = LIMITS,
    budget: ReceivingBudget | None = None,
    readiness: Readiness | None = None,
    listens: str = "127.0.0.1:0",
    authentication: Authentication | None = None,
    certificates: Certificates | None = None,
) -> AsyncIterator[str]:
    """A server in which this handles every request; gives its address."""
    server = GrpcServer(
        listens,
        OF_THE_SERVER,
        {method.name: handler for method in methods_of(*OF_THE_SERVER)},
        Calls(Metrics(5), 60),
        authentication or NoKeys(),
        readiness or Readiness(),
        limits,
        budget or ReceivingBudget(100 * MIB, 60),
        certificates,
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


GET_HEAD = "/trunkline.v1.HeadService/GetHead"
