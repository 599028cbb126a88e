"""Running backbones: admission, queues, batches, tails; here or on another machine."""

from service.extraction.extractor import Admitted, BackboneInfo, Extracted, Extractor, TailRef

__all__ = ["Admitted", "BackboneInfo", "Extracted", "Extractor", "TailRef"]
