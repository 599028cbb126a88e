"""SIGTERM and SIGINT at random moments, under load of every kind of call over both transports."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import httpx
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from drills.common.drill import Drill, Outcome
from tests.e2e.processes import Running, extractor_command, serve_command
from tests.e2e.samples import vectors
from tests.e2e.transports import METHODS, embedding, json_body, refusal, text
from tests.service.tunings import TUNE, WHO_BITES
from trunkline import Client, Vector
from trunkline.v1 import advice_pb2, heads_pb2, prediction_pb2

PROMISE = (
    "a server that is told to stop exits with 0 within drain_seconds + 2 s, whatever it is doing; "
    "every call that it took gets its answer, or UNAVAILABLE with an id and a time to come again"
)
SECONDS = 185.0
LONG_SECONDS = 3600.0

STOPS, LONG_STOPS = 20, 200
DRAIN_SECONDS = 3
MARGIN_SECONDS = 2
START_SECONDS, LOADED_SECONDS = 4.0, 2.5
"""In which a server that starts, and one under load, is stopped."""
TOLD_SECONDS = 30.0
"""In which every client hears that the server is gone."""
TEXTS = "minilm/l6-v2"
TENANT = "tenants/stops"
WRITTEN, TUNED = f"{TENANT}/heads/written", f"{TENANT}/heads/tuned"
DIM = 384
SIGNALS: Sequence[tuple[signal.Signals, ...]] = (
    (signal.SIGTERM,),
    (signal.SIGTERM,),
    (signal.SIGINT,),
    (signal.SIGTERM, signal.SIGTERM),
    (signal.SIGTERM, signal.SIGINT),
    (signal.SIGINT, signal.SIGINT),
)
REFUSED = ("failed to connect to all addresses", "Connection refused")
FINAL = (
    heads_pb2.TRAINING_STATE_SUCCEEDED,
    heads_pb2.TRAINING_STATE_FAILED,
    heads_pb2.TRAINING_STATE_CANCELLED,
)


async def run(drill: Drill) -> Outcome:
    """Stops a loaded server again and again on one store, some of them while they start."""
    seen: Counter[str] = Counter()
    violations: list[str] = []
    worst, stops = 0.0, LONG_STOPS if drill.long else STOPS
    command = serve_command(
        drill.folder / "data", "--backbone", TEXTS, "--drain-seconds", str(DRAIN_SECONDS)
    )
    for number in range(stops):
        kind = "server" if number % 10 < 7 else ("extractor" if number % 10 == 9 else "start")
        called = extractor_command("--port", "0", "--drain-seconds", str(DRAIN_SECONDS))
        log = drill.folder / f"log-{number}"
        running = Running.start(called if kind == "extractor" else command, log)
        try:
            load = Load(running, number)
            if kind == "start":
                await asyncio.to_thread(wait_for_handler, running.pid, signal.SIGTERM)
                await asyncio.sleep(drill.random.uniform(0, START_SECONDS))
            else:
                await asyncio.to_thread(running.wait_until_serving)
                if not number:
                    await asyncio.to_thread(prepare, running)
                await load.begin(kind)
                await asyncio.sleep(drill.random.uniform(0.3, LOADED_SECONDS))
            begun = time.monotonic()
            for sent in drill.random.choice(SIGNALS):
                running.process.send_signal(sent)
                await asyncio.sleep(drill.random.uniform(0, 0.3))
            status = await asyncio.to_thread(running.wait)
            took = time.monotonic() - begun
            await load.end(TOLD_SECONDS * drill.slack)
            worst = max(worst, took)
            seen += load.seen
            violations += [f"stop {number} of a {kind}: {words}" for words in load.violations]
            if status:
                violations.append(f"stop {number} of a {kind}: ended with status {status}")
            if took > drill.slack * (DRAIN_SECONDS + MARGIN_SECONDS):
                violations.append(f"stop {number} of a {kind}: took {took:.1f} s")
            violations += [f"stop {number} of a {kind}: {line}" for line in faults(log)]
        finally:
            running.close()
    answers = ", ".join(f"{count} {words}" for words, count in sorted(seen.items()))
    return Outcome(f"stops amid {answers}", stops, worst, tuple(violations))


def wait_for_handler(pid: int, number: int) -> None:
    """Returns once a process handles a signal, which it does soon after it was started."""
    caught = 0
    while not caught >> (number - 1) & 1:
        time.sleep(0.05)
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        (words,) = [line.split()[1] for line in lines if line.startswith("SigCgt:")]
        caught = int(words, 16)


def faults(log: Path) -> list[str]:
    """Lines of a log that no stop may leave."""
    marks = ("Traceback", "BlockingIOError", '"code": "INTERNAL"', "Exception in ASGI")
    return [line[:300] for line in log.read_text().splitlines() if any(m in line for m in marks)]


def prepare(running: Running) -> None:
    """Makes a head that is trained, and one that can be tuned."""
    with running.client() as client:
        fingerprint = fingerprint_of(client)
        client.create_head(WRITTEN, TEXTS)
        client.add_examples(
            WRITTEN, [(Vector(fingerprint, vector), label) for vector, label in vectors(40, DIM)]
        )
        client.train(WRITTEN)
        client.create_head(TUNED, TEXTS, keep_inputs=True)
        client.add_examples(TUNED, list(WHO_BITES.items()))


def fingerprint_of(client: Client) -> str:
    """Of the only backbone."""
    return client.backbones()[0].fingerprint


class Load:
    """Clients of every kind, each of which judges what it is told.

    Attributes:
        seen: outcomes by kind.
        violations: what was told that must not be.
    """

    def __init__(self, running: Running, number: int) -> None:
        self._running = running
        self._numbers = itertools.count(number * 1_000_000)
        self._tasks: list[asyncio.Task[None]] = []
        self._channels: list[Any] = []
        self._blocking: Any = None
        self._fingerprint = ""
        self.seen: Counter[str] = Counter()
        self.violations: list[str] = []

    async def begin(self, kind: str) -> None:
        """Starts all clients."""
        self._blocking = grpc.insecure_channel(self._running.grpc)
        if kind == "server":
            with self._running.client() as client:
                self._fingerprint = await asyncio.to_thread(fingerprint_of, client)
        steps: list[Callable[[Any], Awaitable[None]]] = [self._watch_health]
        if kind == "server":
            steps += [self._predict] * 6 + [self._feedback] * 2 + [self._upload] * 2
            steps += [self._train, self._tune, self._advise]
        else:
            steps += [self._embed] * 6
        for step in steps:
            channel = grpc.aio.insecure_channel(
                self._running.grpc, options=[("grpc.use_local_subchannel_pool", 1)]
            )
            self._channels.append(channel)
            self._tasks.append(asyncio.create_task(self._repeat(step, channel)))
        if kind == "server":
            self._tasks += [asyncio.create_task(self._rest()) for _ in range(6)]

    async def end(self, seconds: float) -> None:
        """Waits until each client has met a closed port, for so long at most."""
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*self._tasks)
        except TimeoutError:
            self.violations.append("a client was not told that the server is gone")
        for channel in self._channels:
            await channel.close()
        if self._blocking is not None:
            self._blocking.close()

    async def _repeat(self, step: Callable[[Any], Awaitable[None]], channel: Any) -> None:
        name = step.__name__.strip("_")
        while True:
            try:
                await step(channel)
                self.seen[f"{name} OK"] += 1
            except grpc.RpcError as error:
                if self._judge(name, error):
                    return
            except AssertionError as error:
                self.violations.append(f"{name}: {error}")
                return

    def _judge(self, name: str, error: Any) -> bool:
        """Notes how a call ended; whether the port is closed."""
        told = refusal(error)
        if told.code == "UNAVAILABLE" and any(words in told.message for words in REFUSED):
            self.seen[f"{name} refused"] += 1
            return True
        if told.code == "UNAVAILABLE" and told.request_id and told.retry_after:
            self.seen[f"{name} UNAVAILABLE"] += 1
        elif told.code == "RESOURCE_EXHAUSTED" and told.retry_after:
            self.seen[f"{name} RESOURCE_EXHAUSTED"] += 1
        else:
            self.seen[f"{name} {told.code}"] += 1
            self.violations.append(f"{name}: {told.text[:300]}")
        return False

    async def _call(self, channel: Any, method: str, request: Message) -> Any:
        known = METHODS[method]
        stub = channel.unary_unary(known.path, None, known.response.FromString)
        return await stub(request.SerializeToString(), timeout=60)

    def _request(self) -> prediction_pb2.PredictRequest:
        inputs = [text(f"What bites whom, number {next(self._numbers)}?") for _ in range(8)]
        return prediction_pb2.PredictRequest(head=WRITTEN, inputs=inputs)

    async def _predict(self, channel: Any) -> None:
        reply = await self._call(channel, "Predict", self._request())
        assert not reply.errors, reply.errors[0]

    async def _embed(self, channel: Any) -> None:
        request = METHODS["Embed"].request(tenant=TENANT, inputs=self._request().inputs)
        reply = await self._call(channel, "Embed", request)
        assert not reply.errors, reply.errors[0]

    async def _feedback(self, channel: Any) -> None:
        vector, label = vectors(1, DIM, next(self._numbers) % 2**31)[0]
        feedback = prediction_pb2.Feedback(input=embedding(self._fingerprint, vector), label=label)
        request = prediction_pb2.SendFeedbackRequest(head=WRITTEN, feedback=[feedback])
        reply = await self._call(channel, "SendFeedback", request)
        assert not reply.errors, reply.errors[0]

    async def _upload(self, channel: Any) -> None:
        def messages() -> Iterator[bytes]:
            for _ in range(200):
                rows = vectors(4, DIM, next(self._numbers) % 2**31)
                examples = [
                    heads_pb2.NewExample(input=embedding(self._fingerprint, vector), label=label)
                    for vector, label in rows
                ]
                message = heads_pb2.AddExamplesRequest(head=WRITTEN, examples=examples)
                yield message.SerializeToString()
                time.sleep(0.02)

        await self._stream("AddExamples", messages())

    async def _advise(self, channel: Any) -> None:
        def messages() -> Iterator[bytes]:
            for _ in range(20):
                examples = [
                    advice_pb2.LabelledInput(
                        input=text(f"{words} {next(self._numbers)}"), label=label
                    )
                    for words, label in WHO_BITES.items()
                ]
                yield advice_pb2.AdviseRequest(
                    parent=TENANT, examples=examples[:4], backbones=[TEXTS]
                ).SerializeToString()
                time.sleep(0.05)

        await self._stream("Advise", messages())

    async def _stream(self, method: str, messages: Iterator[bytes]) -> Any:
        # grpc.aio's client forgets how a stream ended under a write.
        known = METHODS[method]
        stub: Any = self._blocking.stream_unary(known.path, None, known.response.FromString)
        return await asyncio.to_thread(stub, messages, timeout=60)

    async def _train(self, channel: Any) -> None:
        await self._follow(channel, heads_pb2.TrainHeadRequest(head=WRITTEN))

    async def _tune(self, channel: Any) -> None:
        await self._follow(channel, heads_pb2.TrainHeadRequest(head=TUNED, spec=TUNE))

    async def _follow(self, channel: Any, request: heads_pb2.TrainHeadRequest) -> None:
        known = METHODS["TrainHead"]
        stub = channel.unary_stream(known.path, None, known.response.FromString)
        last: heads_pb2.Training | None = None
        async for reply in stub(request.SerializeToString(), timeout=60):
            last = reply.training
        assert last is not None, "a training's stream ended without a message"
        assert last.state in FINAL, f"a training's stream ended with {last.state}"
        assert last.state != heads_pb2.TRAINING_STATE_FAILED, last

    async def _watch_health(self, channel: Any) -> None:
        watch = health_pb2_grpc.HealthStub(channel).Watch
        async for _ in watch(health_pb2.HealthCheckRequest(), timeout=60):
            pass

    async def _rest(self) -> None:
        async with httpx.AsyncClient(base_url=self._running.rest, timeout=60) as client:
            while True:
                try:
                    reply = await client.post(
                        f"/v1/{WRITTEN}:predict",
                        content=json_body(
                            prediction_pb2.PredictRequest(inputs=self._request().inputs)
                        ),
                        headers={"Content-Type": "application/json"},
                    )
                except httpx.ConnectError:
                    self.seen["rest refused"] += 1
                    return
                except httpx.TransportError as error:
                    self.seen["rest dropped"] += 1
                    self.violations.append(f"rest: {error!r}")
                    continue
                self.seen[f"rest {reply.status_code}"] += 1
                problem = reply.json() if reply.status_code != 200 else {}
                told = problem.get("request_id") and "retry-after" in reply.headers
                if reply.status_code not in (200, 429, 503) or (problem and not told):
                    self.violations.append(f"rest: {reply.status_code} {reply.text[:200]}")
                if reply.status_code == 503 and reply.headers.get("connection") != "close":
                    self.violations.append("rest: refused, and the connection stays")
