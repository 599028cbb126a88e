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

log = get_logger(__name__)


@dataclass(eq=False, slots=True)
class Place:
    """One tail's place in the cache.

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
    """Lends tails to rows, and loads those that are not there. Lives on one event loop.

    A row that wants a cold tail waits here, outside of the backbone's queues, so it is in nobody's
    way. Loads take fair turns, one at a time. A tail in use is never dropped, but it may be
    retired: then it takes no new rows and goes with its last one, so that no tenant's endless rows
    keep another's tail out.

    Args:
        max_bytes: of all loaded tails; the one just loaded may for a moment exceed it.
    """

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._bytes = 0
        self._places: OrderedDict[str, Place] = OrderedDict()
        self._retired: set[Place] = set()
        self._closings: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self._loading = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tails")
        self._loads: Batcher[Place, None] = Batcher(
            self._load, BatchLimits(max_rows=1, max_cost=1), TailObserver(metrics)
        )

    @asynccontextmanager
    async def lend(self, tenant: str, backbone: Backbone, ref: TailRef) -> AsyncIterator[Place]:
        """A place with its tail in it, which stays there within the block.

        Rows that want the same cold tail load it once. If none of them waits any more when its
        turn comes, it is not loaded.

        Raises:
            PreconditionFailed: it is larger than the cache, or belongs to another backbone.
            BackboneFailed: it cannot be loaded.
            ServiceError: what `ref.read` raised.
        """
        place = self._places.get(ref.fingerprint)
        if place is None:
            place = self._places[ref.fingerprint] = Place(backbone, ref)
            place.load = asyncio.create_task(self._loads.submit(tenant, place))
            place.load.add_done_callback(_note_result)
        elif place.backbone.fingerprint != backbone.fingerprint:
            raise _of_another(ref, place.backbone)
        self._places.move_to_end(ref.fingerprint)
        with self.hold([place]):
            await asyncio.shield(place.load)
            yield place

    @contextmanager
    def hold(self, places: Sequence[Place]) -> Iterator[None]:
        """Keeps tails where they are: a batch outlives those of its rows that are cancelled."""
        for place in places:
            place.users += 1
        try:
            yield
        finally:
            for place in places:
                place.users -= 1
                if not place.users:
                    self._note_unused(place)

    async def drop(self, backbone: Backbone) -> None:
        """Lets go of a backbone's tails, as soon as the last rows have left them."""
        for place in [place for place in self._places.values() if place.backbone is backbone]:
            self._retire(place)
        while any(place.backbone is backbone for place in self._retired):
            await self._change()
        async with self._loading:
            pass  # nor is one of them still being loaded for rows that have left

    def forget(self, fingerprint: str) -> None:
        """Lets go of a tail that is deleted, as soon as the last rows have left it."""
        if (place := self._places.get(fingerprint)) is not None:
            self._retire(place)

    async def close(self) -> None:
        """Loads no more tails."""
        await self._loads.close()
        await asyncio.to_thread(self._thread.shutdown)

    async def _load(self, places: Sequence[Place]) -> Sequence[Exception | None]:
        (place,) = places
        async with self._loading:
            try:
                await self._fill(place)
            except Exception as error:
                self._forget(place)
                self._metrics.tail_loads.labels("failed").inc()
                return [_as_failure(place.ref, error)]
        self._metrics.tail_loads.labels("loaded").inc()
        return [None]

    async def _fill(self, place: Place) -> None:
        if place.retired:
            raise _not_wanted(place.ref)
        tail = await self._open(place)
        self._count(tail.nbytes)
        try:
            self._check(place.ref, tail)
            await self._make_room(place)
            if place.retired or not place.users:
                raise _not_wanted(place.ref)
        except Exception:
            await self._close(tail)
            raise
        place.tail = tail

    async def _open(self, place: Place) -> LoadedTail:
        data = await place.ref.read()
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, place.backbone.load_tail, data
        )

    def _check(self, ref: TailRef, tail: LoadedTail) -> None:
        if tail.fingerprint != ref.fingerprint:
            raise BackboneFailed(
                f"tail: must be {ref.fingerprint}, its file holds {tail.fingerprint}",
                field="tail",
                limit=ref.fingerprint,
                value=tail.fingerprint,
            )
        if tail.nbytes > self._max_bytes:
            raise PreconditionFailed(
                f"tail: at most {self._max_bytes} bytes (tail_cache_bytes), takes {tail.nbytes}",
                field="tail",
                limit=self._max_bytes,
                value=tail.nbytes,
            )

    async def _make_room(self, place: Place) -> None:
        """Lets unused tails go, the least recently used ones first; then those of the fewest rows.

        Returns with too little room if nobody waits for the place any more.
        """
        while self._bytes > self._max_bytes and place.users and not place.retired:
            ready = [other for other in self._places.values() if other.tail is not None]
            first = min(ready, key=lambda other: other.users, default=None)
            # Who can go at once goes, also if enough have been told to go with their last rows.
            leaving = self._leaving(in_use=first is not None and bool(first.users))
            if first is None or self._bytes - leaving <= self._max_bytes:
                await self._change()
            else:
                self._metrics.tail_evictions.inc()
                self._retire(first)

    def _leaving(self, *, in_use: bool) -> int:
        """Bytes of retired tails that are being closed, and of those still in use, if so wanted."""
        retired = (place for place in self._retired if in_use or not place.users)
        return sum(place.tail.nbytes for place in retired if place.tail is not None)

    def _retire(self, place: Place) -> None:
        place.retired = True
        del self._places[place.ref.fingerprint]
        self._retired.add(place)
        self._changed.set()
        if not place.users:
            self._note_unused(place)

    def _note_unused(self, place: Place) -> None:
        if place.tail is None:  # nobody waits for it any more
            place.load.cancel()
            self._forget(place)
            self._retired.discard(place)
        elif place.retired:
            closing = asyncio.create_task(self._dispose(place, place.tail))
            self._closings.add(closing)
            closing.add_done_callback(self._closings.discard)
        self._changed.set()

    def _forget(self, place: Place) -> None:
        """Make way for another place of the same tail, if none has been made yet."""
        if self._places.get(place.ref.fingerprint) is place:
            del self._places[place.ref.fingerprint]

    async def _dispose(self, place: Place, tail: LoadedTail) -> None:
        await self._close(tail)
        self._retired.discard(place)
        self._changed.set()

    async def _close(self, tail: LoadedTail) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._thread, tail.close)
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


def _note_result(load: asyncio.Task[None]) -> None:
    """Looks at a failure that no row has waited for, so that asyncio does not complain."""
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
    """What a row is told that waited for a tail."""
    if isinstance(error, ServiceError):
        return error
    log.error("tail cannot be loaded", tail=ref.fingerprint, exc_info=error)
    reason = f": {error}" if isinstance(error, ModelError) else ""
    failure = BackboneFailed(f"tail {ref.fingerprint[:12]} cannot be loaded{reason}", field="tail")
    failure.__cause__ = error
    return failure
