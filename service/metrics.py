"""All metrics of the server, named ``trunkline_…``; tenant labels are bounded in number."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.logs import hide_keys

SECONDS = (
    *(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0),
)
LONG_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

OTHER = "other"

M = TypeVar("M", Counter, Histogram)


class Metrics:
    """The server's metrics, in a registry of their own.

    Args:
        tenants: how many tenants get labels of their own; later ones are counted as ``other``.
    """

    def __init__(self, tenants: int) -> None:
        self.registry = CollectorRegistry()
        self._tenant_limit = tenants
        self._tenants: set[str] = set()
        self._children: dict[tuple[object, ...], Counter | Histogram] = {}
        self.requests = self._counter(
            "requests", "Requests by outcome.", "method", "transport", "code", "tenant"
        )
        self.request_seconds = self._histogram(
            "request_seconds",
            "Time from a request's arrival to its reply.",
            "method",
            "transport",
            "code",
        )
        self.phase_seconds = self._histogram(
            "phase_seconds",
            "Time of one row's decoding, of its waits for that and for the backbone, "
            "of one batch in the backbone, and of one request in its heads.",
            "phase",
            "backbone",
        )
        self.queue_rows = self._gauge(
            "queue_rows", "Rows that wait, to be decoded or for the backbone.", "stage", "backbone"
        )
        self.batch_rows = self._histogram(
            "batch_rows", "Rows in a batch of the backbone.", "backbone", buckets=ROWS
        )
        self.backbone_failures = self._counter(
            "backbone_failures", "Batches in which the backbone raised.", "backbone"
        )
        self.backbone_ready = self._gauge(
            "backbone_ready", "1 after a successful forward pass, 0 after a failed one.", "backbone"
        )
        self.tail_cache_bytes = self._gauge(
            "tail_cache_bytes", "Memory that tails ready to run take on the device."
        )
        self.tail_evictions = self._counter(
            "tail_evictions", "Tails that had to go to make room for others."
        )
        self.tail_loads = self._counter("tail_loads", "Loads of tails by outcome.", "outcome")
        self.tail_load_seconds = self._histogram(
            "tail_load_seconds", "Time to get a tail's weights and make them ready to run."
        )
        self.tail_rows = self._counter("tail_rows", "Rows that ran on a tail.", "backbone")
        self.rows = self._counter("rows", "Rows by outcome.", "method", "code", "tenant")
        self.quota_refusals = self._counter(
            "quota_refusals",
            "Requests that were refused by a quota of their tenant.",
            "quota",
            "tenant",
        )
        self.cache_hits = self._counter(
            "embedding_cache_hits", "Inputs whose embedding was in the cache.", "tenant"
        )
        self.cache_misses = self._counter(
            "embedding_cache_misses", "Inputs whose embedding was not in the cache.", "tenant"
        )
        self.cache_bytes = self._gauge("embedding_cache_bytes", "Memory of the cached embeddings.")
        self.shared_up = self._gauge(
            "shared_cache_up", "1 while the cache that servers share answers, or there is none."
        )
        self.shared_up.set(1)
        self.shared_failures = self._counter(
            "shared_cache_failures", "Times that the shared cache ceased to answer."
        )
        self.shared_seconds = self._histogram(
            "shared_cache_seconds", "Time of an answer of the shared cache."
        )
        self.shared_lookups = self._counter(
            "shared_cache_lookups",
            "Inputs that were looked for in the shared cache (away: it was not asked, or gave no "
            "answer; damaged: what lay there is no embedding that was put there).",
            "outcome",
        )
        self.shared_written = self._counter(
            "shared_cache_written", "Embeddings that were put into the shared cache."
        )
        self.shared_lost = self._counter(
            "shared_cache_lost",
            "Embeddings that were not put into the shared cache (away: it does not answer; queue: "
            "too many waited; refused: it took them not, such as for want of memory).",
            "reason",
        )
        for outcome in ("hit", "miss", "damaged", "away"):
            self.shared_lookups.labels(outcome)
        for reason in ("away", "queue", "refused"):
            self.shared_lost.labels(reason)
        self.event_loop_tasks = self._gauge(
            "event_loop_tasks", "Tasks on the event loop; as many again and again when idle."
        )
        self.heads_loaded = self._gauge("heads_loaded", "Heads in memory.")
        self.head_bytes = self._gauge("head_cache_bytes", "Memory of the loaded heads.")
        self.trainings = self._counter("trainings", "Trainings by final state.", "state")
        self.training_seconds = self._histogram(
            "training_seconds",
            "Time from a training's start to its end.",
            "state",
            buckets=LONG_SECONDS,
        )
        self.feedback = self._counter("feedback", "Feedback that was stored.", "tenant")
        self.feedback_learned = self._counter(
            "feedback_learned", "Feedback that a live copy was scored on and learned.", "tenant"
        )
        self.live_copies = self._gauge("live_copies", "Live copies in memory.")
        self.live_bytes = self._gauge("live_cache_bytes", "Memory of the live copies.")
        self.live_failures = self._counter(
            "live_failures", "Live copies that failed to learn and are made anew.", "tenant"
        )
        self.promotions = self._counter(
            "live_promotions", "Live copies that became the active version.", "tenant"
        )
        self.drops = self._counter(
            "live_drops", "Live copies that were dropped, their feedback in quarantine.", "tenant"
        )
        self.drifts = self._counter(
            "drifts", "Changes that were detected in the stream of a head's feedback.", "tenant"
        )
        self.last_drift = self._gauge(
            "last_drift_time_seconds",
            "When a change in the stream of a head's feedback was last detected since the start; "
            "seconds since the epoch.",
            "tenant",
            mode="max",
        )
        self.live_drifted = self._gauge(
            "live_drifted",
            "Live copies in memory that stand on the feedback since a change in its stream alone.",
            "tenant",
        )

        self.captures = self._counter(
            "captures",
            "Inputs of the traffic that were kept for people to look at, by the rule that took "
            "them.",
            "reason",
            "tenant",
        )
        self.captures_lost = self._counter(
            "captures_lost",
            "Inputs that rules took and that were not kept (waiting: the same input is kept "
            "already; hour: after the hour's quota; queue: too many waited to be written; tenant: "
            "it may store no more; store: it took them not; deleted: they were, or the head was; "
            "off: the head captures no more).",
            "reason",
        )
        self.captures_removed = self._counter(
            "captures_removed",
            "Captured inputs that were removed (expired; room: for others; old: what was left of "
            "one that was drawn at random).",
            "reason",
        )
        for reason in ("waiting", "hour", "queue", "tenant", "store", "deleted", "off"):
            self.captures_lost.labels(reason)
        for reason in ("expired", "room", "old"):
            self.captures_removed.labels(reason)

        self.audit_rows = self._counter("audit_rows", "Rows that the audit log has taken.")
        self.audit_lost = self._counter(
            "audit_lost",
            "Rows missing in the audit log (rate: too many refusals at once; store), or in "
            "its file (file).",
            "reason",
        )
        for reason in ("rate", "store", "file"):
            self.audit_lost.labels(reason)

        self.disk_full = self._gauge(
            "disk_full",
            "1 while the disk of the data directory has no room for what makes the store grow.",
        )
        self.disk_reserve = self._gauge(
            "disk_reserve_bytes", "Room on the disk that is kept for deletions."
        )

        self.certificate_expiry = self._gauge(
            "tls_certificate_expiry_timestamp_seconds",
            "When the certificate expires that is in use, or the first one of its chain.",
            "setting",
            mode="max",
        )
        self.certificate_failures = self._counter(
            "tls_reload_failures",
            "Changes of certificates that could not be used; the ones before are kept.",
            "setting",
        )

    def certificate_read(self, name: str, expires_at: float) -> None:
        """Takes in that a certificate is used from now on.

        Args:
            name: of its setting.
            expires_at: seconds since 1970.
        """
        self.certificate_expiry.labels(name).set(expires_at)
        self.certificate_failures.labels(name)  # says 0 until there is one

    def certificate_refused(self, name: str) -> None:
        """Counts a certificate that cannot be used."""
        self.certificate_failures.labels(name).inc()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Counts the tasks of this event loop, whenever the metrics are asked for."""
        self.event_loop_tasks.set_function(lambda: len(asyncio.all_tasks(loop)))

    def tenant(self, name: str) -> str:
        """Returns the label value for a tenant: its name for the first ones, then ``other``.

        A key in the place of a name is none: metrics are kept where keys must not be.
        """
        if name in self._tenants:
            return name
        if not name or len(self._tenants) >= self._tenant_limit or hide_keys(name) != name:
            return OTHER
        self._tenants.add(name)
        return name

    def count_request(
        self, method: str, transport: str, code: str, tenant: str, seconds: float
    ) -> None:
        """Counts a request and observes its time."""
        # Only a request that succeeds shows that there is such a tenant.
        known = code == "OK" or tenant in self._tenants
        label = self.tenant(tenant) if known else OTHER
        self._child(self.requests, method, transport, code, label).inc()
        self._child(self.request_seconds, method, transport, code).observe(seconds)

    def count_refusal(self, method: str, transport: str, code: str) -> None:
        """Counts a request that reached no handler; `method` is "" where none is meant."""
        self._child(self.requests, method or OTHER, transport, code, OTHER).inc()

    def count_rows(self, method: str, code: str, tenant: str, rows: int) -> None:
        """Counts rows by outcome."""
        known = code == "OK" or tenant in self._tenants
        label = self.tenant(tenant) if known else OTHER
        self._child(self.rows, method, code, label).inc(rows)

    def count_quota_refusal(self, quota: str, tenant: str) -> None:
        """Counts a request that was refused by a quota."""
        label = tenant if tenant in self._tenants else OTHER
        self._child(self.quota_refusals, quota, label).inc()

    def count_cache(self, tenant: str, *, hits: int, misses: int) -> None:
        """Counts lookups in the embedding cache."""
        label = tenant if tenant in self._tenants else OTHER
        if hits:
            self._child(self.cache_hits, label).inc(hits)
        if misses:
            self._child(self.cache_misses, label).inc(misses)

    def observe_head(self, backbone: str, seconds: float) -> None:
        """Observes the time that one request spent in one head."""
        self._child(self.phase_seconds, "head", backbone).observe(seconds)

    def _child(self, metric: M, *labels: str) -> M:
        """Returns the metric with these labels; `labels` alone takes longer than counting."""
        key = (metric, *labels)
        child = self._children.get(key)
        if child is None:
            child = self._children[key] = metric.labels(*labels)
        return cast("M", child)

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(f"trunkline_{name}", documentation, labels, registry=self.registry)

    def _gauge(
        self,
        name: str,
        documentation: str,
        *labels: str,
        mode: Literal["livesum", "max"] = "livesum",
    ) -> Gauge:
        return Gauge(
            f"trunkline_{name}",
            documentation,
            labels,
            registry=self.registry,
            multiprocess_mode=mode,
        )

    def _histogram(
        self, name: str, documentation: str, *labels: str, buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        return Histogram(
            f"trunkline_{name}", documentation, labels, registry=self.registry, buckets=buckets
        )


class DecodeObserver:
    """Records metrics of the batcher that decodes inputs of one backbone."""

    def __init__(self, metrics: Metrics, backbone: str) -> None:
        self._depth = metrics.queue_rows.labels("decode", backbone)
        self._wait = metrics.phase_seconds.labels("decode_queue", backbone)

    def queued(self, change: int) -> None:
        self._depth.inc(change)

    def batch_started(self, rows: int, waits: Sequence[float]) -> None:
        for wait in waits:
            self._wait.observe(wait)

    def batch_ended(self, rows: int, seconds: float, error: Exception | None) -> None:
        pass  # includes the wait for the backbone's queue; decoding is measured where it is done


class BackboneObserver:
    """Records metrics of the batcher in front of one backbone."""

    def __init__(self, metrics: Metrics, backbone: str) -> None:
        self._depth = metrics.queue_rows.labels("backbone", backbone)
        self._wait = metrics.phase_seconds.labels("queue", backbone)
        self._run = metrics.phase_seconds.labels("backbone", backbone)
        self._rows = metrics.batch_rows.labels(backbone)

    def queued(self, change: int) -> None:
        self._depth.inc(change)

    def batch_started(self, rows: int, waits: Sequence[float]) -> None:
        self._rows.observe(rows)
        for wait in waits:
            self._wait.observe(wait)

    def batch_ended(self, rows: int, seconds: float, error: Exception | None) -> None:
        self._run.observe(seconds)


class TailObserver:
    """Records metrics of the batcher that loads tails."""

    def __init__(self, metrics: Metrics) -> None:
        self._seconds = metrics.tail_load_seconds

    def queued(self, change: int) -> None:
        pass  # their rows are counted where they wait next

    def batch_started(self, rows: int, waits: Sequence[float]) -> None:
        pass

    def batch_ended(self, rows: int, seconds: float, error: Exception | None) -> None:
        self._seconds.observe(seconds)
