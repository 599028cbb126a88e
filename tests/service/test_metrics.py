from __future__ import annotations

import asyncio

import pytest
from prometheus_client import generate_latest

from service.access.key_text import new_text
from service.metrics import SECONDS, BackboneObserver, DecodeObserver, Metrics


def test_tenants_beyond_the_limit_count_as_other() -> None:
    metrics = Metrics(2)
    seen = [metrics.tenant(name) for name in ("a", "b", "c", "a", "d", "b")]
    assert seen == ["a", "b", "other", "a", "other", "b"]


def test_request_of_no_tenant_takes_no_label_away() -> None:
    metrics = Metrics(1)
    assert metrics.tenant("") == "other"
    assert metrics.tenant("a") == "a"


def test_key_in_the_place_of_a_tenant_is_in_no_metric() -> None:
    assert Metrics(5).tenant(new_text()) == "other"


def test_limit_of_zero_counts_all_as_other() -> None:
    assert Metrics(0).tenant("a") == "other"


def test_tenant_of_failed_rows_alone_takes_no_label() -> None:
    metrics = Metrics(1)
    metrics.count_rows("Predict", "NOT_FOUND", "nobody", 3)
    labels = {"method": "Predict", "code": "NOT_FOUND", "tenant": "other"}
    assert metrics.registry.get_sample_value("trunkline_rows_total", labels) == 3
    assert metrics.tenant("a") == "a"


def test_lookups_in_the_cache_are_counted_one_by_one() -> None:
    metrics = Metrics(1)
    metrics.tenant("a")
    metrics.count_cache("a", hits=2, misses=3)
    metrics.count_cache("b", hits=0, misses=4)

    def value(name: str, tenant: str) -> float | None:
        labels = {"tenant": tenant}
        return metrics.registry.get_sample_value(f"trunkline_embedding_cache_{name}_total", labels)

    assert (value("hits", "a"), value("misses", "a")) == (2, 3)
    assert (value("hits", "other"), value("misses", "other")) == (None, 4)


def test_every_metric_is_named_after_the_project_and_explained() -> None:
    for family in Metrics(1).registry.collect():
        assert family.name.startswith("trunkline_")
        assert family.documentation.endswith(".")


def test_histograms_reach_from_a_tenth_of_a_millisecond_to_ten_seconds() -> None:
    assert (SECONDS[0], SECONDS[-1]) == (0.0001, 10.0)
    assert list(SECONDS) == sorted(SECONDS)


def test_two_servers_in_one_process_do_not_share_metrics() -> None:
    one, other = Metrics(1), Metrics(1)
    one.feedback.labels("a").inc()
    assert b'tenant="a"' in generate_latest(one.registry)
    assert b'tenant="a"' not in generate_latest(other.registry)


def test_observers_count_depth_waits_and_batches() -> None:
    metrics = Metrics(1)
    decode, backbone = DecodeObserver(metrics, "b"), BackboneObserver(metrics, "b")
    decode.queued(+2)
    decode.batch_started(1, [0.1])
    decode.batch_ended(1, 0.01, None)
    backbone.queued(+3)
    backbone.queued(-1)
    backbone.batch_started(2, [0.1, 0.2])
    backbone.batch_ended(2, 0.5, ValueError("x"))

    def value(name: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(f"trunkline_{name}", labels)

    assert value("queue_rows", stage="decode", backbone="b") == 2
    assert value("queue_rows", stage="backbone", backbone="b") == 2
    assert value("batch_rows_sum", backbone="b") == 2
    assert value("phase_seconds_sum", phase="backbone", backbone="b") == 0.5
    assert value("phase_seconds_sum", phase="queue", backbone="b") == pytest.approx(0.3)
    assert value("phase_seconds_sum", phase="decode_queue", backbone="b") == 0.1


async def test_tasks_are_counted_when_they_are_asked_for() -> None:
    metrics = Metrics(1)
    metrics.watch(asyncio.get_running_loop())

    def tasks() -> float | None:
        return metrics.registry.get_sample_value("trunkline_event_loop_tasks")

    assert tasks() == 1
    waiting = asyncio.create_task(asyncio.Event().wait())
    assert tasks() == 2
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert tasks() == 1
