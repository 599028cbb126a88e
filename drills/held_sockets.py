"""Clients that hold sockets, streams and memory on every port at once, beside a polite one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import psutil

from drills.common.drill import Drill, Outcome
from drills.common.holders import EMBED, MIB, Holders, Target
from drills.common.servers import both_ways, server, serving
from tests.e2e.processes import Running, extractor_command
from tests.e2e.transports import Refused, Transport, text

PROMISE = (
    "whatever sockets, streams and bytes others hold on the server's and the extractor's ports, a "
    "client that sends at once is answered over both transports, memory stays within "
    "max_receiving_bytes of each process, and all of it comes back"
)
SECONDS = 70.0
LONG_SECONDS = 1200.0

MOST_BYTES = 1024 * MIB
MEMORY_SLACK = 1.6
"""Bookkeeping of grpcio and asyncio, and what the polite client costs."""
LEFT_BYTES, LEFT_FILES = 128 * MIB, 30
PATIENCE_SECONDS = 20.0
BODY_SECONDS = 20.0
GIVEN_BACK_SECONDS = 40.0
HELD_SECONDS, LONG_HELD_SECONDS = 25.0, 900.0
"""Longer than `BODY_SECONDS`: what is unfinished is ended meanwhile."""

HEADS = "/trunkline.v1.HeadService/"
HOLD = "/trunkline.v1.TailService/HoldTail"

Asked = dict[str, Callable[[str], None]]


class Watched:
    """A process under attack: what it holds more than before."""

    def __init__(self, name: str, running: Running) -> None:
        self._name = name
        self._running = running
        self._process = psutil.Process(running.pid)
        self._resident = self._process.memory_info().rss
        self._files = self._process.num_fds()
        self._most_resident = 0
        self._most_files = 0

    def look(self) -> tuple[int, int]:
        """Bytes and files that it holds more than before."""
        resident = self._process.memory_info().rss - self._resident
        files = self._process.num_fds() - self._files
        self._most_resident = max(self._most_resident, resident)
        self._most_files = max(self._most_files, files)
        return resident, files

    def __str__(self) -> str:
        before, more = self._resident // MIB, self._most_resident // MIB
        return f"{self._name} {before} MiB, up to {more} MiB and {self._most_files} files more"

    async def judge(self, seconds: float) -> list[str]:
        """What is wrong once nobody holds on: too much was held, or is still."""
        wrong = []
        if self._most_resident > MEMORY_SLACK * MOST_BYTES:
            wrong.append(f"{self._name}: {self._most_resident // MIB} MiB more were resident")
        ends = time.monotonic() + seconds
        while True:
            resident, files = self.look()
            if resident < LEFT_BYTES and files <= LEFT_FILES:
                return wrong
            if time.monotonic() > ends:
                words = f"{resident // MIB} MiB and {files} files are still held"
                return [*wrong, f"{self._name}: {words}"]
            await asyncio.sleep(1)

    async def stop(self) -> list[str]:
        """Stops it; what is wrong with its end and its log."""
        wrong = []
        if (nbytes := self._running.log.stat().st_size) > MIB:
            wrong.append(f"{self._name}: the log has {nbytes} bytes")
        if status := await asyncio.to_thread(self._running.terminate):
            wrong.append(f"{self._name}: ended with status {status}")
        return wrong


async def run(drill: Drill) -> Outcome:
    """Holds everything, asks politely meanwhile, and looks at what is left afterwards."""
    timeout = ("--body-timeout-seconds", str(BODY_SECONDS))
    command = extractor_command("--port", "0", *timeout)
    log = drill.folder / "extractor-log"
    async with serving(command, log) as extractor:
        options = ("--extractor", extractor.grpc, *timeout)
        async with server(drill.folder, *options) as running:
            with _polite(running, extractor) as asked:
                return await _attack(drill, running, extractor, asked)


async def _attack(drill: Drill, running: Running, extractor: Running, asked: Asked) -> Outcome:
    violations: list[str] = []
    for ask in asked.values():
        await asyncio.to_thread(ask, "before")
    watched = [Watched("server", running), Watched("extractor", extractor)]
    holders = [Holders(target) for target in _targets(running, extractor)]
    answered, worst = 0, 0.0
    ends = time.monotonic() + (LONG_HELD_SECONDS if drill.long else HELD_SECONDS)
    tasks = [task for one in holders for task in one.hold()]
    try:
        while time.monotonic() < ends:
            for name, ask in asked.items():
                begun = time.monotonic()
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS * drill.slack):
                        await asyncio.to_thread(ask, f"{answered} {drill.random.random()}")
                    answered += 1
                except (Refused, httpx.HTTPError, TimeoutError) as error:
                    violations.append(f"polite client, {name}: {error!r}")
                worst = max(worst, time.monotonic() - begun)
            for process in watched:
                process.look()
    finally:
        for one in holders:
            one.leave()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    violations += [f"a client that holds: {error!r}" for error in ended if error is not None]
    for one in holders:
        violations += one.too_few()
    for process in watched:
        violations += await process.judge(GIVEN_BACK_SECONDS * drill.slack)
    for ask in asked.values():
        await asyncio.to_thread(ask, "after")
    for process in watched:  # the server first
        violations += await process.stop()
    done = f"{'; '.join(map(str, [*holders, *watched]))}; {answered} answers meanwhile"
    return Outcome(done, answered, worst, tuple(violations))


def _targets(running: Running, extractor: Running) -> list[Target]:
    """All four ports."""
    streams = (HEADS + "AddExamples", HEADS + "TrainHead")
    embed = "/v1/tenants/held:embed"
    return [
        Target("server", running.rest, running.grpc, "/openapi.json", streams, embed),
        Target(
            "extractor", extractor.addresses["metrics"], extractor.grpc, "/metrics", (EMBED, HOLD)
        ),
    ]


@contextmanager
def _polite(running: Running, extractor: Running) -> Iterator[Asked]:
    """What a polite client asks: new texts over both transports, and metrics of both processes."""
    metrics = {
        "metrics of the server": f"{running.rest}/metrics",
        "metrics of the extractor": extractor.addresses["metrics"],
    }
    with both_ways(running) as ways, httpx.Client(timeout=60) as http:
        yield {
            **{f"embeddings over {way.name}": partial(_embed, way) for way in ways},
            **{name: partial(_scrape, http, url) for name, url in metrics.items()},
        }


def _embed(way: Transport, words: str) -> None:
    (row,) = way.embed("polite", [text(words)]).rows
    assert row.error is None, row.error


def _scrape(http: httpx.Client, url: str, _: str) -> None:
    assert "# TYPE trunkline_" in http.get(url).raise_for_status().text
