"""Metrics that a test can wait for, and a gRPC server of one handler."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from service.access.authentication import NoKeys
from service.metrics import Metrics
from service.requests.calls import Calls, Handler
from service.transport.grpc_server import GrpcServer
from service.transport.limits import TransportLimits
from service.transport.methods import OF_THE_SERVER, methods_of
from service.transport.readiness import Readiness
from service.transport.receiving import ReceivingBudget
from tests.service.transport.port_limits import LIMITS, MIB
from tests.service.waiting import Changes


class Counted(Metrics):
    """Keeps the codes of requests in order, and lets a test wait for them."""

    def __init__(self) -> None:
        super().__init__(5)
        self.codes: list[str] = []
        self._changes = Changes()

    def count_request(
        self, method: str, transport: str, code: str, tenant: str, seconds: float
    ) -> None:
        super().count_request(method, transport, code, tenant, seconds)
        self.codes.append(code)
        self._changes.notify()

    async def until(self, count: int) -> list[str]:
        """The codes of the first requests, once there are so many."""
        await self._changes.until(lambda: len(self.codes) >= count)
        return self.codes


@asynccontextmanager
async def grpc_server(
    handler: Handler,
    calls: Calls,
    limits: TransportLimits = LIMITS,
    budget: ReceivingBudget | None = None,
) -> AsyncIterator[GrpcServer]:
    """A gRPC server all of whose methods are this handler's."""
    server = GrpcServer(
        "127.0.0.1:0",
        OF_THE_SERVER,
        {method.name: handler for method in methods_of(*OF_THE_SERVER)},
        calls,
        NoKeys(),
        Readiness(),
        replace(limits, max_message_bytes=1_000_000),
        budget or ReceivingBudget(100 * MIB, 60),
    )
    await server.start()
    try:
        yield server
    finally:
        await server.close()
