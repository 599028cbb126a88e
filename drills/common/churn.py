"""Clients that change heads without a pause: each head one client, one change after another."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections import Counter
from contextlib import suppress
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

import adapters
from drills.common.answers import Probes, State
from drills.common.servers import TEXTS, ask
from drills.common.timeline import Timeline
from tests.e2e.transports import Grpc, Refused, embedding, text
from tests.service.tunings import TUNE
from trunkline import Client, TrainingState
from trunkline.v1 import heads_pb2, prediction_pb2

DIM = 384
LABELS = tuple("abcdefghijkl")
FEW = 3
IMMEDIATE = heads_pb2.FEEDBACK_POLICY_IMMEDIATE
RIDGE = heads_pb2.HeadSpec(family="ridge", l2=1.0)
MEMBERS, LESSONS = 24, 8
"""Examples of a head with a live copy, and how much feedback it gets at most: so much brings no
new choice of its strength, and no look at drift."""
TUNED_ON = 12
SHARPNESS = 4.0


class Churn:
    """Changes heads, and keeps the timeline of each.

    Args:
        way: over which changes are sent.
        client: to the same server, for what the wire alone makes clumsy.

    Attributes:
        timelines: of each head, by its full name.
        changes: what was done, by kind.
        violations: what was seen wrong on the way.
    """

    def __init__(self, way: Grpc, client: Client, probes: Probes, random: random.Random) -> None:
        self._way = way
        self._client = client
        self._probes = probes
        self._random = random
        self._numbers = itertools.count(1)
        self.timelines: dict[str, Timeline[State]] = {}
        self.changes: Counter[str] = Counter()
        self.violations: list[str] = []

    async def change_plain(self, heads: list[str]) -> None:
        """Imports, activates, rolls back, deletes and makes anew, for ever."""
        versions: dict[str, list[State]] = {head: [] for head in heads}
        while True:
            head = self._random.choice(heads)
            known, dice = versions[head], self._random.random()
            if known and dice < 0.2:
                await self._delete(head)
                known.clear()
            elif known and dice < 0.6:
                await self._activate(head, self._random.choice(known))
            else:
                known.append(await self._import(head, len(known) + 1))
            await asyncio.sleep(self._random.uniform(0, 0.05))

    async def change_tails(self, tails: dict[str, list[State]], until: float) -> None:
        """Moves heads between their tails; then deletes and makes them anew without any.

        Args:
            tails: the versions of each head, on tails or not.
            until: when the deleting begins, on the monotonic clock.
        """
        while time.monotonic() < until:
            head = self._random.choice(list(tails))
            await self._activate(head, self._random.choice(tails[head]))
            await asyncio.sleep(self._random.uniform(0, 0.2))
        for head in tails:
            await self._delete(head)
        await self.change_plain(list(tails))

    async def teach(self, head: str) -> None:
        """Trains, gives feedback, promotes or drops, deletes, makes anew with other labels."""
        while True:
            number = next(self._numbers)
            labels = self._permuted()
            rows = self._random.sample(range(len(self._probes.texts)), MEMBERS + number % 5)
            members = {row: labels[i % FEW] for i, row in enumerate(rows)}
            state = await self._train(head, members, f"taught-{number}", policy=IMMEDIATE)
            report = await asyncio.to_thread(self._client.report, head)
            if report.example_count != len(members):
                self.violations.append(f"{head}: report of {report.example_count} examples")
            for lesson in range(self._random.randrange(1, LESSONS)):
                row = self._random.choice(rows)
                members = {**members, row: self._random.choice(labels[:FEW])}
                state = State(state.incarnation, state.version, state.head, taught=dict(members))
                feedback = prediction_pb2.Feedback(
                    id=f"{number}-{lesson}", input=self._vector(row), label=members[row]
                )
                request = prediction_pb2.SendFeedbackRequest(head=head, feedback=[feedback])
                await self._change("feedback", head, state, "SendFeedback", request)
            await self._delete(head)

    async def tune(self, head: str) -> None:
        """Tunes a tail, deletes the head, and tunes it anew with other labels."""
        while True:
            number = next(self._numbers)
            labels = self._permuted()[:2]
            rows = range(TUNED_ON)
            members = {row: labels[row % 2] for row in rows}
            await self._train(head, members, f"tuned-{number}", spec=TUNE, keep_inputs=True)
            await asyncio.sleep(self._random.uniform(0, 3))
            await self._delete(head)

    async def _train(
        self,
        head: str,
        members: dict[int, str],
        incarnation: str,
        *,
        spec: heads_pb2.HeadSpec = RIDGE,
        policy: heads_pb2.FeedbackPolicy.ValueType = heads_pb2.FEEDBACK_POLICY_MANUAL,
        keep_inputs: bool = False,
    ) -> State:
        parent, _, name = head.partition("/heads/")
        create = heads_pb2.CreateHeadRequest(
            parent=parent,
            head_id=name,
            backbone=TEXTS,
            spec=spec,
            policy=policy,
            keep_inputs=keep_inputs,
        )
        await self._change("create", head, State(incarnation), "CreateHead", create)
        examples = [
            heads_pb2.NewExample(
                input=text(self._probes.texts[row]) if keep_inputs else self._vector(row),
                label=label,
            )
            for row, label in members.items()
        ]
        add = heads_pb2.AddExamplesRequest(head=head, examples=examples)
        await ask(self._way.call, "AddExamples", add)
        state = State(incarnation, 1)
        train = heads_pb2.TrainHeadRequest(head=head, activate=True)
        reply = await self._change("train", head, state, "TrainHead", train)
        ended = TrainingState[heads_pb2.TrainingState.Name(reply.training.state)[15:]]
        if ended is not TrainingState.SUCCEEDED:
            raise AssertionError(f"{head}: its training ended as {reply.training}")
        await self._export(head, state)
        return state

    async def export_last(self) -> None:
        """Gets the weights of versions that were made when their client was stopped."""
        for head, timeline in self.timelines.items():
            state = timeline.state
            if state.version and state.head is None:
                with suppress(Refused):  # its training has not ended
                    await self._export(head, state)

    async def _export(self, head: str, state: State) -> None:
        request = heads_pb2.ExportHeadRequest(name=head)
        exported = await ask(self._way.call, "ExportHead", request)
        state.head = adapters.Head.from_safetensors(exported.safetensors)
        state.tail = exported.tail

    async def _import(self, head: str, version: int) -> State:
        labels = self._permuted()
        tensors = weights_of(head)
        known = adapters.Head(
            "imported",
            tuple(labels),
            tensors["weight"],
            tensors["bias"],
            self._probes.fingerprint,
        )
        state = State(f"import-{next(self._numbers)}", version, known)
        parent, _, name = head.partition("/heads/")
        request = heads_pb2.ImportHeadRequest(
            parent=parent,
            head_id=name,
            backbone=TEXTS,
            fingerprint=self._probes.fingerprint,
            safetensors=safetensors.numpy.save(tensors),
            labels=labels,
        )
        reply = await self._change("import", head, state, "ImportHead", request)
        if reply.version.version != version:
            self.violations.append(f"{head}: import {version} made {reply.version.version}")
        return state

    async def _activate(self, head: str, state: State) -> None:
        name = f"{head}/versions/{state.version}"
        request = heads_pb2.ActivateHeadVersionRequest(name=name)
        await self._change("activate", head, state, "ActivateHeadVersion", request)

    async def _delete(self, head: str) -> None:
        request = heads_pb2.DeleteHeadRequest(name=head)
        await self._change("delete", head, State("none"), "DeleteHead", request)

    async def _change(self, kind: str, head: str, state: State, method: str, request: Any) -> Any:
        """Sends a change, within its span of the head's timeline."""
        timeline = self.timelines.setdefault(head, Timeline(State("none")))
        timeline.begin(state, time.monotonic())
        try:
            reply = await ask(self._way.call, method, request)
        except Refused:
            timeline.withdraw()
            raise
        timeline.settle(time.monotonic())
        self.changes[kind] += 1
        return reply

    def _permuted(self) -> list[str]:
        return self._random.sample(LABELS, len(LABELS))

    def _vector(self, row: int) -> Any:
        return embedding(self._probes.fingerprint, self._probes.embeddings[row])


def weights_of(head: str) -> dict[str, NDArray[np.float32]]:
    """Weights that a head's name decides: under its name only labels are permuted."""
    seed = int.from_bytes(head.encode(), "big")
    weight = SHARPNESS * np.random.default_rng(seed).normal(size=(len(LABELS), DIM))
    return {"weight": weight.astype(np.float32), "bias": np.zeros(len(LABELS), np.float32)}
