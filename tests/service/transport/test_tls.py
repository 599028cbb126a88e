"""Handshakes with the ports of gRPC and of HTTP: who is let in, and what changes under whom."""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import gc
import os
import select
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.tls import Certificates
from service.transport import http_connections
from service.transport.http_server import serve_asgi
from service.transport.limits import TransportLimits
from tests.authority import Authority, Pair, Told
from tests.e2e.processes import ROOT
from tests.service.transport.grpc_serving import get_head, serving
from tests.service.transport.port_limits import HANGS_SECONDS, LIMITS
from trunkline.v1 import heads_pb2, heads_pb2_grpc

GET = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"
SOON = 0.05


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def stranger(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "strangers")


class Port:
    """A port of either kind, and how it is asked over a connection of its own."""

    def __init__(self, port: int, ask: Callable[..., object]) -> None:
        self.port = port
        self._ask = ask

    async def answers(self, ca: Path, shown: Pair | None = None) -> bool:
        """Whether the handshake succeeds, on both sides, and a request is answered."""
        return bool(await asyncio.to_thread(self._ask, self.port, ca, shown))


def context_of(ca: Path, shown: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if shown is not None:
        context.load_cert_chain(*shown)
    return context


def ask_http(port: int, ca: Path, shown: Pair | None) -> bool:
    context = context_of(ca, shown)
    try:
        with (
            socket.create_connection(("127.0.0.1", port), HANGS_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as encrypted,
        ):
            encrypted.sendall(GET)
            return encrypted.recv(100).startswith(b"HTTP/1.1 200 OK")
    except (ssl.SSLError, ConnectionError):
        return False


def channel_to(port: int, ca: Path, shown: Pair | None = None) -> grpc.Channel:
    pair = (None, None) if shown is None else (shown.key.read_bytes(), shown.cert.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), *pair)
    return grpc.secure_channel(f"127.0.0.1:{port}", credentials)


def ask_grpc(port: int, ca: Path, shown: Pair | None) -> bool:
    with channel_to(port, ca, shown) as channel:
        try:
            heads_pb2_grpc.HeadServiceStub(channel).GetHead(heads_pb2.GetHeadRequest(), timeout=60)
        except grpc.RpcError:
            return False
    return True


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(scope["scheme"])(scope, receive, send)


@asynccontextmanager
async def http_port(
    certificates: Certificates, limits: TransportLimits = LIMITS, app: ASGIApp = hello
) -> AsyncIterator[Port]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = await serve_asgi(app, listener, limits, certificates)
    try:
        async with asyncio.timeout(HANGS_SECONDS):
            yield Port(listener.getsockname()[1], ask_http)
    finally:
        server.close()


@asynccontextmanager
async def grpc_port(certificates: Certificates) -> AsyncIterator[Port]:
    async with serving(get_head, certificates=certificates) as address:
        yield Port(int(address.rpartition(":")[2]), ask_grpc)


PortOf = Callable[[Certificates], AbstractAsyncContextManager[Port]]
PORTS = pytest.mark.parametrize("port_of", [http_port, grpc_port], ids=["http", "grpc"])


@PORTS
async def test_port_speaks_tls_to_whoever_trusts_its_authority(
    port_of: PortOf, authority: Authority, stranger: Authority
) -> None:
    async with port_of(Certificates(authority.issue().files())) as port:
        assert await port.answers(authority.ca)
        assert not await port.answers(stranger.ca)


@PORTS
async def test_port_takes_clients_of_its_authority_alone(
    port_of: PortOf, authority: Authority, stranger: Authority
) -> None:
    files = authority.issue().files(client_ca=authority.ca)
    async with port_of(Certificates(files)) as port:
        assert await port.answers(authority.ca, authority.issue("client"))
        assert not await port.answers(authority.ca)
        assert not await port.answers(authority.ca, stranger.issue("client"))
        assert not await port.answers(authority.ca, authority.issue("late", expired=True))


@PORTS
async def test_expired_certificate_is_believed_by_nobody(
    port_of: PortOf, authority: Authority
) -> None:
    files = authority.issue(expired=True).files()
    async with port_of(Certificates(files)) as port:
        assert not await port.answers(authority.ca)


@PORTS
async def test_port_speaks_no_version_below_1_2(port_of: PortOf, authority: Authority) -> None:
    def shake_hands(port: int, version: ssl.TLSVersion) -> str | None:
        context = context_of(authority.ca)
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.set_alpn_protocols(["h2", "http/1.1"])
        context.minimum_version = context.maximum_version = version
        with (
            socket.create_connection(("127.0.0.1", port), HANGS_SECONDS) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as encrypted,
        ):
            return encrypted.version()

    async with port_of(Certificates(authority.issue().files())) as port:
        version = ssl.TLSVersion.TLSv1_2
        assert await asyncio.to_thread(shake_hands, port.port, version) == "TLSv1.2"
        with (
            pytest.warns(DeprecationWarning, match="TLSv1_1"),
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            await asyncio.to_thread(shake_hands, port.port, ssl.TLSVersion.TLSv1_1)


def put(new: Pair, pair: Pair) -> None:
    """Writes one pair over another."""
    for one, other in zip(new, pair, strict=True):
        other.write_bytes(one.read_bytes())


@PORTS
async def test_new_handshakes_see_a_new_certificate_and_a_broken_one_changes_nothing(
    port_of: PortOf, authority: Authority, stranger: Authority
) -> None:
    pair, told = authority.issue(), Told()
    certificates = Certificates(pair.files())
    certificates.follow(told)
    async with port_of(certificates) as port:
        assert await port.answers(authority.ca)
        pair.key.write_bytes(stranger.issue().key.read_bytes())
        await told.until_refused(1)
        assert await port.answers(authority.ca)
        put(stranger.issue(), pair)
        await told.until_read(2)
        assert await port.answers(stranger.ca)
        assert not await port.answers(authority.ca)
    await certificates.close()


async def test_open_connections_live_on_when_the_certificate_changes(
    authority: Authority, stranger: Authority
) -> None:
    pair = authority.issue()
    certificates, told = Certificates(pair.files()), Told()
    certificates.follow(told)
    async with http_port(certificates) as http, grpc_port(certificates) as grpc_:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", http.port, ssl=context_of(authority.ca), server_hostname="localhost"
        )
        with channel_to(grpc_.port, authority.ca) as channel:
            heads = heads_pb2_grpc.HeadServiceStub(channel)
            await asyncio.to_thread(heads.GetHead, heads_pb2.GetHeadRequest())
            put(stranger.issue(), pair)
            await told.until_read(2)
            await asyncio.to_thread(heads.GetHead, heads_pb2.GetHeadRequest())
        for _ in range(2):
            writer.write(GET)
            assert b"200 OK" in await reader.readuntil(b"https")
        writer.close()
    await certificates.close()


def leave_at_once(port: int, ca: Path) -> None:
    with socket.create_connection(("127.0.0.1", port), HANGS_SECONDS) as plain:
        plain.shutdown(socket.SHUT_WR)
        read_to_the_end(plain)


def speak_no_tls(port: int, ca: Path) -> None:
    with socket.create_connection(("127.0.0.1", port), HANGS_SECONDS) as plain:
        plain.sendall(GET)
        read_to_the_end(plain)


def send_nothing(port: int, ca: Path) -> None:
    with socket.create_connection(("127.0.0.1", port), HANGS_SECONDS) as plain:
        read_to_the_end(plain)


def read_to_the_end(plain: socket.socket) -> None:
    with suppress(ConnectionError):
        while plain.recv(100):
            pass


def ask_and_leave(port: int, ca: Path) -> None:
    assert ask_http(port, ca, None)


def leave_in_a_body(port: int, ca: Path) -> None:
    with (
        socket.create_connection(("127.0.0.1", port), HANGS_SECONDS) as plain,
        context_of(ca).wrap_socket(plain, server_hostname="localhost") as encrypted,
    ):
        encrypted.sendall(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\nab")
        assert encrypted.recv(100)
        no_goodbye = struct.pack("ii", 1, 0)
        encrypted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, no_goodbye)


@pytest.mark.parametrize(
    "come", [leave_at_once, speak_no_tls, send_nothing, ask_and_leave, leave_in_a_body]
)
async def test_connection_that_ended_keeps_no_memory(
    authority: Authority, come: Callable[[int, Path], None]
) -> None:
    """Each has a buffer of 256 KiB, of which the garbage collector knows nothing."""
    limits = replace(LIMITS, head_seconds=SOON) if come is send_nothing else LIMITS
    async with http_port(Certificates(authority.issue().files()), limits) as port:
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await asyncio.to_thread(come, port.port, authority.ca)
            while open_connections():  # the last is closed soon after its client has left
                await asyncio.to_thread(come, port.port, authority.ca)
        finally:
            gc.enable()


def open_connections() -> int:
    return sum(type(one) is asyncio.sslproto.SSLProtocol for one in gc.get_objects())


async def test_request_that_comes_with_the_end_of_the_handshake_is_answered(
    authority: Authority,
) -> None:
    """In TLS 1.3 a client sends it right after its last message, often in the same packet."""
    context = context_of(authority.ca)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    async with http_port(Certificates(authority.issue().files())) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
        while True:
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await reader.read(65_536))
        client.write(GET)
        writer.write(outgoing.read())
        answer = b""
        while not answer.endswith(b"https"):
            try:
                answer += client.read(65_536)
            except ssl.SSLWantReadError:
                incoming.write(await reader.read(65_536))
        assert answer.startswith(b"HTTP/1.1 200 OK")
        writer.close()


async def test_client_that_does_no_handshake_is_cut_off(authority: Authority) -> None:
    limits = replace(LIMITS, head_seconds=SOON)
    async with http_port(Certificates(authority.issue().files()), limits) as port:
        for sent in (b"", GET, b"\x16\x03\x01"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port.port)
            writer.write(sent)
            with suppress(ConnectionResetError):
                while await reader.read(1000):
                    pass  # an alert of TLS
            writer.close()


async def test_clients_that_do_no_handshake_count_as_connections(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_connections, "PATIENCE_SECONDS", 0.0)
    limits = replace(LIMITS, max_connections=2)
    async with http_port(Certificates(authority.issue().files()), limits) as port:
        opened = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(3)]
        with suppress(ConnectionResetError):
            assert await opened[0][0].read() == b"", "the first of them was cut off"
        assert await port.answers(authority.ca), "another one goes"
        for _, writer in opened:
            writer.close()


MUCH = "x" * 50_000_000


async def much(scope: Scope, receive: Receive, send: Send) -> None:
    headers = {"connection": "close"} if scope["path"] == "/last" else None
    await PlainTextResponse(MUCH, headers=headers)(scope, receive, send)


@pytest.mark.parametrize("path", ["/", "/last"])
async def test_large_reply_arrives_whole_and_over_a_connection_that_then_closes_too(
    authority: Authority, path: str
) -> None:
    async with http_port(Certificates(authority.issue().files()), app=much) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port.port, ssl=context_of(authority.ca), server_hostname="localhost"
        )
        for _ in range(1 if path == "/last" else 2):
            writer.write(GET.replace(b" / ", f" {path} ".encode()))
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(len(MUCH)) == MUCH.encode()
        writer.close()


async def test_reply_that_is_not_read_is_dropped(authority: Authority) -> None:
    limits = replace(LIMITS, body_seconds=SOON)

    def ask(port: int) -> bool:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context_of(authority.ca).wrap_socket(plain, server_hostname="localhost") as client,
        ):
            client.sendall(GET)
            poll = select.poll()
            poll.register(client, 0)  # reads nothing, and hears of a reset
            return bool(poll.poll(60_000))

    async with http_port(Certificates(authority.issue().files()), limits, much) as port:
        assert await asyncio.to_thread(ask, port.port)


STRANGERS = """
import {first}
import asyncio, sys
from pathlib import Path
from service.tls import Certificates
from tests.service.transport import test_tls as ports

async def main() -> None:
    pair = ports.Pair(*map(Path, sys.argv[1:]))
    async with ports.grpc_port(Certificates(pair.files())) as port:
        for _ in range(3):
            await asyncio.to_thread(ports.speak_no_tls, port.port, pair.cert)

asyncio.run(main())
"""


@pytest.mark.parametrize("first", ["trunkline", "service"])
async def test_handshakes_that_fail_write_nothing(authority: Authority, first: str) -> None:
    pair = authority.issue()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", STRANGERS.format(first=first), pair.cert, pair.key),
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "GRPC_VERBOSITY"},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert b"andshake" not in said
