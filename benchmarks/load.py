"""A closed-loop load generator, run in a process of its own.

It keeps a number of requests in flight for a given time and prints what it saw as JSON. Requests
are packed before the clock starts, so that its own work is small.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import grpc

from trunkline.v1 import common_pb2, prediction_pb2

PREDICT = "/trunkline.v1.PredictionService/Predict"
CACHED = 64
"""Photos that are sent in turn when inputs are cached ones."""

Call = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
Send = Callable[[bytes], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run saw. Latencies are in milliseconds."""

    requests: int
    errors: int
    seconds: float
    rate: float
    median_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send.

    Attributes:
        address: of the gRPC server, or the URL of the REST server.
        method: the gRPC method, or "rest".
        images: folder of JPEG files.
        distinct: whether every request brings an image never sent before.
        salt: makes the images of this run different from those of other runs.
        tenants: how many tenants' heads are asked in turn.
    """

    address: str
    method: str
    images: Path
    distinct: bool
    salt: str
    tenants: int
    in_flight: int
    seconds: float


async def run(plan: Plan) -> Outcome:
    """Sends requests until the time is up and waits for the last replies."""
    photos = [path.read_bytes() for path in sorted(plan.images.glob("*.jpg"))]
    known = [] if plan.distinct else [_pack(plan, photo, 0) for photo in photos[:CACHED]]
    payloads = itertools.cycle(known) if known else _distinct(plan, photos)
    latencies: list[float] = []
    errors = 0
    async with _Sender(plan) as send:
        for payload in known:
            await send(payload)  # from now on they are cached
        started = time.perf_counter()
        until = started + plan.seconds

        async def client() -> None:
            nonlocal errors
            while (begun := time.perf_counter()) < until:
                try:
                    await send(next(payloads))
                except (grpc.RpcError, aiohttp.ClientError):
                    errors += 1
                latencies.append(time.perf_counter() - begun)

        await asyncio.gather(*(client() for _ in range(plan.in_flight)))
        seconds = time.perf_counter() - started
    latencies.sort()
    return Outcome(
        requests=len(latencies),
        errors=errors,
        seconds=seconds,
        rate=(len(latencies) - errors) / seconds,
        median_ms=1000 * latencies[len(latencies) // 2],
        p99_ms=1000 * latencies[int(len(latencies) * 0.99)],
    )


class _Sender:
    """Opens the connection and gives a function that sends one packed request."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    async def __aenter__(self) -> Send:
        if self._plan.method == "rest":
            self._session = aiohttp.ClientSession(
                headers={"content-type": "application/json"},
                connector=aiohttp.TCPConnector(limit=self._plan.in_flight),
            )
            return self._post
        self._channel = grpc.aio.insecure_channel(self._plan.address)
        self._call: Call = self._channel.unary_unary(self._plan.method)
        return self._predict

    async def __aexit__(self, *_: object) -> None:
        if self._plan.method == "rest":
            await self._session.close()
        else:
            await self._channel.close()

    async def _predict(self, payload: bytes) -> None:
        await self._call(payload)

    async def _post(self, payload: bytes) -> None:
        url = f"{self._plan.address}/v1/tenants/t0/heads/h:predict"
        async with self._session.post(url, data=payload) as response:
            await response.read()
            response.raise_for_status()


def _distinct(plan: Plan, photos: list[bytes]) -> Iterator[bytes]:
    return (
        # Decoders ignore what follows a JPEG's end marker; the digest does not.
        _pack(plan, photo + f"{plan.salt}-{number}".encode(), number % plan.tenants)
        for number, photo in enumerate(itertools.cycle(photos))
    )


def _pack(plan: Plan, photo: bytes, tenant: int) -> bytes:
    if plan.method == "rest":
        image = base64.b64encode(photo).decode()
        return json.dumps({"inputs": [{"image": image}]}).encode()
    request = prediction_pb2.PredictRequest(
        head=f"tenants/t{tenant}/heads/h", inputs=[common_pb2.Input(image=photo)]
    )
    return request.SerializeToString()


def main() -> None:
    """Reads a plan as JSON, prints the outcome as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plan", help="a Plan as JSON")
    values = json.loads(parser.parse_args().plan)
    plan = Plan(**{**values, "images": Path(values["images"])})
    print(json.dumps(asdict(asyncio.run(run(plan)))))


if __name__ == "__main__":
    main()
