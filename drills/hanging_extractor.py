"""What hangs: the extractor, the store's disk, and the process that fits; then a stop amid it."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TypeVar

import httpx

from drills.common.drill import Drill, Outcome
from drills.common.servers import TEXTS, both_ways, children, server, serving
from tests.e2e.processes import Running, extractor_command
from tests.e2e.transports import METHODS, Grpc, Refused, Rest, text
from trunkline.v1 import heads_pb2

PROMISE = (
    "whatever hangs is said within 15 s, refused at once with a hint from then on, cached answers "
    "go on, and all is back as soon as it goes on"
)
SECONDS = 45.0
LONG_SECONDS = 1800.0

ROUNDS, LONG_ROUNDS = 1, 20
NOTICE_SECONDS = 15.0
AT_ONCE_SECONDS = 2.0
BACK_SECONDS = 10.0
"""The pauses between attempts to connect are a part of it."""
DRAIN_SECONDS = 3
STOP_SECONDS = 2.0
"""Beyond `DRAIN_SECONDS`."""
HEAD = "tenants/far/heads/head"
KNOWN = "better than ever"

T = TypeVar("T")


class Watched:
    """A server under attack, and what was seen."""

    def __init__(self, running: Running, ways: tuple[Grpc, Rest], slack: float) -> None:
        self.running = running
        self.ways = ways
        self.slack = slack
        self.violations: list[str] = []
        self.checks = 0
        self.slowest_notice = 0.0
        self.slowest_return = 0.0
        self._new = 0

    def new(self) -> str:
        """A text that the server does not know."""
        self._new += 1
        return f"a text that nobody has sent, number {self._new}"

    async def until_ready(self, ready: bool, within: float) -> tuple[float, str]:
        """The seconds until readiness is so, which have this bound, and what it says."""
        within *= self.slack
        begun = time.monotonic()
        async with httpx.AsyncClient(base_url=self.running.rest, timeout=within) as http:
            while True:
                reply = await http.get("/readyz")
                took = time.monotonic() - begun
                if (reply.status_code == 200) is ready:
                    return took, reply.text
                if took > within:
                    self.violations.append(f"ready is {not ready} after {took:.1f} s")
                    return took, reply.text
                await asyncio.sleep(0.1)

    async def check(self, name: str, call: Callable[[], T], code: str | None) -> None:
        """Makes a call, which has to be answered at once, or refused with this code and a hint."""
        begun = time.monotonic()
        self.checks += 1
        try:
            await asyncio.to_thread(call)
            found: str | None = None
        except Refused as error:
            found = error.code
            if error.code == "UNAVAILABLE" and error.retry_after is None:
                self.violations.append(f"{name}: {error} without a hint")
        took = time.monotonic() - begun
        if found != code or took > AT_ONCE_SECONDS * self.slack:
            self.violations.append(f"{name}: {found} after {took:.1f} s, {code} was due at once")

    async def hang(self, what: str, refused: Callable[[Grpc | Rest], object], reason: str) -> None:
        """Follows something that hangs since now: noticed, said, and cached answers go on."""
        took, said = await self.until_ready(False, NOTICE_SECONDS)
        self.slowest_notice = max(self.slowest_notice, took)
        if reason not in said:
            self.violations.append(f"{what}: /readyz says {said!r}")
        for way in self.ways:
            for _ in range(5):
                await self.check(f"{what}, new, {way.name}", partial(refused, way), "UNAVAILABLE")
                cached = partial(way.predict, HEAD, [text(KNOWN)])
                await self.check(f"{what}, cached, {way.name}", cached, None)

    async def back(self, what: str) -> None:
        """Follows its return."""
        took, _ = await self.until_ready(True, BACK_SECONDS)
        self.slowest_return = max(self.slowest_return, took)
        for way in self.ways:
            new = partial(way.predict, HEAD, [text(self.new())])
            await self.check(f"{what} is back, {way.name}", new, None)


async def run(drill: Drill) -> Outcome:
    """Lets each hang in turn, as often as asked; then stops the server while one hangs."""
    socket = drill.sockets / "extractor"
    command = extractor_command("--socket", str(socket))
    options = ("--extractor", f"unix:{socket}", "--drain-seconds", str(DRAIN_SECONDS))
    async with (
        serving(command, drill.folder / "extractor-log") as extractor,
        server(drill.folder, *options) as running,
    ):
        with both_ways(running) as ways:
            watched = Watched(running, ways, drill.slack)
            await watched.until_ready(True, 60.0)
            await asyncio.to_thread(_train, running)
            for way in ways:
                await asyncio.to_thread(way.predict, HEAD, [text(KNOWN)])
            rounds = LONG_ROUNDS if drill.long else ROUNDS
            for _ in range(rounds):
                await _hang_extractor(watched, extractor)
                await _stall_store(watched, drill.folder / "data")
                await _hang_fitter(watched)
            stopped = await _stop_amid_a_hang(watched)
    done = (
        f"extractor, store and fitter hung {rounds} times each; {watched.checks} answers at once, "
        f"noticed within {watched.slowest_notice:.1f} s, back within {watched.slowest_return:.1f} "
        f"s; stopped in {stopped:.1f} s"
    )
    return Outcome(done, watched.checks, watched.slowest_notice, tuple(watched.violations))


async def _hang_extractor(watched: Watched, extractor: Running) -> None:
    os.kill(extractor.pid, signal.SIGSTOP)
    try:
        await watched.hang(
            "extractor",
            lambda way: way.predict(HEAD, [text(watched.new())]),
            "the backbones do not answer",
        )
    finally:
        os.kill(extractor.pid, signal.SIGCONT)
    await watched.back("extractor")


async def _stall_store(watched: Watched, data_dir: Path) -> None:
    """Holds the store's lock, for which its writer waits as for a disk."""

    def create(way: Grpc | Rest, name: str) -> object:
        request = heads_pb2.CreateHeadRequest(parent="tenants/far", head_id=name, backbone=TEXTS)
        return way.call("CreateHead", request)

    with closing(sqlite3.connect(data_dir / "trunkline.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        first = f"first-{watched.checks}"
        waits = asyncio.create_task(asyncio.to_thread(create, watched.ways[0], first))
        try:
            await watched.hang("store", lambda way: create(way, "later"), "the store")
        finally:
            other.execute("ROLLBACK")
    try:
        await waits
    except Refused as error:
        watched.violations.append(f"what waited for the store: {error}")
    await watched.back("store")


async def _hang_fitter(watched: Watched) -> None:
    async with _stopped_fit(watched) as training:
        request = heads_pb2.CancelTrainingRequest(name=training)
        grpc = watched.ways[0]
        await watched.check("cancelling", lambda: grpc.call("CancelTraining", request), None)
    with watched.running.client() as client:  # with a process of its own again
        await asyncio.to_thread(client.train, "far/head")


async def _stop_amid_a_hang(watched: Watched) -> float:
    async with _stopped_fit(watched):
        begun = time.monotonic()
        status = await asyncio.to_thread(watched.running.terminate)
        took = time.monotonic() - begun
    if status or took > watched.slack * (DRAIN_SECONDS + STOP_SECONDS):
        watched.violations.append(f"stopped with status {status} after {took:.1f} s")
    return took


@asynccontextmanager
async def _stopped_fit(watched: Watched) -> AsyncIterator[str]:
    """A training whose process is stopped within the block; gives its name."""
    (fitter,) = children(watched.running, "service.fitting.worker")
    fitter.suspend()
    try:
        yield await asyncio.to_thread(_begin_training, watched.ways[0])
    finally:
        if fitter.is_running():
            fitter.kill()


def _begin_training(way: Grpc) -> str:
    """Begins a training and leaves it; gives its name."""
    method = METHODS["TrainHead"]
    watch = way.channel.unary_stream(method.path, None, method.response.FromString)
    told = watch(heads_pb2.TrainHeadRequest(head=HEAD).SerializeToString(), timeout=60)
    name: str = next(told).training.name
    told.cancel()
    return name


def _train(running: Running) -> None:
    with running.client() as client:
        client.create_head("far/head", TEXTS)
        rows = [
            (f"{word} than {number}", word) for word in ("better", "worse") for number in range(8)
        ]
        client.upload("far/head", rows)
        client.train("far/head")
