"""Some minutes of everything at once, with a key: what a server holds must not grow."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

from drills.common.drill import Drill, Outcome
from drills.common.pausing import Pausing
from drills.common.plots import resident_plot
from drills.common.servers import IMAGES, TEXTS, ask, both_ways, children, server
from tests.e2e.metrics import samples
from tests.e2e.processes import Running
from tests.e2e.samples import noise_png, vectors
from tests.e2e.transports import Grpc, Refused, Rest, Transport, embedding, image, text
from trunkline import Client
from trunkline.digest import embedding_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

PROMISE = (
    "under a steady mixed load resident set, open files, threads and tasks stay where they were "
    "after the first part of the time"
)
SECONDS = 220.0
LONG_SECONDS = 2700.0

PARTS, LONG_PARTS = 3, 30
PART_SECONDS = 60.0
"""After each part of the time the server rests and is measured."""
CLIENTS = 8
DIM = 384
TENANTS = 10
MIB = 1 << 20
MEMORY_SHARE, MEMORY_SLACK = 0.05, 20 * MIB
"""That the resident set may grow by: an allocator keeps some of what it was given back."""
SLACK = {"files": 8, "threads": 6, "tasks": 6}
"""Pools of threads fill up late, and each of them has a file or two."""
SMALL_CACHES = (
    *("--embedding-cache-bytes", str(4 * MIB), "--head-cache-bytes", str(MIB)),
    *("--live-cache-bytes", str(16 * MIB)),
)
RIDGE = heads_pb2.HeadSpec(family="ridge", l2=1.0)


@dataclass(frozen=True, slots=True)
class Held:
    """What a server that rests holds, its fitting process included."""

    resident: int
    files: int
    threads: int
    tasks: int

    def __str__(self) -> str:
        return (
            f"{self.resident / MIB:.0f} MiB, {self.files} files, {self.threads} threads, "
            f"{self.tasks} tasks"
        )


def growth(before: Held, after: Held) -> list[str]:
    """Says what has grown beyond its tolerance."""
    most = before.resident * (1 + MEMORY_SHARE) + MEMORY_SLACK
    grown = [f"resident set: {before} became {after}"] if after.resident > most else []
    for name, slack in SLACK.items():
        if getattr(after, name) > getattr(before, name) + slack:
            grown.append(f"{name}: {before} became {after}")
    return grown


async def run(drill: Drill) -> Outcome:
    """Measures a server that rests after each minute, and draws what it held then."""
    parts = LONG_PARTS if drill.long else PARTS
    async with server(drill.folder, "--auth", "required", *SMALL_CACHES) as running:
        with both_ways(running) as ways, running.client() as client:
            load = Load(running, ways, client, drill.random)
            await asyncio.to_thread(load.prepare)
            async with asyncio.TaskGroup() as group:
                work = [group.create_task(load.repeat()) for _ in range(CLIENTS)]
                held = []
                for _ in range(parts):
                    await asyncio.sleep(PART_SECONDS)
                    held.append(await load.rest())
                for task in work:
                    task.cancel()
            with running.http() as http:
                internal = samples(http, "trunkline_requests_total", code="INTERNAL")
        if internal:
            load.violations.append(f"{internal:.0f} requests ended with INTERNAL")
        status = await asyncio.to_thread(running.terminate)
    if status:
        load.violations.append(f"ended with status {status}")
    if "Traceback" in running.log.read_text():
        load.violations.append("the log has a traceback")
    (drill.folder / "soak.svg").write_text(resident_plot([one.resident / MIB for one in held]))
    done = ", ".join(f"{count} {kind}" for kind, count in sorted(load.done.items()))
    return Outcome(
        f"{done}; held after each minute: {'; '.join(map(str, held))}",
        load.done.total(),
        load.slowest,
        (*load.violations, *growth(held[0], held[-1])),
    )


class Load:
    """Clients that each do one thing after the other, by chance."""

    def __init__(
        self, running: Running, ways: tuple[Grpc, Rest], client: Client, random: random.Random
    ) -> None:
        self._running = running
        self._ways: tuple[Transport, ...] = ways
        self._client = client
        self._random = random
        self._numbers = itertools.count(1000)
        self._fingerprint = ""
        self._pausing = Pausing()
        self.done: Counter[str] = Counter()
        self.violations: list[str] = []
        self.slowest = 0.0

    def prepare(self) -> None:
        """Makes heads on texts and on images."""
        texts = next(one for one in self._client.backbones() if one.name == TEXTS)
        self._fingerprint = texts.fingerprint
        for tenant in range(TENANTS):
            words = [(f"{label} thing {i}", label) for i in range(6) for label in ("red", "blue")]
            self._client.create_head(f"soak-{tenant}/texts", TEXTS)
            self._client.upload(f"soak-{tenant}/texts", words)
            self._client.train(f"soak-{tenant}/texts")
        pictures = [(noise_png(i), f"class-{i % 2}") for i in range(12)]
        self._client.create_head("soak-0/images", IMAGES)
        self._client.upload("soak-0/images", pictures)
        self._client.train("soak-0/images")

    async def repeat(self) -> None:
        """Does one thing after the other, for ever."""
        kinds: dict[str, tuple[int, Callable[[Transport], Awaitable[None]]]] = {
            "predict": (30, self._predict),
            "picture": (10, self._picture),
            "impatient": (5, self._impatient),
            "refused": (5, self._refused),
            "connect": (5, self._connect),
            "examples": (5, self._examples),
            "train": (2, self._train),
            "learn": (2, self._learn),
            "import": (3, self._import),
        }
        names, weights = list(kinds), [weight for weight, _ in kinds.values()]
        while True:
            (name,) = self._random.choices(names, weights)
            async with self._pausing.work():
                begun = time.monotonic()
                await kinds[name][1](self._random.choice(self._ways))
                self.slowest = max(self.slowest, time.monotonic() - begun)
                self.done[name] += 1

    async def rest(self) -> Held:
        """Pauses all clients and measures the server once its tasks have ended."""
        async with self._pausing.paused():
            with self._running.http() as http:
                held = await asyncio.to_thread(self._held, http)
                for _ in range(20):
                    await asyncio.sleep(1)
                    last, held = held, await asyncio.to_thread(self._held, http)
                    if held.tasks >= last.tasks:
                        break
            return held

    def _held(self, http: httpx.Client) -> Held:
        process = psutil.Process(self._running.pid)
        fitters = children(self._running, "service.fitting.worker")
        return Held(
            sum(one.memory_info().rss for one in (process, *fitters)),
            process.num_fds(),
            process.num_threads(),
            int(samples(http, "trunkline_event_loop_tasks")),
        )

    async def _predict(self, way: Transport) -> None:
        known = text(f"cached {self._random.randrange(50)}")
        new = text(f"new {next(self._numbers)}")
        rows = await ask(way.predict, f"{self._tenant()}/heads/texts", [known, new])
        if not all(row.label for row in rows.rows):
            self.violations.append(f"predict: {rows.rows}")

    async def _picture(self, way: Transport) -> None:
        picture = image(noise_png(next(self._numbers), size=64))
        rows = await ask(way.predict, "tenants/soak-0/heads/images", [picture])
        if not rows.rows[0].label:
            self.violations.append(f"picture: {rows.rows}")

    async def _impatient(self, way: Transport) -> None:
        """Leaves before the answer, unless it is told at once that there will be none."""
        pictures = [image(noise_png(next(self._numbers), size=64)) for _ in range(8)]
        try:
            await ask(way.predict, "tenants/soak-0/heads/images", pictures, 0.02)
        except TimeoutError:
            pass
        except Refused as error:
            if error.code != "RESOURCE_EXHAUSTED" or error.retry_after is None:
                raise

    async def _refused(self, way: Transport) -> None:
        try:
            await ask(way.predict, f"{self._tenant()}/heads/nobody", [text("x")])
        except Refused as error:
            if error.code != "NOT_FOUND":
                raise

    async def _connect(self, way: Transport) -> None:
        """Comes over a connection of its own, and goes."""
        with both_ways(self._running) as ways:
            for one in ways:
                await ask(one.predict, f"{self._tenant()}/heads/texts", [text("hello")])

    async def _examples(self, way: Transport) -> None:
        """Adds examples and deletes them again."""
        head = f"{self._tenant()}/heads/texts"
        rows = vectors(20, DIM, next(self._numbers))
        await ask(way.add, head, [(self._embedding(v), label) for v, label in rows])
        digests = [embedding_digest(self._fingerprint, vector.tobytes()) for vector, _ in rows]
        request = heads_pb2.DeleteExamplesRequest(head=head, digests=digests)
        await ask(way.call, "DeleteExamples", request)

    async def _train(self, way: Transport) -> None:
        request = heads_pb2.TrainHeadRequest(head=f"{self._tenant()}/heads/texts", spec=RIDGE)
        reply = await ask(way.call, "TrainHead", request)
        if reply.training.state != heads_pb2.TRAINING_STATE_SUCCEEDED:
            self.violations.append(f"train: {reply.training}")

    async def _learn(self, way: Transport) -> None:
        """Makes a head that follows feedback, teaches it, and deletes it."""
        number = next(self._numbers)
        parent, name = self._tenant(), f"taught-{number}"
        head = f"{parent}/heads/{name}"
        create = heads_pb2.CreateHeadRequest(
            parent=parent,
            head_id=name,
            backbone=TEXTS,
            spec=RIDGE,
            policy=heads_pb2.FEEDBACK_POLICY_IMMEDIATE,
        )
        await ask(way.call, "CreateHead", create)
        rows = vectors(24, DIM, number)
        await ask(way.add, head, [(self._embedding(v), label) for v, label in rows])
        await ask(way.call, "TrainHead", heads_pb2.TrainHeadRequest(head=head))
        for vector, label in vectors(5, DIM, number + 1):
            item = prediction_pb2.Feedback(input=self._embedding(vector), label=label)
            feedback = prediction_pb2.SendFeedbackRequest(head=head, feedback=[item])
            await ask(way.call, "SendFeedback", feedback)
            await ask(way.predict, head, [self._embedding(vector)])
        await ask(way.call, "DeleteHead", heads_pb2.DeleteHeadRequest(name=head))

    async def _import(self, way: Transport) -> None:
        """Copies a head, asks it, and deletes the copy."""
        source = heads_pb2.ExportHeadRequest(name="tenants/soak-0/heads/texts")
        exported = await ask(way.call, "ExportHead", source)
        parent, name = self._tenant(), f"copied-{next(self._numbers)}"
        request = heads_pb2.ImportHeadRequest(
            parent=parent,
            head_id=name,
            backbone=TEXTS,
            fingerprint=self._fingerprint,
            safetensors=exported.safetensors,
        )
        await ask(way.call, "ImportHead", request)
        await ask(way.predict, f"{parent}/heads/{name}", [text("imported")])
        await ask(
            way.call, "DeleteHead", heads_pb2.DeleteHeadRequest(name=f"{parent}/heads/{name}")
        )

    def _tenant(self) -> str:
        return f"tenants/soak-{self._random.randrange(TENANTS)}"

    def _embedding(self, vector: NDArray[np.float32]) -> common_pb2.Input:
        return embedding(self._fingerprint, vector)
