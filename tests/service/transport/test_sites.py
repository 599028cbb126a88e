"""The extractor's metrics are for this machine's programs, not for pages that it shows."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter

from service.access.authentication import NoKeys
from service.transport.readiness import Readiness
from service.transport.sites import Sites, metrics_app


def client_of(sites: Sites, readiness: Readiness | None = None) -> httpx.AsyncClient:
    registry = CollectorRegistry()
    Counter("seen", "Seen.", registry=registry)
    transport = httpx.ASGITransport(
        metrics_app(registry, sites, NoKeys(), readiness or Readiness())
    )
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9090")


async def test_program_of_this_machine_reads_metrics() -> None:
    async with client_of(Sites(loopback_only=True)) as client:
        assert "seen_total" in (await client.get("/metrics")).text
        own = {"origin": "http://127.0.0.1:9090", "sec-fetch-site": "same-origin"}
        assert "seen_total" in (await client.get("/metrics", headers=own)).text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("host", "evil.example:9090"), ("host", "[")),
        *(("origin", "http://evil.example"), ("origin", "null")),
        *(("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site")),
    ],
)
@pytest.mark.parametrize("loopback_only", [True, False])
async def test_page_of_another_site_reads_no_metrics(
    name: str, value: str, *, loopback_only: bool
) -> None:
    async with client_of(Sites(loopback_only=loopback_only)) as client:
        answer = await client.get("/metrics", headers={name: value})
    if name == "host" and not loopback_only:
        assert answer.status_code == 200, "such a server is known under names of others' choice"
        return
    assert answer.status_code == 403
    assert "seen_total" not in answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert (answer.json()["field"], answer.json()["code"]) == (name, "PERMISSION_DENIED")


async def test_origin_that_the_settings_name_reads_metrics() -> None:
    async with client_of(Sites(["https://graphs.example"], loopback_only=True)) as client:
        answer = await client.get("/metrics", headers={"origin": "https://graphs.example"})
    assert "seen_total" in answer.text


async def test_whatever_watches_the_extractor_learns_whether_it_runs_and_can_serve() -> None:
    readiness = Readiness()
    async with client_of(Sites(loopback_only=True), readiness) as client:
        by_any_name = {"host": "10.0.0.7:9090"}
        assert (await client.get("/livez", headers=by_any_name)).status_code == 200
        starting = await client.get("/readyz", headers=by_any_name)
        assert (starting.status_code, starting.text) == (
            503,
            "not ready: the backbones do not answer",
        )
        readiness.set_extractor_ready(True)
        assert (await client.get("/readyz", headers=by_any_name)).status_code == 200
        readiness.drain()
        stopping = await client.get("/readyz", headers=by_any_name)
        assert (stopping.status_code, stopping.text) == (503, "not ready: the server is stopping")
        assert (await client.get("/livez", headers=by_any_name)).status_code == 200
