"""The way to a shared cache: rights, TLS, and strangers in its place."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from service.access.quotas import CostBucket, QuotaBook
from service.access.shared_quotas import SharedQuotas
from service.shared import TenantSecrets
from service.store import Database
from service.store.quotas import Quotas
from service.tls import TlsFiles
from tests.authority import Authority
from tests.service.shared.sharing import (
    AWAY,
    PATIENCE,
    ping,
    right,
    said,
    shared_server,
    sharing,
)
from tests.service.shared.valkey import Valkey
from tests.service.store.records import new_head

SHORT = 0.1
PAGE = (Path(__file__).parents[3] / "docs" / "shared-cache.md").read_text(encoding="utf-8")
TLS_NAMES = ("shared_cache_tls_cert", "shared_cache_tls_key", "shared_cache_tls_ca")


async def test_few_rights_are_enough_and_a_wrong_password_is_said_without_it(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    client = valkey.client()
    (rights,) = re.findall("^ACL SETUSER .*$", PAGE, re.MULTILINE)
    await client.execute_command(*rights.replace("PASSWORD", "s3cr3t/@").split())
    await client.execute_command("ACL", "SETUSER", "default", "off")
    await client.aclose()
    with capture_logs() as logs:
        async with gate(valkey) as port:
            url = f"redis://trunkline:s3cr3t%2F%40@127.0.0.1:{port}/0"
            async with sharing(database, url, memory=0) as server:
                server.server.start()
                for _ in range(2):
                    await right(server, "x")
                assert server.lookups() == {"miss": 1, "hit": 1}
                secrets = TenantSecrets(database, PATIENCE)
                quotas = SharedQuotas(server.server, secrets, lambda: 1.0)
                bucket = CostBucket("tenants/acme", 1.0, 10.0, 0.0)
                await quotas.refresh("acme", bucket)
                assert bucket.heard_at == 1.0
                assert not server.server.away
            async with sharing(database, url.replace("s3cr3t", "wr0ng"), memory=0) as server:
                await right(server, "x")
    assert said(logs, AWAY) == 1
    assert "s3cr3t" not in str(logs)
    assert "wr0ng" not in str(logs)


@asynccontextmanager
async def gate(valkey: Valkey, context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A TCP port, with TLS if there is a context, that leads to the server; gives its number."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
        target.close()

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(valkey.socket)
        await asyncio.gather(
            copy(reader, inner_writer), copy(inner_reader, writer), return_exceptions=True
        )

    server = await asyncio.start_server(lead, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_tls_shows_a_certificate_and_trusts_the_named_authority_alone(
    valkey: Valkey, tmp_path: Path
) -> None:
    ours, other = Authority(tmp_path / "ours"), Authority(tmp_path / "other")
    pair, shown = ours.issue(), ours.issue("client")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(ours.ca))
    context.load_cert_chain(pair.cert, pair.key)
    context.verify_mode = ssl.CERT_REQUIRED
    files = {
        "right": TlsFiles(shown.cert, shown.key, ours.ca, TLS_NAMES),
        "other authority": TlsFiles(shown.cert, shown.key, other.ca, TLS_NAMES),
        "no certificate": TlsFiles(None, None, ours.ca, TLS_NAMES),
        "missing file": TlsFiles(None, None, tmp_path / "none.pem", TLS_NAMES),
    }
    async with gate(valkey, context) as port:
        for name, tls in files.items():
            async with shared_server(f"rediss://localhost:{port}", tls=tls) as (server, _):
                assert (await server.ask(ping) == b"here") == (name == "right"), name
        async with shared_server(f"redis://localhost:{port}") as (server, _):
            assert await server.ask(ping) is None


async def test_port_that_speaks_another_language_is_away(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with capture_logs() as logs:
        async with shared_server(f"redis://127.0.0.1:{port}") as (shared, _):
            assert await shared.ask(ping) is None
    server.close()
    assert said(logs, AWAY) == 1


STRANGE = (
    *(b":abc\r\n", b"$-5\r\n", b"*-9\r\n", b"*2\r\n:1\r\n", b"+OK\r\n", b":1\r\n"),
    b"$3\r\nabc\r\n",
    *(b"-MOVED 1 elsewhere:1\r\n", b"*1\r\n$3\r\nabc\r\n", b"*1\r\n:7\r\n", b"*1\r\n*0\r\n"),
    *(b"*1\r\n" * 5000, b"\xff\xfe\r\n", b"\r\n", b"%1\r\n+a\r\n+b\r\n", b"$3\r\nabcde", b""),
    *(b"-LOADING it\r\n", b"-NOAUTH\r\n", b"-\xff\r\n", b"*1\r\n-WRONGTYPE no\r\n"),
)


@pytest.mark.parametrize("reply", STRANGE, ids=range(len(STRANGE)))
async def test_whatever_a_stranger_answers_predictions_and_quotas_go_on(
    database: Database, reply: bytes
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            writer.write(reply)
            if not reply:
                break
        writer.close()

    await database.write(new_head)
    listener = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    url = f"redis://127.0.0.1:{port}"
    async with sharing(database, url, seconds=SHORT, memory=0) as server:
        for _ in range(2):
            await right(server, "x")
        server.server.start()
    async with sharing(database, url, seconds=SHORT) as server:
        secrets = TenantSecrets(database, PATIENCE)
        shared = SharedQuotas(server.server, secrets, time.monotonic)
        book = QuotaBook(database, Quotas(cost_per_second=1.0), time.monotonic, shared)
        await book.hear("acme")
        book.take("acme", 1.0, lambda: "")
        await shared.close()
    listener.close()


async def test_address_at_which_nobody_listens_is_away_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{taken.getsockname()[1]}"
        async with shared_server(url) as (server, _):
            assert await server.ask(ping) is None
            assert server.away
