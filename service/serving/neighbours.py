"""The examples nearest to an input: exact, from memory as long as that has room for them.

What is in memory of a head's examples follows the store: it is looked at anew when one has come or
gone, and only what is new of it is read. Vectors of what is forgotten are gone at once.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.neighbours import Nearest
from adapters.novelty import unit
from service.metrics import Metrics
from service.serving.example_vectors import BLOCK, Block, ExampleVectors
from service.store import Database, comparable
from service.store import embeddings as stored_embeddings
from service.store.changes import Changed
from service.store.comparable import State
from trunkline.rows.chunking import split

RETRIED = 1000
"""Examples without an embedding that are looked for again by a call when nothing else changed."""


class Space(NamedTuple):
    """What an input is compared with.

    Attributes:
        uid: of the head.
        fingerprint: of the backbone or tail whose embeddings are compared.
        unlabelled: whether all its examples are meant, or those with a label.
    """

    tenant: str
    uid: str
    fingerprint: str
    unlabelled: bool = False


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Digests and cosines of the nearest examples of each input, nearest first.

    Attributes:
        not_compared: examples of which there is no sound embedding.
    """

    found: list[list[tuple[str, float]]]
    not_compared: int


@dataclass(eq=False, slots=True)
class _Entry:
    """What is in memory of a space; `state` is that of the store, and `changes` ours, as of then.

    Attributes:
        left: digests that have left the store since the read that is under way began.
    """

    vectors: ExampleVectors
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    state: State | None = None
    seen_changes: int = -1
    changes: int = 0
    missing: list[str] = field(default_factory=list)
    left: set[str] = field(default_factory=set)
    nbytes: int = 0


class NeighbourSearch:
    """Finds the nearest examples of heads.

    Args:
        max_bytes: of what is kept in memory. A head whose examples have no room in it is read from
            the store block by block for each call.
    """

    def __init__(self, database: Database, max_bytes: int, metrics: Metrics) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._entries: OrderedDict[Space, _Entry] = OrderedDict()
        self._of_tenant: defaultdict[str, set[Space]] = defaultdict(set)
        self._of_head: defaultdict[str, set[Space]] = defaultdict(set)
        self._bytes = 0
        database.follow(self._follow)

    async def nearest(self, space: Space, vectors: NDArray[np.float32], count: int) -> Neighbours:
        """Returns the examples nearest to each input, `count` of each, or as many as there are.

        Args:
            vectors: the inputs' embeddings, float32, shape (inputs, dim).

        Raises:
            Unavailable: the store does not answer.
        """
        search = Nearest(vectors, count)
        state = await self._state(space)
        if not state.examples:
            return Neighbours([[] for _ in vectors], 0)
        entry = self._entry(space, state, vectors.shape[1])
        if entry is None:
            return await self._from_store(space, search)
        async with entry.lock:
            await self._refresh(space, entry, state)
            blocks, missing = entry.vectors.blocks(), len(entry.missing)
        return Neighbours(await asyncio.to_thread(_look, search, blocks), missing)

    async def _state(self, space: Space) -> State:
        return await self._database.read(
            comparable.state_of, space.uid, unlabelled=space.unlabelled
        )

    def _entry(self, space: Space, state: State, dim: int) -> _Entry | None:
        """Returns what is kept of a space, with room for it all; None where there is none."""
        needed = ExampleVectors.size(state.examples, dim)
        if needed > self._max_bytes:
            self._drop(space)
            return None
        entry = self._entries.setdefault(space, _Entry(ExampleVectors(dim)))
        self._of_tenant[space.tenant].add(space)
        self._of_head[space.uid].add(space)
        self._entries.move_to_end(space)
        self._bytes += max(needed, entry.nbytes) - entry.nbytes
        entry.nbytes = max(needed, entry.nbytes)
        while self._bytes > self._max_bytes and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))
        self._metrics.neighbour_bytes.set(self._bytes)
        return entry

    async def _refresh(self, space: Space, entry: _Entry, state: State) -> None:
        """Reads what is new; whoever holds the entry's lock may call it."""
        if entry.state != state:  # or another call was first
            state = await self._state(space)
        changes = entry.changes
        if (entry.state, entry.seen_changes) == (state, changes):
            if entry.missing:
                entry.left.clear()
                wanted, rest = entry.missing[:RETRIED], entry.missing[RETRIED:]
                entry.missing = rest + await self._load(space, entry, wanted)
            return
        entry.left.clear()
        entry.vectors.clear_if_hollow()
        others, new = entry.vectors.digests(), list[str]()
        async for part in self._digests(space):
            others.difference_update(part)
            new += [digest for digest in part if digest not in entry.vectors]
        entry.vectors.remove(others)
        entry.missing = []
        for part in split(new, max_rows=BLOCK):
            entry.missing += await self._load(space, entry, part)
        entry.state, entry.seen_changes = state, changes

    async def _load(self, space: Space, entry: _Entry, digests: Sequence[str]) -> list[str]:
        """Adds the vectors of examples; returns the digests of those that have none."""
        found = await self._vectors(space, digests)
        here = [digest for digest in digests if digest in found and digest not in entry.left]
        if here:
            block = await asyncio.to_thread(_stacked, [found[digest] for digest in here])
            # Once more: some may have left meanwhile.
            entry.vectors.add(here, block, entry.left)
        return [digest for digest in digests if digest not in found]

    async def _from_store(self, space: Space, search: Nearest) -> Neighbours:
        digests: dict[int, str] = {}
        looked_at = missing = 0
        async for part in self._digests(space):
            found = await self._vectors(space, part)
            here = [digest for digest in part if digest in found]
            missing += len(part) - len(here)
            if here:
                block = await asyncio.to_thread(_stacked, [found[digest] for digest in here])
                await asyncio.to_thread(search.look_at, block)
                digests |= enumerate(here, looked_at)
                digests = {row: digests[row] for row in search.rows()}
                looked_at += len(here)
        return Neighbours([[(digests[i], c) for i, c in row] for row in search.found()], missing)

    async def _digests(self, space: Space) -> AsyncIterator[list[str]]:
        after = ""
        while part := await self._database.read(
            comparable.digests_after, space.uid, after, BLOCK, unlabelled=space.unlabelled
        ):
            yield part
            after = part[-1]

    async def _vectors(
        self, space: Space, digests: Sequence[str]
    ) -> dict[str, NDArray[np.float32]]:
        return await self._database.read(
            stored_embeddings.find_embeddings,
            space.tenant,
            space.fingerprint,
            digests,
            leave_out_damaged=True,
        )

    def _follow(self, changed: Changed) -> None:
        if changed.everything:
            for space in list(self._entries):
                self._drop(space)
        for tenant in changed.gone | changed.outdated:
            for space in list(self._of_tenant.get(tenant, ())):
                self._drop(space)
        for uid in changed.live | changed.feedback.keys():
            for space in self._of_head.get(uid, ()):
                self._entries[space].changes += 1
        for tenant, needed in changed.needed.items():
            for space in self._of_tenant.get(tenant, ()):
                gone = [name for name, kept in needed.items() if space.fingerprint not in kept]
                entry = self._entries[space]
                entry.vectors.remove(gone)
                if entry.lock.locked():  # a read may be under way that began before
                    entry.left.update(gone)

    def _drop(self, space: Space) -> None:
        entry = self._entries.pop(space, None)
        if entry is None:
            return
        self._bytes -= entry.nbytes
        self._metrics.neighbour_bytes.set(self._bytes)
        for index, key in ((self._of_tenant, space.tenant), (self._of_head, space.uid)):
            index[key].discard(space)
            if not index[key]:
                del index[key]


def _look(search: Nearest, blocks: Sequence[Block]) -> list[list[tuple[str, float]]]:
    """Looks at blocks; returns what is found by digest."""
    begins = list(accumulate((len(block.digests) for block in blocks), initial=0))
    for block in blocks:
        search.look_at(block.vectors, block.present)

    def digest(row: int) -> str:
        number = bisect_right(begins, row) - 1
        return blocks[number].digests[row - begins[number]]

    return [[(digest(row), cosine) for row, cosine in found] for found in search.found()]


def _stacked(vectors: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    return unit(np.stack(vectors))
