"""One step of a head's live copy: reading, learning, storing scores, and what follows."""

from __future__ import annotations

import asyncio

import adapters
from adapters import Head
from service.concurrency.tenant_threads import TenantThreads
from service.config import ServerSettings
from service.embedding.backfill import EmbeddingBackfill
from service.errors import Aborted, NotFound, is_expected
from service.live.cache import CachedCopy, Revision, Snapshot
from service.live.live_copy import LiveCopy
from service.live.policy import Policy, Rules
from service.live.promotion import make_version
from service.live.promotion_gate import Decision
from service.live.status import LiveState, LiveStatus, status_of
from service.logs import get_logger
from service.metrics import Metrics
from service.store import Database, example_sets
from service.store import live_outcomes as outcomes
from service.store import live_set as stored_live
from service.store.live_outcomes import MadeVersion
from service.store.live_set import LiveFeedback, LiveSet

SLICE = 16
"""Feedback that is learned at a time; then it is another tenant's turn."""

MAX_PAUSE_SECONDS = 60.0
"""The longest pause between tries after failures in a row."""

log = get_logger(__name__)


class Steps:
    """Takes entries a step further; the caller must hold the entry's lock.

    What is short, learning a slice, and what is long, making a copy or a version, have threads of
    their own. So feedback on a copy in memory never waits for a rebuild; rebuilds of tenants take
    turns among themselves, each of them whole. So do refits of a family without an exact update.
    """

    def __init__(
        self,
        database: Database,
        backfill: EmbeddingBackfill,
        settings: ServerSettings,
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._backfill = backfill
        self._settings = settings
        self._metrics = metrics
        long = max(1, settings.live_threads // 2)
        self._long = TenantThreads(long, "live-long")
        self._short = TenantThreads(max(1, settings.live_threads - long), "live-short")
        self._choices = TenantThreads(1, "live-choices")

    async def take(self, entry: CachedCopy) -> Snapshot | None:
        """Learns a slice; returns the head's snapshot, once all that was read is learned.

        Whoever waits for it gets it, too. It is also kept, unless it was outdated meanwhile.
        """
        revision = entry.revision
        try:
            snapshot = await self._advance(entry)
        except NotFound:
            log.info("head was deleted while its live copy learned", head=entry.uid)
            entry.drop()
            gone = self._without_copy("the head was deleted", 0)
            snapshot = Snapshot(revision, gone, deleted=True)
        except Exception as error:
            log.error(
                "live copy failed; it will be made anew",
                head=entry.uid,
                reason=str(error),
                exc_info=None if is_expected(error) else error,
            )
            self._metrics.live_failures.labels(self._metrics.tenant(entry.tenant)).inc()
            snapshot = self._failed(entry, revision)
        else:
            if snapshot is None:
                return None
            entry.failures = 0
        entry.target = None
        if entry.revision[0] == revision[0]:
            entry.snapshot = snapshot
        entry.notify(snapshot)
        return snapshot

    async def promote(self, entry: CachedCopy, copy: LiveCopy, stored: LiveSet) -> MadeVersion:
        """Makes a version of a copy and activates it; returns its number, and which had to go.

        Raises:
            Aborted: what it is built on was changed meanwhile.
        """
        await self._backfill.of_active(stored.head)
        base = await self._database.read(outcomes.base_of_live, entry.uid, copy.version)
        tests = await self._database.read(
            example_sets.held_out_set, entry.uid, stored.head.active_fingerprint
        )
        made = await self._long.run(entry.tenant, make_version, copy, stored, base.report, tests)
        version, removed = await self._database.write(
            outcomes.promote_live,
            entry.uid,
            copy.version,
            through=copy.through,
            new=made,
            max_versions=self._settings.max_versions_per_head,
        )
        self._metrics.promotions.labels(self._metrics.tenant(entry.tenant)).inc()
        log.info(
            "live copy took over", head=stored.head.resource, version=version, removed=list(removed)
        )
        return MadeVersion(version, removed)

    async def drop(self, entry: CachedCopy, copy: LiveCopy) -> int:
        """Drops a copy; returns how much feedback went into quarantine.

        Raises:
            Aborted: another version has become active.
        """
        count = await self._database.write(
            outcomes.drop_live, entry.uid, copy.version, through=copy.through
        )
        self._metrics.drops.labels(self._metrics.tenant(entry.tenant)).inc()
        log.info("live copy dropped", head=entry.uid, tenant=entry.tenant, quarantined=count)
        return count

    async def close(self) -> None:
        """Waits for what is being computed."""
        await asyncio.gather(self._short.close(), self._long.close(), self._choices.close())

    async def _advance(self, entry: CachedCopy) -> Snapshot | None:
        """Learns a slice; returns None while there is more to do."""
        revision = entry.revision
        copy, backlog = entry.copy, entry.backlog
        if copy is None or copy.stale:
            entry.copy, entry.backlog = None, []
            stored = await self._database.read(stored_live.live_set, entry.uid)
            if stored.weights is not None and await self._backfill.of_active(stored.head):
                stored = await self._database.read(stored_live.live_set, entry.uid)
            entry.drift_at = stored.head.drift_at
            made = await self._build(stored, entry.tenant, copy)
            if isinstance(made, LiveStatus):
                return Snapshot(revision, made)
            copy, backlog = made, [item for item in stored.feedback if not item.learned]
        elif not backlog:
            newer = await self._database.read(
                stored_live.newer_feedback, entry.uid, copy.version, copy.through
            )
            if newer is None:
                entry.outdate()
                return None
            if not await self._follow(entry, copy, [item for item in newer if item.learned]):
                return None
            backlog = [item for item in newer if not item.learned]
        if entry.target is None:
            entry.target = revision, backlog[-1].id if backlog else 0
        part = backlog if copy.coalesces else backlog[:SLICE]
        if not await self._learn(entry, copy, part):
            return None
        rest = backlog[len(part) :]
        outdated = entry.revision[0] != revision[0]
        if not outdated:
            entry.copy, entry.backlog = copy, rest
        if copy.choice_due:
            return None
        seen, last = entry.target
        if rest and rest[0].id <= last:
            return None
        if not outdated and await self._decide(entry, copy):
            return None
        return await self._snapshot_of(entry, copy, seen)

    async def _build(
        self, stored: LiveSet, tenant: str, before: LiveCopy | None
    ) -> LiveCopy | LiveStatus:
        """Makes a copy, or a status that says why there is none."""
        head = stored.head
        if stored.weights is None:
            return self._without_copy("", head.active_version)
        cannot = f"version {head.active_version} cannot be followed"
        if not stored.members and head.drift_feedback_id is None:
            # Feedback alone would make a copy that knows nothing of what the version knows.
            reason = f"{cannot}: none of the examples that it was trained on is stored"
            return self._without_copy(reason, head.active_version)
        rules = Rules(
            Policy(head.policy), self._settings.live_error_rate, self._settings.drift_delta
        )
        try:
            threads = self._choices if before is not None and before.choice_due else self._long
            return await threads.run(tenant, _build, stored, stored.weights, rules, before)
        except adapters.InvalidArgument as error:
            return self._without_copy(f"{cannot}: {error}", head.active_version)

    async def _follow(self, entry: CachedCopy, copy: LiveCopy, scored: list[LiveFeedback]) -> bool:
        """Learns what another server has scored; returns whether the copy is still good."""
        if not scored:
            return True
        threads = self._long if copy.coalesces else self._short
        good = await threads.run(entry.tenant, copy.follow, scored)
        if not good:
            entry.drop()
        return good

    async def _learn(self, entry: CachedCopy, copy: LiveCopy, feedback: list[LiveFeedback]) -> bool:
        """Learns feedback; returns whether the copy is still good after it."""
        if not feedback:
            return True
        threads = self._long if copy.coalesces else self._short
        learned = await threads.run(entry.tenant, copy.learn, feedback)
        stored = await self._database.write(
            outcomes.store_scores, entry.uid, copy.version, learned.scores, learned.changed_at
        )
        if not stored:
            entry.drop()  # another server was first, and what it has stored is right
            return False
        tenant = self._metrics.tenant(entry.tenant)
        self._metrics.feedback_learned.labels(tenant).inc(len(learned.scores))
        if learned.changed_at is not None:
            self._metrics.drifts.labels(tenant).inc()
            self._metrics.last_drift.labels(tenant).set_to_current_time()
            log.info("drift detected", head=entry.uid, tenant=entry.tenant)
            return False
        return True

    async def _decide(self, entry: CachedCopy, copy: LiveCopy) -> bool:
        """Promotes or drops the copy if the gate says so; returns whether it is not any more.

        Another server that holds one, too, may have been first.
        """
        try:
            return await self._carry_out(entry, copy)
        except Aborted:
            log.info("live copy outrun: what it is built on was changed", head=entry.uid)
            entry.drop()
            return True

    async def _carry_out(self, entry: CachedCopy, copy: LiveCopy) -> bool:
        if copy.decision is Decision.DROP:
            await self.drop(entry, copy)
            return True
        if copy.decision is not Decision.COMPARE:
            return False
        stored = await self._database.read(stored_live.live_set, entry.uid)
        if entry.copy is not copy:
            return False
        passes = await self._long.run(entry.tenant, copy.passes, stored.members, stored.feedback)
        if not (passes and entry.copy is copy):
            return False
        await self.promote(entry, copy, stored)
        return True

    async def _snapshot_of(self, entry: CachedCopy, copy: LiveCopy, revision: Revision) -> Snapshot:
        head = await self._short.run(entry.tenant, _warm_head, copy) if copy.serving else None
        return Snapshot(revision, status_of(copy, entry.drift_at), copy.version, head)

    def _without_copy(self, reason: str, base: int) -> LiveStatus:
        state = LiveState.UNAVAILABLE if reason else LiveState.IDLE
        return LiveStatus(state, self._settings.live_error_rate, reason, base)

    def _failed(self, entry: CachedCopy, revision: Revision) -> Snapshot:
        """Returns the snapshot after a failure; each in a row delays the next try further."""
        entry.drop()
        entry.failures += 1
        pause = 0.0 if entry.failures == 1 else 2.0 ** min(entry.failures - 2, 10)
        status = self._without_copy("learning failed; see the server's log", 0)
        good_until = asyncio.get_running_loop().time() + min(pause, MAX_PAUSE_SECONDS)
        return Snapshot(revision, status, good_until=good_until)


def _warm_head(copy: LiveCopy) -> Head | None:
    head = copy.scoring_head
    if head is not None:
        head.warm_up()
    return head


def _build(stored: LiveSet, weights: bytes, rules: Rules, before: LiveCopy | None) -> LiveCopy:
    head = stored.head
    active = adapters.Head.from_safetensors(weights)
    # A tail has seen the version's examples: on its features, none of them is held out.
    known = stored.spec is not None and head.tail is None
    return LiveCopy(
        head.active_version,
        active,
        stored.members,
        stored.feedback,
        rules,
        changed=head.drift_feedback_id is not None,
        spec=adapters.HeadSpec.from_json(stored.spec) if known and stored.spec else None,
        before=before,
    )
