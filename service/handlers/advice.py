"""The RPC ``Advise``: whether transfer pays. It stores nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import Modality
from service.advice.process import AdviceTask, compare_options
from service.advice.request import MAX_NAMED_ERRORS, AdviceRequest, LabelledInput
from service.advice.small_images import small_pixels
from service.concurrency.time_limit import time_limit
from service.config import ServerSettings
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import Aborted, InvalidRequest, QueueFull
from service.extraction import BackboneInfo, Extractor
from service.extraction.decoding import DecodeCalls
from service.replies.advice import advice_message
from service.replies.rows import row_error
from service.requests.call import Call
from trunkline.rows.chunking import split
from trunkline.v1 import advice_pb2

MAX_AT_ONCE = 4
"""Advices under way, each of which keeps a sample in memory; one for each tenant."""

ROWS_AT_ONCE = 256
BYTES_AT_ONCE = 32 * 1024 * 1024
"""Size of inputs that are embedded at once: more would only wait in the tenant's queue."""

DIRECT = "direct"
"""Name of the option that needs no backbone but has to be prepared."""

RETRY_SECONDS = 5.0

IDLE_SECONDS = 30.0
"""Time without a message after which a stream loses its slot: others may want it."""


@dataclass(eq=False)
class Advice:
    """Compares what could be done with labelled inputs, before anything is registered."""

    _extractor: Extractor
    _embeddings: EmbeddingResolver
    _decoding: DecodeCalls
    _settings: ServerSettings
    _tenants: set[str] = field(default_factory=set, init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def advise(
        self, requests: AsyncIterator[advice_pb2.AdviseRequest], call: Call
    ) -> advice_pb2.AdviseResponse:
        """Reads the stream to its end, embeds a sample of it, and compares.

        The work ends when the client leaves.
        """
        first = await anext(requests, None)
        if first is None:
            raise InvalidRequest.at("parent", "the stream had no message", "one message", 0)
        request = AdviceRequest(first, self._settings)
        call.tenant = request.tenant
        for name in request.backbones:  # before the client has sent all the rest
            self._extractor.backbone(name)
        with self._slot(request.tenant):
            await request.read(first)
            async for message in _flowing(requests):
                await request.read(message)
            advice = await self._advise(request, call)
        errors = sorted(request.errors.items())
        return advice_pb2.AdviseResponse(
            advice=advice,
            errors=[row_error(row, e, call.request_id) for row, e in errors[:MAX_NAMED_ERRORS]],
            failed=request.failed,
        )

    @contextmanager
    def _slot(self, tenant: str) -> Iterator[None]:
        """Holds one of the slots for advices under way.

        Raises:
            QueueFull: the tenant has one already, or there are too many.
        """
        if tenant in self._tenants or len(self._tenants) >= MAX_AT_ONCE:
            limit = 1 if tenant in self._tenants else MAX_AT_ONCE
            whose = "this tenant" if tenant in self._tenants else "all tenants"
            raise QueueFull(
                f"advice: at most {limit} of {whose} at a time; try again later",
                field="parent",
                limit=limit,
                value=limit + 1,
                retry_after=RETRY_SECONDS,
            )
        self._tenants.add(tenant)
        try:
            yield
        finally:
            self._tenants.remove(tenant)

    async def _advise(self, request: AdviceRequest, call: Call) -> advice_pb2.Advice:
        seconds: dict[str, float] = {}
        embedded: dict[str, dict[int, Resolved]] = {}
        sample = request.examples()
        for backbone in self._backbones(request.backbones, request.modality):
            started = time.perf_counter()
            embedded[backbone.name] = await self._embed(request, backbone, sample, call)
            seconds[backbone.name] = time.perf_counter() - started
        examples = request.usable(sample)
        started = time.perf_counter()
        raw = await self._raw(examples, request, call)
        seconds[DIRECT] = time.perf_counter() - started
        task = AdviceTask(
            {
                name: np.stack([found[example.row].vector for example in examples])
                for name, found in embedded.items()
            },
            raw,
            [example.label for example in examples],
            request.seed,
            [example.group for example in examples],
        )
        found, more = await self._compare(task)
        seconds = {option: took + seconds.get(option, 0.0) for option, took in more.items()}
        truncated = {
            name: sum(found[example.row].truncated for example in examples)
            for name, found in embedded.items()
        }
        if len(sample) < request.seen:
            found["reasons"].insert(0, _sampled(request.seen, len(sample)))
        found["reasons"] += [
            _truncated(count, len(examples), name) for name, count in truncated.items() if count
        ]
        digests = [example.raw.digest for example in examples]
        return advice_message(found, digests, seconds, truncated)

    def _backbones(self, names: Sequence[str], modality: Modality) -> Sequence[BackboneInfo]:
        """Returns the backbones that were asked for, or all that take such inputs.

        Raises:
            InvalidRequest: one of them does not.
            PreconditionFailed: none is loaded.
        """
        for backbone in map(self._extractor.backbone, names):
            if backbone.modality is not modality:
                raise InvalidRequest(
                    f"backbones: {backbone.name} takes {backbone.modality} inputs, these are "
                    f"{modality} inputs",
                    field="backbones",
                    limit=modality,
                    value=backbone.name,
                )
        if names:
            return [self._extractor.backbone(name) for name in names]
        self._extractor.default_backbone(modality)
        return [one for one in self._extractor.backbones() if one.modality is modality]

    async def _embed(
        self,
        request: AdviceRequest,
        backbone: BackboneInfo,
        sample: Sequence[LabelledInput],
        call: Call,
    ) -> dict[int, Resolved]:
        """Returns embeddings by row; rows that fail are added to the request's errors."""
        found: dict[int, Resolved] = {}
        good = [example for example in sample if example.row not in request.errors]
        for part in split(
            good,
            lambda example: example.raw.cost,
            max_rows=min(ROWS_AT_ONCE, self._settings.max_rows_per_request),
            max_bytes=BYTES_AT_ONCE,
        ):
            outcomes = await self._embeddings.resolve(
                request.tenant,
                backbone,
                [example.raw for example in part],
                deadline=call.deadline,
                look_in_store=True,
            )
            for example, outcome in zip(part, outcomes, strict=True):
                if isinstance(outcome, Resolved):
                    found[example.row] = outcome
                else:
                    request.errors[example.row] = outcome
        return found

    async def _raw(
        self, examples: Sequence[LabelledInput], request: AdviceRequest, call: Call
    ) -> NDArray[np.uint8] | Sequence[str]:
        """Returns what direct training learns from."""
        if request.modality is Modality.TEXT:
            return [str(example.raw.content) for example in examples]
        raws = [example.raw for example in examples]
        limits = self._settings.input_limits
        return await small_pixels(raws, limits, self._decoding, request.tenant, call.deadline)

    async def _compare(self, task: AdviceTask) -> tuple[dict[str, Any], Mapping[str, float]]:
        """Compares the options; one comparison runs at a time.

        Raises:
            Aborted: it took too long.
        """
        seconds = self._settings.fit_timeout_seconds
        async with self._lock, time_limit(seconds, "advice", "fit_timeout_seconds"):
            return await compare_options(
                task, self._settings.fit_threads, self._settings.child_silence_seconds
            )


async def _flowing(
    requests: AsyncIterator[advice_pb2.AdviseRequest],
) -> AsyncIterator[advice_pb2.AdviseRequest]:
    """Yields the messages as they come.

    Raises:
        Aborted: none came for long.
    """
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                message = await anext(requests, None)
        except TimeoutError as error:
            raise Aborted(
                f"advice: no message came for {IDLE_SECONDS:g} s; send them without a pause",
                field="examples",
                limit=IDLE_SECONDS,
            ) from error
        if message is None:
            return
        yield message


def _truncated(count: int, rows: int, backbone: str) -> str:
    return (
        f"{count:,} of {rows:,} texts are longer than the window of {backbone}: what is beyond it "
        "had no part."
    )


def _sampled(seen: int, kept: int) -> str:
    return (
        f"{seen:,} examples were sent. This is about {kept:,} of them, drawn by lot with the same "
        "share of every class."
    )
