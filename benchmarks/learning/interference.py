"""How much predictions of cached inputs suffer while heads are trained."""

from __future__ import annotations

import itertools
import json
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.learning.data import Embedded, embedded
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, yes_or_no
from benchmarks.load import PREDICT, Plan
from benchmarks.processes import outcome, server
from benchmarks.serving import write_photos
from trunkline import Client, Vector

EXAMPLES, HEADS = 2000, 3
IN_FLIGHT, ROUNDS, SECONDS = 8, 7, 8
MOST = 2.0


@dataclass
class _Seen:
    """Latencies (ms) of the rounds, and how many trainings ended in them."""

    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    trainings: int = 0


def measure(run: Run) -> list[Table]:
    """Alternate rounds without and with trainings one after the other."""
    rounds, seconds = run.size(ROUNDS, 1), float(run.size(SECONDS, 2))
    examples = run.size(EXAMPLES, 200)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_photos(folder / "images")
        with server(folder / "data", run.cache) as running, Client(running.grpc) as client:
            data = embedded("textile", run.cache)
            heads = _heads(client, data, examples)
            plan = Plan(
                address=running.grpc,
                method=PREDICT,
                images=folder / "images",
                distinct=False,
                salt="",
                tenants=1,
                in_flight=IN_FLIGHT,
                seconds=seconds,
            )
            seen = _rounds(run, client, heads, plan, rounds)
    return [_table(seen, plan, examples)]


def _rounds(run: Run, client: Client, heads: list[str], plan: Plan, rounds: int) -> _Seen:
    seen = _Seen()
    with run.steps("interference", 2 * rounds) as done:
        _p99(plan)  # a round that does not count, so that the first is like the others
        for _ in range(rounds):
            seen.quiet.append(_p99(plan))
            done()
            with _trainings(client, heads) as ended:
                seen.busy.append(_p99(plan))
            seen.trainings += len(ended)
            done()
    return seen


def _heads(client: Client, data: Embedded, examples: int) -> list[str]:
    """Upload the examples to some heads, and train the first, which answers as `t0/h`."""
    (backbone,) = (b for b in client.backbones() if b.name == "efficientnet/lite0")
    rows = np.random.default_rng(0).permutation(len(data.labels))[:examples]
    pairs = zip(*data.take(rows), strict=True)
    items = [(Vector(backbone.fingerprint, vector), label) for vector, label in pairs]
    heads = ["t0/h", *(f"t{number}/h" for number in range(1, HEADS + 1))]
    for head in heads:
        client.create_head(head, backbone.name)
        client.upload(head, items)
    client.train(heads[0])
    return heads[1:]


@contextmanager
def _trainings(client: Client, heads: list[str]) -> Iterator[list[str]]:
    """Train the heads in turn during the block; gives the trainings that have ended."""
    ended: list[str] = []
    stop = threading.Event()

    def train() -> None:
        for head in itertools.cycle(heads):
            if stop.is_set():
                return
            ended.append(client.train(head).name)

    thread = threading.Thread(target=train)
    thread.start()
    try:
        yield ended
    finally:
        stop.set()
        thread.join()


def _p99(plan: Plan) -> float:
    seen = outcome("benchmarks.load", json.dumps(asdict(plan), default=str))
    if seen["errors"]:
        raise RuntimeError(f"{seen['errors']} of {seen['requests']} requests failed")
    p99: float = seen["p99_ms"]
    return p99


def _table(seen: _Seen, plan: Plan, examples: int) -> Table:
    ratio = median(busy / quiet for busy, quiet in zip(seen.busy, seen.quiet, strict=True))
    row = (
        f"{median(seen.quiet):.1f} ms",
        f"{median(seen.busy):.1f} ms",
        f"{ratio:.2f}",
        f"≤ {MOST:g}",
        yes_or_no(ratio <= MOST),
    )
    columns = ("p99 without training", "p99 with training", "ratio", "wanted", "met")
    note = (
        f"`Predict` of cached images, one row a request, {IN_FLIGHT} in flight; {len(seen.quiet)} "
        f"alternated rounds of {plan.seconds:g} s; medians, ratio of the same round. "
        f"{seen.trainings} trainings on {examples:,} examples (d=1280, `auto`, with the whole "
        "report) ended meanwhile."
    )
    return Table("Predictions while heads are trained", columns, [row], note)
