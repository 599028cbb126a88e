"""Many clients at once: one winner, joined work, whole versions, honest ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.metrics import samples
from tests.e2e.processes import Running
from tests.e2e.samples import noise_png, vectors
from tests.e2e.transports import METHODS, Grpc, Refused, Rest, Transport, image, text
from trunkline import AlreadyExists, Backbone, Client, Prediction, Training, Vector
from trunkline.v1 import heads_pb2, prediction_pb2


def both_ways(server: Running) -> tuple[Transport, Transport]:
    return Grpc(server.grpc), Rest(server.rest)


def at_once(*calls: Callable[[], object]) -> list[object]:
    """Results or errors of calls that start together."""
    barrier = threading.Barrier(len(calls))

    def run(call: Callable[[], object]) -> object:
        barrier.wait()
        try:
            return call()
        except (AlreadyExists, Refused) as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))


def test_one_of_two_who_create_the_same_head_wins(server: Running, tenant: str) -> None:
    request = heads_pb2.CreateHeadRequest(
        parent=f"tenants/{tenant}", head_id="same", backbone=TEXTS
    )
    ways = [way for _ in range(3) for way in both_ways(server)]
    outcomes = at_once(*(lambda way=way: way.call("CreateHead", request) for way in ways))
    refused = [outcome for outcome in outcomes if isinstance(outcome, Refused)]
    assert len(refused) == len(ways) - 1
    assert {error.code for error in refused} == {"ALREADY_EXISTS"}
    for way in ways:
        way.close()


def test_trainings_of_one_head_are_joined(
    server: Running, client: Client, tenant: str, backbones: dict[str, Backbone]
) -> None:
    head = f"{tenant}/joined"
    client.create_head(head, TEXTS)
    backbone = backbones[TEXTS]
    rows = vectors(400, backbone.dim, classes=8)
    client.add_examples(head, [(Vector(backbone.fingerprint, v), label) for v, label in rows])
    trainings = at_once(*(lambda: client.train(head) for _ in range(6)))
    names = {training.name for training in trainings if isinstance(training, Training)}
    versions = list(client.versions(head))
    assert len(versions) == len(names) < 6


def test_every_prediction_is_wholly_of_one_version(
    server: Running, client: Client, tenant: str, backbones: dict[str, Backbone]
) -> None:
    """Version 1 knows only labels that begin with "one-", version 2 only "two-"."""
    backbone = backbones[TEXTS]
    head = f"{tenant}/switched"
    source = client.export_head("shared/sentiment").safetensors
    for version in ("one", "two"):
        labels = [f"{version}-a", f"{version}-b"]
        client.import_head(head, source, TEXTS, labels=labels)
    probe = Vector(backbone.fingerprint, vectors(1, backbone.dim)[0][0])
    done = threading.Event()

    def predict() -> set[tuple[int, str]]:
        seen: set[tuple[int, str]] = set()
        while not done.is_set():
            rows = client.predict(head, [probe] * 8)
            assert all(isinstance(row, Prediction) for row in rows)
            found = {
                (row.version, label.partition("-")[0])
                for row in rows
                if isinstance(row, Prediction)
                for label in row.scores
            }
            assert len(found) == 1
            seen |= found
        return seen

    with ThreadPoolExecutor(4) as pool:
        predictions = [pool.submit(predict) for _ in range(4)]
        try:
            for i in range(60):
                client.activate(head, 1 + i % 2)
                (row,) = client.predict(head, [probe])
                assert isinstance(row, Prediction)
                assert row.version == 1 + i % 2
        finally:
            done.set()
        seen = set.union(*(future.result() for future in predictions))
    assert seen == {(1, "one"), (2, "two")}


@pytest.fixture(scope="module")
def _needs_sentiment(text_head: str) -> None:
    """The head whose weights are copied."""


pytestmark = pytest.mark.usefixtures("_needs_sentiment")


def test_deadline_of_the_client_ends_its_request(
    transport: Transport, http: httpx.Client, image_head: str
) -> None:
    """It is told, then or before, and the rows that come too late are not computed for nobody."""
    seed = {"grpc": 1000, "rest": 2000}[transport.name]
    inputs = [image(noise_png(seed + i)) for i in range(200)]
    before = samples(http, "trunkline_batch_rows_sum", backbone=IMAGES)
    with pytest.raises(Refused) as refused:
        transport.predict(image_head, inputs, timeout=0.05)
    told = refused.value
    if told.code == "RESOURCE_EXHAUSTED":  # at once: the server knows already what a row takes
        assert told.field == "deadline"
        assert told.retry_after
    else:
        assert told.code == "DEADLINE_EXCEEDED"
    after_them = [image(noise_png(seed + 500))]
    assert transport.predict(image_head, after_them).rows[0].label
    assert samples(http, "trunkline_batch_rows_sum", backbone=IMAGES) - before < 200


def test_cancelled_request_leaves_the_queue(
    server: Running, http: httpx.Client, image_head: str
) -> None:
    """Its rows are not computed for nobody; the next request is answered."""
    inputs = [image(noise_png(5000 + i)) for i in range(600)]
    request = prediction_pb2.PredictRequest(head=image_head, inputs=inputs)
    before = samples(http, "trunkline_batch_rows_sum", backbone=IMAGES)
    way = Grpc(server.grpc)
    call = way.send("Predict", request)
    while not samples(http, "trunkline_queue_rows", backbone=IMAGES):
        pass
    call.cancel()
    assert call.cancelled()
    assert way.predict(image_head, [image(noise_png(9999))]).rows[0].label
    way.close()
    assert samples(http, "trunkline_batch_rows_sum", backbone=IMAGES) - before < 600
    labels = {"method": "Predict", "code": "CANCELLED", "transport": "grpc"}
    assert samples(http, "trunkline_requests_total", **labels) >= 1


def test_rest_client_who_leaves_is_noticed(
    server: Running, http: httpx.Client, image_head: str
) -> None:
    inputs = [image(noise_png(20_000 + i)) for i in range(400)]
    labels = {"method": "Predict", "code": "CANCELLED", "transport": "rest"}
    before = samples(http, "trunkline_requests_total", **labels)
    leaving = Rest(server.rest)
    leaving.http.timeout = httpx.Timeout(60, read=0.3)
    with pytest.raises(httpx.ReadTimeout):
        leaving.predict(image_head, inputs)
    leaving.close()
    while samples(http, "trunkline_requests_total", **labels) == before:
        pass  # the server sees the end of the connection a moment after the client


def test_same_new_input_of_two_requests_is_computed_once(
    server: Running, http: httpx.Client, image_head: str
) -> None:
    data = [image(noise_png(30_000 + i)) for i in range(24)]
    ways = [way for _ in range(3) for way in both_ways(server)]
    before = samples(http, "trunkline_batch_rows_sum", backbone=IMAGES)
    outcomes = at_once(*(lambda way=way: way.predict(image_head, data) for way in ways))
    assert samples(http, "trunkline_batch_rows_sum", backbone=IMAGES) - before == len(data)
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    for way in ways:
        way.close()


def test_broken_stream_keeps_its_stored_messages_alone(
    server: Running, client: Client, tenant: str
) -> None:
    """The message that names another head is refused; the one before it stays."""
    client.create_head(f"{tenant}/a", TEXTS)
    client.create_head(f"{tenant}/b", TEXTS)
    row = heads_pb2.NewExample(input=text("stored"), label="x")
    messages = [
        heads_pb2.AddExamplesRequest(head=f"tenants/{tenant}/heads/{name}", examples=[row])
        for name in ("a", "b")
    ]
    way = Grpc(server.grpc)
    with pytest.raises(Refused) as refused:
        way.exchange(METHODS["AddExamples"], [m.SerializeToString() for m in messages])
    way.close()
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "head")
    assert client.get_head(f"{tenant}/a").example_count == 1
    assert client.get_head(f"{tenant}/b").example_count == 0
