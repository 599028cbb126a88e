"""What names of backbones stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from models.backbone import Modality
from models.catalogue.embedded import EFFICIENTNET_LITE0, EMBEDDED, MINILM_L6_V2
from models.catalogue.entries import SHORTHANDS, Entry, read_entries, shorthand
from models.catalogue.spec import BackboneSpec
from models.errors import InvalidCatalogue, UnknownBackbone

_DEFAULTS = {Modality.IMAGE: EFFICIENTNET_LITE0.name, Modality.TEXT: MINILM_L6_V2.name}


def known_backbones(catalogue: Path | None = None) -> tuple[str, ...]:
    """Return the names in the catalogue, sorted, without shorthands. Raises InvalidCatalogue."""
    return tuple(sorted({*EMBEDDED, *_read(catalogue)}))


def check_backbones(names: Iterable[str], catalogue: Path | None = None) -> None:
    """Check that names can be resolved, without loading any library.

    Raises:
        UnknownBackbone: a name is not in the catalogue and is no shorthand.
        InvalidCatalogue: the catalogue file is wrong.
    """
    entries = _read(catalogue)
    for name in names:
        if name not in EMBEDDED:
            _find(name, entries)


def default_backbone(modality: Modality) -> str:
    """Return the name of the embedded backbone for a kind of input."""
    return _DEFAULTS[modality]


def find_spec(name: str, catalogue: Path | None = None, *, offline: bool = False) -> BackboneSpec:
    """Return what a name stands for. Raises UnknownBackbone, InvalidCatalogue, WeightsMissing."""
    return EMBEDDED.get(name) or _describe(name, _find(name, _read(catalogue)), offline)


def _read(catalogue: Path | None) -> Mapping[str, Entry]:
    entries = {} if catalogue is None else read_entries(catalogue)
    for name in entries:
        if name in EMBEDDED:
            raise InvalidCatalogue(f"catalogue {catalogue}: {name} comes with Trunkline already")
    return entries


def _find(name: str, entries: Mapping[str, Entry]) -> Entry:
    entry = entries.get(name) or shorthand(name)
    if entry is None:
        known = ", ".join(sorted({*EMBEDDED, *entries}))
        short = ", ".join(f"{source}/…" for source in SHORTHANDS)
        raise UnknownBackbone(f"unknown backbone {name!r}; known: {known}, and {short}")
    return entry


def _describe(name: str, entry: Entry, offline: bool) -> BackboneSpec:
    """Return the spec of an entry's backbone; only now is its library imported."""
    if entry.source == "torchvision":
        from models.catalogue.torchvision import torchvision_spec

        return torchvision_spec(name, entry, offline=offline)
    if entry.source == "timm":
        from models.catalogue.timm import timm_spec

        return timm_spec(name, entry, offline=offline)
    if entry.source == "huggingface":
        from models.catalogue.huggingface import huggingface_spec

        return huggingface_spec(name, entry, offline=offline)
    from models.catalogue.onnx_files import onnx_spec

    return onnx_spec(name, entry)
