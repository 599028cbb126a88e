"""Embeddings that servers share: looked for after memory, and put there after computing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from redis.asyncio import Redis
from redis.exceptions import InvalidResponse, RedisError

from service.embedding.cache import CachedEmbedding, CacheKey
from service.logs import Seldom, get_logger
from service.metrics import Metrics
from service.requests.inputs import Kind
from service.shared import TenantSecrets
from service.shared.sealing import Seal
from service.shared.server import SharedServer

BATCH_BYTES = 256 * 1024
"""So much is put there at once."""

WRITE_BYTES_FACTOR = 10
"""Nobody waits for what is written: it has time as for so many times its bytes."""

_KINDS = {Kind.IMAGE: 1, Kind.TEXT: 2, Kind.PIXELS: 3}
"""As they are written: servers of several releases read them."""
_READ_KINDS = {number: kind for kind, number in _KINDS.items()}
_HEADER_BYTES = 4
_DTYPE = "<f4"

log = get_logger(__name__)


class _Write(NamedTuple):
    name: bytes
    value: bytes


class SharedCache:
    """Embeddings in Redis or Valkey, sealed for each tenant. It raises nothing, and keeps nobody.

    Args:
        ttl_seconds: after which what lies there is gone.
        queued_bytes: that may wait to be put there; what comes beyond is not.
    """

    def __init__(
        self,
        server: SharedServer,
        secrets: TenantSecrets,
        metrics: Metrics,
        *,
        ttl_seconds: float,
        queued_bytes: int,
    ) -> None:
        self._server, self._secrets, self._metrics = server, secrets, metrics
        self._ttl_ms = int(1000 * ttl_seconds)
        self._most = queued_bytes
        self._queue: deque[_Write] = deque()
        self._queued = 0
        self._writer: asyncio.Task[None] | None = None
        self._seldom = Seldom(60.0)

    async def find(
        self, keys: Sequence[CacheKey], dim: int, deadline: float | None
    ) -> dict[CacheKey, CachedEmbedding]:
        """Returns those of one tenant's embeddings, of shape (dim,), that are there: one request.

        Args:
            deadline: of who asks, on the event loop's clock.
        """
        count = self._metrics.shared_lookups.labels
        seal = None if self._server.away else await self._secrets.of(keys[0].tenant)
        values: list[Any] | None = None
        if seal is not None:
            names = [seal.name(key.fingerprint, key.digest) for key in keys]

            async def get(redis: Redis) -> list[Any]:
                found = await redis.mget(names)
                if not isinstance(found, list) or len(found) != len(names):
                    raise InvalidResponse("it does not answer what it was asked")
                return found

            values = await self._server.ask(get, len(keys) * 4 * dim, deadline)
        if seal is None or values is None:
            count("away").inc(len(keys))
            return {}
        found = {}
        for key, name, value in zip(keys, names, values, strict=True):
            entry = None if value is None else _opened(seal, name, key, value, dim)
            count("miss" if value is None else "hit" if entry else "damaged").inc()
            if entry is not None:
                found[key] = entry
        return found

    def put(self, key: CacheKey, entry: CachedEmbedding) -> None:
        """Has an embedding put there, soon; if too many wait, or it is away, it is left out."""
        # Sealed now: of what is forgotten while it waits nobody can read what is written then.
        seal = self._secrets.at_hand(key.tenant)
        if seal is None or self._server.away:
            self._metrics.shared_lost.labels("away").inc()
            return
        name = seal.name(key.fingerprint, key.digest)
        write = _Write(name, seal.close(name, key.digest, _packed(entry)))
        if self._queued + len(write.value) > self._most:
            self._metrics.shared_lost.labels("queue").inc()
            return
        self._queue.append(write)
        self._queued += len(write.value)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_queued())

    async def close(self) -> None:
        """Puts there what waits, as far as it is taken."""
        if self._writer is not None:
            await self._writer

    async def _write_queued(self) -> None:
        try:
            while self._queue:
                await self._write(self._next_batch())
        finally:
            self._writer = None

    def _next_batch(self) -> list[_Write]:
        batch: list[_Write] = []
        nbytes = 0
        while self._queue and (not batch or nbytes + len(self._queue[0].value) <= BATCH_BYTES):
            batch.append(self._queue.popleft())
            nbytes += len(batch[-1].value)
        self._queued -= nbytes
        return batch

    async def _write(self, batch: Sequence[_Write]) -> None:
        async def put(redis: Redis) -> list[Any]:
            pipeline = redis.pipeline(transaction=False)
            for name, value in batch:
                pipeline.execute_command("SET", name, value, "PX", self._ttl_ms)
            return await pipeline.execute(raise_on_error=False)

        nbytes = WRITE_BYTES_FACTOR * sum(len(write.value) for write in batch)
        outcomes = await self._server.ask(put, nbytes)
        if outcomes is None:
            self._metrics.shared_lost.labels("away").inc(len(batch))
            return
        refused = [outcome for outcome in outcomes if isinstance(outcome, RedisError)]
        self._metrics.shared_written.inc(len(batch) - len(refused))
        if refused:
            self._metrics.shared_lost.labels("refused").inc(len(refused))
            if self._seldom() is not None:
                log.warning("the shared cache takes no embeddings", reason=str(refused[0]))


def _packed(entry: CachedEmbedding) -> bytes:
    header = bytes((_KINDS[entry.kind], entry.truncated, 0, 0))
    return header + entry.vector.astype(_DTYPE, copy=False).tobytes()


def _opened(
    seal: Seal, name: bytes, key: CacheKey, value: object, dim: int
) -> CachedEmbedding | None:
    data = seal.open(name, key.digest, value)
    if data is None or len(data) != _HEADER_BYTES + 4 * dim or data[0] not in _READ_KINDS:
        return None
    vector = np.frombuffer(data, dtype=_DTYPE, offset=_HEADER_BYTES)
    return CachedEmbedding(vector, _READ_KINDS[data[0]], bool(data[1]))
