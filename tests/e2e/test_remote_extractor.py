"""A server whose backbones run elsewhere cannot be told from one that has its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.conftest import TEXTS, Start
from tests.e2e.processes import Running, extractor_command, free_port, serve_command
from tests.e2e.transports import Grpc, Refused, Rest, text
from trunkline import Client, Prediction

SERVING = health_pb2.HealthCheckResponse.SERVING
WORDS = ["better than ever", "worse than ever", "neither here nor there"]


def health(address: str) -> Iterator[int]:
    """The states of the server's health as they change."""
    with grpc.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=90, wait_for_ready=True
        )
        try:
            for update in watch:
                yield update.status
        finally:
            watch.cancel()


def wait_for(states: Iterator[int], *, serving: bool) -> None:
    for state in states:
        if (state == SERVING) is serving:
            return
    raise AssertionError("the health stream ended")


@pytest.mark.long
@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_remote_backbone_gives_the_same_and_may_come_and_go(
    kind: str, tmp_path: Path, start: Start, client: Client, text_head: str
) -> None:
    """The server waits for an extractor that is not there yet, and for one that is gone."""
    port, socket = free_port(), tmp_path / "socket"
    where = ["--socket", str(socket)] if kind == "unix" else ["--port", port]
    address = f"unix:{socket}" if kind == "unix" else f"127.0.0.1:{port}"
    ours_at = free_port()
    options = ("--extractor", address, "--grpc-port", ours_at)
    server = start(serve_command(tmp_path / "data", *options), wait=False)
    states = health(f"127.0.0.1:{ours_at}")
    wait_for(states, serving=False)
    extractor = start(extractor_command(*where))
    assert extractor.grpc == address
    server.wait_until_serving()
    assert_ready(server)  # at once: addresses are told when they answer
    wait_for(states, serving=True)
    with server.client() as ours:
        assert [row.name for row in ours.backbones()] == [TEXTS]
        ours.import_head("far/head", client.export_head(text_head).safetensors, TEXTS)
        before = labels_of(ours, "far/head", WORDS)
        expected = labels_of(client, text_head, WORDS)
        for row, same in zip(before, expected, strict=True):
            assert row.scores == pytest.approx(dict(same.scores), abs=1e-4)
        check_bad_row(ours)
        check_metrics(extractor)
        extractor.kill()
        wait_for(states, serving=False)
        check_away(server)
        extractor = start(extractor_command(*where))
        wait_for(states, serving=True)
        after = labels_of(ours, "far/head", ["something new", *WORDS])[1:]
        assert [row.label for row in after] == [row.label for row in before]
    states.close()  # type: ignore[attr-defined]
    with server.http() as http:
        assert http.get("/readyz").status_code == 200
    assert extractor.terminate() == 0


def assert_ready(server: Running) -> None:
    with server.http() as http, grpc.insecure_channel(server.grpc) as channel:
        assert http.get("/readyz").status_code == 200
        checked = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=60
        )
        assert checked.status == SERVING


def labels_of(client: Client, head: str, words: list[str]) -> list[Prediction]:
    rows = client.predict(head, words)
    assert all(isinstance(row, Prediction) for row in rows), rows
    return [row for row in rows if isinstance(row, Prediction)]


def check_bad_row(client: Client) -> None:
    good, bad = client.predict("far/head", ["fine", b"an image"])
    assert isinstance(good, Prediction)
    assert not isinstance(bad, Prediction)
    assert (bad.code, bad.field, bad.limit) == ("INVALID_ARGUMENT", "input", "text")


def check_away(server: Running) -> None:
    ways: tuple[Grpc, Rest] = (Grpc(server.grpc), Rest(server.rest))
    for way in ways:
        with pytest.raises(Refused) as refused:
            way.predict("tenants/far/heads/head", [text(f"unknown to {way.name}")])
        assert refused.value.code == "UNAVAILABLE"
        assert refused.value.retry_after == pytest.approx(1.0)
        cached = way.predict("tenants/far/heads/head", [text(WORDS[0])])
        assert cached.rows[0].label
        way.close()
    with server.http() as http:
        assert http.get("/readyz").status_code == 503
        assert http.get("/livez").status_code == 200
        reply = http.post("/v1/tenants/far/heads/head:predict", json={"inputs": [{"text": "new"}]})
        assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")


def check_metrics(extractor: Running) -> None:
    reply = httpx.get(extractor.addresses["metrics"])
    assert reply.status_code == 200
    assert 'trunkline_requests_total{code="OK",method="Embed"' in reply.text
    assert "trunkline_batch_rows_bucket" in reply.text
    for probe in ("livez", "readyz"):
        assert httpx.get(extractor.addresses["metrics"].replace("metrics", probe)).is_success
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        assert httpx.get(extractor.addresses["metrics"], headers=headers).status_code == 403
