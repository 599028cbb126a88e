"""Several serving processes on one store answer as one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.learning import DIM, make_head, send_feedback, strangers
from tests.e2e.metrics import samples
from tests.e2e.processes import Running, serve_command
from tests.e2e.samples import vectors
from tests.e2e.transports import Grpc, Refused, embedding, text
from tests.e2e.workers import (
    WORKERS,
    each_worker,
    on_new_connections,
    processes_of,
    said_by,
    until_back,
)
from trunkline.digest import embedding_digest
from trunkline.v1 import (
    access_pb2,
    admin_pb2,
    common_pb2,
    extraction_pb2,
    heads_pb2,
    keys_pb2,
    tenants_pb2,
)

NEW_CONNECTIONS = 8
GATED = heads_pb2.FEEDBACK_POLICY_GATED


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("w")
    options = ("--workers", "2", "--backbone", TEXTS, "--auth", "required")
    running = Running.start(serve_command(folder / "data", *options), folder / "log")
    try:
        running.wait_until_serving()
        running.token = (folder / "data" / "operator.key").read_text().strip()
        yield running
        family = psutil.Process(running.pid).children(recursive=True)
        assert running.terminate() == 0
        assert not [child for child in family if child.is_running()]
    finally:
        running.close()


@pytest.fixture(scope="module")
def workers(server: Running) -> Iterator[list[Grpc]]:
    """A connection to each process."""
    with each_worker(server) as found:
        yield [found[name] for name in WORKERS]


@pytest.fixture(scope="module")
def fingerprint(workers: list[Grpc]) -> str:
    reply = workers[0].call("ListBackbones", extraction_pb2.ListBackbonesRequest())
    return str(reply.backbones[0].fingerprint)


def inputs_of(fingerprint: str, count: int = 2) -> list[common_pb2.Input]:
    return [embedding(fingerprint, vector) for vector, _ in vectors(count, DIM, seed=5)]


def versions_of(way: Grpc, head: str, inputs: list[common_pb2.Input]) -> set[int]:
    return {row.version for row in way.predict(head, inputs).rows}


def test_no_process_answers_by_the_version_before_an_activation(
    server: Running, workers: list[Grpc], fingerprint: str, tenant: str
) -> None:
    head = make_head(workers[0], tenant, fingerprint, policy=GATED)
    workers[1].call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    inputs = inputs_of(fingerprint)
    for turn in range(12):
        version = 1 + turn % 2
        request = heads_pb2.ActivateHeadVersionRequest(name=f"{head}/versions/{version}")
        workers[turn % 3 % 2].call("ActivateHeadVersion", request)
        for way in workers:
            assert versions_of(way, head, inputs) == {version}
    on_new_connections(
        server,
        NEW_CONNECTIONS,
        lambda way: _assert(versions_of(way, head, inputs) == {version}),
    )


def _assert(truth: bool) -> None:
    assert truth


@pytest.mark.parametrize("asked", [0, 1])
def test_no_process_answers_by_a_version_that_knew_a_forgotten_example(
    server: Running, workers: list[Grpc], fingerprint: str, tenant: str, asked: int
) -> None:
    head = make_head(workers[0], tenant, fingerprint, policy=GATED)
    for way in workers:
        assert versions_of(way, head, inputs_of(fingerprint)) == {1}
    vector, _ = vectors(30, DIM, classes=3)[0]
    request = heads_pb2.ForgetExamplesRequest(
        head=head, digests=[embedding_digest(fingerprint, np.asarray(vector, np.float32).tobytes())]
    )
    reply = workers[asked].call("ForgetExamples", request)
    with closing(sqlite3.connect(server.log.parent / "data" / "trunkline.db")) as store:
        told = [text for (text,) in store.execute("SELECT changed FROM changes")]
    assert any(head in text for text in told)
    assert not any(request.digests[0] in text for text in told)
    assert (reply.forgotten, list(reply.deleted_versions), reply.version) == (1, [1], 2)
    for way in workers:
        assert versions_of(way, head, inputs_of(fingerprint)) == {2}


@pytest.mark.parametrize("asked", [0, 1])
def test_revoked_key_is_good_on_no_process(
    server: Running, workers: list[Grpc], tenant: str, asked: int
) -> None:
    request = keys_pb2.CreateKeyRequest(tenant=f"tenants/{tenant}", roles=[access_pb2.ROLE_PREDICT])
    made = workers[1 - asked].call("CreateKey", request)
    with each_worker(server, made.text) as found:
        workers[asked].call("RevokeKey", keys_pb2.RevokeKeyRequest(name=made.key.name))
        for way in found.values():
            with pytest.raises(Refused) as caught:
                way.call("WhoAmI", keys_pb2.WhoAmIRequest())
            assert caught.value.code == "UNAUTHENTICATED"


@pytest.mark.parametrize("asked", [0, 1])
def test_deleted_head_is_on_no_process(
    server: Running, workers: list[Grpc], fingerprint: str, tenant: str, asked: int
) -> None:
    head = make_head(workers[0], tenant, fingerprint)
    inputs = inputs_of(fingerprint)
    for way in workers:
        way.predict(head, inputs)
    workers[asked].call("DeleteHead", heads_pb2.DeleteHeadRequest(name=head))
    for way in workers:
        with pytest.raises(Refused) as caught:
            way.predict(head, inputs)
        assert caught.value.code == "NOT_FOUND"


@pytest.mark.parametrize("asked", [0, 1])
def test_very_next_prediction_of_the_other_process_shows_the_correction(
    workers: list[Grpc], fingerprint: str, tenant: str, asked: int
) -> None:
    head = make_head(workers[0], tenant, fingerprint)
    inputs = strangers(fingerprint, 6)
    before = workers[1 - asked].predict(head, inputs[:1]).rows[0]
    wrong = next(label for label in before.scores if label != before.label)
    for turn, item in enumerate(inputs[:5], asked):
        assert not send_feedback(workers[turn % 2], head, [(item, wrong)]).errors
        shown = workers[1 - turn % 2].predict(head, [item]).rows
    assert [row.label for row in shown] == [wrong]
    rows = [way.predict(head, inputs).rows for way in workers]
    assert [row.scores for row in rows[0]] == [row.scores for row in rows[1]]


def test_training_is_seen_by_the_process_that_was_not_asked(
    workers: list[Grpc], fingerprint: str, tenant: str
) -> None:
    head = make_head(workers[0], tenant, fingerprint, policy=GATED)
    for asked, other in (workers, workers[::-1]):
        trained = asked.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
        request = heads_pb2.GetTrainingRequest(name=trained.name)
        seen = other.call("GetTraining", request).training
        assert (seen.state, seen.version) == (trained.state, trained.version)
        assert versions_of(other, head, inputs_of(fingerprint)) == {trained.version}


def test_refusal_of_what_is_handed_on_says_what_it_says_alone(
    workers: list[Grpc], tenant: str
) -> None:
    refusals = []
    request = heads_pb2.TrainHeadRequest(head=f"tenants/{tenant}/heads/nowhere")
    for way in workers:
        with pytest.raises(Refused) as caught:
            way.call("TrainHead", request)
        error = caught.value
        refusals.append((error.code, str(error), error.field, error.value))
    assert refusals[0] == refusals[1]


def test_backbones_are_loaded_through_any_process(workers: list[Grpc]) -> None:
    with pytest.raises(Refused) as caught:
        workers[0].call("LoadBackbone", admin_pb2.LoadBackboneRequest(name="no/such"))
    assert (caught.value.code, caught.value.field) == ("INVALID_ARGUMENT", "name")
    loaded = workers[1].call("LoadBackbone", admin_pb2.LoadBackboneRequest(name=TEXTS)).backbone
    assert loaded.name == TEXTS
    assert loaded.ready


def test_metrics_of_any_process_count_for_all(server: Running, workers: list[Grpc]) -> None:
    def counted(**labels: str) -> float:
        with server.http() as http:
            return samples(http, "trunkline_requests_total", method="ListKeys", **labels)

    before = counted()
    for way in workers:
        way.call("ListKeys", keys_pb2.ListKeysRequest())
    for _ in range(NEW_CONNECTIONS):
        assert counted() == before + 2
        assert counted(worker="worker-0") > 0
        assert counted(worker="worker-1") > 0
    with server.http() as http:
        assert samples(http, "trunkline_backbone_ready", worker="extractor") == 1


def test_tenant_that_used_its_quota_at_one_process_has_none_left_at_the_other(
    workers: list[Grpc], tenant: str
) -> None:
    quotas = tenants_pb2.Quotas(cost_per_second=0.01, cost_burst=3)
    request = tenants_pb2.UpdateTenantRequest(name=f"tenants/{tenant}", quotas=quotas)
    workers[0].call("UpdateTenant", request)
    admitted = [_admitted(way, tenant) for way in workers]
    assert admitted[0] > 0
    assert admitted[1] <= 1, "it may be a moment before it hears of the other"


def _admitted(way: Grpc, tenant: str) -> int:
    """How many requests are let in until one is not."""
    for count in range(100):
        try:
            way.embed(tenant, [text(f"{way} {count}" + "word " * 100)])
        except Refused:
            return count
    raise AssertionError("there is no bound")


@pytest.mark.long
@pytest.mark.parametrize("name", ["worker-0", "worker-1", "extractor"])
def test_killed_process_comes_back_and_nothing_acknowledged_is_lost(
    server: Running, fingerprint: str, tenant: str, name: str
) -> None:
    with each_worker(server) as found:
        head = make_head(found["worker-0"], tenant, fingerprint)
        item = strangers(fingerprint, 1)
        for way in found.values():
            send_feedback(way, head, [(item[0], "class-1")])
        began = len(said_by(server, name))
        processes_of(server)[name].kill()
        for survivor in found.keys() - {name}:
            assert found[survivor].predict(head, item).rows[0].label == "class-1"
    until_back(server, name, began)
    with each_worker(server) as found:
        for way in found.values():
            assert way.predict(head, item).rows[0].label == "class-1"
            listed = way.call("ListFeedback", heads_pb2.ListFeedbackRequest(head=head))
            assert len(listed.feedback) == 2
