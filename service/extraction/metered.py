"""An extractor whose rows are taken from their tenant's quotas, and counted as its usage."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from numpy.typing import NDArray

from models import Modality
from service.access.metering import Metering, Reservation
from service.concurrency.demand import Demand
from service.errors import DeadlineExceeded, QueueFull, QuotaExceeded, Unavailable
from service.extraction.admission import Bound
from service.extraction.extractor import Admitted, BackboneInfo, Extracted, Extractor
from service.requests.inputs import RawInput, request_key

UNIT_PIXELS = 224 * 224
"""Pixels of a forward pass that cost one unit."""

TOKEN_PIXELS = 256
"""A token costs as much as so many pixels: a patch of 16 x 16."""

UNIT_DECODING_NS = 10_000_000
"""Decoding costs a unit for each 10 ms that it is expected to take."""

TOKEN_BYTES = 4
"""Of text, as is expected before it is read."""
MOST_TOKENS = 512

T = TypeVar("T")

_UNDONE = (QueueFull, Unavailable, DeadlineExceeded)


class MeteredExtractor(Extractor):
    """Hands everything on, once it is taken from the quotas; a request is refused as a whole.

    Args:
        sharers: servers that share the rows that a tenant may have in flight, this one included.
    """

    def __init__(self, extractor: Extractor, metering: Metering, sharers: int = 1) -> None:
        self._sharers = sharers
        self._extractor = extractor
        self._metering = metering
        self._in_flight: dict[str, Bound] = {}

    async def start(self, on_readiness: Callable[[bool], None]) -> None:
        await self._extractor.start(on_readiness)

    async def close(self) -> None:
        await self._extractor.close()

    @property
    def ready(self) -> bool:
        return self._extractor.ready

    def backbones(self) -> tuple[BackboneInfo, ...]:
        return self._extractor.backbones()

    async def load_backbone(self, name: str) -> BackboneInfo:
        return await self._extractor.load_backbone(name)

    async def unload_backbone(self, name: str) -> None:
        await self._extractor.unload_backbone(name)

    def forget_tail(self, fingerprint: str) -> None:
        self._extractor.forget_tail(fingerprint)

    async def embed(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        deadline: float | None = None,
        demands: Sequence[Demand] = (),
    ) -> list[Extracted | Exception]:
        taken = self._take(tenant, backbone, inputs, demands)
        work = self._extractor.embed(tenant, backbone, inputs, deadline=deadline, demands=demands)
        return await taken.settled(work)

    def admit(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        demands: Sequence[Demand],
    ) -> Admitted:
        taken = self._take(tenant, backbone, inputs, demands)
        try:
            admitted = self._extractor.admit(tenant, backbone, inputs, demands)
        except BaseException:
            taken.close()
            raise

        async def run() -> list[Extracted | Exception]:
            return await taken.settled(admitted.run())

        def close() -> None:
            admitted.close()
            taken.close()

        return Admitted(run, close)

    async def activations(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        *,
        prepared: bool,
        deadline: float | None = None,
    ) -> list[NDArray[Any] | Exception]:
        taken = self._take(tenant, backbone, inputs)
        work = self._extractor.activations(
            tenant, backbone, inputs, prepared=prepared, deadline=deadline
        )
        return await taken.settled(work)

    def _take(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput],
        demands: Sequence[Demand] = (),
    ) -> _Taken:
        """Takes rows from the quotas of their tenant, all or none."""

        def key() -> str:
            return (demands[0].request if demands else "") or request_key(inputs)

        costs = [_expected(raw) for raw in inputs]
        with ExitStack() as stack:
            stack.enter_context(self._rows_in_flight(tenant, len(inputs), key))
            total = sum(decoding + passing for decoding, passing in costs)
            reservation = self._metering.reserve(tenant, len(inputs), total, key)
            unit = _unit(backbone.modality)
            return _Taken(reservation, costs, unit, stack.pop_all())

    @contextmanager
    def _rows_in_flight(self, tenant: str, rows: int, key: Callable[[], str]) -> Iterator[None]:
        quota = self._metering.quotas.of(tenant).rows_in_flight
        if not quota:
            yield
            return
        limit = math.ceil(quota / self._sharers)
        bound = self._in_flight.setdefault(tenant, Bound("rows_in_flight", limit))
        bound.limit = limit
        try:  # more than may ever be are let in where none is
            bound.check(key(), min(rows, limit), asyncio.get_running_loop().time())
        except QueueFull as error:
            self._forget_idle(tenant, bound)
            raise QuotaExceeded(
                f"rows_in_flight: at most {limit} of tenants/{tenant}, would be "
                f"{bound.held + rows}; try again later",
                field="rows_in_flight",
                limit=limit,
                value=bound.held + rows,
                retry_after=error.retry_after,
                subject=f"tenants/{tenant}",
            ) from None
        bound.held += rows
        try:
            yield
        finally:
            bound.leave(rows)
            self._forget_idle(tenant, bound)

    def _forget_idle(self, tenant: str, bound: Bound) -> None:
        if bound.idle:
            self._in_flight.pop(tenant, None)


class _Taken:
    """What was taken for rows, and what they turn out to cost.

    Args:
        costs: as expected, of decoding and of the pass, by row.
        unit: what a pass costs by the pixel or token.
        held: gives back what is held while they are under way.
    """

    def __init__(
        self,
        reservation: Reservation,
        costs: Sequence[tuple[float, float]],
        unit: float,
        held: ExitStack,
    ) -> None:
        self._reservation, self._costs, self._unit, self._held = reservation, costs, unit, held

    async def settled(self, work: Awaitable[list[T]]) -> list[T]:
        """Has rows computed, and settles what they cost."""
        try:
            outcomes = await work
        except _UNDONE:
            raise
        except BaseException:
            self._reservation.keep()
            raise
        else:
            self._settle(outcomes)
            return outcomes
        finally:
            self.close()

    def close(self) -> None:
        """Gives back what is held, and what was taken if nothing was done."""
        self._reservation.cancel()
        self._held.close()

    def _settle(self, outcomes: Sequence[object]) -> None:
        rows, cost, seconds = 0, 0.0, 0.0
        for (decoding, passing), outcome in zip(self._costs, outcomes, strict=False):
            if isinstance(outcome, _UNDONE):
                continue
            rows += 1
            cost += decoding
            if isinstance(outcome, Extracted):
                cost += outcome.cost * self._unit if outcome.cost else passing
                seconds += outcome.device_seconds
            elif not isinstance(outcome, Exception):
                cost += passing
        self._reservation.settle(rows, cost, seconds)


def _unit(modality: Modality) -> float:
    return (1 if modality is Modality.IMAGE else TOKEN_PIXELS) / UNIT_PIXELS


def _expected(raw: RawInput) -> tuple[float, float]:
    """Returns the units that decoding an input and its pass are expected to cost."""
    decoding = raw.decoding_ns / UNIT_DECODING_NS
    if raw.kind.modality is not Modality.TEXT:
        return decoding, 1.0
    tokens = min(2 + raw.cost / TOKEN_BYTES, MOST_TOKENS)
    return decoding, tokens * _unit(Modality.TEXT)
