"""Metrics of several processes on one page."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.cluster.pages import page_of_all, serve_page


def registry(count: int) -> CollectorRegistry:
    made = CollectorRegistry()
    Counter("asked", "How often.", ["what"], registry=made).labels('a "{b}" c').inc(count)
    Gauge("loaded", "How many.", registry=made).set(count)
    Histogram("took", "How long.", registry=made, buckets=(1.0,)).observe(count)
    return made


async def test_page_has_the_samples_of_all_that_answer_each_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "gone.metrics").touch()
    serving = await serve_page(tmp_path, "two", registry(2))
    own = generate_latest(registry(1)).decode()
    page = await page_of_all(tmp_path, own, ["one", "two", "gone", "never"])
    serving.close()
    families = list(text_string_to_metric_families(page))
    assert len({family.name for family in families}) == len(families), "each is there once"
    found = {
        (sample.name, sample.labels["worker"]): (sample.value, sample.labels)
        for family in families
        for sample in family.samples
    }
    assert found["asked_total", "one"] == (1.0, {"worker": "one", "what": 'a "{b}" c'})
    assert found["asked_total", "two"] == (2.0, {"worker": "two", "what": 'a "{b}" c'})
    assert found["loaded", "two"] == (2.0, {"worker": "two"})
    assert found["took_sum", "two"][0] == 2.0
    assert {worker for _, worker in found} == {"one", "two"}
