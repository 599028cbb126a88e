"""Embeddings in memory, kept apart by tenant."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.metrics import Metrics
from service.requests.inputs import Kind

ENTRY_OVERHEAD_BYTES = 450
"""Size of an entry beside its numbers; tracemalloc over 20,000 entries gave 420 on CPython 3.11."""


class CacheKey(NamedTuple):
    """The tenant is part of it, so that response times reveal nothing about another's inputs."""

    tenant: str
    fingerprint: str
    digest: str


@dataclass(frozen=True, slots=True)
class CachedEmbedding:
    """A vector, float32 of shape (dim,), and the kind of input it was made of.

    Attributes:
        truncated: whether it was a text that is longer than the backbone's window.
    """

    vector: NDArray[np.float32]
    kind: Kind
    truncated: bool


class EmbeddingCache:
    """The most recently used embeddings, bounded in bytes."""

    def __init__(self, max_bytes: int, metrics: Metrics) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._entries: OrderedDict[CacheKey, CachedEmbedding] = OrderedDict()
        self._gauge = metrics.cache_bytes

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def nbytes(self) -> int:
        """Memory of the entries, their bookkeeping included."""
        return self._bytes

    def get(self, key: CacheKey) -> CachedEmbedding | None:
        """Returns the entry, which becomes the most recently used."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def __contains__(self, key: CacheKey) -> bool:
        return key in self._entries

    def __iter__(self) -> Iterator[CacheKey]:
        return iter(self._entries)

    def discard(self, key: CacheKey) -> None:
        """Drops the entry, if there is one."""
        old = self._entries.pop(key, None)
        if old is not None:
            self._bytes -= old.vector.nbytes + ENTRY_OVERHEAD_BYTES
            self._gauge.set(self._bytes)

    def put(
        self, key: CacheKey, vector: NDArray[np.float32], kind: Kind, truncated: bool = False
    ) -> None:
        """Keeps a copy, and evicts the least recently used entries."""
        if key in self._entries:
            return
        # A row of a batch's result would keep the whole batch alive.
        self._entries[key] = CachedEmbedding(vector.copy(), kind, truncated)
        self._bytes += vector.nbytes + ENTRY_OVERHEAD_BYTES
        while self._bytes > self._max_bytes:
            _, old = self._entries.popitem(last=False)
            self._bytes -= old.vector.nbytes + ENTRY_OVERHEAD_BYTES
        self._gauge.set(self._bytes)
