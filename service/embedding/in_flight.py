"""Embeddings that are being computed, each once, however many requests wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from service.concurrency.demand import Demand, Waiter
from service.embedding.cache import CacheKey
from service.embedding.resolved import Resolved
from service.errors import InternalError, QueueFull, Unavailable
from service.extraction import Admitted, BackboneInfo, Extracted, Extractor
from service.requests.inputs import Kind, RawInput

REPLY_SHARE = 0.1
MAX_REPLY_SECONDS = 0.1
"""Part of a request's time that is kept for what comes after its embeddings, at most."""


@dataclass(eq=False, slots=True)
class _InFlight:
    """One embedding that is being computed, and the demand for it."""

    key: CacheKey
    raw: RawInput
    outcome: asyncio.Future[Extracted | Exception]
    demand: Demand
    call: _SharedCall | None = None


@dataclass(eq=False, slots=True)
class _SharedCall:
    """One call to the extractor; it is cancelled when nobody waits for any of its embeddings."""

    computations: list[_InFlight]
    task: asyncio.Task[None] | None = field(default=None)

    @property
    def unwanted(self) -> bool:
        return not any(computation.demand.waiters for computation in self.computations)


class InFlightEmbeddings:
    """Computes each embedding once, and has it kept.

    Iterating gives the keys of what is being computed.

    Args:
        keep: takes what was computed of an input of some kind, unless it was discarded meanwhile.
    """

    def __init__(
        self, extractor: Extractor, keep: Callable[[CacheKey, Kind, Extracted], None]
    ) -> None:
        self._extractor = extractor
        self._keep = keep
        self._computations: dict[CacheKey, _InFlight] = {}

    def __iter__(self) -> Iterator[CacheKey]:
        return iter(self._computations)

    def discard(self, key: CacheKey) -> None:
        """Has an embedding not kept; requests that wait for it still get it."""
        self._computations.pop(key, None)

    async def compute(
        self,
        tenant: str,
        backbone: BackboneInfo,
        raws: Sequence[RawInput],
        deadline: float | None,
        request: str,
    ) -> list[Resolved | Exception]:
        """Computes one embedding or error per input, in order.

        Args:
            deadline: on the event loop's clock; what several requests wait for has the latest.
            request: by which the request is known when it comes back, whichever of its inputs are
                missing then.

        Raises:
            QueueFull, Unavailable: the extractor takes no rows now; none has a result. What it
                waits for besides is not waited for.
        """
        keys = [CacheKey(tenant, backbone.fingerprint, raw.digest) for raw in raws]
        waiter = Waiter(_before_the_reply(deadline))
        computations: list[_InFlight] = []
        try:
            computations = self._join_or_start(tenant, backbone, keys, raws, waiter, request)
            await _all_or_refused({computation.outcome: None for computation in computations})
        finally:
            waiter.leave(Unavailable("nobody waits for this input any more", retry_after=1.0))
            self._cancel_unwanted(computations)
        outcomes = [computation.outcome.result() for computation in computations]
        return [
            outcome
            if isinstance(outcome, Exception)
            else Resolved(
                raw.kind,
                outcome.vector,
                outcome.truncated,
                outcome.decode_seconds,
                outcome.queue_seconds,
                outcome.backbone_seconds,
            )
            for raw, outcome in zip(raws, outcomes, strict=True)
        ]

    def _join_or_start(
        self,
        tenant: str,
        backbone: BackboneInfo,
        keys: Sequence[CacheKey],
        raws: Sequence[RawInput],
        waiter: Waiter,
        request: str,
    ) -> list[_InFlight]:
        """Joins what is being computed for these keys, and starts one call for the others."""
        new: dict[CacheKey, RawInput] = {}
        for key, raw in dict(zip(keys, raws, strict=True)).items():
            known = self._computations.get(key)
            if known is None or known.demand.error is not None:  # that one was given up
                new[key] = raw
            else:
                waiter.wait_for(known.demand)
        if new:
            self._start(tenant, backbone, new, [Demand(waiter, request=request) for _ in new])
        return [self._computations[key] for key in keys]

    def _start(
        self,
        tenant: str,
        backbone: BackboneInfo,
        new: Mapping[CacheKey, RawInput],
        demands: Sequence[Demand],
    ) -> None:
        """Starts one call, unless it is refused at once."""
        admitted = self._extractor.admit(tenant, backbone, list(new.values()), demands)
        loop = asyncio.get_running_loop()
        started = [
            _InFlight(key, raw, loop.create_future(), demand)
            for (key, raw), demand in zip(new.items(), demands, strict=True)
        ]
        call = _SharedCall(started)
        for computation in started:
            computation.call = call
            self._computations[computation.key] = computation
        call.task = loop.create_task(self._run(admitted, started))
        call.task.add_done_callback(lambda _: admitted.close())

    async def _run(self, admitted: Admitted, computations: list[_InFlight]) -> None:
        try:
            outcomes = await admitted.run()
            if len(outcomes) != len(computations):
                raise InternalError(f"{len(outcomes)} embeddings for {len(computations)} inputs")
        except asyncio.CancelledError:
            self._settle(
                computations, [Unavailable("cancelled", retry_after=1.0)] * len(computations)
            )
            raise
        except Exception as error:
            self._settle(computations, [error] * len(computations))
        else:
            for computation, outcome in zip(computations, outcomes, strict=True):
                if (
                    isinstance(outcome, Extracted)
                    and self._computations.get(computation.key) is computation
                ):
                    self._keep(computation.key, computation.raw.kind, outcome)
            self._settle(computations, outcomes)

    def _settle(
        self, computations: Sequence[_InFlight], outcomes: Sequence[Extracted | Exception]
    ) -> None:
        for computation, outcome in zip(computations, outcomes, strict=True):
            if self._computations.get(computation.key) is computation:
                del self._computations[computation.key]
            if not computation.outcome.done():
                computation.outcome.set_result(outcome)

    def _cancel_unwanted(self, computations: Sequence[_InFlight]) -> None:
        for call in {
            computation.call for computation in computations if computation.call is not None
        }:
            if call.unwanted and call.task is not None and not call.task.done():
                for computation in call.computations:
                    # No request may join a computation that is cancelled.
                    if self._computations.get(computation.key) is computation:
                        del self._computations[computation.key]
                call.task.cancel()


async def _all_or_refused(outcomes: Collection[asyncio.Future[Extracted | Exception]]) -> None:
    """Waits for all, at most until one is refused; cancels none, as others may wait for them.

    Raises:
        QueueFull, Unavailable: one was refused.
    """
    pending = set(outcomes)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for outcome in outcomes:
            if outcome in done and isinstance(
                refusal := outcome.result(), (QueueFull, Unavailable)
            ):
                raise refusal


def _before_the_reply(deadline: float | None) -> float | None:
    """Returns when embeddings must be there for a reply before the deadline."""
    if deadline is None:
        return None
    left = max(deadline - asyncio.get_running_loop().time(), 0.0)
    return deadline - min(REPLY_SHARE * left, MAX_REPLY_SECONDS)
