"""Runs one backbone: rows are decoded in threads, queued fairly, and run in batches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Container, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from numpy.typing import NDArray

import models
from models import Backbone, PreparedInput
from service.concurrency.demand import Demand
from service.concurrency.fair_queue import Rank
from service.errors import BackboneFailed, InvalidRequest, Unavailable
from service.extraction import BackboneInfo, Extracted, TailRef
from service.extraction.batching import Batcher, BatchLimits
from service.extraction.decoding import DecodeQueue, is_slow
from service.extraction.forecast import Forecast, Place, RowWork, Stage
from service.extraction.forward_pass import Item, run_batch
from service.extraction.health import Health
from service.extraction.shared_resources import SharedResources, example_of
from service.extraction.tail_cache import TailSlot
from service.logs import get_logger
from service.metrics import BackboneObserver, DecodeObserver
from service.requests.inputs import RawInput

STUCK_SECONDS = 30.0
RETRY_AFTER = 5.0
CLOSE_SECONDS = 5.0
DECODED_BATCHES = 4

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Decoded:
    prepared: PreparedInput
    seconds: float


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of a batch: an input, and the slot that its tail is in."""

    prepared: PreparedInput
    place: Place
    slot: TailSlot | None = None
    to_cut: bool = False

    @property
    def item(self) -> Item:
        tail = None if self.slot is None else self.slot.tail
        return Item(self.prepared, tail, self.to_cut)


@dataclass(frozen=True, slots=True)
class _Ran:
    value: NDArray[Any]
    started: float
    seconds: float
    share: float


class BackboneRunner:
    """One backbone with its two batchers.

    Args:
        limits: limits of its batches.
        on_change: is called when it has become ready, or has ceased to be.
    """

    def __init__(
        self,
        backbone: Backbone,
        limits: BatchLimits,
        resources: SharedResources,
        on_change: Callable[[], None],
    ) -> None:
        self.backbone = backbone
        self._tails = resources.tails
        self._passes = resources.device_passes(backbone)
        metrics = resources.metrics
        self._health = Health(backbone.name, self._probe, on_change, metrics)
        self._failures = metrics.backbone_failures.labels(backbone.name)
        self._tail_rows = metrics.tail_rows.labels(backbone.name)
        self._decode_seconds = metrics.phase_seconds.labels("decode", backbone.name)
        self._max_decoded = DECODED_BATCHES * limits.max_rows
        self._cut: asyncio.Task[None] | None = None
        self._rows = 0
        self._idle = asyncio.Event()
        self._device = ThreadPoolExecutor(
            limits.concurrency, thread_name_prefix=f"backbone-{backbone.name}"
        )
        self._decoding: DecodeQueue[RawInput, _Decoded] = DecodeQueue(
            self._decode,
            resources.decode_threads,
            DecodeObserver(metrics, backbone.name),
            until_room=self._until_room,
            seconds_needed=self._seconds_to_decode,
        )
        self._batching: Batcher[_Row, _Ran] = Batcher(
            self._forward,
            limits,
            BackboneObserver(metrics, backbone.name),
            semaphore=self._passes.semaphore,
            seconds_needed=_seconds_to_pass,
        )
        self._passing = Stage(
            self._batching.pace, limits.concurrency, limits.max_rows, limits.turn_rows
        )
        self._quick, self._slow = self._decoding.stages()
        self._forecasts = {
            decoding: Forecast(decoding, self._passing, self._batching.passes)
            for decoding in (self._quick, self._slow)
        }

    @property
    def ready(self) -> bool:
        """Whether the last forward pass succeeded."""
        return self._health.ready

    def info(self) -> BackboneInfo:
        """Describes the backbone to clients."""
        backbone = self.backbone
        return BackboneInfo(
            name=backbone.name,
            modality=backbone.modality,
            dim=backbone.dim,
            fingerprint=backbone.fingerprint,
            engine=backbone.engine,
            device=backbone.device,
            ready=self.ready,
            cut=backbone.cut,
            tail_blocks=backbone.tail_blocks,
        )

    async def warm_up(self) -> None:
        """Runs the backbone once, so that the first request does not pay for it."""
        await self._probe()
        self._health.record(True)

    async def embed(
        self, place: Place, raw: RawInput, demand: Demand, tail: TailRef | None
    ) -> Extracted:
        """Embeds one input of an admitted request.

        A row whose tail is cold waits for it first: were it decoded meanwhile, the pixels of many
        such rows would fill the memory.
        """
        self._check(raw)
        begun = asyncio.get_running_loop().time()
        if tail is None:
            decoded, ran = await self._pass_through(place, raw, demand)
        else:
            async with self._tail(place, raw, tail) as slot:
                decoded, ran = await self._pass_through(place, raw, demand, slot)
            self._tail_rows.inc()
        return Extracted(
            vector=ran.value,
            decode_seconds=decoded.seconds,
            queue_seconds=ran.started - begun - decoded.seconds,
            backbone_seconds=ran.seconds,
            truncated=decoded.prepared.truncated,
            cost=decoded.prepared.cost,
            device_seconds=ran.seconds * ran.share,
        )

    async def activation(
        self, place: Place, raw: RawInput, demand: Demand, *, prepared: bool
    ) -> NDArray[Any]:
        """Computes what tails are trained on, of one input; see `Extractor.activations`."""
        self._check(raw)
        if prepared:
            return (await self._decoded(place, raw, demand, passes=False)).prepared.data
        await self._make_cut_ready()
        _, ran = await self._pass_through(place, raw, demand, to_cut=True)
        return ran.value

    def work(self, raw: RawInput) -> RowWork:
        """Returns what a row has before it: nanoseconds of decoding, and bytes before its pass."""
        cost = raw.decoding_ns
        return RowWork(self._slow if is_slow(cost) else self._quick, cost, raw.cost)

    def forecast(self, decoding: Container[Stage]) -> Forecast:
        """Returns what tells when a request would be done, by the stages that decode its rows."""
        return self._forecasts[self._slow if self._slow in decoding else self._quick]

    def check_passes(self) -> None:
        """Refuses rows while every pass on the device hangs, be they of this backbone or another.

        Raises:
            Unavailable: they would wait for one of them to end.
        """
        if self._passes.all_hang:
            raise Unavailable(
                f"backbone: forward passes on {self.backbone.device} hang; try again later",
                field="backbone",
                value=self.backbone.name,
                retry_after=RETRY_AFTER,
            )

    @contextmanager
    def busy(self, rows: int) -> Iterator[None]:
        """Counts rows as under way within the block."""
        self._rows += rows
        self._idle.clear()
        try:
            yield
        finally:
            self._rows -= rows
            if not self._rows:
                self._idle.set()

    async def finish(self, seconds: float) -> None:
        """Waits for the rows under way, at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                while self._rows:
                    await self._idle.wait()
        except TimeoutError:
            log.warning("rows were dropped", backbone=self.backbone.name, rows=self._rows)

    async def close(self) -> None:
        """Fails what waits, and releases the backbone and its tails.

        Raises:
            BackboneFailed: a forward pass hangs; its memory stays taken.
        """
        self._health.close()
        await self._decoding.close()
        await self._batching.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.to_thread(self._device.shutdown)
        except TimeoutError as error:
            raise BackboneFailed(f"{self.backbone.name}: a forward pass hangs") from error
        await self._tails.drop(self.backbone)
        await asyncio.to_thread(self.backbone.close)

    @asynccontextmanager
    async def _tail(self, place: Place, raw: RawInput, tail: TailRef) -> AsyncIterator[TailSlot]:
        """Acquires a tail; a row that waits for one waits before no queue, and is ahead of none."""
        work, forecast = self.work(raw), self.forecast(place.work)
        waits = not self._tails.ready(tail)
        if waits:
            forecast.leave(place, work)
        async with self._tails.acquire(place.tenant, self.backbone, tail) as slot:
            if slot.tail is not None and not slot.tail.whole:
                await self._make_cut_ready()
            if waits:
                forecast.enter(place, work)
            yield slot

    def _check(self, raw: RawInput) -> None:
        if raw.kind.modality is not self.backbone.modality:
            raise InvalidRequest(
                f"input: {self.backbone.name} takes {self.backbone.modality} inputs, is {raw.kind}",
                field="input",
                limit=self.backbone.modality,
                value=raw.kind,
            )

    async def _pass_through(
        self,
        place: Place,
        raw: RawInput,
        demand: Demand,
        slot: TailSlot | None = None,
        *,
        to_cut: bool = False,
    ) -> tuple[_Decoded, _Ran]:
        try:
            decoded = await self._decoded(place, raw, demand)
            ran = await self._batching.submit(
                place.tenant,
                _Row(decoded.prepared, place, slot, to_cut),
                cost=decoded.prepared.cost,
                work=raw.cost,
                demand=demand,
                request=place,
                rank=_rank_decoded(place),
            )
        finally:
            place.passed(self._passing, raw.cost)
        return decoded, ran

    async def _decoded(
        self, place: Place, raw: RawInput, demand: Demand, *, passes: bool = True
    ) -> _Decoded:
        """Decodes one input.

        Args:
            passes: whether it goes on to a pass.
        """
        work = self.work(raw)
        if not passes and not work.decoding.apart:
            place.passed(self._passing, work.passing_cost)  # it has nothing to do there
        try:
            return await self._decoding.submit(
                place.tenant,
                raw,
                cost=work.decoding_cost,
                demand=demand,
                request=place,
                rank=place.rank,
            )
        finally:
            place.passed(work.decoding, work.decoding_cost)
            if passes and work.decoding.apart:
                place.enter(self._passing, work.passing_cost)

    async def _until_room(self) -> None:
        # Pixels take more memory than the files they come from: no more than a few batches of them.
        await self._batching.wait_for_room(self._max_decoded)

    def _seconds_to_decode(self, request: object, seconds: float) -> float:
        assert isinstance(request, Place)
        if request.trial:
            return 0.0
        now = asyncio.get_running_loop().time()
        forecast = self.forecast(request.work)
        ahead = self._batching.ahead(request.tenant, request, _rank_decoded(request))
        seconds += forecast.seconds_after_decoding(request, *ahead, now)
        return request.expect(seconds, now)

    async def _make_cut_ready(self) -> None:
        """Runs the backbone in two parts once, before it does so in a batch with rows of others.

        The first time takes long.
        """
        if self._cut is None:
            self._cut = asyncio.create_task(asyncio.to_thread(self._run_cut))
        await asyncio.shield(self._cut)

    def _run_cut(self) -> None:
        try:
            self.backbone.finish(self.backbone.activations([example_of(self.backbone)]))
        except Exception:  # the rows will say so themselves
            log.exception("cut backbone fails", backbone=self.backbone.name)

    def _decode(self, raw: RawInput) -> _Decoded:
        started = time.perf_counter()
        prepared = self.backbone.preprocess(cast("models.RawInput", raw.content))
        seconds = time.perf_counter() - started
        self._decode_seconds.observe(seconds)
        return _Decoded(prepared, seconds)

    async def _forward(self, batch: Sequence[_Row]) -> Sequence[_Ran | Exception]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        hangs = False

        def hang() -> None:
            nonlocal hangs
            hangs = True
            self._passes.hanging += 1
            self._health.record(False)

        for row in batch:
            row.place.begun = True
        stuck = loop.call_later(STUCK_SECONDS, hang)
        try:
            with self._tails.pin([row.slot for row in batch if row.slot is not None]):
                result = await loop.run_in_executor(
                    self._device, run_batch, self.backbone, [row.item for row in batch]
                )
        finally:
            stuck.cancel()
            self._passes.hanging -= hangs
        seconds = loop.time() - started
        if result.raised:
            self._failures.inc()
        if result.healthy:
            self._health.record(True)
        elif result.healthy is False or not self.ready:
            self._health.record_failure()
        total = sum(row.prepared.cost for row in batch) or 1
        return [
            outcome
            if isinstance(outcome, Exception)
            else _Ran(outcome, started, seconds, row.prepared.cost / total)
            for row, outcome in zip(batch, result.outcomes, strict=True)
        ]

    async def _probe(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._device, self.backbone.warm_up)


def _seconds_to_pass(request: object, seconds: float) -> float:
    assert isinstance(request, Place)
    if request.trial:
        return 0.0
    return request.expect(seconds, asyncio.get_running_loop().time())


def _rank_decoded(place: Place) -> Rank:
    """Returns the rank before the passes; few wait there, and some of their siblings are done."""
    return place.rank if place.rank is Rank.AT_ONCE else Rank.IN_TURN
