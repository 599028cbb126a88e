"""Embeddings of inputs: from a cache, the store or the extractor, each computed once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from models import InputLimits, Modality
from service.access.metering import Metering
from service.embedding.cache import CachedEmbedding, CacheKey, EmbeddingCache
from service.embedding.in_flight import InFlightEmbeddings
from service.embedding.resolved import Resolved
from service.errors import DeadlineExceeded, NotFound
from service.extraction import BackboneInfo, Extracted, Extractor
from service.metrics import Metrics
from service.requests.inputs import Kind, RawInput, check_embedding, read_kept, request_key
from service.store import Database, kept_inputs
from service.store import embeddings as stored_embeddings
from service.store.changes import Changed, Needed
from service.store.view_digests import PREFIX

if TYPE_CHECKING:
    from service.embedding.shared_cache import SharedCache


class EmbeddingResolver:
    """Finds or computes embeddings for one tenant's inputs.

    Args:
        database: where digests of stored examples are looked up, and which is followed: what leaves
            it is kept no longer. None for an extraction server alone, which stores nothing.
        limits: of kept inputs, which are computed anew where a digest is all that was sent.
        metering: counts what is asked for, and takes what is in memory from the tenant's quota;
            None for an extraction server alone. What is computed the extractor takes.
        shared: where embeddings are looked for that are not in memory, and put when computed.
    """

    def __init__(
        self,
        extractor: Extractor,
        database: Database | None,
        cache_bytes: int,
        metrics: Metrics,
        limits: InputLimits | None = None,
        metering: Metering | None = None,
        shared: SharedCache | None = None,
    ) -> None:
        self._database = database
        self._extractor = extractor
        self._cache = EmbeddingCache(cache_bytes, metrics)
        self._metrics = metrics
        self._limits = limits or InputLimits()
        self._in_flight = InFlightEmbeddings(extractor, self._keep)
        self._metering = metering
        self._shared = shared
        self._purges = 0
        if database is not None:
            database.follow(self._purge_changed)

    async def resolve(
        self,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput | Exception],
        *,
        deadline: float | None = None,
        look_in_store: bool = False,
    ) -> list[Resolved | Exception]:
        """Finds or computes one embedding or error per input, in order; errors are passed on.

        Args:
            deadline: on the event loop's clock; nobody needs the result after it.
            look_in_store: whether to look for inputs with content in the store, too, before they
                are computed; digests always are.

        Raises:
            QueueFull, Unavailable: the extractor takes no rows now, or the tenant has used its
                quota; none has a result.
        """
        if self._metering is not None:
            await self._metering.quotas.hear(tenant, deadline)
        outcomes: list[Resolved | Exception | None] = [
            self._at_hand(tenant, backbone, raw) for raw in inputs
        ]
        missing = [i for i, outcome in enumerate(outcomes) if outcome is None]
        hits = sum(isinstance(outcome, Resolved) for outcome in outcomes)
        self._metrics.count_cache(tenant, hits=hits, misses=len(missing))
        if missing and self._shared is not None:
            await self._look_in_shared(self._shared, tenant, backbone, inputs, outcomes, deadline)
            hits += len(missing)
            missing = [i for i in missing if outcomes[i] is None]
            hits -= len(missing)
        if self._metering is not None:
            self._meter(self._metering, tenant, inputs, hits, alone=not missing)
        if missing:
            raws = {i: raw for i in missing if isinstance(raw := inputs[i], RawInput)}
            request = request_key([raw for raw in inputs if isinstance(raw, RawInput)])
            await self._fill(tenant, backbone, raws, outcomes, deadline, request, look_in_store)
        return [_not_none(outcome) for outcome in outcomes]

    def _meter(
        self,
        metering: Metering,
        tenant: str,
        inputs: Sequence[RawInput | Exception],
        hits: int,
        *,
        alone: bool,
    ) -> None:
        raws = [raw for raw in inputs if isinstance(raw, RawInput)]
        key = partial(request_key, raws) if alone else None
        metering.count_request(tenant, hits, sum(raw.cost for raw in raws), key)

    def cached(self, tenant: str, fingerprint: str, digests: Iterable[str]) -> set[str]:
        """Returns those of the digests whose embedding is in memory."""
        return {d for d in digests if CacheKey(tenant, fingerprint, d) in self._cache}

    def purge(self, tenant: str, needed: Needed, tails: Collection[str] = ()) -> None:
        """Forgets embeddings of inputs and their views; call it after they have left the store.

        Args:
            needed: fingerprints under which the tenant needs them still, by the inputs' digests.
            tails: fingerprints of tails that are not needed any more.
        """
        self._purges += 1
        prefixes = {digest[:PREFIX]: kept for digest, kept in needed.items()}
        for key in [
            key for key in itertools.chain(self._cache, self._in_flight) if key[0] == tenant
        ]:
            kept = prefixes.get(key.digest[:PREFIX])
            if key.fingerprint in tails or (kept is not None and key.fingerprint not in kept):
                self._cache.discard(key)
                self._in_flight.discard(key)

    def forget_tenant(self, tenant: str) -> None:
        """Forgets all embeddings of a tenant."""
        self._purges += 1
        for key in [
            key for key in itertools.chain(self._cache, self._in_flight) if key[0] == tenant
        ]:
            self._cache.discard(key)
            self._in_flight.discard(key)

    def _purge_changed(self, changed: Changed) -> None:
        for tenant in changed.gone | changed.outdated:
            self.forget_tenant(tenant)
        if changed.everything:
            for tenant in {key[0] for key in itertools.chain(self._cache, self._in_flight)}:
                self.forget_tenant(tenant)
        for tenant in changed.needed.keys() | changed.tails.keys():
            gone = changed.tails.get(tenant, set())
            self.purge(tenant, changed.needed.get(tenant, {}), gone)
            for fingerprint in gone:
                self._extractor.forget_tail(fingerprint)

    def _at_hand(
        self, tenant: str, backbone: BackboneInfo, raw: RawInput | Exception
    ) -> Resolved | Exception | None:
        if isinstance(raw, Exception):
            return raw
        if raw.kind is Kind.EMBEDDING:
            try:
                vector = check_embedding(raw, backbone.fingerprint, backbone.dim)
            except Exception as error:
                return error
            self._cache.put(CacheKey(tenant, backbone.fingerprint, raw.digest), vector, raw.kind)
            return Resolved(raw.kind, vector)
        entry = self._cache.get(CacheKey(tenant, backbone.fingerprint, raw.digest))
        return None if entry is None else Resolved(entry.kind, entry.vector, entry.truncated)

    def _keep(self, key: CacheKey, kind: Kind, found: Extracted) -> None:
        self._cache.put(key, found.vector, kind, found.truncated)
        if self._shared is not None:
            self._shared.put(key, CachedEmbedding(found.vector, kind, found.truncated))

    async def _look_in_shared(
        self,
        shared: SharedCache,
        tenant: str,
        backbone: BackboneInfo,
        inputs: Sequence[RawInput | Exception],
        outcomes: list[Resolved | Exception | None],
        deadline: float | None,
    ) -> None:
        """Fills in what other servers have computed of the rows that have no outcome yet."""
        keys = {
            i: CacheKey(tenant, backbone.fingerprint, raw.digest)
            for i, raw in enumerate(inputs)
            if outcomes[i] is None and isinstance(raw, RawInput)
        }
        purges = self._purges
        found = await shared.find(list(dict.fromkeys(keys.values())), backbone.dim, deadline)
        for i, key in keys.items():
            entry = found.get(key) or self._cache.get(key)  # others may have computed it
            if entry is not None:
                outcomes[i] = Resolved(entry.kind, entry.vector, entry.truncated)
                if purges == self._purges:  # else it may have been read before it was deleted
                    self._cache.put(key, entry.vector, entry.kind, entry.truncated)

    async def _fill(
        self,
        tenant: str,
        backbone: BackboneInfo,
        raws: dict[int, RawInput],
        outcomes: list[Resolved | Exception | None],
        deadline: float | None,
        request: str,
        look_in_store: bool,
    ) -> None:
        wanted = {i for i, raw in raws.items() if look_in_store or raw.kind is Kind.DIGEST}
        if wanted and self._database is not None:
            digests = sorted({raws[i].digest for i in wanted})
            found = await self._from_store(self._database, tenant, backbone, digests)
            for i in wanted:
                outcomes[i] = found.get(raws[i].digest)
        unknown = [i for i, raw in raws.items() if outcomes[i] is None and raw.kind is Kind.DIGEST]
        kept = await self._kept(tenant, {raws[i].digest for i in unknown})
        for i in unknown:
            found_input = kept.get(raws[i].digest, _unknown_digest(raws[i].digest))
            if isinstance(found_input, Exception):
                outcomes[i] = found_input
            else:
                raws[i] = found_input
        for again in (True, False):
            left = [i for i in raws if outcomes[i] is None]
            if not left:
                return
            rows = [raws[i] for i in left]
            computed = await self._in_flight.compute(tenant, backbone, rows, deadline, request)
            for i, outcome in zip(left, computed, strict=True):
                # What others had computed had their deadline; this request may have longer.
                late = isinstance(outcome, DeadlineExceeded) and not _passed(deadline)
                outcomes[i] = None if late and again else outcome

    async def _from_store(
        self, database: Database, tenant: str, backbone: BackboneInfo, digests: list[str]
    ) -> dict[str, Resolved]:
        purges = self._purges
        vectors = await database.read(
            stored_embeddings.find_embeddings,
            tenant,
            backbone.fingerprint,
            digests,
            leave_out_damaged=True,
        )
        if not vectors:
            return {}
        kinds = await database.read(kept_inputs.find_kinds, tenant, list(vectors))
        truncated: set[str] = set()
        if backbone.modality is Modality.TEXT:
            truncated = await database.read(
                stored_embeddings.truncated_digests, tenant, backbone.fingerprint, list(vectors)
            )
        found = {
            digest: Resolved(Kind(kinds[digest]), vector, digest in truncated)
            for digest, vector in vectors.items()
            if digest in kinds
        }
        if purges == self._purges:  # else it may have been read before it was deleted
            for digest, resolved in found.items():
                key = CacheKey(tenant, backbone.fingerprint, digest)
                self._cache.put(key, resolved.vector, resolved.kind, resolved.truncated)
        return found

    async def _kept(self, tenant: str, digests: Collection[str]) -> dict[str, RawInput | Exception]:
        """Reads inputs that a head of the tenant keeps, or the errors that they have."""
        if not digests or self._database is None:
            return {}
        while True:
            purges = self._purges
            found = await self._database.read(kept_inputs.find_kept, tenant, list(digests))
            if purges == self._purges:  # else it may have been read before it was deleted
                return await read_kept(found, self._limits)


def _unknown_digest(digest: str) -> NotFound:
    return NotFound.at("digest", "nothing is known of {value}; send the input itself", value=digest)


def _passed(deadline: float | None) -> bool:
    return deadline is not None and deadline <= asyncio.get_running_loop().time()


def _not_none(outcome: Resolved | Exception | None) -> Resolved | Exception:
    assert outcome is not None
    return outcome
