"""Two servers, each with a data directory of its own, on one store in PostgreSQL."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests.e2e.learning import DIM, make_head, send_feedback, strangers
from tests.e2e.processes import Running, extractor_command, free_port, serve_command
from tests.e2e.samples import vectors
from tests.e2e.transports import Grpc, Refused, embedding
from tests.postgres import PostgresProcess
from trunkline.digest import embedding_digest
from trunkline.v1 import access_pb2, common_pb2, extraction_pb2, heads_pb2, keys_pb2

GATED = heads_pb2.FEEDBACK_POLICY_GATED
LEASE_SECONDS = 20
SERVERS = range(2)


pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresProcess]:
    process = PostgresProcess()
    process.start()
    yield process
    process.start_again()
    process.remove()


@pytest.fixture(scope="module")
def serve(
    own: PostgresProcess, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path
) -> Iterator[Callable[[int], Running]]:
    """Starts a server by its number, on the store and the extractor that all share."""
    folder = tmp_path_factory.mktemp("m")
    own.execute("CREATE DATABASE shared")
    store = own.url.set(database="shared").render_as_string(hide_password=False)
    started = [Running.start(extractor_command("--port", free_port()), folder / "extractor-log")]

    def start(number: int) -> Running:
        address = started[0].addresses["grpc"]
        options = ("--store", store, "--store-connections", "4", "--extractor", address)
        command = serve_command(folder / str(number), *options, "--auth", "required")
        running = Running.start(command, folder / f"log-{number}")
        started.append(running)
        running.wait_until_serving()
        running.token = (folder / "0" / "operator.key").read_text().strip()
        return running

    try:
        started[0].wait_until_serving()
        yield start
    finally:
        for running in started:
            running.close()


@pytest.fixture(scope="module")
def servers(serve: Callable[[int], Running]) -> list[Running]:
    return [serve(number) for number in SERVERS]


@pytest.fixture
def ways(servers: list[Running]) -> Iterator[list[Grpc]]:
    found = [Grpc(server.grpc, server.token) for server in servers]
    yield found
    for way in found:
        way.close()


@pytest.fixture
def fingerprint(ways: list[Grpc]) -> str:
    reply = ways[0].call("ListBackbones", extraction_pb2.ListBackbonesRequest())
    return str(reply.backbones[0].fingerprint)


@contextmanager
def stopped(server: Running) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def inputs_of(fingerprint: str, count: int = 2) -> list[common_pb2.Input]:
    return [embedding(fingerprint, vector) for vector, _ in vectors(count, DIM, seed=5)]


def versions_of(way: Grpc, head: str, inputs: list[common_pb2.Input]) -> set[int]:
    return {row.version for row in way.predict(head, inputs).rows}


def activate(way: Grpc, head: str, version: int) -> None:
    name = f"{head}/versions/{version}"
    way.call("ActivateHeadVersion", heads_pb2.ActivateHeadVersionRequest(name=name))


def test_no_server_answers_from_before_what_was_acknowledged(
    ways: list[Grpc], servers: list[Running], fingerprint: str, tenant: str
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    for way in (*ways, *ways):
        way.call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    inputs, done = inputs_of(fingerprint), threading.Event()
    active, acknowledged = [5], 0  # versions in the order in which they were asked for

    def predict(server: Running) -> int:
        way, asked = Grpc(server.grpc, server.token), 0
        try:
            while not done.is_set():
                least = acknowledged
                (version,) = versions_of(way, head, inputs)
                assert version in active[least:], (version, active, least)
                asked += 1
        finally:
            way.close()
        return asked

    choose = random.Random(7)
    with ThreadPoolExecutor(len(servers)) as pool:
        running = [pool.submit(predict, server) for server in servers]
        try:
            for _ in range(15):
                active.append(choose.randrange(1, 6))
                activate(choose.choice(ways), head, active[-1])
                acknowledged = len(active) - 1
                for way in ways:
                    assert versions_of(way, head, inputs) == {active[-1]}
        finally:
            done.set()
        assert all(future.result() for future in running)


@pytest.mark.parametrize("asked", SERVERS)
def test_no_server_answers_by_a_version_that_knew_a_forgotten_example(
    ways: list[Grpc], fingerprint: str, tenant: str, asked: int
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    for way in ways:
        assert versions_of(way, head, inputs_of(fingerprint)) == {1}
    vector, _ = vectors(30, DIM, classes=3)[0]
    digest = embedding_digest(fingerprint, np.asarray(vector, np.float32).tobytes())
    request = heads_pb2.ForgetExamplesRequest(head=head, digests=[digest])
    reply = ways[asked].call("ForgetExamples", request)
    assert (reply.forgotten, list(reply.deleted_versions), reply.version) == (1, [1], 2)
    for way in ways:
        assert versions_of(way, head, inputs_of(fingerprint)) == {2}


@pytest.mark.parametrize("asked", SERVERS)
def test_revoked_key_and_deleted_head_are_on_no_server(
    servers: list[Running], ways: list[Grpc], fingerprint: str, tenant: str, asked: int
) -> None:
    head = make_head(ways[0], tenant, fingerprint)
    request = keys_pb2.CreateKeyRequest(tenant=f"tenants/{tenant}", roles=[access_pb2.ROLE_PREDICT])
    made = ways[1 - asked].call("CreateKey", request)
    for server in servers:
        way = Grpc(server.grpc, made.text)
        way.predict(head, inputs_of(fingerprint))
        way.close()
    ways[asked].call("RevokeKey", keys_pb2.RevokeKeyRequest(name=made.key.name))
    ways[1 - asked].call("DeleteHead", heads_pb2.DeleteHeadRequest(name=head))
    for server, own_way in zip(servers, ways, strict=True):
        way = Grpc(server.grpc, made.text)
        for refused, code in ((way, "UNAUTHENTICATED"), (own_way, "NOT_FOUND")):
            with pytest.raises(Refused) as caught:
                refused.predict(head, inputs_of(fingerprint))
            assert caught.value.code == code
        way.close()


@pytest.mark.parametrize("asked", SERVERS)
def test_very_next_prediction_of_the_other_server_shows_the_correction(
    ways: list[Grpc], fingerprint: str, tenant: str, asked: int
) -> None:
    head = make_head(ways[0], tenant, fingerprint)
    inputs = strangers(fingerprint, 6)
    before = ways[1 - asked].predict(head, inputs[:1]).rows[0]
    wrong = next(label for label in before.scores if label != before.label)
    for turn, item in enumerate(inputs[:5], asked):
        assert not send_feedback(ways[turn % 2], head, [(item, wrong)]).errors
        shown = ways[1 - turn % 2].predict(head, [item]).rows
    assert [row.label for row in shown] == [wrong]
    rows = [way.predict(head, inputs).rows for way in ways]
    assert [row.scores for row in rows[0]] == [row.scores for row in rows[1]]


def test_training_and_page_of_one_server_go_on_at_the_other(
    ways: list[Grpc], fingerprint: str, tenant: str
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    for asked, other in (ways, ways[::-1]):
        trained = asked.call("TrainHead", heads_pb2.TrainHeadRequest(head=head)).training
        request = heads_pb2.GetTrainingRequest(name=trained.name)
        seen = other.call("GetTraining", request).training
        assert (seen.state, seen.version) == (trained.state, trained.version)
        assert versions_of(other, head, inputs_of(fingerprint)) == {trained.version}
    listed = heads_pb2.ListExamplesRequest(head=head, page_size=20)
    first = ways[0].call("ListExamples", listed)
    listed.page_token = first.next_page_token
    second = ways[1].call("ListExamples", listed)
    assert len({row.digest for page in (first, second) for row in page.examples}) == 30


def until_answered(way: Grpc, head: str, inputs: list[common_pb2.Input]) -> set[int]:
    """Asks a server that went on until it answers; what else it says is that it cannot, yet."""
    for _ in range(1000):
        try:
            return versions_of(way, head, inputs)
        except Refused as error:
            refused = error
        assert (refused.code, bool(refused.retry_after)) == ("UNAVAILABLE", True)
        time.sleep(0.02)
    raise AssertionError("it does not answer any more")


@contextmanager
def fitting_stopped(server: Running) -> Iterator[psutil.Process]:
    """The process that fits for a server goes no further."""
    (process,) = (
        child
        for child in psutil.Process(server.pid).children(recursive=True)
        if "service.fitting.worker" in child.cmdline()
    )
    process.suspend()
    try:
        yield process
    finally:
        if process.is_running():
            process.resume()


def training_of(way: Grpc, head: str) -> heads_pb2.Training:
    """Starts a training, or joins the one under way; waits for its end."""
    reply: heads_pb2.TrainHeadResponse = way.call(
        "TrainHead", heads_pb2.TrainHeadRequest(head=head)
    )
    return reply.training


def until_running(own: PostgresProcess, states: set[str]) -> str:
    """Returns the name of the newest training once it is in one of these states."""
    plain = PostgresProcess.execute
    end = time.monotonic() + 60
    while time.monotonic() < end:
        url, own.url = own.url, own.url.set(database="shared")
        try:
            ((job, state),) = plain(
                own, "SELECT id, state FROM jobs ORDER BY created_at DESC LIMIT 1"
            )
        finally:
            own.url = url
        if state in states:
            return str(job)
        time.sleep(0.05)
    raise AssertionError("it does not begin")


def test_training_is_joined_and_cancelled_through_the_other_server(
    servers: list[Running], ways: list[Grpc], own: PostgresProcess, fingerprint: str, tenant: str
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    with ThreadPoolExecutor(2) as pool, fitting_stopped(servers[0]):
        first = pool.submit(training_of, ways[0], head)
        job = until_running(own, {"running"})
        second = pool.submit(training_of, ways[1], head)
        cancel = heads_pb2.CancelTrainingRequest(name=f"{head}/trainings/{job}")
        third = Grpc(servers[1].grpc, servers[1].token)
        cancelled = third.call("CancelTraining", cancel).training
        third.close()
        assert cancelled.state == heads_pb2.TRAINING_STATE_CANCELLED
        for ended in (first.result(60), second.result(60)):
            assert (ended.name, ended.state) == (cancelled.name, cancelled.state)


def test_training_that_has_read_what_another_server_forgot_begins_anew(
    servers: list[Running], ways: list[Grpc], own: PostgresProcess, fingerprint: str, tenant: str
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    vector, _ = vectors(30, DIM, classes=3)[0]
    digest = embedding_digest(fingerprint, np.asarray(vector, np.float32).tobytes())
    with ThreadPoolExecutor(1) as pool:
        with fitting_stopped(servers[0]):
            running = pool.submit(training_of, ways[0], head)
            until_running(own, {"running"})
            request = heads_pb2.ForgetExamplesRequest(head=head, digests=[digest])
            assert ways[1].call("ForgetExamples", request).forgotten == 1
        trained = running.result(60)
    assert trained.state == heads_pb2.TRAINING_STATE_SUCCEEDED
    version = heads_pb2.GetHeadVersionRequest(name=f"{head}/versions/{trained.version}")
    assert ways[1].call("GetHeadVersion", version).version.example_count == 29


def test_stopped_server_delays_a_change_and_never_answers_from_before_it(
    servers: list[Running], ways: list[Grpc], fingerprint: str, tenant: str
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    ways[0].call("TrainHead", heads_pb2.TrainHeadRequest(head=head))
    inputs = inputs_of(fingerprint)
    for way in ways:
        assert versions_of(way, head, inputs) == {2}
    with stopped(servers[0]):
        activate(ways[1], head, 1)
        waits = [e for e in servers[1].events() if e["event"].startswith("a change waited")]
        assert waits[-1]["servers"]
        activate(ways[1], head, 2)
        activate(ways[1], head, 1)
        assert len(servers[1].events()) - servers[1].events().index(waits[-1]) < 5
    assert until_answered(ways[0], head, inputs) == {1}


def test_store_that_is_away_for_ten_seconds_is_missed_by_writes_alone(
    servers: list[Running], ways: list[Grpc], own: PostgresProcess, fingerprint: str, tenant: str
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    inputs = inputs_of(fingerprint)
    before = [way.predict(head, inputs).rows for way in ways]
    own.crash()
    end = time.monotonic() + 10
    while time.monotonic() < end:
        for way, known in zip(ways, before, strict=True):
            rows = way.predict(head, inputs).rows
            assert [row.scores for row in rows] == [row.scores for row in known]
            with pytest.raises(Refused) as caught:
                send_feedback(way, head, [(inputs[0], "class-1")])
            assert caught.value.code == "UNAVAILABLE"
            assert caught.value.retry_after
    own.start()
    for way in ways:
        assert not send_feedback(way, head, [(inputs[0], "class-1")]).errors


def test_store_that_hangs_for_twenty_seconds_makes_nothing_stale_lost_or_absent(
    servers: list[Running], ways: list[Grpc], own: PostgresProcess, fingerprint: str, tenant: str
) -> None:
    head = make_head(ways[0], tenant, fingerprint, policy=GATED)
    inputs = inputs_of(fingerprint, 3)
    before = [way.predict(head, inputs[:2]).rows for way in ways]
    with ThreadPoolExecutor(1) as pool:
        with own.held():
            writing = Grpc(servers[0].grpc, servers[0].token)
            written = pool.submit(send_feedback, writing, head, [(inputs[2], "class-1")])
            end, answered, refused = time.monotonic() + 20, 0, set[tuple[str, bool]]()
            while time.monotonic() < end:
                for way, known in zip(ways, before, strict=True):
                    try:
                        rows = way.predict(head, inputs[:2]).rows
                    except Refused as error:
                        refused.add((error.code, bool(error.retry_after)))
                    else:
                        answered += 1
                        assert [row.scores for row in rows] == [row.scores for row in known]
                time.sleep(0.05)
            assert answered
            assert refused <= {("UNAVAILABLE", True)}
            assert not written.done()  # nobody knows of it
        assert not written.result(60).errors
        writing.close()
    for way in ways:
        assert until_answered(way, head, inputs[:2]) == {1}
        assert not send_feedback(way, head, [(inputs[0], "class-1")]).errors
    shown = ways[1].call("ListFeedback", heads_pb2.ListFeedbackRequest(head=head, page_size=99))
    assert len(shown.feedback) == 3


def test_training_of_a_killed_server_is_ended_by_another(
    serve: Callable[[int], Running],
    servers: list[Running],
    ways: list[Grpc],
    own: PostgresProcess,
    fingerprint: str,
    tenant: str,
) -> None:
    third = serve(2)
    way = Grpc(third.grpc, third.token)
    head = make_head(way, tenant, fingerprint, policy=GATED)
    with ThreadPoolExecutor(1) as pool, fitting_stopped(third) as fitter:
        lost = pool.submit(training_of, way, head)
        until_running(own, {"running"})
        third.kill()
        fitter.kill()
        with pytest.raises(Refused):
            lost.result(60)
        trained = training_of(ways[0], head)
    way.close()
    assert trained.state == heads_pb2.TRAINING_STATE_SUCCEEDED
    assert versions_of(ways[1], head, inputs_of(fingerprint)) == {trained.version}
