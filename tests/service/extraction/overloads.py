"""A server under open-loop load, in virtual time: real queues, passes of known length."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from unittest import mock

from numpy.typing import NDArray

import models
from models import PreparedInput
from service.config import ExtractorSettings, extractor_settings, load_settings
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import QueueFull
from service.extraction import TailRef, local
from service.extraction.decoding import SLOW_NS, is_slow
from service.extraction.local import LocalExtractor
from service.metrics import Metrics
from tests.service.tiny_backbone import TinyBackbone, info, text_input
from tests.service.virtual_time import VirtualLoop, run_virtually


@dataclass(frozen=True)
class Machine:
    """What passes and decoding take: a pass of n rows takes about `start + n * row` seconds.

    Attributes:
        letter: seconds of a pass for each letter of its texts.
        decode, slow_decode: seconds of decoding a text, and one that is slow.
        noise: passes take this share more or less than that, by chance.
    """

    passes: int = 2
    max_rows: int = 4
    start: float = 0.01
    row: float = 0.02
    letter: float = 0.0
    decode: float = 0.003
    slow_decode: float = 1.0
    noise: float = 0.2

    @property
    def capacity(self) -> float:
        """Rows of no letters a second."""
        return self.passes * self.max_rows / (self.start + self.max_rows * self.row)


SLOW_LETTERS = 2 * SLOW_NS // models.decode_cost("a")
"""Of a text that is slow to decode."""


@dataclass
class Seen:
    """Rows and requests.

    Attributes:
        useful: rows that were answered before their deadline, and before the load ended.
        answered: rows that were answered before their deadline.
        computed: rows that were in a pass.
        outcomes: of requests.
        back: outcomes of requests that came back when they were told.
    """

    useful: int = 0
    answered: int = 0
    computed: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    back: Counter[str] = field(default_factory=Counter)


class Answer(NamedTuple):
    """What became of a request; "refused" is at once, "dropped" later and before any pass."""

    outcome: str
    hint: float | None = None


class Site:
    """A resolver and an extractor of this machine; `ask` sends one request."""

    def __init__(self, machine: Machine, loop: VirtualLoop, seed: int = 0) -> None:
        self.machine = machine
        self.loop = loop
        self.rng = random.Random(seed)
        self.seen = Seen()
        self.decoded: list[str] = []
        self.backbone = TinyBackbone()
        self._preprocess: Callable[[Any], PreparedInput] = self.backbone.preprocess
        self._forward: Callable[[Any], NDArray[Any]] = self.backbone.forward
        self.backbone.preprocess = self._decode  # type: ignore[method-assign]
        self.backbone.forward = self._pass  # type: ignore[method-assign]

    async def __aenter__(self) -> Site:
        with (
            mock.patch.object(extractor_settings, "check_backbones"),
            mock.patch.object(local, "load_backbone", return_value=self.backbone),
        ):
            settings = load_settings(
                ExtractorSettings,
                backbone="tiny/text",
                passes=self.machine.passes,
                decode_threads=1,
                max_batch_rows=self.machine.max_rows,
            )
            self.extractor = LocalExtractor(settings, Metrics(5))
            await self.extractor.start(lambda ready: None)
        self.embeddings = EmbeddingResolver(self.extractor, None, 0, Metrics(5))
        self.until = math.inf
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.extractor.close()

    async def ask(
        self,
        tenant: str,
        texts: Sequence[str],
        seconds: float | None,
        tail: TailRef | None = None,
    ) -> Answer:
        """Sends a request, with so many seconds to its deadline."""
        backbone = info() if tail is None else info().with_tail(tail)
        begun = self.loop.time()
        deadline = None if seconds is None else begun + seconds
        inputs = [text_input(text) for text in texts]
        try:
            async with asyncio.timeout_at(deadline):
                rows = await self.embeddings.resolve(tenant, backbone, inputs, deadline=deadline)
            assert all(isinstance(row, Resolved) for row in rows)
            answer = Answer("answered")
        except TimeoutError:
            answer = Answer("late")
        except QueueFull as error:
            at_once = self.loop.time() == begun
            answer = Answer("refused" if at_once else "dropped", error.retry_after)
        self.seen.outcomes[answer.outcome] += 1
        if answer.outcome == "answered":
            self.seen.answered += len(texts)
            self.seen.useful += len(texts) if self.loop.time() < self.until else 0
        return answer

    def _decode(self, raw: Any) -> PreparedInput:
        slow = is_slow(models.decode_cost(raw))
        self.loop.spend(self.machine.slow_decode if slow else self.machine.decode)
        self.decoded.append(raw)
        return self._preprocess(raw)

    def _pass(self, batch: Sequence[PreparedInput]) -> NDArray[Any]:
        machine = self.machine
        letters = sum(len(row.data) for row in batch)
        seconds = machine.start + machine.row * len(batch) + machine.letter * letters
        self.loop.spend(seconds * self.rng.uniform(1 - machine.noise, 1 + machine.noise))
        self.seen.computed += len(batch)
        return self._forward(batch)


@dataclass(frozen=True)
class Load:
    """Requests that come whatever becomes of those before them.

    Attributes:
        times: the capacity.
        back: share of those refused that come back when they were told.
    """

    times: float
    deadline: float
    rows: int = 8
    tenants: int = 1
    back: float = 0.2
    seconds: float = 8.0
    regular: bool = False


def overload(machine: Machine, load: Load, seed: int = 0) -> Seen:
    """Runs the load, and returns what was seen."""

    async def main(loop: VirtualLoop) -> Seen:
        async with Site(machine, loop, seed) as site:
            rng = site.rng
            site.until = loop.time() + load.seconds

            async def client(tenant: str, texts: Sequence[str]) -> None:
                answer = await site.ask(tenant, texts, load.deadline)
                if answer.hint is None or rng.random() > load.back:
                    return
                await asyncio.sleep(answer.hint * rng.uniform(1.0, 1.05))
                if loop.time() < site.until:
                    again = await site.ask(tenant, texts, load.deadline)
                    site.seen.back[again.outcome] += 1

            clients: list[asyncio.Task[None]] = []
            rate = load.times * machine.capacity / load.rows
            while loop.time() < site.until:
                texts = [f"{len(clients)}-{row}" for row in range(load.rows)]
                tenant = f"tenant-{rng.randrange(load.tenants)}"
                clients.append(asyncio.create_task(client(tenant, texts)))
                await asyncio.sleep(1 / rate if load.regular else rng.expovariate(rate))
            await asyncio.gather(*clients)
            return site.seen

    return run_virtually(main)
