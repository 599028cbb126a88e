"""A resolver of embeddings and its cache, and what came out of it."""

from __future__ import annotations

from service.embedding.cache import CacheKey, EmbeddingCache
from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.metrics import Metrics
from service.requests.inputs import Kind
from service.store import Database
from tests.service.hand_extractor import HandExtractor
from tests.service.tiny_backbone import FINGERPRINT, vector_of

BIG = 1 << 20


def key(name: str, tenant: str = "acme") -> CacheKey:
    return CacheKey(tenant, FINGERPRINT, name)


def cache_of(entries: int) -> EmbeddingCache:
    """A cache with room for that many entries."""
    probe = EmbeddingCache(BIG, Metrics(1))
    probe.put(key("probe"), vector_of("probe"), Kind.TEXT)
    return EmbeddingCache(entries * probe.nbytes, Metrics(1))


def vectors_of(outcomes: list[Resolved | Exception]) -> list[list[float]]:
    rows = []
    for outcome in outcomes:
        assert isinstance(outcome, Resolved), outcome
        rows.append(outcome.vector.tolist())
    return rows


def made(
    extractor: HandExtractor, database: Database | None = None, size: int = BIG
) -> EmbeddingResolver:
    return EmbeddingResolver(extractor, database, size, Metrics(5))
