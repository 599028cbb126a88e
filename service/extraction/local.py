"""Backbones in this process: decode in threads, queue fairly, run in batches."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

import models
from models import Backbone, PreparedInput, load_backbone
from service.admission import Admission
from service.batching import Batcher, BatchLimits
from service.config import ExtractorSettings
from service.errors import BackboneFailed, InvalidRequest, Unavailable
from service.extraction import BackboneInfo, Extracted, Extractor
from service.inputs import RawInput
from service.logs import get_logger
from service.metrics import BackboneObserver, DecodeObserver, Metrics

FIRST_PROBE_SECONDS = 1.0
LAST_PROBE_SECONDS = 30.0
STUCK_SECONDS = 30.0
CLOSE_SECONDS = 5.0
DECODED_BATCHES = 4
DECODE_ROWS = 4
"""Rows that a decoding thread takes at once, if they wait: fewer hops between threads."""
BATCH_ROWS = {"cpu": 4, "cuda": 64}
"""On a CPU larger batches were no faster; what suits a GPU best has not been measured yet."""

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Decoded:
    prepared: PreparedInput
    seconds: float


@dataclass(frozen=True, slots=True)
class _Embedded:
    vector: NDArray[np.float32]
    started: float
    seconds: float


class LocalExtractor(Extractor):
    """Loads the backbones of the settings and runs them here."""

    def __init__(self, settings: ExtractorSettings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._admission = Admission(
            per_tenant=settings.max_queued_rows_per_tenant,
            total=settings.max_queued_rows,
            max_bytes=settings.max_queued_bytes,
        )
        self._decode_threads = settings.decode_threads or max(1, (os.cpu_count() or 1) // 2)
        self._decoders = ThreadPoolExecutor(self._decode_threads, thread_name_prefix="decode")
        self._runners: dict[str, _Runner] = {}
        self._infos: tuple[BackboneInfo, ...] = ()
        self._on_readiness: Callable[[bool], None] = lambda ready: None

    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        self._on_readiness = on_readiness
        for name in self._settings.backbone:
            runner = _Runner(
                await asyncio.to_thread(self._load, name),
                self._settings,
                (self._decoders, self._decode_threads),
                self._metrics,
                self._announce,
            )
            self._runners[name] = runner
            await runner.warm_up()
            log.info("backbone ready", backbone=name, fingerprint=runner.backbone.fingerprint[:12])
        self._announce()

    async def close(self) -> None:
        for runner in self._runners.values():
            await runner.close()
        self._decoders.shutdown(wait=False, cancel_futures=True)

    @property
    def ready(self) -> bool:
        complete = len(self._runners) == len(self._settings.backbone)
        return complete and all(runner.ready for runner in self._runners.values())

    def backbones(self) -> tuple[BackboneInfo, ...]:
        if not self._infos:
            raise Unavailable("the backbones are being loaded", retry_after=1.0)
        return self._infos

    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        deadline: float | None = None,
    ) -> list[Extracted | Exception]:
        runner = self._runners[self.backbone(backbone.name).name]
        with self._admission.hold(tenant, len(inputs), sum(raw.cost for raw in inputs)):
            if len(inputs) == 1:
                return [await _outcome(runner, tenant, inputs[0], deadline)]
            return list(
                await asyncio.gather(*(_outcome(runner, tenant, raw, deadline) for raw in inputs))
            )

    def _load(self, name: str) -> Backbone:
        settings = self._settings
        return load_backbone(
            name,
            engine=settings.engine,
            device=settings.device,
            cache_dir=settings.cache_dir,
            threads=settings.threads,
            limits=settings.input_limits,
        )

    def _announce(self) -> None:
        if len(self._runners) == len(self._settings.backbone):
            self._infos = tuple(runner.info() for runner in self._runners.values())
            self._on_readiness(self.ready)


class _Runner:
    """One backbone with its two batchers, and its state of health.

    The state follows the last forward pass: a failed or stuck one makes the backbone unready;
    after that it is probed, at growing intervals, until a pass succeeds.
    """

    def __init__(
        self,
        backbone: Backbone,
        settings: ExtractorSettings,
        decoders: tuple[ThreadPoolExecutor, int],
        metrics: Metrics,
        on_change: Callable[[], None],
    ) -> None:
        self.backbone = backbone
        self.ready = False
        self._on_change = on_change
        self._gauge = metrics.backbone_ready.labels(backbone.name)
        self._failures = metrics.backbone_failures.labels(backbone.name)
        self._decode_seconds = metrics.phase_seconds.labels("decode", backbone.name)
        self._probe: asyncio.Task[None] | None = None
        self._decoders, decode_threads = decoders
        self._max_batch_rows = settings.max_batch_rows or BATCH_ROWS[backbone.device]
        passes = _passes(settings, backbone.device)
        self._device = ThreadPoolExecutor(passes, thread_name_prefix=f"backbone-{backbone.name}")
        self._decoding: Batcher[RawInput, _Decoded] = Batcher(
            self._decode,
            BatchLimits(
                max_rows=DECODE_ROWS,
                max_cost=settings.max_message_bytes,
                concurrency=decode_threads,
            ),
            DecodeObserver(metrics, backbone.name),
        )
        self._batching: Batcher[PreparedInput, _Embedded] = Batcher(
            self._forward,
            BatchLimits(
                max_rows=self._max_batch_rows,
                max_cost=settings.max_batch_cost,
                window_seconds=settings.batch_window_ms / 1000,
                concurrency=passes,
            ),
            BackboneObserver(metrics, backbone.name),
        )

    def info(self) -> BackboneInfo:
        backbone = self.backbone
        return BackboneInfo(
            name=backbone.name,
            modality=backbone.modality,
            dim=backbone.dim,
            fingerprint=backbone.fingerprint,
            engine=backbone.engine,
            device=backbone.device,
            ready=self.ready,
        )

    async def warm_up(self) -> None:
        """Runs the backbone once, so that the first request does not pay for it."""
        await self._on_device(self.backbone.warm_up)
        self._set_ready(True)

    async def embed(self, tenant: str, raw: RawInput, deadline: float | None) -> Extracted:
        if raw.kind.modality is not self.backbone.modality:
            raise InvalidRequest(
                f"input: {self.backbone.name} takes {self.backbone.modality} inputs, is {raw.kind}",
                field="input",
                limit=self.backbone.modality,
                value=raw.kind,
            )
        begun = asyncio.get_running_loop().time()
        decoded = await self._decoding.submit(tenant, raw, cost=raw.cost, deadline=deadline)
        embedded = await self._batching.submit(
            tenant, decoded.prepared, cost=decoded.prepared.cost, deadline=deadline
        )
        return Extracted(
            vector=embedded.vector,
            decode_seconds=decoded.seconds,
            queue_seconds=embedded.started - begun - decoded.seconds,
            backbone_seconds=embedded.seconds,
        )

    async def close(self) -> None:
        if self._probe is not None:
            self._probe.cancel()
        await self._decoding.close()
        await self._batching.close()
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await asyncio.to_thread(self._device.shutdown)
        except TimeoutError as error:
            raise BackboneFailed(f"{self.backbone.name}: a forward pass hangs") from error
        await asyncio.to_thread(self.backbone.close)

    async def _decode(self, batch: Sequence[RawInput]) -> Sequence[_Decoded | Exception]:
        # Pixels take more memory than the files they come from: no more than a few batches of them.
        await self._batching.room(DECODED_BATCHES * self._max_batch_rows)
        return await asyncio.get_running_loop().run_in_executor(
            self._decoders, lambda: [self._decode_one(raw) for raw in batch]
        )

    def _decode_one(self, raw: RawInput) -> _Decoded | Exception:
        started = time.perf_counter()
        try:
            prepared = self.backbone.preprocess(cast("models.RawInput", raw.content))
        except Exception as error:  # the row's own error, whatever it is
            return error
        seconds = time.perf_counter() - started
        self._decode_seconds.observe(seconds)
        return _Decoded(prepared, seconds)

    async def _forward(self, batch: Sequence[PreparedInput]) -> Sequence[_Embedded | Exception]:
        """Runs a batch; if that fails, each of its rows alone, so that one costs only itself."""
        try:
            outcomes = await self._pass(batch)
        except Exception as error:
            log.exception("forward pass failed", backbone=self.backbone.name, rows=len(batch))
            self._failures.inc()
            outcomes = [error] if len(batch) == 1 else [await self._alone(row) for row in batch]
        if all(isinstance(outcome, Exception) for outcome in outcomes):
            self._set_ready(False)
            self._start_probing()
        else:
            self._set_ready(True)
        return [_as_failure(outcome) for outcome in outcomes]

    async def _alone(self, row: PreparedInput) -> _Embedded | Exception:
        try:
            (outcome,) = await self._pass([row])
        except Exception as error:
            return error
        return outcome

    async def _pass(self, batch: Sequence[PreparedInput]) -> list[_Embedded | Exception]:
        loop = asyncio.get_running_loop()
        started = loop.time()
        watchdog = loop.call_later(STUCK_SECONDS, self._set_ready, False)
        try:
            vectors = await loop.run_in_executor(self._device, self.backbone.forward, batch)
        finally:
            watchdog.cancel()
        if len(vectors) != len(batch):
            raise BackboneFailed(f"the backbone gave {len(vectors)} rows for {len(batch)}")
        seconds = loop.time() - started
        return [
            _Embedded(vector, started, seconds)
            if np.isfinite(vector).all()
            else BackboneFailed("the backbone gave an embedding that is not finite")
            for vector in vectors
        ]

    def _set_ready(self, ready: bool) -> None:
        if ready != self.ready:
            self.ready = ready
            self._gauge.set(ready)
            self._on_change()

    def _start_probing(self) -> None:
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._probe_until_ready())

    async def _probe_until_ready(self) -> None:
        delay = FIRST_PROBE_SECONDS
        while not self.ready:
            await asyncio.sleep(delay)
            delay = min(2 * delay, LAST_PROBE_SECONDS)
            try:
                await self.warm_up()
            except Exception:
                log.exception("backbone still fails", backbone=self.backbone.name)

    async def _on_device(self, function: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._device, function)


def _passes(settings: ExtractorSettings, device: str) -> int:
    if settings.passes or device != "cpu":
        return settings.passes or 1
    cores = os.cpu_count() or 1
    return max(1, cores // (settings.threads or cores))


def _as_failure(outcome: _Embedded | Exception) -> _Embedded | Exception:
    if isinstance(outcome, BackboneFailed) or not isinstance(outcome, Exception):
        return outcome
    failure = BackboneFailed("the backbone failed on this input")
    failure.__cause__ = outcome
    return failure


async def _outcome(
    runner: _Runner, tenant: str, raw: RawInput, deadline: float | None
) -> Extracted | Exception:
    try:
        return await runner.embed(tenant, raw, deadline)
    except Exception as error:
        return error
