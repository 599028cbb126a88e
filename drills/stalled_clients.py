"""Clients that send nothing, or read nothing, over both transports; a polite one is served."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.load import PREDICT, Plan
from drills.common.drill import Drill, Outcome
from drills.common.servers import IMAGES, ask, both_ways, server
from tests.e2e.processes import ROOT, Running
from tests.e2e.samples import noise_png, textile_photos
from tests.e2e.transports import Grpc, Rest, image
from trunkline.v1 import heads_pb2

PROMISE = "clients that send nothing or read nothing cost themselves alone, also when it stops"
SECONDS = 45.0
LONG_SECONDS = 1800.0

OF_EACH_KIND, LONG_OF_EACH_KIND = 10, 100
HELD_SECONDS, LONG_HELD_SECONDS = 12.0, 600.0
POLITE_SECONDS = 10.0
"""In which every request of the polite client is answered."""
DRAIN_SECONDS = 5
STOP_SECONDS = 2.0
"""Beyond `DRAIN_SECONDS`."""
IN_FLIGHT = 32
HEAD = "tenants/t0/heads/h"

SENT: dict[str, Callable[[Running], tuple[str, bytes]]] = {
    "nothing over REST": lambda running: (running.rest, b""),
    "half of a head": lambda running: (running.rest, b"POST /v1/tenants/t0/heads/h:pre"),
    "a head without its body": lambda running: (
        running.rest,
        b"POST /v1/tenants/t0/heads/h:predict HTTP/1.1\r\nhost: 127.0.0.1\r\n"
        b"content-type: application/json\r\ncontent-length: 1000000\r\n\r\n{",
    ),
    "questions, reading no answer": lambda running: (
        running.rest,
        200 * b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n",
    ),
    "nothing over gRPC": lambda running: (f"http://{running.grpc}", b""),
    "a preface alone": lambda running: (
        f"http://{running.grpc}",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0)),
    ),
}


async def run(drill: Drill) -> Outcome:
    """Holds connections of every kind, while a polite client asks; then stops the server."""
    violations: list[str] = []
    count = LONG_OF_EACH_KIND if drill.long else OF_EACH_KIND
    photos = await asyncio.to_thread(_write_photos, drill.folder / "photos")
    options = ("--backbone", IMAGES, "--drain-seconds", str(DRAIN_SECONDS))
    async with server(drill.folder, *options) as running:
        with both_ways(running) as ways:
            await asyncio.to_thread(_train, running)
            before = psutil.Process(running.pid).num_fds()
            async with _stalled(running, count, photos) as kinds:
                held = psutil.Process(running.pid).num_fds() - before
                seconds = LONG_HELD_SECONDS if drill.long else HELD_SECONDS
                patience = POLITE_SECONDS * drill.slack
                answers, worst = await _polite(ways, seconds, patience, violations)
                begun = time.monotonic()
                status = await asyncio.to_thread(running.terminate)
                stopped = time.monotonic() - begun
    if status:
        violations.append(f"ended with status {status}")
    if stopped > drill.slack * (DRAIN_SECONDS + STOP_SECONDS):
        violations.append(f"stopping took {stopped:.1f} s, drain_seconds is {DRAIN_SECONDS}")
    done = (
        f"{count} each of {', '.join(kinds)}; 2 stopped processes with {IN_FLIGHT} requests each "
        f"({held} files of the server); {answers} polite requests answered meanwhile; stopped in "
        f"{stopped:.1f} s amid them"
    )
    return Outcome(done, answers, worst, tuple(violations))


@asynccontextmanager
async def _stalled(running: Running, count: int, photos: Path) -> AsyncIterator[list[str]]:
    """Clients of every kind that stall within the block."""
    connections: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    with ExitStack() as stack:
        for target in SENT.values():
            url, data = target(running)
            address = urlsplit(url)
            for _ in range(count):
                connected = await asyncio.open_connection(address.hostname, address.port)
                connections.append(connected)  # it would be closed with its last reference
                connected[1].write(data)
                stack.callback(connected[1].transport.abort)
        end = threading.Event()
        for _ in range(count):
            way = Grpc(running.grpc)
            stack.callback(way.close)
            _open_upload(way, end)
        stack.callback(end.set)
        stopped = [
            stack.enter_context(_load(running, method, photos)) for method in (PREDICT, "rest")
        ]
        await asyncio.sleep(3)  # they are in the midst of it
        for process in stopped:
            process.send_signal(signal.SIGSTOP)
        yield [*SENT, "uploads after their first message"]


def _open_upload(way: Grpc, end: threading.Event) -> None:
    """Opens an upload that sends one message, and no more until the end."""
    path, read = "/trunkline.v1.HeadService/AddExamples", heads_pb2.AddExamplesResponse.FromString

    def messages() -> Iterator[bytes]:
        yield heads_pb2.AddExamplesRequest(head=HEAD).SerializeToString()
        end.wait()

    way.channel.stream_unary(path, None, read).future(messages(), timeout=3600)


@contextmanager
def _load(running: Running, method: str, photos: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps requests in flight."""
    plan = Plan(
        address=running.rest if method == "rest" else running.grpc,
        method=method,
        images=photos,
        distinct=method != "rest",
        salt=method,
        tenants=1,
        in_flight=IN_FLIGHT,
        seconds=3600,
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load", json.dumps(asdict(plan), default=str)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _polite(
    ways: tuple[Grpc, Rest], seconds: float, patience: float, violations: list[str]
) -> tuple[int, float]:
    """Asks over both ways in turn, one request at a time; gives how many, and the slowest."""
    until = time.monotonic() + seconds
    count, worst = 0, 0.0
    while time.monotonic() < until:
        for way in ways:
            begun = time.monotonic()
            picture = image(noise_png(10**6 + count))
            try:
                rows = await ask(way.predict, HEAD, [picture], patience)
                if not rows.rows[0].label:
                    violations.append(f"{way.name}: {rows.rows[0]}")
            except Exception as error:
                violations.append(f"{way.name}: {error!r}")
            worst = max(worst, time.monotonic() - begun)
            count += 1
    return count, worst


def _train(running: Running) -> None:
    with running.client() as client:
        client.create_head("t0/h", IMAGES)
        client.upload("t0/h", [(noise_png(i), f"class-{i % 2}") for i in range(12)])
        client.train("t0/h")


def _write_photos(folder: Path) -> Path:
    folder.mkdir()
    for number, (photo, _) in enumerate(textile_photos(20)):
        (folder / f"{number:03d}.jpg").write_bytes(photo)
    return folder
