"""Three times as much as the server can do, with a deadline of a second: refusals at once."""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import grpc
import httpx
import numpy as np
import safetensors.numpy

from drills.common.drill import Drill, Outcome
from drills.common.servers import TEXTS, server
from tests.e2e.metrics import samples
from tests.e2e.processes import Running
from tests.e2e.transports import refusal, text
from trunkline.v1 import prediction_pb2

PROMISE = (
    "under three times the load it can carry, with deadlines, the server refuses at once and with "
    "a hint, and stays ready"
)
SECONDS = 75.0
LONG_SECONDS = 1800.0

TENANTS, ROWS = 4, 8
CAPACITY_SECONDS, OVERLOAD_SECONDS = 8.0, 15.0
IN_FLIGHT = 16
FACTORS, LONG_FACTORS = (3.0,), (1.5, 3.0, 10.0)
DEADLINES, LONG_DEADLINES = (1.0,), (0.3, 1.0, 5.0)
REFUSED = ("RESOURCE_EXHAUSTED", "UNAVAILABLE")
PATH = "/trunkline.v1.PredictionService/Predict"

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, prediction_pb2.PredictResponse]


@dataclass
class Seen:
    """What became of the requests of one cell."""

    answered: int = 0
    late: int = 0
    refusal_seconds: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def share(self, capacity: float, seconds: float) -> float:
        """Requests that were answered in time, as a share of what the capacity allows."""
        return self.answered / (capacity * seconds)


async def run(drill: Drill) -> Outcome:
    """Measures the capacity, then sends more than that in an open loop."""
    cells = [
        (factor, deadline)
        for factor in (LONG_FACTORS if drill.long else FACTORS)
        for deadline in (LONG_DEADLINES if drill.long else DEADLINES)
    ]
    figures, violations, sent, slowest = [], list[str](), 0, 0.0
    async with server(drill.folder, "--backbone", TEXTS) as running:
        await asyncio.to_thread(_import_heads, running)
        requests = _requests()
        async with grpc.aio.insecure_channel(running.grpc) as channel:
            read = prediction_pb2.PredictResponse.FromString
            call: Call = channel.unary_unary(PATH, None, read)
            capacity = await _capacity(call, requests)
            for factor, deadline in cells:
                before = await asyncio.to_thread(_computed, running)
                seen, ready = await _cell(running, call, requests, factor * capacity, deadline)
                computed = await asyncio.to_thread(_computed, running) - before
                in_time = ROWS * seen.answered / max(computed, 1)
                refusals = len(seen.refusal_seconds)
                figures.append(
                    f"{factor:g} times {capacity:.0f}/s, {deadline:g} s: "
                    f"{seen.share(capacity, OVERLOAD_SECONDS):.0%} of the capacity useful, "
                    f"{in_time:.0%} of what was computed in time; {seen.answered} answered, "
                    f"{refusals} refused (median {1000 * _median(seen.refusal_seconds):.0f} ms), "
                    f"{seen.late} late"
                )
                sent += seen.answered + refusals + seen.late
                slowest = max([slowest, *seen.refusal_seconds])
                violations += seen.violations
                if not refusals:
                    violations.append(f"{factor:g} times, {deadline:g} s: nothing was refused")
                if not ready:
                    violations.append(f"{factor:g} times, {deadline:g} s: it was not ready")
                await call(next(requests), timeout=60)  # it serves on
    return Outcome("; ".join(figures), sent, slowest, tuple(violations))


async def _capacity(call: Call, requests: Iterator[bytes]) -> float:
    """Requests per second in a closed loop, by the same generator."""
    until = time.monotonic() + CAPACITY_SECONDS
    done = 0

    async def client() -> None:
        nonlocal done
        while time.monotonic() < until:
            await call(next(requests), timeout=60)
            done += 1

    begun = time.monotonic()
    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    return done / (time.monotonic() - begun)


async def _cell(
    running: Running, call: Call, requests: Iterator[bytes], rate: float, deadline: float
) -> tuple[Seen, bool]:
    """Sends at a rate, whatever comes back; gives what was seen, and whether it stayed ready."""
    seen = Seen()
    health = asyncio.create_task(_watch(running))
    pending = set()
    begun = time.monotonic()
    for number in range(int(rate * OVERLOAD_SECONDS)):
        await asyncio.sleep(begun + number / rate - time.monotonic())
        task = asyncio.create_task(_one(call, next(requests), deadline, seen))
        pending.add(task)
        task.add_done_callback(pending.discard)
    await asyncio.gather(*pending)
    ready = not health.done()
    health.cancel()
    return seen, ready


async def _one(call: Call, request: bytes, deadline: float, seen: Seen) -> None:
    begun = time.monotonic()
    try:
        reply = await call(request, timeout=deadline)
    except grpc.aio.AioRpcError as error:
        refused = refusal(error)
    else:
        rows = {one.code for one in reply.errors}
        if not rows:
            seen.answered += 1
        elif rows == {"DEADLINE_EXCEEDED"}:
            seen.late += 1
        else:
            seen.violations.append(f"rows ended with {rows}")
        return
    if refused.code == "DEADLINE_EXCEEDED":
        seen.late += 1
    elif refused.code not in REFUSED:
        seen.violations.append(str(refused))
    elif refused.retry_after is None:
        seen.violations.append(f"refused without a hint: {refused}")
    else:
        seen.refusal_seconds.append(time.monotonic() - begun)


async def _watch(running: Running) -> None:
    """Returns as soon as the server is not ready."""
    async with httpx.AsyncClient(base_url=running.rest, timeout=30) as http:
        while (await http.get("/readyz")).status_code == 200:
            await asyncio.sleep(0.25)


def _requests() -> Iterator[bytes]:
    """Requests of inputs that were never sent before, from each tenant in turn."""
    for number in itertools.count():
        words = (f"overload {number} row {row} of a text that is new" for row in range(ROWS))
        request = prediction_pb2.PredictRequest(
            head=f"tenants/overload-{number % TENANTS}/heads/h", inputs=map(text, words)
        )
        yield request.SerializeToString()


def _import_heads(running: Running) -> None:
    with running.client() as client:
        (backbone,) = client.backbones()
        weight = np.random.default_rng(0).normal(size=(2, backbone.dim)).astype(np.float32)
        data = safetensors.numpy.save({"weight": weight, "bias": np.zeros(2, np.float32)})
        for tenant in range(TENANTS):
            client.import_head(f"overload-{tenant}/h", data, TEXTS, labels=["a", "b"])


def _computed(running: Running) -> float:
    with running.http() as http:
        return samples(http, "trunkline_batch_rows_sum", backbone=TEXTS)


def _median(values: list[float]) -> float:
    return statistics.median(values) if values else 0.0
