"""gRPC's health service (grpc.health.v1), which follows the application's readiness.

grpc_health's own holds a lock while it writes to a watcher: one that does not read would keep the
state from everybody else, and the server from stopping.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckResponse

from service.requests.calls import Calls
from service.transport.grpc_errors import Context, refuse
from service.transport.readiness import Readiness


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it says no types
    """Says whether the services are ready.

    Args:
        names: names of the services. The empty name stands for all of them.
        calls: say how a call ends where the server stops.
    """

    def __init__(self, names: Iterable[str], readiness: Readiness, calls: Calls) -> None:
        self._names = ("", *names)
        self._readiness = readiness
        self._calls = calls
        self._ended = False

    def end(self) -> None:
        """Says for good that nothing is served, and ends the watches."""
        self._ended = True
        self._readiness.drain()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> HealthCheckResponse:
        """Answers once."""
        if self._ended:
            await self._calls.refusal()
        if request.service not in self._names:
            await context.abort(grpc.StatusCode.NOT_FOUND, "service: there is no such service")
        return self._state(request.service)

    async def List(
        self, request: health_pb2.HealthListRequest, context: Context
    ) -> health_pb2.HealthListResponse:
        """Answers for every service."""
        return health_pb2.HealthListResponse(
            statuses={name: self._state(name) for name in self._names}
        )

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> AsyncIterator[HealthCheckResponse]:
        """Answers now and at every change."""
        name = request.service if request.service in self._names else None
        del request  # its name may be long
        told: HealthCheckResponse | None = None
        while True:
            state = self._state(name)
            if state != told:
                told = state
                yield state  # and it may have changed again when that is written
            elif self._ended:
                await refuse(context, await self._calls.refusal(), "Watch")
            else:
                await self._readiness.until_change()

    def _state(self, name: str | None) -> HealthCheckResponse:
        if name not in self._names:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        if self._readiness.ready:
            return HealthCheckResponse(status=HealthCheckResponse.SERVING)
        return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
