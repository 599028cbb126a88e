"""Backbones in this process."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from numpy.typing import NDArray

from models import Backbone, BackboneError, UnknownBackbone, load_backbone
from models.engines.memory import give_back_memory
from service.concurrency.demand import Demand, Waiter
from service.config import ExtractorSettings
from service.errors import (
    InvalidRequest,
    InvalidSettings,
    PreconditionFailed,
    TooLate,
    Unavailable,
)
from service.extraction import Admitted, BackboneInfo, Extracted, Extractor
from service.extraction.admission import Admission
from service.extraction.backbone_runner import BackboneRunner
from service.extraction.decoding import DecodeThreads
from service.extraction.forecast import Forecast, Place
from service.extraction.shared_resources import SharedResources
from service.logs import get_logger
from service.metrics import Metrics
from service.requests.inputs import RawInput, request_key

R = TypeVar("R")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Request:
    """Rows that were taken in together.

    Attributes:
        held: gives back what they hold.
    """

    inputs: Sequence[RawInput]
    demands: Sequence[Demand]
    forecast: Forecast
    place: Place
    held: ExitStack

    async def compute(
        self, compute: Callable[[Place, RawInput, Demand], Awaitable[R]]
    ) -> list[R | Exception]:
        """Computes one outcome per input."""
        with self.held:
            rows = [
                _outcome(compute, self.place, raw, demand)
                for raw, demand in zip(self.inputs, self.demands, strict=True)
            ]
            outcomes = [await rows[0]] if len(rows) == 1 else await asyncio.gather(*rows)
        if any(isinstance(outcome, TooLate) for outcome in outcomes):
            refusal = self.forecast.refusal(self.place, asyncio.get_running_loop().time())
            return [refusal if isinstance(row, TooLate) else row for row in outcomes]
        return list(outcomes)


class LocalExtractor(Extractor):
    """Loads the backbones of the settings and runs them here, and others on request."""

    def __init__(
        self,
        settings: ExtractorSettings,
        metrics: Metrics,
        decode_threads: DecodeThreads | None = None,
    ) -> None:
        """Decodes in threads of its own if it is given none."""
        self._settings = settings
        self._admission = Admission(
            per_tenant=settings.max_queued_rows_per_tenant,
            total=settings.max_queued_rows,
            max_bytes=settings.max_queued_bytes,
        )
        self._resources = SharedResources(settings, metrics, decode_threads)
        self._runners: dict[str, BackboneRunner] = {}
        self._infos: tuple[BackboneInfo, ...] | None = None
        self._changing: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._changed = asyncio.Event()
        self._on_readiness: Callable[[bool], None] = lambda ready: None

    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        self._on_readiness = on_readiness
        for name in self._settings.backbone:
            try:
                await self._load(name)
            except PreconditionFailed as error:  # a setting that does not suit the backbone
                raise InvalidSettings(error.message, field=error.field) from error
        self._infos = ()
        self._update()

    async def close(self) -> None:
        async with AsyncExitStack() as stack:  # one that cannot be closed keeps no other open
            stack.push_async_callback(self._resources.close)
            for runner in self._runners.values():
                stack.push_async_callback(runner.close)

    @property
    def ready(self) -> bool:
        started = self._infos is not None
        return started and all(runner.ready for runner in self._runners.values())

    def backbones(self) -> tuple[BackboneInfo, ...]:
        if self._infos is None:
            raise Unavailable("the backbones are being loaded", retry_after=1.0)
        return self._infos

    async def follow_backbones(self) -> AsyncIterator[tuple[BackboneInfo, ...]]:
        """Yields the loaded backbones as soon as they are known, and again at every change."""
        sent = None
        while True:
            changed = self._changed
            if self._infos is not None and self._infos != sent:
                sent = self._infos
                yield sent
            await changed.wait()

    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        deadline: float | None = None,
        demands: Sequence[Demand] = (),
    ) -> list[Extracted | Exception]:
        demands = demands or _demands(len(inputs), deadline)
        return await self.admit(tenant, backbone, inputs, demands).run()

    def admit(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        demands: Sequence[Demand],
    ) -> Admitted:
        runner = self._runner(backbone)

        async def embed(place: Place, raw: RawInput, demand: Demand) -> Extracted:
            return await runner.embed(place, raw, demand, backbone.tail)

        request = self._take_in(runner, tenant, inputs, demands)
        return Admitted(partial(request.compute, embed), request.held.close)

    async def activations(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        prepared: bool,
        deadline: float | None = None,
    ) -> list[NDArray[Any] | Exception]:
        runner = self._runner(backbone)
        if not prepared and not runner.backbone.cut:
            raise PreconditionFailed.at("backbone", "{value} cannot be cut", value=backbone.name)

        async def compute(place: Place, raw: RawInput, demand: Demand) -> NDArray[Any]:
            return await runner.activation(place, raw, demand, prepared=prepared)

        request = self._take_in(runner, tenant, inputs, _demands(len(inputs), deadline))
        return await request.compute(compute)

    def forget_tail(self, fingerprint: str) -> None:
        self._resources.tails.forget(fingerprint)

    async def load_backbone(self, name: str) -> BackboneInfo:
        async with self._lock(name):
            if name not in self._runners:
                try:
                    await self._load(name)
                except UnknownBackbone as error:
                    raise InvalidRequest(str(error), field="name", value=name) from error
                except BackboneError as error:
                    raise PreconditionFailed(str(error), field="name", value=name) from error
                self._update()
            return self.backbone(name)

    async def unload_backbone(self, name: str) -> None:
        async with self._lock(name):
            self.backbone(name)
            runner = self._runners.pop(name)
            self._update()
            await runner.finish(self._settings.drain_seconds)
            await runner.close()
            del runner
            await asyncio.to_thread(_give_back_memory)
            log.info("backbone unloaded", backbone=name)

    def _lock(self, name: str) -> asyncio.Lock:
        """Returns the lock of one backbone: a load that takes long, or hangs, delays no others."""
        return self._changing.setdefault(name, asyncio.Lock())

    def _take_in(
        self,
        runner: BackboneRunner,
        tenant: str,
        inputs: Sequence[RawInput],
        demands: Sequence[Demand],
    ) -> _Request:
        """Admits all rows of a request, or none."""
        clock = asyncio.get_running_loop().time
        key = (demands[0].request if demands else "") or request_key(inputs)
        with ExitStack() as stack:
            size = sum(raw.cost for raw in inputs)
            stack.enter_context(
                self._admission.admit(tenant, len(inputs), size, key=key, now=clock())
            )
            work = [runner.work(raw) for raw in inputs]
            forecast = runner.forecast({row.decoding for row in work})
            place = stack.enter_context(forecast.admit(tenant, key, work, demands, clock()))
            stack.enter_context(runner.busy(len(inputs)))
            return _Request(inputs, demands, forecast, place, stack.pop_all())

    def _runner(self, backbone: BackboneInfo) -> BackboneRunner:
        loaded = self.backbone(backbone.name)
        if backbone.tail is None and backbone.fingerprint != loaded.fingerprint:
            raise Unavailable.at(
                "backbone", "{value} has changed; try again", value=backbone.name, retry_after=1.0
            )
        runner = self._runners[backbone.name]
        runner.check_passes()
        return runner

    async def _load(self, name: str) -> None:
        """Loads a backbone and adds it once it is warm."""
        log.info("loading backbone (the first time takes minutes)", backbone=name)
        backbone = await asyncio.to_thread(self._open, name)
        try:
            limits = self._resources.batch_limits(backbone)
        except PreconditionFailed:
            await asyncio.to_thread(backbone.close)
            raise
        runner = BackboneRunner(backbone, limits, self._resources, self._update)
        try:
            await runner.warm_up()
        except BaseException:
            await runner.close()
            raise
        self._runners[name] = runner
        log.info(
            "backbone ready",
            backbone=name,
            fingerprint=backbone.fingerprint[:12],
            device=backbone.device,
            **asdict(limits),
        )

    def _open(self, name: str) -> Backbone:
        settings = self._settings
        return load_backbone(
            name,
            engine=settings.engine,
            device=settings.device,
            cache_dir=settings.cache_dir,
            threads=settings.threads,
            limits=settings.input_limits,
            catalogue=settings.catalogue,
            offline=settings.offline,
        )

    def _update(self) -> None:
        """Lists the backbones anew, and notifies followers and the readiness callback."""
        if self._infos is None:
            return
        self._infos = tuple(runner.info() for runner in self._runners.values())
        self._on_readiness(self.ready)
        self._changed.set()
        self._changed = asyncio.Event()


def _give_back_memory() -> None:
    """Frees what only the collector can free, and has the C library hand back free memory.

    Without either, memory grew by some 10 MB with every load of a small backbone: what is freed
    between pieces in use stays with the process (malloc_trim(3)).
    """
    gc.collect()
    give_back_memory()


def _demands(rows: int, deadline: float | None) -> list[Demand]:
    """Returns the demands of one request that waits for all rows."""
    waiter = Waiter(deadline)
    return [Demand(waiter) for _ in range(rows)]


async def _outcome(
    compute: Callable[[Place, RawInput, Demand], Awaitable[R]],
    place: Place,
    raw: RawInput,
    demand: Demand,
) -> R | Exception:
    try:
        return await compute(place, raw, demand)
    except Exception as error:
        return error
