"""Heads in memory: the active versions that are in use, bounded in bytes."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from adapters import Acceptance, Head, HeadSpec
from adapters.spec import FLIPPED, FLIPS, MAX_VIEWS
from service.capture.rules import CaptureRules
from service.embedding.head_backbones import stored_tail
from service.errors import PreconditionFailed
from service.extraction import TailRef
from service.metrics import Metrics
from service.serving.decisions import acceptance_of
from service.store import Database
from service.store import heads as stored_heads
from service.store import versions as stored_versions
from service.store.changes import Changed
from trunkline.resources import HeadName

ENTRY_OVERHEAD_BYTES = 2000
"""Size of a head beside its arrays and labels; a generous guess, far less than its weights."""


@dataclass(frozen=True, slots=True)
class LoadedHead:
    """A head ready to score: a version, or the live copy that moved on from it (`live`).

    Attributes:
        fingerprint: of the backbone that the version was trained for.
        tail: runs in place of the backbone's own blocks; None for these.
        flips: whether its views are flips.
        average_views: views that predictions average over where a request does not say.
        acceptance: what of its answers is accepted; None for a head that decides nothing.
        unproven: labels of the live copy that the version does not have.
        capture: what of its traffic is kept; None for nothing.
        described: whether it stands on descriptions of labels, in part at least.
    """

    resource: str
    tenant: str
    uid: str
    backbone: str
    fingerprint: str
    policy: str
    version: int
    head: Head
    tail: TailRef | None = None
    flips: bool = False
    average_views: int = 0
    live: bool = False
    acceptance: Acceptance | None = None
    unproven: frozenset[str] = frozenset()
    capture: CaptureRules | None = None
    described: bool = False

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return self.head.nbytes + ENTRY_OVERHEAD_BYTES


@dataclass(eq=False, slots=True)
class _Load:
    """A read under way, and whether the head has changed since it began."""

    task: asyncio.Task[LoadedHead]
    outdated: bool = False


class HeadCache:
    """Gives the active version of a head, from memory if it was used lately.

    It follows the database: a head that a write has changed is read anew. A load that was under way
    then is repeated, so an old version never comes back.
    """

    def __init__(self, database: Database, max_bytes: int, metrics: Metrics) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self._metrics = metrics
        self._heads: OrderedDict[str, LoadedHead] = OrderedDict()
        self._bytes = 0
        self._loads: dict[str, _Load] = {}
        database.follow(self._drop_changed)

    async def active(self, resource: str) -> LoadedHead:
        """Returns the active version of the head with this resource name.

        Raises:
            InvalidName, NotFound: no such head.
            PreconditionFailed: it has no active version.
        """
        loaded = self._heads.get(resource)
        if loaded is not None:
            self._heads.move_to_end(resource)
            return loaded
        while True:
            load = self._loads.get(resource)
            if load is None:
                load = _Load(asyncio.create_task(self._load(HeadName.parse(resource), 0)))
                self._loads[resource] = load
                load.task.add_done_callback(partial(self._finish_load, resource, load))
            loaded = await asyncio.shield(load.task)
            if not load.outdated:
                return loaded

    async def version(self, resource: str, version: int) -> LoadedHead:
        """Loads a version of a head, active or not; it is not kept in memory."""
        return await self._load(HeadName.parse(resource), version)

    def _drop_changed(self, changed: Changed) -> None:
        everything = self._heads.keys() | self._loads.keys() if changed.everything else set()
        for resource in changed.heads | everything:
            if (load := self._loads.pop(resource, None)) is not None:
                load.outdated = True
            if (old := self._heads.pop(resource, None)) is not None:
                self._bytes -= old.nbytes
                self._report()

    async def _load(self, name: HeadName, version: int) -> LoadedHead:
        loaded, tail = await self._database.read(_read_head, name, version)
        await asyncio.to_thread(loaded.head.warm_up)
        if tail is None:
            return loaded
        return replace(loaded, tail=stored_tail(self._database, loaded.uid, tail))

    def _finish_load(self, resource: str, load: _Load, task: asyncio.Task[LoadedHead]) -> None:
        if self._loads.get(resource) is load:
            del self._loads[resource]
        if load.outdated or task.cancelled() or task.exception() is not None:
            return
        loaded = task.result()
        self._heads[resource] = loaded
        self._bytes += loaded.nbytes
        while self._bytes > self._max_bytes:
            _, old = self._heads.popitem(last=False)
            self._bytes -= old.nbytes
        self._report()

    def _report(self) -> None:
        self._metrics.heads_loaded.set(len(self._heads))
        self._metrics.head_bytes.set(self._bytes)


def _read_head(
    connection: Connection, name: HeadName, version: int
) -> tuple[LoadedHead, str | None]:
    """Reads a version, and the fingerprint of its tail."""
    record = stored_heads.get_head(connection, name.tenant, name.head)
    wanted = version or record.active_version
    if not wanted:
        raise PreconditionFailed.at(
            "head", "{value} has no active version; train it or activate one", value=record.resource
        )
    found = stored_versions.get_version(connection, record.uid, wanted)
    data = stored_versions.get_weights(connection, record.uid, wanted)
    flips = _flips(found.report)
    most = FLIPS if flips else MAX_VIEWS
    loaded = LoadedHead(
        resource=record.resource,
        tenant=record.tenant,
        uid=record.uid,
        backbone=found.backbone,
        fingerprint=found.base_fingerprint,
        policy=record.policy,
        version=wanted,
        head=Head.from_safetensors(data),
        flips=flips,
        average_views=min(HeadSpec.from_json(record.spec).average_views, most),
        acceptance=acceptance_of(record.decide, found.source, found.report.get("decisions")),
        capture=None if record.capture is None else CaptureRules.from_json(record.capture),
        described=bool(found.report.get("description_count")),
    )
    return loaded, None if found.tail is None else found.tail.fingerprint


def _flips(report: Mapping[str, Any]) -> bool:
    """Returns whether a version was tuned on flips, by name or because the folds chose them."""
    tuned = report.get("fine_tuning") or {}
    named = HeadSpec.from_json(report.get("spec", {})).fine_tune.flips
    return named or tuned.get("views") == FLIPPED
