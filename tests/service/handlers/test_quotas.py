"""What a tenant computes is taken from its quota, refused as a whole beyond it, and counted."""

from __future__ import annotations

from typing import Any

import pytest

from service.access.caller import ANYONE
from service.access.quotas import CACHED_ROW_COST
from service.errors import QuotaExceeded
from service.requests.call import Call
from tests.service.server import InProcessServer, StartServer, import_request, texts
from trunkline.v1 import tenants_pb2

ACME = "tenants/acme"


async def ask(server: InProcessServer, request: Any) -> Any:
    method = type(request).__name__.removesuffix("Request")
    return await server.application.handlers[method](
        request, Call(method, "grpc", "", None, caller=ANYONE)
    )


async def allow(server: InProcessServer, **quotas: Any) -> None:
    await ask(
        server, tenants_pb2.UpdateTenantRequest(name=ACME, quotas=tenants_pb2.Quotas(**quotas))
    )


async def left(server: InProcessServer) -> float:
    limit = server.application.quotas.rate_limit("acme")
    assert limit is not None
    return limit.remaining


async def used(server: InProcessServer, tenant: str = ACME) -> list[tenants_pb2.Usage]:
    await server.application._usage.store()
    reply = await ask(server, tenants_pb2.GetUsageRequest(tenant=tenant))
    return list(reply.usage)


async def test_request_beyond_the_quota_is_refused_as_a_whole_and_computes_nothing(
    server: InProcessServer,
) -> None:
    await server.ask("ImportHead", import_request())
    await allow(server, cost_per_second=0.001, cost_burst=0.1)
    many = texts(*(f"text number {i} of a request that is too large" for i in range(20)))
    await server.predict(*many)  # the bucket is full: that is let in, and owed for
    server.backbone.batches.clear()
    with pytest.raises(QuotaExceeded) as refused:
        await server.predict(*texts("red one", "another"))
    assert (refused.value.field, refused.value.subject) == ("cost_per_second", ACME)
    assert refused.value.retry_after
    assert not server.backbone.batches
    with pytest.raises(QuotaExceeded):
        await server.predict(*many[:1])  # from memory, and nothing is left all the same


async def test_row_in_memory_costs_a_hundredth_of_a_unit(server: InProcessServer) -> None:
    await server.ask("ImportHead", import_request())
    await server.predict(*texts("red one", "blue one"))
    await allow(server, cost_per_second=0.001, cost_burst=10)
    await server.predict(*texts("red one", "blue one"))
    assert await left(server) == pytest.approx(10 - 2 * CACHED_ROW_COST, abs=1e-3)


async def test_what_was_expected_is_corrected_by_what_was_computed(
    server: InProcessServer,
) -> None:
    await server.ask("ImportHead", import_request())
    await allow(server, cost_per_second=0.001, cost_burst=10)
    await server.predict(*texts("a" * 1000))
    (hour,) = await used(server)
    assert await left(server) == pytest.approx(10 - hour.cost, abs=1e-3)


async def test_usage_outlives_the_server_and_is_counted_by_tenant(
    start_server: StartServer,
) -> None:
    async with start_server() as server:
        await server.ask("ImportHead", import_request())
        await server.predict(*texts("red one", "blue"))
        await server.predict(*texts("red one", "green"))
    async with start_server() as server:
        (hour,) = await used(server, "tenants/-")
        assert (hour.tenant, hour.rows, hour.cached_rows) == (ACME, 3, 1)
        assert hour.input_bytes == len("red onebluered onegreen")
        assert hour.cost > CACHED_ROW_COST
        assert hour.device_seconds > 0
        assert hour.hour.seconds % 3600 == 0
        await server.predict(*texts("red one"))
        (hour,) = await used(server)
        assert hour.rows == 4
