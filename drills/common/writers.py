"""Clients that write, train and ask without a pause, and note what they were told.

Each stops when the server goes away. What is no answer that a server under kills may give is a
violation.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from drills.common.ledger import Key, Ledger, Value
from drills.common.servers import IMAGES, TEXTS, Away, ask
from tests.e2e.processes import Running
from tests.e2e.samples import noise_png, vectors
from tests.e2e.transports import Grpc, Refused, Rest, Transport, embedding, image, refusal, text
from tests.service.tunings import WHO_BITES
from trunkline.digest import embedding_digest
from trunkline.v1 import (
    admin_pb2,
    advice_pb2,
    common_pb2,
    extraction_pb2,
    heads_pb2,
    prediction_pb2,
)

DIM = 384
ROWS = 5
TENANT = "tenants/kills"
WRITTEN = f"{TENANT}/heads/written"
TUNED = f"{TENANT}/heads/tuned"
CANCELLED = f"{TENANT}/heads/cancelled"
MADE = 3
"""Heads that are imported, activated, deleted and made anew."""

RIDGE = heads_pb2.HeadSpec(family="ridge", l2=1.0)
TUNE = heads_pb2.HeadSpec(
    family="ridge",
    l2=1.0,
    fine_tune=heads_pb2.FineTune(strategy="last_block", max_epochs=2, learning_rate=0.002),
)
TUNED_TEXTS = dict(itertools.islice(WHO_BITES.items(), 12))
SECONDS = 150.0
"""No call waits longer; one that does hangs."""

State = heads_pb2.TrainingState
UNFINISHED = (State.TRAINING_STATE_QUEUED, State.TRAINING_STATE_RUNNING)


@dataclass
class Book:
    """What all clients were told, over all lives of the server.

    Attributes:
        trainings: last state seen of each training, by its name; the oldest are forgotten, as the
            server forgets them.
        killed: how often a process of each kind was killed.
        calls: answers by kind of client.
    """

    random: random.Random
    fingerprint: str = ""
    ledger: Ledger = field(default_factory=Ledger)
    trainings: dict[str, heads_pb2.Training] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)
    killed: Counter[str] = field(default_factory=Counter)
    calls: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))

    def see(self, training: heads_pb2.Training) -> None:
        """Notes a training's state: one that has ended stays as it is."""
        before = self.trainings.get(training.name)
        if before is not None and before.state not in UNFINISHED:
            same = (before.state, before.version) == (training.state, training.version)
            if not same:
                self.violations.append(
                    f"{training.name} had ended as {before.state}, and is {training.state}"
                )
        self.trainings[training.name] = training
        if training.state == State.TRAINING_STATE_SUCCEEDED:
            head = training.name.partition("/trainings/")[0]
            self.versions[head] = max(self.versions.get(head, 0), training.version)


class Clients:
    """All kinds of clients of one life of a server."""

    def __init__(self, running: Running, book: Book, rpc: Grpc, rest: Rest) -> None:
        self._running = running
        self._book = book
        self._rpc = rpc
        self._ways: tuple[Transport, ...] = (rpc, rest)
        self._done = asyncio.Event()

    def stop(self) -> None:
        """Lets every client end with the call that it is in."""
        self._done.set()

    async def work(self) -> None:
        """Runs all of them until the server goes away or they are stopped."""
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "upload": self._upload,
            "feedback": self._feedback,
            "train": self._train,
            "cancel": self._cancel,
            "tune": self._tune,
            "advise": self._advise,
            "make": self._make,
            "load": self._load,
            "predict": self._predict,
        }
        await asyncio.gather(*(self._repeat(kind, step) for kind, step in kinds.items()))

    async def _repeat(self, kind: str, step: Callable[[], Awaitable[None]]) -> None:
        try:
            # A step need not call the server, so it need not notice that it is gone.
            while not self._done.is_set() and self._running.process.poll() is None:
                await step()
                self._book.calls[kind] += 1
        except Away:
            if self._running.process.poll() is None and not self._done.is_set():
                # It may be that it was killed this moment, and is not waited for yet.
                await asyncio.sleep(1)
                if self._running.process.poll() is None:
                    self._book.violations.append(f"{kind}: the server was away, and runs")
        except Exception as error:
            self._book.violations.append(f"{kind}: {error!r}"[:500])

    def _way(self) -> Transport:
        return self._book.random.choice(self._ways)

    async def _write(
        self, values: dict[Key, Value], method: str, request: Any, *, may: tuple[str, ...] = ()
    ) -> Any:
        """Sends what writes values; one of these refusals leaves nothing behind."""
        write = self._book.ledger.send(values)
        try:
            reply = await ask(self._way().call, method, request, SECONDS)
        except Refused as error:
            self._book.ledger.refuse(write)
            if error.code in may:
                return None
            raise
        self._book.ledger.acknowledge(write)
        return reply

    async def _upload(self) -> None:
        rows = vectors(ROWS, DIM, next(self._book.numbers))
        mark = self._book.fingerprint
        request = heads_pb2.AddExamplesRequest(
            head=WRITTEN,
            examples=[
                heads_pb2.NewExample(input=embedding(mark, vector), label=label)
                for vector, label in rows
            ],
        )
        values: dict[Key, Value] = {
            ("example", embedding_digest(mark, vector.tobytes())): label for vector, label in rows
        }
        reply = await self._write(values, "AddExamples", request)
        if reply.added != ROWS:
            self._book.violations.append(f"upload: {reply.added} of {ROWS} rows were added")
        await asyncio.sleep(self._book.random.uniform(0, 0.1))

    async def _feedback(self) -> None:
        number = next(self._book.numbers)
        vector, label = vectors(1, DIM, number)[0]
        mark = self._book.fingerprint
        feedback = prediction_pb2.Feedback(
            id=f"id-{number}", input=embedding(mark, vector), label=label
        )
        values: dict[Key, Value] = {
            ("feedback", feedback.id): label,
            ("example", embedding_digest(mark, vector.tobytes())): label,
        }
        request = prediction_pb2.SendFeedbackRequest(head=WRITTEN, feedback=[feedback])
        await self._write(values, "SendFeedback", request)
        await asyncio.sleep(self._book.random.uniform(0, 0.1))

    async def _train(self) -> None:
        await self._follow(WRITTEN, RIDGE, "fitter")

    async def _tune(self) -> None:
        await self._follow(TUNED, TUNE, "tuner", "fitter")

    async def _follow(self, head: str, spec: heads_pb2.HeadSpec, *processes: str) -> None:
        """Starts or joins a training and sees it end; it fails only if a process was killed."""
        before = sum(self._book.killed[process] for process in processes)
        last = await ask(self._states, head, spec)
        killed = sum(self._book.killed[process] for process in processes) - before
        if last.state == State.TRAINING_STATE_FAILED and not killed:
            self._book.violations.append(f"{head}: a training failed, nothing was killed: {last}")
        if last.state in UNFINISHED:
            self._book.violations.append(f"{last.name}: its stream ended while it was unfinished")

    def _states(self, head: str, spec: heads_pb2.HeadSpec) -> heads_pb2.Training:
        path = "/trunkline.v1.HeadService/TrainHead"
        read = heads_pb2.TrainHeadResponse.FromString
        request = heads_pb2.TrainHeadRequest(head=head, spec=spec)
        training = heads_pb2.Training()
        try:
            stream = self._rpc.channel.unary_stream(path, None, read)
            for reply in stream(request.SerializeToString(), timeout=SECONDS):
                training = reply.training
                if training.state in UNFINISHED:  # another call may have been told the end before
                    self._book.trainings.setdefault(training.name, training)
                else:
                    self._book.see(training)
        except grpc.RpcError as error:
            raise refusal(error) from error
        return training

    async def _cancel(self) -> None:
        """Starts a training and cancels it: it ends as cancelled, or had succeeded before."""
        training = asyncio.create_task(ask(self._states, CANCELLED, RIDGE))
        try:
            await asyncio.sleep(self._book.random.uniform(0, 0.5))
            head = await ask(self._rpc.call, "GetHead", heads_pb2.GetHeadRequest(name=CANCELLED))
            if name := head.head.training:
                request = heads_pb2.CancelTrainingRequest(name=name)
                reply = await ask(self._way().call, "CancelTraining", request)
                if reply.training.state in UNFINISHED:
                    self._book.violations.append(f"{name}: cancelled, and is unfinished")
                self._book.see(reply.training)
        finally:
            last = await training
        if last.state in UNFINISHED:
            self._book.violations.append(f"{last.name}: its stream ended while it was unfinished")

    async def _advise(self) -> None:
        before = self._book.killed["advice"]
        number = next(self._book.numbers)
        examples = [
            advice_pb2.LabelledInput(input=text(f"{words} {number % 7}"), label=label)
            for words, label in WHO_BITES.items()
        ]
        request = advice_pb2.AdviseRequest(parent=TENANT, examples=examples, backbones=[TEXTS])
        try:
            reply = await ask(self._rpc.call, "Advise", request, SECONDS)
            if not reply.advice.options:
                self._book.violations.append("advise: no option was compared")
        except Refused as error:
            died = error.code == "INTERNAL" and self._book.killed["advice"] > before
            if not died and error.retry_after is None:
                raise

    async def _make(self) -> None:
        """Imports, activates or deletes a head; which version is active shows in its labels."""
        number = next(self._book.numbers)
        name = f"made-{number % MADE}"
        key = ("head", name)
        whole = f"{TENANT}/heads/{name}"
        known = self._book.ledger.known(key)
        if known is not None and self._book.random.random() < 0.3:
            request = heads_pb2.DeleteHeadRequest(name=whole)
            await self._write({key: None}, "DeleteHead", request)
            return
        labels = (f"{number} a", f"{number} b")
        weight, _ = vectors(1, DIM, number)[0]
        imported = heads_pb2.ImportHeadRequest(
            parent=TENANT,
            head_id=name,
            backbone=TEXTS,
            fingerprint=self._book.fingerprint,
            safetensors=weights_of(weight),
            labels=labels,
        )
        await self._write({key: labels[0]}, "ImportHead", imported)
        rows = await ask(self._way().predict, whole, [self._probe()])
        if rows.rows[0].label not in labels:
            self._book.violations.append(f"{name}: imported {labels}, predicts {rows.rows[0]}")

    async def _load(self) -> None:
        """Loads and unloads a backbone: its status agrees with what embedding does."""
        await ask(self._rpc.call, "LoadBackbone", admin_pb2.LoadBackboneRequest(name=IMAGES))
        await self._agrees(ready=True)
        await asyncio.sleep(self._book.random.uniform(0, 1))
        await ask(self._rpc.call, "UnloadBackbone", admin_pb2.UnloadBackboneRequest(name=IMAGES))
        await self._agrees(ready=False)

    async def _agrees(self, *, ready: bool) -> None:
        request = extraction_pb2.ListBackbonesRequest()
        listed = await ask(self._way().call, "ListBackbones", request)
        says = any(one.name == IMAGES and one.ready for one in listed.backbones)
        picture = image(noise_png(next(self._book.numbers)))
        try:
            rows = await ask(self._way().embed, "kills", [picture], IMAGES)
            embeds = rows.rows[0].error is None
        except Refused as error:
            embeds = False
            if error.code != "FAILED_PRECONDITION":
                raise
        if not (says == embeds == ready):
            self._book.violations.append(f"load: ready {ready}, listed {says}, embeds {embeds}")

    async def _predict(self) -> None:
        """The version that answers is none older than a training that has ended before."""
        for head, question in ((WRITTEN, self._probe()), (TUNED, text(next(iter(TUNED_TEXTS))))):
            wanted = self._book.versions.get(head, 0)
            if wanted:
                (row,) = (await ask(self._way().predict, head, [question])).rows
                if row.error is not None or row.version < wanted:
                    self._book.violations.append(f"{head}: version {wanted} had ended, got {row}")
        await asyncio.sleep(0.02)

    def _probe(self) -> common_pb2.Input:
        vector, _ = vectors(1, DIM, next(self._book.numbers))[0]
        return embedding(self._book.fingerprint, vector)


def weights_of(vector: NDArray[np.float32]) -> bytes:
    """A head of two classes on either side of a vector."""
    weight = np.stack([vector, -vector]).astype(np.float32)
    tensors = {"weight": weight, "bias": np.zeros(2, np.float32)}
    return bytes(safetensors.numpy.save(tensors))
