"""What one feedback costs, in this process and over the API."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np

import adapters
from adapters.live import Change, LiveHead, live_head
from benchmarks.learning.data import Embedded, Rows, embedded
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, yes_or_no
from benchmarks.processes import Server, server
from trunkline import Client, Vector
from trunkline.v1 import heads_pb2, heads_pb2_grpc, prediction_pb2, prediction_pb2_grpc

FAMILIES = ("ridge", "lda", "prototype")
BASE, UPDATES = 1000, 500
MOST_MS = 5.0

TENANTS, EXAMPLES, IN_FLIGHT, SECONDS = 100, 100, 16, 15
BACKBONE = "efficientnet/lite0"


def measure(run: Run) -> list[Table]:
    """Time updates alone, then feedback as tenants send it."""
    return [_updates(run), _over_the_api(run)]


def _updates(run: Run) -> Table:
    """Time additions, every fifth of which is corrected right after, on a warm live copy."""
    data = embedded("digits", run.cache)
    count = run.size(UPDATES, 20)
    train, rest = data.split(run.size(BASE, 200), 0)
    embeddings, labels = data.take(train)
    rows = []
    with run.steps("updates", len(FAMILIES)) as done:
        for family in FAMILIES:
            spec = adapters.HeadSpec(family)
            head = adapters.fit(embeddings, labels, spec, fingerprint="benchmark").head
            live = live_head(head, embeddings, labels)
            live.apply([next(_changes(data, rest[-1:]))])  # warm
            times = [_elapsed(live, change) for change in islice(_changes(data, rest), count)]
            middle, top = _quantiles(times)
            met = yes_or_no(middle <= MOST_MS)
            figures = (f"{middle:.2f} ms", f"{top:.2f} ms", f"≤ {MOST_MS:g} ms")
            rows.append((f"`{family}`", *figures, met))
            done()
    note = (
        f"{count} feedbacks one by one on a live copy of {len(train):,} examples, d=1280, 10 "
        "classes: new examples, every fifth followed by a correction of its label. The head that "
        "the next prediction uses is part of it. Wanted of the median."
    )
    return Table("One feedback", ("family", "median", "p99", "wanted", "met"), rows, note)


def _elapsed(live: LiveHead, change: Change) -> float:
    """Return the milliseconds of an update."""
    started = time.perf_counter()
    live.apply([change])
    return 1000 * (time.perf_counter() - started)


def _changes(data: Embedded, rows: Rows) -> Iterator[Change]:
    labels = np.unique(data.labels).tolist()
    for number, row in enumerate(rows):
        embedding, right = data.embeddings[row], str(data.labels[row])
        if number % 5:
            yield Change(embedding, right)
        else:
            wrong = labels[(labels.index(right) + 1) % len(labels)]
            yield Change(embedding, wrong)
            yield Change(embedding, right, old_label=wrong)


def _quantiles(milliseconds: Sequence[float]) -> tuple[float, float]:
    return float(np.median(milliseconds)), float(np.quantile(milliseconds, 0.99))


@dataclass(frozen=True)
class _Rates:
    """Feedbacks that were acknowledged, how fast, and how fast they were learned, too."""

    count: int
    acknowledged: float
    learned: float
    median_ms: float
    p99_ms: float


def _over_the_api(run: Run) -> Table:
    tenants, examples = run.size(TENANTS, 3), run.size(EXAMPLES, 40)
    data = embedded("digits", run.cache)
    with (
        tempfile.TemporaryDirectory() as folder,
        server(Path(folder) / "data", run.cache, "--backbone", BACKBONE) as running,
    ):
        fingerprint = _train_heads(run, running, data, tenants, examples)
        load = _Load(data, fingerprint, tenants, examples, run.size(SECONDS, 1))
        seen = asyncio.run(load.run(running.grpc))
    row = (
        f"{seen.acknowledged:.0f}/s",
        f"{seen.learned:.0f}/s",
        f"{seen.median_ms:.1f} ms",
        f"{seen.p99_ms:.1f} ms",
    )
    columns = ("acknowledged", "learned", "latency, median", "p99")
    note = (
        f"{seen.count:,} feedbacks from {tenants} tenants with a head each (`ridge`, d=1280, 10 "
        f"classes, {examples} examples; policy `immediate`), one in a request, {IN_FLIGHT} "
        "in flight, each with a new input as an embedding. Acknowledged is durable; learned counts "
        "the time until every head answers with all of its feedback."
    )
    return Table("Feedback over gRPC", columns, [row], note)


def _train_heads(run: Run, running: Server, data: Embedded, tenants: int, examples: int) -> str:
    """Make a trained head for each tenant; returns the backbone's fingerprint."""
    rows, _ = data.split(examples, 0)
    with (
        Client(running.grpc) as client,
        grpc.insecure_channel(running.grpc) as channel,
        run.steps("heads with feedback", tenants) as done,
    ):
        heads = heads_pb2_grpc.HeadServiceStub(channel)
        (backbone,) = client.backbones()
        items = [
            (Vector(backbone.fingerprint, vector), label)
            for vector, label in zip(*data.take(rows), strict=True)
        ]
        for tenant in range(tenants):
            heads.CreateHead(
                heads_pb2.CreateHeadRequest(
                    parent=f"tenants/t{tenant}",
                    head_id="h",
                    backbone=backbone.name,
                    spec=heads_pb2.HeadSpec(family="ridge"),
                    policy=heads_pb2.FEEDBACK_POLICY_IMMEDIATE,
                )
            )
            client.upload(f"t{tenant}/h", items)
            client.train(f"t{tenant}/h")
            done()
    return backbone.fingerprint


class _Load:
    """Sends feedback for each tenant in turn, in a closed loop."""

    def __init__(
        self, data: Embedded, fingerprint: str, tenants: int, examples: int, seconds: float
    ) -> None:
        _, rest = data.split(examples, 0)
        self._items = [
            prediction_pb2.Feedback(input=Vector(fingerprint, vector).message(), label=label)
            for vector, label in zip(*data.take(rest), strict=True)
        ]
        self._heads = [f"tenants/t{tenant}/heads/h" for tenant in range(tenants)]
        self._seconds = seconds
        self._latencies: list[float] = []

    async def run(self, address: str) -> _Rates:
        """Send for so many seconds; then wait until everything is learned."""
        async with grpc.aio.insecure_channel(address) as channel:
            stub = prediction_pb2_grpc.PredictionServiceStub(channel)
            items = iter(self._items)
            await self._round(stub, next(items))  # makes the live copies
            requests = (
                prediction_pb2.SendFeedbackRequest(head=head, feedback=[item])
                for item in items
                for head in self._heads
            )
            started = time.perf_counter()
            until = started + self._seconds
            await asyncio.gather(*(self._send(stub, requests, until) for _ in range(IN_FLIGHT)))
            acknowledged = time.perf_counter() - started
            await self._predict(stub)
            learned = time.perf_counter() - started
        count = len(self._latencies)
        return _Rates(count, count / acknowledged, count / learned, *_quantiles(self._latencies))

    async def _round(self, stub: Any, item: prediction_pb2.Feedback) -> None:
        for head in self._heads:
            await stub.SendFeedback(prediction_pb2.SendFeedbackRequest(head=head, feedback=[item]))
        await self._predict(stub)

    async def _send(
        self, stub: Any, requests: Iterator[prediction_pb2.SendFeedbackRequest], until: float
    ) -> None:
        for request in requests:
            started = time.perf_counter()
            if started >= until:
                return
            reply = await stub.SendFeedback(request)
            if reply.errors:
                raise RuntimeError(reply.errors[0].message)
            self._latencies.append(1000 * (time.perf_counter() - started))

    async def _predict(self, stub: Any) -> None:
        """Ask every head, which answers once it has learned what was acknowledged."""
        for head in self._heads:
            request = prediction_pb2.PredictRequest(head=head, inputs=[self._items[0].input])
            await stub.Predict(request)
