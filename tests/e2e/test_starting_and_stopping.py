"""Clear refusals at the start, and an end that drops nothing."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.conftest import IMAGES, TEXTS, Start
from tests.e2e.metrics import samples
from tests.e2e.processes import END_SECONDS, ROOT, Running, run, serve_command
from tests.e2e.samples import noise_png, vectors
from tests.e2e.transports import Grpc, Refused, image, refusal
from trunkline import Backbone, Client, Prediction, Vector
from trunkline.v1 import heads_pb2, prediction_pb2


def test_bad_settings_are_refused(tmp_path: Path) -> None:
    ended = run(serve_command(tmp_path / "data", "--auth", "required", "--insecure"))
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    for word in ("auth", "required", "insecure"):
        assert word in ended.stderr
    assert not (tmp_path / "data").exists()


def test_grpc_port_of_another_server_is_a_clear_error(client: Client, tmp_path: Path) -> None:
    port = client.address.rpartition(":")[2]
    ended = run(serve_command(tmp_path / "data", "--backbone", TEXTS, "--grpc-port", port))
    assert ended.returncode not in (0, -9)
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_sigterm_lets_requests_in_flight_end(
    tmp_path: Path, start: Start, client: Client, image_head: str
) -> None:
    server = start(serve_command(tmp_path / "data", "--backbone", IMAGES))
    way = Grpc(server.grpc)
    with server.client() as ours, grpc.insecure_channel(server.grpc) as channel:
        ours.import_head("drain/head", client.export_head(image_head).safetensors, IMAGES)
        request = prediction_pb2.PredictRequest(
            head="tenants/drain/heads/head",
            inputs=[image(noise_png(100 + i, size=200)) for i in range(200)],
        )
        watch = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=60
        )
        states = (update.status for update in watch)
        assert next(states) == health_pb2.HealthCheckResponse.SERVING
        call = way.send("Predict", request)
        with server.http() as http:
            while not samples(http, "trunkline_queue_rows", stage="backbone"):
                pass
            server.process.send_signal(signal.SIGTERM)
            assert next(states) == health_pb2.HealthCheckResponse.NOT_SERVING
            refused = http.get("/v1/tenants/drain/heads/head")
        assert (refused.status_code, refused.headers["connection"]) == (503, "close")
        assert refused.headers["retry-after"] == "1"
        with pytest.raises(Refused) as late:
            way.call("GetHead", heads_pb2.GetHeadRequest(name="tenants/drain/heads/head"))
        assert (late.value.code, late.value.retry_after) == ("UNAVAILABLE", 1.0)
        reply = call.result()
        assert not reply.errors
        assert len(reply.predictions[0].rows) == 200
        with pytest.raises(grpc.RpcError) as told:
            next(states)
        end = refusal(told.value)
        assert (end.code, end.retry_after) == ("UNAVAILABLE", 1.0)
        assert end.request_id
    way.close()
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_while_starting_ends_the_server(
    tmp_path: Path, cache_dir: Path, backbones: dict[str, Backbone], number: signal.Signals
) -> None:
    known, graphs = backbones[TEXTS].fingerprint, tmp_path / "cache"
    shutil.copytree(cache_dir / known, graphs / known)
    options = ("--backbone", TEXTS, "--backbone", IMAGES, "--cache-dir", str(graphs))
    with subprocess.Popen(
        serve_command(tmp_path / "data", *options),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stderr is not None
            # The store is open and one backbone is loaded: the other takes seconds to export.
            assert any('"backbone ready"' in line for line in process.stderr)
            process.send_signal(number)
            assert process.wait(END_SECONDS) == 0
            assert process.stdout.read() == "", "it served before it was told to end"
            assert process.stderr.read().count('"stopped"') == 1
        finally:
            process.kill()


def test_ctrl_c_in_a_terminal_stops_server_and_children_without_a_traceback(
    tmp_path: Path, start: Start, text_head: str, backbones: dict[str, Backbone]
) -> None:
    """A terminal sends the signal to the whole group of processes."""
    server = start(["setsid", *serve_command(tmp_path / "data", "--backbone", TEXTS)])
    with server.client() as ours:
        assert_fitting_process_is_started(server, ours, backbones[TEXTS].fingerprint)
        family = psutil.Process(server.pid).children(recursive=True)
        os.killpg(server.pid, signal.SIGINT)
    assert server.wait() == 0
    assert psutil.wait_procs(family, END_SECONDS)[1] == []
    log = server.log.read_text()
    assert log.count('"stopped"') == 1
    assert "KeyboardInterrupt" not in log
    assert "Traceback" not in log


def test_help_names_every_setting() -> None:
    shown = run([sys.executable, "-m", "trunkline", "serve", "--help"])
    assert shown.returncode == 0
    for option in ("--data-dir", "--grpc-port", "--rest-port", "--extractor", "--max-pixels"):
        assert option in shown.stdout


@pytest.mark.long
def test_idle_server_stops_at_once_and_serves_its_versions_when_it_is_started_again(
    tmp_path: Path, start: Start, client: Client, text_head: str, backbones: dict[str, Backbone]
) -> None:
    """At once is long before the time it would give requests in flight."""
    command = serve_command(tmp_path / "data", "--backbone", TEXTS, "--drain-seconds", "600")
    first = start(command)
    assert set(first.addresses) == {"grpc", "rest"}
    assert first.grpc.startswith("127.0.0.1:")
    assert first.rest.startswith("http://127.0.0.1:")
    with first.client() as ours:
        assert_fitting_process_is_started(first, ours, backbones[TEXTS].fingerprint)
        ours.import_head("kept/head", client.export_head(text_head).safetensors, TEXTS)
        before = ours.predict("kept/head", ["still here?"])
    stop_idle(first, signal.SIGTERM)
    second = start(command)
    with second.client() as ours:
        after = ours.predict("kept/head", ["still here?"])
    assert isinstance(before[0], Prediction)
    assert isinstance(after[0], Prediction)
    assert after[0].scores == pytest.approx(dict(before[0].scores), abs=1e-6)
    stop_idle(second, signal.SIGINT)


def assert_fitting_process_is_started(server: Running, client: Client, fingerprint: str) -> None:
    """Before any training: forgetting takes a turn of that process, and waits while it starts."""
    client.create_head("untrained/head", TEXTS)
    client.add_examples(
        "untrained/head",
        [(Vector(fingerprint, vector), label) for vector, label in vectors(4, 384)],
    )
    digest = next(iter(client.list_examples("untrained/head"))).digest
    assert client.forget_examples("untrained/head", [digest]).version is None
    (_,) = (
        child
        for child in psutil.Process(server.pid).children()
        if "service.fitting.worker" in child.cmdline()
    )


def stop_idle(server: Running, number: signal.Signals) -> None:
    """Stops it while idle connections stay open; it has printed nothing but its addresses."""
    assert server.process.stdout is not None
    with server.client() as client, server.http() as http:
        assert client.ready()
        assert http.get("/livez").status_code == 200
        server.process.send_signal(number)
        assert server.process.stdout.read() == ""
        assert server.wait() == 0
    assert "Traceback" not in server.log.read_text()
