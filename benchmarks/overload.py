"""``make bench-overload``: what a server does with more than it can do, in one table.

A real server gets requests of distinct inputs at a fixed rate, whatever becomes of those before
them (open loop). What it can do is measured before and after each cell, by the same generator: the
rate at which rows are answered while more requests without a deadline wait than it can work on. The
cell: so many times that rate, with a deadline; some of those refused come back when they were told.

capacity   rows answered in a second, the mean of before and after
useful     rows answered within their deadline, of what the server could do in that time
in time    rows answered within their deadline, of those that the backbone computed (`/metrics`)
refused    median time until a refusal, in milliseconds
back       of those who came back when they were told, how many were admitted
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
import numpy as np
import safetensors.numpy
from rich.console import Console
from rich.table import Table

from benchmarks.load import PREDICT
from benchmarks.processes import Server, server
from benchmarks.serving import write_photos
from service.config import default_cache_dir
from trunkline import Client
from trunkline.connection.status import error_from_rpc
from trunkline.v1 import common_pb2, prediction_pb2

BACKBONES = {"images": "efficientnet/lite0", "texts": "minilm/l6-v2"}
TIMES = (1.5, 3.0, 10.0)
DEADLINES = (0.3, 1.0, 5.0)
TENANTS = 50
ROWS = 8
BACK = 0.2
"""Share of those refused that come back."""
WAITING = 4
"""Requests that wait while the capacity is measured: enough to keep every core at work."""

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
Inputs = Iterator[common_pb2.Input]


@dataclass
class Seen:
    """What one cell saw: rows, and seconds until refusals."""

    answered: int = 0
    useful: int = 0
    refused: list[float] = field(default_factory=list)
    late: int = 0
    back: list[bool] = field(default_factory=list)


@dataclass(frozen=True)
class Cell:
    """One load."""

    times: float
    deadline: float
    rows: int
    tenants: int


class Generator:
    """Sends requests of distinct inputs to one server.

    Args:
        inputs: gives endless distinct inputs.
        backbone: that the heads are on.
    """

    def __init__(self, running: Server, backbone: str, inputs: Inputs, seconds: float) -> None:
        self._running = running
        self._backbone = backbone
        self._inputs = inputs
        self.seconds = seconds
        self._rng = random.Random(0)

    async def capacity(self, call: Call, rows: int) -> float:
        """Rows a second in requests of so many, answered while a few without a deadline wait."""
        seconds = self.seconds / 2
        until = time.perf_counter() + seconds
        answered = 0

        async def client() -> None:
            nonlocal answered
            while time.perf_counter() < until:
                await call(self._request(rows, 0))
                answered += rows if time.perf_counter() < until else 0

        await asyncio.gather(*(client() for _ in range(WAITING * ROWS // rows)))
        return answered / seconds

    async def run(self, call: Call, cell: Cell, capacity: float) -> tuple[Seen, int]:
        """Runs a cell; returns what was seen, and the rows that the backbone computed."""
        seen = Seen()
        before = self._computed()
        gap = cell.rows / (cell.times * capacity)
        # Made before the clock starts: server and client share the cores.
        requests = [
            self._request(cell.rows, number % cell.tenants)
            for number in range(math.ceil(self.seconds / gap))
        ]
        clients: list[asyncio.Task[None]] = []
        started = time.perf_counter()
        ends = started + self.seconds
        for number, request in enumerate(requests):
            await asyncio.sleep(max(0.0, started + gap * number - time.perf_counter()))
            clients.append(asyncio.create_task(self._client(call, cell, request, seen, ends)))
        await asyncio.gather(*clients)
        return seen, self._computed() - before

    async def _client(
        self, call: Call, cell: Cell, request: bytes, seen: Seen, ends: float
    ) -> None:
        refusal = await self._ask(call, cell, request, seen, ends)
        if refusal is None or self._rng.random() > BACK:
            return
        hint = error_from_rpc(refusal).retry_after or 0.0
        if time.perf_counter() + hint > ends:
            return
        await asyncio.sleep(hint)
        seen.back.append(await self._ask(call, cell, request, seen, ends) is None)

    async def _ask(
        self, call: Call, cell: Cell, request: bytes, seen: Seen, ends: float
    ) -> grpc.aio.AioRpcError | None:
        """Sends a request; returns the refusal, if it was refused."""
        begun = time.perf_counter()
        try:
            reply = prediction_pb2.PredictResponse.FromString(
                await call(request, timeout=cell.deadline)
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED:
                seen.refused.append(time.perf_counter() - begun)
                return error
            seen.late += 1
            return None
        rows = cell.rows - len(reply.errors)
        seen.answered += rows
        seen.useful += rows if time.perf_counter() < ends else 0
        return None

    def _request(self, rows: int, tenant: int) -> bytes:
        return prediction_pb2.PredictRequest(
            head=f"tenants/t{tenant}/heads/h", inputs=[next(self._inputs) for _ in range(rows)]
        ).SerializeToString()

    def _computed(self) -> int:
        text = httpx.get(f"{self._running.rest}/metrics").text
        found = re.search(
            rf'^trunkline_batch_rows_sum{{backbone="{self._backbone}"}} (\S+)', text, re.MULTILINE
        )
        return int(float(found[1])) if found else 0


def measure(kinds: list[str], seconds: float, cells: list[Cell], console: Console) -> None:
    """Runs all cells, and prints a table for each kind of input."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        photos = Path(folder) / "images"
        write_photos(photos)
        sources: dict[str, Callable[[], Inputs]] = {
            "images": lambda: _images(photos),
            "texts": _texts,
        }
        for kind in kinds:
            backbone = BACKBONES[kind]
            running = stack.enter_context(
                server(Path(folder) / kind, default_cache_dir(), "--backbone", backbone)
            )
            _import_heads(running, backbone)
            generator = Generator(running, backbone, sources[kind](), seconds)
            console.print(asyncio.run(_table(running, generator, kind, cells)))


async def _table(running: Server, generator: Generator, kind: str, cells: list[Cell]) -> Table:
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        call: Call = channel.unary_unary(PREDICT)
        await generator.capacity(call, ROWS)  # the first requests pay for what is made once
        table = Table(title=kind)
        for column in (
            "times",
            "deadline",
            "rows",
            "tenants",
            "capacity",
            "useful",
            "in time",
            "refused",
            "back",
        ):
            table.add_column(column, justify="right")
        for cell in cells:
            before = await generator.capacity(call, cell.rows)
            seen, computed = await generator.run(call, cell, before)
            # The machine may be faster or slower by now.
            capacity = (before + await generator.capacity(call, cell.rows)) / 2
            table.add_row(
                *(f"{cell.times:g}", f"{cell.deadline:g} s", str(cell.rows), str(cell.tenants)),
                f"{capacity:.0f}/s",
                f"{seen.useful / capacity / generator.seconds:.2f}",
                f"{seen.answered / computed:.2f}" if computed else "",
                f"{1000 * statistics.median(seen.refused):.0f} ms" if seen.refused else "",
                f"{sum(seen.back)} of {len(seen.back)}",
            )
    return table


def _cells(times: list[float], deadlines: list[float]) -> list[Cell]:
    eight = [
        Cell(load, deadline, ROWS, tenants)
        for load in times
        for deadline in deadlines
        for tenants in (1, TENANTS)
    ]
    return eight + [
        Cell(load, deadline, 1, 1) for load in times if load < 10 for deadline in deadlines
    ]


def _images(folder: Path) -> Inputs:
    photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]
    number = 0
    while True:
        number += 1
        # Decoders ignore what follows a JPEG's end marker; the digest does not.
        yield common_pb2.Input(image=photos[number % len(photos)] + str(number).encode())


def _texts() -> Inputs:
    rng = random.Random(1)
    words = ("rain", "wind", "loom", "wool", "thread", "river", "paper", "glass", "stone", "light")
    number = 0
    while True:
        number += 1
        yield common_pb2.Input(text=f"{number} {' '.join(rng.choices(words, k=12))}")


def _import_heads(running: Server, backbone: str) -> None:
    rng = np.random.default_rng(0)
    with Client(running.grpc) as client:
        (loaded,) = client.backbones()
        for tenant in range(TENANTS):
            tensors = {
                "weight": rng.normal(size=(3, loaded.dim)).astype(np.float32),
                "bias": np.zeros(3, dtype=np.float32),
            }
            client.import_head(
                f"t{tenant}/h",
                safetensors.numpy.save(tensors),
                backbone=backbone,
                fingerprint=loaded.fingerprint,
                labels=["a", "b", "c"],
            )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--times", nargs="+", type=float, default=list(TIMES))
    parser.add_argument("--deadlines", nargs="+", type=float, default=list(DEADLINES))
    parser.add_argument("--seconds", type=float, default=7.0, help="length of one cell")
    args = parser.parse_args()
    measure(args.kinds, args.seconds, _cells(args.times, args.deadlines), Console())


if __name__ == "__main__":
    main()
