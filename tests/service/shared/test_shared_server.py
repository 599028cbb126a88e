"""A shared cache that is away, hangs, refuses or is lost costs time alone, and is said once."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from service.access.quotas import QuotaBook
from service.access.shared_quotas import SharedQuotas
from service.concurrency.circuit import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Circuit
from service.metrics import Metrics
from service.shared import RedisAddress, SharedServer, TenantSecrets
from service.store import Database
from service.store.quotas import Quotas
from service.tls import TlsFiles
from tests.authority import Authority
from tests.service.embedding.resolvers import vectors_of
from tests.service.shared.sharing import PATIENCE, Sharing, sharing
from tests.service.shared.valkey import BOUNDED, Valkey
from tests.service.store.records import new_head
from tests.service.tiny_backbone import info, text_input, vector_of

SHORT = 0.1
PAGE = (Path(__file__).parents[3] / "docs" / "shared-cache.md").read_text(encoding="utf-8")
QUICK_START = tuple(re.findall("^valkey-server --port 6379 (.*)$", PAGE, re.MULTILINE)[0].split())
TLS_NAMES = ("shared_cache_tls_cert", "shared_cache_tls_key", "shared_cache_tls_ca")
AWAY, BACK = "does not answer", "answers again"


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def said(logs: Sequence[Mapping[str, object]], words: str) -> int:
    return sum(words in str(entry["event"]) for entry in logs)


async def right(server: Sharing, *texts: str) -> None:
    assert await server.resolve(*texts) == [vector_of(text).tolist() for text in texts]


async def test_server_that_is_killed_and_comes_back_empty_is_used_again(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    clock = Clock()
    with capture_logs() as logs:
        async with sharing(database, valkey.url, circuit=Circuit(clock), memory=0) as server:
            await right(server, "x")
            valkey.kill()
            for _ in range(3):
                await right(server, "x", "y")
            assert said(logs, AWAY) == 1
            assert server.count("up") == 0
            assert server.count("failures_total") == 1
            valkey.start()
            await right(server, "x")
            assert server.count("up") == 0  # it is left alone for a while
            clock.now = FIRST_PAUSE_SECONDS
            await right(server, "x")
            assert server.count("up") == 1
            await right(server, "x")
            assert server.lookups()["hit"] == 1
    assert (said(logs, AWAY), said(logs, BACK)) == (1, 1)


async def test_server_that_hangs_holds_up_one_request_and_all_answers_are_right(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    clock = Clock()
    async with sharing(
        database, valkey.url, seconds=SHORT, circuit=Circuit(clock), memory=0
    ) as server:
        with valkey.held():
            await right(server, "x")
            asked = server.count("seconds_count")
            for text in ("a", "b", "c"):
                await right(server, text)
            assert server.count("seconds_count") == asked
            clock.now += FIRST_PAUSE_SECONDS
            await right(server, "x")  # one tries again
            assert server.count("up") == 0
        clock.now += 2 * FIRST_PAUSE_SECONDS
        for _ in range(2):
            await right(server, "x")
        assert server.lookups()["hit"] == 1


async def test_many_requests_at_once_survive_a_server_that_stops_under_them(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    async with sharing(database, valkey.url, seconds=SHORT, memory=0) as server:

        async def ask(i: int) -> None:
            text = "abcdefghij"[i % 10]
            (found,) = vectors_of(await server.resolver.resolve("acme", info(), [text_input(text)]))
            assert found == vector_of(text).tolist()

        await asyncio.gather(*map(ask, range(100)))
        with valkey.held():
            await asyncio.gather(*map(ask, range(100)))
        valkey.kill()
        await asyncio.gather(*map(ask, range(100)))
        assert server.count("failures_total") >= 1


async def test_who_is_in_a_hurry_waits_half_of_the_time_and_does_not_switch_it_off(
    valkey: Valkey,
) -> None:
    async with shared_server(valkey.url) as (server, metrics):
        loop = asyncio.get_running_loop()

        async def slow(redis: Redis) -> bytes:
            await asyncio.sleep(PATIENCE)
            return b""

        assert await server.ask(slow, deadline=loop.time() + SHORT) is None
        assert not server.away
        assert await server.ask(ping) == b"here"
        assert metrics.registry.get_sample_value("trunkline_shared_cache_failures_total") == 0


async def test_hung_server_is_noticed_though_all_are_in_a_hurry(valkey: Valkey) -> None:
    async with shared_server(valkey.url, seconds=SHORT) as (server, _):
        with valkey.held():
            loop = asyncio.get_running_loop()
            for _ in range(20):
                await server.ask(ping, deadline=loop.time() + SHORT)
            assert server.away


def test_pause_grows_to_its_longest_and_ends_with_a_success() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    pauses: list[float] = []
    for _ in range(8):
        entered = circuit.enter()
        assert entered is not None
        assert circuit.fail(entered) == (not pauses)
        began = clock.now
        while circuit.blocked:
            assert circuit.enter() is None
            clock.now += 0.5
        pauses.append(clock.now - began)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert max(pauses) == LONGEST_PAUSE_SECONDS
    assert circuit.enter() is not None
    assert circuit.enter() is None  # one tries at a time
    assert circuit.succeed()
    assert circuit.closed
    assert not circuit.succeed()


def test_failures_of_requests_that_were_under_way_together_count_once() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    entered = [circuit.enter() for _ in range(10)]
    assert [circuit.fail(number) for number in entered if number is not None].count(True) == 1
    clock.now = FIRST_PAUSE_SECONDS
    assert not circuit.blocked


async def ping(redis: Redis) -> object:
    return await redis.echo("here")


@asynccontextmanager
async def shared_server(
    url: str, *, seconds: float = PATIENCE, tls: TlsFiles | None = None
) -> AsyncIterator[tuple[SharedServer, Metrics]]:
    metrics = Metrics(1)
    server = SharedServer(RedisAddress.parse(url), seconds, metrics, tls)
    try:
        yield server, metrics
    finally:
        await server.close()


@pytest.mark.parametrize(
    ("options", "advice"),
    [
        (QUICK_START, None),
        (("--maxmemory", "0"), "set maxmemory, and maxmemory-policy allkeys-lru"),
        (("--maxmemory", "16mb", "--maxmemory-policy", "noeviction"), "set maxmemory-policy"),
        (BOUNDED, None),
    ],
)
async def test_server_without_a_bound_is_warned_of(
    tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...], advice: str | None
) -> None:
    valkey = Valkey(tmp_path_factory.mktemp("v"), *options)
    valkey.start()
    with capture_logs() as logs:
        async with shared_server(valkey.url) as (server, _):
            server.start()
    valkey.kill()
    warned = [str(entry["advice"]) for entry in logs if entry["log_level"] == "warning"]
    assert [words.startswith(advice) for words in warned if advice] == [True] * bool(advice)
    assert len(warned) == bool(advice)


async def test_full_server_that_evicts_nothing_takes_no_more_and_is_still_read(
    database: Database, valkey: Valkey
) -> None:
    await database.write(new_head)
    async with sharing(database, valkey.url, memory=0) as server:
        await right(server, "x")
        client = valkey.client()
        await client.config_set("maxmemory-policy", "noeviction")
        await client.config_set("maxmemory", "1")
        await client.aclose()
        with capture_logs() as logs:
            await right(server, "y")
            await right(server, "z")
        assert server.count("lost_total", reason="refused") == 2
        assert said(logs, "takes no embeddings") == 1
        await right(server, "x")
        assert server.lookups()["hit"] == 1


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
