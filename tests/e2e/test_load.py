"""A tenant that floods delays itself, and memory stays within its bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait

import psutil
import pytest

from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.metrics import samples
from tests.e2e.processes import Running, serve_command, serving
from tests.e2e.samples import noise_png
from tests.e2e.transports import Grpc, Refused, Rest, Transport, image, text
from trunkline import Client

MIB = 1 << 20


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, client: Client, image_head: str
) -> Iterator[Running]:
    """A server with tight bounds and a head for each of two tenants."""
    folder = tmp_path_factory.mktemp("small")
    options = [
        *("--max-rows-per-request", "200", "--max-queued-rows-per-tenant", "200"),
        *("--embedding-cache-bytes", str(2 * MIB), "--head-cache-bytes", str(MIB)),
        *("--metrics-tenants", "5"),
    ]
    with serving(serve_command(folder / "data", *options), folder / "log") as running:
        with running.client() as ours:
            images = client.export_head(image_head).safetensors
            for tenant in ("noisy", "quiet"):
                ours.import_head(f"{tenant}/images", images, IMAGES)
        yield running


@pytest.fixture(params=["grpc", "rest"])
def way(small: Running, request: pytest.FixtureRequest) -> Iterator[Transport]:
    connected: Grpc | Rest
    connected = Grpc(small.grpc) if request.param == "grpc" else Rest(small.rest)
    yield connected
    connected.close()


def test_flood_of_one_tenant_does_not_starve_another(small: Running, way: Transport) -> None:
    """While 200 rows of one tenant wait, single rows of another are answered, one by one."""
    flood_way = Grpc(small.grpc)
    seed = 100_000 if way.name == "grpc" else 200_000
    flood = [image(noise_png(seed + i, size=128)) for i in range(200)]
    with ThreadPoolExecutor(1) as pool, small.http() as http:
        flooding = pool.submit(flood_way.predict, "tenants/noisy/heads/images", flood)
        while not samples(http, "trunkline_queue_rows"):
            assert not flooding.done()
        for i in range(3):
            one = [image(noise_png(seed + 50_000 + i))]
            assert way.predict("tenants/quiet/heads/images", one).rows[0].label
        assert not flooding.done()
        assert all(row.label for row in flooding.result().rows)
    flood_way.close()


def test_full_queue_refuses_one_row_and_many_alike(small: Running, way: Transport) -> None:
    flood_way = Grpc(small.grpc)
    seed = 300_000 if way.name == "grpc" else 400_000
    flood = [image(noise_png(seed + i, size=128)) for i in range(200)]
    with ThreadPoolExecutor(1) as pool, small.http() as http:
        flooding = pool.submit(flood_way.predict, "tenants/noisy/heads/images", flood)
        while samples(http, "trunkline_queue_rows") < 150:
            assert not flooding.done()
        # Places are held until a whole request is answered, so these come too early.
        for count in (1, 50):
            more = [image(noise_png(seed + 50_000 + i)) for i in range(count)]
            with pytest.raises(Refused) as refused:
                way.predict("tenants/noisy/heads/images", more)
            error = refused.value
            assert (error.code, error.limit) == ("RESOURCE_EXHAUSTED", "200")
            assert int(error.value) == 200 + count
            assert error.field
            # REST has whole seconds alone.
            assert error.retry_after == {"grpc": 0.5, "rest": 1.0}[way.name]
            assert error.request_id in small.log.read_text()
        assert not any(row.error for row in flooding.result().rows)
        assert way.predict("tenants/noisy/heads/images", more).rows[0].label
    flood_way.close()


@pytest.mark.long
def test_memory_is_bounded_in_a_small_soak(small: Running, client: Client, text_head: str) -> None:
    """Thousands of new and cached inputs, 150 heads: caches stay within their bounds."""
    texts = client.export_head(text_head).safetensors
    with small.client() as ours:
        for i in range(150):
            ours.import_head(f"many/head-{i}", texts, TEXTS)
    process = psutil.Process(small.pid)
    local = threading.local()
    connections: list[Grpc] = []

    def ask(i: int) -> None:
        if not hasattr(local, "way"):
            local.way = Grpc(small.grpc)
            connections.append(local.way)
        head = f"tenants/many/heads/head-{i % 150}"
        words = [text(f"soak {i} {row}") for row in range(3)]
        new = local.way.predict(head, words).rows
        cached = local.way.predict(head, words).rows
        assert [row.scores for row in new] == [row.scores for row in cached]

    with ThreadPoolExecutor(4) as pool, small.http() as http:
        for part in (range(300), range(300, 1000)):
            done, _ = wait([pool.submit(ask, i) for i in part])
            assert [future.result() for future in done]
            if not part.start:
                warm = process.memory_info().rss
        assert process.memory_info().rss - warm < 60 * MIB
        assert 0 < samples(http, "trunkline_embedding_cache_bytes") <= 2 * MIB
        assert 0 < samples(http, "trunkline_head_cache_bytes") <= MIB
        assert samples(http, "trunkline_embedding_cache_hits_total", tenant="many") >= 3000
    for connection in connections:
        connection.close()


def test_metrics_name_the_first_tenants_and_count_the_rest_together(small: Running) -> None:
    way = Grpc(small.grpc)
    for i in range(12):
        way.embed(f"passer-by-{i}", [text("x")])
        with pytest.raises(Refused, match="NOT_FOUND"):
            way.predict(f"tenants/nobody-{i}/heads/none", [text("x")])
    way.close()
    with small.http() as http:
        page = http.get("/metrics").text
        tenants = {part.partition('"')[0] for part in page.split('tenant="')[1:]}
        assert "other" in tenants
        assert len(tenants - {"other"}) == 5
        assert samples(http, "trunkline_requests_total", method="Embed", tenant="other") >= 7
        assert samples(http, "trunkline_requests_total", code="NOT_FOUND", tenant="other") >= 12
