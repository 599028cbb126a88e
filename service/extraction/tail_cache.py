"""Tails ready to run: those used most recently on the device, the rest wherever they are kept."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

from models import Backbone, ModelError
from models.backbone import LoadedTail
from service.errors import BackboneFailed, PreconditionFailed, ServiceError
from service.extraction import TailRef
from service.extraction.batching import Batcher, BatchLimits
from service.logs import get_logger
from service.metrics import Metrics, TailObserver

LOADS_AT_ONCE = 4
"""More than one, so that a load that takes long, or hangs, delays no others."""

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class TailSlot:
    """One tail's slot in the cache.

    Attributes:
        tail: None until it is loaded.
        users: rows and batches that it must stay for.
        retired: it takes no new rows, and goes with its last user.
        load: fills it.
    """

    backbone: Backbone
    ref: TailRef
    tail: LoadedTail | None = None
    users: int = 0
    retired: bool = False
    load: asyncio.Task[None] = field(init=False)


class TailCache:
    """Gives tails to rows, and loads those that are not there. Lives on one event loop.

    A row that wants a cold tail waits here, outside of the backbone's queues, so it is in nobody's
    way. A few loads run at once, begun in fair order of tenants. A tail in use is never dropped,
    but it may be retired: then it takes no new rows and goes with its last one, so that no tenant's
    endless rows keep another's tail out.

    Args:
        max_bytes: of all loaded tails; those just loaded may for a moment exceed it.
        loads_at_once: the most loads under way.
    """

    def __init__(
        self, max_bytes: int, metrics: Metrics, loads_at_once: int = LOADS_AT_ONCE
    ) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._bytes = 0
        self._slots: OrderedDict[str, TailSlot] = OrderedDict()
        self._retired: set[TailSlot] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._loading: set[TailSlot] = set()
        self._placing = asyncio.Lock()
        self._threads = ThreadPoolExecutor(loads_at_once, thread_name_prefix="tails")
        self._closer = ThreadPoolExecutor(1, thread_name_prefix="tails-close")
        self._loads: Batcher[TailSlot, None] = Batcher(
            self._load,
            BatchLimits(max_rows=1, max_cost=1, concurrency=loads_at_once),
            TailObserver(metrics),
        )

    def ready(self, ref: TailRef) -> bool:
        """Returns whether a row that acquires a tail need not wait for it."""
        slot = self._slots.get(ref.fingerprint)
        return slot is not None and slot.tail is not None

    @asynccontextmanager
    async def acquire(
        self, tenant: str, backbone: Backbone, ref: TailRef
    ) -> AsyncIterator[TailSlot]:
        """Acquires a slot with its tail in it, which stays there within the block.

        Rows that want the same cold tail load it once. If none of them waits any more when its
        turn comes, it is not loaded.

        Raises:
            PreconditionFailed: it is larger than the cache, or belongs to another backbone.
            BackboneFailed: it cannot be loaded.
            ServiceError: what `ref.read` raised.
        """
        slot = self._slots.get(ref.fingerprint)
        if slot is None:
            slot = self._slots[ref.fingerprint] = TailSlot(backbone, ref)
            slot.load = asyncio.create_task(self._loads.submit(tenant, slot))
            slot.load.add_done_callback(_retrieve_error)
        elif slot.backbone.fingerprint != backbone.fingerprint:
            raise _of_another(ref, slot.backbone)
        self._slots.move_to_end(ref.fingerprint)
        with self.pin([slot]):
            await asyncio.shield(slot.load)
            yield slot

    @contextmanager
    def pin(self, slots: Sequence[TailSlot]) -> Iterator[None]:
        """Pins tails in the cache: a batch outlives those of its rows that are cancelled."""
        for slot in slots:
            slot.users += 1
        try:
            yield
        finally:
            for slot in slots:
                slot.users -= 1
                if not slot.users:
                    self._release(slot)

    async def drop(self, backbone: Backbone) -> None:
        """Releases a backbone's tails, as soon as the last rows have left them."""
        for slot in [slot for slot in self._slots.values() if slot.backbone is backbone]:
            self._retire(slot)
        # One may still be loaded for rows that have left.
        while any(slot.backbone is backbone for slot in (*self._retired, *self._loading)):
            await self._change()

    def forget(self, fingerprint: str) -> None:
        """Releases a tail that is deleted, as soon as the last rows have left it."""
        if (slot := self._slots.get(fingerprint)) is not None:
            self._retire(slot)

    async def close(self) -> None:
        """Stops loading tails."""
        await self._loads.close()
        for threads in (self._threads, self._closer):
            await asyncio.to_thread(threads.shutdown)

    async def _load(self, slots: Sequence[TailSlot]) -> Sequence[Exception | None]:
        (slot,) = slots
        self._loading.add(slot)
        try:
            await self._fill(slot)
        except Exception as error:
            self._forget(slot)
            self._metrics.tail_loads.labels("failed").inc()
            return [_as_failure(slot.ref, error)]
        finally:
            self._loading.remove(slot)
            self._changed.set()
        self._metrics.tail_loads.labels("loaded").inc()
        return [None]

    async def _fill(self, slot: TailSlot) -> None:
        if slot.retired:
            raise _not_wanted(slot.ref)
        tail = await self._open(slot)
        async with self._placing:  # two that wait for room would wait for each other
            self._count(tail.nbytes)
            try:
                self._check(slot.ref, tail)
                await self._make_room(slot)
                if slot.retired or not slot.users:
                    raise _not_wanted(slot.ref)
            except Exception:
                await self._close(tail)
                raise
            slot.tail = tail

    async def _open(self, slot: TailSlot) -> LoadedTail:
        data = await slot.ref.read()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, slot.backbone.load_tail, data
        )

    def _check(self, ref: TailRef, tail: LoadedTail) -> None:
        if tail.fingerprint != ref.fingerprint:
            raise BackboneFailed.at(
                "tail", "must be {limit}, its file holds {value}", ref.fingerprint, tail.fingerprint
            )
        if tail.nbytes > self._max_bytes:
            raise PreconditionFailed(
                f"tail: at most {self._max_bytes} bytes (tail_cache_bytes), takes {tail.nbytes}",
                field="tail",
                limit=self._max_bytes,
                value=tail.nbytes,
            )

    async def _make_room(self, slot: TailSlot) -> None:
        """Evicts unused tails, the least recently used ones first; then those of the fewest rows.

        Returns with too little room if nobody waits for the slot any more.
        """
        while self._bytes > self._max_bytes and slot.users and not slot.retired:
            ready = [other for other in self._slots.values() if other.tail is not None]
            first = min(ready, key=lambda other: other.users, default=None)
            # What can go at once goes, also if enough are retired and go with their last rows.
            leaving = self._leaving(in_use=first is not None and bool(first.users))
            if first is None or self._bytes - leaving <= self._max_bytes:
                await self._change()
            else:
                self._metrics.tail_evictions.inc()
                self._retire(first)

    def _leaving(self, *, in_use: bool) -> int:
        """Returns the bytes of retired tails being closed and, if asked, of those in use."""
        retired = (slot for slot in self._retired if in_use or not slot.users)
        return sum(slot.tail.nbytes for slot in retired if slot.tail is not None)

    def _retire(self, slot: TailSlot) -> None:
        slot.retired = True
        del self._slots[slot.ref.fingerprint]
        self._retired.add(slot)
        self._changed.set()
        if not slot.users:
            self._release(slot)

    def _release(self, slot: TailSlot) -> None:
        if slot.tail is None:  # nobody waits for it any more
            slot.load.cancel()
            self._forget(slot)
            self._retired.discard(slot)
        elif slot.retired:
            closing = asyncio.create_task(self._dispose(slot, slot.tail))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
        self._changed.set()

    def _forget(self, slot: TailSlot) -> None:
        """Removes a slot, unless another one of the same tail has taken its key."""
        if self._slots.get(slot.ref.fingerprint) is slot:
            del self._slots[slot.ref.fingerprint]

    async def _dispose(self, slot: TailSlot, tail: LoadedTail) -> None:
        await self._close(tail)
        self._retired.discard(slot)
        self._changed.set()

    async def _close(self, tail: LoadedTail) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._closer, tail.close)
        except Exception:
            log.exception("tail cannot be closed", tail=tail.fingerprint)
        self._count(-tail.nbytes)

    def _count(self, change: int) -> None:
        self._bytes += change
        self._metrics.tail_cache_bytes.set(self._bytes)
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def _retrieve_error(load: asyncio.Task[None]) -> None:
    """Retrieves a failure that no row has waited for, so that asyncio does not complain."""
    if not load.cancelled():
        load.exception()


def _not_wanted(ref: TailRef) -> PreconditionFailed:
    return PreconditionFailed(
        f"tail {ref.fingerprint[:12]}: it was forgotten, or its backbone unloaded", field="tail"
    )


def _of_another(ref: TailRef, backbone: Backbone) -> PreconditionFailed:
    return PreconditionFailed(
        f"tail: must be one of the backbone that is asked for, {ref.fingerprint[:12]} is one of "
        f"{backbone.name}",
        field="tail",
        value=ref.fingerprint,
    )


def _as_failure(ref: TailRef, error: Exception) -> ServiceError:
    """Converts a failed load to the error of the rows that waited for it."""
    if isinstance(error, ServiceError):
        return error
    log.error("tail cannot be loaded", tail=ref.fingerprint, exc_info=error)
    reason = f": {error}" if isinstance(error, ModelError) else ""
    failure = BackboneFailed(f"tail {ref.fingerprint[:12]} cannot be loaded{reason}", field="tail")
    failure.__cause__ = error
    return failure
