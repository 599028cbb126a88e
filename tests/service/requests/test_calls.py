"""What surrounds every request."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from google.protobuf.message import Message

from service.access.caller import ANYONE
from service.errors import DeadlineExceeded, NotFound
from service.metrics import Metrics
from service.requests.calls import Calls
from service.requests.names import tenant_of
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2


def counted(metrics: Metrics, code: str, tenant: str = "acme") -> float | None:
    labels = {"method": "GetHead", "transport": "grpc", "code": code, "tenant": tenant}
    return metrics.registry.get_sample_value("trunkline_requests_total", labels)


def metrics_that_know(tenant: str) -> Metrics:
    """Metrics in which a tenant has a label already."""
    metrics = Metrics(5)
    assert metrics.tenant(tenant) == tenant
    return metrics


REQUEST = heads_pb2.GetHeadRequest(name="tenants/acme/heads/x")


@pytest.mark.parametrize(
    ("request_", "tenant"),
    [
        (prediction_pb2.PredictRequest(head="tenants/acme/heads/x"), "acme"),
        (extraction_pb2.EmbedRequest(tenant="tenants/acme"), "acme"),
        (heads_pb2.CreateHeadRequest(parent="tenants/acme"), "acme"),
        (heads_pb2.GetTrainingRequest(name="tenants/acme/heads/x/trainings/t"), "acme"),
        (extraction_pb2.ListBackbonesRequest(), ""),
        (prediction_pb2.PredictRequest(head="acme/x"), ""),
        (prediction_pb2.PredictRequest(head="tenants/not ok/heads/x"), ""),
        (prediction_pb2.PredictRequest(head="tenants/"), ""),
        (None, ""),
    ],
)
def test_tenant_is_read_from_any_request(request_: Message | None, tenant: str) -> None:
    assert tenant_of(request_) == tenant


async def test_success_is_counted_with_method_transport_and_tenant() -> None:
    metrics = metrics_that_know("acme")
    async with Calls(metrics, 60).handle("GetHead", "grpc", REQUEST, caller=ANYONE) as call:
        assert call.tenant == "acme"
        assert call.request_id
    assert counted(metrics, "OK") == 1
    labels = {"method": "GetHead", "transport": "grpc", "code": "OK"}
    assert metrics.registry.get_sample_value("trunkline_request_seconds_count", labels) == 1


async def test_failure_is_counted_by_its_code_and_passed_on() -> None:
    metrics = metrics_that_know("acme")
    calls = Calls(metrics, 60)
    for error in (NotFound("x"), ValueError("y")):
        with pytest.raises(type(error)):
            async with calls.handle("GetHead", "grpc", REQUEST, caller=ANYONE):
                raise error
    assert counted(metrics, "NOT_FOUND") == 1
    assert counted(metrics, "INTERNAL") == 1
    assert counted(metrics, "OK") is None


async def test_request_that_fails_makes_no_label_for_a_tenant_that_may_not_exist() -> None:
    metrics = Metrics(1)
    calls = Calls(metrics, 60)
    with pytest.raises(NotFound):
        async with calls.handle("GetHead", "grpc", REQUEST, caller=ANYONE):
            raise NotFound("no such head")
    assert counted(metrics, "NOT_FOUND", "other") == 1
    assert metrics.tenant("real") == "real"


async def test_tenants_beyond_the_limit_are_counted_as_other() -> None:
    metrics = Metrics(0)
    async with Calls(metrics, 60).handle("GetHead", "grpc", REQUEST, caller=ANYONE):
        pass
    assert counted(metrics, "OK", "other") == 1


async def test_deadline_that_passes_ends_the_request() -> None:
    metrics = metrics_that_know("acme")
    with pytest.raises(DeadlineExceeded) as caught:
        async with Calls(metrics, 60).handle(
            "GetHead", "grpc", REQUEST, caller=ANYONE, timeout=0.0
        ):
            await asyncio.Event().wait()
    assert caught.value.field == "deadline"
    assert counted(metrics, "DEADLINE_EXCEEDED") == 1


async def test_request_without_a_deadline_gets_the_default_one() -> None:
    with pytest.raises(DeadlineExceeded):
        async with Calls(Metrics(5), 0.0).handle("GetHead", "grpc", REQUEST, caller=ANYONE):
            await asyncio.Event().wait()


async def test_watch_may_last() -> None:
    async with Calls(Metrics(5), 0.0).handle(
        "GetHead", "grpc", REQUEST, caller=ANYONE, watch=True
    ) as call:
        assert call.deadline is None
        await asyncio.sleep(0)


async def test_upload_may_last_as_long_as_the_client_sends() -> None:
    async with Calls(Metrics(5), 0.0).handle(
        "AddExamples", "grpc", None, caller=ANYONE, upload=True
    ) as call:
        assert call.deadline is None
        await asyncio.sleep(0)


@pytest.mark.parametrize("watch", [True, False])
async def test_deadline_that_a_client_gives_holds_for_a_lasting_stream_too(watch: bool) -> None:
    calls = Calls(Metrics(5), 60)
    lasting = calls.handle(
        "TrainHead", "grpc", None, caller=ANYONE, timeout=0.0, upload=not watch, watch=watch
    )
    with pytest.raises(DeadlineExceeded):
        async with lasting:
            await asyncio.Event().wait()


@pytest.mark.parametrize("watch", [True, False])
async def test_timeout_inside_the_server_is_not_taken_for_the_clients_deadline(
    watch: bool,
) -> None:
    metrics = metrics_that_know("acme")
    with pytest.raises(TimeoutError, match="disk"):
        async with Calls(metrics, 60).handle(
            "GetHead", "grpc", REQUEST, caller=ANYONE, watch=watch
        ):
            raise TimeoutError("disk")
    assert counted(metrics, "INTERNAL") == 1


async def test_client_that_leaves_is_counted_as_cancelled() -> None:
    metrics = metrics_that_know("acme")
    started = asyncio.Event()

    async def request() -> None:
        async with Calls(metrics, 60).handle("GetHead", "grpc", REQUEST, caller=ANYONE):
            started.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(metrics, "CANCELLED") == 1


async def test_every_request_has_an_id_of_its_own() -> None:
    calls = Calls(Metrics(5), 60)
    ids = set()
    for _ in range(10):
        async with calls.handle("GetHead", "grpc", REQUEST, caller=ANYONE) as call:
            ids.add(call.request_id)
    assert len(ids) == 10


async def test_unexpected_error_is_logged_with_the_request_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ValueError, match="details"):
        async with Calls(Metrics(5), 60).handle("GetHead", "grpc", REQUEST, caller=ANYONE) as call:
            raise ValueError("details")
    logged = capsys.readouterr()
    assert call.request_id in logged.out + logged.err
    assert "details" in logged.out + logged.err


async def test_failed_rows_of_a_reply_are_counted_by_code() -> None:
    metrics = metrics_that_know("acme")
    calls = Calls(metrics, 60)
    errors: Sequence[common_pb2.RowError] = [
        common_pb2.RowError(row=i, code="NOT_FOUND") for i in range(30)
    ]
    request = prediction_pb2.PredictRequest(head="tenants/acme/heads/x")
    async with calls.handle("Predict", "rest", request, caller=ANYONE) as call:
        calls.record_reply(call, prediction_pb2.PredictResponse(errors=errors))
    labels = {"method": "Predict", "code": "NOT_FOUND", "tenant": "acme"}
    assert metrics.registry.get_sample_value("trunkline_rows_total", labels) == 30


async def test_drain_waits_for_requests_in_flight_and_no_longer() -> None:
    calls = Calls(Metrics(5), 60)
    assert await calls.wait_until_idle(0.0)
    leave, inside = asyncio.Event(), asyncio.Event()

    async def request() -> None:
        async with calls.handle("GetHead", "grpc", REQUEST, caller=ANYONE):
            inside.set()
            await leave.wait()

    task = asyncio.create_task(request())
    await inside.wait()
    assert not await calls.wait_until_idle(0.0)
    idle = asyncio.create_task(calls.wait_until_idle(60))
    leave.set()
    assert await idle
    await task
