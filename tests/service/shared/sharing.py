"""Resolvers of several servers on one store, which share a cache."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from service.concurrency.circuit import Circuit
from service.embedding.resolver import EmbeddingResolver
from service.embedding.shared_cache import SharedCache
from service.metrics import Metrics
from service.shared import RedisAddress, TenantSecrets
from service.shared.server import SharedServer
from service.store import Database
from service.tls import TlsFiles
from tests.service.embedding.resolvers import BIG, vectors_of
from tests.service.hand_extractor import HandExtractor
from tests.service.tiny_backbone import info, text_input, vector_of

PATIENCE = 10.0
"""Seconds for an answer, where none may be missed."""

AWAY = "does not answer"
"""What the log says of it."""


class Sharing:
    """A server's resolver of embeddings, its extractor, and what it counts."""

    def __init__(
        self,
        database: Database,
        url: str,
        *,
        seconds: float = PATIENCE,
        circuit: Circuit | None = None,
        memory: int = BIG,
        queued_bytes: int = BIG,
    ) -> None:
        self.metrics = Metrics(5)
        self.extractor = HandExtractor()
        self.server = SharedServer(RedisAddress.parse(url), seconds, self.metrics, None, circuit)
        self.cache = SharedCache(
            self.server,
            TenantSecrets(database, PATIENCE),
            self.metrics,
            ttl_seconds=60,
            queued_bytes=queued_bytes,
        )
        self.resolver = EmbeddingResolver(
            self.extractor, database, memory, self.metrics, shared=self.cache
        )

    async def resolve(self, *texts: str, tenant: str = "acme") -> list[list[float]]:
        rows = [text_input(text) for text in texts]
        found = vectors_of(await self.resolver.resolve(tenant, info(), rows))
        await self.cache.close()  # waits until it is there
        return found

    def count(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"trunkline_shared_cache_{name}", labels) or 0

    def lookups(self) -> dict[str, int]:
        """How often a lookup came to what, without what did not occur."""
        outcomes = ("hit", "miss", "damaged", "away")
        counts = {name: int(self.count("lookups_total", outcome=name)) for name in outcomes}
        return {name: count for name, count in counts.items() if count}


@asynccontextmanager
async def sharing(database: Database, url: str, **options: object) -> AsyncIterator[Sharing]:
    server = Sharing(database, url, **options)  # type: ignore[arg-type]
    try:
        yield server
    finally:
        await server.cache.close()
        await server.server.close()


@asynccontextmanager
async def shared_server(
    url: str, *, seconds: float = PATIENCE, tls: TlsFiles | None = None
) -> AsyncIterator[tuple[SharedServer, Metrics]]:
    metrics = Metrics(1)
    server = SharedServer(RedisAddress.parse(url), seconds, metrics, tls)
    try:
        yield server, metrics
    finally:
        await server.close()


def said(logs: Sequence[Mapping[str, object]], words: str) -> int:
    return sum(words in str(entry["event"]) for entry in logs)


async def right(server: Sharing, *texts: str) -> None:
    assert await server.resolve(*texts) == [vector_of(text).tolist() for text in texts]


async def ping(redis: Redis) -> object:
    return await redis.echo("here")
