"""The backbone of a request that may name none."""

from __future__ import annotations

from collections.abc import Iterable

from service.errors import PreconditionFailed
from service.extraction import BackboneInfo, Extractor
from service.requests.inputs import RawInput


def named_or_default(
    extractor: Extractor, name: str, raws: Iterable[RawInput | Exception]
) -> BackboneInfo:
    """Returns the backbone of this name, or for none the default of the first input's modality.

    Raises:
        InvalidRequest, PreconditionFailed: there is no such backbone, or none is loaded.
    """
    if name:
        return extractor.backbone(name)
    for raw in raws:
        if isinstance(raw, RawInput) and raw.kind.modality is not None:
            return extractor.default_backbone(raw.kind.modality)
    for info in extractor.backbones():
        return info
    raise PreconditionFailed("backbone: none is loaded", field="backbone", value="none")
