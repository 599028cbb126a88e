"""Clear refusals at the start, and an end that drops nothing."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.e2e.conftest import IMAGES, TEXTS, Start
from tests.e2e.metrics import samples
from tests.e2e.processes import extractor_command, run, serve_command
from tests.e2e.samples import noise_png
from tests.e2e.transports import Grpc, image
from trunkline import Backbone, Client, Prediction
from trunkline.v1 import prediction_pb2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0"], ["host", "0.0.0.0", "--insecure"]),
        (["--host", "::"], ["host", "--insecure"]),
        (["--workers", "2"], ["workers", "1", "2"]),
        (["--max-rows-per-request", "0"], ["max_rows_per_request", "0"]),
        (["--max-queued-rows-per-tenant", "10"], ["max_queued_rows_per_tenant", "10", "1024"]),
        (["--backbone", ""], ["backbone"]),
        (["--grpc-port", "70000"], ["grpc_port", "70000"]),
        (["--no-such-option"], ["no-such-option"]),
        (["--config"], ["config"]),
        (["--config", "/no/such/file.toml"], []),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_settings_are_refused(tmp_path: Path, options: list[str], words: list[str]) -> None:
    ended = run(serve_command(tmp_path / "data", *options))
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout == ""
    assert "Traceback" not in ended.stderr
    for word in words:
        assert word in ended.stderr
    assert not (tmp_path / "data").exists()


def test_settings_come_from_the_environment_too(tmp_path: Path) -> None:
    ended = run(serve_command(tmp_path), TRUNKLINE_MAX_PIXELS="many")
    assert ended.returncode == 2
    assert "max_pixels" in ended.stderr


def test_extractor_beyond_loopback_is_refused() -> None:
    ended = run(extractor_command("--host", "0.0.0.0"))
    assert ended.returncode == 2
    assert "--insecure" in ended.stderr


@pytest.mark.parametrize("option", ["--grpc-port", "--rest-port"])
def test_port_in_use_is_a_clear_error(tmp_path: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        ended = run(serve_command(tmp_path / "data", "--backbone", TEXTS, option, str(port)))
    assert ended.returncode not in (0, -9)
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


@pytest.mark.parametrize("option", ["--grpc-port", "--rest-port"])
def test_port_of_another_server_is_not_shared(
    server_port: dict[str, str], tmp_path: Path, option: str
) -> None:
    port = server_port[option]
    ended = run(serve_command(tmp_path / "data", "--backbone", TEXTS, option, port))
    assert ended.returncode not in (0, -9)
    assert port in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.fixture
def server_port(client: Client, http: object) -> dict[str, str]:
    rest = str(http.base_url)  # type: ignore[attr-defined]
    return {
        "--grpc-port": client.address.rpartition(":")[2],
        "--rest-port": rest.rstrip("/").rpartition(":")[2],
    }


def test_unknown_backbone_is_a_clear_error(tmp_path: Path) -> None:
    ended = run(serve_command(tmp_path / "data", "--backbone", "vgg/16"))
    assert ended.returncode not in (0, -9)
    assert "vgg/16" in ended.stderr
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
            inputs=[image(noise_png(100 + i, size=200)) for i in range(300)],
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
        reply = call.result()
        assert not reply.errors
        assert len(reply.predictions[0].rows) == 300
        watch.cancel()
    way.close()
    assert server.wait() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_idle_server_stops_at_once(tmp_path: Path, start: Start, number: signal.Signals) -> None:
    """Long before the time it would give requests in flight."""
    server = start(serve_command(tmp_path / "data", "--backbone", TEXTS, "--drain-seconds", "600"))
    with server.client() as client, server.http() as http:  # idle connections stay open
        assert client.ready()
        assert http.get("/livez").status_code == 200
        server.process.send_signal(number)
        assert server.wait() == 0
    assert "Traceback" not in server.log.read_text()


def test_sigterm_while_starting_ends_the_server(tmp_path: Path, start: Start) -> None:
    server = start(serve_command(tmp_path / "data"), wait=False)
    data = tmp_path / "data"
    while not data.exists():  # the store is open, the backbones are not loaded
        assert server.process.poll() is None
    server.process.send_signal(signal.SIGTERM)
    assert server.wait() in (0, -signal.SIGTERM)


def test_start_up_is_one_line_of_json(tmp_path: Path, start: Start) -> None:
    server = start(serve_command(tmp_path / "data", "--backbone", TEXTS))
    assert set(server.addresses) == {"grpc", "rest"}
    assert server.grpc.startswith("127.0.0.1:")
    assert server.rest.startswith("http://127.0.0.1:")
    assert server.process.stdout is not None
    server.process.send_signal(signal.SIGTERM)
    assert server.process.stdout.read() == ""
    assert server.wait() == 0


def test_help_names_every_setting() -> None:
    shown = run([sys.executable, "-m", "trunkline", "serve", "--help"])
    assert shown.returncode == 0
    for option in ("--data-dir", "--grpc-port", "--rest-port", "--extractor", "--max-pixels"):
        assert option in shown.stdout


def test_versions_survive_a_restart(
    tmp_path: Path, start: Start, client: Client, text_head: str, backbones: dict[str, Backbone]
) -> None:
    command = serve_command(tmp_path / "data", "--backbone", TEXTS)
    first = start(command)
    with first.client() as ours:
        ours.import_head("kept/head", client.export_head(text_head).safetensors, TEXTS)
        before = ours.predict("kept/head", ["still here?"])
    assert first.terminate() == 0
    with start(command).client() as ours:
        after = ours.predict("kept/head", ["still here?"])
    assert isinstance(before[0], Prediction)
    assert isinstance(after[0], Prediction)
    assert after[0].scores == pytest.approx(dict(before[0].scores), abs=1e-6)
