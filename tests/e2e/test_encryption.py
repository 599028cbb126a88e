"""A server and its extractor over TLS, as somebody runs them on two machines."""

from __future__ import annotations

import re
import shlex
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from watchfiles import watch

from tests.authority import Authority, Pair, put
from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running, extractor_command, run, serve_command
from trunkline import Client, InvalidArgument


class Site(NamedTuple):
    """A server that uses an extractor over mutual TLS; each has an authority of its own."""

    server: Running
    extractor: Running
    public: Authority
    private: Authority
    pair: Pair


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("encrypted")
    public, private = Authority(folder / "public"), Authority(folder / "private")
    far, shown, pair = private.issue("extractor"), private.issue("server"), public.issue()
    extractor = Running.start(
        extractor_command(
            *("--port", "0", "--tls-cert", str(far.cert), "--tls-key", str(far.key)),
            *("--tls-client-ca", str(private.ca)),
        ),
        folder / "extractor.log",
    ).wait_until_serving()
    server = Running.start(
        serve_command(
            folder / "data",
            *("--tls-cert", str(pair.cert), "--tls-key", str(pair.key), "--auth", "required"),
            *("--extractor", extractor.grpc, "--extractor-tls-ca", str(private.ca)),
            *("--extractor-tls-cert", str(shown.cert), "--extractor-tls-key", str(shown.key)),
        ),
        folder / "server.log",
    )
    try:
        yield Site(server.wait_until_serving(), extractor, public, private, pair)
        assert server.terminate() == 0
        assert extractor.terminate() == 0
    finally:
        server.close()
        extractor.close()


@pytest.fixture
def token(site: Site) -> str:
    return (site.pair.cert.parent.parent / "data" / "operator.key").read_text().strip()


def http_of(address: str, ca: Path, shown: Pair | None = None) -> httpx.Client:
    context = ssl.create_default_context(cafile=ca)
    if shown is not None:
        context.load_cert_chain(*shown)
    return httpx.Client(base_url=address, verify=context)


def test_command_line_and_rest_reach_the_backbone_behind_two_encrypted_wires(
    site: Site, token: str
) -> None:
    assert site.server.grpc.startswith("grpcs://127.0.0.1:")
    assert site.server.rest.startswith("https://127.0.0.1:")
    command = [sys.executable, "-m", "trunkline", "backbones", "--json"]
    environment = {"TRUNKLINE_SERVER": site.server.grpc, "TRUNKLINE_TOKEN": token}
    done = run(command, TRUNKLINE_CA=str(site.public.ca), **environment)
    assert done.returncode == 0, done.stderr
    assert TEXTS in done.stdout
    untrusting = run(command, TRUNKLINE_CA=str(site.private.ca), **environment)
    assert untrusting.returncode == 1
    assert "is not trusted" in untrusting.stderr
    with http_of(site.server.rest, site.public.ca) as http:
        embed = {"tenant": "acme", "inputs": [{"text": "hello"}]}
        answer = http.post("/embed", json=embed, headers={"x-api-key": token})
        assert answer.status_code == 200, answer.text
        metrics = http.get("/metrics", headers={"x-api-key": token}).text
    for setting in ("tls_cert", "extractor_tls_cert"):
        assert (
            f'trunkline_tls_certificate_expiry_timestamp_seconds{{setting="{setting}"}}' in metrics
        )


def test_login_believes_the_authority_that_is_named(site: Site, token: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trunkline"]
    folder = {"XDG_CONFIG_HOME": str(tmp_path), "TRUNKLINE_SERVER": site.server.grpc}
    (tmp_path / "key").write_text(token)
    login = shlex.join([*command, "login"]) + f" --ca {{}} < {shlex.quote(str(tmp_path / 'key'))}"
    refused = run(["sh", "-c", login.format(site.private.ca)], **folder)
    assert refused.returncode == 1
    assert "is not trusted" in refused.stderr
    done = run(["sh", "-c", login.format(site.public.ca)], **folder)
    assert done.returncode == 0, done.stderr
    shown = run([*command, "whoami"], TRUNKLINE_CA=str(site.public.ca), **folder)
    assert "operate" in shown.stdout, shown.stderr


def test_no_port_speaks_without_tls(site: Site) -> None:
    for address in (site.server.rest, site.extractor.addresses["metrics"]):
        with pytest.raises(httpx.TransportError):
            httpx.get(address.replace("https://", "http://"))
    for address in (site.server.grpc, site.extractor.grpc):
        with Client(address.removeprefix("grpcs://")) as client:
            assert not client.ready(timeout=5)


def test_rest_is_told_from_grpc_by_a_client_that_mistakes_its_port(site: Site) -> None:
    with (
        Client(site.server.rest, ca=site.public.ca) as client,
        pytest.raises(InvalidArgument, match="does not speak gRPC; is it the port of REST"),
    ):
        client.backbones()


def test_extractor_shows_nothing_to_whom_it_does_not_know(site: Site, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "strangers").issue()
    known = site.private.issue("watcher")
    for shown in (None, stranger, known):
        cert, key = shown or (None, None)
        known_by = {"ca": site.private.ca, "client_cert": cert, "client_key": key}
        with Client(site.extractor.grpc, **known_by) as client:  # type: ignore[arg-type]
            assert client.ready(timeout=5) == (shown is known)
        with http_of(site.extractor.addresses["metrics"], site.private.ca, shown) as http:
            if shown is known:
                assert http.get("").status_code == 200
                continue
            with pytest.raises(httpx.TransportError):
                http.get("")


def test_neither_says_that_anything_is_open(site: Site) -> None:
    for running in (site.server, site.extractor):
        said = {event["event"] for event in running.events()}
        assert not [event for event in said if "unencrypted" in event or event.startswith("open:")]


@contextmanager
def watching(site: Site) -> Iterator[Iterator[health_pb2.HealthCheckResponse]]:
    credentials = grpc.ssl_channel_credentials(site.public.ca.read_bytes())
    with grpc.secure_channel(site.server.grpc.removeprefix("grpcs://"), credentials) as channel:
        stream = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        yield stream
        stream.cancel()


def certificate_of(address: str) -> str:
    host, _, port = address.rpartition("//")[2].rpartition(":")
    return ssl.get_server_certificate((host, int(port)))


def test_renewed_certificate_is_shown_from_then_on_and_a_broken_one_is_not(
    site: Site, token: str
) -> None:
    """Last, as it leaves another certificate."""
    before = certificate_of(site.server.rest)
    with watching(site) as stream:
        next(stream)
        held = socket.create_connection(("127.0.0.1", int(site.server.rest.rpartition(":")[2])))
        context = ssl.create_default_context(cafile=site.public.ca)
        with context.wrap_socket(held, server_hostname="localhost") as kept:
            put(site.pair.cert, b"broken")
            wait_for(site.server, "certificate not changed")
            assert certificate_of(site.server.rest) == before
            site.public.issue()
            wait_for(site.server, "certificate changed")
            assert certificate_of(site.server.rest) != before
            with Client(site.server.grpc, ca=site.public.ca, token=token) as client:
                assert client.who_am_i().keys_required
            kept.sendall(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert kept.recv(100).startswith(b"HTTP/1.1 200")
        assert stream.is_active()  # type: ignore[attr-defined]
    with http_of(site.server.rest, site.public.ca) as http:
        metrics = http.get("/metrics", headers={"x-api-key": token}).text
    assert re.search(r'trunkline_tls_reload_failures_total{setting="tls_cert"} [1-9]', metrics)


def wait_for(running: Running, event: str) -> None:
    """Waits until the event is in the log."""
    for _ in watch(running.log, yield_on_timeout=True, rust_timeout=500):
        if f'"{event}"' in running.log.read_text():
            return
