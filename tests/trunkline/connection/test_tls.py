"""A client trusts whom it is told to, shows what it is told to, and says what is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1 import health_pb2, health_pb2_grpc

import trunkline
from tests.authority import Authority, Pair
from trunkline import AsyncClient, Client
from trunkline.cli import main
from trunkline.connection import retrying

LONG = 3600.0
"""What a client that waits would wait; a test that passes does not."""


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


class Healthy(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it has no types
    def Check(self, request: Any, context: Any) -> health_pb2.HealthCheckResponse:
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)


@contextmanager
def listening(pair: Pair | None, client_ca: Path | None = None) -> Iterator[int]:
    """A gRPC server that is healthy and nothing else, at a port of loopback."""
    server = grpc.server(ThreadPoolExecutor(2))
    health_pb2_grpc.add_HealthServicer_to_server(Healthy(), server)
    if pair is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        credentials = grpc.ssl_server_credentials(
            [(pair.key.read_bytes(), pair.cert.read_bytes())],
            client_ca.read_bytes() if client_ca else None,
            require_client_auth=client_ca is not None,
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield port
    finally:
        server.stop(None).wait()


def ready(address: str, **tls: Any) -> bool:
    with Client(address, **tls) as client:
        return client.ready()


def failure(address: str, **tls: Any) -> trunkline.TrunklineError:
    with Client(address, timeout=LONG, **tls) as client:
        with pytest.raises(trunkline.TrunklineError) as caught:
            client.backbones()
        return caught.value


async def test_server_is_reached_over_tls_however_that_is_said(authority: Authority) -> None:
    with listening(authority.issue()) as port:
        for address in (f"https://localhost:{port}", f"grpcs://127.0.0.1:{port}"):
            assert ready(address, ca=authority.ca)
            async with AsyncClient(address, ca=str(authority.ca)) as client:
                assert await client.ready()
        assert ready(f"localhost:{port}", ca=authority.ca), "who names a file means TLS"
        assert not ready(f"localhost:{port}")


def test_client_shows_its_certificate_to_whom_asks_for_it(authority: Authority) -> None:
    shown = authority.issue("client")
    with listening(authority.issue(), authority.ca) as port:
        address = f"https://localhost:{port}"
        assert ready(address, ca=authority.ca, client_cert=shown.cert, client_key=shown.key)
        assert not ready(address, ca=authority.ca)


def test_system_is_asked_whom_to_trust_where_no_authority_is_named(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening(authority.issue()) as port:
        assert not ready(f"https://localhost:{port}")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.ca))
        assert ready(f"https://localhost:{port}")


def test_server_that_is_not_trusted_is_told_at_once(authority: Authority, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "strangers")
    with listening(stranger.issue()) as port:
        error = failure(f"https://localhost:{port}", ca=authority.ca)
        assert isinstance(error, trunkline.InvalidArgument)
        assert (error.field, error.value) == ("ca", f"https://localhost:{port}")
        assert "is not trusted: unable to get local issuer certificate" in error.message
    with listening(authority.issue(expired=True)) as port:
        error = failure(f"https://localhost:{port}", ca=authority.ca)
        assert "is not trusted: certificate has expired" in error.message


def test_server_of_another_name_is_told_at_once(authority: Authority) -> None:
    with listening(authority.issue(names=["models.example.org"])) as port:
        error = failure(f"https://localhost:{port}", ca=authority.ca)
        assert isinstance(error, trunkline.InvalidArgument)
        assert "is not trusted: it is for another name" in error.message


def test_server_without_tls_is_told_at_once() -> None:
    with listening(None) as port:
        error = failure(f"https://localhost:{port}")
        assert isinstance(error, trunkline.InvalidArgument)
        assert f"what answers at https://localhost:{port} speaks no TLS" in error.message


def test_command_says_so_in_one_line_and_grpc_says_nothing() -> None:
    variables = {name: value for name, value in os.environ.items() if name[:5] != "GRPC_"}
    with listening(None) as port:
        address = f"https://localhost:{port}"
        ended = subprocess.run(
            [sys.executable, "-m", "trunkline", "heads", "list", "--server", address],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
    assert ended.returncode == 1
    assert ended.stderr == (
        f"error: what answers at {address} speaks no TLS; leave out https:// and the certificates\n"
    )


def test_closed_connection_is_said_to_mean_tls_perhaps(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "backoff", lambda *_: 2 * LONG)  # no second attempt
    with listening(authority.issue()) as port:
        error = failure(f"localhost:{port}")
        assert isinstance(error, trunkline.Unavailable), "it may be a server that stops"
        assert "as one does that wants TLS: then put https:// before it" in error.message


@pytest.mark.parametrize(
    ("field", "files"),
    [
        ("ca", {"ca": "none"}),
        ("ca", {"ca": "key"}),
        ("client_key", {"client_cert": "cert"}),
        ("client_cert", {"client_key": "key"}),
        ("client_cert", {"client_cert": "none", "client_key": "key"}),
        ("client_key", {"client_cert": "cert", "client_key": "other"}),
    ],
)
def test_file_that_cannot_be_used_is_refused_by_name(
    field: str, files: dict[str, str], authority: Authority, tmp_path: Path
) -> None:
    pair, other = authority.issue(), authority.issue("other")
    paths = {"cert": pair.cert, "key": pair.key, "other": other.key, "none": tmp_path / "none"}
    with pytest.raises(trunkline.InvalidArgument) as caught:
        Client("https://localhost:1", **{name: paths[file] for name, file in files.items()})  # type: ignore[arg-type]
    assert caught.value.field == field


def test_unix_socket_takes_no_certificates(authority: Authority) -> None:
    with pytest.raises(trunkline.InvalidArgument, match="a Unix socket is not encrypted"):
        Client("unix:/nowhere", ca=authority.ca)


def test_command_line_takes_the_files_before_and_after_the_command_and_from_the_environment(
    authority: Authority, tmp_path: Path
) -> None:
    """The server knows no method but health: what it says shows that it was reached."""
    stranger, shown = Authority(tmp_path / "strangers"), authority.issue("client")
    mutual = ["--client-cert", str(shown.cert), "--client-key", str(shown.key)]
    variables = {
        "TRUNKLINE_CLIENT_CERT": str(shown.cert),
        "TRUNKLINE_CLIENT_KEY": str(shown.key),
        "TRUNKLINE_CA": str(authority.ca),
    }
    with listening(authority.issue(), authority.ca) as port:
        at = ["--server", f"https://localhost:{port}"]

        def run(*arguments: str, **env: str) -> str:
            return CliRunner().invoke(main, arguments, env=env).stderr

        ca = ["--ca", str(authority.ca)]
        assert "Method not found" in run(*at, *ca, *mutual, "backbones")
        assert "Method not found" in run(*at, "backbones", *ca, *mutual)
        assert "Method not found" in run(*at, "backbones", **variables)
        assert "is not trusted" in run(*at, "--ca", str(stranger.ca), "backbones", **variables)
        assert "is not trusted" in run(*at, "backbones", "--ca", str(stranger.ca), **variables)
