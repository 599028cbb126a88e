"""The applications: all that a server is made of, built from its settings and wired together."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from google.protobuf.descriptor import ServiceDescriptor

from service.access.audit import Audit
from service.access.audit_file import AuditFile
from service.access.authentication import Authentication, Keys, NoKeys, SharedKey
from service.access.metering import Metering
from service.access.operator_key import ensure_key
from service.access.quotas import QuotaBook
from service.access.shared_quotas import SharedQuotas
from service.access.usage import UsageCounter
from service.capture.queue import Captures
from service.capture.retention import CaptureRetention
from service.cluster.feed import UpToDate
from service.cluster.links import Links
from service.cluster.member import Member
from service.concurrency.tasks import UninterruptedTasks
from service.config import (
    ExtractorSettings,
    ServerSettings,
    StandaloneExtractorSettings,
    unknown_variables,
)
from service.embedding.backfill import EmbeddingBackfill
from service.embedding.image_views import ViewMaker
from service.embedding.resolver import EmbeddingResolver
from service.extraction import Extractor
from service.extraction.decoding import DecodeCalls, DecodeThreads
from service.extraction.local import LocalExtractor
from service.extraction.metered import MeteredExtractor
from service.extraction.remote import RemoteExtractor
from service.extraction.uploaded_tails import UploadedTails
from service.handlers.advice import Advice
from service.handlers.audit import AuditLog, NoAuditLog
from service.handlers.backbones import Admin, Extraction
from service.handlers.examples import Examples
from service.handlers.exporting import Exporting
from service.handlers.feedback import Feedback
from service.handlers.forgetting import Forgetting
from service.handlers.heads import Heads
from service.handlers.keys import AccessKeys
from service.handlers.labels import Labels
from service.handlers.prediction import Prediction
from service.handlers.remote_tails import TailExtraction
from service.handlers.reviews import Reviews
from service.handlers.served_accuracy import ServedAccuracy
from service.handlers.suggestions import Suggestions
from service.handlers.tenants import Tenants
from service.handlers.trainings import Trainings
from service.handlers.uploads import Uploads
from service.handlers.versions import HeadVersions
from service.live import LiveCopies
from service.logs import get_logger
from service.metrics import Metrics
from service.offline import forbid_downloads
from service.requests.calls import Calls, Handler
from service.requests.paging import PageTokens
from service.serving.head_cache import HeadCache
from service.shared import TenantSecrets
from service.store import open_database
from service.store.page_key import page_key
from service.store.quotas import QUOTAS, Quotas
from service.store.secrets import kept_secret
from service.tls import Certificates, certificates_of
from service.training.assembly import build_training
from service.transport.methods import OF_THE_EXTRACTOR, OF_THE_SERVER, methods_of
from service.transport.readiness import Readiness

if TYPE_CHECKING:
    from service.cluster.fleet import Fleet
    from service.embedding.shared_cache import SharedCache
    from service.shared.server import SharedServer

DISK_FULL = "the disk is full: what makes the store grow is refused"
DROPPED_SECONDS = 0.5
"""Time for requests that were dropped to notice it."""

log = get_logger(__name__)


class _Requests:
    """Request accounting, metrics and readiness, which both applications have.

    Logs the settings that count: what a flag, the environment or a file said, and all defaults.
    """

    def __init__(self, settings: ExtractorSettings) -> None:
        log.info("settings", **settings.model_dump(mode="json"))
        if settings.offline:
            forbid_downloads()
        if wires := settings.open_wires:
            log.warning("keys travel unencrypted: whoever is on the way can read them", wires=wires)
        both = ServerSettings.model_fields | StandaloneExtractorSettings.model_fields
        for name, near in unknown_variables(both, os.environ):
            log.warning("variable of no setting", variable=name, nearest=near or None)
        self._drain_seconds = settings.drain_seconds
        self.metrics = Metrics(settings.metrics_tenants)
        self.calls = Calls(
            self.metrics,
            settings.request_timeout_seconds,
            log_requests=settings.log_level == "debug",
        )
        self.readiness = Readiness()

    async def finish_requests(self) -> None:
        """Refuses new requests, and waits for those in flight as long as the settings allow.

        Watches and uploads are ended first; what is left in the end is dropped. Whoever is refused,
        ended or dropped is told when to come again.
        """
        self.readiness.drain()
        self.calls.drain()
        if not await self.calls.wait_until_idle(self._drain_seconds):
            self.drop_requests()
            await self.calls.wait_until_idle(DROPPED_SECONDS)

    def drop_requests(self) -> None:
        """Ends all requests in flight at once, with an error that says when to come again."""
        if dropped := self.calls.drop():
            log.warning("requests were dropped", requests=dropped)


class ExtractorApplication(_Requests):
    """The extraction service alone: backbones, no store, no cache.

    Args:
        private: whether nobody but the servers that it belongs to can reach it.
    """

    def __init__(self, settings: StandaloneExtractorSettings, *, private: bool = False) -> None:
        super().__init__(settings)
        if settings.believes_anybody and not private:
            address = str(settings.socket or settings.host)
            log.warning("open: whoever reaches this extractor is answered", address=address)
        key = settings.extractor_key()
        self.authentication: Authentication = SharedKey(key) if key else NoKeys()
        self._extractor = LocalExtractor(settings, self.metrics)
        self._tasks = UninterruptedTasks()
        embeddings = EmbeddingResolver(self._extractor, None, 0, self.metrics)
        extraction = _extraction(settings, self._extractor, embeddings)
        tails = TailExtraction(
            self._extractor,
            embeddings,
            UploadedTails(settings.held_tail_bytes),
            settings.input_limits,
            settings.max_rows_per_request,
        )
        admin = Admin(self._extractor, self._tasks)
        self.handlers = _handlers(OF_THE_EXTRACTOR, extraction, tails, admin, NoAuditLog())

    async def start(self) -> None:
        """Loads and warms up the backbones."""
        self.metrics.watch(asyncio.get_running_loop())
        await self._extractor.start(self.readiness.set_extractor_ready)

    async def close(self) -> None:
        """Closes the extractor."""
        await self._tasks.close()
        await self._extractor.close()


class Application(_Requests):
    """The whole server, but for its transports."""

    def __init__(self, settings: ServerSettings, member: Member | None = None) -> None:
        super().__init__(settings)
        self._data_dir = settings.data_dir
        self._member = member
        self._database = open_database(
            settings.data_dir,
            settings.store_url,
            settings.store_password_file,
            connections=settings.store_connections,
            new_store=settings.new_store,
            reserve_bytes=settings.disk_reserve_bytes,
            lock=None if member is None else member.lock,
        )
        self._database.on_stall = self._on_stall
        defaults = Quotas(*(getattr(settings, f"tenant_{name}") for name in QUOTAS))
        self._database.quota_defaults = defaults
        self.metrics.disk_full.set_function(lambda: self._database.full)
        self.metrics.disk_reserve.set_function(lambda: self._database.reserved_bytes)
        self.readiness.detail = lambda: DISK_FULL if self._database.full else ""
        for head, joined in self._database.joined_labels.items():
            log.info("labels became one with others", head=head, labels=joined)
        self._decode_threads = DecodeThreads(settings.decode_threads)
        self._decoding = DecodeCalls(self._decode_threads, self.metrics)
        views = ViewMaker(self._decoding, settings.input_limits)
        self._extractor_certificates = certificates_of(settings.extractor_tls_files)
        self._tasks = UninterruptedTasks()
        self.links = self._link(settings, member)
        self._fleet = self._fleet_of(settings)
        self._shared = _shared_server(settings, self.metrics)
        secrets = TenantSecrets(self._database, settings.shared_cache_timeout_ms / 1000)
        self._shared_quotas = None
        if self._shared is not None:
            self._shared_quotas = SharedQuotas(self._shared, secrets, time.monotonic)
        self.quotas = QuotaBook(self._database, defaults, time.monotonic, self._shared_quotas)
        self._usage = UsageCounter(self._database, self._tasks, settings.usage_days)
        if self.links is not None and self._shared is None:  # which tells these processes, too
            self.links.share_quotas(self.quotas)
        metering = Metering(self.quotas, self._usage)
        real = _extractor(
            settings,
            self.metrics,
            self._decode_threads,
            self._extractor_certificates,
            own=member is not None and member.extracts,
        )
        self._extractor = MeteredExtractor(
            real, metering, sharers=1 if member is None else member.count
        )
        self._shared_cache = _shared_cache(settings, self._shared, secrets, self.metrics)
        embeddings = EmbeddingResolver(
            self._extractor,
            self._database,
            settings.embedding_cache_bytes,
            self.metrics,
            settings.input_limits,
            metering,
            self._shared_cache,
        )
        tokens = self._tokens = PageTokens(page_key(settings.data_dir))
        head_cache = HeadCache(self._database, settings.head_cache_bytes, self.metrics)
        backfill = EmbeddingBackfill(self._database, self._extractor, settings.input_limits)
        self._keys = Keys(self._database, self._tasks, required=settings.keys_required)
        self.authentication: Authentication = NoKeys() if settings.insecure else self._keys
        self._asks_for_keys = not settings.insecure
        if self.links is not None:
            self.authentication = UpToDate(self.authentication, self.links.feed)
        if self._fleet is not None:
            self.authentication = UpToDate(self.authentication, self._fleet)
        self._audit = Audit(
            self._database,
            self._tasks,
            self.metrics,
            wanted=self._audits(settings),
            retention_days=settings.audit_retention_days,
            file=_audit_file(settings, self.metrics),
        )
        self.calls.trail.audit = self._audit
        self._live = LiveCopies(
            self._database,
            backfill,
            self._tasks,
            settings,
            self.metrics,
            is_ours=self._scores,
        )
        self._captures = Captures(
            self._database, self._tasks, self.metrics, settings.capture_queued_bytes
        )
        self._capture_retention = CaptureRetention(self._database, self._tasks, self.metrics)
        parts = build_training(
            self._database,
            self._extractor,
            backfill,
            self._tasks,
            self.readiness.until_ready,
            views,
            settings,
            self.metrics,
        )
        self._jobs = parts.jobs
        if self._fleet is not None:
            self._fleet.on_renewed = self._take_over
        handlers = _handlers(
            OF_THE_SERVER,
            _extraction(settings, self._extractor, embeddings),
            Prediction(
                self._extractor,
                embeddings,
                head_cache,
                self._live,
                views,
                settings.input_limits,
                settings.max_rows_per_request,
                self.metrics,
                self._captures,
            ),
            Feedback(
                self._database,
                self._extractor,
                embeddings,
                settings,
                self.metrics,
                tokens,
            ),
            Heads(
                self._database,
                self._extractor,
                self._live,
                self._jobs,
                self._tasks,
                tokens,
            ),
            HeadVersions(self._database, self._extractor, self._live, settings, tokens),
            Uploads(self._database, self._extractor, embeddings, parts.views, settings),
            Examples(self._database, parts.activations, self._tasks, settings, tokens),
            Forgetting(self._database, self._live, parts, self._tasks),
            Suggestions(
                self._database, self._extractor, head_cache, backfill, self._live, settings
            ),
            Reviews(
                self._database,
                self._extractor,
                embeddings,
                parts.activations,
                self._tasks,
                settings,
                self.metrics,
                tokens,
            ),
            ServedAccuracy(self._database),
            Labels(self._database, parts.activations, self._jobs, self._tasks, settings),
            Trainings(self._database, self._jobs),
            Exporting(self._database, settings.max_message_bytes),
            Advice(self._extractor, embeddings, self._decoding, settings),
            Admin(self._extractor, self._tasks),
            AccessKeys(self._database, self.authentication, tokens),
            AuditLog(self._database, tokens),
            Tenants(self._database, self._live, self._jobs, self._tasks, tokens, defaults),
        )
        self.handlers = handlers if self.links is None else self.links.handlers(handlers)

    async def open(self) -> None:
        """Learns who may ask; before that nobody is answered."""
        if self.links is not None:
            await self.links.start(self.metrics)
        if self._fleet is not None:
            await self._fleet.start()
            made = page_key(self._data_dir)
            self._tokens.use(await self._database.write(kept_secret, "page tokens", made))
        if self._asks_for_keys:
            await self._keys.start()
            if self._keys.required:
                await ensure_key(self._database, self._data_dir)
        if self._keeps:
            self._audit.start()
            self._capture_retention.start()

    async def start(self) -> None:
        """Loads the backbones and takes up unfinished trainings."""
        self.metrics.watch(asyncio.get_running_loop())
        await self.quotas.start()
        if self._shared is not None:
            self._shared.start()
        if self._keeps:
            await self._jobs.start()
        await self._live.start()
        await self._extractor.start(self.readiness.set_extractor_ready)
        if self._extractor_certificates is not None:
            self._extractor_certificates.follow(self.metrics)

    @property
    def _keeps(self) -> bool:
        """Whether this process does what there is one of for a store."""
        return self._member is None or self._member.keeper

    def _link(self, settings: ServerSettings, member: Member | None) -> Links | None:
        if member is None:
            return None
        return Links(
            member,
            self._database,
            settings.data_dir,
            self._tasks,
            settings.request_timeout_seconds,
        )

    def _scores(self, uid: str) -> bool:
        """Whether a head's feedback is this process's to learn at once."""
        among = self._fleet if self._member is None else self._member
        return among is None or among.scores(uid)

    def _take_over(self, others: bool) -> None:
        """Does what servers have left undone that are gone, or gave away.

        Args:
            others: whether they are others than before.
        """
        self._jobs.take_up_soon()
        if others:
            self._live.learn_left_soon()

    def _fleet_of(self, settings: ServerSettings) -> Fleet | None:
        if settings.store_url is None:
            return None
        # They need psycopg, which a file does not.
        from service.cluster.fleet import Fleet
        from service.store.postgres import PostgresDatabase

        assert isinstance(self._database, PostgresDatabase)
        lapse = self.readiness.set_lapsed
        return Fleet(self._database, settings.data_dir, self._tasks, lapse)

    async def finish_requests(self) -> None:
        """Ends requests as alone; what others have handed on is waited for, too."""
        finishing = [super().finish_requests()]
        if self.links is not None:
            finishing.append(self._finish_handed_on(self.links.calls))
        await asyncio.gather(*finishing)

    async def _finish_handed_on(self, calls: Calls) -> None:
        await calls.wait_until_idle(self._drain_seconds)

    def _audits(self, settings: ServerSettings) -> Callable[[], bool]:
        if settings.audit == "auto":
            return lambda: self.authentication.required
        return lambda: settings.audit == "on"

    def _on_stall(self, stalls: bool) -> None:
        if stalls:
            log.error("the store stalls", data_dir=str(self._data_dir))
        else:
            log.info("the store goes on", data_dir=str(self._data_dir))
        self.readiness.set_store_stalls(stalls)

    async def warm_up(self) -> None:
        """Starts what the first training needs, so that it does not wait for it."""
        if self._keeps:
            await self._jobs.warm_up()

    async def close(self) -> None:
        """Stops; what is acknowledged is on disk."""
        self._audit.close()
        self._capture_retention.close()
        await self._jobs.close()  # first: what is under way may wait for a fit that hangs
        await self._usage.close()
        await self._captures.close()
        await self._tasks.close()
        await self._live.close()
        if self._extractor_certificates is not None:
            await self._extractor_certificates.close()
        if self.links is not None:
            await self.links.close()
        if self._fleet is not None:
            await self._fleet.close()
        try:
            await self._decoding.close()
            await self._extractor.close()
            if self._shared_cache is not None:
                await self._shared_cache.close()
            if self._shared_quotas is not None:
                await self._shared_quotas.close()
            if self._shared is not None:
                await self._shared.close()
        finally:
            self._decode_threads.close()
            await asyncio.to_thread(self._database.close)
            await self._audit.close_file()


def _audit_file(settings: ServerSettings, metrics: Metrics) -> AuditFile | None:
    return None if settings.audit_file is None else AuditFile(settings.audit_file, metrics)


def _handlers(services: Iterable[ServiceDescriptor], *groups: object) -> Mapping[str, Handler]:
    """Returns the handler of each RPC: the only method that is named like it, in snake case."""
    handlers = {}
    for method in methods_of(*services):
        (handler,) = (
            getattr(group, method.handler) for group in groups if hasattr(group, method.handler)
        )
        handlers[method.name] = handler
    return handlers


def _extractor(
    settings: ServerSettings,
    metrics: Metrics,
    decode_threads: DecodeThreads,
    certificates: Certificates | None,
    *,
    own: bool,
) -> Extractor:
    if settings.extractor is None:
        return LocalExtractor(settings, metrics, decode_threads)
    return RemoteExtractor(
        settings.extractor,
        max_message_bytes=settings.max_message_bytes,
        timeout_seconds=settings.request_timeout_seconds,
        key=settings.extractor_key(),
        certificates=certificates,
        own=own,
    )


def _shared_server(settings: ServerSettings, metrics: Metrics) -> SharedServer | None:
    address = settings.shared_cache_address
    if address is None:
        return None
    from service.shared.server import SharedServer  # imports redis: 0.1 s that others need not wait

    seconds = settings.shared_cache_timeout_ms / 1000
    return SharedServer(address, seconds, metrics, settings.shared_cache_tls_files)


def _shared_cache(
    settings: ServerSettings, server: SharedServer | None, secrets: TenantSecrets, metrics: Metrics
) -> SharedCache | None:
    if server is None:
        return None
    from service.embedding.shared_cache import SharedCache

    return SharedCache(
        server,
        secrets,
        metrics,
        ttl_seconds=settings.shared_cache_ttl_seconds,
        queued_bytes=settings.shared_cache_queued_bytes,
    )


def _extraction(
    settings: ExtractorSettings, extractor: Extractor, embeddings: EmbeddingResolver
) -> Extraction:
    return Extraction(extractor, embeddings, settings.input_limits, settings.max_rows_per_request)
