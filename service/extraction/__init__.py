"""Running backbones: admission, queues, batches, tails; here or on another machine."""

from service.extraction.extractor import BackboneInfo, Extracted, Extractor, TailRef

__all__ = ["BackboneInfo", "Extracted", "Extractor", "TailRef"]
