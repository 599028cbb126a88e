"""Clients that hold sockets, streams and memory, in every way at once, beside a polite one."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import httpx
import psutil

from drills.common.drill import Drill, Outcome
from drills.common.servers import TEXTS, both_ways, server
from tests.e2e.processes import Running
from tests.e2e.transports import Grpc, Refused, Rest, text
from tests.raw_http2 import RawHttp2

PROMISE = (
    "whatever sockets, streams and bytes others hold, a client that sends at once is answered over "
    "both transports, memory stays within max_receiving_bytes, and all of it comes back"
)
SECONDS = 120.0
LONG_SECONDS = 1200.0

MIB = 2**20
IDLE, SLOW, UNREAD, STREAMS = 1100, 100, 20, 200
BODIES, BODY_BYTES = 20, 88 * MIB
MESSAGES, MESSAGE_BYTES = 24, 57 * MIB
MOST_BYTES = 1024 * MIB
SLACK = 1.6
"""Bookkeeping of grpcio and asyncio, and what the polite client costs."""
PATIENCE_SECONDS = 20.0
BODY_SECONDS = 20.0
GIVEN_BACK_SECONDS = 40.0
HELD_SECONDS, LONG_HELD_SECONDS = 30.0, 900.0

HEADS = "/trunkline.v1.HeadService/"
EMBED = "/trunkline.v1.ExtractionService/Embed"


class Holders:
    """Clients that hold something until they are told to leave.

    Attributes:
        held: what was held, by kind.
    """

    def __init__(self, running: Running) -> None:
        self._rest = httpx.URL(running.rest)
        self._grpc = running.grpc
        self._sockets: list[socket.socket | RawHttp2] = []
        self._leaving = False
        self.held: Counter[str] = Counter()

    def hold(self) -> list[asyncio.Future[None]]:
        """Begins everything at once, each in a thread of its own."""
        kinds: list[tuple[Callable[[], None], int]] = [
            (lambda: self._connect("idle connections", b"", IDLE), 1),
            (lambda: self._connect("unfinished headers", b"GET / HTTP/1.1\r\nx: ", SLOW), 1),
            (lambda: self._connect("unfinished bodies", self._head(1000) + b"{", SLOW), 1),
            (self._unread, 1),
            (lambda: self._silent_grpc(IDLE // 2), 1),
            (self._streams, 1),
            (self._large_body, BODIES),
            (self._large_message, MESSAGES),
        ]
        jobs = [kind for kind, count in kinds for _ in range(count)]
        pool = ThreadPoolExecutor(len(jobs))  # the polite client has the threads of the loop
        loop = asyncio.get_running_loop()
        tasks = [loop.run_in_executor(pool, self._until_refused, job) for job in jobs]
        pool.shutdown(wait=False)
        return tasks

    def leave(self) -> None:
        """Closes everything."""
        self._leaving = True
        for one in self._sockets:
            with suppress(OSError):
                if isinstance(one, socket.socket):
                    one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _until_refused(self, kind: Callable[[], None]) -> None:
        with suppress(OSError):  # what the server closes, it does not hold
            kind()

    def _open(self) -> socket.socket:
        one = socket.create_connection((self._rest.host, self._rest.port or 80), timeout=60)
        self._sockets.append(one)
        return one

    def _open_http2(self, window: int = 65_535) -> RawHttp2:
        one = RawHttp2(self._grpc, window)
        self._sockets.append(one)
        return one

    def _head(self, length: int) -> bytes:
        return (
            "POST /v1/tenants/held:embed HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        ).encode()

    def _connect(self, kind: str, sent: bytes, count: int) -> None:
        for _ in range(count):
            if self._leaving:
                return
            self._open().sendall(sent)
            self.held[kind] += 1

    def _unread(self) -> None:
        for _ in range(UNREAD):
            self._open().sendall(b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 50)
            self.held["unread replies"] += 1
            raw = self._open_http2(window=0)
            stream = raw.open("/grpc.health.v1.Health/Watch")
            raw.send(stream, b"")
            raw.finish(stream)
            self.held["unread watches"] += 1

    def _silent_grpc(self, count: int) -> None:
        host, _, port = self._grpc.rpartition(":")
        for _ in range(count):
            if self._leaving:
                return
            self._sockets.append(socket.create_connection((host, int(port)), timeout=60))
            self.held["silent gRPC connections"] += 1

    def _streams(self) -> None:
        raw = self._open_http2()
        for number in range(STREAMS):
            raw.open(HEADS + ("AddExamples" if number % 2 else "TrainHead"))
            self.held["half-open streams"] += 1

    def _large_body(self) -> None:
        one = self._open()
        one.sendall(self._head(BODY_BYTES))
        for _ in range(BODY_BYTES // MIB - 1):
            one.sendall(b" " * MIB)
        self.held["large unfinished bodies"] += 1

    def _large_message(self) -> None:
        raw = self._open_http2()
        stream = raw.open(EMBED)
        raw.send(stream, bytes(MESSAGE_BYTES - MIB), announced=MESSAGE_BYTES)
        self.held["large unfinished messages"] += 1


async def run(drill: Drill) -> Outcome:
    """Holds everything, asks politely meanwhile, and looks at what is left afterwards."""
    options = ("--backbone", TEXTS, "--body-timeout-seconds", str(BODY_SECONDS))
    violations: list[str] = []
    answered, worst = 0, 0.0
    async with server(drill.folder, *options) as running:
        process = psutil.Process(running.pid)
        with both_ways(running) as ways:
            for way in ways:
                await _ask(way, "before")
            before, peak = process.memory_info().rss, 0
            files = process.num_fds()
            holders = Holders(running)
            tasks = holders.hold()
            ends = time.monotonic() + (LONG_HELD_SECONDS if drill.long else HELD_SECONDS)
            while time.monotonic() < ends:
                for way in ways:
                    begun = time.monotonic()
                    try:
                        async with asyncio.timeout(PATIENCE_SECONDS):
                            await _ask(way, f"polite {answered} {drill.random.random()}")
                        answered += 1
                    except (Refused, httpx.HTTPError, TimeoutError) as error:
                        violations.append(f"polite client over {type(way).__name__}: {error!r}")
                    worst = max(worst, time.monotonic() - begun)
                peak = max(peak, process.memory_info().rss)
            holders.leave()
            await asyncio.gather(*tasks, return_exceptions=True)
            if peak - before > SLACK * MOST_BYTES:
                violations.append(f"{(peak - before) // MIB} MiB more were resident")
            left = await _given_back(process, before, files)
            if left:
                violations.append(left)
            for way in ways:
                await _ask(way, "after")
        log = (drill.folder / "log").stat().st_size
        if log > MIB:
            violations.append(f"the log has {log} bytes")
        if status := await asyncio.to_thread(running.terminate):
            violations.append(f"ended with status {status}")
    held = ", ".join(f"{count} {kind}" for kind, count in sorted(holders.held.items()))
    done = f"{held}; resident {before // MIB} to {peak // MIB} MiB; {answered} answers meanwhile"
    return Outcome(done, answered, worst, tuple(violations))


async def _ask(way: Grpc | Rest, words: str) -> None:
    rows = await asyncio.to_thread(way.embed, "polite", [text(words)])
    (row,) = rows.rows
    assert row.error is None, row.error


async def _given_back(process: psutil.Process, before: int, files: int) -> str:
    """What is still held when nobody holds on any more; empty if nothing is."""
    ends = time.monotonic() + GIVEN_BACK_SECONDS
    while time.monotonic() < ends:
        more = process.memory_info().rss - before
        open_files = process.num_fds()
        if more < 128 * MIB and open_files <= files + 30:
            return ""
        await asyncio.sleep(1)
    return f"{more // MIB} MiB and {open_files - files} files are still held"
