"""What clients of a fleet do while its processes are killed.

Names are new each time, and what is sent again does no harm, so that a call whose answer never came
puts nothing in doubt for long: it is made again until it is acknowledged.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import safetensors.numpy

import adapters
from drills.common.answers import Answer, Probes, State
from drills.common.churn import DIM, FEW, IMMEDIATE, LABELS, LESSONS, MEMBERS, RIDGE, weights_of
from drills.common.insisting import Insisting
from drills.common.ledger import Key, Ledger, Value
from drills.common.servers import TEXTS, Away
from drills.common.timeline import Timeline
from tests.e2e.samples import vectors
from tests.e2e.transports import Refused, embedding, text
from trunkline import Client, Prediction
from trunkline.digest import embedding_digest
from trunkline.v1 import heads_pb2, prediction_pb2

VERSIONS = 3
ROWS = 4
DOUBT_SECONDS = 75.0
"""A call that was sent so long ago is done or never will be: its deadline, and a write's tries."""
RETRYABLE = ("UNAVAILABLE",)
SUCCEEDED = heads_pb2.TRAINING_STATE_SUCCEEDED


class Work:
    """All clients; each kind is a function that does one thing, and is called again and again.

    Args:
        client: ours, which tries again by itself: none of its calls may fail.

    Attributes:
        done: what was done, by kind.
        answers: all rows of all predictions, to be recomputed.
        timelines: of each head that is asked, by its full name.
    """

    def __init__(
        self, calls: Insisting, client: Client, probes: Probes, tenants: int, written: int
    ) -> None:
        self._calls, self._client, self._probes = calls, client, probes
        self._random, self._numbers = calls.random, itertools.count(1)
        self._plain = [f"tenants/t{i}/heads/plain" for i in range(tenants)]
        self.written = [f"tenants/t{i}/heads/written" for i in range(written)]
        self._known: dict[str, list[State]] = {head: [] for head in self._plain}
        self._rests: dict[str, float] = {}
        self.ledgers = {head: Ledger() for head in self.written}
        self.trainings: dict[str, heads_pb2.Training] = {}
        self.timelines: dict[str, Timeline[State]] = {}
        self.done: Counter[str] = Counter()
        self.answers: list[Answer] = []
        self._stopped = asyncio.Event()

    async def prepare(self) -> None:
        """Makes the heads that are activated, and those that are written."""
        await asyncio.gather(*map(self._prepare_plain, self._plain))
        for head in self.written:
            await self._create(head)
            for _ in range(4):
                await self._upload(head)

    async def _prepare_plain(self, head: str) -> None:
        for _ in range(VERSIONS):
            await self._import(head)
        self.timelines[head] = Timeline(self._known[head][-1])

    def stop(self) -> None:
        """Lets every client end what it does."""
        self._stopped.set()

    async def go(self, activators: int, teachers: int, askers: int) -> None:
        """Runs all clients until they are stopped."""
        steps: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            *activators * [("activate", self._activate)],
            *teachers * [("teach", self._teach)],
            *askers * [("ask", self._ask)],
            *askers // 2 * [("ask as our client", self._ask_ours)],
            ("train", self._train),
        ]
        steps += [("write", lambda head=head: self._write(head)) for head in self.written]  # type: ignore[misc]
        await asyncio.gather(*(self._repeat(kind, step) for kind, step in steps))

    async def _repeat(self, kind: str, step: Callable[[], Awaitable[None]]) -> None:
        while not self._stopped.is_set():
            try:
                await step()
            except Exception as error:
                self._calls.violations.append(f"{kind}: {error!r}"[:500])
            await asyncio.sleep(self._random.uniform(0, 0.1))

    async def _call(self, method: str, request: Any) -> Any:
        return (await self._calls.insist(self._calls.way.call, method, request))[0]

    async def _activate(self) -> None:
        """Moves a head to another version; one in doubt rests until it is none any more."""
        now = time.monotonic()
        heads = [head for head in self._plain if self._rests.get(head, 0.0) < now]
        if not heads:
            return
        head = self._random.choice(heads)
        self._rests[head] = now + 1000  # another activator has it
        state = self._random.choice(self._known[head])
        name = f"{head}/versions/{state.version}"
        request = heads_pb2.ActivateHeadVersionRequest(name=name)
        self.timelines[head].begin(state, time.monotonic())
        _, refused = await self._calls.insist(self._calls.way.call, "ActivateHeadVersion", request)
        self.timelines[head].settle(time.monotonic())
        self._rests[head] = time.monotonic() + (DOUBT_SECONDS if refused else 0.0)
        self.done["activations"] += 1

    async def _teach(self) -> None:
        """Makes a head that learns at once, and corrects it a few times."""
        number = next(self._numbers)
        head = f"{self._random.choice(self._plain).rpartition('/')[0]}/taught-{number}"
        labels = self._random.sample(LABELS, FEW)
        rows = self._random.sample(range(len(self._probes.texts)), MEMBERS + number % 5)
        members = {row: labels[i % FEW] for i, row in enumerate(rows)}
        await self._create(head, IMMEDIATE)
        examples = [
            heads_pb2.NewExample(input=self._vector(row), label=label)
            for row, label in members.items()
        ]
        await self._call("AddExamples", heads_pb2.AddExamplesRequest(head=head, examples=examples))
        trained = await self._once_trained(head)
        if trained is None:
            return  # a second training may follow the first, and it would know the corrections
        state = State(head, trained.version, await self._weights(head, trained.version))
        self.timelines[head] = timeline = Timeline(state)
        for lesson in range(self._random.randrange(1, LESSONS)):
            row = self._random.choice(rows)
            members = {**members, row: self._random.choice(labels)}
            feedback = prediction_pb2.Feedback(
                id=f"{number}-{lesson}", input=self._vector(row), label=members[row]
            )
            timeline.begin(State(head, state.version, state.head, taught=members), time.monotonic())
            request = prediction_pb2.SendFeedbackRequest(head=head, feedback=[feedback])
            await self._call("SendFeedback", request)
            timeline.settle(time.monotonic())
            self.done["lessons"] += 1
            await asyncio.sleep(self._random.uniform(0, 0.5))

    async def _once_trained(self, head: str) -> heads_pb2.Training | None:
        """Trains a head; None where that was cut off, so that nobody knows how often it was."""
        request = heads_pb2.TrainHeadRequest(head=head, activate=True)
        try:
            reply = await self._calls.once(self._calls.ways[0].call, "TrainHead", request)
        except Away:
            self.done["trainings cut off"] += 1
            return None
        self._see(reply.training)
        return reply.training if reply.training.state == SUCCEEDED else None

    async def _train(self) -> None:
        """Trains a head that is written meanwhile; its client may come back for the end."""
        head = self._random.choice(self.written)
        request = heads_pb2.TrainHeadRequest(head=head, activate=True, spec=RIDGE)
        self._see((await self._call("TrainHead", request)).training)

    def _see(self, training: heads_pb2.Training) -> None:
        self.done[f"trainings {heads_pb2.TrainingState.Name(training.state)[15:].lower()}"] += 1
        self.trainings[training.name] = training

    async def _write(self, head: str) -> None:
        if self._random.random() < 0.3:
            await self._upload(head)
        else:
            await self._feedback(head)

    async def _upload(self, head: str) -> None:
        rows = vectors(ROWS, DIM, 1000 + next(self._numbers))
        mark = self._probes.fingerprint
        values: dict[Key, Value] = {
            ("example", embedding_digest(mark, vector.tobytes())): label for vector, label in rows
        }
        examples = [
            heads_pb2.NewExample(input=embedding(mark, vector), label=label)
            for vector, label in rows
        ]
        request = heads_pb2.AddExamplesRequest(head=head, examples=examples)
        await self._note(head, values, "AddExamples", request)
        self.done["uploads"] += 1

    async def _feedback(self, head: str) -> None:
        number = next(self._numbers)
        ((vector, label),) = vectors(1, DIM, 1000 + number)
        mark = self._probes.fingerprint
        item = prediction_pb2.Feedback(
            id=f"id-{number}", input=embedding(mark, vector), label=label
        )
        values: dict[Key, Value] = {
            ("feedback", item.id): label,
            ("example", embedding_digest(mark, vector.tobytes())): label,
        }
        request = prediction_pb2.SendFeedbackRequest(head=head, feedback=[item])
        await self._note(head, values, "SendFeedback", request)
        self.done["corrections"] += 1

    async def _note(self, head: str, values: dict[Key, Value], method: str, request: Any) -> None:
        write = self.ledgers[head].send(values)
        await self._call(method, request)
        self.ledgers[head].acknowledge(write)

    async def _ask(self) -> None:
        head, rows = self._question()
        asked, inputs = time.monotonic(), [text(self._probes.texts[row]) for row in rows]
        try:
            found = (await self._calls.once(self._calls.way.predict, head, inputs)).rows
        except Away:
            return
        for row, one in zip(rows, found, strict=True):
            if one.error is None:
                self._note_answer(head, asked, row, one)
            elif one.error.code not in RETRYABLE:
                self._calls.violations.append(f"{head}: {one.error}")

    async def _ask_ours(self) -> None:
        head, rows = self._question()
        asked, texts = time.monotonic(), [self._probes.texts[row] for row in rows]
        found = await asyncio.to_thread(self._client.predict, head, texts)
        for row, one in zip(rows, found, strict=True):
            if isinstance(one, Prediction):
                self._note_answer(head, asked, row, one)
            elif one.code not in RETRYABLE:
                self._calls.violations.append(f"{head}: {one}")

    def _question(self) -> tuple[str, list[int]]:
        head = self._random.choice(list(self.timelines))
        return head, self._random.sample(range(len(self._probes.texts)), ROWS)

    def _note_answer(self, head: str, asked: float, row: int, one: Any) -> None:
        if one.head != head:
            self._calls.violations.append(f"asked {head}, answered {one.head}")
        now = time.monotonic()
        self.answers.append(Answer(head, asked, now, row, one.version, one.scores))

    async def _create(
        self,
        head: str,
        policy: heads_pb2.FeedbackPolicy.ValueType = heads_pb2.FEEDBACK_POLICY_MANUAL,
    ) -> None:
        parent, _, name = head.partition("/heads/")
        request = heads_pb2.CreateHeadRequest(
            parent=parent, head_id=name, backbone=TEXTS, spec=RIDGE, policy=policy
        )
        try:
            await self._call("CreateHead", request)
        except Refused as error:
            if error.code != "ALREADY_EXISTS":  # by a try that was cut off
                raise

    async def _import(self, head: str) -> None:
        labels = self._random.sample(LABELS, len(LABELS))
        tensors, mark = weights_of(head), self._probes.fingerprint
        known = adapters.Head("imported", tuple(labels), tensors["weight"], tensors["bias"], mark)
        parent, _, name = head.partition("/heads/")
        request = heads_pb2.ImportHeadRequest(
            parent=parent,
            head_id=name,
            backbone=TEXTS,
            fingerprint=mark,
            safetensors=safetensors.numpy.save(tensors),
            labels=labels,
        )
        version = (await self._call("ImportHead", request)).version.version
        self._known[head].append(State(head, version, known))

    async def _weights(self, head: str, version: int) -> adapters.Head:
        request = heads_pb2.ExportHeadRequest(name=head, version=version)
        exported = await self._call("ExportHead", request)
        return adapters.Head.from_safetensors(exported.safetensors)

    def _vector(self, row: int) -> Any:
        return embedding(self._probes.fingerprint, self._probes.embeddings[row])
