"""`bentoml serve` at the root, and what `bentoml build` makes, are the same server."""

from __future__ import annotations

import ssl
import sys
from pathlib import Path

import httpx
import psutil
import pytest

from tests.authority import Authority
from tests.e2e.conftest import TEXTS, Start
from tests.e2e.pages import check_pages
from tests.e2e.processes import END_SECONDS, ROOT, Running, free_port, run
from tests.e2e.transports import Grpc, Rest, text
from trunkline import Client

BENTOML = [sys.executable, "-m", "bentoml"]


def serve_bento(start: Start, data: Path, *target: str, **environment: str) -> Running:
    command = [*BENTOML, "serve", *target, "--port", free_port()]
    return start(
        command,
        TRUNKLINE_DATA_DIR=str(data),
        TRUNKLINE_GRPC_PORT="0",
        TRUNKLINE_BACKBONE=TEXTS,
        TRUNKLINE_LOG_FORMAT="json",
        **environment,
    )


def check_serves(running: Running, client: Client, text_head: str) -> None:
    """Imports a head over gRPC and predicts with it over both transports."""
    with running.client() as ours:
        ours.import_head("bento/head", client.export_head(text_head).safetensors, TEXTS)
    for way in (Grpc(running.grpc), Rest(running.rest)):
        (row,) = way.predict("tenants/bento/heads/head", [text("hello")]).rows
        assert row.version == 1
        way.close()
    with running.http() as http:
        assert http.get("/readyz").status_code == 200
        check_pages(http)
        metrics = http.get("/metrics").text
        assert 'trunkline_requests_total{code="OK",method="Predict",tenant="bento"' in metrics
        assert metrics.count("# TYPE trunkline_requests_total") == 1


def worker_of(running: Running) -> psutil.Process:
    """The process that listens on the gRPC port."""
    port = int(running.grpc.rpartition(":")[2])
    family = psutil.Process(running.pid).children(recursive=True)
    (worker,) = [
        member
        for member in family
        for connection in member.net_connections("tcp")
        if connection.laddr.port == port and connection.status == psutil.CONN_LISTEN
    ]
    return worker


@pytest.mark.long
def test_bentoml_serves_the_same_and_its_worker_dies_with_it(
    tmp_path: Path, start: Start, client: Client, text_head: str
) -> None:
    running = serve_bento(start, tmp_path / "data", ".")
    check_serves(running, client, text_head)
    worker = worker_of(running)
    family = [psutil.Process(running.pid), worker]
    listening = [
        connection.laddr
        for member in family
        for connection in member.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    ]
    assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}
    ours = {int(address.rpartition(":")[2]) for address in (running.grpc, running.rest)}
    assert {address.port for address in listening} == ours, "the supervisor takes commands there"
    running.kill()
    worker.wait(END_SECONDS)


@pytest.mark.long
def test_bentoml_stopped_and_started_again_serves_what_it_had(
    tmp_path: Path, start: Start, client: Client, text_head: str
) -> None:
    running = serve_bento(start, tmp_path / "data", ".")
    with running.client() as ours:
        ours.import_head("bento/head", client.export_head(text_head).safetensors, TEXTS)
    running.kill()
    again = serve_bento(start, tmp_path / "data", ".")
    with again.client() as ours:
        assert ours.get_head("bento/head").active_version == 1
    worker = worker_of(again)
    again.terminate()
    worker.wait(END_SECONDS)


@pytest.mark.long
def test_bentoml_speaks_tls_on_both_ports(tmp_path: Path, start: Start) -> None:
    authority = Authority(tmp_path / "pki")
    pair = authority.issue()
    running = serve_bento(
        *(start, tmp_path / "data", "."),
        TRUNKLINE_TLS_CERT=str(pair.cert),
        TRUNKLINE_TLS_KEY=str(pair.key),
    )
    with Client(running.grpc, ca=authority.ca) as ours:
        assert ours.ready()
    trusting = ssl.create_default_context(cafile=authority.ca)
    assert httpx.get(f"{running.rest}/readyz", verify=trusting).status_code == 200


@pytest.mark.long
def test_bentoml_beyond_loopback_is_refused(tmp_path: Path) -> None:
    ended = run(
        [*BENTOML, "serve", ".", "--host", "0.0.0.0", "--port", free_port()],
        TRUNKLINE_DATA_DIR=str(tmp_path / "data"),
        TRUNKLINE_GRPC_PORT="0",
        TRUNKLINE_BACKBONE=TEXTS,
    )
    assert "0.0.0.0 is not loopback" in ended.stdout + ended.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.long
def test_built_bento_serves(
    tmp_path: Path, start: Start, client: Client, text_head: str, cache_dir: Path
) -> None:
    home = {"BENTOML_HOME": str(tmp_path / "home")}
    built = run([*BENTOML, "build", "--output", "tag", str(ROOT)], **home)
    assert built.returncode == 0, built.stderr
    tag = built.stdout.strip().splitlines()[-1].removeprefix("__tag__:")
    assert tag.startswith("trunkline:")
    # Outside the checkout, so that nothing but the Bento itself is imported.
    running = serve_bento(start, tmp_path / "data", tag, PYTHONPATH="", **home)
    check_serves(running, client, text_head)
    bento = tmp_path / "home" / "bentos" / tag.replace(":", "/")
    assert not list(bento.rglob("tests"))
    assert httpx.get(f"{running.rest}/livez").status_code == 200
