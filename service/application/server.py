"""The application of a server, but for its transports."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from service.access.audit import Audit
from service.access.audit_file import AuditFile
from service.access.authentication import Authentication, Keys, NoKeys
from service.access.metering import Metering
from service.access.operator_key import ensure_key
from service.access.quotas import QuotaBook
from service.access.usage import UsageCounter
from service.application.handlers import extraction_of, handlers_by_name
from service.application.peers import Peers
from service.application.served_requests import ServedRequests
from service.application.shared_parts import SharedParts
from service.capture.queue import Captures
from service.capture.retention import CaptureRetention
from service.cluster.links import Links
from service.cluster.member import Member
from service.concurrency.tasks import UninterruptedTasks
from service.config import (
    ServerSettings,
)
from service.embedding.backfill import EmbeddingBackfill
from service.embedding.image_views import ViewMaker
from service.embedding.resolver import EmbeddingResolver
from service.extraction import Extractor
from service.extraction.decoding import DecodeCalls, DecodeThreads
from service.extraction.local import LocalExtractor
from service.extraction.metered import MeteredExtractor
from service.extraction.remote import RemoteExtractor
from service.fitting.process import FitProcess
from service.handlers.advice import Advice
from service.handlers.audit import AuditLog
from service.handlers.backbones import Admin
from service.handlers.classification import Classification
from service.handlers.descriptions import Descriptions
from service.handlers.examples import Examples
from service.handlers.exporting import Exporting
from service.handlers.feedback import Feedback
from service.handlers.forgetting import Forgetting
from service.handlers.heads import Heads
from service.handlers.keys import AccessKeys
from service.handlers.labels import Labels
from service.handlers.prediction import Prediction
from service.handlers.reviews import Reviews
from service.handlers.searching import Searching
from service.handlers.served_accuracy import ServedAccuracy
from service.handlers.similar import Similar
from service.handlers.suggestions import Suggestions
from service.handlers.tenants import Tenants
from service.handlers.trainings import Trainings
from service.handlers.uploads import Uploads
from service.handlers.versions import HeadVersions
from service.live import LiveCopies
from service.logs import get_logger
from service.metrics import Metrics
from service.requests.paging import PageTokens
from service.serving.head_cache import HeadCache
from service.serving.neighbours import NeighbourSearch
from service.serving.reasons import Reasons
from service.store import open_database
from service.store.page_key import page_key
from service.store.quotas import QUOTAS, Quotas
from service.store.secrets import kept_secret
from service.tls import Certificates, certificates_of
from service.training.assembly import build_training
from service.transport.methods import OF_THE_SERVER

if TYPE_CHECKING:
    pass

DISK_FULL = "the disk is full: what makes the store grow is refused"
DROPPED_SECONDS = 0.5
"""Time for requests that were dropped to notice it."""

log = get_logger(__name__)


class Application(ServedRequests):
    """The whole server, but for its transports."""

    def __init__(self, settings: ServerSettings, member: Member | None = None) -> None:
        super().__init__(settings)
        self._data_dir = settings.data_dir
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
        lapse = self.readiness.set_lapsed
        self._peers = Peers(settings, member, self._database, self._tasks, lapse)
        self._shared = SharedParts(settings, self._database, self.metrics)
        self.quotas = QuotaBook(self._database, defaults, time.monotonic, self._shared.quotas)
        self._usage = UsageCounter(self._database, self._tasks, settings.usage_days)
        if self.links is not None and self._shared.quotas is None:  # which tells them, too
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
        embeddings = EmbeddingResolver(
            self._extractor,
            self._database,
            settings.embedding_cache_bytes,
            self.metrics,
            settings.input_limits,
            metering,
            self._shared.cache,
        )
        tokens = self._tokens = PageTokens(page_key(settings.data_dir))
        head_cache = HeadCache(self._database, settings.head_cache_bytes, self.metrics)
        neighbours = NeighbourSearch(self._database, settings.neighbour_cache_bytes, self.metrics)
        reasons = Reasons(self._database, neighbours)
        backfill = EmbeddingBackfill(self._database, self._extractor, settings.input_limits)
        self._keys = Keys(self._database, self._tasks, required=settings.keys_required)
        self._asks_for_keys = not settings.insecure
        own: Authentication = self._keys if self._asks_for_keys else NoKeys()
        self.authentication = self._peers.up_to_date(own)
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
            is_ours=self._peers.scores,
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
        if self._peers.fleet is not None:
            self._peers.fleet.on_renewed = self._take_over
        self._fit_for_calls = FitProcess(settings.fit_threads, settings.child_silence_seconds)
        handlers = handlers_by_name(
            OF_THE_SERVER,
            extraction_of(settings, self._extractor, embeddings),
            Prediction(
                self._extractor,
                embeddings,
                head_cache,
                self._live,
                views,
                settings.input_limits,
                settings.max_rows_per_request,
                self.metrics,
                reasons,
                self._captures,
            ),
            Classification(
                self._extractor,
                embeddings,
                self._fit_for_calls,
                self._tasks,
                settings.input_limits,
                settings.max_rows_per_request,
                settings.max_label_bytes,
                settings.fit_timeout_seconds,
                self.metrics,
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
            Searching(self._database, settings, tokens),
            Similar(self._database, self._extractor, embeddings, backfill, neighbours, settings),
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
                reasons,
            ),
            ServedAccuracy(self._database),
            Descriptions(
                self._database,
                self._extractor,
                embeddings,
                self._jobs,
                self._tasks,
                settings,
            ),
            Labels(self._database, parts.activations, self._jobs, self._tasks, settings),
            Trainings(self._database, self._jobs),
            Exporting(self._database, settings.max_message_bytes),
            Advice(self._extractor, embeddings, self._decoding, settings),
            Admin(self._extractor, self._tasks),
            AccessKeys(self._database, self.authentication, tokens),
            AuditLog(self._database, tokens),
            Tenants(self._database, self._live, self._jobs, self._tasks, tokens, defaults),
        )
        self.handlers = self._peers.handlers(handlers)

    async def open(self) -> None:
        """Learns who may ask; before that nobody is answered."""
        await self._peers.start(self.metrics)
        if self._peers.fleet is not None:
            made = page_key(self._data_dir)
            self._tokens.use(await self._database.write(kept_secret, "page tokens", made))
        if self._asks_for_keys:
            await self._keys.start()
            if self._keys.required:
                await ensure_key(self._database, self._data_dir)
        if self._peers.keeps:
            self._audit.start()
            self._capture_retention.start()

    async def start(self) -> None:
        """Loads the backbones and takes up unfinished trainings."""
        self.metrics.watch(asyncio.get_running_loop())
        await self.quotas.start()
        self._shared.start()
        if self._peers.keeps:
            await self._jobs.start()
        await self._live.start()
        await self._extractor.start(self.readiness.set_extractor_ready)
        if self._extractor_certificates is not None:
            self._extractor_certificates.follow(self.metrics)

    @property
    def links(self) -> Links | None:
        """The other processes of this machine that serve with this one, if there are any."""
        return self._peers.links

    def _take_over(self, others: bool) -> None:
        """Does what servers have left undone that are gone, or gave away.

        Args:
            others: whether they are others than before.
        """
        self._jobs.take_up_soon()
        if others:
            self._live.learn_left_soon()

    async def finish_requests(self) -> None:
        """Ends requests as alone; what others have handed on is waited for, too."""
        await asyncio.gather(super().finish_requests(), self._peers.finish_requests())

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
        if self._peers.keeps:
            await self._jobs.warm_up()

    async def close(self) -> None:
        """Stops; what is acknowledged is on disk."""
        self._audit.close()
        self._capture_retention.close()
        await self._fit_for_calls.close()
        await self._jobs.close()  # first: what is under way may wait for a fit that hangs
        await self._usage.close()
        await self._captures.close()
        await self._tasks.close()
        await self._live.close()
        if self._extractor_certificates is not None:
            await self._extractor_certificates.close()
        await self._peers.close()
        try:
            await self._decoding.close()
            await self._extractor.close()
            await self._shared.close()
        finally:
            self._decode_threads.close()
            await asyncio.to_thread(self._database.close)
            await self._audit.close_file()


def _audit_file(settings: ServerSettings, metrics: Metrics) -> AuditFile | None:
    return None if settings.audit_file is None else AuditFile(settings.audit_file, metrics)


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
