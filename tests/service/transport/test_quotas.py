"""Both transports say that a quota is used, and when to come again."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2

from service.access.authentication import NoKeys
from service.transport.backend import Backend
from service.transport.grpc_server import GrpcServer
from service.transport.methods import OF_THE_SERVER
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from tests.service.server import HEAD, InProcessServer, import_request, texts
from tests.service.transport.open_backend import as_anyone
from tests.service.transport.port_limits import LIMITS
from trunkline.v1 import prediction_pb2, prediction_pb2_grpc, tenants_pb2


async def limited(server: InProcessServer, **quotas: Any) -> None:
    """Imports a head, and lets its tenant use no more than that."""
    await server.ask("ImportHead", import_request())
    request = tenants_pb2.UpdateTenantRequest(
        name="tenants/acme", quotas=tenants_pb2.Quotas(**quotas)
    )
    await server.ask("UpdateTenant", request)


async def test_grpc_tells_the_tenant_the_reason_and_the_time_to_come_back(
    server: InProcessServer,
) -> None:
    await limited(server, cost_per_second=0.01, cost_burst=0.001)
    app = server.application
    served = GrpcServer(
        *("127.0.0.1:0", OF_THE_SERVER, app.handlers, app.calls, NoKeys(), app.readiness),
        *(LIMITS, ReceivingBudget(10**9, 60)),
    )
    await served.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as channel:
            stub = prediction_pb2_grpc.PredictionServiceStub(channel)
            await stub.Predict(prediction_pb2.PredictRequest(head=HEAD, inputs=texts("one")))
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await stub.Predict(prediction_pb2.PredictRequest(head=HEAD, inputs=texts("two")))
    finally:
        await served.close()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailers = dict(refused.value.trailing_metadata() or ())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    failure, retry, info = (
        error_details_pb2.QuotaFailure(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.ErrorInfo(),
    )
    for message in (failure, retry, info):
        assert [detail for detail in status.details if detail.Unpack(message)]
    assert [violation.subject for violation in failure.violations] == ["tenants/acme"]
    assert info.reason == "QUOTA_EXCEEDED"
    assert retry.retry_delay.ToTimedelta().total_seconds() > 0
    counted = app.metrics.registry.get_sample_value
    labels = {"quota": "cost_per_second", "tenant": "acme"}
    assert counted("trunkline_quota_refusals_total", labels) == 1


async def test_rest_says_what_is_left_and_the_time_to_come_back_which_then_succeeds(
    server: InProcessServer,
) -> None:
    await limited(server, cost_per_second=2, cost_burst=4)
    app, backend = server.application, Backend()
    backend.attach(app.handlers, app.calls, NoKeys(), app.quotas)
    clock = app.quotas._clock = Turned()
    transport = httpx.ASGITransport(as_anyone(rest_app(backend)))
    async with httpx.AsyncClient(transport=transport, base_url="http://test/v1") as rest:
        body: dict[str, Any] = {"inputs": [{"text": "one"}]}
        first = await rest.post(f"/{HEAD}:predict", json=body)
        assert first.status_code == 200
        assert first.headers["ratelimit-policy"] == '"cost";q=4;w=2'
        assert first.headers["ratelimit"] == '"cost";r=3;t=1'
        app.quotas.charge("acme", 6)
        body = {"inputs": [{"text": "two"}]}
        refused = await rest.post(f"/{HEAD}:predict", json=body)
        assert refused.status_code == 429
        assert refused.json()["reason"] == "QUOTA_EXCEEDED"
        assert refused.headers["ratelimit"].startswith('"cost";r=0;t=')
        clock.now += int(refused.headers["retry-after"])
        assert (await rest.post(f"/{HEAD}:predict", json=body)).status_code == 200
        unbound = await rest.get("/tenants/other/heads")
        assert "ratelimit" not in unbound.headers


class Turned:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time()

    def __call__(self) -> float:
        return self.now
