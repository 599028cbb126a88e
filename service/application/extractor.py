"""The application of an extractor: backbones, and nothing that is stored."""

from __future__ import annotations

import asyncio

from service.access.authentication import Authentication, NoKeys, SharedKey
from service.application.handlers import extraction_of, handlers_by_name
from service.application.served_requests import ServedRequests
from service.concurrency.tasks import UninterruptedTasks
from service.config import StandaloneExtractorSettings
from service.embedding.resolver import EmbeddingResolver
from service.extraction.local import LocalExtractor
from service.extraction.uploaded_tails import UploadedTails
from service.handlers.audit import NoAuditLog
from service.handlers.backbones import Admin
from service.handlers.remote_tails import TailExtraction
from service.logs import get_logger
from service.transport.methods import OF_THE_EXTRACTOR

log = get_logger(__name__)


class ExtractorApplication(ServedRequests):
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
        extraction = extraction_of(settings, self._extractor, embeddings)
        tails = TailExtraction(
            self._extractor,
            embeddings,
            UploadedTails(settings.held_tail_bytes),
            settings.input_limits,
            settings.max_rows_per_request,
        )
        admin = Admin(self._extractor, self._tasks)
        self.handlers = handlers_by_name(OF_THE_EXTRACTOR, extraction, tails, admin, NoAuditLog())

    async def start(self) -> None:
        """Loads and warms up the backbones."""
        self.metrics.watch(asyncio.get_running_loop())
        await self._extractor.start(self.readiness.set_extractor_ready)

    async def close(self) -> None:
        """Closes the extractor."""
        await self._tasks.close()
        await self._extractor.close()
