"""Which handler answers which RPC."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from google.protobuf.descriptor import ServiceDescriptor

from service.config import ExtractorSettings
from service.embedding.resolver import EmbeddingResolver
from service.extraction import Extractor
from service.handlers.backbones import Extraction
from service.requests.calls import Handler
from service.transport.methods import methods_of


def handlers_by_name(
    services: Iterable[ServiceDescriptor], *groups: object
) -> Mapping[str, Handler]:
    """Returns the handler of each RPC: the only method that is named like it, in snake case."""
    handlers = {}
    for method in methods_of(*services):
        (handler,) = (
            getattr(group, method.handler) for group in groups if hasattr(group, method.handler)
        )
        handlers[method.name] = handler
    return handlers


def extraction_of(
    settings: ExtractorSettings, extractor: Extractor, embeddings: EmbeddingResolver
) -> Extraction:
    """Returns what embeds for clients, and lists backbones."""
    return Extraction(extractor, embeddings, settings.input_limits, settings.max_rows_per_request)
